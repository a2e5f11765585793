//! Making the summaries of a partition: all windows in one pass over its series, registered in one step.
//!
//! Of each series the finest window is made of its samples and the next ones of both the samples and the finer window.
//! Where samples are gone already, what was there before stays.

use std::sync::Arc;

use model::{Samples, Summary, TimeRange};
use roaring::RoaringBitmap;

use super::upkeep::{Part, Wanted};
use crate::block::overlay::{Mark, Scratch, overlay};
use crate::block::{BlockError, BlockWriter};
use crate::catalog::BlockRecord;
use crate::codec::Effort;
use crate::engine::blocks::Block;
use crate::engine::flush::{block_name, record_of};
use crate::engine::partition::Partition;
use crate::engine::{Core, Counters, StorageError};
use crate::ids::{BlockId, Sequence};
use crate::summary::{one_by_one, reconcile, regroup, settle_beside, summarise};

/// A block of summaries that is being written.
struct Target<'a> {
    wanted: &'a Wanted,
    /// What there was before.
    old: Option<&'a Arc<Block>>,
    id: BlockId,
    writer: BlockWriter,
    /// Series that nothing was written of.
    nothing: RoaringBitmap,
}

/// What is kept of a series by one window.
#[derive(Debug, Default)]
struct Column {
    summaries: Vec<Summary>,
    /// What stays one by one.
    beside: Samples,
}

impl Core {
    /// Writes the blocks of summaries that `partition` should have in place of those it has. Says whether there was
    /// space for it.
    pub(super) fn make_summaries(
        &self,
        partition: Partition,
        part: &Part,
        wanted: &[Wanted],
    ) -> Result<bool, StorageError> {
        self.check_poison()?;
        // Summaries are smaller than what they are made of, except for old ones that are copied.
        let needed_bytes: u64 = part.raw.iter().chain(part.summaries.values()).map(|block| block.record.bytes).sum();
        if self.rewrite_bytes_max() < needed_bytes {
            return Ok(false);
        }
        let wanted: Vec<&Wanted> = wanted.iter().filter(|wanted| !wanted.series.is_empty()).collect();
        let ids = self.take_block_ids(wanted.len())?;
        let mut targets = Vec::with_capacity(wanted.len());
        for (id, wanted) in ids.zip(wanted) {
            let path = self.blocks_folder().join(block_name(id));
            let Partition { first_day, last_day } = partition;
            let writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, Effort::Small)?;
            let old = part.summaries.get(&wanted.window_ms);
            targets.push(Target { wanted, old, id, writer, nothing: RoaringBitmap::new() });
        }
        let samples = self.write_series(part, &mut targets)?;
        let sequence = part.last_sequence();
        let (mut added, mut nothing): (Vec<Arc<Block>>, _) = (Vec::new(), Vec::new());
        for target in targets {
            nothing.push((target.wanted.window_ms, target.nothing.clone()));
            match self.finish_target(target, partition, part) {
                Ok(block) => added.extend(block),
                Err(error) => {
                    self.remove_blocks(&added);
                    return Err(error);
                }
            }
        }
        let written_bytes: u64 = added.iter().map(|block| block.record.bytes).sum();
        let removed_bytes: u64 = part.summaries.values().map(|block| block.record.bytes).sum();
        self.exchange(part.summaries.values(), added)?;
        let mut maintenance = self.maintenance.lock();
        for (window_ms, nothing) in nothing {
            maintenance.upkeep.remember(partition, window_ms, sequence, nothing);
        }
        drop(maintenance);
        Counters::add(&self.counters.samples_summarised, samples);
        Counters::add(&self.counters.partitions_summarised, 1);
        Counters::add(&self.counters.lifetime_bytes_freed, removed_bytes.saturating_sub(written_bytes));
        tracing::info!(first_day = partition.first_day, samples, bytes = written_bytes, "samples were summarised");
        Ok(true)
    }

    /// Numbers for blocks that will be written.
    pub(super) fn take_block_ids(&self, count: usize) -> Result<impl Iterator<Item = BlockId> + use<>, StorageError> {
        let mut maintenance = self.open_maintenance()?;
        let first = maintenance.state.next_block;
        maintenance.state.next_block += count as u64;
        Ok((first..).map(BlockId).take(count))
    }

    /// Puts blocks that were written in the place of others, which only who merges may remove.
    pub(super) fn exchange<'a>(
        &self,
        removed: impl Iterator<Item = &'a Arc<Block>> + Clone,
        added: Vec<Arc<Block>>,
    ) -> Result<(), StorageError> {
        let ids: Vec<BlockId> = removed.clone().map(|block| block.id).collect();
        let mut maintenance = self.open_maintenance().inspect_err(|_| self.remove_blocks(&added))?;
        self.replace(&mut maintenance, &ids, added)?;
        drop(maintenance);
        for block in removed {
            self.remove_file(&block.record.file);
        }
        Ok(())
    }

    /// Adds every series to the targets that want it; returns how many samples were summarised.
    fn write_series(&self, part: &Part, targets: &mut [Target<'_>]) -> Result<u64, StorageError> {
        let all = targets.iter().fold(RoaringBitmap::new(), |all, target| all | &target.wanted.series);
        let (mut samples, mut scratch, mut count) = (Samples::default(), Scratch::default(), 0);
        for id in all {
            if !self.merge_may_go_on() {
                return Err(BlockError::Stopped.into());
            }
            samples.clear();
            if targets.iter().any(|target| target.wanted.anew.contains(id)) {
                for block in part.raw.iter().filter(|block| block.ids().contains(id)) {
                    let before = Mark::of(&samples);
                    block.reader.read(u64::from(id), TimeRange::ALL, &mut samples)?;
                    before.settle(&mut samples, &mut scratch);
                }
                count += samples.len() as u64;
            }
            let mut finer: Option<Column> = None;
            for target in targets.iter_mut().filter(|target| target.wanted.series.contains(id)) {
                let column = target.column(id, &samples, finer.as_ref())?;
                if column.summaries.is_empty() && column.beside.is_empty() {
                    target.nothing.insert(id);
                }
                target.writer.add_summaries(u64::from(id), &column.summaries, &column.beside)?;
                finer = Some(column);
            }
        }
        Ok(count)
    }

    fn finish_target(
        &self,
        target: Target<'_>,
        partition: Partition,
        part: &Part,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        if target.writer.series() == 0 {
            return Ok(None);
        }
        let summary = target.writer.finish()?;
        let of = || part.raw.iter().chain(target.old).map(|block| &block.record);
        let first = of().map(|record| record.first_sequence).min().unwrap_or(0);
        let last = of().map(|record| record.last_sequence).max().unwrap_or(0);
        let record = record_of(target.id, partition, 0, &summary, Sequence(first), Sequence(last));
        let record = BlockRecord { window_ms: target.wanted.window_ms, ..record };
        self.open_block(target.id, record).map(Some)
    }
}

