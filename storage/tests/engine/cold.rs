//! Series that nobody writes any more: they leave memory and are found nevertheless, whatever happens to them or their files.

use std::path::Path;
use std::sync::Arc;

use model::{Labels, ManualClock, Matcher, SampleSink, SeriesSource, SinkError, TimeRange, TimestampMs};
use proptest::prelude::*;
use storage::{DeleteRequest, Durability, Engine, EngineOptions, LifetimeRule};

use crate::any_fault::fast_folder;
use crate::recognised::recognised;
use crate::support::{NOW_MS, append, batch, everything, labels, options};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

fn kept() -> EngineOptions {
    EngineOptions { retention_ms: Some(4 * DAY_MS), future_lead_ms: None, ..options() }
}

/// Series leave memory in the first round after their flush.
fn at_once() -> EngineOptions {
    EngineOptions { cold_after_ms: -HOUR_MS, cold_series_min: 1, ..kept() }
}

fn open(folder: &Path, options: EngineOptions, clock: &Arc<ManualClock>) -> Arc<Engine> {
    Engine::open(folder, options, clock.clone()).expect("opens")
}

fn tidy(engine: &Engine) {
    engine.flush().expect("flushed");
    engine.maintain().expect("maintained");
}

fn index_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("index"))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort_unstable();
    files
}

#[derive(Debug, Clone)]
enum Step {
    /// Series and offset in milliseconds; whether by numbers, and whether a round comes between decoding and appending.
    Send(Vec<(u32, i64)>, bool, bool),
    Tidy,
    MergeToEnd,
    Hours(i64),
    /// Of some series, applied at once or not.
    Delete(u32, bool),
    /// Closed, or dropped.
    Reopen(bool),
    /// Opened after its index files were damaged or removed.
    Damage(u8, u16),
}

fn any_step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::vec((0u32..40, 0..1000i64), 1..30);
    prop_oneof![
        8 => (rows, any::<bool>(), any::<bool>()).prop_map(|(rows, known, late)| Step::Send(rows, known, late)),
        6 => Just(Step::Tidy),
        1 => Just(Step::MergeToEnd),
        4 => (1..50i64).prop_map(Step::Hours),
        1 => (0..40u32, any::<bool>()).prop_map(|(series, applied)| Step::Delete(series, applied)),
        3 => any::<bool>().prop_map(Step::Reopen),
        2 => (any::<u8>(), any::<u16>()).prop_map(|(which, at)| Step::Damage(which, at)),
    ]
}

/// Removes or damages some of the index files.
fn damage(folder: &Path, which: u8, at: u16) {
    for (number, file) in index_files(folder).iter().enumerate() {
        match (which >> (number % 4 * 2)) & 3 {
            0 => std::fs::remove_file(file).expect("removed"),
            1 => {
                let mut bytes = std::fs::read(file).expect("read");
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= 1 << (at % 8);
                std::fs::write(file, bytes).expect("written");
            }
            _ => {}
        }
    }
}

