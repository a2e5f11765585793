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
use super::bits::{BitReader, BitWriter};
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
    pub(super) fn push_first(&mut self, writer: &mut BitWriter, timestamp_ms: i64) {
        *self = Self { previous_ms: timestamp_ms, delta_ms: 0 };
        writer.push(timestamp_ms.cast_unsigned(), 64);
    }

    #[inline]
    pub(super) fn push(&mut self, writer: &mut BitWriter, timestamp_ms: i64) {
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

/// One chunk that grows sample by sample: 80 bytes beside the coded ones.
#[derive(Debug, Clone, Default)]
pub struct GorillaAppender {
    writer: BitWriter,
    times: TimeState,
    values: XorState,
    count: u32,
}

impl GorillaAppender {
    /// An empty chunk that holds no memory yet.
    pub const fn new() -> Self {
        Self {
            writer: BitWriter::new(),
            times: TimeState { previous_ms: 0, delta_ms: 0 },
            values: XorState::EMPTY,
            count: 0,
        }
    }

    /// Appends one sample.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        if self.count == 0 {
            self.times.push_first(&mut self.writer, timestamp_ms);
            self.values.push_first(&mut self.writer, value.to_bits());
        } else {
            self.times.push(&mut self.writer, timestamp_ms);
            self.values.push(&mut self.writer, value.to_bits());
        }
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
        (self.count > 0).then(|| (self.times.previous_ms, f64::from_bits(self.values.previous())))
    }

    /// Length of the coded samples.
    pub fn len_bytes(&self) -> usize {
        self.writer.len_bytes()
    }

    /// Memory held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.writer.heap_bytes()
    }

    /// Appends the coded samples to `out` and returns their count, for [`GorillaIter`] or [`decode`]. Appending to
    /// the chunk may go on.
    pub fn snapshot_into(&self, out: &mut Vec<u8>) -> u32 {
        self.writer.copy_into(out);
        self.count
    }

    /// Forgets all samples, keeps the memory.
    pub fn clear(&mut self) {
        self.writer.clear();
        *self = Self { writer: std::mem::take(&mut self.writer), ..Self::new() };
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
