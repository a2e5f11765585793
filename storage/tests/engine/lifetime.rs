//! Rules by selector against a model that forgets nothing: of every instant that a rule keeps, either samples or
//! summaries tell, and they tell what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::sample::{is_stale_marker, stale_marker};
use model::summary::window_end_ms;
use model::{ManualClock, Matcher, SampleSink, Samples, SeriesSet, SeriesSource, Summary, TimeRange, TimestampMs};
use proptest::prelude::*;
use storage::files::{AfterFault, Fault, FaultyFiles, Files, RealFiles};
use storage::summary::summarise;
use storage::{DeleteRequest, Durability, Engine, EngineOptions, LifetimeRule, LifetimeStep};

use crate::support::{Row, batch, batch_of, counter, options};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = 19_000 * DAY_MS;
/// What series of no rule are kept.
const RETENTION_MS: i64 = 6 * DAY_MS;

/// Series `at="0"` has two windows, `at="1"` is kept for three days, `at="2"` one window for ever, others the retention.
fn rules() -> Vec<LifetimeRule> {
    let rule = |at: &str, raw_ms: i64, steps: &[(i64, Option<i64>)]| LifetimeRule {
        text: format!("rule of {at}"),
        matchers: vec![Matcher::equal("at", at)],
        raw_ms: Some(raw_ms),
        steps: steps.iter().map(|&(window_ms, keep_ms)| LifetimeStep { window_ms, keep_ms }).collect(),
    };
    vec![
        rule("0", DAY_MS, &[(30 * MINUTE_MS, Some(3 * DAY_MS)), (2 * HOUR_MS, Some(8 * DAY_MS))]),
        rule("1", 3 * DAY_MS, &[]),
        rule("2", 36 * HOUR_MS, &[(2 * HOUR_MS, None)]),
    ]
}

/// An engine, its clock, and all that it was given.
struct World {
    folder: tempfile::TempDir,
    options: EngineOptions,
    clock: Arc<ManualClock>,
    engine: Option<Arc<Engine>>,
    given: BTreeMap<u32, BTreeMap<i64, f64>>,
    /// Deletes that can be undone, the last one last: their number, their series, and what they hide of it.
    deleted: Vec<(u64, u32, BTreeMap<i64, f64>)>,
}

fn lived() -> EngineOptions {
    EngineOptions { retention_ms: Some(RETENTION_MS), lifetimes: rules(), future_lead_ms: None, ..options() }
}

fn open(folder: &Path, options: &EngineOptions, clock: &Arc<ManualClock>, files: Arc<dyn Files>) -> Arc<Engine> {
    Engine::open_with(folder, options.clone(), clock.clone(), files).expect("the folder opens")
}

