//! Rule files as people write them, and what is said of those that are none.

use rules::file::{Kind, RuleFile, read};

const GOOD: &str = r#"
groups:
- name: go
  interval: 15s
  limit: 100
  query_offset: 5s
  labels: {team: runtime, severity: page}
  rules:
  - record: job:go_goroutines:sum
    expr: sum by (job) (go_goroutines)
    labels:
      code: 200
  - alert: Leak
    expr: |
      go_leak_grade >= 2
        and on(job, instance) go_goroutines > 1000
    for: 5m
    keep_firing_for: 1h30m
    labels:
      severity: '{{ if gt $value 3.0 }}page{{ else }}ticket{{ end }}'
    annotations:
      summary: "{{ $labels.job }} leaks ({{ $value | humanize }})"
- name: empty
"#;

fn faults(text: &str) -> Vec<String> {
    read("r.yml", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_is_read_whole() {
    let RuleFile { groups, .. } = read("r.yml", GOOD).expect("a rule file");
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["go", "empty"]);
    let go = &groups[0];
    assert_eq!((go.interval_ms, go.query_offset_ms, go.limit), (Some(15_000), Some(5_000), 100));
    let [record, alert] = go.rules.as_slice() else { panic!("two rules") };
    assert_eq!((record.name.as_str(), record.line), ("job:go_goroutines:sum", 9));
    let labels =
        |rule: &rules::file::Rule| rule.labels.iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>().join(",");
    assert_eq!(labels(record), "code=200,severity=page,team=runtime");
    let Kind::Alerting(alerting) = &alert.kind else { panic!("an alert") };
    assert_eq!((alerting.waits.hold_ms, alerting.waits.keep_firing_ms), (300_000, 5_400_000));
    assert!(labels(alert).contains("severity={{ if gt"));
    assert!(alerting.templates.has("annotation:summary") && alerting.templates.has("label:team"));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let text = r#"
groups:
- name: a
  interval: 0s
  rules:
  - record: x{y}
    expr: sum(
    for: 5m
  - alert: A
    expr: up
    for: soon
    labels: {"": c, "a-b": e, __name__: d}
    annotations:
      text: '{{ $valu }}'
  - expr: up
  - alert: B
    record: b
    expr: up
  - alert: C
- name: a
  limit: -1
"#;
    assert_eq!(
        faults(text),
        [
            "r.yml:4:13: interval: 0s is no time between two evaluations",
            "r.yml:6:13: record: \"x{y}\" is no name of a metric",
            "r.yml:7:11: rule \"x{y}\": expr: 1:5: parse error: unexpected end of input",
            "r.yml:8:10: `for` is for alerts; rule \"x{y}\" records",
            "r.yml:11:10: for: \"soon\" is not a duration; write it like 90s, 1h30m or 15d (units y w d h m s ms, longest first)",
            "r.yml:12:18: \"\" is no name of a label",
            "r.yml:12:41: \"__name__\" is no name of a label",
            "r.yml:14:13: template of annotation \"text\", line 1, column 4: there is no variable $valu",
            "r.yml:15:5: a rule of group \"a\" has neither `record` nor `alert`",
            "r.yml:16:5: a rule of group \"a\" has both `record` and `alert`",
            "r.yml:19:5: rule \"C\" has no `expr`",
            "r.yml:20:9: group \"a\" is in this file twice",
            "r.yml:21:10: limit: -1 is below 0, which stands for any number",
        ]
    );
}

#[test]
fn what_is_no_rule_file_is_told() {
    for (text, want) in [
        ("groups: 3", "r.yml:1:9: "),
        ("group: []", "r.yml:1:1: "),
        ("groups:\n- name: a\n  rulez: []", "r.yml:3:3: "),
        ("groups:\n- name: a\n  name: b", "r.yml:3:3: "),
        ("groups:\n- rules: []", "r.yml:2:3: "),
        ("groups: [", "r.yml:1:"),
    ] {
        let told = faults(text);
        assert!(told.len() == 1 && told[0].starts_with(want), "{text}: {told:?}");
    }
    assert!(faults("").is_empty() && faults("groups:").is_empty() && faults("{}").is_empty());
}

const EXTENDED: &str = r#"
params: {limit: 10000}
overrides:
- match: '{env="dev"}'
  for: 30m
groups:
- name: go
  params: {window: 5m}
  rules:
  - alert: Goroutines
    expr: avg_over_time(go_goroutines[$window]) > $limit
    for: 5m
    on_no_data: keep
    on_error: alert
    capture: [goroutines, cpu 20s, leak]
    burst: 1m
    overrides:
    - match: '{job="api"}'
      params: {limit: 20000}
    - match: '{env="prod", job="api"}'
      params: {limit: -1}
    annotations: {summary: 'above {{ $params.limit }}'}
  - record: goroutines:avg
    expr: avg_over_time(go_goroutines[$window])
"#;

#[test]
fn series_have_their_own_numbers() {
    let file = read("r.yml", EXTENDED).unwrap_or_else(|faults| panic!("{faults:?}"));
    let [alert, record] = file.groups[0].rules.as_slice() else { panic!("two rules") };
    let texts: Vec<&str> = alert.queries.iter().map(|query| query.text.as_str()).collect();
    let query = |limit: &str| format!("avg_over_time(go_goroutines[5m]) > {limit}");
    assert_eq!(texts, [query("10000"), query("(-1)"), query("20000")]);
    let judged = |pairs: &[(&str, &str)]| {
        let labels = model::Labels::from_pairs(pairs.iter().copied()).expect("labels");
        let case = &alert.cases[alert.case_of(labels.as_ref())];
        (case.params["limit"].clone(), case.waits.hold_ms / 60_000)
    };
    assert_eq!(judged(&[]), ("10000".to_owned(), 5));
    assert_eq!(judged(&[("env", "dev")]), ("10000".to_owned(), 30));
    assert_eq!(judged(&[("job", "api")]), ("20000".to_owned(), 5));
    assert_eq!(judged(&[("job", "api"), ("env", "dev")]), ("20000".to_owned(), 5), "further inside");
    assert_eq!(judged(&[("job", "api"), ("env", "prod")]), ("-1".to_owned(), 5), "more specific");
    let alerting = alert.alerting().expect("an alert");
    let captures: Vec<String> =
        alerting.capture.iter().map(|capture| format!("{} {}", capture.kind, capture.seconds)).collect();
    assert_eq!(alerting.burst_seconds, 60);
    assert_eq!(captures, ["goroutine 0", "cpu 20", "goroutineleak 0"]);
    assert_eq!((record.queries.len(), record.text.as_str()), (1, "avg_over_time(go_goroutines[$window])"));
}

#[test]
fn what_is_wrong_with_our_own_keys_is_told() {
    let text = r#"
groups:
- name: a
  params: {x: many, "a-b": 1}
  rules:
  - alert: A
    expr: up > $limit
    overrides:
    - {match: '{a=', params: {}}
    - {match: '{a="b"}', params: {y: 1}, for: soon}
  - alert: B
    expr: absent(up)
    on_no_data: keep
    on_error: explode
    capture: [heap, cpus, stacks 5s]
  - record: c
    expr: up
    capture: [heap]
    on_error: keep
  - alert: D
    expr: up > 1
    on_no_data: never
    burst: 6m
"#;
    let told = faults(text);
    let starts: Vec<&str> = told.iter().map(|fault| fault.split(": ").next().unwrap_or_default()).collect();
    let want = [
        "r.yml:4:15",
        "r.yml:4:28",
        "r.yml:7:11",
        "r.yml:9:15",
        "r.yml:10:15",
        "r.yml:10:47",
        "r.yml:13:17",
        "r.yml:14:15",
        "r.yml:15:21",
        "r.yml:15:27",
        "r.yml:18:15",
        "r.yml:19:15",
        "r.yml:22:17",
        "r.yml:23:12",
    ];
    assert_eq!(starts, want, "{told:#?}");
    assert!(told[2].contains("there is no parameter $limit; there is none"), "{}", told[2]);
    assert!(told[6].contains("compares nothing"), "{}", told[6]);
}
