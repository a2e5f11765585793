//! Range vectors: the samples of each series, and the window over them at each step.
//!
//! Owns the reading of range selectors and the evaluation of subqueries. What is computed of a window is `rate`'s
//! and `over_time`'s.

use std::sync::Arc;

use model::{Histogram, HistogramSample, Matcher, ResetHint, Samples, Summary, TimeRange};

use super::column::{Head, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::{Grid, Shift};
use super::marks::is_drop;
use super::select::{Reading, remove_stale_markers};
use super::summaries::{self, Summaries, Takes, range_window_ms};
use crate::ast::{Expr, ExprKind, RangeExtension, RangeSelector, Subquery};
use crate::native::{starts_anew, tell_resets};

/// What work on one histogram costs, in values touched.
pub(crate) const HISTOGRAM_UNITS: usize = 64;

/// Where the windows of a range vector lie: `(end - range_ms, end]` with `end` the shifted time of a step; and what is
/// known of the series they move over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) grid: Grid,
    pub(crate) shift: Shift,
    pub(crate) range_ms: i64,
    pub(crate) extension: Option<RangeExtension>,
    /// How far `anchored` and `smoothed` look beyond the window.
    pub(crate) lookback_ms: i64,
    /// What some of the floats stand in for.
    pub(crate) summaries: &'a Summaries,
}

/// The samples of one series and which of them lie in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// All that was read: for `anchored` and `smoothed` there may be more than the window holds.
    pub(crate) all_times_ms: &'a [i64],
    /// Their values.
    pub(crate) all_values: &'a [f64],
    /// When the counters of the floats began: empty, or one a float, 0 for unknown.
    pub(crate) all_starts_ms: &'a [i64],
    /// All histograms that were read, beyond the window like the floats.
    pub(crate) all_histograms: &'a [HistogramSample],
    /// The first histogram in the window.
    pub(crate) first_histogram: usize,
    /// One past the last histogram in the window.
    pub(crate) after_histogram: usize,
    /// The first sample in the window.
    pub(crate) first: usize,
    /// One past the last sample in the window.
    pub(crate) after: usize,
    /// The summaries that some floats stand in for, and the places of these.
    pub(crate) all_summaries: &'a [Summary],
    pub(crate) summary_places: &'a [usize],
    /// The first summary in the window.
    pub(crate) first_summary: usize,
    /// One past the last summary in the window.
    pub(crate) after_summary: usize,
    /// The window's open left end.
    pub(crate) start_ms: i64,
    /// The window's right end.
    pub(crate) end_ms: i64,
    /// How long it was to be by how long it is: 1 unless it was fitted to summaries.
    pub(crate) share: f64,
    /// The evaluation time.
    pub(crate) time_ms: i64,
    /// Which step this is.
    pub(crate) step: usize,
}

impl<'a> Window<'a> {
    /// Before all of `samples`.
    pub(crate) fn of(samples: &'a Samples) -> Self {
        Self {
            all_times_ms: &samples.timestamps_ms,
            all_values: &samples.values,
            all_starts_ms: &samples.starts_ms,
            all_histograms: &samples.histograms,
            first_histogram: 0,
            after_histogram: 0,
            all_summaries: &[],
            summary_places: &[],
            first_summary: 0,
            after_summary: 0,
            first: 0,
            after: 0,
            start_ms: 0,
            end_ms: 0,
            share: 1.0,
            time_ms: 0,
            step: 0,
        }
    }

