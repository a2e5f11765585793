//! Reading: matchers to series, series to samples from blocks and head.
//!
//! Every read looks at the head first and at the list of blocks after it. A flush does it the other way round, so a
//! sample on its way from one to the other is found at least once; found twice, it is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Exemplar, Labels, Matcher, MetricMetadata, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, Summary,
    TimeRange, TimestampMs,
};
use roaring::RoaringBitmap;

use super::blocks::Block;
use super::hidden::Hidden;
use super::lifetime::{ShowError, Shown, Wanted};
use super::{Core, DamageList, Engine};
use crate::block::BlockError;
use crate::block::overlay::{Mark, Scratch, forget_unknown_starts};
use crate::damage::Damage;
use crate::head::{Layer, Newest};
use crate::ids::SeriesId;

/// A list of series is cut to its limit when it is twice as long, and no shorter than this.
const LISTED_CUT_MIN: usize = 1024;

impl SeriesSource for Engine {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.core.select(matchers, range, series_max).map(|set| Box::new(set) as Box<dyn SeriesSet>)
    }

    fn summary_window_ms(&self, range: TimeRange) -> i64 {
        let view = self.core.view();
        let windows =
            view.blocks.iter().filter(|block| block.span().overlaps(range)).map(|block| block.record.window_ms);
        windows.max().unwrap_or(0)
    }

    fn select_newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        match self.core.select_newest(matchers, range, series_max)? {
            Some(set) => Ok(Box::new(set)),
            None => self.select(matchers, range, series_max),
        }
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<Labels>, SourceError> {
        let ids = self.core.ids_in(matchers, range)?;
        let mut labels: Vec<Labels> = Vec::new();
        let cut = |labels: &mut Vec<Labels>| {
            labels.sort_unstable();
            labels.truncate(limit);
        };
        let each = self.core.series.each(&ids, |_, of| {
            labels.push(of.clone());
            // Of many that files find, those that are not told are not held either.
            if labels.len() / 2 >= limit.max(LISTED_CUT_MIN) {
                cut(&mut labels);
            }
        });
        each.map_err(|damage| damaged(damage, &self.core.damage))?;
        cut(&mut labels);
        Ok(labels)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let ids = self.core.ids_in(matchers, range)?;
        self.core.series.names_among(&ids).map_err(|damage| damaged(damage, &self.core.damage))
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SourceError> {
        let ids = self.core.ids_in(matchers, range)?;
        self.core.series.values_among(name, &ids).map_err(|damage| damaged(damage, &self.core.damage))
    }

    fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError> {
        self.core.read_exemplars(matchers, range).map_err(|damage| damaged(damage, &self.core.damage))
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<(String, MetricMetadata)>, SourceError> {
        let known = self.core.metadata.read();
        Ok(match metric {
            Some(metric) => {
                known.get_key_value(metric).map(|(name, of)| (name.clone(), of.clone())).into_iter().collect()
            }
            None => known.iter().map(|(name, of)| (name.clone(), of.clone())).collect(),
        })
    }
}

impl Core {
    /// `range` without what retention hides.
    pub(super) fn visible(&self, range: TimeRange) -> TimeRange {
        TimeRange { start: range.start.max(TimestampMs(self.retention_start_ms())), end: range.end }
    }

    fn select(&self, matchers: &[Matcher], range: TimeRange, series_max: usize) -> Result<EngineSet, SourceError> {
        let (range, hidden) = (self.visible(range), self.hidden());
        let (ids, in_head) = self.found_in_head(matchers, range, series_max)?;
        let chosen = self.head.snapshots(&in_head, range);
        let chosen = chosen.into_iter().map(|(id, layers)| (id, Newest::Among(layers))).collect();
        let blocks = self.view().overlapping(range);
        self.set_of((ids, chosen), (blocks, hidden), range, series_max)
    }

    /// As [`select`](Self::select), but of series whose newest sample the head knows by heart no more than that. Nothing
    /// if there may be a newer one in a block, or one that was found is too old for its rule.
    fn select_newest(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Option<EngineSet>, SourceError> {
        let (range, hidden) = (self.visible(range), self.hidden());
        let (ids, in_head) = self.found_in_head(matchers, range, series_max)?;
        let chosen = self.head.newest(&in_head, range);
        let blocks = self.view().overlapping(range);
        for (id, newest) in &chosen {
            let Newest::Sample(at_ms, _) = newest else { continue };
            let later = TimeRange::new(at_ms.saturating_add(1), range.end.0);
            for block in &blocks {
                if block.overlaps(id.0, later).map_err(|error| source_error(error, &self.damage))? {
                    return Ok(None);
                }
            }
        }
        let set = self.set_of((ids, chosen), (blocks, hidden), range, series_max)?;
        // What is hidden, or told by summaries, is not the newest.
        let is_kept = |shown: &Shown| {
            set.series.iter().all(|one| match one.head {
                Newest::Sample(at_ms, _) => shown.keeps_samples(one.rule, at_ms),
                Newest::Among(_) => true,
            })
        };
        let is_whole = set.shown.as_ref().is_none_or(is_kept);
        Ok(is_whole.then_some(set))
    }

    /// The series that fulfil `matchers`, and those of them that may have samples of the head in `range`.
    fn found_in_head(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<(RoaringBitmap, RoaringBitmap), SourceError> {
        if range.is_empty() {
            return Ok(<(RoaringBitmap, RoaringBitmap)>::default());
        }
        let ids = self.series.select(matchers).map_err(|damage| damaged(damage, &self.damage))?;
        let in_head = self.head.overlapping(&ids, range);
        if in_head.len() > series_max as u64 {
            return Err(SourceError::TooManySeries { limit: series_max });
        }
        Ok((ids, in_head))
    }

    /// The set of the series `chosen` of the head, and of the others of `ids` that `blocks` hold.
    fn set_of(
        &self,
        (ids, mut chosen): (RoaringBitmap, Vec<(SeriesId, Newest)>),
        (blocks, hidden): (Vec<Arc<Block>>, Hidden),
        range: TimeRange,
        series_max: usize,
    ) -> Result<EngineSet, SourceError> {
        let damage = self.damage.clone();
        let mut set = EngineSet { series: Vec::new(), blocks, hidden, shown: None, range, damage };
        let known: RoaringBitmap = chosen.iter().map(|(id, _)| id.0).collect();
        let others = self.in_blocks(&(ids - known), &set.blocks, &set.hidden, range)?;
        if others.len() + chosen.len() as u64 > series_max as u64 {
            return Err(SourceError::TooManySeries { limit: series_max });
        }
        chosen.extend(others.iter().map(|id| (SeriesId(id), Newest::Among(Vec::new()))));
        chosen.sort_unstable_by_key(|(id, _)| *id);
        let ids: Vec<u32> = chosen.iter().map(|(id, _)| id.0).collect();
        let mut layers = chosen.into_iter().peekable();
        let each = self.series.each(ids, |id, labels| {
            // A series that was removed meanwhile had nothing left.
            while layers.next_if(|(other, _)| *other < id).is_some() {}
            if let Some((_, head)) = layers.next_if(|(other, _)| *other == id) {
                set.series.push(Selected { labels: labels.clone(), id, rule: 0, head });
            }
        });
        each.map_err(|damage| damaged(damage, &self.damage))?;
        self.order.sort(&mut set.series, |one| (one.id, &one.labels));
        set.shown = Shown::new(self.lifetimes.at(self.clock.now().0), &mut set.blocks);
        if set.shown.is_some() {
            for one in &mut set.series {
                one.rule = self.lifetimes.of(one.id, || Some(one.labels.clone()));
            }
        }
        Ok(set)
    }

    /// The series that fulfil `matchers` and may have samples in `range` which retention shows.
    fn ids_in(&self, matchers: &[Matcher], range: TimeRange) -> Result<RoaringBitmap, SourceError> {
        let range = self.visible(range);
        if range.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let hidden = self.hidden();
        let ids = self.series.select(matchers).map_err(|damage| damaged(damage, &self.damage))?;
        let by_start = self.by_start(ids, range.start).map_err(|damage| damaged(damage, &self.damage))?;
        let mut found = RoaringBitmap::new();
        for (start, ids) in by_start {
            let range = TimeRange { start, end: range.end };
            if !range.is_empty() {
                found |= self.those_in(&ids, &hidden, range)?;
            }
        }
        Ok(found)
    }

    /// Those of `ids` that may have samples in `range`.
    fn those_in(&self, ids: &RoaringBitmap, hidden: &Hidden, range: TimeRange) -> Result<RoaringBitmap, SourceError> {
        let blocks = self.view().overlapping(range);
        let whole: Vec<_> = blocks.iter().filter(|block| is_within(block, range)).collect();
        let mut found = in_whole_blocks(ids, &whole, hidden, range);
        found |= self.head.overlapping(&(ids - &found), range);
        let others = ids - &found;
        found |= self.in_blocks(&others, &self.view().overlapping(range), hidden, range)?;
        Ok(found)
    }

    /// Parts of `ids`, and from when on, but not before `start`, their rules show anything of each.
    fn by_start(&self, ids: RoaringBitmap, start: TimestampMs) -> Result<BTreeMap<TimestampMs, RoaringBitmap>, Damage> {
        let starts = self.lifetime_starts();
        // Mostly all rules reach farther back than anybody looks.
        if starts.iter().all(|&start_ms| start_ms <= start.0) {
            return Ok(BTreeMap::from([(start, ids)]));
        }
        let mut parts: BTreeMap<TimestampMs, RoaringBitmap> = BTreeMap::new();
        for (start_ms, part) in starts.into_iter().zip(self.lifetimes.split(&ids, &self.series)?) {
            *parts.entry(start.max(TimestampMs(start_ms))).or_default() |= part;
        }
        Ok(parts)
    }

    /// Those of `ids` that may have samples in `range` in one of `blocks`.
    fn in_blocks(
        &self,
        ids: &RoaringBitmap,
        blocks: &[Arc<Block>],
        hidden: &Hidden,
        range: TimeRange,
    ) -> Result<RoaringBitmap, SourceError> {
        let (whole, part): (Vec<_>, Vec<_>) = blocks.iter().partition(|block| is_within(block, range));
        // Whole blocks first: a few operations on bitmaps spare a look at each series.
        let mut found = in_whole_blocks(ids, &whole, hidden, range);
        for block in part {
            let mut asked = ids & block.ids();
            asked -= &found;
            hidden.take_from(&mut asked, block, range);
            found |= block.reaching_into(&asked, range).map_err(|error| source_error(error, &self.damage))?;
        }
        Ok(found)
    }
}

/// Whether all of a block lies in `range`: then all of its series have samples there.
fn is_within(block: &Block, range: TimeRange) -> bool {
    let span = block.span();
    range.contains(span.start.0) && range.contains(span.end.0)
}

/// Those of `ids` that blocks have which lie within `range`.
fn in_whole_blocks(ids: &RoaringBitmap, blocks: &[&Arc<Block>], hidden: &Hidden, range: TimeRange) -> RoaringBitmap {
    let mut found = RoaringBitmap::new();
    for block in blocks {
        let mut whole = ids & block.ids();
        hidden.take_from(&mut whole, block, range);
        found |= whole;
    }
    found
}

fn source_error(error: BlockError, found: &DamageList) -> SourceError {
    match error {
        BlockError::Damaged(damage) => damaged(damage, found),
        other => SourceError::Unavailable { detail: other.to_string() },
    }
}

fn damaged(damage: Damage, found: &DamageList) -> SourceError {
    let detail = damage.to_string();
    found.add(damage);
    SourceError::Damaged { detail }
}

/// One selected series: its labels, and a copy of what the head had, or of the newest sample alone.
#[derive(Debug)]
struct Selected {
    labels: Labels,
    id: SeriesId,
    /// The place of its lifetime's rule, where something depends on it.
    rule: usize,
    head: Newest,
}

/// The series of one selection, ordered by labels. Blocks stay open for it even when they are merged or dropped.
#[derive(Debug)]
struct EngineSet {
    series: Vec<Selected>,
    blocks: Vec<Arc<Block>>,
    /// What deletes hide.
    hidden: Hidden,
    /// The summaries, if there are any, and what is hidden of single series.
    shown: Option<Shown>,
    range: TimeRange,
    damage: Arc<DamageList>,
}

impl SeriesSet for EngineSet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self.series[at].labels
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        self.read_inside(at, self.range, into)
    }

    fn read_within(&self, at: usize, range: TimeRange, into: &mut Samples) -> Result<ReadCost, SourceError> {
        let range = TimeRange { start: range.start.max(self.range.start), end: range.end.min(self.range.end) };
        if range.is_empty() {
            into.clear();
            return Ok(ReadCost::default());
        }
        self.read_inside(at, range, into)
    }

    fn extents(&self, at: usize) -> Result<Option<Vec<(TimeRange, u64)>>, SourceError> {
        let series = &self.series[at];
        let mut found = Vec::new();
        match &series.head {
            &Newest::Sample(at_ms, _) => found.push((TimeRange::new(at_ms, at_ms), 1)),
            Newest::Among(layers) => found.extend(layers.iter().flat_map(Layer::extents)),
        }
        let summaries = self.shown.iter().flat_map(Shown::summaries);
        for block in self.blocks.iter().chain(summaries).filter(|block| block.has(series.id)) {
            let read = block.reader.extents(u64::from(series.id.0), &mut found);
            read.map_err(|error| source_error(error, &self.damage))?;
        }
        Ok(Some(found))
    }

    fn read_with_summaries(
        &self,
        at: usize,
        window_ms_max: i64,
        into: &mut Samples,
        summaries: &mut Vec<Summary>,
    ) -> Result<ReadCost, SourceError> {
        summaries.clear();
        let series = &self.series[at];
        let (Some(shown), Newest::Among(head)) = (&self.shown, &series.head) else { return self.read(at, into) };
        into.clear();
        let read =
            shown.read(self.wanted(series, head, self.range), window_ms_max, into, Some(summaries), &mut |damage| {
                self.damage.add(damage);
            });
        forget_unknown_starts(into);
        read.map_err(|error| show_error(error, &self.damage))
    }
}

impl EngineSet {
    /// Reads what lies inside `range`, which lies inside the selected one.
    fn read_inside(&self, at: usize, range: TimeRange, into: &mut Samples) -> Result<ReadCost, SourceError> {
        let series = &self.series[at];
        into.clear();
        let head = match &series.head {
            &Newest::Sample(at_ms, value) => {
                if range.contains(at_ms) {
                    into.push(at_ms, value);
                }
                return Ok(ReadCost { samples: 1, ..ReadCost::default() });
            }
            Newest::Among(layers) => layers,
        };
        if let Some(shown) = &self.shown {
            let read =
                shown.read(self.wanted(series, head, range), 0, into, None, &mut |damage| self.damage.add(damage));
            forget_unknown_starts(into);
            return read.map_err(|error| show_error(error, &self.damage));
        }
        // Mostly one block follows another, and the head all blocks; then this takes no memory.
        let mut scratch = Scratch::default();
        let mut cost = ReadCost::default();
        for block in self.blocks.iter().filter(|block| block.span().overlaps(range)) {
            let before = Mark::of(into);
            let read = block.read(series.id, range, into, &mut |damage| self.damage.add(damage));
            cost += read.map_err(|error| source_error(error, &self.damage))?;
            self.hidden.cut(&block.record, series.id, into, before);
            before.settle(into, &mut scratch);
        }
        for layer in head {
            let read = layer.read(range, into);
            let read = read.map_err(|error| SourceError::Damaged { detail: error.to_string() })?;
            cost += ReadCost { chunks: read.chunks, bytes: read.bytes, samples: read.samples, ..ReadCost::default() };
        }
        forget_unknown_starts(into);
        Ok(cost)
    }

    fn wanted<'a>(&'a self, series: &'a Selected, head: &'a [Layer], range: TimeRange) -> Wanted<'a> {
        let Selected { id, rule, .. } = *series;
        Wanted { id, rule, range, head, blocks: &self.blocks, hidden: &self.hidden }
    }
}

fn show_error(error: ShowError, found: &DamageList) -> SourceError {
    match error {
        ShowError::Block(error) => source_error(error, found),
        ShowError::Head(error) => SourceError::Damaged { detail: error.to_string() },
    }
}
