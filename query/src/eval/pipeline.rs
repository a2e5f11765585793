//! Pipelines: selectors and what is computed of each of their series alone, spread over threads.
//!
//! `rate(x[5m])`, `x * 2`, `abs(x)`: series by series, from the chunk to the column, nothing needs another series. Such
//! an expression is selected once, its series are cut into blocks, and each block is evaluated by whichever thread is
//! free. The results are handed on in the order of the series, so an answer does not depend on how many threads there
//! were. Threads beside the caller's come out of [`Resources`](super::resources::Resources) and are led by
//! [`crew`](super::crew); they run at a lower priority, so that ingestion goes first.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Matcher, SeriesSet, TimeRange};

use super::calendar::part_of_time;
use super::column::{Column, Head, Sink};
use super::crew::{Task, in_order};
use super::error::{Result, execution};
use super::evaluator::Evaluator;
use super::explain::Trace;
use super::grid::Grid;
use super::guard::{Guard, Held, is_of_memory};
use super::invariant::is_invariant;
use super::math::elementwise;
use super::notes::Notes;
use super::select::looks_once;
use super::told::ToldLists;
use crate::ast::{Call, Expr, ExprKind, RangeExtension, ValueType};
use crate::functions::FunctionId;
use crate::value_type;

/// Values that a block's columns hold at most, more or less: large enough that handing it over costs nothing, small
/// enough that a few of them are little memory.
const BLOCK_VALUES: usize = 1 << 15;
/// Most series of a block.
const BLOCK_SERIES_MAX: usize = 128;
/// Work below which threads are not worth starting, in values read or computed.
const WORK_MIN: usize = 1 << 17;
/// Estimated time between two samples.
const SAMPLE_DISTANCE_MS: i64 = 15_000;
/// Estimated samples that are decoded of each series, however short the range: chunks are decoded whole.
const CHUNK_SAMPLES: usize = 500;
/// The part of a query's memory that blocks may take until they are handed on: one in so many. What does not fit is
/// computed when its turn comes.
const MEMORY_PART: usize = 4;

/// The stack that every thread is taken to have left for a query.
pub(super) const STACK_BYTES_MIN: usize = 1 << 20;
/// Stack for one level of nesting, measured without optimization, and doubled.
const LEVEL_STACK_BYTES: usize = 32 << 10;

/// The stack that evaluating `expr` needs.
pub(super) fn stack_bytes(expr: &Expr) -> usize {
    fn levels(expr: &Expr) -> usize {
        let deepest = |args: &mut dyn Iterator<Item = &Expr>| args.map(levels).max().unwrap_or(0);
        1 + match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Selector(_) | ExprKind::Range(_) => 0,
            ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => levels(inner),
            ExprKind::Subquery(subquery) => levels(&subquery.expr),
            ExprKind::Binary(binary) => deepest(&mut [&binary.left, &binary.right].into_iter()),
            ExprKind::Aggregate(aggregate) => deepest(&mut aggregate.param.iter().chain([&aggregate.expr])),
            ExprKind::Call(call) => deepest(&mut call.args.iter()),
        }
    }
    (levels(expr) * LEVEL_STACK_BYTES).max(STACK_BYTES_MIN)
}

/// The selector at the end of a pipeline, and what it reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'e> {
    matchers: &'e [Matcher],
    reads: TimeRange,
    /// Whether the newest sample of each series is enough.
    newest_alone: bool,
}

/// The series of a pipeline's selector that an evaluator is to read.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    leaf: Leaf<'t>,
    pub(super) set: &'t dyn SeriesSet,
    pub(super) series: Range<usize>,
}

impl Turn<'_> {
    /// Whether this is the turn of the selector with these matchers.
    ///
    /// # Errors
    ///
    /// When it reads something else than was selected for it, which is a fault of this program.
    pub(super) fn is_of(&self, matchers: &[Matcher], reads: TimeRange) -> Result<bool> {
        let is_same = std::ptr::eq(self.leaf.matchers, matchers);
        debug_assert!(!is_same || self.leaf.reads == reads, "a pipeline knows what its selector reads");
        if is_same && self.leaf.reads != reads {
            return Err(execution("a selector was to read another range than was selected for it"));
        }
        Ok(is_same)
    }
}

