//! Removing samples that are kept one by one no more, where all of a partition are past their time.
//!
//! Summaries are in the catalog by then. Samples that are in the head, or could still come, must not change what is
//! summarised: nothing goes while the head has samples of the partition, nor within a grace behind the border up to
//! which samples are taken.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::rules::Life;
use super::upkeep::{GONE_SHARE_MIN, Part};
use crate::block::{BlockWriter, MergePlan, merge};
use crate::catalog::BlockRecord;
use crate::codec::Effort;
use crate::engine::blocks::Block;
use crate::engine::flush::{block_name, record_of};
use crate::engine::partition::Partition;
use crate::engine::{Core, Counters, StorageError};
use crate::ids::Sequence;
use model::TimeRange;

/// How long summarised samples stay behind the border of their rule: an append that was checked against the border
/// is in the head long before.
const GRACE_MS: i64 = 3_600_000;

/// Leaves out some series.
struct Without<'a> {
    core: &'a Core,
    gone: &'a RoaringBitmap,
}

impl MergePlan for Without<'_> {
    fn keep(&mut self, series_id: u64) -> Option<TimeRange> {
        let gone = u32::try_from(series_id).is_ok_and(|id| self.gone.contains(id));
        (!gone).then_some(TimeRange::ALL)
    }

    fn go_on(&mut self) -> bool {
        self.core.merge_may_go_on()
    }
}

impl Core {
    /// Removes the samples of a partition that are past their time, whose summaries are made. Says whether there was
    /// space for it.
    pub(super) fn drop_raw(
        &self,
        partition: Partition,
        part: &Part,
        by_rule: &[(RoaringBitmap, &Life)],
        in_head: Option<TimeRange>,
    ) -> Result<bool, StorageError> {
        let end_ms = partition.end_ms();
        let in_head = in_head.is_some_and(|span| span.overlaps(partition.range()));
        let is_over = |life: &Life| {
            let plainly = life.steps.is_empty() && life.raw_start_ms > end_ms;
            plainly || (life.raw_start_ms.saturating_sub(GRACE_MS) > end_ms && !in_head)
        };
        let mut gone = RoaringBitmap::new();
        for (ids, _) in by_rule.iter().filter(|(_, life)| is_over(life)) {
            gone |= ids;
        }
        // Of all blocks or of none: samples that are left of a series would hide its summaries from a rule that keeps samples longer.
        let counts = part.raw.iter().map(|block| (block.ids().intersection_len(&gone), block.ids().len()));
        let (gone_of, all) = counts.fold((0, 0), |(gone, all), (without, ids)| (gone + without, all + ids));
        if gone_of * GONE_SHARE_MIN < all {
            return Ok(true);
        }
        let (mut removed, mut added): (Vec<&Arc<Block>>, Vec<Arc<Block>>) = (Vec::new(), Vec::new());
        for block in &part.raw {
            let without = block.ids().intersection_len(&gone);
            if without == 0 {
                continue;
            }
            let whole = without == block.ids().len();
            if !whole && self.rewrite_bytes_max() < block.record.bytes {
                self.remove_blocks(&added);
                return Ok(false);
            }
            removed.push(block);
            if !whole {
                let rewritten = self.write_without(block, partition, &gone);
                added.extend(rewritten.inspect_err(|_| self.remove_blocks(&added))?);
            }
        }
        if removed.is_empty() {
            return Ok(true);
        }
        let bytes = |blocks: &mut dyn Iterator<Item = u64>| blocks.sum::<u64>();
        let kept_bytes = bytes(&mut added.iter().map(|block| block.record.bytes));
        let freed_bytes = bytes(&mut removed.iter().map(|block| block.record.bytes)).saturating_sub(kept_bytes);
        let (dropped, rewritten) = (removed.len() - added.len(), added.len() as u64);
        self.exchange(removed.iter().copied(), added)?;
        Counters::add(&self.counters.blocks_dropped, dropped as u64);
        Counters::add(&self.counters.blocks_rewritten, rewritten);
        Counters::add(&self.counters.lifetime_bytes_freed, freed_bytes);
        Ok(true)
    }

    /// Writes a block anew without some of its series.
    fn write_without(
        &self,
        block: &Block,
        partition: Partition,
        gone: &RoaringBitmap,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        let Some(id) = self.take_block_ids(1)?.next() else { return Ok(None) };
        let path = self.blocks_folder().join(block_name(id));
        let Partition { first_day, last_day } = partition;
        let writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, Effort::Small)?;
        let mut plan = Without { core: self, gone };
        let Some(summary) = merge(&[&block.reader], &mut plan, writer)? else { return Ok(None) };
        let BlockRecord { level, first_sequence, last_sequence, .. } = block.record;
        let sequences = (Sequence(first_sequence), Sequence(last_sequence));
        let record = record_of(id, partition, level, &summary, sequences.0, sequences.1);
        self.open_block(id, record).map(Some)
    }
}
