//! Samples: one value of one series at one time, and columns of them.
//!
//! Owns the stale marker. Codings of columns live in `storage`.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::time::{TimeRange, TimestampMs};

/// The bits of the NaN that marks a series as stale: its target or rule stopped reporting it
/// (Prometheus, `model/value`). Any other NaN is an ordinary value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker as a value.
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the stale marker, by its bits.
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub timestamp: TimestampMs,
    /// What; any bit pattern of an f64.
    pub value: f64,
}

/// Equality is bitwise, so that NaN payloads and signed zeros count.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}

/// One histogram at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// When the counter began, in milliseconds since the Unix epoch; 0 when that is not known.
    pub start_ms: i64,
    /// The value, in canonical form.
    pub histogram: Arc<Histogram>,
}

/// What a sample holds.
#[derive(Debug, Clone)]
pub enum SampleValue {
    /// A number; any bit pattern of an f64.
    Float(f64),
    /// A distribution, in canonical form.
    Histogram(Arc<Histogram>),
}

/// Equality is bitwise.
impl PartialEq for SampleValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) => one.to_bits() == other.to_bits(),
            (Self::Histogram(one), Self::Histogram(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for SampleValue {}

/// A sample of any kind. Plain floats, which are nearly all, travel as [`Sample`]; what needs more travels as this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// When the counter began, in milliseconds since the Unix epoch; 0 when that is not known.
    pub start_ms: i64,
    /// The value.
    pub value: SampleValue,
}

/// Samples of one series: floats as two columns of equal length, histograms beside them. Read from a source, each kind
/// ascends in time, and no timestamp occurs twice, in one kind or in both.
#[derive(Debug, Default, Clone)]
pub struct Samples {
    /// The times of the floats, in milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// The floats, one for each timestamp.
    pub values: Vec<f64>,
    /// When the counter of each float began; empty when that is not known of any, else one a float, 0 for unknown.
    pub starts_ms: Vec<i64>,
    /// The histograms.
    pub histograms: Vec<HistogramSample>,
}

impl Samples {
    /// Floats at their times.
    pub fn from_floats(timestamps_ms: Vec<i64>, values: Vec<f64>) -> Self {
        Self { timestamps_ms, values, ..Self::default() }
    }

    /// Empties all columns, keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
        self.starts_ms.clear();
        self.histograms.clear();
    }

    /// How many samples there are, of both kinds.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len() + self.histograms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty() && self.histograms.is_empty()
    }

    /// Appends a float whose start is not known.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
        if !self.starts_ms.is_empty() {
            self.starts_ms.push(0);
        }
    }

    /// Appends a float with its start, 0 for unknown.
    pub fn push_started(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        if start_ms != 0 && self.starts_ms.is_empty() {
            self.starts_ms.resize(self.timestamps_ms.len(), 0);
        }
        let known = start_ms != 0 || !self.starts_ms.is_empty();
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
        if known {
            self.starts_ms.push(start_ms);
        }
    }

    /// Appends a sample of any kind.
    pub fn push_full(&mut self, sample: FullSample) {
        match sample.value {
            SampleValue::Float(value) => self.push_started(sample.timestamp_ms, value, sample.start_ms),
            SampleValue::Histogram(histogram) => self.histograms.push(HistogramSample {
                timestamp_ms: sample.timestamp_ms,
                start_ms: sample.start_ms,
                histogram,
            }),
        }
    }

    /// Takes away what lies outside `range`. Each kind ascends in time.
    pub fn clip(&mut self, range: TimeRange) {
        fn keep<T>(column: &mut Vec<T>, start: usize, end: usize) {
            column.truncate(end);
            column.drain(..start.min(column.len()));
        }
        let start = self.timestamps_ms.partition_point(|&at_ms| at_ms < range.start.0);
        let end = self.timestamps_ms.partition_point(|&at_ms| at_ms <= range.end.0);
        keep(&mut self.timestamps_ms, start, end);
        keep(&mut self.values, start, end);
        keep(&mut self.starts_ms, start, end);
        let start = self.histograms.partition_point(|sample| sample.timestamp_ms < range.start.0);
        let end = self.histograms.partition_point(|sample| sample.timestamp_ms <= range.end.0);
        keep(&mut self.histograms, start, end);
    }

    /// When the counter of float `at` began; 0 when that is not known.
    pub fn start_ms(&self, at: usize) -> i64 {
        self.starts_ms.get(at).copied().unwrap_or(0)
    }

    /// The floats in order.
    pub fn iter(&self) -> impl Iterator<Item = Sample> + '_ {
        self.timestamps_ms
            .iter()
            .zip(&self.values)
            .map(|(&timestamp_ms, &value)| Sample { timestamp: TimestampMs(timestamp_ms), value })
    }

    /// The samples of both kinds in order of time.
    pub fn iter_full(&self) -> impl Iterator<Item = FullSample> + '_ {
        let (mut float, mut histogram) = (0, 0);
        std::iter::from_fn(move || {
            let next_histogram = self.histograms.get(histogram);
            match self.timestamps_ms.get(float) {
                Some(&timestamp_ms) if next_histogram.is_none_or(|next| timestamp_ms <= next.timestamp_ms) => {
                    let at = float;
                    float += 1;
                    let value = SampleValue::Float(self.values.get(at).copied()?);
                    Some(FullSample { timestamp_ms, start_ms: self.start_ms(at), value })
                }
                _ => {
                    histogram += 1;
                    next_histogram.map(|next| FullSample {
                        timestamp_ms: next.timestamp_ms,
                        start_ms: next.start_ms,
                        value: SampleValue::Histogram(next.histogram.clone()),
                    })
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_marker_is_one_nan_of_many() {
        assert!(stale_marker().is_nan());
        assert!(is_stale_marker(stale_marker()));
        assert!(!is_stale_marker(f64::NAN));
        let at = |value| Sample { timestamp: TimestampMs(1), value };
        assert_ne!(at(stale_marker()), at(f64::NAN));
        assert_eq!(at(f64::NAN), at(f64::NAN));
        assert_ne!(at(0.0), at(-0.0));
    }

    #[test]
    fn both_kinds_come_in_order_of_time() {
        let histogram = Arc::new(Histogram { count: 1.0, ..Histogram::default() });
        let mut samples = Samples::default();
        samples.push(10, 1.0);
        samples.push_full(FullSample { timestamp_ms: 20, start_ms: 5, value: SampleValue::Histogram(histogram) });
        samples.push_started(30, 3.0, 25);
        samples.push(40, 4.0);
        assert_eq!(samples.starts_ms, [0, 25, 0]);
        let got: Vec<_> = samples.iter_full().map(|sample| (sample.timestamp_ms, sample.start_ms)).collect();
        assert_eq!(got, [(10, 0), (20, 5), (30, 25), (40, 0)]);
        assert_eq!((samples.len(), samples.iter().count()), (4, 3));
        let times = |samples: &Samples| samples.iter_full().map(|sample| sample.timestamp_ms).collect::<Vec<_>>();
        samples.clip(TimeRange::new(11, 30));
        assert_eq!((times(&samples), &samples.starts_ms), (vec![20, 30], &vec![25]));
        samples.clip(TimeRange::new(21, 20));
        assert!(samples.is_empty() && samples.starts_ms.is_empty());
    }
}
