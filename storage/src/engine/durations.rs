//! How long things took: counts by upper bound, and the sum.
//!
//! The bounds are the same for all, so that one table serves every page that shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the counts, in microseconds: from a sync of a fast disk to a merge of a large day.
pub const DURATION_BOUNDS_US: [u64; 14] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Counts while it runs.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// By bound; the last is above all.
    counts: [AtomicU64; DURATION_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// How long things took, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationStats {
    /// How many took at most so long, for each of [`DURATION_BOUNDS_US`].
    pub cumulative: [u64; DURATION_BOUNDS_US.len()],
    /// How many there were.
    pub count: u64,
    /// How long all took together, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// Counts what began at `started` and has ended now.
    pub(super) fn add_since(&self, started: Instant) {
        self.add(started.elapsed());
    }

    pub(super) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[DURATION_BOUNDS_US.partition_point(|&bound| bound < us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> DurationStats {
        let mut stats = DurationStats { sum_us: self.sum_us.load(Ordering::Relaxed), ..DurationStats::default() };
        for (at, count) in self.counts.iter().enumerate() {
            stats.count += count.load(Ordering::Relaxed);
            if let Some(cumulative) = stats.cumulative.get_mut(at) {
                *cumulative = stats.count;
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_counted_by_bound() {
        let durations = Durations::default();
        for us in [0, 100, 101, 60_000_000, 300_000_001] {
            durations.add(Duration::from_micros(us));
        }
        let stats = durations.read();
        assert_eq!(stats.cumulative, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4]);
        assert_eq!((stats.count, stats.sum_us), (5, 360_000_202));
    }
}