    /// The times of the samples in the window.
    pub(crate) fn times_ms(&self) -> &'a [i64] {
        &self.all_times_ms[self.first..self.after]
    }

    /// The values in the window.
    pub(crate) fn values(&self) -> &'a [f64] {
        &self.all_values[self.first..self.after]
    }

    /// The histograms in the window.
    pub(crate) fn histograms(&self) -> &'a [HistogramSample] {
        &self.all_histograms[self.first_histogram..self.after_histogram]
    }

    /// How many floats there are in the window.
    pub(crate) fn floats(&self) -> usize {
        self.after - self.first
    }

    /// Whether it holds no sample of either kind.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.after && self.first_histogram == self.after_histogram
    }

    /// Whether some of its floats stand in for summaries.
    #[inline]
    pub(crate) fn has_summaries(&self) -> bool {
        self.first_summary < self.after_summary
    }

    /// When the counter of the float at `at` began; 0 for unknown.
    #[inline]
    pub(crate) fn start_of_float(&self, at: usize) -> i64 {
        self.all_starts_ms.get(at).copied().unwrap_or(0)
    }

    /// Whether there is a sample of either kind before the window, within lookback of its start.
    pub(crate) fn has_anchor(&self, frame: &Frame) -> bool {
        let float_ms = self.first.checked_sub(1).map(|at| self.all_times_ms[at]);
        let histogram_ms = self.first_histogram.checked_sub(1).map(|at| self.all_histograms[at].timestamp_ms);
        float_ms.max(histogram_ms).is_some_and(|time_ms| frame.reaches(time_ms, self.start_ms))
    }

    /// Whether the counter began anew between the float at `at` and the one before it.
    pub(crate) fn is_float_reset(&self, at: usize) -> bool {
        let sample = |at: usize| (self.start_of_float(at), self.all_times_ms[at]);
        is_drop(self.all_values[at - 1], self.all_values[at]) || starts_anew(sample(at - 1), sample(at))
    }

    /// A copy of what is in the window.
    pub(crate) fn to_samples(self) -> Samples {
        Samples {
            timestamps_ms: self.times_ms().to_vec(),
            values: self.values().to_vec(),
            starts_ms: self.all_starts_ms.get(self.first..self.after).unwrap_or_default().to_vec(),
            histograms: self.histograms().to_vec(),
        }
    }
}

/// Takes the series of a range vector: what identifies it, its samples without stale markers, where the windows lie.
pub(crate) type RangeSink<'s> = dyn FnMut(Head, &Samples, &Frame<'_>) -> Result<()> + 's;

impl Evaluator<'_> {
    /// Evaluates a range-vector expression and hands each of its series to `visit`, which `takes` this of summaries.
    pub(crate) fn ranges(&self, expr: &Expr, takes: Takes, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        let takes = takes.at(unparen(expr).span);
        match &unparen(expr).kind {
            ExprKind::Range(range) => self.range_selector(range, range.selector.extension, takes, grid, visit),
            ExprKind::Subquery(subquery) => self.subquery(subquery, None, grid, visit),
            ExprKind::Selector(selector) => self.implied_range(selector, None, takes, grid, visit),
            _ => Err(execution("expected a range vector")),
        }
    }

    /// [`ranges`](Self::ranges) for functions that look at the sample before the window themselves: as if it was
    /// `anchored`, which subqueries cannot say.
    pub(crate) fn anchored_ranges(
        &self,
        expr: &Expr,
        takes: Takes,
        grid: Grid,
        visit: &mut RangeSink<'_>,
    ) -> Result<()> {
        let (extension, takes) = (Some(RangeExtension::Anchored), takes.at(unparen(expr).span));
        match &unparen(expr).kind {
            ExprKind::Range(range) => self.range_selector(range, extension, takes, grid, visit),
            ExprKind::Subquery(subquery) => self.subquery(subquery, extension, grid, visit),
            ExprKind::Selector(selector) => self.implied_range(selector, extension, takes, grid, visit),
            _ => Err(execution("expected a range vector")),
        }
    }

    /// Where the windows of a range selector lie, and what it reads.
    pub(super) fn range_reads(
        &self,
        range: &RangeSelector,
        extension: Option<RangeExtension>,
        grid: Grid,
    ) -> Result<(Frame<'static>, TimeRange)> {
        let shift = self.shift(&range.selector.modifiers)?;
        let range_ms = self.range_ms(&range.range)?;
        let frame = self.frame(grid, shift, range_ms, extension);
        let (before_ms, after_ms) = frame.reach_ms();
        Ok((frame, Self::read_range(grid, shift, before_ms, after_ms)))
    }

    /// Where windows lie, over a series without summaries.
    pub(super) fn frame(
        &self,
        grid: Grid,
        shift: Shift,
        range_ms: i64,
        extension: Option<RangeExtension>,
    ) -> Frame<'static> {
        Frame { grid, shift, range_ms, extension, lookback_ms: self.lookback_ms, summaries: &summaries::NONE }
    }

    fn range_selector(
        &self,
        range: &RangeSelector,
        extension: Option<RangeExtension>,
        takes: Takes,
        grid: Grid,
        visit: &mut RangeSink<'_>,
    ) -> Result<()> {
        let (frame, read) = self.range_reads(range, extension, grid)?;
        let reading = frame.reading(&range.selector.matchers, read, takes);
        self.read_each(&reading, &mut |head, samples, summaries| {
            remove_stale_markers(samples);
            summaries.stand_in(samples);
            let frame = Frame { summaries, ..frame };
            if range.selector.tells_resets {
                tell_resets(&mut samples.histograms);
            }
            if samples.is_empty() { Ok(()) } else { visit(head, samples, &frame) }
        })
    }

    /// Where the windows of a subquery lie, and the steps of its inner expression: all multiples of the subquery's step
    /// that any window holds.
    pub(super) fn subquery_grid(
        &self,
        subquery: &Subquery,
        extension: Option<RangeExtension>,
        grid: Grid,
    ) -> Result<(Frame<'static>, Grid)> {
        let shift = self.shift(&subquery.modifiers)?;
        let range_ms = self.range_ms(&subquery.range)?;
        let step_ms = self.subquery_step_ms(subquery.step.as_ref())?;
        let frame = self.frame(grid, shift, range_ms, extension);
        let first_ms = shift.apply(grid.start_ms).saturating_sub(frame.reach_ms().0);
        Ok((frame, Grid::multiples(first_ms, shift.apply(grid.end_ms()), step_ms)))
    }

    /// The inner expression at its steps, each evaluated once.
    fn subquery(
        &self,
        subquery: &Subquery,
        extension: Option<RangeExtension>,
        grid: Grid,
        visit: &mut RangeSink<'_>,
    ) -> Result<()> {
        let (frame, inner) = self.subquery_grid(subquery, extension, grid)?;
        // A column for each level of the inner expression, and the samples made of the last.
        let columns = columns_at_once(&subquery.expr) + 2;
        let _held = self.guard.hold(inner.len.saturating_mul(columns * size_of::<f64>()))?;
        let mut samples = Samples::default();
        self.vector(&subquery.expr, inner, &mut |head, column| {
            samples.clear();
            for (at, &value) in column.slots().iter().enumerate() {
                if is_present(value) {
                    samples.push(inner.time_ms(at), value);
                }
            }
            for (at, histogram) in column.histograms() {
                samples.histograms.push(leaving_subquery(inner.time_ms(at), histogram));
            }
            self.guard.spend(inner.len)?;
            if samples.is_empty() { Ok(()) } else { visit(head, &samples, &frame) }
        })
    }
}

