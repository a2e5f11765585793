//! `metrickit rules test` and the shipped rules, by the real program.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{PATIENCE, Server, now_ms, request, run, series};

fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(name).display().to_string()
}

#[test]
fn what_is_as_expected_is_one_line_a_file() {
    let (code, out, err) =
        run(&["rules", "test", &file("tests/unit_tests/good.yml"), &file("tests/unit_tests/ours.yml")]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("✓ ") && lines[0].ends_with("good.yml: 15 cases of 2 tests as expected"), "{out}");
    assert!(lines[1].ends_with("ours.yml: 5 cases of 2 tests as expected") && lines.len() == 2, "{out}");
}

#[test]
fn what_is_not_is_told_side_by_side() {
    let (code, out, _) = run(&["rules", "test", &file("tests/unit_tests/bad_annotation.yml")]);
    assert_eq!(code, 1);
    let told: String = out.lines().skip(2).collect::<Vec<_>>().join("\n");
    let want = "\
tests/unit_tests/bad_annotation.yml:9 (one host): alerts Down at 1m: 1 expected, 1 found, 0 the same
┌───┬───────────────────┬──────────┬───────┐
│   ┆                   ┆ expected ┆ found │
╞═══╪═══════════════════╪══════════╪═══════╡
│   ┆ alertname         ┆ Down     ┆ Down  │
│   ┆ instance          ┆ 1        ┆ 1     │
│   ┆ job               ┆ a        ┆ a     │
│ ≠ ┆ annotation first  ┆ 7        ┆ 1     │
│   ┆ annotation others ┆          ┆       │
└───┴───────────────────┴──────────┴───────┘";
    assert!(out.contains("1 of 1 case of 1 test not as expected"), "{out}");
    assert!(told.ends_with(want), "{out}");
    let (code, out, _) = run(&["rules", "test", &file("tests/unit_tests/bad_annotation.yml"), "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let failure = &told["files"][0]["tests"][0]["failures"][0];
    assert_eq!((code, &failure["line"], &failure["subject"]), (1, &9.into(), &"Down".into()));
    assert_eq!(failure["different"][0]["found"]["annotation first"], "1");
    let (code, _, told) = run(&["rules", "test", &file("tests/unit_tests/bad_annotation.yml"), "--only", "two *"]);
    assert_eq!((code, told.contains("no test is like --only \"two *\"")), (1, true), "{told}");
}

#[test]
fn what_cannot_be_run_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.yml");
    let path_text = path.display().to_string();
    std::fs::write(&path, "rule_files: [r.yml, none*.yml]\ntests: []\n").expect("written");
    std::fs::write(folder.path().join("r.yml"), "groups: [{name: a, rules: [{alert: A, expr: 'up ='}]}]\n")
        .expect("written");
    let (code, out, _) = run(&["rules", "test", &path_text]);
    assert!(code == 1 && out.contains("r.yml:1:") && out.contains("no file is like rule_files \"none*.yml\""), "{out}");
    let (code, out, _) = run(&["rules", "test", "/nowhere/t.yml"]);
    assert!(code == 1 && out.contains("/nowhere/t.yml cannot be read"), "{out}");
}

#[test]
fn shipped_rules_are_evaluated_unless_they_are_switched_off() {
    let groups = |args: &[&str], wanted: usize| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start_command("server", folder.path(), args);
        let count = || server.get("/api/v1/rules").json()["data"]["groups"].as_array().map_or(0, Vec::len);
        let until = Instant::now() + PATIENCE;
        // They are read behind the server's back.
        while count() < wanted && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let groups = count();
        let book = server.get("/runbooks/GoLeakProved");
        assert!(book.status == 200 && book.body.starts_with("## GoLeakProved\n"), "{}", book.body);
        assert_eq!((server.get("/runbooks").status, server.get("/runbooks/Nothing").status), (200, 404));
        server.stop();
        groups
    };
    let shipped: usize = rules::shipped::files().iter().map(|file| file.groups.len()).sum();
    assert_eq!(groups(&[], shipped), shipped);
    assert_eq!(groups(&["--shipped-rules", "off"], 0), 0);
    let (code, out, _) = run(&["rules", "shipped"]);
    assert!(code == 0 && out.contains("│ go.yml        ┆ GoLeakProved"), "{out}");
    let (code, out, _) = run(&["rules", "shipped", "hosts.yml"]);
    assert!(code == 0 && out.contains("- alert: DiskFull"), "{out}");
    assert_eq!(run(&["rules", "shipped", "x.yml"]).0, 2);
}