/// Everything that can be asked of series is answered alike.
fn same(plain: &Engine, cold: &Engine) -> Result<(), TestCaseError> {
    prop_assert_eq!(everything(cold), everything(plain));
    let of = |text: &str| vec![Matcher::new("at", model::MatchOp::Regex, text).expect("valid")];
    for matchers in [vec![], of("1.*"), of("2|3|14"), vec![Matcher::equal("__name__", "nothing")]] {
        prop_assert_eq!(
            cold.series(&matchers, TimeRange::ALL, usize::MAX),
            plain.series(&matchers, TimeRange::ALL, usize::MAX)
        );
        prop_assert_eq!(cold.label_names(&matchers, TimeRange::ALL), plain.label_names(&matchers, TimeRange::ALL));
        for name in ["at", "__name__"] {
            let values = |engine: &Engine| engine.label_values(name, &matchers, TimeRange::ALL);
            prop_assert_eq!(values(cold), values(plain));
        }
        let told = |engine: &Engine| (engine.retention(&matchers).series, engine.retention(&matchers).kept);
        prop_assert_eq!(told(cold).0, told(plain).0);
        let series = |engine: &Engine| told(engine).1.iter().map(|of| (of.rule, of.series)).collect::<Vec<_>>();
        prop_assert_eq!(series(cold), series(plain));
    }
    prop_assert_eq!(cold.cardinality(9), plain.cardinality(9));
    let (of_cold, of_plain) = (cold.stats(), plain.stats());
    prop_assert_eq!(of_cold.series, of_plain.series);
    prop_assert_eq!(of_plain.index.cold, 0);
    prop_assert_eq!(of_cold.index.live + of_cold.index.cold, of_cold.series);
    prop_assert_eq!(of_cold.damage, vec![]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// An engine whose series leave memory as early as can be answers as one whose series never do.
    #[test]
    fn cold_series_are_as_any(steps in prop::collection::vec(any_step(), 1..22)) {
        let rule = LifetimeRule {
            text: "short".to_owned(),
            matchers: vec![Matcher::new("at", model::MatchOp::Regex, "3.*").expect("valid")],
            raw_ms: Some(DAY_MS),
            steps: Vec::new(),
        };
        let of = |cold| EngineOptions { lifetimes: vec![rule.clone()], ..if cold { at_once() } else { kept() } };
        let folders = [fast_folder(), fast_folder()];
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let open = |at: usize| open(folders[at].path(), of(at == 1), &clock);
        let mut engines = [open(0), open(1)];
        let mut now_ms = NOW_MS;
        for step in steps {
            match step {
                Step::Send(rows, known, late) => {
                    let rows: Vec<_> = rows.iter().map(|&(series, ms)| (series, now_ms + ms, 1.0)).collect();
                    let sent = engines.each_ref().map(|engine| {
                        let made = if known { recognised(engine, &rows) } else { batch(&rows) };
                        if late {
                            tidy(engine);
                        }
                        engine.append(&made).or_else(|_| append(&**engine, &rows))
                    });
                    prop_assert_eq!(&sent[0], &sent[1]);
                }
                Step::Tidy => engines.iter().for_each(|engine| tidy(engine)),
                Step::MergeToEnd => engines.iter().for_each(|engine| engine.merge_to_end().expect("merged")),
                Step::Hours(hours) => {
                    now_ms += hours * HOUR_MS;
                    clock.set(TimestampMs(now_ms));
                }
                Step::Delete(series, applied) => for engine in &engines {
                    let selectors = vec![(String::new(), vec![Matcher::equal("at", series.to_string())])];
                    let request = DeleteRequest { selectors, range: TimeRange::ALL, by: String::new() };
                    engine.delete(request).expect("deleted");
                    if applied {
                        engine.apply_deletes().expect("applied");
                    }
                },
                Step::Reopen(close) => {
                    if close {
                        for engine in &engines {
                            engine.close().expect("closed");
                        }
                    }
                    drop(engines);
                    engines = [open(0), open(1)];
                }
                Step::Damage(which, at) => {
                    drop(engines);
                    damage(folders[1].path(), which, at);
                    engines = [open(0), open(1)];
                }
            }
            same(&engines[0], &engines[1])?;
        }
    }
}

#[test]
fn a_series_that_comes_back_has_its_id() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), at_once(), &clock);
    let rows = |at_ms: i64| (0..600u32).map(|series| (series, at_ms, 1.0)).collect::<Vec<_>>();
    append(&*engine, &rows(NOW_MS)).expect("appended");
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().index.live, engine.stats().index.files), (600, 0), "what is not flushed stays");
    tidy(&engine);
    let stats = engine.stats();
    assert_eq!((stats.index.live, stats.index.cold, stats.index.files, stats.series_cooled), (0, 600, 1, 600));
    let appended = append(&*engine, &rows(NOW_MS + 1)).expect("appended");
    assert_eq!((appended.series_created, appended.samples_accepted), (0, 600));
    assert_eq!((engine.stats().index.live, engine.stats().index.cold, engine.stats().series), (600, 0, 600));
    // Cold once more, they are in their file already.
    tidy(&engine);
    assert_eq!((engine.stats().index.live, engine.stats().index.files), (0, 1));
    append(&*engine, &rows(NOW_MS + 2)[..300]).expect("appended");
    drop(engine);
    let engine = open(folder.path(), at_once(), &clock);
    assert_eq!((engine.stats().index.cold, engine.stats().series), (600, 600), "none is decoded at the start");
    assert!(everything(&*engine).iter().zip(0..).all(|((_, samples), _)| samples.len() >= 2));
    assert!(engine.stats().index.cache_bytes > 0, "reading has decoded labels");
    engine.relieve_memory();
    assert_eq!(engine.stats().index.cache_bytes, 0);
    assert_eq!(append(&*engine, &rows(NOW_MS + 3)).expect("appended").series_created, 0);
    assert_eq!(append(&*engine, &[(600, NOW_MS, 1.0)]).expect("appended").series_created, 1);
}

