//! What receivers were told last: the notification log.
//!
//! An entry in which nothing fires says the same as no entry, so only what was told to fire is kept; and what was told long ago is forgotten,
//! unless its group has alerts that it is about. What is about to be said is written down before it is: where the process ended meanwhile, nobody knows whether it was heard, so the
//! next look says how things are, whatever was told before.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::decision::{Fingerprint, Told};

/// How long what was told is remembered at least; twice its route's `repeat_interval` where that is longer.
pub const LOG_KEPT_MS: i64 = 120 * 3_600_000;

/// Whom, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The group, as notifications have it.
    pub group_key: String,
    /// The receiver.
    pub receiver: String,
    /// Which of its integrations, from 0.
    pub integration: usize,
    /// Which step of the escalation, from 0; `None` for the route's own receiver.
    pub step: Option<usize>,
}

/// What a receiver was told of a group last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) told: Told,
    /// Since when it has been told of each alert that fires.
    pub(super) since_ms: BTreeMap<Fingerprint, i64>,
    /// When it may be forgotten.
    pub(super) keep_until_ms: i64,
    /// The alerts that fire in what is on its way, and in what may have been heard before.
    pub(super) sending: Option<BTreeSet<Fingerprint>>,
    /// Whether that may have been heard or not.
    pub(super) unsure: bool,
}

impl Entry {
    /// Whether the receiver may know of alerts that fire.
    pub(super) fn may_know(&self) -> bool {
        !self.told.firing.is_empty() || self.sending.as_ref().is_some_and(|sending| !sending.is_empty())
    }

    /// Whether the receiver may know that `alert` fires.
    pub(super) fn may_know_of(&self, alert: Fingerprint) -> bool {
        self.told.firing.contains(&alert) || self.sending.as_ref().is_some_and(|sending| sending.contains(&alert))
    }
}

fn keep_until_ms(at_ms: i64, repeat_ms: i64) -> i64 {
    at_ms.saturating_add(LOG_KEPT_MS.max(repeat_ms.saturating_mul(2)))
}

#[derive(Debug, Default)]
pub(super) struct NotificationLog(BTreeMap<LogKey, Entry>);

impl NotificationLog {
    pub(super) fn get(&self, key: &LogKey) -> Option<&Entry> {
        self.0.get(key)
    }

