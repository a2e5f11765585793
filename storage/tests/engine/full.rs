//! Histograms, floats with a start, and exemplars: what only they do.

use std::sync::Arc;

use crate::support::{NOW_MS, Row, append, batch_of, counter, everything, labels, open, options};
use model::{
    Bucket, Exemplar, FullSample, Histogram, Labels, ManualClock, MatchOp, Matcher, Rejection, SampleSink, SampleValue,
    Samples, SeriesSource, TimeRange, TimestampMs, WriteBatch,
};
use proptest::prelude::*;
use storage::{Engine, EngineOptions, MemoryStore};

#[test]
fn the_last_sample_of_an_instant_counts_whatever_its_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut engine = open(folder.path(), options());
    let histogram = |count: f64| Row::histogram(1, NOW_MS, counter(0, 1, &[count]));
    let started = |value: f64| {
        let sample = FullSample { timestamp_ms: NOW_MS, start_ms: NOW_MS - 9, value: SampleValue::Float(value) };
        Row { series: 1, sample, plain: false }
    };
    for (case, rows, last) in [
        ("a histogram", vec![histogram(1.0)], histogram(1.0)),
        ("over it a float", vec![Row::plain(1, NOW_MS, 2.0)], Row::plain(1, NOW_MS, 2.0)),
        ("over it a start", vec![started(2.0)], started(2.0)),
        ("a histogram again", vec![histogram(3.0)], histogram(3.0)),
        ("and again", vec![histogram(4.0)], histogram(4.0)),
        ("the float as it was", vec![Row::plain(1, NOW_MS, 2.0)], Row::plain(1, NOW_MS, 2.0)),
        ("both in one batch", vec![histogram(5.0), Row::plain(1, NOW_MS, 6.0)], histogram(5.0)),
    ] {
        for flush in [false, true] {
            engine.append(&batch_of(&rows)).expect("appended");
            let want = vec![(labels(1), vec![last.sample.clone()])];
            assert_eq!(everything(&*engine), want, "{case}");
            if flush {
                engine.flush().expect("flushed");
                assert_eq!(everything(&*engine), want, "{case}, flushed");
                engine.maintain().expect("maintained");
            }
            drop(engine);
            engine = open(folder.path(), options());
            assert_eq!(everything(&*engine), want, "{case}, opened again");
        }
    }
}

#[test]
fn what_is_stored_is_canonical_and_the_rest_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine =
        open(folder.path(), EngineOptions { retention_ms: Some(1000), future_lead_ms: Some(1000), ..options() });
    let of = |of: &[(i32, f64)]| of.iter().map(|&(index, count)| Bucket { index, count }).collect::<Vec<_>>();
    let loose = Histogram { positive: of(&[(1, 0.0), (2, 1.0)]), ..Histogram::default() };
    let tight = Histogram { positive: of(&[(2, 1.0)]), ..Histogram::default() };
    let broken = Histogram { positive: of(&[(2, 1.0), (1, 1.0)]), ..Histogram::default() };
    let stale = Histogram { schema: 77, positive: of(&[(2, 1.0), (1, 1.0)]), ..Histogram::stale_marker() };
    let rows = [
        Row::histogram(1, NOW_MS, loose),
        Row::histogram(1, NOW_MS + 1, broken.clone()),
        Row::histogram(1, NOW_MS + 2, stale),
        Row::histogram(2, NOW_MS - 1001, tight.clone()),
        Row::histogram(2, NOW_MS + 1001, tight.clone()),
        Row::histogram(3, NOW_MS, broken),
    ];
    let appended = engine.append(&batch_of(&rows)).expect("appended");
    assert_eq!((appended.samples_accepted, appended.samples_rejected, appended.series_created), (2, 4, 1));
    assert_eq!(appended.histograms_rejected, 4);
    let kinds: Vec<&str> = appended
        .rejections
        .iter()
        .map(|rejection| match rejection {
            Rejection::TooOld { .. } => "old",
            Rejection::TooFarAhead { .. } => "ahead",
            Rejection::Histogram { .. } => "broken",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["broken", "old", "ahead", "broken"]);
    let want = [Row::histogram(1, NOW_MS, tight), Row::histogram(1, NOW_MS + 2, Histogram::stale_marker())];
    assert_eq!(everything(&*engine), [(labels(1), want.map(|row| row.sample).to_vec())]);
    assert_eq!(engine.stats().histograms_appended, 2);
}

