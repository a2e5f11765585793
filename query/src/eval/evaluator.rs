//! The evaluator: which expression is computed by whom.
//!
//! Owns the dispatch and what all of evaluation shares. A vector expression is *pushed*: the caller gives a sink that
//! takes each series with its column. A scalar expression is one value a step.

use std::borrow::Cow;
use std::sync::Arc;

use model::{SampleValue, SeriesSource, TimeRange};

use super::column::{Column, Head, Sink};
use super::error::{Result, execution};
use super::explain::Trace;
use super::grid::{Grid, Shift, seconds};
use super::guard::Guard;
use super::invariant::is_invariant;
use super::notes::Notes;
use super::pipeline::{Seed, Turn};
use super::shared::Shared;
use super::told::ToldLists;
use crate::ast::{AtModifier, Expr, ExprKind, Modifiers, UnaryOp, ValueType};
use crate::functions::FunctionId;
use crate::native::negate;
use crate::value_type;

/// Everything the evaluation of one query shares.
#[derive(Debug)]
pub(crate) struct Evaluator<'q> {
    pub(crate) source: &'q dyn SeriesSource,
    pub(crate) guard: Guard<'q>,
    pub(crate) notes: Notes<'q>,
    pub(crate) trace: Trace,
    pub(crate) shared: Shared<'q>,
    /// Which series of a pipeline's selector this evaluator reads; all of every selector without one.
    pub(crate) turn: Option<Turn<'q>>,
    /// The grid of the whole query, which `start()`, `end()`, `step()` and `range()` speak of.
    pub(crate) query_grid: Grid,
    /// The end as asked for, which the last step may lie before.
    pub(crate) query_end_ms: i64,
    /// Whether the query is an instant query.
    pub(crate) is_instant: bool,
    pub(crate) lookback_ms: i64,
}

impl<'q> Evaluator<'q> {
    /// What an evaluator for another thread is made of.
    pub(super) fn seed(&self) -> Seed<'q> {
        Seed {
            source: self.source,
            query: self.notes.query(),
            query_grid: self.query_grid,
            query_end_ms: self.query_end_ms,
            is_instant: self.is_instant,
            lookback_ms: self.lookback_ms,
            is_traced: self.trace.is_on(),
        }
    }

    /// What this evaluator has told, for the one it worked for.
    pub(super) fn into_told(self) -> (ToldLists, Trace) {
        (self.notes.take(), self.trace)
    }
}

