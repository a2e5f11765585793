//! Any text as a template of notifications: faults have places in it, and what is filled keeps its limits.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use model::Labels;
use rules::config::receivers::TemplateText;
use rules::notify::decision::Reason;
use rules::notify::delivery::{Notification, NotifiedAlert};
use rules::receivers::{NotificationData, Templates};
use rules::template::Limits;

/// Read once: there are many.
static OURS: OnceLock<Templates> = OnceLock::new();

fn alert(instance: &str, ends_ms: Option<i64>) -> NotifiedAlert {
    NotifiedAlert {
        labels: Labels::from_pairs([("alertname", "A<b>"), ("instance", instance)]).expect("labels"),
        annotations: BTreeMap::from([("summary".to_owned(), "\"x\" & <y>".to_owned())]),
        starts_ms: 1_700_000_000_000,
        ends_ms,
        generator_url: "http://mon/graph".to_owned(),
        fingerprint: 7,
    }
}

/// The bytes are the template.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let notification = Notification {
        group_key: "{}:{alertname=\"A\"}".to_owned(),
        receiver: "ops".to_owned(),
        integration: 0,
        reason: Reason::First,
        alerts: vec![alert("a:1", None), alert("b:1", Some(1_700_000_050_000))],
        group_labels: Labels::from_pairs([("alertname", "A<b>")]).expect("labels"),
        route_labels: BTreeMap::new(),
        at_ms: 1_700_000_060_000,
        deadline_ms: 1_700_000_360_000,
    };
    let data = NotificationData::new(&notification, "http://mon");
    let ours = OURS.get_or_init(|| Templates::new([]).expect("our own templates"));
    let lines = text.matches('\n').count() + 1;
    let filling = ours.filler(&data);
    for filled in [filling.plain("t", text), filling.html("t", &TemplateText::new(text))] {
        match filled {
            Ok(filled) => {
                assert!(filled.len() <= Limits::default().bytes_max.max(text.len()), "{} bytes", filled.len());
            }
            Err(fault) => {
                assert!(fault.column >= 1 && (fault.name != "t" || (1..=lines).contains(&fault.line)), "{fault}");
            }
        }
    }
    // As a file of templates beside our own.
    if let Ok(templates) = Templates::new([("t", text)]) {
        let filling = templates.filler(&data);
        drop(filling.plain("subject", "{{ template \"__subject\" . }}"));
        drop(filling.html("html", &TemplateText::new("{{ template \"email.default.html\" . }}")));
    }
}
