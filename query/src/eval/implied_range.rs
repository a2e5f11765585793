//! Ranges nobody wrote: `rate(x)` instead of `rate(x[5m])`.
//!
//! Owns the length such a range has. It is chosen for each series, once for the whole query: four times the distance of
//! its samples, so that a lost one or a slow one does not empty the window, and never less than the step and one such
//! distance, so that windows of neighbouring steps leave no sample between them out. That is the rule of Grafana's
//! `$__rate_interval`, with the distance measured and not configured.

use model::Samples;

use super::error::Result;
use super::evaluator::Evaluator;
use super::grid::Grid;
use super::select::remove_stale_markers;
use super::summaries::Takes;
use super::window::{Frame, RangeSink};
use crate::ast::{RangeExtension, Selector};

/// How many distances of samples a range holds at least.
const INTERVALS: i64 = 4;

impl Evaluator<'_> {
    /// A selector without a range as a range vector.
    pub(crate) fn implied_range(
        &self,
        selector: &Selector,
        extension: Option<RangeExtension>,
        takes: Takes,
        grid: Grid,
        visit: &mut RangeSink<'_>,
    ) -> Result<()> {
        let shift = self.shift(&selector.modifiers)?;
        let lookback_ms = self.lookback_ms;
        let frame = |interval_ms| self.frame(grid, shift, range_ms(grid.step_ms, interval_ms), extension);
        // No distance counts as longer than lookback: a series with such gaps is absent most of the time.
        let (before_ms, after_ms) = frame(lookback_ms).reach_ms();
        let read = Self::read_range(grid, shift, before_ms, after_ms);
        let mut gaps = Vec::new();
        let reading = frame(lookback_ms).reading(&selector.matchers, read, takes);
        self.read_each(&reading, &mut |head, samples, summaries| {
            remove_stale_markers(samples);
            summaries.stand_in(samples);
            if samples.is_empty() {
                return Ok(());
            }
            self.guard.spend(samples.len())?;
            let interval_ms = interval_ms(samples, &mut gaps).map_or(lookback_ms, |found| found.min(lookback_ms));
            visit(head, samples, &Frame { summaries, ..frame(interval_ms) })
        })
    }
}

/// The length of a range over samples `interval_ms` apart at steps of `step_ms`.
fn range_ms(step_ms: i64, interval_ms: i64) -> i64 {
    let steps = step_ms.saturating_add(interval_ms);
    steps.max(interval_ms.saturating_mul(INTERVALS)).max(1)
}

/// The median distance of the samples of the kind that there is more of; nothing of a single sample.
fn interval_ms(samples: &Samples, gaps: &mut Vec<i64>) -> Option<i64> {
    gaps.clear();
    if samples.timestamps_ms.len() >= samples.histograms.len() {
        gaps.extend(samples.timestamps_ms.array_windows().map(|[a, b]| b.saturating_sub(*a)));
    } else {
        let times = samples.histograms.array_windows();
        gaps.extend(times.map(|[a, b]| b.timestamp_ms.saturating_sub(a.timestamp_ms)));
    }
    let middle = gaps.len().checked_sub(1)? / 2;
    Some(*gaps.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_distance_rules() {
        let samples = |times_ms: &[i64]| Samples::from_floats(times_ms.to_vec(), vec![0.0; times_ms.len()]);
        let mut gaps = Vec::new();
        let mut of = |times_ms: &[i64]| interval_ms(&samples(times_ms), &mut gaps);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), None);
        assert_eq!(of(&[0, 15, 30, 45, 600, 615]), Some(15), "a gap does not matter");
        assert_eq!([range_ms(60, 15), range_ms(1, 15), range_ms(1000, 15)], [75, 60, 1015]);
    }
}
