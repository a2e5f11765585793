//! What is told of a group: as it was after its last evaluation, so that whoever asks never waits for one under way.

use std::collections::BTreeMap;

use model::Labels;
use rules::alert::Times;
use rules::evaluate::{GroupState, Report, RuleState};

/// A group.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) evaluated_ms: Option<i64>,
    /// In the order of the group's rules.
    pub(super) rules: Vec<ShownRule>,
}

/// One of its rules.
#[derive(Debug)]
pub(super) struct ShownRule {
    pub(super) report: Report,
    /// Those that are pending or firing.
    pub(super) alerts: Vec<ShownAlert>,
}

/// An alert of a rule.
#[derive(Debug)]
pub(super) struct ShownAlert {
    pub(super) labels: Labels,
    pub(super) texts: BTreeMap<String, String>,
    pub(super) times: Times,
    pub(super) value: f64,
}

impl ShownAlert {
    /// The memory that it takes in a list, about.
    pub(super) fn bytes(&self) -> usize {
        /// What a text takes besides its bytes, and a place in a list.
        const TEXT_BYTES: usize = 48;
        let texts = self.texts.iter().map(|(name, text)| name.len() + text.len() + 2 * TEXT_BYTES);
        size_of::<Self>() + TEXT_BYTES + self.labels.packed().len() + texts.sum::<usize>()
    }
}

impl Shown {
    /// What there is to tell of `state`.
    pub(super) fn of(state: &GroupState) -> Self {
        Self { evaluated_ms: state.evaluated_ms(), rules: state.rules().iter().map(ShownRule::of).collect() }
    }
}

impl ShownRule {
    fn of(rule: &RuleState) -> Self {
        let active = rule.alerts().filter(|(_, alert)| alert.times.is_active());
        let alerts = active.map(|(labels, alert)| ShownAlert {
            labels: labels.clone(),
            texts: alert.texts(),
            times: alert.times,
            value: alert.value,
        });
        Self { report: rule.report().clone(), alerts: alerts.collect() }
    }
}