#[test]
fn history_tells_when_alerts_would_have_fired() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &["--shipped-rules", "off"]);
    let start_ms = (now_ms() / 60_000 - 90) * 60_000;
    let at = |minute: i64| start_ms + minute * 60_000;
    let samples: Vec<(i64, f64)> = (0..60)
        .map(|minute| (at(minute), if (10..20).contains(&minute) || minute >= 55 { 9.0 } else { 1.0 }))
        .collect();
    let answer = server.write(&request(vec![series(&[("__name__", "x"), ("host", "a")], &samples)]));
    assert_eq!(answer.status, 204, "{}", answer.body);
    let rules = folder.path().join("r.yml");
    let text = "groups: [{name: g, rules: [{alert: High, expr: x > 5, for: 2m, labels: {severity: '{{ $value }}'}}]}]";
    std::fs::write(&rules, text).expect("written");
    let (rules, seconds) = (rules.display().to_string(), |ms: i64| (ms / 1000).to_string());
    let (from, to) = (seconds(at(0)), seconds(at(59)));
    let url = server.url.clone();
    let args = ["rules", "backtest", &rules, "--url", &url, "--start", &from, "--end", &to];
    let (code, out, err) = run(&[&args[..], &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let time = |text: &serde_json::Value| {
        text.as_str().map(|text| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
    };
    let fired: Vec<_> =
        told["fired"].as_array().expect("a list").iter().map(|one| (time(&one["from"]), time(&one["to"]))).collect();
    assert_eq!(fired, [(Some(at(12)), Some(at(20))), (Some(at(57)), None)]);
    assert_eq!(told["fired"][0]["labels"], serde_json::json!({"alertname": "High", "host": "a", "severity": "9"}));
    let (code, out, _) = run(&args);
    assert!(code == 0 && out.contains("┆ 8m  ┆ host=a, severity=9") && out.contains("│ High"), "{out}");
    let (code, out, _) = run(&[&args[..], &["--step", "10m"]].concat());
    assert!(code == 0 && out.starts_with("no alert would have fired"), "{out}");
    server.stop();
    // Nobody answers: that is told once, not for each rule and evaluation.
    let (code, out, err) = run(&args);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(err.starts_with("error: no answer from ") && err.matches("no answer").count() == 1, "{err}");
}

/// What `/metrics` says is in the store, too, from the start until the server stops.
#[test]
fn the_server_keeps_its_own_metrics() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let soon = || (now_ms() / 1000 + 1).to_string();
    let up = |server: &Server| server.query("up{job=\"metrickit\"}", &soon());
    let server = Server::start(&data, &["--self-metrics-interval", "50ms"]);
    let until = Instant::now() + PATIENCE;
    while up(&server)[0]["value"][1] != "1" {
        assert!(Instant::now() < until, "no metrics of its own in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let instance = up(&server)[0]["metric"]["instance"].clone();
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    assert!(instance.as_str().is_some_and(|instance| instance.ends_with(&format!(":{port}"))), "{instance}");
    server.stop();
    let server = Server::start(&data, &[]);
    assert_eq!(up(&server), serde_json::json!([]), "they end when the server does");
    let kept = server.query("count(last_over_time(metrickit_series_created_total[5m]))", &soon());
    assert_eq!(kept[0]["value"][1], "1");
    server.stop();
}