impl World {
    fn new(options: EngineOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(TimestampMs(START_MS)));
        let engine = open(folder.path(), &options, &clock, Arc::new(RealFiles));
        Self { folder, options, clock, engine: Some(engine), given: BTreeMap::new(), deleted: Vec::new() }
    }

    fn now_ms(&self) -> i64 {
        use model::Clock;
        self.clock.now().0
    }

    fn engine(&self) -> &Engine {
        self.engine.as_deref().expect("open")
    }

    fn reopen(&mut self) {
        self.engine = None;
        self.engine = Some(open(self.folder.path(), &self.options, &self.clock, Arc::new(RealFiles)));
    }

    /// Appends rows, whatever their age, and checks that just those are taken that the rules keep as samples.
    fn append(&mut self, rows: &[(u32, i64, f64)]) {
        let appended = self.engine().append(&batch(rows)).expect("appended");
        let taken: Vec<_> = rows.iter().filter(|row| row.1 >= self.raw_start_ms(row.0)).collect();
        assert_eq!(appended.samples_accepted, taken.len() as u64, "at {}", self.now_ms() - START_MS);
        for &&(series, at_ms, value) in &taken {
            self.given.entry(series).or_default().insert(at_ms, value);
        }
    }

    fn rule(&self, series: u32) -> Option<&LifetimeRule> {
        self.options.lifetimes.iter().find(|rule| rule.matchers[0].value() == series.to_string())
    }

    fn start_ms(&self, keep_ms: Option<i64>, rule: Option<&LifetimeRule>) -> i64 {
        let Some(keep_ms) = keep_ms else { return i64::MIN };
        let start_ms = self.now_ms() - keep_ms;
        let longest = rule.and_then(|rule| rule.steps.last());
        longest.map_or(start_ms, |step| start_ms.div_euclid(step.window_ms) * step.window_ms + 1)
    }

    fn raw_start_ms(&self, series: u32) -> i64 {
        let rule = self.rule(series);
        self.start_ms(rule.map_or(Some(RETENTION_MS), |rule| rule.raw_ms), rule)
    }

    fn kept_from_ms(&self, series: u32) -> i64 {
        let rule = self.rule(series);
        let Some(step) = rule.and_then(|rule| rule.steps.last()) else { return self.raw_start_ms(series) };
        self.start_ms(step.keep_ms, rule)
    }

    /// What is told of every series is what was given, and nothing is told twice or lacking.
    #[track_caller]
    fn check(&self) {
        for (&series, given) in &self.given {
            for window_ms_max in [0, 30 * MINUTE_MS, 3 * HOUR_MS] {
                self.check_series(series, given, window_ms_max);
            }
        }
    }

    #[track_caller]
    fn check_series(&self, series: u32, given: &BTreeMap<i64, f64>, window_ms_max: i64) {
        let set =
            self.engine().select(&[Matcher::equal("at", series.to_string())], TimeRange::ALL, 9).expect("selected");
        let (mut samples, mut summaries) = (Samples::default(), Vec::new());
        if !set.is_empty() {
            set.read_with_summaries(0, window_ms_max, &mut samples, &mut summaries).expect("read");
        }
        assert!(summaries.is_sorted_by(|a, b| a.last_ms < b.first_ms));
        let case =
            format!("series {series}, windows up to {window_ms_max}, {} after the start", self.now_ms() - START_MS);
        // Windows reach over the border of what is kept only at its beginning.
        let kept = given.range(self.kept_from_ms(series)..).map(|(a, b)| (*a, *b));
        let (markers, mut left): (BTreeMap<i64, f64>, BTreeMap<i64, f64>) =
            kept.partition(|(_, value)| is_stale_marker(*value));
        for summary in &summaries {
            let told: Vec<i64> = left.range(summary.first_ms..=summary.last_ms).map(|(at_ms, _)| *at_ms).collect();
            let values: Vec<f64> = told.iter().filter_map(|at_ms| left.remove(at_ms)).collect();
            let mut want = Vec::new();
            summarise(&told, &values, summary.window_ms, &mut want);
            assert_same(&[*summary], &want, &case);
            assert!(told.iter().all(|at_ms| window_end_ms(*at_ms, summary.window_ms) == summary.end_ms()));
        }
        let (ends, shown): (BTreeMap<i64, f64>, BTreeMap<i64, f64>) =
            samples.iter().map(|of| (of.timestamp.0, of.value)).partition(|(_, value)| is_stale_marker(*value));
        let bits = |of: &BTreeMap<i64, f64>| of.iter().map(|(at, value)| (*at, value.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&shown), bits(&left), "{case}, {} summaries", summaries.len());
        self.check_ends(series, &markers, (&ends, &summaries), &case);
        if window_ms_max == 0 && !set.is_empty() {
            // Readers of samples find the latest values, those at a partition's first instant too.
            let mut plain = Samples::default();
            set.read(0, &mut plain).expect("read");
            let parts = in_parts(&*set);
            assert_eq!(parts.timestamps_ms, plain.timestamps_ms, "{case}: part by part");
            let bits = |of: &Samples| of.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!((bits(&parts), &parts.histograms), (bits(&plain), &plain.histograms), "{case}: part by part");
            let plain: BTreeMap<i64, f64> =
                plain.timestamps_ms.iter().copied().zip(plain.values.iter().copied()).collect();
            let is_given =
                |(at_ms, value): (&i64, &f64)| given.get(at_ms).map(|of| of.to_bits()) == Some(value.to_bits());
            assert!(plain.iter().all(is_given), "{case}");
            assert!(
                shown.keys().chain(summaries.iter().map(|of| &of.last_ms)).all(|at_ms| plain.contains_key(at_ms)),
                "{case}"
            );
        }
    }

    /// Every stale marker is told of: shown at its time, by the summary of its window, or by one before it in the same
    /// window; or it is followed there by samples. None is shown that was not given.
    #[track_caller]
    fn check_ends(
        &self,
        series: u32,
        markers: &BTreeMap<i64, f64>,
        (shown, summaries): (&BTreeMap<i64, f64>, &[Summary]),
        case: &str,
    ) {
        assert!(shown.keys().all(|at_ms| markers.contains_key(at_ms)), "{case}: {shown:?} of {markers:?}");
        let steps = self.rule(series).map_or(&[][..], |rule| &rule.steps);
        for &at_ms in markers.keys().filter(|at_ms| !shown.contains_key(at_ms)) {
            let same =
                |window_ms: i64, other_ms: i64| window_end_ms(at_ms, window_ms) == window_end_ms(other_ms, window_ms);
            let by_summary =
                summaries.iter().any(|of| same(of.window_ms, of.last_ms) && (of.ended || of.last_ms > at_ms));
            let by_other = steps.iter().any(|step| shown.range(..at_ms).any(|(&other, _)| same(step.window_ms, other)));
            assert!(by_summary || by_other, "{case}: nothing tells of the marker at {}", at_ms - START_MS);
        }
        for of in summaries.iter().filter(|of| of.ended) {
            let mut inside = markers.range(of.last_ms + 1..=of.end_ms());
            assert!(inside.next().is_some(), "{case}: no marker ends {of:?}");
        }
    }

    /// Deletes all there is of a series.
    fn delete(&mut self, series: u32) {
        let selectors = vec![(String::new(), vec![Matcher::equal("at", series.to_string())])];
        let request = DeleteRequest { selectors, range: TimeRange::ALL, by: String::new() };
        if let Some(delete) = self.engine().delete(request).expect("deleted") {
            let hidden = self.given.remove(&series).unwrap_or_default();
            self.deleted.push((delete.id, series, hidden));
        }
    }

    /// Undoes the last delete.
    fn undo(&mut self) {
        let Some((id, series, hidden)) = self.deleted.pop() else { return };
        self.engine().undo_delete(id).expect("undone");
        let given = self.given.entry(series).or_default();
        let since = std::mem::replace(given, hidden);
        given.extend(since);
    }

    fn upkeep(&self) {
        self.engine().flush().expect("flushed");
        self.engine().maintain().expect("maintained");
    }

    /// What is told of a series, and by which windows.
    fn told(&self, series: u32, window_ms_max: i64) -> (Samples, Vec<Summary>) {
        let set =
            self.engine().select(&[Matcher::equal("at", series.to_string())], TimeRange::ALL, 9).expect("selected");
        let (mut samples, mut summaries) = (Samples::default(), Vec::new());
        set.read_with_summaries(0, window_ms_max, &mut samples, &mut summaries).expect("read");
        (samples, summaries)
    }
}

