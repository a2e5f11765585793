//! Unit tests of rules: files that are as expected and files that are not, and the same judgement by `promtool` where it is installed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::file::RuleFile;
use rules::unit_tests::{Failure, Reason, Subject, TestReport, read, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unit_tests")
}

/// Runs a file; its rules lie beside it or above it, without patterns but `rules.y*`.
fn run_file(path: &Path) -> Vec<TestReport> {
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = read(&path.display().to_string(), &text(path)).unwrap_or_else(|faults| panic!("{faults:?}"));
    let rules: Vec<RuleFile> = file
        .rule_files
        .iter()
        .map(|name| {
            let path = path.with_file_name(name.replace('*', "ml"));
            rules::file::read(&path.display().to_string(), &text(&path)).unwrap_or_else(|faults| panic!("{faults:?}"))
        })
        .collect();
    file.tests.iter().map(|test| run(&file, test, &rules)).collect()
}

fn failures(path: &Path) -> Vec<Failure> {
    run_file(path).into_iter().flat_map(|report| report.failures).collect()
}

/// Whether promtool finds a file as expected; nothing where it is not installed.
fn promtool(path: &Path) -> Option<bool> {
    let output = Command::new("promtool").args(["test", "rules"]).arg(path).output();
    if output.is_err() {
        assert!(std::env::var_os("CI").is_none(), "promtool must be installed in CI");
    }
    output.ok().map(|output| output.status.success())
}

#[test]
fn good_files_are_good() {
    for name in ["good.yml", "ours.yml"] {
        let found = failures(&folder().join(name));
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
    assert_ne!(promtool(&folder().join("good.yml")), Some(false));
}

/// A rule file as Prometheus reads it: without our own keys, each a line or a list of lines, and with the parameters put in.
fn plain(name: &str, text: &str) -> String {
    let file = rules::file::read(name, text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut rules = file.groups.iter().flat_map(|group| &group.rules).peekable();
    let mut params = Vec::new();
    let mut plain = String::new();
    for (number, line) in (1_u64..).zip(text.lines()) {
        if rules.peek().is_some_and(|rule| rule.line == number) {
            let usual = rules.next().and_then(|rule| rule.cases.last()).expect("every rule reads in some way");
            params = usual.params.iter().collect();
            params.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        }
        let key = line.trim_start();
        if ["params:", "overrides:", "- {match:"].iter().any(|own| key.starts_with(own)) {
            continue;
        }
        let put_in = |line: String, (name, value): &(&String, &String)| line.replace(&format!("${name}"), value);
        plain.push_str(&params.iter().fold(line.to_owned(), put_in));
        plain.push('\n');
    }
    plain
}

#[test]
fn shipped_rules_do_what_their_tests_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped/tests");
    let mut tested = Vec::new();
    let copied = tempfile::tempdir().expect("a folder");
    fs::create_dir(copied.path().join("tests")).expect("made");
    for (name, text) in rules::shipped::FILES {
        fs::write(copied.path().join(name.trim_start_matches("shipped/")), plain(name, text)).expect("written");
    }
    for entry in fs::read_dir(folder).expect("the tests are there") {
        let path = entry.expect("listed").path();
        let found = failures(&path);
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
        // It knows no overrides.
        if path.file_name().is_some_and(|name| name != "environments.yml") {
            let copy = copied.path().join("tests").join(path.file_name().expect("a name"));
            fs::copy(&path, &copy).expect("copied");
            assert_ne!(promtool(&copy), Some(false), "{}", path.display());
        }
        let file = read("t", &fs::read_to_string(&path).expect("read")).expect("a file of tests");
        let cases = file.tests.into_iter().flat_map(|test| test.alerts).filter(|case| !case.expected.is_empty());
        tested.extend(cases.map(|case| case.alertname));
    }
    // What promtool cannot test is tested below.
    tested.push("ClockAhead".to_owned());
    for file in rules::shipped::files() {
        for rule in file.groups.iter().flat_map(|group| &group.rules) {
            assert!(tested.contains(&rule.name), "no test sees {} fire", rule.name);
        }
    }
}

fn subject(failure: &Failure) -> String {
    match &failure.subject {
        Subject::Test => "test".to_owned(),
        Subject::Rule { name, at_ms } => format!("rule {name} {at_ms}"),
        Subject::Alert { name, at_ms } => format!("alert {name} {at_ms}"),
        Subject::Expr { text, at_ms } => format!("expr {text} {at_ms}"),
    }
}

/// What differs: `name: expected | found`.
fn told(failure: &Failure) -> Vec<String> {
    let Reason::Differs { same, pairs } = &failure.reason else { return vec!["a fault".to_owned()] };
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = pairs.iter().flat_map(|pair| &pair.rows).filter(|row| !row.is_same());
    let rows = rows.map(|row| format!("{}: {} | {}", row.name, side(&row.expected), side(&row.found)));
    std::iter::once(format!("{same} the same")).chain(rows).collect()
}

/// What is wrong with a file: subject, line, and what differs.
type Wrong = &'static [(&'static str, u64, &'static [&'static str])];

