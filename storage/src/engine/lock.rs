//! One process a data folder: an advisory lock on the file `LOCK`, which the system gives back when the process ends.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// Held while the folder is in use.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if need be, and locks it.
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join("LOCK");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { folder: folder.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }
}
