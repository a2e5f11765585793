//! Range vectors: the samples of each series, and the window over them at each step.
//!
//! Owns the reading of range selectors and the evaluation of subqueries. What is computed of a window is `rate`'s
//! and `over_time`'s.

use model::Samples;

use super::column::{Column, Head, is_present};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::{Grid, Shift};
use super::guard::Guard;
use super::select::remove_stale_markers;
use crate::ast::{Expr, ExprKind, RangeExtension, RangeSelector, Subquery};

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

    /// How many samples there are in the window.
    pub(crate) fn len(&self) -> usize {
        self.after - self.first
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

    fn range_selector(&self, range: &RangeSelector, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        let shift = self.shift(&range.selector.modifiers)?;
        let range_ms = self.range_ms(&range.range)?;
        let extension = range.selector.extension;
        let frame = Frame { grid, shift, range_ms, extension, lookback_ms: self.lookback_ms };
        let (before_ms, after_ms) = match extension {
            None => (range_ms, 0),
            Some(RangeExtension::Anchored) => (range_ms.saturating_add(self.lookback_ms), 0),
            Some(RangeExtension::Smoothed) => (range_ms.saturating_add(self.lookback_ms), self.lookback_ms),
        };
        let read = Self::read_range(grid, shift, before_ms, after_ms);
        self.read_each(&range.selector.matchers, read, &mut |head, samples| {
            remove_stale_markers(samples);
            if samples.is_empty() { Ok(()) } else { visit(head, samples, &frame) }
        })
    }

    /// The inner expression at all multiples of the subquery's step that any window holds, each evaluated once.
    fn subquery(&self, subquery: &Subquery, grid: Grid, visit: &mut RangeSink<'_>) -> Result<()> {
        let shift = self.shift(&subquery.modifiers)?;
        let range_ms = self.range_ms(&subquery.range)?;
        let step_ms = self.subquery_step_ms(subquery.step.as_ref())?;
        let frame = Frame { grid, shift, range_ms, extension: None, lookback_ms: self.lookback_ms };
        let first_ms = shift.apply(grid.start_ms).saturating_sub(range_ms);
        let inner = Grid::multiples(first_ms, shift.apply(grid.end_ms()), step_ms);
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
            self.guard.spend(inner.len)?;
            if samples.is_empty() { Ok(()) } else { visit(head, &samples, &frame) }
        })
    }
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
    /// Computes `of_window` for the window of each step that holds a sample (with an extension: for each step) and
    /// writes what it yields to `column`.
    pub(crate) fn slide(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<()> {
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
}