/// What is told of the first series to who reads it as exports do, in parts that end where the extents of its samples begin.
fn in_parts(set: &dyn SeriesSet) -> Samples {
    let extents = set.extents(0).expect("read").expect("the engine knows them");
    let starts: BTreeSet<i64> = extents.iter().map(|(extent, _)| extent.start.0).collect();
    let ends = starts.iter().skip(1).map(|next_ms| next_ms - 1).chain([i64::MAX]);
    let (mut all, mut part) = (Samples::default(), Samples::default());
    for (&start_ms, end_ms) in starts.iter().zip(ends) {
        set.read_within(0, TimeRange::new(start_ms, end_ms), &mut part).expect("read");
        part.iter().for_each(|sample| all.push(sample.timestamp.0, sample.value));
        all.histograms.append(&mut part.histograms);
    }
    all
}

/// Equal; sums and increases but for rounding.
#[track_caller]
fn assert_same(got: &[Summary], want: &[Summary], case: &str) {
    let bits = |of: &Summary| {
        let rounded = |value: f64| (value * 1e6).round() + 0.0;
        let numbers = [of.first, of.last, of.min, of.max, rounded(of.sum), rounded(of.before_resets)];
        let whole = (of.window_ms, of.first_ms, of.last_ms, of.count, of.resets, of.changes);
        (whole, numbers.map(|value| if value.is_nan() { f64::NAN } else { value }.to_bits()))
    };
    let (got, want): (Vec<_>, Vec<_>) = (got.iter().map(bits).collect(), want.iter().map(bits).collect());
    assert_eq!(got, want, "{case}");
}

