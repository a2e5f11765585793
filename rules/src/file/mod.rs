//! Rule files: groups of recording and alerting rules, checked whole.
//!
//! The form is Prometheus's: <https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/> and `…/alerting_rules/`.
//! Every fault of a file is told, not just the first. Beside Prometheus's keys there are some of our own: [`params`] and `overrides`,
//! `on_no_data`, `on_error`, `capture` and `burst`.

mod check;
mod compared;
mod data;
mod extend;
mod judged;
pub mod lint;
pub mod params;
mod raw;

use std::collections::BTreeMap;

use model::{CaptureKind, LabelsRef};

use crate::alert::Waits;
use crate::template::Library;
pub use crate::yaml::FileFault;
pub use compared::{Comparison, Joined, comparisons};
pub use judged::Verdict;
pub use params::{Case, Level, Params, RuleQuery};

/// Most groups in a file.
pub const GROUPS_MAX: usize = 10_000;
/// Most rules in a group.
pub const RULES_MAX: usize = 10_000;

/// The variables of labels and annotations.
pub const VARIABLES: [&str; 5] = ["labels", "externalLabels", "externalURL", "value", "params"];

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// Its name.
    pub name: String,
    /// In their order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other at the same moments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// One of a kind in its file.
    pub name: String,
    /// Time between two evaluations; `None`: the server's.
    pub interval_ms: Option<i64>,
    /// How far back it evaluates; `None`: the server's.
    pub query_offset_ms: Option<i64>,
    /// Most alerts or series of a rule; 0: any number.
    pub limit: usize,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Name of the series it records, or of its alert.
    pub name: String,
    /// The expression as it is written, parameters as `$name`.
    pub text: String,
    /// The expression as people are told it: in PromQL's canonical spelling, or as it is written where it has parameters.
    pub shown: String,
    /// The expressions it asks, at least one: the first is of the rule's own parameters.
    pub queries: Vec<RuleQuery>,
    /// How it reads for which series, the most specific first; the last is for all others.
    pub cases: Vec<Case>,
    /// Set on what it makes, its group's among them; templates in an alerting rule.
    pub labels: BTreeMap<String, String>,
    /// What it makes.
    pub kind: Kind,
    /// Its line in the file, from 1.
    pub line: u64,
}

impl Rule {
    /// The number of the first of its cases that is for a series with `labels`.
    pub fn case_of(&self, labels: LabelsRef<'_>) -> usize {
        let last = self.cases.len().saturating_sub(1);
        self.cases.iter().position(|case| case.matches(labels)).unwrap_or(last)
    }

    /// What it has as an alerting rule.
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            Kind::Alerting(alerting) => Some(alerting),
            Kind::Recording => None,
        }
    }
}

/// What a rule makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Series.
    Recording,
    /// Alerts.
    Alerting(Box<Alerting>),
}

/// What only alerting rules have.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerting {
    /// `for` and `keep_firing_for`, where no override says otherwise.
    pub waits: Waits,
    /// Text for people: templates.
    pub annotations: BTreeMap<String, String>,
    /// The templates of labels and annotations, as `label:NAME` and `annotation:NAME`.
    pub templates: Library,
    /// What becomes of alerts whose series have no data.
    pub on_no_data: OnNoData,
    /// What becomes of them when the expression cannot be computed.
    pub on_error: OnError,
    /// What is captured of the process that an alert is about when it begins to fire.
    pub capture: Vec<Capture>,
    /// For how many seconds that process is then read many times a second; 0: it is not.
    pub burst_seconds: u64,
}

/// What becomes of alerts whose series have no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNoData {
    /// They end, as those whose condition is false.
    #[default]
    Resolve,
    /// They stay as they are until there is data.
    Keep,
    /// No data counts as the condition: they go on, after `for` they fire. Without any series there is one alert without their labels.
    Alert,
    /// They stay as they are, and after `for` an alert `NoData` fires that names the rule.
    NoData,
}

/// What becomes of a rule's alerts when its expression cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// They stay as they are.
    #[default]
    Keep,
    /// They stay as they are, and after `for` an alert `RuleError` fires that names the rule.
    Alert,
}

/// Something to capture of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// What.
    pub kind: CaptureKind,
    /// Over how long; 0 for a state.
    pub seconds: u32,
}

/// Reads a rule file.
///
/// # Errors
///
/// All that is wrong with it, in its order.
pub fn read(name: &str, text: &str) -> Result<RuleFile, Vec<FileFault>> {
    let raw = crate::yaml::read(name, text).map_err(|fault| vec![fault])?;
    check::file(name, raw)
}
