//! What was found broken on disk: reported with file and place, kept aside, and the rest goes on being read.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::{FileError, Files, folder_of};

/// Bytes that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it the damage starts.
    pub offset: u64,
    /// How many bytes are lost.
    pub bytes: u64,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, detail } = self;
        write!(f, "{} at byte {offset}, {bytes} bytes: {detail}", file.display())
    }
}

/// Most bytes that the quarantine has before no more copies are made for it.
pub const QUARANTINE_BYTES_MAX: u64 = 1 << 30;

/// Copies a damaged file into `quarantine`, so that it can be examined after the engine has cleaned up, under a name that is
/// free there; on disk when this returns. A copy of the same bytes that was made before is enough. False if there would be
/// more than `bytes_max` in the quarantine: then nothing is copied.
///
/// # Errors
///
/// When the file cannot be read or the copy not be written.
pub fn keep_copy(
    files: &dyn Files,
    file: &Path,
    prefix: &str,
    quarantine: &Path,
    bytes_max: u64,
) -> Result<bool, FileError> {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    files.create_dir_all(quarantine)?;
    let mut there = files.list(quarantine)?;
    for left_over in there.extract_if(.., |entry| entry.name.strip_suffix(".tmp").is_some()) {
        files.remove(&quarantine.join(left_over.name))?;
    }
    // Not into memory: it may be long, and nobody writes to it any more.
    let bytes = files.map(file)?;
    let bytes = bytes.bytes();
    let length = bytes.len() as u64;
    for number in 1.. {
        let target = numbered(prefix, number, &name);
        let Some(taken) = there.iter().find(|entry| entry.name == target) else {
            let all_bytes: u64 = there.iter().map(|entry| entry.bytes).sum();
            if all_bytes.saturating_add(length) > bytes_max {
                return Ok(false);
            }
            crate::files::write_atomically(files, &quarantine.join(target), bytes)?;
            files.sync_dir(folder_of(quarantine))?;
            break;
        };
        if taken.bytes == length && files.map(&quarantine.join(target))?.bytes() == bytes {
            break;
        }
    }
    Ok(true)
}

/// What is told of damage in `file`, of which there is no room for a copy.
pub fn not_kept(file: &Path) -> Damage {
    let detail = format!(
        "no copy of it is kept, because quarantine would have more than {QUARANTINE_BYTES_MAX} bytes: move away what lies there"
    );
    Damage { file: file.to_owned(), offset: 0, bytes: 0, detail }
}

fn numbered(prefix: &str, number: u64, name: &str) -> String {
    if number == 1 { format!("{prefix}-{name}") } else { format!("{prefix}-{number}-{name}") }
}

/// Moves a file that nobody can explain into `quarantine`, under a name that is free there; returns where it is. On disk when
/// this returns.
///
/// # Errors
///
/// When it cannot be moved.
pub fn set_aside(files: &dyn Files, file: &Path, prefix: &str, quarantine: &Path) -> Result<PathBuf, FileError> {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    files.create_dir_all(quarantine)?;
    files.sync_dir(folder_of(quarantine))?;
    let taken: BTreeSet<String> = files.list(quarantine)?.into_iter().map(|entry| entry.name).collect();
    let mut number = 1;
    while taken.contains(&numbered(prefix, number, &name)) {
        number += 1;
    }
    let target = quarantine.join(numbered(prefix, number, &name));
    files.rename(file, &target)?;
    files.sync_dir(quarantine)?;
    files.sync_dir(folder_of(file))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RealFiles;

    /// Segment numbers come again, so that a name that is taken may be that of another file.
    #[test]
    fn copies_are_kept_once_each_and_not_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, quarantine) = (folder.path().join("1.seg"), folder.path().join("quarantine"));
        let keep = |content: &str| {
            std::fs::write(&file, content).expect("written");
            keep_copy(&RealFiles, &file, "log", &quarantine, 8).expect("the disk is well")
        };
        let names = || {
            let of = RealFiles.list(&quarantine).expect("listed").into_iter();
            of.map(|entry| (entry.name, entry.bytes)).collect::<Vec<_>>()
        };
        assert!(keep("one"));
        std::fs::write(quarantine.join("log-9.seg.tmp"), "left over").expect("written");
        assert!(keep("two") && keep("one") && keep("two"));
        let both = [("log-1.seg".to_owned(), 3), ("log-2-1.seg".to_owned(), 3)];
        assert_eq!(names(), both);
        assert!(!keep("six"), "nine bytes");
        assert_eq!(names(), both);
        assert_eq!(std::fs::read(quarantine.join("log-2-1.seg")).expect("read"), b"two");
    }
}
