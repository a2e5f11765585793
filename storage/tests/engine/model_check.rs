//! The engine against the obviously right store, under any sequence of operations.

use std::ops::ControlFlow;

use crate::support::{NOW_MS, Row, any_histogram, batch, batch_of, content, everything, newest, open, options};
use model::{FullSample, MatchOp, Matcher, SampleSink, SampleValue, SeriesSource, TimeRange};
use proptest::prelude::*;
use storage::MemoryStore;

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Row>),
    Flush,
    Maintain,
    MergeToEnd,
    /// Closed and opened again.
    Reopen,
    /// Dropped and opened again.
    Crash,
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0i64..400).prop_map(|at| NOW_MS + at * 15_000),
        4 => (0i64..12).prop_map(|at| NOW_MS + at * 15_000),
        3 => (-5i64..5, 0i64..50).prop_map(|(day, at)| NOW_MS + day * DAY_MS + at * 60_000),
        1 => prop_oneof![Just(0), Just(-1), Just(i64::MIN), Just(i64::MAX), any::<i64>()],
    ]
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0u8..20).prop_map(f64::from),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(model::sample::stale_marker()),
        1 => Just(-0.0),
    ]
}

/// Plain floats, floats with a start, histograms; of the latter two series with many and series with few.
fn any_row() -> impl Strategy<Value = Row> {
    let start = prop_oneof![Just(0), Just(NOW_MS - 5000), any::<i64>()];
    let full = prop_oneof![
        1 => any_value().prop_map(SampleValue::Float),
        2 => any_histogram().prop_map(|histogram| SampleValue::Histogram(histogram.into())),
    ];
    let full = (prop_oneof![0u32..4, 0u32..12], any_time(), start, full).prop_map(
        |(series, timestamp_ms, start_ms, value)| Row {
            series,
            sample: FullSample { timestamp_ms, start_ms, value },
            plain: false,
        },
    );
    prop_oneof![
        3 => (0u32..12, any_time(), any_value()).prop_map(|(series, at_ms, value)| Row::plain(series, at_ms, value)),
        2 => full,
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec(any_row(), 1..80).prop_map(Step::Append),
        2 => (0u32..12, 0i64..100, 1usize..600).prop_map(|(series, start, count)| {
            let rows = (start..).take(count).map(|at| Row::plain(series, NOW_MS + at * 15_000, 0.5)).collect();
            Step::Append(rows)
        }),
        1 => (0u32..3, 0i64..100, 1usize..600, any_histogram()).prop_map(|(series, start, count, histogram)| {
            let rows = (start..).take(count).map(|at| Row::histogram(series, NOW_MS + at * 15_000, histogram.clone()));
            Step::Append(rows.collect())
        }),
        3 => Just(Step::Flush),
        2 => Just(Step::Maintain),
        1 => Just(Step::MergeToEnd),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

fn any_matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let texts = [("job", "1"), ("job", "0|2"), ("at", "1.*"), ("at", ""), ("none", ".*"), ("__name__", "m")];
    let matcher = (0..texts.len(), 0..ops.len())
        .prop_map(move |(text, op)| Matcher::new(texts[text].0, ops[op], texts[text].1).expect("valid matcher"));
    prop::collection::vec(matcher, 0..3)
}

fn compare(engine: &dyn SeriesSource, model: &dyn SeriesSource, matchers: &[Matcher], range: TimeRange) {
    let want = content(model, matchers, range);
    assert_eq!(content(engine, matchers, range), want, "{matchers:?} in {range:?}");
    assert_eq!(newest(engine, matchers, range), newest(model, matchers, range), "{matchers:?} in {range:?}");
    // Lists may be coarser in time, but name all that is there and nothing that never was.
    let within = |few: &[String], many: &[String]| few.iter().all(|one| many.contains(one));
    let series = engine.series(matchers, range, usize::MAX).expect("listed");
    assert!(series.is_sorted(), "ordered by labels");
    assert!(want.iter().all(|(labels, _)| series.binary_search(labels).is_ok()), "no series is missing");
    let ever = model.series(matchers, TimeRange::ALL, usize::MAX).expect("listed");
    assert!(series.iter().all(|labels| ever.binary_search(labels).is_ok()), "no series is made up");
    let names = engine.label_names(matchers, range).expect("listed");
    assert!(within(&model.label_names(matchers, range).expect("listed"), &names));
    assert!(within(&names, &model.label_names(matchers, TimeRange::ALL).expect("listed")));
    let values = engine.label_values("at", matchers, range).expect("listed");
    assert!(within(&model.label_values("at", matchers, range).expect("listed"), &values));
    assert!(within(&values, &model.label_values("at", matchers, TimeRange::ALL).expect("listed")));
    if range == TimeRange::ALL {
        assert_eq!(series, ever);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn reads_as_the_model_does(
        steps in prop::collection::vec(any_step(), 1..25),
        questions in prop::collection::vec((any_matchers(), any_time(), any_time()), 1..6),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let model = MemoryStore::new();
        let mut engine = open(folder.path(), options());
        for step in steps {
            match step {
                Step::Append(rows) => {
                    let batch = batch_of(&rows);
                    let (got, want) = (engine.append(&batch), model.append(&batch));
                    prop_assert_eq!(got, want);
                }
                Step::Flush => engine.flush().expect("flushed"),
                Step::Maintain => engine.maintain().expect("maintained"),
                Step::MergeToEnd => engine.merge_to_end().expect("merged"),
                Step::Reopen => {
                    engine.close().expect("closed");
                    drop(engine);
                    engine = open(folder.path(), options());
                }
                Step::Crash => {
                    drop(engine);
                    engine = open(folder.path(), options());
                }
            }
            prop_assert_eq!(engine.stats().damage, vec![]);
        }
        compare(&*engine, &model, &[], TimeRange::ALL);
        for (matchers, a, b) in questions {
            compare(&*engine, &model, &matchers, TimeRange::new(a.min(b), a.max(b)));
        }
        engine.maintain().expect("maintained");
        prop_assert_eq!(everything(&*engine), everything(&model));
        engine.close().expect("closed");
        prop_assert_eq!(everything(&*engine), everything(&model), "closed engines are still read");
    }
}

/// Enough flushes of one day that every level of merging happens, over late and repeated samples.
#[test]
fn many_flushes_merge_into_few_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = MemoryStore::new();
    let engine = open(folder.path(), options());
    let random = &mut fastrand::Rng::with_seed(7);
    let result = (0..70).try_for_each(|round| {
        let rows: Vec<(u32, i64, f64)> = (0..200)
            .map(|_| (random.u32(0..20), NOW_MS + random.i64(-60..30) * 60_000, f64::from(random.u8(..))))
            .collect();
        let batch = batch(&rows);
        engine.append(&batch).expect("appended");
        model.append(&batch).expect("appended");
        engine.flush().expect("flushed");
        engine.maintain().expect("maintained");
        if engine.stats().blocks > 2 * 12 {
            ControlFlow::Break((round, engine.stats()))
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(result, ControlFlow::Continue(()));
    assert!(engine.stats().merges > 16, "{:?}", engine.stats());
    assert_eq!(everything(&*engine), everything(&model));
}

/// Merging to the end leaves a block a day, today's too, in the smallest coding.
#[test]
fn merging_to_the_end_leaves_one_block_a_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = MemoryStore::new();
    let engine = open(folder.path(), options());
    for round in 0..3 {
        let rows: Vec<(u32, i64, f64)> = (0..600)
            .map(|at| (at % 3, NOW_MS - i64::from(at % 2) * DAY_MS + i64::from(at) + round, f64::from(at % 97) * 0.1))
            .collect();
        for sink in [&*engine as &dyn SampleSink, &model] {
            sink.append(&batch(&rows)).expect("appended");
        }
        engine.flush().expect("flushed");
        let before = engine.stats();
        engine.merge_to_end().expect("merged");
        let after = engine.stats();
        assert_eq!((after.blocks, after.head_bytes), (2, 0));
        assert!(after.block_bytes < before.block_bytes, "{} < {}", after.block_bytes, before.block_bytes);
        assert_eq!(everything(&*engine), everything(&model));
    }
    let merges = engine.stats().merges;
    engine.merge_to_end().expect("nothing to do");
    assert_eq!(engine.stats().merges, merges);
}

/// Days that are far apart and many share blocks.
#[test]
fn scattered_days_make_few_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = MemoryStore::new();
    let engine = open(folder.path(), options());
    let random = &mut fastrand::Rng::with_seed(8);
    for _ in 0..6 {
        let rows: Vec<(u32, i64, f64)> = (0..2000).map(|at| (at % 7, random.i64(..), 1.0)).collect();
        let batch = batch(&rows);
        engine.append(&batch).expect("appended");
        model.append(&batch).expect("appended");
        engine.flush().expect("flushed");
    }
    engine.maintain().expect("maintained");
    assert!(engine.stats().blocks <= 256, "{} blocks", engine.stats().blocks);
    assert_eq!(everything(&*engine), everything(&model));
}

/// Days that are over and thin share blocks once there are many of them.
#[test]
fn thin_days_are_joined() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = MemoryStore::new();
    let engine = open(folder.path(), options());
    for day in 1..=70 {
        let batch =
            batch(&[(1, NOW_MS - day * DAY_MS, 1.0), (2, NOW_MS - DAY_MS, f64::from(u8::try_from(day).expect("few")))]);
        engine.append(&batch).expect("appended");
        model.append(&batch).expect("appended");
        engine.flush().expect("flushed");
    }
    engine.maintain().expect("maintained");
    let stats = engine.stats();
    assert!((60..=68).contains(&stats.blocks), "{} blocks", stats.blocks);
    assert_eq!(everything(&*engine), everything(&model));
    drop(engine);
    assert_eq!(everything(&*open(folder.path(), options())), everything(&model));
}
