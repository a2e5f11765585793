//! A stored folder of version 2 opens, and holds what it held when it was written.
//!
//! `tests/fixtures/folder-v2` was written once, by [`a_folder_of_this_version_is_written`], and is kept: what it holds is
//! told below a second time, by rule. Two days with two blocks each, of floats in many codings, floats with a start,
//! histograms and summaries; a delete that hides samples; records of the log that are in no block.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{
    Clock, FullSample, Labels, ManualClock, Matcher, SampleSink, SampleValue, SeriesSource, TimeRange, TimestampMs,
};
use storage::{DeleteRequest, Engine, EngineOptions, LifetimeRule, LifetimeStep};

use crate::any_fault::fast_folder;
use crate::support::{Row, batch_of, counter, labels, options};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A midnight.
const START_MS: i64 = 19_000 * DAY_MS;
/// The time at which the folder is opened.
const NOW_MS: i64 = START_MS + 2 * DAY_MS + HOUR_MS;
/// The series with summaries.
const SUMMARISED: u32 = 7;
/// Windows of these.
const WINDOW_MS: i64 = HOUR_MS;

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/folder-v2")
}

fn kept() -> EngineOptions {
    let steps = vec![LifetimeStep { window_ms: WINDOW_MS, keep_ms: None }];
    let matchers = vec![Matcher::equal("at", SUMMARISED.to_string())];
    let rule = LifetimeRule { text: "summaries".to_owned(), matchers, raw_ms: Some(DAY_MS), steps };
    EngineOptions { lifetimes: vec![rule], delete_undo_ms: i64::MAX / 2, ..options() }
}

/// What was written of a day, one part after the other.
fn rows(day: i64, part: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for slot in part * 60..(part + 1) * 60 {
        let at_ms = START_MS + day * DAY_MS + slot * 10 * 60_000;
        let number = f64::from(u32::try_from(day * 1000 + slot).expect("small"));
        rows.push(Row::plain(0, at_ms, 2.5));
        rows.push(Row::plain(1, at_ms, number));
        rows.push(Row::plain(2, at_ms + slot * slot % 977, (number * 7.0 % 31.0) / 100.0));
        rows.push(Row::plain(3, at_ms, number.sqrt()));
        rows.push(Row::plain(SUMMARISED, at_ms, number * 3.0 % 101.0));
        if slot % 5 == 0 {
            rows.push(Row::histogram(50, at_ms, counter(1, 3, &[1.0, number + 1.0, 2.0])));
            let value = SampleValue::Float(if slot % 10 == 0 { f64::INFINITY } else { -0.0 });
            let sample = FullSample { timestamp_ms: at_ms, start_ms: START_MS, value };
            rows.push(Row { series: 51, sample, plain: false });
        }
    }
    rows
}

/// What only the log holds.
fn tail() -> Vec<Row> {
    let at_ms = NOW_MS - 60_000;
    vec![Row::plain(0, at_ms, 4.0), Row::plain(99, at_ms, 5.0), Row::histogram(50, at_ms, counter(0, 1, &[7.0]))]
}

/// The part of the second day that is deleted of series 1.
fn deleted() -> TimeRange {
    TimeRange::new(START_MS + DAY_MS + HOUR_MS, START_MS + DAY_MS + 2 * HOUR_MS)
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Engine> {
    Engine::open(folder, kept(), clock.clone()).expect("a folder of version 2 opens")
}

/// Writes the folder anew: only for a new version, into a folder of its own.
#[test]
#[ignore = "writes what is kept"]
fn a_folder_of_this_version_is_written() {
    let folder = stored();
    assert!(!folder.exists(), "a folder that is kept is not written over");
    let clock = Arc::new(ManualClock::new(TimestampMs(START_MS + 23 * HOUR_MS)));
    let engine = open(&folder, &clock);
    for day in 0..2 {
        for part in 0..2 {
            engine.append(&batch_of(&rows(day, part))).expect("appended");
            engine.flush().expect("flushed");
        }
        clock.advance_ms(DAY_MS);
    }
    clock.set(TimestampMs(NOW_MS));
    let selectors = vec![("{at=\"1\"}".to_owned(), vec![Matcher::equal("at", "1")])];
    let request = DeleteRequest { selectors, range: deleted(), by: "the fixture".to_owned() };
    engine.delete(request).expect("deleted").expect("something");
    engine.append(&batch_of(&rows(1, 1)[..1])).expect("appended");
    engine.flush().expect("flushed");
    engine.maintain().expect("merged");
    engine.maintain().expect("summarised");
    assert_eq!(engine.stats().summary_blocks.len(), 1);
    engine.append(&batch_of(&tail())).expect("appended");
    drop(engine);
    fs::remove_file(folder.join("LOCK")).expect("not kept");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("the fixture").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The samples of one series that the folder holds one by one, by the rules above.
fn samples_of(series: u32) -> Vec<FullSample> {
    let parts = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().flat_map(|(day, part)| rows(day, part));
    let all = parts.chain(tail()).filter(|row| row.series == series).map(|row| row.sample);
    all.filter(|sample| series != 1 || !deleted().contains(sample.timestamp_ms)).collect()
}

#[test]
fn a_stored_folder_of_version_2_is_read() {
    let folder = fast_folder();
    copy(&stored(), folder.path());
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    for round in 0..3 {
        let engine = open(folder.path(), &clock);
        let stats = engine.stats();
        assert_eq!(stats.damage, vec![], "round {round}");
        assert!(round > 0 || (stats.blocks > 3 && stats.replayed_records == 1), "{stats:?}");
        let set = engine.select(&[], TimeRange::ALL, 99).expect("selected");
        let named: Vec<&Labels> = (0..set.len()).map(|at| set.labels(at)).collect();
        let mut want = [0, 1, 2, 3, SUMMARISED, 50, 51, 99].map(labels);
        want.sort_unstable();
        assert_eq!(named, want.iter().collect::<Vec<_>>(), "round {round}");
        for series in [0, 1, 2, 3, SUMMARISED, 50, 51, 99] {
            let at = named.iter().position(|of| **of == labels(series)).expect("named");
            let (mut samples, mut summaries) = (model::Samples::default(), Vec::new());
            set.read_with_summaries(at, 0, &mut samples, &mut summaries).expect("read");
            let mut want = samples_of(series);
            let mut told = Vec::new();
            for summary in &summaries {
                let inside = |sample: &FullSample| (summary.first_ms..=summary.last_ms).contains(&sample.timestamp_ms);
                let (times, values): (Vec<i64>, Vec<f64>) = want
                    .extract_if(.., |sample| inside(sample))
                    .filter_map(|sample| match sample.value {
                        SampleValue::Float(value) => Some((sample.timestamp_ms, value)),
                        SampleValue::Histogram(_) => None,
                    })
                    .unzip();
                storage::summary::summarise(&times, &values, WINDOW_MS, &mut told);
            }
            assert_eq!(summaries, told, "series {series}, round {round}");
            assert_eq!(summaries.is_empty(), series != SUMMARISED, "series {series}");
            assert!(samples.iter_full().eq(want.iter().cloned()), "series {series}, round {round}");
        }
        assert_eq!((engine.deletes().len(), clock.now().0), (1, NOW_MS));
        if round == 1 {
            engine.merge_to_end().expect("merged by this version");
        }
    }
}
