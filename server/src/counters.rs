//! What the HTTP surface counts of itself: requests, queries by outcome, time.
//!
//! Owns the numbers; `metrics_page` prints them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::reply::{ApiError, ErrorKind};

/// Upper bounds of the query time histogram, in seconds, and how they are printed.
pub(crate) const SECONDS_BOUNDS: [(f64, &str); 12] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (5.0, "5"),
    (10.0, "10"),
    (30.0, "30"),
    (120.0, "120"),
];

/// The outcomes queries are counted by.
pub(crate) const OUTCOMES: [&str; 6] = ["success", "bad_data", "execution", "timeout", "canceled", "internal"];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    outcomes: [AtomicU64; OUTCOMES.len()],
    seconds_buckets: [AtomicU64; SECONDS_BOUNDS.len() + 1],
    seconds_sum_ns: AtomicU64,
    pub(crate) query_samples: AtomicU64,
    pub(crate) query_series: AtomicU64,
    pub(crate) query_chunk_bytes: AtomicU64,
    /// By route and status: bounded, for both come from short lists.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    routing_failures: AtomicU64,
    /// Whether the routing file was wrong when it was read last.
    routing_failed: AtomicBool,
}

/// The histogram of query times at one moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Seconds {
    /// Queries that took at most the bound, for each of [`SECONDS_BOUNDS`].
    pub(crate) cumulative: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Counters {
    /// Counts a query that ended.
    pub(crate) fn query_ended(&self, failure: Option<&ApiError>, took: Duration) {
        let outcome = failure.map_or("success", |error| match error.kind {
            ErrorKind::NotFound | ErrorKind::Forbidden => ErrorKind::Internal.as_str(),
            kind => kind.as_str(),
        });
        if let Some(at) = OUTCOMES.iter().position(|&name| name == outcome) {
            self.outcomes[at].fetch_add(1, Ordering::Relaxed);
        }
        let seconds = took.as_secs_f64();
        let at = SECONDS_BOUNDS.partition_point(|&(bound, _)| bound < seconds);
        self.seconds_buckets[at].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.seconds_sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Counts a request that was answered; `route` is the pattern that matched.
    pub(crate) fn request_answered(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = requests.iter_mut().find(|((known, code), _)| known == route && *code == status) {
            *count.1 += 1;
        } else {
            requests.insert((route.to_owned(), status), 1);
        }
    }

    /// Takes note of a reading of the routing file: whether it was right, and whether alerts are routed by it now.
    pub(crate) fn routing_read(&self, is_right: bool, is_in_force: bool) {
        self.routing_failed.store(!is_in_force, Ordering::Relaxed);
        self.routing_failures.fetch_add(u64::from(!is_right), Ordering::Relaxed);
    }

    /// How often the routing file was wrong, and whether alerts are routed by an older one.
    pub(crate) fn routing_failures(&self) -> (u64, bool) {
        (self.routing_failures.load(Ordering::Relaxed), self.routing_failed.load(Ordering::Relaxed))
    }

    /// Queries by outcome.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Requests by route and status.
    pub(crate) fn requests(&self) -> Vec<((String, u16), u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(key, &count)| (key.clone(), count)).collect()
    }

    /// Query times.
    pub(crate) fn seconds(&self) -> Seconds {
        let mut count = 0;
        let mut cumulative: Vec<u64> = Vec::with_capacity(self.seconds_buckets.len());
        for bucket in &self.seconds_buckets {
            count += bucket.load(Ordering::Relaxed);
            cumulative.push(count);
        }
        cumulative.pop();
        let sum = Duration::from_nanos(self.seconds_sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        Seconds { cumulative, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_counted_by_outcome_and_time() {
        let counters = Counters::default();
        counters.query_ended(None, Duration::from_millis(1));
        counters.query_ended(None, Duration::from_millis(200));
        counters.query_ended(Some(&ApiError::new(ErrorKind::Timeout, "")), Duration::from_secs(200));
        let outcomes: Vec<_> = counters.outcomes().filter(|&(_, count)| count > 0).collect();
        assert_eq!(outcomes, [("success", 2), ("timeout", 1)]);
        let seconds = counters.seconds();
        assert_eq!(seconds.cumulative, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(seconds.count, 3);
        assert!((seconds.sum - 200.201).abs() < 1e-9);
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let counters = Counters::default();
        for (route, status) in [("/a", 200), ("/b", 200), ("/a", 200), ("/a", 404)] {
            counters.request_answered(route, status);
        }
        let want = [(("/a".to_owned(), 200), 2), (("/a".to_owned(), 404), 1), (("/b".to_owned(), 200), 1)];
        assert_eq!(counters.requests(), want);
    }
}
