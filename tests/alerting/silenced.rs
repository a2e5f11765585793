//! A silence in the real program: it holds over `kill -9`, and what it kept quiet is told when it ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, http, now_ms, read, request, series};
use crate::web::Web;

const RULES: &str = "groups: [{name: g, rules: [{alert: Broken, expr: broken > 0}]}]";

/// Each notification as instance and status of its alerts.
type Told = Arc<Mutex<Vec<(String, String)>>>;

fn receiver() -> (Web, Told) {
    let told = Told::default();
    let book = Arc::clone(&told);
    let web = Web::start(Arc::new(move |_: &str, body: &[u8]| {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let alerts = body["alerts"].as_array().expect("alerts").iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let said = alerts.map(|alert| (text(&alert["labels"]["instance"]), text(&alert["status"])));
        book.lock().expect("nobody panics with it").extend(said);
        (200, String::new())
    }));
    (web, told)
}

/// Says that `instances` are broken until `look` finds what it looks for.
fn until<T>(server: &Server, instances: &[&str], what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let broken = |instance: &&str| {
            series(&[("__name__", "broken"), ("instance", instance), ("job", "x")], &[(now_ms(), 1.0)])
        };
        let answer = server.write(&request(instances.iter().map(broken).collect()));
        assert!((200..300).contains(&answer.status), "{}", answer.body);
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// By which silences the alert of `instance` is kept quiet, if it is known.
fn silenced_by(server: &Server, instance: &str) -> Option<Value> {
    let all = server.get("/api/v2/alerts").json();
    let alert = all.as_array()?.iter().find(|alert| alert["labels"]["instance"] == instance)?;
    Some(alert["status"]["silencedBy"].clone())
}

#[test]
fn a_silence_holds_over_a_kill_and_its_end_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (web, told) = receiver();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let route = "{receiver: ops, group_by: [instance], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}";
    let hook = format!("[{{name: ops, webhook_configs: [{{url: 'http://{}/'}}]}}]", web.address);
    let (rules, routes) = (file("rules.yml", RULES), file("am.yml", &format!("route: {route}\nreceivers: {hook}\n")));
    let args = ["--rule-files", &rules, "--alerting-config", &routes, "--evaluation-interval", "1s"];
    let start = || Server::start(&folder.path().join("data"), &[&args[..], &["--shipped-rules", "off"]].concat());
    let is_told = |instance: &str| {
        let told = told.lock().expect("nobody panics with it");
        told.contains(&(instance.to_owned(), "firing".to_owned())).then_some(())
    };
    let server = start();
    until(&server, &["a"], "the alert of a", || is_told("a"));
    let silence = json!({
        "matchers": [{"name": "instance", "value": "b", "isRegex": false}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "ann", "comment": "known",
    });
    let made = server.post("/api/v2/silences", &[("Content-Type", "application/json")], silence.to_string().as_bytes());
    let id = made.json()["silenceID"].clone();
    until(&server, &["a", "b"], "the alert of b", || silenced_by(&server, "b").filter(|by| *by == json!([id])));
    server.kill();
    let server = start();
    // The program tells, evaluates, and still knows: others begin, b stays quiet.
    until(&server, &["a", "b", "c"], "the alert of c", || is_told("c"));
    until(&server, &["a", "b", "c"], "the silence", || silenced_by(&server, "b").filter(|by| *by == json!([id])));
    assert!(is_told("b").is_none(), "{told:?}");
    let url = format!("{}/api/v2/silence/{}", server.url, id.as_str().expect("an id"));
    let ended = read(http().delete(&url).call());
    assert_eq!(ended.status, 200, "{}", ended.body);
    until(&server, &["a", "b", "c"], "the alert of b after its silence", || is_told("b"));
    let told = told.lock().expect("nobody panics with it");
    assert!(told.iter().all(|(_, status)| status == "firing"), "{told:?}");
}
