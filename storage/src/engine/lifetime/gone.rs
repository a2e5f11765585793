//! Samples that are gone before their time, and some that came back.
//!
//! A disk that had to be kept small takes samples that their rule would keep, and a rule that keeps them longer than the
//! one before finds them gone. Summaries tell of them then. When late or imported samples come to such a partition, both tell
//! of it, of each window the one that knows of more samples: a late sample must not hide the rest of the day.

use std::sync::Arc;

use model::{ReadCost, Samples, Summary, TimeRange, TimestampMs};

use super::outdated::common;
use super::rules::Life;
use super::shown::{Part, ShowError, Wanted, latest};
use crate::block::overlay::{Mark, Scratch, append, clip, overlay, within};
use crate::damage::Damage;
use crate::engine::blocks::Block;
use crate::summary::summarise;

impl Part {
    /// Whether [`lacks_raw`](Self::lacks_raw) holds for any series at all that has blocks, of these records.
    pub(super) fn may_lack_raw(summaries: &[Arc<Block>], raw: &[Arc<Block>]) -> bool {
        let made_of = summaries.iter().map(|block| block.record.first_sequence).min();
        raw.iter().any(|block| Some(block.record.first_sequence) > made_of)
    }

    /// Whether samples of the series that the summaries were made of may be gone, though there are some, in blocks or in the
    /// head. Merging keeps the first log record that a block is of, so that where all samples are left both are of the same; a
    /// series whose first sample came later is looked at in vain until its day is one block.
    pub(super) fn lacks_raw(&self, wanted: Wanted<'_>) -> bool {
        let id = wanted.id;
        if !self.has_raw(id) {
            return self.has_summaries(id) && self.has_samples(wanted);
        }
        let first = |blocks: &[Arc<Block>]| {
            blocks.iter().filter(|block| block.has(id)).map(|block| block.record.first_sequence).min()
        };
        self.may_lack_raw && first(&self.summaries).zip(first(&self.raw)).is_some_and(|(made_of, held)| made_of < held)
    }

    /// Reads what is told of a series that [lacks samples](Self::lacks_raw), behind the border of its rule: appends samples, and
    /// summaries of windows up to `window_ms_max`, or their latest samples if no summaries are wanted.
    pub(super) fn read_by_window(
        &self,
        (wanted, life): (Wanted<'_>, &Life),
        window_ms_max: i64,
        samples: &mut Samples,
        mut summaries: Option<&mut Vec<Summary>>,
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, ShowError> {
        let mut cost = ReadCost::default();
        let inside = common(wanted.range, TimeRange::new(life.raw_start_ms, i64::MAX));
        let inside = common(inside, self.partition.range());
        if inside.is_empty() {
            return Ok(cost);
        }
        let wanted = Wanted { range: inside, ..wanted };
        let mut shown = Samples::default();
        let (mut raw, read) = self.read_raw(wanted, inside, told)?;
        cost += read;
        for (block, range) in self.told(wanted, life, window_ms_max, i64::MAX) {
            // Whole windows, of which the range may show a part: one that is told behind its end tells of samples inside too.
            let window_ms = block.record.window_ms;
            let is_last = range.end == inside.end;
            let reach = TimeRange { end: if is_last { later(range.end, window_ms) } else { range.end }, ..range };
            let (mut own, mut beside) = (Vec::new(), Samples::default());
            cost += self.read_anew((block, reach), (wanted, i64::MAX), (&mut own, &mut beside), told)?;
            clip(&mut beside, range);
            let wide = TimeRange::new(reach.start.0.saturating_sub(window_ms), reach.end.0.saturating_add(window_ms));
            let (held, read) = self.read_raw(wanted, wide, told)?;
            cost += read;
            own = told_by_summaries(own, &held, window_ms);
            for of in &own {
                let window = TimeRange::new(of.end_ms().saturating_sub(window_ms).saturating_add(1), of.end_ms());
                drop_floats(&mut raw, window);
            }
            own.retain(|of| range.contains(of.last_ms));
            match &mut summaries {
                Some(summaries) => summaries.append(&mut own),
                None => overlay(&mut beside, &latest(&own), &mut Samples::default()),
            }
            append(&mut shown, &beside, 0..beside.timestamps_ms.len(), 0..beside.histograms.len());
        }
        overlay(&mut shown, &raw, &mut Samples::default());
        let before = Mark::of(samples);
        append(samples, &shown, 0..shown.timestamps_ms.len(), 0..shown.histograms.len());
        before.settle(samples, &mut Scratch::default());
        Ok(cost)
    }

    /// The samples of a series in `range` that are there one by one, in blocks and head.
    pub(super) fn read_raw(
        &self,
        wanted: Wanted<'_>,
        range: TimeRange,
        told: &mut dyn FnMut(Damage),
    ) -> Result<(Samples, ReadCost), ShowError> {
        let range = common(range, self.partition.range());
        let (mut samples, mut scratch, mut cost) = (Samples::default(), Scratch::default(), ReadCost::default());
        for raw in &self.raw {
            let before = Mark::of(&samples);
            cost += raw.read(wanted.id, range, &mut samples, told)?;
            wanted.hidden.cut(&raw.record, wanted.id, &mut samples, before);
            before.settle(&mut samples, &mut scratch);
        }
        for layer in wanted.head {
            let read = layer.read(range, &mut samples)?;
            cost += ReadCost { chunks: read.chunks, bytes: read.bytes, samples: read.samples, ..ReadCost::default() };
        }
        Ok((samples, cost))
    }
}

fn later(at: TimestampMs, by_ms: i64) -> TimestampMs {
    TimestampMs(at.0.saturating_add(by_ms))
}

fn drop_floats(samples: &mut Samples, range: TimeRange) {
    let (floats, _) = within(samples, range);
    if !samples.starts_ms.is_empty() {
        samples.starts_ms.drain(floats.clone());
    }
    samples.timestamps_ms.drain(floats.clone());
    samples.values.drain(floats);
}

/// Those of `summaries` that know of more samples than there are one by one.
fn told_by_summaries(mut summaries: Vec<Summary>, held: &Samples, window_ms: i64) -> Vec<Summary> {
    let mut there = Vec::new();
    summarise(&held.timestamps_ms, &held.values, window_ms, &mut there);
    summaries.retain(|of| {
        let at = there.binary_search_by_key(&of.end_ms(), Summary::end_ms);
        at.ok().and_then(|at| there.get(at)).is_none_or(|there| there.count < of.count)
    });
    summaries
}
