//! What a query may use and has used: samples, series, bytes, time, and the caller's patience.
//!
//! Owns the limits and their checks. Every loop of evaluation reports its work here, which is a counter's
//! increment most of the time; the clock and the cancel token are looked at once in [`UNITS_PER_LOOK`] units.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::ReadCost;

use super::error::{QueryError, Result};

/// Units of work (values touched) between two looks at the clock: some tens of microseconds.
const UNITS_PER_LOOK: usize = 1 << 14;
/// What one series held in memory costs beside its values and label text.
const SERIES_OVERHEAD_BYTES: usize = 64;

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
    /// Most bytes of values and labels held at a time.
    pub bytes_max: usize,
    /// Longest evaluation.
    pub timeout_ms: u64,
    /// Most steps of a range query.
    pub points_max: usize,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60_000,
            subquery_step_ms: 60_000,
            samples_max: 50_000_000,
            series_max: 500_000,
            bytes_max: 1 << 30,
            timeout_ms: 120_000,
            points_max: 11_001,
        }
    }
}

/// Tells a running query to stop. Shared with whoever may want that.
#[derive(Debug, Default)]
pub struct CancelToken(AtomicBool);

impl CancelToken {
    /// A token that was not used yet.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks every query that holds the token to stop; they end with [`QueryError::Canceled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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

/// Keeps one query within its limits.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    options: &'a QueryOptions,
    timeout_ms: u64,
    cancel: &'a CancelToken,
    started: Instant,
    units: Cell<usize>,
    read: Cell<ReadCost>,
    series: Cell<u64>,
    bytes: Cell<usize>,
    bytes_peak: Cell<usize>,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(options: &'a QueryOptions, timeout_ms: u64, cancel: &'a CancelToken) -> Self {
        Self {
            options,
            timeout_ms,
            cancel,
            started: Instant::now(),
            units: Cell::new(0),
            read: Cell::new(ReadCost::default()),
            series: Cell::new(0),
            bytes: Cell::new(0),
            bytes_peak: Cell::new(0),
        }
    }

    pub(crate) fn options(&self) -> &'a QueryOptions {
        self.options
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
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled);
        }
        if self.started.elapsed() > Duration::from_millis(self.timeout_ms) {
            return Err(QueryError::Timeout { limit_ms: self.timeout_ms });
        }
        Ok(())
    }

    /// Reports that one series was read.
    pub(crate) fn count_read(&self, cost: ReadCost) -> Result<()> {
        let mut read = self.read.get();
        read += cost;
        self.read.set(read);
        self.series.set(self.series.get() + 1);
        if read.samples > self.options.samples_max {
            return Err(QueryError::Limit { what: "samples", limit: self.options.samples_max });
        }
        self.spend(usize::try_from(cost.samples).unwrap_or(usize::MAX))
    }

    /// Accounts for `bytes` until the returned token is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held<'_>> {
        let mut held = Held { guard: Some(self), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    pub(crate) fn cost(&self) -> Cost {
        Cost {
            read: self.read.get(),
            series: self.series.get(),
            bytes_peak: self.bytes_peak.get() as u64,
            elapsed_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// Bytes that are accounted for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Held<'g> {
    guard: Option<&'g Guard<'g>>,
    bytes: usize,
}

impl Held<'_> {
    /// Accounts for `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        let Some(guard) = self.guard else { return Ok(()) };
        let total = guard.bytes.get().saturating_add(bytes);
        if total > guard.options.bytes_max {
            return Err(QueryError::Limit { what: "bytes of memory", limit: guard.options.bytes_max as u64 });
        }
        guard.bytes.set(total);
        guard.bytes_peak.set(guard.bytes_peak.get().max(total));
        self.bytes += bytes;
        Ok(())
    }

    /// Accounts for one more series of `steps` states of type `T` with labels of `label_bytes`.
    pub(crate) fn grow_series<T>(&mut self, steps: usize, label_bytes: usize) -> Result<()> {
        self.grow(steps.saturating_mul(size_of::<T>()).saturating_add(label_bytes + SERIES_OVERHEAD_BYTES))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(guard) = self.guard {
            guard.bytes.set(guard.bytes.get().saturating_sub(self.bytes));
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
        let guard = Guard::new(&options, 1000, &cancel);
        let held = guard.hold(80).expect("fits");
        assert!(matches!(guard.hold(21), Err(QueryError::Limit { limit: 100, .. })));
        drop(held);
        drop(guard.hold(100).expect("fits again"));
        assert_eq!(guard.cost().bytes_peak, 100);
    }

    #[test]
    fn cancel_and_deadline_end_the_work() {
        let options = QueryOptions::default();
        let cancel = CancelToken::new();
        let guard = Guard::new(&options, 0, &cancel);
        while guard.started.elapsed().is_zero() {}
        assert!(guard.spend(1).is_ok(), "the clock is not looked at for every value");
        assert!(matches!(guard.spend(UNITS_PER_LOOK), Err(QueryError::Timeout { limit_ms: 0 })));
        cancel.cancel();
        assert!(matches!(guard.spend(UNITS_PER_LOOK), Err(QueryError::Canceled)));
    }
}
