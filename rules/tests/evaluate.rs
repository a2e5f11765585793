//! Rules evaluated over a few series whose values are said line by line.

mod support;

use model::SampleValue;
use rules::alert::State;
use support::{Bench, MINUTE_MS, START_MS};

#[test]
fn alerts_wait_fire_and_end() {
    let mut bench = Bench::new(
        "
groups:
- name: g
  rules:
  - alert: High
    expr: load > 5
    for: 2m
    labels: {severity: '{{ if gt $value 7.0 }}page{{ else }}ticket{{ end }}', empty: ''}
    annotations: {summary: '{{ $labels.host }} of {{ $externalLabels.site }} has {{ $value }}', link: '{{ $externalURL }}/x'}
",
    );
    bench.series("load", &[("host", "a")], "6 6 6 6 1 1");
    bench.series("load", &[("host", "b")], "1 6 1 1 1 1");
    let lines = bench.run(6);
    assert_eq!(
        lines,
        [
            "0: High{a,ticket} - pending",
            "1: High{b,ticket} - pending",
            "2: High{a,ticket} pending firing",
            "2: High{b,ticket} pending -",
            "4: High{a,ticket} firing resolved",
        ]
    );
    let told = bench.told();
    // At every change, and once a minute.
    assert_eq!(told.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [2, 3, 4, 5]);
    let (_, first) = &told[0];
    assert_eq!(first.starts_ms, 2 * MINUTE_MS + START_MS);
    assert_eq!(first.ends_ms, first.starts_ms + 4 * MINUTE_MS);
    assert_eq!(first.annotations["summary"], "a of home has 6");
    assert_eq!(first.annotations["link"], "http://m:1/x");
    assert_eq!(first.labels.to_string(), r#"{alertname="High", host="a", severity="ticket", site="home"}"#);
    assert_eq!(first.generator_url, "http://m:1/graph?g0.expr=load+%3E+5&g0.tab=1");
    assert_eq!(told[2].1.ends_ms, 4 * MINUTE_MS + START_MS);
}

#[test]
fn alerts_are_series_that_end() {
    let mut bench = Bench::new(
        "groups: [{name: g, rules: [{alert: A, expr: 'x > 0', for: 1m}, {record: n, expr: 'count(ALERTS)'}]}]",
    );
    bench.series("x", &[], "1 1 0 0");
    bench.run(4);
    let pending = r#"ALERTS{alertname="A", alertstate="pending"}"#;
    let firing = r#"ALERTS{alertname="A", alertstate="firing"}"#;
    let since = r#"ALERTS_FOR_STATE{alertname="A"}"#;
    assert_eq!(bench.samples(pending), "0=1 1=stale");
    assert_eq!(bench.samples(firing), "1=1 2=stale");
    let at = START_MS / 1000;
    assert_eq!(bench.samples(since), format!("0={at} 1={at} 2=stale"));
    // What a rule before made is seen at once, and its series ends with it.
    assert_eq!(bench.samples("n"), "0=1 1=1 2=stale");
}

#[test]
fn recorded_series_end_when_they_are_gone() {
    let mut bench = Bench::new(
        "groups: [{name: g, query_offset: 1m, rules: [{record: a, expr: 'x * 2', labels: {l: v, host: ''}}, {record: b, expr: 'a + 1'}]}]",
    );
    bench.series("x", &[("host", "h"), ("job", "j")], "1 2 _ 4");
    bench.run(6);
    assert_eq!(bench.samples(r#"a{job="j", l="v"}"#), "0=2 1=4 2=stale 3=8 4=stale");
    assert_eq!(bench.samples(r#"b{job="j", l="v"}"#), "0=3 1=5 2=stale 3=9 4=stale");
}

#[test]
fn faults_leave_a_rule_as_it_was() {
    let mut bench = Bench::new(
        r#"
groups:
- name: g
  limit: 1
  rules:
  - {record: same, expr: x, labels: {host: ''}}
  - {alert: Twice, expr: x > 0, labels: {host: one}}
  - {record: many, expr: 'x > -1'}
  - {alert: Many, expr: 'x > 5'}
  - {record: text, expr: '"s"'}
  - {alert: Bad, expr: 'x > 5', labels: {l: '{{ template "none" }}'}}
"#,
    );
    bench.series("x", &[("host", "a")], "1 9 9");
    bench.series("x", &[("host", "b")], "1 1 9");
    let lines = bench.run(3);
    let of_many: Vec<&String> = lines.iter().filter(|line| line.contains(": Many")).collect();
    assert_eq!(of_many, ["1: Many{a} - firing", "2: Many{a} firing -"], "one beyond the limit never begins");
    let faults = |minute: usize| bench.faults(minute);
    assert_eq!(
        faults(0),
        [
            "same: vector contains metrics with the same labelset after applying rule labels",
            "Twice: vector contains metrics with the same labelset after applying alert labels",
            "many: exceeded limit of 1 with 2 series",
            "text: rule result is not a vector or scalar",
        ]
    );
    assert!(faults(1).iter().any(|fault| fault.starts_with("Bad: a template is not filled")), "{:?}", faults(1));
    assert!(faults(2).contains(&"Many: exceeded limit of 1 with 2 alerts".to_owned()), "{:?}", faults(2));
    // Beyond the limit its alerts are forgotten, and their series do not end by it.
    assert_eq!(bench.samples(r#"ALERTS{alertname="Many", alertstate="firing", host="a"}"#), "1=1");
    assert_eq!(bench.state("Many"), None);
}

#[test]
fn no_data_is_told_from_no_alert() {
    let text = |policy: &str| {
        format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: 'x > 5', for: 1m, on_no_data: {policy}, labels: {{l: v}}}}]}}]"
        )
    };
    let run = |policy: &str, values: &str| {
        let mut bench = Bench::new(&text(policy));
        bench.series("x", &[("host", "a")], values);
        bench.run(values.split(' ').count())
    };
    let over = ["0: A{a,v} - pending", "1: A{a,v} pending firing", "2: A{a,v} firing resolved"];
    assert_eq!(run("resolve", "6 6 _ _ 1"), over);
    for policy in ["keep", "alert", "nodata", "resolve"] {
        assert_eq!(run(policy, "6 6 1 1 1"), over, "{policy}: a false condition ends it");
    }
    let later = ["0: A{a,v} - pending", "1: A{a,v} pending firing", "4: A{a,v} firing resolved"];
    assert_eq!(run("keep", "6 6 _ _ 1"), later);
    assert_eq!(run("keep", "6 _ _ 6 6"), ["0: A{a,v} - pending", "3: A{a,v} pending firing"]);
    assert_eq!(
        run("alert", "6 _ _ 1"),
        ["0: A{a,v} - pending", "1: A{a,v} pending firing", "3: A{a,v} firing resolved"]
    );
    assert_eq!(run("alert", "_ _ 1"), ["0: A{v} - pending", "1: A{v} pending firing", "2: A{v} firing resolved"]);
    assert_eq!(
        run("nodata", "6 6 _ _ 6"),
        [
            "0: A{a,v} - pending",
            "1: A{a,v} pending firing",
            "2: NoData{v,A} - pending",
            "3: NoData{v,A} pending firing",
            "4: NoData{v,A} firing resolved"
        ]
    );
}

