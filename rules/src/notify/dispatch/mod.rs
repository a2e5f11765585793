//! The dispatcher: takes alerts, keeps them in groups, and says when whom to tell what.
//!
//! Pure in time: whoever holds it says what time it is, asks [`Dispatcher::due`] by [`Dispatcher::next_due_ms`], has the notifications delivered, tells
//! what became of them by [`Dispatcher::delivered`], and writes [`Dispatcher::take_changes`] on a shelf before the next step. What was written there
//! makes the same dispatcher again ([`Dispatcher::open`]): a group that was due meanwhile is due at once, and what was told is not told again.
//!
//! Groups live as Alertmanager's do (`dispatch.Dispatcher`): the first look at a group is `group_wait` after its first alert, or at once where that
//! alert began longer ago; then every `group_interval`; a group without alerts is forgotten.

mod changes;
mod clock;
mod flush;
mod gates;
mod group;
mod heartbeat;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::acks::Acks;
use super::alerts::{Alerts, ENDED_KEPT_MS, Full, Incoming};
use super::decision::{Fingerprint, Told};
use super::delivery::Notification;
use super::inhibit::Inhibitor;
use super::log::{Entry, LogKey, NotificationLog};
use super::silence::{Recurrence, Silence};
use super::silences::Silences;
use super::stored::{self, Item, Timer};
use crate::config::Config;
use crate::event::{Event, EventKind, EventLog, Suppression, event_labels, fingerprint_text};
use crate::route::Route;
use crate::shelf::{Change, Shelf, ShelfError};
use group::{Group, GroupId, Member};

pub use crate::posted::{ALERT_LABELS_BYTES_MAX, ALERT_TEXTS_BYTES_MAX};
pub use changes::{AckError, Before};
pub use view::{AlertView, GroupView, MuteView, RouteStep};

/// Time between two rounds of forgetting; an empty group is forgotten by the second.
const HOUSEKEEPING_MS: i64 = 30_000;

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most alerts, ended ones among them until they are forgotten.
    pub alerts_max: usize,
    /// Most bytes of their labels and annotations, about.
    pub alerts_bytes_max: usize,
    /// Most groups.
    pub groups_max: usize,
    /// Most alerts of a group: what is told of all of them fits one value on the shelf.
    pub group_alerts_max: usize,
    /// Most silences, expired ones among them until they are forgotten.
    pub silences_max: usize,
    /// Most entries of the notification log.
    pub log_entries_max: usize,
    /// How long expired silences are kept.
    pub silences_kept_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alerts_max: 100_000,
            alerts_bytes_max: 256 << 20,
            groups_max: 50_000,
            group_alerts_max: 20_000,
            silences_max: 10_000,
            log_entries_max: 200_000,
            silences_kept_ms: 120 * 3_600_000,
        }
    }
}

/// A notification, and the number by which it is told what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// For [`Dispatcher::delivered`].
    pub ticket: u64,
    /// What to deliver.
    pub notification: Notification,
}

/// A notification that is on its way.
#[derive(Debug)]
struct Flight {
    group: Option<GroupId>,
    target: LogKey,
    /// What is written down when it is delivered.
    told: Told,
    repeat_ms: i64,
    notification: Notification,
}

/// Alerts, groups, silences, acknowledgements, and what was told.
#[derive(Debug)]
pub struct Dispatcher {
    config: Arc<Config>,
    limits: Limits,
    events: Arc<dyn EventLog>,
    alerts: Alerts,
    inhibitor: Inhibitor,
    silences: Silences,
    acks: Acks,
    log: NotificationLog,
    /// Sources of inhibition that have ended just now.
    released: BTreeSet<Fingerprint>,
    groups: BTreeMap<GroupId, Group>,
    /// When each group is due.
    queue: BTreeSet<(i64, GroupId)>,
    /// The groups that an alert is in.
    groups_of: HashMap<Fingerprint, BTreeSet<GroupId>>,
    flights: BTreeMap<u64, Flight>,
    last_ticket: u64,
    /// Those that nobody was handed yet: where a look panics, they come with the next.
    ready: Vec<Outgoing>,
    heartbeat: heartbeat::Beat,
    housekeeping_ms: i64,
    /// The latest time it was told.
    seen_ms: i64,
    /// What is not on the shelf yet.
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    refused: Refused,
    /// What of it is in the event log, and the last that is not.
    refused_noted: (Refused, String),
}

