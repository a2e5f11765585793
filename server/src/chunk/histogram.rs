//! A chunk of native histograms with float counts (`tsdb/chunkenc/float_histogram.go`): which buckets there are once
//! for all, then the first histogram whole and the others as differences in bits.
//!
//! What a reader concludes about resets comes from the chunk: inside one there are none. So a histogram joins those
//! before only when the buckets are the same, and its own hint or, where that tells nothing, its counts say as much;
//! else it begins a chunk.

use std::cmp::Ordering;

use model::remote_write::{BucketSpan, WireHistogram, to_wire};
use model::{FullSample, Histogram, ResetHint, SampleValue};

use super::SAMPLES_MAX;
use super::bits::{BitWriter, XorFloats};

/// Largest custom bound, in thousandths, that is written as a whole number of them.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Where among the [numbers] of a histogram its sum is.
const SUM_COLUMN: usize = 2;

/// A chunk under construction.
#[derive(Debug)]
pub(super) struct HistogramChunk {
    out: BitWriter,
    count: u16,
    timestamp_ms: i64,
    delta_ms: i64,
    is_gauge: bool,
    is_stale: bool,
    /// The first histogram, whose buckets all others have.
    layout: WireHistogram,
    /// Count, zero count, sum, then the buckets.
    columns: Vec<XorFloats>,
}

impl HistogramChunk {
    /// A chunk with its first sample.
    pub(super) fn new(timestamp_ms: i64, histogram: &Histogram) -> Self {
        let is_stale = histogram.is_stale_marker();
        // A stale marker has nothing but its sum.
        let layout = if is_stale {
            to_wire(&Histogram { sum: histogram.sum, ..Histogram::default() }, 0, 0)
        } else {
            to_wire(histogram, 0, 0)
        };
        let mut out = BitWriter::after(vec![0, 0, flags(histogram.reset_hint)]);
        write_layout(&mut out, &layout);
        out.varbit_int(timestamp_ms);
        let zero_count = if is_stale { 0.0 } else { histogram.zero_count };
        let count = if is_stale { 0.0 } else { histogram.count };
        let first = numbers(&layout, count, zero_count);
        let mut columns = Vec::with_capacity(3 + layout.positive_counts.len() + layout.negative_counts.len());
        for number in first {
            out.bits(number.to_bits(), u64::BITS);
            columns.push(XorFloats::after(number));
        }
        let is_gauge = histogram.reset_hint == ResetHint::Gauge;
        Self { out, count: 1, timestamp_ms, delta_ms: 0, is_gauge, is_stale, layout, columns }
    }

    /// Adds a later sample if it fits in here. Returns whether it did.
    pub(super) fn push(&mut self, sample: &FullSample) -> bool {
        let SampleValue::Histogram(histogram) = &sample.value else { return false };
        let may_continue = match histogram.reset_hint {
            ResetHint::Gauge => self.is_gauge,
            ResetHint::NotReset | ResetHint::Unknown => !self.is_gauge,
            ResetHint::Reset => false,
        };
        if !may_continue || self.count >= SAMPLES_MAX || self.is_stale || histogram.is_stale_marker() {
            return false;
        }
        let wire = to_wire(histogram, 0, 0);
        if !same_layout(&self.layout, &wire)
            || (histogram.reset_hint == ResetHint::Unknown && self.has_fallen(&wire, histogram))
        {
            return false;
        }
        // Of the second sample the difference stands for the change: the one before it counts as 0.
        let delta_ms = sample.timestamp_ms.wrapping_sub(self.timestamp_ms);
        self.out.varbit_int(delta_ms.wrapping_sub(self.delta_ms));
        for (column, number) in self.columns.iter_mut().zip(numbers(&wire, histogram.count, histogram.zero_count)) {
            column.write(number, &mut self.out);
        }
        self.count += 1;
        self.timestamp_ms = sample.timestamp_ms;
        self.delta_ms = delta_ms;
        true
    }

    /// Whether any count is lower than in the histogram before, as after a reset. The sum may fall without one.
    fn has_fallen(&self, wire: &WireHistogram, histogram: &Histogram) -> bool {
        let pairs = self.columns.iter().zip(numbers(wire, histogram.count, histogram.zero_count));
        let falls =
            |(column, number): (&XorFloats, f64)| number.partial_cmp(&column.last()).is_none_or(Ordering::is_lt);
        pairs.enumerate().any(|(at, pair)| at != SUM_COLUMN && falls(pair))
    }

    /// The chunk's bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.finish();
        bytes.splice(..2, self.count.to_be_bytes());
        bytes
    }
}

/// The numbers of a histogram in the order of a chunk.
fn numbers(wire: &WireHistogram, count: f64, zero_count: f64) -> impl Iterator<Item = f64> + '_ {
    [count, zero_count, wire.sum]
        .into_iter()
        .chain(wire.positive_counts.iter().copied())
        .chain(wire.negative_counts.iter().copied())
}

/// What the first histogram of a chunk tells about resets before it.
fn flags(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Gauge => 0b1100_0000,
    }
}

fn same_layout(one: &WireHistogram, other: &WireHistogram) -> bool {
    one.schema == other.schema
        && one.zero_threshold.to_bits() == other.zero_threshold.to_bits()
        && one.positive_spans == other.positive_spans
        && one.negative_spans == other.negative_spans
        && one.custom_values == other.custom_values
}

fn write_layout(out: &mut BitWriter, layout: &WireHistogram) {
    write_zero_threshold(out, layout.zero_threshold);
    out.varbit_int(layout.schema.into());
    write_spans(out, &layout.positive_spans);
    write_spans(out, &layout.negative_spans);
    if layout.schema == i32::from(model::histogram::CUSTOM_SCHEMA) {
        out.varbit_uint(layout.custom_values.len() as u64);
        for &bound in &layout.custom_values {
            write_bound(out, bound);
        }
    }
}

/// One byte for zero and for the usual powers of two, else a byte of ones and the float.
fn write_zero_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    // 2^-243 is told as 1, 2^10 as 254.
    let told = exponent.wrapping_sub(1023 - 244);
    if bits == 0 {
        out.bits(0, 8);
    } else if fraction == 0 && (1..=254).contains(&told) {
        out.bits(told, 8);
    } else {
        out.bits(0xff, 8);
        out.bits(bits, u64::BITS);
    }
}

fn write_spans(out: &mut BitWriter, spans: &[BucketSpan]) {
    out.varbit_uint(spans.len() as u64);
    for span in spans {
        out.varbit_uint(span.length.into());
        out.varbit_int(span.offset.into());
    }
}

/// A whole number of thousandths, which are the bounds that people choose, or a zero bit and the float.
fn write_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = (bound * 1000.0).round();
    if bound.is_sign_positive() && thousandths <= THOUSANDTHS_MAX && (thousandths / 1000.0).to_bits() == bound.to_bits()
    {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to 2^25")]
        out.varbit_uint(thousandths as u64 + 1);
    } else {
        out.bits(0, 1);
        out.bits(bound.to_bits(), u64::BITS);
    }
}
