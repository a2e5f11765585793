//! Exemplars: a bounded number of the latest, in memory.
//!
//! They are in the log, so that a restart finds those that no flush has trimmed; blocks do not have them.

use std::collections::VecDeque;

use hashbrown::HashMap;
use model::{Exemplar, Labels, Matcher, TimeRange};
use roaring::RoaringBitmap;

use super::Core;
use crate::damage::Damage;
use crate::ids::SeriesId;

/// Among so many of the latest of a series one that was said already is found.
const LOOK_BACK: usize = 32;

/// The exemplars of all series. When there are too many, those that came first go.
#[derive(Debug)]
pub(super) struct Exemplars {
    limit: usize,
    /// In order of time, which is the order they came in.
    by_series: HashMap<u32, VecDeque<Exemplar>, ahash::RandomState>,
    /// The series of each, in the order they came.
    order: VecDeque<u32>,
}

/// What becomes of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is kept.
    New,
    /// It was said already, as when a request is sent again.
    Known,
    /// A later one of its series is there, or none are kept at all.
    Refused,
}

impl Exemplars {
    /// None yet, `limit` at most.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, by_series: HashMap::default(), order: VecDeque::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What would become of one. Of one instant those that differ are kept.
    pub(super) fn look(&self, id: SeriesId, exemplar: &Exemplar) -> Verdict {
        if self.limit == 0 {
            return Verdict::Refused;
        }
        let kept = self.by_series.get(&id.0).map(|kept| kept.iter().rev().take(LOOK_BACK)).into_iter().flatten();
        let mut verdict = Verdict::New;
        for kept in kept.take_while(|kept| kept.timestamp_ms >= exemplar.timestamp_ms) {
            if kept == exemplar {
                return Verdict::Known;
            }
            if kept.timestamp_ms > exemplar.timestamp_ms {
                verdict = Verdict::Refused;
            }
        }
        verdict
    }

    /// Keeps one that is [new](Self::look).
    pub(super) fn push(&mut self, id: SeriesId, exemplar: Exemplar) -> Verdict {
        let verdict = self.look(id, &exemplar);
        if verdict != Verdict::New {
            return verdict;
        }
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
            && let Some(of_series) = self.by_series.get_mut(&oldest)
        {
            of_series.pop_front();
            if of_series.is_empty() {
                self.by_series.remove(&oldest);
            }
        }
        self.by_series.entry(id.0).or_default().push_back(exemplar);
        self.order.push_back(id.0);
        verdict
    }

    /// Forgets those of `ids` in `range`.
    pub(super) fn remove(&mut self, ids: &RoaringBitmap, range: TimeRange) {
        let goes = |id: u32, exemplar: &Exemplar| ids.contains(id) && range.contains(exemplar.timestamp_ms);
        // Those of one series stand in `order` as they stand in its own list.
        let mut at: HashMap<u32, usize, ahash::RandomState> = HashMap::default();
        let by_series = &self.by_series;
        self.order.retain(|id| {
            let at = at.entry(*id).or_default();
            let exemplar = by_series.get(id).and_then(|of_series| of_series.get(*at));
            *at += 1;
            exemplar.is_some_and(|exemplar| !goes(*id, exemplar))
        });
        self.by_series.retain(|&id, of_series| {
            of_series.retain(|exemplar| !goes(id, exemplar));
            !of_series.is_empty()
        });
    }

    /// Those of `ids` in `range`, of each series in order of time.
    fn read(&self, ids: &RoaringBitmap, range: TimeRange) -> Vec<(u32, Vec<Exemplar>)> {
        let mut found: Vec<(u32, Vec<Exemplar>)> = Vec::new();
        let mut visit = |id: u32, of_series: &VecDeque<Exemplar>| {
            let inside = of_series.iter().filter(|exemplar| range.contains(exemplar.timestamp_ms));
            let exemplars: Vec<Exemplar> = inside.cloned().collect();
            if !exemplars.is_empty() {
                found.push((id, exemplars));
            }
        };
        if ids.len() < self.by_series.len() as u64 {
            ids.iter().filter_map(|id| Some((id, self.by_series.get(&id)?))).for_each(|(id, of)| visit(id, of));
        } else {
            self.by_series.iter().filter(|(id, _)| ids.contains(**id)).for_each(|(id, of)| visit(*id, of));
            found.sort_unstable_by_key(|(id, _)| *id);
        }
        found
    }
}

impl Core {
    pub(super) fn read_exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, Damage> {
        let range = self.visible(range);
        let ids = self.series.select(matchers)?;
        let found = self.exemplars.read().read(&ids, range);
        let mut found = found.into_iter().peekable();
        let mut named = Vec::new();
        let ids: Vec<u32> = found.clone().map(|(id, _)| id).collect();
        self.series.each(ids, |id, labels| {
            // A series that was removed meanwhile has no labels.
            while found.next_if(|(other, _)| *other < id.0).is_some() {}
            if let Some((_, exemplars)) = found.next_if(|(other, _)| *other == id.0) {
                named.push((labels.clone(), exemplars));
            }
        })?;
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(timestamp_ms: i64, value: f64) -> Exemplar {
        Exemplar { labels: Labels::default(), value, timestamp_ms }
    }

    #[track_caller]
    fn check(kept: &Exemplars, id: u32, want: &[(i64, f64)]) {
        let ids = RoaringBitmap::from_iter([id]);
        let found = kept.read(&ids, TimeRange::ALL).pop().map_or(Vec::new(), |(_, exemplars)| exemplars);
        let got: Vec<(i64, f64)> = found.iter().map(|exemplar| (exemplar.timestamp_ms, exemplar.value)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn those_that_came_first_make_room() {
        let mut kept = Exemplars::new(4);
        for (id, timestamp_ms, value, want) in [
            (1, 10, 1.0, Verdict::New),
            (2, 5, 1.0, Verdict::New),
            (1, 10, 1.0, Verdict::Known),
            (1, 9, 3.0, Verdict::Refused),
            (1, 10, 2.0, Verdict::New),
            (2, 6, 1.0, Verdict::New),
            (2, 5, 1.0, Verdict::Known),
        ] {
            assert_eq!(kept.push(SeriesId(id), exemplar(timestamp_ms, value)), want, "{id} at {timestamp_ms}");
        }
        check(&kept, 1, &[(10, 1.0), (10, 2.0)]);
        check(&kept, 2, &[(5, 1.0), (6, 1.0)]);
        kept.push(SeriesId(3), exemplar(1, 1.0));
        check(&kept, 1, &[(10, 2.0)]);
        kept.push(SeriesId(3), exemplar(2, 1.0));
        kept.push(SeriesId(3), exemplar(3, 1.0));
        check(&kept, 1, &[]);
        check(&kept, 3, &[(1, 1.0), (2, 1.0), (3, 1.0)]);
        assert_eq!((kept.len(), kept.by_series.len()), (4, 2));
        kept.remove(&RoaringBitmap::from_iter([1, 3]), TimeRange::new(2, 2));
        check(&kept, 3, &[(1, 1.0), (3, 1.0)]);
        assert_eq!(kept.order, [2, 3, 3]);
        kept.remove(&RoaringBitmap::from_iter([3]), TimeRange::ALL);
        assert_eq!((kept.len(), kept.by_series.len()), (1, 1));
        let mut none = Exemplars::new(0);
        assert_eq!(none.push(SeriesId(1), exemplar(1, 1.0)), Verdict::Refused);
        assert_eq!(none.len(), 0);
    }
}