impl Evaluator<'_> {
    /// Evaluates an instant-vector expression over `grid` and hands each of its series to `sink`.
    pub(crate) fn vector(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if grid.len == 0 {
            return Ok(());
        }
        if self.shared.is_shared(expr) {
            return self.shared_vector(expr, grid, sink);
        }
        // As `vector_anew` and `vector_here`, without their frames: queries nest deep, and stacks are short.
        if self.turn.is_none()
            && let Some(leaf) = self.leaf(expr, grid)?
        {
            return self.pipeline(expr, leaf, grid, sink);
        }
        if self.trace.is_on() {
            return self.vector_here(expr, grid, sink);
        }
        self.vector_on_grid(expr, grid, sink)
    }

    /// [`vector`](Self::vector) without looking whether there is a result already.
    pub(super) fn vector_anew(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if self.turn.is_none()
            && let Some(leaf) = self.leaf(expr, grid)?
        {
            return self.pipeline(expr, leaf, grid, sink);
        }
        self.vector_here(expr, grid, sink)
    }

    /// [`vector`](Self::vector) in this thread.
    pub(super) fn vector_here(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if self.trace.is_on() {
            return self.trace.node(expr, sink, |sink| self.vector_on_grid(expr, grid, sink));
        }
        self.vector_on_grid(expr, grid, sink)
    }

    fn vector_on_grid(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        if grid.len > 1 && is_invariant(expr) {
            return widened(grid, sink, |first, sink| self.vector_by_kind(expr, first, sink));
        }
        self.vector_by_kind(expr, grid, sink)
    }

    fn vector_by_kind(&self, expr: &Expr, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        match &expr.kind {
            ExprKind::Paren(inner) | ExprKind::Unary(UnaryOp::Plus, inner) => self.vector(inner, grid, sink),
            ExprKind::Unary(UnaryOp::Minus, inner) => self.vector(inner, grid, &mut |head, column| {
                column.map(|value| -value);
                column.map_histograms(|_, histogram| Some(SampleValue::Histogram(Arc::new(negate(histogram)))));
                sink(head.dropped(), column)
            }),
            ExprKind::Selector(selector) => self.instant_selector(selector, expr.span, grid, sink),
            ExprKind::Binary(binary) => self.binary(binary, expr.span, grid, sink),
            ExprKind::Call(call) => self.call(call, expr.span, grid, sink),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, grid, sink),
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Range(_) | ExprKind::Subquery(_) => {
                Err(execution("expected an instant vector"))
            }
        }
    }

    /// Evaluates a scalar expression: one value a step.
    pub(crate) fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>> {
        if grid.len > 1 && is_invariant(expr) {
            let value = self.scalar(expr, grid.first())?;
            return Ok(vec![value.first().copied().unwrap_or(f64::NAN); grid.len]);
        }
        self.guard.spend(grid.len)?;
        match &expr.kind {
            ExprKind::Number(number) => Ok(vec![number.value; grid.len]),
            ExprKind::Paren(inner) | ExprKind::Unary(UnaryOp::Plus, inner) => self.scalar(inner, grid),
            ExprKind::Unary(UnaryOp::Minus, inner) => {
                let mut values = self.scalar(inner, grid)?;
                for value in &mut values {
                    *value = -*value;
                }
                Ok(values)
            }
            ExprKind::Binary(binary) => self.scalar_binary(binary, grid),
            ExprKind::Call(call) => self.scalar_call(call, grid),
            _ => Err(execution("expected a scalar")),
        }
    }

    fn scalar_call(&self, call: &crate::ast::Call, grid: Grid) -> Result<Vec<f64>> {
        let constant = |value: f64| Ok(vec![value; grid.len]);
        let query_range_ms = self.query_end_ms.saturating_sub(self.query_grid.start_ms);
        match (call.function.id, call.args.as_slice()) {
            (FunctionId::Time, _) => Ok(grid.times_ms().map(seconds).collect()),
            (FunctionId::Pi, _) => constant(std::f64::consts::PI),
            (FunctionId::Start, _) => constant(seconds(self.query_grid.start_ms)),
            (FunctionId::End, _) => constant(seconds(self.query_end_ms)),
            (FunctionId::Range, _) => constant(seconds(query_range_ms)),
            (FunctionId::Step, _) => constant(if self.is_instant { 0.0 } else { seconds(self.query_grid.step_ms) }),
            (id @ (FunctionId::MaxOf | FunctionId::MinOf), [left, right]) => {
                let mut values = self.scalar(left, grid)?;
                for (value, other) in values.iter_mut().zip(self.scalar(right, grid)?) {
                    let pick = if id == FunctionId::MaxOf { *value < other } else { *value > other };
                    if other.is_nan() || (pick && !value.is_nan()) {
                        *value = other;
                    }
                }
                Ok(values)
            }
            (FunctionId::Scalar, [inner]) => self.scalar_of_vector(inner, grid),
            _ => Err(execution(format!("function {:?} does not yield a scalar", call.function.name))),
        }
    }

    /// The value of the only element of a vector at each step, NaN if there is not exactly one.
    fn scalar_of_vector(&self, inner: &Expr, grid: Grid) -> Result<Vec<f64>> {
        let mut found = vec![0u8; grid.len];
        let mut values = vec![f64::NAN; grid.len];
        self.vector(inner, grid, &mut |_, column| {
            for (at, &value) in column.slots().iter().enumerate() {
                if super::column::is_present(value) {
                    found[at] = found[at].saturating_add(1);
                    values[at] = if found[at] == 1 { value } else { f64::NAN };
                }
            }
            self.guard.spend(grid.len)
        })?;
        Ok(values)
    }

    /// What the modifiers of a selector or subquery do to a time.
    pub(crate) fn shift(&self, modifiers: &Modifiers) -> Result<Shift> {
        let offset_ms = match &modifiers.offset {
            Some(offset) => self.offset_ms(offset)?,
            None => 0,
        };
        let at_ms = modifiers.at.map(|at| match at {
            AtModifier::TimestampMs(time_ms) => time_ms,
            AtModifier::Start => self.query_grid.start_ms,
            AtModifier::End => self.query_end_ms,
        });
        Ok(Shift { at_ms, offset_ms })
    }

    /// The range of time to read for looking at `shift`ed grid times, from `before_ms` before the first (open) to
    /// `after_ms` after the last.
    pub(crate) fn read_range(grid: Grid, shift: Shift, before_ms: i64, after_ms: i64) -> TimeRange {
        let start_ms = shift.apply(grid.start_ms).saturating_sub(before_ms).saturating_add(1);
        TimeRange::new(start_ms, shift.apply(grid.end_ms()).saturating_add(after_ms))
    }

    /// Whether an expression yields a scalar.
    pub(crate) fn is_scalar(expr: &Expr) -> bool {
        value_type(expr) == ValueType::Scalar
    }

    /// One unlabelled element with these values.
    pub(crate) fn emit_unlabelled(values: Vec<f64>, sink: &mut Sink<'_>) -> Result<()> {
        sink(Head::new(model::Labels::empty()), &mut Column::from_values(values))
    }

    /// A scalar parameter that may be left out.
    pub(crate) fn scalar_or(&self, expr: Option<&Expr>, default: f64, grid: Grid) -> Result<Vec<f64>> {
        expr.map_or_else(|| Ok(vec![default; grid.len]), |expr| self.scalar(expr, grid))
    }
}

/// Evaluates at the first step what has the same value at every step.
pub(crate) fn widened(
    grid: Grid,
    sink: &mut Sink<'_>,
    run: impl FnOnce(Grid, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let mut wide = Column::default();
    run(grid.first(), &mut |head, column| {
        let Some(value) = column.point(0) else { return Ok(()) };
        wide.fill_point(grid.len, &value);
        sink(head, &mut wide)
    })
}

/// The expression inside any parentheses.
pub(crate) fn unparen(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The metric name of a series, for annotations.
pub(crate) fn metric_name(head: &Head) -> Cow<'_, str> {
    Cow::Borrowed(head.labels.metric_name())
}

/// A string argument, which the checker made sure is a literal.
pub(crate) fn string_literal(expr: &Expr) -> Result<&str> {
    match &unparen(expr).kind {
        ExprKind::String(text) => Ok(text),
        _ => Err(execution("expected a string literal")),
    }
}
