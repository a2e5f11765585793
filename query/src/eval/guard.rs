//! What a query may use and has used: samples, series, bytes, time, and the caller's patience.
//!
//! Owns the limits and their checks. Every loop of evaluation reports its work here, which is a counter's
//! increment most of the time; the clock and the cancel token are looked at once in [`UNITS_PER_LOOK`] units. A
//! [`Budget`] is a query's, shared by its threads; a [`Guard`] is one thread's view of it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::ReadCost;

use super::error::{QueryError, Result};
use super::resources::{AnswerMemory, Resources};

/// Units of work (values touched) between two looks at the clock: some tens of microseconds.
const UNITS_PER_LOOK: usize = 1 << 14;
/// What finding a series in storage costs, in values touched.
const READ_UNITS: usize = 1 << 6;
/// What one series held in memory costs beside its values and label text: its place in a list and an index, and what
/// the allocator adds.
const SERIES_OVERHEAD_BYTES: usize = 160;

/// What a query ran out of: its own memory, or that of all queries.
const BYTES: &str = "bytes of memory";
const BYTES_OF_ALL: &str = "bytes of memory for all queries together";

/// Whether an error says that there was not enough memory.
pub(crate) fn is_of_memory(error: &QueryError) -> bool {
    matches!(error, QueryError::Limit { what: BYTES | BYTES_OF_ALL, .. })
}

/// Bounds on one query, and the language's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// How far back an instant selector looks for its newest sample.
    pub lookback_ms: i64,
    /// The step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Most samples decoded by one query.
    pub samples_max: u64,
    /// Most series one selector may match.
    pub series_max: usize,
    /// Most bytes of values and labels held at a time by one query.
    pub bytes_max: usize,
    /// Longest evaluation.
    pub timeout_ms: u64,
    /// Most steps of a range query.
    pub points_max: usize,
    /// Most threads that work on one query, the caller's among them.
    pub threads_max: usize,
    /// What all queries share: memory, and threads beside the callers'.
    pub resources: Arc<Resources>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            lookback_ms: 5 * 60_000,
            subquery_step_ms: 60_000,
            samples_max: 50_000_000,
            series_max: 500_000,
            bytes_max: 1 << 30,
            timeout_ms: 120_000,
            points_max: 11_001,
            threads_max: cores,
            resources: Arc::new(Resources::default()),
        }
    }
}

/// Tells a running query to stop, and tells what it used so far. Shared with whoever may want that.
#[derive(Debug, Default)]
pub struct CancelToken {
    canceled: AtomicBool,
    chunks: AtomicU64,
    encoded_bytes: AtomicU64,
    samples: AtomicU64,
    chunks_lost: AtomicU64,
    series: AtomicU64,
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
}

impl CancelToken {
    /// A token that was not used yet.
    pub const fn new() -> Self {
        Self {
            canceled: AtomicBool::new(false),
            chunks: AtomicU64::new(0),
            encoded_bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            chunks_lost: AtomicU64::new(0),
            series: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            bytes_peak: AtomicUsize::new(0),
        }
    }

    /// Asks every query that holds the token to stop; they end with [`QueryError::Canceled`].
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }

    /// What the queries that held the token used so far. The time is not known here, and zero.
    pub fn cost(&self) -> Cost {
        Cost {
            read: ReadCost {
                chunks: self.chunks.load(Ordering::Relaxed),
                bytes: self.encoded_bytes.load(Ordering::Relaxed),
                samples: self.samples.load(Ordering::Relaxed),
                chunks_lost: self.chunks_lost.load(Ordering::Relaxed),
            },
            series: self.series.load(Ordering::Relaxed),
            bytes_peak: self.bytes_peak.load(Ordering::Relaxed) as u64,
            elapsed_us: 0,
        }
    }
}

/// What a query used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// What reading from storage took.
    pub read: ReadCost,
    /// Series read, one for each time a selector read it.
    pub series: u64,
    /// Most bytes of values and labels held at a time.
    pub bytes_peak: u64,
    /// Evaluation time.
    pub elapsed_us: u64,
}

