//! The file layer that all durable input and output of storage goes through.
//!
//! Owns the [`Files`] contract, the errors with their path, and the one way to replace a whole file so that a crash
//! leaves the old or the new one ([`write_atomically`]). [`RealFiles`] is the operating system; [`FaultyFiles`] breaks
//! and [`HookedFiles`] waits on command, for tests. What the bytes mean is left to the log, the catalog and the blocks.

mod faulty;
mod hooked;
mod real;

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

pub use faulty::{AfterFault, Fault, FaultyFiles};
pub use hooked::{HeldSegments, HookedFiles};
pub use real::RealFiles;

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum FileError {
    /// There is no such file; the caller decides whether it should have been there.
    #[error("{}: no such file", path.display())]
    NotFound { path: PathBuf },
    /// The disk or the quota is full: refuse writes until space returns.
    #[error("{}: disk is full during {operation}", path.display())]
    DiskFull { operation: &'static str, path: PathBuf },
    /// Anything else. After a failed write or sync nothing is known about the file's bytes: stop writing.
    #[error("{}: {operation} failed: {source}", path.display())]
    Failed { operation: &'static str, path: PathBuf, source: io::Error },
}

impl FileError {
    /// Sorts an error of the operating system into a decision.
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { operation, path },
            _ => Self::Failed { operation, path, source },
        }
    }

    /// Whether the file was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether space ran out.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}

/// One file of a folder listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The name inside its folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A file being written. One thread appends at a time; [`sync_data`](Self::sync_data) may run beside it and covers
/// at least what was appended before it began.
pub trait WriteFile: fmt::Debug + Send + Sync {
    /// Writes `bytes` at the end. After an error the end is unknown: cut the file with [`set_len`](Self::set_len)
    /// to a known length or give it up.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails; a part may have been written.
    fn append(&self, bytes: &[u8]) -> Result<(), FileError>;

    /// Writes `bytes` at `offset`, which lies inside the file.
    ///
    /// # Errors
    ///
    /// When the disk fails; a part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError>;

    /// Cuts or extends (with zeros) the file to `bytes`; appending goes on from there.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn set_len(&self, bytes: u64) -> Result<(), FileError>;

    /// Returns when everything appended before is on the disk (`fdatasync`).
    ///
    /// # Errors
    ///
    /// When the disk fails; what of the file is on disk is then unknown.
    fn sync_data(&self) -> Result<(), FileError>;

    /// Length in bytes as appended so far.
    fn len(&self) -> u64;

    /// Whether nothing was written.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The whole of an immutable file, mapped or read.
pub trait FileBytes: fmt::Debug + Send + Sync {
    /// The bytes of the file.
    fn bytes(&self) -> &[u8];
}

impl FileBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Bytes that are read piece by piece, and do not change meanwhile.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fills `into` with those from `offset` on.
    ///
    /// # Errors
    ///
    /// When the disk fails, or there are fewer.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError>;
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError> {
        copy_part(self, offset, into).ok_or_else(|| ended(Path::new("memory")))
    }
}

/// Fills `into` with the part of `bytes` from `offset` on. `None` if that ends before.
pub(crate) fn copy_part(bytes: &[u8], offset: u64, into: &mut [u8]) -> Option<()> {
    let part = bytes.get(usize::try_from(offset).ok()?..)?.get(..into.len())?;
    into.copy_from_slice(part);
    Some(())
}

/// Why a read beyond the end of the file at `path` fails.
pub(crate) fn ended(path: &Path) -> FileError {
    FileError::new("read", path, io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// A file system, or a stand-in for one. Paths are used as given.
pub trait Files: fmt::Debug + Send + Sync {
    /// A new empty file; an existing one is emptied. Lasting only after [`sync_dir`](Self::sync_dir) of its folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError>;

    /// An existing file, opened to append at its end.
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be opened.
    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError>;

    /// The whole file, copied into memory.
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be read.
    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError>;

    /// The whole file without copying where possible. The file must not change any more.
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be mapped.
    fn map(&self, path: &Path) -> Result<Box<dyn FileBytes>, FileError>;

    /// An existing file, to be read piece by piece.
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be opened.
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, FileError>;

    /// Gives the file at `from` the name `to` too, which must be free. Lasting only after [`sync_dir`](Self::sync_dir) of
    /// the folder of `to`.
    ///
    /// # Errors
    ///
    /// When `to` exists or lies on another file system, or this one has no links.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), FileError>;

    /// Whether both are names of one file.
    ///
    /// # Errors
    ///
    /// When one of them does not exist.
    fn same_file(&self, a: &Path, b: &Path) -> Result<bool, FileError>;

    /// Moves `from` to `to`, replacing it, in one step. Lasting only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    ///
    /// When it fails; then nothing has moved.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;

    /// Removes a file. Lasting only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    ///
    /// When it does not exist or cannot be removed.
    fn remove(&self, path: &Path) -> Result<(), FileError>;

    /// Creates a folder and those above it; no error if it exists.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    fn create_dir_all(&self, path: &Path) -> Result<(), FileError>;

    /// Returns when creations, renames and removals inside `dir` are on the disk.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn sync_dir(&self, dir: &Path) -> Result<(), FileError>;

    /// The files (not folders) in `dir`, ordered by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, FileError>;

    /// Bytes that an ordinary process may still write to the file system of `path`.
    ///
    /// # Errors
    ///
    /// When the file system does not say.
    fn available_bytes(&self, path: &Path) -> Result<u64, FileError>;
}

/// The folder a path lies in, for [`Files::sync_dir`].
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces the file at `path` by `bytes` so that a crash at any moment leaves the old content or the new: written
/// beside it as `NAME.tmp`, synced, renamed, folder synced.
///
/// # Errors
///
/// When any step fails; the old content is then still in place, unless only the last sync failed.
pub fn write_atomically(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let beside = beside(path);
    let written = files.create(&beside).and_then(|file| {
        file.append(bytes)?;
        file.sync_data()?;
        files.rename(&beside, path)
    });
    if let Err(error) = written {
        // It takes space that may be what was missing. One that stays can be removed at any time.
        drop(files.remove(&beside));
        return Err(error);
    }
    files.sync_dir(folder_of(path))
}

/// Creates the folder at `path` and those above it, so that they last: each that got a new one in it is synced.
///
/// # Errors
///
/// When one cannot be created or synced.
pub fn create_folders(files: &dyn Files, path: &Path) -> Result<(), FileError> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    files.create_dir_all(path)?;
    missing.iter().rev().try_for_each(|made| files.sync_dir(folder_of(made)))
}

/// Where `path` is, or would be if it were made: absolute, without links and without `..`.
///
/// # Errors
///
/// When the process has no current folder that a relative path could begin in.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            real.pop();
        } else {
            real.push(part);
            real = real.canonicalize().unwrap_or(real);
        }
    }
    Ok(real)
}

