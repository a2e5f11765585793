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

/// Copies a damaged file into `quarantine`, so that it can be examined after the engine has cleaned up. A copy made
/// before is left alone.
///
/// # Errors
///
/// When the copy cannot be written; the caller goes on without it.
pub fn keep_copy(files: &dyn Files, file: &Path, prefix: &str, quarantine: &Path) -> Result<(), FileError> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    files.create_dir_all(quarantine)?;
    let target = quarantine.join(format!("{prefix}-{name}"));
    if files.list(quarantine)?.iter().any(|entry| target.ends_with(&entry.name)) {
        return Ok(());
    }
    crate::files::write_atomically(files, &target, &files.read(file)?)?;
    files.sync_dir(folder_of(quarantine))
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
    let mut free = format!("{prefix}-{name}");
    let mut number = 1u64;
    while taken.contains(&free) {
        number += 1;
        free = format!("{prefix}-{number}-{name}");
    }
    let target = quarantine.join(free);
    files.rename(file, &target)?;
    files.sync_dir(quarantine)?;
    files.sync_dir(folder_of(file))?;
    Ok(target)
}
