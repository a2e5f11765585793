//! Limits on series: exact against a model, under concurrency, over restarts; and what a refusal tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::support::{NOW_MS, open, options};
use model::{
    Appended, Labels, ManualClock, MatchOp, Matcher, Rejection, SampleSink, SeriesLimit, SeriesSource, SinkError,
    TimeRange, TimestampMs, WriteBatch,
};
use proptest::prelude::*;
use storage::{DeleteRequest, Engine, EngineOptions, LimitUse};

/// A metric, a host and what tells its series apart; host 0 is none.
pub(crate) type Key = (u8, u8, u8);

pub(crate) fn labels((metric, host, at): Key) -> Labels {
    let mut pairs = vec![("__name__", format!("m{metric}")), ("at", at.to_string())];
    match host {
        0 => {}
        // The ways in which an agent names what is on its host.
        _ if at % 3 == 0 => pairs.push(("instance", format!("h{host}"))),
        _ if at % 3 == 1 => pairs.push(("instance", format!("h{host}/{}", at % 4))),
        _ => pairs.push(("instance", format!("h{host}:{}", 9000 + u32::from(at % 2)))),
    }
    Labels::from_pairs(pairs).expect("valid labels")
}

fn append(sink: &dyn SampleSink, keys: &[Key]) -> Result<Appended, SinkError> {
    let mut batch = WriteBatch::new();
    for &key in keys {
        batch.push_series(labels(key).as_ref());
        batch.push_sample(NOW_MS, 1.0);
    }
    sink.append(&batch)
}

pub(crate) fn limited(server: usize, metric: usize, agent: usize) -> EngineOptions {
    EngineOptions { series_max: server, series_per_metric_max: metric, series_per_agent_max: agent, ..options() }
}

pub(crate) fn remove(engine: &Engine, name: &str, pattern: &str) {
    let matchers = vec![Matcher::new(name, MatchOp::Regex, pattern).expect("valid matcher")];
    let request = DeleteRequest {
        selectors: vec![(format!("{{{name}=~\"{pattern}\"}}"), matchers)],
        range: TimeRange::ALL,
        by: "a test".to_owned(),
    };
    engine.delete(request).expect("deleted");
    engine.apply_deletes().expect("applied");
}

pub(crate) fn used(engine: &Engine) -> Vec<(String, u64)> {
    engine.stats().series_limits.into_iter().map(|of| (of.of, of.series)).collect()
}

/// The first of the limits `max` that has no room for `key` beside the series in memory.
pub(crate) fn full_limit<'k>(
    max: [usize; 3],
    live: &(impl Iterator<Item = &'k Key> + Clone),
    key: Key,
) -> Option<SeriesLimit> {
    let count = |limit| match limit {
        SeriesLimit::Server => Some(live.clone().count()),
        SeriesLimit::Metric => Some(live.clone().filter(|of| of.0 == key.0).count()),
        SeriesLimit::Agent => (key.1 > 0).then(|| live.clone().filter(|of| of.1 == key.1).count()),
    };
    SeriesLimit::ALL.into_iter().find(|&limit| {
        let max = max[limit as usize];
        max > 0 && count(limit).is_some_and(|series| series >= max)
    })
}

/// The largest of each limit, of the series in memory.
pub(crate) fn largest<'k>(live: impl Iterator<Item = &'k Key>) -> Vec<(String, u64)> {
    let (mut all, mut by_name) = (0, [BTreeMap::new(), BTreeMap::new()]);
    for key in live {
        all += 1;
        *by_name[0].entry(format!("m{}", key.0)).or_insert(0) += 1;
        if key.1 > 0 {
            *by_name[1].entry(format!("h{}", key.1)).or_insert(0) += 1;
        }
    }
    let [metric, agent] = by_name.map(|of| of.into_iter().rev().max_by_key(|(_, series)| *series).unwrap_or_default());
    vec![(String::new(), all), metric, agent]
}

