//! Deletes: hidden at once, brought back or removed, whatever happens in between.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use crate::support::{NOW_MS, Row, append, batch_of, content, counter, everything, labels, open, open_with, options};
use model::{
    Exemplar, FullSample, Histogram, Labels, ManualClock, MatchOp, Matcher, SampleSink, Samples, SeriesSource,
    TimeRange, TimestampMs, WriteBatch,
};
use proptest::prelude::*;
use storage::files::{AfterFault, Fault, FaultyFiles};
use storage::{
    Delete, DeleteError, DeleteRequest, DeleteStage, Engine, EngineOptions, LifetimeRule, LifetimeStep, MemoryStore,
};

const DAY_MS: i64 = 86_400_000;

fn at(pattern: &str) -> Vec<Matcher> {
    vec![Matcher::new("at", MatchOp::Regex, pattern).expect("valid matcher")]
}

fn request(pattern: &str, range: TimeRange) -> DeleteRequest {
    let selectors = vec![(format!("{{at=~\"{pattern}\"}}"), at(pattern))];
    DeleteRequest { selectors, range, by: "a test".to_owned() }
}

fn delete(engine: &Engine, pattern: &str, range: TimeRange) -> Option<Delete> {
    engine.delete(request(pattern, range)).expect("deleted")
}

fn names(engine: &Engine) -> Vec<Labels> {
    engine.series(&[], TimeRange::ALL, usize::MAX).expect("listed")
}

/// What was written when, and what was deleted when; visible is the last write of an instant unless a later delete
/// that is not undone says otherwise.
#[derive(Debug, Default)]
struct Model {
    writes: u64,
    samples: BTreeMap<(u32, i64), (u64, FullSample)>,
    /// Number, pattern, range, how many writes it reaches, whether it holds.
    deletes: Vec<(u64, &'static str, TimeRange, u64, bool)>,
}

impl Model {
    fn append(&mut self, rows: &[Row]) {
        // Of one batch and instant what is more than a float counts.
        for plain in [true, false] {
            for row in rows.iter().filter(|row| row.plain == plain) {
                self.writes += 1;
                self.samples.insert((row.series, row.sample.timestamp_ms), (self.writes, row.sample.clone()));
            }
        }
    }

