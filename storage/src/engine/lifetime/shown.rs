//! What a selection shows of series whose samples are partly kept as summaries.
//!
//! Of any instant either samples or summaries of one window tell. Before the border of a series' rule summaries do, in
//! partitions that have them, with what came since they were made ([`super::outdated`]); behind it, and where there are
//! none yet, samples do. Where samples are gone for another
//! reason, as a disk that had to be kept small, summaries tell as long as they are there ([`super::gone`]).

use std::sync::Arc;

use model::{ReadCost, Samples, Summary, TimeRange};

use super::rules::Life;
use crate::block::BlockError;
use crate::block::overlay::{Mark, Scratch, append, clip, overlay};
use crate::codec::CodecError;
use crate::damage::Damage;
use crate::engine::blocks::Block;
use crate::engine::hidden::Hidden;
use crate::engine::partition::Partition;
use crate::head::Layer;
use crate::ids::SeriesId;
use crate::summary::join;

/// The blocks of a selection that has summaries, or series of different lifetimes.
#[derive(Debug)]
pub(in crate::engine) struct Shown {
    /// Every rule at the moment of the selection.
    lives: Vec<Life>,
    /// The partitions with summaries, in order of time.
    parts: Vec<Part>,
}

/// A partition with summaries.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: Partition,
    /// By window, which ascends.
    pub(super) summaries: Vec<Arc<Block>>,
    /// Those with samples, from the oldest to the newest write.
    pub(super) raw: Vec<Arc<Block>>,
    /// Whether of some series samples may be gone that the summaries tell of.
    pub(super) may_lack_raw: bool,
}

/// Why a series cannot be read.
#[derive(Debug)]
pub(in crate::engine) enum ShowError {
    Block(BlockError),
    Head(CodecError),
}

impl From<BlockError> for ShowError {
    fn from(error: BlockError) -> Self {
        Self::Block(error)
    }
}

impl From<CodecError> for ShowError {
    fn from(error: CodecError) -> Self {
        Self::Head(error)
    }
}

/// What is read of one series.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Wanted<'a> {
    pub(in crate::engine) id: SeriesId,
    /// The place of its rule.
    pub(in crate::engine) rule: usize,
    pub(in crate::engine) range: TimeRange,
    /// What the head has of it.
    pub(in crate::engine) head: &'a [Layer],
    /// The blocks with samples, from the oldest to the newest write.
    pub(in crate::engine) blocks: &'a [Arc<Block>],
    /// What deletes hide of both.
    pub(in crate::engine) hidden: &'a Hidden,
}

impl Shown {
    /// Takes the summaries out of `blocks`. `None` if there are none and all series have one `lives`.
    pub(in crate::engine) fn new(lives: Vec<Life>, blocks: &mut Vec<Arc<Block>>) -> Option<Self> {
        let mut parts: Vec<Part> = Vec::new();
        for block in blocks.extract_if(.., |block| block.record.window_ms > 0) {
            let partition = block.partition();
            match parts.iter_mut().find(|part| part.partition == partition) {
                Some(part) => part.summaries.push(block),
                None => parts.push(Part { partition, summaries: vec![block], raw: Vec::new(), may_lack_raw: false }),
            }
        }
        if parts.is_empty() && lives.len() == 1 {
            return None;
        }
        parts.sort_unstable_by_key(|part| part.partition);
        for part in &mut parts {
            part.summaries.sort_unstable_by_key(|block| block.record.window_ms);
            part.raw = blocks.iter().filter(|block| block.partition() == part.partition).cloned().collect();
            part.may_lack_raw = Part::may_lack_raw(&part.summaries, &part.raw);
        }
        Some(Self { lives, parts })
    }

    /// The partitions with summaries, in order of time.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The blocks of summaries.
    pub(in crate::engine) fn summaries(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.parts.iter().flat_map(|part| &part.summaries)
    }

    /// Whether samples of `at_ms` are kept one by one, by the rule at this place.
    pub(in crate::engine) fn keeps_samples(&self, rule: usize, at_ms: i64) -> bool {
        at_ms >= self.lives[rule].raw_start_ms
    }

