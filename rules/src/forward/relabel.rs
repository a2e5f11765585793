//! Relabelling: labels changed step by step, or the whole left out, as Prometheus's `relabel_config` says.
//!
//! The form is <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>. `hashmod`, which deals out targets
//! among servers, is refused.

use std::collections::BTreeMap;

use model::labels::is_label_name;
use model::re2::compile_captures;
use regex::Regex;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::config::check::Checker;
use crate::yaml::at;

/// Most steps of one list.
const STEPS_MAX: usize = 1000;
/// Longest value that a step may make.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// A step as a file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    source_labels: Option<Vec<Spanned<String>>>,
    separator: Option<String>,
    regex: Option<Spanned<String>>,
    modulus: Option<Spanned<u64>>,
    target_label: Option<Spanned<String>>,
    replacement: Option<String>,
    action: Option<Spanned<String>>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    Lowercase,
    Uppercase,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    LabelMap,
    LabelDrop,
    LabelKeep,
}

impl Action {
    fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "replace" => Self::Replace,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            _ => return None,
        })
    }

    fn needs_target(self) -> bool {
        matches!(self, Self::Replace | Self::Lowercase | Self::Uppercase | Self::KeepEqual | Self::DropEqual)
    }
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    sources: Vec<String>,
    separator: String,
    regex: Regex,
    target: String,
    replacement: String,
    action: Action,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        (&self.sources, &self.separator, self.regex.as_str(), &self.target)
            == (&other.sources, &other.separator, other.regex.as_str(), &other.target)
            && (&self.replacement, self.action) == (&other.replacement, other.action)
    }
}

/// The steps of a list called `what`, as far as they are right.
pub(super) fn steps(checker: &mut Checker<'_>, raw: Option<Vec<Spanned<RawStep>>>, what: &str) -> Vec<Step> {
    let raw = raw.unwrap_or_default();
    if let Some(first) = raw.get(STEPS_MAX) {
        checker.wrong(at(first), format!("{what} has {} steps; {STEPS_MAX} are allowed", raw.len()));
    }
    raw.into_iter().take(STEPS_MAX).filter_map(|raw| step(checker, raw, what)).collect()
}

fn step(checker: &mut Checker<'_>, raw: Spanned<RawStep>, what: &str) -> Option<Step> {
    let place = at(&raw);
    let RawStep { source_labels, separator, regex, modulus, target_label, replacement, action } = raw.value;
    let (action_at, name) = action.map_or((place, "replace".to_owned()), |action| (at(&action), action.value));
    let Some(action) = Action::of(&name) else {
        let why = if name.eq_ignore_ascii_case("hashmod") { "is not supported" } else { "is none" };
        checker.wrong(action_at, format!("{what}: action {name:?} {why}"));
        return None;
    };
    if let Some(modulus) = &modulus {
        checker.wrong(at(modulus), format!("{what}: modulus is for action hashmod, which is not supported"));
    }
    let sources = source_labels.unwrap_or_default();
    for source in sources.iter().filter(|source| !is_label_name(&source.value)) {
        checker.wrong(at(source), format!("{what}: {:?} is no name of a label", source.value));
    }
    let (target_at, target) = target_label.map_or((place, String::new()), |label| (at(&label), label.value));
    if action.needs_target() && target.is_empty() {
        checker.wrong(target_at, format!("{what}: action {name} needs target_label"));
    } else if action.needs_target() && !target.contains('$') && !is_label_name(&target) {
        checker.wrong(target_at, format!("{what}: {target:?} is no name of a label"));
    }
    let of_names = matches!(action, Action::LabelDrop | Action::LabelKeep);
    if of_names && !(sources.is_empty() && target.is_empty() && replacement.is_none() && separator.is_none()) {
        checker.wrong(place, format!("{what}: action {name} takes regex alone"));
    }
    let (regex_at, pattern) = regex.map_or((place, "(.*)".to_owned()), |regex| (at(&regex), regex.value));
    let regex = compile_captures(&pattern).map_err(|error| checker.wrong(regex_at, format!("{what}: {error}"))).ok()?;
    Some(Step {
        sources: sources.into_iter().map(|source| source.value).collect(),
        separator: separator.unwrap_or_else(|| ";".to_owned()),
        regex,
        target,
        replacement: replacement.unwrap_or_else(|| "$1".to_owned()),
        action,
    })
}

/// What the steps make of `labels`; `None`: leave it out.
pub fn relabel(steps: &[Step], mut labels: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    for step in steps {
        if !step.apply(&mut labels) {
            return None;
        }
    }
    Some(labels)
}

