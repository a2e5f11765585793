//! Pipelines: selectors and what is computed of each of their series alone, spread over threads.
//!
//! `rate(x[5m])`, `x * 2`, `abs(x)`: series by series, from the chunk to the column, nothing needs another series. Such
//! an expression is selected once, its series are cut into blocks, and each block is evaluated by whichever thread is
//! free. The results are handed on in the order of the series, so an answer does not depend on how many threads there
//! were. Threads beside the caller's come out of [`Resources`](super::resources::Resources); they run at a lower
//! priority, so that ingestion goes first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use model::{Matcher, SeriesSet, TimeRange};

use super::calendar::part_of_time;
use super::column::{Column, Head, Sink};
use super::error::{QueryError, Result, execution};
use super::evaluator::Evaluator;
use super::explain::Trace;
use super::grid::Grid;
use super::guard::Guard;
use super::invariant::is_invariant;
use super::math::elementwise;
use super::notes::Notes;
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
/// What lowers the priority of a thread beside the caller's.
const NICE: i32 = 5;

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

/// What became of a block.
#[derive(Debug)]
struct Done {
    series: Vec<(Head, Column)>,
    told: (super::told::ToldLists, Trace),
}

/// Where the threads of a pipeline stand.
#[derive(Debug, Default)]
struct Progress {
    next: usize,
    delivered: usize,
    ready: BTreeMap<usize, Done>,
    failed: Option<QueryError>,
    stopped: bool,
}

impl Evaluator<'_> {
    /// The selector of `expr` if it is a pipeline.
    pub(super) fn leaf<'e>(&self, expr: &'e Expr, grid: Grid) -> Result<Option<Leaf<'e>>> {
        let grid = if grid.len > 1 && is_invariant(expr) { grid.first() } else { grid };
        match &expr.kind {
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.inner_leaf(inner, grid),
            ExprKind::Selector(selector) => {
                Ok(Some(Leaf { matchers: &selector.matchers, reads: self.selector_reads(selector, grid)? }))
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
        let looks_before = matches!(call.function.name, "increase_pure" | "rate_pure");
        let extension = looks_before.then_some(RangeExtension::Anchored);
        match &super::evaluator::unparen(vector).kind {
            ExprKind::Range(range) => {
                let (_, reads) = self.range_reads(range, extension.or(range.selector.extension), grid)?;
                Ok(Some(Leaf { matchers: &range.selector.matchers, reads }))
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
        let set = self.select(leaf.matchers, leaf.reads)?;
        let span_ms = leaf.reads.end.0.saturating_sub(leaf.reads.start.0);
        let samples = usize::try_from(span_ms / SAMPLE_DISTANCE_MS).unwrap_or(usize::MAX);
        let work = samples.max(CHUNK_SAMPLES).saturating_add(grid.len).saturating_mul(set.len());
        let block = (BLOCK_VALUES / grid.len.max(1)).clamp(1, BLOCK_SERIES_MAX).min(set.len().div_ceil(4)).max(1);
        let blocks = set.len().div_ceil(block);
        let threads = self.guard.options().threads_max.min(blocks);
        let helpers = self.guard.options().resources.helpers(if work < WORK_MIN { 0 } else { threads.max(1) - 1 });
        let turn = |series| Turn { leaf, set: &*set, series };
        if helpers.count == 0 {
            let worker = self.seed().worker(Guard::new(self.guard.budget()), turn(0..set.len()));
            let result = worker.vector_here(expr, grid, sink);
            self.absorb(worker.into_told());
            return result;
        }
        // Blocks that are computed and not handed on yet, those under way included.
        let ahead = 2 * (helpers.count + 1);
        let _held = self.guard.hold(ahead.saturating_mul(block * grid.len * size_of::<f64>()))?;
        let crew = Crew { progress: Mutex::default(), changed: Condvar::new(), blocks, ahead };
        let budget = self.guard.budget();
        let seed = self.seed();
        let compute = |at: usize| {
            let series = at * block..((at + 1) * block).min(set.len());
            let worker = seed.worker(Guard::new(budget), turn(series));
            let mut found = Vec::new();
            worker.vector_here(expr, grid, &mut |head, column| {
                found.push((head, std::mem::take(column)));
                Ok(())
            })?;
            Ok(Done { series: found, told: worker.into_told() })
        };
        let stack_bytes = stack_bytes(expr);
        let thread = || std::thread::Builder::new().name("query".to_owned()).stack_size(stack_bytes);
        std::thread::scope(|scope| {
            for _ in 0..helpers.count {
                let (crew, compute) = (&crew, &compute);
                let work = move || {
                    // Where that is not allowed, the threads run as others do.
                    let _ = rustix::process::nice(NICE);
                    crew.help(compute);
                };
                // Without the thread the others do its work.
                let _ = thread().spawn_scoped(scope, work);
            }
            let result = crew.lead(&compute, &mut |done| {
                self.absorb(done.told);
                done.series.into_iter().try_for_each(|(head, mut column)| sink(head, &mut column))
            });
            crew.stop();
            result
        })
    }
}

/// The threads of one pipeline.
#[derive(Debug)]
struct Crew {
    progress: Mutex<Progress>,
    changed: Condvar,
    blocks: usize,
    ahead: usize,
}

impl Crew {
    /// Progress whose thread panicked ends with that panic, when the scope is left.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next block if it is not too far ahead.
    fn claim(&self, progress: &mut Progress) -> Option<usize> {
        let at = progress.next;
        let may = at < self.blocks && at < progress.delivered + self.ahead && progress.failed.is_none();
        may.then(|| {
            progress.next += 1;
            at
        })
    }

    /// Computes blocks until there is none left.
    fn help(&self, compute: &(dyn Fn(usize) -> Result<Done> + Sync)) {
        let _stop_on_panic = StopOnPanic(self);
        let mut progress = self.lock();
        loop {
            if progress.stopped || progress.failed.is_some() || progress.next >= self.blocks {
                return;
            }
            let Some(at) = self.claim(&mut progress) else {
                progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(progress);
            let done = compute(at);
            progress = self.lock();
            self.put(&mut progress, at, done);
        }
    }

    fn put(&self, progress: &mut Progress, at: usize, done: Result<Done>) {
        match done {
            Ok(done) => drop(progress.ready.insert(at, done)),
            Err(error) => {
                progress.failed.get_or_insert(error);
            }
        }
        self.changed.notify_all();
    }

    /// Hands blocks on in order, and computes some meanwhile.
    fn lead(&self, compute: &dyn Fn(usize) -> Result<Done>, deliver: &mut dyn FnMut(Done) -> Result<()>) -> Result<()> {
        let mut progress = self.lock();
        while progress.delivered < self.blocks {
            if let Some(error) = progress.failed.take() {
                return Err(error);
            }
            if progress.stopped {
                return Ok(());
            }
            let delivered = progress.delivered;
            if let Some(done) = progress.ready.remove(&delivered) {
                drop(progress);
                deliver(done)?;
                progress = self.lock();
                progress.delivered += 1;
                self.changed.notify_all();
            } else if let Some(at) = self.claim(&mut progress) {
                drop(progress);
                let done = compute(at);
                progress = self.lock();
                self.put(&mut progress, at, done);
            } else {
                progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Keeps the leader from waiting for a block whose thread is gone.
struct StopOnPanic<'c>(&'c Crew);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
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
}
