//! Writes lines of samples, see [`super`] for their shape.

use super::{Counts, MARK_METRIC, NULL_NAN_BITS, VERSION};
use crate::histogram::{Bucket, Histogram, ResetHint};
use crate::json::{write_number, write_signed, write_string, write_whole};
use crate::labels::{LabelsRef, METRIC_NAME};
use crate::metadata::MetricMetadata;
use crate::sample::{HistogramSample, STALE_NAN_BITS, Samples};

/// What is known of some metrics, by name.
pub type Described<'a> = &'a [(String, MetricMetadata)];

/// Writes the samples of a series: one line, two if there are infinite values. `described` stands on the first.
pub fn write_series(out: &mut Vec<u8>, labels: LabelsRef<'_>, samples: &Samples, described: Described<'_>) {
    write_metric(out, labels);
    write_floats(out, samples, f64::is_finite);
    write_nans(out, samples);
    if !samples.histograms.is_empty() {
        write_key(out, "histograms");
        write_list(out, &samples.histograms, write_histogram);
    }
    if !described.is_empty() {
        write_key(out, "metadata");
        write_list(out, described, write_described);
    }
    out.extend_from_slice(b"}\n");
    if samples.values.iter().any(|value| value.is_infinite()) {
        write_metric(out, labels);
        write_floats(out, samples, f64::is_infinite);
        out.extend_from_slice(b"}\n");
    }
}

/// Writes the first line of an export.
pub fn write_begin(out: &mut Vec<u8>) {
    write_mark(out);
    out.extend_from_slice(br#","begin":{"version":"#);
    write_whole(out, VERSION);
    out.extend_from_slice(b"}}\n");
}

/// Writes the last line of an export.
pub fn write_end(out: &mut Vec<u8>, counts: &Counts) {
    write_mark(out);
    out.extend_from_slice(br#","end":{"series":"#);
    write_whole(out, counts.series);
    let others = [("samples", counts.samples), ("histograms", counts.histograms), ("chunks_lost", counts.chunks_lost)];
    for (key, count) in others {
        write_key(out, key);
        write_whole(out, count);
    }
    out.extend_from_slice(b"}}\n");
}

/// The start of a line: the labels, the metric name first, so that lines of one metric begin alike.
fn write_metric(out: &mut Vec<u8>, labels: LabelsRef<'_>) {
    out.extend_from_slice(br#"{"metric":"#);
    let mut separator = b'{';
    let named = labels.get(METRIC_NAME).map(|name| (METRIC_NAME, name));
    for (name, value) in named.into_iter().chain(labels.iter().filter(|(name, _)| *name != METRIC_NAME)) {
        out.push(separator);
        separator = b',';
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// The start of a mark.
fn write_mark(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"metric":{"__name__":"#);
    write_string(out, MARK_METRIC);
    out.extend_from_slice(br#"},"values":[],"timestamps":[]"#);
}

/// Writes the columns of the floats that are `chosen`.
fn write_floats(out: &mut Vec<u8>, samples: &Samples, chosen: impl Fn(f64) -> bool) {
    let places = || (0..samples.values.len()).filter(|&at| samples.values.get(at).is_some_and(|&value| chosen(value)));
    write_key(out, "values");
    write_list(out, places(), |out, at| write_any(out, samples.values[at]));
    write_key(out, "timestamps");
    write_list(out, places(), |out, at| write_signed(out, samples.timestamps_ms[at]));
    if places().any(|at| samples.start_ms(at) != 0) {
        write_key(out, "starts");
        write_list(out, places(), |out, at| write_signed(out, samples.start_ms(at)));
    }
}

fn write_nans(out: &mut Vec<u8>, samples: &Samples) {
    let mut nans = samples.iter().enumerate().filter(|(_, sample)| sample.value.is_nan()).peekable();
    if nans.peek().is_none() {
        return;
    }
    write_key(out, "nans");
    write_list(out, nans, |out, (at, sample)| {
        out.push(b'[');
        write_signed(out, sample.timestamp.0);
        out.push(b',');
        write_any(out, sample.value);
        if samples.start_ms(at) != 0 {
            out.push(b',');
            write_signed(out, samples.start_ms(at));
        }
        out.push(b']');
    });
}

fn write_described(out: &mut Vec<u8>, (metric, metadata): &(String, MetricMetadata)) {
    out.extend_from_slice(br#"{"metric":"#);
    write_string(out, metric);
    let texts = [("type", metadata.kind.as_str()), ("unit", &metadata.unit), ("help", &metadata.help)];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        write_key(out, key);
        write_string(out, text);
    }
    out.push(b'}');
}

fn write_histogram(out: &mut Vec<u8>, sample: &HistogramSample) {
    let of: &Histogram = &sample.histogram;
    out.extend_from_slice(br#"{"timestamp":"#);
    write_signed(out, sample.timestamp_ms);
    for (key, number) in [("start", sample.start_ms), ("schema", i64::from(of.schema))] {
        if number != 0 {
            write_key(out, key);
            write_signed(out, number);
        }
    }
    if of.reset_hint != ResetHint::Unknown {
        write_key(out, "reset");
        write_string(out, &of.reset_hint.to_string());
    }
    let numbers =
        [("count", of.count), ("sum", of.sum), ("zero_threshold", of.zero_threshold), ("zero_count", of.zero_count)];
    for (key, number) in numbers {
        // Left out is the positive zero alone.
        if number.to_bits() != 0 {
            write_key(out, key);
            write_any(out, number);
        }
    }
    for (key, buckets) in [("positive", &of.positive), ("negative", &of.negative)] {
        if !buckets.is_empty() {
            write_key(out, key);
            write_list(out, buckets, write_bucket);
        }
    }
    if !of.custom_bounds.is_empty() {
        write_key(out, "bounds");
        write_list(out, of.custom_bounds.iter().copied(), write_any);
    }
    out.push(b'}');
}

fn write_bucket(out: &mut Vec<u8>, bucket: &Bucket) {
    out.push(b'[');
    write_signed(out, i64::from(bucket.index));
    out.push(b',');
    write_any(out, bucket.count);
    out.push(b']');
}

/// Writes any float.
fn write_any(out: &mut Vec<u8>, value: f64) {
    match value.to_bits() {
        NULL_NAN_BITS => out.extend_from_slice(b"null"),
        STALE_NAN_BITS => write_string(out, "stale"),
        bits if value.is_nan() => write_string(out, &format!("nan:{bits:016x}")),
        _ if value.is_infinite() => write_string(out, if value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => write_number(out, value),
    }
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    out.push(b',');
    write_string(out, key);
    out.push(b':');
}

fn write_list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}
