//! A whole life of a folder on a disk that fails: appends of all kinds, flushes, merges, deletes, summaries, retention, and
//! starts in between. Whichever operation fails or is torn, what was acknowledged is there, what was not is there whole or not at
//! all, and the rest of the life goes as if nothing had been.
//!
//! By default some operations fail, chosen by a seed that is printed (`METRICKIT_SEED` repeats it); with
//! `METRICKIT_FAULTS=all` every one does, in every way.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use model::{
    Clock, FullSample, Labels, ManualClock, MatchOp, Matcher, SampleSink, SampleValue, Samples, SeriesSource,
    SinkError, TimeRange, TimestampMs,
};
use storage::files::{AfterFault, Fault, FaultyFiles};
use storage::summary::summarise;
use storage::{DeleteRequest, DeleteStage, Durability, Engine, EngineOptions, LifetimeRule, LifetimeStep, MemoryStore};

use crate::recognised::recognised;
use crate::support::{Content, Row, append, batch_of, counter, everything, labels, options};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = 19_000 * DAY_MS;
/// What series of no rule are kept.
const RETENTION_MS: i64 = 4 * DAY_MS;
/// The series of which summaries are kept for ever.
const SUMMARISED: u32 = 7;
/// Series that go early.
const SHORT: [u32; 4] = [8, 60, 61, 62];
/// What these are kept.
const SHORT_MS: i64 = 2 * DAY_MS;
/// The series of which the first two days are deleted.
const DELETED: u32 = 2;
/// Lives of which one operation fails, when not all do.
const LIVES: u64 = 20;

pub(crate) fn lived() -> EngineOptions {
    let rule = |series: &str, raw_ms, steps| LifetimeRule {
        text: format!("rule of {series}"),
        matchers: vec![Matcher::new("at", MatchOp::Regex, series).expect("valid")],
        raw_ms: Some(raw_ms),
        steps,
    };
    let lifetimes = vec![
        rule(&SUMMARISED.to_string(), DAY_MS, vec![LifetimeStep { window_ms: 2 * HOUR_MS, keep_ms: None }]),
        rule("8|6.", SHORT_MS, Vec::new()),
    ];
    let (durability, log_segment_bytes) = (Durability::Sync, 600);
    let (retention_ms, cold_series_min) = (Some(RETENTION_MS), 1);
    EngineOptions { durability, log_segment_bytes, retention_ms, lifetimes, cold_series_min, ..options() }
}

/// What happens in a life.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Append(Vec<Row>),
    /// With numbers in the place of labels.
    Recognised(Vec<(u32, i64, f64)>),
    Flush,
    Maintain,
    MergeToEnd,
    /// Of the first two days of one series.
    Delete,
    Days(i64),
    /// Dropped, or closed before, and opened again.
    Reopen {
        close: bool,
    },
}

/// Rows of all kinds: plain ones of old and new series, late ones, histograms, floats with a start.
fn rows(day: i64, round: i64) -> Vec<Row> {
    let at_ms = START_MS + day * DAY_MS + 20 * HOUR_MS + round * 15_000;
    let value = f64::from(u32::try_from(day * 10 + round).expect("small"));
    let new = u32::try_from(100 + day * 10 + round).expect("small");
    let mut rows: Vec<Row> =
        [0, 1, 2, SHORT[0], SHORT[2], SHORT[3], new].map(|series| Row::plain(series, at_ms, value)).to_vec();
    let often = |slot: i64| Row::plain(SUMMARISED, at_ms - slot * 25 * 60_000, value - 0.25);
    rows.extend((0..4).map(often));
    rows.push(Row::plain(0, at_ms - 6 * HOUR_MS, value));
    rows.push(Row::histogram(50, at_ms, counter(1, 3, &[1.0, value])));
    // Where a float was before.
    rows.push(Row::histogram(1, START_MS + day * DAY_MS + 20 * HOUR_MS, counter(0, 1, &[value])));
    let started = FullSample { timestamp_ms: at_ms, start_ms: at_ms - 9, value: SampleValue::Float(value) };
    rows.push(Row { series: 51, sample: started, plain: false });
    rows
}

