//! Inhibition rules, those by labels that are equal and those by topology.

use serde_saphyr::Spanned;

use super::INHIBIT_RULES_MAX;
use super::check::Checker;
use super::raw::{RawInhibit, RawTopology};
use crate::notify::inhibit::{Beneath, InhibitRule};
use crate::yaml::at;

/// Checks all of them.
pub(super) fn rules(
    checker: &mut Checker<'_>,
    raw: Vec<Spanned<RawInhibit>>,
    topology: Vec<Spanned<RawTopology>>,
) -> Vec<InhibitRule> {
    if let Some(first) = raw.get(INHIBIT_RULES_MAX) {
        checker.wrong(at(first), format!("more than {INHIBIT_RULES_MAX} inhibition rules"));
        return Vec::new();
    }
    if let Some(first) = topology.get(INHIBIT_RULES_MAX) {
        checker.wrong(at(first), format!("more than {INHIBIT_RULES_MAX} inhibition rules"));
        return Vec::new();
    }
    let mut rules: Vec<InhibitRule> = raw.into_iter().map(|rule| by_labels(checker, rule.value)).collect();
    rules.extend(topology.into_iter().map(|rule| by_topology(checker, rule)));
    rules
}

fn by_labels(checker: &mut Checker<'_>, raw: RawInhibit) -> InhibitRule {
    let source = checker.matchers(raw.source_matchers, raw.source_match, raw.source_match_re, "source_matchers");
    let target = checker.matchers(raw.target_matchers, raw.target_match, raw.target_match_re, "target_matchers");
    let mut equal = Vec::new();
    for label in raw.equal.unwrap_or_default() {
        if label.value.is_empty() {
            checker.wrong(at(&label), format!("equal: {:?} is no name of a label", label.value));
        }
        equal.push(label.value);
    }
    InhibitRule { name: raw.name.unwrap_or_default(), source, target, equal, beneath: None }
}

/// `instance="web1"` keeps `instance="web1/api"` quiet.
fn by_topology(checker: &mut Checker<'_>, raw: Spanned<RawTopology>) -> InhibitRule {
    let place = at(&raw);
    let RawTopology { name, source_matchers, label, separator } = raw.value;
    let source = checker.matchers(source_matchers, None, None, "source_matchers");
    if source.is_empty() {
        checker.wrong(place, "source_matchers: they tell which alerts mean that all beneath is gone");
    }
    if let Some(label) = label.as_ref().filter(|label| label.value.is_empty()) {
        checker.wrong(at(label), format!("label: {:?} is no name of a label", label.value));
    }
    if let Some(separator) = separator.as_ref().filter(|separator| separator.value.is_empty()) {
        checker.wrong(at(separator), "separator: it is empty");
    }
    let beneath = Beneath {
        label: label.map_or_else(|| "instance".to_owned(), |label| label.value),
        separator: separator.map_or_else(|| "/".to_owned(), |separator| separator.value),
    };
    let name = name.unwrap_or_else(|| "topology".to_owned());
    InhibitRule { name, source, target: Vec::new(), equal: Vec::new(), beneath: Some(beneath) }
}