/// What found no place, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Messages about alerts.
    pub alerts: u64,
    /// Alerts that were put into no group.
    pub groups: u64,
    /// Messages whose times count, while their alert keeps the texts that it had.
    pub texts: u64,
}

impl Dispatcher {
    /// A dispatcher that knows what is on `shelf`. What is damaged there is told as an event and left out.
    ///
    /// # Errors
    ///
    /// When the shelf cannot be read.
    pub fn open(
        config: Arc<Config>,
        limits: Limits,
        shelf: &dyn Shelf,
        events: Arc<dyn EventLog>,
        now_ms: i64,
    ) -> Result<Self, ShelfError> {
        let mut this = Self {
            inhibitor: Inhibitor::new(config.inhibit.clone()),
            heartbeat: heartbeat::Beat::new(&config),
            config,
            limits,
            events,
            alerts: Alerts::new(limits.alerts_max, limits.alerts_bytes_max),
            silences: Silences::default(),
            acks: Acks::default(),
            log: NotificationLog::default(),
            released: BTreeSet::new(),
            groups: BTreeMap::new(),
            queue: BTreeSet::new(),
            groups_of: HashMap::new(),
            flights: BTreeMap::new(),
            last_ticket: 0,
            ready: Vec::new(),
            seen_ms: now_ms,
            housekeeping_ms: now_ms.saturating_add(HOUSEKEEPING_MS),
            changed: BTreeMap::new(),
            refused: Refused::default(),
            refused_noted: (Refused::default(), String::new()),
        };
        this.silences.set_of_file(silences_of(&this.config));
        this.load(shelf, now_ms)?;
        Ok(this)
    }

    fn load(&mut self, on_shelf: &dyn Shelf, now_ms: i64) -> Result<(), ShelfError> {
        let (mut alerts, mut silences, mut timers) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut lived_ms = i64::MIN;
        let mut damaged = 0_usize;
        for (key, value) in on_shelf.load()? {
            match stored::item(&key, &value) {
                Some(Item::Alert(kept)) => alerts.push(kept),
                Some(Item::Timer(group, timer)) => drop(timers.insert(group, timer)),
                Some(Item::Told(key, entry)) => self.log.restore(key, entry),
                Some(Item::Silence(silence)) => silences.push(silence),
                Some(Item::Ack(alert, ack)) => self.acks.set(alert, ack),
                Some(Item::Lived(at_ms)) => lived_ms = at_ms,
                None => {
                    damaged += 1;
                    self.changed.insert(key, None);
                }
            }
        }
        if damaged > 0 {
            let message = format!("{damaged} values of the notifications' state are damaged and left out");
            self.record(now_ms, EventKind::Note { message });
        }
        self.silences.restore(silences);
        // What is on the shelf was true then, which lies ahead where the clock was set back meanwhile.
        self.seen_ms = lived_ms.max(now_ms);
        let (now_ms, real_ms) = (self.seen_ms, now_ms);
        let (known, unsure) = (self.log.alerts(), self.log.unsure());
        for mut kept in alerts {
            // What fired when the process ended fires until its sender had the time to say so again.
            if kept.posted.ends_ms > lived_ms {
                kept.posted.ends_ms = kept.posted.ends_ms.max(now_ms.saturating_add(self.config.resolve_timeout_ms));
            }
            kept.ended = kept.posted.is_resolved(now_ms);
            let alert = kept.posted.fingerprint();
            if !kept.ended {
                self.inhibitor.fires(alert, &kept.posted.labels);
            }
            // What was on its way may have told the end of an alert, too; other ends are of no interest to any group.
            let labels = kept.posted.labels.as_ref();
            let was_sent = || {
                let mut routes = self.config.route.matching(labels).into_iter();
                routes.any(|route| unsure.contains(&group::key(route, &route.group_labels(labels))))
            };
            let rejoins = !kept.ended || known.contains(&alert) || (!unsure.is_empty() && was_sent());
            self.alerts.restore(kept);
            if rejoins {
                self.assign(alert, &timers, now_ms);
            }
        }
        self.resume(now_ms);
        self.forget_timers(&timers);
        self.watch_clock(real_ms);
        Ok(())
    }

