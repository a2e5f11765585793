//! Calls of functions over range vectors.

use model::{Labels, Samples};

use super::column::{Column, Head, Sink};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, metric_name, unparen};
use super::extended::{ANCHORED, SMOOTHED, extended};
use super::grid::Grid;
use super::math::quantile;
use super::names::absent_labels;
use super::notes::Note;
use super::over_time::{Best, check_factor, of_window, regression, smoothing};
use super::rate::{RateKind, Resets, extrapolated};
use super::window::{Frame, RangeSink, Window};
use crate::ast::{Call, Expr, ExprKind, RangeExtension};
use crate::functions::FunctionId;

/// The name endings that say "counter".
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// What making up an annotation costs, in values touched.
const NOTE_UNITS: usize = 64;

/// Takes the samples of a series as they are.
type RawSink<'s> = dyn FnMut(Head, Samples) -> Result<()> + 's;

impl Evaluator<'_> {
    /// Evaluates a function of a range vector.
    pub(crate) fn range_call(&self, call: &Call, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        use FunctionId as F;
        let id = call.function.id;
        for arg in &call.args {
            check_extension(call, arg)?;
        }
        match (id, call.args.as_slice()) {
            (F::AbsentOverTime, [arg]) => self.absent_over_time(arg, grid, sink),
            (F::Rate | F::Increase | F::Delta, [arg]) => self.rate_call(id, arg, grid, sink),
            (F::Changes | F::Resets, [arg]) if extension_of(arg).is_some() => {
                self.windowed(arg, grid, sink, &mut |frame, window| extended(id, frame, window))
            }
            (F::QuantileOverTime, [q, arg]) => {
                let wanted = self.scalar(q, grid)?;
                self.note_quantiles(&wanted, q)?;
                let mut sorted = Vec::new();
                self.windowed(arg, grid, sink, &mut |_, window| {
                    sorted.clear();
                    sorted.extend_from_slice(window.values());
                    Some(quantile(wanted[window.step], &mut sorted))
                })
            }
            (F::PredictLinear, [arg, ahead]) => {
                let ahead = self.scalar(ahead, grid)?;
                self.windowed(arg, grid, sink, &mut |_, window| {
                    let line = regression(window, window.time_ms)?;
                    Some(line.slope * ahead[window.step] + line.intercept)
                })
            }
            (F::DoubleExponentialSmoothing, [arg, factor, trend]) => {
                let (factors, trends) = (self.scalar(factor, grid)?, self.scalar(trend, grid)?);
                for (&factor, &trend) in factors.iter().zip(&trends) {
                    check_factor("smoothing", "sf", factor)?;
                    check_factor("trend", "tf", trend)?;
                }
                self.windowed(arg, grid, sink, &mut |_, window| {
                    smoothing(window.values(), factors[window.step], trends[window.step])
                })
            }
            (F::MinOverTime | F::MaxOverTime, [arg]) => {
                let Some(mut best) = Best::of(id) else { return Err(unknown(call)) };
                let mut column = Column::default();
                self.ranges(arg, grid, &mut |head, samples, frame| {
                    best.restart();
                    frame.slide(&self.guard, samples, &mut column, |window| Some(best.value(window)))?;
                    push(head.dropped(), &mut column, sink)
                })
            }
            (_, [arg]) => {
                let Some(compute) = of_window(id) else { return Err(unknown(call)) };
                let keeps_name = matches!(id, F::LastOverTime | F::FirstOverTime);
                let mut column = Column::default();
                self.ranges(arg, grid, &mut |head, samples, frame| {
                    frame.slide(&self.guard, samples, &mut column, compute)?;
                    push(if keeps_name { head } else { head.dropped() }, &mut column, sink)
                })
            }
            _ => Err(unknown(call)),
        }
    }

    /// `rate`, `increase` and `delta`.
    fn rate_call(&self, id: FunctionId, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let Some(kind) = RateKind::of(id) else { return Err(execution("expected a rate")) };
        let mut column = Column::default();
        let mut resets = Resets::default();
        let visit: &mut RangeSink<'_> = &mut |head, samples, frame| {
            if frame.extension.is_some() {
                frame.slide(&self.guard, samples, &mut column, |window| extended(id, frame, window))?;
            } else {
                if kind.is_counter {
                    resets.find(&samples.values);
                }
                frame.slide(&self.guard, samples, &mut column, |window| extrapolated(window, kind, &mut resets))?;
            }
            if kind.is_counter && !column.is_empty() {
                let name = metric_name(&head);
                if !name.is_empty() && !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
                    self.notes.add(Note::PossibleNonCounter(&name), unparen(arg).span);
                }
            }
            push(head.dropped(), &mut column, sink)
        };
        self.ranges(arg, grid, visit)
    }

    /// Computes `of_window` for every window of every series; the name is dropped.
    fn windowed(
        &self,
        arg: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
        of_window: &mut dyn FnMut(&Frame, &Window<'_>) -> Option<f64>,
    ) -> Result<()> {
        let mut column = Column::default();
        self.ranges(arg, grid, &mut |head, samples, frame| {
            frame.slide(&self.guard, samples, &mut column, |window| of_window(frame, window))?;
            push(head.dropped(), &mut column, sink)
        })
    }

    /// 1 at the steps where no series has a sample in its window.
    fn absent_over_time(&self, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut result = Column::default();
        result.fill(grid.len, 1.0);
        let mut present = Column::default();
        self.ranges(arg, grid, &mut |_, samples, frame| {
            frame.slide(&self.guard, samples, &mut present, |_| Some(1.0))?;
            result.retain(|step| !present.has(step));
            Ok(())
        })?;
        let labels = match &unparen(arg).kind {
            ExprKind::Range(range) => absent_labels(&range.selector),
            _ => Labels::empty(),
        };
        push(Head::new(labels), &mut result, sink)
    }

    /// Warns of quantiles outside 0 to 1.
    pub(crate) fn note_quantiles(&self, wanted: &[f64], expr: &Expr) -> Result<()> {
        let mut told = None;
        for &q in wanted {
            if !(0.0..=1.0).contains(&q) && told != Some(q.to_bits()) {
                told = Some(q.to_bits());
                self.guard.spend(NOTE_UNITS)?;
                self.notes.add(Note::InvalidQuantile(q), unparen(expr).span);
            }
        }
        Ok(())
    }

    /// The samples of a range vector at a single time, as an instant query for a range vector shows them.
    pub(crate) fn raw_ranges(&self, expr: &Expr, time_ms: i64, visit: &mut RawSink<'_>) -> Result<()> {
        let mut column = Column::default();
        self.ranges(expr, Grid::instant(time_ms), &mut |head, samples, frame| {
            let mut found = Samples::default();
            frame.slide(&self.guard, samples, &mut column, |window| {
                found = window.to_samples();
                None
            })?;
            visit(head, found)
        })
    }
}

