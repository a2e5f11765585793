//! From what YAML says to rules: every field checked, every fault kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::{Location, Spanned};

use super::extend::{Scope, values};
use super::params::Level;
use super::raw::{RawFile, RawGroup, RawRule, Texts};
use super::{Alerting, FileFault, GROUPS_MAX, Group, Kind, RULES_MAX, Rule, RuleFile, RuleQuery, VARIABLES};
use crate::alert::Waits;
use crate::functions::RuleFunctions;
use crate::template::Library;
use crate::yaml::{Faults, at};

/// Only names matter when templates are read.
const FUNCTIONS: RuleFunctions<'static> = RuleFunctions { ask: None, now_seconds: 0.0, external_url: "" };

pub(super) struct Checker<'a> {
    faults: Faults<'a>,
}

/// What is said around a rule.
struct Around<'a> {
    labels: &'a BTreeMap<String, Spanned<String>>,
    group: &'a str,
    scope: &'a Scope,
}

/// Checks a whole file.
pub(super) fn file(name: &str, raw: RawFile) -> Result<RuleFile, Vec<FileFault>> {
    let mut checker = Checker { faults: Faults::of(name) };
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    let scope = checker.scope(&Scope::default(), raw.params, raw.overrides, Level::File);
    for (number, group) in raw.groups.unwrap_or_default().into_iter().enumerate() {
        if number >= GROUPS_MAX {
            checker.wrong(at(&group.name), format!("more than {GROUPS_MAX} groups"));
            break;
        }
        if !names.insert(group.name.value.clone()) {
            checker.wrong(at(&group.name), format!("group {:?} is in this file twice", group.name.value));
        }
        groups.extend(checker.group(group, &scope));
    }
    checker.faults.none_or_all()?;
    Ok(RuleFile { name: name.to_owned(), groups })
}

