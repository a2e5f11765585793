//! Files of the operating system.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::{FileBytes, FileEntry, FileError, Files, ReadAt, WriteFile};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        // What a symbolic link points to is not ours to empty.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|source| FileError::new("create", path, source))?;
        Ok(Box::new(RealFile { file, path: path.to_owned(), end: AtomicU64::new(0) }))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        let failed = |source| FileError::new("open", path, source);
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        Ok(Box::new(RealFile { file, path: path.to_owned(), end: AtomicU64::new(end) }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        fs::read(path).map_err(|source| FileError::new("read", path, source))
    }

    fn map(&self, path: &Path) -> Result<Box<dyn FileBytes>, FileError> {
        let failed = |source| FileError::new("map", path, source);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Box::new(Vec::new()));
        }
        // SAFETY: `Files::map` is only for files that do not change any more: the engine writes a block under a
        // name nobody reads yet, and after that only ever unlinks it, which leaves the mapping intact.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Ok(Box::new(Mapped(map)))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, FileError> {
        let failed = |source| FileError::new("open", path, source);
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Box::new(RealRead { file, path: path.to_owned(), bytes }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::hard_link(from, to).map_err(|source| FileError::new("link", to, source))
    }

    fn same_file(&self, a: &Path, b: &Path) -> Result<bool, FileError> {
        let number = |path: &Path| {
            let metadata = fs::metadata(path).map_err(|source| FileError::new("look at", path, source))?;
            Ok::<_, FileError>((metadata.dev(), metadata.ino()))
        };
        Ok(number(a)? == number(b)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::rename(from, to).map_err(|source| FileError::new("rename", from, source))
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        fs::remove_file(path).map_err(|source| FileError::new("remove", path, source))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FileError> {
        fs::create_dir_all(path).map_err(|source| FileError::new("create folder", path, source))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        File::open(dir)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| FileError::new("sync folder", dir, source))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, FileError> {
        let failed = |source| FileError::new("list", dir, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(FileEntry { name, bytes: metadata.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64, FileError> {
        let stat = rustix::fs::statvfs(path).map_err(|source| FileError::new("statvfs", path, source.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A file that is read piece by piece.
#[derive(Debug)]
struct RealRead {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl ReadAt for RealRead {
    fn length(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError> {
        self.file.read_exact_at(into, offset).map_err(|source| FileError::new("read", &self.path, source))
    }
}

#[derive(Debug)]
struct Mapped(memmap2::Mmap);

impl FileBytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A file and where its next append goes.
#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    end: AtomicU64,
}

impl WriteFile for RealFile {
    fn append(&self, bytes: &[u8]) -> Result<(), FileError> {
        let end = self.end.load(Ordering::Acquire);
        self.file.write_all_at(bytes, end).map_err(|source| FileError::new("append", &self.path, source))?;
        self.end.store(end + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all_at(bytes, offset).map_err(|source| FileError::new("write", &self.path, source))?;
        self.end.fetch_max(offset.saturating_add(bytes.len() as u64), Ordering::AcqRel);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> Result<(), FileError> {
        self.file.set_len(bytes).map_err(|source| FileError::new("set length", &self.path, source))?;
        self.end.store(bytes, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|source| FileError::new("sync", &self.path, source))
    }

    fn len(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }
}
