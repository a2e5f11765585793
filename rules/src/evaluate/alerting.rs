//! One evaluation of an alerting rule: what its expression found, to the states of its alerts.
//!
//! An alert without a sample has ended when its condition is false. Where its series have no data at all the rule's `on_no_data` says what
//! becomes of it; in the first minutes after a start that counts as not known, and it stays as it is.

use std::collections::{BTreeMap, HashSet};

use model::Labels;

use super::recording::ask;
use super::texts::{Texts, number};
use super::{ActiveAlert, CaptureWish, Pass, RuleFault, RuleState, Transition};
use crate::alert::{State, Times, Waits};
use crate::file::{Alerting, OnError, OnNoData, Rule};
use crate::shelf::Change;

/// The alert that says that a rule has no data.
const NO_DATA: &str = "NoData";
/// The alert that says that a rule cannot be computed.
const RULE_ERROR: &str = "RuleError";

/// What an evaluation says of an alert.
struct Seen {
    /// The sample's labels; `None` for an alert that speaks of the rule as a whole.
    source: Option<Labels>,
    value: f64,
    annotations: BTreeMap<String, String>,
}

/// What becomes of alerts that the expression has no sample of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unseen {
    /// The condition is false.
    Over,
    /// It is not known whether it is.
    Held,
    /// It counts as true.
    GoesOn,
}

/// What an evaluation found.
#[derive(Default)]
struct Found {
    seen: BTreeMap<Labels, Seen>,
    /// Of alerts that were active and are not in `seen`; those that are not here either are over.
    unseen: BTreeMap<Labels, Unseen>,
}

impl RuleState {
    pub(super) fn alert(&mut self, rule: &Rule, alerting: &Alerting, pass: &mut Pass<'_>) -> Result<(), String> {
        let mut texts = Texts::new(rule, alerting, pass.settings, pass.world, pass.at_ms);
        let found = match self.look(rule, alerting, pass, &mut texts) {
            Ok(found) => Ok((found, None)),
            Err(error) if alerting.on_error == OnError::Alert => {
                self.failed(rule, &texts, &error).map(|found| (found, Some(error)))
            }
            Err(error) => Err(error),
        };
        let (found, error) = match found {
            Ok(found) => found,
            Err(error) => {
                // What nobody repeats ends where it was told.
                self.tell(rule, pass)?;
                return Err(error);
            }
        };
        if let Some(fault) = texts.fault.take() {
            pass.made
                .faults
                .push(RuleFault { rule: Some(pass.rule), message: format!("a template is not filled: {fault}") });
        }
        self.limited(rule, &found, pass)?;
        self.step(rule, alerting, found, pass);
        self.tell(rule, pass)?;
        error.map_or(Ok(()), Err)
    }

