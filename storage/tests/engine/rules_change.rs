//! Rules that change from start to start: samples go under one, and are written beside their summaries under another. Whatever is
//! done in between, what was acknowledged is counted once, in samples or in summaries.

use std::path::Path;
use std::sync::Arc;

use model::{ManualClock, Matcher, Samples, SeriesSource, TimeRange, TimestampMs};
use proptest::prelude::*;
use storage::{Engine, EngineOptions, LifetimeRule, LifetimeStep};

use crate::any_fault::fast_folder;
use crate::support::{append, labels, options};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1440 * MINUTE_MS;
/// The end of a day that is long over when the engine is opened.
const START_MS: i64 = 19_001 * DAY_MS - 4 * MINUTE_MS;
const NOW_MS: i64 = START_MS + 5 * DAY_MS;

#[derive(Debug, Clone)]
enum Step {
    /// So many samples of a new series, or of the last one; not where they are too old by the rule.
    Send(u8, bool),
    Flush,
    Maintain,
    MergeToEnd,
    /// Opened again, with samples kept for long or not.
    Reopen(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..40, any::<bool>()).prop_map(|(samples, new)| Step::Send(samples, new)),
        3 => Just(Step::Flush),
        3 => Just(Step::Maintain),
        1 => Just(Step::MergeToEnd),
        3 => any::<bool>().prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn open(folder: &Path, long: bool) -> Arc<Engine> {
    let steps = vec![LifetimeStep { window_ms: MINUTE_MS, keep_ms: None }];
    let rule = |at: &str, days| LifetimeRule {
        text: at.to_owned(),
        matchers: vec![Matcher::equal("job", at)],
        raw_ms: Some(days * DAY_MS),
        steps: steps.clone(),
    };
    // Of the others samples stay beside the summaries.
    let lifetimes = vec![rule("0", if long { 9 } else { 1 }), rule("1", 9)];
    let options = EngineOptions { lifetimes, retention_ms: Some(20 * DAY_MS), ..options() };
    Engine::open(folder, options, Arc::new(ManualClock::new(TimestampMs(NOW_MS)))).expect("opens")
}

/// How many samples of each series are told, one by one or in summaries; both never of one instant.
fn counts(engine: &Engine) -> Vec<u64> {
    let set = engine.select(&[], TimeRange::ALL, usize::MAX).expect("selected");
    let mut counts = Vec::new();
    for at in (0..).take_while(|at| (0..set.len()).any(|of| *set.labels(of) == labels(*at))) {
        let place = (0..set.len()).find(|&of| *set.labels(of) == labels(at)).expect("found above");
        let (mut samples, mut summaries) = (Samples::default(), Vec::new());
        set.read_with_summaries(place, MINUTE_MS, &mut samples, &mut summaries).expect("read");
        for &at_ms in &samples.timestamps_ms {
            let covered = summaries.iter().any(|of| of.end_ms() - MINUTE_MS < at_ms && at_ms <= of.end_ms());
            assert!(!covered, "series {at}: {at_ms} beside {summaries:?}");
        }
        let summed: u64 = summaries.iter().map(|of| of.count).sum();
        counts.push(summed + samples.timestamps_ms.len() as u64);
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_sample_is_counted_once(steps in steps()) {
        let folder = fast_folder();
        let (mut long, mut engine) = (true, open(folder.path(), true));
        let (mut sent, mut next_ms, mut opened) = (Vec::<u64>::new(), START_MS, true);
        for step in steps {
            match step {
                Step::Send(samples, new) if long => {
                    // What is written where samples are gone is another's business.
                    if new || std::mem::take(&mut opened) {
                        sent.push(0);
                        opened = false;
                    }
                    let series = u32::try_from(sent.len() - 1).expect("few");
                    let rows: Vec<_> = (0..i64::from(samples)).map(|at| (series, next_ms + at * 37, 1.0)).collect();
                    next_ms += i64::from(samples) * 37;
                    append(&*engine, &rows).expect("appended");
                    *sent.last_mut().expect("one was pushed") += u64::from(samples);
                }
                Step::Send(..) => {}
                Step::Flush => engine.flush().expect("flushed"),
                Step::Maintain => engine.maintain().expect("maintained"),
                Step::MergeToEnd => engine.merge_to_end().expect("merged"),
                Step::Reopen(for_long) => {
                    drop(engine);
                    (long, opened) = (for_long, true);
                    engine = open(folder.path(), long);
                }
            }
            prop_assert_eq!(counts(&engine), sent.clone());
        }
    }
}

/// The samples of a series go from all blocks of a day or from none: what is left of them would hide their summaries from a
/// rule that keeps samples longer again.
#[test]
fn samples_go_from_all_blocks_of_a_day() {
    let folder = fast_folder();
    let engine = open(folder.path(), true);
    // One block in which few series are past their time, and one in which all are.
    let others = [1, 2, 4, 5, 7, 8, 10, 11].map(|series| (series, START_MS, 1.0));
    append(&*engine, &[&others[..], &[(0, START_MS, 1.0), (3, START_MS, 1.0)]].concat()).expect("appended");
    engine.flush().expect("flushed");
    let more: Vec<_> = (1..9).map(|at| (0, START_MS + at, 1.0)).collect();
    append(&*engine, &more).expect("appended");
    engine.flush().expect("flushed");
    engine.maintain().expect("summarised");
    drop(engine);
    for (round, long) in [false, true, false, true].into_iter().enumerate() {
        let engine = open(folder.path(), long);
        for _ in 0..3 {
            assert_eq!(counts(&engine)[..3], [9, 1, 1], "round {round}");
            engine.maintain().expect("maintained");
        }
        assert_eq!(counts(&engine)[..3], [9, 1, 1], "round {round}");
    }
}
