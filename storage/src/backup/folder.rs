//! The folder of a backup: what it is before anything is done in it, and nobody else in it meanwhile.
#![warn(clippy::indexing_slicing)]

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError};
use super::{BackupError, names};
use crate::engine::OpenError;
use crate::engine::lock::FolderLock;
use crate::files::{FileError, Files, real_path};

/// What a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is empty, or not there.
    Empty,
    /// A first backup did not end.
    Unfinished,
    /// It has a backup.
    Whole(Manifest),
    /// Something else.
    Foreign,
}

/// Whether the folder is a backup, or is to become one, and no data folder.
pub(crate) fn is_backup(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    (has(names::MANIFEST) || has(names::UNFINISHED)) && !folder.join("catalog").exists()
}

/// What the folder at `dir` is.
pub(crate) fn look(files: &dyn Files, dir: &Path) -> Result<Standing, BackupError> {
    if let Some(manifest) = read_manifest(files, dir)? {
        return Ok(Standing::Whole(manifest));
    }
    let mut is_empty = true;
    for name in entries(dir)? {
        if name == names::UNFINISHED {
            return Ok(Standing::Unfinished);
        }
        is_empty &= is_nothing(&name);
    }
    Ok(if is_empty { Standing::Empty } else { Standing::Foreign })
}

/// Whether nothing is in the folder, or it is not there.
pub(super) fn is_empty(dir: &Path) -> Result<bool, BackupError> {
    Ok(entries(dir)?.iter().all(|name| is_nothing(name)))
}

fn is_nothing(name: &OsStr) -> bool {
    name == names::LOCK || name == names::LOST_AND_FOUND
}

fn entries(dir: &Path) -> Result<Vec<std::ffi::OsString>, BackupError> {
    let failed = |source| FileError::new("list", dir, source);
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let names: Result<Vec<_>, io::Error> = entries.map(|entry| Ok(entry?.file_name())).collect();
    Ok(names.map_err(failed)?)
}

fn read_manifest(files: &dyn Files, dir: &Path) -> Result<Option<Manifest>, BackupError> {
    let path = dir.join(names::MANIFEST);
    let file = match files.open_read(&path) {
        Err(error) if error.is_not_found() => return Ok(None),
        opened => opened?,
    };
    if file.length() > MANIFEST_BYTES_MAX {
        return Err(BackupError::Manifest { path, detail: format!("it has {} bytes", file.length()) });
    }
    let mut bytes = vec![0; usize::try_from(file.length()).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    match Manifest::decode(&bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(ManifestError::Version(found)) => Err(BackupError::Version { path, found }),
        Err(ManifestError::Damaged(detail)) => Err(BackupError::Manifest { path, detail }),
    }
}

/// The backup in `dir`, to be read.
pub(crate) fn whole(files: &dyn Files, dir: &Path) -> Result<Manifest, BackupError> {
    match look(files, dir)? {
        Standing::Whole(manifest) => Ok(manifest),
        Standing::Unfinished => Err(BackupError::Unfinished { folder: dir.to_owned() }),
        Standing::Empty | Standing::Foreign => Err(BackupError::NoBackup { folder: dir.to_owned() }),
    }
}

/// Whether `path`, which need not be there yet, is `folder` or lies in it.
pub(crate) fn lies_in(path: &Path, folder: &Path) -> Result<bool, BackupError> {
    let real = |path: &Path| real_path(path).map_err(|source| FileError::new("find", path, source));
    Ok(real(path)?.starts_with(real(folder)?))
}

/// Refuses what would fill the disk of `folder` before it begins. What a file system that does not say how much is free
/// has no room for is found out by the write.
pub(super) fn check_room(
    files: &dyn Files,
    folder: &Path,
    needed_bytes: u64,
    left_bytes: u64,
) -> Result<(), BackupError> {
    let free_bytes = files.available_bytes(folder).map_or(u64::MAX, |bytes| bytes.saturating_sub(left_bytes));
    if needed_bytes > free_bytes {
        return Err(BackupError::NoRoom { folder: folder.to_owned(), needed_bytes, free_bytes });
    }
    Ok(())
}

/// Keeps others out of the folder, which is made if need be.
pub(super) fn lock(files: &dyn Files, dir: &Path) -> Result<FolderLock, BackupError> {
    FolderLock::take(files, dir).map_err(|error| refused(error, dir))
}

/// Keeps others out of the folder if it has a lock; it may be one that cannot be written to.
pub(crate) fn lock_existing(dir: &Path) -> Result<Option<FolderLock>, BackupError> {
    FolderLock::take_existing(dir).map_err(|error| refused(error, dir))
}

fn refused(error: OpenError, dir: &Path) -> BackupError {
    match error {
        OpenError::InUse { .. } => BackupError::InUse { folder: dir.to_owned() },
        OpenError::Folder { source, .. } => FileError::new("lock", &dir.join(names::LOCK), source).into(),
        other => other.into(),
    }
}
