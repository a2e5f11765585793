//! Files that ask before each operation, for tests of what happens meanwhile: the hook may wait, fail or panic.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{FileBytes, FileEntry, FileError, Files, ReadAt, RealFiles, WriteFile};

/// What is asked before an operation, by its name in [`Files`].
type Hook = dyn Fn(&'static str, &Path) -> Result<(), FileError> + Send + Sync;

/// Other files, of which every operation but those on a file that is open is announced to a hook.
pub struct HookedFiles {
    files: Arc<dyn Files>,
    before: Box<Hook>,
}

impl HookedFiles {
    /// `files`, with `before` asked before each operation; the operation fails if it does.
    pub fn over(
        files: Arc<dyn Files>,
        before: impl Fn(&'static str, &Path) -> Result<(), FileError> + Send + Sync + 'static,
    ) -> Self {
        Self { files, before: Box::new(before) }
    }
}

impl fmt::Debug for HookedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedFiles").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Files for HookedFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        (self.before)("create", path)?;
        self.files.create(path)
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        (self.before)("open_append", path)?;
        self.files.open_append(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        (self.before)("read", path)?;
        self.files.read(path)
    }

    fn map(&self, path: &Path) -> Result<Box<dyn FileBytes>, FileError> {
        (self.before)("map", path)?;
        self.files.map(path)
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, FileError> {
        (self.before)("open_read", path)?;
        self.files.open_read(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        (self.before)("hard_link", from)?;
        self.files.hard_link(from, to)
    }

    fn same_file(&self, a: &Path, b: &Path) -> Result<bool, FileError> {
        (self.before)("same_file", a)?;
        self.files.same_file(a, b)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        (self.before)("rename", from)?;
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        (self.before)("remove", path)?;
        self.files.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FileError> {
        (self.before)("create_dir_all", path)?;
        self.files.create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        (self.before)("sync_dir", dir)?;
        self.files.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, FileError> {
        (self.before)("list", dir)?;
        self.files.list(dir)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64, FileError> {
        (self.before)("available_bytes", path)?;
        self.files.available_bytes(path)
    }
}

/// Lets segments of the log be read only once a test allows it. None at first.
#[derive(Debug, Clone, Default)]
pub struct HeldSegments(Arc<(Mutex<u64>, Condvar)>);

impl HeldSegments {
    /// The operating system's files, with segments held.
    pub fn files(&self) -> Arc<dyn Files> {
        let held = self.clone();
        Arc::new(HookedFiles::over(Arc::new(RealFiles), move |operation, path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let ("read", Some(Ok(number))) = (operation, name.strip_suffix(".seg").map(str::parse::<u64>)) {
                held.0.1.wait_while(&mut held.0.0.lock(), |allowed| *allowed < number);
            }
            Ok(())
        }))
    }

    /// Lets segments up to `number` be read.
    pub fn allow(&self, number: u64) {
        *self.0.0.lock() = number;
        self.0.1.notify_all();
    }
}
