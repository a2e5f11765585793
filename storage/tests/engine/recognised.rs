//! Batches whose series were recognised: whatever is removed meanwhile, the same is kept as of batches with labels.

use std::sync::Arc;

use model::{KnownSeries, LabelsRef, ManualClock, SampleSink, SeriesCursor, SinkError, TimestampMs, WriteBatch};
use proptest::prelude::*;
use storage::{Engine, EngineOptions};

use crate::support::{NOW_MS, append, batch, everything, labels, open, options};

const DAY_MS: i64 = 86_400_000;

fn guess(cursor: &mut dyn SeriesCursor, of: LabelsRef<'_>) -> Option<KnownSeries> {
    cursor.guess(&mut |guess| guess == of)
}

/// The batch of `rows` as a decoder makes it: with numbers where the engine knows the series.
pub(crate) fn recognised(engine: &Engine, rows: &[(u32, i64, f64)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    let mut cursor = engine.cursor();
    for &(series, timestamp_ms, value) in rows {
        let of = labels(series);
        match guess(&mut *cursor, of.as_ref()).or_else(|| cursor.find(of.as_ref())) {
            Some(known) => batch.push_known(known, of.packed().len()),
            None => batch.push_series(of.as_ref()),
        }
        batch.push_sample(timestamp_ms, value);
    }
    batch
}

#[test]
fn a_sender_is_recognised_in_its_second_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    let rows = |at_ms| (0..700).map(|at| (at * 13 % 700, at_ms, 1.0)).collect::<Vec<_>>();
    for round in 0..3 {
        let batch = recognised(&engine, &rows(NOW_MS + round));
        let known = (0..700).filter(|&at| batch.series(at).known().is_some()).count();
        assert_eq!(known, if round == 0 { 0 } else { 700 });
        let appended = engine.append(&batch).expect("appended");
        assert_eq!((appended.samples_accepted, appended.series_created), (700, if round == 0 { 700 } else { 0 }));
    }
    let mut cursor = engine.cursor();
    assert_eq!(guess(&mut *cursor, labels(0).as_ref()), None, "nothing is guessed before the first is found");
    assert!(cursor.find(labels(0).as_ref()).is_some());
    assert!((1..700).all(|at| guess(&mut *cursor, labels(at * 13 % 700).as_ref()).is_some()));
    drop(cursor);
    drop(engine);
    let again = open(folder.path(), options());
    assert_eq!(everything(&*again).iter().map(|(_, samples)| samples.len()).sum::<usize>(), 2100);
}

#[test]
fn rejections_name_recognised_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { retention_ms: Some(DAY_MS), ..options() };
    let engine = Engine::open(folder.path(), options, clock).expect("opens");
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    let old = [(1, NOW_MS - 2 * DAY_MS, 1.0)];
    let of_numbers = engine.append(&recognised(&engine, &old)).expect("taken");
    assert_eq!(of_numbers, engine.append(&batch(&old)).expect("taken"));
    assert_eq!(of_numbers.samples_rejected, 1);
}

#[test]
fn a_number_of_a_removed_series_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { retention_ms: Some(DAY_MS), ..options() };
    let engine = Engine::open(folder.path(), options, clock.clone()).expect("opens");
    append(&*engine, &[(1, NOW_MS, 1.0), (2, NOW_MS, 1.0)]).expect("appended");
    let later_ms = NOW_MS + 3 * DAY_MS;
    let [first, second, both] =
        [[1, 1], [2, 2], [1, 2]].map(|of| recognised(&engine, &of.map(|at| (at, later_ms, 2.0))));
    clock.set(TimestampMs(later_ms));
    engine.flush().expect("flushed");
    append(&*engine, &[(2, later_ms, 1.0)]).expect("appended");
    engine.maintain().expect("maintained");
    assert_eq!(engine.stats().series_removed, 1);
    assert_eq!(engine.append(&first), Err(SinkError::SeriesRemoved));
    assert_eq!(engine.append(&both), Err(SinkError::SeriesRemoved));
    assert_eq!(engine.append(&second).expect("still there").samples_accepted, 2);
    let kept = everything(&*engine);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].0, labels(2));
}

/// What happens to both engines.
#[derive(Debug, Clone)]
enum Step {
    /// Series, milliseconds into the day, value; and whether series are removed between decoding and appending.
    Send(Vec<(u32, i64, u8)>, bool),
    Flush,
    /// Days pass, and what is too old goes.
    Days(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let row = (0u32..12, 0..1000i64, any::<u8>());
    prop_oneof![
        6 => (prop::collection::vec(row, 1..20), any::<bool>()).prop_map(|(rows, removed)| Step::Send(rows, removed)),
        1 => Just(Step::Flush),
        2 => (1..3i64).prop_map(Step::Days),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn numbers_and_labels_keep_the_same(steps in prop::collection::vec(any_step(), 1..14)) {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let options = EngineOptions { retention_ms: Some(DAY_MS), future_lead_ms: None, ..options() };
        let open = |at: usize| Engine::open(folders[at].path(), options.clone(), clock.clone()).expect("opens");
        let engines = [open(0), open(1)];
        let mut now_ms = NOW_MS;
        let tidy = || engines.iter().for_each(|engine| {
            engine.flush().expect("flushed");
            engine.maintain().expect("maintained");
        });
        for step in steps {
            match step {
                Step::Send(rows, removed) => {
                    let rows: Vec<_> = rows.iter().map(|&(of, ms, value)| (of, now_ms + ms, f64::from(value))).collect();
                    let batch = recognised(&engines[0], &rows);
                    if removed {
                        now_ms += 3 * DAY_MS;
                        clock.set(TimestampMs(now_ms));
                        tidy();
                    }
                    let by_number = match engines[0].append(&batch) {
                        Err(SinkError::SeriesRemoved) => append(&*engines[0], &rows),
                        result => result,
                    };
                    let by_labels = append(&*engines[1], &rows);
                    prop_assert_eq!(by_number, by_labels);
                }
                Step::Flush => engines.iter().for_each(|engine| engine.flush().expect("flushed")),
                Step::Days(days) => {
                    now_ms += days * DAY_MS;
                    clock.set(TimestampMs(now_ms));
                    tidy();
                }
            }
            prop_assert_eq!(everything(&*engines[0]), everything(&*engines[1]));
        }
        let before = everything(&*engines[0]);
        drop(engines);
        prop_assert_eq!(everything(&*open(0)), before);
    }
}
