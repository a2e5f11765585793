//! What the engine's tests share: folders, batches, and the comparison with the model.

use std::path::Path;
use std::sync::Arc;

use model::{
    Appended, Labels, ManualClock, Matcher, SampleSink, Samples, SeriesSource, SinkError, TimeRange, TimestampMs,
    WriteBatch,
};
use storage::files::{Files, RealFiles};
use storage::{Durability, Engine, EngineOptions};

/// A day in 2023.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// Nothing happens by itself, nothing is too old, nothing waits for the disk.
pub(crate) fn options() -> EngineOptions {
    EngineOptions {
        retention_ms: None,
        disk_reserve_bytes: 0,
        background: false,
        durability: Durability::Off,
        ..EngineOptions::default()
    }
}

pub(crate) fn open(folder: &Path, options: EngineOptions) -> Arc<Engine> {
    open_with(folder, options, Arc::new(RealFiles))
}

pub(crate) fn open_with(folder: &Path, options: EngineOptions, files: Arc<dyn Files>) -> Arc<Engine> {
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    Engine::open_with(folder, options, clock, files).expect("the folder opens")
}

/// The series `{__name__="m", at="AT"}`.
pub(crate) fn labels(at: u32) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("at", at.to_string()), ("job", (at % 3).to_string())])
        .expect("valid labels")
}

pub(crate) fn batch(rows: &[(u32, i64, f64)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for &(series, timestamp_ms, value) in rows {
        batch.push_series(labels(series).as_ref());
        batch.push_sample(timestamp_ms, value);
    }
    batch
}

pub(crate) fn append(sink: &dyn SampleSink, rows: &[(u32, i64, f64)]) -> Result<Appended, SinkError> {
    sink.append(&batch(rows))
}

/// Labels with timestamps and value bits, in the order of the source.
pub(crate) type Content = Vec<(Labels, Vec<(i64, u64)>)>;

/// What `matchers` select in `range`; series without a sample there are left out.
pub(crate) fn content(source: &dyn SeriesSource, matchers: &[Matcher], range: TimeRange) -> Content {
    let set = source.select(matchers, range, usize::MAX).expect("selected");
    let mut content = Content::new();
    let mut samples = Samples::default();
    for at in 0..set.len() {
        set.read(at, &mut samples).expect("read");
        assert!(samples.timestamps_ms.is_sorted_by(|a, b| a < b), "ascending and unique");
        assert!(samples.timestamps_ms.iter().all(|&at_ms| range.contains(at_ms)), "inside the range");
        if !samples.is_empty() {
            let rows = samples.iter().map(|sample| (sample.timestamp.0, sample.value.to_bits()));
            content.push((set.labels(at).clone(), rows.collect()));
        }
    }
    content
}

pub(crate) fn everything(source: &dyn SeriesSource) -> Content {
    content(source, &[], TimeRange::ALL)
}
