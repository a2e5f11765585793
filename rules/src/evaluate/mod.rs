//! Evaluation of rules: a group, what it knew, and a moment become samples, alerts to tell, and what it knows from then on.
//!
//! No clocks, threads or files: [`GroupState::evaluate`] asks a [`World`] and is told the time, so that the server, unit tests of rules and
//! backtests have one evaluator. Semantics are Prometheus's (`rules/group.go`, `rules/alerting.go`, `rules/recording.go`); what
//! goes beyond is said where it is done.
//!
//! - [`recording`] and [`alerting`] evaluate one rule. What rules make is written in batches: before a rule that reads what
//!   those before it made ([`stages`]), and at the end.
//! - [`explain`] tells why a rule's alerts are as they are.
//! - [`kept`] is what outlives the process and reloads.
//! - [`schedule`] says when groups are evaluated.

mod active;
mod alerting;
pub mod explain;
pub mod kept;
mod recording;
pub mod schedule;
mod sides;
mod stages;
mod stored;
mod texts;

use std::collections::BTreeMap;

use model::{Labels, LabelsRef, SampleValue};
use query::VectorElement;
use query::ast::Expr;

use crate::alert::State;
use crate::file::{Capture, Group, Kind};
use crate::posted::Posted;
use crate::shelf::Change;
pub use active::ActiveAlert;
use kept::Identity;

/// Time between two tellings of an alert that stays as it is.
pub const RESEND_MS: i64 = 60_000;
/// How long after a start, or after the clock was set forward, missing data of an alert that was not seen since is no evidence: agents may not have
/// sent yet what they kept meanwhile.
pub const SETTLING_MS: i64 = 5 * 60_000;
/// Most times between two evaluations that count as none having been missed.
const INTERVALS_MISSED_MIN: i64 = 2;
/// How often what changes all the time is put on the shelf: values, texts, that the group is evaluated.
const REFRESH_MS: i64 = 60_000;

/// What rules look at and act on.
pub trait World: Sync {
    /// The instant vector that `expr`, written as `text`, is at `at_ms`; a scalar is a vector of one element without labels.
    ///
    /// # Errors
    ///
    /// When it is neither, or cannot be computed.
    fn vector(&self, text: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String>;

    /// Takes what rules made; queries from now on see it.
    ///
    /// # Errors
    ///
    /// When nothing of it, or only a part, could be taken.
    fn write(&self, samples: Vec<RuleSample>) -> Result<(), String>;

    /// Has something captured of the process that an alert is about. Returns where it can be looked at.
    fn capture(&self, _wish: &CaptureWish<'_>) -> Option<String> {
        None
    }

    /// Has the process that an alert with `labels` is about read many times a second, for `seconds`. Returns what is told of it.
    fn burst(&self, _labels: LabelsRef<'_>, _seconds: u64) -> Option<String> {
        None
    }

    /// Whether the evaluation is to end now. What it came to counts for nothing then.
    fn is_canceled(&self) -> bool {
        false
    }

    /// Microseconds since whenever, to tell how long rules take.
    fn moment_us(&self) -> u64 {
        0
    }
}

/// A sample that a rule made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSample {
    /// Of which series.
    pub labels: Labels,
    /// When.
    pub timestamp_ms: i64,
    /// What; the [stale marker](model::sample::stale_marker) ends the series.
    pub value: SampleValue,
}

/// What an alert that begins to fire wants captured.
#[derive(Debug, Clone, Copy)]
pub struct CaptureWish<'a> {
    /// The alert's labels: `job` and `instance` say which process.
    pub labels: LabelsRef<'a>,
    /// What.
    pub capture: Capture,
}

/// What all groups of a server have in common.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Put on alerts as they are told, where they do not have them.
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach the server.
    pub external_url: String,
    /// Time between two evaluations of groups that do not say.
    pub interval_ms: i64,
    /// How far back groups evaluate that do not say.
    pub query_offset_ms: i64,
    /// Until when missing data is no evidence; see [`SETTLING_MS`].
    pub settling_until_ms: i64,
}

