//! The keys of rule files that Prometheus does not have, checked.

use std::collections::BTreeMap;

use model::control::BURST_SECONDS_MAX;
use model::{CaptureKind, Matcher};
use serde_saphyr::{Location, Spanned};

use super::check::Checker;
use super::data::data_query;
use super::params::{Level, OVERRIDES_MAX, PARAMS_MAX, is_value, put_in, specificity};
use super::raw::{RawOverride, Texts};
use super::{Capture, Case, OnError, OnNoData, Params, RuleQuery};
use crate::alert::Waits;
use crate::matchers::parse_matchers;
use crate::yaml::at;

/// The parameters and overrides at some place of a file, those around it among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    params: Params,
    overrides: Vec<Override>,
}

#[derive(Debug, Clone)]
struct Override {
    level: Level,
    place: Location,
    matchers: Vec<Matcher>,
    params: Params,
    labels: BTreeMap<String, String>,
    hold_ms: Option<i64>,
    keep_firing_ms: Option<i64>,
}

impl Checker<'_> {
    /// `outer`, and what is said inside of it.
    pub(super) fn scope(
        &mut self,
        outer: &Scope,
        params: Texts,
        overrides: Option<Vec<RawOverride>>,
        level: Level,
    ) -> Scope {
        let mut scope = outer.clone();
        let places: Vec<Location> = params.iter().flatten().map(|(_, value)| at(value)).collect();
        scope.params.extend(self.params(params));
        if let (true, Some(place)) = (scope.params.len() > PARAMS_MAX, places.first()) {
            self.wrong(*place, format!("more than {PARAMS_MAX} parameters"));
        }
        for raw in overrides.unwrap_or_default() {
            let place = at(&raw.matchers);
            if scope.overrides.len() >= OVERRIDES_MAX {
                self.wrong(place, format!("more than {OVERRIDES_MAX} overrides"));
                break;
            }
            let matchers = match parse_matchers(&raw.matchers.value) {
                Ok(matchers) => matchers,
                Err(fault) => {
                    self.wrong(place, format!("match: {fault}"));
                    continue;
                }
            };
            let hold_ms = self.duration(raw.hold.as_ref(), "for");
            let keep_firing_ms = self.duration(raw.keep_firing_for.as_ref(), "keep_firing_for");
            let params = self.params(raw.params);
            if level == Level::Rule
                && let Some(name) = params.keys().find(|name| !scope.params.contains_key(*name))
            {
                self.wrong(place, format!("the rule has no parameter {name:?}"));
            }
            let labels = self.override_labels(raw.labels);
            scope.overrides.push(Override { level, place, matchers, params, labels, hold_ms, keep_firing_ms });
        }
        scope
    }

    fn override_labels(&mut self, texts: Texts) -> BTreeMap<String, String> {
        let labels = self.names(texts, "label");
        for (name, value) in labels.iter().filter(|(_, value)| value.value.contains("{{")) {
            self.wrong(
                at(value),
                format!("label {name:?}: overrides take plain texts, templates are for the rule's labels"),
            );
        }
        values(&labels)
    }

    fn params(&mut self, texts: Texts) -> Params {
        let mut params = Params::new();
        for (name, value) in texts.unwrap_or_default() {
            if !model::labels::is_label_name(&name) {
                self.wrong(at(&value), format!("{name:?} is no name of a parameter"));
            } else if !is_value(&value.value) {
                let message = format!("parameter {name:?}: {:?} is neither a number nor a duration", value.value);
                self.wrong(at(&value), message);
            } else {
                params.insert(name, value.value);
            }
        }
        params
    }

    /// The expressions of a rule, and which series are judged by which.
    pub(super) fn cases(
        &mut self,
        (rule, line): (&str, u64),
        expr: &Spanned<String>,
        waits: Waits,
        scope: &Scope,
    ) -> Option<(Vec<RuleQuery>, Vec<Case>)> {
        let mut queries = Vec::new();
        let default = self.query(&mut queries, (rule, at(expr)), &expr.value, &scope.params)?;
        let mut overrides: Vec<(usize, &Override)> = scope.overrides.iter().enumerate().collect();
        overrides.sort_by_key(|(number, one)| std::cmp::Reverse((specificity(&one.matchers), one.level, *number)));
        let mut cases = Vec::with_capacity(overrides.len() + 1);
        for (_, one) in overrides {
            let mut params = scope.params.clone();
            params.extend(one.params.clone());
            let query = self.query(&mut queries, (rule, one.place), &expr.value, &params)?;
            let waits = Waits {
                hold_ms: one.hold_ms.unwrap_or(waits.hold_ms),
                keep_firing_ms: one.keep_firing_ms.unwrap_or(waits.keep_firing_ms),
            };
            cases.push(Case {
                level: one.level,
                line: one.place.line(),
                matchers: one.matchers.clone(),
                params,
                labels: one.labels.clone(),
                query,
                waits,
            });
        }
        let (level, line, params) = (Level::Rule, line, scope.params.clone());
        let (matchers, labels) = (Vec::new(), BTreeMap::new());
        cases.push(Case { level, line, matchers, params, labels, query: default, waits });
        // Those of a file or group often have nothing to do with a rule.
        let same = |case: &Case| {
            case.query == default && case.waits == waits && case.params == scope.params && case.labels.is_empty()
        };
        if cases.iter().all(same) {
            cases.drain(..cases.len() - 1);
        }
        Some((queries, cases))
    }

    /// The number of the expression with `params` in it.
    fn query(
        &mut self,
        queries: &mut Vec<RuleQuery>,
        (rule, place): (&str, Location),
        written: &str,
        params: &Params,
    ) -> Option<usize> {
        let text = match put_in(written, params) {
            Ok(text) => text,
            Err(name) => {
                let known: Vec<&str> = params.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                self.wrong(place, format!("rule {rule:?}: expr: there is no parameter ${name}; there is {known}"));
                return None;
            }
        };
        if let Some(known) = queries.iter().position(|query| query.text == text) {
            return Some(known);
        }
        match query::parse(&text) {
            Ok(expr) => {
                let data = data_query(&expr);
                queries.push(RuleQuery { text, expr, data });
                Some(queries.len() - 1)
            }
            Err(error) => {
                self.wrong(place, format!("rule {rule:?}: expr: {error}"));
                None
            }
        }
    }

    pub(super) fn on_no_data(&mut self, text: Option<&Spanned<String>>, queries: Option<&[RuleQuery]>) -> OnNoData {
        let Some(text) = text else { return OnNoData::default() };
        let wanted = match text.value.as_str() {
            "resolve" => OnNoData::Resolve,
            "keep" => OnNoData::Keep,
            "alert" => OnNoData::Alert,
            "nodata" => OnNoData::NoData,
            other => {
                self.wrong(at(text), format!("on_no_data: {other:?} is none of resolve, keep, alert, nodata"));
                return OnNoData::default();
            }
        };
        if wanted != OnNoData::Resolve && queries.is_some_and(|all| all.iter().any(|query| query.data.is_none())) {
            self.wrong(at(text), "on_no_data: `expr` compares nothing, so that no data and no alert are the same");
        }
        wanted
    }

    pub(super) fn on_error(&mut self, text: Option<&Spanned<String>>) -> OnError {
        match text.map(|text| (text, text.value.as_str())) {
            None | Some((_, "keep")) => OnError::Keep,
            Some((_, "alert")) => OnError::Alert,
            Some((text, other)) => {
                self.wrong(at(text), format!("on_error: {other:?} is neither keep nor alert"));
                OnError::Keep
            }
        }
    }

    pub(super) fn burst(&mut self, text: Option<&Spanned<String>>) -> u64 {
        let Some(ms) = self.duration(text, "burst") else { return 0 };
        let seconds = ms.unsigned_abs().div_ceil(1000);
        if let (Some(text), false) = (text, (1..=BURST_SECONDS_MAX).contains(&seconds)) {
            self.wrong(at(text), format!("burst: from 1s to {BURST_SECONDS_MAX}s"));
        }
        seconds
    }

    /// `heap`, `cpu 10s`: what, and over how long.
    pub(super) fn captures(&mut self, texts: Option<Vec<Spanned<String>>>) -> Vec<Capture> {
        let mut wanted = Vec::new();
        for text in texts.unwrap_or_default() {
            match capture(&text.value) {
                Ok(capture) => wanted.push(capture),
                Err(message) => self.wrong(at(&text), format!("capture: {message}")),
            }
        }
        wanted
    }
}

fn capture(text: &str) -> Result<Capture, String> {
    let (word, duration) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let kind = match word {
        "goroutines" => Some(CaptureKind::Goroutine),
        "leak" => Some(CaptureKind::GoroutineLeak),
        other => CaptureKind::named(other),
    };
    let Some(kind) = kind else {
        let known = CaptureKind::ALL.map(CaptureKind::text).join(", ");
        return Err(format!("{word:?} is none of {known}"));
    };
    let seconds = match duration.trim() {
        "" => kind.seconds_default(),
        duration => {
            let ms = model::time::parse_duration_ms(duration).map_err(|error| error.to_string())?;
            u32::try_from(ms / 1000).unwrap_or(u32::MAX)
        }
    };
    match kind.problem_with(seconds) {
        Some(problem) => Err(format!("{kind} {problem}")),
        None => Ok(Capture { kind, seconds }),
    }
}

/// The values of texts by name.
pub(super) fn values(texts: &BTreeMap<String, Spanned<String>>) -> BTreeMap<String, String> {
    texts.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect()
}
