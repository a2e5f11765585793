//! Native histograms on the wire, and their conversions.
//!
//! The message is the same in remote write 1.0, 2.0 and remote read. Populated buckets are runs ("spans") of
//! neighbouring indexes, each given by its distance from the run before; counts are whole numbers as differences from
//! bucket to bucket, or floats (Prometheus, `prompb/types.proto`). What a histogram may hold is checked by
//! [`Histogram::check`]; here is checked what only the wire form can get wrong.

use prost::Message;

use crate::histogram::{BUCKETS_MAX, Bucket, CUSTOM_SCHEMA, Histogram, HistogramError, ResetHint, SCHEMA_MAX};

/// The finest exponential schema that is taken: its resolution is reduced to [`SCHEMA_MAX`].
pub const REDUCIBLE_SCHEMA_MAX: i32 = 52;

/// A native histogram.
#[derive(Clone, PartialEq, Message)]
pub struct WireHistogram {
    /// Observations in all; also says which form all counts have.
    #[prost(oneof = "WireCount", tags = "1, 2")]
    pub count: Option<WireCount>,
    /// Sum of the observations.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// Resolution, or that the bounds are listed.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Observations up to this far from zero are in the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    #[prost(oneof = "WireZeroCount", tags = "6, 7")]
    pub zero_count: Option<WireZeroCount>,
    /// Where the negative buckets are.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Whole counts of the negative buckets, each as its difference from the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Float counts of the negative buckets.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Where the positive buckets are.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Whole counts of the positive buckets, each as its difference from the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Float counts of the positive buckets.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// What is known about resets, numbered as in [`reset_hint_number`].
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets but the last.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// When the counter began, in milliseconds since the Unix epoch; 0 when that is not known. The number is that of
    /// remote write 2.0; version 1.0 leaves it free.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

/// Observations in all.
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum WireCount {
    /// All counts are whole.
    #[prost(uint64, tag = "1")]
    Int(u64),
    /// All counts are floats.
    #[prost(double, tag = "2")]
    Float(f64),
}

/// Observations in the zero bucket.
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum WireZeroCount {
    /// As a whole number.
    #[prost(uint64, tag = "6")]
    Int(u64),
    /// As a float.
    #[prost(double, tag = "7")]
    Float(f64),
}

/// A run of neighbouring buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// Buckets between the end of the run before and this one; of the first run its first index.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Buckets in the run.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Why a wire histogram is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum WireHistogramError {
    #[error("histogram has {found} bucket spans, the limit is {BUCKETS_MAX}")]
    TooManySpans { found: usize },
    #[error("histogram bucket spans cover {spans} buckets, {counts} have counts")]
    SpanLengths { spans: u64, counts: usize },
    #[error("histogram bucket span {at} begins {offset} buckets after the one before")]
    SpanOffset { at: usize, offset: i32 },
    #[error("histogram bucket {at} changes a count of {count} by {delta}, which is below zero or too large")]
    Delta { at: usize, count: i64, delta: i64 },
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

/// The number of a hint on the wire.
pub fn reset_hint_number(hint: ResetHint) -> i32 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

/// The hint with a number; unknown numbers tell nothing.
pub fn reset_hint_from_number(number: i32) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// `histogram`, in canonical form, as a message: float counts, one span a run of neighbouring indexes.
pub fn to_wire(histogram: &Histogram, timestamp_ms: i64, start_ms: i64) -> WireHistogram {
    let counts = |buckets: &[Bucket]| buckets.iter().map(|bucket| bucket.count).collect();
    WireHistogram {
        count: Some(WireCount::Float(histogram.count)),
        sum: histogram.sum,
        schema: i32::from(histogram.schema),
        zero_threshold: histogram.zero_threshold,
        zero_count: Some(WireZeroCount::Float(histogram.zero_count)),
        negative_spans: spans(&histogram.negative),
        negative_counts: counts(&histogram.negative),
        positive_spans: spans(&histogram.positive),
        positive_counts: counts(&histogram.positive),
        reset_hint: reset_hint_number(histogram.reset_hint),
        timestamp: timestamp_ms,
        custom_values: histogram.custom_bounds.clone(),
        start_timestamp: start_ms,
        ..WireHistogram::default()
    }
}

fn spans(buckets: &[Bucket]) -> Vec<BucketSpan> {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next_index = 0;
    for bucket in buckets {
        let offset = bucket.index.saturating_sub(next_index);
        match spans.last_mut() {
            Some(span) if offset == 0 => span.length += 1,
            _ => spans.push(BucketSpan { offset, length: 1 }),
        }
        next_index = bucket.index.saturating_add(1);
    }
    spans
}

/// The histogram of a message, in canonical form and checked; a resolution finer than [`SCHEMA_MAX`] is reduced.
/// A stale marker is taken whatever its buckets are. The times of the message are left to the caller.
///
/// # Errors
///
/// What is wrong with the message or with the histogram in it.
pub fn from_wire(wire: &WireHistogram) -> Result<Histogram, WireHistogramError> {
    if crate::sample::is_stale_marker(wire.sum) {
        return Ok(Histogram::stale_marker());
    }
    let (schema, finer_by) = schema_of(wire.schema)?;
    let is_float = matches!(wire.count, Some(WireCount::Float(_)));
    let buckets = |spans, deltas, floats: &[f64]| {
        let buckets = if is_float { float_buckets(spans, floats) } else { int_buckets(spans, deltas) };
        Ok::<_, WireHistogramError>(reduced(buckets?, finer_by))
    };
    let mut histogram = Histogram {
        schema,
        reset_hint: reset_hint_from_number(wire.reset_hint),
        count: match wire.count {
            Some(WireCount::Int(count)) => float(count),
            Some(WireCount::Float(count)) => count,
            None => 0.0,
        },
        sum: wire.sum,
        zero_threshold: wire.zero_threshold,
        zero_count: match wire.zero_count {
            Some(WireZeroCount::Int(count)) => float(count),
            Some(WireZeroCount::Float(count)) => count,
            None => 0.0,
        },
        positive: buckets(&wire.positive_spans, &wire.positive_deltas, &wire.positive_counts)?,
        negative: buckets(&wire.negative_spans, &wire.negative_deltas, &wire.negative_counts)?,
        custom_bounds: wire.custom_values.clone(),
    };
    histogram.compact();
    histogram.check()?;
    Ok(histogram)
}

/// The schema that is kept for `schema`, and by how many halvings of the resolution.
fn schema_of(schema: i32) -> Result<(i8, u32), HistogramError> {
    let unknown = HistogramError::Schema { schema };
    let finest = i32::from(SCHEMA_MAX);
    if schema > REDUCIBLE_SCHEMA_MAX
        || (schema < i32::from(crate::histogram::SCHEMA_MIN) && schema != i32::from(CUSTOM_SCHEMA))
    {
        return Err(unknown);
    }
    let finer_by = schema.saturating_sub(finest).max(0);
    match (i8::try_from(schema.min(finest)), u32::try_from(finer_by)) {
        (Ok(schema), Ok(finer_by)) => Ok((schema, finer_by)),
        _ => Err(unknown),
    }
}

/// Whole counts; from 2^53 on they are rounded.
#[expect(clippy::cast_precision_loss, reason = "counts are floats")]
fn float(count: u64) -> f64 {
    count as f64
}

fn float_buckets(spans: &[BucketSpan], counts: &[f64]) -> Result<Vec<Bucket>, WireHistogramError> {
    let indexes = Indexes::new(spans, counts.len())?;
    indexes.zip(counts).map(|(index, &count)| Ok(Bucket { index: index?, count })).collect()
}

fn int_buckets(spans: &[BucketSpan], deltas: &[i64]) -> Result<Vec<Bucket>, WireHistogramError> {
    let indexes = Indexes::new(spans, deltas.len())?;
    let mut count = 0i64;
    let bucket = |(at, (index, &delta)): (usize, (Result<i32, WireHistogramError>, &i64))| {
        let next = count.checked_add(delta).filter(|next| *next >= 0);
        count = next.ok_or(WireHistogramError::Delta { at, count, delta })?;
        Ok(Bucket { index: index?, count: float(count.unsigned_abs()) })
    };
    indexes.zip(deltas).enumerate().map(bucket).collect()
}

/// The bucket indexes that spans cover, one after the other.
struct Indexes<'s> {
    spans: std::iter::Enumerate<std::slice::Iter<'s, BucketSpan>>,
    left_in_span: u32,
    /// Wide, so that a sum of offsets can't overflow: there are at most [`BUCKETS_MAX`] spans.
    next_index: i64,
}