    /// Reads a series into `samples`, which is empty: what is kept one by one, and the latest value of each window
    /// unless `summaries` are wanted too, by windows up to `window_ms_max`. Damaged chunks are left out, and `told` of.
    pub(in crate::engine) fn read(
        &self,
        wanted: Wanted<'_>,
        window_ms_max: i64,
        samples: &mut Samples,
        mut summaries: Option<&mut Vec<Summary>>,
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, ShowError> {
        let life = &self.lives[wanted.rule];
        let (mut scratch, mut cost) = (Scratch::default(), ReadCost::default());
        for part in &self.parts {
            let until_ms = if part.has_samples(wanted) { life.raw_start_ms.saturating_sub(1) } else { i64::MAX };
            for (block, range) in part.told(wanted, life, window_ms_max, until_ms) {
                let before = Mark::of(samples);
                let id = u64::from(wanted.id.0);
                let outdated = part.is_outdated(block, wanted, until_ms)?;
                cost += match &mut summaries {
                    summaries if outdated || wanted.hidden.touches(&block.record, wanted.id) => {
                        let (mut own, mut beside) = (Vec::new(), Samples::default());
                        let cost = if outdated {
                            part.read_anew((block, range), (wanted, until_ms), (&mut own, &mut beside), told)?
                        } else {
                            let cost = block.reader.read_summaries(id, range, &mut own, &mut beside, told)?;
                            wanted.hidden.cut_summaries(&block.record, wanted.id, &mut own);
                            wanted.hidden.cut(&block.record, wanted.id, &mut beside, Mark::default());
                            cost
                        };
                        match summaries {
                            Some(summaries) => summaries.append(&mut own),
                            None => overlay(&mut beside, &latest(&own), &mut Samples::default()),
                        }
                        append(samples, &beside, 0..beside.timestamps_ms.len(), 0..beside.histograms.len());
                        cost
                    }
                    Some(summaries) => block.reader.read_summaries(id, range, summaries, samples, told)?,
                    None => block.reader.read_around(id, range, samples, told)?,
                };
                before.settle(samples, &mut scratch);
            }
            if part.lacks_raw(wanted) {
                cost += part.read_by_window((wanted, life), window_ms_max, samples, summaries.as_deref_mut(), told)?;
            }
        }
        for block in wanted.blocks {
            let start_ms = match self.part_of(block.partition()) {
                Some(part) if part.lacks_raw(wanted) => continue,
                Some(part) if part.has_summaries(wanted.id) => life.raw_start_ms,
                _ => life.start_ms(),
            };
            let before = Mark::of(samples);
            cost += block.read(wanted.id, from(wanted.range, start_ms), samples, told)?;
            wanted.hidden.cut(&block.record, wanted.id, samples, before);
            before.settle(samples, &mut scratch);
        }
        cost += self.read_head(wanted, life, samples)?;
        if let Some(summaries) = summaries {
            join_cut_windows(summaries);
        }
        Ok(cost)
    }

    fn part_of(&self, partition: Partition) -> Option<&Part> {
        let at = self.parts.binary_search_by_key(&partition, |part| part.partition).ok()?;
        self.parts.get(at)
    }

    /// Reads what the head has, but for what is too old and told by summaries.
    fn read_head(&self, wanted: Wanted<'_>, life: &Life, samples: &mut Samples) -> Result<ReadCost, ShowError> {
        let range = from(wanted.range, life.start_ms());
        let starts = wanted.head.iter().flat_map(Layer::extents).map(|(range, _)| range.start.0).min();
        let Some(first_ms) = starts else { return Ok(ReadCost::default()) };
        let mut cost = ReadCost::default();
        let mut read = |range: TimeRange, samples: &mut Samples| {
            for layer in wanted.head {
                let read = layer.read(range, samples)?;
                cost +=
                    ReadCost { chunks: read.chunks, bytes: read.bytes, samples: read.samples, ..ReadCost::default() };
            }
            Ok::<(), CodecError>(())
        };
        if first_ms >= life.raw_start_ms && !self.parts.iter().any(|part| part.lacks_raw(wanted)) {
            read(range, samples)?;
            return Ok(cost);
        }
        let mut late = Samples::default();
        read(range, &mut late)?;
        let told = |part: &&Part| part.has_summaries(wanted.id) && part.has_samples(wanted);
        for part in self.parts.iter().filter(told) {
            let told = part.partition.range();
            let border_ms = if part.lacks_raw(wanted) { i64::MAX } else { life.raw_start_ms.saturating_sub(1) };
            cut_out(&mut late, TimeRange::new(told.start.0, told.end.0.min(border_ms)));
        }
        overlay(samples, &late, &mut Samples::default());
        Ok(cost)
    }
}

impl Part {
    pub(super) fn has_summaries(&self, id: SeriesId) -> bool {
        self.summaries.iter().any(|block| block.has(id))
    }

