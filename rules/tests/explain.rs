//! Rules explained: how they read, which override holds and why, and what each alert waits for.

mod support;

use model::Labels;
use rules::evaluate::explain::{Explained, Instance, Known, Place, nearest};
use rules::file::Verdict;
use support::{Bench, MINUTE_MS, START_MS};

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: High
    expr: (load > $limit) and on (host) (cpus <= 8)
    for: 2m
    keep_firing_for: 5m
    params: {limit: 5}
    overrides:
    - {match: '{env="dev"}', params: {limit: 50}, for: 1h}
    - {match: '{env=~"d.*"}', params: {limit: 60}}
    labels: {severity: page}
    annotations: {summary: 'at {{ $value }}'}
    on_no_data: keep
  - {record: double, expr: load * 2, labels: {unit: one}}
"#;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("labels")
}

/// Rule `number`, explained a minute after the last evaluation.
fn explained(bench: &Bench, number: usize, subject: &[(&str, &str)]) -> Explained {
    let group = &bench.files[0].groups[0];
    let place = Place { file: "r.yml", group, rule: &group.rules[number] };
    let mut told = Explained::new(place, &bench.settings, &labels(subject));
    let known = Known::from(&bench.groups[0].rules()[number]);
    let at_ms = START_MS + (i64::try_from(bench.minute).expect("few") - 1) * MINUTE_MS;
    told.look(place, &known, (&bench.world, &bench.settings), at_ms, 10);
    told
}

/// Minutes since the start.
fn minute(at_ms: Option<i64>) -> Option<i64> {
    at_ms.map(|at_ms| (at_ms - START_MS) / MINUTE_MS)
}

fn short(one: &Instance) -> String {
    let times = [one.active_since_ms, one.fires_at_ms, one.firing_since_ms, one.kept_until_ms, one.resolved_at_ms];
    let times: Vec<String> =
        times.iter().map(|at_ms| minute(*at_ms).map_or_else(|| "-".to_owned(), |at| at.to_string())).collect();
    let value = one.value.as_deref().unwrap_or("-");
    format!("{} {} {value} {:?} {:?} {}", one.labels["host"], one.state, one.condition, one.has_data, times.join(" "))
}

fn bench() -> Bench {
    let mut bench = Bench::new(RULES);
    for (host, env, values) in [
        ("fires", "prod", "6 6 6 6"),
        ("kept", "prod", "6 6 6 1"),
        ("gone", "prod", "6 6 6 _"),
        ("pends", "dev", "1 1 1 55"),
        ("idle", "dev", "6 6 6 6"),
    ] {
        bench.series("load", &[("host", host), ("env", env)], values);
        bench.series("cpus", &[("host", host)], "4 4 4 4");
    }
    bench.run(4);
    bench
}

#[test]
fn every_alert_says_what_it_waits_for() {
    let bench = bench();
    let told = explained(&bench, 0, &[]);
    let instances: Vec<String> = told.instances.iter().map(short).collect();
    assert_eq!(
        instances,
        [
            "fires firing 6 Some(true) Some(true) 0 - 2 - -",
            "gone firing 6 None Some(false) 0 - 2 - -",
            "kept firing 1 Some(false) Some(true) 0 - 2 8 -",
            "pends pending 55 Some(true) Some(true) 3 63 - - -",
            "idle inactive 6 Some(false) Some(true) - - - - -",
        ]
    );
    assert_eq!(told.counts, [("firing", 3), ("inactive", 1), ("pending", 1)].into());
    assert_eq!((told.name.as_str(), told.kind, told.line, told.group.as_str()), ("High", "alerting", 5, "g"));
    let evaluation = told.evaluation.expect("evaluated");
    assert_eq!((minute(Some(evaluation.at_ms)), evaluation.error), (Some(3), None));
    // Each comparison has its numbers, also where it is false.
    let compared: Vec<String> = told.instances[4]
        .compared
        .iter()
        .map(|one| {
            format!("{} {} {}: {:?} {:?} {:?}", one.left, one.op, one.right, one.left_value, one.right_value, one.holds)
        })
        .collect();
    assert_eq!(
        compared,
        [r#"load > 50: Some("6") Some("50") Some(false)"#, r#"cpus <= 8: Some("4") Some("8") Some(true)"#,]
    );
    assert_eq!(told.instances[0].annotations["summary"], "at 6");
    // They are judged by two ways of reading.
    let used: Vec<(u64, usize)> = told.overrides.iter().map(|one| (one.line, one.instances)).collect();
    assert_eq!(used, [(11, 2), (12, 0), (5, 3)]);
}

#[test]
fn labels_choose_instances_and_override() {
    let bench = bench();
    // The labels of an alert, those that the rule sets among them.
    let told = explained(&bench, 0, &[("host", "idle"), ("severity", "page")]);
    assert_eq!(told.instances.len(), 1);
    assert_eq!(
        (told.reading.expr.as_str(), told.reading.for_ms),
        ("(load > 50) and on (host) (cpus <= 8)", 60 * MINUTE_MS)
    );
    assert_eq!((told.reading.override_line, told.reading.params["limit"].as_str()), (Some(11), "50"));
    assert_eq!(told.subject["env"], "dev", "what the series says more is told");
    let verdicts: Vec<Verdict> = told.overrides.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Chosen, Verdict::LessSpecific, Verdict::LessSpecific]);
    // Labels that no series has are judged all the same.
    let told = explained(&bench, 0, &[("host", "new"), ("env", "dx")]);
    assert!(told.instances.is_empty());
    assert_eq!((told.reading.override_line, told.reading.params["limit"].as_str()), (Some(12), "60"));
    assert_eq!(told.overrides[0].why, r#"env is "dx""#);
}

#[test]
fn recording_rules_and_faults_are_explained() {
    let mut bench = bench();
    let told = explained(&bench, 1, &[("host", "idle")]);
    assert_eq!((told.kind, told.on_error, told.instances.len()), ("recording", None, 1));
    let one = &told.instances[0];
    assert_eq!((one.state, one.value.as_deref(), one.labels["unit"].as_str()), ("recorded", Some("12"), "one"));
    bench.fail(4);
    bench.run(1);
    let told = explained(&bench, 0, &[]);
    assert_eq!(told.fault.as_deref(), Some("on purpose"));
    assert_eq!(told.evaluation.expect("tried").error.as_deref(), Some("on purpose"));
    // What is known stays told.
    let instances: Vec<String> = told.instances.iter().map(short).collect();
    assert_eq!(instances[0], "fires firing 6 None None 0 - 2 - -");
}

#[test]
fn a_name_that_is_nearly_right_is_found() {
    let known = ["HighLatency", "Down", "GoGcSevere"];
    for (name, want) in [
        ("highlatency", Some("HighLatency")),
        ("HihgLatency", Some("HighLatency")),
        ("latency", Some("HighLatency")),
        ("Dwn", Some("Down")),
        ("SomethingElse", None),
    ] {
        assert_eq!(nearest(name, known.into_iter()), want, "{name}");
    }
}
