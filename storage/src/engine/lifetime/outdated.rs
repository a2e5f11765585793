//! Summaries of windows that samples came to after they were made.
//!
//! A sample that is late but was taken waits in the head or in a newer block until upkeep summarises its partition
//! again, which may be much later than the border of its rule passes it. Until then a read does for the windows it
//! shows what upkeep will do: it makes them of their samples, and lays these over what is in the block.

use model::{ReadCost, Samples, Summary, TimeRange};

use super::shown::{Part, ShowError, Wanted};
use crate::block::BlockError;
use crate::block::overlay::{Mark, Scratch, append, overlay, within};
use crate::damage::Damage;
use crate::engine::blocks::Block;
use crate::head::Layer;
use crate::summary::{one_by_one, reconcile, settle_beside, summarise};

impl Part {
    /// Whether there are samples of the series up to `until_ms` that the summaries in `block` may not know. It is asked of
    /// the whole partition, whatever part of it is read: a sample behind the end of that part may be the latest of a window
    /// which lies in it, and who reads part by part must meet each window in one of them.
    pub(super) fn is_outdated(&self, block: &Block, wanted: Wanted<'_>, until_ms: i64) -> Result<bool, BlockError> {
        if !self.has_samples(wanted) {
            return Ok(false);
        }
        let range = common(TimeRange::new(i64::MIN, until_ms), self.partition.range());
        if wanted.head.iter().flat_map(Layer::extents).any(|(span, _)| span.overlaps(range)) {
            return Ok(true);
        }
        for raw in self.raw.iter().filter(|raw| raw.record.last_sequence > block.record.last_sequence) {
            if raw.overlaps(wanted.id.0, range)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends the summaries of the windows of `block` whose latest samples are inside `range`, with all samples that
    /// came since and up to `until_ms`, to `summaries`, and what stays beside them to `samples`.
    pub(super) fn read_anew(
        &self,
        (block, range): (&Block, TimeRange),
        (wanted, until_ms): (Wanted<'_>, i64),
        (summaries, samples): (&mut Vec<Summary>, &mut Samples),
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, ShowError> {
        let Wanted { id, hidden, .. } = wanted;
        let window_ms = block.record.window_ms;
        // Whole windows, also where one's latest sample is another now. Those only seen in part end outside `range`.
        let inside = common(range, self.partition.range());
        let end_ms = inside.end.0.saturating_add(window_ms).min(until_ms);
        let wide = common(TimeRange::new(inside.start.0.saturating_sub(window_ms), end_ms), self.partition.range());
        let (mut old, mut beside) = (Vec::new(), Samples::default());
        let mut cost = block.reader.read_summaries(u64::from(id.0), wide, &mut old, &mut beside, told)?;
        hidden.cut_summaries(&block.record, id, &mut old);
        hidden.cut(&block.record, id, &mut beside, Mark::default());

        let (mut since, mut scratch) = (Samples::default(), Scratch::default());
        for raw in &self.raw {
            let before = Mark::of(&since);
            cost += raw.read(id, wide, &mut since, told)?;
            hidden.cut(&raw.record, id, &mut since, before);
            before.settle(&mut since, &mut scratch);
        }
        for layer in wanted.head {
            let read = layer.read(wide, &mut since)?;
            cost += ReadCost { chunks: read.chunks, bytes: read.bytes, samples: read.samples, ..ReadCost::default() };
        }

        let (mut fresh, mut both) = (Vec::new(), Vec::new());
        summarise(&since.timestamps_ms, &since.values, window_ms, &mut fresh);
        reconcile(&old, &fresh, &since, &mut both);
        overlay(&mut beside, &one_by_one(since), &mut Samples::default());
        settle_beside(&mut both, &mut beside, window_ms);
        let (floats, of_histograms) = within(&beside, range);
        append(samples, &beside, floats, of_histograms);
        summaries.extend(both.into_iter().filter(|of| range.contains(of.last_ms)));
        Ok(cost)
    }
}

pub(super) fn common(a: TimeRange, b: TimeRange) -> TimeRange {
    TimeRange { start: a.start.max(b.start), end: a.end.min(b.end) }
}
