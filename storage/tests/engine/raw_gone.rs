//! Samples that are gone before their time: their summaries tell of them, also when some samples come back.

use std::path::Path;
use std::sync::Arc;

use crate::support::{NOW_MS, append, options};
use model::sample::stale_marker;
use model::{ManualClock, Matcher, Rejection, Samples, SeriesSource, Summary, TimeRange, TimestampMs};
use storage::{DeleteRequest, Engine, EngineOptions, LifetimeRule, LifetimeStep};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = NOW_MS - NOW_MS % DAY_MS;

/// Samples for `raw_days`, summaries of hours for ever.
fn kept(raw_days: i64) -> EngineOptions {
    let rule = LifetimeRule {
        text: "all".to_owned(),
        matchers: Vec::new(),
        raw_ms: Some(raw_days * DAY_MS),
        steps: vec![LifetimeStep { window_ms: HOUR_MS, keep_ms: None }],
    };
    EngineOptions { lifetimes: vec![rule], ..options() }
}

fn open(folder: &Path, options: EngineOptions, at_ms: i64) -> Arc<Engine> {
    Engine::open(folder, options, Arc::new(ManualClock::new(TimestampMs(at_ms)))).expect("opens")
}

/// A sample every ten minutes of the first day.
fn a_day(series: u32, value: f64) -> Vec<(u32, i64, f64)> {
    (0..144).map(|slot| (series, START_MS + slot * HOUR_MS / 6 + 1, value)).collect()
}

fn maintained(engine: &Engine) {
    for _ in 0..3 {
        engine.maintain().expect("maintained");
    }
}

/// Times of samples on the first day and its summaries.
fn told(engine: &Engine, series: u32, range: TimeRange) -> (Vec<i64>, Vec<Summary>) {
    let set = engine.select(&[Matcher::equal("at", series.to_string())], range, 1).expect("selected");
    let (mut samples, mut summaries) = (Samples::default(), Vec::new());
    set.read_with_summaries(0, i64::MAX, &mut samples, &mut summaries).expect("read");
    (samples.timestamps_ms, summaries)
}

/// How many samples are told of, one by one and by summaries.
fn count(engine: &Engine, series: u32) -> (usize, u64) {
    let (times, summaries) = told(engine, series, DAY);
    (times.len(), summaries.iter().map(|of| of.count).sum())
}

const DAY: TimeRange = TimeRange { start: TimestampMs(START_MS), end: TimestampMs(START_MS + DAY_MS - 1) };

/// The first day is left as summaries of two series; then samples are to be kept longer.
fn lengthened(folder: &Path) -> Arc<Engine> {
    let engine = open(folder, kept(1), START_MS + DAY_MS - 1);
    append(&*engine, &[a_day(1, 1.0), a_day(2, 2.0)].concat()).expect("appended");
    drop(engine);
    let engine = open(folder, kept(1), START_MS + 4 * DAY_MS);
    append(&*engine, &[(3, START_MS + 4 * DAY_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    maintained(&engine);
    assert_eq!((count(&engine, 1), engine.stats().block_samples), ((0, 144), 48 + 1), "summaries are left");
    drop(engine);
    open(folder, kept(15), START_MS + 4 * DAY_MS)
}

/// A late sample hides nothing but what it replaces, in memory, in a block, and summarised.
#[test]
fn a_late_sample_does_not_hide_the_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = lengthened(folder.path());
    // After all samples of the fifth hour: what it adds is clear.
    let late_ms = START_MS + 5 * HOUR_MS - 10;
    let before = told(&engine, 1, DAY);
    let check = |engine: &Engine| {
        let (times, summaries) = told(engine, 1, DAY);
        let told: u64 = summaries.iter().map(|of| of.count).sum();
        assert_eq!(times.len() as u64 + told, 145);
        let others = |of: &&Summary| !(of.first_ms..=of.end_ms()).contains(&late_ms);
        assert!(summaries.iter().filter(others).eq(before.1.iter().filter(others)));
        let noon = TimeRange::new(START_MS + 12 * HOUR_MS + 1, START_MS + 13 * HOUR_MS);
        assert_eq!(self::told(engine, 1, noon).1.iter().map(|of| of.count).sum::<u64>(), 6);
        assert_eq!(count(engine, 2), (0, 144));
        let set = engine.select(&[Matcher::equal("at", "1")], DAY, 1).expect("selected");
        let mut samples = Samples::default();
        set.read(0, &mut samples).expect("read");
        assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b) && samples.len() >= 24, "{samples:?}");
    };
    append(&*engine, &[(1, late_ms, 9.0)]).expect("appended");
    check(&engine);
    engine.flush().expect("flushed");
    check(&engine);
    maintained(&engine);
    check(&engine);
    // And behind that one.
    append(&*engine, &[(1, late_ms + 5, 9.0)]).expect("appended");
    for _ in 0..2 {
        assert_eq!(count(&engine, 1), (0, 146));
        maintained(&engine);
        engine.flush().expect("flushed");
    }
}

