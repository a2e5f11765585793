//! What sending says of itself, by receiver and integration. Names are those of Alertmanager with this program's prefix.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::MetricKind;
use model::exposition::Family;

use super::{Book, Key, queue};
use crate::metrics_page::{one_gauge, whole};

/// Most integrations that are counted; what is sent beyond them is sent all the same.
const COUNTED_MAX: usize = 2_000;

#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<BTreeMap<Key, Counts>>);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    came: u64,
    taken: u64,
    failed: u64,
    superseded: u64,
    dropped: u64,
    attempts: u64,
    attempt_seconds: f64,
    took_seconds: f64,
    /// Whether the last one was given up.
    fails: bool,
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<Key, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T: Default>(&self, key: &Key, change: impl FnOnce(&mut Counts) -> T) -> T {
        let mut all = self.counts();
        if all.len() < COUNTED_MAX || all.contains_key(key) {
            return change(all.entry(key.clone()).or_default());
        }
        T::default()
    }

    pub(super) fn came(&self, key: &Key) {
        self.change(key, |counts| counts.came += 1);
    }

    /// Whether the one before was given up.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    pub(super) fn taken(&self, key: &Key, took_ms: i64) -> bool {
        self.change(key, |counts| {
            counts.taken += 1;
            counts.took_seconds += took_ms.max(0) as f64 / 1000.0;
            std::mem::take(&mut counts.fails)
        })
    }

    /// Whether the one before was not.
    pub(super) fn failed(&self, key: &Key) -> bool {
        self.change(key, |counts| {
            counts.failed += 1;
            !std::mem::replace(&mut counts.fails, true)
        })
    }

    pub(super) fn superseded(&self, key: &Key) {
        self.change(key, |counts| counts.superseded += 1);
    }

    pub(super) fn dropped(&self, key: &Key) {
        self.change(key, |counts| counts.dropped += 1);
    }

    pub(super) fn attempted(&self, key: &Key, took: Duration) {
        self.change(key, |counts| {
            counts.attempts += 1;
            counts.attempt_seconds += took.as_secs_f64();
        });
    }

    /// Forgets those that are gone.
    pub(super) fn retain(&self, kept: impl Fn(&Key) -> bool) {
        self.counts().retain(|key, _| kept(key));
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    pub(super) fn families(&self, book: &Book, lengths: &[(Key, usize)]) -> Vec<Family> {
        type Take = fn(&Counts) -> f64;
        const FAMILIES: [(&str, &str, Take); 8] = [
            ("metrickit_notifications_total", "Notifications that were to be sent.", |counts| counts.came as f64),
            ("metrickit_notifications_delivered_total", "Notifications that were taken.", |counts| counts.taken as f64),
            ("metrickit_notifications_failed_total", "Notifications that were given up.", |counts| {
                counts.failed as f64
            }),
            (
                "metrickit_notifications_superseded_total",
                "Notifications that nobody needs any more: a newer one took their place, or their receiver is gone.",
                |counts| counts.superseded as f64,
            ),
            (
                "metrickit_notifications_dropped_total",
                "Notifications that found no place in a queue; they are failed ones too.",
                |counts| counts.dropped as f64,
            ),
            ("metrickit_notification_attempts_total", "Attempts to send.", |counts| counts.attempts as f64),
            ("metrickit_notification_attempt_seconds_total", "Time that attempts took.", |counts| {
                counts.attempt_seconds
            }),
            (
                "metrickit_notification_delivery_seconds_total",
                "Time from when notifications came until they were taken.",
                |counts| counts.took_seconds,
            ),
        ];
        let labels = |key: &Key| book.name(key);
        let mut counts = self.counts().clone();
        // What has not failed yet is there with a 0, so that the first failure is an increase.
        let keys = book.receivers.iter().flat_map(|(name, all)| (0..all.len()).map(|at| (name.clone(), at)));
        for key in keys.take(COUNTED_MAX) {
            counts.entry(key).or_default();
        }
        let mut families = Vec::with_capacity(FAMILIES.len() + 2);
        for (name, help, take) in FAMILIES {
            families.push(counts.iter().fold(Family::new(name, MetricKind::Counter, help), |family, (key, counts)| {
                family.with(&[("receiver", &key.0), ("integration", &labels(key))], take(counts))
            }));
        }
        let lengths = lengths.iter().fold(
            Family::new(
                "metrickit_notification_queue_length",
                MetricKind::Gauge,
                "Notifications that wait to be sent.",
            ),
            |family, (key, length)| family.with(&[("receiver", &key.0), ("integration", &labels(key))], *length as f64),
        );
        families.push(lengths);
        families.push(one_gauge(
            "metrickit_notification_queue_capacity",
            "Most notifications that wait for one integration.",
            whole(queue::QUEUE_MAX as u64),
        ));
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_sending_fails_and_works_again_is_told_once() {
        let (metrics, key) = (Metrics::default(), ("ops".to_owned(), 0));
        let turns = [metrics.taken(&key, 1), metrics.failed(&key), metrics.failed(&key), metrics.taken(&key, 1)];
        assert_eq!(turns, [false, true, false, true]);
        assert!(metrics.failed(&key) && metrics.failed(&("ops".to_owned(), 1)));
    }
}
