//! Why an engine does not open, and why it fails later.

use std::path::PathBuf;

use crate::block::BlockError;
use crate::catalog::{CatalogError, ROOM_KEY_BYTES_MAX, ROOM_VALUE_BYTES_MAX};
use crate::damage::Damage;
use crate::files::FileError;
use crate::log::LogError;

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum OpenError {
    /// Two engines in one folder would destroy it.
    #[error("data folder {} is in use by another process; stop that process or choose another folder", folder.display())]
    InUse { folder: PathBuf },
    /// The folder or its lock cannot be made; check path and permissions.
    #[error("data folder {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    /// Make a data folder of it; a backup stays as it was taken.
    #[error("folder {} is a backup; make a data folder of it with `metrickit restore`", folder.display())]
    Backup { folder: PathBuf },
    /// Restore it again; until that ends it has only a part of the backup.
    #[error("data folder {} is not restored yet: a restore into it did not end; run it again", folder.display())]
    Restoring { folder: PathBuf },
    /// Without the catalog nobody knows which blocks count, and those it does not name would be removed: restore the
    /// catalog from a backup, or move the blocks away.
    #[error("{} has {blocks} blocks but no catalog; restore folder {}", blocks_folder.display(), catalog.display())]
    CatalogMissing { blocks_folder: PathBuf, catalog: PathBuf, blocks: usize },
    /// The catalog cannot be used; restore the folder from a backup.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The log cannot be read at all.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log could not be replayed, for a reason that was told before.
    #[error("the log could not be replayed; what was said before it tells why")]
    Replay,
    /// The disk fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// A thread cannot be started.
    #[error("no background thread: {source}")]
    Thread { source: std::io::Error },
}

/// Why flushing, merging or dropping failed. What was acknowledged is still in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum StorageError {
    /// The engine takes nothing more until it is opened again.
    #[error("storage stopped after a failure: {detail}; restart to recover")]
    Poisoned { detail: String },
    /// The engine was closed; open the folder again.
    #[error("storage is closed")]
    Closed,
    /// The process is short of memory, and what was begun was given up; try again when there is more.
    #[error("given up for lack of memory: {detail}")]
    Short { detail: String },
    /// The catalog failed; the engine is poisoned by it.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The log failed; the engine is poisoned by it, unless space was missing.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A block cannot be written or read; the next attempt starts over.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A file cannot be written; the next attempt starts over.
    #[error(transparent)]
    File(#[from] FileError),
    /// An index file is damaged; maintenance makes it again from the catalog, then try again.
    #[error("index {0}")]
    Index(Damage),
    /// What others keep here is to be small; keep it elsewhere.
    #[error(
        "an entry of a room with a key of {key_bytes} bytes and a value of {value_bytes}: {ROOM_KEY_BYTES_MAX} and {ROOM_VALUE_BYTES_MAX} are allowed"
    )]
    RoomEntry { key_bytes: usize, value_bytes: usize },
    /// The head cannot be read, which is a fault of this program.
    #[error("the head is damaged: {detail}")]
    Head { detail: String },
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> Self {
        Self::Index(damage)
    }
}

impl StorageError {
    /// Whether space ran out, so that it is to be tried again when there is more.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File(error) | Self::Block(BlockError::File(error)) => error.is_disk_full(),
            Self::Log(LogError::DiskFull(_)) => true,
            _ => false,
        }
    }
}
