//! Who may take how much of the disk.
//!
//! Appends leave [`disk_reserve_bytes`](super::EngineOptions::disk_reserve_bytes) free, and are refused beyond it. Whoever
//! rewrites blocks, or copies them into a backup on the same disk, can wait, and leaves half of that, so that a flush, which takes what there is, always finds room for what
//! was acknowledged. Nobody changes the catalog where sled could meet the end of the disk.

use super::{Core, StorageError};
use crate::files::FileError;

/// Space that must be there before the catalog is changed: sled cannot go on after a write that found no space.
const CATALOG_SPACE_BYTES: u64 = 4 << 20;

impl Core {
    /// A full disk refuses a change of the catalog before it begins, so that it can be tried again.
    pub(super) fn check_catalog_space(&self) -> Result<(), StorageError> {
        match self.files.available_bytes(&self.folder) {
            Ok(available) if available < CATALOG_SPACE_BYTES => {
                let path = self.folder.join("catalog");
                Err(FileError::DiskFull { operation: "change", path }.into())
            }
            _ => Ok(()),
        }
    }

    /// What whoever rewrites or copies blocks leaves free.
    pub(super) fn rewrite_left_bytes(&self) -> u64 {
        (self.options.disk_reserve_bytes / 2).saturating_add(CATALOG_SPACE_BYTES)
    }

    /// How much may be written to put blocks in the place of others, which take their space until then. What a file system
    /// that does not say how much is left has no room for is found out by the write.
    pub(super) fn rewrite_bytes_max(&self) -> u64 {
        let available = self.files.available_bytes(&self.folder);
        available.map_or(u64::MAX, |available| available.saturating_sub(self.rewrite_left_bytes()))
    }
}
