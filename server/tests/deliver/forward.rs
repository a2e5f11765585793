//! Forwarding to Alertmanagers elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Labels;
use rules::posted::{Posted, Tell as _};
use server::alerting::forward::{Forwarder, check_url, read_targets};

use crate::fake::{Fake, Play, answer};

pub(crate) fn posted(number: usize) -> Posted {
    let number = number.to_string();
    Posted {
        labels: Labels::from_pairs([("alertname", "Down"), ("number", number.as_str())]).expect("labels"),
        annotations: BTreeMap::from([("summary".to_owned(), "x".to_owned())]),
        starts_ms: 1_700_000_000_123,
        ends_ms: 1_700_000_240_000,
        generator_url: "http://mon/graph".to_owned(),
    }
}

pub(crate) fn metric(forwarder: &Forwarder, name: &str) -> Vec<f64> {
    let families = forwarder.families();
    let family = families.iter().find(|family| family.name == name).expect("a family");
    family.samples.iter().map(|sample| sample.value).collect()
}

#[test]
fn every_alertmanager_gets_every_alert() {
    let (one, bad, hangs) =
        (Fake::start(|_| answer(200, "", "")), Fake::start(|_| answer(400, "", "no")), Fake::start(|_| Play::Hang));
    let urls = [format!("{}/prefix/", one.url), bad.url.clone(), hangs.url.clone()];
    let forwarder = Forwarder::new(read_targets(&urls, None).expect("addresses")).expect("three ways");
    forwarder.tell((0..600).map(posted).collect());
    while metric(&forwarder, "metrickit_forwarded_alerts_total")[0] < 600.0
        || metric(&forwarder, "metrickit_forward_errors_total")[1] < 600.0
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let got = one.got();
    let sizes: Vec<usize> = got.iter().map(|got| got.json().as_array().expect("a list").len()).collect();
    assert_eq!(sizes, [256, 256, 88]);
    assert_eq!(got[0].line, "POST /prefix/api/v2/alerts HTTP/1.1");
    assert_eq!(
        got[0].json()[7],
        serde_json::json!({
            "labels": {"alertname": "Down", "number": "7"},
            "annotations": {"summary": "x"},
            "startsAt": "2023-11-14T22:13:20.123Z",
            "endsAt": "2023-11-14T22:17:20Z",
            "generatorURL": "http://mon/graph",
        })
    );
    forwarder.tell((0..12_000).map(posted).collect());
    let dropped = metric(&forwarder, "metrickit_forward_dropped_total")[2];
    let waiting = metric(&forwarder, "metrickit_forward_queue_length")[2];
    assert!(dropped >= 2000.0 && waiting <= 10_000.0, "{dropped} {waiting}");
    forwarder.stop(Duration::from_millis(50));
}

#[test]
fn addresses() {
    assert!(check_url("http://am:9093").is_ok() && check_url("https://am/x").is_ok());
    for wrong in ["am:9093", "https://user:hunter2@am", "ftp://am", "http://", "http://am/?token=hunter2"] {
        let told = check_url(wrong).expect_err(wrong);
        assert!(!told.contains("hunter2"), "{told}");
    }
    let targets = read_targets(&["http://am:9093/x/".to_owned()], None).expect("an address");
    assert_eq!(targets[0].url, "http://am:9093/x/api/v2/alerts");
    assert!(read_targets(&vec!["http://am".to_owned(); 33], None).is_err());
}

/// What Prometheus's `alerting:` section says: authentication with secrets from files, and labels changed for all and for one.
#[test]
fn a_section_of_prometheus_is_followed() {
    let (one, other) = (Fake::start(|_| answer(200, "", "")), Fake::start(|_| answer(403, "", "hunter2 is wrong")));
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let address = |fake: &Fake| fake.url.trim_start_matches("http://").to_owned();
    let (first, second) = (address(&one), address(&other));
    write("password", "hunter2\n");
    write("token", "hunter2");
    let section = format!(
        "
alerting:
  alert_relabel_configs:
  - {{regex: number, action: labeldrop}}
  - {{source_labels: [alertname], regex: Quiet, action: drop}}
  alertmanagers:
  - static_configs: [{{targets: ['{first}']}}]
    path_prefix: am
    basic_auth: {{username: me, password_file: password}}
    alert_relabel_configs: [{{target_label: via, replacement: one}}]
  - static_configs: [{{targets: ['{second}']}}]
    authorization: {{credentials_file: token}}
"
    );
    write("prometheus.yml", &section);
    let targets = read_targets(&[], Some(&folder.path().join("prometheus.yml"))).expect("a section");
    let forwarder = Forwarder::new(targets).expect("two ways");
    let quiet = Posted { labels: Labels::from_pairs([("alertname", "Quiet")]).expect("labels"), ..posted(2) };
    forwarder.tell(vec![posted(1), quiet]);
    forwarder.stop(Duration::from_secs(30));
    assert_eq!(metric(&forwarder, "metrickit_forwarded_alerts_total"), [1.0, 0.0]);
    assert_eq!(metric(&forwarder, "metrickit_forward_errors_total"), [0.0, 1.0]);
    let (one, other) = (one.got(), other.got());
    assert_eq!(one[0].line, "POST /am/api/v2/alerts HTTP/1.1");
    assert_eq!(one[0].header("authorization"), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(one[0].json()[0]["labels"], serde_json::json!({"alertname": "Down", "via": "one"}));
    assert_eq!(other[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(other[0].json()[0]["labels"], serde_json::json!({"alertname": "Down"}));
    assert_eq!(other[0].json().as_array().map(Vec::len), Some(1));
    let trouble = forwarder.troubles().concat();
    assert!(trouble.contains("status 403") && !trouble.contains("hunter2"), "{trouble}");
}
