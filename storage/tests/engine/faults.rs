//! The engine on a disk that fails: whatever change fails, what was acknowledged is there after reopening, once.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::{Content, NOW_MS, Row, append, batch, batch_of, counter, everything, open, open_with, options};
use model::{SampleSink, SeriesSource, SinkError, TimeRange};
use storage::files::{AfterFault, Fault, FaultyFiles, Files};
use storage::{Durability, Engine, EngineOptions, MemoryStore};

fn synced() -> EngineOptions {
    EngineOptions { durability: Durability::Sync, log_segment_bytes: 400, ..options() }
}

fn on(files: &FaultyFiles) -> Arc<dyn Files> {
    Arc::new(files.clone())
}

/// The rows of the append number `round`: new series, known ones, and one sample that is said anew each time.
fn rows(round: u32) -> Vec<Row> {
    let at_ms = NOW_MS + i64::from(round) * 15_000;
    let mut rows: Vec<Row> = (0..round + 2).map(|series| Row::plain(series, at_ms, f64::from(round))).collect();
    rows.push(Row::plain(0, NOW_MS - 86_400_000, f64::from(round)));
    // A histogram where there was a float before, and one after another, of a series of its own.
    rows.push(Row::histogram(1, NOW_MS, counter(1, 3, &[1.0, f64::from(round)])));
    rows.push(Row::histogram(50, at_ms, counter(0, -1, &[2.0, 0.0, f64::from(round)])));
    rows
}

/// What a scenario got to.
#[derive(Default)]
struct Progress {
    acknowledged: MemoryStore,
    /// The round that was refused; it may be there after reopening, or not.
    refused: Option<u32>,
}

/// Appends, flushes and merges until something fails; says whether nothing did.
fn scenario(engine: &Engine, progress: &mut Progress) -> bool {
    for round in 0..6 {
        if engine.append(&batch_of(&rows(round))).is_err() {
            progress.refused = Some(round);
            return false;
        }
        progress.acknowledged.append(&batch_of(&rows(round))).expect("the model takes all");
        if round != 2 && engine.flush().is_err() {
            return false;
        }
    }
    engine.maintain().is_ok()
}

#[track_caller]
fn check_reopened(got: &Content, progress: &Progress, case: &str) {
    let want = everything(&progress.acknowledged);
    if let (Some(refused), false) = (progress.refused, *got == want) {
        progress.acknowledged.append(&batch_of(&rows(refused))).expect("the model takes all");
        assert_eq!(*got, everything(&progress.acknowledged), "{case}");
    } else {
        assert_eq!(*got, want, "{case}");
    }
}

#[test]
fn every_failing_change_leaves_what_was_acknowledged() {
    // Every change fails once; the other faults hit every third.
    for (fault, after, power_cut, step) in [
        (Fault::Fail, AfterFault::Dead, false, 1),
        (Fault::Tear(40), AfterFault::Dead, true, 3),
        (Fault::Tear(7), AfterFault::Recovers, false, 3),
    ] {
        let mut reached = true;
        for at in (0..).step_by(step) {
            if !reached {
                break;
            }
            let case = format!("{fault:?}, {after:?}, power cut {power_cut}, change {at}");
            let folder = tempfile::tempdir().expect("a folder");
            let files = FaultyFiles::new();
            files.fail_at(at, fault, after);
            let mut progress = Progress::default();
            let clock = Arc::new(model::ManualClock::new(model::TimestampMs(NOW_MS)));
            if let Ok(engine) = Engine::open_with(folder.path(), synced(), clock, on(&files)) {
                let went_well = scenario(&engine, &mut progress);
                // Reads go on after a failure, and show nothing that was refused.
                assert_eq!(everything(&*engine), everything(&progress.acknowledged), "{case}");
                reached = files.changes() > at;
                assert!(reached || went_well, "{case}");
            }
            if power_cut {
                files.power_cut().expect("the folder is real");
            }
            let engine = open(folder.path(), synced());
            check_reopened(&everything(&*engine), &progress, &case);
            assert_eq!(engine.stats().damage, vec![], "{case}");
            // It is whole again: it takes more, and keeps it over another start.
            append(&*engine, &[(99, NOW_MS, 1.0)]).expect("appended");
            engine.flush().expect("flushed");
            let before = everything(&*engine);
            drop(engine);
            if at % 6 == 0 {
                assert_eq!(everything(&*open(folder.path(), synced())), before, "{case}");
            }
        }
    }
}

