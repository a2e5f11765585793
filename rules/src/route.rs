//! The routing tree: which receivers an alert goes to, and in which groups.
//!
//! The walk is Alertmanager's (`dispatch.Route.Match`): depth first, the first child that matches unless it `continue`s, and a node itself where
//! no child does.

use std::collections::BTreeMap;

use model::{Labels, LabelsRef, Matcher, labels::LabelsBuilder};

/// By which labels alerts are grouped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: by all.
    All,
    /// By these, sorted.
    Labels(Vec<String>),
}

/// How a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the receiver.
    pub receiver: String,
    /// By which labels alerts are grouped.
    pub group_by: GroupBy,
    /// `group_wait`: before a group is told first.
    pub wait_ms: i64,
    /// `group_interval`: between two looks at a group.
    pub interval_ms: i64,
    /// `repeat_interval`: before the same is told again.
    pub repeat_ms: i64,
    /// Names of the time intervals in which nothing is told.
    pub mute: Vec<String>,
    /// Names of the time intervals outside of which nothing is told; none means always.
    pub active: Vec<String>,
    /// Further labels for the texts of notifications, those from above among them: templates.
    pub labels: BTreeMap<String, String>,
    /// Who else is told when nobody takes an alert on, in the order of time.
    pub escalation: Vec<EscalationStep>,
    /// When an alert that comes and goes is held open.
    pub flap: Option<FlapHold>,
    /// Whether a group is looked at when what kept it quiet ends, instead of when it would be anyway, and ends that fell into the quiet are told then.
    pub reevaluate_after_mute: bool,
}

/// Somebody who is told after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationStep {
    /// How long an alert has been told, fires, and nobody acknowledged it.
    pub after_ms: i64,
    /// Name of the receiver.
    pub receiver: String,
}

/// What counts as coming and going: the alert counts as firing while it changed so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlapHold {
    /// Begins and ends.
    pub changes: usize,
    /// Within this time.
    pub window_ms: i64,
}

impl Options {
    /// Alertmanager's defaults, for `receiver`.
    pub fn new(receiver: impl Into<String>) -> Self {
        Self {
            receiver: receiver.into(),
            group_by: GroupBy::Labels(Vec::new()),
            wait_ms: 30_000,
            interval_ms: 5 * 60_000,
            repeat_ms: 4 * 3_600_000,
            mute: Vec::new(),
            active: Vec::new(),
            labels: BTreeMap::new(),
            escalation: Vec::new(),
            flap: None,
            reevaluate_after_mute: true,
        }
    }
}

/// A node of the tree.
#[derive(Debug, Clone)]
pub struct Route {
    /// What alerts have that come here.
    pub matchers: Vec<Matcher>,
    /// Whether siblings behind it see the alert too.
    pub continues: bool,
    /// How it tells.
    pub options: Options,
    /// Its children.
    pub routes: Vec<Route>,
    /// The matchers from the root on: `{}/{team="web"}`.
    pub key: String,
    /// As the key, each matchers with the place among siblings, from 0: `{}/{team="web"}/0`; one of a kind.
    pub id: String,
}

/// A node that was looked at on the way of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// Levels below the root.
    pub depth: usize,
    /// Its id.
    pub id: &'a str,
    /// Its receiver.
    pub receiver: &'a str,
    /// Its matchers.
    pub matchers: &'a [Matcher],
    /// Whether siblings behind it see the alert too.
    pub continues: bool,
    /// Whether its matchers hold.
    pub matches: bool,
    /// Whether the alert is told here.
    pub takes: bool,
}

impl Route {
    /// The nodes that tell an alert with `labels`.
    pub fn matching<'a>(&'a self, labels: LabelsRef<'_>) -> Vec<&'a Self> {
        let mut found = Vec::new();
        self.walk(labels, 0, &mut found, &mut |_| {});
        found
    }

