//! Forwarding to Alertmanagers elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Labels;
use rules::posted::{Posted, Tell as _};
use server::alerting::forward::{Forwarder, check_url};

use crate::fake::{Fake, Play, answer};

fn posted(number: usize) -> Posted {
    let number = number.to_string();
    Posted {
        labels: Labels::from_pairs([("alertname", "Down"), ("number", number.as_str())]).expect("labels"),
        annotations: BTreeMap::from([("summary".to_owned(), "x".to_owned())]),
        starts_ms: 1_700_000_000_123,
        ends_ms: 1_700_000_240_000,
        generator_url: "http://mon/graph".to_owned(),
    }
}

fn metric(forwarder: &Forwarder, name: &str) -> Vec<f64> {
    let families = forwarder.families();
    let family = families.iter().find(|family| family.name == name).expect("a family");
    family.samples.iter().map(|sample| sample.value).collect()
}

#[test]
fn every_alertmanager_gets_every_alert() {
    let (one, bad, hangs) =
        (Fake::start(|_| answer(200, "", "")), Fake::start(|_| answer(400, "", "no")), Fake::start(|_| Play::Hang));
    let urls = [format!("{}/prefix/", one.url), bad.url.clone(), hangs.url.clone()];
    let forwarder = Forwarder::new(&urls).expect("three ways");
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
    let forwarder = Forwarder::new(&["http://am:9093/x/".to_owned()]).expect("one way");
    assert_eq!(forwarder.urls(), ["http://am:9093/x/api/v2/alerts"]);
    forwarder.stop(Duration::from_secs(1));
    assert!(Forwarder::new(&vec!["http://am".to_owned(); 33]).is_err());
}
