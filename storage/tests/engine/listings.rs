//! Lists of series and labels, under rules that show of some series less than others.

use std::sync::Arc;

use model::{ManualClock, Matcher, SeriesSource, TimeRange, TimestampMs};
use storage::{Engine, EngineOptions, LifetimeRule, LifetimeStep};

use crate::support::{append, labels, options};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 19_000 * DAY_MS;

/// Series 0 is kept for three days, series 1 for three and then as summaries, others for nine.
fn kept() -> EngineOptions {
    let rule = |at: u32, steps: Vec<LifetimeStep>| LifetimeRule {
        text: String::new(),
        matchers: vec![Matcher::equal("at", at.to_string())],
        raw_ms: Some(3 * DAY_MS),
        steps,
    };
    let summaries = vec![LifetimeStep { window_ms: 3_600_000, keep_ms: Some(6 * DAY_MS) }];
    EngineOptions {
        lifetimes: vec![rule(0, Vec::new()), rule(1, summaries)],
        retention_ms: Some(9 * DAY_MS),
        ..options()
    }
}

/// A series of which its rule hides all samples in the time that is asked for is in no list, whether the samples are gone yet or not.
#[test]
fn what_a_rule_hides_is_not_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(TimestampMs(START_MS + DAY_MS - 1)));
    let engine = Engine::open(folder.path(), kept(), clock.clone()).expect("opens");
    append(&*engine, &[0, 1, 2].map(|at| (at, START_MS + 1, 1.0))).expect("appended");
    let first_day = TimeRange::new(START_MS, START_MS + DAY_MS - 1);
    for upkeep in [false, true] {
        clock.set(TimestampMs(START_MS + DAY_MS - 1));
        for (age_days, want) in [(0, &[0, 1, 2][..]), (2, &[0, 1, 2]), (4, &[1, 2]), (7, &[2]), (10, &[])] {
            clock.set(TimestampMs(START_MS + DAY_MS - 1 + age_days * DAY_MS));
            if upkeep {
                engine.flush().expect("flushed");
                engine.maintain().expect("maintained");
                engine.maintain().expect("maintained");
            }
            for range in [first_day, TimeRange::ALL, TimeRange::new(START_MS + 1, i64::MAX)] {
                let case = format!("after {age_days} days, {range:?}, upkeep {upkeep}");
                let want: Vec<_> = want.iter().map(|&at| labels(at)).collect();
                assert_eq!(engine.series(&[], range, 9).expect("listed"), want, "{case}");
                let values: Vec<&str> = want.iter().filter_map(|labels| labels.get("at")).collect();
                assert_eq!(engine.label_values("at", &[], range).expect("listed"), values, "{case}");
                assert_eq!(engine.label_names(&[], range).expect("listed").is_empty(), want.is_empty(), "{case}");
            }
        }
    }
}
