//! What happens to alerts, as the event log keeps it: append-only, one JSON object each, readable by people and programs.
//!
//! Owns the shapes. Whoever does something records it through [`EventLog`]; the server keeps the events in bounded files.

use std::collections::BTreeMap;
use std::fmt;

use model::LabelsRef;
use serde::{Deserialize, Serialize};

use crate::notify::decision::Fingerprint;
use crate::notify::delivery::NotifiedAlert;

/// Labels in an event.
pub type EventLabels = BTreeMap<String, String>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A rule's alert became something else.
    AlertState {
        /// The alert, as [`fingerprint_text`] writes it.
        fingerprint: String,
        /// What it is known by.
        labels: EventLabels,
        /// `FILE;GROUP`, or nothing where the alert came through the API.
        group: String,
        /// `inactive`, `pending`, `firing` or `resolved`.
        from: String,
        /// The same.
        to: String,
        /// The sample's value; `None` when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
    },
    /// An alert came for the first time, or again after it had ended, and goes these ways.
    Routed {
        /// The alert.
        fingerprint: String,
        /// What it is known by.
        labels: EventLabels,
        /// The groups it is told in.
        group_keys: Vec<String>,
        /// The receivers of these groups, in the same order.
        receivers: Vec<String>,
    },
    /// An alert that would be told is not.
    Suppressed {
        /// The alert.
        fingerprint: String,
        /// What it is known by.
        labels: EventLabels,
        /// The group.
        group_key: String,
        /// Its receiver.
        receiver: String,
        /// Why.
        why: Suppression,
    },
    /// An alert that was not told for the reasons of an earlier [`Self::Suppressed`] may be told again.
    Released {
        /// The alert.
        fingerprint: String,
        /// What it is known by.
        labels: EventLabels,
        /// The group.
        group_key: String,
        /// Its receiver.
        receiver: String,
    },
    /// A notification was delivered, or given up.
    Delivery {
        /// The group.
        group_key: String,
        /// The receiver.
        receiver: String,
        /// Which of its integrations, from 0.
        integration: usize,
        /// Why it was sent, as notifications say it.
        reason: String,
        /// Alerts in it that fire.
        firing: Vec<String>,
        /// Alerts in it that ended.
        resolved: Vec<String>,
        /// What they are known by, as [`alerts_told`] has it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<EventLabels>,
        /// Whether the other side took it.
        ok: bool,
        /// Whether it was given up because nobody needs it any more: for a newer one, or because its receiver is gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        superseded: bool,
        /// Its answer, or why it failed.
        answer: String,
        /// How often it was sent.
        attempts: u32,
    },
    /// An attempt to deliver a notification failed, and another follows. The last attempt is told by [`Self::Delivery`].
    Attempt {
        /// The group.
        group_key: String,
        /// The receiver.
        receiver: String,
        /// Which of its integrations, from 0.
        integration: usize,
        /// What the alerts in it are known by, as [`alerts_told`] has it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alerts: Vec<EventLabels>,
        /// Which attempt, from 1.
        attempt: u32,
        /// What the other side said, or why it was not reached; never a secret.
        answer: String,
        /// When the next attempt follows at the earliest, from now.
        again_after_ms: i64,
    },
    /// A silence was made, changed, or ended.
    Silence {
        /// Its id.
        id: String,
        /// `created`, `updated` or `expired`.
        change: String,
        /// Who made it.
        by: String,
        /// Why.
        comment: String,
        /// What it mutes, in the syntax of matchers.
        matchers: String,
        /// Begin, milliseconds since the Unix epoch.
        starts_ms: i64,
        /// End.
        ends_ms: i64,
    },
    /// Somebody took an alert on, or an acknowledgement ended.
    Ack {
        /// The alert.
        fingerprint: String,
        /// What it is known by.
        labels: EventLabels,
        /// `created`, `removed`, `expired` or `resolved`.
        change: String,
        /// Who.
        owner: String,
        /// What they said.
        note: String,
    },
    /// A group of rules, or a rule in it, could not be evaluated.
    GroupTrouble {
        /// `FILE;GROUP`.
        group: String,
        /// Name of the rule, if it is about one.
        rule: String,
        /// What is wrong.
        message: String,
    },
    /// The alerting itself has something to say: state that could not be read, a bound that was met, a file that was read anew.
    Note {
        /// What.
        message: String,
    },
}

/// Why an alert is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Suppression {
    /// Another alert fires.
    Inhibition {
        /// Name of the rule; may be empty.
        rule: String,
        /// That alert.
        source: String,
    },
    /// Silences.
    Silence {
        /// Their ids.
        ids: Vec<String>,
    },
    /// A time interval of the route in which nothing is told.
    MuteTime {
        /// Its name.
        interval: String,
    },
    /// None of the time intervals in which the route tells holds.
    OutsideActiveTime,
    /// It is open and was told; somebody took it on, so it is not repeated.
    Ack {
        /// Who.
        owner: String,
    },
    /// It comes and goes, and is held open.
    Flapping {
        /// How often it changed within the route's window.
        changes: usize,
    },
}

/// Keeps events.
pub trait EventLog: Send + Sync + fmt::Debug {
    /// Takes note of `event`; never waits for a disk.
    fn record(&self, event: Event);
}

/// Forgets events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventLog for NoEvents {
    fn record(&self, _: Event) {}
}

/// A fingerprint as APIs write it: 16 hexadecimal digits.
pub fn fingerprint_text(fingerprint: Fingerprint) -> String {
    format!("{fingerprint:016x}")
}

/// `labels` as events have them.
pub fn event_labels(labels: LabelsRef<'_>) -> EventLabels {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The labels of `alerts` as events have them: those that come first, up to 16 KiB.
pub fn alerts_told(alerts: &[NotifiedAlert]) -> Vec<EventLabels> {
    const BYTES_MAX: usize = 16 << 10;
    let mut bytes = 0;
    let fits = |alert: &&NotifiedAlert| {
        bytes += alert.labels.packed().len();
        bytes <= BYTES_MAX
    };
    alerts.iter().take_while(fits).map(|alert| event_labels(alert.labels.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_json() {
        let event = Event {
            at_ms: 5,
            kind: EventKind::Suppressed {
                fingerprint: fingerprint_text(255),
                labels: [("job".to_owned(), "api".to_owned())].into(),
                group_key: "{}:{}".to_owned(),
                receiver: "ops".to_owned(),
                why: Suppression::Silence { ids: vec!["1".to_owned()] },
            },
        };
        let text = serde_json::to_string(&event).expect("JSON");
        assert_eq!(
            text,
            "{\"at_ms\":5,\"event\":\"suppressed\",\"fingerprint\":\"00000000000000ff\",\"labels\":{\"job\":\"api\"},\
             \"group_key\":\"{}:{}\",\"receiver\":\"ops\",\"why\":{\"by\":\"silence\",\"ids\":[\"1\"]}}"
        );
        assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event);
    }
}
