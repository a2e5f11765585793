//! Threads that meet: series removed while they are appended to, writers that panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{NOW_MS, append, everything, open, open_with, options};
use model::{ManualClock, SinkError, TimestampMs};
use storage::files::{HookedFiles, RealFiles};
use storage::{Engine, EngineOptions};

const DAY_MS: i64 = 86_400_000;

/// Whichever of the two comes first, an acknowledged sample has a series.
#[test]
fn a_series_removed_while_it_is_appended_to_is_made_anew() {
    const SERIES: u32 = 1000;
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { retention_ms: Some(DAY_MS), ..options() };
    let engine = Engine::open(folder.path(), options, clock.clone()).expect("opens");
    for round in 0..3 {
        let rows = |at_ms| (0..SERIES).rev().map(|series| (series, at_ms, 1.0)).collect::<Vec<_>>();
        let before_ms = NOW_MS + round * 3 * DAY_MS;
        append(&*engine, &rows(before_ms)).expect("appended");
        engine.flush().expect("flushed");
        let at_ms = before_ms + 3 * DAY_MS;
        clock.set(TimestampMs(at_ms));
        std::thread::scope(|scope| {
            let maintaining = scope.spawn(|| engine.maintain().expect("maintained"));
            // Ids go in ascending order; the last ones are appended to while the first are gone already.
            while engine.stats().series == u64::from(SERIES) && !maintaining.is_finished() {
                std::hint::spin_loop();
            }
            for part in rows(at_ms).rchunks(5) {
                append(&*engine, part).expect("appended");
            }
        });
        let kept = everything(&*engine);
        assert_eq!(kept.len(), SERIES as usize, "round {round}");
        assert!(kept.iter().all(|(_, samples)| samples.len() == 1));
    }
    assert!(engine.stats().series_removed > 0, "{:?}", engine.stats());
}

/// Who wrote for a group panicked: nobody hangs, nothing is acknowledged, and reopening heals.
#[test]
fn a_panic_while_writing_ends_writing_until_reopened() {
    let folder = tempfile::tempdir().expect("a folder");
    let panics = Arc::new(AtomicBool::new(false));
    let planned = panics.clone();
    let files = HookedFiles::over(Arc::new(RealFiles), move |operation, _| {
        assert!(operation != "available_bytes" || !planned.load(Ordering::SeqCst), "a planned panic");
        Ok(())
    });
    let engine = open_with(folder.path(), options(), Arc::new(files));
    append(&*engine, &[(0, NOW_MS, 1.0)]).expect("appended");
    let before = everything(&*engine);
    panics.store(true, Ordering::SeqCst);
    let panicked: Vec<bool> = std::thread::scope(|scope| {
        let appending: Vec<_> = (1..9)
            .map(|series| {
                let engine = &engine;
                scope.spawn(move || {
                    let refused = append(&**engine, &[(series, NOW_MS, 1.0)]);
                    assert!(matches!(refused, Err(SinkError::Poisoned { .. })), "{refused:?}");
                })
            })
            .collect();
        appending.into_iter().map(|appending| appending.join().is_err()).collect()
    });
    assert_eq!(panicked.iter().filter(|panicked| **panicked).count(), 1, "only who wrote");
    panics.store(false, Ordering::SeqCst);
    assert!(matches!(append(&*engine, &[(1, NOW_MS, 1.0)]), Err(SinkError::Poisoned { .. })));
    assert_eq!(everything(&*engine), before);
    drop(engine);
    let engine = open(folder.path(), options());
    assert_eq!(everything(&*engine), before);
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
}
