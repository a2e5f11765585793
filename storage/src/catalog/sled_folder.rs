//! Opening sled's folder, whatever a process that was killed left in it.
//!
//! sled 0.34 does not open what it leaves itself when its process ends at two moments of a start, though nothing is lost:
//!
//! - It writes `snap.NUMBER.generating` and renames it to `snap.NUMBER`, but counts the first among its snapshots too, and as the newest.
//!   Half of one is then a damaged catalog, and one that is longer than the next to be written makes that one damaged.
//! - It writes `conf` in two pieces when its file `db` is still empty.
//!
//! So such files are removed before it looks. That no other sled has the folder is the engine's lock's business.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// Memory that sled may use for its pages. It keeps to it only roughly, so it is small; series are written and read
/// in the order of their ids, so that more would help little.
const CACHE_BYTES: u64 = 4 << 20;
/// Length of the pieces in which sled's file grows, for new catalogs. After a day with a flush a minute a catalog of a
/// few series has 0.6 MiB with this, 2.6 MiB with sled's default of four times as much. A leaf of the tree that is
/// longer than a quarter would become a file of its own; with sixteen label pages it is not.
const SEGMENT_BYTES: usize = 128 << 10;
/// How often sled's lock is tried again.
const LOCK_RETRIES_MAX: usize = 200;
/// Pause between two tries.
const LOCK_RETRY_PAUSE: Duration = Duration::from_millis(10);
/// End of the name of a snapshot that is not whole.
const UNFINISHED: &str = ".generating";

/// Opens sled. Threads of an engine that was just dropped in this process may hold its lock a moment longer; that no
/// other process has the folder is the engine's own lock's business.
pub(super) fn open_sled(folder: &Path) -> sled::Result<sled::Db> {
    forget_unfinished(folder)?;
    // sled insists on the length that its files were made with.
    let segment_bytes = fs::read(folder.join("conf")).ok().and_then(|conf| segment_bytes_of(&conf));
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .segment_size(segment_bytes.unwrap_or(SEGMENT_BYTES))
        .flush_every_ms(None);
    for _ in 0..LOCK_RETRIES_MAX {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(LOCK_RETRY_PAUSE);
            }
            opened => return opened,
        }
    }
    config.open()
}

/// Removes what is not whole and holds nothing.
fn forget_unfinished(folder: &Path) -> io::Result<()> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(UNFINISHED)) {
            tracing::info!(file = %entry.path().display(), "a snapshot of the catalog that was not finished is removed");
            remove(&entry.path())?;
        }
    }
    let is_new = fs::metadata(folder.join("db")).map_or(true, |db| db.len() == 0);
    if is_new { remove(&folder.join("conf")) } else { Ok(()) }
}

/// The segment length in sled's `conf`: lines of `name: value`, and a checksum that is no text.
fn segment_bytes_of(conf: &[u8]) -> Option<usize> {
    let value = conf.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"segment_size: "))?;
    std::str::from_utf8(value).ok()?.trim().parse().ok().filter(|bytes: &usize| bytes.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one entry, whose file is of the length.
    fn made(folder: &Path) {
        let db = open_sled(folder).expect("new");
        db.insert("key", "value").expect("set");
        db.flush().expect("flushed");
    }

    #[track_caller]
    fn check(folder: &Path, case: &str) {
        let db = open_sled(folder).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(db.get("key").expect("read").as_deref(), Some(&b"value"[..]), "{case}");
    }

    fn snapshot(folder: &Path) -> Vec<u8> {
        let entries = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
        let is_snapshot = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("snap.");
        fs::read(entries.into_iter().find(is_snapshot).expect("a snapshot")).expect("read")
    }

    /// Wherever in writing a snapshot its process was killed, and whichever snapshot it was.
    #[test]
    fn a_snapshot_that_was_not_finished_costs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        made(folder.path());
        check(folder.path(), "whole");
        let whole = snapshot(folder.path());
        for name in ["snap.0000000000000000.generating", "snap.FFFFFFFFFFFFFFFF.generating"] {
            for length in [0, 1, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
                fs::write(folder.path().join(name), &whole[..length]).expect("written");
                check(folder.path(), &format!("{length} bytes of {name}"));
                assert!(!folder.path().join(name).exists());
            }
        }
    }

    /// Each snapshot is shorter than what an earlier start left under its name.
    #[test]
    fn an_unfinished_snapshot_is_no_part_of_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        made(folder.path());
        check(folder.path(), "whole");
        for lsn in 0..0x400 {
            fs::write(folder.path().join(format!("snap.{lsn:016X}.generating")), vec![7; 9999]).expect("written");
        }
        for round in 0..3 {
            check(folder.path(), &format!("round {round}"));
            assert!(snapshot(folder.path()).len() < 9999);
        }
    }

    #[test]
    fn settings_that_were_not_finished_are_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        made(folder.path());
        let conf = fs::read(folder.path().join("conf")).expect("read");
        for db in [None, Some("")] {
            for length in 0..conf.len() {
                let folder = tempfile::tempdir().expect("a folder");
                fs::write(folder.path().join("conf"), &conf[..length]).expect("written");
                if let Some(db) = db {
                    fs::write(folder.path().join("db"), db).expect("written");
                }
                drop(open_sled(folder.path()).unwrap_or_else(|error| panic!("{length} bytes, {db:?}: {error}")));
                assert_eq!(fs::read(folder.path().join("conf")).expect("read"), conf);
            }
        }
    }
}
