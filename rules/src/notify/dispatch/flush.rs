//! A look at a group: who is told what of it now, and what becomes of what was sent.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::gates::Seen;
use super::group::{Group, GroupId, Open};
use super::{Dispatcher, Flight, Outgoing};
use crate::config::hints::DELIVERY_MS_MIN;
use crate::event::{EventKind, Suppression, alerts_told, fingerprint_text};
use crate::notify::decision::{self, Fingerprint, Reason, Told, Wishes, decide};
use crate::notify::delivery::{Delivered, Notification, NotifiedAlert};
use crate::notify::log::LogKey;
use crate::notify::stored;
use crate::route::Options;

/// Somebody who may be told of a group.
#[derive(Debug)]
pub(super) struct Target {
    receiver: String,
    integration: usize,
    /// The step of the escalation, and after how long.
    step: Option<(usize, i64)>,
    send_resolved: bool,
}

impl Target {
    pub(super) fn key(&self, group_key: &str) -> LogKey {
        LogKey {
            group_key: group_key.to_owned(),
            receiver: self.receiver.clone(),
            integration: self.integration,
            step: self.step.map(|(step, _)| step),
        }
    }
}

/// Why somebody is told of whom nobody knows whether they heard what was said last.
fn unsure_reason(share: &decision::Group) -> Option<Reason> {
    match (share.firing.is_empty(), share.resolved.is_empty()) {
        (false, _) => Some(Reason::Repeat),
        (true, false) => Some(Reason::AllResolved),
        (true, true) => None,
    }
}

impl Dispatcher {
    /// Everybody who may be told by a route: its receiver, and those of its escalation.
    pub(super) fn targets(&self, options: &Options) -> Vec<Target> {
        let steps = options.escalation.iter().enumerate();
        let steps = steps.map(|(at, step)| (&step.receiver, Some((at, step.after_ms))));
        let receivers = std::iter::once((&options.receiver, None)).chain(steps);
        let mut all = Vec::new();
        for (name, step) in receivers {
            let integrations = self.config.receiver(name).map_or(&[][..], |receiver| &receiver.integrations);
            all.extend(integrations.iter().enumerate().map(|(integration, of)| Target {
                receiver: name.clone(),
                integration,
                step,
                send_resolved: of.send_resolved(),
            }));
        }
        all
    }

    /// Looks at a group.
    pub(super) fn flush(&mut self, id: &GroupId, now_ms: i64) {
        self.change_group(id, |this, group| {
            group.looked(now_ms);
            if !group.members.is_empty() {
                this.decide_all(id, group, now_ms);
                this.settle(id, group);
            }
        });
    }

