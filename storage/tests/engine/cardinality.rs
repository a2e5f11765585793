//! What is told of labels: exact against a model that keeps every series, over flushes, removals, restarts and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::support::{NOW_MS, options};
use model::{Clock, Labels, LabelsRef, ManualClock, MatchOp, Matcher, SampleSink, TimeRange, TimestampMs, WriteBatch};
use proptest::prelude::*;
use storage::{CardinalityReport, CardinalityRequest, DeleteRequest, Engine, LabelUse, PairUse, SeriesGroup};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A metric, a host, a path; the path 0 is none.
type Key = (u8, u8, u8);

fn labels((metric, host, path): Key) -> Labels {
    let mut pairs = vec![
        ("__name__", format!("m{metric}")),
        ("instance", format!("h{host}/{}", path % 2)),
        ("job", "api".to_owned()),
    ];
    if path > 0 {
        pairs.push(("path", format!("/{path}")));
    }
    Labels::from_pairs(pairs).expect("valid labels")
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Engine> {
    Engine::open(folder, options(), Arc::clone(clock) as Arc<dyn Clock>).expect("opens")
}

fn append(engine: &Engine, series: impl IntoIterator<Item = Labels>, at_ms: i64) {
    let mut batch = WriteBatch::new();
    for labels in series {
        batch.push_series(labels.as_ref());
        batch.push_sample(at_ms, 1.0);
    }
    assert_eq!(engine.append(&batch).expect("appended").samples_rejected, 0);
}

fn report(engine: &Engine, selectors: Vec<Vec<Matcher>>, window_ms: i64, top: usize) -> CardinalityReport {
    engine.cardinality_report(&CardinalityRequest { selectors, window_ms, top }).expect("told")
}

fn remove(engine: &Engine, matchers: Vec<Matcher>) {
    let request =
        DeleteRequest { selectors: vec![("{}".to_owned(), matchers)], range: TimeRange::ALL, by: "a test".to_owned() };
    engine.delete(request).expect("deleted");
    engine.apply_deletes().expect("applied");
}

/// The series there should be, each with when it was created and whether it is active.
type Model = BTreeMap<Key, (i64, bool)>;

fn grouped(model: &Model, since_ms: i64, name_of: impl Fn(LabelsRef<'_>) -> Option<String>) -> Vec<SeriesGroup> {
    let mut groups: BTreeMap<String, SeriesGroup> = BTreeMap::new();
    for (key, (created_ms, active)) in model {
        let Some(name) = name_of(labels(*key).as_ref()) else { continue };
        let group = groups.entry(name.clone()).or_insert_with(|| SeriesGroup { name, ..SeriesGroup::default() });
        group.series += 1;
        group.active += u64::from(*active);
        group.created += u64::from(*created_ms >= since_ms);
    }
    let mut groups: Vec<SeriesGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.series));
    groups
}

fn newest(mut groups: Vec<SeriesGroup>) -> Vec<SeriesGroup> {
    groups.retain(|group| group.created > 0);
    groups.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    groups
}

