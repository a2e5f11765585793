//! What is told of alerts, groups and routes to those who ask.

use std::collections::BTreeSet;
use std::convert::Infallible;

use model::{Labels, LabelsRef};

use super::Dispatcher;
use super::changes::show_sets;
use super::group::Group;
use crate::event::{Suppression, fingerprint_text};
use crate::notify::acks::Ack;
use crate::notify::alerts::Kept;
use crate::notify::decision::Fingerprint;
use crate::route::{GroupBy, Options};

/// An alert as it is listed.
#[derive(Debug, Clone)]
pub struct AlertView {
    /// The number it is known by.
    pub fingerprint: Fingerprint,
    /// The alert.
    pub kept: Kept,
    /// The receivers of the groups it is in, sorted.
    pub receivers: Vec<String>,
    /// Silences that mute it.
    pub silenced_by: Vec<String>,
    /// Alerts that inhibit it.
    pub inhibited_by: Vec<Fingerprint>,
    /// Time intervals that mute it in every group it is in.
    pub muted_by: Vec<String>,
    /// Who took it on.
    pub ack: Option<Ack>,
}

/// A group as it is listed.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// As notifications have it.
    pub key: String,
    /// The labels it has in common.
    pub labels: Labels,
    /// Its receiver.
    pub receiver: String,
    /// The id of its route.
    pub route_id: String,
    /// When it is looked at next, milliseconds since the Unix epoch.
    pub next_ms: i64,
    /// Its members.
    pub alerts: Vec<AlertView>,
}

/// A node of the tree that labels are compared with.
#[derive(Debug, Clone)]
pub struct RouteStep {
    /// Levels below the root.
    pub depth: usize,
    /// Its id.
    pub id: String,
    /// Its matchers.
    pub matchers: String,
    /// Whether they hold.
    pub matches: bool,
    /// Whether siblings behind it see the alert too.
    pub continues: bool,
    /// Whether the alert is told here.
    pub takes: bool,
    /// Where it is told: how, and in which group.
    pub taken: Option<(Options, Labels)>,
}

/// What would keep an alert quiet now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MuteView {
    /// The route it would be quiet in; `None` for every one.
    pub route_id: Option<String>,
    /// Why.
    pub why: Suppression,
}

impl AlertView {
    /// Whether something keeps it from being told.
    pub fn is_quiet(&self) -> bool {
        !(self.silenced_by.is_empty() && self.inhibited_by.is_empty() && self.muted_by.is_empty())
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        /// What a text takes besides its bytes, in a list or a map.
        const TEXT_BYTES: usize = 48;
        let posted = &self.kept.posted;
        let annotations = posted.annotations.iter().map(|(name, text)| name.len() + text.len() + 2 * TEXT_BYTES);
        let texts = [&self.receivers, &self.silenced_by, &self.muted_by].into_iter().flatten();
        let texts = texts.map(|text| text.len() + TEXT_BYTES);
        let ack = self.ack.as_ref().map_or(0, |ack| ack.owner.len() + ack.note.len());
        let plain = size_of::<Self>() + size_of_val(self.inhibited_by.as_slice()) + posted.generator_url.len() + ack;
        plain + posted.labels.packed().len() + annotations.chain(texts).sum::<usize>()
    }
}

impl Dispatcher {
    /// Every alert that has not ended at `now_ms`.
    pub fn alerts(&self, now_ms: i64) -> Vec<AlertView> {
        self.alerts_by(now_ms, |_| Ok::<_, Infallible>(true)).unwrap_or_else(|never| match never {})
    }

    /// Those of them that `wanted` takes.
    ///
    /// # Errors
    ///
    /// The first one that `wanted` has.
    pub fn alerts_by<E>(
        &self,
        now_ms: i64,
        mut wanted: impl FnMut(&AlertView) -> Result<bool, E>,
    ) -> Result<Vec<AlertView>, E> {
        self.views(self.alerts.iter(), now_ms, &mut wanted)
    }

    fn views<'k, E>(
        &self,
        alerts: impl Iterator<Item = (Fingerprint, &'k Kept)>,
        now_ms: i64,
        wanted: &mut impl FnMut(&AlertView) -> Result<bool, E>,
    ) -> Result<Vec<AlertView>, E> {
        let mut views = Vec::new();
        for (alert, kept) in alerts.filter(|(_, kept)| !kept.posted.is_resolved(now_ms)) {
            let view = self.view(alert, kept, now_ms);
            if wanted(&view)? {
                views.push(view);
            }
        }
        Ok(views)
    }

