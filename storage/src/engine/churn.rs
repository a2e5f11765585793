//! When series came and went: how many in the last hour, and which.
//!
//! Ids are given in the order of first appearance. So it is enough to remember which id was the next at the beginning
//! of each minute in which a series was created: the series created since are those with that id and above, by whatever
//! label they are counted. Of series that were removed the number is remembered.
//!
//! Minutes are kept for two days, the first one of each hour for 35. The catalog has them as of the last flush; what a crash
//! cuts off is found again by the times of the samples that the log replays.

use crate::catalog::{ChurnPoint, ChurnRecord};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// How long every minute is kept.
const MINUTES_KEPT_MS: i64 = 48 * HOUR_MS;
/// How long hours are kept.
const HOURS_KEPT_MS: i64 = 35 * 24 * HOUR_MS;

/// When series came and went.
#[derive(Debug, Default)]
pub(super) struct Churn {
    record: ChurnRecord,
    /// The id that the next series gets.
    next_series: u32,
    /// Whether it differs from what was last [taken](Self::unsaved).
    changed: bool,
}

/// How it was at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Before {
    /// The instant, in milliseconds since the Unix epoch: the beginning of a minute or an hour, and not before anything is
    /// known.
    pub(super) at_ms: i64,
    /// Series with this id and above came later.
    pub(super) next_series: u32,
    /// How many came later, those that are gone again included.
    pub(super) created_since: u64,
    /// How many were removed later.
    pub(super) removed_since: u64,
}

impl Churn {
    /// What the catalog remembers of a folder where `next_series` is the next id.
    pub(super) fn new(record: ChurnRecord, next_series: u32) -> Self {
        Self { record, next_series, changed: false }
    }

    /// From `now_ms` on it is known when series come, if it was not before.
    pub(super) fn begin(&mut self, now_ms: i64) {
        if self.record.points.is_empty() {
            self.note(now_ms);
        }
    }

    /// Series were created at `now_ms`; the id `next_series` is the next now.
    pub(super) fn created(&mut self, now_ms: i64, next_series: u32) {
        self.note(now_ms);
        self.next_series = self.next_series.max(next_series);
    }

    /// So many series were removed at `now_ms`.
    pub(super) fn removed(&mut self, now_ms: i64, series: u64) {
        self.note(now_ms);
        self.record.removed = self.record.removed.saturating_add(series);
        self.changed = true;
    }

    /// Remembers how it is at the beginning of a minute in which something changes.
    fn note(&mut self, now_ms: i64) {
        let at_ms = floor(now_ms.max(0), MINUTE_MS);
        let last_ms = self.record.points.last().map(|last| last.at_ms);
        // A clock that went back tells nothing new.
        if last_ms.is_some_and(|last_ms| at_ms <= last_ms) {
            return;
        }
        let removed = self.record.removed;
        self.record.points.push(ChurnPoint { at_ms, next_series: self.next_series, removed });
        self.changed = true;
        if last_ms.is_some_and(|last_ms| hours_until(last_ms) != hours_until(at_ms)) {
            self.thin(at_ms);
        }
    }

    /// Keeps of each hour that is long over its first point.
    fn thin(&mut self, now_ms: i64) {
        let hours_until = hours_until(now_ms);
        let oldest_ms = now_ms.saturating_sub(HOURS_KEPT_MS);
        let mut hour_before = None;
        self.record.points.retain(|point| {
            let hour_ms = floor(point.at_ms, HOUR_MS);
            let is_first = hour_before.replace(hour_ms) != Some(hour_ms);
            point.at_ms >= oldest_ms && (is_first || point.at_ms >= hours_until)
        });
    }

    /// How it was at `at_ms`: at the beginning of its minute or hour.
    pub(super) fn before(&self, at_ms: i64) -> Before {
        let Self { record: ChurnRecord { removed, points }, next_series, .. } = self;
        let (first_ms, last_ms) = points.first().zip(points.last()).map_or((at_ms, at_ms), |(a, b)| (a.at_ms, b.at_ms));
        let unit_ms = if at_ms < hours_until(last_ms) { HOUR_MS } else { MINUTE_MS };
        let at_ms = floor(at_ms, unit_ms).max(first_ms);
        let later = points.get(points.partition_point(|point| point.at_ms < at_ms));
        let (series_then, removed_then) = later.map_or((*next_series, *removed), |of| (of.next_series, of.removed));
        Before {
            at_ms,
            next_series: series_then,
            created_since: u64::from(next_series.saturating_sub(series_then)),
            removed_since: removed.saturating_sub(removed_then),
        }
    }

