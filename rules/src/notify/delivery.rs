//! What is handed over to be sent, and what comes back of it.
//!
//! Deciding that a receiver is told, and what, ends with a [`Notification`]. Rendering and sending it, with retries until its deadline, is
//! done behind [`Deliver`]; what became of it comes back as [`Delivered`] and is then written down as told, or not.

use std::collections::BTreeMap;
use std::fmt;

use model::Labels;

use super::decision::{Fingerprint, Reason};

/// An alert as it is when a receiver is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifiedAlert {
    /// What it is known by, `alertname` among them.
    pub labels: Labels,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// When it began, milliseconds since the Unix epoch.
    pub starts_ms: i64,
    /// When it ended; `None` while it fires.
    pub ends_ms: Option<i64>,
    /// Where a person can look at it; empty for nowhere.
    pub generator_url: String,
    /// The number it is known by.
    pub fingerprint: Fingerprint,
}

impl NotifiedAlert {
    /// Whether it has ended.
    pub fn is_resolved(&self) -> bool {
        self.ends_ms.is_some()
    }
}

/// Something to tell one integration of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Which group of alerts it is about, in Alertmanager's form: `{}/{team="web"}:{alertname="Leak"}`.
    pub group_key: String,
    /// Name of the receiver.
    pub receiver: String,
    /// Which of the receiver's integrations, counted from 0 in the order of its list.
    pub integration: usize,
    /// Why it is told.
    pub reason: Reason,
    /// At least one, in the order in which they are told: by `job`, `instance`, then all labels. Where ends are not sent, those that fire alone.
    pub alerts: Vec<NotifiedAlert>,
    /// The labels that the group has in common by its route's `group_by`.
    pub group_labels: Labels,
    /// The `labels` of its route and of those above, as they are written: templates that the renderer fills.
    pub route_labels: BTreeMap<String, String>,
    /// When it was decided, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// When whoever sends it gives up. By then the group is looked at again, and what was not delivered is decided anew.
    pub deadline_ms: i64,
}

/// What became of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// The other side took it.
    Taken {
        /// Its answer in short, for the event log; never a secret.
        answer: String,
        /// How often it was sent.
        attempts: u32,
    },
    /// The other side did not, or nobody was reached until the deadline.
    Failed {
        /// Why, for people; never a secret.
        error: String,
        /// How often it was sent; 0 when it was not even tried.
        attempts: u32,
    },
    /// Nobody needs it any more: a newer one of its group took its place, or its receiver is gone. Nothing is wrong with the other side.
    Superseded {
        /// By what, for people; never a secret.
        why: String,
        /// How often it was sent.
        attempts: u32,
    },
}

/// Called once, from any thread, when it is known what became of a notification.
pub type Done = Box<dyn FnOnce(Delivered) + Send>;

/// Sends notifications.
pub trait Deliver: Send + Sync + fmt::Debug {
    /// Takes `notification` and returns at once; `done` is called when it was delivered, failed for good, found no place in a queue, or was not
    /// delivered by its deadline.
    fn deliver(&self, notification: Notification, done: Done);
}
