//! The engine over its life: many writers, one folder, retention, its own thread, its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{NOW_MS, append, content, everything, labels, open, options};
use model::{
    Clock, Labels, ManualClock, Matcher, MetricKind, MetricMetadata, Rejection, SampleSink, Samples, SeriesSource,
    SinkError, SourceError, TimeRange, TimestampMs, WriteBatch,
};
use parking_lot::Mutex;
use storage::files::{HookedFiles, RealFiles};
use storage::{Durability, Engine, EngineOptions, OpenError, StorageError};

const DAY_MS: i64 = 86_400_000;

#[test]
fn many_writers_share_syncs_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), EngineOptions { durability: Durability::Sync, ..options() });
    let (writers, rounds) = (8u32, 30i64);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                everything(&*engine);
                engine.flush().expect("flushed");
            }
        });
        let writing: Vec<_> = (0..writers)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..rounds {
                        // Series 1000 is everybody's; the others are one's own.
                        let rows: Vec<(u32, i64, f64)> = (0..20)
                            .map(|at| (writer * 20 + at, NOW_MS + round, f64::from(writer)))
                            .chain([(1000, NOW_MS + round, f64::from(writer))])
                            .collect();
                        append(&**engine, &rows).expect("appended");
                        // What was acknowledged is visible to the next read, also while a flush runs.
                        let own = Matcher::equal("at", (writer * 20).to_string());
                        let seen = content(&**engine, &[own], TimeRange::ALL);
                        assert_eq!(seen[0].1.len(), usize::try_from(round + 1).expect("few"));
                    }
                })
            })
            .collect();
        for writer in writing {
            writer.join().expect("no panic");
        }
        done.store(true, Ordering::Release);
        readers.join().expect("no panic");
    });
    let before = everything(&*engine);
    assert_eq!(before.len(), 161);
    assert!(before.iter().all(|(_, samples)| samples.len() == 30));
    let stats = engine.stats();
    assert_eq!((stats.series, stats.samples_appended), (161, 8 * 30 * 21));
    assert!(stats.log_syncs <= stats.log_records, "{} syncs", stats.log_syncs);
    drop(engine);
    // Of the values that writers gave the shared series, replay picks the one that memory had picked.
    assert_eq!(everything(&*open(folder.path(), options())), before);
}

#[test]
fn one_process_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let second = Engine::open(folder.path(), options(), clock);
    let message = match second {
        Err(error @ OpenError::InUse { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(message.contains(&folder.path().display().to_string()), "{message}");
    drop(engine);
    open(folder.path(), options());
}

/// What is known of a metric goes with its last series, whatever the names of these have behind the metric's.
#[test]
fn metadata_goes_with_the_last_series_of_its_metric() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let kept = EngineOptions { retention_ms: Some(DAY_MS), ..options() };
    let open = || Engine::open(folder.path(), kept.clone(), clock.clone()).expect("opens");
    let engine = open();
    let metadata =
        |name: &str| MetricMetadata { kind: MetricKind::Counter, unit: String::new(), help: name.to_owned() };
    let append = |engine: &Engine, names: &[&str], at_ms| {
        let mut batch = WriteBatch::new();
        for name in names {
            batch.push_series(Labels::from_pairs([("__name__", *name)]).expect("valid labels").as_ref());
            batch.push_sample(at_ms, 1.0);
        }
        engine.append(&batch).expect("appended");
        engine.flush().expect("flushed");
    };
    let mut batch = WriteBatch::new();
    for name in ["gone", "busy_seconds", "lasting_seconds", "unused"] {
        batch.push_metadata(name, metadata(name));
    }
    engine.append(&batch).expect("appended");
    append(&engine, &["gone", "busy_seconds_bucket", "busy_seconds_count", "lasting_seconds_sum"], NOW_MS);
    clock.advance_ms(DAY_MS / 2);
    append(&engine, &["lasting_seconds_count", "busy_seconds_count"], NOW_MS + DAY_MS / 2);
    clock.advance_ms(DAY_MS);
    append(&engine, &["lasting_seconds_count"], NOW_MS + DAY_MS * 3 / 2);
    for (advance_ms, want) in
        [(0, &["busy_seconds", "lasting_seconds", "unused"][..]), (DAY_MS / 2, &["lasting_seconds", "unused"])]
    {
        clock.advance_ms(advance_ms);
        engine.merge_to_end().expect("merged");
        let names: Vec<_> = engine.metadata(None).expect("told").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, want);
    }
    drop(engine);
    assert_eq!(open().metadata(None).expect("told").len(), 2, "for good");
}

