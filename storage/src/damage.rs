//! What was found broken on disk: reported with file and place, kept aside, and the rest goes on being read.

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