/// Samples of four series every ten minutes of `day`: a counter that begins anew at times, and others.
fn a_day(day: i64) -> Vec<(u32, i64, f64)> {
    let at = |slot: i64| START_MS + day * DAY_MS + slot * 10 * MINUTE_MS;
    let value = |series: u32, slot: i64| match series {
        0 | 2 => f64::from(u32::try_from((slot + day) * 7 % 500).expect("small")),
        _ => f64::from(u32::try_from(slot % 9).expect("small")) / 4.0,
    };
    (0..144).flat_map(|slot| (0..4).map(move |series| (series, at(slot), value(series, slot)))).collect()
}

#[test]
fn summaries_follow_samples_and_go_in_their_time() {
    let mut world = World::new(lived());
    let mut windows_seen = BTreeMap::new();
    for day in 0..14 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        // Only what is not ahead of the clock, as agents send it.
        world.append(&a_day(day));
        world.upkeep();
        world.check();
        world.upkeep();
        world.check();
        for blocks in world.engine().stats().summary_blocks {
            windows_seen.insert(blocks.window_ms, blocks);
        }
        if day % 5 == 2 {
            world.reopen();
            world.check();
        }
    }
    assert_eq!(windows_seen.keys().copied().collect::<Vec<_>>(), [30 * MINUTE_MS, 2 * HOUR_MS]);
    let (samples, summaries) = world.told(0, 30 * MINUTE_MS);
    // Samples of a day and at most a window, then half hours up to three days, then two hours.
    assert!((144..=160).contains(&samples.len()), "{} samples", samples.len());
    let finer = summaries.iter().filter(|of| of.window_ms == 30 * MINUTE_MS).count();
    assert!((96..=100).contains(&finer) && summaries.len() - finer > 50, "{finer} of {}", summaries.len());
    let stats = world.engine().stats();
    assert!(stats.samples_summarised > 0 && stats.lifetime_bytes_freed > 0 && stats.blocks_rewritten > 0, "{stats:?}");
    // Of the series that are kept for days nothing older is on disk; a partition holds whole days.
    let report = world.engine().retention(&[]);
    assert_eq!((report.rules, report.series, report.kept.len()), (3, 4, 4));
    let of_one = &report.kept[1];
    assert_eq!((of_one.rule, of_one.series, of_one.raw.keep_ms, of_one.steps.len()), (Some(1), 1, Some(3 * DAY_MS), 0));
    assert_eq!(
        report.kept[0].steps.iter().map(|step| step.window_ms).collect::<Vec<_>>(),
        [30 * MINUTE_MS, 2 * HOUR_MS]
    );
    assert_eq!(report.kept[2].steps[0].from_ms, None);
    assert_eq!((report.kept[3].rule, report.kept[3].text.as_str()), (None, "retention"));
    assert!(report.kept.iter().all(|of| of.raw.about_bytes > 0 && of.raw.held_from_ms.is_some()));
}

