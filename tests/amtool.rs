//! Alertmanager's own client against our server, and its checker against our reader of routing files.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::{PATIENCE, Server, binary};

const ROUTING: &str = "
global: {smtp_smarthost: 'mail:25', smtp_from: a@b, smtp_auth_password: hunter2}
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  routes:
  - matchers: ['team=\"web\"']
    receiver: web
    routes:
    - {match_re: {severity: page|ticket}, receiver: ops, continue: true}
inhibit_rules:
- {source_matchers: [severity=page], target_matchers: [severity=ticket], equal: [job]}
time_intervals:
- {name: weekend, time_intervals: [{weekdays: [saturday, sunday]}]}
receivers:
- {name: ops, webhook_configs: [{url: 'http://127.0.0.1:9/hunter2'}]}
- {name: web, email_configs: [{to: c@d}]}
";

/// Whether Alertmanager's client is here.
fn has_amtool() -> bool {
    support::foreign("amtool").is_some()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `amtool` says of `server`.
#[track_caller]
fn amtool(server: &Server, args: &[&str]) -> String {
    let output = Command::new("amtool").arg("--alertmanager.url").arg(&server.url).args(args).output().expect("amtool");
    assert!(output.status.success(), "amtool {args:?}: {}", text(&output));
    // It warns that it is older than the API.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `metrickit` says of `server`.
#[track_caller]
fn metrickit(server: &Server, args: &[&str]) -> String {
    let output = binary().args(args).args(["--url", &server.url]).output().expect("metrickit");
    assert!(output.status.success(), "metrickit {args:?}: {}", text(&output));
    text(&output)
}

fn start(data: &Path) -> Server {
    let file = data.join("am.yml");
    std::fs::write(&file, ROUTING).expect("a file");
    Server::start(&data.join("data"), &["--alerting-config", file.to_str().expect("a path")])
}

#[test]
fn amtool_works_and_its_changes_survive() {
    if !has_amtool() {
        return;
    }
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    amtool(&server, &["alert", "add", "alertname=Slow", "job=api", "team=web", "--annotation=summary=it is slow"]);
    amtool(&server, &["alert", "add", "alertname=Down", "job=db"]);
    let all = amtool(&server, &["alert", "query"]);
    assert!(all.contains("Slow") && all.contains("Down") && all.contains("it is slow"), "{all}");
    let some = amtool(&server, &["alert", "query", "job=~d.*"]);
    assert!(!some.contains("Slow") && some.contains("Down"), "{some}");
    let id = amtool(&server, &["silence", "add", "alertname=Slow", "--author=ann", "--comment=known", "--duration=1h"]);
    let id = id.trim();
    let silences = amtool(&server, &["silence", "query"]);
    assert!(silences.contains(id) && silences.contains("ann") && silences.contains("known"), "{silences}");
    let quiet = amtool(&server, &["alert", "query", "--silenced"]);
    assert!(quiet.contains("Slow") && !quiet.contains("Down"), "{quiet}");
    let config = amtool(&server, &["config", "show"]);
    assert!(config.contains("group_by") && !config.contains("hunter2"), "{config}");
    let routes = amtool(&server, &["config", "routes", "show"]);
    assert!(routes.contains("{team=\"web\"}"), "{routes}");
    let way = amtool(&server, &["config", "routes", "test", "team=web", "severity=page"]);
    assert_eq!(way.trim(), "ops");
    // All of it is on disk.
    server.kill();
    let server = start(data.path());
    let quiet = amtool(&server, &["alert", "query", "--silenced"]);
    assert!(quiet.contains("Slow"), "{quiet}");
    amtool(&server, &["silence", "expire", id]);
    let open = amtool(&server, &["silence", "query"]);
    assert!(!open.contains(id), "{open}");
    let expired = amtool(&server, &["silence", "query", "--expired"]);
    assert!(expired.contains(id), "{expired}");
}

/// The rest of what `amtool` can do with a server.
#[test]
fn every_command_of_amtool_works() {
    if !has_amtool() {
        return;
    }
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    assert!(amtool(&server, &["cluster", "show"]).contains("disabled"));
    let tree = amtool(&server, &["config", "routes", "test", "--tree", "team=web"]);
    assert!(tree.contains("{team=\"web\"}  receiver: web"), "{tree}");
    amtool(&server, &["config", "routes", "test", "--verify.receivers=web", "team=web"]);

    let times = ["--start=2026-01-01T10:00:00Z", "--end=2100-01-01T10:00:00-05:00", "--generator-url=http://x"];
    amtool(&server, &[&["alert", "add", "alertname=Slow", "team=web"], &times[..]].concat());
    let alert: serde_json::Value =
        serde_json::from_str(&amtool(&server, &["alert", "query", "-o", "json", "Slow"])).expect("JSON");
    assert_eq!(
        (&alert[0]["startsAt"], &alert[0]["endsAt"], &alert[0]["generatorURL"], &alert[0]["receivers"][0]["name"]),
        (&"2026-01-01T10:00:00.000Z".into(), &"2100-01-01T15:00:00.000Z".into(), &"http://x".into(), &"web".into())
    );
    for (flags, is_there) in [
        (&["--active"][..], true),
        (&["--inhibited"], false),
        (&["--silenced"], false),
        (&["--unprocessed"], false),
        (&["--receiver=web"], true),
        (&["--receiver=ops"], false),
    ] {
        let told = amtool(&server, &[&["alert", "query"], flags].concat());
        assert_eq!(told.contains("Slow"), is_there, "{flags:?}: {told}");
    }

    let add = ["silence", "add", "team=web", "job!=x", "--author=ann", "--comment=one", "--duration=1h"];
    let id = amtool(&server, &add).trim().to_owned();
    let updated = amtool(&server, &["silence", "update", &id, "--comment=two", "--duration=3h"]);
    assert!(updated.contains(&id) && updated.contains("two"), "{updated}");
    let kept = amtool(&server, &["silence", "query", "-o", "json", "team=web", "--created-by=ann"]);
    let file = data.path().join("silences.json");
    std::fs::write(&file, &kept).expect("a file");
    assert_eq!(amtool(&server, &["silence", "query", "-q", "--within=2h"]).trim(), "");
    amtool(&server, &["silence", "expire", &id]);
    let imported = amtool(&server, &["silence", "import", file.to_str().expect("UTF-8")]);
    assert!(!imported.contains(&id), "{imported}");
    let both = amtool(&server, &["silence", "query", "-o", "extended", "--expired", "--within=1h"]);
    assert!(both.contains(&id), "{both}");
    let open = amtool(&server, &["silence", "query", "-o", "extended"]);
    assert!(open.contains(imported.trim()) && open.contains("{team=\"web\",job!=\"x\"}"), "{open}");
}

#[test]
fn our_commands_work() {
    let data = tempfile::tempdir().expect("a folder");
    let server = start(data.path());
    let body = r#"[{"labels":{"alertname":"Slow","job":"api","team":"web"},"annotations":{"summary":"s"}},{"labels":{"alertname":"Down"}}]"#;
    let answer = server.post("/api/v2/alerts", &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let listed = metrickit(&server, &["alerts", "list"]);
    assert!(listed.contains("Slow job=api team=web") && listed.contains("Down") && listed.contains("web"), "{listed}");
    let made = metrickit(
        &server,
        &["silence", "add", "alertname=Slow", "--for", "2h", "--comment", "known", "--author", "ann"],
    );
    let id = made.lines().next().expect("an id").to_owned();
    assert!(made.contains("mutes "), "{made}");
    let listed = metrickit(&server, &["alerts", "list", "alertname=Slow"]);
    assert!(listed.contains(&id) && !listed.contains("Down"), "{listed}");
    let silences = metrickit(&server, &["silence", "list"]);
    assert!(silences.contains(&id) && silences.contains("active") && silences.contains("alertname=Slow"), "{silences}");
    let way = metrickit(&server, &["route", "explain", "alertname=Slow", "team=web", "severity=page"]);
    assert!(way.contains("receiver ops") && way.contains(&format!("quiet now: silence {id}")), "{way}");
    assert!(metrickit(&server, &["silence", "expire", &id]).contains("is over"));
    let over = r#"{"matchers":[{"name":"a","value":"b","isRegex":false}],"startsAt":"2020-01-01T00:00:00Z","endsAt":"2020-01-01T01:00:00Z"}"#;
    let answer = server.post("/api/v2/silences", &[("Content-Type", "application/json")], over.as_bytes());
    let told = "its end 2020-01-01T01:00:00Z is past: it is 2";
    assert!(answer.status == 400 && answer.body.contains(told), "{} {}", answer.status, answer.body);
    let over = ["silence", "add", "a=b", "--start", "2020-01-01T00:00:00Z", "--for", "1h", "--url", &server.url];
    let over = binary().args(over).output().expect("metrickit");
    let told = text(&over);
    assert!(!over.status.success() && told.contains("01:00 UTC is past: it is"), "{told}");
    let taken = metrickit(&server, &["ack", "alertname=Down", "--owner", "bob", "--note", "mine", "--for", "1h"]);
    assert!(taken.contains("bob has 1 alert until"), "{taken}");
    assert!(metrickit(&server, &["alerts", "list"]).contains("bob"));
    assert!(metrickit(&server, &["ack", "alertname=Down", "--remove"]).contains("1 alert"));
    let until = Instant::now() + PATIENCE;
    let log = loop {
        let log = metrickit(&server, &["alerts", "log"]);
        if log.contains("NOT told") || Instant::now() > until {
            break log;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    for wanted in
        ["goes to ops", "acknowledgement created (bob) mine", &format!("silence {id} created by ann"), "NOT told"]
    {
        assert!(log.contains(wanted), "{wanted} in\n{log}");
    }
    let some = metrickit(&server, &["alerts", "log", "event=ack", "--limit", "1"]);
    assert_eq!(some.lines().count(), 1, "{some}");
}

#[test]
fn a_wrong_routing_file_is_told_before_anything_starts() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("am.yml");
    std::fs::write(&file, "route:\n  receiver: nobody\n").expect("a file");
    let output = binary()
        .args(["server", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .arg("--alerting-config")
        .arg(&file)
        .output()
        .expect("metrickit");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("am.yml:2:13: there is no receiver \"nobody\""), "{}", text(&output));
}

#[test]
fn what_a_routing_file_hardly_means_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("am.yml");
    let path = file.to_str().expect("a path");
    let check = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).expect("a file");
        let output = binary().args(["route", "check", path]).args(args).output().expect("metrickit");
        (output.status.code(), self::text(&output))
    };
    let slow = ROUTING.replace("hunter2'}", "hunter2', timeout: 1m}");
    let hint = "webhook[0] of receiver \"ops\" has a timeout of 1m, and route \"{}\" cuts it to 10s";
    let (code, told) = check(&slow, &[]);
    assert!(code == Some(0) && told.contains("3 routes and 2 receivers") && told.contains(hint), "{code:?} {told}");
    assert_eq!(check(&slow, &["--strict"]).0, Some(1));
    let (code, told) = check(ROUTING, &["--strict"]);
    assert!(code == Some(0) && !told.contains("hint"), "{code:?} {told}");
    let (code, told) = check("route:\n  receiver: nobody\n", &[]);
    assert!(code == Some(1) && told.contains("am.yml:2:13: there is no receiver \"nobody\""), "{code:?} {told}");
    std::fs::write(&file, slow).expect("a file");
    let server = Server::start(&data.path().join("data"), &["--alerting-config", path]);
    let status = server.get("/api/v2/status").json();
    let told = status["config"]["hints"][0].as_str().unwrap_or_default();
    assert!(told.starts_with(hint), "{status}");
}

/// Files that `amtool check-config` takes are taken, those that it refuses are refused.
#[test]
fn files_are_judged_as_amtool_judges_them() {
    if !has_amtool() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 0..120_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let text = generated(&mut random);
        let path = folder.path().join("am.yml");
        std::fs::write(&path, &text).expect("a file");
        let theirs = Command::new("amtool").arg("check-config").arg(&path).output().expect("amtool");
        let ours = rules::config::read("am.yml", &text);
        assert_eq!(
            ours.is_ok(),
            theirs.status.success(),
            "seed {seed}\n{text}\nours: {:?}\ntheirs: {}",
            ours.err(),
            self::text(&theirs)
        );
    }
}

fn pick<'a>(random: &mut fastrand::Rng, from: &[&'a str]) -> &'a str {
    from[random.usize(..from.len())]
}

