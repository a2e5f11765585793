//! The scenarios. Whatever happens lies well between two ticks of a group, so that a second more or less changes nothing.

use crate::scenario::{Decided, Scenario, Step};
use Step::{End, Routes, Rules, Set, Silence, Unsilence};

/// Two rules over one series by host and kind.
const RULES: &str = r"
groups:
- name: trouble
  rules:
  - alert: Trouble
    expr: trouble > 0
    for: 1s
    labels: {severity: page}
    annotations: {summary: 'trouble {{ $value }} on {{ $labels.host }}'}
  - alert: Slow
    expr: slow > 0
    labels: {severity: ticket}
    annotations: {summary: 'slow on {{ $labels.host }}'}
";

/// One group for each name of an alert; ticks are ten seconds apart.
const ROUTES: &str = r"
route:
  receiver: all
  group_by: [alertname]
  group_wait: 2s
  group_interval: 10s
  repeat_interval: 1h
receivers:
- name: all
  webhook_configs: [{url: 'SINK/all'}]
";

const A: &str = r#"trouble{host="a"}"#;
const B: &str = r#"trouble{host="b"}"#;
const C: &str = r#"trouble{host="c"}"#;
const SLOW_A: &str = r#"slow{host="a"}"#;
const SLOW_B: &str = r#"slow{host="b"}"#;