impl<'s> Indexes<'s> {
    /// Indexes for `counts` buckets, when spans and buckets are few enough and as many as each other.
    fn new(spans: &'s [BucketSpan], counts: usize) -> Result<Self, WireHistogramError> {
        if spans.len() > BUCKETS_MAX {
            return Err(WireHistogramError::TooManySpans { found: spans.len() });
        }
        if counts > BUCKETS_MAX {
            return Err(HistogramError::TooManyBuckets { found: counts }.into());
        }
        let covered: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        if covered != counts as u64 {
            return Err(WireHistogramError::SpanLengths { spans: covered, counts });
        }
        Ok(Self { spans: spans.iter().enumerate(), left_in_span: 0, next_index: 0 })
    }
}

impl Iterator for Indexes<'_> {
    type Item = Result<i32, WireHistogramError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left_in_span == 0 {
            let (at, span) = self.spans.next()?;
            if at > 0 && span.offset < 0 {
                return Some(Err(WireHistogramError::SpanOffset { at, offset: span.offset }));
            }
            self.next_index += i64::from(span.offset);
            self.left_in_span = span.length;
        }
        self.left_in_span -= 1;
        let index = self.next_index;
        self.next_index += 1;
        Some(i32::try_from(index).map_err(|_| HistogramError::BucketIndex { index }.into()))
    }
}

/// Buckets of a schema coarser by `finer_by`: each holds what the ones it covers held, so that bucket `index` goes to
/// bucket `ceil(index / 2^finer_by)`.
fn reduced(mut buckets: Vec<Bucket>, finer_by: u32) -> Vec<Bucket> {
    if finer_by == 0 {
        return buckets;
    }
    for bucket in &mut buckets {
        // Arithmetic shifts round down; the sum lies between the index and 1, so that it fits.
        let index = ((i64::from(bucket.index) - 1) >> finer_by.min(63)) + 1;
        bucket.index = i32::try_from(index).unwrap_or(bucket.index);
    }
    buckets.dedup_by(|next, kept| {
        let same = next.index == kept.index;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets
}