/// A metric that is written again while its last series are being removed, or that gets a new one, keeps what is known of it:
/// whenever that comes.
#[test]
fn metadata_stays_with_a_series_that_comes_back_meanwhile() {
    let about = MetricMetadata { kind: MetricKind::Counter, unit: String::new(), help: "requests".to_owned() };
    let mut came_back = 0;
    for (comes, name) in (0..12).flat_map(|comes| ["requests_total", "requests_count"].map(|name| (comes, name))) {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let engine: Arc<Mutex<Option<Arc<Engine>>>> = Arc::default();
        let looks = Arc::new(AtomicI64::new(i64::MAX));
        let (later_ms, of_hook, counted) = (NOW_MS + 5 * DAY_MS, engine.clone(), looks.clone());
        // Whether the metric was still known when it was written again.
        let known = Arc::new(AtomicBool::new(false));
        let was_known = known.clone();
        let append = |engine: &Engine, name: &str, at_ms| {
            let mut batch = WriteBatch::new();
            batch.push_series(Labels::from_pairs([("__name__", name)]).expect("valid labels").as_ref());
            batch.push_sample(at_ms, 1.0);
            engine.append(&batch).expect("appended");
        };
        // The room is asked for just before anything is removed.
        let files = HookedFiles::over(Arc::new(RealFiles), move |operation, _| {
            let engine = of_hook.lock().clone();
            if operation == "available_bytes"
                && counted.fetch_sub(1, Ordering::Relaxed) == 0
                && let Some(engine) = engine
            {
                let about = engine.metadata(Some("requests")).expect("told");
                was_known.store(!about.is_empty(), Ordering::Relaxed);
                append(&engine, name, later_ms);
            }
            Ok(())
        });
        let kept = EngineOptions { retention_ms: Some(DAY_MS), future_lead_ms: None, ..options() };
        let opened = Engine::open_with(folder.path(), kept, clock.clone(), Arc::new(files)).expect("opens");
        let mut batch = WriteBatch::new();
        batch.push_metadata("requests", about.clone());
        opened.append(&batch).expect("appended");
        append(&opened, "requests_total", NOW_MS);
        opened.flush().expect("flushed");
        clock.set(TimestampMs(later_ms));
        *engine.lock() = Some(opened.clone());
        looks.store(comes, Ordering::Relaxed);
        opened.maintain().expect("maintained");
        *engine.lock() = None;
        let told = opened.metadata(Some("requests")).expect("told").len();
        // Once it is gone, what comes then comes without.
        let known = known.load(Ordering::Relaxed);
        assert!(told == 1 || !known, "{name} at look {comes}");
        came_back += usize::from(known);
    }
    assert!(came_back >= 2, "{came_back}");
}

#[test]
fn series_keep_their_ids_and_metadata_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let about = |help: &str| MetricMetadata { kind: MetricKind::Gauge, unit: "bytes".into(), help: help.into() };
    for round in 0..4 {
        let engine = open(folder.path(), options());
        let mut batch = crate::support::batch(&[(1, NOW_MS + round, 1.0), (2, NOW_MS + round, 1.0)]);
        batch.push_metadata("m", about(&round.to_string()));
        batch.push_metadata("same", about("same"));
        let appended = engine.append(&batch).expect("appended");
        assert_eq!(appended.series_created, if round == 0 { 2 } else { 0 });
        assert_eq!(engine.stats().series, 2);
        let want = vec![("m".to_owned(), about(&round.to_string())), ("same".to_owned(), about("same"))];
        assert_eq!(engine.metadata(None), Ok(want));
        assert_eq!(engine.metadata(Some("same")), Ok(vec![("same".to_owned(), about("same"))]));
        assert_eq!(engine.metadata(Some("none")), Ok(vec![]));
        if round % 2 == 0 {
            engine.flush().expect("flushed");
        }
    }
}

