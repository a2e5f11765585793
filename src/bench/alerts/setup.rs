//! Rules over the made-up fleet, and the routing that tells one webhook.

use std::fmt::Write as _;

use super::super::fleet::{SERIES_PER_CLUSTER, cluster};

/// The metric of single samples that make an alert fire.
pub(super) const PROBE_METRIC: &str = "bench_probe";
/// Intervals that rates look back, and one more.
pub(super) const LOOK_BACK_INTERVALS: u32 = 5;

/// Expressions, `SELECTOR` for the matchers and `RANGE` for what rates look back, with what is compared. A few of a hundred fire.
const EXPRESSIONS: [&str; 10] = [
    "go_goroutines{SELECTOR} > 990000",
    "rate(go_memstats_mallocs_total{SELECTOR}[RANGE]) > 1000",
    "go_memstats_heap_inuse_bytes{SELECTOR} / go_memstats_sys_bytes{SELECTOR} > 500",
    "rate(process_cpu_seconds_total{SELECTOR}[RANGE]) > 0.9",
    "process_open_fds{SELECTOR} / process_max_fds{SELECTOR} > 900",
    "up{SELECTOR} < 1",
    "increase(go_memstats_frees_total{SELECTOR}[RANGE]) > 100000",
    "avg by (job) (go_memstats_heap_objects{SELECTOR}) > 900000",
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{SELECTOR}[RANGE]))) > 2",
    "sum by (instance) (rate(http_request_duration_seconds_bucket{SELECTOR,le=\"+Inf\"}[RANGE]))",
];
const SERVICES: [&str; 8] =
    ["checkout", "catalogue", "payments", "sessions", "search", "shipping", "notifications", "recommendations"];

/// The name of probe `number`, found in no other's.
pub(super) fn probe_name(number: u32) -> String {
    format!("probe-{number}-")
}

/// A file of `rules` rules over the services of all clusters of `series` series; the last of ten records.
pub(super) fn rule_file(rules: u32, per_group: u32, interval_seconds: u32, series: u32) -> String {
    let clusters = (series as usize).div_ceil(SERIES_PER_CLUSTER);
    let mut text = format!(
        "groups:\n- name: probe\n  interval: 1s\n  rules:\n  - {{alert: Probe, expr: {PROBE_METRIC} > 0, labels: {{severity: probe}}}}\n"
    );
    for number in 0..rules {
        if number % per_group == 0 {
            let _ = write!(text, "- name: group-{}\n  interval: {interval_seconds}s\n  rules:\n", number / per_group);
        }
        let at = number as usize;
        // Each expression for every service of every cluster, then again with the next number.
        let (service, rest) =
            (SERVICES[at / EXPRESSIONS.len() % SERVICES.len()], at / EXPRESSIONS.len() / SERVICES.len());
        let selector = format!("job=\"{service}\",cluster=\"{}\"", cluster(rest % clusters * SERIES_PER_CLUSTER));
        let range = format!("{}s", interval_seconds * (LOOK_BACK_INTERVALS - 1));
        let expression = EXPRESSIONS[at % EXPRESSIONS.len()].replace("SELECTOR", &selector).replace("RANGE", &range);
        let _ = if at % EXPRESSIONS.len() == EXPRESSIONS.len() - 1 {
            write!(text, "  - record: bench:requests:rate{number}\n    expr: '{expression}'\n")
        } else {
            write!(
                text,
                "  - alert: Bench{number}\n    expr: '{expression}'\n    for: 1m\n    labels: {{severity: page, team: '{{{{ $labels.team }}}}'}}\n    \
                 annotations: {{summary: '{{{{ $labels.instance }}}} is at {{{{ $value | humanize }}}}'}}\n"
            )
        };
    }
    text
}

/// Routing: probes at once and each by itself, all others by service.
pub(super) fn routing_file(url: &str) -> String {
    format!(
        "route:\n  receiver: all\n  group_by: [alertname, job]\n  group_wait: 5s\n  group_interval: 30s\n  routes:\n  - receiver: probes\n    \
         matchers: [severity=\"probe\"]\n    group_by: [probe]\n    group_wait: 0s\n    group_interval: 1s\n\
         receivers:\n- name: all\n  webhook_configs: [{{url: '{url}/all'}}]\n- name: probes\n  webhook_configs: [{{url: '{url}/probes'}}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_routes_are_taken_as_they_are_written() {
        let read = rules::file::read("bench.yml", &rule_file(100, 30, 15, 5_000)).expect("a rule file");
        let counts: Vec<usize> = read.groups.iter().map(|group| group.rules.len()).collect();
        assert_eq!(counts, [1, 30, 30, 30, 10]);
        let names: std::collections::BTreeSet<&str> =
            read.groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name.as_str()).collect();
        assert_eq!(names.len(), 101);
        rules::config::read("bench.yml", &routing_file("http://127.0.0.1:1")).expect("a routing file");
    }

    #[test]
    fn a_probe_is_in_no_other() {
        assert!(!probe_name(10).contains(&probe_name(1)));
        assert!(!probe_name(1).contains(&probe_name(10)));
    }
}
