//! What is known of rules apart from the rules themselves: what a shelf has after a start, and what a reload takes from one set of rules
//! to the next.
//!
//! A rule is known by its file, group and name and the labels it sets: its expression, `for`, `keep_firing_for`, annotations and own keys
//! may change, and its alerts go on, as far as the new expression finds them; each alert is known by its labels. A rule that
//! is not where it was, because a file or group has another name, takes up what there is of the only one with its name
//! and labels that is missing. What is known of a rule that is no more is parked for [`PARKED_MS`], so that a file that was
//! missing for a moment, or a wrong path, costs no alert its time.

use std::collections::BTreeMap;

use model::Labels;

use super::stages::stages;
use super::stored::{self, Entry};
use super::{ActiveAlert, Evaluation, GroupState, Report, RuleState};
use crate::file::{Group, RuleFile};
use crate::shelf::Change;

/// How long what is known of a rule that is no more is kept, at least.
pub const PARKED_MS: i64 = 60 * 60 * 1000;

/// What a rule is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub(super) file: String,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// How many equal ones are before it in its group.
    pub(super) twin: u32,
}

impl Identity {
    fn number(&self) -> u64 {
        let twin = self.twin.to_string();
        let labels = self.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        number_of([self.file.as_str(), &self.group, &self.name, &twin].into_iter().chain(labels))
    }

    /// What is left of it when it moves.
    fn anywhere(&self) -> (&str, &BTreeMap<String, String>, u32) {
        (&self.name, &self.labels, self.twin)
    }
}

