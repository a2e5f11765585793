//! The time-series engine: codecs, log, head, blocks, catalog, index, retention.

// The code that tsz-compress derives names it.
extern crate alloc;

pub mod backup;
pub mod block;
pub mod catalog;
pub mod check;
pub mod codec;
pub mod damage;
pub mod engine;
pub mod files;
pub mod head;
pub mod ids;
pub mod index;
pub mod log;
pub mod memory;
pub mod progress;
pub mod summary;

pub use backup::{BackupError, BackupOptions, BackupReport, RestoreOptions, RestoreReport};
pub use catalog::{
    DeleteRecord, DeleteStage, ROOM_KEY_BYTES_MAX, ROOM_NAME_BYTES_MAX, ROOM_VALUE_BYTES_MAX, RoomChange, RoomEntry,
};
pub use engine::{
    Cardinality, CardinalityReport, CardinalityRequest, Count, DELETES_PENDING_MAX, DURATION_BOUNDS_US, Delete,
    DeleteError, DeleteRequest, Durability, DurationStats, EXEMPLAR_BYTES, Engine, EngineOptions, EngineStats,
    KeptSeries, KeptStep, LabelUse, LifetimeRule, LifetimeStep, LimitUse, OpenError, PairUse, Reach, ReplayProgress,
    RetentionReport, Room, SeriesGroup, StorageError, SummaryBlocks,
};
pub use memory::{MemorySource, MemoryStore};