#[test]
fn a_failed_sync_ends_writing_until_reopened() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), synced(), on(&files));
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    // The record is written, then its sync fails.
    files.fail_at(files.changes() + 1, Fault::Fail, AfterFault::Recovers);
    for _ in 0..3 {
        assert!(matches!(append(&*engine, &[(2, NOW_MS, 2.0)]), Err(SinkError::Poisoned { .. })));
    }
    assert!(engine.flush().is_err() && engine.stats().poisoned.is_some());
    assert_eq!(everything(&*engine).len(), 1, "reads go on, without what was refused");
    drop(engine);
    let engine = open(folder.path(), synced());
    append(&*engine, &[(3, NOW_MS, 3.0)]).expect("reopening heals");
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), EngineOptions { disk_reserve_bytes: 1000, ..synced() }, on(&files));
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    for round in 2..12u32 {
        // Found out beforehand, or found out by the write or the new segment.
        let by_write = round % 2 == 1;
        files.set_available_bytes(Some(if by_write { 1 << 40 } else { 999 }));
        files.set_disk_full(by_write);
        let refused = append(&*engine, &[(round, NOW_MS, 1.0)]);
        assert!(matches!(refused, Err(SinkError::DiskFull { needed_bytes: 1000.., .. })), "{refused:?}");
        assert_eq!(everything(&*engine).len(), round as usize - 1, "reads go on");
        files.set_available_bytes(None);
        files.set_disk_full(false);
        append(&*engine, &[(round, NOW_MS, 1.0)]).expect("space has returned");
    }
    files.set_disk_full(true);
    assert!(engine.flush().is_err());
    files.set_disk_full(false);
    append(&*engine, &[(1, NOW_MS + 1, 2.0)]).expect("a failed flush stops nothing");
    engine.flush().expect("flushed");
    assert_eq!(engine.stats().log_bytes, 0);
    let before = everything(&*engine);
    drop(engine);
    assert_eq!(everything(&*open(folder.path(), synced())), before);
}

/// Every cut of the last record: all before it is there, and the engine goes on.
#[test]
fn a_torn_log_loses_the_unfinished_record_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path(), options());
    append(&*first, &[(1, NOW_MS, 1.0), (2, NOW_MS, 2.0)]).expect("appended");
    let kept = everything(&*first);
    drop(first);
    let segment = folder.path().join("log/00000001.seg");
    let whole_bytes = fs::metadata(&segment).expect("a segment").len();
    let second = open(folder.path(), options());
    append(&*second, &[(1, NOW_MS, 7.0), (3, NOW_MS, 3.0)]).expect("appended");
    let all = everything(&*second);
    drop(second);
    let torn = folder.path().join("log/00000002.seg");
    let bytes = fs::read(&torn).expect("read");
    assert!(whole_bytes > 0 && bytes.len() > 50);
    for length in 0..=bytes.len() {
        fs::write(&torn, &bytes[..length]).expect("written");
        let engine = open(folder.path(), options());
        let want = if length == bytes.len() { &all } else { &kept };
        assert_eq!(everything(&*engine), *want, "{length} bytes");
        assert_eq!(engine.stats().damage, vec![], "{length} bytes");
    }
}