/// A sample that comes late is in the summaries of its window, also those made before.
#[test]
fn late_samples_are_summarised_again() {
    let mut world = World::new(lived());
    for day in 0..3 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        world.append(&a_day(day));
        world.upkeep();
    }
    world.upkeep();
    let before = world.engine().stats();
    let late_ms = START_MS + DAY_MS + 23 * HOUR_MS + 1;
    world.append(&[(0, late_ms, 1e6), (2, late_ms, 1e6), (0, START_MS, 3.0)]);
    world.check();
    world.upkeep();
    world.check();
    world.clock.advance_ms(5 * DAY_MS);
    world.upkeep();
    world.check();
    assert!(world.engine().stats().samples_summarised > before.samples_summarised);
    let (_, summaries) = world.told(0, 2 * HOUR_MS);
    assert!(summaries.iter().any(|of| of.max > 1e5));
    world.reopen();
    world.check();
}

/// A delete over all time keeps nobody else's samples from being summarised, and what it hides as it is.
#[test]
fn a_delete_holds_up_its_own_series_alone() {
    let mut world = World::new(EngineOptions { delete_undo_ms: i64::MAX / 2, ..lived() });
    for day in 0..4 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        world.append(&a_day(day));
        world.upkeep();
        if day == 1 {
            world.delete(0);
        }
    }
    world.upkeep();
    world.check();
    let (samples, summaries) = world.told(2, i64::MAX);
    assert!(summaries.len() > 24 && samples.len() < 2 * 144 + 24, "{} and {}", summaries.len(), samples.len());
    assert!(world.engine().stats().blocks_rewritten > 0, "the samples they stand for are gone");
    world.undo();
    world.check();
    world.upkeep();
    world.check();
    assert!(world.told(0, i64::MAX).1.len() > 24, "it is summarised when nothing holds it up");
}

/// Rules that change take effect at the next start: coarser windows are made of finer ones where samples are gone.
#[test]
fn rules_change_over_a_restart() {
    let mut world = World::new(lived());
    for day in 0..5 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        world.append(&a_day(day));
        world.upkeep();
    }
    world.upkeep();
    world.check();
    world.options.lifetimes[0].steps = vec![
        LifetimeStep { window_ms: 30 * MINUTE_MS, keep_ms: Some(3 * DAY_MS) },
        LifetimeStep { window_ms: 4 * HOUR_MS, keep_ms: Some(20 * DAY_MS) },
    ];
    world.reopen();
    world.upkeep();
    world.upkeep();
    let (_, summaries) = world.told(0, i64::MAX);
    let wide: Vec<&Summary> = summaries.iter().filter(|of| of.window_ms == 4 * HOUR_MS).collect();
    assert!(wide.iter().any(|of| of.count == 24) && wide.len() > 6, "{summaries:#?}");
    // Without rules all are kept as long as the retention says, by what there is.
    world.options.lifetimes.clear();
    world.reopen();
    world.upkeep();
    let given = &world.given[&0];
    let (samples, summaries) = world.told(0, 0);
    let told = samples.len() as u64 + summaries.iter().map(|of| of.count).sum::<u64>();
    assert_eq!(told, given.len() as u64);
}

/// Of histograms the last of each window stays.
#[test]
fn histograms_are_thinned() {
    let world = World::new(lived());
    for day in 0..4 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        let row = |slot: i64| {
            let count = f64::from(u32::try_from(day * 144 + slot).expect("small"));
            Row::histogram(0, START_MS + day * DAY_MS + slot * 10 * MINUTE_MS, counter(0, 1, &[1.0, count]))
        };
        let rows: Vec<Row> = (0..144).map(row).collect();
        world.engine().append(&batch_of(&rows)).expect("appended");
        world.upkeep();
    }
    world.upkeep();
    let (samples, summaries) = world.told(0, 0);
    let old = samples.histograms.iter().filter(|of| of.timestamp_ms < START_MS + 2 * DAY_MS);
    let ends: Vec<i64> = old.map(|of| of.timestamp_ms - START_MS).collect();
    assert!(summaries.is_empty() && ends.len() > 40, "{ends:?}");
    assert!(
        ends.iter().all(|at_ms| at_ms % (30 * MINUTE_MS) == 0 || at_ms % DAY_MS == 143 * 10 * MINUTE_MS),
        "{ends:?}"
    );
}

