//! From a request to an answer: checks the request, runs the evaluator, and gives the result its final form.
//!
//! Owns the last step of name removal: series marked on their way lose their name here, and those that are equal then
//! become one, unless two have a value at the same step.

use std::collections::HashMap;

use model::{HistogramSample, Labels, Samples, SeriesSource};

use super::column::{Column, Head, is_present, same_labels};
use super::error::{QueryError, Result, execution};
use super::evaluator::{Evaluator, unparen};
use super::explain::Trace;
use super::grid::Grid;
use super::guard::{Budget, Guard, Held};
use super::names::without_names;
use super::notes::Notes;
use super::pipeline;
use super::shared::Shared;
use super::{Answer, QueryTime, Request, Series, Value, VectorElement};
use crate::ast::{Expr, ExprKind, ValueType};
use crate::value_type;

/// Evaluates `expr` as `request` asks, on a thread with stack enough for it.
pub(crate) fn answer(source: &dyn SeriesSource, expr: &Expr, request: &Request<'_>) -> Result<Answer> {
    let stack_bytes = pipeline::stack_bytes(expr);
    if stack_bytes <= pipeline::STACK_BYTES_MIN {
        return answer_here(source, expr, request);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(stack_bytes);
        let thread = thread.spawn_scoped(scope, || answer_here(source, expr, request));
        let thread = thread.map_err(|error| execution(format!("no thread for a query this deep: {error}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn answer_here(source: &dyn SeriesSource, expr: &Expr, request: &Request<'_>) -> Result<Answer> {
    let options = request.options;
    let timeout_ms = request.timeout_ms.map_or(options.timeout_ms, |ms| ms.min(options.timeout_ms));
    let (query_grid, query_end_ms) = query_grid(request)?;
    let budget = Budget::new(options, timeout_ms, request.cancel);
    let evaluator = Evaluator {
        source,
        guard: Guard::new(&budget),
        notes: Notes::new(request.query),
        trace: Trace::new(request.explain),
        shared: Shared::of(expr, request.query),
        turn: None,
        query_grid,
        query_end_ms,
        is_instant: matches!(request.time, QueryTime::Instant { .. }),
        lookback_ms: request.lookback_ms.unwrap_or(options.lookback_ms).max(1),
    };
    evaluator.guard.look()?;
    let (value, held) = if evaluator.is_instant {
        instant_value(&evaluator, expr, query_grid.start_ms)?
    } else {
        range_value(&evaluator, expr)?
    };
    let explain = evaluator.trace.explain(expr, &evaluator.shared);
    let (mut warnings, infos) = evaluator.notes.finish();
    let (memory, cost) = (held.outlive(), budget.cost());
    if cost.read.chunks_lost > 0 {
        let lost = cost.read.chunks_lost;
        warnings
            .push(format!("stored data is damaged: {lost} chunks were left out, and their samples are missing here"));
    }
    Ok(Answer { value, warnings, infos, cost, explain, memory })
}

fn query_grid(request: &Request<'_>) -> Result<(Grid, i64)> {
    let refuse = |message: &str| Err(QueryError::Request { message: message.to_owned() });
    match request.time {
        QueryTime::Instant { time_ms } => Ok((Grid::instant(time_ms), time_ms)),
        QueryTime::Range { step_ms, .. } if step_ms <= 0 => refuse("step must be greater than 0"),
        QueryTime::Range { start_ms, end_ms, .. } if end_ms < start_ms => {
            refuse("end time must not be before start time")
        }
        QueryTime::Range { start_ms, end_ms, step_ms } => {
            let grid = Grid::range(start_ms, end_ms, step_ms);
            if grid.len > request.options.points_max {
                return Err(QueryError::Limit { what: "steps", limit: request.options.points_max as u64 });
            }
            Ok((grid, end_ms))
        }
    }
}

/// The value of an instant query, and what is accounted for it.
fn instant_value<'q>(evaluator: &Evaluator<'q>, expr: &Expr, time_ms: i64) -> Result<(Value, Held<'q>)> {
    let grid = evaluator.query_grid;
    Ok(match value_type(expr) {
        ValueType::Scalar => {
            let value = evaluator.scalar(expr, grid)?.first().copied().unwrap_or(f64::NAN);
            (Value::Scalar { timestamp_ms: time_ms, value }, Held::default())
        }
        ValueType::String => match &unparen(expr).kind {
            ExprKind::String(text) => (Value::String { timestamp_ms: time_ms, text: text.clone() }, Held::default()),
            _ => return Err(execution("expected a string literal")),
        },
        ValueType::InstantVector => {
            let Named { series, held, .. } = Named::vector(evaluator, expr)?;
            let elements = series.into_iter().filter_map(|(labels, column)| {
                column.point(0).map(|value| VectorElement { labels, timestamp_ms: time_ms, value })
            });
            (Value::Vector(elements.collect()), held)
        }
        ValueType::RangeVector => raw_matrix(evaluator, expr, time_ms)?,
    })
}

/// The value of a range query, and what is accounted for it.
fn range_value<'q>(evaluator: &Evaluator<'q>, expr: &Expr) -> Result<(Value, Held<'q>)> {
    let grid = evaluator.query_grid;
    let kind = match value_type(expr) {
        ValueType::Scalar => {
            let column = Column::from_values(evaluator.scalar(expr, grid)?);
            let samples = samples_of(grid, &column);
            let held = evaluator.guard.hold(samples.len() * size_of::<(i64, f64)>())?;
            return Ok((Value::Matrix(vec![Series { labels: Labels::empty(), samples }]), held));
        }
        ValueType::InstantVector => {
            let Named { series: named, mut held, .. } = Named::vector(evaluator, expr)?;
            let mut series: Vec<Series> = Vec::with_capacity(named.len());
            for (labels, column) in named {
                evaluator.guard.spend(grid.len)?;
                let samples = samples_of(grid, &column);
                // The values are accounted for already.
                held.grow(size_of_val(samples.timestamps_ms.as_slice()))?;
                if !samples.is_empty() {
                    series.push(Series { labels, samples });
                }
            }
            series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
            return Ok((Value::Matrix(series), held));
        }
        ValueType::RangeVector => "range vector",
        ValueType::String => "string",
    };
    let message = format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
    Err(QueryError::Request { message })
}

/// Series under their final names.
#[derive(Debug)]
struct Named<'g> {
    series: Vec<(Labels, Column)>,
    index: HashMap<Labels, usize>,
    held: Held<'g>,
}

impl<'g> Named<'g> {
    /// Evaluates an instant-vector expression over the whole query.
    fn vector(evaluator: &Evaluator<'g>, expr: &Expr) -> Result<Self> {
        let mut named = Self { series: Vec::new(), index: HashMap::new(), held: evaluator.guard.hold(0)? };
        evaluator.vector(expr, evaluator.query_grid, &mut |head, column| named.add(&head, column))?;
        Ok(named)
    }

    fn add(&mut self, head: &Head, column: &mut Column) -> Result<()> {
        let labels = final_labels(head);
        if let Some(&at) = self.index.get(&labels) {
            self.held.grow(column.histogram_bytes())?;
            return match self.series[at].1.merge(column) {
                Some(_) => Err(same_labels()),
                None => Ok(()),
            };
        }
        self.held.grow_series::<f64>(column.len(), labels.packed().len() + column.histogram_bytes())?;
        self.index.insert(labels.clone(), self.series.len());
        self.series.push((labels, std::mem::take(column)));
        Ok(())
    }
}

fn final_labels(head: &Head) -> Labels {
    if head.drop_name { without_names(&head.labels) } else { head.labels.clone() }
}

fn samples_of(grid: Grid, column: &Column) -> Samples {
    let slots = column.slots();
    let present = slots.iter().filter(|&&value| is_present(value)).count();
    let mut samples = Samples {
        timestamps_ms: Vec::with_capacity(present),
        values: Vec::with_capacity(present),
        ..Samples::default()
    };
    if present == slots.len() {
        samples.timestamps_ms.extend(grid.times_ms());
        samples.values.extend_from_slice(slots);
        return samples;
    }
    for (at, &value) in slots.iter().enumerate() {
        if is_present(value) {
            samples.push(grid.time_ms(at), value);
        }
    }
    for (at, histogram) in column.histograms() {
        let (timestamp_ms, histogram) = (grid.time_ms(at), histogram.clone());
        samples.histograms.push(HistogramSample { timestamp_ms, start_ms: 0, histogram });
    }
    samples
}

/// The samples of a range vector at one time, with their own timestamps.
fn raw_matrix<'q>(evaluator: &Evaluator<'q>, expr: &Expr, time_ms: i64) -> Result<(Value, Held<'q>)> {
    let mut series: Vec<Series> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut held = evaluator.guard.hold(0)?;
    evaluator.raw_ranges(expr, time_ms, &mut |head, samples| {
        if samples.is_empty() {
            return Ok(());
        }
        let labels = final_labels(&head);
        let histogram_bytes: usize = samples.histograms.iter().map(|sample| sample.histogram.memory_bytes()).sum();
        held.grow_series::<(i64, f64)>(samples.len(), labels.packed().len() + histogram_bytes)?;
        if let Some(&at) = index.get(&labels) {
            return merge_samples(&mut series[at].samples, &samples);
        }
        index.insert(labels.clone(), series.len());
        series.push(Series { labels, samples });
        Ok(())
    })?;
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    Ok((Value::Matrix(series), held))
}

fn merge_samples(into: &mut Samples, other: &Samples) -> Result<()> {
    let mut all: Vec<_> = into.iter_full().chain(other.iter_full()).collect();
    all.sort_by_key(|sample| sample.timestamp_ms);
    if all.array_windows().any(|[a, b]| a.timestamp_ms == b.timestamp_ms) {
        return Err(same_labels());
    }
    into.clear();
    for sample in all {
        into.push_full(sample);
    }
    Ok(())
}
