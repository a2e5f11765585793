//! What the head holds of one series in one generation.
//!
//! Samples that come in order go into a Gorilla chunk under construction, which is sealed when it is long enough.
//! The others wait in a side buffer as they came. A sample goes to the side only if one as late or later came
//! before it, so for one timestamp the side always knows better than the chunks.
//!
//! Samples that are more than a float lie beside all this, by time and coded one by one. A float that comes later for
//! the same timestamp removes them, so what is there always knows better than the floats.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Samples, TimeRange};

use crate::block::overlay::{Mark, Scratch, clip, clip_floats, overlay};
use crate::codec::gorilla::{self, GorillaAppender};
use crate::codec::{CodecError, full};

/// Samples of a sealed chunk: an hour at one every 15 seconds.
const CHUNK_SAMPLES: u32 = 240;
/// The side buffer is sorted and rid of repeated timestamps when it passes this, and each time it has doubled.
const LATE_TIDY_MIN: usize = 256;
/// Memory of a sample that is more than a float, beside its bytes: two counters of the shared allocation, and its
/// place in a tree that is two thirds full.
const FULL_SAMPLE_BYTES: usize = 16 + 24 * 3 / 2;

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
    aside: Option<Box<Aside>>,
}

/// What does not fit into chunks.
#[derive(Debug, Default)]
struct Aside {
    /// Floats that came too late for their chunk, in the order they came.
    late: Vec<(i64, f64)>,
    tidy_at: usize,
    /// The coded samples that are more than a float, of the timestamps where such a sample came last.
    full: BTreeMap<i64, Arc<[u8]>>,
    full_bytes: usize,
}

/// A copy of the samples of one series in one generation.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    chunks: Vec<HeadChunk>,
    /// Ascending and unique in time.
    late: Vec<(i64, f64)>,
    /// Coded, by time; where one is, no float counts.
    full: Vec<(i64, Arc<[u8]>)>,
}

impl Chunks {
    /// Adds a float and says by how many bytes the memory grew.
    pub(super) fn push(&mut self, timestamp_ms: i64, value: f64) -> i64 {
        let freed = self.aside.as_mut().map_or(0, |aside| aside.forget_full(timestamp_ms));
        self.push_float(timestamp_ms, value) - freed
    }

    /// Adds a coded sample that is more than a float and says by how many bytes the memory grew.
    pub(super) fn push_full(&mut self, timestamp_ms: i64, bytes: Arc<[u8]>) -> i64 {
        let aside = self.aside.get_or_insert_default();
        let freed = aside.forget_full(timestamp_ms);
        let grown = bytes.len() + FULL_SAMPLE_BYTES;
        aside.full_bytes += grown;
        aside.full.insert(timestamp_ms, bytes);
        signed(grown) - freed
    }

