//! Summaries in blocks: what is kept of samples that are no longer kept one by one.
//!
//! A block of summaries is a block like any other, whose chunks have the latest value of each window at its time and,
//! beside it, the rest of the [`Summary`]. Histograms, and stale markers that are alone in their windows, lie between
//! them as ordinary chunks. Readers of samples need not know. The coding is [`summary::column`](crate::summary::column)'s.

use model::{ReadCost, Samples, Summary, TimeRange};

use super::chunk::Place;
use super::directory::ChunkEntry;
use super::known::Found;
use super::overlay::{Mark, times};
use super::{BlockError, BlockReader, BlockWriter, Fault, check_crc};
use crate::damage::Damage;
use crate::summary::column::{self, FirstTimes, TAG};

impl BlockWriter {
    /// Adds a series of `summaries` and what is kept one by one `beside` them, each ascending in time, with an id above
    /// those before. Windows are of one length; a window's latest sample lies inside the partition. Nothing of both adds
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the order is broken, or the file cannot be written; after the latter give the writer up.
    pub fn add_summaries(
        &mut self,
        series_id: u64,
        mut summaries: &[Summary],
        beside: &Samples,
    ) -> Result<(), BlockError> {
        let shown = shown(summaries, beside);
        if !self.begin(series_id, &shown)? {
            return Ok(());
        }
        let of_beside: Vec<i64> = times(beside).collect();
        let (mut rest, mut next) = (of_beside.as_slice(), Place::default());
        while !summaries.is_empty() || !rest.is_empty() {
            let beside_ms = rest.first();
            let run = summaries.partition_point(|of| beside_ms.is_none_or(|&at_ms| of.last_ms < at_ms));
            if run > 0 {
                let written = self.add_run(summaries.get(..run).unwrap_or_default())?;
                summaries = summaries.get(written..).unwrap_or_default();
                continue;
            }
            let summary_ms = summaries.first().map(|of| of.last_ms);
            let run = rest.partition_point(|&at_ms| summary_ms.is_none_or(|summary_ms| at_ms < summary_ms));
            let written = self.add_beside(beside, &mut next, rest.get(..run).unwrap_or_default())?;
            rest = rest.get(written..).unwrap_or_default();
        }
        self.end(&shown);
        Ok(())
    }

    /// Adds a chunk of summaries that `run` begins with; says of how many.
    fn add_run(&mut self, run: &[Summary]) -> Result<usize, BlockError> {
        let last_ms: Vec<i64> = run.iter().map(|of| of.last_ms).collect();
        let mut place = self.place_times(&last_ms)?;
        let first_ms: Vec<i64> = run.iter().take(place.count).map(|of| of.first_ms).collect();
        let first = self.place_times(&first_ms)?;
        place.count = place.count.min(first.count);
        let chunk = run.get(..place.count).unwrap_or_default();
        let first_times = FirstTimes { column: first.column, index: first.first };
        let (start, effort) = (self.buffer.len(), self.effort);
        column::encode(&mut self.encoder, chunk, place.column, first_times, effort, &mut self.buffer);
        self.add_chunk(TAG, place, &last_ms, start)?;
        Ok(place.count)
    }

    /// Adds a chunk of some of `samples` from `next` on, which lie at `times`; says of how many.
    fn add_beside(&mut self, samples: &Samples, next: &mut Place, times: &[i64]) -> Result<usize, BlockError> {
        let place = self.place_times(times)?;
        let start = self.buffer.len();
        let plain = (&mut self.encoder, self.effort);
        let (count, tag) = self.full.encode_front(samples, next, place.count, plain, &mut self.buffer);
        self.add_chunk(tag, Found { count, ..place }, times, start)?;
        Ok(count)
    }
}

/// What a reader of samples will find, checked and counted as such.
fn shown(summaries: &[Summary], beside: &Samples) -> Samples {
    let of_beside = beside.timestamps_ms.iter().copied().zip(beside.values.iter().copied());
    let mut floats: Vec<(i64, f64)> = summaries.iter().map(|of| (of.last_ms, of.last)).chain(of_beside).collect();
    if !beside.timestamps_ms.is_empty() {
        floats.sort_by_key(|&(at_ms, _)| at_ms);
    }
    let (timestamps_ms, values) = floats.into_iter().unzip();
    Samples { timestamps_ms, values, starts_ms: Vec::new(), histograms: beside.histograms.clone() }
}

impl BlockReader {
    /// Appends the summaries of series `id` whose latest samples are inside `range` to `summaries`, and what the block
    /// has of it one by one to `samples`. Damaged chunks are left out, told of, and counted in the cost.
    ///
    /// # Errors
    ///
    /// When the directory is malformed.
    pub fn read_summaries(
        &self,
        id: u64,
        range: TimeRange,
        summaries: &mut Vec<Summary>,
        samples: &mut Samples,
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, BlockError> {
        let mut cost = ReadCost::default();
        let Some(entry) = self.find(id).map_err(|fault| self.damaged(fault))? else { return Ok(cost) };
        for chunk in &entry.chunks {
            let before = Mark::of(samples);
            let read = if chunk.coding_tag == TAG {
                self.read_summary_chunk(chunk, range, summaries, &mut cost)
            } else {
                self.read_chunk(chunk, range, samples, &mut cost)
            };
            if let Err(fault) = read {
                before.restore(samples);
                told(fault.in_file(self.path()));
                cost.chunks_lost += 1;
            }
        }
        Ok(cost)
    }

    fn read_summary_chunk(
        &self,
        chunk: &ChunkEntry,
        range: TimeRange,
        summaries: &mut Vec<Summary>,
        cost: &mut ReadCost,
    ) -> Result<(), Fault> {
        let placed = self.place(chunk)?;
        if !placed.bounds.overlaps(range) {
            return Ok(());
        }
        let outside = || Fault::new("chunk", chunk.offset, chunk.bytes, "its times lie outside of their column");
        let latest = self.column(chunk.column, cost)?;
        let latest = latest.get(placed.samples).ok_or_else(outside)?;
        let start = latest.partition_point(|&at_ms| at_ms < range.start.0);
        let end = latest.partition_point(|&at_ms| at_ms <= range.end.0);
        let encoded = self.bytes(chunk.offset, chunk.bytes, "chunk")?;
        check_crc("chunk", chunk.offset, encoded, chunk.crc)?;
        let malformed =
            |error: crate::codec::CodecError| Fault::new("chunk", chunk.offset, chunk.bytes, error.to_string());
        let FirstTimes { column: number, index } = column::first_times(encoded, chunk.column).map_err(malformed)?;
        let earliest = self.column(number, cost)?;
        let earliest = earliest.get(index..).and_then(|tail| tail.get(..latest.len())).ok_or_else(outside)?;
        column::decode(encoded, latest, earliest, start..end.max(start), summaries).map_err(malformed)?;
        cost.chunks += 1;
        cost.bytes += chunk.bytes;
        cost.samples += latest.len() as u64;
        Ok(())
    }
}