impl Step {
    /// Changes `labels`; false: leave it out.
    fn apply(&self, labels: &mut BTreeMap<String, String>) -> bool {
        let get = |name: &String| labels.get(name).map_or("", String::as_str);
        let value = self.sources.iter().map(get).collect::<Vec<_>>().join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => return get(&self.target) == value,
            Action::DropEqual => return get(&self.target) != value,
            Action::Lowercase => set(labels, &self.target, value.to_lowercase()),
            Action::Uppercase => set(labels, &self.target, value.to_uppercase()),
            Action::Replace => self.replace(labels, &value),
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| Some((self.expanded(&self.replacement, name)?, value.clone())))
                    .collect();
                for (name, value) in mapped.into_iter().filter(|(name, _)| is_label_name(name)) {
                    set(labels, &name, value);
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut BTreeMap<String, String>, value: &str) {
        let Some(target) = self.expanded(&self.target, value).filter(|target| is_label_name(target)) else { return };
        if let Some(made) = self.expanded(&self.replacement, value) {
            set(labels, &target, made);
        }
    }

    /// `template` with what the expression found in `text`; `None` where it does not match, or too much came of it.
    fn expanded(&self, template: &str, text: &str) -> Option<String> {
        let captures = self.regex.captures(text)?;
        let references = template.matches('$').count();
        // Each reference stands for the whole text at most.
        if template.len().saturating_add(references.saturating_mul(text.len())) > VALUE_BYTES_MAX {
            return None;
        }
        let mut made = String::new();
        captures.expand(template, &mut made);
        Some(made)
    }
}

/// An empty value is no label.
fn set(labels: &mut BTreeMap<String, String>, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a list of steps makes of `labels`, written as `name=value` and separated by spaces.
    fn made(list: &str, labels: &str) -> Option<String> {
        let raw: Vec<Spanned<RawStep>> = crate::yaml::read("r.yml", list).expect("steps");
        let mut checker = Checker::new("r.yml");
        let steps = steps(&mut checker, Some(raw), "steps");
        let steps = checker.done(steps).unwrap_or_else(|faults| panic!("{faults:?}"));
        let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let labels = relabel(&steps, labels.split(' ').filter_map(pair).collect())?;
        Some(labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn steps_do_what_prometheus_does() {
        for (list, want) in [
            ("[{source_labels: [a], target_label: d}]", Some("a=foo b=bar c=baz d=foo")),
            (
                "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}]",
                Some("a=boobam b=bar c=baz"),
            ),
            ("[{source_labels: [a], regex: 'o', target_label: d}]", Some("a=foo b=bar c=baz")),
            (
                "[{source_labels: [a], regex: '(f)(.*)', target_label: 'x_$1', replacement: $2}]",
                Some("a=foo b=bar c=baz x_f=oo"),
            ),
            ("[{source_labels: [a], target_label: '$1-'}]", Some("a=foo b=bar c=baz")),
            ("[{target_label: a, replacement: ''}]", Some("b=bar c=baz")),
            ("[{source_labels: [none], target_label: a}]", Some("b=bar c=baz")),
            ("[{source_labels: [a], regex: foo, action: drop}]", None),
            ("[{source_labels: [a], regex: fo, action: drop}]", Some("a=foo b=bar c=baz")),
            ("[{source_labels: [a], regex: 'f.*', action: keep}]", Some("a=foo b=bar c=baz")),
            ("[{source_labels: [a], regex: o, action: Keep}]", None),
            (
                "[{source_labels: [a, b], separator: '-', target_label: a, action: uppercase}]",
                Some("a=FOO-BAR b=bar c=baz"),
            ),
            ("[{source_labels: [a], target_label: b, action: keepequal}]", None),
            ("[{source_labels: [a], target_label: b, action: dropequal}]", Some("a=foo b=bar c=baz")),
            ("[{regex: '(b|c)', action: labelmap, replacement: 'my_$1'}]", Some("a=foo b=bar c=baz my_b=bar my_c=baz")),
            ("[{regex: '(b|c)', action: labeldrop}]", Some("a=foo")),
            ("[{regex: '(b|c)', action: labelkeep}]", Some("b=bar c=baz")),
        ] {
            assert_eq!(made(list, "a=foo b=bar c=baz").as_deref(), want, "{list}");
        }
    }

    #[test]
    fn values_do_not_grow_without_bound() {
        let twice = "{source_labels: [a], target_label: a, replacement: '$1$1'}";
        let list = format!("[{}]", [twice; 40].join(","));
        let made = made(&list, "a=xx").expect("it is kept");
        assert!(made.len() <= VALUE_BYTES_MAX + 2, "{}", made.len());
    }
}
