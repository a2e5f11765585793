//! What deletes hide from readers, until merging has taken it out of the blocks.
//!
//! A delete hides samples of its series in its time range that were in the log by then. When it is made, all of these
//! are in blocks, and none that was written later is in the same block; merging keeps it so. So whether a delete
//! reaches a block is one comparison, and what the head holds is never hidden.
//!
//! Readers take this before they look at the list of blocks: of a delete that is applied meanwhile they then hide what
//! is not there any more.

use std::sync::Arc;

use model::{Samples, Summary, TimeRange};
use roaring::RoaringBitmap;

use super::blocks::Block;
use crate::block::overlay::Mark;
use crate::catalog::BlockRecord;
use crate::ids::SeriesId;

/// A delete as readers and merges see it.
#[derive(Debug)]
pub(super) struct Tombstone {
    pub(super) range: TimeRange,
    /// It reaches blocks whose last record is not after this one.
    pub(super) last_sequence: u64,
    pub(super) series: RoaringBitmap,
    /// Blocks from this id on are without its samples, if it is being applied.
    pub(super) next_block: Option<u64>,
}

/// The deletes that hide something, at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden {
    tombstones: Arc<[Arc<Tombstone>]>,
    borders: Arc<[Border]>,
}

/// Where a delete that is being made parts what was written before it from what came after. It hides nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) range: TimeRange,
    /// The last record before it.
    pub(super) last_sequence: u64,
}

/// The time of the samples that the block with `record` may tell of: a summary stands at its latest sample.
pub(super) fn told_by(record: &BlockRecord) -> TimeRange {
    TimeRange::new(record.min_ms.saturating_sub(record.window_ms), record.max_ms)
}

impl Tombstone {
    /// Whether it may hide samples of the block with `record`.
    pub(super) fn reaches(&self, record: &BlockRecord) -> bool {
        record.last_sequence <= self.last_sequence && self.range.overlaps(told_by(record))
    }

    /// Whether it is about series `id`, as blocks number it.
    pub(super) fn hides(&self, id: u64) -> bool {
        u32::try_from(id).is_ok_and(|id| self.series.contains(id))
    }

    /// Whether all of `range` is deleted.
    pub(super) fn covers(&self, range: TimeRange) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }
}

impl Hidden {
    pub(super) fn new(tombstones: impl Iterator<Item = Arc<Tombstone>>) -> Self {
        Self { tombstones: tombstones.collect(), borders: Arc::default() }
    }

    /// With deletes that are being made.
    pub(super) fn with_borders(self, borders: &[Border]) -> Self {
        Self { borders: borders.into(), ..self }
    }

    /// Whether a delete of something in `range` is being made, of series that nobody knows yet.
    pub(super) fn is_bordered(&self, range: TimeRange) -> bool {
        self.borders.iter().any(|border| border.range.overlaps(range))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tombstones.len()
    }

    /// The deletes that may hide samples of the block with `record`.
    pub(super) fn of(&self, record: &BlockRecord) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.tombstones.iter().filter(|tombstone| tombstone.reaches(record))
    }

    /// Takes those series from `ids` of which `block` shows nothing in `range`, as far as that is known of whole deletes.
    pub(super) fn take_from(&self, ids: &mut RoaringBitmap, block: &Block, range: TimeRange) {
        let span = block.span();
        let seen = TimeRange { start: span.start.max(range.start), end: span.end.min(range.end) };
        for tombstone in self.of(&block.record).filter(|tombstone| tombstone.covers(seen)) {
            *ids -= &tombstone.series;
        }
    }

    /// Whether something of series `id` may be hidden in the block with `record`.
    pub(super) fn touches(&self, record: &BlockRecord, id: SeriesId) -> bool {
        self.of(record).any(|tombstone| tombstone.series.contains(id.0))
    }

    /// Takes away what is hidden of those samples of series `id` that were read from the block with `record` and
    /// appended to `samples` since `before`.
    pub(super) fn cut(&self, record: &BlockRecord, id: SeriesId, samples: &mut Samples, before: Mark) {
        for tombstone in self.of(record).filter(|tombstone| tombstone.series.contains(id.0)) {
            before.remove(samples, tombstone.range);
        }
    }

    /// Takes away the summaries, of series `id` in the block with `record`, that hold a sample which is hidden.
    pub(super) fn cut_summaries(&self, record: &BlockRecord, id: SeriesId, summaries: &mut Vec<Summary>) {
        for tombstone in self.of(record).filter(|tombstone| tombstone.series.contains(id.0)) {
            summaries.retain(|of| !tombstone.range.overlaps(TimeRange::new(of.first_ms, of.last_ms)));
        }
    }

    /// The series of which something in `range` is deleted.
    pub(super) fn series_in(&self, range: TimeRange) -> RoaringBitmap {
        let of = self.tombstones.iter().filter(|tombstone| tombstone.range.overlaps(range));
        of.fold(RoaringBitmap::new(), |all, tombstone| all | &tombstone.series)
    }

    /// Whether blocks that end at the records `a` and `b` and hold samples in `range` must stay apart, because a delete
    /// reaches one and not the other.
    pub(super) fn part(&self, range: TimeRange, a: u64, b: u64) -> bool {
        let between = |last: u64| a.min(b) <= last && last < a.max(b);
        let made = self.tombstones.iter().map(|of| Border { range: of.range, last_sequence: of.last_sequence });
        let mut all = made.chain(self.borders.iter().copied());
        all.any(|border| between(border.last_sequence) && border.range.overlaps(range))
    }

    /// The deletes whose samples a merge of blocks leaves out; the last of their records is `last_sequence`.
    pub(super) fn applying(&self, last_sequence: u64) -> Vec<Arc<Tombstone>> {
        let due =
            |tombstone: &&Arc<Tombstone>| tombstone.next_block.is_some() && last_sequence <= tombstone.last_sequence;
        self.tombstones.iter().filter(due).cloned().collect()
    }

    /// Whether `block` has to be rewritten without the samples of a delete that is being applied.
    pub(super) fn is_due(&self, block: &Block) -> bool {
        self.of(&block.record).any(|tombstone| {
            tombstone.next_block.is_some_and(|next_block| block.id.0 < next_block)
                && !tombstone.series.is_disjoint(block.ids())
        })
    }
}
