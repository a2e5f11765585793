//! A disk with little room: what goes on, what waits, and what is dropped to make some.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::{NOW_MS, append, everything, open, open_with, options};
use model::{Labels, ManualClock, SampleSink, TimestampMs, WriteBatch};
use storage::files::{AfterFault, Fault, FaultyFiles, FileError, HookedFiles, RealFiles};
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
fn rounds_that_fail_are_counted() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
    days(&engine, 2);
    let counts = || (engine.stats().merges, engine.stats().maintenance_failures);
    files.set_available_bytes(Some(1 << 40));
    files.set_disk_full(true);
    engine.maintain().expect("merging waits for room");
    assert_eq!(counts(), (0, 1));
    files.set_disk_full(false);
    files.fail_at(files.changes() + 1, Fault::Fail, AfterFault::Recovers);
    engine.maintain().expect_err("the disk failed");
    assert_eq!(counts().1, 2);
    engine.maintain().expect("merged");
    assert_eq!((counts().0 > 0, counts().1), (true, 2), "{:?}", engine.stats());
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
    assert!(engine.stats().merge_waiting_bytes > 0, "{:?}", engine.stats());
    engine.flush().expect("a flush takes what there is");
    files.set_available_bytes(Some(kept_bytes + (1 << 20)));
    engine.maintain().expect("merged");
    assert_eq!((engine.stats().merges, everything(&*engine)), (1, before));
    assert_eq!(engine.stats().merge_waiting_bytes, 0);
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
    assert!(stats.merge_waiting_bytes > 20_000, "{stats:?}");
    files.set_available_bytes(None);
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().merges, engine.stats().blocks), (2, 3));
    assert_eq!(engine.stats().merge_waiting_bytes, 0);
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

/// So do the files that find series which are written no more.
#[test]
fn the_disk_limit_counts_the_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let cold = EngineOptions { cold_after_ms: -DAY_MS, cold_series_min: 1, ..options() };
    let engine = open(folder.path(), cold.clone());
    let random = &mut fastrand::Rng::with_seed(7);
    let mut batch = WriteBatch::new();
    for _ in 0..3000 {
        // Longer than the steps in which the catalog grows.
        let value: String = (0..300).map(|_| random.alphanumeric()).collect();
        batch.push_series(Labels::from_pairs([("__name__", "m"), ("value", &value)]).expect("valid labels").as_ref());
        batch.push_sample(NOW_MS - 2 * DAY_MS, 0.5);
    }
    engine.append(&batch).expect("appended");
    days(&engine, 1);
    engine.maintain().expect("cooled");
    engine.close().expect("closed");
    let stats = engine.stats();
    let (files_bytes, others_bytes) = (stats.index.file_bytes, stats.block_bytes + stats.catalog_bytes);
    assert!(files_bytes > 500_000, "{:?}", stats.index);
    for (room_bytes, drops) in [(files_bytes + (1 << 20), 0), (files_bytes / 2, 1)] {
        let limited = EngineOptions { disk_bytes_max: others_bytes + room_bytes, ..cold.clone() };
        let engine = open(folder.path(), limited);
        engine.maintain().expect("maintained");
        assert_eq!(engine.stats().disk_limit_drops.min(1), drops, "{:?}", engine.stats());
    }
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

/// Wherever in a merge, or in what summaries take the place of, the room for the catalog goes: no block stays that nobody needs.
#[test]
fn no_block_is_left_behind_where_room_goes_on_the_way() {
    let mut ended = false;
    for looks in 0..40 {
        let folder = tempfile::tempdir().expect("a folder");
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let files = FaultyFiles::new();
        files.set_available_bytes(Some(1 << 40));
        let (counted, inner) = (left.clone(), files.clone());
        let looked = HookedFiles::over(Arc::new(files), move |operation, _| {
            if operation == "available_bytes" && counted.fetch_sub(1, Ordering::Relaxed) <= 0 {
                inner.set_available_bytes(Some(1000));
            }
            Ok(())
        });
        let rule = storage::LifetimeRule {
            text: "all".to_owned(),
            matchers: Vec::new(),
            raw_ms: Some(DAY_MS),
            steps: vec![storage::LifetimeStep { window_ms: 3_600_000, keep_ms: None }],
        };
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS - 3 * DAY_MS)));
        let options = EngineOptions { lifetimes: vec![rule], ..options() };
        let engine = Engine::open_with(folder.path(), options, clock.clone(), Arc::new(looked)).expect("opens");
        days(&engine, 3);
        clock.set(TimestampMs(NOW_MS));
        left.store(looks, Ordering::Relaxed);
        for _ in 0..3 {
            // Whatever it says of the room.
            drop(engine.maintain());
        }
        let blocks = fs::read_dir(folder.path().join("blocks")).expect("a folder").count();
        assert_eq!(blocks as u64, engine.stats().blocks, "{looks} looks");
        assert_eq!(engine.stats().poisoned, None);
        ended |= left.load(Ordering::Relaxed) > 0;
    }
    assert!(ended, "some rounds end before the room goes");
}
