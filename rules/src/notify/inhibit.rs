//! Inhibition: alerts that are not told because others fire.
//!
//! The rules are Alertmanager's (`inhibit`): a target is muted while a source fires that has the same values of all `equal` labels. An alert that
//! is source and target of a rule is not muted by another that is both.

use std::collections::{BTreeSet, HashMap};

use model::{Labels, LabelsRef, Matcher};

use super::decision::Fingerprint;
use crate::route::all_match;

/// Which alerts mute which.
#[derive(Debug, Clone, Default)]
pub struct InhibitRule {
    /// For people.
    pub name: String,
    /// What sources have.
    pub source: Vec<Matcher>,
    /// What targets have.
    pub target: Vec<Matcher>,
    /// Labels whose values are the same on both; one that is missing is empty.
    pub equal: Vec<String>,
    /// Whether targets are beneath sources, too.
    pub beneath: Option<Beneath>,
}

/// By what a label says where something belongs: `instance="web1/api"` is beneath `instance="web1"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beneath {
    /// Name of the label.
    pub label: String,
    /// What stands between the name of what is above and the rest.
    pub separator: String,
}

/// Values of a rule's `equal` labels.
type Same = Vec<String>;

/// Knows which sources fire.
#[derive(Debug, Default)]
pub struct Inhibitor {
    rules: Vec<InhibitRule>,
    /// Of each rule, its sources; and whether each is a target too.
    sources: Vec<HashMap<Same, Sources>>,
    /// The labels of alerts that are sources.
    known: HashMap<Fingerprint, Labels>,
}

#[derive(Debug, Default)]
struct Sources {
    only: BTreeSet<Fingerprint>,
    targets_too: BTreeSet<Fingerprint>,
}

impl Inhibitor {
    /// With no source yet.
    pub fn new(rules: Vec<InhibitRule>) -> Self {
        let sources = rules.iter().map(|_| HashMap::new()).collect();
        Self { rules, sources, known: HashMap::new() }
    }

    /// Takes note that an alert fires.
    pub fn fires(&mut self, alert: Fingerprint, labels: &Labels) {
        let mut is_source = false;
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            if all_match(&rule.source, labels.as_ref()) {
                is_source = true;
                let Some(key) = source_key(rule, labels.as_ref()) else { continue };
                let sources = sources.entry(key).or_default();
                let set =
                    if all_match(&rule.target, labels.as_ref()) { &mut sources.targets_too } else { &mut sources.only };
                set.insert(alert);
            }
        }
        if is_source {
            self.known.insert(alert, labels.clone());
        }
    }

    /// Takes note that it does not fire any more; whether it was a source.
    pub fn ends(&mut self, alert: Fingerprint) -> bool {
        let Some(labels) = self.known.remove(&alert) else { return false };
        for (rule, all) in self.rules.iter().zip(&mut self.sources) {
            let Some(key) = source_key(rule, labels.as_ref()) else { continue };
            if let Some(sources) = all.get_mut(&key) {
                sources.only.remove(&alert);
                sources.targets_too.remove(&alert);
                if sources.only.is_empty() && sources.targets_too.is_empty() {
                    all.remove(&key);
                }
            }
        }
        true
    }

    /// The rule and the alert that mute one with `labels`.
    pub fn muted_by(&self, labels: LabelsRef<'_>) -> Option<(&InhibitRule, Fingerprint)> {
        self.rules.iter().zip(&self.sources).find_map(|(rule, sources)| {
            if !all_match(&rule.target, labels) {
                return None;
            }
            let sources = sources.get(&target_key(rule, labels)?)?;
            let both = if all_match(&rule.source, labels) { None } else { sources.targets_too.first() };
            sources.only.first().or(both).map(|source| (rule, *source))
        })
    }
}

fn same(rule: &InhibitRule, labels: LabelsRef<'_>) -> Same {
    rule.equal.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()).collect()
}

/// What a source is found by; nothing where it has nothing beneath it.
fn source_key(rule: &InhibitRule, labels: LabelsRef<'_>) -> Option<Same> {
    let mut key = same(rule, labels);
    if let Some(beneath) = &rule.beneath {
        key.push(labels.get(&beneath.label).filter(|value| !value.is_empty())?.to_owned());
    }
    Some(key)
}