/// Every hour all series are new ones, for a day: memory has those of the last hours.
#[test]
fn memory_has_the_series_that_are_written() {
    const EACH: u32 = 300;
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { durability: Durability::Off, cold_series_min: 64, ..kept() };
    let engine = open(folder.path(), options.clone(), &clock);
    for hour in 0..24u32 {
        for quarter in 0..4 {
            let at_ms = NOW_MS + i64::from(hour) * HOUR_MS + quarter * 15 * MINUTE_MS;
            clock.set(TimestampMs(at_ms));
            let rows: Vec<_> = (0..EACH).map(|series| (hour * EACH + series, at_ms, 1.0)).collect();
            append(&*engine, &rows).expect("appended");
            if quarter == 0 {
                engine.flush().expect("flushed");
            }
            engine.maintain().expect("maintained");
        }
        let stats = engine.stats();
        assert_eq!(stats.series, u64::from((hour + 1) * EACH));
        assert!(stats.index.live <= u64::from(3 * EACH), "hour {hour}: {:?}", stats.index);
        assert!(stats.index.files <= 8, "hour {hour}: {:?}", stats.index);
    }
    let cardinality = engine.cardinality(3);
    assert_eq!(
        (cardinality.series, cardinality.series_by_metric[0].count),
        (u64::from(24 * EACH), u64::from(24 * EACH))
    );
    let content = everything(&*engine);
    assert_eq!(content.len(), 24 * EACH as usize);
    assert!(content.iter().all(|(_, samples)| samples.len() == 4));
    // What retention drops leaves the files.
    engine.close().expect("closed");
    drop(engine);
    clock.advance_ms(4 * DAY_MS - 12 * HOUR_MS);
    let engine = open(folder.path(), options, &clock);
    let before = engine.stats().index;
    for _ in 0..4 {
        engine.maintain().expect("maintained");
    }
    let after = engine.stats();
    assert!(after.series_removed > 0 && after.index.file_bytes < before.file_bytes, "{before:?}, {:?}", after.index);
    assert_eq!(content.len() as u64 - after.series_removed, after.series);
}

/// The catalog alone makes the files again.
#[test]
fn files_that_are_lost_or_damaged_are_made_again() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), at_once(), &clock);
    let rows: Vec<_> = (0..700u32).map(|series| (series, NOW_MS, f64::from(series))).collect();
    append(&*engine, &rows).expect("appended");
    tidy(&engine);
    let content = everything(&*engine);
    drop(engine);
    let file = index_files(folder.path()).remove(0);
    let sound = std::fs::read(&file).expect("read");
    for at in (0..sound.len()).step_by(sound.len() / 23) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        let file = index_files(folder.path()).remove(0);
        std::fs::write(file, bytes).expect("written");
        let engine = open(folder.path(), at_once(), &clock);
        let stats = engine.stats();
        assert_eq!((stats.index.refused, stats.index.live, stats.damage), (1, 700, vec![]), "byte {at}");
        assert_eq!(everything(&*engine), content);
        engine.maintain().expect("maintained");
        assert_eq!((engine.stats().index.cold, engine.stats().index.files), (700, 1));
        assert_eq!(everything(&*engine), content);
    }
    std::fs::remove_dir_all(folder.path().join("index")).expect("removed");
    let engine = open(folder.path(), at_once(), &clock);
    assert_eq!((engine.stats().index.live, everything(&*engine)), (700, content.clone()));
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().index.cold, everything(&*engine)), (700, content));
}

/// A file of a catalog from elsewhere finds nothing here.
#[test]
fn files_of_another_folder_are_refused() {
    let folders = [fast_folder(), fast_folder()];
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    for (folder, first) in folders.iter().zip([0, 1000]) {
        let engine = open(folder.path(), at_once(), &clock);
        let rows: Vec<_> = (first..first + 50u32).map(|series| (series, NOW_MS, 1.0)).collect();
        append(&*engine, &rows).expect("appended");
        tidy(&engine);
    }
    let [own, other] = folders.each_ref().map(|folder| index_files(folder.path()).remove(0));
    std::fs::copy(other, own).expect("copied");
    let engine = open(folders[0].path(), at_once(), &clock);
    assert_eq!((engine.stats().index.refused, engine.stats().index.live), (1, 50));
    let mut want: Vec<Labels> = (0..50).map(labels).collect();
    want.sort_unstable();
    assert_eq!(engine.series(&[], TimeRange::ALL, 99).expect("read"), want);
}