    fn visible(&self) -> MemoryStore {
        let store = MemoryStore::new();
        for (&(series, at_ms), (write, sample)) in &self.samples {
            let gone = self.deletes.iter().any(|(_, pattern, range, reach, holds)| {
                *holds && write <= reach && range.contains(at_ms) && at(pattern)[0].matches(&series.to_string())
            });
            if !gone {
                store.insert_full(&labels(series), std::slice::from_ref(sample));
            }
        }
        store
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Row>),
    Delete(&'static str, TimeRange),
    Undo(usize),
    Apply,
    Flush,
    Maintain,
    MergeToEnd,
    Reopen,
    Crash,
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => (0i64..40).prop_map(|at| NOW_MS + at * 15_000),
        2 => (-3i64..3, 0i64..20).prop_map(|(day, at)| NOW_MS + day * DAY_MS + at * 60_000),
    ]
}

fn any_row() -> impl Strategy<Value = Row> {
    let histogram = |count: u8| counter(0, 1, &[f64::from(count)]);
    prop_oneof![
        4 => (0u32..8, any_time(), 0u8..9).prop_map(|(series, at_ms, value)| Row::plain(series, at_ms, value.into())),
        1 => (0u32..3, any_time(), 0u8..9).prop_map(move |(series, at_ms, of)| Row::histogram(series, at_ms, histogram(of))),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let range = prop_oneof![
        Just(TimeRange::ALL),
        (any_time(), any_time()).prop_map(|(a, b)| TimeRange::new(a.min(b), a.max(b))),
    ];
    prop_oneof![
        8 => prop::collection::vec(any_row(), 1..40).prop_map(Step::Append),
        4 => (prop::sample::select(vec!["0", "1|2", "[3-7]", ".*", "9"]), range).prop_map(|(p, r)| Step::Delete(p, r)),
        2 => (0usize..6).prop_map(Step::Undo),
        1 => Just(Step::Apply),
        2 => Just(Step::Flush),
        2 => Just(Step::Maintain),
        1 => Just(Step::MergeToEnd),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

fn reopened(engine: Arc<Engine>, folder: &std::path::Path) -> Arc<Engine> {
    drop(engine);
    open(folder, options())
}

/// Does one step on both.
fn take(step: Step, engine: Arc<Engine>, model: &mut Model, folder: &std::path::Path) -> Arc<Engine> {
    match step {
        Step::Append(rows) => {
            engine.append(&batch_of(&rows)).expect("appended");
            model.append(&rows);
        }
        Step::Delete(pattern, range) => {
            let visible = content(&model.visible(), &at(pattern), range);
            let told = engine.preview_delete([at(pattern).as_slice()], range).expect("previewed");
            let samples: usize = visible.iter().map(|(_, samples)| samples.len()).sum();
            assert_eq!((told.series, told.series == 0), (visible.len() as u64, samples == 0), "{pattern} in {range:?}");
            assert!(told.samples >= samples as u64, "what two blocks have counts twice");
            let made = delete(&engine, pattern, range);
            assert_eq!(made.as_ref().map(|made| made.record.series), (samples > 0).then_some(visible.len() as u64));
            if let Some(made) = made {
                model.deletes.push((made.id, pattern, range, model.writes, true));
            }
        }
        Step::Undo(at) => {
            let Some(known) = model.deletes.get_mut(at) else { return engine };
            let pending = |of: &Delete| of.id == known.0 && of.record.stage == DeleteStage::Pending;
            let can = engine.deletes().iter().any(pending);
            assert_eq!(engine.undo_delete(known.0).is_ok(), can);
            known.4 &= !can;
        }
        Step::Apply => engine.apply_deletes().expect("applied"),
        Step::Flush => engine.flush().expect("flushed"),
        Step::Maintain => engine.maintain().expect("maintained"),
        Step::MergeToEnd => engine.merge_to_end().expect("merged"),
        Step::Reopen => {
            engine.close().expect("closed");
            return reopened(engine, folder);
        }
        Step::Crash => return reopened(engine, folder),
    }
    engine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn deletes_hide_what_was_there_and_nothing_else(steps in prop::collection::vec(any_step(), 1..25)) {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, mut model) = (open(folder.path(), options()), Model::default());
        for step in steps {
            engine = take(step, engine, &mut model, folder.path());
            prop_assert_eq!(everything(&*engine), everything(&model.visible()));
            prop_assert_eq!(engine.stats().damage, vec![]);
        }
        // Then it is all gone, with the names of what has nothing left.
        let want = everything(&model.visible());
        engine.apply_deletes().expect("applied");
        prop_assert_eq!(everything(&*engine), want.clone());
        prop_assert_eq!(names(&engine), want.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>());
        prop_assert_eq!(engine.stats().deletes_pending, 0);
        let all = engine.preview_delete([[].as_slice()], TimeRange::ALL).expect("previewed");
        prop_assert_eq!(all.series, want.len() as u64);
        engine.flush().expect("flushed");
        engine.merge_to_end().expect("merged");
        let held: u64 = want.iter().map(|(_, samples)| samples.len() as u64).sum();
        prop_assert_eq!(engine.stats().block_samples, held, "nothing deleted is stored");
        engine = reopened(engine, folder.path());
        prop_assert_eq!(everything(&*engine), want);
    }
}

/// The way of one delete: hidden at once, names too; undone; made again; removed when its window is over.
#[test]
fn a_delete_can_be_undone_until_its_window_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = Engine::open(folder.path(), options(), clock.clone()).expect("opens");
    let rows: Vec<(u32, i64, f64)> =
        (0..2000).map(|at| (at % 2, NOW_MS + i64::from(at), f64::from(at).sqrt())).collect();
    append(&*engine, &rows).expect("appended");
    let before = everything(&*engine);
    let preview = engine.preview_delete([at("1").as_slice()], TimeRange::ALL).expect("previewed");
    assert_eq!((preview.series, preview.samples, preview.metrics_len), (1, 1000, 1));
    assert_eq!((preview.metrics[0].name.as_str(), preview.metrics[0].count), ("m", 1));
    assert_eq!(everything(&*engine), before, "looking changes nothing");

    let made = delete(&engine, "1", TimeRange::ALL).expect("there is something");
    assert_eq!((made.id, made.record.samples, made.undo_until_ms), (1, 1000, NOW_MS + DAY_MS));
    assert_eq!(everything(&*engine), before[..1]);
    assert_eq!(names(&engine), [labels(0)]);
    assert_eq!(engine.label_values("at", &[], TimeRange::ALL).expect("listed"), ["0"]);
    assert_eq!(delete(&engine, "1", TimeRange::ALL), None, "nothing is left to delete");
    engine.undo_delete(1).expect("undone");
    assert_eq!(everything(&*engine), before);
    assert!(matches!(engine.undo_delete(1), Err(DeleteError::Settled { id: 1, .. })));
    assert!(matches!(engine.undo_delete(7), Err(DeleteError::Unknown { id: 7 })));

    delete(&engine, "1", TimeRange::new(NOW_MS, NOW_MS + 1500)).expect("there is something");
    // What is written later is new, at the same times too.
    append(&*engine, &[(1, NOW_MS + 1, 7.0)]).expect("appended");
    let after = everything(&*engine);
    assert_eq!(after[1].1.len(), 1 + 250);
    let bytes = engine.stats().block_bytes;
    clock.set(TimestampMs(NOW_MS + DAY_MS - 1));
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().block_bytes, engine.stats().deletes_pending), (bytes, 1));
    clock.set(TimestampMs(NOW_MS + DAY_MS));
    engine.maintain().expect("maintained");
    let stats = engine.stats();
    assert!(stats.block_bytes < bytes * 3 / 4, "{} of {bytes} bytes", stats.block_bytes);
    assert_eq!((stats.block_samples, stats.deletes_pending), (1250, 0));
    assert_eq!(everything(&*engine), after);
    let stages: Vec<DeleteStage> = engine.deletes().into_iter().map(|delete| delete.record.stage).collect();
    assert_eq!(stages, [DeleteStage::Undone { at_ms: NOW_MS }, DeleteStage::Applied { at_ms: NOW_MS + DAY_MS }]);
    assert!(matches!(engine.undo_delete(2), Err(DeleteError::Settled { id: 2, .. })));
}

