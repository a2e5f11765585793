//! What does not fit into chunks: floats that came too late for theirs, and samples that are more than a float.
//!
//! A float goes here only if one as late or later came before it, so for one timestamp what is here always knows better
//! than the chunks. Samples that are more than a float lie here by time and coded one by one. A float that comes later for the
//! same timestamp removes them, so they always know better than the floats.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::TimeRange;

/// The floats are sorted and rid of repeated timestamps when there are so many, and each time they have doubled.
const LATE_TIDY_MIN: usize = 256;
/// Memory of a late float.
const LATE_BYTES: usize = size_of::<(i64, f64)>();
/// Memory of a sample that is more than a float, beside its bytes: two counters of the shared allocation, and its
/// place in a tree that is two thirds full.
const FULL_SAMPLE_BYTES: usize = 16 + 24 * 3 / 2;

/// What does not fit into the chunks of one series.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Floats that came too late, in the order they came.
    late: Vec<(i64, f64)>,
    tidy_at: usize,
    /// The coded samples that are more than a float, of the timestamps where such a sample came last.
    full: BTreeMap<i64, Arc<[u8]>>,
    full_bytes: usize,
}

impl Aside {
    pub(super) fn push_late(&mut self, timestamp_ms: i64, value: f64) {
        self.late.push((timestamp_ms, value));
        if self.late.len() >= self.tidy_at.max(LATE_TIDY_MIN) {
            tidy(&mut self.late);
            self.tidy_at = self.late.len() * 2;
        }
    }

    pub(super) fn push_full(&mut self, timestamp_ms: i64, bytes: Arc<[u8]>) {
        self.forget_full(timestamp_ms);
        self.full_bytes += bytes.len() + FULL_SAMPLE_BYTES;
        self.full.insert(timestamp_ms, bytes);
    }

    /// Removes the coded sample at `timestamp_ms`.
    pub(super) fn forget_full(&mut self, timestamp_ms: i64) {
        if !self.full.is_empty() {
            let freed = self.full.remove(&timestamp_ms).map_or(0, |bytes| bytes.len() + FULL_SAMPLE_BYTES);
            self.full_bytes -= freed;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.late.is_empty() && self.full.is_empty()
    }

    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Memory of what is in it.
    pub(super) fn bytes(&self) -> usize {
        self.late.capacity() * LATE_BYTES + self.full_bytes
    }

    /// The late floats in `range`, by time, of one timestamp the one that came last.
    pub(super) fn late_in(&self, range: TimeRange) -> Vec<(i64, f64)> {
        let mut late: Vec<(i64, f64)> = self.late.iter().copied().filter(|&(at_ms, _)| range.contains(at_ms)).collect();
        tidy(&mut late);
        late
    }

    /// The coded samples in `range`, by time.
    pub(super) fn full_in(&self, range: TimeRange) -> impl Iterator<Item = (i64, &Arc<[u8]>)> {
        let inside = (!range.is_empty()).then(|| self.full.range(range.start.0..=range.end.0));
        inside.into_iter().flatten().map(|(&at_ms, bytes)| (at_ms, bytes))
    }

    /// The timestamps of all that is here, late floats first.
    pub(super) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        self.late.iter().map(|&(at_ms, _)| at_ms).chain(self.full.keys().copied())
    }

    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        self.late.iter().any(|&(at_ms, _)| range.contains(at_ms)) || self.full_in(range).next().is_some()
    }
}

/// Sorts by time; of one timestamp the sample that came last stays.
fn tidy(samples: &mut Vec<(i64, f64)>) {
    samples.sort_by_key(|sample| sample.0);
    samples.reverse();
    samples.dedup_by_key(|sample| sample.0);
    samples.reverse();
}