    /// How many alerts are known, ended ones among them, and how many groups there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.alerts.len(), self.groups.len())
    }

    /// The groups whose receivers `told` takes, with those of their alerts that have not ended and `wanted` takes; none without any.
    ///
    /// # Errors
    ///
    /// The first one that `wanted` has.
    pub fn groups_by<E>(
        &self,
        now_ms: i64,
        told: impl Fn(&str) -> bool,
        mut wanted: impl FnMut(&AlertView) -> Result<bool, E>,
    ) -> Result<Vec<GroupView>, E> {
        let mut views = Vec::new();
        for group in self.groups.values().filter(|group| told(&group.options.receiver)) {
            let kept = group.members.keys().filter_map(|alert| Some((*alert, self.alerts.get(*alert)?)));
            let alerts = self.views(kept, now_ms, &mut wanted)?;
            if !alerts.is_empty() {
                let (key, labels) = (group.key.clone(), group.labels.clone());
                let (receiver, route_id) = (group.options.receiver.clone(), group.route_id.clone());
                views.push(GroupView { key, labels, receiver, route_id, next_ms: group.due_ms(), alerts });
            }
        }
        Ok(views)
    }

    fn view(&self, alert: Fingerprint, kept: &Kept, now_ms: i64) -> AlertView {
        let labels = kept.posted.labels.as_ref();
        let groups: Vec<&Group> =
            self.groups_of.get(&alert).into_iter().flatten().filter_map(|id| self.groups.get(id)).collect();
        let receivers: BTreeSet<String> = groups.iter().map(|group| group.options.receiver.clone()).collect();
        let times: Option<BTreeSet<String>> = groups
            .iter()
            .map(|group| self.mute_time(&group.options, now_ms).0.map(|why| interval_name(&why)))
            .collect();
        AlertView {
            fingerprint: alert,
            receivers: receivers.into_iter().collect(),
            silenced_by: self.silences.muting(labels, now_ms).iter().map(|silence| silence.id.clone()).collect(),
            inhibited_by: self.inhibitor.muted_by(labels).map(|(_, source)| source).into_iter().collect(),
            muted_by: times.unwrap_or_default().into_iter().collect(),
            ack: self.acks.get(alert, now_ms).cloned(),
            kept: kept.clone(),
        }
    }

    /// The way that an alert with `labels` takes through the tree.
    pub fn explain(&self, labels: LabelsRef<'_>) -> Vec<RouteStep> {
        let route = &self.config.route;
        let taking = route.matching(labels);
        let steps = route.explain(labels).into_iter();
        let told = steps.map(|step| {
            let taken = taking.iter().find(|route| route.id == step.id);
            RouteStep {
                depth: step.depth,
                id: step.id.to_owned(),
                matchers: show_sets(&[step.matchers.to_vec()]),
                matches: step.matches,
                continues: step.continues,
                takes: step.takes,
                taken: taken.map(|route| (route.options.clone(), route.group_labels(labels))),
            }
        });
        told.collect()
    }

    /// What would keep an alert with `labels` quiet at `now_ms`.
    pub fn mutes(&self, labels: LabelsRef<'_>, now_ms: i64) -> Vec<MuteView> {
        let mut all = Vec::new();
        if let Some((rule, source)) = self.inhibitor.muted_by(labels) {
            let why = Suppression::Inhibition { rule: rule.name.clone(), source: fingerprint_text(source) };
            all.push(MuteView { route_id: None, why });
        }
        let ids: Vec<String> = self.silences.muting(labels, now_ms).iter().map(|silence| silence.id.clone()).collect();
        if !ids.is_empty() {
            all.push(MuteView { route_id: None, why: Suppression::Silence { ids } });
        }
        for route in self.config.route.matching(labels) {
            if let Some(why) = self.mute_time(&route.options, now_ms).0 {
                all.push(MuteView { route_id: Some(route.id.clone()), why });
            }
        }
        all
    }
}

impl GroupBy {
    /// The names, or `...`.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["...".to_owned()],
            Self::Labels(names) => names.clone(),
        }
    }
}

fn interval_name(why: &Suppression) -> String {
    match why {
        Suppression::MuteTime { interval } => interval.clone(),
        _ => "outside of active time intervals".to_owned(),
    }
}