fn label_uses(model: &Model) -> (Vec<LabelUse>, Vec<PairUse>) {
    let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
    let sets: Vec<Labels> = model.keys().map(|key| labels(*key)).collect();
    for set in &sets {
        for (name, value) in set.iter().filter(|(name, _)| *name != "__name__") {
            *pairs.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        }
    }
    let mut uses: BTreeMap<String, LabelUse> = BTreeMap::new();
    for ((name, value), series) in &pairs {
        let of = uses.entry(name.clone()).or_insert_with(|| LabelUse { name: name.clone(), ..LabelUse::default() });
        of.values += 1;
        of.series += series;
        of.value_bytes += value.len() as u64;
    }
    let mut uses: Vec<LabelUse> = uses.into_values().collect();
    uses.sort_by_key(|of| std::cmp::Reverse(of.values));
    for of in uses.iter_mut().filter(|of| of.values > 1) {
        let rest =
            |set: &Labels| set.iter().filter(|(name, _)| *name != of.name).map(|(n, v)| format!("{n}={v}")).collect();
        let left: BTreeSet<Vec<String>> = sets.iter().map(rest).collect();
        of.without = Some(left.len() as u64);
    }
    let mut pairs: Vec<PairUse> =
        pairs.into_iter().map(|((name, value), series)| PairUse { name, value, series }).collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.series));
    (uses, pairs)
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Key>),
    Remove(u8),
    /// Turns the head into blocks, and lets so much time pass that what is in them is active no more.
    Flush,
    Wait(i64),
    Restart,
    Crash,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec((0u8..3, 0u8..3, 0u8..12), 1..20).prop_map(Step::Append),
        1 => (0u8..3).prop_map(Step::Remove),
        2 => Just(Step::Flush),
        3 => (1i64..90).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn everything_told_is_exact(
        steps in prop::collection::vec(any_step(), 1..20),
        asked in prop::collection::vec((0i64..30 * 60, prop::option::of(0u8..3)), 1..4),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let mut engine = open(folder.path(), &clock);
        let (mut model, mut removed, mut created) = (Model::new(), Vec::new(), Vec::new());
        let settle = |clock: &ManualClock, model: &mut Model| {
            clock.set(TimestampMs(clock.now().0 + 10 * MINUTE_MS));
            for (_, active) in model.values_mut() {
                *active = false;
            }
        };
        for step in steps {
            let now_ms = clock.now().0;
            match step {
                Step::Append(keys) => {
                    append(&engine, keys.iter().map(|key| labels(*key)), now_ms);
                    for key in keys {
                        if !model.contains_key(&key) {
                            created.push(now_ms);
                        }
                        model.entry(key).or_insert((now_ms, true)).1 = true;
                    }
                }
                Step::Remove(metric) => {
                    remove(&engine, vec![Matcher::equal("__name__", format!("m{metric}"))]);
                    removed.extend(model.keys().filter(|key| key.0 == metric).map(|_| now_ms));
                    model.retain(|key, _| key.0 != metric);
                    // The delete flushes.
                    settle(&clock, &mut model);
                }
                Step::Flush => {
                    engine.flush().expect("flushed");
                    settle(&clock, &mut model);
                }
                Step::Wait(minutes) => clock.set(TimestampMs(now_ms + minutes * MINUTE_MS)),
                Step::Restart => {
                    engine.close().expect("closed");
                    drop(engine);
                    engine = open(folder.path(), &clock);
                    settle(&clock, &mut model);
                }
                Step::Crash => {
                    drop(engine);
                    engine = open(folder.path(), &clock);
                    // Blocks of the last flush count for ten minutes more; what was replayed is active as before.
                    clock.set(TimestampMs(now_ms + 10 * MINUTE_MS));
                }
            }
        }
        for (ago_minutes, metric) in asked {
            let name = metric.map(|metric| format!("m{metric}"));
            let selectors = name.iter().map(|name| vec![Matcher::equal("__name__", name.as_str())]).collect();
            let told = report(&engine, selectors, ago_minutes * MINUTE_MS, 100);
            let since_ms = told.since_ms;
            let later = |all: &[i64]| all.iter().filter(|at_ms| **at_ms >= since_ms).count() as u64;
            prop_assert_eq!(told.all_series, model.len() as u64);
            prop_assert_eq!(told.all_created, later(&created));
            let asked_ms = (clock.now().0 - ago_minutes * MINUTE_MS).max(told.known_from_ms.expect("known"));
            prop_assert!((0..MINUTE_MS).contains(&(asked_ms - since_ms)));
            let selected: Model =
                model.iter().filter(|(key, _)| metric.is_none_or(|of| of == key.0)).map(|(k, v)| (*k, *v)).collect();
            let by = |label: &'static str| {
                grouped(&selected, since_ms, move |labels| labels.get(label).map(str::to_owned))
            };
            let agents = grouped(&selected, since_ms, |labels| Some(labels.get("instance")?.split('/').next()?.to_owned()));
            let all = grouped(&selected, since_ms, |_| Some(String::new()));
            prop_assert_eq!(&told.selected, &all.into_iter().next().unwrap_or_default());
            prop_assert_eq!(&told.metrics, &by("__name__"));
            prop_assert_eq!(&told.jobs, &by("job"));
            prop_assert_eq!(&told.instances, &by("instance"));
            prop_assert_eq!(&told.agents, &agents);
            prop_assert_eq!(&told.new_metrics, &newest(by("__name__")));
            prop_assert_eq!(&told.new_agents, &newest(agents));
            let (uses, pairs) = label_uses(&selected);
            prop_assert_eq!(&told.labels, &uses);
            prop_assert_eq!(&told.pairs, &pairs);
            // Removals that were not saved before a crash are forgotten.
            prop_assert!(told.all_removed <= later(&removed));
        }
    }
}

