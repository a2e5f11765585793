//! Segments of the log with damage: what nobody could copy is not removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{NOW_MS, append, everything, open, open_with, options};
use parking_lot::Mutex;
use storage::Engine;
use storage::files::{FileError, HookedFiles, RealFiles};

/// A folder whose log has a segment with damage; the segment and its bytes.
fn damaged(folder: &Path) -> (PathBuf, Vec<u8>) {
    let engine = open(folder, options());
    for series in 0..3 {
        append(&*engine, &[(series, NOW_MS, 1.0)]).expect("appended");
    }
    drop(engine);
    let path = folder.join("log/00000001.seg");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[60] ^= 1;
    fs::write(&path, &bytes).expect("written");
    (path, bytes)
}

/// An engine on files of which those `operations` find no room that are about the quarantine, as long as `full` says.
fn without_room(folder: &Path, operations: &'static [&'static str], full: &Arc<Mutex<bool>>) -> Arc<Engine> {
    let full = full.clone();
    let files = HookedFiles::over(Arc::new(RealFiles), move |operation, path| {
        // A segment is moved from where it is.
        let touched = path.to_string_lossy().contains("quarantine") || path.to_string_lossy().ends_with("00000001.seg");
        let refused = *full.lock() && touched && operations.contains(&operation);
        let error = || FileError::new("create", path, io::Error::from(io::ErrorKind::StorageFull));
        if refused { Err(error()) } else { Ok(()) }
    });
    open_with(folder, options(), Arc::new(files))
}

fn flushed(engine: &Engine, series: u32) {
    append(engine, &[(series, NOW_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
}

#[test]
fn a_segment_that_could_not_be_copied_is_moved_when_it_is_trimmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = damaged(folder.path());
    let engine = without_room(folder.path(), &["create"], &Arc::new(Mutex::new(true)));
    assert_eq!((engine.stats().damage.len(), path.exists()), (1, true));
    assert!(!folder.path().join("quarantine/log-00000001.seg").exists());
    let before = everything(&*engine);
    assert!(before.len() < 3, "what is damaged is not read");
    flushed(&engine, 9);
    assert!(!path.exists() && engine.stats().log_bytes == 0);
    assert_eq!(fs::read(folder.path().join("quarantine/log-00000001.seg")).expect("it is there"), bytes);
    drop(engine);
    let engine = open(folder.path(), options());
    assert_eq!((everything(&*engine).len(), engine.stats().damage.len()), (before.len() + 1, 0));
}

#[test]
fn a_segment_that_can_be_neither_copied_nor_moved_stays_until_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = damaged(folder.path());
    let full = Arc::new(Mutex::new(true));
    let engine = without_room(folder.path(), &["create", "rename"], &full);
    flushed(&engine, 9);
    assert_eq!(fs::read(&path).expect("it is there"), bytes);
    drop(engine);
    // Found again at the next start, and no sample of it counts twice.
    let engine = without_room(folder.path(), &["create", "rename"], &full);
    assert_eq!(engine.stats().damage.len(), 1);
    flushed(&engine, 10);
    assert_eq!(fs::read(&path).expect("it is there"), bytes);
    let all = everything(&*engine);
    *full.lock() = false;
    flushed(&engine, 11);
    assert!(!path.exists());
    assert_eq!(fs::read(folder.path().join("quarantine/log-00000001.seg")).expect("it is there"), bytes);
    assert_eq!(everything(&*engine).len(), all.len() + 1);
}

/// Whatever is made when a folder is opened first, a power cut leaves: each folder that something was made in is synced.
#[test]
fn the_folders_of_a_new_engine_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let synced = Arc::new(Mutex::new(Vec::new()));
    let seen = synced.clone();
    let files = HookedFiles::over(Arc::new(RealFiles), move |operation, path| {
        if operation == "sync_dir" {
            // Only what is there by then lasts.
            let there = fs::read_dir(path).map_or(0, Iterator::count);
            seen.lock().push((path.to_owned(), there));
        }
        Ok(())
    });
    let data = folder.path().join("new").join("data");
    let engine = open_with(&data, options(), Arc::new(files));
    for dir in [folder.path().to_owned(), folder.path().join("new"), data.clone(), data.join("catalog")] {
        let there = fs::read_dir(&dir).expect("a folder").count();
        assert!(there > 0 && synced.lock().contains(&(dir.clone(), there)), "{} with {there}", dir.display());
    }
    drop(engine);
}
