//! A rule explained: how it reads for some labels, which override gave it its numbers, and why each of its alerts is what it is now.
//!
//! [`Explained::new`] needs the file alone. [`Explained::look`] adds what a server knows: the last evaluation, states and their times, and
//! the values now, also of series whose condition is false: the expression is asked with its comparisons made true.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, LabelsBuilder};
use serde::Serialize;

use super::recording::{ask, labelled};
pub use super::sides::Compared;
use super::sides::Sides;
use super::texts::{Texts, number};
use super::{ActiveAlert, Report, RuleState, Settings, World};
use crate::alert::{State, Waits};
use crate::file::{
    Alerting, Case, Comparison, Group, Kind, Level, OnError, OnNoData, Params, Rule, Verdict, comparisons,
};
use crate::template::{Style, format_float};

/// A rule and where it stands.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Place<'a> {
    pub file: &'a str,
    pub group: &'a Group,
    pub rule: &'a Rule,
}

/// What is known of a rule at a moment.
#[derive(Debug, Clone)]
pub struct Known {
    /// How the last evaluation went.
    pub report: Report,
    /// Its alerts.
    pub alerts: Vec<(Labels, ActiveAlert)>,
}

impl From<&RuleState> for Known {
    fn from(state: &RuleState) -> Self {
        let alerts = state.alerts().map(|(labels, alert)| (labels.clone(), alert.clone())).collect();
        Self { report: state.report().clone(), alerts }
    }
}

/// A rule, explained. Its JSON is that of the API.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Name of its alert, or of the series it records.
    pub name: String,
    /// `alerting` or `recording`.
    pub kind: &'static str,
    /// Where it stands.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// The name of its group.
    pub group: String,
    /// Time between two evaluations.
    pub interval_ms: i64,
    /// The expression as it is written.
    pub expr: String,
    /// What is set on what it makes.
    pub labels: BTreeMap<String, String>,
    /// The labels that it is explained for.
    pub subject: BTreeMap<String, String>,
    /// How it reads for them.
    pub reading: Reading,
    /// All ways it reads, the most specific override first; the last is that of the rule without an override.
    pub overrides: Vec<Override>,
    /// What becomes of alerts whose series have no data; `None`: it records.
    pub on_no_data: Option<OnNoData>,
    /// What becomes of them when the expression cannot be computed.
    pub on_error: Option<OnError>,
    /// The last evaluation; `None` before the first.
    pub evaluation: Option<LastEvaluation>,
    /// Why the expression cannot be computed now.
    pub fault: Option<String>,
    /// How many instances are in which state.
    pub counts: BTreeMap<&'static str, usize>,
    /// Those that matter most.
    pub instances: Vec<Instance>,
}

/// How a rule reads.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// The line of the override; `None` where none is chosen.
    pub override_line: Option<u64>,
    /// The expression with its parameters put in.
    pub expr: String,
    /// Every parameter.
    pub params: Params,
    /// `for`.
    pub for_ms: i64,
    /// `keep_firing_for`.
    pub keep_firing_for_ms: i64,
}

/// An override of a rule.
#[derive(Debug, Clone, Serialize)]
pub struct Override {
    /// Where it is said.
    pub level: Level,
    /// In which line.
    pub line: u64,
    /// What a series has that it is for; empty for what holds without an override.
    #[serde(rename = "match")]
    pub matchers: String,
    /// The parameters that it gives other values than the rule does; of what holds without an override all.
    pub params: Params,
    /// Labels that alerts have by it whatever the rule says.
    pub labels: BTreeMap<String, String>,
    /// `for`.
    pub for_ms: i64,
    /// `keep_firing_for`.
    pub keep_firing_for_ms: i64,
    /// What it is for the labels that the rule is explained for.
    pub verdict: Verdict,
    /// Why it is not chosen.
    pub why: String,
    /// How many instances it is chosen for.
    pub instances: usize,
}

/// How the last evaluation went.
#[derive(Debug, Clone, Serialize)]
pub struct LastEvaluation {
    /// When it was.
    pub at_ms: i64,
    /// How long it took.
    pub took_us: u64,
    /// Samples it made.
    pub samples: usize,
    /// What went wrong.
    pub error: Option<String>,
}

