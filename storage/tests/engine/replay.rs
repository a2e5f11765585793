//! Opening without waiting for the log: what is read, refused and waited for meanwhile, and every way it can end.

use std::path::Path;
use std::sync::Arc;

use model::{ManualClock, SinkError, TimestampMs};
use storage::files::HeldSegments;
use storage::{Engine, EngineOptions, MemoryStore, OpenError};

use crate::support::{NOW_MS, append, everything, open, options};

/// Segments with a record each.
fn small() -> EngineOptions {
    EngineOptions { log_segment_bytes: 1, ..options() }
}

/// Requests 0 and 1 are in a block, 2 to 5 in the segments 3 to 6 of the log; `model` gets those below `taken`.
fn written(folder: &Path, taken: i32) -> MemoryStore {
    let engine = open(folder, small());
    let model = MemoryStore::new();
    for number in 0..6 {
        let rows: Vec<_> =
            (0..4).map(|series| (series, NOW_MS + i64::from(number) * 1000, f64::from(number))).collect();
        append(&*engine, &rows).expect("taken");
        if number < taken {
            append(&model, &rows).expect("taken");
        }
        if number == 1 {
            engine.flush().expect("flushed");
        }
    }
    model
}

fn replaying(folder: &Path, options: EngineOptions) -> (Arc<Engine>, HeldSegments) {
    let files = HeldSegments::default();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = Engine::open_replaying_with(folder, options, clock, files.files()).expect("opens");
    (engine, files)
}

/// Waits until what can be read is what `model` has.
fn wait_for(engine: &Engine, model: &MemoryStore) {
    while everything(engine) != everything(model) {
        std::thread::yield_now();
    }
}

#[test]
fn blocks_and_what_is_back_are_read_while_the_log_replays() {
    let folder = tempfile::tempdir().expect("a folder");
    let (blocks, half) = (written(folder.path(), 2), MemoryStore::new());
    for number in 0..4 {
        let rows: Vec<_> =
            (0..4).map(|series| (series, NOW_MS + i64::from(number) * 1000, f64::from(number))).collect();
        append(&half, &rows).expect("taken");
    }
    let (engine, files) = replaying(folder.path(), small());
    assert_eq!(everything(&*engine), everything(&blocks));
    let start = engine.replaying().expect("under way");
    assert_eq!((start.bytes, start.of_bytes), (0, engine.stats().log_bytes));
    files.allow(4);
    wait_for(&engine, &half);
    let progress = engine.replaying().expect("under way");
    assert!(0 < progress.bytes && progress.bytes < progress.of_bytes, "{progress:?}");

    let rows = [(9, NOW_MS, 1.0)];
    let refused = append(&*engine, &rows).expect_err("it comes too early");
    assert!(matches!(&refused, SinkError::Busy { detail, .. } if *detail == progress.to_string()), "{refused}");
    // A flush waits for the end, and then has everything.
    let flushing = std::thread::spawn({
        let engine = engine.clone();
        move || engine.flush()
    });
    files.allow(u64::MAX);
    engine.wait_replayed().expect("replayed");
    flushing.join().expect("no panic").expect("flushed");
    assert_eq!((engine.replaying(), engine.stats().replayed_records), (None, 4));
    append(&*engine, &rows).expect("taken");
    engine.close().expect("closed");
}

#[test]
fn a_replay_that_is_given_up_loses_and_repeats_nothing() {
    for allowed in [2, 3, 5] {
        let folder = tempfile::tempdir().expect("a folder");
        let model = written(folder.path(), 6);
        let (engine, files) = replaying(folder.path(), small());
        files.allow(allowed);
        // Whoever closes waits for the segment that is being read.
        let closing = std::thread::spawn({
            let engine = engine.clone();
            move || engine.close()
        });
        while !matches!(append(&*engine, &[(0, NOW_MS, 0.0)]), Err(SinkError::Closed)) {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        files.allow(allowed + 1);
        closing.join().expect("no panic").expect("closed");
        if engine.wait_replayed().is_err() {
            assert!(engine.flush().is_err(), "half a log must not become blocks");
        }
        drop(engine);
        let engine = open(folder.path(), small());
        assert_eq!(everything(&*engine), everything(&model), "after {allowed} segments");
    }
}

#[test]
fn damage_found_by_a_replay_beside_readers_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 6);
    let path = folder.path().join("log/00000005.seg");
    let mut bytes = std::fs::read(&path).expect("a segment");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let (engine, files) = replaying(folder.path(), small());
    assert_eq!(engine.stats().damage, []);
    files.allow(u64::MAX);
    engine.wait_replayed().expect("the rest is readable");
    let damage = engine.stats().damage;
    assert_eq!(damage[0].file, path, "{damage:?}");
    let copies = std::fs::read_dir(folder.path().join("quarantine")).expect("the copies");
    assert!(copies.count() > 0);
    assert_eq!(everything(&*engine)[0].1.len(), 5);
}

#[test]
fn a_log_that_cannot_be_read_leaves_the_blocks_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocks = written(folder.path(), 2);
    // A segment of a version to come.
    let path = folder.path().join("log/00000003.seg");
    let mut bytes = std::fs::read(&path).expect("a segment");
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).expect("written");
    let (engine, files) = replaying(folder.path(), EngineOptions { background: true, ..small() });
    files.allow(u64::MAX);
    assert!(matches!(engine.wait_replayed(), Err(OpenError::Log(_))));
    assert!(matches!(engine.wait_replayed(), Err(OpenError::Replay)), "told once");
    assert!(engine.stats().poisoned.is_some_and(|detail| detail.contains("version 2")));
    assert!(matches!(append(&*engine, &[(0, NOW_MS, 0.0)]), Err(SinkError::Poisoned { .. })));
    assert_eq!(everything(&*engine), everything(&blocks));
    engine.close().expect("nothing to flush");
    assert_eq!(std::fs::read_dir(folder.path().join("log")).expect("the log").count(), 4, "it stays as it is");
}