/// Between samples that are gone a late one may be one of these: nobody would be shown it, so it is refused, and says why.
#[test]
fn a_late_sample_that_no_summary_can_take_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = lengthened(folder.path());
    let inside_ms = START_MS + 8 * HOUR_MS + 5;
    let refused = |rows: &[(u32, i64, f64)], accepted: u64| {
        let appended = append(&*engine, rows).expect("appended");
        let rejected = rows.len() as u64 - accepted;
        assert_eq!((appended.samples_accepted, appended.samples_rejected), (accepted, rejected), "{appended:?}");
        let named = |of: &Rejection| matches!(of, Rejection::Summarised { window_ms: HOUR_MS, .. });
        assert!(appended.rejections.len() as u64 == rejected && appended.rejections.iter().all(named), "{appended:?}");
    };
    let of_hour = |series: u32| -> Vec<_> { a_day(series, 9.0).drain(8 * 6..9 * 6).collect() };
    for _ in 0..2 {
        refused(&[(1, inside_ms, 9.0)], 0);
        refused(&of_hour(1)[..5], 0);
        // What ends a series is told by nothing that the summary goes on behind, and is no loss.
        refused(&[(1, inside_ms, stale_marker())], 1);
        // Where nothing of the series is summarised it has its place.
        refused(&[(2, inside_ms, 9.0), (4, inside_ms, 9.0)], 1);
        assert_eq!((count(&engine, 1), count(&engine, 2), count(&engine, 4)), ((0, 144), (0, 144), (1, 0)));
        engine.flush().expect("flushed");
        maintained(&engine);
    }
    assert_eq!(engine.stats().samples_rejected, 2 * 7);
    // In company that makes the window whole it is shown, and so it is once the summary has gone.
    refused(&[&of_hour(1)[..], &[(1, inside_ms, 9.0)]].concat(), 7);
    assert_eq!(count(&engine, 1), (7, 138));
    let hour = TimeRange::new(START_MS + 8 * HOUR_MS + 1, START_MS + 9 * HOUR_MS);
    let selectors = vec![(String::new(), vec![Matcher::equal("at", "2")])];
    engine.delete(DeleteRequest { selectors, range: hour, by: String::new() }).expect("deleted");
    refused(&[(2, inside_ms, 9.0)], 1);
    for _ in 0..2 {
        assert_eq!((count(&engine, 1), count(&engine, 2)), ((7, 138), (1, 138)));
        engine.flush().expect("flushed");
        maintained(&engine);
    }
}

/// What comes back whole is told sample by sample, the rest of the day by summaries.
#[test]
fn windows_that_come_back_are_told_by_their_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = lengthened(folder.path());
    append(&*engine, &a_day(1, 1.0)[..36]).expect("appended");
    for round in 0..3 {
        let (times, summaries) = told(&engine, 1, DAY);
        assert_eq!((times.len(), summaries.len()), (36, 18), "round {round}");
        assert!(times.last() < summaries.first().map(|of| &of.first_ms));
        engine.flush().expect("flushed");
        if round > 0 {
            maintained(&engine);
        }
    }
    append(&*engine, &a_day(1, 1.0)).expect("appended");
    engine.flush().expect("flushed");
    assert_eq!(count(&engine, 1), (144, 0));
    assert_eq!(count(&engine, 2), (0, 144));
}

/// Also where a disk limit took samples that the rule would keep.
#[test]
fn a_day_that_a_disk_limit_took_is_told_by_its_summaries() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), kept(15), START_MS + DAY_MS - 1);
    let noise = |series: u32, slot: i64| {
        let bits = u64::from(series * 10_000 + u32::try_from(slot).expect("few")).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (series, START_MS + slot * 30_000 + 1, f64::from_bits(0x3ff0_0000_0000_0000 | bits >> 12))
    };
    let rows: Vec<_> = (1..21).flat_map(|series| (0..2880).map(move |slot| noise(series, slot))).collect();
    append(&*engine, &rows).expect("appended");
    engine.flush().expect("flushed");
    drop(engine);
    let engine = open(folder.path(), kept(15), START_MS + 4 * DAY_MS);
    append(&*engine, &[(3, START_MS + 4 * DAY_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    maintained(&engine);
    let stats = engine.stats();
    assert_eq!((count(&engine, 1), stats.summary_blocks.len()), ((2880, 0), 1), "both are there");
    drop(engine);
    let disk_bytes_max = stats.catalog_bytes + stats.log_bytes + stats.block_bytes / 2;
    let engine = open(folder.path(), EngineOptions { disk_bytes_max, ..kept(15) }, START_MS + 4 * DAY_MS);
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().disk_limit_drops, count(&engine, 1)), (1, (0, 2880)));
    assert_eq!(append(&*engine, &[(1, START_MS + 8 * HOUR_MS + 5, 9.0)]).expect("appended").samples_rejected, 1);
    assert_eq!(count(&engine, 1), (0, 2880));
}
