//! One process a data folder: an advisory lock on the file `LOCK`, which the system gives back when the process ends.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::OpenError;
use crate::files::{Files, create_folders};

/// Held while the folder is in use.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if need be, so that it lasts, and locks it.
    pub(crate) fn take(files: &dyn Files, folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
        create_folders(files, folder)?;
        let path = folder.join("LOCK");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        Self::hold(folder, file)
    }

    /// Locks the folder if it has a lock file; makes none, so that a folder that may not be changed can be looked at.
    pub(crate) fn take_existing(folder: &Path) -> Result<Option<Self>, OpenError> {
        match File::open(folder.join("LOCK")) {
            Ok(file) => Self::hold(folder, file).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Folder { folder: folder.to_owned(), source }),
        }
    }

    fn hold(folder: &Path, file: File) -> Result<Self, OpenError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(error) => Err(OpenError::Folder { folder: folder.to_owned(), source: error.into() }),
        }
    }
}
