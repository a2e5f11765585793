//! What `/metrics` tells of notification.

use std::sync::atomic::{AtomicU64, Ordering};

use model::exposition::Family;

use super::notifier::Notifier;
use crate::metrics_page::{one_counter, one_gauge, whole};

impl Notifier {
    /// All of it.
    pub(crate) fn families(&self) -> Vec<Family> {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let counts = self.counts();
        vec![
            one_gauge(
                "metrickit_notify_alerts",
                "Alerts that are known, ended ones among them.",
                whole(count(&counts.alerts)),
            ),
            one_gauge("metrickit_notify_groups", "Groups of alerts.", whole(count(&counts.groups))),
            one_gauge("metrickit_notify_in_flight", "Notifications on their way.", whole(count(&counts.in_flight))),
            one_counter("metrickit_notify_received_total", "Messages about alerts.", count(&counts.received)),
            one_counter(
                "metrickit_notify_refused_total",
                "Messages about alerts for which there was no place.",
                count(&counts.refused) + count(&counts.homeless),
            ),
            one_counter(
                "metrickit_notify_state_failures_total",
                "Times at which what was told could not be put on disk at once.",
                count(&counts.shelf_failures),
            ),
            one_counter(
                "metrickit_alerting_events_left_out_total",
                "Events that are not in the event log, for want of place or disk.",
                self.events().left_out(),
            ),
        ]
    }
}
