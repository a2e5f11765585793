//! What the engine's tests share: folders, batches, and the comparison with the model.

use std::path::Path;
use std::sync::Arc;

use model::histogram::CUSTOM_SCHEMA;
use model::{
    Appended, Bucket, FullSample, Histogram, Labels, ManualClock, Matcher, ResetHint, SampleSink, SampleValue, Samples,
    SeriesSet, SeriesSource, SinkError, TimeRange, TimestampMs, WriteBatch,
};
use proptest::prelude::*;
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

/// A sample of any kind of a series, and whether it is said as a plain float.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) series: u32,
    pub(crate) sample: FullSample,
    pub(crate) plain: bool,
}

impl Row {
    pub(crate) fn plain(series: u32, timestamp_ms: i64, value: f64) -> Self {
        let sample = FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) };
        Self { series, sample, plain: true }
    }

    pub(crate) fn histogram(series: u32, timestamp_ms: i64, histogram: Histogram) -> Self {
        let value = SampleValue::Histogram(Arc::new(histogram));
        Self { series, sample: FullSample { timestamp_ms, start_ms: 0, value }, plain: false }
    }

    fn push(&self, batch: &mut WriteBatch) {
        batch.push_series(labels(self.series).as_ref());
        match &self.sample.value {
            SampleValue::Float(value) if self.plain => batch.push_sample(self.sample.timestamp_ms, *value),
            _ => batch.push_full_sample(self.sample.clone()),
        }
    }
}

pub(crate) fn batch_of(rows: &[Row]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for row in rows {
        row.push(&mut batch);
    }
    batch
}

/// A counter histogram with buckets from `first` on.
pub(crate) fn counter(schema: i8, first: i32, counts: &[f64]) -> Histogram {
    let positive = (first..).zip(counts).map(|(index, &count)| Bucket { index, count });
    let count = counts.iter().sum();
    Histogram { schema, count, sum: count * 0.3, positive: positive.collect(), ..Histogram::default() }
}

/// Histograms of a few layouts: counters, gauges, custom ones, strange numbers, stale markers.
pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
    let hints = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
    let counts = prop::collection::vec((0u8..40).prop_map(f64::from), 0..8);
    let exponential =
        (0i8..2, -3i32..4, counts, 0usize..4, any::<bool>()).prop_map(move |(schema, first, of, hint, wide)| {
            let negative = if wide { vec![Bucket { index: first - 9, count: 0.25 }] } else { Vec::new() };
            let zero_threshold = if wide { 1e-9 } else { 0.0 };
            Histogram { reset_hint: hints[hint], negative, zero_threshold, ..counter(schema, first, &of) }
        });
    prop_oneof![
        8 => exponential,
        2 => (1usize..4, 0u8..9).prop_map(|(bounds, count)| Histogram {
            custom_bounds: [0.5, 1.0, 2.5][..bounds].to_vec(),
            ..counter(CUSTOM_SCHEMA, 0, &vec![f64::from(count); bounds + 1])
        }),
        1 => any::<[u64; 2]>().prop_map(|bits| Histogram { sum: f64::from_bits(bits[0]), ..counter(1, 0, &[f64::from_bits(bits[1])]) }),
        1 => Just(Histogram::stale_marker()),
    ]
}

/// Labels with samples, in the order of the source.
pub(crate) type Content = Vec<(Labels, Vec<FullSample>)>;

/// What `matchers` select in `range`; series without a sample there are left out.
pub(crate) fn content(source: &dyn SeriesSource, matchers: &[Matcher], range: TimeRange) -> Content {
    content_of(&*source.select(matchers, range, usize::MAX).expect("selected"), range)
}

/// The newest sample of each series that `matchers` select in `range`.
pub(crate) fn newest(source: &dyn SeriesSource, matchers: &[Matcher], range: TimeRange) -> Content {
    let mut content = content_of(&*source.select_newest(matchers, range, usize::MAX).expect("selected"), range);
    for (_, samples) in &mut content {
        samples.drain(..samples.len() - 1);
    }
    content
}

fn content_of(set: &dyn SeriesSet, range: TimeRange) -> Content {
    let mut content = Content::new();
    let mut samples = Samples::default();
    for at in 0..set.len() {
        set.read(at, &mut samples).expect("read");
        let of_series: Vec<FullSample> = samples.iter_full().collect();
        assert!(of_series.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms), "ascending and unique");
        assert!(of_series.iter().all(|sample| range.contains(sample.timestamp_ms)), "inside the range");
        assert_eq!(samples.values.len(), samples.timestamps_ms.len());
        assert!(samples.starts_ms.is_empty() || samples.starts_ms.len() == samples.values.len());
        assert_eq!(samples.starts_ms.is_empty(), samples.starts_ms.iter().all(|&start_ms| start_ms == 0));
        if !samples.is_empty() {
            content.push((set.labels(at).clone(), of_series));
        }
    }
    content
}

pub(crate) fn everything(source: &dyn SeriesSource) -> Content {
    content(source, &[], TimeRange::ALL)
}
