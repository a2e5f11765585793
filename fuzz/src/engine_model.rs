//! The engine against ordered maps: any sequence of appends, flushes, merges, ends and openings answers as they do.

use std::sync::Arc;

use model::{Labels, ManualClock, SampleSink, Samples, SeriesSource, TimeRange, TimestampMs, WriteBatch};
use storage::{Durability, Engine, EngineOptions, MemoryStore};

use crate::input::Input;

/// Most operations of one run; each may write files.
const OPERATIONS_MAX: usize = 200;
/// Distinct series.
const SERIES: u16 = 8;

/// The operations, one after the other.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || {
        let options = EngineOptions {
            retention_ms: None,
            durability: Durability::Off,
            disk_reserve_bytes: 0,
            background: false,
            ..EngineOptions::default()
        };
        Engine::open(folder.path(), options, Arc::new(ManualClock::new(TimestampMs(0)))).expect("the folder opens")
    };
    let store = MemoryStore::new();
    let mut engine = open();
    let (mut timestamp_ms, mut value) = (0, 0.0);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            0 => engine.flush().expect("flushes"),
            1 => engine.maintain().expect("merges"),
            2 => {
                engine.close().expect("closes");
                drop(engine);
                engine = open();
            }
            3 => {
                // As after a crash: whatever is in memory is gone.
                drop(engine);
                engine = open();
            }
            4 => compare(&*engine, &store),
            _ => {
                let mut batch = WriteBatch::new();
                for _ in 0..=input.below(4) {
                    batch.push_series(labels(input.below(SERIES)).as_ref());
                    for _ in 0..=input.below(8) {
                        timestamp_ms = input.timestamp_ms(timestamp_ms);
                        value = input.value(value);
                        batch.push_sample(timestamp_ms, value);
                    }
                }
                let appended = engine.append(&batch).expect("appends");
                assert_eq!(appended.samples_rejected, 0, "{appended:?}");
                store.append(&batch).expect("a map takes all");
            }
        }
    }
    compare(&*engine, &store);
}

fn labels(at: u16) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", at % 3)), ("at", at.to_string())]).expect("valid labels")
}

fn compare(engine: &dyn SeriesSource, store: &dyn SeriesSource) {
    assert_eq!(everything(engine), everything(store));
}

fn everything(source: &dyn SeriesSource) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let set = source.select(&[], TimeRange::ALL, usize::MAX).expect("selects");
    let mut samples = Samples::default();
    (0..set.len())
        .map(|at| {
            set.read(at, &mut samples).expect("reads");
            (set.labels(at).clone(), samples.iter().map(|s| (s.timestamp.0, s.value.to_bits())).collect())
        })
        .collect()
}