    /// Takes a group out to be changed, and puts it back, also where `change` panics: it is looked at again when it is due next.
    fn change_group(&mut self, id: &GroupId, change: impl FnOnce(&mut Self, &mut Group)) {
        let Some(mut group) = self.groups.remove(id) else { return };
        self.queue.remove(&(group.due_ms(), id.clone()));
        let changed = catch_unwind(AssertUnwindSafe(|| change(self, &mut group)));
        Self::shelve_timer(&mut self.changed, id, &mut group);
        self.queue.insert((group.due_ms(), id.clone()));
        self.groups.insert(id.clone(), group);
        changed.unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn decide_all(&mut self, id: &GroupId, group: &mut Group, now_ms: i64) {
        let (seen, recheck_ms) = self.look(group, now_ms);
        self.note_suppressions(group, &seen, now_ms);
        if let Some(recheck_ms) = recheck_ms {
            group.look_at(recheck_ms);
        }
        let targets = self.targets(&group.options);
        let mut open = Open { leaving: self.leaving(group, &seen), failed: false };
        let visible: Vec<&NotifiedAlert> =
            seen.iter().filter(|one| one.suppressed.is_none()).map(|one| &one.alert).collect();
        // Where all is quiet, nobody is told, not even of ends.
        let targets = if visible.is_empty() { &[][..] } else { &targets };
        for target in targets {
            let key = target.key(&group.key);
            if let Some(again) = group.flights.get_mut(&key) {
                (*again, open.failed) = (true, true);
                continue;
            }
            let share = self.share(group, target, &visible, now_ms);
            let entry = self.log.get(&key);
            let wishes = Wishes { send_resolved: target.send_resolved, repeat_ms: group.options.repeat_ms };
            let decided = decide(entry.map(|entry| &entry.told), &share, wishes, now_ms);
            let unsure = entry.filter(|entry| entry.unsure).and_then(|_| unsure_reason(&share));
            let Some(reason) = decided.or(unsure) else { continue };
            if reason == Reason::Repeat && unsure.is_none() && self.all_taken_on(group, &visible, now_ms) {
                continue;
            }
            let told = Told { at_ms: now_ms, firing: share.firing, resolved: share.resolved };
            let is_told = |alert: &NotifiedAlert| {
                let of = if alert.is_resolved() { &told.resolved } else { &told.firing };
                of.contains(&alert.fingerprint) && (target.send_resolved || !alert.is_resolved())
            };
            let alerts: Vec<NotifiedAlert> =
                visible.iter().filter(|alert| is_told(alert)).map(|alert| (*alert).clone()).collect();
            if alerts.is_empty() {
                self.write_told(&key, told, group.options.repeat_ms);
                continue;
            }
            let notification = Notification {
                group_key: group.key.clone(),
                receiver: target.receiver.clone(),
                integration: target.integration,
                reason,
                alerts,
                group_labels: group.labels.clone(),
                route_labels: group.options.labels.clone(),
                at_ms: now_ms,
                deadline_ms: now_ms.saturating_add(group.options.interval_ms.max(DELIVERY_MS_MIN)),
            };
            let value = stored::told_value(self.log.sends(&key, &told, group.options.repeat_ms));
            self.changed.insert(stored::told_key(&key), Some(value));
            let (repeat_ms, target) = (group.options.repeat_ms, key.clone());
            self.launch(Flight { group: Some(id.clone()), target, told, repeat_ms, notification });
            group.flights.insert(key, false);
        }
        group.open = Some(open);
    }

    pub(super) fn launch(&mut self, flight: Flight) {
        self.last_ticket += 1;
        self.ready.push(Outgoing { ticket: self.last_ticket, notification: flight.notification.clone() });
        self.flights.insert(self.last_ticket, flight);
    }

    /// Ended alerts that leave the group when everybody was told. One that is kept quiet stays where its route looks again afterwards
    /// and somebody was told that it fires: they are told of its end then.
    fn leaving(&self, group: &Group, seen: &[Seen]) -> Vec<(Fingerprint, i64)> {
        let stays = |one: &Seen| {
            one.suppressed.is_some()
                && group.options.reevaluate_after_mute
                && self.was_told_firing(group, one.fingerprint())
        };
        let ended = seen.iter().filter(|one| one.alert.is_resolved() && !stays(one));
        ended.map(|one| (one.fingerprint(), one.updated_ms)).collect()
    }

    /// What of the group a target is told: all of it, or in a step of the escalation what nobody took on for long.
    fn share(&self, group: &mut Group, target: &Target, visible: &[&NotifiedAlert], now_ms: i64) -> decision::Group {
        let mut share = decision::Group::default();
        let own = target.step.map(|_| target.key(&group.key)).and_then(|key| self.log.get(&key));
        for alert in visible {
            let id = alert.fingerprint;
            if let Some((_, after_ms)) = target.step {
                let knows = own.is_some_and(|own| own.may_know_of(id));
                if !knows && (alert.is_resolved() || self.acks.get(id, now_ms).is_some()) {
                    continue;
                }
                if !knows {
                    let Some(since_ms) = self.told_since(group, id) else { continue };
                    let due_ms = since_ms.saturating_add(after_ms);
                    if due_ms > now_ms {
                        group.look_at(due_ms);
                        continue;
                    }
                }
            }
            if alert.is_resolved() {
                share.resolved.insert(id)
            } else {
                share.firing.insert(id)
            };
        }
        share
    }

    /// Since when the route's own receiver has been told that an alert fires.
    fn told_since(&self, group: &Group, alert: Fingerprint) -> Option<i64> {
        let targets = self.targets(&group.options);
        let own = targets.iter().filter(|target| target.step.is_none());
        own.filter_map(|target| self.log.get(&target.key(&group.key))?.since_ms.get(&alert).copied()).min()
    }

    /// Whether somebody took on every alert that fires; recorded once of each.
    fn all_taken_on(&self, group: &mut Group, visible: &[&NotifiedAlert], now_ms: i64) -> bool {
        let mut owners = Vec::new();
        for alert in visible.iter().filter(|alert| !alert.is_resolved()) {
            let Some(ack) = self.acks.get(alert.fingerprint, now_ms) else { return false };
            owners.push((*alert, ack.owner.clone()));
        }
        for (alert, owner) in owners {
            let member = group.members.get_mut(&alert.fingerprint);
            if member.is_some_and(|member| !std::mem::replace(&mut member.ack_noted, true)) {
                self.note_suppression(group, alert, Some(Suppression::Ack { owner }), now_ms);
            }
        }
        true
    }

    pub(super) fn write_told(&mut self, key: &LogKey, told: Told, repeat_ms: i64) {
        let value = self.log.write(key, told, repeat_ms).map(stored::told_value);
        self.changed.insert(stored::told_key(key), value);
    }

    /// Lets go of ended alerts when everybody was told.
    fn settle(&mut self, id: &GroupId, group: &mut Group) {
        if !group.flights.is_empty() {
            return;
        }
        let Some(open) = group.open.take().filter(|open| !open.failed) else { return };
        for (alert, updated_ms) in open.leaving {
            if self.alerts.get(alert).is_none_or(|kept| kept.updated_ms == updated_ms) {
                group.members.remove(&alert);
                self.leave(alert, id);
                if let Some(kept) = self.alerts.leaves(alert, id) {
                    self.changed.insert(stored::alert_key(alert), Some(stored::alert_value(kept)));
                }
            }
        }
    }

    /// Takes note of what became of a notification. One that failed is decided anew when its group is looked at next.
    pub fn delivered(&mut self, ticket: u64, delivered: &Delivered, now_ms: i64) {
        self.watch_clock(now_ms);
        let Some(flight) = self.flights.remove(&ticket) else { return };
        // First, so that whatever panics below, the group waits for nothing that does not come.
        let group = flight.group.as_ref().and_then(|id| self.groups.get_mut(id));
        let again = group.and_then(|group| group.flights.remove(&flight.target)).unwrap_or(false);
        self.record_delivery(&flight, delivered, now_ms);
        let is_taken = matches!(delivered, Delivered::Taken { .. });
        if is_taken && flight.group.is_some() {
            self.write_told(&flight.target, Told { at_ms: now_ms, ..flight.told }, flight.repeat_ms);
        } else if flight.group.is_some() {
            let value = self.log.failed(&flight.target).map(stored::told_value);
            self.changed.insert(stored::told_key(&flight.target), value);
        }
        let Some(id) = flight.group else { return };
        self.change_group(&id, |this, group| {
            if let Some(open) = group.open.as_mut().filter(|_| !is_taken) {
                open.failed = true;
            }
            if again {
                group.look_at(now_ms);
            }
            if let Some(first) = group.options.escalation.first().filter(|_| is_taken && flight.target.step.is_none()) {
                group.look_at(now_ms.saturating_add(first.after_ms));
            }
            this.settle(&id, group);
        });
    }

    fn record_delivery(&self, flight: &Flight, delivered: &Delivered, now_ms: i64) {
        let (answer, attempts) = match delivered {
            Delivered::Taken { answer, attempts }
            | Delivered::Failed { error: answer, attempts }
            | Delivered::Superseded { why: answer, attempts } => (answer, *attempts),
        };
        let of = |resolved: bool| {
            let alerts = flight.notification.alerts.iter().filter(|alert| alert.is_resolved() == resolved);
            alerts.map(|alert| fingerprint_text(alert.fingerprint)).collect()
        };
        self.record(
            now_ms,
            EventKind::Delivery {
                group_key: flight.target.group_key.clone(),
                receiver: flight.target.receiver.clone(),
                integration: flight.target.integration,
                reason: flight.notification.reason.as_str().to_owned(),
                firing: of(false),
                resolved: of(true),
                alerts: alerts_told(&flight.notification.alerts),
                ok: matches!(delivered, Delivered::Taken { .. }),
                superseded: matches!(delivered, Delivered::Superseded { .. }),
                answer: answer.clone(),
                attempts,
            },
        );
    }

    /// Tells new groups what is on its way from those that were before them.
    pub(super) fn find_flights(&mut self) {
        let known: BTreeSet<GroupId> = self.groups.keys().cloned().collect();
        for flight in self.flights.values() {
            let Some(id) = flight.group.as_ref().filter(|id| known.contains(*id)) else { continue };
            if let Some(group) = self.groups.get_mut(id) {
                group.flights.insert(flight.target.clone(), true);
            }
        }
    }

    /// How many notifications are on their way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }
}