impl Checker<'_> {
    pub(super) fn wrong(&mut self, at: Location, message: impl Into<String>) {
        self.faults.wrong(at, message);
    }

    pub(super) fn duration(&mut self, text: Option<&Spanned<String>>, what: &str) -> Option<i64> {
        self.faults.duration(text, what)
    }

    fn group(&mut self, raw: RawGroup, of_file: &Scope) -> Option<Group> {
        let place = at(&raw.name);
        if raw.name.value.is_empty() {
            self.wrong(place, "a group without a name");
        }
        let interval_ms = self.duration(raw.interval.as_ref(), "interval");
        if let (Some(0), Some(interval)) = (interval_ms, &raw.interval) {
            self.wrong(at(interval), "interval: 0s is no time between two evaluations");
        }
        let query_offset_ms = self.duration(raw.query_offset.as_ref(), "query_offset");
        let limit = match &raw.limit {
            None => 0,
            Some(limit) => usize::try_from(limit.value).unwrap_or_else(|_| {
                self.wrong(at(limit), format!("limit: {} is below 0, which stands for any number", limit.value));
                0
            }),
        };
        let labels = self.names(raw.labels, "label");
        let rules = raw.rules.unwrap_or_default();
        if rules.len() > RULES_MAX {
            self.wrong(place, format!("{} rules in a group; {RULES_MAX} are allowed", rules.len()));
            return None;
        }
        let scope = self.scope(of_file, raw.params, raw.overrides, Level::Group);
        let around = Around { labels: &labels, group: &raw.name.value, scope: &scope };
        let rules = rules.into_iter().filter_map(|rule| self.rule(rule, &around)).collect();
        Some(Group { name: raw.name.value, interval_ms, query_offset_ms, limit, rules })
    }

    /// Names and values whose names may be those of labels.
    pub(super) fn names(&mut self, texts: Texts, what: &str) -> BTreeMap<String, Spanned<String>> {
        let texts = texts.unwrap_or_default();
        for (name, value) in &texts {
            if name.is_empty() || (name == "__name__" && what == "label") {
                self.wrong(at(value), format!("{name:?} is no name of a {what}"));
            }
        }
        texts
    }

    fn rule(&mut self, raw: Spanned<RawRule>, around: &Around<'_>) -> Option<Rule> {
        let before = self.faults.count();
        let place = at(&raw);
        let mut raw = raw.value;
        let name = self.rule_name(&raw, place, around.group)?;
        let scope = self.scope(around.scope, raw.params.take(), raw.overrides.take(), Level::Rule);
        let waits = Waits {
            hold_ms: self.wait(raw.hold.as_ref(), "for", &raw),
            keep_firing_ms: self.wait(raw.keep_firing_for.as_ref(), "keep_firing_for", &raw),
        };
        let mut found = None;
        match &raw.expr {
            None => self.wrong(place, format!("rule {:?} has no `expr`", name.value)),
            Some(expr) => found = self.cases((&name.value, place.line()), expr, waits, &scope),
        }
        let text = raw.expr.take().map(|expr| expr.value).unwrap_or_default();
        let mut labels = around.labels.clone();
        labels.extend(self.names(raw.labels.take(), "label"));
        let kind = if raw.record.is_some() {
            self.only_for_alerts(&raw, &name);
            Kind::Recording
        } else {
            let queries = found.as_ref().map(|(queries, _)| queries.as_slice());
            Kind::Alerting(Box::new(self.alerting(raw, waits, &labels, queries)))
        };
        if self.faults.count() > before {
            return None;
        }
        let (queries, cases) = found?;
        let plain = queries.first().filter(|query| query.text == text);
        let shown = plain.map_or_else(|| text.clone(), |query| query.expr.to_string());
        Some(Rule { name: name.value, text, shown, queries, cases, labels: values(&labels), kind, line: place.line() })
    }

    fn rule_name(&mut self, raw: &RawRule, place: Location, group: &str) -> Option<Spanned<String>> {
        let name = match (&raw.record, &raw.alert) {
            (Some(name), None) | (None, Some(name)) => name.clone(),
            (Some(_), Some(_)) => {
                self.wrong(place, format!("a rule of group {group:?} has both `record` and `alert`"));
                return None;
            }
            (None, None) => {
                self.wrong(place, format!("a rule of group {group:?} has neither `record` nor `alert`"));
                return None;
            }
        };
        if name.value.is_empty() {
            self.wrong(at(&name), "a rule without a name");
        }
        Some(name)
    }

    /// A duration that only alerts have.
    fn wait(&mut self, text: Option<&Spanned<String>>, what: &str, raw: &RawRule) -> i64 {
        if raw.record.is_some() {
            return 0;
        }
        self.duration(text, what).unwrap_or(0)
    }

    fn only_for_alerts(&mut self, raw: &RawRule, name: &Spanned<String>) {
        let place = |text: &Option<Spanned<String>>| text.as_ref().map(at);
        let annotation = raw.annotations.iter().flatten().next().map(|(_, text)| at(text));
        let capture = raw.capture.iter().flatten().next().map(at);
        for (what, place) in [
            ("for", place(&raw.hold)),
            ("keep_firing_for", place(&raw.keep_firing_for)),
            ("annotations", annotation),
            ("on_no_data", place(&raw.on_no_data)),
            ("on_error", place(&raw.on_error)),
            ("capture", capture),
            ("burst", place(&raw.burst)),
        ] {
            if let Some(place) = place {
                self.wrong(place, format!("`{what}` is for alerts; rule {:?} records", name.value));
            }
        }
        // What has braces is an expression at the wrong place.
        if name.value.is_empty() || name.value.contains(['{', '}']) {
            self.wrong(at(name), format!("record: {:?} is no name of a metric", name.value));
        }
    }

    fn alerting(
        &mut self,
        raw: RawRule,
        waits: Waits,
        labels: &BTreeMap<String, Spanned<String>>,
        queries: Option<&[RuleQuery]>,
    ) -> Alerting {
        let annotations = self.names(raw.annotations, "annotation");
        let mut templates = Library::default();
        for (what, texts) in [("label", labels), ("annotation", &annotations)] {
            for (field, text) in texts {
                self.template(&mut templates, what, field, text);
            }
        }
        Alerting {
            waits,
            annotations: values(&annotations),
            templates,
            on_no_data: self.on_no_data(raw.on_no_data.as_ref(), queries),
            on_error: self.on_error(raw.on_error.as_ref()),
            capture: self.captures(raw.capture),
            burst_seconds: self.burst(raw.burst.as_ref()),
        }
    }

    /// Reads the template of a label or annotation; a fault of it is told where its line is, if that can be told.
    fn template(&mut self, templates: &mut Library, what: &str, field: &str, text: &Spanned<String>) {
        if let Err(fault) = templates.add(&format!("{what}:{field}"), &text.value, &VARIABLES, &FUNCTIONS) {
            let inside = format!("line {}, column {}", fault.line, fault.column);
            self.wrong(at(text), format!("template of {what} {field:?}, {inside}: {}", fault.message));
        }
    }
}
