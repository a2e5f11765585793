//! Histograms of blocks, column by column: everything that one layout of buckets shares is written once, then each
//! number of all samples is a column of [`values`].
//!
//! A chunk holds histograms of one schema, zero threshold and set of custom bounds. Its buckets are the union of those
//! of its samples; in canonical form a bucket without observations is not there, so zeros fill the columns.
//! `docs/format.md` has the bytes.

use std::ops::Range;
use std::sync::Arc;

use model::{Bucket, Histogram, HistogramSample};

use super::full::{HINTS, hint_number, push_bounds, take_bounds};
use super::numbers::{push_indexes, push_number, take_indexes, take_number};
use super::times::{self as time_codec, TimeCoding};
use super::values::{self, ValueCoding, ValueEncoder};
use super::varint::{push_u64, take_usize};
use super::{CodecError, Effort};

/// The value coding of a histogram chunk in files.
pub const TAG: u8 = 6;
/// Most histograms in one chunk.
pub const SAMPLES_MAX: usize = 512;
/// Most bucket counts in one chunk, samples times buckets: a mebibyte of decoded buckets. One histogram of the largest
/// size always fits.
pub const CELLS_MAX: usize = 1 << 16;

/// The name in errors.
const CODING: &str = "histogram columns";
/// Columns beside those of the buckets: count, sum, zero count.
const NUMBERS: usize = 3;

/// A run of histograms that one chunk can hold.
#[derive(Debug, Default)]
pub struct Run {
    /// How many there are.
    pub count: usize,
    positive: Vec<i32>,
    negative: Vec<i32>,
}

/// The longest run at the front of `samples` that one chunk can hold; at least one sample if there is any.
pub fn front_run(samples: &[HistogramSample]) -> Run {
    let mut run = Run::default();
    let Some(first) = samples.first() else { return run };
    let mut joined = (Vec::new(), Vec::new());
    for sample in samples.iter().take(SAMPLES_MAX) {
        if !same_layout(&first.histogram, &sample.histogram) {
            break;
        }
        let grown = [
            join(&run.positive, &sample.histogram.positive, &mut joined.0),
            join(&run.negative, &sample.histogram.negative, &mut joined.1),
        ];
        let positive = if grown[0] { joined.0.len() } else { run.positive.len() };
        let negative = if grown[1] { joined.1.len() } else { run.negative.len() };
        if run.count > 0 && (positive + negative) * (run.count + 1) > CELLS_MAX {
            break;
        }
        if grown[0] {
            std::mem::swap(&mut run.positive, &mut joined.0);
        }
        if grown[1] {
            std::mem::swap(&mut run.negative, &mut joined.1);
        }
        run.count += 1;
    }
    run
}

fn same_layout(one: &Histogram, other: &Histogram) -> bool {
    let bounds = |of: &Histogram| of.custom_bounds.len();
    one.schema == other.schema
        && one.zero_threshold.to_bits() == other.zero_threshold.to_bits()
        && bounds(one) == bounds(other)
        && one.custom_bounds.iter().zip(&other.custom_bounds).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Puts the union of `known` and the indexes of `buckets` into `joined`, unless it is `known`; whether it is more.
fn join(known: &[i32], buckets: &[Bucket], joined: &mut Vec<i32>) -> bool {
    let mut rest = known.iter();
    if buckets.iter().all(|bucket| rest.any(|&index| index == bucket.index)) {
        return false;
    }
    joined.clear();
    let mut known = known.iter().copied().peekable();
    for bucket in buckets {
        while let Some(before) = known.next_if(|&index| index < bucket.index) {
            joined.push(before);
        }
        known.next_if_eq(&bucket.index);
        joined.push(bucket.index);
    }
    joined.extend(known);
    true
}

/// Encodes runs of histograms; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct HistogramEncoder {
    values: ValueEncoder,
    column: Vec<f64>,
    starts: Vec<i64>,
    part: Vec<u8>,
    /// For each sample the place of its next bucket.
    next: Vec<usize>,
}

impl HistogramEncoder {
    /// Appends the samples of `run`, which begins `samples`, to `out`.
    pub fn encode(&mut self, samples: &[HistogramSample], run: &Run, effort: Effort, out: &mut Vec<u8>) {
        let samples = samples.get(..run.count).unwrap_or_default();
        let Some(first) = samples.first().map(|sample| &sample.histogram) else { return };
        out.extend_from_slice(&first.schema.to_le_bytes());
        push_number(out, first.zero_threshold);
        push_bounds(&first.custom_bounds, out);
        push_indexes(out, run.positive.iter().copied());
        push_indexes(out, run.negative.iter().copied());
        push_hints(samples, out);
        self.starts.clear();
        self.starts.extend(samples.iter().map(|sample| sample.start_ms));
        push_starts(&self.starts, effort, &mut self.part, out);
        for number in [|of: &Histogram| of.count, |of: &Histogram| of.sum, |of: &Histogram| of.zero_count] {
            self.column.clear();
            self.column.extend(samples.iter().map(|sample| number(&sample.histogram)));
            self.push_column(effort, out);
        }
        self.push_side(samples, &run.positive, |of| &of.positive, effort, out);
        self.push_side(samples, &run.negative, |of| &of.negative, effort, out);
    }

