//! Alerting over a real engine, with a clock that is set: rules are read, evaluated, told, kept and read anew.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use model::{
    Budget, Labels, ManualClock, Matcher, SampleSink as _, SeriesSet, SourceError, TimeRange, TimestampMs, WriteBatch,
};
use rules::alert::{State, Times};
use rules::shelf::{Change, Entry, ShelfError};
use storage::EngineOptions;

use super::*;
use crate::captures::CaptureOptions;
use crate::memory::MemoryWatch;
use crate::{AgentBook, ProfileOptions};

const NOW_MS: i64 = 1_700_000_000_000;

/// What was told and recorded.
#[derive(Debug, Default)]
struct Listener {
    told: Mutex<Vec<Posted>>,
    events: Mutex<Vec<Event>>,
}

impl Tell for Listener {
    fn tell(&self, alerts: Vec<Posted>) {
        lock(&self.told).extend(alerts);
    }
}

impl EventLog for Listener {
    fn record(&self, event: Event) {
        lock(&self.events).push(event);
    }
}

/// A server's part that evaluates rules.
struct Bench {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    alerting: Arc<Alerting>,
    heard: Arc<Listener>,
}

impl Bench {
    fn open(data: &Path, rules: &Path, now_ms: i64) -> Self {
        let clock = Arc::new(ManualClock::new(TimestampMs(now_ms)));
        let options = EngineOptions { disk_reserve_bytes: 0, background: false, ..EngineOptions::default() };
        let engine = Engine::open(data, options, clock.clone()).expect("opens");
        let agents = Arc::new(AgentBook::new(clock.clone(), 1, ProfileOptions::default()));
        let memory = Arc::new(MemoryWatch::new(Budget::default()));
        let captures = Captures::open(CaptureOptions::default(), agents.clone(), clock.clone(), memory);
        let means = Means {
            engine: engine.clone(),
            source: engine.clone(),
            clock: clock.clone(),
            captures: Arc::new(captures),
            agents: agents.clone(),
            bursts: Pace::new(1),
            query: QueryOptions::default(),
        };
        let options = AlertingOptions {
            rule_files: vec![rules.join("*.yml").display().to_string()],
            interval_ms: 10_000,
            external_url: "http://m".to_owned(),
            ..AlertingOptions::default()
        };
        let alerting = Arc::new(Alerting::new(options, means));
        let heard = Arc::new(Listener::default());
        alerting.connect(heard.clone(), heard.clone());
        Self { engine, clock, alerting, heard }
    }

    /// Ten seconds at a time; each with a sample of `x`.
    fn run(&self, values: &[f64]) {
        for value in values {
            let mut batch = WriteBatch::new();
            let labels = Labels::from_pairs([("__name__", "x"), ("instance", "h/0"), ("job", "j")]).expect("labels");
            batch.push_series(labels.as_ref());
            batch.push_sample(self.clock.now().0, *value);
            self.engine.append(&batch).expect("appended");
            self.clock.advance_ms(10_000);
            self.alerting.run_due();
        }
    }

    fn times(&self) -> Vec<Times> {
        let loaded = self.alerting.loaded();
        let mut all = Vec::new();
        for slot in &loaded.slots {
            let state = lock(&slot.state);
            let rules = state.iter().flat_map(rules::evaluate::GroupState::rules);
            all.extend(rules.flat_map(rules::evaluate::RuleState::alerts).map(|(_, alert)| alert.times));
        }
        all
    }

    fn events(&self, of: impl Fn(&EventKind) -> Option<String>) -> Vec<String> {
        lock(&self.heard.events).iter().filter_map(|event| of(&event.kind)).collect()
    }

    fn states(&self) -> Vec<String> {
        self.events(|kind| match kind {
            EventKind::AlertState { from, to, .. } => Some(format!("{from} {to}")),
            _ => None,
        })
    }

    /// How many samples of a metric there are.
    fn samples(&self, metric: &str) -> usize {
        let range = TimeRange::new(i64::MIN, i64::MAX);
        let set = self.engine.select(&[Matcher::equal("__name__", metric)], range, 100).expect("selected");
        let mut samples = model::Samples::default();
        let mut count = |at| {
            set.read(at, &mut samples).expect("readable");
            samples.len()
        };
        (0..set.len()).map(&mut count).sum()
    }
}

