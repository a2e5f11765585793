//! What the head holds of one series in one generation.
//!
//! Samples that come in order go into a Gorilla chunk under construction, which is sealed when it is long enough.
//! The others wait in a side buffer as they came. A sample goes to the side only if one as late or later came
//! before it, so for one timestamp the side always knows better than the chunks.

use std::sync::Arc;

use model::{Samples, TimeRange};

use crate::block::overlay;
use crate::codec::CodecError;
use crate::codec::gorilla::{self, GorillaAppender};

/// Samples of a sealed chunk: an hour at one every 15 seconds.
const CHUNK_SAMPLES: u32 = 240;
/// The side buffer is sorted and rid of repeated timestamps when it passes this, and each time it has doubled.
const LATE_TIDY_MIN: usize = 256;

/// A chunk of the head that changes no more.
#[derive(Debug, Clone)]
pub struct HeadChunk {
    bytes: Arc<[u8]>,
    count: u32,
    range: TimeRange,
}

/// Samples of one series in one generation.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    sealed: Vec<HeadChunk>,
    open: GorillaAppender,
    open_first_ms: i64,
    late: Option<Box<Late>>,
}

/// Samples that came too late for their chunk, in the order they came.
#[derive(Debug, Default)]
struct Late {
    samples: Vec<(i64, f64)>,
    tidy_at: usize,
}

/// A copy of the samples of one series in one generation.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    chunks: Vec<HeadChunk>,
    /// Ascending and unique in time.
    late: Vec<(i64, f64)>,
}

impl Chunks {
    /// Adds a sample and says by how many bytes the memory grew.
    pub(super) fn push(&mut self, timestamp_ms: i64, value: f64) -> i64 {
        let newest = match self.open.last() {
            Some((newest_ms, newest)) => Some((newest_ms, Some(newest))),
            None => self.sealed.last().map(|chunk| (chunk.range.end.0, None)),
        };
        match newest {
            Some((newest_ms, newest)) if timestamp_ms <= newest_ms => {
                let again = timestamp_ms == newest_ms && newest.map(f64::to_bits) == Some(value.to_bits());
                // Sent twice, and nothing else was said in between.
                if again && self.late.is_none() {
                    return 0;
                }
                return self.push_late(timestamp_ms, value);
            }
            _ => {}
        }
        let before = self.open.heap_bytes();
        if self.open.is_empty() {
            self.open_first_ms = timestamp_ms;
        }
        self.open.push(timestamp_ms, value);
        let grown = signed(self.open.heap_bytes()) - signed(before);
        if self.open.count() >= CHUNK_SAMPLES { grown + self.seal(timestamp_ms) } else { grown }
    }

    fn seal(&mut self, last_ms: i64) -> i64 {
        let chunk = self.copy_open(last_ms);
        let grown = signed(chunk.heap_bytes());
        self.open.clear();
        self.sealed.push(chunk);
        grown
    }

    fn copy_open(&self, last_ms: i64) -> HeadChunk {
        let mut bytes = Vec::with_capacity(self.open.len_bytes());
        let count = self.open.snapshot_into(&mut bytes);
        HeadChunk { bytes: bytes.into(), count, range: TimeRange::new(self.open_first_ms, last_ms) }
    }

    fn push_late(&mut self, timestamp_ms: i64, value: f64) -> i64 {
        let late = self.late.get_or_insert_default();
        let before = late.samples.capacity();
        late.samples.push((timestamp_ms, value));
        if late.samples.len() >= late.tidy_at.max(LATE_TIDY_MIN) {
            tidy(&mut late.samples);
            late.tidy_at = late.samples.len() * 2;
        }
        (signed(late.samples.capacity()) - signed(before)) * 16
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    /// Memory that dropping this frees, as far as `push` counted it.
    pub(super) fn heap_bytes(&self) -> i64 {
        let late = self.late.as_ref().map_or(0, |late| late.samples.capacity() * 16);
        signed(self.sealed.iter().map(HeadChunk::heap_bytes).sum::<usize>() + self.open.heap_bytes() + late)
    }

    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        let open = self.open.last().map(|(last_ms, _)| TimeRange::new(self.open_first_ms, last_ms));
        self.sealed.iter().map(|chunk| chunk.range).chain(open).any(|of| of.overlaps(range))
            || self.late.as_ref().is_some_and(|late| late.samples.iter().any(|&(at_ms, _)| range.contains(at_ms)))
    }

