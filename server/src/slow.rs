//! The end of queries: each is counted; one that took long is logged and kept for a while, to be looked at.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::app::App;
use crate::reply::{ApiError, ErrorKind};
use crate::running::{Used, Watched};

/// Most slow queries that are kept.
const KEPT_MAX: usize = 100;

/// See the module.
#[derive(Debug)]
pub(crate) struct SlowLog {
    /// What counts as slow; nothing does when absent.
    after: Option<Duration>,
    kept: Mutex<VecDeque<Slow>>,
}

/// A query that took long.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slow {
    query: String,
    /// When it ended, in Unix seconds.
    time: f64,
    /// From its arrival to its end; waiting for a place included.
    seconds: f64,
    /// `success`, or the type of its error.
    outcome: &'static str,
    #[serde(flatten)]
    used: Used,
    client: Option<SocketAddr>,
}

impl SlowLog {
    /// Keeps queries that take `after_ms` or longer; none when that is 0.
    pub(crate) fn new(after_ms: u64) -> Self {
        let after = (after_ms > 0).then(|| Duration::from_millis(after_ms));
        Self { after, kept: Mutex::default() }
    }

    /// The slow queries, newest first.
    pub(crate) fn list(&self) -> Vec<Slow> {
        self.lock().iter().rev().cloned().collect()
    }

    fn keep(&self, slow: Slow) {
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(slow);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Slow>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Tells that a query ended, and how.
    pub(crate) fn query_ended(&self, query: &Watched, failure: Option<&ApiError>) {
        let took = query.age();
        self.counters.query_ended(failure, took);
        if self.slow_log.after.is_none_or(|after| took < after) {
            return;
        }
        let slow = Slow {
            query: query.text().to_owned(),
            time: seconds(self.clock.now().0),
            seconds: took.as_secs_f64(),
            outcome: failure.map_or("success", |error| error.kind.as_str()),
            used: query.cost().into(),
            client: query.client(),
        };
        tracing::warn!(
            query = slow.query,
            seconds = slow.seconds,
            outcome = slow.outcome,
            series = slow.used.series,
            samples = slow.used.samples,
            chunk_bytes = slow.used.chunk_bytes,
            bytes = slow.used.bytes,
            client = slow.client.map(tracing::field::display),
            "slow query"
        );
        self.slow_log.keep(slow);
    }
}

/// Counts a query whose client left while it waited; once it runs, its worker counts it.
pub(crate) struct CountIfDropped<'a> {
    app: &'a App,
    query: &'a Watched,
    armed: bool,
}

impl<'a> CountIfDropped<'a> {
    pub(crate) fn new(app: &'a App, query: &'a Watched) -> Self {
        Self { app, query, armed: true }
    }

    /// Says that somebody else counts it.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for CountIfDropped<'_> {
    fn drop(&mut self) {
        if self.armed {
            let gone = ApiError::new(ErrorKind::Canceled, "the client left");
            self.app.query_ended(self.query, Some(&gone));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact to the millisecond for 285,000 years")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use query::Cost;

    #[test]
    fn the_oldest_go_first() {
        let log = SlowLog::new(1);
        for at in 0..KEPT_MAX + 5 {
            let used = Cost::default().into();
            let query = at.to_string();
            log.keep(Slow { query, time: 0.0, seconds: 1.0, outcome: "success", used, client: None });
        }
        let listed = log.list();
        assert_eq!((listed.len(), listed[0].query.as_str()), (KEPT_MAX, "104"));
        assert_eq!(listed[KEPT_MAX - 1].query, "5");
    }
}