impl Target<'_> {
    /// What to keep of series `id`, of its `samples`, the `finer` window and what there was before.
    fn column(&self, id: u32, samples: &Samples, finer: Option<&Column>) -> Result<Column, BlockError> {
        let window_ms = self.wanted.window_ms;
        let mut old = Column::default();
        if let Some(block) = self.old.filter(|block| block.ids().contains(id)) {
            let reader = &block.reader;
            let mut damage = None;
            reader.read_summaries(
                u64::from(id),
                TimeRange::ALL,
                &mut old.summaries,
                &mut old.beside,
                &mut |found| {
                    damage.get_or_insert(found);
                },
            )?;
            damage.map_or(Ok(()), |damage| Err(BlockError::Damaged(damage)))?;
        }
        let finer = finer.filter(|finer| finer.summaries.iter().all(|of| window_ms % of.window_ms == 0));
        if samples.is_empty() && !self.wanted.anew.contains(id) {
            return Ok(old);
        }
        let (mut fresh, mut coarser, mut base) = (Vec::new(), Vec::new(), Vec::new());
        summarise(&samples.timestamps_ms, &samples.values, window_ms, &mut fresh);
        if let Some(finer) = finer {
            regroup(&finer.summaries, window_ms, &mut coarser);
        }
        reconcile(&coarser, &fresh, samples, &mut base);
        let mut column = Column { beside: old.beside, ..Column::default() };
        reconcile(&old.summaries, &base, samples, &mut column.summaries);
        let of_finer = finer.map(|finer| finer.beside.clone()).unwrap_or_default();
        for newer in [of_finer, one_by_one(samples.clone())] {
            overlay(&mut column.beside, &newer, &mut Samples::default());
        }
        settle_beside(&mut column.summaries, &mut column.beside, window_ms);
        Ok(column)
    }
}