/// Something that the rule is about: an alert, or a series that it looks at.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// `inactive`, `pending`, `firing` or `resolved`, for a recording rule `recorded`.
    pub state: &'static str,
    /// The labels of its alert.
    pub labels: BTreeMap<String, String>,
    /// Whether the condition is true now; `None`: not known.
    pub condition: Option<bool>,
    /// Whether its series has data now; `None`: not known.
    pub has_data: Option<bool>,
    /// Its value now; that of the last evaluation where there is none.
    pub value: Option<String>,
    /// When it became pending.
    pub active_since_ms: Option<i64>,
    /// From when on it fires if the condition stays true.
    pub fires_at_ms: Option<i64>,
    /// When it began to fire.
    pub firing_since_ms: Option<i64>,
    /// Until when it fires although the condition is not true.
    pub kept_until_ms: Option<i64>,
    /// When it ended.
    pub resolved_at_ms: Option<i64>,
    /// The line of the override it is judged by, or of the rule.
    pub judged_by_line: u64,
    /// The comparisons of its expression.
    pub compared: Vec<Compared>,
    /// What is told of its alert.
    pub annotations: BTreeMap<String, String>,
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Explained {
    /// The rule at `place` for series with labels `subject`.
    pub fn new(place: Place<'_>, settings: &Settings, subject: &Labels) -> Self {
        let Place { file, group, rule } = place;
        let alerting = rule.alerting();
        Self {
            name: rule.name.clone(),
            kind: if alerting.is_some() { "alerting" } else { "recording" },
            file: file.to_owned(),
            line: rule.line,
            group: group.name.clone(),
            interval_ms: settings.interval_ms(group),
            expr: rule.text.clone(),
            labels: rule.labels.clone(),
            subject: map(subject),
            reading: reading(rule, rule.case_of(subject.as_ref())),
            overrides: overrides(rule, subject),
            on_no_data: alerting.map(|alerting| alerting.on_no_data),
            on_error: alerting.map(|alerting| alerting.on_error),
            evaluation: None,
            fault: None,
            counts: BTreeMap::new(),
            instances: Vec::new(),
        }
    }

    /// Adds what is `known` of the rule, and its values at `at_ms`; at most `limit` instances, all of which have the labels of the subject.
    pub fn look(
        &mut self,
        place: Place<'_>,
        known: &Known,
        (world, settings): (&dyn World, &Settings),
        at_ms: i64,
        limit: usize,
    ) {
        let rule = place.rule;
        self.evaluation = known.report.evaluated_ms.map(|evaluated_ms| LastEvaluation {
            at_ms: evaluated_ms,
            took_us: known.report.took_us,
            samples: known.report.samples,
            error: known.report.error.clone(),
        });
        let query_ms = at_ms.saturating_sub(settings.query_offset_ms(place.group));
        let look = Look { rule, world, settings, at_ms, query_ms };
        let (values, fault) = look.values();
        let mut found = match &rule.kind {
            Kind::Recording => look.recorded(&values),
            Kind::Alerting(alerting) => look.alerts(alerting, known, &values, fault.is_none()),
        };
        self.fault = fault;
        found.retain(|one| has_all(one, &self.subject));
        for one in &found {
            *self.counts.entry(one.state()).or_insert(0) += 1;
            if let Some(chosen) = self.overrides.get_mut(one.case) {
                chosen.instances += 1;
            }
        }
        found.sort_by(|one, other| one.rank().cmp(&other.rank()).then_with(|| one.labels.cmp(&other.labels)));
        self.narrow(rule, &found);
        found.truncate(limit);
        let mut sides = Sides::new(world, query_ms);
        let mut apart: HashMap<usize, Vec<Comparison>> = HashMap::new();
        for one in &found {
            let query = rule.cases.get(one.case).and_then(|case| rule.queries.get(case.query));
            let compared = query.map(|query| apart.entry(one.case).or_insert_with(|| comparisons(&query.expr)));
            let compared = match (&one.source, compared) {
                (Some(source), Some(all)) => all.iter().map(|of| sides.compared(of, source)).collect(),
                _ => Vec::new(),
            };
            self.instances.push(one.told(rule, compared));
        }
    }

    /// Where all instances that are asked for are judged by one case, it is explained for the first of them: its labels say more.
    fn narrow(&mut self, rule: &Rule, found: &[Found]) {
        let Some(first) = found.first().filter(|first| found.iter().all(|one| one.case == first.case)) else { return };
        let Some(source) = &first.source else { return };
        self.reading = reading(rule, first.case);
        for (told, (verdict, why)) in self.overrides.iter_mut().zip(rule.judged(source.as_ref())) {
            (told.verdict, told.why) = (verdict, why);
        }
        self.subject = map(&first.labels);
    }
}