fn write(folder: &Path, rules: &str) {
    std::fs::write(folder.join("r.yml"), rules).expect("written");
}

const RULES: &str = "
groups:
- name: g
  rules:
  - {record: double, expr: x * 2}
  - {alert: High, expr: double > 10, for: 20s, labels: {severity: page}, capture: [heap], burst: 30s}
";

#[test]
fn alerts_outlive_the_process() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[6.0, 6.0]);
    assert_eq!(bench.states(), ["inactive pending"]);
    let before = bench.times();
    let now_ms = bench.clock.now().0;
    // Dropped without being closed, which is like a crash.
    drop(bench);
    let bench = Bench::open(data.path(), rules.path(), now_ms);
    bench.alerting.reload().expect("read");
    assert_eq!(bench.times(), before);
    bench.run(&[6.0, 6.0, 1.0, 1.0]);
    assert_eq!(bench.states(), ["pending firing", "firing resolved"]);
    let told = lock(&bench.heard.told).clone();
    assert!(told.iter().all(|one| one.starts_ms == before[0].active_at_ms + 20_000), "{told:?}");
    assert!(told.last().is_some_and(|last| last.ends_ms < bench.clock.now().0), "{told:?}");
    // Captures are off here, which people are told.
    assert_eq!(told[0].annotations["capture_heap"], "heap was not captured: this server keeps no captures");
    assert!(told[0].annotations["burst"].starts_with("no burst: "), "{:?}", told[0].annotations);
    assert_eq!(bench.alerting.means.bursts.take("h/0", bench.clock.now().0), Ok(()), "it counts for nothing");
    assert_eq!(bench.samples("double"), 6);
}

#[test]
fn wrong_files_leave_the_rules_as_they_are() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    assert_eq!(bench.alerting.reload().expect("read"), Reloaded { files: 1, groups: 1, rules: 2 });
    bench.run(&[6.0, 6.0]);
    write(rules.path(), &RULES.replace("> 10", "> ("));
    std::fs::write(rules.path().join("s.yml"), "groups: [{name: g, rules: [{alert: A}]}]").expect("written");
    let error = bench.alerting.reload().expect_err("refused").to_string();
    assert!(error.contains("r.yml:6:25: rule \"High\": expr:") && error.contains("s.yml:1:"), "{error}");
    bench.run(&[6.0]);
    assert_eq!(bench.states(), ["inactive pending", "pending firing"]);
    // Less for longer: what it was goes on; another file's rules come.
    write(rules.path(), &RULES.replace("20s", "5m"));
    std::fs::write(rules.path().join("s.yml"), "groups: [{name: g, rules: [{record: y, expr: x}]}]").expect("written");
    let active_ms = bench.times()[0].active_at_ms;
    assert_eq!(bench.alerting.reload().expect("read").groups, 2);
    bench.run(&[6.0]);
    assert_eq!(
        bench.times().iter().map(|times| (times.state, times.active_at_ms)).collect::<Vec<_>>(),
        [(State::Pending, active_ms)]
    );
    assert_eq!(bench.samples("y"), 1);
    std::fs::remove_file(rules.path().join("s.yml")).expect("removed");
    bench.alerting.reload().expect("read");
    assert_eq!(bench.samples("y"), 2, "its series is ended");
}

#[test]
fn a_reload_does_not_touch_what_stays_the_same() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let other = "groups: [{name: g, rules: [{record: y, expr: x}]}, {name: h, rules: [{record: z, expr: x}]}]";
    write(rules.path(), RULES);
    std::fs::write(rules.path().join("s.yml"), other).expect("written");
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[6.0]);
    let before = bench.alerting.loaded().slots.clone();
    std::fs::write(rules.path().join("s.yml"), other.replace("record: y", "record: w")).expect("written");
    // The group that stays is being evaluated, for long.
    let evaluating = lock(&before[0].state);
    let (done, reloaded) = std::sync::mpsc::channel();
    let alerting = Arc::clone(&bench.alerting);
    let thread = std::thread::spawn(move || done.send(alerting.reload().map(|reloaded| reloaded.rules)));
    let reloaded = reloaded.recv_timeout(std::time::Duration::from_mins(1)).expect("it waits for nobody");
    assert_eq!(reloaded.expect("read"), 4);
    drop(evaluating);
    thread.join().expect("it ended").expect("it was heard");
    let after = bench.alerting.loaded().slots.clone();
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| Arc::ptr_eq(before, after)).collect();
    assert_eq!(same, [true, false, true]);
    assert!(lock(&before[1].state).is_none());
    bench.run(&[6.0, 6.0]);
    let iterations: Vec<u64> = after.iter().map(|slot| lock(&slot.counts).iterations).collect();
    assert_eq!(iterations, [3, 3, 3]);
    assert_eq!((bench.samples("y"), bench.samples("w"), bench.samples("z")), (2, 2, 3));
    assert_eq!(bench.states(), ["inactive pending", "pending firing"]);
}