/// A file in which now and then something is wrong.
fn generated(random: &mut fastrand::Rng) -> String {
    let mut text = String::from("route:\n  receiver: a\n");
    if random.u8(..4) == 0 {
        text += pick(
            random,
            &[
                "  group_by: [job, job]\n",
                "  group_by: ['...']\n",
                "  group_by: ['...', job]\n",
                "  continue: true\n",
                "  matchers: [a=b]\n",
                "  group_by: []\n",
                "  mute_time_intervals: [t]\n",
            ],
        );
    }
    text += "  routes:\n";
    for _ in 0..random.usize(1..4) {
        text += "  - receiver: ";
        text += if random.u8(..30) == 0 { "nobody" } else { pick(random, &["a", "b"]) };
        text += "\n";
        let lines: &[&str] = match random.u8(..10) {
            0 => &[
                "    group_wait: soon\n",
                "    group_interval: 0s\n",
                "    repeat_interval: 0s\n",
                "    match: {'': c}\n",
                "    matchers: ['a=~\"(\"']\n",
                "    mute_time_intervals: [never]\n",
                "    unknown: 1\n",
                "    match_re: {a: '('}\n",
            ],
            _ => &[
                "    group_wait: 0s\n",
                "    group_interval: 1h30m\n",
                "    repeat_interval: 1w\n",
                "    match: {a: b, c: 200}\n",
                "    matchers: ['a=~\"x|y\"', b!=c, '{d=\"e\",f!~\"g\"}']\n",
                "    mute_time_intervals: [t]\n",
                "    active_time_intervals: [t, u]\n",
                "    match_re: {a: 'x|y'}\n",
                "    continue: true\n",
                "    group_by: [a, b]\n",
            ],
        };
        text += pick(random, lines);
    }
    text += "receivers:\n- name: a\n- name: b\n  webhook_configs:\n  - url: http://127.0.0.1:9/\n    send_resolved: false\n";
    if random.u8(..20) == 0 {
        text += pick(random, &["- name: a\n", "- name: ''\n", "- name: c\n  pigeon_configs: []\n"]);
    }
    text += &generated_times(random);
    text += "\ninhibit_rules:\n- ";
    text += match random.u8(..12) {
        0 => pick(random, &["equal: ['']", "source_match: {'': c}", "source_matchers: ['a']"]),
        _ => pick(
            random,
            &[
                "source_matchers: [a=b]\n  target_matchers: [c=d]\n  equal: [e]",
                "source_match: {a: b}\n  target_match_re: {c: d.*}",
                "equal: []",
            ],
        ),
    };
    text + "\n"
}