#[test]
fn exemplars_go_with_their_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut engine = open(folder.path(), options());
    let mut batch = WriteBatch::new();
    for series in [1, 2] {
        batch.push_series(labels(series).as_ref());
        batch.push_sample(NOW_MS, 1.0);
        batch.push_exemplar(Exemplar { labels: Labels::default(), value: 1.0, timestamp_ms: NOW_MS });
    }
    engine.append(&batch).expect("appended");
    delete(&engine, "1", TimeRange::ALL).expect("there is something");
    for _ in 0..2 {
        let kept = engine.exemplars(&[], TimeRange::ALL).expect("in memory");
        assert!(kept.iter().all(|(of, _)| *of == labels(2)), "{kept:?}");
        engine = reopened(engine, folder.path());
    }
}

/// Blocks that a delete parts are merged when it has ended, not before.
#[test]
fn merging_never_mixes_what_is_deleted_with_what_came_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    for round in 0..8 {
        append(&*engine, &[(0, NOW_MS + round, 1.0), (1, NOW_MS + round, 1.0)]).expect("appended");
        engine.flush().expect("flushed");
        if round == 3 {
            delete(&engine, "1", TimeRange::ALL).expect("there is something");
        }
    }
    engine.merge_to_end().expect("merged");
    assert_eq!(engine.stats().blocks, 2, "one on each side");
    let hidden = everything(&*engine);
    engine.undo_delete(1).expect("undone");
    engine.merge_to_end().expect("merged");
    assert_eq!((engine.stats().blocks, everything(&*engine)[1].1.len()), (1, 8));
    delete(&engine, "1", TimeRange::new(NOW_MS, NOW_MS + 3)).expect("there is something");
    engine.apply_deletes().expect("applied");
    assert_eq!(everything(&*engine), hidden);
}