/// What became of a block: its series, and what is accounted for them until they are handed on.
#[derive(Debug)]
struct Done<'q> {
    series: Vec<(Head, Column)>,
    told: (ToldLists, Trace),
    _held: Held<'q>,
}

impl Evaluator<'_> {
    /// The selector of `expr` if it is a pipeline.
    pub(super) fn leaf<'e>(&self, expr: &'e Expr, grid: Grid) -> Result<Option<Leaf<'e>>> {
        let grid = if grid.len > 1 && is_invariant(expr) { grid.first() } else { grid };
        match &expr.kind {
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.inner_leaf(inner, grid),
            ExprKind::Selector(selector) => {
                let reads = self.selector_reads(selector, grid)?;
                let newest_alone = selector.extension.is_none()
                    && !selector.tells_resets
                    && looks_once(grid, self.shift(&selector.modifiers)?);
                Ok(Some(Leaf { matchers: &selector.matchers, reads, newest_alone }))
            }
            ExprKind::Binary(binary) if !binary.op.is_set() => match (&binary.left, &binary.right) {
                (constant, vector) | (vector, constant) if is_constant(constant) => self.inner_leaf(vector, grid),
                _ => Ok(None),
            },
            ExprKind::Call(call) if takes_each_alone(call) => self.leaf_of_call(call, grid),
            _ => Ok(None),
        }
    }

    fn inner_leaf<'e>(&self, expr: &'e Expr, grid: Grid) -> Result<Option<Leaf<'e>>> {
        // What is shared is computed once for all, not within a pipeline.
        let is_vector = value_type(expr) == ValueType::InstantVector;
        if is_vector && !self.shared.is_shared(expr) { self.leaf(expr, grid) } else { Ok(None) }
    }

    fn leaf_of_call<'e>(&self, call: &'e Call, grid: Grid) -> Result<Option<Leaf<'e>>> {
        let mut vectors = call.args.iter().filter(|arg| !is_constant(arg));
        let (Some(vector), None) = (vectors.next(), vectors.next()) else { return Ok(None) };
        let looks_before = matches!(call.function.id, FunctionId::IncreasePure | FunctionId::RatePure);
        let extension = looks_before.then_some(RangeExtension::Anchored);
        match &super::evaluator::unparen(vector).kind {
            ExprKind::Range(range) => {
                let (_, reads) = self.range_reads(range, extension.or(range.selector.extension), grid)?;
                Ok(Some(Leaf { matchers: &range.selector.matchers, reads, newest_alone: false }))
            }
            ExprKind::Subquery(subquery) => {
                let (_, inner) = self.subquery_grid(subquery, extension, grid)?;
                if inner.len == 0 { Ok(None) } else { self.inner_leaf(&subquery.expr, inner) }
            }
            // A selector where a range is expected: its window is not known here.
            _ if call.function.args.contains(&ValueType::RangeVector) => Ok(None),
            _ => self.inner_leaf(vector, grid),
        }
    }

    /// Evaluates a pipeline.
    pub(super) fn pipeline(&self, expr: &Expr, leaf: Leaf<'_>, grid: Grid, sink: &mut Sink<'_>) -> Result<()> {
        self.guard.look()?;
        if leaf.reads.is_empty() {
            return Ok(());
        }
        let (set, _held) = self.select(leaf.matchers, leaf.reads, leaf.newest_alone)?;
        let span_ms = leaf.reads.end.0.saturating_sub(leaf.reads.start.0);
        let samples = usize::try_from(span_ms / SAMPLE_DISTANCE_MS).unwrap_or(usize::MAX);
        let work = samples.max(CHUNK_SAMPLES).saturating_add(grid.len).saturating_mul(set.len());
        let block = (BLOCK_VALUES / grid.len.max(1)).clamp(1, BLOCK_SERIES_MAX).min(set.len().div_ceil(4)).max(1);
        let blocks = set.len().div_ceil(block);
        let threads = self.guard.options().threads_max.min(blocks);
        let helpers = self.guard.options().resources.helpers(if work < WORK_MIN { 0 } else { threads.max(1) - 1 });
        let turn = |series| Turn { leaf, set: &*set, series };
        let (seed, budget) = (self.seed(), self.guard.budget());
        // What is told of the series comes after what the sink tells, however many threads there are.
        let mut told = ToldLists::default();
        // Computes series in this thread, from the source to the sink.
        let stream = |series, told: &mut ToldLists, sink: &mut Sink<'_>| {
            let worker = seed.worker(Guard::new(budget), turn(series));
            let result = worker.vector_here(expr, grid, sink);
            self.take_over(worker.into_told(), told);
            result
        };
        let result = if helpers.count == 0 {
            stream(0..set.len(), &mut told, sink)
        } else {
            let ahead = 2 * (helpers.count + 1);
            let task = Task { blocks, helpers: helpers.count, ahead, stack_bytes: stack_bytes(expr) };
            let bytes_max = self.guard.options().bytes_max / MEMORY_PART / ahead;
            let series_of = |at: usize| at * block..((at + 1) * block).min(set.len());
            let is_full = AtomicBool::new(false);
            let compute = |at: usize| {
                if is_full.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let done = seed.gather(expr, grid, (Guard::new(budget), turn(series_of(at))), bytes_max)?;
                is_full.fetch_or(done.is_none(), Ordering::Relaxed);
                Ok(done)
            };
            in_order(task, &compute, &mut |at, done| match done {
                Some(Done { series, told: found, _held }) => {
                    self.take_over(found, &mut told);
                    series.into_iter().try_for_each(|(head, mut column)| sink(head, &mut column))
                }
                None => stream(series_of(at), &mut told, sink),
            })
        };
        self.notes.absorb(told);
        result
    }

    /// Takes over what a worker found out; what it told goes to `told`.
    fn take_over(&self, (found, trace): (ToldLists, Trace), told: &mut ToldLists) {
        told.absorb(found);
        self.trace.absorb(trace);
    }
}