/// What is new and what went is remembered over a restart, and removed series that were new count.
#[test]
fn churn_outlives_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), &clock);
    append(&engine, (0..10).map(|path| labels((0, 0, path))), NOW_MS);
    clock.set(TimestampMs(NOW_MS + 3 * HOUR_MS));
    append(&engine, (0..20).map(|path| labels((1, 0, path))), clock.now().0);
    remove(&engine, vec![Matcher::new("path", MatchOp::Regex, "/1.").expect("valid matcher")]);
    append(&engine, [labels((2, 0, 0))], clock.now().0);
    engine.close().expect("closed");
    drop(engine);
    clock.set(TimestampMs(NOW_MS + 5 * HOUR_MS));
    let engine = open(folder.path(), &clock);
    for (window_ms, created, removed, of_m1) in
        [(HOUR_MS, 0, 0, 0), (2 * HOUR_MS, 21, 10, 10), (9 * HOUR_MS, 31, 10, 10)]
    {
        let told = report(&engine, vec![], window_ms, 9);
        assert_eq!((told.all_created, told.all_removed), (created, removed), "within {window_ms} ms");
        let m1 = told.metrics.iter().find(|group| group.name == "m1").expect("it is there");
        assert_eq!((m1.series, m1.created), (10, of_m1));
    }
    let told = report(&engine, vec![], i64::MAX, 2);
    assert_eq!((told.since_ms, told.metrics.len(), told.pairs.len()), (NOW_MS - NOW_MS % MINUTE_MS, 2, 2));
}

/// What the log defines came when its samples say.
#[test]
fn a_crash_loses_no_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), &clock);
    append(&engine, [labels((0, 0, 0))], NOW_MS);
    clock.set(TimestampMs(NOW_MS + HOUR_MS));
    append(&engine, [labels((0, 0, 0)), labels((0, 0, 1))], NOW_MS + HOUR_MS);
    drop(engine);
    clock.set(TimestampMs(NOW_MS + 2 * HOUR_MS));
    let engine = open(folder.path(), &clock);
    let created = |window_ms| report(&engine, vec![], window_ms, 9).all_created;
    assert_eq!([HOUR_MS / 2, HOUR_MS, 2 * HOUR_MS].map(created), [0, 1, 2]);
}

/// Of many series what a label costs is an estimate, which is near.
#[test]
fn a_label_is_told_with_what_would_be_left_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), &clock);
    let series = (0..20_000).map(|at: u32| {
        let pairs = [("__name__", "m".to_owned()), ("path", (at / 4).to_string()), ("status", (at % 4).to_string())];
        Labels::from_pairs(pairs).expect("valid labels")
    });
    append(&engine, series, NOW_MS);
    let told = report(&engine, vec![vec![Matcher::equal("__name__", "m")]], HOUR_MS, 9);
    let without: Vec<(&str, u64)> =
        told.labels.iter().map(|of| (of.name.as_str(), of.without.expect("estimated"))).collect();
    assert_eq!((without[0], without[1].0), (("path", 4), "status"));
    assert!(without[1].1.abs_diff(5000) < 200, "{without:?}");
}
