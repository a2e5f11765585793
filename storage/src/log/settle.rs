//! Bringing to the disk what was read back from the log.
//!
//! Of a segment that a process left without a word nobody knows what is on disk. If a sync of it failed, the system may
//! have forgotten what it could not write: reading still gives the bytes, from memory, and another sync of the file does
//! nothing (see "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So such a segment
//! is written anew, beside itself, and takes its own place. Only the newest can be one: a segment is followed by another only
//! once a sync of all of it went well.

use std::path::{Path, PathBuf};

use super::segments::LogError;
use crate::files::{FileError, Files, write_atomically};

/// A segment that the disk had no room to write anew. Nothing may be appended behind it.
#[derive(Debug)]
pub(super) struct Unsettled {
    path: PathBuf,
    length: usize,
    crc: u32,
}

/// Writes the segment at `path`, which holds `bytes`, anew. On disk when this returns nothing; where there is no room, what is
/// left to do.
pub(super) fn settle(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<Option<Unsettled>, FileError> {
    match write_atomically(files, path, bytes) {
        Ok(()) => Ok(None),
        Err(error) if error.is_disk_full() => {
            Ok(Some(Unsettled { path: path.to_owned(), length: bytes.len(), crc: crc32fast::hash(bytes) }))
        }
        Err(error) => Err(error),
    }
}

impl Unsettled {
    /// Tries again. A segment that is in blocks by now, and gone, needs nothing.
    pub(super) fn settle(&self, files: &dyn Files) -> Result<(), LogError> {
        let bytes = match files.read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if (bytes.len(), crc32fast::hash(&bytes)) != (self.length, self.crc) {
            let source = std::io::Error::other("it was forgotten before there was room to write it anew");
            return Err(FileError::new("read", &self.path, source).into());
        }
        match settle(files, &self.path, &bytes)? {
            None => Ok(()),
            Some(_) => {
                Err(LogError::DiskFull(FileError::DiskFull { operation: "write anew", path: self.path.clone() }))
            }
        }
    }
}

/// Removes what a process that ended while it wrote a segment anew left behind.
pub(super) fn forget(files: &dyn Files, left_over: &Path) -> Result<(), FileError> {
    match files.remove(left_over) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Whether a file of the log's folder called `name` is such a left-over.
pub(crate) fn is_left_over(name: &str) -> bool {
    name.strip_suffix(".tmp").and_then(super::segments::segment_number).is_some()
}