/// Whether a function computes each series of its argument alone, and keeps the series apart.
fn takes_each_alone(call: &Call) -> bool {
    use FunctionId as F;
    let id = call.function.id;
    if call.function.args.contains(&ValueType::RangeVector) {
        return id != F::AbsentOverTime;
    }
    elementwise(id).is_some()
        || part_of_time(id).is_some()
        || matches!(id, F::Round | F::Clamp | F::ClampMin | F::ClampMax | F::Timestamp | F::StartTimestamp)
        || matches!(id, F::HistogramAvg | F::HistogramCount | F::HistogramSum | F::HistogramStddev | F::HistogramStdvar)
}

/// Whether `expr` is a number that can be had again for nothing.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => is_constant(inner),
        _ => false,
    }
}

/// What of an evaluator its workers share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed<'q> {
    pub(super) source: &'q dyn model::SeriesSource,
    pub(super) query: &'q str,
    pub(super) query_grid: Grid,
    pub(super) query_end_ms: i64,
    pub(super) is_instant: bool,
    pub(super) lookback_ms: i64,
    pub(super) is_traced: bool,
}

impl<'q> Seed<'q> {
    /// An evaluator for one thread's turn.
    pub(super) fn worker<'t>(self, guard: Guard<'t>, turn: Turn<'t>) -> Evaluator<'t>
    where
        'q: 't,
    {
        Evaluator {
            source: self.source,
            guard,
            notes: Notes::new(self.query),
            trace: Trace::new(self.is_traced),
            shared: super::shared::Shared::default(),
            turn: Some(turn),
            query_grid: self.query_grid,
            query_end_ms: self.query_end_ms,
            is_instant: self.is_instant,
            lookback_ms: self.lookback_ms,
        }
    }

    /// Evaluates a block; nothing if its series take more than `bytes_max`, or more than there is.
    fn gather(
        self,
        expr: &Expr,
        grid: Grid,
        (guard, turn): (Guard<'q>, Turn<'_>),
        bytes_max: usize,
    ) -> Result<Option<Done<'q>>> {
        let mut held = guard.hold(0)?;
        let (mut series, mut is_full) = (Vec::new(), false);
        let worker = self.worker(guard, turn);
        let result = worker.vector_here(expr, grid, &mut |head, column| {
            held.grow_series::<f64>(column.len(), head.labels.packed().len() + column.histogram_bytes())?;
            is_full = held.bytes() > bytes_max;
            if is_full {
                return Err(execution("too much to be kept"));
            }
            series.push((head, std::mem::take(column)));
            Ok(())
        });
        match result {
            Err(error) if is_full || is_of_memory(&error) => return Ok(None),
            other => other?,
        }
        Ok(Some(Done { series, told: worker.into_told(), _held: held }))
    }
}