/// What there should be.
#[derive(Debug, Default)]
struct Model {
    series: BTreeSet<Key>,
    max: [usize; 3],
}

impl Model {
    /// How many samples each limit refuses.
    fn append(&mut self, keys: &[Key]) -> [u64; 3] {
        let mut refused = [0; 3];
        for &key in keys {
            if self.series.contains(&key) {
                continue;
            }
            match full_limit(self.max, &self.series.iter(), key) {
                Some(limit) => refused[limit as usize] += 1,
                None => drop(self.series.insert(key)),
            }
        }
        refused
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Key>),
    /// Of all series with this digit in `at`.
    Remove(u8),
    Flush,
    Restart,
    Crash,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0u8..3, 0u8..3, 0u8..20), 0..25).prop_map(Step::Append),
        2 => (0u8..10).prop_map(Step::Remove),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is created, refused, removed and replayed: the series are those of a model that counts them one by one.
    #[test]
    fn limits_are_exact(
        steps in prop::collection::vec(any_step(), 1..16),
        max in (1usize..40, 0usize..16, 0usize..16),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = limited(max.0, max.1, max.2);
        let mut model = Model { max: [max.0, max.1, max.2], ..Model::default() };
        let mut engine = open(folder.path(), options.clone());
        for step in steps {
            match &step {
                Step::Append(keys) => {
                    let known = model.series.len();
                    let refused = model.append(keys);
                    let appended = append(&*engine, keys).expect("appended");
                    prop_assert_eq!(appended.samples_over_limit, refused);
                    prop_assert_eq!(appended.samples_rejected, refused.iter().sum::<u64>());
                    prop_assert_eq!(appended.series_created, (model.series.len() - known) as u64);
                }
                Step::Remove(digit) => {
                    remove(&engine, "at", &format!(".*{digit}.*"));
                    model.series.retain(|key| !key.2.to_string().contains(&digit.to_string()));
                }
                Step::Flush => engine.flush().expect("flushed"),
                Step::Restart | Step::Crash => {
                    if matches!(step, Step::Restart) {
                        engine.close().expect("closed");
                    }
                    drop(engine);
                    engine = open(folder.path(), options.clone());
                }
            }
            prop_assert_eq!(used(&engine), largest(model.series.iter()), "after {:?}", step);
            let series = engine.series(&[], TimeRange::ALL, usize::MAX).expect("listed");
            let want: BTreeSet<Labels> = model.series.iter().map(|key| labels(*key)).collect();
            prop_assert_eq!(series.into_iter().collect::<BTreeSet<_>>(), want);
        }
    }
}

/// However many write at once, no limit is passed, and none is left with room.
#[test]
fn limits_hold_under_concurrency() {
    const THREADS: u8 = 8;
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), limited(1000, 50, 70));
    let taken: Vec<Appended> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let engine = &engine;
                // Half of what a thread writes is written by its neighbour too.
                let series = move |at: u8| (at % 2, 1 + at % 3, thread / 2 * 50 + at);
                scope.spawn(move || {
                    let batches =
                        (0..50).map(|at| append(&**engine, &[series(at), series(49 - at)]).expect("appended"));
                    batches.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let created: u64 = taken.iter().map(|appended| appended.series_created).sum();
    let refused: u64 = taken.iter().map(|appended| appended.samples_rejected).sum();
    assert_eq!(created, 100, "two metrics of fifty");
    assert!(refused > 0);
    let limits = engine.stats().series_limits;
    assert_eq!((limits[0].series, limits[1].series, limits[1].full), (100, 50, 2), "{limits:?}");
    assert!(limits[2].series <= 70, "{limits:?}");
    assert_eq!(limits.iter().map(|of| of.samples_refused).sum::<u64>(), refused);
}

/// What could not be written takes no place.
#[test]
fn a_failed_write_gives_back_its_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { disk_reserve_bytes: u64::MAX, ..limited(9, 2, 2) };
    let engine = open(folder.path(), options);
    for _ in 0..3 {
        let refused = append(&*engine, &[(0, 1, 0), (0, 1, 1)]);
        assert!(matches!(refused, Err(SinkError::DiskFull { .. })), "{refused:?}");
    }
    assert_eq!(used(&engine), [(String::new(), 0), (String::new(), 0), (String::new(), 0)]);
}