/// Whatever change of blocks or log fails, a delete that was acknowledged holds, one that was undone does not, and no
/// sample is lost or comes back.
#[test]
fn every_failing_change_leaves_deletes_whole() {
    let mut reached = true;
    for fail_at in 0.. {
        if !reached {
            break;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let files = FaultyFiles::new();
        files.fail_at(fail_at, Fault::Fail, AfterFault::Dead);
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let opened = Engine::open_with(folder.path(), options(), clock, Arc::new(files));
        let mut model = Model::default();
        reached = opened.ok().and_then(|engine| scenario(&engine, &mut model)).is_none();
        let engine = open(folder.path(), options());
        let case = format!("change {fail_at}");
        assert_eq!(everything(&*engine), everything(&model.visible()), "{case}");
        engine.apply_deletes().expect("applied");
        engine.maintain().expect("maintained");
        assert_eq!(everything(&*engine), everything(&model.visible()), "{case}, applied");
        let files_left = fs::read_dir(folder.path().join("blocks")).expect("a folder").count();
        assert_eq!(files_left as u64, engine.stats().blocks, "{case}");
    }
}

/// `None` if something failed. What failed had no effect.
fn scenario(engine: &Engine, model: &mut Model) -> Option<()> {
    let histogram = || counter(0, 1, &[2.0]);
    for round in 0..4u32 {
        let at_ms = NOW_MS + i64::from(round) * 60_000 - i64::from(round % 2) * DAY_MS;
        let rows: Vec<Row> = (0..4)
            .map(|series| Row::plain(series, at_ms, f64::from(round)))
            .chain([Row::histogram(5, at_ms, Histogram { sum: f64::from(round), ..histogram() })])
            .collect();
        engine.append(&batch_of(&rows)).ok()?;
        model.append(&rows);
        let pattern = ["0", "1|5", "[23]", "0|1"][round as usize];
        let range = TimeRange::new(NOW_MS - DAY_MS, at_ms + 30_000 * i64::from(round));
        if let Some(made) = engine.delete(request(pattern, range)).ok()? {
            model.deletes.push((made.id, pattern, range, model.writes, true));
        }
        if round == 1 {
            engine.undo_delete(model.deletes[0].0).ok()?;
            model.deletes[0].4 = false;
        }
        if round == 2 {
            engine.apply_deletes().ok()?;
        }
    }
    engine.maintain().ok()?;
    engine.apply_deletes().ok()
}

/// A full disk refuses a delete, and takes it again later; nothing is poisoned.
#[test]
fn a_full_disk_refuses_deletes_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    files.set_available_bytes(Some(1 << 20));
    assert!(matches!(engine.delete(request("1", TimeRange::ALL)), Err(DeleteError::Storage(_))));
    assert_eq!(everything(&*engine).len(), 1);
    files.set_available_bytes(None);
    delete(&engine, "1", TimeRange::ALL).expect("there is something");
    files.set_available_bytes(Some(1 << 20));
    assert!(engine.apply_deletes().is_err() && engine.undo_delete(1).is_err());
    assert_eq!((everything(&*engine).len(), engine.stats().poisoned), (0, None));
    files.set_available_bytes(None);
    engine.apply_deletes().expect("applied");
    assert_eq!((engine.stats().blocks, engine.stats().series), (0, 0));
}

/// What a delete waits to write anew is told as waiting for room.
#[test]
fn a_delete_that_waits_for_room_is_told() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
    let engine = open_with(folder.path(), EngineOptions { delete_undo_ms: 0, ..options() }, Arc::new(files.clone()));
    append(&*engine, &[(1, NOW_MS - 1, 1.0), (1, NOW_MS, 2.0)]).expect("appended");
    engine.flush().expect("flushed");
    delete(&engine, "1", TimeRange::new(NOW_MS, NOW_MS)).expect("there is something");
    // Enough for the catalog, and nothing for blocks.
    files.set_available_bytes(Some(4 << 20));
    engine.maintain().expect("the delete waits");
    assert!(engine.stats().merge_waiting_bytes > 0, "{:?}", engine.stats());
    files.set_available_bytes(None);
    engine.maintain().expect("applied");
    assert_eq!((engine.stats().merge_waiting_bytes, everything(&*engine).len()), (0, 1));
}

