//! What `/metrics` tells of rules, under the names that users of Prometheus know.

use model::MetricKind;
use model::exposition::Family;

use super::{Alerting, lock};
use crate::metrics_page::{gauge, one_counter, one_gauge, whole, whole_signed};

impl Alerting {
    /// All of it.
    pub(crate) fn families(&self) -> Vec<Family> {
        let counter = |name: &str, help: &str| Family::new(name, MetricKind::Counter, help);
        let mut evaluations = counter("prometheus_rule_evaluations_total", "Evaluations of rules.");
        let mut failures = counter("prometheus_rule_evaluation_failures_total", "Evaluations of rules that failed.");
        let mut iterations = counter("prometheus_rule_group_iterations_total", "Evaluations of groups of rules.");
        let mut missed = counter(
            "prometheus_rule_group_iterations_missed_total",
            "Evaluations of groups that were skipped because the one before took too long.",
        );
        let mut interval = gauge("prometheus_rule_group_interval_seconds", "Time between two evaluations.");
        let mut rules = gauge("prometheus_rule_group_rules", "Rules.");
        let mut samples = gauge("prometheus_rule_group_last_evaluation_samples", "Samples of the last evaluation.");
        let mut duration = gauge("prometheus_rule_group_last_duration_seconds", "How long the last evaluation took.");
        let mut last = gauge(
            "prometheus_rule_group_last_evaluation_timestamp_seconds",
            "When the group was evaluated last, in Unix seconds.",
        );
        let (mut pending, mut firing, mut shelf_failures) = (0, 0, 0);
        let loaded = self.loaded();
        for slot in &loaded.slots {
            let (counts, name) = (*lock(&slot.counts), slot.name());
            let labels = [("rule_group", name.as_str())];
            evaluations = evaluations.with(&labels, whole(counts.evaluations));
            failures = failures.with(&labels, whole(counts.failures));
            iterations = iterations.with(&labels, whole(counts.iterations));
            missed = missed.with(&labels, whole(counts.missed));
            interval = interval.with(&labels, whole_signed(slot.interval_ms) / 1000.0);
            rules = rules.with(&labels, whole(slot.group.rules.len() as u64));
            samples = samples.with(&labels, whole(counts.last_samples as u64));
            duration = duration.with(&labels, counts.last_seconds);
            shelf_failures += counts.shelf_failures;
            if let Some(at_ms) = counts.evaluated_ms {
                last = last.with(&labels, whole_signed(at_ms) / 1000.0);
            }
            pending += counts.pending;
            firing += counts.firing;
        }
        let alerts = gauge("metrickit_alerts", "Alerts of rules, by state.");
        let loaded_ms = loaded.at_ms.unwrap_or(0);
        vec![
            evaluations,
            failures,
            iterations,
            missed,
            interval,
            rules,
            samples,
            duration,
            last,
            alerts.with(&[("state", "pending")], whole(pending)).with(&[("state", "firing")], whole(firing)),
            one_counter(
                "metrickit_alerting_state_failures_total",
                "Evaluations whose states of alerts could not be put on disk at once.",
                shelf_failures,
            ),
            one_counter(
                "metrickit_rules_reload_failures_total",
                "Readings of the rule files and the routing file that found a fault, so that all of it is kept as it was.",
                self.failed_reloads(),
            ),
            one_gauge(
                "prometheus_config_last_reload_successful",
                "Whether rules and routing are those of the files as they were read last.",
                if loaded.fault.is_some() { 0.0 } else { 1.0 },
            ),
            one_gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "When the rules were read, in Unix seconds.",
                whole_signed(loaded_ms) / 1000.0,
            ),
        ]
    }
}
