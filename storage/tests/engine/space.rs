//! A disk with little room: what goes on, what waits, and what is dropped to make some.

use std::fs;
use std::io;
use std::sync::Arc;

use crate::support::{NOW_MS, append, everything, open, open_with, options};
use storage::files::{FaultyFiles, FileError, HookedFiles, RealFiles};
use storage::{Engine, EngineOptions};

const DAY_MS: i64 = 86_400_000;
/// What changing the catalog takes.
const CATALOG_BYTES: u64 = 4 << 20;

/// Two blocks for each of so many days that are over, the oldest first, and one for today.
fn days(engine: &Engine, days: i64) {
    for day in (1..=days).rev() {
        for round in 0..2 {
            append(engine, &[(1, NOW_MS - day * DAY_MS + round, 0.5)]).expect("appended");
            engine.flush().expect("flushed");
        }
    }
    append(engine, &[(1, NOW_MS, 0.5)]).expect("appended");
    engine.flush().expect("flushed");
}

#[test]
fn the_folder_is_kept_small_also_where_nothing_can_be_merged() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let engine = open_with(folder.path(), EngineOptions { disk_bytes_max: 1, ..options() }, Arc::new(files.clone()));
    days(&engine, 3);
    // Found out by the merge itself.
    files.set_available_bytes(Some(1 << 40));
    files.set_disk_full(true);
    engine.maintain().expect("what is too much is dropped");
    let stats = engine.stats();
    assert_eq!((stats.merges, stats.disk_limit_drops, stats.blocks), (0, 3, 1));
}

#[test]
fn merges_leave_half_of_the_reserve_to_flushes() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let reserve_bytes = 100 << 20;
    let few = EngineOptions { disk_reserve_bytes: reserve_bytes, ..options() };
    let engine = open_with(folder.path(), few, Arc::new(files.clone()));
    days(&engine, 1);
    append(&*engine, &[(2, NOW_MS, 1.0)]).expect("appended");
    let before = everything(&*engine);
    let kept_bytes = reserve_bytes / 2 + CATALOG_BYTES;
    files.set_available_bytes(Some(kept_bytes));
    engine.maintain().expect("merging waits");
    assert_eq!(engine.stats().merges, 0);
    engine.flush().expect("a flush takes what there is");
    files.set_available_bytes(Some(kept_bytes + (1 << 20)));
    engine.maintain().expect("merged");
    assert_eq!((engine.stats().merges, everything(&*engine)), (1, before));
}

#[test]
fn a_merge_without_room_keeps_no_smaller_one_waiting() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
    let random = &mut fastrand::Rng::with_seed(7);
    let large: Vec<_> = (0..4000).map(|at| (1, NOW_MS - 5 * DAY_MS + at, random.f64())).collect();
    for part in large.chunks(2000) {
        append(&*engine, part).expect("appended");
        engine.flush().expect("flushed");
    }
    days(&engine, 1);
    files.set_available_bytes(Some(CATALOG_BYTES + 20_000));
    engine.maintain().expect("maintained");
    let stats = engine.stats();
    assert_eq!((stats.merges, stats.blocks), (1, 4));
    files.set_available_bytes(None);
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().merges, engine.stats().blocks), (2, 3));
}

/// What lies in quarantine takes room too.
#[test]
fn the_disk_limit_counts_the_quarantine() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    days(&engine, 2);
    engine.close().expect("closed");
    let bytes_max = engine.stats().block_bytes + engine.stats().catalog_bytes + (1 << 20);
    let limited = || open(folder.path(), EngineOptions { disk_bytes_max: bytes_max, ..options() });
    let engine = limited();
    engine.maintain().expect("maintained");
    assert_eq!(engine.stats().disk_limit_drops, 0);
    drop(engine);
    fs::create_dir_all(folder.path().join("quarantine")).expect("made");
    fs::write(folder.path().join("quarantine/unnamed-1.blk"), vec![0; 2 << 20]).expect("written");
    let engine = limited();
    engine.maintain().expect("maintained");
    assert_eq!(engine.stats().disk_limit_drops, 2);
}

/// A damaged block of which no copy can be made is left as it is, and others are merged.
#[test]
fn a_quarantine_that_takes_nothing_holds_up_one_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    days(&engine, 2);
    drop(engine);
    let path = folder.path().join("blocks/00000000.blk");
    let mut bytes = fs::read(&path).expect("read");
    bytes[40] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let full = HookedFiles::over(Arc::new(RealFiles), |operation, path| {
        let refused = operation == "create" && path.to_string_lossy().contains("quarantine");
        let full = || FileError::new("create", path, io::Error::from(io::ErrorKind::StorageFull));
        if refused { Err(full()) } else { Ok(()) }
    });
    let engine = open_with(folder.path(), options(), Arc::new(full));
    for _ in 0..2 {
        engine.maintain().expect("maintained");
        let stats = engine.stats();
        assert_eq!((stats.merges, stats.blocks, stats.damage.len()), (1, 4, 1), "{:?}", stats.damage);
    }
    assert_eq!(fs::read(&path).expect("read"), bytes);
    drop(engine);
    let engine = open(folder.path(), options());
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().merges, engine.stats().blocks), (1, 3));
    assert_eq!(fs::read(folder.path().join("quarantine/block-00000000.blk")).expect("a copy"), bytes);
}
