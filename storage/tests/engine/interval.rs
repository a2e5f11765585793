//! Durability by interval: the log is synced beside everything else, as often as was asked for, and a last time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::SinkError;
use storage::files::{AfterFault, FaultyFiles, HookedFiles};
use storage::{Durability, Engine, EngineOptions};

use crate::any_fault::fast_folder;
use crate::support::{NOW_MS, append, everything, open_with, options};

fn every(interval_ms: u64) -> EngineOptions {
    EngineOptions { durability: Durability::Interval { interval_ms }, ..options() }
}

/// Waits until `done`.
fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "a minute passed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_flush_keeps_no_sync_waiting() {
    let (folder, files) = (fast_folder(), FaultyFiles::new());
    let (held, reached) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (holds, tells) = (held.clone(), reached.clone());
    let hooked = HookedFiles::over(Arc::new(files.clone()), move |operation, path| {
        if operation == "create" && path.to_string_lossy().contains(".blk") {
            tells.store(true, Ordering::SeqCst);
            until(|| !holds.load(Ordering::SeqCst));
        }
        Ok(())
    });
    // Flushes whenever it looks.
    let options = EngineOptions { background: true, flush_age_ms: 0, ..every(1) };
    let engine = open_with(folder.path(), options, Arc::new(hooked));
    append(&*engine, &[(0, NOW_MS, 1.0)]).expect("appended");
    until(|| reached.load(Ordering::SeqCst));
    append(&*engine, &[(0, NOW_MS + 1, 1.0)]).expect("appended");
    // The header of the new segment is synced by the append itself.
    let before = files.syncs();
    append(&*engine, &[(0, NOW_MS + 2, 1.0)]).expect("appended");
    until(|| files.syncs() > before);
    held.store(false, Ordering::SeqCst);
    engine.close().expect("closed");
}

#[test]
fn the_interval_is_kept_however_long_and_the_end_is_synced() {
    let (folder, files) = (fast_folder(), FaultyFiles::new());
    let engine = open_with(folder.path(), every(3_600_000), Arc::new(files.clone()));
    append(&*engine, &[(0, NOW_MS, 1.0)]).expect("appended");
    let (before, want) = (files.syncs(), everything(&*engine));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(files.syncs(), before, "an hour has not passed");
    drop(engine);
    files.power_cut().expect("the folder is real");
    let engine = open_with(folder.path(), every(3_600_000), Arc::new(files.clone()));
    assert_eq!(everything(&*engine), want);
}

/// After a failed sync nothing is acknowledged, and what had been synced is there after the power
/// went, whole batches in their order and no others.
#[test]
fn a_failed_sync_by_interval_ends_acknowledging() {
    for after in [AfterFault::Recovers, AfterFault::Dead] {
        let folder = fast_folder();
        let files = FaultyFiles::new();
        let engine = open_with(folder.path(), every(1), Arc::new(files.clone()));
        let deadline = Instant::now() + Duration::from_mins(1);
        let wait = || {
            assert!(Instant::now() < deadline, "a minute passed");
            std::thread::sleep(Duration::from_millis(1));
        };
        let one = |number: u32| [(0, NOW_MS + i64::from(number), 1.0), (1, NOW_MS + i64::from(number), 1.0)];
        append(&*engine, &one(0)).expect("acknowledged");
        // The second sync from now began after that was acknowledged.
        let mut sure = 1;
        let syncs = files.syncs() + 2;
        while files.syncs() < syncs {
            append(&*engine, &one(sure)).expect("acknowledged");
            sure += 1;
            wait();
        }
        files.fail_next_sync(after);
        let mut number = sure;
        let refused = loop {
            match append(&*engine, &one(number)) {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
            wait();
        };
        assert!(matches!(refused, SinkError::Poisoned { .. }), "{refused:?}");
        for _ in 0..5 {
            assert!(matches!(append(&*engine, &one(number)), Err(SinkError::Poisoned { .. })));
            assert!(engine.flush().is_err());
            wait();
        }
        let count = |engine: &Engine| everything(engine).iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>();
        assert_eq!(count(&engine), [number as usize; 2], "reads show all that was acknowledged, and no more");
        drop(engine);
        files.power_cut().expect("the folder is real");
        let engine = open_with(folder.path(), every(1), Arc::new(files.clone()));
        let kept = count(&engine);
        assert!(kept[0] == kept[1] && kept[0] >= 1 && kept[0] <= number as usize, "{kept:?} of {number}");
        let times: Vec<i64> = everything(&*engine)[0].1.iter().map(|sample| sample.timestamp_ms - NOW_MS).collect();
        assert!(times.iter().zip(0..).all(|(at, want)| *at == want), "the first ones: {times:?}");
        assert_eq!(engine.stats().damage, vec![]);
        append(&*engine, &one(number)).expect("reopening heals");
    }
}