pub(crate) fn life() -> Vec<Step> {
    let send = |day, round| Step::Append(rows(day, round));
    let known = |day: i64, round: i64| {
        let at_ms = START_MS + day * DAY_MS + 20 * HOUR_MS + round * 15_000;
        Step::Recognised([2, 0, 1, SHORT[1]].map(|series| (series, at_ms, 0.5)).to_vec())
    };
    let first = [send(0, 0), Step::Flush, send(0, 1), known(0, 2), Step::Flush, send(0, 3), Step::Flush, known(0, 4)];
    let merged = [Step::Flush, Step::Maintain, Step::Days(1), send(1, 0), Step::Reopen { close: false }, known(1, 1)];
    let whole = [
        Step::Flush,
        send(1, 2),
        Step::MergeToEnd,
        Step::Days(1),
        send(2, 0),
        Step::Delete,
        Step::Flush,
        Step::Maintain,
    ];
    let summarised = [send(2, 1), Step::Reopen { close: true }, Step::Days(1), send(3, 0), Step::Flush];
    let upkeep = [Step::Maintain, Step::Maintain, Step::Days(2), send(5, 0), Step::Flush, Step::Maintain];
    let end = [Step::Maintain, send(5, 1), Step::Reopen { close: false }, known(5, 2), send(5, 3)];
    [&first[..], &merged, &whole, &summarised, &upkeep, &end].concat()
}

/// A folder, its disk, and what was acknowledged.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    files: FaultyFiles,
    engine: Option<Arc<Engine>>,
    acknowledged: MemoryStore,
    /// All that was ever sent, for when the last word on an instant is lost.
    pub(crate) said: Vec<(Labels, FullSample)>,
    /// What was refused last: there after reopening, or not.
    refused: Option<Vec<Row>>,
    deleted: bool,
    /// What the engines so far did besides.
    done: Done,
    case: String,
}

/// Counts of upkeep over the lives of engines.
#[derive(Debug, Default)]
struct Done {
    merges: u64,
    summarised: u64,
    rewritten: u64,
    dropped: u64,
    series_removed: u64,
    series_cooled: u64,
}

/// A folder in memory where there is one: what power cuts leave is worked out here, not by a disk.
pub(crate) fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

pub(crate) fn open(folder: &Path, clock: &Arc<ManualClock>, files: &FaultyFiles) -> Result<Arc<Engine>, String> {
    Engine::open_with(folder, lived(), clock.clone(), Arc::new(files.clone())).map_err(|error| error.to_string())
}

impl World {
    pub(crate) fn new(case: String) -> Self {
        let clock = Arc::new(ManualClock::new(TimestampMs(START_MS + 23 * HOUR_MS)));
        let (files, acknowledged) = (FaultyFiles::new(), MemoryStore::new());
        Self {
            folder: fast_folder(),
            clock,
            files,
            engine: None,
            acknowledged,
            said: Vec::new(),
            refused: None,
            deleted: false,
            done: Done::default(),
            case,
        }
    }

    /// The folder after a whole life without a fault, open no more, and what it holds.
    pub(crate) fn lived() -> (Self, Content) {
        let mut world = Self::new("no fault".to_owned());
        world.live(false);
        world.close();
        let content = world.given();
        (world, content)
    }