/// Whatever change of a file fails on the way: nothing that is kept is lost or told twice, then and after reopening.
#[test]
fn upkeep_that_fails_anywhere_loses_nothing() {
    let mut at = 0;
    for round in 0.. {
        let mut world = World::new(EngineOptions { durability: Durability::Sync, ..lived() });
        for day in 0..3 {
            world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
            world.append(&a_day(day).into_iter().step_by(5).collect::<Vec<_>>());
            world.engine().flush().expect("flushed");
        }
        world.engine = None;
        let files = FaultyFiles::new();
        world.engine = Some(open(world.folder.path(), &world.options, &world.clock, Arc::new(files.clone())));
        let fault = if round % 2 == 0 { Fault::Fail } else { Fault::Tear(50) };
        files.fail_at(files.changes() + at, fault, AfterFault::Dead);
        let began = files.changes();
        let steps = |world: &World| {
            for _ in 0..3 {
                world.engine().maintain()?;
            }
            Ok::<(), storage::StorageError>(())
        };
        let went_well = steps(&world).is_ok();
        world.check();
        let all = files.changes() - began;
        if round % 3 == 0 {
            files.power_cut().expect("the folder is real");
        }
        world.reopen();
        world.check();
        assert_eq!(world.engine().stats().damage, vec![], "change {at}");
        world.upkeep();
        world.clock.advance_ms(DAY_MS);
        world.upkeep();
        world.upkeep();
        world.check();
        if went_well && all <= at {
            assert!(round > 10, "{round} rounds");
            break;
        }
        at += 2;
    }
}

#[test]
fn the_oldest_samples_go_when_the_disk_limit_is_passed() {
    let mut world = World::new(EngineOptions { retention_ms: None, ..lived() });
    for day in 0..5 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        // Values that take their whole length.
        let noise =
            |at: u32| f64::from_bits(0x3ff0_0000_0000_0000 | (u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12));
        let of = |series: u32| {
            a_day(day).into_iter().step_by(4).map(move |(_, at_ms, _)| {
                (series, at_ms, noise(series * 997 + u32::try_from(at_ms / 1000 % 100_000).expect("small")))
            })
        };
        let rows: Vec<_> = (10..50).flat_map(of).collect();
        world.engine().append(&batch(&rows)).expect("appended");
        world.upkeep();
    }
    world.reopen();
    let before = world.engine().stats();
    assert_eq!((before.disk_limit_drops, before.oldest_ms), (0, Some(START_MS)));
    let reserve = before.catalog_bytes + before.log_bytes;
    world.options.disk_bytes_max = reserve + before.block_bytes * 3 / 5;
    world.reopen();
    world.upkeep();
    let after = world.engine().stats();
    assert!(after.block_bytes + after.catalog_bytes + after.log_bytes <= world.options.disk_bytes_max, "{after:?}");
    assert!(after.disk_limit_drops >= 2 && after.disk_limit_bytes > 0, "{after:?}");
    assert!(after.oldest_ms.is_some_and(|at_ms| at_ms >= START_MS + 2 * DAY_MS), "{after:?}");
    // However small: the newest day stays.
    world.options.disk_bytes_max = 1;
    world.reopen();
    world.upkeep();
    assert_eq!(world.engine().stats().oldest_ms, Some(START_MS + 4 * DAY_MS));
}

#[derive(Debug, Clone)]
enum Step {
    /// Series, age in minutes, value: at most some days late.
    Append(Vec<(u32, i64, u16)>),
    Flush,
    Maintain,
    Advance(i64),
    Reopen,
    Delete(u32),
    Undo,
}

fn any_step() -> impl Strategy<Value = Step> {
    let age = prop_oneof![6 => 0i64..120, 2 => 0i64..1440, 1 => 0i64..6 * 1440];
    prop_oneof![
        6 => prop::collection::vec((0u32..4, age, any::<u16>()), 1..30).prop_map(Step::Append),
        3 => Just(Step::Flush),
        3 => Just(Step::Maintain),
        4 => prop_oneof![3 => 1i64..90, 2 => 300i64..3000].prop_map(Step::Advance),
        1 => Just(Step::Reopen),
        1 => (0u32..4).prop_map(Step::Delete),
        1 => Just(Step::Undo),
    ]
}

