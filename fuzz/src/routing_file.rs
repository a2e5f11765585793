//! Any text as a routing file: faults have places in it; what is taken routes alerts, can be shown without secrets, and is taken again. And as a
//! section `alerting:`: what is taken changes labels within bounds.

use std::sync::Arc;

use model::Labels;
use rules::config::{FileFault, read, shown};
use rules::event::NoEvents;
use rules::forward;
use rules::forward::relabel::relabel;
use rules::notify::alerts::Incoming;
use rules::notify::delivery::Delivered;
use rules::notify::dispatch::{Dispatcher, Limits};
use rules::posted::Posted;
use rules::shelf::{MemoryShelf, Shelf};

/// Longest file that alerts go through.
const FILE_BYTES_MAX: usize = 64 << 10;
/// 2026-11-23 10:00 UTC.
const NOW_MS: i64 = 1_795_428_000_000;

/// Longest label value that steps may make.
const VALUE_BYTES_MAX: usize = 64 << 10;

fn have_places(text: &str, faults: &[FileFault]) {
    assert!(!faults.is_empty(), "a file is refused without a reason");
    // A carriage return alone ends a line of YAML, too.
    let lines = text.matches(['\n', '\r']).count() as u64 + 1;
    assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)), "{faults:?}");
}

/// The text as a section `alerting:`.
fn forwards(text: &str) {
    let targets = match forward::read("p.yml", text) {
        Ok(targets) => targets,
        Err(faults) => return have_places(text, &faults),
    };
    assert!(targets.len() <= forward::TARGETS_MAX, "{}", targets.len());
    for target in targets {
        assert!(target.url.starts_with("http"), "{}", target.url);
        let labels = [("alertname", "A"), ("severity", "page"), ("replica", "b")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let Some(changed) = relabel(&target.relabel, labels.into()) else { continue };
        assert!(changed.values().all(|value| (1..=VALUE_BYTES_MAX).contains(&value.len())), "a value out of bounds");
    }
}

/// The bytes are the file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > FILE_BYTES_MAX {
        return;
    }
    forwards(text);
    let config = match read("am.yml", text) {
        Ok(config) => Arc::new(config),
        Err(faults) => return have_places(text, &faults),
    };
    assert!(!shown(text).is_empty(), "what is read can be shown");
    let shelf = MemoryShelf::default();
    let open = |shelf: &MemoryShelf, now_ms| {
        Dispatcher::open(Arc::clone(&config), Limits::default(), shelf, Arc::new(NoEvents), now_ms)
            .expect("memory keeps")
    };
    let mut dispatcher = open(&shelf, NOW_MS);
    let alert = |name: &str, severity: &str| {
        let labels =
            Labels::from_pairs([("alertname", name), ("severity", severity), ("team", "web"), ("instance", "a/b")]);
        let labels = labels.expect("labels");
        Incoming::from(Posted {
            labels,
            annotations: std::collections::BTreeMap::new(),
            starts_ms: NOW_MS,
            ends_ms: NOW_MS + 3_600_000,
            generator_url: String::new(),
        })
    };
    dispatcher.put([alert("A", "page"), alert("B", "ticket")], NOW_MS);
    for step in 0..8 {
        let now_ms = NOW_MS + step * 30_000;
        for outgoing in dispatcher.due(now_ms) {
            assert!(!outgoing.notification.alerts.is_empty(), "something is told");
            let delivered = Delivered::Taken { answer: String::new(), attempts: 1 };
            dispatcher.delivered(outgoing.ticket, &delivered, now_ms);
        }
        assert!(dispatcher.next_due_ms() > now_ms, "what was due is done");
        shelf.change(&dispatcher.take_changes(now_ms)).expect("memory keeps");
        let before = dispatcher.alerts(now_ms).len();
        dispatcher = open(&shelf, now_ms);
        assert_eq!(dispatcher.alerts(now_ms).len(), before, "what was kept is taken up");
    }
}