#[test]
fn retention_hides_at_once_and_drops_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { retention_ms: Some(3 * DAY_MS), future_lead_ms: Some(1000), ..options() };
    let engine = Engine::open(folder.path(), options.clone(), clock.clone()).expect("opens");
    let at =
        |ms: i64, series: u32| append(&*engine, &[(series, ms, 1.0)]).expect("a batch is never refused for its times");
    let too_old = at(NOW_MS - 3 * DAY_MS - 1, 1);
    assert!(
        matches!(too_old.rejections[..], [Rejection::TooOld { oldest_ms, .. }] if oldest_ms == NOW_MS - 3 * DAY_MS)
    );
    let too_new = at(NOW_MS + 1001, 1);
    assert!(matches!(too_new.rejections[..], [Rejection::TooFarAhead { newest_ms, .. }] if newest_ms == NOW_MS + 1000));
    assert_eq!((too_new.samples_accepted, too_new.samples_rejected, engine.stats().series), (0, 1, 0));
    for day in 0..=3 {
        assert_eq!(at(NOW_MS - day * DAY_MS, u32::try_from(day).expect("few")).samples_accepted, 1);
        assert_eq!(at(NOW_MS - day * DAY_MS, 9).samples_accepted, 1);
    }
    assert_eq!(at(NOW_MS + 1000, 0).samples_accepted, 1);
    engine.flush().expect("flushed");
    for (later_days, want) in [(1, vec!["0", "1", "9"]), (2, vec!["0", "9"]), (3, vec!["0"]), (4, vec![])] {
        clock.set(TimestampMs(NOW_MS + later_days * DAY_MS + 1));
        let visible = everything(&*engine);
        let seen: Vec<&str> = visible.iter().filter_map(|(labels, _)| labels.get("at")).collect();
        assert_eq!(seen, want, "hidden after {later_days} days");
        engine.maintain().expect("maintained");
        assert_eq!(everything(&*engine), visible);
    }
    let stats = engine.stats();
    assert_eq!((stats.blocks, stats.series, stats.series_removed), (0, 0, 5), "{stats:?}");
    assert_eq!(engine.label_names(&[], TimeRange::ALL), Ok(vec![]));
    // A series that comes back is a new one, also after a restart.
    assert_eq!(append(&*engine, &[(9, clock.now().0, 5.0)]).expect("appended").series_created, 1);
    drop(engine);
    let engine = Engine::open(folder.path(), options, clock).expect("opens");
    assert_eq!(everything(&*engine).len(), 1);
}

#[test]
fn series_have_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), EngineOptions { series_max: 3, ..options() });
    let rows: Vec<(u32, i64, f64)> = (0..5).map(|series| (series, NOW_MS, 1.0)).collect();
    let appended = append(&*engine, &rows).expect("the others are taken");
    assert_eq!((appended.samples_accepted, appended.samples_rejected, appended.series_created), (3, 2, 3));
    assert_eq!(
        appended.rejections[0].to_string(),
        "the server has 3 series (series_max = 3); metric \"m\" has 3 of them; not taken: m{at=\"3\", job=\"0\"}"
    );
    assert_eq!(append(&*engine, &[(1, NOW_MS + 1, 1.0)]).expect("appended").samples_accepted, 1);
    assert!(matches!(engine.select(&[], TimeRange::ALL, 2), Err(SourceError::TooManySeries { limit: 2 })));
    assert_eq!(engine.select(&[], TimeRange::ALL, 3).expect("three").len(), 3);
    assert_eq!(engine.series(&[], TimeRange::ALL, 2).expect("listed"), [labels(0), labels(1)]);
}

/// A selection is a snapshot: whatever happens to the engine, it reads what it selected.
#[test]
fn selections_outlive_merges_and_the_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    for round in 0..6 {
        append(&*engine, &[(1, NOW_MS + round, 1.0)]).expect("appended");
        if round < 5 {
            engine.flush().expect("flushed");
        }
    }
    let set = engine.select(&[], TimeRange::ALL, 9).expect("selected");
    append(&*engine, &[(1, NOW_MS, 9.0), (1, NOW_MS + 9, 9.0)]).expect("appended");
    engine.flush().expect("flushed");
    engine.maintain().expect("maintained");
    assert!(engine.stats().merges > 0);
    drop(engine);
    let mut samples = Samples::default();
    set.read(0, &mut samples).expect("read");
    assert_eq!(samples.values, [1.0; 6]);
}