fn reading(rule: &Rule, number: usize) -> Reading {
    let case = rule.cases.get(number);
    let waits = case.map(|case| case.waits).unwrap_or_default();
    let query = case.and_then(|case| rule.queries.get(case.query));
    Reading {
        override_line: case.filter(|case| !case.matchers.is_empty()).map(|case| case.line),
        expr: query.map_or_else(|| rule.text.clone(), |query| query.text.clone()),
        params: case.map(|case| case.params.clone()).unwrap_or_default(),
        for_ms: waits.hold_ms,
        keep_firing_for_ms: waits.keep_firing_ms,
    }
}

fn overrides(rule: &Rule, subject: &Labels) -> Vec<Override> {
    let usual = rule.cases.last().map(|case| case.params.clone()).unwrap_or_default();
    let told = |(case, (verdict, why)): (&Case, (Verdict, String))| {
        let own = |(name, value): &(&String, &String)| case.matchers.is_empty() || usual.get(*name) != Some(*value);
        let matchers: Vec<String> = case.matchers.iter().map(ToString::to_string).collect();
        Override {
            level: case.level,
            line: case.line,
            matchers: if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(", ")) },
            params: case.params.iter().filter(own).map(|(name, value)| (name.clone(), value.clone())).collect(),
            labels: case.labels.clone(),
            for_ms: case.waits.hold_ms,
            keep_firing_for_ms: case.waits.keep_firing_ms,
            verdict,
            why,
            instances: 0,
        }
    };
    rule.cases.iter().zip(rule.judged(subject.as_ref())).map(told).collect()
}

/// Whether an instance has every label that is asked for: its alert, or the series it is about.
fn has_all(one: &Found, wanted: &BTreeMap<String, String>) -> bool {
    let of_source = |name: &str| one.source.as_ref().and_then(|source| source.get(name));
    wanted
        .iter()
        .all(|(name, value)| one.labels.get(name) == Some(value.as_str()) || of_source(name) == Some(value.as_str()))
}

/// The value of a series now.
struct Now {
    case: usize,
    value: f64,
    condition: bool,
}

/// What a rule finds now.
struct Look<'a> {
    rule: &'a Rule,
    world: &'a dyn World,
    settings: &'a Settings,
    at_ms: i64,
    query_ms: i64,
}

impl Look<'_> {
    /// The values of all series, whether the condition is true of them or not, as far as that can be asked; and what went wrong.
    fn values(&self) -> (BTreeMap<Labels, Now>, Option<String>) {
        let mut values = BTreeMap::new();
        match ask(self.rule, self.world, self.query_ms) {
            Ok(found) => {
                for (case, element) in found {
                    let now = Now { case, value: number(&element.value), condition: true };
                    values.insert(element.labels, now);
                }
            }
            Err(fault) => return (values, Some(fault)),
        }
        let mut fault = None;
        for (of_case, query) in self.rule.queries.iter().enumerate() {
            let Some((text, expr)) = &query.data else { continue };
            match self.world.vector(text, expr, self.query_ms) {
                Err(error) => fault = Some(error),
                Ok(elements) => {
                    for element in elements {
                        let case = self.rule.case_of(element.labels.as_ref());
                        if self.rule.cases.get(case).is_some_and(|case| case.query == of_case) {
                            let now = Now { case, value: number(&element.value), condition: false };
                            values.entry(element.labels).or_insert(now);
                        }
                    }
                }
            }
        }
        (values, fault)
    }

    fn recorded(&self, values: &BTreeMap<Labels, Now>) -> Vec<Found> {
        let mut builder = LabelsBuilder::new();
        let recorded = values.iter().filter(|(_, now)| now.condition).filter_map(|(source, now)| {
            let labels = labelled(&mut builder, self.rule, source).ok()?;
            Some(Found { alert: None, ..Found::of(labels, source, now) })
        });
        recorded.collect()
    }

    fn alerts(&self, alerting: &Alerting, known: &Known, values: &BTreeMap<Labels, Now>, is_whole: bool) -> Vec<Found> {
        let can_tell = is_whole && self.rule.queries.iter().all(|query| query.data.is_some());
        let mut texts = Texts::new(self.rule, alerting, self.settings, self.world, self.at_ms);
        let mut found: BTreeMap<Labels, Found> = BTreeMap::new();
        for (labels, alert) in &known.alerts {
            let now = alert.source.as_ref().and_then(|source| values.get(source));
            let case = now.map(|now| now.case);
            let case = case.unwrap_or_else(|| match &alert.source {
                Some(source) => self.rule.case_of(source.as_ref()),
                None => self.rule.cases.len().saturating_sub(1),
            });
            let one = Found {
                labels: labels.clone(),
                source: alert.source.clone(),
                case,
                condition: now.map(|now| now.condition).or((is_whole && !can_tell).then_some(false)),
                has_data: match now {
                    Some(_) => Some(true),
                    None => can_tell.then_some(false),
                },
                value: now.map(|now| now.value).or(Some(alert.value)),
                alert: Some(alert.clone()),
                is_recorded: false,
            };
            found.insert(labels.clone(), one);
        }
        let claimed: std::collections::HashSet<&Labels> =
            known.alerts.iter().filter_map(|(_, alert)| alert.source.as_ref()).collect();
        for (source, now) in values.iter().filter(|(source, now)| now.condition || !claimed.contains(source)) {
            let Ok(labels) = texts.labels_of(source, now.value, self.rule.cases.get(now.case)) else { continue };
            if !found.contains_key(&labels) {
                found.insert(labels.clone(), Found { is_recorded: false, ..Found::of(labels, source, now) });
            }
        }
        found.into_values().collect()
    }
}

