//! The chunk under construction in the head: timestamps by delta of delta, values by XOR, bit after bit (Pelkonen et
//! al., VLDB 2015, section 4.1), with classes chosen for milliseconds.
//!
//! The first timestamp takes 64 bits, then its value as in [`xor`](super::xor). Each further sample is a timestamp,
//! then a value. A timestamp is the change of the delta to its predecessor, in two's complement that wraps around, so
//! that any two i64 work; the delta before the first is 0:
//!
//! ```text
//! 0            no change
//! 10   <7>     -64 ..= 63
//! 110  <12>    -2048 ..= 2047
//! 1110 <20>    -524288 ..= 524287
//! 1111 <64>    anything
//! ```
//!
//! The order of timestamps does not matter to the coding; the head keeps it.

use model::Samples;

use super::CodecError;
use super::bits::{BitReader, BitSink, fill, raised};
use super::xor::XorState;

/// The name in errors.
const CODING: &str = "Gorilla chunk";

/// Widths of the classes of a timestamp, by the number of one bits before them.
const TIME_WIDTHS: [u32; 5] = [0, 7, 12, 20, 64];

/// Samples decoded one by one before looking for a run of unchanged ones again.
const CHANGES_IN_A_ROW: usize = 4;

/// Codes the timestamps of one series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimeState {
    previous_ms: i64,
    delta_ms: i64,
}

impl TimeState {
    pub(super) fn push_first(&mut self, writer: &mut impl BitSink, timestamp_ms: i64) {
        *self = Self { previous_ms: timestamp_ms, delta_ms: 0 };
        writer.push(timestamp_ms.cast_unsigned(), 64);
    }

    #[inline]
    pub(super) fn push(&mut self, writer: &mut impl BitSink, timestamp_ms: i64) {
        let delta_ms = timestamp_ms.wrapping_sub(self.previous_ms);
        let change = delta_ms.wrapping_sub(self.delta_ms);
        *self = Self { previous_ms: timestamp_ms, delta_ms };
        let bits = change.cast_unsigned();
        match change {
            0 => writer.push(0, 1),
            -64..=63 => writer.push((0b10 << 7) | (bits & 0x7f), 9),
            -2048..=2047 => writer.push((0b110 << 12) | (bits & 0xfff), 15),
            -524_288..=524_287 => writer.push((0b1110 << 20) | (bits & 0xf_ffff), 24),
            _ => {
                writer.push(0b1111, 4);
                writer.push(bits, 64);
            }
        }
    }

    pub(super) fn read_first(&mut self, reader: &mut BitReader<'_>) -> Option<i64> {
        *self = Self { previous_ms: reader.read(64)?.cast_signed(), delta_ms: 0 };
        Some(self.previous_ms)
    }

    #[inline]
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Option<i64> {
        let width = *TIME_WIDTHS.get(reader.read_ones(4)? as usize)?;
        if width > 0 {
            let unsigned = reader.read(width)?;
            let unused = 64 - width;
            let change = (unsigned << unused).cast_signed() >> unused;
            self.delta_ms = self.delta_ms.wrapping_add(change);
        }
        self.previous_ms = self.previous_ms.wrapping_add(self.delta_ms);
        Some(self.previous_ms)
    }
}

/// A chunk under construction without its bytes, which the owner keeps as he likes: what coding the next sample takes, and
/// the bits that fill no word yet. 40 bytes, since a head has one for every active series.
#[derive(Debug, Clone, Copy, Default)]
pub struct GorillaTail {
    last_ms: i64,
    delta_ms: i64,
    value_bits: u64,
    pending: u64,
    count: u32,
    pending_bits: u8,
    leading: u8,
    width: u8,
}

/// Hands on words of bits as they are full.
struct Words<'a, F> {
    pending: &'a mut u64,
    pending_bits: &'a mut u8,
    full: F,
}

impl<F: FnMut(u64)> BitSink for Words<'_, F> {
    #[inline]
    fn push(&mut self, bits: u64, width: u32) {
        if let Some(word) = fill(self.pending, self.pending_bits, bits, width) {
            (self.full)(word);
        }
    }
}

impl GorillaTail {
    /// Of an empty chunk.
    pub const EMPTY: Self =
        Self { last_ms: 0, delta_ms: 0, value_bits: 0, pending: 0, count: 0, pending_bits: 0, leading: 0, width: 0 };

    /// Appends one sample; `full` gets the words of the chunk that are full by it, three at most. Their bytes, big-endian, and then
    /// the [rest](Self::rest) are the coded samples. The first sample is two words: timestamp and value.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, value: f64, full: impl FnMut(u64)) {
        let mut times = TimeState { previous_ms: self.last_ms, delta_ms: self.delta_ms };
        let mut values = XorState { previous: self.value_bits, leading: self.leading, width: self.width };
        let mut words = Words { pending: &mut self.pending, pending_bits: &mut self.pending_bits, full };
        if self.count == 0 {
            times.push_first(&mut words, timestamp_ms);
            values.push_first(&mut words, value.to_bits());
        } else {
            times.push(&mut words, timestamp_ms);
            values.push(&mut words, value.to_bits());
        }
        (self.last_ms, self.delta_ms) = (times.previous_ms, times.delta_ms);
        (self.value_bits, self.leading, self.width) = (values.previous, values.leading, values.width);
        self.count += 1;
    }

    /// How many samples there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sample appended last.
    pub fn last(&self) -> Option<(i64, f64)> {
        (self.count > 0).then(|| (self.last_ms, f64::from_bits(self.value_bits)))
    }

    /// The bits that fill no word yet, padded with zeros to a word, and how many of its bytes they take.
    pub fn rest(&self) -> (u64, usize) {
        raised(self.pending, self.pending_bits)
    }
}

