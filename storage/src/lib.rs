//! The time-series engine: codecs, log, head, blocks, catalog, index, retention.

// The code that tsz-compress derives names it.
extern crate alloc;

pub mod block;
pub mod catalog;
pub mod codec;
pub mod damage;
pub mod engine;
pub mod files;
pub mod head;
pub mod ids;
pub mod index;
pub mod log;
pub mod memory;

pub use engine::{Cardinality, Count, Durability, Engine, EngineOptions, EngineStats, OpenError, StorageError};
pub use memory::{MemorySource, MemoryStore};