    pub(super) fn restore(&mut self, key: LogKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// Writes down what was told; returns the entry, or nothing where none is needed any more.
    pub(super) fn write(&mut self, key: &LogKey, told: Told, repeat_ms: i64) -> Option<&Entry> {
        let before = self.0.remove(key);
        if told.firing.is_empty() {
            return None;
        }
        let known = |alert: &Fingerprint| before.as_ref().and_then(|before| before.since_ms.get(alert).copied());
        let since_ms = told.firing.iter().map(|alert| (*alert, known(alert).unwrap_or(told.at_ms))).collect();
        let keep_until_ms = keep_until_ms(told.at_ms, repeat_ms);
        let entry = Entry { told, since_ms, keep_until_ms, sending: None, unsure: false };
        Some(self.0.entry(key.clone()).or_insert(entry))
    }

    /// Writes down what is about to be told.
    pub(super) fn sends(&mut self, key: &LogKey, told: &Told, repeat_ms: i64) -> &Entry {
        let entry = self.0.entry(key.clone()).or_insert_with(|| Entry {
            told: Told { at_ms: told.at_ms, ..Told::default() },
            since_ms: BTreeMap::new(),
            keep_until_ms: keep_until_ms(told.at_ms, repeat_ms),
            sending: None,
            unsure: false,
        });
        let unsure = entry.sending.take().filter(|_| entry.unsure).unwrap_or_default();
        entry.sending = Some(unsure.union(&told.firing).copied().collect());
        entry
    }

    /// Takes note that what was about to be told was not; returns the entry, or nothing where none is needed any more.
    pub(super) fn failed(&mut self, key: &LogKey) -> Option<&Entry> {
        let entry = self.0.get_mut(key)?;
        if !entry.unsure {
            entry.sending = None;
        }
        if !entry.may_know() {
            self.0.remove(key);
        }
        self.0.get(key)
    }

    /// The alerts that anybody may know of.
    pub(super) fn alerts(&self) -> HashSet<Fingerprint> {
        let of =
            |entry: &Entry| entry.told.firing.iter().chain(entry.sending.iter().flatten()).copied().collect::<Vec<_>>();
        self.0.values().flat_map(of).collect()
    }

    /// The groups of which something was on its way that may have been heard or not.
    pub(super) fn unsure(&self) -> HashSet<String> {
        let unsure = self.0.iter().filter(|(_, entry)| entry.unsure || entry.sending.is_some());
        unsure.map(|(key, _)| key.group_key.clone()).collect()
    }

    /// Whether anything is old.
    pub(super) fn is_old(&self, now_ms: i64) -> bool {
        self.0.values().any(|entry| entry.keep_until_ms <= now_ms)
    }

    /// Takes all moments back by `by_ms`.
    pub(super) fn set_back(&mut self, by_ms: i64) {
        for entry in self.0.values_mut() {
            for at_ms in
                [&mut entry.told.at_ms, &mut entry.keep_until_ms].into_iter().chain(entry.since_ms.values_mut())
            {
                *at_ms = at_ms.saturating_sub(by_ms);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LogKey, &Entry)> {
        self.0.iter()
    }

    /// Forgets what is old, unless `is_needed`, and the oldest beyond `max`.
    pub(super) fn forget(
        &mut self,
        now_ms: i64,
        max: usize,
        is_needed: impl Fn(&LogKey, &Entry) -> bool,
    ) -> Vec<LogKey> {
        let is_gone = |key: &LogKey, entry: &mut Entry| entry.keep_until_ms <= now_ms && !is_needed(key, entry);
        let mut gone: Vec<LogKey> = self.0.extract_if(.., is_gone).map(|(key, _)| key).collect();
        if self.0.len() > max {
            let mut by_age: Vec<(i64, LogKey)> =
                self.0.iter().map(|(key, entry)| (entry.told.at_ms, key.clone())).collect();
            by_age.sort_unstable();
            by_age.truncate(self.0.len() - max);
            for (_, key) in by_age {
                self.0.remove(&key);
                gone.push(key);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_knows_since_when() {
        let mut log = NotificationLog::default();
        let key =
            |group: &str| LogKey { group_key: group.to_owned(), receiver: "r".to_owned(), integration: 0, step: None };
        let told = |at_ms, firing: &[u64]| Told { at_ms, firing: firing.iter().copied().collect(), ..Told::default() };
        log.write(&key("a"), told(10, &[1]), 0);
        let since = log.write(&key("a"), told(20, &[1, 2]), 0).expect("an entry").since_ms.clone();
        assert_eq!(since, BTreeMap::from([(1, 10), (2, 20)]));
        assert_eq!(log.write(&key("a"), told(30, &[]), 0), None);
        assert_eq!(log.get(&key("a")), None);
        for at in 0..5 {
            log.write(&key(&at.to_string()), told(at, &[1]), 0);
        }
        assert_eq!(log.forget(0, 3, |_, _| false), [key("0"), key("1")]);
        assert_eq!(log.forget(LOG_KEPT_MS + 2, 3, |key, _| key.group_key == "2"), []);
        assert_eq!(log.forget(LOG_KEPT_MS + 2, 3, |_, _| false), [key("2")]);
        assert!(log.get(&key("3")).is_some());
    }

    /// An alert was on its way when the process ended; its end fails, and is still to be told.
    #[test]
    fn what_may_have_been_heard_stays() {
        let mut log = NotificationLog::default();
        let key = LogKey { group_key: "a".to_owned(), receiver: "r".to_owned(), integration: 0, step: None };
        let told = |firing: &[u64]| Told { at_ms: 10, firing: firing.iter().copied().collect(), ..Told::default() };
        let sent = log.sends(&key, &told(&[1]), 0).clone();
        log.restore(key.clone(), Entry { unsure: true, ..sent });
        assert!(log.sends(&key, &told(&[]), 0).may_know_of(1));
        assert!(log.failed(&key).is_some_and(|entry| entry.may_know_of(1)));
        log.sends(&key, &told(&[2]), 0);
        assert_eq!(log.write(&key, told(&[]), 0), None);
        assert!(log.sends(&key, &told(&[2]), 0).sending == Some([2].into()));
        assert_eq!(log.failed(&key), None);
    }
}