#[test]
fn the_background_flushes_by_itself_and_stops_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions {
        background: true,
        flush_log_bytes: 2000,
        durability: Durability::Interval { interval_ms: 5 },
        maintain_every_ms: 10,
        ..options()
    };
    let engine = open(folder.path(), options);
    let mut batch = WriteBatch::new();
    let (mut at, mut refused) = (0, 0);
    let started = Instant::now();
    while engine.stats().flushes < 3 && started.elapsed() < Duration::from_mins(1) {
        batch.clear();
        for series in 0..20 {
            batch.push_series(labels(series).as_ref());
            batch.push_sample(NOW_MS + at, 0.1);
        }
        match engine.append(&batch) {
            Ok(_) => at += 1,
            Err(SinkError::Busy { .. }) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(engine.stats().flushes >= 3, "{refused} refused, {:?}", engine.stats());
    engine.close().expect("closed");
    assert!(matches!(engine.append(&batch), Err(SinkError::Closed)));
    let samples: usize = everything(&*engine).iter().map(|(_, samples)| samples.len()).sum();
    assert_eq!(samples, usize::try_from(at).expect("few") * 20);
}

#[test]
fn cardinality_counts_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    let rows: Vec<(u32, i64, f64)> = (0..30).map(|series| (series, NOW_MS, 1.0)).collect();
    append(&*engine, &rows).expect("appended");
    let mut other = WriteBatch::new();
    other.push_series(Labels::from_pairs([("__name__", "up")]).expect("valid").as_ref());
    other.push_sample(NOW_MS, 1.0);
    engine.append(&other).expect("appended");
    let found = engine.cardinality(2);
    let names =
        |list: &[storage::Count]| list.iter().map(|count| (count.name.clone(), count.count)).collect::<Vec<_>>();
    assert_eq!((found.series, found.label_names, found.label_pairs), (31, 3, 2 + 30 + 3));
    assert_eq!(names(&found.series_by_metric), [("m".to_owned(), 30), ("up".to_owned(), 1)]);
    assert_eq!(names(&found.values_by_label), [("at".to_owned(), 30), ("job".to_owned(), 3)]);
    assert_eq!(names(&found.series_by_pair), [("__name__=m".to_owned(), 30), ("job=0".to_owned(), 10)]);
}

/// A closed engine lets go of its folder, and reads on beside the next one, whatever that does.
#[test]
fn a_closed_engine_is_read_beside_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path(), options());
    for round in 0..4 {
        append(&*first, &[(1, NOW_MS + round, 1.0)]).expect("appended");
        first.flush().expect("flushed");
    }
    append(&*first, &[(2, NOW_MS, 1.0)]).expect("appended");
    let before = everything(&*first);
    first.close().expect("closed");
    let second = open(folder.path(), options());
    assert_eq!(everything(&*second), before);
    append(&*second, &[(1, NOW_MS, 2.0)]).expect("appended");
    second.maintain().expect("maintained");
    assert!(second.stats().merges > 0);
    first.close().expect("closing again does nothing");
    assert!(matches!(append(&*first, &[(3, NOW_MS, 1.0)]), Err(SinkError::Closed)));
    assert!(matches!(first.flush(), Err(StorageError::Closed)));
    assert!(matches!(first.maintain(), Err(StorageError::Closed)));
    assert_eq!(everything(&*first), before);
    assert!(first.stats().catalog_bytes > 0);
    drop(first);
    assert_eq!(everything(&*second).len(), 2);
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    assert!(matches!(Engine::open(folder.path(), options(), clock), Err(OpenError::InUse { .. })), "second has it");
}

/// Who wants the newest sample alone is answered from memory, unless a block has a newer one.
#[test]
fn the_newest_sample_of_the_head_is_not_decoded() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    let write = |from_ms: i64, to_ms: i64| {
        let rows: Vec<(u32, i64, f64)> = (from_ms..to_ms).map(|at| (1, NOW_MS + at, at_value(at))).collect();
        append(&*engine, &rows).expect("appended");
    };
    let newest = || {
        let set = engine.select_newest(&[], TimeRange::new(NOW_MS, NOW_MS + 100), 9).expect("selected");
        let mut samples = Samples::default();
        let cost = set.read(0, &mut samples).expect("read");
        (cost.chunks, samples.values.last().copied())
    };
    write(0, 50);
    assert_eq!(newest(), (0, Some(49.0)));
    engine.flush().expect("flushed");
    assert_eq!(newest(), (1, Some(49.0)), "in a block");
    write(50, 60);
    assert_eq!(newest(), (0, Some(59.0)), "newer than the block");
    engine.flush().expect("flushed");
    write(55, 57);
    assert!(newest().0 > 0, "older than the block");
    assert_eq!(newest().1, Some(59.0));
    write(200, 201);
    let set = engine.select_newest(&[], TimeRange::new(NOW_MS, NOW_MS + 100), 9).expect("selected");
    let mut samples = Samples::default();
    set.read(0, &mut samples).expect("read");
    assert_eq!(samples.values.last(), Some(&59.0), "the newest of all lies behind the range");
}

fn at_value(at: i64) -> f64 {
    f64::from(i32::try_from(at).expect("small"))
}
