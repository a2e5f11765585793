//! The time-series engine: codecs, log, head, blocks, catalog, index, retention.

// The code that tsz-compress derives names it.
extern crate alloc;

pub mod block;
pub mod codec;
pub mod files;
