//! What the engine does with its share of the process's memory, and when the process is short of it.
//!
//! The engine keeps the head, caches and work within its options. Whether the process as a whole takes too much only
//! its owner sees, who then [relieves](super::Engine::relieve_memory) the engine, or [has it refuse](super::Engine::refuse_appends).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roaring::RoaringBitmap;

use super::blocks::Block;
use super::{Core, Engine};
use crate::head::Head;
use crate::ids::SeriesId;

/// What an exemplar is taken to need in memory, its labels included, in bytes.
pub const EXEMPLAR_BYTES: u64 = 256;
/// A head below this part of its flush size is not worth a block.
const RELIEF_PART: u64 = 4;
/// Series that are looked at to tell what all take.
const SERIES_LOOKED_AT: u64 = 1024;
/// What a series takes beside its labels' text and its place in the head: its places in the table, the hash table and the
/// postings.
const SERIES_BYTES: u64 = 6 + 8 + 28;
/// What writing a block takes beside its directories: a buffer, the columns it shares, the encoder.
const WRITER_BYTES: u64 = 1 << 20;
/// A chunk's entry in the directory with its part of the index, at most, about.
const ENTRY_BYTES: u64 = 14;
/// A vector that grows holds its bytes twice for a moment.
const GROWTH_FACTOR: u64 = 2;
/// Samples of a full chunk.
const CHUNK_SAMPLES: u64 = crate::codec::CHUNK_SAMPLES_MAX as u64;

/// Memory that flushes, merges and the making of index files work in now, by what is expected of them.
#[derive(Debug, Default)]
pub(super) struct WorkMemory(AtomicU64);

/// Counted until it is dropped.
#[derive(Debug)]
pub(super) struct Working<'a>(&'a WorkMemory, u64);

impl WorkMemory {
    pub(super) fn take(&self, bytes: u64) -> Working<'_> {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Working(self, bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What writing a block of so much takes, in bytes.
pub(super) fn writing_bytes(series: u64, samples: u64) -> u64 {
    let entries = series.saturating_add(samples / CHUNK_SAMPLES);
    entries.saturating_mul(ENTRY_BYTES * GROWTH_FACTOR).saturating_add(WRITER_BYTES)
}

/// What merging `blocks` takes, in bytes.
pub(super) fn merging_bytes(blocks: &[Arc<Block>]) -> u64 {
    let mut ids = RoaringBitmap::new();
    for block in blocks {
        ids |= block.ids();
    }
    writing_bytes(ids.len(), blocks.iter().map(|block| block.record.samples).sum())
}

/// How many of the first of `blocks` can be merged within `bytes_max`. Two are always merged: writing their series takes
/// about what flushing them took, and blocks must not pile up.
pub(super) fn affordable(blocks: &[Arc<Block>], bytes_max: u64) -> usize {
    let mut count = blocks.len();
    while count > 2 && merging_bytes(&blocks[..count]) > bytes_max {
        count -= 1;
    }
    count
}

impl Engine {
    /// Gives back what can be had quickly: decoded timestamps and labels go, and the head is flushed soon if that is worth a block.
    pub fn relieve_memory(&self) {
        let core = &self.core;
        core.columns.shrink(0);
        core.series.forget_decoded();
        if core.head.bytes() >= core.options.head_bytes_max / RELIEF_PART {
            core.flush_asked.store(true, Ordering::Release);
            core.wake.now();
        }
    }

    /// From now on appends are told to come back later, for this reason, and merges wait; `None` ends that. What was
    /// acknowledged is flushed and read as ever.
    pub fn refuse_appends(&self, reason: Option<String>) {
        let mut refused = self.core.refused.write();
        *refused = reason;
    }
}

impl Core {
    /// Why appends are refused for the sake of the process, if they are.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.read().clone()
    }

    /// Memory of the series in it, in bytes: told by a few of them, however many others files find.
    pub(super) fn series_bytes(&self) -> u64 {
        let live = self.series.live();
        let step = live.len().div_ceil(SERIES_LOOKED_AT).max(1);
        let every = |at: u64| live.select(u32::try_from(at * step).ok()?);
        let (mut looked_at, mut bytes) = (0, 0);
        for id in (0..SERIES_LOOKED_AT).map_while(every) {
            looked_at += 1;
            bytes += self.series.live_labels(SeriesId(id)).map_or(0, |of| of.packed().len() as u64 + SERIES_BYTES);
        }
        let bytes = (live.len() * bytes).checked_div(looked_at).unwrap_or(0);
        bytes + self.head.fixed_bytes()
    }

    /// Blocks that a flush may write side by side.
    pub(super) fn writers_max(&self, most: usize) -> usize {
        let affordable = self.options.maintenance_bytes_max / (GROWTH_FACTOR * WRITER_BYTES);
        usize::try_from(affordable).unwrap_or(most).clamp(1, most)
    }
}

impl Head {
    /// Memory of the fixed part of each series.
    fn fixed_bytes(&self) -> u64 {
        self.pages_made() as u64 * Self::PAGE_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_until_it_ends() {
        let memory = WorkMemory::default();
        let first = memory.take(5);
        let second = memory.take(7);
        assert_eq!(memory.bytes(), 12);
        drop(first);
        assert_eq!(memory.bytes(), 7);
        drop(second);
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn more_series_and_samples_take_more_to_write() {
        assert!(writing_bytes(100_000, 0) > writing_bytes(1000, 0));
        assert_eq!(writing_bytes(0, CHUNK_SAMPLES) - writing_bytes(0, 0), ENTRY_BYTES * GROWTH_FACTOR);
        assert_eq!(writing_bytes(u64::MAX, u64::MAX), u64::MAX);
    }
}
