//! The time-series engine: codecs, log, head, blocks, catalog, index, retention.