/// Something that the rule is about.
struct Found {
    labels: Labels,
    source: Option<Labels>,
    case: usize,
    condition: Option<bool>,
    has_data: Option<bool>,
    value: Option<f64>,
    alert: Option<ActiveAlert>,
    is_recorded: bool,
}

impl Found {
    /// A series that has a value.
    fn of(labels: Labels, source: &Labels, now: &Now) -> Self {
        Self {
            labels,
            source: Some(source.clone()),
            case: now.case,
            condition: Some(now.condition),
            has_data: Some(true),
            value: Some(now.value),
            alert: None,
            is_recorded: true,
        }
    }

    fn state(&self) -> &'static str {
        match self.alert.as_ref().map(|alert| alert.times.state) {
            _ if self.is_recorded => "recorded",
            None => "inactive",
            Some(State::Pending) => "pending",
            Some(State::Firing) => "firing",
            Some(State::Resolved) => "resolved",
        }
    }

    /// What matters more comes first.
    fn rank(&self) -> u8 {
        match self.alert.as_ref().map(|alert| alert.times.state) {
            Some(State::Firing) => 0,
            Some(State::Pending) => 1,
            _ if self.condition == Some(true) => 2,
            Some(State::Resolved) => 3,
            None => 4,
        }
    }

    fn told(&self, rule: &Rule, compared: Vec<Compared>) -> Instance {
        let case = rule.cases.get(self.case);
        let Waits { hold_ms, keep_firing_ms } = case.map(|case| case.waits).unwrap_or_default();
        let times = self.alert.as_ref().map(|alert| alert.times);
        let firing = times.filter(|times| times.state == State::Firing);
        let value = self.value.filter(|value| !value.is_nan() || self.has_data == Some(true));
        Instance {
            state: self.state(),
            labels: map(&self.labels),
            condition: self.condition,
            has_data: self.has_data,
            value: value.map(|value| format_float(value, Style::General, None)),
            active_since_ms: times.filter(crate::alert::Times::is_active).map(|times| times.active_at_ms),
            fires_at_ms: times
                .filter(|times| times.state == State::Pending)
                .map(|times| times.active_at_ms.saturating_add(hold_ms)),
            firing_since_ms: times.and_then(|times| times.fired_at_ms),
            kept_until_ms: firing
                .and_then(|times| times.keep_firing_since_ms)
                .map(|since_ms| since_ms.saturating_add(keep_firing_ms)),
            resolved_at_ms: times.and_then(|times| times.resolved_at_ms),
            judged_by_line: case.map_or(rule.line, |case| case.line),
            compared,
            annotations: self.alert.as_ref().map(ActiveAlert::texts).unwrap_or_default(),
        }
    }
}

/// The name of a rule that `name` may have been meant to be.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const DISTANCE_MAX: usize = 3;
    let lower = name.to_lowercase();
    let score = |known: &'a str| {
        let other = known.to_lowercase();
        let is_part = lower.len() > DISTANCE_MAX && other.contains(&lower);
        (if is_part { 0 } else { strsim::levenshtein(&lower, &other) }, known)
    };
    known.map(score).filter(|(distance, _)| *distance <= DISTANCE_MAX).min().map(|(_, known)| known)
}