#[test]
fn full_samples_are_counted_and_let_go_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { retention_ms: Some(86_400_000), ..options() };
    let engine = Engine::open(folder.path(), options, clock.clone()).expect("opens");
    for at in 0..300 {
        let row = Row::histogram(1, NOW_MS - at * 1000, counter(2, 0, &[1.0, 2.0]));
        engine.append(&batch_of(&[row])).expect("appended");
    }
    let stats = engine.stats();
    assert!(stats.head_bytes > 300 * 50, "{} bytes", stats.head_bytes);
    assert_eq!((stats.oldest_ms, stats.newest_ms), (Some(NOW_MS - 299_000), Some(NOW_MS)));
    let set = engine.select(&[], TimeRange::new(NOW_MS - 5000, NOW_MS - 2000), 9).expect("selected");
    let mut samples = Samples::default();
    let cost = set.read(0, &mut samples).expect("read");
    assert_eq!((samples.histograms.len(), cost.samples), (4, 4));
    engine.flush().expect("flushed");
    assert_eq!((engine.stats().head_bytes, engine.stats().block_samples), (0, 300));
    let set = engine.select(&[], TimeRange::new(NOW_MS - 5000, NOW_MS - 2000), 9).expect("selected");
    let cost = set.read(0, &mut samples).expect("read");
    assert_eq!((samples.histograms.len(), cost.samples), (4, 300));
    clock.set(TimestampMs(NOW_MS + 86_400_000 - 10_000));
    assert_eq!(everything(&*engine)[0].1.len(), 11, "retention hides the others");
    clock.set(TimestampMs(NOW_MS + 3 * 86_400_000));
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().blocks, engine.stats().series), (0, 0));
}

fn exemplar(trace: u32, value: f64, timestamp_ms: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", trace.to_string())]).expect("valid labels");
    Exemplar { labels, value, timestamp_ms }
}

/// A sample of each series and its exemplars.
fn with_exemplars(of: &[(u32, Exemplar)], sampled: bool) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (series, exemplar) in of {
        batch.push_series(labels(*series).as_ref());
        if sampled {
            batch.push_sample(NOW_MS, 1.0);
        }
        batch.push_exemplar(exemplar.clone());
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// As long as the log has them they are there, in order, once, after any crash.
    #[test]
    fn exemplars_are_kept(
        batches in prop::collection::vec(
            (prop::collection::vec((0u32..5, 0u32..3, 0i64..6), 1..12), any::<bool>(), any::<bool>()),
            1..8,
        ),
        (start, end) in (0i64..6, 0i64..6),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let model = MemoryStore::new();
        let mut engine = open(folder.path(), options());
        for (round, (rows, sampled, crash)) in (0i64..).zip(batches) {
            let of: Vec<(u32, Exemplar)> = rows
                .into_iter()
                .map(|(series, trace, at)| (series, exemplar(trace, 0.5, NOW_MS + round * 3 + at)))
                .collect();
            let batch = with_exemplars(&of, sampled);
            prop_assert_eq!(engine.append(&batch), model.append(&batch));
            if crash {
                drop(engine);
                engine = open(folder.path(), options());
            }
        }
        let odd = Matcher::new("at", MatchOp::Regex, "1|3").expect("valid");
        let range = TimeRange::new(NOW_MS + start, NOW_MS + end * 4);
        for (matchers, range) in [(vec![], TimeRange::ALL), (vec![], range), (vec![odd], range)] {
            let want = model.exemplars(&matchers, range).expect("in memory");
            prop_assert_eq!(engine.exemplars(&matchers, range), Ok(want));
        }
        engine.flush().expect("flushed");
        prop_assert_eq!(engine.exemplars(&[], TimeRange::ALL), model.exemplars(&[], TimeRange::ALL));
    }
}

