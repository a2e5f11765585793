//! The order of series by labels, remembered.
//!
//! Selections are ordered by labels, and comparing labels is most of the work of an instant query over many series.
//! Dashboards select the same ones again and again, so the places of the largest selection so far are kept by id.

use std::sync::Arc;

use model::Labels;
use parking_lot::RwLock;

use crate::ids::SeriesId;

/// The order of series by labels, as far as a selection found it out. Ids are not given twice, so it stays true.
#[derive(Debug, Default)]
pub(super) struct LabelOrder {
    known: RwLock<Arc<Ranks>>,
}

/// For each id its place in the largest selection so far, or [`UNRANKED`].
#[derive(Debug, Default)]
struct Ranks {
    by_id: Vec<u32>,
    series: usize,
}

const UNRANKED: u32 = u32::MAX;
/// Ids that may be remembered for each series that is: after much churn the living are few among their ids.
const RANKED_IDS_EACH: usize = 16;
/// Smaller selections are sorted by their labels each time.
const RANKED_SERIES_MIN: usize = 256;

impl LabelOrder {
    /// Sorts series by their labels; `of` gives the id and labels of one.
    pub(super) fn sort<T>(&self, series: &mut [T], of: impl Fn(&T) -> (SeriesId, &Labels)) {
        let ranks = self.known.read().clone();
        let rank = |id: SeriesId| ranks.by_id.get(id.0 as usize).copied().unwrap_or(UNRANKED);
        if series.len() <= ranks.series && series.iter().all(|one| rank(of(one).0) != UNRANKED) {
            series.sort_unstable_by_key(|one| rank(of(one).0));
            return;
        }
        series.sort_unstable_by(|a, b| of(a).1.cmp(of(b).1));
        let newest = series.iter().map(|one| of(one).0.0 as usize).max().unwrap_or(0);
        if series.len() >= RANKED_SERIES_MIN.max(ranks.series) && newest / RANKED_IDS_EACH < series.len() {
            let mut found = Ranks { by_id: Vec::new(), series: series.len() };
            for (place, one) in (0..UNRANKED).zip(&*series) {
                let id = of(one).0.0 as usize;
                if found.by_id.len() <= id {
                    found.by_id.resize(id + 1, UNRANKED);
                }
                found.by_id[id] = place;
            }
            *self.known.write() = Arc::new(found);
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
        let far = (SeriesId(u32::MAX - 1), labels(1));
        let mut series: Vec<(SeriesId, Labels)> = (0..1500).map(|id| (SeriesId(id), labels(id))).chain([far]).collect();
        order.sort(&mut series, |(id, labels)| (*id, labels));
        assert_eq!(order.known.read().series, 1000, "ids far apart are not worth the memory");
    }
}