#[test]
fn names_are_any_text() {
    let mut bench = Bench::new(
        "groups: [{name: g, rules: [{record: x.y z, expr: x, labels: {a-b: v}}, {alert: 'A b', expr: x, labels: {a.c: v}}]}]",
    );
    bench.series("x", &[], "6");
    assert_eq!(bench.run(1), ["0: A b{v} - firing"]);
    assert_eq!(bench.samples(r#"{"x.y z", "a-b"="v"}"#), "0=6");
    assert_eq!(bench.samples(r#"ALERTS{"a.c"="v", alertname="A b", alertstate="firing"}"#), "0=1");
}

#[test]
fn a_value_that_is_no_number_is_data() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{alert: A, expr: 'x / y > 5', on_no_data: keep}]}]");
    bench.series("x", &[], "6 0 6");
    bench.series("y", &[], "1 0 1");
    assert_eq!(bench.run(3), ["0: A{} - firing", "1: A{} firing resolved", "2: A{} resolved firing"]);
}

/// Or whoever was told of them takes them for over.
#[test]
fn alerts_of_a_rule_that_fails_are_told_on() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{alert: A, expr: 'x > 5'}]}]");
    bench.series("x", &[], "6");
    bench.run(1);
    for minute in 1..8 {
        bench.fail(minute);
        assert_eq!(bench.run(1), Vec::<String>::new());
    }
    let told: Vec<_> = bench.told().iter().map(|(_, told)| (told.ends_ms - START_MS) / MINUTE_MS).collect();
    assert_eq!(told, (4..12).collect::<Vec<_>>(), "once a minute, for four more");
}

