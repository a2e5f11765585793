//! What is alerted of, and who is to be told: rule files, a routing file, and the same as a table.

use std::path::Path;

/// Above it an alert's condition is true.
pub(crate) const LIMIT: f64 = 10.0;
/// Hosts; each has an alert of every kind.
pub(crate) const HOSTS: [&str; 3] = ["a", "b", "c"];

/// A rule, and what the routing file makes of its alerts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// `alertname`.
    pub(crate) name: &'static str,
    /// The metric that it watches.
    pub(crate) metric: &'static str,
    /// Its `for`.
    pub(crate) hold_ms: i64,
    /// Paths at the sink of everybody who is told.
    pub(crate) paths: &'static [&'static str],
    /// Whether its alerts stay as they are until everybody was told; others come and go as they like.
    pub(crate) patient: bool,
}

const fn kind(name: &'static str, metric: &'static str, hold_ms: i64, paths: &'static [&'static str]) -> Kind {
    Kind { name, metric, hold_ms, paths, patient: true }
}

/// All kinds.
pub(crate) const KINDS: [Kind; 7] = [
    kind("Plain", "plain", 0, &["/plain"]),
    kind("Waiting", "waiting", 2_000, &["/slow", "/long"]),
    // Longer than nearly every life of the server.
    kind("Long", "long", 5_000, &["/long"]),
    kind("Keeping", "keeping", 1_000, &["/rest"]),
    kind("Recorded", "recorded", 0, &["/pair0", "/pair1"]),
    kind("Escalating", "escalating", 0, &["/first", "/second"]),
    Kind { patient: false, ..kind("Hasty", "hasty", 0, &["/rest"]) },
];

const RULES: [&str; 2] = [
    "
groups:
- name: plain
  interval: 1s
  rules: [{alert: Plain, expr: plain > 10, annotations: {summary: 'at {{ $value }}'}}]
- name: waiting
  interval: 1s
  rules: [{alert: Waiting, expr: waiting > 10, for: 2s}]
- name: long
  interval: 1s
  rules: [{alert: Long, expr: long > 10, for: 5s, annotations: {summary: 'at {{ $value }}'}}]
- name: keeping
  interval: 1s
  rules: [{alert: Keeping, expr: keeping > 10, for: 1s, keep_firing_for: 2s}]
",
    "
groups:
- name: recorded
  interval: 1s
  rules:
  - {record: 'host:recorded:sum', expr: sum by (host) (recorded)}
  - {alert: Recorded, expr: 'host:recorded:sum > 10'}
- name: escalating
  interval: 1s
  rules: [{alert: Escalating, expr: escalating > 10}]
- name: hasty
  interval: 1s
  rules: [{alert: Hasty, expr: hasty > 10}]
",
];

/// Nothing is repeated while a test runs: what is told has something to say.
const ROUTES: &str = "
route:
  receiver: rest
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 10h
  routes:
  - {matchers: [alertname=Plain], receiver: plain, group_by: [alertname, host], group_wait: 0s, group_interval: 1s}
  - {matchers: [alertname=Waiting], receiver: slow, group_by: [alertname], group_wait: 2s, continue: true}
  - {matchers: ['alertname=~\"Waiting|Long\"'], receiver: long, group_by: ['...']}
  - {matchers: [alertname=Recorded], receiver: pair, group_by: [host], group_wait: 0s}
  - {matchers: [alertname=Escalating], receiver: first, group_by: [host], group_wait: 0s, escalate: [{after: 2s, receiver: second}]}
receivers:
- {name: rest, webhook_configs: [{url: 'http://SINK/rest'}]}
- {name: plain, webhook_configs: [{url: 'http://SINK/plain'}]}
- {name: slow, webhook_configs: [{url: 'http://SINK/slow'}]}
- {name: long, webhook_configs: [{url: 'http://SINK/long'}]}
- {name: pair, webhook_configs: [{url: 'http://SINK/pair0'}, {url: 'http://SINK/pair1'}]}
- {name: first, webhook_configs: [{url: 'http://SINK/first'}]}
- {name: second, webhook_configs: [{url: 'http://SINK/second'}]}
";

/// Writes the files into `folder`, with a sink at `address`; the server's arguments for them.
pub(crate) fn write(folder: &Path, address: &str) -> Vec<String> {
    for (number, text) in RULES.iter().enumerate() {
        std::fs::write(folder.join(format!("{number}.rules.yml")), text).expect("a file");
    }
    let routes = folder.join("am.yml");
    std::fs::write(&routes, ROUTES.replace("SINK", address)).expect("a file");
    let rules = folder.join("*.rules.yml");
    let args = ["--shipped-rules", "off", "--rule-files"].map(str::to_owned).into_iter();
    args.chain([rules.display().to_string(), "--alerting-config".to_owned(), routes.display().to_string()]).collect()
}
