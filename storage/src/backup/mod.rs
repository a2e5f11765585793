//! Backups: a folder that holds all that a data folder holds, as of one moment, and a data folder made of it.
//!
//! ```text
//! folder/MANIFEST                     what the backup consists of, with lengths and checksums; renamed into place last
//! folder/catalog-NUMBER               every tree of the catalog, flat
//! folder/blocks/00000012-1a2b3c4d.blk the blocks; links to those of the data folder, or copies
//! folder/UNFINISHED                   instead of a manifest, until the first backup is whole
//! folder/LOCK                         locked while somebody works on it
//! ```
//!
//! A backup into a folder that has one takes over the blocks that are there, adds what is new, puts the new manifest into the
//! place of the old one, and only then removes what that alone named: whenever it ends, the folder has the old backup or the
//! new one, whole. [`Engine::backup`](crate::Engine::backup) takes one while samples come in; [`restore()`] makes a data folder
//! of one; [`check`](crate::check) reads all of one. The bytes are drawn in `docs/format-backup.md`.
//!
//! What is in no block and not in the catalog is in no backup: exemplars, which are kept in memory only, and the copies in
//! `quarantine`.

pub mod catalog_file;
mod error;
pub(crate) mod folder;
pub mod manifest;
pub mod names;
pub(crate) mod restore;
mod take;
mod transfer;

use model::TimeRange;

use crate::damage::Damage;
use crate::files::{FileError, ReadAt};
pub use crate::progress::Progress;
pub use error::BackupError;
use manifest::Sum;
pub use restore::{restore, restore_with};
pub(crate) use take::{Placed, Source, Taking};
use transfer::CopyError;

/// Length and checksum of a file.
pub(crate) fn sum_of(content: &dyn ReadAt) -> Result<Sum, FileError> {
    match transfer::sum_of(content, &mut |_| true) {
        Ok(sum) => Ok(sum),
        Err(CopyError::Read(error) | CopyError::Write(error)) => Err(error),
        Err(CopyError::Stopped) => unreachable!("nobody stops it"),
    }
}

/// How a backup is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Whether blocks are copied even where they could be links to those of the data folder.
    pub copy: bool,
}

/// How a data folder is restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whether blocks become links to those of the backup where they can. Both never change them.
    pub link: bool,
    /// Whether to go on where blocks are damaged: they are read as far as they can be.
    pub keep_damaged: bool,
}

/// Some files and how long they are together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files.
    pub files: u64,
    /// Their length, in bytes.
    pub bytes: u64,
}

impl BackupReport {
    /// Whether all that the data folder should have is in the backup.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.lost.is_empty() && self.unread.is_empty()
    }
}

impl Moved {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A backup that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Backups in one folder count up from 1.
    pub number: u64,
    /// The moment it is of, in milliseconds since the Unix epoch: all that was acknowledged before is in it.
    pub taken_ms: i64,
    /// Length of all its files, in bytes.
    pub bytes: u64,
    /// Length of the catalog's file, in bytes.
    pub catalog_bytes: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Samples in them; those that two blocks have count twice.
    pub samples: u64,
    /// From the earliest to the latest sample, if there is any.
    pub span: Option<TimeRange>,
    /// Blocks that were there from an earlier backup.
    pub kept: Moved,
    /// Blocks that are links to those of the data folder.
    pub linked: Moved,
    /// Blocks that were copied.
    pub copied: Moved,
    /// Files that only earlier backups named, and that were removed.
    pub removed: u64,
    /// Damaged blocks of the data folder that are whole here, because an earlier backup in this folder had them.
    pub from_before: Vec<String>,
    /// Blocks that are damaged in the data folder; they are as they are there.
    pub damaged: Vec<String>,
    /// Blocks whose files are missing in the data folder.
    pub lost: Vec<String>,
    /// Blocks whose files the disk does not give back; they are not in the backup.
    pub unread: Vec<String>,
}

/// A data folder that was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// The number of the backup.
    pub number: u64,
    /// The moment it is of, in milliseconds since the Unix epoch.
    pub taken_ms: i64,
    /// Length of all files read, in bytes.
    pub bytes: u64,
    /// Series.
    pub series: u64,
    /// Blocks that are links to those of the backup.
    pub linked: Moved,
    /// Blocks that were copied.
    pub copied: Moved,
    /// Files of the backup that are damaged or missing, if that was to be borne.
    pub damaged: Vec<Damage>,
    /// Blocks that were missing already when the backup was taken.
    pub lost: Vec<String>,
}
