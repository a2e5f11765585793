//! A copy of the samples of one series in one generation, for readers and flushes, who decode it without a lock.

use std::sync::Arc;

use model::{Samples, TimeRange};

use crate::block::overlay::{Mark, Scratch, clip, clip_floats, overlay};
use crate::codec::{CodecError, full, gorilla};

/// A chunk of a [`Layer`].
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Where its bytes begin and end.
    bytes: (usize, usize),
    count: u32,
    range: TimeRange,
}

/// A copy of the samples of one series in one generation.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// Of all chunks.
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Ascending and unique in time.
    late: Vec<(i64, f64)>,
    /// Coded, by time; where one is, no float counts.
    full: Vec<(i64, Arc<[u8]>)>,
}

/// What reading a layer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCost {
    /// Chunks decoded.
    pub chunks: u64,
    /// Encoded bytes decoded.
    pub bytes: u64,
    /// Samples decoded.
    pub samples: u64,
}

/// Bytes of a full sample that weigh as much as a float: a bucket of a histogram takes one or two.
const FULL_BYTES: u64 = 8;

impl Layer {
    /// Adds a chunk, later in time than all so far, whose bytes `copy` appends.
    pub(super) fn push_chunk(&mut self, count: u32, range: TimeRange, copy: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        copy(&mut self.bytes);
        self.chunks.push(Chunk { bytes: (start, self.bytes.len()), count, range });
    }

    /// Adds what is in no chunk.
    pub(super) fn set_aside(&mut self, late: Vec<(i64, f64)>, full: Vec<(i64, Arc<[u8]>)>) {
        (self.late, self.full) = (late, full);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.late.is_empty() && self.full.is_empty()
    }

    /// Lays the samples in `range` over those in `samples`, which are older: where both have one, this one counts.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be decoded, which is a fault of this program.
    pub fn read(&self, range: TimeRange, samples: &mut Samples) -> Result<LayerCost, CodecError> {
        let mut cost = LayerCost { chunks: 0, bytes: 0, samples: self.late.len() as u64 };
        if self.late.is_empty() && self.full.is_empty() {
            let before = Mark::of(samples);
            self.decode_chunks(range, samples, &mut cost)?;
            before.settle(samples, &mut Scratch::default());
            return Ok(cost);
        }
        let (mut own, mut spare) = (Samples::default(), Samples::default());
        self.decode_chunks(range, &mut own, &mut cost)?;
        if !self.late.is_empty() {
            let (timestamps_ms, values) = self.late.iter().copied().unzip();
            overlay(&mut own, &Samples::from_floats(timestamps_ms, values), &mut spare);
        }
        if !self.full.is_empty() {
            overlay(&mut own, &self.decode_full(range, &mut cost)?, &mut spare);
        }
        clip(&mut own, range);
        overlay(samples, &own, &mut spare);
        Ok(cost)
    }

    /// Appends the chunks' samples in `range`.
    fn decode_chunks(&self, range: TimeRange, samples: &mut Samples, cost: &mut LayerCost) -> Result<(), CodecError> {
        for chunk in self.chunks.iter().filter(|chunk| chunk.range.overlaps(range)) {
            let from = samples.timestamps_ms.len();
            let bytes = &self.bytes[chunk.bytes.0..chunk.bytes.1];
            gorilla::decode(bytes, chunk.count, samples)?;
            clip_floats(samples, from, range);
            cost.chunks += 1;
            cost.bytes += bytes.len() as u64;
            cost.samples += u64::from(chunk.count);
        }
        Ok(())
    }

    fn decode_full(&self, range: TimeRange, cost: &mut LayerCost) -> Result<Samples, CodecError> {
        let mut samples = Samples::default();
        for (at_ms, bytes) in self.full.iter().filter(|(at_ms, _)| range.contains(*at_ms)) {
            samples.push_full(full::decode(*at_ms, bytes)?);
            cost.bytes += bytes.len() as u64;
            cost.samples += 1;
        }
        Ok(samples)
    }

    /// The chunks' time ranges and sample counts, all others one by one; full samples are weighed by their length.
    pub fn extents(&self) -> impl Iterator<Item = (TimeRange, u64)> + '_ {
        let late = self.late.iter().map(|&(at_ms, _)| (at_ms, 1));
        let full = self.full.iter().map(|(at_ms, bytes)| (*at_ms, (bytes.len() as u64 / FULL_BYTES).max(1)));
        let single = late.chain(full).map(|(at_ms, weight)| (TimeRange::new(at_ms, at_ms), weight));
        self.chunks.iter().map(|chunk| (chunk.range, u64::from(chunk.count))).chain(single)
    }
}