/// Its time intervals, of which one in eight is wrong.
fn generated_times(random: &mut fastrand::Rng) -> String {
    let mut text = pick(random, &["time_intervals:\n", "mute_time_intervals:\n"]).to_owned();
    text += "- name: u\n  time_intervals: []\n- name: t\n  time_intervals:\n  - ";
    let field = match random.u8(..8) {
        0 => pick(
            random,
            &[
                "weekdays: [someday]",
                "times: [{start_time: '9:00', end_time: '17:00'}]",
                "times: [{start_time: '17:00', end_time: '09:00'}]",
                "times: [{start_time: '10:00'}]",
                "days_of_month: ['0']",
                "days_of_month: ['5:1']",
                "days_of_month: ['-1:-5']",
                "months: ['13']",
                "months: ['may:january']",
                "years: ['2030:2020']",
                "location: Nowhere/City",
                "days_of_month: ['-3:2']",
            ],
        ),
        _ => pick(
            random,
            &[
                "weekdays: ['monday:friday', Sunday]",
                "times: [{start_time: '09:00', end_time: '24:00'}]",
                "days_of_month: ['1:5', '-3:-1', '31']",
                "months: ['january:3', december]",
                "years: ['2020:2030', '2040']",
                "location: Europe/Berlin",
                "days_of_month: ['1:-1']",
            ],
        ),
    };
    text + field
}