    /// Lets go of the engine without a word.
    pub(crate) fn close(&mut self) {
        if let Some(engine) = self.engine.take() {
            let stats = engine.stats();
            self.done.merges += stats.merges;
            self.done.summarised += stats.samples_summarised;
            self.done.rewritten += stats.blocks_rewritten;
            self.done.dropped += stats.blocks_dropped;
            self.done.series_removed += stats.series_removed;
            self.done.series_cooled += stats.series_cooled;
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("open")
    }

    fn append(&mut self, rows: &[Row], known: Option<&[(u32, i64, f64)]>) -> Result<(), String> {
        let plain = batch_of(rows);
        self.said.extend(rows.iter().map(|row| (labels(row.series), row.sample.clone())));
        self.refused = Some(rows.to_vec());
        let appended = match known {
            Some(known) => self.engine().append(&recognised(self.engine(), known)),
            None => self.engine().append(&plain),
        };
        assert_eq!(appended.map_err(|error| error.to_string())?.samples_rejected, 0, "{}", self.case);
        self.refused = None;
        self.acknowledged.append(&plain).expect("the model takes all");
        Ok(())
    }

    /// Opens the folder. A block that cannot be looked at is reported as damage, and costs itself alone until the next start.
    fn start(&mut self) -> Result<(), String> {
        let engine = open(self.folder.path(), &self.clock, &self.files)?;
        let damage = engine.stats().damage;
        if damage.is_empty() {
            self.engine = Some(engine);
            return Ok(());
        }
        assert!(damage.iter().all(|of| of.detail.contains("planned fault")), "{}: {damage:?}", self.case);
        let wrong = told(&engine, self.clock.now().0, &self.given(), &self.said, &mut Vec::new());
        assert_eq!(wrong, None, "{}", self.case);
        Err("damage".to_owned())
    }

    /// Does a step, or as much of it as is left to do.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        if self.engine.is_none() {
            self.start()?;
        }
        match step {
            Step::Append(rows) => return self.append(rows, None),
            Step::Recognised(known) => {
                let rows: Vec<Row> = known.iter().map(|&(series, ms, value)| Row::plain(series, ms, value)).collect();
                return self.append(&rows, Some(known));
            }
            Step::Flush => self.engine().flush(),
            Step::Maintain => self.engine().maintain(),
            Step::MergeToEnd => self.engine().merge_to_end(),
            Step::Delete => {
                let selectors = vec![(String::new(), vec![Matcher::equal("at", DELETED.to_string())])];
                let range = TimeRange::new(START_MS, START_MS + 2 * DAY_MS - 1);
                let deleted = self.engine().delete(DeleteRequest { selectors, range, by: String::new() });
                self.deleted = deleted.map_err(|error| error.to_string())?.is_some();
                return Ok(());
            }
            Step::Days(days) => {
                self.clock.advance_ms(days * DAY_MS);
                Ok(())
            }
            Step::Reopen { close } => {
                if *close {
                    self.engine().close().map_err(|error| error.to_string())?;
                }
                self.close();
                return self.start();
            }
        }
        .map_err(|error| error.to_string())
    }

    /// Lives a whole life; after whatever fails it begins anew where it was.
    fn live(&mut self, power_cut: bool) {
        let mut failures = 0;
        for step in life() {
            while let Err(error) = self.step(&step) {
                failures += 1;
                assert!(failures < 9, "{}: {step:?} fails again and again: {error}", self.case);
                self.after_failure(power_cut, &error);
            }
        }
        if power_cut {
            self.reopen(true);
        }
        self.check();
    }

    /// The engine goes on, or refuses everything until it is opened anew.
    fn after_failure(&mut self, power_cut: bool, error: &str) {
        if let Some(engine) = self.engine.clone() {
            // Reads go on, and show nothing that was refused.
            self.check();
            if engine.poisoned().is_none() && !power_cut && !self.files.is_dead() {
                return;
            }
            if engine.poisoned().is_some() {
                for _ in 0..3 {
                    let refused = append(&*engine, &[(0, self.clock.now().0, 9.0)]);
                    let told = matches!(refused, Err(SinkError::Poisoned { .. } | SinkError::Closed));
                    assert!(told, "{}: {refused:?} after {error}", self.case);
                    assert!(engine.flush().is_err() && engine.maintain().is_err(), "{}", self.case);
                }
                self.check();
            }
        }
        self.reopen(power_cut);
    }

    /// Opens the folder on a disk that works again.
    fn reopen(&mut self, power_cut: bool) {
        self.close();
        if power_cut {
            self.files.power_cut().expect("the folder is real");
        }
        self.files.heal();
        let opened = open(self.folder.path(), &self.clock, &self.files);
        self.engine = Some(opened.unwrap_or_else(|error| panic!("{}: {error}", self.case)));
        if let Some(refused) = self.refused.take()
            && self.difference().is_some()
        {
            // Then all of it is there.
            self.acknowledged.append(&batch_of(&refused)).expect("the model takes all");
        }
        self.check();
        assert_eq!(self.engine().stats().damage, vec![], "{}", self.case);
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(self.difference(), None, "{}", self.case);
    }

    /// What was acknowledged and not deleted.
    pub(crate) fn given(&self) -> Content {
        let mut content = everything(&self.acknowledged);
        for (_, samples) in content.iter_mut().filter(|(of, _)| self.deleted && *of == labels(DELETED)) {
            samples.retain(|sample| sample.timestamp_ms >= START_MS + 2 * DAY_MS);
        }
        content
    }

    /// Where what is read differs from what was acknowledged and is kept.
    fn difference(&self) -> Option<String> {
        let mut missing = Vec::new();
        let wrong = told(self.engine(), self.clock.now().0, &self.given(), &[], &mut missing);
        wrong.or_else(|| missing.first().map(|(labels, sample)| format!("{labels}: {sample:?} is missing")))
    }
}

/// From when on anything is kept of a series.
fn kept_from_ms(of: &Labels, now_ms: i64) -> i64 {
    match of {
        of if *of == labels(SUMMARISED) => i64::MIN,
        of if SHORT.iter().any(|&short| *of == labels(short)) => now_ms - SHORT_MS,
        _ => now_ms - RETENTION_MS,
    }
}