#[test]
fn exemplars_are_bounded_and_need_a_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), EngineOptions { exemplars_max: 3, ..options() });
    engine.append(&with_exemplars(&[(1, exemplar(1, 1.0, NOW_MS))], false)).expect("appended");
    assert_eq!(engine.stats().exemplars, 0, "an exemplar alone makes no series");
    let many: Vec<(u32, Exemplar)> = (0..10).map(|at| (at % 2, exemplar(at, 1.0, NOW_MS + i64::from(at)))).collect();
    engine.append(&with_exemplars(&many, true)).expect("appended");
    let kept = engine.exemplars(&[], TimeRange::ALL).expect("in memory");
    let traces = |of: &[Exemplar]| of.iter().map(|of| of.timestamp_ms - NOW_MS).collect::<Vec<_>>();
    assert_eq!((traces(&kept[0].1), traces(&kept[1].1)), (vec![8], vec![7, 9]));
    assert_eq!(engine.stats().exemplars, 3);
    // What was said already does not even reach the log.
    let records = engine.stats().log_records;
    engine.append(&with_exemplars(&many[8..], false)).expect("appended");
    assert_eq!(engine.stats().log_records, records);
}

/// Senders are told how much of each kind was written, so that what is not kept is counted by kind.
#[test]
fn what_is_not_kept_is_counted_by_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { series_max: 1, retention_ms: Some(1000), future_lead_ms: Some(1000), ..options() };
    let engine = open(folder.path(), options);
    let started = |series, timestamp_ms| {
        let sample = FullSample { timestamp_ms, start_ms: timestamp_ms - 1, value: SampleValue::Float(1.0) };
        Row { series, sample, plain: false }
    };
    let histogram = |series, timestamp_ms| Row::histogram(series, timestamp_ms, counter(0, 1, &[1.0]));
    let late = NOW_MS - 1001;
    engine.append(&batch_of(&[histogram(1, NOW_MS)])).expect("appended");
    let rows = [
        histogram(1, NOW_MS + 1),
        started(1, late),
        histogram(1, late),
        Row::plain(1, late, 1.0),
        started(2, NOW_MS),
        histogram(2, NOW_MS),
        Row::plain(2, NOW_MS, 1.0),
    ];
    let appended = engine.append(&batch_of(&rows)).expect("appended");
    let counts = (appended.samples_accepted, appended.samples_rejected, appended.histograms_rejected);
    assert_eq!(counts, (1, 6, 2));

    let check = |of: &[(u32, Exemplar)], want: u64| {
        let appended = engine.append(&with_exemplars(of, false)).expect("appended");
        assert_eq!(appended.exemplars_rejected, want, "{of:?}");
    };
    let (first, second) = (exemplar(1, 1.0, NOW_MS), exemplar(2, 1.0, NOW_MS + 1));
    check(&[(1, first.clone()), (1, second.clone())], 0);
    check(&[(1, first), (1, second)], 0);
    check(&[(1, exemplar(3, 1.0, NOW_MS)), (1, exemplar(4, 1.0, late))], 2);
    check(&[(1, exemplar(5, 1.0, NOW_MS + 9)), (1, exemplar(6, 1.0, NOW_MS + 8))], 1);
    check(&[(2, exemplar(7, 1.0, NOW_MS))], 1);
}

/// Exemplars from ahead of the clock would shut out all others; those that retention hides are not shown.
#[test]
fn exemplars_keep_to_the_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { retention_ms: Some(1000), future_lead_ms: Some(10), ..options() };
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = Engine::open(folder.path(), options, clock.clone()).expect("opens");
    for (trace, offset_ms) in [(1, -1001), (2, 11), (3, -1000), (4, 10)] {
        engine.append(&with_exemplars(&[(1, exemplar(trace, 1.0, NOW_MS + offset_ms))], true)).expect("appended");
    }
    let count = |engine: &Engine| {
        engine.exemplars(&[], TimeRange::ALL).expect("in memory").iter().map(|of| of.1.len()).sum::<usize>()
    };
    assert_eq!(count(&engine), 2);
    clock.set(TimestampMs(NOW_MS + 1));
    assert_eq!(count(&engine), 1);
}

/// A series without floats is there like any other.
#[test]
fn lists_name_series_of_histograms() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    engine.append(&batch_of(&[Row::histogram(4, NOW_MS, counter(1, 1, &[1.0]))])).expect("appended");
    append(&*engine, &[(5, NOW_MS - 50, 1.0)]).expect("appended");
    for _ in 0..2 {
        let at = TimeRange::new(NOW_MS, NOW_MS);
        assert_eq!(engine.series(&[], at, 9), Ok(vec![labels(4)]));
        assert_eq!(engine.label_values("at", &[], at), Ok(vec!["4".to_owned()]));
        assert!(engine.series(&[], TimeRange::new(NOW_MS + 1, NOW_MS + 9), 9).expect("listed").is_empty());
        engine.flush().expect("flushed");
    }
}