    /// Forgets `timers` of groups that are no more.
    fn forget_timers(&mut self, timers: &BTreeMap<String, Timer>) {
        for group in timers.keys().filter(|group| !self.groups.contains_key(group.as_str())) {
            self.changed.insert(stored::timer_key(group), None);
        }
    }

    /// Groups of which something was on its way are looked at now, and why alerts are quiet is known as it was.
    fn resume(&mut self, now_ms: i64) {
        let ids: Vec<GroupId> =
            self.groups.iter().filter(|(_, group)| group.has_flushed).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let Some(mut group) = self.groups.remove(&id) else { continue };
            let before_ms = group.due_ms();
            let (seen, _) = self.look(&group, now_ms);
            for one in seen {
                if let Some(member) = group.members.get_mut(&one.fingerprint()) {
                    member.suppressed = one.noted();
                }
            }
            let is_unsure = |key: LogKey| self.log.get(&key).is_some_and(|entry| entry.unsure);
            if self.targets(&group.options).iter().any(|target| is_unsure(target.key(&group.key))) {
                group.look_at(now_ms);
            }
            Self::requeue(&mut self.queue, &id, before_ms, group.due_ms());
            self.groups.insert(id, group);
        }
    }

    /// What it works by.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What found no place so far.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Works by `config` from now on. Groups whose routes are as before go on as before.
    pub fn set_config(&mut self, config: Arc<Config>, now_ms: i64) {
        self.sweep(now_ms);
        let timers: BTreeMap<String, Timer> =
            self.groups.iter().map(|(id, group)| (id.to_string(), group.timer())).collect();
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        let removed = ids.into_iter().filter_map(|id| self.remove_group(&id).map(|group| (id, group.members)));
        let mut members: BTreeMap<GroupId, BTreeMap<Fingerprint, Member>> = removed.collect();
        self.heartbeat = self.heartbeat.under(&config);
        self.inhibitor = Inhibitor::new(config.inhibit.clone());
        self.config = config;
        self.silences.set_of_file(silences_of(&self.config));
        // One that has ended and that nobody was told of is of no interest to any group.
        let known = self.log.alerts();
        let rejoining = self.alerts.iter().filter(|(alert, kept)| !kept.ended || known.contains(alert));
        let alerts: Vec<Fingerprint> = rejoining.map(|(alert, _)| alert).collect();
        for alert in alerts {
            if let Some(kept) = self.alerts.get(alert).filter(|kept| !kept.ended) {
                self.inhibitor.fires(alert, &kept.posted.labels);
            }
            self.assign(alert, &timers, now_ms);
        }
        self.forget_timers(&timers);
        // What keeps them quiet was recorded, and its end is to be noticed.
        for (id, group) in &mut self.groups {
            let mut before = members.remove(id).unwrap_or_default();
            for (alert, member) in &mut group.members {
                if let Some(before) = before.remove(alert) {
                    *member = before;
                }
            }
        }
        self.find_flights();
    }

    /// Takes messages about alerts. They go into the groups of their routes.
    pub fn put(&mut self, incoming: impl IntoIterator<Item = Incoming>, now_ms: i64) {
        self.sweep(now_ms);
        for mut incoming in incoming {
            incoming.posted.cut_texts();
            if let Err(why) = incoming.posted.check() {
                self.refused.alerts += 1;
                self.refused_noted.1 = why;
                continue;
            }
            let alert = incoming.posted.fingerprint();
            let put = match self.alerts.put(incoming, now_ms) {
                Ok(put) => put,
                Err(full) => {
                    self.refused.alerts += 1;
                    self.refused_noted.1 = match full {
                        Full::Count => format!("{} alerts are known already", self.limits.alerts_max),
                        Full::Bytes => format!("all alerts may take {} bytes", self.limits.alerts_bytes_max),
                    };
                    continue;
                }
            };
            if put.keeps_texts {
                self.refused.texts += 1;
                self.refused_noted.1 = format!("all alerts may take {} bytes", self.limits.alerts_bytes_max);
            }
            let Some(kept) = self.alerts.get(alert) else { continue };
            if put.shelve {
                self.changed.insert(stored::alert_key(alert), Some(stored::alert_value(kept)));
            }
            if put.begins {
                self.inhibitor.fires(alert, &kept.posted.labels.clone());
            } else if put.ends {
                self.ended(alert, now_ms);
            }
            self.assign(alert, &BTreeMap::new(), now_ms);
            if put.begins {
                self.record_route(alert, now_ms);
            }
        }
        self.release(now_ms);
    }

    /// When something is due next; the time may be over already.
    pub fn next_due_ms(&self) -> i64 {
        let group = self.queue.first().map(|(at_ms, _)| *at_ms);
        [group, self.heartbeat.next_ms()].into_iter().flatten().fold(self.housekeeping_ms, i64::min)
    }

    /// Looks at every group that is due at `now_ms`. What comes out is to be delivered, each told by [`Self::delivered`].
    pub fn due(&mut self, now_ms: i64) -> Vec<Outgoing> {
        self.sweep(now_ms);
        while let Some((_, id)) = self.queue.first().filter(|(at_ms, _)| *at_ms <= now_ms).cloned() {
            self.flush(&id, now_ms);
        }
        self.beat(now_ms);
        if now_ms >= self.housekeeping_ms {
            self.housekeeping_ms = now_ms.saturating_add(HOUSEKEEPING_MS);
            self.keep_house(now_ms);
        }
        std::mem::take(&mut self.ready)
    }

    /// What changed since the last call, for the shelf. Whoever cannot write it gives it back.
    pub fn take_changes(&mut self, now_ms: i64) -> Vec<Change> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        self.changed.insert(stored::lived_key(), Some(stored::lived_value(now_ms)));
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Takes back what could not be written; it comes with the next changes.
    pub fn give_back(&mut self, changes: Vec<Change>) {
        for (key, value) in changes {
            self.changed.entry(key).or_insert(value);
        }
    }

    fn record(&self, at_ms: i64, kind: EventKind) {
        self.events.record(Event { at_ms, kind });
    }

    fn sweep(&mut self, now_ms: i64) {
        self.watch_clock(now_ms);
        let ended = self.alerts.sweep(now_ms);
        if !ended.is_empty() {
            // By it is known after a restart that they had ended.
            self.changed.insert(stored::lived_key(), Some(stored::lived_value(now_ms)));
        }
        for alert in ended {
            self.ended(alert, now_ms);
        }
        self.release(now_ms);
    }

    /// Groups with alerts that were quiet because of others that have ended are looked at, if their routes say so, after the time that an
    /// alert waits that begins: where cause and effect end together, nobody is to be told of the effect.
    fn release(&mut self, now_ms: i64) {
        let released = std::mem::take(&mut self.released);
        if released.is_empty() {
            return;
        }
        let sources: BTreeSet<String> = released.into_iter().map(fingerprint_text).collect();
        let Self { groups, queue, changed, .. } = self;
        for (id, group) in groups.iter_mut().filter(|(_, group)| group.options.reevaluate_after_mute) {
            let by_them = |why: &Option<Suppression>| matches!(why, Some(Suppression::Inhibition { source, .. }) if sources.contains(source));
            if group.members.values().any(|member| by_them(&member.suppressed)) {
                let before_ms = group.due_ms();
                group.look_at(now_ms.saturating_add(group.options.wait_ms));
                Self::requeue(queue, id, before_ms, group.due_ms());
                Self::shelve_timer(changed, id, group);
            }
        }
    }

    /// Takes note that an alert has ended.
    fn ended(&mut self, alert: Fingerprint, now_ms: i64) {
        if self.inhibitor.ends(alert) {
            self.released.insert(alert);
        }
        if let Some(ack) = self.acks.remove(alert) {
            self.changed.insert(stored::ack_key(alert), None);
            self.record_ack(alert, &ack, "resolved", now_ms);
        }
    }

    /// Puts an alert into the groups of its routes. `timers` are those of groups that were there before.
    fn assign(&mut self, alert: Fingerprint, timers: &BTreeMap<String, Timer>, now_ms: i64) {
        let Some(kept) = self.alerts.get(alert) else { return };
        let (labels, starts_ms) = (kept.posted.labels.clone(), kept.posted.starts_ms);
        let config = Arc::clone(&self.config);
        for route in config.route.matching(labels.as_ref()) {
            let group_labels = route.group_labels(labels.as_ref());
            let id = GroupId::from(format!("{}\0{}", route.id, group_labels.packed()));
            if self.alerts.has_left(alert, &id) {
                continue;
            }
            if !self.groups.contains_key(&id) {
                if self.groups.len() >= self.limits.groups_max {
                    self.refused.groups += 1;
                    self.refused_noted.1 = format!("there are {} groups already", self.limits.groups_max);
                    continue;
                }
                let mut group = Group::new(route, group_labels, now_ms);
                if let Some(timer) = timers.get(&*id) {
                    group.resume(*timer);
                }
                self.queue.insert((group.due_ms(), id.clone()));
                self.groups.insert(id.clone(), group);
            }
            let fits = |group: &&mut Group| group.has_place_for(alert, self.limits.group_alerts_max);
            let Some(group) = self.groups.get_mut(&id).filter(fits) else {
                self.refused.groups += 1;
                self.refused_noted.1 = format!("{} alerts are in the group of {labels}", self.limits.group_alerts_max);
                continue;
            };
            self.groups_of.entry(alert).or_default().insert(id.clone());
            let before_ms = group.due_ms();
            group.insert(alert, starts_ms, now_ms);
            Self::requeue(&mut self.queue, &id, before_ms, group.due_ms());
            Self::shelve_timer(&mut self.changed, &id, group);
        }
    }

    /// Has the shelf take a group's times, where it has others.
    fn shelve_timer(changed: &mut BTreeMap<Vec<u8>, Option<Vec<u8>>>, id: &GroupId, group: &mut Group) {
        if let Some(timer) = group.unshelved() {
            changed.insert(stored::timer_key(id), Some(stored::timer_value(timer)));
        }
    }

    fn requeue(queue: &mut BTreeSet<(i64, GroupId)>, id: &GroupId, before_ms: i64, due_ms: i64) {
        if before_ms != due_ms {
            queue.remove(&(before_ms, id.clone()));
            queue.insert((due_ms, id.clone()));
        }
    }

    fn record_route(&self, alert: Fingerprint, now_ms: i64) {
        let Some(kept) = self.alerts.get(alert) else { return };
        let groups = self.groups_of.get(&alert).into_iter().flatten().filter_map(|id| self.groups.get(id));
        let (group_keys, receivers) = groups.map(|group| (group.key.clone(), group.options.receiver.clone())).unzip();
        let labels = event_labels(kept.posted.labels.as_ref());
        self.record(now_ms, EventKind::Routed { fingerprint: fingerprint_text(alert), labels, group_keys, receivers });
    }

    /// Takes an alert out of a group.
    fn leave(&mut self, alert: Fingerprint, id: &GroupId) {
        if let Some(groups) = self.groups_of.get_mut(&alert) {
            groups.remove(id);
            if groups.is_empty() {
                self.groups_of.remove(&alert);
            }
        }
    }

    fn remove_group(&mut self, id: &GroupId) -> Option<Group> {
        let group = self.groups.remove(id)?;
        self.queue.remove(&(group.due_ms(), id.clone()));
        for alert in group.members() {
            self.leave(alert, id);
        }
        Some(group)
    }

    /// Records what found no place since it was recorded last.
    fn note_refused(&mut self, now_ms: i64) {
        let (noted, why) = std::mem::replace(&mut self.refused_noted, (self.refused, String::new()));
        if noted == self.refused {
            return;
        }
        let (alerts, groups) = (self.refused.alerts - noted.alerts, self.refused.groups - noted.groups);
        let texts = self.refused.texts - noted.texts;
        let mut told = Vec::new();
        if alerts + groups > 0 {
            let what = "nobody is told of some alerts";
            told.push(format!("{what}: {alerts} messages were not taken, {groups} alerts are in no group"));
        }
        if texts > 0 {
            told.push(format!("some alerts keep the texts that they had: {texts} messages had longer ones"));
        }
        let message = format!("{}; the last because {why}", told.join("; "));
        self.record(now_ms, EventKind::Note { message });
    }

    fn keep_house(&mut self, now_ms: i64) {
        self.note_refused(now_ms);
        let empty: Vec<GroupId> =
            self.groups.iter().filter(|(_, group)| group.is_idle()).map(|(id, _)| id.clone()).collect();
        for id in empty {
            self.remove_group(&id);
            self.changed.insert(stored::timer_key(&id), None);
        }
        let flap_ms = longest_flap_ms(&self.config.route);
        for alert in self.alerts.forget(now_ms, ENDED_KEPT_MS.max(flap_ms), |alert| self.groups_of.contains_key(&alert))
        {
            self.changed.insert(stored::alert_key(alert), None);
        }
        for id in self.silences.forget(now_ms.saturating_sub(self.limits.silences_kept_ms)) {
            self.changed.insert(stored::silence_key(&id), None);
        }
        let mut groups: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
        if self.log.is_old(now_ms) {
            for group in self.groups.values() {
                groups.entry(&group.key).or_default().push(group);
            }
        }
        // Of alerts that are still there: they may be silent, or taken on, for longer than anything is remembered.
        let is_needed = |key: &LogKey, entry: &Entry| {
            let of = groups.get(key.group_key.as_str()).into_iter().flatten();
            of.flat_map(|group| group.members.keys()).any(|alert| entry.may_know_of(*alert))
        };
        for key in self.log.forget(now_ms, self.limits.log_entries_max, is_needed) {
            self.changed.insert(stored::told_key(&key), None);
        }
        for (alert, ack) in self.acks.expire(now_ms) {
            self.changed.insert(stored::ack_key(alert), None);
            self.record_ack(alert, &ack, "expired", now_ms);
        }
    }
}

/// The file's silences.
fn silences_of(config: &Config) -> Vec<Silence> {
    let silence = |of: &crate::config::RecurringSilence| Silence {
        id: format!("file:{}", of.name),
        sets: vec![of.matchers.clone()],
        starts_ms: i64::MIN,
        ends_ms: i64::MAX,
        updated_ms: 0,
        created_by: "the routing file".to_owned(),
        comment: of.comment.clone(),
        recurrence: Some(Recurrence {
            text: String::new(),
            intervals: of.intervals.iter().filter_map(|name| config.intervals.get(name)).flatten().cloned().collect(),
        }),
    };
    config.silences.iter().map(silence).collect()
}

fn longest_flap_ms(route: &Route) -> i64 {
    let own = route.options.flap.map_or(0, |flap| flap.window_ms);
    route.routes.iter().map(longest_flap_ms).fold(own, i64::max)
}