/// Compares what is read with what was `given`: what is kept and not told goes into `missing`; what nobody gave is wrong.
/// In the place of what is missing there may be what was `said` of the same instant before.
pub(crate) fn told(
    engine: &Engine,
    now_ms: i64,
    given: &Content,
    said: &[(Labels, FullSample)],
    missing: &mut Vec<(Labels, FullSample)>,
) -> Option<String> {
    let set = match engine.select(&[], TimeRange::ALL, usize::MAX) {
        Ok(set) => set,
        Err(error) => panic!("selected: {error}"),
    };
    let (mut samples, mut summaries) = (Samples::default(), Vec::new());
    let mut seen = vec![false; set.len()];
    for (of, given) in given {
        let from_ms = kept_from_ms(of, now_ms);
        let mut left: Vec<FullSample> = given.iter().filter(|sample| sample.timestamp_ms >= from_ms).cloned().collect();
        samples.clear();
        summaries.clear();
        if let Some(at) = (0..set.len()).find(|&at| set.labels(at) == of) {
            seen[at] = true;
            // An error is damage, of which the statistics tell.
            if set.read_with_summaries(at, 0, &mut samples, &mut summaries).is_err() {
                samples.clear();
                summaries.clear();
            }
        }
        for summary in &summaries {
            let inside = |sample: &FullSample| (summary.first_ms..=summary.last_ms).contains(&sample.timestamp_ms);
            let floats = left.iter().filter(|sample| inside(sample)).filter_map(|sample| match sample.value {
                SampleValue::Float(value) => Some((sample.timestamp_ms, value)),
                SampleValue::Histogram(_) => None,
            });
            let (times, values): (Vec<i64>, Vec<f64>) = floats.unzip();
            let mut want = Vec::new();
            summarise(&times, &values, summary.window_ms, &mut want);
            if want != [*summary] {
                return Some(format!("{of}: {summary:?}, not {want:?}"));
            }
            left.retain(|sample| !inside(sample));
        }
        for sample in samples.iter_full() {
            let Some(at) = left.iter().position(|other| other.timestamp_ms == sample.timestamp_ms) else {
                return Some(format!("{of}: {sample:?} is none of {left:?}"));
            };
            let last_word = left.remove(at);
            if last_word != sample {
                if !said.iter().any(|(labels, said)| labels == of && *said == sample) {
                    return Some(format!("{of}: {sample:?} in the place of {last_word:?}"));
                }
                missing.push((of.clone(), last_word));
            }
        }
        missing.extend(left.into_iter().map(|sample| (of.clone(), sample)));
    }
    for at in (0..set.len()).filter(|&at| !seen[at]) {
        if set.read(at, &mut samples).is_ok() && !samples.is_empty() {
            return Some(format!("nobody wrote {}", set.labels(at)));
        }
    }
    None
}

/// A way in which an operation fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    Change(Fault, AfterFault),
    Look(AfterFault),
}

pub(crate) fn all_faults() -> bool {
    std::env::var("METRICKIT_FAULTS").is_ok_and(|text| text == "all")
}

/// The seed, to be printed.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("METRICKIT_SEED").ok().and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| std::process::id().into())
}

#[test]
fn whatever_fails_in_a_life_the_rest_of_it_goes_on() {
    let mut sound = World::new("no fault".to_owned());
    sound.live(false);
    let stages: Vec<DeleteStage> = sound.engine().deletes().iter().map(|of| of.record.stage).collect();
    assert!(matches!(stages[..], [DeleteStage::Applied { .. }]), "{stages:?}");
    let (changes, looks) = (sound.files.changes(), sound.files.looks());
    sound.close();
    let Done { merges, summarised, rewritten, dropped, series_removed, series_cooled } = sound.done;
    assert!(
        [merges, summarised, rewritten, dropped, series_removed, series_cooled].iter().all(|&of| of > 0),
        "{:?}",
        sound.done
    );
    let ways = [
        (Way::Change(Fault::Fail, AfterFault::Recovers), false),
        (Way::Change(Fault::Fail, AfterFault::Dead), true),
        (Way::Change(Fault::Tear(9), AfterFault::Recovers), false),
        (Way::Change(Fault::Tear(50), AfterFault::Dead), true),
        (Way::Change(Fault::Tear(usize::MAX), AfterFault::Dead), false),
        (Way::Look(AfterFault::Recovers), false),
        (Way::Look(AfterFault::Dead), true),
    ];
    let of = |way: Way| if matches!(way, Way::Look(_)) { looks } else { changes };
    let all = ways.iter().flat_map(|&(way, cut)| (0..of(way)).map(move |at| (way, cut, at))).collect::<Vec<_>>();
    let seed = seed();
    println!("METRICKIT_SEED={seed}; {changes} changes, {looks} looks, {} lives", all.len());
    let random = &mut fastrand::Rng::with_seed(seed);
    let stride = if all_faults() { 1 } else { all.len() as u64 / LIVES };
    let mut next = random.u64(0..stride);
    let begun = Instant::now();
    while let Some(&(way, cut, at)) = usize::try_from(next).ok().and_then(|at| all.get(at)) {
        let mut world = World::new(format!("operation {at}: {way:?}, power cut {cut}"));
        match way {
            Way::Change(fault, after) => world.files.fail_at(at, fault, after),
            Way::Look(after) => world.files.fail_look_at(at, after),
        }
        world.live(cut);
        world.files.heal();
        world.reopen(false);
        next += stride;
    }
    println!("{} lives took {} ms", all.len() as u64 / stride, begun.elapsed().as_millis());
}
