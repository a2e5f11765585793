//! Range vectors: the samples of each series, and the window over them at each step.
//!
//! Owns the reading of range selectors and the evaluation of subqueries. What is computed of a window is `rate`'s
//! and `over_time`'s.

use std::sync::Arc;

use model::{Histogram, HistogramSample, ResetHint, SampleValue, Samples, TimeRange};

use super::column::{Column, Head, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::{Grid, Shift};
use super::guard::Guard;
use super::select::remove_stale_markers;
use crate::ast::{Expr, ExprKind, RangeExtension, RangeSelector, Subquery};

/// What work on one histogram costs, in values touched.
pub(crate) const HISTOGRAM_UNITS: usize = 64;

/// Where the windows of a range vector lie: `(end - range_ms, end]` with `end` the shifted time of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) grid: Grid,
    pub(crate) shift: Shift,
    pub(crate) range_ms: i64,
    pub(crate) extension: Option<RangeExtension>,
    /// How far `anchored` and `smoothed` look beyond the window.
    pub(crate) lookback_ms: i64,
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
    /// The window's open left end.
    pub(crate) start_ms: i64,
    /// The window's right end.
    pub(crate) end_ms: i64,
    /// The evaluation time.
    pub(crate) time_ms: i64,
    /// Which step this is.
    pub(crate) step: usize,
}

impl<'a> Window<'a> {
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
    pub(crate) fn len(&self) -> usize {
        self.after - self.first
    }

    /// Moves on to the samples in `(start_ms, end_ms]`.
    fn advance(&mut self) {
        let times = self.all_times_ms;
        while times.get(self.after).is_some_and(|&time_ms| time_ms <= self.end_ms) {
            self.after += 1;
        }
        while self.first < self.after && times[self.first] <= self.start_ms {
            self.first += 1;
        }
        let histograms = self.all_histograms;
        while histograms.get(self.after_histogram).is_some_and(|sample| sample.timestamp_ms <= self.end_ms) {
            self.after_histogram += 1;
        }
        while self.first_histogram < self.after_histogram
            && histograms[self.first_histogram].timestamp_ms <= self.start_ms
        {
            self.first_histogram += 1;
        }
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
pub(crate) type RangeSink<'s> = dyn FnMut(Head, &Samples, &Frame) -> Result<()> + 's;

impl Evaluator<'_> {
    /// Evaluates a range-vector expression and hands each of its series to `visit`.
    pub(crate) fn ranges(&self, expr: &Expr, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        match &unparen(expr).kind {
            ExprKind::Range(range) => self.range_selector(range, grid, visit),
            ExprKind::Subquery(subquery) => self.subquery(subquery, grid, visit),
            _ => Err(execution("expected a range vector")),
        }
    }

    /// Where the windows of a range selector lie, and what it reads.
    pub(super) fn range_reads(
        &self,
        range: &RangeSelector,
        extension: Option<RangeExtension>,
        grid: Grid,
    ) -> Result<(Frame, TimeRange)> {
        let shift = self.shift(&range.selector.modifiers)?;
        let range_ms = self.range_ms(&range.range)?;
        let frame = Frame { grid, shift, range_ms, extension, lookback_ms: self.lookback_ms };
        let (before_ms, after_ms) = match extension {
            None => (range_ms, 0),
            Some(RangeExtension::Anchored) => (range_ms.saturating_add(self.lookback_ms), 0),
            Some(RangeExtension::Smoothed) => (range_ms.saturating_add(self.lookback_ms), self.lookback_ms),
        };
        Ok((frame, Self::read_range(grid, shift, before_ms, after_ms)))
    }

    fn range_selector(&self, range: &RangeSelector, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        let (frame, read) = self.range_reads(range, range.selector.extension, grid)?;
        self.read_each(&range.selector.matchers, read, &mut |head, samples| {
            remove_stale_markers(samples);
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
    ) -> Result<(Frame, Grid)> {
        let shift = self.shift(&subquery.modifiers)?;
        let range_ms = self.range_ms(&subquery.range)?;
        let step_ms = self.subquery_step_ms(subquery.step.as_ref())?;
        let frame = Frame { grid, shift, range_ms, extension, lookback_ms: self.lookback_ms };
        let first_ms = shift.apply(grid.start_ms).saturating_sub(range_ms);
        Ok((frame, Grid::multiples(first_ms, shift.apply(grid.end_ms()), step_ms)))
    }

    /// The inner expression at its steps, each evaluated once.
    fn subquery(&self, subquery: &Subquery, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        let (frame, inner) = self.subquery_grid(subquery, None, grid)?;
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

impl Frame {
    /// Computes `of_window` for the window of each step that holds a sample of either kind (with an extension: for each
    /// step) and writes what it yields to `column`.
    pub(crate) fn slide(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<()> {
        if !samples.histograms.is_empty() {
            return self.slide_full(guard, samples, column, |window| of_window(window).map(SampleValue::Float));
        }
        guard.spend(self.grid.len)?;
        column.reset(self.grid.len);
        let times = samples.timestamps_ms.as_slice();
        let (mut first, mut after) = (0, 0);
        for (step, slot) in column.slots_mut().iter_mut().enumerate() {
            let time_ms = self.grid.time_ms(step);
            let end_ms = self.shift.apply(time_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while after < times.len() && times[after] <= end_ms {
                after += 1;
            }
            while first < after && times[first] <= start_ms {
                first += 1;
            }
            if first == after && self.extension.is_none() {
                continue;
            }
            guard.spend(after - first)?;
            let window = Window {
                all_times_ms: times,
                all_values: &samples.values,
                all_starts_ms: &samples.starts_ms,
                all_histograms: &[],
                first_histogram: 0,
                after_histogram: 0,
                first,
                after,
                start_ms,
                end_ms,
                time_ms,
                step,
            };
            if let Some(value) = of_window(&window) {
                *slot = value;
            }
        }
        Ok(())
    }

    /// [`slide`](Self::slide) for series with histograms, and for functions that yield them.
    pub(crate) fn slide_full(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Option<SampleValue>,
    ) -> Result<()> {
        guard.spend(self.grid.len)?;
        column.reset(self.grid.len);
        let mut window = Window {
            all_times_ms: &samples.timestamps_ms,
            all_values: &samples.values,
            all_starts_ms: &samples.starts_ms,
            all_histograms: &samples.histograms,
            first_histogram: 0,
            after_histogram: 0,
            first: 0,
            after: 0,
            start_ms: 0,
            end_ms: 0,
            time_ms: 0,
            step: 0,
        };
        for step in 0..self.grid.len {
            window.step = step;
            window.time_ms = self.grid.time_ms(step);
            window.end_ms = self.shift.apply(window.time_ms);
            window.start_ms = window.end_ms.saturating_sub(self.range_ms);
            window.advance();
            if window.len() == 0 && window.histograms().is_empty() && self.extension.is_none() {
                continue;
            }
            guard.spend(window.len() + window.histograms().len() * HISTOGRAM_UNITS)?;
            if let Some(value) = of_window(&window) {
                column.set(step, Some(value));
            }
        }
        Ok(())
    }
}