    /// What the expression says of each alert.
    fn look(&self, rule: &Rule, alerting: &Alerting, pass: &Pass<'_>, texts: &mut Texts<'_>) -> Result<Found, String> {
        let mut found = Found::default();
        for (case, element) in ask(rule, pass.world, pass.query_ms)? {
            let value = number(&element.value);
            let (labels, annotations) = texts.of(&element.labels, value, rule.cases.get(case))?;
            let seen = Seen { source: Some(element.labels), value, annotations };
            if found.seen.insert(labels, seen).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        self.without_data(rule, alerting, pass, texts, &mut found)?;
        Ok(found)
    }

    /// Adds what is to become of alerts without data.
    fn without_data(
        &self,
        rule: &Rule,
        alerting: &Alerting,
        pass: &Pass<'_>,
        texts: &Texts<'_>,
        found: &mut Found,
    ) -> Result<(), String> {
        let policy = alerting.on_no_data;
        let until_ms = pass.settings.settling_until_ms;
        let (left_ms, since_ms) = (until_ms.saturating_sub(pass.at_ms), until_ms.saturating_sub(super::SETTLING_MS));
        // Not for longer where the clock is set back; the moment may be that of the round before the start.
        let is_settling = left_ms > 0 && left_ms <= super::SETTLING_MS.saturating_add(pass.interval_ms);
        let gone = |(labels, alert): (&Labels, &ActiveAlert)| {
            let is_gone = alert.times.is_active() && !found.seen.contains_key(labels);
            let source = alert.source.clone().filter(|_| is_gone)?;
            // What was seen since the start and is gone now is gone.
            let is_confirmed = alert.confirmed_ms.is_some_and(|at_ms| at_ms >= since_ms);
            Some((labels.clone(), source, is_settling && !is_confirmed))
        };
        let gone: Vec<(Labels, Labels, bool)> = self.alerts.iter().filter_map(gone).collect();
        let wants_all = found.seen.is_empty() && matches!(policy, OnNoData::Alert | OnNoData::NoData);
        let matters = policy != OnNoData::Resolve || gone.iter().any(|(_, _, may_come)| *may_come);
        if !wants_all && (gone.is_empty() || !matters) {
            return Ok(());
        }
        let data = sources_with_data(rule, pass)?;
        let mut missing = data.as_ref().is_some_and(HashSet::is_empty);
        for (labels, source, may_come) in gone {
            if data.as_ref().is_some_and(|data| data.contains(&source)) {
                continue;
            }
            missing = true;
            let unseen = match policy {
                _ if may_come => Unseen::Held,
                OnNoData::Resolve => Unseen::Over,
                OnNoData::Keep | OnNoData::NoData => Unseen::Held,
                OnNoData::Alert => Unseen::GoesOn,
            };
            found.unseen.insert(labels, unseen);
        }
        if missing && is_settling {
            let whole = self.alerts.iter().filter(|(_, alert)| alert.source.is_none() && alert.times.is_active());
            found.unseen.extend(whole.map(|(labels, _)| (labels.clone(), Unseen::Held)));
        }
        if !missing || is_settling {
            return Ok(());
        }
        let nothing = |labels: Labels, annotations| (labels, Seen { source: None, value: f64::NAN, annotations });
        if policy == OnNoData::NoData {
            let annotations = about(rule, "its series have no data");
            found.seen.extend([nothing(texts.of_rule(NO_DATA)?, annotations)]);
        } else if policy == OnNoData::Alert && found.seen.is_empty() && found.unseen.is_empty() {
            let annotations = about(rule, "none of its series has data");
            found.seen.extend([nothing(texts.of_rule(&rule.name)?, annotations)]);
        }
        Ok(())
    }

    /// Everything stays as it is, but for the alert that says so.
    fn failed(&self, rule: &Rule, texts: &Texts<'_>, error: &str) -> Result<Found, String> {
        let mut found = Found::default();
        let held = self.alerts.iter().filter(|(_, alert)| alert.times.is_active());
        found.unseen.extend(held.map(|(labels, _)| (labels.clone(), Unseen::Held)));
        let seen = Seen { source: None, value: f64::NAN, annotations: about(rule, error) };
        found.seen.insert(texts.of_rule(RULE_ERROR)?, seen);
        Ok(found)
    }

    /// More alerts than the group allows are none, before anything is done for them.
    fn limited(&mut self, rule: &Rule, found: &Found, pass: &mut Pass<'_>) -> Result<(), String> {
        let stays = |(labels, alert): &(&Labels, &ActiveAlert)| match found.unseen.get(labels) {
            _ if found.seen.contains_key(labels) => false,
            Some(Unseen::Held | Unseen::GoesOn) => alert.times.is_active(),
            Some(Unseen::Over) | None => {
                let next = alert.times.unseen(pass.at_ms, waits_of(rule, alert.source.as_ref()));
                next.is_some_and(|times| times.is_active())
            }
        };
        let active = found.seen.len() + self.alerts.iter().filter(stays).count();
        if pass.limit == 0 || active <= pass.limit {
            return Ok(());
        }
        for (labels, alert) in std::mem::take(&mut self.alerts) {
            pass.changed(&labels, &alert, Some(alert.times.state), None);
            if alert.stored.is_some() {
                pass.made.changes.push((super::stored::alert_key(self.id, &labels), None));
            }
        }
        Err(format!("exceeded limit of {} with {active} alerts", pass.limit))
    }

    /// Takes all alerts to their next states.
    fn step(&mut self, rule: &Rule, alerting: &Alerting, mut found: Found, pass: &mut Pass<'_>) {
        for (labels, seen) in std::mem::take(&mut found.seen) {
            let waits = waits_of(rule, seen.source.as_ref());
            let known = self.alerts.remove(&labels);
            let times = Times::seen(known.as_ref().map(|alert| alert.times), pass.at_ms, waits);
            let before = known.as_ref().map(|alert| alert.times.state);
            let is_new = known.as_ref().is_none_or(|alert| !alert.times.is_active());
            let mut alert = known.unwrap_or_else(|| ActiveAlert::new(seen.source.clone(), times));
            if is_new {
                pass.tell_end(rule, &labels, &mut alert);
                alert.evidence.clear();
            }
            (alert.times, alert.source) = (times, seen.source);
            alert.update(seen.value, seen.annotations, pass.at_ms);
            if before != Some(State::Firing) && times.state == State::Firing {
                for capture in &alerting.capture {
                    let wish = CaptureWish { labels: labels.as_ref(), capture: *capture };
                    if let Some(link) = pass.world.capture(&wish) {
                        alert.evidence.insert(format!("capture_{}", capture.kind), link);
                    }
                }
                if alerting.burst_seconds > 0
                    && let Some(told) = pass.world.burst(labels.as_ref(), alerting.burst_seconds)
                {
                    alert.evidence.insert("burst".to_owned(), told);
                }
            }
            pass.changed(&labels, &alert, before, Some(times.state));
            // It is where it belongs.
            found.unseen.insert(labels.clone(), Unseen::Held);
            self.alerts.insert(labels, alert);
        }
        let mut forgotten = Vec::new();
        for (labels, alert) in &mut self.alerts {
            let before = alert.times.state;
            let waits = waits_of(rule, alert.source.as_ref());
            let next = match found.unseen.get(labels) {
                Some(Unseen::Held) => continue,
                Some(Unseen::GoesOn) => Some(Times::seen(Some(alert.times), pass.at_ms, waits)),
                Some(Unseen::Over) | None => alert.times.unseen(pass.at_ms, waits),
            };
            pass.changed(labels, alert, Some(before), next.map(|times| times.state));
            match next {
                Some(times) => alert.times = times,
                None => forgotten.push(labels.clone()),
            }
        }
        for labels in forgotten {
            let alert = self.alerts.remove(&labels);
            if alert.is_some_and(|alert| alert.stored.is_some()) {
                pass.made.changes.push((super::stored::alert_key(self.id, &labels), None));
            }
        }
    }

    /// Samples of active alerts, what is to be told, and what the shelf is to keep.
    fn tell(&mut self, rule: &Rule, pass: &mut Pass<'_>) -> Result<(), String> {
        let mut samples = Vec::with_capacity(2 * self.alerts.len());
        let mut link = (String::new(), String::new());
        let mut changes: Vec<Change> = Vec::new();
        for (labels, alert) in &mut self.alerts {
            if alert.times.is_active() {
                samples.extend(alert.samples(labels, pass.query_ms)?);
            }
            // Most alerts of a rule have one expression.
            let asked = asked(rule, labels);
            if link.0 != asked {
                link = (asked.to_owned(), generator_url(&pass.settings.external_url, asked));
            }
            pass.made.posted.extend(alert.told(labels, &link.1, pass.settings, (pass.at_ms, pass.interval_ms)));
            let is_due = alert.stored.is_none_or(|(times, at_ms)| {
                times != alert.times || (alert.is_dirty && pass.at_ms.saturating_sub(at_ms) >= super::REFRESH_MS)
            });
            if is_due {
                (alert.stored, alert.is_dirty) = (Some((alert.times, pass.at_ms)), false);
                changes.push((super::stored::alert_key(self.id, labels), Some(super::stored::alert_value(alert))));
            }
        }
        if !changes.is_empty() && !self.is_named {
            self.is_named = true;
            changes.push((super::stored::rule_key(self.id), Some(super::stored::rule_value(&self.identity))));
        }
        pass.made.changes.append(&mut changes);
        pass.put(&mut self.series, samples);
        Ok(())
    }
}

/// The expression that an alert with `labels` comes from, its parameters put in.
fn asked<'a>(rule: &'a Rule, labels: &Labels) -> &'a str {
    let case = rule.cases.get(rule.case_of(labels.as_ref())).filter(|case| !case.params.is_empty());
    case.and_then(|case| rule.queries.get(case.query)).map_or(rule.shown.as_str(), |query| query.text.as_str())
}