/// What a target finds its sources by; nothing where it is beneath nothing.
fn target_key(rule: &InhibitRule, labels: LabelsRef<'_>) -> Option<Same> {
    let mut key = same(rule, labels);
    if let Some(beneath) = &rule.beneath {
        key.push(labels.get(&beneath.label)?.split_once(beneath.separator.as_str())?.0.to_owned());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matchers::parse_matchers;

    fn rule(source: &str, target: &str, equal: &[&str]) -> InhibitRule {
        InhibitRule {
            name: String::new(),
            source: parse_matchers(source).expect("matchers"),
            target: parse_matchers(target).expect("matchers"),
            equal: equal.iter().map(|name| (*name).to_owned()).collect(),
            beneath: None,
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("labels")
    }

    #[test]
    fn sources_mute_targets_of_the_same() {
        let mut inhibitor = Inhibitor::new(vec![rule("severity=page", "severity=~\"ticket|page\"", &["job", "zone"])]);
        let page = labels(&[("severity", "page"), ("job", "api")]);
        let ticket = labels(&[("severity", "ticket"), ("job", "api")]);
        assert!(inhibitor.muted_by(ticket.as_ref()).is_none());
        inhibitor.fires(1, &page);
        assert_eq!(inhibitor.muted_by(ticket.as_ref()).map(|(_, source)| source), Some(1));
        assert!(inhibitor.muted_by(page.as_ref()).is_none(), "itself and its like are not muted");
        assert!(inhibitor.muted_by(labels(&[("severity", "ticket"), ("job", "web")]).as_ref()).is_none());
        assert!(
            inhibitor.muted_by(labels(&[("severity", "ticket"), ("job", "api"), ("zone", "a")]).as_ref()).is_none()
        );
        inhibitor.ends(1);
        assert!(
            inhibitor.muted_by(ticket.as_ref()).is_none()
                && inhibitor.known.is_empty()
                && inhibitor.sources[0].is_empty()
        );
    }

    #[test]
    fn what_is_beneath_is_muted() {
        let beneath = Beneath { label: "instance".to_owned(), separator: "/".to_owned() };
        let rule = InhibitRule { target: Vec::new(), beneath: Some(beneath), ..rule("alertname=HostDown", "a=b", &[]) };
        let mut inhibitor = Inhibitor::new(vec![rule]);
        let host = labels(&[("alertname", "HostDown"), ("instance", "web1")]);
        inhibitor.fires(1, &host);
        inhibitor.fires(2, &labels(&[("alertname", "HostDown")]));
        let muted = |instance: &str| inhibitor.muted_by(labels(&[("instance", instance)]).as_ref()).is_some();
        assert_eq!(
            ["web1/api", "web1/a/b", "web1", "web2/api", "/", ""].map(muted),
            [true, true, false, false, false, false]
        );
        assert!(inhibitor.muted_by(host.as_ref()).is_none());
    }

    proptest! {
        /// As each pair of alerts says for itself.
        #[test]
        fn the_index_says_what_pairs_say(
            alerts in prop::collection::vec((0..3_u8, 0..2_u8, 0..2_u8, any::<bool>()), 1..20),
            asked in (0..3_u8, 0..2_u8, 0..2_u8),
        ) {
            let make = |(severity, job, zone): (u8, u8, u8)| {
                let (severity, job, zone) = (severity.to_string(), job.to_string(), zone.to_string());
                labels(&[("severity", &severity), ("job", &job), ("zone", if zone == "0" { "" } else { "a" })])
            };
            let rules = vec![rule("severity=0", "severity=~\"0|1\"", &["job"]), rule("severity=~\"1|2\"", "zone=a", &["severity", "job"])];
            let mut inhibitor = Inhibitor::new(rules.clone());
            let mut firing = Vec::new();
            for (number, (severity, job, zone, ends)) in alerts.into_iter().enumerate() {
                let (id, labels) = (number as u64, make((severity, job, zone)));
                inhibitor.fires(id, &labels);
                if ends { inhibitor.ends(id); } else { firing.push(labels) }
            }
            let asked = make(asked);
            let pair = |rule: &InhibitRule, source: &Labels| {
                let both = |labels: &Labels| all_match(&rule.source, labels.as_ref()) && all_match(&rule.target, labels.as_ref());
                all_match(&rule.target, asked.as_ref())
                    && all_match(&rule.source, source.as_ref())
                    && same(rule, asked.as_ref()) == same(rule, source.as_ref())
                    && !(both(&asked) && both(source))
            };
            let want = rules.iter().any(|rule| firing.iter().any(|source| pair(rule, source)));
            prop_assert_eq!(inhibitor.muted_by(asked.as_ref()).is_some(), want);
        }
    }
}