/// A check looks at the files, and tells those that find something else than the catalog has.
#[test]
fn a_check_holds_index_files_against_the_catalog() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), at_once(), &clock);
    let rows: Vec<_> = (0..300u32).map(|series| (series, NOW_MS, 1.0)).collect();
    append(&*engine, &rows).expect("appended");
    tidy(&engine);
    drop(engine);
    let check = || storage::check::check(folder.path(), &mut |_| {}).expect("checked");
    let sound = check();
    assert_eq!((sound.problems_total, sound.notes.len(), sound.index_files), (0, 0, 1), "{sound:?}");
    let file = index_files(folder.path()).remove(0);
    assert_eq!(sound.index_bytes, std::fs::metadata(&file).expect("a file").len());
    let bytes = std::fs::read(&file).expect("read");
    let told = |bytes: &[u8]| {
        std::fs::write(&file, bytes).expect("written");
        let report = check();
        let problems: Vec<_> =
            report.problems.iter().map(|of| (of.damage.file.clone(), of.damage.detail.clone())).collect();
        (problems, report.notes.iter().map(|note| note.path.clone()).collect::<Vec<_>>())
    };
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let (problems, notes) = told(&flipped);
    assert!(problems[0].0 == file && problems.len() == 1 && notes.is_empty(), "{problems:?}, {notes:?}");
    // Two rows of hashes change their ids: what is found by labels is another series.
    let mut lying = bytes.clone();
    let sections: Vec<usize> = (0..6).map(|at| bytes.len() - 76 + at * 12).collect();
    let length = |at: usize| u64::from_le_bytes(bytes[sections[at]..sections[at] + 8].try_into().expect("eight"));
    let hashes = 32 + usize::try_from(length(0) + length(1)).expect("small");
    let (first, second) = (hashes + 4, hashes + 12);
    for at in 0..4 {
        lying.swap(first + at, second + at);
    }
    storage::index::cold::seal(&mut lying);
    let (problems, _) = told(&lying);
    assert!(problems.len() == 1 && problems[0].1.contains("2 series"), "{problems:?}");
    // Of another commit than the catalog has had.
    let mut later = bytes;
    later[31] = 1;
    storage::index::cold::seal(&mut later);
    assert_eq!(told(&later), (vec![], vec![file.clone()]));
}

/// A file that turns out damaged while the engine is open costs a retry: its series come back from the catalog.
#[test]
fn a_file_that_is_damaged_meanwhile_is_mended() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), at_once(), &clock);
    let rows = |at_ms: i64| (0..300u32).map(|series| (series, at_ms, 1.0)).collect::<Vec<_>>();
    append(&*engine, &rows(NOW_MS)).expect("appended");
    tidy(&engine);
    let content = everything(&*engine);
    drop(engine);
    // Nothing is decoded yet.
    let engine = open(folder.path(), at_once(), &clock);
    let file = std::fs::OpenOptions::new().write(true).open(index_files(folder.path()).remove(0)).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 16], 40).expect("written");
    let refused = append(&*engine, &rows(NOW_MS + 1)).expect_err("nobody knows whether they exist");
    assert!(matches!(&refused, SinkError::Busy { detail, .. } if detail.contains("label page")), "{refused}");
    assert_eq!(engine.stats().series_limits[0].series, 0, "what was not taken has no place");
    engine.maintain().expect("maintained");
    let stats = engine.stats();
    assert_eq!((stats.series, stats.index.cold, stats.index.refused, stats.index.files), (300, 300, 1, 1));
    assert!(!index_files(folder.path()).iter().any(|file| file.ends_with("00000001.idx")), "it is another file");
    assert_eq!(everything(&*engine), content);
    let appended = append(&*engine, &rows(NOW_MS + 1)).expect("appended");
    assert_eq!((appended.series_created, appended.samples_accepted), (0, 300));
    assert_eq!(engine.stats().series_limits[0].series, 300);
}

/// A sender whose clock is hours behind is one that sends.
#[test]
fn who_sends_old_samples_stays_in_memory() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let options = EngineOptions { cold_series_min: 1, ..kept() };
    let engine = open(folder.path(), options, &clock);
    for minute in 0..180 {
        let now_ms = NOW_MS + minute * MINUTE_MS;
        clock.set(TimestampMs(now_ms));
        append(&*engine, &[(1, now_ms - 5 * HOUR_MS, 1.0), (2, now_ms, 1.0)]).expect("appended");
        if minute % 30 == 0 {
            tidy(&engine);
        }
        engine.maintain().expect("maintained");
        assert_eq!((engine.stats().index.live, engine.stats().series_cooled), (2, 0), "minute {minute}");
    }
    // When it ends it is over soon.
    tidy(&engine);
    clock.advance_ms(40 * MINUTE_MS);
    engine.maintain().expect("maintained");
    assert_eq!((engine.stats().index.live, engine.stats().index.cold), (1, 1));
}

/// Series whose samples all were too old when they were flushed have nothing, and go.
#[test]
fn series_of_samples_that_expired_in_the_head_are_removed() {
    let folder = fast_folder();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let engine = open(folder.path(), kept(), &clock);
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    tidy(&engine);
    clock.advance_ms(DAY_MS);
    append(&*engine, &[(2, NOW_MS - 3 * DAY_MS + 1, 1.0), (3, NOW_MS + DAY_MS, 1.0)]).expect("appended");
    engine.maintain().expect("maintained");
    clock.advance_ms(HOUR_MS);
    tidy(&engine);
    assert_eq!((engine.stats().series, engine.stats().series_removed), (2, 1));
}