#[test]
fn damaged_log_and_blocks_are_reported_and_the_rest_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    for series in 0..3 {
        append(&*engine, &[(series, NOW_MS, 1.0)]).expect("appended");
    }
    engine.flush().expect("flushed");
    for series in 3..6 {
        append(&*engine, &[(series, NOW_MS + 86_400_000, 1.0)]).expect("appended");
    }
    engine.flush().expect("flushed");
    for series in 0..3 {
        append(&*engine, &[(series, NOW_MS + 1, 2.0)]).expect("appended");
    }
    drop(engine);
    let flip = |path: std::path::PathBuf, at: usize| {
        let mut bytes = fs::read(&path).expect("read");
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("written");
    };
    flip(folder.path().join("blocks/00000000.blk"), 20);
    flip(folder.path().join("log/00000003.seg"), 60);
    let engine = open(folder.path(), options());
    let damage = engine.stats().damage;
    let files: Vec<_> = damage.iter().map(|damage| damage.file.file_name().and_then(|name| name.to_str())).collect();
    assert_eq!(files, [Some("00000000.blk"), Some("00000003.seg")], "{damage:?}");
    assert_eq!(engine.stats().blocks_quarantined, 1);
    assert_eq!(everything(&*engine).len(), 5, "two series of the log, three of the other block");
    assert!(folder.path().join("quarantine/log-00000003.seg").exists());
    // The engine goes on, and a repaired block is read again with its series.
    append(&*engine, &[(9, NOW_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    engine.maintain().expect("maintained");
    drop(engine);
    flip(folder.path().join("blocks/00000000.blk"), 20);
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().damage, vec![]);
    let set = engine.select(&[], TimeRange::new(NOW_MS, NOW_MS), 99).expect("selected");
    assert_eq!(set.len(), 4);
}

/// A damaged chunk costs its samples, is reported, and keeps nothing else from being read or merged.
#[test]
fn a_damaged_chunk_costs_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    for day in [0, 1] {
        for round in 0..4 {
            for series in 0..3 {
                // One timestamp column and one chunk each.
                let at_ms = NOW_MS + day * 86_400_000 + round * 100 + i64::from(series);
                append(&*engine, &[(series, at_ms, 0.1), (series, at_ms + 50, 0.7)]).expect("appended");
            }
            engine.flush().expect("flushed");
        }
    }
    drop(engine);
    let path = folder.path().join("blocks/00000001.blk");
    let mut bytes = fs::read(&path).expect("read");
    bytes[40] ^= 1;
    fs::write(&path, bytes).expect("written");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().damage, vec![], "chunks are looked at when they are read");
    let set = engine.select(&[], TimeRange::ALL, 9).expect("selected");
    let mut samples = model::Samples::default();
    for _ in 0..2 {
        let cost = set.read(0, &mut samples).expect("the rest is read");
        assert_eq!((cost.chunks_lost, samples.len()), (1, 14));
        assert_eq!(engine.stats().damage.len(), 1, "a reader reports it, once");
    }
    for _ in 0..2 {
        engine.maintain().expect("both days are merged");
        let stats = engine.stats();
        assert_eq!((stats.merges, stats.blocks, stats.damage.len()), (2, 2, 1), "{:?}", stats.damage);
        assert_eq!(stats.damage[0].file, path);
    }
    assert!(folder.path().join("quarantine/block-00000001.blk").exists(), "what is lost can still be looked at");
    assert!(!path.exists());
    let set = engine.select(&[], TimeRange::ALL, 9).expect("selected");
    let read: Vec<(u64, usize)> =
        (0..set.len()).map(|at| (set.read(at, &mut samples).expect("read").chunks_lost, samples.len())).collect();
    assert_eq!(read, [(0, 14), (0, 16), (0, 16)]);
}

#[test]
fn batches_are_all_or_nothing_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), synced(), on(&files));
    append(&*engine, &[(0, NOW_MS, 0.0)]).expect("appended");
    files.fail_at(files.changes(), Fault::Tear(100), AfterFault::Dead);
    let large: Vec<(u32, i64, f64)> = (0..50).map(|series| (series, NOW_MS + 1, 1.0)).collect();
    assert!(engine.append(&batch(&large)).is_err());
    drop(engine);
    assert_eq!(everything(&*open(folder.path(), synced())).len(), 1);
}

/// sled cannot go on after a write without space, so its space is asked for before.
#[test]
fn without_space_for_the_catalog_nothing_is_poisoned() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), synced(), on(&files));
    for round in 0..4 {
        append(&*engine, &[(1, NOW_MS + round, 1.0)]).expect("appended");
        let blocks_before = engine.stats().blocks;
        files.set_available_bytes(Some(1 << 20));
        assert!(engine.flush().is_err());
        assert!(engine.stats().log_bytes > 0, "the log keeps it");
        let stats = engine.stats();
        assert_eq!((stats.poisoned, stats.blocks), (None, blocks_before));
        let files_left = fs::read_dir(folder.path().join("blocks")).expect("a folder").count();
        assert_eq!(files_left as u64, blocks_before, "unregistered blocks are removed");
        files.set_available_bytes(None);
        engine.flush().expect("space has returned");
    }
    files.set_available_bytes(Some(1 << 20));
    engine.maintain().expect("merging waits for space");
    assert_eq!(engine.stats().merges, 0);
    assert!(engine.merge_to_end().expect_err("told to who asked").to_string().contains("disk is full"));
    files.set_available_bytes(None);
    engine.maintain().expect("merged");
    assert_eq!((engine.stats().merges, everything(&*engine)[0].1.len()), (1, 4));
}