/// A shelf that cannot be read at first.
struct Unreadable {
    shelf: Box<dyn Shelf>,
    left: AtomicUsize,
}

impl Shelf for Unreadable {
    fn load(&self) -> Result<Vec<Entry>, ShelfError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { Err(ShelfError("the disk is away".to_owned())) } else { self.shelf.load() }
    }

    fn change(&self, changes: &[Change]) -> Result<(), ShelfError> {
        self.shelf.change(changes)
    }
}

#[test]
fn states_that_cannot_be_read_are_read_again() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let mut bench = Bench::open(data.path(), rules.path(), NOW_MS);
    let alerting = Arc::get_mut(&mut bench.alerting).expect("not shared");
    let shelf: Box<dyn Shelf> = Box::new(shelf::RoomShelf(bench.engine.room(ROOM)));
    alerting.shelf = Box::new(Unreadable { shelf, left: AtomicUsize::new(2) });
    bench.alerting.start();
    while bench.alerting.loaded().slots.is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bench.alerting.stop();
    assert_eq!(bench.alerting.failed_reloads(), 2);
    let notes = bench.events(|kind| match kind {
        EventKind::Note { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(notes.iter().filter(|note| note.contains("the disk is away")).count(), 1, "{notes:?}");
}

/// Series of which one metric is not read to its end until somebody says so.
#[derive(Debug)]
struct Stuck {
    engine: Arc<Engine>,
    metric: &'static str,
    asked: AtomicUsize,
    goes_on: Mutex<bool>,
    change: Condvar,
}

impl Stuck {
    fn of(bench: &mut Bench, metric: &'static str) -> Arc<Self> {
        let engine = Arc::clone(&bench.engine);
        let (asked, goes_on, change) = (AtomicUsize::new(0), Mutex::new(false), Condvar::new());
        let stuck = Arc::new(Self { engine, metric, asked, goes_on, change });
        Arc::get_mut(&mut bench.alerting).expect("not shared").means.source = Arc::clone(&stuck) as _;
        stuck
    }

    #[track_caller]
    fn wait_for(&self, asked: usize) {
        let until = Instant::now() + Duration::from_mins(1);
        while self.asked.load(Ordering::SeqCst) < asked {
            assert!(Instant::now() < until, "{} of {asked} have asked", self.asked.load(Ordering::SeqCst));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn go_on(&self) {
        *lock(&self.goes_on) = true;
        self.change.notify_all();
    }
}

impl SeriesSource for Stuck {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        if matchers.iter().any(|matcher| matcher.value() == self.metric) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let waited = self.change.wait_while(lock(&self.goes_on), |goes_on| !*goes_on);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        self.engine.select(matchers, range, series_max)
    }
}

#[test]
fn groups_that_take_long_hold_up_no_other() {
    // Their intervals pass in real time, too, while they are evaluated.
    hold_up_no_other("20ms", 10_000, NEW_MAX);
}

#[test]
fn groups_that_take_long_hold_up_no_other_in_their_first_round() {
    hold_up_no_other("1h", 3_600_000, Duration::from_millis(20));
}

/// With so many groups of `interval` whose queries do not end that there was no usual place left, had they kept theirs.
#[track_caller]
fn hold_up_no_other(interval: &str, round_ms: i64, new_max: Duration) {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let group = |number| format!("{{name: s{number}, interval: {interval}, rules: [{{record: s, expr: slow}}]}}");
    let slow: Vec<String> = (0..3).map(group).collect();
    write(rules.path(), &format!("groups: [{}, {{name: g, rules: [{{record: y, expr: x}}]}}]", slow.join(", ")));
    let mut bench = Bench::open(data.path(), rules.path(), NOW_MS);
    let alerting = Arc::get_mut(&mut bench.alerting).expect("not shared");
    alerting.lanes = Lanes::new(2, new_max);
    let stuck = Stuck::of(&mut bench, "slow");
    bench.alerting.reload().expect("read");
    bench.alerting.start();
    let iterations = || lock(&bench.alerting.loaded().slots[3].counts).iterations;
    bench.clock.advance_ms(round_ms);
    stuck.wait_for(3);
    let until = Instant::now() + Duration::from_mins(1);
    for wanted in 1..4 {
        while iterations() < wanted {
            assert!(Instant::now() < until, "the group that is quick was held up");
            std::thread::sleep(Duration::from_millis(1));
        }
        bench.clock.advance_ms(round_ms);
    }
    assert_eq!(stuck.asked.load(Ordering::SeqCst), 3);
    stuck.go_on();
    bench.alerting.stop();
}

#[test]
fn how_long_queries_take_says_where_those_of_the_next_round_wait() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), "groups: [{name: s, interval: 20ms, rules: [{record: s, expr: slow}]}]");
    let mut bench = Bench::open(data.path(), rules.path(), NOW_MS);
    Arc::get_mut(&mut bench.alerting).expect("not shared").lanes = Lanes::new(1, NEW_MAX);
    let stuck = Stuck::of(&mut bench, "slow");
    bench.alerting.reload().expect("read");
    let counts = || *lock(&bench.alerting.loaded().slots[0].counts);
    let (hour, long) = (Duration::from_hours(1), Duration::from_millis(50));
    let cancel = CancelToken::new();
    // It waits for a place, and then takes long.
    let place = bench.alerting.lanes.take(hour, &cancel);
    bench.clock.advance_ms(20);
    std::thread::scope(|scope| {
        let evaluating = scope.spawn(|| bench.alerting.run_due());
        while bench.alerting.lanes.asked() < 2 {
            std::thread::yield_now();
        }
        std::thread::sleep(long);
        drop(place);
        stuck.wait_for(1);
        std::thread::sleep(long);
        stuck.go_on();
        evaluating.join().expect("it ended");
    });
    let (took, computed) = (counts().last_seconds, counts().computed);
    assert!(computed >= long && took - computed.as_secs_f64() >= long.as_secs_f64(), "{computed:?} of {took} s");
    // The usual place is taken, and the group needs it no more.
    let _place = bench.alerting.lanes.take(hour, &cancel);
    bench.clock.advance_ms(20);
    bench.alerting.run_due();
    assert_eq!((counts().iterations, bench.alerting.lanes.asked()), (2, 3));
}

