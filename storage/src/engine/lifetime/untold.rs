//! Samples that come to a window whose samples are gone: taken where something will tell of them, refused where nothing would.
//!
//! A summary tells of such a window, and nobody knows any more which samples it was made of. What lies before or behind all of
//! them is joined to it. Of a sample in between nobody can say whether the summary counts it already, as it does when samples are
//! sent again: it is shown only once the window has as many samples as its summary knows of, which then tell in its stead. So it
//! is taken in company that makes it that many, and refused alone, rather than acknowledged and never shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::sample::is_stale_marker;
use model::summary::window_end_ms;
use model::{Labels, Samples, Summary, TimeRange};
use roaring::RoaringBitmap;

use super::late::Cause;
use super::shown::{Part, ShowError, Shown, Wanted};
use crate::damage::Damage;
use crate::engine::Core;
use crate::engine::partition::DAY_MS;
use crate::engine::prepare::Prepared;
use crate::ids::SeriesId;
use crate::index::Found;
use crate::summary::regroup;

/// Times of floats, by series.
type Times = BTreeMap<SeriesId, Vec<i64>>;

impl Core {
    /// Refuses the floats that nothing would tell of.
    pub(super) fn reject_untold(&self, prepared: &mut Prepared) {
        let Some(until_ms) = self.view().summarised_until_ms() else { return };
        let before_ms = until_ms.saturating_add(1);
        // Where the index cannot tell, the append will not go on either.
        let id_of = |labels: &Labels| self.series.find(labels.as_ref()).ok().flatten().map(|found: Found| found.id());
        let asked = times_before(prepared, before_ms, id_of);
        if asked.is_empty() {
            return;
        }
        let untold = self.untold(&asked);
        if untold.is_empty() {
            return;
        }
        let cause = |id: &Option<SeriesId>, at_ms: i64| {
            let window_ms = *untold.get(&((*id)?, at_ms))?;
            Some(Cause::Summarised { window_ms })
        };
        self.refuse(prepared, before_ms, Some, id_of, cause);
    }

    /// Those of `asked` that would not be shown, with the window whose summary hides them.
    fn untold(&self, asked: &Times) -> HashMap<(SeriesId, i64), i64> {
        let all = || asked.values().flatten().copied();
        let (first_ms, last_ms) = (all().min().unwrap_or(i64::MAX), all().max().unwrap_or(i64::MIN));
        // No window is longer than a day.
        let range = TimeRange::new(first_ms.saturating_sub(DAY_MS), last_ms.saturating_add(DAY_MS));
        // In the order of every read: deletes, the head, blocks.
        let hidden = self.hidden();
        let ids: RoaringBitmap = asked.keys().map(|id| id.0).collect();
        let heads: BTreeMap<SeriesId, _> = self.head.snapshots(&ids, range).into_iter().collect();
        let view = self.view();
        let touched = view.blocks.iter().filter(|block| block.partition().range().overlaps(range));
        let mut blocks: Vec<_> = touched.cloned().collect();
        let mut untold = HashMap::new();
        let Some(shown) = Shown::new(self.lifetimes.at(self.clock.now().0), &mut blocks) else { return untold };
        for (&id, times) in asked {
            let head = heads.get(&id).map_or(&[][..], Vec::as_slice);
            for part in shown.parts() {
                let range = part.partition.range();
                let wanted = Wanted { id, rule: 0, range, head, blocks: &[], hidden: &hidden };
                let inside: Vec<i64> = times.iter().copied().filter(|&at_ms| range.contains(at_ms)).collect();
                // As long as samples are there summaries are made of them again.
                let is_whole = || part.has_raw(id) && !part.lacks_raw(wanted);
                if inside.is_empty() || !part.has_summaries(id) || is_whole() {
                    continue;
                }
                match part.untold(wanted, &inside, &mut |damage| self.damage.add(damage)) {
                    Ok(found) => untold.extend(found.into_iter().map(|(at_ms, window_ms)| ((id, at_ms), window_ms))),
                    // Summaries that cannot be read hide nothing.
                    Err(error) => tracing::warn!(?error, "whether late samples will be shown is not known"),
                }
            }
        }
        untold
    }
}