/// Hands a series on unless it has no value.
fn push(head: Head, column: &mut Column, sink: &mut Sink<'_>) -> Result<()> {
    if column.is_empty() { Ok(()) } else { sink(head, column) }
}

fn extension_of(arg: &Expr) -> Option<RangeExtension> {
    match &unparen(arg).kind {
        ExprKind::Range(range) => range.selector.extension,
        _ => None,
    }
}

/// Refuses `anchored` and `smoothed` where they mean nothing.
fn check_extension(call: &Call, arg: &Expr) -> Result<()> {
    let (modifier, allowed) = match extension_of(arg) {
        None => return Ok(()),
        Some(RangeExtension::Anchored) => ("anchored", ANCHORED.as_slice()),
        Some(RangeExtension::Smoothed) => ("smoothed", SMOOTHED.as_slice()),
    };
    if allowed.contains(&call.function.id) {
        return Ok(());
    }
    let names: Vec<&str> = crate::functions::FUNCTIONS
        .iter()
        .filter(|function| allowed.contains(&function.id))
        .map(|function| function.name)
        .collect();
    Err(execution(format!(
        "{modifier} modifier can only be used with: {} - not with {}",
        names.join(", "),
        call.function.name
    )))
}

fn unknown(call: &Call) -> super::QueryError {
    execution(format!("function {:?} does not take these arguments", call.function.name))
}
