//! One sample that is more than a float, in bytes that stand alone: for log and head.
//!
//! Owns the coding and the canonical form that is stored; whole columns of histograms are
//! [`histogram_column`](super::histogram_column)'s. `docs/format-log-catalog.md` has the bytes.

use std::sync::Arc;

use model::histogram::BUCKETS_MAX;
use model::{Bucket, FullSample, Histogram, HistogramError, ResetHint, SampleValue};

use super::CodecError;
use super::numbers::{push_indexes, push_number, take_indexes, take_number};
use super::varint::{push_i64, push_u64, take_i64, take_usize};

/// The name in errors.
const CODING: &str = "full sample";

/// Bits of the first byte; bits 2 and 3 are the reset hint.
const HISTOGRAM_BIT: u8 = 1;
const START_BIT: u8 = 2;
const HINT_SHIFT: u8 = 2;
const KNOWN_BITS: u8 = 0xf;

/// The hints by their number in files.
pub(super) const HINTS: [ResetHint; 4] = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];

/// The number of a hint in files.
pub(super) fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

/// The sample as it is stored: no empty buckets, and of a histogram that marks its series as stale nothing but that.
///
/// # Errors
///
/// When the histogram breaks the structure that readers rely on.
pub fn canonical(sample: &FullSample) -> Result<FullSample, HistogramError> {
    let mut sample = sample.clone();
    if let SampleValue::Histogram(histogram) = &mut sample.value {
        if histogram.is_stale_marker() {
            *histogram = Arc::new(Histogram::stale_marker());
        } else if histogram.positive.iter().chain(&histogram.negative).any(|bucket| bucket.count == 0.0) {
            Arc::make_mut(histogram).compact();
        }
        histogram.check_structure()?;
    }
    Ok(sample)
}

/// Whether the histogram is one that [`canonical`] gives.
pub(crate) fn is_canonical(histogram: &Histogram) -> bool {
    let mut buckets = histogram.positive.iter().chain(&histogram.negative);
    buckets.all(|bucket| bucket.count != 0.0) && histogram.check_structure().is_ok()
}

/// Appends the value and the start of a sample in canonical form; its timestamp is kept elsewhere.
pub fn encode(sample: &FullSample, out: &mut Vec<u8>) {
    let start = if sample.start_ms == 0 { 0 } else { START_BIT };
    let push_start = |out: &mut Vec<u8>| {
        if sample.start_ms != 0 {
            push_i64(out, sample.start_ms);
        }
    };
    match &sample.value {
        SampleValue::Float(value) => {
            out.push(start);
            push_start(out);
            push_number(out, *value);
        }
        SampleValue::Histogram(histogram) => {
            out.push(HISTOGRAM_BIT | start | hint_number(histogram.reset_hint) << HINT_SHIFT);
            push_start(out);
            encode_histogram(histogram, out);
        }
    }
}

fn encode_histogram(histogram: &Histogram, out: &mut Vec<u8>) {
    out.extend_from_slice(&histogram.schema.to_le_bytes());
    push_bounds(&histogram.custom_bounds, out);
    for value in [histogram.zero_threshold, histogram.count, histogram.sum, histogram.zero_count] {
        push_number(out, value);
    }
    for side in [&histogram.positive, &histogram.negative] {
        push_indexes(out, side.iter().map(|bucket| bucket.index));
        for bucket in side {
            push_number(out, bucket.count);
        }
    }
}

/// Appends the bounds of custom buckets.
pub(super) fn push_bounds(bounds: &[f64], out: &mut Vec<u8>) {
    push_u64(out, bounds.len() as u64);
    for &bound in bounds {
        push_number(out, bound);
    }
}

/// Takes the bounds of custom buckets off the front of `bytes`.
pub(super) fn take_bounds(bytes: &mut &[u8]) -> Option<Vec<f64>> {
    let count = take_usize(bytes, BUCKETS_MAX)?;
    // Each takes a byte at least.
    let mut bounds = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        bounds.push(take_number(bytes)?);
    }
    Some(bounds)
}