    pub(super) fn has_raw(&self, id: SeriesId) -> bool {
        self.raw.iter().any(|block| block.has(id))
    }

    /// Whether there are samples of the series one by one, in blocks or in the head.
    pub(super) fn has_samples(&self, wanted: Wanted<'_>) -> bool {
        let range = self.partition.range();
        self.has_raw(wanted.id) || wanted.head.iter().flat_map(Layer::extents).any(|(span, _)| span.overlaps(range))
    }

    /// Which block of summaries tells which instants of a series, up to `until_ms`.
    pub(super) fn told(
        &self,
        wanted: Wanted<'_>,
        life: &Life,
        window_ms_max: i64,
        until_ms: i64,
    ) -> Vec<(&Block, TimeRange)> {
        let Wanted { id, range, .. } = wanted;
        // The first instant, window and block of what there is; it is there up to the present.
        let mut shown: Vec<(i64, i64, &Block)> = Vec::with_capacity(self.summaries.len());
        // Also where a block has nothing in `range`: samples that came since may be told there in its stead.
        let here = self.summaries.iter().filter(|_| self.partition.range().overlaps(range));
        for block in here.filter(|block| block.has(id)) {
            let window_ms = block.record.window_ms;
            shown.push((life.summaries_start_ms(window_ms), window_ms, block));
        }
        let mut starts: Vec<i64> = shown.iter().map(|(start_ms, ..)| *start_ms).collect();
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).map(|next_ms| next_ms - 1).chain([i64::MAX]);
        let mut told = Vec::with_capacity(starts.len());
        for (&start_ms, next_ms) in starts.iter().zip(ends) {
            let there = || shown.iter().filter(|(from_ms, ..)| *from_ms <= start_ms);
            let fitting = there().rfind(|(_, window_ms, _)| *window_ms <= window_ms_max).or_else(|| there().next());
            let inside = TimeRange::new(range.start.0.max(start_ms), range.end.0.min(next_ms).min(until_ms));
            if let Some((_, _, block)) = fitting.filter(|_| !inside.is_empty()) {
                told.push((*block, inside));
            }
        }
        told
    }
}

fn from(range: TimeRange, start_ms: i64) -> TimeRange {
    TimeRange::new(range.start.0.max(start_ms), range.end.0)
}

/// Removes what lies inside `range`.
fn cut_out(samples: &mut Samples, range: TimeRange) {
    if range.is_empty() {
        return;
    }
    let mut after = samples.clone();
    clip(samples, TimeRange::new(i64::MIN, range.start.0.saturating_sub(1)));
    clip(&mut after, TimeRange::new(range.end.0.saturating_add(1), i64::MAX));
    overlay(samples, &after, &mut Samples::default());
}

/// The latest sample of each.
pub(super) fn latest(summaries: &[Summary]) -> Samples {
    Samples::from_floats(summaries.iter().map(|of| of.last_ms).collect(), summaries.iter().map(|of| of.last).collect())
}

/// Joins the two parts of each window that ends with the first instant of a partition.
fn join_cut_windows(summaries: &mut Vec<Summary>) {
    summaries.dedup_by(|later, earlier| {
        let same = later.window_ms == earlier.window_ms && later.end_ms() == earlier.end_ms();
        if same {
            *earlier = join(earlier, later);
        }
        same
    });
}
