//! The body of webhooks beside that of Debian's Alertmanager for the same alerts.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{Fake, answer};
use crate::stage::{Stage, taken};

const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";
/// Longest wait for a program to begin to listen, and to send.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>, what: &str) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bodies_are_those_of_alertmanager() {
    if !std::path::Path::new(PROGRAM).exists() {
        let told = writeln!(std::io::stderr(), "skipped: {PROGRAM} is missing");
        assert!(told.is_ok());
        return;
    }
    let theirs = Fake::start(|_| answer(200, "", ""));
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = "team.web (1)";
    let settings = format!(
        "route: {{receiver: '{receiver}', group_by: [alertname], group_wait: 1s, group_interval: 1s}}\nreceivers:\n- name: '{receiver}'\n  webhook_configs: [{{url: '{}/', max_alerts: 2}}]\n",
        theirs.url
    );
    std::fs::write(folder.path().join("am.yml"), settings).expect("a file");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let child = Command::new(PROGRAM)
        .arg(format!("--config.file={}", folder.path().join("am.yml").display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--cluster.listen-address=", "--web.external-url=http://mon"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let _running = Running(child);
    let alerts: Vec<Value> = ["b:1", "a:1", "c:1"]
        .iter()
        .map(|instance| {
            json!({
                "labels": {"alertname": "Lea\"k", "instance": instance, "severity": "page"},
                "annotations": {"summary": "<ünïcode> & \"quotes\"", "only": instance},
                "startsAt": "2023-11-14T22:13:20.123Z",
                "generatorURL": "http://mon/graph?g0.expr=up",
            })
        })
        .collect();
    let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
    let body = serde_json::to_vec(&alerts).expect("JSON");
    let url = format!("http://127.0.0.1:{port}/api/v2/alerts");
    wait_for(|| agent.post(&url).header("Content-Type", "application/json").send(&body[..]).ok(), "Alertmanager");
    let theirs = wait_for(|| theirs.got().first().map(crate::fake::Got::json), "its notification");

    let ours = Fake::start(|_| answer(200, "", ""));
    let stage =
        Stage::new(&format!("- name: {receiver}\n  webhook_configs: [{{url: '{}/', max_alerts: 2}}]\n", ours.url));
    let notified: Vec<_> = ["a:1", "b:1", "c:1"]
        .iter()
        .map(|instance| {
            let mut alert = crate::stage::alert("Lea\"k", instance);
            let labels = [("alertname", "Lea\"k"), ("instance", instance), ("severity", "page")];
            alert.labels = model::Labels::from_pairs(labels).expect("labels");
            alert.fingerprint = rules::posted::fingerprint(alert.labels.as_ref());
            alert.annotations = [("summary", "<ünïcode> & \"quotes\""), ("only", instance)]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into();
            alert.starts_ms = 1_700_000_000_123;
            alert.generator_url = "http://mon/graph?g0.expr=up".to_owned();
            alert
        })
        .collect();
    stage.send_alerts(receiver, "{}:{alertname=\"Lea\\\"k\"}", &[("alertname", "Lea\"k")], notified);
    assert_eq!(taken(&stage.only()).1, 1);
    let mut ours = ours.got()[0].json();
    // Newer than the Alertmanager beside.
    assert_eq!(
        ours.as_object_mut().and_then(|body| body.remove("notification_reason")),
        Some("first notification".into())
    );
    assert_eq!(ours, theirs);
}