/// Takes the steps from a noon on, and checks what is told then, before upkeep and after it.
fn live(steps: &[Step]) {
    let mut world = World::new(EngineOptions { delete_undo_ms: i64::MAX / 2, ..lived() });
    world.clock.advance_ms(12 * HOUR_MS);
    for step in steps {
        match step {
            Step::Append(rows) => {
                let now_ms = world.now_ms();
                let row = |&(series, age, value): &(u32, i64, u16)| {
                    let value = match value % 16 {
                        0 | 1 => stale_marker(),
                        2 => f64::NAN,
                        3 => f64::INFINITY,
                        _ => f64::from(value),
                    };
                    (series, now_ms - age * MINUTE_MS, value)
                };
                world.append(&rows.iter().map(row).collect::<Vec<_>>());
            }
            Step::Flush => world.engine().flush().expect("flushed"),
            Step::Maintain => world.upkeep(),
            Step::Advance(minutes) => world.clock.advance_ms(minutes * MINUTE_MS),
            Step::Reopen => world.reopen(),
            Step::Delete(series) => world.delete(*series),
            Step::Undo => world.undo(),
        }
    }
    world.check();
    world.upkeep();
    world.check();
    while !world.deleted.is_empty() {
        world.undo();
    }
    world.check();
    world.upkeep();
    world.check();
    world.upkeep();
    world.check();
}

/// A late sample is told while it waits to be summarised, also when the border of its rule passes it meanwhile.
#[test]
fn late_samples_are_told_before_they_are_summarised() {
    let steps = [
        Step::Append(vec![(0, 721, 0)]),
        Step::Advance(46),
        Step::Flush,
        Step::Append(vec![(0, 0, 0)]),
        Step::Maintain,
        Step::Append(vec![(0, 1366, 0)]),
        Step::Advance(74),
    ];
    live(&steps);
}

/// Late samples of summarised windows that wait to be summarised again, read part by part: each window is told once, also one
/// that has none but a late one, where there is no summary yet.
#[test]
fn a_window_that_two_parts_share_is_told_once() {
    let mut world = World::new(lived());
    for day in 0..2 {
        world.clock.set(TimestampMs(START_MS + day * DAY_MS + 23 * HOUR_MS));
        // In the middle of some windows only.
        let at_ms = |slot: i64| START_MS + day * DAY_MS + slot * 30 * MINUTE_MS + 7 * MINUTE_MS;
        let rows = (20..40).flat_map(|slot| [0, 2].map(|of| (of, at_ms(slot), 1.0)));
        world.append(&rows.collect::<Vec<_>>());
        world.upkeep();
    }
    world.clock.set(TimestampMs(START_MS + 2 * DAY_MS + HOUR_MS));
    world.append(&[(0, world.now_ms(), 2.0), (2, world.now_ms(), 2.0)]);
    world.upkeep();
    // Behind the latest sample of a window, before it, and in windows before and behind all.
    let times = [12 * HOUR_MS - MINUTE_MS, 14 * HOUR_MS + 7, 3 * HOUR_MS, 24 * HOUR_MS - 1];
    let rows: Vec<_> = times.iter().flat_map(|at_ms| [0, 2].map(|of| (of, START_MS + DAY_MS + at_ms, 1e6))).collect();
    world.append(&rows);
    world.clock.advance_ms(DAY_MS);
    let (_, summaries) = world.told(0, 0);
    let is_late = |of: &&Summary| rows.iter().any(|row| row.1 == of.last_ms);
    assert_eq!(summaries.iter().filter(is_late).count(), 3, "{summaries:#?}");
    world.check();
    world.engine().flush().expect("flushed");
    world.check();
    world.upkeep();
    world.check();
}

/// As many cases as `PROPTEST_CASES` says, else few: each is a life of an engine.
fn few_cases() -> ProptestConfig {
    let said = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { said.cases } else { 48 };
    ProptestConfig { cases, ..said }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn whatever_happens_all_that_is_kept_is_told(steps in prop::collection::vec(any_step(), 1..60)) {
        live(&steps);
    }
}