impl Pass<'_> {
    /// Tells of the end of an alert that begins anew, where nobody may have been told: the process ended in between.
    fn tell_end(&mut self, rule: &Rule, labels: &Labels, alert: &mut ActiveAlert) {
        if alert.times.state == State::Resolved && alert.told_ms.is_none() {
            let url = generator_url(&self.settings.external_url, asked(rule, labels));
            self.made.posted.extend(alert.told(labels, &url, self.settings, (self.at_ms, self.interval_ms)));
            alert.told_ms = None;
        }
    }

    fn changed(&mut self, labels: &Labels, alert: &ActiveAlert, before: Option<State>, after: Option<State>) {
        // That the end of an alert was long ago is no news.
        let is_news = before != after && !(before == Some(State::Resolved) && after.is_none());
        if is_news {
            self.made.transitions.push(Transition {
                rule: self.rule,
                labels: labels.clone(),
                before,
                after,
                active_at_ms: alert.times.active_at_ms,
                value: alert.value,
            });
        }
    }
}

/// The labels of all series of the rule that have data; `None` where that cannot be told.
fn sources_with_data(rule: &Rule, pass: &Pass<'_>) -> Result<Option<HashSet<Labels>>, String> {
    let mut sources = HashSet::new();
    for (number, query) in rule.queries.iter().enumerate() {
        let Some((text, expr)) = &query.data else { return Ok(None) };
        for element in pass.world.vector(text, expr, pass.query_ms)? {
            let case = rule.case_of(element.labels.as_ref());
            if rule.cases.get(case).is_some_and(|case| case.query == number) {
                sources.insert(element.labels);
            }
        }
    }
    Ok(Some(sources))
}

/// How long the rule waits for a series.
fn waits_of(rule: &Rule, source: Option<&Labels>) -> Waits {
    let case = source.map_or(rule.cases.last(), |source| rule.cases.get(rule.case_of(source.as_ref())));
    case.map(|case| case.waits).unwrap_or_default()
}

fn about(rule: &Rule, what: &str) -> BTreeMap<String, String> {
    [("summary".to_owned(), format!("Rule {}: {what}", rule.name))].into()
}

/// Where a person sees the expression of an alert.
pub(super) fn generator_url(external_url: &str, text: &str) -> String {
    let base = external_url.trim_end_matches('/');
    format!("{base}/graph?g0.expr={}&g0.tab=1", crate::template::escape_query(text))
}
