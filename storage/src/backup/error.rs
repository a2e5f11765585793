//! Why there is no backup, or none that can be restored.

use std::path::PathBuf;

use super::catalog_file::CatalogFileError;
use super::manifest::VERSION;
use crate::catalog::CatalogError;
use crate::damage::Damage;
use crate::engine::{OpenError, StorageError};
use crate::files::FileError;

/// Why a backup was not taken or not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum BackupError {
    /// Wait until the other one is done.
    #[error("backup folder {} is in use by another process", folder.display())]
    InUse { folder: PathBuf },
    /// Choose another folder: what is there is somebody else's.
    #[error("folder {} is not empty and no backup; choose an empty folder, or one that a backup was taken into", folder.display())]
    Foreign { folder: PathBuf },
    /// Choose another folder: losing the one would lose the other.
    #[error("backup folder {} lies in data folder {}; choose a folder outside of it", folder.display(), data.display())]
    Inside { folder: PathBuf, data: PathBuf },
    /// Choose another folder: losing the one would lose the other.
    #[error("data folder {} lies in backup folder {}; choose a folder outside of it", folder.display(), dir.display())]
    InBackup { folder: PathBuf, dir: PathBuf },
    /// Make room, or choose a folder on another disk.
    #[error("folder {} has no room: {needed_bytes} bytes are needed, and {free_bytes} may be taken of its disk", folder.display())]
    NoRoom { folder: PathBuf, needed_bytes: u64, free_bytes: u64 },
    /// Look for another folder.
    #[error("there is no backup in folder {}", folder.display())]
    NoBackup { folder: PathBuf },
    /// Nothing was ever whole there; take it again.
    #[error("the first backup into folder {} did not end; take it again", folder.display())]
    Unfinished { folder: PathBuf },
    /// What the backup consists of is unknown; take the next one into another folder.
    #[error("backup manifest {} is damaged: {detail}; take the next backup into another folder", path.display())]
    Manifest { path: PathBuf, detail: String },
    /// Use the newer program.
    #[error("{} has version {found}, this program reads up to {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
    /// Choose a folder that is not there yet, or an empty one.
    #[error("data folder {} is not empty; restore into a new folder", folder.display())]
    Target { folder: PathBuf },
    /// The backup's catalog cannot be restored; use another backup.
    #[error("backup catalog {}: {source}; restore another backup", path.display())]
    Catalog { path: PathBuf, source: CatalogFileError },
    /// Restore another backup, or keep what is whole.
    #[error(
        "{} of the backup's files are damaged, the first is {}; restore another backup, or what is whole of this one with --keep-damaged",
        damage.len(),
        damage.first().map(ToString::to_string).unwrap_or_default()
    )]
    Damaged { damage: Vec<Damage> },
    /// The restored catalog cannot be written or read.
    #[error(transparent)]
    Restored(#[from] CatalogError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The engine cannot flush, or was closed meanwhile.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The disk is full or fails.
    #[error(transparent)]
    File(#[from] FileError),
}