impl Settings {
    /// Time between two evaluations of `group`.
    pub fn interval_ms(&self, group: &Group) -> i64 {
        group.interval_ms.unwrap_or(self.interval_ms).max(1)
    }

    /// How far back `group` evaluates.
    pub fn query_offset_ms(&self, group: &Group) -> i64 {
        group.query_offset_ms.unwrap_or(self.query_offset_ms)
    }
}

/// What one evaluation of a group came to.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// How many samples were written, stale markers among them.
    pub samples: usize,
    /// Alerts to tell.
    pub posted: Vec<Posted>,
    /// What changed of alerts.
    pub transitions: Vec<Transition>,
    /// What went wrong.
    pub faults: Vec<RuleFault>,
    /// What is to be put on the shelf before anybody is told.
    pub changes: Vec<Change>,
    /// From when to when the group was not evaluated though it should have been, by what was kept.
    pub downtime_ms: Option<(i64, i64)>,
}

/// An alert that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The number of its rule in the group.
    pub rule: usize,
    /// Its labels.
    pub labels: Labels,
    /// What it was; `None`: not known.
    pub before: Option<State>,
    /// What it is; `None`: forgotten.
    pub after: Option<State>,
    /// When it became active.
    pub active_at_ms: i64,
    /// Its value.
    pub value: f64,
}

/// Something that went wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// The number of the rule in its group; `None` for what concerns all.
    pub rule: Option<usize>,
    /// What.
    pub message: String,
}

/// How the last evaluation of a rule went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// When it was; `None` before the first.
    pub evaluated_ms: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long it took.
    pub took_us: u64,
    /// Samples it made.
    pub samples: usize,
}

/// What is known of a rule.
#[derive(Debug)]
pub struct RuleState {
    identity: Identity,
    /// Number of the identity.
    id: u64,
    /// Whether the shelf has the identity.
    is_named: bool,
    alerts: BTreeMap<Labels, ActiveAlert>,
    /// The series it made samples of at the last evaluation, in its order.
    series: Vec<Labels>,
    report: Report,
}

impl RuleState {
    /// Its alerts: active ones, and those that ended a short while ago.
    pub fn alerts(&self) -> impl Iterator<Item = (&Labels, &ActiveAlert)> {
        self.alerts.iter()
    }

    /// How the last evaluation went.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// What is known of a group's rules.
#[derive(Debug)]
pub struct GroupState {
    id: u64,
    rules: Vec<RuleState>,
    /// For each rule whether what those before it made must be written first.
    reads: Vec<bool>,
    /// Series that a rule which is no more made: they end with the next evaluation.
    leaving: Vec<Labels>,
    evaluated_ms: Option<i64>,
    /// When the shelf was told that the group is evaluated.
    noted_ms: Option<i64>,
    /// Whether it has been evaluated since it was made.
    began: bool,
}

/// One evaluation under way.
struct Pass<'a> {
    world: &'a dyn World,
    settings: &'a Settings,
    limit: usize,
    interval_ms: i64,
    /// The moment of the evaluation.
    at_ms: i64,
    /// The moment that is looked at.
    query_ms: i64,
    /// The number of the rule.
    rule: usize,
    made: &'a mut Evaluation,
    out: &'a mut Vec<RuleSample>,
}

impl GroupState {
    /// The rules' states, in the order of the rules.
    pub fn rules(&self) -> &[RuleState] {
        &self.rules
    }

    /// When it was evaluated last.
    pub fn evaluated_ms(&self) -> Option<i64> {
        self.evaluated_ms
    }

    /// Where the clock was set back since the last evaluation, everything is taken back by as much, so that alerts have waited for as long as
    /// they have.
    fn watch_clock(&mut self, at_ms: i64) {
        let alerts = self.rules.iter().flat_map(|rule| rule.alerts.values());
        let latest_ms = alerts.map(|alert| alert.times.latest_ms()).chain(self.evaluated_ms).max();
        let by_ms = latest_ms.map_or(0, |latest_ms| latest_ms.saturating_sub(at_ms));
        if by_ms <= 0 {
            return;
        }
        for alert in self.rules.iter_mut().flat_map(|rule| rule.alerts.values_mut()) {
            alert.set_back(by_ms);
        }
        self.evaluated_ms = self.evaluated_ms.map(|evaluated_ms| evaluated_ms.saturating_sub(by_ms));
        // The shelf is to know of the new time.
        self.noted_ms = None;
    }

