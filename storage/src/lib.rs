//! The time-series engine: codecs, log, head, blocks, catalog, index, retention.

pub mod block;
pub mod codec;
pub mod files;