/// One chunk that grows sample by sample and keeps its bytes.
#[derive(Debug, Clone, Default)]
pub struct GorillaAppender {
    /// Whole words.
    bytes: Vec<u8>,
    tail: GorillaTail,
}

impl GorillaAppender {
    /// An empty chunk that holds no memory yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), tail: GorillaTail::EMPTY }
    }

    /// Appends one sample.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        let bytes = &mut self.bytes;
        self.tail.push(timestamp_ms, value, |word| bytes.extend_from_slice(&word.to_be_bytes()));
    }

    /// How many samples there are.
    pub fn count(&self) -> u32 {
        self.tail.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty()
    }

    /// The sample appended last.
    pub fn last(&self) -> Option<(i64, f64)> {
        self.tail.last()
    }

    /// Length of the coded samples.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + self.tail.rest().1
    }

    /// Appends the coded samples to `out` and returns their count, for [`GorillaIter`] or [`decode`]. Appending to
    /// the chunk may go on.
    pub fn snapshot_into(&self, out: &mut Vec<u8>) -> u32 {
        let (word, rest_bytes) = self.tail.rest();
        out.extend_from_slice(&self.bytes);
        out.extend(word.to_be_bytes().iter().take(rest_bytes));
        self.tail.count()
    }

    /// Forgets all samples, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.tail = GorillaTail::EMPTY;
    }
}

/// The samples of a chunk, in the order they were appended. Ends after the declared count or the first error.
#[derive(Debug, Clone)]
pub struct GorillaIter<'a> {
    reader: BitReader<'a>,
    times: TimeState,
    values: XorState,
    at: u32,
    count: u32,
}

impl<'a> GorillaIter<'a> {
    /// Reads `count` samples from `bytes`.
    pub fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { reader: BitReader::new(bytes), times: TimeState::default(), values: XorState::default(), at: 0, count }
    }

    #[inline]
    fn read(&mut self) -> Option<(i64, f64)> {
        let (timestamp_ms, bits) = if self.at == 0 {
            (self.times.read_first(&mut self.reader)?, self.values.read_first(&mut self.reader)?)
        } else {
            (self.times.read(&mut self.reader)?, self.values.read(&mut self.reader)?)
        };
        Some((timestamp_ms, f64::from_bits(bits)))
    }
}

impl Iterator for GorillaIter<'_> {
    type Item = Result<(i64, f64), CodecError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.count {
            return None;
        }
        if let Some(sample) = self.read() {
            self.at += 1;
            Some(Ok(sample))
        } else {
            let (at, count) = (self.at as usize, self.count as usize);
            self.at = self.count;
            Some(Err(CodecError::Truncated { coding: CODING, at, count }))
        }
    }
}

/// Appends the `count` samples in `bytes` to `out`. Memory follows the bytes that are there, not the declared count.
///
/// # Errors
///
/// When the bytes end before; `out` then holds the samples up to there.
pub fn decode(bytes: &[u8], count: u32, out: &mut Samples) -> Result<(), CodecError> {
    let count = count as usize;
    // A sample takes at least two bits.
    let room = count.min(bytes.len().saturating_mul(4));
    let start = out.timestamps_ms.len();
    out.timestamps_ms.resize(start + room, 0);
    out.values.resize(start + room, 0.0);
    let times_ms = out.timestamps_ms.get_mut(start..).unwrap_or_default();
    let values = out.values.get_mut(start..).unwrap_or_default();
    let decoded = decode_into(bytes, times_ms, values);
    out.timestamps_ms.truncate(start + decoded);
    out.values.truncate(start + decoded);
    if !out.starts_ms.is_empty() {
        out.starts_ms.resize(start + decoded, 0);
    }
    if decoded < count { Err(CodecError::Truncated { coding: CODING, at: decoded, count }) } else { Ok(()) }
}

/// Fills both columns, which have equal length, from `bytes`; how many samples there were. A sample with the delta and
/// the value of the one before takes two zero bits, and such samples mostly come in runs.
fn decode_into(bytes: &[u8], timestamps_ms: &mut [i64], values: &mut [f64]) -> usize {
    let room = timestamps_ms.len();
    let mut reader = BitReader::new(bytes);
    let (mut times, mut xors) = (TimeState::default(), XorState::default());
    let mut slots = timestamps_ms.iter_mut().zip(values);
    let Some((time_ms, value)) = slots.next() else { return 0 };
    let (Some(first_ms), Some(first)) = (times.read_first(&mut reader), xors.read_first(&mut reader)) else { return 0 };
    (*time_ms, *value) = (first_ms, f64::from_bits(first));
    let mut decoded = 1;
    while decoded < room {
        let same = reader.take_zero_pairs(room - decoded);
        for (time_ms, value) in slots.by_ref().take(same) {
            times.previous_ms = times.previous_ms.wrapping_add(times.delta_ms);
            (*time_ms, *value) = (times.previous_ms, f64::from_bits(xors.previous()));
        }
        decoded += same;
        // Some samples come in a row that differ, and one that does not costs nothing here.
        for _ in 0..CHANGES_IN_A_ROW {
            let Some((time_ms, value)) = (if decoded < room { slots.next() } else { None }) else { return decoded };
            let (Some(next_ms), Some(next)) = (times.read(&mut reader), xors.read(&mut reader)) else { return decoded };
            (*time_ms, *value) = (next_ms, f64::from_bits(next));
            decoded += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_under_construction_takes_40_bytes_beside_its_words() {
        assert_eq!(size_of::<GorillaTail>(), 40);
    }
}
