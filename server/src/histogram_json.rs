//! A native histogram as JSON: `{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}`.
//!
//! Owns the shape. Where buckets begin and end is `query`'s knowledge.

use model::Histogram;

use crate::json::write_value;

/// Writes `histogram` with its populated buckets, lowest first; without any, `buckets` is left out.
pub(crate) fn write_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(br#"{"count":"#);
    write_value(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    write_value(out, histogram.sum);
    let mut separator: &[u8] = br#","buckets":["#;
    for bucket in buckets(histogram) {
        out.extend_from_slice(separator);
        separator = b",";
        out.push(b'[');
        out.push(bucket.rule);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            write_value(out, number);
        }
        out.push(b']');
    }
    out.extend_from_slice(if separator == b"," { b"]}" } else { b"}" });
}

/// One bucket as the API tells it.
struct Bucket {
    /// Which bounds belong to it: `0` the upper, `1` the lower, `3` both.
    rule: u8,
    lower: f64,
    upper: f64,
    count: f64,
}

/// The populated buckets, lowest first.
fn buckets(histogram: &Histogram) -> impl Iterator<Item = Bucket> + '_ {
    let bound = |index: i32| upper_bound(histogram, index);
    let negative = histogram.negative.iter().rev().map(move |bucket| Bucket {
        rule: b'1',
        lower: -bound(bucket.index),
        upper: -bound(bucket.index - 1),
        count: bucket.count,
    });
    let threshold = histogram.zero_threshold;
    let zero = (histogram.zero_count > 0.0).then_some(Bucket {
        rule: b'3',
        lower: -threshold,
        upper: threshold,
        count: histogram.zero_count,
    });
    let positive = histogram.positive.iter().map(move |bucket| Bucket {
        rule: if histogram.is_custom() && bucket.index == 0 { b'3' } else { b'0' },
        lower: bound(bucket.index - 1),
        upper: bound(bucket.index),
        count: bucket.count,
    });
    negative.chain(zero).chain(positive)
}

/// The upper bound of the positive bucket `index`; below the first custom bucket lies minus infinity.
fn upper_bound(histogram: &Histogram, index: i32) -> f64 {
    if !histogram.is_custom() {
        return (f64::from(index) * (-f64::from(histogram.schema)).exp2()).exp2();
    }
    match usize::try_from(index) {
        Ok(index) => histogram.custom_bounds.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}
