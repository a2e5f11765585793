//! Deletes and summaries. A summary that holds any deleted sample goes whole: nothing of it may tell of the sample.
//!
//! While a delete waits or is applied, of its series nothing is summarised, and no sample removed, in the partitions it reaches,
//! so that undoing it brings back what there was. Others go on, unless that would write summaries of both into a block of
//! later log records, of which the delete would hide none. Applying it writes the blocks of summaries anew.

use std::sync::Arc;

use model::{Samples, Summary, TimeRange};

use crate::block::overlay::Mark;
use crate::block::{BlockError, BlockWriter};
use crate::catalog::BlockRecord;
use crate::codec::Effort;
use crate::engine::blocks::Block;
use crate::engine::flush::{block_name, record_of};
use crate::engine::hidden::Hidden;
use crate::engine::merge::Ended;
use crate::engine::partition::Partition;
use crate::engine::{Core, StorageError};
use crate::ids::{Sequence, SeriesId};

impl Core {
    /// Takes what deletes that are being applied reach out of the summaries.
    pub(in crate::engine) fn forget_in_summaries(&self) -> Result<Ended, StorageError> {
        while !self.closing() {
            let (hidden, view) = (self.hidden(), self.view());
            let unmergeable = self.open_maintenance()?.unmergeable.clone();
            let due = |block: &&Arc<Block>| {
                block.record.window_ms > 0 && !unmergeable.contains(&block.id) && hidden.is_due(block)
            };
            let Some(block) = view.blocks.iter().find(due) else { return Ok(Ended::Done) };
            if self.rewrite_bytes_max() < block.record.bytes {
                return Ok(Ended::NoSpace);
            }
            let written = self.write_without_deleted(block, &hidden);
            match written.and_then(|written| self.exchange(std::iter::once(block), written.into_iter().collect())) {
                Ok(()) => {}
                Err(error) if error.is_disk_full() => return Ok(Ended::NoSpace),
                Err(StorageError::Block(BlockError::Stopped)) => return Ok(Ended::Interrupted),
                Err(StorageError::Block(BlockError::Damaged(damage))) => {
                    self.open_maintenance()?.unmergeable.insert(block.id);
                    self.damage.add(damage);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ended::Interrupted)
    }

    fn write_without_deleted(&self, block: &Block, hidden: &Hidden) -> Result<Option<Arc<Block>>, StorageError> {
        let Some(id) = self.take_block_ids(1)?.next() else { return Ok(None) };
        // What other deletes hide can still come back.
        let hidden = Hidden::new(hidden.applying(block.record.last_sequence).into_iter());
        let path = self.blocks_folder().join(block_name(id));
        let Partition { first_day, last_day } = block.partition();
        let mut writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, Effort::Small)?;
        let (mut summaries, mut beside): (Vec<Summary>, _) = (Vec::new(), Samples::default());
        for id in block.ids() {
            if !self.merge_may_go_on() {
                return Err(BlockError::Stopped.into());
            }
            summaries.clear();
            beside.clear();
            let mut damage = None;
            let mut told = |found| damage = damage.take().or(Some(found));
            block.reader.read_summaries(u64::from(id), TimeRange::ALL, &mut summaries, &mut beside, &mut told)?;
            damage.map_or(Ok(()), |damage| Err(BlockError::Damaged(damage)))?;
            hidden.cut_summaries(&block.record, SeriesId(id), &mut summaries);
            hidden.cut(&block.record, SeriesId(id), &mut beside, Mark::default());
            writer.add_summaries(u64::from(id), &summaries, &beside)?;
        }
        if writer.series() == 0 {
            return Ok(None);
        }
        let BlockRecord { level, first_sequence, last_sequence, window_ms, .. } = block.record;
        let (first, last) = (Sequence(first_sequence), Sequence(last_sequence));
        let record = record_of(id, block.partition(), level, &writer.finish()?, first, last);
        self.open_block(id, BlockRecord { window_ms, ..record }).map(Some)
    }
}
