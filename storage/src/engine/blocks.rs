//! The blocks that are open, and which series they hold.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use model::{ReadCost, Samples, TimeRange};
use roaring::RoaringBitmap;

use super::partition::Partition;
use crate::block::{BlockError, BlockReader};
use crate::catalog::BlockRecord;
use crate::damage::Damage;
use crate::ids::{BlockId, SeriesId};

/// An open block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: BlockId,
    pub(super) record: BlockRecord,
    pub(super) reader: BlockReader,
    /// Its series, found out when first needed.
    held: OnceLock<Held>,
}

/// The series that a block holds.
#[derive(Debug, Default)]
struct Held {
    ids: RoaringBitmap,
    /// Why there may be more: its directory was sound when it was opened, and is no more.
    damage: Option<Damage>,
}

/// All registered blocks at one moment. Readers keep theirs while newer ones are made.
#[derive(Debug, Default)]
pub(super) struct BlockSet {
    /// From the oldest to the newest write. Blocks that share an instant of one series never share log records, so
    /// of two values for one timestamp that of the later block counts.
    pub(super) blocks: Vec<Arc<Block>>,
    /// Registered, but missing or damaged: neither read nor merged, and left where they are for a repair.
    pub(super) quarantined: Vec<(BlockId, BlockRecord)>,
    /// The last instant of the partitions that have summaries.
    summarised_until_ms: Option<i64>,
}

impl Block {
    pub(super) fn new(id: BlockId, record: BlockRecord, reader: BlockReader) -> Self {
        Self { id, record, reader, held: OnceLock::new() }
    }

    pub(super) fn partition(&self) -> Partition {
        partition_of(&self.record)
    }

    /// From its first sample to its last.
    pub(super) fn span(&self) -> TimeRange {
        TimeRange::new(self.record.min_ms, self.record.max_ms)
    }

    /// Whether it holds the series.
    pub(super) fn has(&self, id: SeriesId) -> bool {
        self.ids().contains(id.0)
    }

    /// The series it holds, as far as they are [found](Self::damage).
    pub(super) fn ids(&self) -> &RoaringBitmap {
        &self.held().ids
    }

    /// Why it may hold other series too. What it holds is then not to be taken for all: it is neither merged nor summarised, and
    /// no series is removed.
    pub(super) fn damage(&self) -> Option<&Damage> {
        self.held().damage.as_ref()
    }

    fn held(&self) -> &Held {
        self.held.get_or_init(|| {
            let mut held = Held::default();
            for info in self.reader.series() {
                match info.map(|info| u32::try_from(info.id)) {
                    Ok(Ok(id)) => drop(held.ids.insert(id)),
                    Ok(Err(_)) => {}
                    Err(error) => {
                        tracing::error!(%error, "the rest of the block's series is not found");
                        let (file, detail) = (self.reader.path().to_owned(), error.to_string());
                        let elsewhere = Damage { file, offset: 0, bytes: self.record.bytes, detail };
                        held.damage = Some(if let BlockError::Damaged(damage) = error { damage } else { elsewhere });
                    }
                }
            }
            held
        })
    }

    /// Whether series `id` may have samples in `range`.
    pub(super) fn overlaps(&self, id: u32, range: TimeRange) -> Result<bool, BlockError> {
        let span = self.span();
        if !span.overlaps(range) || !self.ids().contains(id) {
            return Ok(false);
        }
        if range.contains(span.start.0) && range.contains(span.end.0) {
            return Ok(true);
        }
        let info = self.reader.series_info(u64::from(id))?;
        Ok(info.is_some_and(|info| info.bounds.overlaps(range)))
    }

    /// Those of `ids`, all of which it holds, that may have samples in `range`.
    pub(super) fn reaching_into(&self, ids: &RoaringBitmap, range: TimeRange) -> Result<RoaringBitmap, BlockError> {
        self.reader.reaching_into(ids, range)
    }

    /// Appends the samples of `id` in `range`. Damaged chunks are left out, and `told` of.
    pub(super) fn read(
        &self,
        id: SeriesId,
        range: TimeRange,
        into: &mut Samples,
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, BlockError> {
        if self.ids().contains(id.0) {
            self.reader.read_around(u64::from(id.0), range, into, told)
        } else {
            Ok(ReadCost::default())
        }
    }
}

impl BlockSet {
    /// A set of `blocks` in the order that reading needs.
    pub(super) fn new(mut blocks: Vec<Arc<Block>>, quarantined: Vec<(BlockId, BlockRecord)>) -> Self {
        blocks.sort_by_key(|block| (block.record.last_sequence, block.id));
        let summaries = blocks.iter().filter(|block| block.record.window_ms > 0);
        let summarised_until_ms = summaries.map(|block| block.partition().end_ms()).max();
        Self { blocks, quarantined, summarised_until_ms }
    }

    /// The set without `removed` and with `added`.
    pub(super) fn change(&self, removed: &[BlockId], added: Vec<Arc<Block>>) -> Self {
        let kept = self.blocks.iter().filter(|block| !removed.contains(&block.id)).cloned();
        let quarantined = self.quarantined.iter().filter(|(id, _)| !removed.contains(id)).cloned().collect();
        Self::new(kept.chain(added).collect(), quarantined)
    }

    /// The blocks that have samples in `range`, from old to new.
    pub(super) fn overlapping(&self, range: TimeRange) -> Vec<Arc<Block>> {
        self.blocks.iter().filter(|block| block.span().overlaps(range)).cloned().collect()
    }

    /// The blocks with samples, from the oldest to the newest write.
    pub(super) fn raw(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.iter().filter(|block| block.record.window_ms == 0)
    }

    /// The last instant that a summary may tell of, if there is any.
    pub(super) fn summarised_until_ms(&self) -> Option<i64> {
        self.summarised_until_ms
    }

    /// The partitions with summaries.
    pub(super) fn summarised(&self) -> Vec<Partition> {
        let readable = self.blocks.iter().map(|block| &block.record);
        let records = readable.chain(self.quarantined.iter().map(|(_, record)| record));
        records.filter(|record| record.window_ms > 0).map(partition_of).collect()
    }

    /// The partitions with a block that cannot be read, or not whole, or is among `unmergeable`.
    pub(super) fn blocked(&self, unmergeable: &BTreeSet<BlockId>) -> Vec<Partition> {
        let known = |block: &Block| block.held.get().is_some_and(|held| held.damage.is_some());
        let damaged = self.blocks.iter().filter(|block| unmergeable.contains(&block.id) || known(block));
        let damaged = damaged.map(|block| block.partition());
        self.quarantined.iter().map(|(_, record)| partition_of(record)).chain(damaged).collect()
    }

    /// Every partition that has blocks, sorted.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        let quarantined = self.quarantined.iter().map(|(_, record)| partition_of(record));
        let mut partitions: Vec<Partition> =
            self.blocks.iter().map(|block| block.partition()).chain(quarantined).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }
}

pub(super) fn partition_of(record: &BlockRecord) -> Partition {
    Partition { first_day: record.first_day, last_day: record.last_day }
}
