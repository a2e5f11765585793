//! A group of alerts that are told together: its members and when it is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Labels;
use model::labels::{Quoted, is_label_name};

use crate::event::Suppression;
use crate::notify::decision::Fingerprint;
use crate::notify::log::LogKey;
use crate::notify::stored::Timer;
use crate::route::{Options, Route};

/// The route's id and the group's labels; one of a kind.
pub(super) type GroupId = Arc<str>;

/// A member of a group.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// Why it is not told, as was recorded last.
    pub(super) suppressed: Option<Suppression>,
    /// Whether it was recorded that it is not repeated because somebody took it on.
    pub(super) ack_noted: bool,
}

/// What was found at the last look, until all of it is delivered.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Ended alerts, with the time of their last message, that leave when everybody was told.
    pub(super) leaving: Vec<(Fingerprint, i64)>,
    /// Somebody was not told.
    pub(super) failed: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) options: Arc<Options>,
    pub(super) labels: Labels,
    /// As notifications have it.
    pub(super) key: String,
    pub(super) route_id: String,
    pub(super) members: BTreeMap<Fingerprint, Member>,
    next_ms: i64,
    /// A look before the next regular one.
    recheck_ms: Option<i64>,
    pub(super) has_flushed: bool,
    pub(super) open: Option<Open>,
    /// To whom something is on its way, and whether there was a look meanwhile.
    pub(super) flights: BTreeMap<LogKey, bool>,
    /// When it was found without members.
    was_empty: std::cell::Cell<bool>,
    /// What the shelf has of its times.
    shelved: Option<Timer>,
}

impl Group {
    pub(super) fn new(route: &Route, labels: Labels, now_ms: i64) -> Self {
        Self {
            next_ms: now_ms.saturating_add(route.options.wait_ms),
            options: Arc::new(route.options.clone()),
            key: key(route, &labels),
            route_id: route.id.clone(),
            labels,
            members: BTreeMap::new(),
            recheck_ms: None,
            has_flushed: false,
            open: None,
            flights: BTreeMap::new(),
            was_empty: std::cell::Cell::new(false),
            shelved: None,
        }
    }

    pub(super) fn timer(&self) -> Timer {
        Timer { next_ms: self.next_ms, has_flushed: self.has_flushed, recheck_ms: self.recheck_ms }
    }

    /// Its times, where they are others than those on the shelf.
    pub(super) fn unshelved(&mut self) -> Option<Timer> {
        let timer = self.timer();
        (self.shelved.replace(timer) != Some(timer)).then_some(timer)
    }

    /// Goes on where one like it was.
    pub(super) fn resume(&mut self, timer: Timer) {
        (self.next_ms, self.has_flushed, self.recheck_ms) = (timer.next_ms, timer.has_flushed, timer.recheck_ms);
        self.shelved = Some(timer);
    }

    /// Takes all of its moments back by `by_ms`.
    pub(super) fn set_back(&mut self, by_ms: i64) {
        self.next_ms = self.next_ms.saturating_sub(by_ms);
        self.recheck_ms = self.recheck_ms.map(|recheck_ms| recheck_ms.saturating_sub(by_ms));
        for (_, updated_ms) in self.open.iter_mut().flat_map(|open| &mut open.leaving) {
            *updated_ms = updated_ms.saturating_sub(by_ms);
        }
    }

    pub(super) fn due_ms(&self) -> i64 {
        self.recheck_ms.map_or(self.next_ms, |recheck_ms| recheck_ms.min(self.next_ms))
    }

    pub(super) fn insert(&mut self, alert: Fingerprint, starts_ms: i64, now_ms: i64) {
        self.members.entry(alert).or_default();
        self.was_empty.set(false);
        // An alert that waited elsewhere does not wait here.
        if !self.has_flushed && starts_ms.saturating_add(self.options.wait_ms) < now_ms {
            self.next_ms = self.next_ms.min(now_ms);
        }
    }

    pub(super) fn has_place_for(&self, alert: Fingerprint, max: usize) -> bool {
        self.members.len() < max || self.members.contains_key(&alert)
    }

    pub(super) fn members(&self) -> BTreeSet<Fingerprint> {
        self.members.keys().copied().collect()
    }

    /// Asks for a look at `at_ms`, if there is none before.
    pub(super) fn look_at(&mut self, at_ms: i64) {
        self.recheck_ms = Some(self.recheck_ms.map_or(at_ms, |before_ms| before_ms.min(at_ms)));
    }

    /// Takes note of a look at `now_ms`, which may be an early one.
    pub(super) fn looked(&mut self, now_ms: i64) {
        self.recheck_ms = None;
        if now_ms < self.next_ms {
            return;
        }
        // The rhythm is kept, unless a whole interval was missed.
        let late_ms = now_ms.saturating_sub(self.next_ms);
        let from_ms = if self.has_flushed && late_ms < self.options.interval_ms { self.next_ms } else { now_ms };
        self.next_ms = from_ms.saturating_add(self.options.interval_ms).max(now_ms.saturating_add(1));
        self.has_flushed = true;
    }

    /// Whether it can be forgotten: it has been empty since the question before.
    pub(super) fn is_idle(&self) -> bool {
        let is_empty = self.members.is_empty() && self.flights.is_empty();
        is_empty && self.was_empty.replace(true)
    }
}

/// The key of a group of `route`, as notifications have it.
pub(super) fn key(route: &Route, labels: &Labels) -> String {
    format!("{}:{}", route.key, show(labels))
}

/// Labels as the keys of groups have them.
fn show(labels: &Labels) -> String {
    let one = |(name, value): (&str, &str)| {
        if is_label_name(name) {
            format!("{name}={}", Quoted(value))
        } else {
            format!("{}={}", Quoted(name), Quoted(value))
        }
    };
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_keeps_its_rhythm() {
        let options = Options { wait_ms: 30, interval_ms: 100, ..Options::new("r") };
        let route = Route {
            matchers: Vec::new(),
            continues: false,
            options,
            routes: Vec::new(),
            key: "{}".into(),
            id: "{}".into(),
        };
        let labels = Labels::from_pairs([("alertname", "A"), ("job", "x\"y")]).expect("labels");
        let mut group = Group::new(&route, labels, 1000);
        assert_eq!(group.key, "{}:{alertname=\"A\", job=\"x\\\"y\"}");
        group.insert(1, 999, 1000);
        assert_eq!(group.due_ms(), 1030);
        let look = |group: &mut Group, now_ms| {
            group.looked(now_ms);
            group.due_ms()
        };
        assert_eq!(look(&mut group, 1032), 1132, "the first look sets the rhythm");
        assert_eq!(look(&mut group, 1140), 1232, "late, but in time");
        group.look_at(1200);
        group.look_at(1210);
        assert_eq!(group.due_ms(), 1200);
        assert!(group.unshelved().is_some_and(|timer| timer.recheck_ms == Some(1200)));
        assert_eq!(group.unshelved(), None);
        assert_eq!(look(&mut group, 1200), 1232);
        assert_eq!(look(&mut group, 5000), 5100, "others slept");
        let mut late = Group::new(&route, Labels::empty(), 1000);
        late.insert(1, 960, 1000);
        assert_eq!((late.due_ms(), late.key.as_str()), (1000, "{}:{}"));
    }
}