/// What one query may use and has used, whichever of its threads did.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    options: &'a QueryOptions,
    timeout_ms: u64,
    cancel: &'a CancelToken,
    before: Cost,
    started: Instant,
    /// Held now; the token's count is of all queries it was given to.
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(options: &'a QueryOptions, timeout_ms: u64, cancel: &'a CancelToken) -> Self {
        let (bytes, bytes_peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { options, timeout_ms, cancel, before: cancel.cost(), started: Instant::now(), bytes, bytes_peak }
    }

    /// What was used so far.
    pub(crate) fn cost(&self) -> Cost {
        let (now, before) = (self.cancel.cost(), self.before);
        Cost {
            read: ReadCost {
                chunks: now.read.chunks - before.read.chunks,
                bytes: now.read.bytes - before.read.bytes,
                samples: now.read.samples - before.read.samples,
                chunks_lost: now.read.chunks_lost - before.read.chunks_lost,
            },
            series: now.series - before.series,
            bytes_peak: self.bytes_peak.load(Ordering::Relaxed) as u64,
            elapsed_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn grow(&self, bytes: usize) -> Result<()> {
        let limit = self.options.bytes_max;
        // Never more than the limit, not even for a moment: what is refused here harms nobody else.
        let take = |held: usize| held.checked_add(bytes).filter(|&total| total <= limit);
        let Ok(before) = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) else {
            return Err(QueryError::Limit { what: BYTES, limit: limit as u64 });
        };
        if let Err(limit) = self.options.resources.take_bytes(bytes) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueryError::Limit { what: BYTES_OF_ALL, limit: limit as u64 });
        }
        self.bytes_peak.fetch_max(before + bytes, Ordering::Relaxed);
        let held = self.cancel.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.cancel.bytes_peak.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    fn shrink(&self, bytes: usize) {
        self.leave(bytes);
        self.options.resources.give_bytes(bytes);
    }

    /// Holds that less; it is still some of all queries'.
    fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.cancel.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Keeps one thread of a query within the query's limits.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    budget: &'a Budget<'a>,
    units: Cell<usize>,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(budget: &'a Budget<'a>) -> Self {
        Self { budget, units: Cell::new(0) }
    }

    pub(crate) fn options(&self) -> &QueryOptions {
        self.budget.options
    }

    /// The query's budget, for another thread.
    pub(crate) fn budget(&self) -> &'a Budget<'a> {
        self.budget
    }

    /// Reports that `units` values are being worked on.
    #[inline]
    pub(crate) fn spend(&self, units: usize) -> Result<()> {
        let total = self.units.get().saturating_add(units).saturating_add(1);
        if total < UNITS_PER_LOOK {
            self.units.set(total);
            return Ok(());
        }
        self.look()
    }

    /// Looks at the cancel token and the clock.
    pub(crate) fn look(&self) -> Result<()> {
        self.units.set(0);
        if self.budget.cancel.is_canceled() {
            return Err(QueryError::Canceled);
        }
        let limit_ms = self.budget.timeout_ms;
        if self.budget.started.elapsed() > Duration::from_millis(limit_ms) {
            return Err(QueryError::Timeout { limit_ms });
        }
        Ok(())
    }

    /// What may still be held, of the query's own memory and of that of all queries.
    pub(crate) fn free_bytes(&self) -> usize {
        let options = self.budget.options;
        let own = options.bytes_max.saturating_sub(self.budget.bytes.load(Ordering::Relaxed));
        own.min(options.resources.free_bytes())
    }

    /// The failure of holding `bytes` more than there are.
    pub(crate) fn out_of_memory(&self, bytes: usize) -> QueryError {
        let options = self.budget.options;
        let own = options.bytes_max.saturating_sub(self.budget.bytes.load(Ordering::Relaxed));
        if bytes > own {
            QueryError::Limit { what: BYTES, limit: options.bytes_max as u64 }
        } else {
            QueryError::Limit { what: BYTES_OF_ALL, limit: options.resources.bytes_max() as u64 }
        }
    }

    /// Reports that one series was read.
    pub(crate) fn count_read(&self, cost: ReadCost) -> Result<()> {
        let (token, limit) = (self.budget.cancel, self.budget.options.samples_max);
        token.chunks.fetch_add(cost.chunks, Ordering::Relaxed);
        token.encoded_bytes.fetch_add(cost.bytes, Ordering::Relaxed);
        token.chunks_lost.fetch_add(cost.chunks_lost, Ordering::Relaxed);
        token.series.fetch_add(1, Ordering::Relaxed);
        let samples = token.samples.fetch_add(cost.samples, Ordering::Relaxed) + cost.samples;
        if samples - self.budget.before.read.samples > limit {
            return Err(QueryError::Limit { what: "samples", limit });
        }
        self.spend(usize::try_from(cost.samples).unwrap_or(usize::MAX).saturating_add(READ_UNITS))
    }

    /// Accounts for `bytes` until the returned token is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held<'a>> {
        let mut held = Held { budget: Some(self.budget), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }
}

