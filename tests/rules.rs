//! Rules in the real program: alerts over HTTP, reloading, and times that go on after the process was killed.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Server, now_ms, request, run, series};

const RULES: &str = "
groups:
- name: fast
  interval: 1s
  rules:
  - {record: double, expr: x * 2}
  - {alert: High, expr: double > 10, for: 2s, labels: {severity: page}, annotations: {summary: 'at {{ $value }}'}}
  - {alert: Slow, expr: double > 10, for: 1h}
";

fn start(data: &Path, rules: &Path) -> Server {
    let pattern = rules.join("*.yml").display().to_string();
    Server::start(data, &["--rule-files", &pattern, "--shipped-rules", "off", "--external-labels", "site=home"])
}

fn push(server: &Server, value: f64) {
    let answer = server.write(&request(vec![series(&[("__name__", "x"), ("host", "a")], &[(now_ms(), value)])]));
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// Asks until the answer is as wanted; samples are pushed meanwhile.
fn until<T>(server: &Server, value: f64, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        push(server, value);
        let answer = server.get(path);
        if let Some(found) =
            Some(&answer).filter(|answer| answer.status == 200).and_then(|answer| wanted(&answer.json()))
        {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{path}: {}", answer.body);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn alert<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    answer["data"]["alerts"].as_array()?.iter().find(|alert| alert["labels"]["alertname"] == name)
}

#[test]
fn alerts_go_on_after_a_kill() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    std::fs::write(rules.path().join("r.yml"), RULES).expect("written");
    let server = start(data.path(), rules.path());
    let is_firing = |answer: &Value| {
        let high = alert(answer, "High")?;
        (high["state"] == "firing").then(|| high["activeAt"].clone())
    };
    let since = until(&server, 6.0, "/api/v1/alerts", is_firing);
    let slow = until(&server, 6.0, "/api/v1/alerts", |answer| Some(alert(answer, "Slow")?["activeAt"].clone()));
    server.kill();
    let server = start(data.path(), rules.path());
    // From the first answer on: it is not pending again.
    let first = until(&server, 6.0, "/api/v1/alerts", |answer| alert(answer, "High").cloned());
    assert_eq!((&first["state"], &first["activeAt"], &first["value"]), (&"firing".into(), &since, &"1.2e+01".into()));
    assert_eq!(first["annotations"]["summary"], "at 12");
    let pending = until(&server, 6.0, "/api/v1/alerts", |answer| alert(answer, "Slow").cloned());
    assert_eq!((&pending["state"], &pending["activeAt"]), (&"pending".into(), &slow));
    let over = |answer: &Value| answer["data"]["alerts"].as_array().is_some_and(Vec::is_empty).then_some(());
    until(&server, 1.0, "/api/v1/alerts", over);
    server.stop();
}

#[test]
fn rules_are_told_and_read_anew() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = rules.path().join("r.yml");
    std::fs::write(&path, RULES).expect("written");
    let server = start(data.path(), rules.path());
    let health = |answer: &Value| {
        let rule = &answer["data"]["groups"][0]["rules"][0];
        (rule["health"] == "ok").then(|| answer["data"]["groups"].clone())
    };
    let groups = until(&server, 6.0, "/api/v1/rules", health);
    let group = &groups[0];
    assert_eq!((&group["name"], &group["interval"], &group["limit"]), (&"fast".into(), &1.into(), &0.into()));
    assert_eq!(group["file"].as_str(), path.to_str());
    let names = |answer: &Value| -> Vec<String> {
        let rules = answer["data"]["groups"].as_array().into_iter().flatten();
        let rules = rules.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.map(|rule| rule["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    for (query, want) in [
        ("", vec!["double", "High", "Slow"]),
        ("?type=alert", vec!["High", "Slow"]),
        ("?type=record", vec!["double"]),
        ("?rule_name[]=High&rule_name[]=none", vec!["High"]),
        ("?rule_group[]=slow", vec![]),
        ("?file[]=none", vec![]),
        ("?match[]=%7Bseverity%3D%22page%22%7D", vec!["High"]),
        ("?group_limit=1", vec!["double", "High", "Slow"]),
    ] {
        assert_eq!(names(&server.get(&format!("/api/v1/rules{query}")).json()), want, "{query}");
    }
    for wrong in
        ["?type=x", "?group_limit=0", "?group_next_token=a", "?exclude_alerts=x", "?group_limit=1&group_next_token=a"]
    {
        assert_eq!(server.get(&format!("/api/v1/rules{wrong}")).status, 400, "{wrong}");
    }
    // What is wrong is told, and nothing changes.
    std::fs::write(&path, RULES.replace("x * 2", "x *")).expect("written");
    let refused = server.post("/-/reload", &[], b"");
    assert!(refused.status == 500 && refused.body.contains("r.yml:6:28: rule \"double\": expr:"), "{}", refused.body);
    assert!(server.get("/metrics").body.contains("prometheus_config_last_reload_successful 0"));
    std::fs::write(&path, RULES.replace("name: fast", "name: other")).expect("written");
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    let renamed = server.get("/api/v1/rules?exclude_alerts=true").json();
    assert_eq!(renamed["data"]["groups"][0]["name"], "other");
    // A signal does the same.
    std::fs::write(&path, RULES.replace("Slow", "Slower")).expect("written");
    let done =
        std::process::Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().expect("kill runs");
    assert!(done.success());
    until(&server, 6.0, "/api/v1/rules?rule_name[]=Slower", |answer| (names(answer).len() == 1).then_some(()));
    let page = server.get("/metrics").body;
    assert!(page.contains("prometheus_config_last_reload_successful 1"), "{page}");
    assert!(page.contains("prometheus_rule_group_iterations_missed_total{rule_group="), "{page}");
    assert!(page.contains("metrickit_rules_reload_failures_total 1"), "{page}");
    server.stop();
}

#[test]
fn a_wrong_rule_file_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("r.yml");
    std::fs::write(&path, RULES.replace("x * 2", "x *")).expect("written");
    let (data, path) = (folder.path().join("data").display().to_string(), path.display().to_string());
    for role in ["server", "up"] {
        let (status, _, told) = run(&[role, "--data", &data, "--listen", "127.0.0.1:0", "--rule-files", &path]);
        assert_eq!(status, 2, "{told}");
        assert!(told.contains(&format!("rule_files: {path}:6:28: rule \"double\": expr:")), "{told}");
    }
}

#[test]
fn rules_and_routing_are_taken_together() {
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (path, routing) = (rules.path().join("r.yml"), rules.path().join("am.yaml"));
    let ways = "route: {receiver: ops}\nreceivers: [{name: ops}]\n";
    std::fs::write(&path, RULES).expect("written");
    std::fs::write(&routing, ways).expect("written");
    let (pattern, file) = (path.display().to_string(), routing.display().to_string());
    let server =
        Server::start(data.path(), &["--rule-files", &pattern, "--shipped-rules", "off", "--alerting-config", &file]);
    let group = |answer: &Value| answer["data"]["groups"][0]["name"].as_str().map(str::to_owned);
    assert_eq!(until(&server, 6.0, "/api/v1/rules", group), "fast");
    // Good rules beside a wrong routing file.
    std::fs::write(&path, RULES.replace("name: fast", "name: other")).expect("written");
    std::fs::write(&routing, ways.replace("{receiver: ops}", "{receiver: none}")).expect("written");
    let refused = server.post("/-/reload", &[], b"");
    assert!(refused.status == 500 && refused.body.contains("am.yaml:1:"), "{}", refused.body);
    assert_eq!(group(&server.get("/api/v1/rules").json()).as_deref(), Some("fast"));
    assert!(server.get("/metrics").body.contains("prometheus_config_last_reload_successful 0"));
    let events = server.get("/api/v1/alerting/events?event=note&text=am.yaml");
    assert!(events.body.contains("the files were not taken"), "{}", events.body);
    // Who asks again, and mended nothing, is told again.
    assert_eq!(server.post("/-/reload", &[], b"").status, 500);
    let events = server.get("/api/v1/alerting/events?event=note&text=am.yaml");
    assert_eq!(events.body.matches("the files were not taken").count(), 2, "{}", events.body);
    // Both are wrong, and both are told.
    std::fs::write(&path, RULES.replace("x * 2", "x *")).expect("written");
    let refused = server.post("/-/reload", &[], b"");
    assert!(refused.body.contains("am.yaml:1:") && refused.body.contains("r.yml:6:28:"), "{}", refused.body);
    std::fs::write(&path, RULES.replace("name: fast", "name: other")).expect("written");
    std::fs::write(&routing, ways).expect("written");
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    assert_eq!(group(&server.get("/api/v1/rules").json()).as_deref(), Some("other"));
    assert!(server.get("/metrics").body.contains("prometheus_config_last_reload_successful 1"));
    server.stop();
}

#[test]
fn rule_files_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (good, bad) = (folder.path().join("good.yml"), folder.path().join("bad.yml"));
    std::fs::write(&good, RULES).expect("written");
    std::fs::write(&bad, RULES.replace("x * 2", "x *").replace("1h", "one")).expect("written");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    let (status, out, _) = run(&["rules", "check", &good]);
    assert_eq!((status, out), (0, format!("{good}: 2 alerting rules and 1 recording rule in 1 group\n")));
    let (status, out, _) = run(&["rules", "check", &good, &bad]);
    assert_eq!(status, 1);
    assert!(out.contains(&format!("{bad}:6:28: rule \"double\": expr:")), "{out}");
    assert!(out.contains(&format!("{bad}:8:43: for: \"one\" is not a duration")), "{out}");
    std::fs::write(&good, RULES.replace("for: 2s, ", "")).expect("written");
    let (status, out, _) = run(&["rules", "check", "--strict", &good]);
    assert_eq!(status, 1);
    assert!(out.contains("hint: ") && out.contains(":7: High: it has no `for`"), "{out}");
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(data.path(), &[]);
    let (status, out, _) = run(&["rules", "check", "--url", &server.url, &good]);
    assert_eq!(status, 0);
    assert!(out.contains("double: the server has no series x") && !out.contains("no series double"), "{out}");
    server.stop();
}