/// Blocks without their catalog would all count as unregistered; they are not removed.
#[test]
fn a_lost_catalog_costs_no_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    let before = everything(&*engine);
    drop(engine);
    let (catalog, aside) = (folder.path().join("catalog"), folder.path().join("aside"));
    fs::rename(&catalog, &aside).expect("moved away");
    for _ in 0..2 {
        let clock = Arc::new(model::ManualClock::new(model::TimestampMs(NOW_MS)));
        let refused = Engine::open(folder.path(), options(), clock);
        assert!(matches!(refused, Err(storage::OpenError::CatalogMissing { blocks: 1, .. })), "{refused:?}");
    }
    fs::rename(&aside, &catalog).expect("moved back");
    assert_eq!(everything(&*open(folder.path(), options())), before);
}

/// Appends to a series that was replayed; it is all there after a power cut.
#[track_caller]
fn check_next_append_lasts(engine: Arc<Engine>, folder: &Path, files: &FaultyFiles) {
    append(&*engine, &[(7, NOW_MS + 1, 2.0)]).expect("acknowledged");
    let want = everything(&*engine);
    drop(engine);
    files.power_cut().expect("the folder is real");
    let engine = open_with(folder, synced(), on(files));
    assert_eq!((everything(&*engine), engine.stats().damage), (want, vec![]));
}

/// What a failed sync left in memory alone is read back from there: it lasts before anything rests on it.
#[test]
fn what_is_replayed_after_a_failed_sync_lasts() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let engine = open_with(folder.path(), synced(), on(&files));
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    files.fail_next_sync(AfterFault::Recovers);
    assert!(matches!(append(&*engine, &[(7, NOW_MS, 1.0)]), Err(SinkError::Poisoned { .. })));
    drop(engine);
    // Without room for it the rest goes on.
    files.set_disk_full(true);
    files.set_available_bytes(Some(1 << 40));
    let engine = open_with(folder.path(), synced(), on(&files));
    assert_eq!(everything(&*engine).len(), 2);
    assert!(matches!(append(&*engine, &[(7, NOW_MS + 1, 2.0)]), Err(SinkError::DiskFull { .. })));
    files.set_disk_full(false);
    check_next_append_lasts(engine, folder.path(), &files);
}

/// A definition that a process wrote, and never synced, lasts once a later process acknowledges samples that rest on it.
#[test]
fn what_is_replayed_lasts() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let never = EngineOptions { durability: Durability::Off, ..synced() };
    let engine = open_with(folder.path(), never, on(&files));
    append(&*engine, &[(7, NOW_MS, 1.0)]).expect("appended");
    drop(engine);
    check_next_append_lasts(open_with(folder.path(), synced(), on(&files)), folder.path(), &files);
}

/// A block whose directory is damaged once it is open tells of no series to be removed, and keeps what is written of it.
#[test]
fn a_directory_that_rots_while_it_is_open_costs_no_series() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    let rows: Vec<(u32, i64, f64)> = (0..40).map(|series| (series, NOW_MS, f64::from(series))).collect();
    append(&*engine, &rows).expect("appended");
    engine.flush().expect("flushed");
    let before = everything(&*engine);
    drop(engine);
    let engine = open(folder.path(), options());
    let path = folder.path().join("blocks/00000000.blk");
    let file = fs::File::options().write(true).open(&path).expect("opened");
    let whole = fs::read(&path).expect("read");
    // The footer tells where the series directory is, docs/format.md.
    let at = whole.len() - 168 + 48;
    let directory = u64::from_le_bytes(whole[at..at + 8].try_into().expect("eight bytes"));
    file.write_all_at(&[0xff; 10], directory).expect("written");
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().series, engine.stats().damage.len()), (40, 1));
    engine.merge_to_end().expect("nothing can be merged");
    drop(engine);
    file.write_all_at(&whole, 0).expect("repaired");
    let engine = open(folder.path(), options());
    assert_eq!(everything(&*engine), before);
}