    fn push_side(
        &mut self,
        samples: &[HistogramSample],
        indexes: &[i32],
        side: impl Fn(&Histogram) -> &[Bucket],
        effort: Effort,
        out: &mut Vec<u8>,
    ) {
        self.next.clear();
        self.next.resize(samples.len(), 0);
        for &index in indexes {
            self.column.clear();
            for (sample, next) in samples.iter().zip(&mut self.next) {
                let here = side(&sample.histogram).get(*next).filter(|bucket| bucket.index == index);
                *next += usize::from(here.is_some());
                self.column.push(here.map_or(0.0, |bucket| bucket.count));
            }
            self.push_column(effort, out);
        }
    }

    fn push_column(&mut self, effort: Effort, out: &mut Vec<u8>) {
        self.part.clear();
        let coding = self.values.encode(&self.column, effort, &mut self.part);
        push_part(coding.tag(), &self.part, out);
    }
}

/// Appends tag, length and bytes of a column.
fn push_part(tag: u8, part: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    push_u64(out, part.len() as u64);
    out.extend_from_slice(part);
}

/// Takes tag and bytes of a column off the front of `bytes`.
fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, mut rest) = bytes.split_first()?;
    let length = take_usize(&mut rest, bytes.len())?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, part))
}

/// Appends a column of starts, in any order.
pub(super) fn push_starts(starts_ms: &[i64], effort: Effort, part: &mut Vec<u8>, out: &mut Vec<u8>) {
    part.clear();
    let coding = time_codec::encode(starts_ms, effort, part);
    push_part(coding.tag(), part, out);
}

/// Takes a column of `count` starts off the front of `bytes`.
pub(super) fn take_starts(bytes: &mut &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
    let (tag, part) = take_part(bytes).ok_or_else(|| malformed("starts are missing"))?;
    let mut starts_ms = Vec::new();
    time_codec::decode(TimeCoding::from_tag(tag)?, part, count, &mut starts_ms)?;
    if starts_ms.len() != count {
        return Err(malformed("not one start for each sample"));
    }
    Ok(starts_ms)
}

/// Hints as runs: its number, and how many more samples have it.
fn push_hints(samples: &[HistogramSample], out: &mut Vec<u8>) {
    for run in samples.chunk_by(|a, b| a.histogram.reset_hint == b.histogram.reset_hint) {
        out.push(run.first().map_or(0, |sample| hint_number(sample.histogram.reset_hint)));
        push_u64(out, run.len() as u64 - 1);
    }
}

fn take_hints(bytes: &mut &[u8], count: usize) -> Option<Vec<u8>> {
    let mut hints = Vec::with_capacity(count);
    while hints.len() < count {
        let (&hint, rest) = bytes.split_first()?;
        *bytes = rest;
        let more = take_usize(bytes, count - hints.len() - 1)?;
        if usize::from(hint) >= HINTS.len() {
            return None;
        }
        hints.extend(std::iter::repeat_n(hint, more + 1));
    }
    Some(hints)
}

/// What the samples of a chunk share.
struct Shared {
    layout: Histogram,
    positive: Vec<i32>,
    negative: Vec<i32>,
    hints: Vec<u8>,
}

