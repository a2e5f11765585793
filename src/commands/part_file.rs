//! A file that gets its name once it is whole. Until then it is `FILE.part`, which one process at a time writes.
//!
//! What is no file to be replaced, such as a pipe or `/dev/null`, is written to as it is.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::OFlags;

/// Where something is written that is of use only as a whole.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    /// What it is called until it is whole, and then.
    names: Option<(PathBuf, PathBuf)>,
}

impl PartFile {
    /// Begins what is to be `path`, which is not touched before it is whole.
    pub(super) fn begin(path: &Path) -> anyhow::Result<Self> {
        let cannot_write = || format!("cannot write {}", path.display());
        let (name, before) = match fs::metadata(path) {
            Ok(found) if found.is_dir() => bail!("{} is a folder; name a file in it", path.display()),
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(path).with_context(cannot_write)?;
                return Ok(Self { file, names: None });
            }
            // Of a link the file is replaced, and not the link.
            Ok(found) => (path.canonicalize().with_context(cannot_write)?, Some(found.permissions())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error).with_context(cannot_write),
        };
        let mut part = OsString::from(&name);
        part.push(".part");
        let part = PathBuf::from(part);
        let file = Self::open(&part)?;
        let this = Self { file, names: Some((part, name)) };
        this.file.set_len(0).with_context(cannot_write)?;
        if let Some(permissions) = before {
            this.file.set_permissions(permissions).with_context(cannot_write)?;
        }
        Ok(this)
    }

    /// Opens the file with no other process at it.
    fn open(part: &Path) -> anyhow::Result<File> {
        let cannot_write = || format!("cannot write {}", part.display());
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(part).with_context(cannot_write)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    bail!("{} is being written by another process; wait until that is done", part.display());
                }
                // A file system without locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).with_context(cannot_write),
            }
            // Whoever had the lock may have given the file its name, or removed it, since it was opened here.
            let own = file.metadata().with_context(cannot_write)?;
            if fs::symlink_metadata(part).is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
                return Ok(file);
            }
        }
    }

    /// What it is called as long as it is not whole; nothing if it is written to as it is.
    pub(super) fn part(&self) -> Option<&Path> {
        self.names.as_ref().map(|(part, _)| part.as_path())
    }

    /// To be written to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// It is whole: puts it on disk, and gives it its name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let Some((part, name)) = &self.names else { return Ok(()) };
        self.file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
        fs::rename(part, name).with_context(|| format!("cannot rename {} to its name", part.display()))?;
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        let told = format!("cannot sync folder {}", folder.display());
        self.names = None;
        synced.context(told)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Some(part) = self.part() {
            // It is of no use; that it could not be removed does not matter beside why it is not whole.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|of| of.expect("an entry").file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(folder.path().join("x.part"), "left over, and longer").expect("written");
        let file = PartFile::begin(&path).expect("begun");
        file.file().write_all(b"new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
        let second = PartFile::begin(&path).expect_err("one at a time").to_string();
        assert!(second.contains("x.part is being written by another process"), "{second}");
        file.finish().expect("finished");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(PartFile::begin(&path).expect("begun"));
        assert_eq!(
            (names(folder.path()), fs::read_to_string(&path).expect("read")),
            (vec!["x".to_owned()], "new".into())
        );
    }

    #[test]
    fn links_lead_to_what_is_replaced_and_devices_are_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").expect("written");
        symlink(&real, &link).expect("linked");
        let file = PartFile::begin(&link).expect("begun");
        file.file().write_all(b"new").expect("written");
        file.finish().expect("finished");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).expect("read"), "new");

        let null = folder.path().join("null");
        symlink("/dev/null", &null).expect("linked");
        let file = PartFile::begin(&null).expect("begun");
        assert_eq!(file.part(), None);
        file.file().write_all(b"gone").expect("written");
        file.finish().expect("finished");
        assert_eq!(names(folder.path()), ["link", "null", "real"]);
        let refused = PartFile::begin(folder.path()).expect_err("a folder").to_string();
        assert!(refused.contains("is a folder"), "{refused}");
    }
}
