//! The order of series by labels, remembered.
//!
//! Selections are ordered by labels, and comparing labels is most of the work of an instant query over many series.
//! Dashboards select the same ones again and again, so the places of the largest selection so far are kept by id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::Labels;
use parking_lot::RwLock;

use crate::ids::SeriesId;
use crate::index::table::{PAGE_SERIES, place};

/// The order of series by labels, as far as a selection found it out. Ids are not given twice, so it stays true.
#[derive(Debug, Default)]
pub(super) struct LabelOrder {
    known: RwLock<Arc<Ranks>>,
}

/// For each id its place in the largest selection so far, or [`UNRANKED`]; by pages of ids, as far as there are any.
#[derive(Debug, Default)]
struct Ranks {
    pages: Vec<Option<Box<[u32; PAGE_SERIES]>>>,
    series: usize,
    /// Series of other selections since this one was last of use.
    missed: AtomicUsize,
}

impl Ranks {
    fn rank(&self, id: SeriesId) -> u32 {
        let (page, slot) = place(id);
        self.pages.get(page).and_then(Option::as_ref).map_or(UNRANKED, |page| page[slot])
    }

    /// Of `ids` in their order; nothing if they are spread over so many pages that it is not worth the memory.
    fn of(ids: &[SeriesId]) -> Option<Self> {
        let mut ranks = Self { series: ids.len(), ..Self::default() };
        let mut left = (ids.len() * RANKED_IDS_EACH).div_ceil(PAGE_SERIES);
        for (rank, &id) in (0..UNRANKED).zip(ids) {
            let (page, slot) = place(id);
            if ranks.pages.len() <= page {
                ranks.pages.resize_with(page + 1, || None);
            }
            if ranks.pages[page].is_none() {
                left = left.checked_sub(1)?;
            }
            ranks.pages[page].get_or_insert_with(|| Box::new([UNRANKED; PAGE_SERIES]))[slot] = rank;
        }
        Some(ranks)
    }
}

const UNRANKED: u32 = u32::MAX;
/// Ids that may be remembered for each series that is: whole pages of ids are, of which few may be selected.
const RANKED_IDS_EACH: usize = 16;
/// So many times as many series as are remembered may be selected besides; then it is these that are wanted, as when
/// others have come in the place of those.
const MISSED_MAX: usize = 4;
/// Smaller selections are sorted by their labels each time.
const RANKED_SERIES_MIN: usize = 256;

impl LabelOrder {
    /// Sorts series by their labels; `of` gives the id and labels of one.
    pub(super) fn sort<T>(&self, series: &mut [T], of: impl Fn(&T) -> (SeriesId, &Labels)) {
        let ranks = self.known.read().clone();
        if series.len() <= ranks.series && series.iter().all(|one| ranks.rank(of(one).0) != UNRANKED) {
            series.sort_unstable_by_key(|one| ranks.rank(of(one).0));
            ranks.missed.store(0, Ordering::Relaxed);
            return;
        }
        series.sort_unstable_by(|a, b| of(a).1.cmp(of(b).1));
        let missed = ranks.missed.fetch_add(series.len(), Ordering::Relaxed) + series.len();
        let is_due = series.len() >= ranks.series || missed / MISSED_MAX >= ranks.series;
        if series.len() >= RANKED_SERIES_MIN && is_due {
            let ids: Vec<SeriesId> = series.iter().map(|one| of(one).0).collect();
            if let Some(found) = Ranks::of(&ids) {
                *self.known.write() = Arc::new(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Selections of every size and mixture come ordered by labels, whatever was selected before.
    #[test]
    fn an_order_found_out_is_an_order_by_labels() {
        let labels =
            |id: u32| Labels::from_pairs([("__name__", "m"), ("i", &(id * 7919 % 1000).to_string())]).expect("valid");
        let order = LabelOrder::default();
        let mut state = 1u32;
        for size in [10, 400, 900, 300, 900, 1000, 500, 1000] {
            let mut ids: Vec<u32> = (0..1000).collect();
            for at in (1..ids.len()).rev() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ids.swap(at, (state >> 16) as usize % (at + 1));
            }
            let select = |&id: &u32| (SeriesId(id), labels(id));
            let mut series: Vec<(SeriesId, Labels)> = ids[..size].iter().map(select).collect();
            order.sort(&mut series, |(id, labels)| (*id, labels));
            assert!(series.is_sorted_by(|a, b| a.1 <= b.1), "{size} series");
        }
        assert_eq!(order.known.read().series, 1000, "the largest selection is remembered");
        // After much churn ids are high.
        let mut series: Vec<(SeriesId, Labels)> = (0..1100).map(|id| (SeriesId(id + 9_000_000), labels(id))).collect();
        order.sort(&mut series, |(id, labels)| (*id, labels));
        assert_eq!(order.known.read().series, 1100);
        // A smaller one that is selected again and again.
        for round in 0..6 {
            let mut series: Vec<(SeriesId, Labels)> = (0..900).map(|id| (SeriesId(id + 500), labels(id))).collect();
            order.sort(&mut series, |(id, labels)| (*id, labels));
            assert!(series.is_sorted_by(|a, b| a.1 <= b.1));
            assert_eq!(order.known.read().series, if round < 4 { 1100 } else { 900 }, "round {round}");
        }
        let far = (0..1500).map(|id| (SeriesId(id * 256), labels(id)));
        let mut series: Vec<(SeriesId, Labels)> = far.collect();
        order.sort(&mut series, |(id, labels)| (*id, labels));
        assert!(series.is_sorted_by(|a, b| a.1 <= b.1));
        assert_eq!(order.known.read().series, 900, "ids far apart are not worth the memory");
    }
}