/// A block that cannot be read keeps its deletes.
#[test]
fn damaged_blocks_keep_their_deletes() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), EngineOptions { delete_undo_ms: 0, ..options() });
    append(&*engine, &[(1, NOW_MS, 0.1), (1, NOW_MS + 50, 0.7), (2, NOW_MS, 1.0)]).expect("appended");
    delete(&engine, "1", TimeRange::new(NOW_MS, NOW_MS)).expect("there is something");
    drop(engine);
    let path = folder.path().join("blocks/00000000.blk");
    let whole = fs::read(&path).expect("read");
    let mut bytes = whole.clone();
    bytes[0] ^= 1;
    fs::write(&path, bytes).expect("written");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().blocks_quarantined, 1);
    engine.apply_deletes().expect("nothing can be done");
    assert_eq!(engine.stats().deletes_pending, 1);
    drop(engine);
    fs::write(&path, whole).expect("repaired");
    let engine = open(folder.path(), options());
    assert_eq!(everything(&*engine)[0].1.len(), 1);
    engine.maintain().expect("maintained");
    let stats = engine.stats();
    assert_eq!((stats.deletes_pending, stats.block_samples), (0, 2));
}

/// A delete is of what a block holds that could not be read when it was made, too.
#[test]
fn a_block_that_is_repaired_after_a_delete_brings_nothing_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), options());
    append(&*engine, &[(1, NOW_MS, 1.0), (2, NOW_MS, 2.0), (3, NOW_MS, 3.0)]).expect("appended");
    engine.flush().expect("flushed");
    append(&*engine, &[(2, NOW_MS + 50, 2.0)]).expect("appended");
    engine.flush().expect("flushed");
    drop(engine);
    let path = folder.path().join("blocks/00000000.blk");
    let whole = fs::read(&path).expect("read");
    fs::write(&path, &whole[1..]).expect("written");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().blocks_quarantined, 1);
    delete(&engine, "1|2", TimeRange::ALL).expect("there is something");
    assert_eq!(everything(&*engine), []);
    drop(engine);
    fs::write(&path, whole).expect("repaired");
    let engine = open(folder.path(), options());
    assert_eq!(everything(&*engine).len(), 1, "series 3 alone was not deleted");
    engine.apply_deletes().expect("applied");
    let stats = engine.stats();
    assert_eq!((stats.deletes_pending, stats.block_samples), (0, 1));
}

/// What a series shows with summaries: the times of samples, and the first and last time of each summary.
fn told(engine: &Engine, series: &str) -> (Vec<i64>, Vec<(i64, i64)>) {
    let set = engine.select(&at(series), TimeRange::ALL, 1).expect("selected");
    let (mut samples, mut summaries) = (Samples::default(), Vec::new());
    if set.len() == 1 {
        set.read_with_summaries(0, i64::MAX, &mut samples, &mut summaries).expect("read");
    }
    (samples.timestamps_ms, summaries.iter().map(|of| (of.first_ms, of.last_ms)).collect())
}

const HOUR_MS: i64 = 3_600_000;

/// A midnight.
const MIDNIGHT_MS: i64 = NOW_MS - NOW_MS % DAY_MS;

/// An engine whose series 1 and 2 have a day of samples, one every ten minutes, of which summaries of hours are left; the times.
fn summarised_day(folder: &std::path::Path) -> (Arc<Engine>, EngineOptions, Arc<ManualClock>, Vec<i64>) {
    let start_ms = MIDNIGHT_MS;
    let clock = Arc::new(ManualClock::new(TimestampMs(start_ms)));
    let rule = LifetimeRule {
        text: "all".to_owned(),
        matchers: Vec::new(),
        raw_ms: Some(DAY_MS),
        steps: vec![LifetimeStep { window_ms: HOUR_MS, keep_ms: None }],
    };
    let options = EngineOptions { lifetimes: vec![rule], delete_undo_ms: HOUR_MS, ..options() };
    let engine = Engine::open(folder, options.clone(), clock.clone()).expect("opens");
    let times: Vec<i64> = (0..24 * 6).map(|slot| start_ms + slot * HOUR_MS / 6 + 1).collect();
    let rows: Vec<(u32, i64, f64)> = times.iter().flat_map(|&at_ms| [(1, at_ms, 1.0), (2, at_ms, 2.0)]).collect();
    append(&*engine, &rows).expect("appended");
    clock.set(TimestampMs(start_ms + 4 * DAY_MS));
    append(&*engine, &[(3, start_ms + 4 * DAY_MS, 1.0)]).expect("appended");
    engine.flush().expect("flushed");
    for _ in 0..3 {
        engine.maintain().expect("maintained");
    }
    (engine, options, clock, times)
}