    /// Copies what lies in `range`; chunks are copied whole. Nothing if there is nothing.
    pub(super) fn snapshot(&self, range: TimeRange) -> Option<Layer> {
        let sealed = self.sealed.iter().filter(|chunk| chunk.range.overlaps(range)).cloned();
        let open = self.open.last().filter(|&(last_ms, _)| range.overlaps(TimeRange::new(self.open_first_ms, last_ms)));
        let chunks: Vec<HeadChunk> = sealed.chain(open.map(|(last_ms, _)| self.copy_open(last_ms))).collect();
        let late = self.late.as_deref().map(|late| &late.samples[..]).unwrap_or_default();
        let mut late: Vec<(i64, f64)> = late.iter().copied().filter(|&(at_ms, _)| range.contains(at_ms)).collect();
        tidy(&mut late);
        let layer = Layer { chunks, late };
        (!layer.chunks.is_empty() || !layer.late.is_empty()).then_some(layer)
    }
}

impl HeadChunk {
    fn heap_bytes(&self) -> usize {
        // Two counters of the shared allocation, and the entry in the list of sealed chunks.
        self.bytes.len() + 16 + size_of::<Self>()
    }
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

impl Layer {
    /// Lays the samples in `range` over those in `samples`, which are older: where both have one, this one counts.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be decoded, which is a fault of this program.
    pub fn read(&self, range: TimeRange, samples: &mut Samples) -> Result<LayerCost, CodecError> {
        let mut cost = LayerCost { chunks: 0, bytes: 0, samples: self.late.len() as u64 };
        let (mut own, mut spare) = (Samples::default(), Samples::default());
        for chunk in &self.chunks {
            gorilla::decode(&chunk.bytes, chunk.count, &mut own)?;
            cost.chunks += 1;
            cost.bytes += chunk.bytes.len() as u64;
            cost.samples += u64::from(chunk.count);
        }
        if !self.late.is_empty() {
            let (timestamps_ms, values) = self.late.iter().copied().unzip();
            overlay(&mut own, &Samples::from_floats(timestamps_ms, values), &mut spare);
        }
        clip(&mut own, range);
        overlay(samples, &own, &mut spare);
        Ok(cost)
    }

    /// The chunks' time ranges and sample counts, late samples one by one.
    pub fn extents(&self) -> impl Iterator<Item = (TimeRange, u64)> + '_ {
        let late = self.late.iter().map(|&(at_ms, _)| (TimeRange::new(at_ms, at_ms), 1));
        self.chunks.iter().map(|chunk| (chunk.range, u64::from(chunk.count))).chain(late)
    }
}

/// Cuts away what lies outside `range`; the samples ascend in time.
fn clip(samples: &mut Samples, range: TimeRange) {
    let end = samples.timestamps_ms.partition_point(|&at_ms| at_ms <= range.end.0);
    samples.timestamps_ms.truncate(end);
    samples.values.truncate(end);
    let start = samples.timestamps_ms.partition_point(|&at_ms| at_ms < range.start.0);
    samples.timestamps_ms.drain(..start);
    samples.values.drain(..start);
}

/// Sorts by time; of one timestamp the sample that came last stays.
fn tidy(samples: &mut Vec<(i64, f64)>) {
    samples.sort_by_key(|sample| sample.0);
    samples.reverse();
    samples.dedup_by_key(|sample| sample.0);
    samples.reverse();
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Any order, many repeated timestamps: the last value of each is read back, and memory is counted to zero.
        #[test]
        fn the_last_value_of_each_timestamp_counts(
            samples in prop::collection::vec((-400i64..400, 0u32..4), 0..900),
            sorted in 0usize..900,
            range in (-500i64..500, -500i64..500),
        ) {
            let mut samples = samples;
            let end = sorted.min(samples.len());
            samples[..end].sort_unstable();
            let (mut chunks, mut model, mut bytes) = (Chunks::default(), BTreeMap::new(), 0);
            for &(at_ms, value) in &samples {
                bytes += chunks.push(at_ms, f64::from(value));
                model.insert(at_ms, f64::from(value));
            }
            prop_assert_eq!(bytes, chunks.heap_bytes());
            let range = TimeRange::new(range.0, range.1);
            let mut got = Samples::default();
            if let Some(layer) = chunks.snapshot(range) {
                layer.read(range, &mut got).expect("not damaged");
            }
            let want: Vec<(i64, f64)> = model.into_iter().filter(|(at_ms, _)| range.contains(*at_ms)).collect();
            prop_assert!(want.is_empty() || chunks.overlaps(range));
            let got: Vec<(i64, f64)> = got.iter().map(|sample| (sample.timestamp.0, sample.value)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