/// A histogram as the result of a subquery: what was known about resets between its samples does not hold between its
/// results.
fn leaving_subquery(timestamp_ms: i64, histogram: &Arc<Histogram>) -> HistogramSample {
    let mut histogram = histogram.clone();
    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
    }
    HistogramSample { timestamp_ms, start_ms: 0, histogram }
}

/// How many columns the evaluation of `expr` may fill at a time, those aside that are accounted for where they are
/// gathered: one a level.
fn columns_at_once(expr: &Expr) -> usize {
    let deepest = |args: &[Expr]| args.iter().map(columns_at_once).max().unwrap_or(0);
    1 + match &expr.kind {
        // A subquery accounts for what is inside.
        ExprKind::Number(_)
        | ExprKind::String(_)
        | ExprKind::Selector(_)
        | ExprKind::Range(_)
        | ExprKind::Subquery(_) => 0,
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => columns_at_once(inner),
        ExprKind::Binary(binary) => columns_at_once(&binary.left).max(columns_at_once(&binary.right)),
        ExprKind::Aggregate(aggregate) => {
            columns_at_once(&aggregate.expr).max(aggregate.param.as_ref().map_or(0, columns_at_once))
        }
        ExprKind::Call(call) => deepest(&call.args),
    }
}

impl Frame<'_> {
    /// What a selector reads for its windows.
    pub(super) fn reading<'m>(&self, matchers: &'m [Matcher], range: TimeRange, takes: Takes) -> Reading<'m> {
        let window_ms_max = range_window_ms(self.range_ms, self.grid, self.shift);
        Reading { matchers, range, window_ms_max, takes, newest_alone: false }
    }

    /// Whether a sample of `sample_ms` counts as the newest at `time_ms`, which is no earlier. The time of the latest sample
    /// of a summary is known, and windows that cut summaries were moved to their ends: that needs no longer lookback.
    pub(crate) fn reaches(&self, sample_ms: i64, time_ms: i64) -> bool {
        sample_ms > time_ms.saturating_sub(self.lookback_ms)
    }

    /// How far before the first and after the last evaluation time samples matter.
    pub(crate) fn reach_ms(&self) -> (i64, i64) {
        match self.extension {
            None => (self.range_ms, 0),
            Some(RangeExtension::Anchored) => (self.range_ms.saturating_add(self.lookback_ms), 0),
            Some(RangeExtension::Smoothed) => (self.range_ms.saturating_add(self.lookback_ms), self.lookback_ms),
        }
    }
}