/// The sample at `timestamp_ms` whose bytes these are.
///
/// # Errors
///
/// When the bytes are no sample, or not one in canonical form.
pub fn decode(timestamp_ms: i64, bytes: &[u8]) -> Result<FullSample, CodecError> {
    let malformed = |detail: &str| CodecError::Malformed { coding: CODING, detail: detail.to_owned() };
    let mut rest = bytes;
    let (start_ms, value) = take_sample(&mut rest).ok_or_else(|| malformed("bytes are missing or out of bounds"))?;
    if !rest.is_empty() {
        return Err(malformed("bytes behind its end"));
    }
    if let SampleValue::Histogram(histogram) = &value {
        histogram.check_structure().map_err(|error| malformed(&error.to_string()))?;
    }
    Ok(FullSample { timestamp_ms, start_ms, value })
}

fn take_sample(rest: &mut &[u8]) -> Option<(i64, SampleValue)> {
    let (&first, after) = rest.split_first()?;
    *rest = after;
    let known = if first & HISTOGRAM_BIT == 0 { START_BIT } else { KNOWN_BITS };
    if first & !known != 0 {
        return None;
    }
    let start_ms = if first & START_BIT == 0 { 0 } else { take_i64(rest)? };
    if first & HISTOGRAM_BIT == 0 {
        return Some((start_ms, SampleValue::Float(take_number(rest)?)));
    }
    let reset_hint = *HINTS.get(usize::from(first >> HINT_SHIFT))?;
    let histogram = take_histogram(rest, reset_hint)?;
    Some((start_ms, SampleValue::Histogram(Arc::new(histogram))))
}

fn take_histogram(rest: &mut &[u8], reset_hint: ResetHint) -> Option<Histogram> {
    let (&[schema], after) = rest.split_first_chunk()?;
    *rest = after;
    let custom_bounds = take_bounds(rest)?;
    let [zero_threshold, count, sum, zero_count] =
        [take_number(rest)?, take_number(rest)?, take_number(rest)?, take_number(rest)?];
    let positive = take_buckets(rest)?;
    let negative = take_buckets(rest)?;
    Some(Histogram {
        schema: i8::from_le_bytes([schema]),
        reset_hint,
        count,
        sum,
        zero_threshold,
        zero_count,
        positive,
        negative,
        custom_bounds,
    })
}