/// However short the time and wherever it lies in a window, the summary of the window is reached.
#[test]
fn a_delete_shorter_than_a_window_reaches_its_summary() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, _, _, times) = summarised_day(folder.path());
    let before = told(&engine, "1").1;
    for (of_window, slots) in [(0, 0..1), (2, 13..15), (23, 138..140)] {
        let range = TimeRange::new(times[slots.start] - 1, times[slots.end]);
        let matchers = at("1");
        let preview = engine.preview_delete([&matchers[..]], range).expect("counted");
        assert_eq!((preview.series, preview.samples), (1, 1), "window {of_window}");
        let made = delete(&engine, "1", range).expect("there is something");
        assert_eq!((made.record.series, made.record.samples), (1, 1));
        let mut want = before.clone();
        want.remove(of_window);
        assert_eq!(told(&engine, "1").1, want);
        assert_eq!(engine.preview_delete([&matchers[..]], range).expect("counted").samples, 0, "it is hidden");
        engine.undo_delete(made.id).expect("undone");
    }
    assert_eq!(told(&engine, "1").1, before);
    let none = [
        TimeRange::new(MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 2 * DAY_MS),
        TimeRange::new(times[5] + 1, times[6] - 1),
        TimeRange::new(times[20], times[2]),
    ];
    for range in none {
        assert!(delete(&engine, "1", range).is_none(), "{range:?}");
    }
}

/// A summary of any deleted sample is hidden with it, comes back with it, and goes with it.
#[test]
fn summaries_of_deleted_samples_go_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut engine, options, clock, times) = summarised_day(folder.path());
    let before = told(&engine, "1");
    assert_eq!((before.0.len(), before.1.len()), (0, 24), "all is summarised");
    let plain = everything(&*engine);
    // From the middle of the third hour to the middle of the fifth: three windows.
    let range = TimeRange::new(times[14], times[26]);
    let hidden: Vec<(i64, i64)> = before.1.iter().copied().filter(|of| of.1 < times[12] || of.0 > times[29]).collect();
    assert_eq!(hidden.len(), 21);
    delete(&engine, "1", range).expect("there is something");
    assert_eq!((told(&engine, "1").1, told(&engine, "2").1.len()), (hidden.clone(), 24));
    assert_eq!(everything(&*engine)[0].1.len(), 21, "as samples too");
    for _ in 0..2 {
        engine.maintain().expect("maintained");
        drop(engine);
        engine = Engine::open(folder.path(), options.clone(), clock.clone()).expect("opens");
        assert_eq!(told(&engine, "1").1, hidden);
    }
    engine.undo_delete(1).expect("undone");
    assert_eq!((told(&engine, "1"), everything(&*engine)), (before, plain));
    delete(&engine, "1", range).expect("there is something");
    // One whose time to undo is over goes; another, of the same block, can still come back whole.
    clock.advance_ms(HOUR_MS / 2);
    delete(&engine, "2", TimeRange::ALL).expect("there is something");
    clock.advance_ms(HOUR_MS / 2 + 1);
    engine.maintain().expect("maintained");
    assert_eq!(engine.stats().deletes_pending, 1);
    engine.undo_delete(3).expect("undone");
    assert_eq!((told(&engine, "1").1, told(&engine, "2").1.len()), (hidden.clone(), 24));
    delete(&engine, "2", TimeRange::ALL).expect("there is something");
    engine.apply_deletes().expect("applied");
    engine.maintain().expect("maintained");
    assert_eq!(engine.stats().block_samples, 21 + 1, "nothing deleted is stored");
    assert_eq!((told(&engine, "1").1, told(&engine, "2").1.len()), (hidden, 0));
    assert_eq!((names(&engine).len(), engine.stats().deletes_pending), (2, 0));
}