    fn push_float(&mut self, timestamp_ms: i64, value: f64) -> i64 {
        let newest = match self.open.last() {
            Some((newest_ms, newest)) => Some((newest_ms, Some(newest))),
            None => self.sealed.last().map(|chunk| (chunk.range.end.0, None)),
        };
        match newest {
            Some((newest_ms, newest)) if timestamp_ms <= newest_ms => {
                let again = timestamp_ms == newest_ms && newest.map(f64::to_bits) == Some(value.to_bits());
                // Sent twice, and nothing else was said in between.
                if again && self.late().is_empty() {
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
        let aside = self.aside.get_or_insert_default();
        let before = aside.late.capacity();
        aside.late.push((timestamp_ms, value));
        if aside.late.len() >= aside.tidy_at.max(LATE_TIDY_MIN) {
            tidy(&mut aside.late);
            aside.tidy_at = aside.late.len() * 2;
        }
        (signed(aside.late.capacity()) - signed(before)) * 16
    }

    fn late(&self) -> &[(i64, f64)] {
        self.aside.as_deref().map(|aside| &aside.late[..]).unwrap_or_default()
    }

    /// The coded samples in `range`.
    fn full_in(&self, range: TimeRange) -> impl Iterator<Item = (i64, &Arc<[u8]>)> {
        let aside = self.aside.as_deref().filter(|_| !range.is_empty());
        let inside = aside.map(|aside| aside.full.range(range.start.0..=range.end.0));
        inside.into_iter().flatten().map(|(&at_ms, bytes)| (at_ms, bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        // Where there are late floats, there are chunks.
        self.open.is_empty() && self.sealed.is_empty() && self.aside.as_ref().is_none_or(|aside| aside.full.is_empty())
    }

    /// Memory that dropping this frees, as far as `push` counted it.
    pub(super) fn heap_bytes(&self) -> i64 {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.late.capacity() * 16 + aside.full_bytes);
        signed(self.sealed.iter().map(HeadChunk::heap_bytes).sum::<usize>() + self.open.heap_bytes() + aside)
    }

    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        let open = self.open.last().map(|(last_ms, _)| TimeRange::new(self.open_first_ms, last_ms));
        self.sealed.iter().map(|chunk| chunk.range).chain(open).any(|of| of.overlaps(range))
            || self.late().iter().any(|&(at_ms, _)| range.contains(at_ms))
            || self.full_in(range).next().is_some()
    }

    /// Time ranges and sample counts of the chunks, those of all other samples one by one.
    pub(super) fn extents(&self) -> impl Iterator<Item = (TimeRange, u64)> + '_ {
        let chunks = self.sealed.iter().map(|chunk| (chunk.range, u64::from(chunk.count)));
        let open = self
            .open
            .last()
            .map(|(last_ms, _)| (TimeRange::new(self.open_first_ms, last_ms), u64::from(self.open.count())));
        let late = self.late().iter().map(|&(at_ms, _)| at_ms);
        let single = late.chain(self.full_in(TimeRange::ALL).map(|(at_ms, _)| at_ms));
        chunks.chain(open).chain(single.map(|at_ms| (TimeRange::new(at_ms, at_ms), 1)))
    }

    /// The newest sample, if it lies in `range` and can be told without decoding.
    pub(super) fn newest(&self, range: TimeRange) -> Option<(i64, f64)> {
        let (newest_ms, value) = self.open.last().filter(|&(newest_ms, _)| range.contains(newest_ms))?;
        let is_known = self.aside.as_deref().is_none_or(|aside| {
            aside.late.iter().all(|&(at_ms, _)| at_ms < newest_ms) && aside.full.range(newest_ms..).next().is_none()
        });
        is_known.then_some((newest_ms, value))
    }

    /// Copies what lies in `range`; chunks are copied whole. Nothing if there is nothing.
    pub(super) fn snapshot(&self, range: TimeRange) -> Option<Layer> {
        let sealed = self.sealed.iter().filter(|chunk| chunk.range.overlaps(range)).cloned();
        let open = self.open.last().filter(|&(last_ms, _)| range.overlaps(TimeRange::new(self.open_first_ms, last_ms)));
        let chunks: Vec<HeadChunk> = sealed.chain(open.map(|(last_ms, _)| self.copy_open(last_ms))).collect();
        let mut late: Vec<(i64, f64)> =
            self.late().iter().copied().filter(|&(at_ms, _)| range.contains(at_ms)).collect();
        tidy(&mut late);
        let full: Vec<_> = self.full_in(range).map(|(at_ms, bytes)| (at_ms, bytes.clone())).collect();
        let layer = Layer { chunks, late, full };
        (!layer.chunks.is_empty() || !layer.late.is_empty() || !layer.full.is_empty()).then_some(layer)
    }
}

impl Aside {
    /// Removes the coded sample at `timestamp_ms`, and says how much memory that frees.
    fn forget_full(&mut self, timestamp_ms: i64) -> i64 {
        if self.full.is_empty() {
            return 0;
        }
        let freed = self.full.remove(&timestamp_ms).map_or(0, |bytes| bytes.len() + FULL_SAMPLE_BYTES);
        self.full_bytes -= freed;
        signed(freed)
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
            overlay(&mut own, &self.decode_full(&mut cost)?, &mut spare);
        }
        clip(&mut own, range);
        overlay(samples, &own, &mut spare);
        Ok(cost)
    }

    /// Appends the chunks' samples in `range`.
    fn decode_chunks(&self, range: TimeRange, samples: &mut Samples, cost: &mut LayerCost) -> Result<(), CodecError> {
        for chunk in &self.chunks {
            let from = samples.timestamps_ms.len();
            gorilla::decode(&chunk.bytes, chunk.count, samples)?;
            clip_floats(samples, from, range);
            cost.chunks += 1;
            cost.bytes += chunk.bytes.len() as u64;
            cost.samples += u64::from(chunk.count);
        }
        Ok(())
    }

    fn decode_full(&self, cost: &mut LayerCost) -> Result<Samples, CodecError> {
        let mut samples = Samples::default();
        for (at_ms, bytes) in &self.full {
            samples.push_full(full::decode(*at_ms, bytes)?);
            cost.bytes += bytes.len() as u64;
        }
        cost.samples += self.full.len() as u64;
        Ok(samples)
    }

    /// The chunks' time ranges and sample counts, all others one by one.
    pub fn extents(&self) -> impl Iterator<Item = (TimeRange, u64)> + '_ {
        let late = self.late.iter().map(|&(at_ms, _)| at_ms);
        let single = late.chain(self.full.iter().map(|&(at_ms, _)| at_ms));
        let single = single.map(|at_ms| (TimeRange::new(at_ms, at_ms), 1));
        self.chunks.iter().map(|chunk| (chunk.range, u64::from(chunk.count))).chain(single)
    }
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
    use model::{FullSample, SampleValue};
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
            if let Some(newest) = chunks.newest(range) {
                prop_assert_eq!(Some(&newest), want.last());
            }
            let got: Vec<(i64, f64)> = got.iter().map(|sample| (sample.timestamp.0, sample.value)).collect();
            prop_assert_eq!(got, want);
        }

        /// Whatever the order and the kinds, the sample that came last for a timestamp is read back, and memory is
        /// counted to zero.
        #[test]
        fn the_last_kind_of_each_timestamp_counts(
            samples in prop::collection::vec((-30i64..30, 0u32..3, 0i64..3), 0..400),
            range in (-35i64..35, -35i64..35),
        ) {
            let (mut chunks, mut model, mut bytes) = (Chunks::default(), BTreeMap::new(), 0);
            for &(timestamp_ms, value, start_ms) in &samples {
                let sample = FullSample { timestamp_ms, start_ms, value: SampleValue::Float(f64::from(value)) };
                bytes += if start_ms == 0 {
                    chunks.push(timestamp_ms, f64::from(value))
                } else {
                    let mut coded = Vec::new();
                    full::encode(&sample, &mut coded);
                    chunks.push_full(timestamp_ms, coded.into())
                };
                model.insert(timestamp_ms, sample);
            }
            prop_assert_eq!(bytes, chunks.heap_bytes());
            prop_assert_eq!(chunks.is_empty(), model.is_empty());
            let range = TimeRange::new(range.0, range.1);
            let mut got = Samples::default();
            if let Some(layer) = chunks.snapshot(range) {
                layer.read(range, &mut got).expect("not damaged");
            }
            let want: Vec<FullSample> = model.into_values().filter(|of| range.contains(of.timestamp_ms)).collect();
            prop_assert!(want.is_empty() || chunks.overlaps(range));
            if let Some((newest_ms, value)) = chunks.newest(range) {
                let newest = FullSample { timestamp_ms: newest_ms, start_ms: 0, value: SampleValue::Float(value) };
                prop_assert_eq!(Some(&newest), want.last());
            }
            prop_assert_eq!(got.iter_full().collect::<Vec<_>>(), want);
        }
    }
}