fn take_buckets(rest: &mut &[u8]) -> Option<Vec<Bucket>> {
    let indexes = take_indexes(rest, BUCKETS_MAX)?;
    // Each takes a byte at least.
    let mut buckets = Vec::with_capacity(indexes.len().min(rest.len()));
    for index in indexes {
        let count = take_number(rest)?;
        if count == 0.0 {
            return None;
        }
        buckets.push(Bucket { index, count });
    }
    Some(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any histogram in canonical form, computed ones with strange counts too.
    fn any_sample() -> impl Strategy<Value = FullSample> {
        let number = || prop_oneof![any::<u64>().prop_map(f64::from_bits), (0u32..9000).prop_map(f64::from)];
        let buckets = || prop::collection::btree_map(-40i32..40, number(), 0..30);
        let histogram = (
            -4i8..=8,
            prop::sample::select(&HINTS[..]),
            [number(), number(), number(), number()],
            buckets(),
            buckets(),
        );
        let custom = prop::collection::btree_set(-1000i32..1000, 0..10);
        let value = prop_oneof![
            number().prop_map(SampleValue::Float),
            (histogram, prop::option::of(custom)).prop_map(
                |((schema, reset_hint, [count, sum, zero, at], up, down), custom)| {
                    let side = |of: std::collections::BTreeMap<i32, f64>| {
                        of.into_iter().map(|(index, count)| Bucket { index, count }).collect::<Vec<_>>()
                    };
                    let zero_threshold = if at.is_nan() { 0.0 } else { at.abs() };
                    let (positive, negative) = (side(up), side(down));
                    let exponential = Histogram {
                        schema,
                        reset_hint,
                        count,
                        sum,
                        zero_threshold,
                        zero_count: zero,
                        positive,
                        negative,
                        custom_bounds: Vec::new(),
                    };
                    let Some(bounds) = custom else { return SampleValue::Histogram(Arc::new(exponential)) };
                    let custom_bounds: Vec<f64> = bounds.into_iter().map(|bound| f64::from(bound) / 8.0).collect();
                    let places = 0..=i32::try_from(custom_bounds.len()).unwrap();
                    SampleValue::Histogram(Arc::new(Histogram {
                        schema: model::histogram::CUSTOM_SCHEMA,
                        positive: places.map(|index| Bucket { index, count }).collect(),
                        negative: Vec::new(),
                        zero_count: 0.0,
                        zero_threshold: 0.0,
                        custom_bounds,
                        ..exponential
                    }))
                }
            ),
        ];
        let start = prop_oneof![Just(0), any::<i64>()];
        (any::<i64>(), start, value).prop_map(|(timestamp_ms, start_ms, value)| FullSample {
            timestamp_ms,
            start_ms,
            value,
        })
    }

    #[test]
    fn what_is_stored_is_canonical() {
        let of = |histogram| FullSample { timestamp_ms: 1, start_ms: 2, value: SampleValue::Histogram(histogram) };
        let unordered = vec![Bucket { index: 3, count: 1.0 }, Bucket { index: 2, count: 0.0 }];
        let stale = Histogram { schema: 99, positive: unordered.clone(), ..Histogram::stale_marker() };
        assert_eq!(canonical(&of(Arc::new(stale))), Ok(of(Arc::new(Histogram::stale_marker()))));
        let compacted = Histogram { positive: unordered.iter().copied().take(1).collect(), ..Histogram::default() };
        let loose = Histogram { positive: unordered.clone(), ..Histogram::default() };
        assert_eq!(canonical(&of(Arc::new(loose))), Ok(of(Arc::new(compacted))));
        let broken = unordered.iter().map(|bucket| Bucket { count: 1.0, ..*bucket }).collect();
        let broken = Histogram { positive: broken, ..Histogram::default() };
        assert!(matches!(canonical(&of(Arc::new(broken))), Err(HistogramError::Unordered { index: 2 })));
    }

    #[test]
    fn a_small_histogram_takes_few_bytes() {
        let positive = (0..20).map(|index| Bucket { index, count: f64::from(index + 1) }).collect();
        let histogram = Histogram {
            schema: 3,
            count: 211.0,
            sum: 0.1,
            zero_threshold: 2f64.powi(-128),
            zero_count: 1.0,
            positive,
            ..Histogram::default()
        };
        let value = SampleValue::Histogram(Arc::new(histogram));
        let mut bytes = Vec::new();
        encode(&FullSample { timestamp_ms: 5, start_ms: 0, value }, &mut bytes);
        assert_eq!(bytes.len(), 42);
    }

    proptest! {
        #[test]
        fn samples_come_back(sample in any_sample(), cut in 0usize..400, flip in any::<u8>()) {
            let sample = canonical(&sample).expect("made in order");
            let mut bytes = Vec::new();
            encode(&sample, &mut bytes);
            prop_assert_eq!(decode(sample.timestamp_ms, &bytes), Ok(sample));
            let cut = cut.min(bytes.len() - 1);
            prop_assert!(decode(0, bytes.get(..cut).unwrap()).is_err(), "cut at {cut}");
            *bytes.get_mut(cut).unwrap() ^= flip;
            let _ = decode(0, &bytes);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..16) {
            let _ = decode(0, &bytes);
            let _ = decode(0, &[&[kind, 0, 0], &bytes[..]].concat());
        }
    }
}