    /// Evaluates `group`, which this is the state of, at `at_ms`.
    pub fn evaluate(&mut self, group: &Group, world: &dyn World, settings: &Settings, at_ms: i64) -> Evaluation {
        let (mut made, out) = self.judge(group, world, settings, at_ms);
        made.write(world, out);
        made
    }

    /// As [`evaluate`](Self::evaluate); of what rules made, what no rule of the group reads is returned, to be [written](Evaluation::write)
    /// when the changes are on the shelf. So series tell of no state that is not known after the process ended.
    pub fn judge(
        &mut self,
        group: &Group,
        world: &dyn World,
        settings: &Settings,
        at_ms: i64,
    ) -> (Evaluation, Vec<RuleSample>) {
        let mut made = Evaluation::default();
        self.watch_clock(at_ms);
        let interval_ms = settings.interval_ms(group);
        let query_ms = at_ms.saturating_sub(settings.query_offset_ms(group));
        if !self.began {
            let missed = |since: &i64| at_ms.saturating_sub(*since) > interval_ms.saturating_mul(INTERVALS_MISSED_MIN);
            made.downtime_ms = self.evaluated_ms.filter(missed).map(|since_ms| (since_ms, at_ms));
            self.began = true;
        }
        let mut out = stale(std::mem::take(&mut self.leaving), query_ms);
        for (number, (rule, state)) in group.rules.iter().zip(&mut self.rules).enumerate() {
            if world.is_canceled() {
                return (made, Vec::new());
            }
            if self.reads.get(number).is_some_and(|reads| *reads) {
                made.write(world, std::mem::take(&mut out));
            }
            let (before_us, before) = (world.moment_us(), out.len());
            let mut pass = Pass {
                world,
                settings,
                limit: group.limit,
                interval_ms,
                at_ms,
                query_ms,
                rule: number,
                made: &mut made,
                out: &mut out,
            };
            let result = match &rule.kind {
                Kind::Recording => state.record(rule, &mut pass),
                Kind::Alerting(alerting) => state.alert(rule, alerting, &mut pass),
            };
            state.report = Report {
                evaluated_ms: Some(at_ms),
                took_us: world.moment_us().saturating_sub(before_us),
                samples: out.len().saturating_sub(before),
                error: result.err(),
            };
            if let Some(error) = &state.report.error {
                made.faults.push(RuleFault { rule: Some(number), message: error.clone() });
            }
        }
        self.note(at_ms, &mut made);
        (made, out)
    }
}

impl Evaluation {
    /// Writes what rules made.
    pub fn write(&mut self, world: &dyn World, samples: Vec<RuleSample>) {
        if samples.is_empty() {
            return;
        }
        self.samples += samples.len();
        if let Err(message) = world.write(samples) {
            let message = format!("what rules made could not be written: {message}");
            self.faults.push(RuleFault { rule: None, message });
        }
    }
}

/// The ends of `series`.
fn stale(series: Vec<Labels>, timestamp_ms: i64) -> Vec<RuleSample> {
    let value = SampleValue::Float(model::sample::stale_marker());
    series.into_iter().map(|labels| RuleSample { labels, timestamp_ms, value: value.clone() }).collect()
}

impl Pass<'_> {
    /// Adds `samples` of a rule, and the ends of those series that it made before and does not any more.
    fn put(&mut self, series: &mut Vec<Labels>, samples: Vec<RuleSample>) {
        let same = series.len() == samples.len()
            && series.iter().zip(&samples).all(|(labels, sample)| *labels == sample.labels);
        if !same {
            let now: std::collections::HashSet<&Labels> = samples.iter().map(|sample| &sample.labels).collect();
            series.retain(|labels| !now.contains(labels));
            let gone = std::mem::replace(series, samples.iter().map(|sample| sample.labels.clone()).collect());
            self.out.extend(stale(gone, self.query_ms));
        }
        self.out.extend(samples);
    }
}