/// All of them.
#[expect(clippy::too_many_lines, reason = "a table of scenarios")]
pub(crate) fn all() -> Vec<Scenario> {
    let base = || Scenario { name: "", rules: RULES, routes: ROUTES, steps: Vec::new(), seconds: 30, decided: &[] };
    vec![
        Scenario { name: "new", steps: vec![(0, Set(A, 1.0)), (0, Set(B, 0.0)), (0, Set(SLOW_A, 1.0))], ..base() },
        Scenario {
            name: "growing",
            steps: vec![(0, Set(A, 1.0)), (8, Set(B, 2.0)), (18, Set(C, 3.0)), (18, Set(SLOW_A, 1.0))],
            seconds: 40,
            ..base()
        },
        Scenario {
            name: "resolving",
            steps: vec![(0, Set(A, 1.0)), (0, Set(B, 1.0)), (8, Set(A, 0.0)), (18, End(B)), (38, Set(A, 1.0))],
            seconds: 60,
            ..base()
        },
        Scenario {
            // What is over before the first tick is never told.
            name: "short",
            routes: r"
route: {receiver: all, group_by: [alertname], group_wait: 9s, group_interval: 10s, repeat_interval: 1h}
receivers: [{name: all, webhook_configs: [{url: 'SINK/all'}]}]
",
            steps: vec![(0, Set(A, 1.0)), (0, Set(SLOW_A, 1.0)), (4, Set(A, 0.0))],
            ..base()
        },
        Scenario {
            name: "repeated",
            routes: r"
route: {receiver: all, group_by: [alertname], group_wait: 2s, group_interval: 6s, repeat_interval: 15s}
receivers: [{name: all, webhook_configs: [{url: 'SINK/all'}]}]
",
            steps: vec![(0, Set(A, 1.0)), (43, Set(A, 0.0))],
            seconds: 70,
            ..base()
        },
        Scenario {
            name: "inhibited",
            routes: r"
route: {receiver: all, group_by: [alertname], group_wait: 2s, group_interval: 10s, repeat_interval: 1h}
inhibit_rules:
- source_matchers: [severity = page]
  target_matchers: [severity = ticket]
  equal: [host]
receivers: [{name: all, webhook_configs: [{url: 'SINK/all'}]}]
",
            steps: vec![(0, Set(A, 1.0)), (8, Set(SLOW_A, 1.0)), (8, Set(SLOW_B, 1.0)), (27, Set(A, 0.0))],
            seconds: 55,
            ..base()
        },
        Scenario {
            name: "silenced",
            steps: vec![
                (0, Silence("a", &[("host", "a")])),
                (2, Set(A, 1.0)),
                (2, Set(B, 1.0)),
                (20, Unsilence("a")),
                (30, Silence("b", &[("host", "b"), ("alertname", "Trouble")])),
                (31, Set(B, 0.0)),
            ],
            seconds: 58,
            decided: &[Decided {
                why: "the end of a silence is looked at when it comes, not at the group's next tick",
                group: ("/all", r#"{}:{alertname="Trouble"}"#),
                at_s: &[5.0, 20.0],
            }],
            ..base()
        },
        Scenario {
            name: "muted",
            routes: r"
time_intervals:
- name: always
  time_intervals: [{years: ['2000:2100']}]
- name: never
  time_intervals: [{years: ['2000']}]
route:
  receiver: all
  group_by: [alertname]
  group_wait: 2s
  group_interval: 10s
  repeat_interval: 1h
  routes:
  - {receiver: muted, matchers: [severity = page], mute_time_intervals: [always], continue: true}
  - {receiver: open, matchers: [severity = page], mute_time_intervals: [never], continue: true}
  - {receiver: asleep, matchers: [severity = page], active_time_intervals: [never], continue: true}
  - {receiver: awake, matchers: [severity = page], active_time_intervals: [always]}
receivers:
- {name: all, webhook_configs: [{url: 'SINK/all'}]}
- {name: muted, webhook_configs: [{url: 'SINK/muted'}]}
- {name: open, webhook_configs: [{url: 'SINK/open'}]}
- {name: asleep, webhook_configs: [{url: 'SINK/asleep'}]}
- {name: awake, webhook_configs: [{url: 'SINK/awake'}]}
",
            steps: vec![(0, Set(A, 1.0)), (0, Set(SLOW_A, 1.0)), (18, Set(A, 0.0))],
            seconds: 40,
            ..base()
        },
        Scenario {
            name: "routed",
            routes: r#"
route:
  receiver: all
  group_by: ['...']
  group_wait: 2s
  group_interval: 10s
  repeat_interval: 1h
  routes:
  - matchers: [severity = page]
    receiver: pages
    group_by: [host]
    routes:
    - {matchers: ['host =~ "a|b"'], receiver: known, continue: true, group_by: []}
    - {matchers: [host != c], receiver: others}
receivers:
- {name: all, webhook_configs: [{url: 'SINK/all', send_resolved: false}]}
- {name: pages, webhook_configs: [{url: 'SINK/pages'}]}
- {name: known, webhook_configs: [{url: 'SINK/known1'}, {url: 'SINK/known2', max_alerts: 1}]}
- {name: others, webhook_configs: [{url: 'SINK/others'}]}
"#,
            steps: vec![
                (0, Set(A, 1.0)),
                (0, Set(B, 1.0)),
                (0, Set(C, 1.0)),
                (0, Set(SLOW_A, 1.0)),
                (0, Set(SLOW_B, 1.0)),
                (8, Set(SLOW_B, 0.0)),
                (18, Set(C, 0.0)),
            ],
            seconds: 45,
            ..base()
        },
        Scenario {
            name: "reloaded",
            steps: vec![
                (0, Set(A, 1.0)),
                (0, Set(SLOW_A, 1.0)),
                (18, Rules(RULES_CHANGED)),
                (28, Set(B, 1.0)),
                (40, Routes(ROUTES_CHANGED)),
                (58, Set(C, 1.0)),
            ],
            seconds: 85,
            decided: &[
                Decided {
                    why: "groups keep their ticks when the file is read anew; Alertmanager begins all anew, at once",
                    group: ("/team", r#"{}:{alertname="Trouble"}"#),
                    at_s: &[43.0, 63.0],
                },
                Decided { why: "the same", group: ("/team", r#"{}:{alertname="Slow"}"#), at_s: &[43.0] },
            ],
            ..base()
        },
        Scenario {
            // A minute begins after 40 seconds and ends after 100.
            name: "muted-for-a-minute",
            routes: r"
time_intervals:
- name: minute
  time_intervals: [{times: [{start_time: 'MINUTE1', end_time: 'MINUTE2'}]}]
route:
  receiver: all
  group_by: [alertname]
  group_wait: 2s
  group_interval: 15s
  repeat_interval: 1h
  routes:
  - {receiver: muted, matchers: [severity = page], mute_time_intervals: [minute], continue: true}
  - {receiver: active, matchers: [severity = page], active_time_intervals: [minute]}
  - {receiver: quiet, matchers: [severity = ticket], mute_time_intervals: [minute]}
receivers:
- {name: all, webhook_configs: [{url: 'SINK/all'}]}
- {name: muted, webhook_configs: [{url: 'SINK/muted'}]}
- {name: active, webhook_configs: [{url: 'SINK/active'}]}
- {name: quiet, webhook_configs: [{url: 'SINK/quiet'}]}
",
            steps: vec![
                (0, Set(A, 1.0)),
                (0, Set(SLOW_A, 1.0)),
                (55, Set(B, 1.0)),
                (55, Set(SLOW_A, 0.0)),
                (115, Set(C, 1.0)),
            ],
            seconds: 135,
            decided: MUTE_DECIDED,
            ..base()
        },
        Scenario {
            // Short enough for every run of the tests: see `server`.
            name: "quick",
            rules: QUICK_RULES,
            routes: QUICK_ROUTES,
            // Prometheus has no Alertmanager for some seconds after it read its files anew, and what it tells then is lost for a minute.
            steps: vec![
                (0, Set(A, 1.0)),
                (3, Rules(QUICK_RULES_CHANGED)),
                (9, Set(B, 2.0)),
                (14, Set(A, 0.0)),
                (19, Set(B, 0.0)),
            ],
            seconds: 24,
            ..base()
        },
    ]
}

/// The end of a mute is looked at when it comes, and what ended within it is told then.
const MUTE_DECIDED: &[Decided] = &[
    Decided {
        why: "the end of a mute is looked at when it comes, not at the group's next tick",
        group: ("/muted", r#"{}/{severity="page"}:{alertname="Trouble"}"#),
        at_s: &[4.0, 100.0],
    },
    Decided {
        why: "the begin of active time is looked at when it comes, not at the group's next tick",
        group: ("/active", r#"{}/{severity="page"}:{alertname="Trouble"}"#),
        at_s: &[40.0],
    },
    Decided {
        why: "an end within a mute is told when the mute ends; Alertmanager forgets it, until Prometheus says it again after a minute",
        group: ("/quiet", r#"{}/{severity="ticket"}:{alertname="Slow"}"#),
        at_s: &[3.0, 100.0],
    },
];

/// One rule that does not wait.
const QUICK_RULES: &str = r"
groups:
- name: trouble
  rules:
  - alert: Trouble
    expr: trouble > 0
    labels: {severity: page}
    annotations: {summary: 'trouble {{ $value }} on {{ $labels.host }}'}
";

/// Another text.
const QUICK_RULES_CHANGED: &str = r"
groups:
- name: trouble
  rules:
  - alert: Trouble
    expr: trouble > 0
    labels: {severity: page}
    annotations: {summary: 'much trouble on {{ $labels.host }}'}
";

/// Ticks that are five seconds apart.
const QUICK_ROUTES: &str = r"
route:
  receiver: all
  group_by: [alertname]
  group_wait: 2s
  group_interval: 5s
  repeat_interval: 1h
receivers:
- name: all
  webhook_configs: [{url: 'SINK/all'}]
";

/// Another text, and one rule less.
const RULES_CHANGED: &str = r"
groups:
- name: trouble
  rules:
  - alert: Trouble
    expr: trouble > 0
    for: 1s
    labels: {severity: page}
    annotations: {summary: 'much trouble on {{ $labels.host }}'}
";

/// Another receiver.
const ROUTES_CHANGED: &str = r"
route:
  receiver: team
  group_by: [alertname]
  group_wait: 2s
  group_interval: 10s
  repeat_interval: 1h
receivers:
- name: team
  webhook_configs: [{url: 'SINK/team'}]
";
