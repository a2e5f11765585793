//! Forwarding to an Alertmanager as it is installed, by the section that Prometheus reads.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{PATIENCE, Running, Server, free_address, http, now_ms, read};

/// `me` and `hunter2`, as Alertmanager wants them: bcrypt.
const USERS: &str = "basic_auth_users: {me: $2b$04$f9wY/8rgpumD4XRixJVUB.AQNuJqY3BtU7fnWKJNhVrls6uaOo8RW}\n";
/// The same for a request.
const AUTHORIZATION: &str = "Basic bWU6aHVudGVyMg==";

/// Asks until `wanted` gives something.
#[track_caller]
fn wait_for<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_alertmanager_behind_a_password_has_each_alert_once() {
    let Some(alertmanager) = support::foreign("prometheus-alertmanager") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("a file");
    let address = free_address();
    write("web.yml", USERS);
    write("am.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n");
    let mut command = Command::new(alertmanager);
    command.args([
        "--config.file=am.yml",
        "--storage.path=am",
        "--cluster.listen-address=",
        "--web.config.file=web.yml",
    ]);
    command.arg(format!("--web.listen-address={address}")).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().expect("it starts"));
    let (http, url) = (http(), format!("http://{address}/api/v2/alerts"));
    wait_for("an Alertmanager", || http.get(&url).header("Authorization", AUTHORIZATION).call().ok());

    // What a Prometheus elsewhere tells it.
    let alert = json!([{
        "labels": {"alertname": "Always", "severity": "page", "cluster": "eu1"},
        "annotations": {}, "generatorURL": "http://prometheus/graph",
    }]);
    let sent = http.post(&url).header("Authorization", AUTHORIZATION).header("Content-Type", "application/json");
    assert_eq!(read(sent.send(alert.to_string().as_bytes())).status, 200);

    write("rules.yml", "groups: [{name: g, rules: [{alert: Always, expr: vector(1), labels: {severity: page}}]}]");
    write("password", "hunter2\n");
    let section = format!(
        "global: {{external_labels: {{cluster: eu1}}}}\nscrape_configs: []\nalerting:\n  \
           alert_relabel_configs: [{{regex: replica, action: labeldrop}}]\n  \
           alertmanagers:\n  - static_configs: [{{targets: ['{address}']}}]\n    \
           basic_auth: {{username: me, password_file: password}}\n"
    );
    write("prometheus.yml", &section);
    let (rules, file) = (path("rules.yml"), path("prometheus.yml"));
    let args = ["--rule-files", &rules, "--alertmanagers-file", &file, "--external-labels", "cluster=eu1,replica=b"];
    let more = ["--shipped-rules", "off", "--evaluation-interval", "1s"];
    let server = Server::start(&folder.path().join("data"), &[&args[..], &more].concat());
    let all = wait_for("an alert of the server", || {
        let all = read(http.get(&url).header("Authorization", AUTHORIZATION).call()).json();
        let is_ours = |one: &Value| one["generatorURL"].as_str().is_some_and(|link| link.starts_with(&server.url));
        all.as_array().is_some_and(|all| all.iter().any(is_ours)).then_some(all)
    });
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    // Its link leads somewhere.
    let link = all[0]["generatorURL"].as_str().expect("a link");
    let answer = read(http.get(link).call());
    assert_eq!((answer.status, &answer.json()["data"]["resultType"]), (200, &json!("vector")), "{}", answer.body);

    let told = || server.get("/api/v1/alertmanagers").json()["data"]["activeAlertmanagers"].take();
    assert_eq!(told(), json!([{ "url": url }]));
    assert!(!server.get("/metrics").body.contains("hunter2"));
    // A file with a fault is told, and everything stays; a right one is followed.
    write("prometheus.yml", "alerting:\n  alertmanagers:\n  - dns_sd_configs: []\n");
    let answer = server.post("/-/reload", &[], b"");
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("prometheus.yml:3:21: discovery is not supported"), "{}", answer.body);
    assert_eq!(told(), json!([{ "url": url }]));
    write("prometheus.yml", "alerting: {}\n");
    let before_ms = now_ms();
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    assert_eq!(told(), json!([]), "after {} ms", now_ms() - before_ms);
}

#[test]
fn a_wrong_section_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, "global: {}\n").expect("a file");
    let (file, data) = (file.to_str().expect("UTF-8"), folder.path().join("data"));
    let data = data.to_str().expect("UTF-8");
    let (code, _, told) =
        support::run(&["server", "--listen", "127.0.0.1:0", "--data", data, "--alertmanagers-file", file]);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("prometheus.yml:1:1: there is no section `alerting`"), "{told}");
}