/// The name under which a file is prepared before it is renamed to `path`. Left-overs can be removed at any time.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use parking_lot::Mutex;

    #[test]
    fn new_folders_are_synced_from_the_top() {
        let folder = tempfile::tempdir().expect("a folder");
        let synced = Arc::new(Mutex::new(Vec::new()));
        let seen = synced.clone();
        let files = HookedFiles::over(Arc::new(RealFiles), move |operation, path| {
            if operation == "sync_dir" {
                seen.lock().push(path.to_owned());
            }
            Ok(())
        });
        let deep = folder.path().join("a").join("b").join("c");
        create_folders(&files, &deep).expect("made");
        assert!(deep.is_dir());
        let want = [folder.path().to_owned(), folder.path().join("a"), folder.path().join("a").join("b")];
        assert_eq!(std::mem::take(&mut *synced.lock()), want);
        create_folders(&files, &deep).expect("there");
        assert!(synced.lock().is_empty());
    }

    #[test]
    fn links_and_parents_are_resolved_also_of_what_is_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().canonicalize().expect("there");
        std::fs::create_dir_all(base.join("a/b")).expect("made");
        std::os::unix::fs::symlink(base.join("a/b"), base.join("link")).expect("linked");
        for (path, want) in [
            ("a", "a"),
            ("link", "a/b"),
            ("link/../x", "a/x"),
            ("nowhere/../a/b/../y", "a/y"),
            ("new/link", "new/link"),
            ("a/../../../../../../../../../..", "/"),
        ] {
            assert_eq!(real_path(&base.join(path)).expect("absolute"), base.join(want), "{path}");
        }
    }
}