#[test]
fn what_is_evaluated_at_the_end_counts_for_nothing() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), &format!("{RULES}  - {{alert: Broken, expr: x > 100, on_error: alert}}\n"));
    let mut bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[6.0]);
    let told = lock(&bench.heard.told).len();
    let stuck = Stuck::of(&mut bench, "x");
    bench.clock.advance_ms(10_000);
    let alerting = Arc::clone(&bench.alerting);
    let evaluating = std::thread::spawn(move || alerting.run_due());
    stuck.wait_for(1);
    bench.alerting.stop();
    stuck.go_on();
    evaluating.join().expect("it ended");
    // Nothing after the query that was under way was asked, kept or told.
    assert_eq!(stuck.asked.load(Ordering::SeqCst), 1);
    assert_eq!(lock(&bench.alerting.loaded().slots[0].counts).iterations, 1);
    assert_eq!(lock(&bench.heard.told).len(), told);
    assert_eq!(bench.states(), ["inactive pending"]);
}

#[test]
fn evaluations_that_are_late_are_skipped_and_counted() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[1.0, 1.0]);
    bench.clock.advance_ms(60_000);
    bench.alerting.run_due();
    let counts = *lock(&bench.alerting.loaded().slots[0].counts);
    // The one that was due, late; then the newest. Where in ten seconds they are depends on the folder's name.
    assert_eq!((counts.iterations, counts.evaluations), (4, 8));
    assert!((4..=5).contains(&counts.missed), "{}", counts.missed);
    let page: Vec<String> = bench.alerting.families().iter().map(|family| family.name.clone()).collect();
    assert!(page.contains(&"prometheus_rule_group_iterations_missed_total".to_owned()), "{page:?}");
}