    /// Every node that an alert with `labels` is compared with, in order.
    pub fn explain<'a>(&'a self, labels: LabelsRef<'_>) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut found = Vec::new();
        self.walk(labels, 0, &mut found, &mut |step| steps.push(step));
        for step in &mut steps {
            step.takes = found.iter().any(|route| route.id == step.id);
        }
        steps
    }

    fn walk<'a>(
        &'a self,
        labels: LabelsRef<'_>,
        depth: usize,
        found: &mut Vec<&'a Self>,
        tell: &mut dyn FnMut(Step<'a>),
    ) -> bool {
        let matches = all_match(&self.matchers, labels);
        tell(Step {
            depth,
            id: &self.id,
            receiver: &self.options.receiver,
            matchers: &self.matchers,
            continues: self.continues,
            matches,
            takes: false,
        });
        if !matches {
            return false;
        }
        let before = found.len();
        for route in &self.routes {
            if route.walk(labels, depth + 1, found, tell) && !route.continues {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
        true
    }

    /// The labels that an alert with `labels` is grouped by here.
    pub fn group_labels(&self, labels: LabelsRef<'_>) -> Labels {
        match &self.options.group_by {
            GroupBy::All => labels.to_owned(),
            GroupBy::Labels(names) => {
                let mut grouped = LabelsBuilder::new();
                for name in names {
                    if let Some(value) = labels.get(name) {
                        grouped.push(name, value);
                    }
                }
                grouped.build().unwrap_or_else(|_| Labels::empty())
            }
        }
    }
}

/// Whether `labels` fulfil all `matchers`; a label that is not there is empty.
pub fn all_match(matchers: &[Matcher], labels: LabelsRef<'_>) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matchers::parse_matchers;

    fn node(matchers: &str, receiver: &str, continues: bool, routes: Vec<Route>) -> Route {
        let matchers = if matchers.is_empty() { Vec::new() } else { parse_matchers(matchers).expect("matchers") };
        let options = Options {
            group_by: GroupBy::Labels(vec!["alertname".to_owned(), "job".to_owned()]),
            ..Options::new(receiver)
        };
        Route { matchers, continues, options, routes, key: receiver.to_owned(), id: receiver.to_owned() }
    }

    fn tree() -> Route {
        node(
            "",
            "default",
            false,
            vec![
                node("audit=\"yes\"", "audit", true, Vec::new()),
                node("team=\"web\"", "web", false, vec![node("severity=\"page\"", "web-page", false, Vec::new())]),
                node("team=~\"web|db\"", "both", false, Vec::new()),
                node("team=\"\"", "nobody", false, Vec::new()),
            ],
        )
    }

    fn receivers(pairs: &[(&str, &str)]) -> Vec<String> {
        let labels = Labels::from_pairs(pairs.iter().copied()).expect("labels");
        tree().matching(labels.as_ref()).iter().map(|route| route.options.receiver.clone()).collect()
    }

    #[test]
    fn alerts_go_where_they_belong() {
        assert_eq!(receivers(&[("team", "web")]), ["web"]);
        assert_eq!(receivers(&[("team", "web"), ("severity", "page")]), ["web-page"]);
        assert_eq!(receivers(&[("team", "db")]), ["both"]);
        assert_eq!(receivers(&[("team", "x")]), ["default"]);
        assert_eq!(receivers(&[("a", "b")]), ["nobody"]);
        assert_eq!(receivers(&[("team", "web"), ("audit", "yes")]), ["audit", "web"]);
        assert_eq!(receivers(&[("team", "x"), ("audit", "yes")]), ["audit"]);
    }

    #[test]
    fn the_way_is_told() {
        let tree = tree();
        let labels = Labels::from_pairs([("team", "web"), ("audit", "yes")]).expect("labels");
        let steps = tree.explain(labels.as_ref());
        let told: Vec<String> = steps
            .iter()
            .map(|step| format!("{}{}{}{}", step.depth, step.receiver, u8::from(step.matches), u8::from(step.takes)))
            .collect();
        assert_eq!(told, ["0default10", "1audit11", "1web11", "2web-page00"]);
    }

    #[test]
    fn groups_have_the_labels_they_are_by() {
        let labels = Labels::from_pairs([("job", "api"), ("pod", "1")]).expect("labels");
        let mut route = node("", "r", false, Vec::new());
        assert_eq!(route.group_labels(labels.as_ref()), Labels::from_pairs([("job", "api")]).expect("labels"));
        route.options.group_by = GroupBy::All;
        assert_eq!(route.group_labels(labels.as_ref()), labels);
    }
}