    /// From when on it is known which series were created, in milliseconds since the Unix epoch.
    pub(super) fn known_from_ms(&self) -> Option<i64> {
        self.record.points.first().map(|first| first.at_ms)
    }

    /// What is to be saved, if anything was remembered since this was asked last.
    pub(super) fn unsaved(&mut self) -> Option<ChurnRecord> {
        std::mem::take(&mut self.changed).then(|| self.record.clone())
    }
}

/// Before this instant only hours are kept, while the last point is at `last_ms`.
fn hours_until(last_ms: i64) -> i64 {
    floor(last_ms.saturating_sub(MINUTES_KEPT_MS), HOUR_MS)
}

fn floor(at_ms: i64, unit_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    /// What there was at an instant, by going through everything that happened.
    fn model(happened: &[(i64, u32, u64)], at_ms: i64) -> (u32, u64) {
        let later = happened.iter().filter(|(came_ms, _, _)| *came_ms >= at_ms);
        later.fold((0, 0), |(created, removed), (_, more, gone)| (created + more, removed + gone))
    }

    proptest! {
        /// Over any time since the beginning the numbers are those of a model that remembers everything.
        #[test]
        fn what_happened_since_is_exact(
            steps in prop::collection::vec((0i64..40_000_000, 0u32..100, 0u64..100), 0..300),
            asked in prop::collection::vec(0i64..4_000_000_000, 1..20),
            restart in 0usize..300,
        ) {
            let mut churn = Churn::new(ChurnRecord::default(), 5);
            churn.begin(NOW_MS);
            let (mut now_ms, mut next_series, mut happened) = (NOW_MS, 5, Vec::new());
            for (at, (pause_ms, created, removed)) in steps.into_iter().enumerate() {
                now_ms += pause_ms;
                if created > 0 {
                    next_series += created;
                    churn.created(now_ms, next_series);
                }
                if removed > 0 {
                    churn.removed(now_ms, removed);
                }
                happened.push((now_ms, created, removed));
                if at == restart {
                    let saved = churn.unsaved().unwrap_or_else(|| churn.record.clone());
                    churn = Churn::new(saved, next_series);
                    churn.begin(now_ms);
                }
            }
            for ago_ms in asked {
                let before = churn.before(now_ms - ago_ms);
                let (created, removed) = model(&happened, before.at_ms);
                prop_assert_eq!((before.created_since, before.removed_since), (u64::from(created), removed));
                prop_assert_eq!(before.next_series, next_series - created);
                let known_from_ms = churn.known_from_ms().expect("it began");
                let asked_ms = (now_ms - ago_ms).max(known_from_ms);
                let coarse_ms = if ago_ms < MINUTES_KEPT_MS { MINUTE_MS } else { HOUR_MS };
                prop_assert!((known_from_ms..=asked_ms).contains(&before.at_ms) && asked_ms - before.at_ms < coarse_ms);
            }
            let last_ms = churn.record.points.last().expect("there is one").at_ms;
            prop_assert!(last_ms - churn.known_from_ms().expect("it began") <= HOURS_KEPT_MS + HOUR_MS);
        }
    }

    #[test]
    fn months_of_minutes_take_bounded_memory() {
        let mut churn = Churn::default();
        for minute in 0..80 * 24 * 60 {
            churn.created(NOW_MS + minute * MINUTE_MS, u32::try_from(minute).expect("few"));
        }
        let points = churn.record.points.len();
        assert!((2880 + 780..2880 + 60 + 800).contains(&points), "{points} points");
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut churn = Churn::default();
        churn.begin(NOW_MS);
        churn.created(NOW_MS + 5 * MINUTE_MS, 3);
        churn.created(NOW_MS + 2 * MINUTE_MS, 7);
        assert_eq!(churn.before(NOW_MS + 5 * MINUTE_MS).created_since, 7);
        assert_eq!(churn.before(NOW_MS + 6 * MINUTE_MS).created_since, 0);
        assert_eq!(churn.before(i64::MIN).at_ms, floor(NOW_MS, MINUTE_MS));
    }
}
