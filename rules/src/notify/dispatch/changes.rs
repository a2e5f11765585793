//! What people change: silences and acknowledgements.

use std::collections::BTreeMap;

use model::Matcher;

use super::Dispatcher;
use crate::event::{EventKind, Suppression, event_labels, fingerprint_text};
use crate::notify::acks::{Ack, Acks};
use crate::notify::decision::Fingerprint;
use crate::notify::silence::Silence;
use crate::notify::silences::{Changed, SilenceError};
use crate::notify::stored;
use crate::route::all_match;

/// Why an acknowledgement is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// No alert that fires is meant; the matchers.
    #[error("no alert that fires fulfils {0}")]
    Unknown(String),
    /// None of those that are meant has an owner; the matchers.
    #[error("nobody has taken on an alert that fires and fulfils {0}")]
    Untaken(String),
    /// It is none; the message says why.
    #[error("{0}")]
    Invalid(String),
}

/// What people changed so far, to go back to.
#[derive(Debug)]
pub struct Before {
    silences: BTreeMap<String, Silence>,
    acks: Acks,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Dispatcher {
    /// What people changed so far: see [`undo`](Self::undo).
    pub fn before(&self) -> Before {
        Before { silences: self.silences.made(), acks: self.acks.clone(), changed: self.changed.clone() }
    }

    /// Goes back to `before`, as if nobody had made a silence or an acknowledgement since, because that could not be written.
    pub fn undo(&mut self, before: Before, why: &dyn std::fmt::Display, now_ms: i64) {
        self.silences.go_back(before.silences);
        (self.acks, self.changed) = (before.acks, before.changed);
        let message = format!("a change by people could not be written down and does not count: {why}");
        self.record(now_ms, EventKind::Note { message });
    }

    /// Makes a silence, or changes the one whose id `wanted` has; a new one is called `new_id`. Returns the id.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn set_silence(&mut self, wanted: Silence, new_id: String, now_ms: i64) -> Result<String, SilenceError> {
        let (id, changed) = self.silences.set(wanted, new_id, self.limits.silences_max, now_ms)?;
        for one in &changed {
            self.silence_changed(one, now_ms);
        }
        Ok(id)
    }

    /// Ends a silence. Groups that it kept quiet are looked at, if their routes say so.
    ///
    /// # Errors
    ///
    /// When there is none, it is over, or the file makes it.
    pub fn expire_silence(&mut self, id: &str, now_ms: i64) -> Result<(), SilenceError> {
        let changed = self.silences.expire(id, now_ms)?;
        self.silence_changed(&changed, now_ms);
        Ok(())
    }

    fn silence_changed(&mut self, changed: &Changed, now_ms: i64) {
        let Changed { silence, change } = changed;
        self.changed.insert(stored::silence_key(&silence.id), Some(stored::silence_value(silence)));
        self.record(
            now_ms,
            EventKind::Silence {
                id: silence.id.clone(),
                change: (*change).to_owned(),
                by: silence.created_by.clone(),
                comment: silence.comment.clone(),
                matchers: show_sets(&silence.sets),
                starts_ms: silence.starts_ms,
                ends_ms: silence.ends_ms,
            },
        );
        if *change == "created" {
            return;
        }
        let Self { groups, queue, changed: unshelved, .. } = self;
        for (id, group) in groups {
            let by_it = |why: &Option<Suppression>| matches!(why, Some(Suppression::Silence { ids }) if ids.contains(&silence.id));
            if group.options.reevaluate_after_mute && group.members.values().any(|member| by_it(&member.suppressed)) {
                let before_ms = group.due_ms();
                group.look_at(now_ms);
                Self::requeue(queue, id, before_ms, group.due_ms());
                Self::shelve_timer(unshelved, id, group);
            }
        }
    }

    /// The silences, those of the file behind the others.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.iter()
    }

    /// The silence `id`.
    pub fn silence(&self, id: &str) -> Option<&Silence> {
        self.silences.get(id)
    }

    /// Takes on every alert that fires and fulfils `matchers`. Returns which.
    ///
    /// # Errors
    ///
    /// When it is none, or nothing is meant.
    pub fn acknowledge(&mut self, matchers: &[Matcher], ack: &Ack, now_ms: i64) -> Result<Vec<Fingerprint>, AckError> {
        ack.check(now_ms).map_err(AckError::Invalid)?;
        let all = self.meant(matchers, now_ms);
        if all.is_empty() {
            return Err(AckError::Unknown(show_set(matchers)));
        }
        for alert in &all {
            self.acks.set(*alert, ack.clone());
            self.changed.insert(stored::ack_key(*alert), Some(stored::ack_value(ack)));
            self.record_ack(*alert, ack, "created", now_ms);
            for id in self.groups_of.get(alert).into_iter().flatten() {
                if let Some(member) = self.groups.get_mut(id).and_then(|group| group.members.get_mut(alert)) {
                    member.ack_noted = false;
                }
            }
        }
        Ok(all)
    }

    /// Ends the acknowledgement of every alert that fires and fulfils `matchers`. Returns which had one.
    ///
    /// # Errors
    ///
    /// When none had.
    pub fn unacknowledge(&mut self, matchers: &[Matcher], now_ms: i64) -> Result<Vec<Fingerprint>, AckError> {
        let mut ended = Vec::new();
        for alert in self.meant(matchers, now_ms) {
            let Some(ack) = self.acks.remove(alert) else { continue };
            self.changed.insert(stored::ack_key(alert), None);
            self.record_ack(alert, &ack, "removed", now_ms);
            ended.push(alert);
        }
        if ended.is_empty() { Err(AckError::Untaken(show_set(matchers))) } else { Ok(ended) }
    }

    fn meant(&self, matchers: &[Matcher], now_ms: i64) -> Vec<Fingerprint> {
        let firing = self.alerts.iter().filter(|(_, kept)| !kept.posted.is_resolved(now_ms));
        let meant = firing.filter(|(_, kept)| all_match(matchers, kept.posted.labels.as_ref()));
        meant.map(|(alert, _)| alert).collect()
    }

    pub(super) fn record_ack(&self, alert: Fingerprint, ack: &Ack, change: &str, now_ms: i64) {
        let kept = self.alerts.get(alert);
        self.record(
            now_ms,
            EventKind::Ack {
                fingerprint: fingerprint_text(alert),
                labels: kept.map(|kept| event_labels(kept.posted.labels.as_ref())).unwrap_or_default(),
                change: change.to_owned(),
                owner: ack.owner.clone(),
                note: ack.note.clone(),
            },
        );
    }
}

/// Sets of matchers in their syntax, with ` or ` between.
pub(super) fn show_sets(sets: &[Vec<Matcher>]) -> String {
    sets.iter().map(|set| show_set(set)).collect::<Vec<_>>().join(" or ")
}

fn show_set(set: &[Matcher]) -> String {
    format!("{{{}}}", set.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