#[test]
fn an_alert_is_explained() {
    const RULES: &str = "
groups:
- name: fast
  interval: 1s
  rules:
  - alert: High
    expr: x > $limit
    for: 1h
    params: {limit: 10}
    overrides:
    - {match: '{host=\"a\"}', params: {limit: 5}, labels: {severity: page}}
    labels: {severity: info}
";
    let (data, rules) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = rules.path().join("r.yml");
    std::fs::write(&path, RULES).expect("written");
    let server = start(data.path(), rules.path());
    let explained = "/api/v1/rules/explain?name=High&label=host%3Da";
    let pending = |answer: &Value| {
        let rule = &answer["data"]["rules"][0];
        (rule["counts"]["pending"] == 1).then(|| rule.clone())
    };
    let rule = until(&server, 6.0, explained, pending);
    let (reading, one) = (&rule["reading"], &rule["instances"][0]);
    assert_eq!((&reading["expr"], &reading["override_line"]), (&"x > 5".into(), &11.into()));
    assert_eq!((&one["labels"]["severity"], &one["compared"][0]["left_value"]), (&"page".into(), &"6".into()));
    assert_eq!(one["fires_at_ms"].as_i64(), one["active_since_ms"].as_i64().map(|at_ms| at_ms + 3_600_000));
    let url = ["--url", &server.url];
    let (status, out, _) = run(&[&["rules", "explain", "High", "host=a", "severity=page"], &url[..]].concat());
    assert_eq!(status, 0, "{out}");
    for wanted in [
        "High\n  rule            alerting, ",
        "r.yml:6, group fast, every 1s\n",
        "  $limit          5 by the override in line 11; 10 without it\n",
        "1 pending\n",
        " ago) ┆ fires in 59m",
        " ┆ 6 > 5 ✓ ┆ host=a severity=page",
        "metrickit route explain alertname=High host=a severity=page site=home\n",
    ] {
        assert!(out.contains(wanted), "{wanted} in\n{out}");
    }
    let (status, out, _) = run(&[&["rules", "explain", "High", "host=other"], &url[..]].concat());
    assert!(status == 0 && out.contains("no series with host=other has data now"), "{out}");
    let (status, _, err) = run(&[&["rules", "explain", "hihg"], &url[..]].concat());
    assert!(status == 1 && err.contains("did you mean High?"), "{err}");
    let (status, _, err) = run(&[&["rules", "explain", "NoData"], &url[..]].concat());
    assert!(status == 1 && err.contains("its label `rule`"), "{err}");
    assert_eq!(server.get("/api/v1/rules/explain?name=High&label=x").status, 400);
    // The file alone says as much as it can.
    let file = path.display().to_string();
    let (status, out, _) = run(&["rules", "explain", "High", "host=b", "--file", &file]);
    assert!(status == 0 && out.contains("  asks            x > 10\n") && out.contains("no: host is"), "{out}");
    assert!(!out.contains("evaluated") && !out.contains("no series"), "{out}");
    let (status, _, err) = run(&["rules", "explain", "Low", "--file", &file]);
    assert!(status == 2 && err.contains("no rule of these files is called \"Low\""), "{err}");
    let (status, out, _) = run(&["rules", "explain", "GoGcSevere", "env=dev", "--shipped", "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((status, &told["rules"][0]["overrides"][0]["verdict"]), (0, &"chosen".into()), "{out}");
    server.stop();
}
