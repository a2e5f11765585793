//! Files that let the log be read segment by segment, for tests of what happens meanwhile.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{FileBytes, FileEntry, FileError, Files, RealFiles, WriteFile};

/// The operating system's files, of which segments of the log are read only once a test allows it. None at first.
#[derive(Debug, Clone, Default)]
pub struct HeldSegments(Arc<(Mutex<u64>, Condvar)>);

impl HeldSegments {
    /// Lets segments up to `number` be read.
    pub fn allow(&self, number: u64) {
        *self.0.0.lock() = number;
        self.0.1.notify_all();
    }
}

impl Files for HeldSegments {
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(Ok(number)) = name.strip_suffix(".seg").map(str::parse::<u64>) {
            self.0.1.wait_while(&mut self.0.0.lock(), |allowed| *allowed < number);
        }
        RealFiles.read(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        RealFiles.create(path)
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        RealFiles.open_append(path)
    }

    fn map(&self, path: &Path) -> Result<Box<dyn FileBytes>, FileError> {
        RealFiles.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        RealFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        RealFiles.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FileError> {
        RealFiles.create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        RealFiles.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, FileError> {
        RealFiles.list(dir)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64, FileError> {
        RealFiles.available_bytes(path)
    }
}