/// Bytes that are accounted for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Held<'g> {
    budget: Option<&'g Budget<'g>>,
    bytes: usize,
}

impl Held<'_> {
    /// Accounts for `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        budget.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Accounts for `bytes` in all, unless that is done already.
    #[inline]
    pub(crate) fn reach(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.bytes { self.grow(bytes - self.bytes) } else { Ok(()) }
    }

    /// What is accounted for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Goes on accounting after the query has ended, for what it yields.
    pub(crate) fn outlive(mut self) -> Option<AnswerMemory> {
        let bytes = std::mem::take(&mut self.bytes);
        self.budget.map(|budget| {
            budget.leave(bytes);
            AnswerMemory::new(budget.options.resources.clone(), bytes)
        })
    }

    /// Accounts for one more series of `steps` states of type `T` with labels of `label_bytes`.
    pub(crate) fn grow_series<T>(&mut self, steps: usize, label_bytes: usize) -> Result<()> {
        self.grow(steps.saturating_mul(size_of::<T>()).saturating_add(label_bytes + SERIES_OVERHEAD_BYTES))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget {
            budget.shrink(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_given_back() {
        let options = QueryOptions { bytes_max: 100, ..QueryOptions::default() };
        let cancel = CancelToken::new();
        let budget = Budget::new(&options, 1000, &cancel);
        let guard = Guard::new(&budget);
        let held = guard.hold(80).expect("fits");
        assert!(matches!(guard.hold(21), Err(QueryError::Limit { limit: 100, .. })));
        drop(held);
        drop(guard.hold(100).expect("fits again"));
        assert_eq!((budget.cost().bytes_peak, cancel.cost().bytes_peak), (100, 100));
        assert_eq!(cancel.bytes.load(Ordering::Relaxed), 0, "all is given back");
    }

    #[test]
    fn cancel_and_deadline_end_the_work() {
        let options = QueryOptions::default();
        let cancel = CancelToken::new();
        let budget = Budget::new(&options, 0, &cancel);
        let guard = Guard::new(&budget);
        while budget.started.elapsed().is_zero() {}
        assert!(guard.spend(1).is_ok(), "the clock is not looked at for every value");
        assert!(matches!(guard.spend(UNITS_PER_LOOK), Err(QueryError::Timeout { limit_ms: 0 })));
        cancel.cancel();
        assert!(matches!(guard.spend(UNITS_PER_LOOK), Err(QueryError::Canceled)));
    }

    #[test]
    fn queries_share_what_memory_there_is() {
        let options = QueryOptions { resources: Arc::new(Resources::new(100, 0)), ..QueryOptions::default() };
        let (first, second) = (CancelToken::new(), CancelToken::new());
        let (first, second) = (Budget::new(&options, 1000, &first), Budget::new(&options, 1000, &second));
        let held = Guard::new(&first).hold(60).expect("fits");
        let refused = Guard::new(&second).hold(60).expect_err("too much together");
        assert!(refused.to_string().contains("100 bytes of memory for all queries together"), "{refused}");
        assert_eq!(second.cost().bytes_peak, 0, "what was refused is not held");
        drop(held);
        drop(Guard::new(&second).hold(60).expect("fits alone"));
    }

    #[test]
    fn a_token_tells_what_was_used_so_far() {
        let (options, token) = (QueryOptions::default(), CancelToken::new());
        for round in 1..=2 {
            let budget = Budget::new(&options, 1000, &token);
            let guard = Guard::new(&budget);
            guard
                .count_read(ReadCost { chunks: 1, bytes: 10, samples: 100, ..ReadCost::default() })
                .expect("within limits");
            assert_eq!((budget.cost().series, budget.cost().read.samples), (1, 100), "a query's own");
            assert_eq!((token.cost().series, token.cost().read.samples), (round, round * 100));
        }
    }
}
