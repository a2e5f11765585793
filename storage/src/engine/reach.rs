//! What a delete reaches: which series have samples of its time, how many, of which metrics.
//!
//! Counted before a delete is made, for people and for its record. Making it is [`deletes`](super::deletes)'s.

use std::collections::BTreeMap;

use model::{Matcher, Samples, TimeRange};
use roaring::RoaringBitmap;

use super::blocks::{Block, BlockSet};
use super::hidden::{Hidden, told_by};
use super::stats::{Count, cut};
use super::{Core, StorageError};
use crate::block::overlay::{Mark, clip};
use crate::damage::Damage;
use crate::ids::SeriesId;

/// Most metrics named in a [`Reach`].
const METRICS_TOLD_MAX: usize = 20;

/// What a delete would hide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Series with such samples.
    pub series: u64,
    /// The samples, as they are stored: one that two blocks have counts twice, a summary that holds any of them once.
    pub samples: u64,
    /// Bytes of their values, in blocks and in memory.
    pub bytes: u64,
    /// Series by metric name, the largest first.
    pub metrics: Vec<Count>,
    /// How many metrics there are.
    pub metrics_len: u64,
}

/// What is found of a delete's reach.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) series: RoaringBitmap,
    /// Series that may have such samples, hidden ones too.
    pub(super) stored: RoaringBitmap,
    pub(super) reach: Reach,
}

impl Found {
    fn add(&mut self, id: SeriesId, samples: u64, bytes: u64) {
        if samples > 0 {
            self.series.insert(id.0);
            self.reach.samples += samples;
            self.reach.bytes += bytes;
        }
    }
}

impl Core {
    /// What a delete of the samples in `range` of what `selectors` select would hide now.
    pub(super) fn preview_delete<'a>(
        &self,
        selectors: impl Iterator<Item = &'a [Matcher]>,
        range: TimeRange,
    ) -> Result<Reach, StorageError> {
        self.wait_replayed()?;
        let ids = self.selected(selectors)?;
        let hidden = self.hidden();
        let (mut found, mut samples) = (Found::default(), Samples::default());
        for (id, layers) in self.head.snapshots(&ids, range) {
            samples.clear();
            let mut bytes = 0;
            for layer in &layers {
                let read = layer.read(range, &mut samples);
                bytes += read.map_err(|error| StorageError::Head { detail: error.to_string() })?.bytes;
            }
            found.add(id, samples.len() as u64, bytes);
        }
        self.count_in_blocks(&self.view(), &ids, range, &hidden, &mut found)?;
        self.name_metrics(found)
    }

    pub(super) fn selected<'a>(&self, selectors: impl Iterator<Item = &'a [Matcher]>) -> Result<RoaringBitmap, Damage> {
        selectors.into_iter().try_fold(RoaringBitmap::new(), |ids, matchers| Ok(ids | self.series.select(matchers)?))
    }

    /// Counts what blocks show of `ids` in `range`. Only chunks at the ends of the range are decoded.
    pub(super) fn count_in_blocks(
        &self,
        view: &BlockSet,
        ids: &RoaringBitmap,
        range: TimeRange,
        hidden: &Hidden,
        found: &mut Found,
    ) -> Result<(), StorageError> {
        if range.is_empty() {
            return Ok(());
        }
        // Nobody knows which series it has until it is repaired, and it must bring none of them back then.
        if view.quarantined.iter().any(|(_, record)| told_by(record).overlaps(range)) {
            found.stored |= ids;
        }
        for block in view.blocks.iter().filter(|block| told_by(&block.record).overlaps(range)) {
            let shown = shown_at(range, block);
            let mut asked = ids & block.ids();
            found.stored |= &asked;
            hidden.take_from(&mut asked, block, shown);
            for id in asked {
                let Some(info) = block.reader.series_info(u64::from(id))? else { continue };
                if !info.bounds.overlaps(shown) {
                    continue;
                }
                let (count, bytes) = if contains(range, info.bounds) && !hidden.touches(&block.record, SeriesId(id)) {
                    (info.samples, info.bytes)
                } else {
                    self.count_decoded(block, SeriesId(id), range, hidden)?
                };
                found.add(SeriesId(id), count, bytes);
            }
        }
        Ok(())
    }

    /// How many samples of series `id` in `range` the block shows, and the bytes they take.
    fn count_decoded(
        &self,
        block: &Block,
        id: SeriesId,
        range: TimeRange,
        hidden: &Hidden,
    ) -> Result<(u64, u64), StorageError> {
        let (mut samples, mut summaries) = (Samples::default(), Vec::new());
        let told = &mut |damage| self.damage.add(damage);
        let cost = if block.record.window_ms == 0 {
            block.read(id, range, &mut samples, told)?
        } else {
            let (number, shown) = (u64::from(id.0), shown_at(range, block));
            block.reader.read_summaries(number, shown, &mut summaries, &mut samples, told)?
        };
        hidden.cut(&block.record, id, &mut samples, Mark::default());
        clip(&mut samples, range);
        hidden.cut_summaries(&block.record, id, &mut summaries);
        summaries.retain(|of| range.overlaps(TimeRange::new(of.first_ms, of.last_ms)));
        let count = (samples.len() + summaries.len()) as u64;
        Ok((count, share(cost.bytes, count, cost.samples)))
    }

    fn name_metrics(&self, found: Found) -> Result<Reach, StorageError> {
        let Found { series, mut reach, .. } = found;
        let mut metrics: BTreeMap<String, u64> = BTreeMap::new();
        self.series.each(&series, |_, labels| {
            let name = labels.metric_name();
            match metrics.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(metrics.insert(name.to_owned(), 1)),
            }
        })?;
        reach.series = series.len();
        reach.metrics_len = metrics.len() as u64;
        reach.metrics = metrics.into_iter().map(|(name, count)| Count { name, count }).collect();
        cut(&mut reach.metrics, METRICS_TOLD_MAX);
        Ok(reach)
    }
}

/// The times at which `block` has what tells of samples in `range`: a summary stands at its latest sample.
fn shown_at(range: TimeRange, block: &Block) -> TimeRange {
    TimeRange::new(range.start.0, range.end.0.saturating_add(block.record.window_ms))
}

fn contains(outer: TimeRange, inner: TimeRange) -> bool {
    outer.contains(inner.start.0) && outer.contains(inner.end.0)
}

/// The part of `bytes` that `part` of `whole` samples take.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(bytes)
}
