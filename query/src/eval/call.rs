//! Calls of functions over instant vectors and scalars.

use model::{Labels, SampleValue};

use super::calendar::part_of_time;
use super::column::{ABSENT, Column, Head, Sink};
use super::error::{Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::grid::{Grid, seconds};
use super::math::{elementwise, larger, round, smaller};
use super::names::absent_labels;
use super::select::Wanted;
use crate::ast::{Call, Expr, ExprKind, RangeExtension, Span, ValueType};
use crate::functions::FunctionId;

impl Evaluator<'_> {
    /// Evaluates a function that yields an instant vector.
    pub(crate) fn call(&self, call: &Call, span: Span, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        use FunctionId as F;
        if call.function.args.contains(&ValueType::RangeVector) {
            return self.range_call(call, grid, sink);
        }
        let id = call.function.id;
        if let Some(change) = elementwise(id) {
            return self.mapped(call.args.first(), grid, sink, &mut |_, value| change(value));
        }
        if let Some(part) = part_of_time(id) {
            let Some(arg) = call.args.first() else {
                return Self::emit_unlabelled(grid.times_ms().map(|time_ms| part(seconds(time_ms))).collect(), sink);
            };
            return self.mapped(Some(arg), grid, sink, &mut |_, value| part(value));
        }
        match (id, call.args.as_slice()) {
            (F::Vector, [value]) => Self::emit_unlabelled(self.scalar(value, grid)?, sink),
            (F::Round, [arg, to @ ..]) => {
                let to = self.scalar_or(to.first(), 1.0, grid)?;
                self.mapped(Some(arg), grid, sink, &mut |at, value| round(value, to[at]))
            }
            (F::Clamp, [arg, min, max]) => {
                let (min, max) = (self.scalar(min, grid)?, self.scalar(max, grid)?);
                self.mapped(Some(arg), grid, sink, &mut |at, value| {
                    if max[at] < min[at] { ABSENT } else { larger(min[at], smaller(max[at], value)) }
                })
            }
            (F::ClampMin, [arg, min]) => {
                let min = self.scalar(min, grid)?;
                self.mapped(Some(arg), grid, sink, &mut |at, value| larger(min[at], value))
            }
            (F::ClampMax, [arg, max]) => {
                let max = self.scalar(max, grid)?;
                self.mapped(Some(arg), grid, sink, &mut |at, value| smaller(max[at], value))
            }
            (F::Absent, [arg]) => self.absent(arg, grid, sink),
            (F::Timestamp, [arg]) => self.sample_times(arg, Wanted::Time, grid, sink),
            (F::StartTimestamp, [arg]) => self.sample_times(arg, Wanted::StartTime, grid, sink),
            (F::LabelReplace, args) => self.label_replace(args, grid, sink),
            (F::LabelJoin, args) => self.label_join(args, grid, sink),
            (F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc, args) => {
                self.sorted(id, args, span, grid, sink)
            }
            (F::HistogramQuantile, [q, arg]) => self.histogram_quantile(q, arg, grid, sink),
            (F::HistogramQuantiles, [arg, label, quantiles @ ..]) => {
                self.histogram_quantiles(arg, label, quantiles, grid, sink)
            }
            (F::HistogramFraction, [lower, upper, arg]) => self.histogram_fraction(lower, upper, arg, grid, sink),
            (
                F::HistogramAvg | F::HistogramCount | F::HistogramSum | F::HistogramStddev | F::HistogramStdvar,
                [arg],
            ) => self.of_native(id, arg, grid, sink),
            (F::Info, [arg, selector @ ..]) => self.info(arg, selector.first(), grid, sink),
            _ => Err(execution(format!("function {:?} does not take these arguments", call.function.name))),
        }
    }

    /// Changes each value of a vector; [`ABSENT`] removes it. The name is dropped.
    fn mapped(
        &self,
        arg: Option<&Expr>,
        grid: Grid,
        sink: &mut Sink<'_>,
        change: &mut dyn FnMut(usize, f64) -> f64,
    ) -> Result<()> {
        let Some(arg) = arg else { return Err(execution("an argument is missing")) };
        self.vector(arg, grid, &mut |head, column| {
            self.guard.spend(grid.len)?;
            column.drop_histograms();
            column.map_steps(&mut *change);
            if column.is_empty() { Ok(()) } else { sink(head.dropped(), column) }
        })
    }

    /// 1 at the steps where a vector has no element.
    fn absent(&self, arg: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        let mut result = Column::default();
        result.fill(grid.len, 1.0);
        self.vector(arg, grid, &mut |_, column| {
            result.retain(|step| !column.has(step));
            self.guard.spend(grid.len)
        })?;
        let labels = match &unparen(arg).kind {
            ExprKind::Selector(selector) => absent_labels(selector),
            _ => Labels::empty(),
        };
        if result.is_empty() { Ok(()) } else { sink(Head::new(labels), &mut result) }
    }

    /// `timestamp` and `start_timestamp`: of a plain selector what the samples say. Otherwise the evaluation time, and
    /// nothing.
    fn sample_times(&self, arg: &Expr, wanted: Wanted, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        match &unparen(arg).kind {
            ExprKind::Selector(selector) if selector.extension != Some(RangeExtension::Smoothed) => {
                let shift = self.shift(&selector.modifiers)?;
                self.selected(&selector.matchers, shift, wanted, grid, &mut |head, column| sink(head.dropped(), column))
            }
            _ if wanted == Wanted::StartTime => Ok(()),
            _ => self.vector(arg, grid, &mut |head, column| {
                self.guard.spend(grid.len)?;
                column.map_histograms(|_, _| Some(SampleValue::Float(0.0)));
                column.map_steps(|at, _| seconds(grid.time_ms(at)));
                if column.is_empty() { Ok(()) } else { sink(head.dropped(), column) }
            }),
        }
    }
}
