//! A script's series to a batch of samples: floats, histograms, start times, and the native histograms that
//! `load_with_nhcb` makes of classic ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{Bucket, CUSTOM_SCHEMA, ResetHint};
use model::labels::{BUCKET_LABEL, METRIC_NAME};
use model::sample::is_stale_marker;
use model::{FullSample, Histogram, Labels, LabelsBuilder, SampleValue, WriteBatch};

use super::parse::{LoadedSeries, LoadedStarts};
use super::points::{Point, parse_number};
use crate::native::is_reset;

/// The samples of a `load`, one point of each series a step from time 0.
pub(crate) fn batch(step_ms: i64, with_native: bool, series: &[LoadedSeries]) -> Result<WriteBatch, String> {
    let mut batch = WriteBatch::new();
    for one in series {
        batch.push_series(one.labels.as_ref());
        for sample in samples(step_ms, &one.points, &one.starts) {
            match sample {
                FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) } => {
                    batch.push_sample(timestamp_ms, value);
                }
                sample => batch.push_full_sample(sample),
            }
        }
    }
    if with_native {
        push_native(step_ms, series, &mut batch)?;
    }
    Ok(batch)
}

/// The samples that points stand for, one a step from time 0.
pub(crate) fn samples(step_ms: i64, points: &[Point], starts: &LoadedStarts) -> Vec<FullSample> {
    let mut samples = Vec::new();
    let mut previous: Option<Arc<Histogram>> = None;
    for (at, point) in points.iter().enumerate() {
        let timestamp_ms = time_ms(step_ms, at);
        let value = match point {
            Point::Absent => continue,
            Point::Histogram(shown) => SampleValue::Histogram(with_hint(previous.as_deref(), &shown.histogram)),
            // What ends a series of histograms is a histogram, too.
            Point::Value(value) if is_stale_marker(*value) && previous.is_some() => {
                SampleValue::Histogram(Arc::new(Histogram::stale_marker()))
            }
            Point::Value(value) => SampleValue::Float(*value),
        };
        previous = match &value {
            SampleValue::Histogram(histogram) => Some(histogram.clone()),
            SampleValue::Float(_) => None,
        };
        samples.push(FullSample { timestamp_ms, start_ms: start_ms(starts, at, timestamp_ms), value });
    }
    samples
}

/// `histogram` as Prometheus's storage returns it: it is known not to begin anew if the one before says so and has the
/// same layout.
fn with_hint(previous: Option<&Histogram>, histogram: &Arc<Histogram>) -> Arc<Histogram> {
    let goes_on = |previous: &Histogram| {
        histogram.reset_hint == ResetHint::Unknown
            && previous.reset_hint != ResetHint::Gauge
            && previous.schema == histogram.schema
            && previous.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && previous.custom_bounds == histogram.custom_bounds
            && !previous.is_stale_marker()
            && !is_reset(previous, histogram)
    };
    if previous.is_some_and(goes_on) {
        return Arc::new(Histogram { reset_hint: ResetHint::NotReset, ..Histogram::clone(histogram) });
    }
    histogram.clone()
}

fn time_ms(step_ms: i64, at: usize) -> i64 {
    step_ms.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX))
}

/// The start of the sample at `at`; those of a whole load begin again when they end.
fn start_ms(starts: &LoadedStarts, at: usize, timestamp_ms: i64) -> i64 {
    let offset_ms = match starts {
        LoadedStarts::None => None,
        LoadedStarts::Own(offsets) => offsets.get(at).copied().flatten(),
        LoadedStarts::OfLoad(offsets) => offsets.get(at % offsets.len().max(1)).copied().flatten(),
    };
    offset_ms.map_or(0, |offset_ms| timestamp_ms.saturating_add(offset_ms))
}

/// A classic histogram at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Upper bound, cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    is_stale: bool,
}

/// Makes histograms with custom buckets of the classic ones: `x` of `x_bucket`, `x_count` and `x_sum`.
fn push_native(step_ms: i64, series: &[LoadedSeries], batch: &mut WriteBatch) -> Result<(), String> {
    let mut classics: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for one in series {
        let Some((suffix, native)) = native_labels(&one.labels) else { continue };
        let bound = one.labels.get(BUCKET_LABEL).and_then(parse_number);
        if suffix == "_bucket" && bound.is_none_or(f64::is_nan) {
            continue;
        }
        let times = classics.entry(native).or_default();
        for (at, point) in one.points.iter().enumerate() {
            let Point::Value(value) = *point else { continue };
            let classic = times.entry(at).or_default();
            match (suffix, bound) {
                _ if is_stale_marker(value) => classic.is_stale = true,
                ("_bucket", Some(bound)) => classic.buckets.push((bound, value)),
                ("_count", _) => classic.count = Some(value),
                _ => classic.sum = value,
            }
        }
    }
    for (labels, times) in classics {
        batch.push_series(labels.as_ref());
        for (at, classic) in times {
            let Some(histogram) = classic.convert().map_err(|reason| format!("{labels}: {reason}"))? else { continue };
            let value = SampleValue::Histogram(Arc::new(histogram));
            batch.push_full_sample(FullSample { timestamp_ms: time_ms(step_ms, at), start_ms: 0, value });
        }
    }
    Ok(())
}

/// What of a classic histogram a series is, and the labels of the native one.
fn native_labels(labels: &Labels) -> Option<(&'static str, Labels)> {
    let name = labels.metric_name();
    let (suffix, base) =
        ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| Some((suffix, name.strip_suffix(suffix)?)))?;
    let mut builder = LabelsBuilder::from_labels(labels.as_ref());
    builder.set(METRIC_NAME, base);
    builder.remove(BUCKET_LABEL);
    Some((suffix, builder.build().ok()?))
}

impl Classic {
    /// The native histogram. Without a count the highest bucket's is taken, without a bucket to infinity the count ends
    /// there. `None` if there is neither count nor bucket.
    fn convert(mut self) -> Result<Option<Histogram>, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // One bound may be written in several ways.
        self.buckets.dedup_by(|next, kept| next.0.total_cmp(&kept.0).is_eq());
        let Some(count) = self.count.or_else(|| Some(self.buckets.last()?.1)) else {
            return Ok(self.is_stale.then(Histogram::stale_marker));
        };
        if self.buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut histogram = Histogram { schema: CUSTOM_SCHEMA, count, sum: self.sum, ..Histogram::default() };
        let mut below = 0.0;
        for (index, &(bound, cumulative)) in (0..).zip(&self.buckets) {
            if cumulative < below {
                return Err(format!("the bucket {bound} holds {cumulative}, the one before {below}"));
            }
            histogram.positive.push(Bucket { index, count: cumulative - below });
            below = cumulative;
            if bound != f64::INFINITY {
                histogram.custom_bounds.push(bound);
            }
        }
        if below.to_bits() != count.to_bits() {
            return Err(format!("the count is {count}, the buckets hold {below}"));
        }
        histogram.compact();
        histogram.check_structure().map_err(|error| error.to_string())?;
        Ok(Some(histogram))
    }
}
