//! What keeps alerts of a group quiet: inhibition, times, silences; and what holds them open.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::Dispatcher;
use super::group::Group;
use crate::event::{EventKind, Suppression, event_labels, fingerprint_text};
use crate::notify::decision::Fingerprint;
use crate::notify::delivery::NotifiedAlert;
use crate::route::Options;

/// An alert of a group at one look.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) alert: NotifiedAlert,
    /// When the last message about it came.
    pub(super) updated_ms: i64,
    /// Why it is not told.
    pub(super) suppressed: Option<Suppression>,
    /// How often it came and went, where it has ended and is held open.
    held: Option<usize>,
}

impl Seen {
    /// What is recorded of it.
    pub(super) fn noted(&self) -> Option<Suppression> {
        self.suppressed.clone().or(self.held.map(|changes| Suppression::Flapping { changes }))
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.alert.fingerprint
    }
}

impl Dispatcher {
    /// The alerts of `group` in the order of telling, and when something of it changes by itself.
    pub(super) fn look(&self, group: &Group, now_ms: i64) -> (Vec<Seen>, Option<i64>) {
        let (by_time, mut recheck_ms) = self.mute_time(&group.options, now_ms);
        let mut sooner = |at_ms: Option<i64>| {
            recheck_ms = [recheck_ms, at_ms].into_iter().flatten().filter(|at_ms| *at_ms > now_ms).min();
        };
        let mut all = Vec::with_capacity(group.members.len());
        for id in group.members.keys() {
            let Some(kept) = self.alerts.get(*id) else { continue };
            let mut alert = kept.notified(now_ms);
            let flaps = group.options.flap.and_then(|flap| kept.flaps(flap.changes, flap.window_ms, now_ms));
            let mut held = None;
            if let Some((changes, until_ms)) = flaps {
                sooner(Some(until_ms));
                // It is held open only where somebody was told that it fires.
                if alert.is_resolved() && self.was_told_firing(group, *id) {
                    (alert.ends_ms, held) = (None, Some(changes));
                }
            }
            let suppressed = if let Some((rule, source)) = self.inhibitor.muted_by(alert.labels.as_ref()) {
                Some(Suppression::Inhibition { rule: rule.name.clone(), source: fingerprint_text(source) })
            } else if by_time.is_some() {
                by_time.clone()
            } else {
                let silences = self.silences.muting(alert.labels.as_ref(), now_ms);
                if group.options.reevaluate_after_mute {
                    for silence in &silences {
                        sooner(self.silences.look_again_ms(silence, now_ms));
                    }
                }
                let ids: Vec<String> = silences.iter().map(|silence| silence.id.clone()).collect();
                (!ids.is_empty()).then_some(Suppression::Silence { ids })
            };
            all.push(Seen { alert, updated_ms: kept.updated_ms, suppressed, held });
        }
        all.sort_by_key(|seen| order(&seen.alert));
        (all, recheck_ms)
    }

    /// Whether the route is quiet at this time, and when that ends.
    pub(super) fn mute_time(&self, options: &Options, now_ms: i64) -> (Option<Suppression>, Option<i64>) {
        let Ok(now) = Timestamp::from_millisecond(now_ms) else { return (None, None) };
        let muting = options.mute.iter().find(|name| self.config.holds(name, now));
        let outside = !options.active.is_empty() && !options.active.iter().any(|name| self.config.holds(name, now));
        let why = match muting {
            Some(interval) => Some(Suppression::MuteTime { interval: interval.clone() }),
            None => outside.then_some(Suppression::OutsideActiveTime),
        };
        if why.is_none() || !options.reevaluate_after_mute {
            return (why, None);
        }
        let all = options.mute.iter().chain(&options.active).filter_map(|name| self.config.intervals.get(name));
        let next = all.flatten().filter_map(|interval| interval.next_change(now)).min();
        (why, next.map(Timestamp::as_millisecond))
    }

    pub(super) fn was_told_firing(&self, group: &Group, alert: Fingerprint) -> bool {
        self.targets(&group.options)
            .iter()
            .any(|target| self.log.get(&target.key(&group.key)).is_some_and(|entry| entry.may_know_of(alert)))
    }

    /// Records why alerts are not told, where that is news.
    pub(super) fn note_suppressions(&self, group: &mut Group, seen: &[Seen], now_ms: i64) {
        for one in seen {
            let why = one.noted();
            if let Some(member) = group.members.get_mut(&one.fingerprint()).filter(|member| member.suppressed != why) {
                member.suppressed.clone_from(&why);
                self.note_suppression(group, &one.alert, why, now_ms);
            }
        }
    }

    /// Records that an alert is not told, or is again.
    pub(super) fn note_suppression(&self, group: &Group, alert: &NotifiedAlert, why: Option<Suppression>, now_ms: i64) {
        let fingerprint = fingerprint_text(alert.fingerprint);
        let labels = event_labels(alert.labels.as_ref());
        let (group_key, receiver) = (group.key.clone(), group.options.receiver.clone());
        let kind = match why {
            Some(why) => EventKind::Suppressed { fingerprint, labels, group_key, receiver, why },
            None => EventKind::Released { fingerprint, labels, group_key, receiver },
        };
        self.record(now_ms, kind);
    }
}

/// What alerts are told in the order of, as in Alertmanager: `job` and `instance`, those without behind; then how many labels there are; then the
/// labels, where the one that lacks the first name of the other comes first.
fn order(alert: &NotifiedAlert) -> impl Ord + use<> {
    let first = |name: &str| {
        let value = alert.labels.get(name).map(str::to_owned);
        (value.is_none(), value)
    };
    let all: Vec<(Reverse<String>, String)> =
        alert.labels.iter().map(|(name, value)| (Reverse(name.to_owned()), value.to_owned())).collect();
    (first("job"), first("instance"), all.len(), all)
}