#[test]
fn a_rule_that_fails_can_alert() {
    let mut bench = Bench::new(
        "groups: [{name: g, rules: [{alert: A, expr: 'x > 5', on_error: alert}, {alert: B, expr: 'x > 5'}]}]",
    );
    bench.series("x", &[], "6 6 6");
    bench.fail(1);
    assert_eq!(
        bench.run(3),
        ["0: A{} - firing", "0: B{} - firing", "1: RuleError{A} - firing", "2: RuleError{A} firing resolved"]
    );
    assert_eq!(bench.faults(1), ["A: on purpose", "B: on purpose"]);
}

#[test]
fn overrides_judge_their_series() {
    let mut bench = Bench::new(
        r#"
groups:
- name: g
  rules:
  - alert: A
    expr: x > $limit
    params: {limit: 5}
    overrides:
    - {match: 'env="dev"', params: {limit: 50}}
    - {match: 'env="test"', for: 1m}
    annotations: {above: '{{ $params.limit }}'}
"#,
    );
    for env in ["dev", "prod", "test"] {
        bench.series("x", &[("env", env)], "6 60 6");
    }
    assert_eq!(
        bench.run(3),
        [
            "0: A{prod} - firing",
            "0: A{test} - pending",
            "1: A{dev} - firing",
            "1: A{test} pending firing",
            "2: A{dev} firing resolved"
        ]
    );
    for (env, limit) in [("dev", "50"), ("prod", "5"), ("test", "5")] {
        let told = bench.told().into_iter().find(|(_, told)| told.labels.get("env") == Some(env)).expect("told");
        assert_eq!(told.1.annotations["above"], limit);
        let link = &told.1.generator_url;
        assert!(link.contains(&format!("x+%3E+{limit}&")), "{link}");
    }
}

#[test]
fn histograms_are_recorded_as_they_are() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: h, expr: x}, {alert: A, expr: 'x'}]}]");
    bench.histogram("x");
    bench.run(1);
    let kinds: Vec<bool> =
        bench.written("h").iter().map(|sample| matches!(sample.value, SampleValue::Histogram(_))).collect();
    assert_eq!(kinds, [true]);
    assert_eq!(bench.state("A"), Some(State::Firing));
}

#[test]
fn a_clock_set_back_costs_no_alert_its_time() {
    for restarts in [false, true] {
        let mut bench =
            Bench::new("groups: [{name: g, rules: [{alert: A, expr: 'x > 5', for: 3m, keep_firing_for: 2m}]}]");
        let values: Vec<&str> = (0..70).map(|minute| if (14..60).contains(&minute) { "1" } else { "6" }).collect();
        bench.series("x", &[], &values.join(" "));
        bench.minute = 60;
        assert_eq!(bench.run(3), ["60: A{} - pending"]);
        bench.minute = 10;
        if restarts {
            bench.restart();
        }
        // It has waited for two minutes already.
        assert_eq!(bench.run(8), ["11: A{} pending firing", "16: A{} firing resolved"]);
        let told: Vec<usize> = bench.told().iter().map(|(minute, _)| *minute).collect();
        assert_eq!(told, [11, 12, 13, 14, 15, 16, 17]);
        // While it fires the clock goes back once more.
        bench.minute = 60;
        assert_eq!(bench.run(5), ["60: A{} resolved pending", "63: A{} pending firing"]);
        bench.minute = 12;
        assert_eq!(bench.run(5), ["16: A{} firing resolved"]);
    }
}

#[test]
fn labels_that_nobody_could_be_told_of_are_a_fault() {
    let text = |bytes: usize| {
        format!("groups: [{{name: g, rules: [{{alert: A, expr: 'x > 5', labels: {{l: '{}'}}}}]}}]", "v".repeat(bytes))
    };
    for (bytes, is_fault) in [(8100, false), (8180, true)] {
        let mut bench = Bench::new(&text(bytes));
        bench.series("x", &[], "6");
        bench.run(1);
        let faults = bench.faults(0);
        assert_eq!(
            faults.iter().any(|fault| fault.contains("; 8192 are allowed, of which external")),
            is_fault,
            "{faults:?}"
        );
        // What is not a fault can be told.
        assert!(bench.told().iter().all(|(_, posted)| posted.check().is_ok()));
    }
}
