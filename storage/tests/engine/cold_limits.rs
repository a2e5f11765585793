//! Limits on series that leave memory and come back, against a model that keeps every series and counts one by one: over flushes,
//! deletes, retention, restarts and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::{Appended, Clock, Labels, ManualClock, SampleSink, SeriesSource, TimeRange, TimestampMs, WriteBatch};
use proptest::prelude::*;
use storage::{Engine, EngineOptions};

use crate::any_fault::fast_folder;
use crate::series_limits::{Key, full_limit, labels, largest, limited, remove, used};
use crate::support::{NOW_MS, everything};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// To how much time the engine knows when a series was written.
const STEP_MS: i64 = 600_000;
const COLD_AFTER_MS: i64 = HOUR_MS;
/// Half a day more than three, and samples are written in one half of a day only: so whole days expire at once, however blocks
/// were merged.
const RETENTION_MS: i64 = 3 * DAY_MS + 12 * HOUR_MS;
const FIRST_DAY: i64 = NOW_MS / DAY_MS;

#[derive(Debug, Clone)]
enum Step {
    /// Written now.
    Append(Vec<Key>),
    /// Of all series with this digit in `at`.
    Remove(u8),
    Flush,
    Maintain,
    Minutes(i64),
    /// On to the morning of a later day.
    Days(i64),
    Restart,
    Crash,
    /// Opened without its index files.
    Lose,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec((0u8..3, 0u8..3, 0u8..20), 1..25).prop_map(Step::Append),
        1 => (0u8..10).prop_map(Step::Remove),
        4 => Just(Step::Flush),
        6 => Just(Step::Maintain),
        6 => (1i64..100).prop_map(Step::Minutes),
        1 => (1i64..4).prop_map(Step::Days),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => Just(Step::Lose),
    ]
}

/// What is known of a series.
#[derive(Debug, Clone, Default)]
struct Series {
    /// Whether it is in memory.
    live: bool,
    /// Whether the catalog has it, and whether an index file does.
    catalogued: bool,
    filed: bool,
    /// The step of time at the end of which it counts as written last.
    written_ms: i64,
    /// Its samples: in the head, and in blocks.
    head: BTreeSet<i64>,
    blocks: BTreeSet<i64>,
}

#[derive(Debug, Default)]
struct Model {
    series: BTreeMap<Key, Series>,
    max: [usize; 3],
    /// Series that the last batch has made.
    created: u64,
}

impl Model {
    fn live(&self) -> impl Iterator<Item = &Key> + Clone {
        self.series.iter().filter(|(_, of)| of.live).map(|(key, _)| key)
    }

    /// How many samples each limit refuses.
    fn append(&mut self, keys: &[Key], now_ms: i64) -> [u64; 3] {
        let mut refused = [0; 3];
        self.created = 0;
        for &key in keys {
            if !self.series.get(&key).is_some_and(|of| of.live) {
                if let Some(limit) = full_limit(self.max, &self.live(), key) {
                    refused[limit as usize] += 1;
                    continue;
                }
                self.created += u64::from(!self.series.contains_key(&key));
            }
            let of = self.series.entry(key).or_default();
            of.live = true;
            of.head.insert(now_ms);
        }
        refused
    }

    fn flush(&mut self, now_ms: i64) {
        for of in self.series.values_mut() {
            if let Some(&newest_ms) = of.head.last() {
                // Old samples count as written an hour before, less ten minutes.
                let at_ms = newest_ms.max(now_ms - COLD_AFTER_MS + STEP_MS);
                of.written_ms = of.written_ms.max(at_ms - at_ms.rem_euclid(STEP_MS) + STEP_MS);
            }
            of.catalogued = true;
            of.blocks.append(&mut of.head);
            of.blocks.retain(|&at_ms| at_ms >= now_ms - RETENTION_MS);
        }
    }

    fn maintain(&mut self, now_ms: i64) {
        self.series.retain(|_, of| {
            of.blocks.retain(|&at_ms| at_ms >= now_ms - RETENTION_MS);
            !of.blocks.is_empty() || !of.head.is_empty()
        });
        let idle = |of: &Series| {
            of.live && of.head.is_empty() && !of.blocks.is_empty() && of.written_ms < now_ms - COLD_AFTER_MS
        };
        for of in self.series.values_mut().filter(|of| of.filed && idle(of)) {
            of.live = false;
        }
        let least = (self.live().count() / 16).max(1);
        let new: Vec<Key> = self.series.iter().filter(|(_, of)| !of.filed && idle(of)).map(|(key, _)| *key).collect();
        if new.len() >= least {
            for (_, of) in self.series.iter_mut().filter(|(key, _)| new.contains(key)) {
                (of.live, of.filed) = (false, true);
            }
        }
    }

    fn remove(&mut self, digit: u8, now_ms: i64) {
        self.flush(now_ms);
        self.series.retain(|key, _| !key.2.to_string().contains(&digit.to_string()));
        // With them go those of which retention left nothing.
        self.series.retain(|_, of| !of.blocks.is_empty());
    }

