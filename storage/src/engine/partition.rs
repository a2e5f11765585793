//! Which days share a block.
//!
//! A partition is a run of whole UTC days, mostly one; partitions never overlap, and every block belongs to one.
//! Days that have blocks already keep their partition. Of new days each gets its own as long as one flush touches few;
//! beyond that neighbouring days share one, so that about equally many samples fall to each. A flush therefore makes a
//! bounded number of new partitions however far apart its timestamps are. Thin neighbours that are no longer written
//! are joined by a later merge.

use std::collections::BTreeMap;

use model::TimeRange;

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// Most new partitions that days get one each in one flush; with more days than that they share.
const DAYS_ALONE_MAX: usize = 16;
/// Most runs of days that are told apart while counting.
const RUNS_MAX: usize = 4096;

/// The day of a timestamp, in days since the Unix epoch.
pub(super) fn day_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(DAY_MS)
}

/// A run of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    pub(super) first_day: i64,
    pub(super) last_day: i64,
}

impl Partition {
    pub(super) fn contains(self, day: i64) -> bool {
        (self.first_day..=self.last_day).contains(&day)
    }

    /// From the first instant in the partition to the last.
    pub(super) fn range(self) -> TimeRange {
        TimeRange::new(self.first_day.saturating_mul(DAY_MS), self.end_ms())
    }

    /// The last instant in the partition.
    pub(super) fn end_ms(self) -> i64 {
        let end = (i128::from(self.last_day) + 1) * i128::from(DAY_MS) - 1;
        i64::try_from(end).unwrap_or(i64::MAX)
    }
}

/// Counts samples by day, for days that have no partition yet.
#[derive(Debug)]
pub(super) struct DayCount<'a> {
    /// Sorted; they do not overlap.
    known: &'a [Partition],
    touched: Vec<bool>,
    /// First day to last day and number of samples, for runs between known partitions.
    runs: BTreeMap<i64, (i64, u64)>,
}

impl<'a> DayCount<'a> {
    /// A count of nothing. `known` is sorted.
    pub(super) fn new(known: &'a [Partition]) -> Self {
        Self { known, touched: vec![false; known.len()], runs: BTreeMap::new() }
    }

    /// Counts `samples` that all lie on `day`.
    pub(super) fn add(&mut self, day: i64, samples: u64) {
        if let Some(at) = find(self.known, day) {
            self.touched[at] = true;
            return;
        }
        match self.runs.range_mut(..=day).next_back() {
            Some((_, (last_day, count))) if day <= *last_day => *count += samples,
            _ => drop(self.runs.insert(day, (day, samples))),
        }
        if self.runs.len() > RUNS_MAX {
            let runs = std::mem::take(&mut self.runs);
            let total: u64 = runs.values().map(|run| run.1).sum();
            self.runs = self.share(&runs, |before, next| before.min(next) <= 2 * total / RUNS_MAX as u64);
        }
    }

    /// The partitions that the counted samples go to, sorted.
    pub(super) fn partitions(self) -> Vec<Partition> {
        let runs = if self.runs.len() > DAYS_ALONE_MAX {
            let total: u64 = self.runs.values().map(|run| run.1).sum();
            let wanted = total.div_ceil(DAYS_ALONE_MAX as u64);
            self.share(&self.runs, |before, next| before < wanted && next < wanted)
        } else {
            self.runs.clone()
        };
        let touched = self.known.iter().zip(&self.touched).filter(|(_, touched)| **touched).map(|(known, _)| *known);
        let new = runs.iter().map(|(&first_day, &(last_day, _))| Partition { first_day, last_day });
        let mut partitions: Vec<Partition> = touched.chain(new).collect();
        partitions.sort_unstable();
        partitions
    }

    /// Joins neighbouring runs whose numbers of samples `may` be joined; never across a known partition.
    fn share(&self, runs: &BTreeMap<i64, (i64, u64)>, may: impl Fn(u64, u64) -> bool) -> BTreeMap<i64, (i64, u64)> {
        let mut shared: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
        for (&first_day, &(last_day, samples)) in runs {
            if let Some(mut run) = shared.last_entry() {
                let between = self.known.partition_point(|known| known.last_day < run.get().0);
                let blocked = self.known.get(between).is_some_and(|known| known.first_day < first_day);
                if !blocked && may(run.get().1, samples) {
                    let (_, before) = *run.get();
                    run.insert((last_day, before + samples));
                    continue;
                }
            }
            shared.insert(first_day, (last_day, samples));
        }
        shared
    }
}

/// The position of the partition that holds `day`, in a sorted list.
pub(super) fn find(partitions: &[Partition], day: i64) -> Option<usize> {
    let at = partitions.partition_point(|partition| partition.last_day < day);
    partitions.get(at).filter(|partition| partition.contains(day)).map(|_| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_days_stand_alone() {
        let known = [Partition { first_day: 5, last_day: 9 }];
        let mut count = DayCount::new(&known);
        for day in [-3, 0, 7, 10] {
            count.add(day, 1);
        }
        let want = [(-3, -3), (0, 0), (5, 9), (10, 10)].map(|(first_day, last_day)| Partition { first_day, last_day });
        assert_eq!(count.partitions(), want);
    }

    #[test]
    fn days_of_any_timestamp() {
        assert_eq!([day_of(-1), day_of(0), day_of(DAY_MS)], [-1, 0, 1]);
        for at_ms in [i64::MIN, i64::MAX] {
            let day = day_of(at_ms);
            assert!(Partition { first_day: day, last_day: day }.contains(day));
        }
        assert_eq!(Partition { first_day: 0, last_day: day_of(i64::MAX) }.end_ms(), i64::MAX);
    }

    proptest! {
        /// Every counted day has one partition, known ones stay, none overlap, new ones are few.
        #[test]
        fn partitions_cover_and_are_few(
            days in prop::collection::btree_map(prop_oneof![any::<i64>(), -50i64..50], 1u64..1000, 0..300),
            known in prop::collection::btree_set(-60i64..60, 0..8),
        ) {
            let known: Vec<i64> = known.into_iter().collect();
            let known: Vec<Partition> =
                known.chunks_exact(2).map(|pair| Partition { first_day: pair[0], last_day: pair[1] - 1 }).collect();
            let mut count = DayCount::new(&known);
            for (&day, &samples) in &days {
                count.add(day, samples);
            }
            let partitions = count.partitions();
            prop_assert!(partitions.is_sorted_by(|a, b| a.last_day < b.first_day), "{partitions:?}");
            for &day in days.keys() {
                let at = find(&partitions, day);
                prop_assert!(at.is_some(), "day {day} in {partitions:?}");
                if let Some(kept) = find(&known, day) {
                    prop_assert_eq!(partitions[at.unwrap()], known[kept]);
                }
            }
            let new = partitions.iter().filter(|partition| !known.contains(partition)).count();
            prop_assert!(new <= 2 * DAYS_ALONE_MAX + 1 + known.len(), "{new} new partitions");
        }
    }
}