fn take_shared(bytes: &mut &[u8], count: usize) -> Option<Shared> {
    let (&[schema], rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let zero_threshold = take_number(bytes)?;
    let custom_bounds = take_bounds(bytes)?;
    let buckets_max = CELLS_MAX / count.max(1);
    let positive = take_indexes(bytes, buckets_max)?;
    let negative = take_indexes(bytes, buckets_max - positive.len())?;
    let hints = take_hints(bytes, count)?;
    let layout =
        Histogram { schema: i8::from_le_bytes([schema]), zero_threshold, custom_bounds, ..Histogram::default() };
    Some(Shared { layout, positive, negative, hints })
}

/// Appends those of the histograms at `times` that are `wanted` to `out`.
///
/// # Errors
///
/// When the bytes are no chunk of so many histograms in canonical form.
pub fn decode(
    bytes: &[u8],
    times: &[i64],
    wanted: Range<usize>,
    out: &mut Vec<HistogramSample>,
) -> Result<(), CodecError> {
    let count = times.len();
    if count > SAMPLES_MAX {
        return Err(CodecError::TooManySamples { count, limit: SAMPLES_MAX });
    }
    let mut rest = bytes;
    let shared = take_shared(&mut rest, count).ok_or_else(|| malformed("its layout does not end or fit"))?;
    let starts = take_starts(&mut rest, count)?;
    let columns = NUMBERS + shared.positive.len() + shared.negative.len();
    // Each column takes two bytes at least.
    if rest.len() < 2 * columns {
        return Err(malformed("columns are missing"));
    }
    let mut cells = Vec::with_capacity(columns * count);
    for at in 1..=columns {
        let (tag, part) = take_part(&mut rest).ok_or_else(|| malformed("columns are missing"))?;
        values::decode(ValueCoding::from_tag(tag)?, part, count, &mut cells)?;
        if cells.len() != at * count {
            return Err(malformed("not one number for each sample"));
        }
    }
    if !rest.is_empty() {
        return Err(malformed("bytes behind its end"));
    }
    let table = Table { shared, cells, count };
    for at in wanted {
        let (Some(&timestamp_ms), Some(&start_ms)) = (times.get(at), starts.get(at)) else { continue };
        let histogram = table.row(at);
        histogram.check_structure().map_err(|error| malformed(&error.to_string()))?;
        out.push(HistogramSample { timestamp_ms, start_ms, histogram: Arc::new(histogram) });
    }
    Ok(())
}

/// The decoded columns, one after the other.
struct Table {
    shared: Shared,
    cells: Vec<f64>,
    count: usize,
}

impl Table {
    fn cell(&self, column: usize, row: usize) -> f64 {
        self.cells.get(column * self.count + row).copied().unwrap_or(0.0)
    }

    fn row(&self, row: usize) -> Histogram {
        let Shared { layout, positive, negative, hints } = &self.shared;
        let hint = hints.get(row).and_then(|&hint| HINTS.get(usize::from(hint)));
        Histogram {
            reset_hint: hint.copied().unwrap_or_default(),
            count: self.cell(0, row),
            sum: self.cell(1, row),
            zero_count: self.cell(2, row),
            positive: self.side(positive, NUMBERS, row),
            negative: self.side(negative, NUMBERS + positive.len(), row),
            ..layout.clone()
        }
    }

    /// The buckets of one row that hold anything, in memory that fits.
    fn side(&self, indexes: &[i32], first_column: usize, row: usize) -> Vec<Bucket> {
        let cells = || (first_column..).zip(indexes).map(|(column, &index)| (index, self.cell(column, row)));
        let mut buckets = Vec::with_capacity(cells().filter(|(_, count)| *count != 0.0).count());
        buckets.extend(cells().filter(|(_, count)| *count != 0.0).map(|(index, count)| Bucket { index, count }));
        buckets
    }
}

pub(super) fn malformed(detail: &str) -> CodecError {
    CodecError::Malformed { coding: CODING, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A chunk of two samples, to be damaged.
    fn chunk() -> Vec<u8> {
        let bucket = |index| Bucket { index, count: 2.0 };
        let sample = |timestamp_ms, positive| {
            let histogram = Histogram { count: 2.0, positive, ..Histogram::default() };
            HistogramSample { timestamp_ms, start_ms: 0, histogram: Arc::new(histogram) }
        };
        let samples = [sample(1, vec![bucket(1), bucket(4)]), sample(2, vec![bucket(2)])];
        let mut bytes = Vec::new();
        HistogramEncoder::default().encode(&samples, &front_run(&samples), Effort::Fast, &mut bytes);
        let mut back = Vec::new();
        decode(&bytes, &[1, 2], 0..2, &mut back).expect("just written");
        assert_eq!(back, samples);
        bytes
    }

    #[test]
    fn declared_sizes_are_bounded() {
        let bytes = chunk();
        assert!(decode(&bytes, &[0; SAMPLES_MAX + 1], 0..1, &mut Vec::new()).is_err());
        for cut in 0..bytes.len() {
            assert!(decode(bytes.get(..cut).unwrap(), &[1, 2], 0..2, &mut Vec::new()).is_err(), "cut at {cut}");
        }
        // One run of more buckets than fit: schema, threshold, bounds, one run from 0 on.
        let mut wide = vec![0, 0, 0, 1, 0];
        push_u64(&mut wide, CELLS_MAX as u64);
        wide.extend([0; 600]);
        assert!(decode(&wide, &[1], 0..1, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            count in 0usize..20,
            flips in prop::collection::vec((0usize..100, any::<u8>()), 0..6),
        ) {
            let mut bytes = chunk();
            for (at, flip) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
            }
            for bytes in [&bytes, &noise, &[&[3, 0, 0][..], &noise].concat()] {
                let mut out = Vec::new();
                if decode(bytes, &vec![7; count], 0..count, &mut out).is_ok() {
                    prop_assert!(out.iter().all(|sample| sample.histogram.check_structure().is_ok()));
                }
            }
        }
    }
}