/// FNV-1a with 64 bits over `texts`, each followed by a byte that is in no text.
pub(super) fn number_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[derive(Debug, Default)]
struct KeptRule {
    identity: Option<Identity>,
    is_named: bool,
    alerts: BTreeMap<Labels, ActiveAlert>,
    series: Vec<Labels>,
    report: Report,
    /// Since when there is no such rule.
    parked_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct KeptGroup {
    evaluated_ms: Option<i64>,
    noted_ms: Option<i64>,
    began: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Kept {
    rules: BTreeMap<u64, KeptRule>,
    groups: BTreeMap<u64, KeptGroup>,
    leaving: Vec<Labels>,
}

/// What nobody took up.
#[derive(Debug, Default)]
pub struct Left {
    /// What is to be changed on the shelf before the new rules are evaluated.
    pub changes: Vec<Change>,
    /// Series that nobody makes any more: they are to be ended.
    pub series: Vec<Labels>,
    /// What is known of rules that are no more; to be [joined](Kept::join) with what is known when rules are read anew.
    pub parked: Kept,
}

impl Kept {
    /// What a shelf has; and what is told of entries that cannot be read.
    pub fn read(entries: Vec<crate::shelf::Entry>) -> (Self, Vec<String>) {
        let (mut kept, mut damaged) = (Self::default(), Vec::new());
        for (key, value) in entries {
            match stored::read(&key, &value) {
                Ok(Entry::Alert(rule, labels, alert)) => {
                    let rule = kept.rules.entry(rule).or_default();
                    rule.series.extend(alert.series_labels(&labels));
                    rule.alerts.insert(labels, *alert);
                }
                Ok(Entry::Rule(number, identity)) => {
                    let rule = kept.rules.entry(number).or_default();
                    (rule.identity, rule.is_named) = (Some(identity), true);
                }
                Ok(Entry::Group(number, at_ms)) => {
                    let group = KeptGroup { evaluated_ms: Some(at_ms), noted_ms: None, began: false };
                    kept.groups.insert(number, group);
                }
                Err(detail) => damaged.push(format!("{}: {detail}", key.escape_ascii())),
            }
        }
        (kept, damaged)
    }

    /// What groups know that are to be replaced by others.
    pub fn of(groups: impl IntoIterator<Item = GroupState>) -> Self {
        let mut kept = Self::default();
        for group in groups {
            let GroupState { id, rules, leaving, evaluated_ms, noted_ms, began, .. } = group;
            kept.groups.insert(id, KeptGroup { evaluated_ms, noted_ms, began });
            kept.leaving.extend(leaving);
            for RuleState { identity, id, is_named, alerts, series, report } in rules {
                let identity = Some(identity);
                kept.rules.insert(id, KeptRule { identity, is_named, alerts, series, report, parked_ms: None });
            }
        }
        kept
    }

    /// Adds what is [parked](Left::parked).
    pub fn join(&mut self, parked: Self) {
        for (id, rule) in parked.rules {
            self.rules.entry(id).or_insert(rule);
        }
        for (id, group) in parked.groups {
            self.groups.entry(id).or_insert(group);
        }
    }

    /// The states of all groups of `files`, in their order, with what is known of them at `now_ms`.
    pub fn into_groups(mut self, files: &[RuleFile], now_ms: i64) -> (Vec<GroupState>, Left) {
        let mut left = Left { series: std::mem::take(&mut self.leaving), ..Left::default() };
        let groups = files.iter().flat_map(|file| file.groups.iter().map(|group| (file.name.as_str(), group)));
        let wanted: Vec<(&str, &Group, Vec<Identity>)> =
            groups.map(|(file, group)| (file, group, identities(file, group))).collect();
        let mut moved = self.moved(wanted.iter().flat_map(|(_, _, rules)| rules));
        let mut states = Vec::with_capacity(wanted.len());
        for (file, group, rules) in wanted {
            let id = number_of([file, &group.name]);
            let known = self.groups.remove(&id);
            let rules = rules.into_iter().map(|identity| self.take(identity, &mut moved, &mut left)).collect();
            states.push(GroupState {
                id,
                rules,
                reads: stages(&group.rules),
                leaving: Vec::new(),
                evaluated_ms: known.and_then(|known| known.evaluated_ms),
                noted_ms: known.and_then(|known| known.noted_ms),
                began: known.is_some_and(|known| known.began),
            });
        }
        for (id, mut rule) in self.rules {
            left.series.append(&mut rule.series);
            let since_ms = *rule.parked_ms.get_or_insert(now_ms);
            if rule.alerts.is_empty() || now_ms.saturating_sub(since_ms) > PARKED_MS {
                forget(id, &rule, &mut left.changes);
            } else {
                left.parked.rules.insert(id, rule);
            }
        }
        for (id, group) in self.groups {
            if left.parked.rules.is_empty() {
                left.changes.push((stored::group_key(id), None));
            } else {
                left.parked.groups.insert(id, group);
            }
        }
        (states, left)
    }

    /// Of rules that are not where they were: where they are known.
    fn moved<'a>(&self, wanted: impl Iterator<Item = &'a Identity>) -> BTreeMap<u64, u64> {
        let mut missing: BTreeMap<_, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        let mut found = std::collections::BTreeSet::new();
        for identity in wanted {
            let number = identity.number();
            if self.rules.contains_key(&number) {
                found.insert(number);
            } else {
                missing.entry(identity.anywhere()).or_default().0.push(number);
            }
        }
        for (number, rule) in self.rules.iter().filter(|(number, _)| !found.contains(number)) {
            if let Some(places) = rule.identity.as_ref().and_then(|identity| missing.get_mut(&identity.anywhere())) {
                places.1.push(*number);
            }
        }
        missing
            .into_values()
            .filter_map(|(to, from)| match (to.as_slice(), from.as_slice()) {
                ([to], [from]) => Some((*to, *from)),
                _ => None,
            })
            .collect()
    }

    fn take(&mut self, identity: Identity, moved: &mut BTreeMap<u64, u64>, left: &mut Left) -> RuleState {
        let id = identity.number();
        let from = moved.remove(&id);
        let mut known = self.rules.remove(&from.unwrap_or(id)).unwrap_or_default();
        if let Some(from) = from {
            forget(from, &known, &mut left.changes);
            for (labels, alert) in known.alerts.iter().filter(|(_, alert)| alert.stored.is_some()) {
                left.changes.push((stored::alert_key(id, labels), Some(stored::alert_value(alert))));
            }
            if known.is_named {
                left.changes.push((stored::rule_key(id), Some(stored::rule_value(&identity))));
            }
            known.is_named &= !known.alerts.is_empty();
        }
        let KeptRule { is_named, alerts, series, report, .. } = known;
        RuleState { identity, id, is_named, alerts, series, report }
    }
}

impl GroupState {
    /// Notes that the group was evaluated.
    pub(super) fn note(&mut self, at_ms: i64, made: &mut Evaluation) {
        self.evaluated_ms = Some(at_ms);
        let is_due = self.noted_ms.is_none_or(|noted_ms| at_ms.saturating_sub(noted_ms) >= super::REFRESH_MS);
        if is_due || !made.changes.is_empty() {
            self.noted_ms = Some(at_ms);
            made.changes.push((stored::group_key(self.id), Some(stored::group_value(at_ms))));
        }
    }
}

fn forget(id: u64, rule: &KeptRule, changes: &mut Vec<Change>) {
    let stored = rule.alerts.iter().filter(|(_, alert)| alert.stored.is_some());
    changes.extend(stored.map(|(labels, _)| (stored::alert_key(id, labels), None)));
    if rule.is_named {
        changes.push((stored::rule_key(id), None));
    }
}

fn identities(file: &str, group: &Group) -> Vec<Identity> {
    let mut twins: BTreeMap<(&str, &BTreeMap<String, String>), u32> = BTreeMap::new();
    let identity = |rule: &crate::file::Rule| Identity {
        file: file.to_owned(),
        group: group.name.clone(),
        name: rule.name.clone(),
        labels: rule.labels.clone(),
        twin: 0,
    };
    let mut all = Vec::with_capacity(group.rules.len());
    for rule in &group.rules {
        let twin = twins.entry((&rule.name, &rule.labels)).or_default();
        all.push(Identity { twin: *twin, ..identity(rule) });
        *twin += 1;
    }
    all
}