#[test]
fn a_clock_set_back_stops_nothing() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[6.0, 6.0]);
    bench.clock.advance_ms(-3_600_000);
    bench.run(&[6.0, 6.0, 6.0, 1.0, 1.0]);
    assert_eq!(bench.states(), ["inactive pending", "pending firing", "firing resolved"]);
    let counts = *lock(&bench.alerting.loaded().slots[0].counts);
    // The moment in which it was set back may be between two evaluations.
    assert!((6..=7).contains(&counts.iterations) && counts.missed == 0, "{counts:?}");
}

#[test]
fn a_clock_set_forward_ends_nothing() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), RULES);
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[6.0, 6.0, 6.0, 6.0]);
    let fire = ["inactive pending", "pending firing"];
    assert_eq!(bench.states(), fire);
    lock(&bench.heard.told).clear();
    bench.clock.step_ms(3_600_000);
    for _ in 0..30 {
        bench.alerting.run_due();
        assert_eq!(bench.states(), fire);
        bench.clock.advance_ms(10_000);
    }
    let (now_ms, told) = (bench.clock.now().0, lock(&bench.heard.told).clone());
    assert!(!told.is_empty() && told.iter().all(|posted| posted.ends_ms > now_ms - 300_000), "{told:?}");
    assert_eq!(lock(&bench.alerting.loaded().slots[0].counts).missed, 0);
    // Data may come late, but not later than that.
    bench.clock.advance_ms(10_000);
    bench.alerting.run_due();
    assert_eq!(bench.states().last().map(String::as_str), Some("firing resolved"));
}

#[test]
fn what_goes_on_being_wrong_is_told_once() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write(rules.path(), &format!("{RULES}  - {{record: text, expr: '\"s\"'}}\n"));
    let bench = Bench::open(data.path(), rules.path(), NOW_MS);
    bench.alerting.reload().expect("read");
    bench.run(&[1.0, 1.0, 1.0]);
    let troubles = bench.events(|kind| match kind {
        EventKind::GroupTrouble { rule, message, .. } => Some(format!("{rule}: {message}")),
        _ => None,
    });
    assert_eq!(troubles, ["text: rule result is not a vector or scalar"]);
    assert_eq!(lock(&bench.alerting.loaded().slots[0].counts).failures, 3);
}

/// A shelf that refuses some changes.
struct Refusing {
    shelf: Box<dyn Shelf>,
    changes: AtomicUsize,
    refused: std::ops::Range<usize>,
}

impl Shelf for Refusing {
    fn load(&self) -> Result<Vec<Entry>, ShelfError> {
        self.shelf.load()
    }

    fn change(&self, changes: &[Change]) -> Result<(), ShelfError> {
        if self.refused.contains(&self.changes.fetch_add(1, Ordering::Relaxed)) {
            return Err(ShelfError("the disk is full".to_owned()));
        }
        self.shelf.change(changes)
    }
}

#[test]
fn what_could_not_be_kept_is_kept_later_and_told_at_once() {
    for first in 0..6 {
        let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        write(rules.path(), RULES);
        let mut bench = Bench::open(data.path(), rules.path(), NOW_MS);
        let alerting = Arc::get_mut(&mut bench.alerting).expect("not shared");
        let shelf: Box<dyn Shelf> = Box::new(shelf::RoomShelf(bench.engine.room(ROOM)));
        alerting.shelf = Box::new(Refusing { shelf, changes: AtomicUsize::new(0), refused: first..first + 2 });
        bench.alerting.reload().expect("read");
        bench.run(&[1.0, 6.0, 6.0, 6.0, 6.0]);
        assert_eq!(bench.states(), ["inactive pending", "pending firing"], "{first}");
        assert_eq!(lock(&bench.heard.told).len(), 1, "{first}");
        bench.run(&[6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0]);
        let before = bench.times();
        let now_ms = bench.clock.now().0;
        drop(bench);
        let bench = Bench::open(data.path(), rules.path(), now_ms);
        bench.alerting.reload().expect("read");
        assert_eq!(bench.times(), before, "{first}");
    }
}