#[test]
fn bad_files_are_told_side_by_side() {
    let cases: [(&str, Wrong); 5] = [
        ("bad_labels.yml", &[("alert Down 60000", 9, &["3 the same", "severity: ticket | page"])]),
        ("bad_annotation.yml", &[("alert Down 60000", 9, &["0 the same", "annotation first: 7 | 1"])]),
        ("bad_missing.yml", &[("alert Down 60000", 8, &["0 the same", "alertname: Down | -", "job: a | -"])]),
        (
            "bad_unexpected.yml",
            &[
                (
                    "alert Down 60000",
                    9,
                    &[
                        "0 the same",
                        "alertname: - | Down",
                        "instance: - | 1",
                        "job: - | a",
                        "annotation first: - | 2",
                        "annotation others: - | ",
                        "alertname: - | Down",
                        "instance: - | 2",
                        "job: - | a",
                        "annotation first: - | 2",
                        "annotation others: - | ",
                        "alertname: - | Down",
                        "instance: - | 1",
                        "job: - | a",
                        "severity: - | page",
                        "alertname: - | Down",
                        "instance: - | 2",
                        "job: - | a",
                        "severity: - | page",
                    ],
                ),
                (
                    "expr up 60000",
                    11,
                    &[
                        "0 the same",
                        "value: 1 | 0",
                        "__name__: - | up",
                        "instance: - | 1",
                        "job: - | a",
                        "value: - | 0",
                    ],
                ),
                ("expr up{ 60000", 12, &["a fault"]),
            ],
        ),
        ("bad_rule.yml", &[("rule Twins 0", 4, &["a fault"])]),
    ];
    for (name, want) in cases {
        let path = folder().join(name);
        let found: Vec<_> = failures(&path).iter().map(|one| (subject(one), one.line, told(one))).collect();
        let want: Vec<_> = want
            .iter()
            .map(|(subject, line, told)| {
                ((*subject).to_owned(), *line, told.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(found, want, "{name}");
        assert_ne!(promtool(&path), Some(true), "{name}");
    }
}

#[test]
fn what_is_no_file_of_tests_is_told_with_its_place() {
    let faults = |text: &str| -> Vec<String> {
        read("t.yml", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    let text = r"
evaluation_interval: 1x
group_eval_order: [a, a]
tests:
- interval: 1m
  input_series:
  - {series: 'up{job=1}', values: '1'}
  - {series: up, values: '1+'}
  alert_rule_test:
  - {eval_time: 1m}
  - {eval_time: soon, alertname: A}
  promql_expr_test:
  - {expr: up, exp_samples: [{labels: 'up{', value: 1}, {value: one}, {histogram: '1'}]}
- {start_timestamp: yesterday}
";
    let found = faults(text);
    for want in [
        "t.yml:2:22: evaluation_interval: \"1x\"",
        "t.yml:3:23: group \"a\" is in group_eval_order twice",
        "t.yml:7:14: series: label value is not quoted",
        "t.yml:8:26: values: \"1+\" is no point",
        "t.yml:10:5: a case of alert_rule_test has no alertname",
        "t.yml:11:17: eval_time: \"soon\"",
        "t.yml:13:39: labels: ",
        "t.yml:13:65: value: \"one\" is no number",
        "t.yml:13:83: histogram: \"1\" is not one histogram",
        "t.yml:14:21: start_timestamp: \"yesterday\"",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(want)), "{want} is not in {found:#?}");
    }
    assert_eq!(found.len(), 10, "{found:#?}");
    assert!(faults("tests: [{alerts: []}]")[0].contains("unknown field"));
    let long = faults("evaluation_interval: 1ms\ntests: [{promql_expr_test: [{expr: up, eval_time: 1d}]}]");
    assert!(long[0].contains("more than 1000000 evaluations"), "{long:?}");
    assert_eq!(faults(""), Vec::<String>::new());
}

#[test]
fn a_clock_that_is_ahead_is_told() {
    // Samples that are still to come by the server's clock: promtool shows a test none.
    use model::{FullSample, Labels, MemorySeries, SampleValue};
    let series = MemorySeries::new();
    let labels = Labels::from_pairs([("__name__", "node_time_seconds"), ("instance", "web1")]).expect("valid");
    series.put(
        &labels,
        (0..20).map(|minute| FullSample {
            timestamp_ms: minute * 60_000 + 30_000,
            start_ms: 0,
            value: SampleValue::Float(f64::from(i32::try_from(minute * 60 + 30).expect("small"))),
        }),
    );
    let files = rules::shipped::files();
    let rules = files.iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules);
    let rule = rules.into_iter().find(|rule| rule.name == "ClockAhead").expect("it is shipped");
    let text = rule.queries[0].text.as_str();
    // With nine minutes of samples to come, and with none.
    assert_eq!(values(&series, text, 660_000), [510.0]);
    assert_eq!(values(&series, text, 1_200_000), Vec::<f64>::new());
}

fn values(series: &model::MemorySeries, expr: &str, time_ms: i64) -> Vec<f64> {
    let options = query::QueryOptions::default();
    let request = query::Request {
        query: expr,
        time: query::QueryTime::Instant { time_ms },
        options: &options,
        lookback_ms: None,
        timeout_ms: None,
        cancel: &query::CancelToken::new(),
        explain: false,
    };
    let query::Value::Vector(vector) = query::evaluate(series, &request).expect("an answer").value else {
        panic!("a vector")
    };
    let float = |value: &model::SampleValue| match value {
        model::SampleValue::Float(value) => *value,
        model::SampleValue::Histogram(_) => f64::NAN,
    };
    vector.iter().map(|element| float(&element.value)).collect()
}

/// What promtool says of files that are made up: what we find is what it must expect, and one thing changed must not be.
#[test]
fn promtool_agrees_about_files_that_are_made_up() {
    let seed: u64 = std::env::var("METRICKIT_SEED").map_or(7, |text| text.parse().expect("a number"));
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for round in 0..3 {
        let (rules, tests) = made_up(&mut random);
        fs::write(folder.path().join("rules.yml"), rules).expect("written");
        let mut expected = vec![Vec::new(); tests.len()];
        let path = folder.path().join("tests.yml");
        fs::write(&path, as_file(&tests, &expected)).expect("written");
        // Without any expectation everything that fires is unexpected: that is what there is.
        for (at, report) in run_file(&path).iter().enumerate() {
            for failure in &report.failures {
                let Subject::Alert { name, at_ms } = &failure.subject else { panic!("seed {seed}: {failure:?}") };
                let Reason::Differs { pairs, .. } = &failure.reason else { panic!("seed {seed}: {failure:?}") };
                expected[at].push((name.clone(), *at_ms, pairs.clone()));
            }
        }
        fs::write(&path, as_file(&tests, &expected)).expect("written");
        assert!(failures(&path).is_empty(), "seed {seed}, round {round}");
        if promtool(&path) == Some(false) {
            let output = Command::new("promtool").args(["test", "rules"]).arg(&path).output().expect("it runs");
            panic!("seed {seed}, round {round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let some = expected.iter_mut().flatten().next().expect("something fires");
        some.2[0].rows.retain(|row| row.name != "annotation summary");
        fs::write(&path, as_file(&tests, &expected)).expect("written");
        assert!(!failures(&path).is_empty(), "seed {seed}, round {round}");
        assert_ne!(promtool(&path), Some(true), "seed {seed}, round {round}");
    }
}

/// Series of one test: name and values.
type MadeUp = Vec<(String, String)>;

/// Names of the alerts that [`made_up`] makes.
const ALERTS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// Rules and series. No window or lookback ends on a sample: there promtool 2.42 counts one more than Prometheus does since its version 3.
fn made_up(random: &mut fastrand::Rng) -> (String, Vec<MadeUp>) {
    let exprs = [
        "m > 3",
        "sum by (job) (m) > 10",
        "deriv(m[150s]) > 0.01",
        "m{job=\"a\"} > on (instance) m{job=\"b\"}",
        "max_over_time(m[210s]) - min_over_time(m[210s]) >= 4",
        "absent(m{job=\"a\", instance=\"1\"})",
        "avg without (instance) (r) < 4",
        "count_values(\"v\", m) > 1",
        "ALERTS{alertname=\"A\", alertstate=\"firing\"} == 1",
        "m > 2 unless r > 4",
        "changes(m[330s]) > 2",
        "last_over_time(m[90s]) == 5",
    ];
    let mut rules = "groups:\n- name: g\n  rules:\n  - {record: r, expr: 'm * 2 - 1'}\n".to_owned();
    for alert in ALERTS {
        let expr = random.choice(exprs).expect("some");
        let (hold, keep) = (random.u32(0..5), random.u32(0..4));
        let severity = random.choice([
            "page",
            "{{ if gt $value 4.0 }}page{{ else }}ticket{{ end }}",
            "{{ $labels.job | toUpper }}",
        ]);
        let summary = random.choice([
            "{{ $value | humanize }} of {{ $labels.job }}",
            "{{ printf \"%.2f\" $value }} {{ range query \"m > 4\" | sortByLabel \"instance\" }}{{ .Labels.instance }}{{ end }}",
            "{{ $value | humanizeDuration }} {{ reReplaceAll \"a(.*)\" \"x$1\" $labels.job | title }}",
        ]);
        writeln!(
            rules,
            "  - {{alert: {alert}, expr: '{expr}', for: {hold}m, keep_firing_for: {keep}m, labels: {{severity: '{}'}}, annotations: {{summary: '{}'}}}}",
            severity.expect("some"),
            summary.expect("some"),
        )
        .expect("a string takes all");
    }
    let tests = (0..4).map(|_| {
        let series = [("a", 1), ("a", 2), ("b", 1), ("b", 2)].map(|(job, instance)| {
            let mut values = Vec::new();
            while values.len() < 20 {
                match random.u32(0..10) {
                    0 => values.extend(["_".to_owned(), "_".to_owned()]),
                    1 => values.push("stale".to_owned()),
                    2..4 => values.push(format!("{}+{}x3", random.u32(0..4), random.u32(0..3))),
                    _ => values.push(random.u32(0..8).to_string()),
                }
            }
            (format!("m{{job=\"{job}\", instance=\"{instance}\"}}"), values.join(" "))
        });
        series.to_vec()
    });
    (rules, tests.collect())
}

type Fired = Vec<(String, i64, Vec<rules::unit_tests::Pair>)>;

fn as_file(tests: &[MadeUp], expected: &[Fired]) -> String {
    let mut text = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for (series, fired) in tests.iter().zip(expected) {
        text.push_str("- interval: 1m\n  input_series:\n");
        for (series, values) in series {
            writeln!(text, "  - {{series: '{series}', values: '{values}'}}").expect("a string takes all");
        }
        text.push_str("  alert_rule_test:\n");
        for minute in 0..20_i64 {
            for alert in ALERTS {
                writeln!(text, "  - eval_time: {minute}m\n    alertname: {alert}").expect("a string takes all");
                let Some((_, _, pairs)) =
                    fired.iter().find(|(name, at_ms, _)| name == alert && *at_ms == minute * 60_000)
                else {
                    continue;
                };
                text.push_str("    exp_alerts:\n");
                for pair in pairs {
                    let of = |wanted: bool| {
                        let rows = pair.rows.iter().filter(|row| row.name.starts_with("annotation ") == wanted);
                        let rows = rows.filter(|row| row.name != "alertname");
                        rows.map(|row| {
                            let name = row.name.strip_prefix("annotation ").unwrap_or(&row.name);
                            format!("{name}: '{}'", row.found.as_deref().unwrap_or_default().replace('\'', "''"))
                        })
                        .collect::<Vec<_>>()
                        .join(", ")
                    };
                    writeln!(text, "    - exp_labels: {{{}}}\n      exp_annotations: {{{}}}", of(false), of(true))
                        .expect("a string takes all");
                }
            }
        }
    }
    text
}