    /// Only what no file has is in memory after a start.
    fn open(&mut self, now_ms: i64) {
        for of in self.series.values_mut() {
            of.live = !of.filed;
            if of.live && of.catalogued {
                of.written_ms = of.written_ms.max(now_ms - now_ms.rem_euclid(STEP_MS) + STEP_MS);
            }
        }
    }

    /// What can be read at `now_ms`.
    fn content(&self, now_ms: i64) -> Vec<(Labels, Vec<i64>)> {
        let visible = |of: &Series| {
            let all: BTreeSet<i64> = of.head.union(&of.blocks).copied().collect();
            all.into_iter().filter(|&at_ms| at_ms >= now_ms - RETENTION_MS).collect::<Vec<_>>()
        };
        let mut content: Vec<_> = self.series.iter().map(|(key, of)| (labels(*key), visible(of))).collect();
        content.retain(|(_, times)| !times.is_empty());
        content.sort_unstable();
        content
    }
}

fn append(engine: &Engine, keys: &[Key], at_ms: i64) -> Appended {
    let mut batch = WriteBatch::new();
    for &key in keys {
        batch.push_series(labels(key).as_ref());
        batch.push_sample(at_ms, 1.0);
    }
    engine.append(&batch).expect("appended")
}

fn open(folder: &Path, options: &EngineOptions, clock: &Arc<ManualClock>) -> Arc<Engine> {
    Engine::open(folder, options.clone(), Arc::clone(clock) as Arc<dyn Clock>).expect("opens")
}

/// What the engine says of its series is what the model has.
fn same(engine: &Engine, model: &Model, now_ms: i64) -> Result<(), TestCaseError> {
    let stats = engine.stats();
    let live = model.live().count() as u64;
    prop_assert_eq!((stats.index.live, stats.series), (live, model.series.len() as u64));
    prop_assert_eq!(stats.index.cold, stats.series - live);
    prop_assert_eq!(used(engine), largest(model.live()));
    let content = everything(engine).into_iter();
    let times = content.map(|(labels, samples)| (labels, samples.iter().map(|of| of.timestamp_ms).collect()));
    let (content, want): (Vec<(Labels, Vec<i64>)>, _) = (times.collect(), model.content(now_ms));
    prop_assert_eq!(&content, &want);
    let listed = engine.series(&[], TimeRange::ALL, usize::MAX).expect("listed");
    // A block is not looked into for what of it is too old.
    prop_assert!(want.iter().all(|(labels, _)| listed.binary_search(labels).is_ok()));
    prop_assert_eq!(stats.damage, vec![]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Limits count what is in memory, whatever left it, came back or was removed meanwhile; and nothing is lost or there twice.
    #[test]
    fn limits_count_the_series_in_memory(
        steps in prop::collection::vec(any_step(), 10..50),
        max in (5usize..60, 0usize..24, 0usize..24),
    ) {
        let folder = fast_folder();
        let options = EngineOptions {
            retention_ms: Some(RETENTION_MS),
            future_lead_ms: None,
            cold_after_ms: COLD_AFTER_MS,
            cold_series_min: 1,
            ..limited(max.0, max.1, max.2)
        };
        let mut now_ms = FIRST_DAY * DAY_MS + HOUR_MS;
        let clock = Arc::new(ManualClock::new(TimestampMs(now_ms)));
        let mut model = Model { max: [max.0, max.1, max.2], ..Model::default() };
        let mut engine = open(folder.path(), &options, &clock);
        for step in steps {
            match &step {
                Step::Append(keys) => {
                    let refused = model.append(keys, now_ms);
                    let appended = append(&engine, keys, now_ms);
                    prop_assert_eq!(appended.samples_over_limit, refused);
                    prop_assert_eq!(appended.series_created, model.created, "what comes back is not new");
                }
                Step::Remove(digit) => {
                    remove(&engine, "at", &format!(".*{digit}.*"));
                    model.remove(*digit, now_ms);
                }
                Step::Flush => {
                    engine.flush().expect("flushed");
                    model.flush(now_ms);
                }
                Step::Maintain => {
                    engine.maintain().expect("maintained");
                    model.maintain(now_ms);
                }
                Step::Minutes(minutes) if now_ms % DAY_MS + minutes * MINUTE_MS < 11 * HOUR_MS => {
                    now_ms += minutes * MINUTE_MS;
                }
                Step::Minutes(_) => {}
                Step::Days(days) => now_ms = (now_ms / DAY_MS + days) * DAY_MS + HOUR_MS,
                Step::Restart | Step::Crash | Step::Lose => {
                    if !matches!(step, Step::Crash) {
                        engine.close().expect("closed");
                        model.flush(now_ms);
                    }
                    drop(engine);
                    if matches!(step, Step::Lose) {
                        std::fs::remove_dir_all(folder.path().join("index")).unwrap_or_default();
                        model.series.values_mut().for_each(|of| of.filed = false);
                    }
                    engine = open(folder.path(), &options, &clock);
                    model.open(now_ms);
                }
            }
            clock.set(TimestampMs(now_ms));
            same(&engine, &model, now_ms).map_err(|error| TestCaseError::fail(format!("after {step:?}: {error}")))?;
        }
    }
}
