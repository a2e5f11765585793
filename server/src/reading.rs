//! Reading samples outside of a single query, for remote read, federation and what rules are asked: the same places, limits and list as
//! queries have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{Labels, Matcher, ReadCost, Samples, SeriesSet, SourceError, TimeRange};
use query::{CancelToken, QueryError};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::query_api::query_error;
use crate::reply::{ApiError, ErrorKind};
use crate::running::{Client, Ticket, Watched};
use crate::slow::CountIfDropped;

/// A request that has its place.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) place: OwnedSemaphorePermit,
    /// Dropped when nobody wants the answer any more.
    pub(crate) ticket: Ticket,
    /// What is left of the time that a query may take.
    pub(crate) left: Duration,
    pub(crate) reading: Reading,
}

/// Waits for a place. `text` stands in the list of queries under way.
pub(crate) async fn enter(app: &Arc<App>, text: &str, client: Option<Client>) -> Result<Entered, ApiError> {
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let ticket = app.running.enter(text, client);
    let query = ticket.query();
    let mut unanswered = CountIfDropped::new(app, &query);
    let entered = app.gate.enter(patience).await;
    unanswered.disarm();
    let place = match entered {
        Ok(place) => place,
        Err(error) => {
            app.query_ended(&query, Some(&error));
            return Err(error);
        }
    };
    let left = patience.saturating_sub(query.age());
    let series_left = app.options.query.series_max;
    let deadline = Instant::now() + left;
    let held_bytes = AtomicUsize::new(0);
    let reading = Reading { app: Arc::clone(app), query: ticket.query(), deadline, series_left, held_bytes };
    Ok(Entered { place, ticket, left, reading })
}

/// One request's reading, within the limits of a query.
#[derive(Debug)]
pub(crate) struct Reading {
    app: Arc<App>,
    query: Arc<Watched>,
    deadline: Instant,
    /// Series that may still be selected.
    series_left: usize,
    /// What the answer takes of the memory of all queries, until this is dropped.
    held_bytes: AtomicUsize,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.app.options.query.resources.give_bytes(*self.held_bytes.get_mut());
    }
}

impl Reading {
    /// What tells an evaluation for it to stop.
    pub(crate) fn cancel_token(&self) -> &CancelToken {
        self.query.cancel_token()
    }

    /// When the answer must be there, sent where it is sent piece by piece.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The series that fulfil `matchers`, none of them read yet. All selections of a request share one limit.
    pub(crate) fn select(&mut self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet>, ApiError> {
        self.look()?;
        let limits = &self.app.options.query;
        let own_bytes = limits.bytes_max.saturating_sub(self.held_bytes.load(Ordering::Relaxed));
        let free_bytes = own_bytes.min(limits.resources.free_bytes());
        // What there is no memory for is refused before it is collected.
        let affordable = free_bytes / query::SELECTED_BYTES;
        match self.app.source.select(matchers, range, self.series_left.min(affordable)) {
            Ok(set) => {
                self.hold(set.len().saturating_mul(query::SELECTED_BYTES))?;
                self.series_left = self.series_left.saturating_sub(set.len());
                Ok(set)
            }
            Err(SourceError::TooManySeries { .. }) if affordable < self.series_left => {
                self.hold((affordable + 1).saturating_mul(query::SELECTED_BYTES))?;
                Err(too_much("bytes", limits.bytes_max as u64))
            }
            Err(SourceError::TooManySeries { .. }) => Err(too_much("series", self.app.options.query.series_max as u64)),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads series after series, and hands on those that have samples.
    pub(crate) fn each_series(
        &self,
        set: &dyn SeriesSet,
        mut take: impl FnMut(&Labels, &Samples) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut samples = Samples::default();
        for at in 0..set.len() {
            self.look()?;
            let cost = set.read(at, &mut samples)?;
            self.count(cost)?;
            if !samples.is_empty() {
                take(set.labels(at), &samples)?;
            }
        }
        Ok(())
    }

    /// Takes memory for the answer: of what one query may hold, and of what all together may.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), ApiError> {
        let limits = &self.app.options.query;
        if self.held_bytes.load(Ordering::Relaxed).saturating_add(bytes) > limits.bytes_max {
            return Err(too_much("bytes", limits.bytes_max as u64));
        }
        limits.resources.take_bytes(bytes).map_err(|limit| {
            let message = format!("the answer takes more than {limit} bytes, the limit of all queries together");
            ApiError::new(ErrorKind::Execution, message)
        })?;
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts the request with its outcome.
    pub(crate) fn end<T>(&self, result: &Result<T, ApiError>) {
        self.app.query_ended(&self.query, result.as_ref().err());
    }

    /// Looks at the clock and at whether anyone still wants the answer.
    fn look(&self) -> Result<(), ApiError> {
        if self.query.cancel_token().is_canceled() {
            return Err(query_error(&QueryError::Canceled));
        }
        if Instant::now() > self.deadline {
            return Err(query_error(&QueryError::Timeout { limit_ms: self.app.options.query.timeout_ms }));
        }
        Ok(())
    }

    fn count(&self, cost: ReadCost) -> Result<(), ApiError> {
        let counters = &self.app.counters;
        counters.query_series.fetch_add(1, Ordering::Relaxed);
        counters.query_samples.fetch_add(cost.samples, Ordering::Relaxed);
        counters.query_chunk_bytes.fetch_add(cost.bytes, Ordering::Relaxed);
        let samples = self.query.count_read(cost);
        let limit = self.app.options.query.samples_max;
        if samples > limit { Err(too_much("samples", limit)) } else { Ok(()) }
    }
}

/// The failure of a request beyond a limit.
fn too_much(what: &'static str, limit: u64) -> ApiError {
    ApiError::new(ErrorKind::Execution, format!("the answer takes more than {limit} {what}, the limit of one query"))
}
