//! A small data set out of fuzz bytes: gauges, counters, classic and native histograms, info series.

use std::sync::Arc;

use model::histogram::{Bucket, CUSTOM_SCHEMA, ResetHint};
use model::sample::stale_marker;
use model::{FullSample, Histogram, Labels, SampleSink, SampleValue, WriteBatch};
use storage::MemoryStore;

use crate::input::Input;

/// Most samples of one series.
const SAMPLES_MAX: u16 = 24;
/// The usual distance of samples.
const STEP_MS: i64 = 15_000;

/// Every series: name, `x`, and the bound of a bucket.
const SERIES: [(&str, &str, &str); 15] = [
    ("m", "1", ""),
    ("m", "2", ""),
    ("m", "3", ""),
    ("c_total", "1", ""),
    ("c_total", "2", ""),
    ("b_bucket", "1", "0.5"),
    ("b_bucket", "1", "2"),
    ("b_bucket", "1", "+Inf"),
    ("b_bucket", "2", "1"),
    ("b_bucket", "2", "+Inf"),
    ("h", "1", ""),
    ("h", "2", ""),
    ("n", "1", ""),
    ("mixed", "1", ""),
    ("target_info", "1", ""),
];

/// Samples of every series, as the bytes will have them.
pub fn store(input: &mut Input<'_>) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = WriteBatch::new();
    for (name, x, le) in SERIES {
        let pairs = [("__name__", name), ("x", x), ("le", le), ("job", "j"), ("instance", x)];
        batch.push_series(Labels::from_pairs(pairs).expect("valid labels").as_ref());
        let mut timestamp_ms = 0;
        let mut value = 0.0;
        let mut histogram = empty(name == "n");
        for _ in 0..input.below(SAMPLES_MAX) {
            timestamp_ms += match input.byte() % 16 {
                0 => 1,
                1 => 4 * STEP_MS,
                2 => i64::from(input.byte()) * 100 + 1,
                _ => STEP_MS,
            };
            let start_ms =
                if input.byte().is_multiple_of(8) { timestamp_ms - i64::from(input.byte()) * 200 } else { 0 };
            let is_native = match name {
                "h" | "n" => true,
                "mixed" => input.byte().is_multiple_of(2),
                _ => false,
            };
            let value = if is_native {
                grow(&mut histogram, input);
                SampleValue::Histogram(Arc::new(histogram.clone()))
            } else {
                value = float(value, name, input);
                SampleValue::Float(value)
            };
            batch.push_full_sample(FullSample { timestamp_ms, start_ms, value });
        }
    }
    store.append(&batch).expect("a map takes all");
    store
}

/// The next value of a series: mostly near the last one, at times anything.
fn float(previous: f64, name: &str, input: &mut Input<'_>) -> f64 {
    let previous = if previous.is_finite() { previous } else { 0.0 };
    let step = f64::from(input.byte()) / 8.0;
    match input.byte() % 24 {
        0 => stale_marker(),
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => -previous,
        4 => 0.0,
        5 => f64::from_bits(input.bits()),
        6 => previous,
        7..=12 if name == "m" => previous - step,
        _ => previous + step,
    }
}

fn empty(is_custom: bool) -> Histogram {
    if is_custom {
        return Histogram { schema: CUSTOM_SCHEMA, custom_bounds: vec![1.0, 2.0, 5.0], ..Histogram::default() };
    }
    Histogram { zero_threshold: 0.001, ..Histogram::default() }
}

/// Observes something more, or begins anew, or changes the layout.
fn grow(histogram: &mut Histogram, input: &mut Input<'_>) {
    let is_custom = histogram.is_custom();
    match input.byte() % 24 {
        0 => *histogram = empty(is_custom),
        1 => *histogram = empty(!is_custom),
        2 => *histogram = Histogram::stale_marker(),
        3 if !is_custom => {
            *histogram = Histogram { schema: i8::from(input.byte().is_multiple_of(2)) * 2, ..empty(false) }
        }
        4 if is_custom => *histogram = Histogram { custom_bounds: vec![2.0, 5.0], ..empty(true) },
        5 => histogram.reset_hint = ResetHint::Gauge,
        6 => histogram.sum = f64::NAN,
        _ if histogram.is_stale_marker() => *histogram = empty(false),
        _ => {}
    }
    let count = f64::from(input.byte() % 8);
    let index = i32::from(input.byte() % 4);
    match input.byte() % 8 {
        0 if !histogram.is_custom() => histogram.zero_count += count,
        1 if !histogram.is_custom() => observe(&mut histogram.negative, -index, count),
        _ => {
            let index = index.min(bounds_max(histogram));
            observe(&mut histogram.positive, index, count);
        }
    }
    histogram.count += count;
    histogram.sum += count * f64::from(index);
}

fn bounds_max(histogram: &Histogram) -> i32 {
    if histogram.is_custom() { i32::try_from(histogram.custom_bounds.len()).unwrap_or(0) } else { i32::MAX }
}

fn observe(buckets: &mut Vec<Bucket>, index: i32, count: f64) {
    if count == 0.0 {
        return;
    }
    match buckets.binary_search_by_key(&index, |bucket| bucket.index) {
        Ok(at) => buckets[at].count += count,
        Err(at) => buckets.insert(at, Bucket { index, count }),
    }
}
