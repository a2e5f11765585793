//! Long values, which sled keeps in files of their own: a node of a tree that is longer than a quarter of a segment goes to the
//! folder `blobs`, and only a pointer to it into the log.
//!
//! sled 0.34 writes such a file and never syncs it, so that a power cut could leave a pointer without its value. Whoever makes the
//! log last syncs these files before.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The files of long values of one catalog.
#[derive(Debug)]
pub(super) struct LongValues {
    folder: PathBuf,
    /// Those that are on disk. sled never writes to one again.
    synced: Mutex<BTreeSet<OsString>>,
}

impl LongValues {
    /// Those of the catalog in `catalog`. Which of them are on disk is not known yet.
    pub(super) fn of(catalog: &Path) -> Self {
        Self { folder: catalog.join("blobs"), synced: Mutex::default() }
    }

    /// Puts those on disk that were written since, and says how many that were.
    pub(super) fn sync(&self) -> io::Result<usize> {
        let mut synced = self.synced.lock();
        let mut present = BTreeSet::new();
        let mut new = 0;
        for entry in self.folder.read_dir()? {
            let entry = entry?;
            if !synced.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // Its value has another by now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                new += 1;
            }
            present.insert(entry.file_name());
        }
        if new > 0 {
            File::open(&self.folder)?.sync_all()?;
        }
        *synced = present;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::catalog::open_sled;

    #[test]
    fn each_long_value_is_synced_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = folder.path().join("catalog");
        let db = open_sled(&catalog).expect("opens");
        let values = LongValues::of(&catalog);
        assert_eq!(values.sync().expect("synced"), 0);
        let mut random = fastrand::Rng::with_seed(7);
        let mut insert = |key: &str, bytes: usize| {
            let value: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
            db.insert(key, value).expect("inserted");
        };
        insert("short", 100);
        assert_eq!(values.sync().expect("synced"), 0);
        insert("long", 200_000);
        assert!(values.sync().expect("synced") > 0, "a value of this length has a file");
        assert_eq!(values.sync().expect("synced"), 0, "none is synced twice");
        // Another process may not have come to it.
        assert!(LongValues::of(&catalog).sync().expect("synced") > 0);
    }
}