/// A folder that has more than a limit that was set later keeps its series, and takes no more.
#[test]
fn a_limit_below_what_there_is_removes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys: Vec<Key> = (0..10).map(|at| (0, 1, at)).collect();
    let engine = open(folder.path(), limited(1000, 0, 0));
    assert_eq!(append(&*engine, &keys).expect("appended").series_created, 10);
    drop(engine);
    let engine = open(folder.path(), limited(1000, 4, 0));
    let appended = append(&*engine, &[keys.as_slice(), &[(0, 1, 10), (1, 1, 0)]].concat()).expect("appended");
    assert_eq!((appended.samples_accepted, appended.samples_over_limit), (11, [0, 1, 0]));
    let LimitUse { of, series, max, full, .. } = engine.stats().series_limits[1].clone();
    assert_eq!((of.as_str(), series, max, full), ("m0", 10, 4, 1));
}

fn told(appended: &Appended) -> &str {
    match appended.rejections.first() {
        Some(Rejection::SeriesLimit { full, .. }) => full.cause.label.as_ref().map_or("", |(label, _)| label),
        other => panic!("{other:?}"),
    }
}

/// A series with the three labels, of which that at place `many` differs from others'.
fn wide(metric: &str, host: &str, many: usize, at: usize) -> Labels {
    let mut pairs = vec![("__name__", metric.to_owned()), ("instance", host.to_owned())];
    for (place, name) in ["method", "path", "user"].into_iter().enumerate() {
        pairs.push((name, if place == many { at.to_string() } else { (at % 3).to_string() }));
    }
    Labels::from_pairs(pairs).expect("valid labels")
}

#[test]
fn the_label_with_the_most_values_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = Engine::open(folder.path(), limited(1000, 50, 120), clock.clone()).expect("opens");
    let write = |series: &mut dyn Iterator<Item = Labels>| {
        let mut batch = WriteBatch::new();
        for labels in series {
            batch.push_series(labels.as_ref());
            batch.push_sample(NOW_MS, 1.0);
        }
        engine.append(&batch).expect("appended")
    };
    // Of all series `user` has the most values, of those of m it is `path`.
    write(&mut (0..45).map(|at| wide("other", "h1", 2, at + 1000)));
    let refused = write(&mut (0..60).map(|at| wide("m", "h1/0", 1, at)));
    assert_eq!((refused.samples_accepted, refused.samples_over_limit), (50, [0, 10, 0]));
    assert_eq!(
        refused.rejections[0].to_string(),
        "metric \"m\" has 50 series (series_per_metric_max = 50); label \"path\" has 50 values; \
         not taken: m{instance=\"h1/0\", method=\"2\", path=\"50\", user=\"2\"}"
    );
    let refused = write(&mut (0..40).map(|at| wide("third", "h1:80", 0, at)));
    assert_eq!(refused.samples_over_limit, [0, 0, 15]);
    assert!(
        refused.rejections[0].to_string().starts_with(
            "agent \"h1\" has 120 series (series_per_agent_max = 120); metric \"m\" has 50 of them, label \"path\" has 50 \
             values; not taken: third{"
        ),
        "{refused:?}"
    );
    // Another label grows meanwhile, which is found out a minute later.
    remove(&engine, "path", "[1-9][0-9]");
    write(&mut (0..60).map(|at| wide("m", "h2", 2, at)));
    let refused = || write(&mut std::iter::once(wide("m", "h2", 0, 9999)));
    assert_eq!(told(&refused()), "path");
    clock.set(TimestampMs(NOW_MS + 60_000));
    assert_eq!(told(&refused()), "user");
}