impl Part {
    /// Those of `times`, of samples that come to what the partition has of a series, that its summaries would hide, with their
    /// windows.
    fn untold(
        &self,
        wanted: Wanted<'_>,
        times: &[i64],
        told: &mut dyn FnMut(Damage),
    ) -> Result<Vec<(i64, i64)>, ShowError> {
        let longest_ms = self.summaries.iter().map(|block| block.record.window_ms).max().unwrap_or(0);
        let (first_ms, last_ms) = (times.iter().min(), times.iter().max());
        let (Some(first_ms), Some(last_ms)) = (first_ms, last_ms) else { return Ok(Vec::new()) };
        let wide = TimeRange::new(first_ms.saturating_sub(longest_ms), last_ms.saturating_add(longest_ms));
        let (held, _) = self.read_raw(wanted, wide, told)?;
        let held = held.timestamps_ms.iter().zip(&held.values).filter(|(_, value)| !is_stale_marker(**value));
        let there: BTreeSet<i64> = held.map(|(at_ms, _)| at_ms).chain(times).copied().collect();
        let (mut untold, mut finer) = (Vec::new(), Vec::<Summary>::new());
        for block in self.summaries.iter().filter(|block| block.has(wanted.id)) {
            let window_ms = block.record.window_ms;
            let (mut own, mut beside, mut of_finer) = (Vec::new(), Samples::default(), Vec::new());
            block.reader.read_summaries(u64::from(wanted.id.0), wide, &mut own, &mut beside, told)?;
            wanted.hidden.cut_summaries(&block.record, wanted.id, &mut own);
            if finer.iter().all(|of| window_ms % of.window_ms == 0) {
                regroup(&finer, window_ms, &mut of_finer);
            }
            for &at_ms in times {
                let end_ms = window_end_ms(at_ms, window_ms);
                let Some(of) = find(&own, end_ms).filter(|of| (of.first_ms..=of.last_ms).contains(&at_ms)) else {
                    continue;
                };
                let inside = || there.range(end_ms.saturating_sub(window_ms).saturating_add(1)..=end_ms).copied();
                let ends = inside().next().zip(inside().next_back());
                let by_samples = ends.is_some_and(|ends| is_whole(of, inside().count() as u64, ends));
                let of_finer = find(&of_finer, end_ms);
                let by_finer = of_finer.is_some_and(|new| is_whole(of, new.count, (new.first_ms, new.last_ms)));
                if !by_samples && !by_finer {
                    untold.push((at_ms, window_ms));
                }
            }
            finer = own;
        }
        Ok(untold)
    }
}

fn find(summaries: &[Summary], end_ms: i64) -> Option<&Summary> {
    summaries.binary_search_by_key(&end_ms, Summary::end_ms).ok().and_then(|at| summaries.get(at))
}

/// Whether `count` samples from the first to the last time tell all that a summary knows of.
fn is_whole(of: &Summary, count: u64, (first_ms, last_ms): (i64, i64)) -> bool {
    count >= of.count && first_ms <= of.first_ms && last_ms >= of.last_ms
}

/// The times of floats of a batch that lie before `before_ms`.
fn times_before(prepared: &Prepared, before_ms: i64, id_of: impl Fn(&Labels) -> Option<SeriesId>) -> Times {
    let mut times = Times::new();
    let mut add = |id: SeriesId, at_ms: i64| times.entry(id).or_default().push(at_ms);
    let columns = &prepared.columns;
    for ((&id, &at_ms), &value) in columns.ids.iter().zip(&columns.timestamps_ms).zip(&columns.values) {
        // A marker tells that a series ended, and changes no summary that goes on behind it.
        if at_ms < before_ms && !is_stale_marker(value) {
            add(SeriesId(id), at_ms);
        }
    }
    let full = prepared.extras.full.iter().filter(|row| row.timestamp_ms < before_ms && !row.is_histogram());
    full.for_each(|row| add(row.id, row.timestamp_ms));
    for (labels, samples) in &prepared.unknown {
        let mut late = samples.iter().filter(|of| of.timestamp.0 < before_ms && !is_stale_marker(of.value)).peekable();
        if late.peek().is_some()
            && let Some(id) = id_of(labels)
        {
            late.for_each(|sample| add(id, sample.timestamp.0));
        }
    }
    for (labels, samples) in &prepared.unknown_extras.full {
        let mut late = samples.iter().filter(|of| of.timestamp_ms < before_ms && !of.is_histogram).peekable();
        if late.peek().is_some()
            && let Some(id) = id_of(labels)
        {
            late.for_each(|sample| add(id, sample.timestamp_ms));
        }
    }
    times
}
