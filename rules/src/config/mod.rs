//! The routing file: who is told of which alerts, when, and what keeps them quiet.
//!
//! The form is Alertmanager's (<https://prometheus.io/docs/alerting/latest/configuration/>), so that its files work unchanged, and a few keys of our
//! own: in routes `escalate`, `flap` and `reevaluate_after_mute`; at the top `heartbeat`, `topology_inhibit` and `recurring_silences`.
//! Every fault of a file is told with its place. Receivers are [`receivers`]'s; what the tree decides is [`crate::route`]'s.

pub(crate) mod check;
pub(crate) mod hints;
mod inhibit;
mod raw;
pub mod receivers;
mod routes;
mod shown;
mod times;

use std::collections::BTreeMap;

use model::Matcher;

use crate::interval::Interval;
use crate::notify::inhibit::InhibitRule;
use crate::route::Route;
pub use crate::yaml::FileFault;
use receivers::{Global, Receiver};
pub use shown::shown;
pub use times::parse_intervals;

/// Most nodes of the routing tree.
pub const ROUTES_MAX: usize = 10_000;
/// Longest key of a route: the matchers from the root on.
pub const ROUTE_KEY_BYTES_MAX: usize = 8 << 10;
/// Most levels of the routing tree.
pub const ROUTE_LEVELS_MAX: usize = 16;
/// Most receivers.
pub const RECEIVERS_MAX: usize = 10_000;
/// Most inhibition rules, those by topology among them.
pub const INHIBIT_RULES_MAX: usize = 1_000;
/// Most named time intervals, and most of its own that each has.
pub const INTERVALS_MAX: usize = 1_000;
/// Most steps of an escalation.
pub const ESCALATION_STEPS_MAX: usize = 16;
/// Most changes that a flap hold may wait for.
pub const FLAP_CHANGES_MAX: usize = 32;
/// Shortest time between two heartbeats.
pub const HEARTBEAT_MS_MIN: i64 = 1_000;

/// `resolve_timeout` where the file says nothing.
pub const RESOLVE_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// What a routing file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The root of the tree.
    pub route: Route,
    /// Which alerts keep which quiet.
    pub inhibit: Vec<InhibitRule>,
    /// What receivers have where they say nothing themselves.
    pub global: Global,
    /// In their order.
    pub receivers: Vec<Receiver>,
    /// Named times; one holds when any of its list does.
    pub intervals: BTreeMap<String, Vec<Interval>>,
    /// Files of templates, as they are written: names with `*`.
    pub templates: Vec<String>,
    /// How long an alert fires whose sender does not say until when.
    pub resolve_timeout_ms: i64,
    /// A message at regular times, whose absence tells that nobody tells any more.
    pub heartbeat: Option<Heartbeat>,
    /// Silences that the file makes.
    pub silences: Vec<RecurringSilence>,
    /// The file, as people wrote it.
    pub text: FileText,
}

/// A file as people wrote it, secrets included: [`shown()`] is for people, this is not.
#[derive(Clone, PartialEq, Eq)]
pub struct FileText(String);

impl FileText {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for FileText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// A message at regular times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who gets it.
    pub receiver: String,
    /// Time between two.
    pub interval_ms: i64,
    /// Labels of the alert it has; `alertname` is `Heartbeat` unless they say otherwise.
    pub labels: BTreeMap<String, String>,
}

/// A silence at times that come again.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurringSilence {
    /// One of a kind.
    pub name: String,
    /// What an alert has that it mutes.
    pub matchers: Vec<Matcher>,
    /// Names of the time intervals in which it mutes.
    pub intervals: Vec<String>,
    /// Why.
    pub comment: String,
}

impl Config {
    /// The receiver `name`.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// Whether one of the times called `name` holds.
    pub fn holds(&self, name: &str, time: jiff::Timestamp) -> bool {
        self.intervals.get(name).is_some_and(|all| all.iter().any(|interval| interval.contains(time)))
    }
}

/// Reads a routing file whose name is `name`.
///
/// # Errors
///
/// All that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Config, Vec<FileFault>> {
    let raw = crate::yaml::read(name, text).map_err(|fault| vec![fault])?;
    check::config(name, text, raw)
}
