//! The alerts that are known: merged by fingerprint, ended by time, bounded in number.
//!
//! Merging is Alertmanager's (`provider/mem`, `types.Alert.Merge`): where the times of two overlap, the alert began when the earlier began, and
//! ends when the later message says, but a message without an end never shortens what one with an end said. What a rule of this process says of
//! an alert holds until the rule says that it ended, or says nothing any more: meanwhile what others say of it changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decision::Fingerprint;
use super::delivery::NotifiedAlert;
use crate::config::FLAP_CHANGES_MAX;
use crate::posted::Posted;

/// How long an ended alert is kept at least, after the last message about it.
pub const ENDED_KEPT_MS: i64 = 15 * 60 * 1000;

/// An alert as it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The alert.
    pub posted: Posted,
    /// Whether its end is a guess, because its sender did not say one.
    pub times_out: bool,
    /// Whether a rule of this process says so.
    pub by_rule: bool,
}

impl From<Posted> for Incoming {
    /// What a rule says.
    fn from(posted: Posted) -> Self {
        Self { posted, times_out: false, by_rule: true }
    }
}

/// An alert that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The alert.
    pub posted: Posted,
    /// Whether its end is a guess.
    pub times_out: bool,
    /// When the last message about it came, milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When it began and ended lately, the newest last; at most [`FLAP_CHANGES_MAX`].
    pub changes_ms: Vec<i64>,
    /// Until when it fires by the last word of a rule of this process; not written down, as rules speak again soon after a start.
    pub(super) rule_holds_until_ms: i64,
    /// The end that was written down last.
    pub(super) shelved_ends_ms: i64,
    /// Whether its end was noticed.
    pub(super) ended: bool,
    /// The groups that need not tell of its end any more.
    pub(super) left: BTreeSet<Arc<str>>,
}

impl Kept {
    /// Of a message that came at `now_ms`, with nothing before it.
    pub(super) fn new(incoming: Incoming, now_ms: i64) -> Self {
        let Incoming { posted, times_out, by_rule } = incoming;
        let ended = posted.is_resolved(now_ms);
        let changes_ms = if ended { Vec::new() } else { vec![now_ms] };
        let rule_holds_until_ms = if by_rule { posted.ends_ms } else { i64::MIN };
        let (shelved_ends_ms, left) = (i64::MIN, BTreeSet::new());
        Self { posted, times_out, updated_ms: now_ms, changes_ms, rule_holds_until_ms, shelved_ends_ms, ended, left }
    }

    fn merge(self, incoming: Incoming, now_ms: i64) -> Self {
        let old = self;
        let mut new =
            Self { changes_ms: old.changes_ms, shelved_ends_ms: old.shelved_ends_ms, ..Self::new(incoming, now_ms) };
        let (is, was) = (&mut new.posted, &old.posted);
        let overlaps = (is.ends_ms > was.starts_ms && is.ends_ms < was.ends_ms)
            || (is.starts_ms > was.starts_ms && is.starts_ms < was.ends_ms);
        if overlaps {
            is.starts_ms = is.starts_ms.min(was.starts_ms);
            let keeps_end = if is.is_resolved(now_ms) { was.is_resolved(now_ms) } else { !old.times_out };
            if keeps_end {
                is.ends_ms = is.ends_ms.max(was.ends_ms);
            }
        }
        new.ended = new.posted.is_resolved(now_ms);
        if new.ended != old.ended {
            new.changed(now_ms);
        } else if new.ended && new.posted.starts_ms == old.posted.starts_ms {
            // Its end is told again to whoever did not hear of it; these did.
            new.left = old.left;
        }
        new
    }

    /// Takes its moments back by `by_ms`, but its begin, which its sender knows, no further than to `now_ms`.
    fn set_back(&mut self, by_ms: i64, now_ms: i64) {
        let Posted { starts_ms, ends_ms, .. } = &mut self.posted;
        let own = [&mut *ends_ms, &mut self.updated_ms, &mut self.shelved_ends_ms, &mut self.rule_holds_until_ms];
        for at_ms in own.into_iter().chain(&mut self.changes_ms) {
            *at_ms = at_ms.saturating_sub(by_ms);
        }
        *starts_ms = (*starts_ms).min(now_ms).min(*ends_ms);
    }

    fn changed(&mut self, at_ms: i64) {
        if self.changes_ms.len() >= FLAP_CHANGES_MAX {
            self.changes_ms.remove(0);
        }
        self.changes_ms.push(at_ms);
    }

    /// How often it began or ended in the last `window_ms`, and when that is fewer than `changes` again, if it is not now.
    pub(super) fn flaps(&self, changes: usize, window_ms: i64, now_ms: i64) -> Option<(usize, i64)> {
        let since_ms = now_ms.saturating_sub(window_ms);
        let count = self.changes_ms.iter().filter(|at| **at > since_ms).count();
        let from_end = self.changes_ms.len().checked_sub(changes)?;
        (count >= changes).then(|| (count, self.changes_ms.get(from_end).map_or(now_ms, |at| at + window_ms)))
    }

    /// As receivers are told of it at `now_ms`.
    pub fn notified(&self, now_ms: i64) -> NotifiedAlert {
        let Posted { labels, annotations, starts_ms, ends_ms, generator_url } = &self.posted;
        NotifiedAlert {
            labels: labels.clone(),
            annotations: annotations.clone(),
            starts_ms: *starts_ms,
            ends_ms: self.posted.is_resolved(now_ms).then_some(*ends_ms),
            generator_url: generator_url.clone(),
            fingerprint: self.posted.fingerprint(),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Alerts {
    all: BTreeMap<Fingerprint, Kept>,
    /// When those that fire end.
    ends: BTreeSet<(i64, Fingerprint)>,
    count_max: usize,
    bytes_max: usize,
    /// What they take, about.
    bytes: usize,
}

/// What an alert takes beside its texts, about.
const ALERT_BYTES: usize = 512;

/// What an alert takes, about.
fn bytes(posted: &Posted) -> usize {
    /// Of a text in a map, beside itself.
    const ANNOTATION_BYTES: usize = 64;
    let one = |(name, text): (&String, &String)| name.len() + text.len() + ANNOTATION_BYTES;
    let annotations: usize = posted.annotations.iter().map(one).sum();
    ALERT_BYTES + posted.labels.packed().len() + annotations + posted.generator_url.len()
}

/// What a message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each tells of something else")]
pub(super) struct Put {
    /// It was not known, or had ended, and fires.
    pub(super) begins: bool,
    /// It had not ended, and now has.
    pub(super) ends: bool,
    /// Something is to be written down.
    pub(super) shelve: bool,
    /// Its texts stay as they were: there was no place for longer ones.
    pub(super) keeps_texts: bool,
}

/// Why there is no place for an alert that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as may be.
    Count,
    /// They take as many bytes as they may.
    Bytes,
}

impl Alerts {
    /// None yet, and never more than `count_max`, nor more than about `bytes_max` bytes of them.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { all: BTreeMap::new(), ends: BTreeSet::new(), count_max, bytes_max, bytes: 0 }
    }

    pub(super) fn get(&self, alert: Fingerprint) -> Option<&Kept> {
        self.all.get(&alert)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, &Kept)> {
        self.all.iter().map(|(alert, kept)| (*alert, kept))
    }

    /// Takes back what was written down.
    pub(super) fn restore(&mut self, kept: Kept) {
        let alert = kept.posted.fingerprint();
        if !kept.ended {
            self.ends.insert((kept.posted.ends_ms, alert));
        }
        self.bytes += bytes(&kept.posted);
        if let Some(before) = self.all.insert(alert, kept) {
            self.bytes -= bytes(&before.posted);
        }
    }

    /// Takes a message, unless there is no place for an alert that is not known. One that is known always begins and ends as the message says; where
    /// there is no place for what its texts grow by, they stay as they were.
    pub(super) fn put(&mut self, mut incoming: Incoming, now_ms: i64) -> Result<Put, Full> {
        let alert = incoming.posted.fingerprint();
        let holds = |old: &Kept| !incoming.by_rule && old.rule_holds_until_ms > now_ms;
        if self.all.get(&alert).is_some_and(holds) {
            return Ok(Put { begins: false, ends: false, shelve: false, keeps_texts: false });
        }
        let known = self.all.get(&alert);
        let (before_bytes, new_bytes) = (known.map_or(0, |known| bytes(&known.posted)), bytes(&incoming.posted));
        let all_bytes = self.bytes - before_bytes + new_bytes;
        let too_long = new_bytes > before_bytes && all_bytes > self.bytes_max;
        match known {
            None if self.all.len() >= self.count_max => return Err(Full::Count),
            None if too_long => return Err(Full::Bytes),
            Some(known) if too_long => {
                incoming.posted.annotations.clone_from(&known.posted.annotations);
                incoming.posted.generator_url.clone_from(&known.posted.generator_url);
            }
            _ => self.bytes = all_bytes,
        }
        let old = self.all.remove(&alert);
        let was_firing = old.as_ref().is_some_and(|old| !old.ended);
        if let Some(old) = &old {
            self.ends.remove(&(old.posted.ends_ms, alert));
        }
        let before = old.as_ref().map(|old| {
            let Posted { annotations, starts_ms, generator_url, .. } = &old.posted;
            (annotations.clone(), *starts_ms, generator_url.clone(), old.changes_ms.len(), old.times_out)
        });
        let mut new = match old {
            Some(old) => old.merge(incoming, now_ms),
            None => Kept::new(incoming, now_ms),
        };
        let Posted { annotations, starts_ms, ends_ms, generator_url, .. } = &new.posted;
        let same = before.is_some_and(|(texts, starts, url, changes, times_out)| {
            (&texts, starts, &url, changes, times_out)
                == (annotations, *starts_ms, generator_url, new.changes_ms.len(), new.times_out)
        });
        // An end that merely moves on is written down when half of what was written is used up.
        let left_ms = ends_ms.saturating_sub(now_ms);
        let moved = new.shelved_ends_ms.saturating_sub(now_ms) < left_ms / 2 || *ends_ms < new.shelved_ends_ms;
        let shelve = !same || moved;
        if shelve {
            new.shelved_ends_ms = *ends_ms;
        }
        if !new.ended {
            self.ends.insert((*ends_ms, alert));
        }
        let put =
            Put { begins: !was_firing && !new.ended, ends: was_firing && new.ended, shelve, keeps_texts: too_long };
        self.all.insert(alert, new);
        Ok(put)
    }

    /// Takes note that the group `id` need not tell of the end of an alert any more; returns it.
    pub(super) fn leaves(&mut self, alert: Fingerprint, id: &Arc<str>) -> Option<&Kept> {
        let kept = self.all.get_mut(&alert).filter(|kept| kept.ended)?;
        kept.left.insert(Arc::clone(id));
        Some(kept)
    }

    /// Whether the group `id` has told of the end of an alert.
    pub(super) fn has_left(&self, alert: Fingerprint, id: &str) -> bool {
        self.all.get(&alert).is_some_and(|kept| kept.ended && kept.left.contains(id))
    }

    /// Alerts whose end has come.
    pub(super) fn sweep(&mut self, now_ms: i64) -> Vec<Fingerprint> {
        let mut ended = Vec::new();
        while let Some((at_ms, alert)) = self.ends.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.ends.pop_first();
            if let Some(kept) = self.all.get_mut(&alert) {
                kept.ended = true;
                kept.changed(at_ms);
                ended.push(alert);
            }
        }
        ended
    }

    /// Has those that fired at `before_ms` fire until `until_ms` at least; returns which had less time.
    pub(super) fn set_forward(&mut self, before_ms: i64, until_ms: i64) -> Vec<Fingerprint> {
        let mut extended = Vec::new();
        for (alert, kept) in self.all.iter_mut().filter(|(_, kept)| !kept.ended) {
            if kept.rule_holds_until_ms > before_ms {
                kept.rule_holds_until_ms = kept.rule_holds_until_ms.max(until_ms);
            }
            if kept.posted.ends_ms > before_ms && kept.posted.ends_ms < until_ms {
                kept.posted.ends_ms = until_ms;
                kept.shelved_ends_ms = until_ms;
                extended.push(*alert);
            }
        }
        self.order_ends();
        extended
    }

    /// Takes all moments back by `by_ms`, now that it is `now_ms`.
    pub(super) fn set_back(&mut self, by_ms: i64, now_ms: i64) {
        self.all.values_mut().for_each(|kept| kept.set_back(by_ms, now_ms));
        self.order_ends();
    }

    fn order_ends(&mut self) {
        let fire = self.all.iter().filter(|(_, kept)| !kept.ended);
        self.ends = fire.map(|(alert, kept)| (kept.posted.ends_ms, *alert)).collect();
    }

    /// Forgets those that ended, of which no message came for `kept_ms`, and that are not `used`.
    pub(super) fn forget(&mut self, now_ms: i64, kept_ms: i64, used: impl Fn(Fingerprint) -> bool) -> Vec<Fingerprint> {
        let old = |kept: &Kept| kept.ended && now_ms.saturating_sub(kept.updated_ms.max(kept.posted.ends_ms)) > kept_ms;
        let gone: Vec<Fingerprint> =
            self.all.iter().filter(|(alert, kept)| old(kept) && !used(**alert)).map(|(alert, _)| *alert).collect();
        for alert in &gone {
            if let Some(kept) = self.all.remove(alert) {
                self.bytes -= bytes(&kept.posted);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn incoming(starts_ms: i64, ends_ms: i64, times_out: bool) -> Incoming {
        let labels = Labels::from_pairs([("alertname", "A")]).expect("labels");
        let posted = Posted { labels, annotations: BTreeMap::new(), starts_ms, ends_ms, generator_url: String::new() };
        Incoming { posted, times_out, by_rule: false }
    }

    #[test]
    fn messages_merge() {
        // The message before and when it came, the next one at 100, and what both make.
        for (before, next, want) in [
            (incoming(10, 200, false), incoming(50, 300, false), (10, 300)),
            (incoming(10, 200, false), incoming(50, 150, false), (10, 200)),
            (incoming(10, 200, true), incoming(50, 150, false), (10, 150)),
            (incoming(10, 200, false), incoming(50, 90, false), (10, 90)),
            (incoming(10, 200, false), incoming(300, 400, false), (300, 400)),
            (incoming(10, 60, false), incoming(50, 300, false), (10, 300)),
            (incoming(10, 60, false), incoming(70, 300, false), (70, 300)),
        ] {
            let mut alerts = Alerts::new(1, 1 << 20);
            alerts.put(before, 20).expect("a place");
            alerts.sweep(100);
            alerts.put(next, 100).expect("a place");
            let posted = &alerts.iter().next().expect("an alert").1.posted;
            assert_eq!((posted.starts_ms, posted.ends_ms), want);
        }
    }

    #[test]
    fn rules_have_the_last_word() {
        let by_rule = |starts_ms, ends_ms| Incoming { by_rule: true, ..incoming(starts_ms, ends_ms, false) };
        let mut alerts = Alerts::new(9, 1 << 20);
        let mut put = |incoming, now_ms| {
            let put = alerts.put(incoming, now_ms).expect("a place");
            (put.begins, put.ends)
        };
        assert_eq!(put(incoming(0, 50, false), 0), (true, false));
        assert_eq!(put(incoming(0, 5, false), 5), (false, true), "nobody but its sender says anything");
        assert_eq!(put(by_rule(10, 240), 10), (true, false));
        assert_eq!(put(incoming(0, 19, false), 20), (false, false), "the rule says that it fires");
        assert_eq!(put(by_rule(10, 30), 30), (false, true));
        assert_eq!(put(incoming(0, 60, false), 40), (true, false), "the rule says that it ended");
        assert_eq!(put(incoming(0, 41, false), 41), (false, true));
    }

    #[test]
    fn ends_come_by_message_and_by_time() {
        let mut alerts = Alerts::new(9, 1 << 20);
        let alert = incoming(0, 0, false).posted.fingerprint();
        let flags = |put: Result<Put, Full>| {
            let put = put.expect("a place");
            (put.begins, put.ends, put.shelve)
        };
        assert_eq!(flags(alerts.put(incoming(0, 240, false), 0)), (true, false, true));
        assert_eq!(flags(alerts.put(incoming(0, 300, false), 60)), (false, false, false), "the end moves on");
        assert_eq!(flags(alerts.put(incoming(0, 380, false), 140)), (false, false, true), "half is used up");
        assert!(alerts.sweep(379).is_empty());
        assert_eq!(alerts.sweep(380), [alert]);
        assert_eq!(flags(alerts.put(incoming(390, 600, false), 400)), (true, false, true));
        assert_eq!(flags(alerts.put(incoming(390, 410, false), 410)), (false, true, true));
        let kept = alerts.get(alert).expect("it is known");
        assert_eq!(kept.changes_ms, [0, 380, 400, 410]);
        assert_eq!(kept.flaps(4, 100, 420), None);
        assert_eq!(kept.flaps(3, 100, 420), Some((3, 480)));
        assert_eq!(kept.flaps(3, 100, 480), None);
        assert!(alerts.forget(430, 20, |_| false).is_empty() && alerts.forget(431, 20, |_| true).is_empty());
        assert_eq!(alerts.forget(431, 20, |_| false), [alert]);
        assert_eq!(alerts.bytes, 0);
        assert_eq!(Alerts::new(0, 1 << 20).put(incoming(0, 9, false), 5), Err(Full::Count), "no place");
    }

    #[test]
    fn bytes_are_bounded() {
        let of = |name: &str, text_bytes: usize| {
            let mut incoming = incoming(0, 99, false);
            incoming.posted.labels = Labels::from_pairs([("alertname", name)]).expect("labels");
            incoming.posted.annotations = BTreeMap::from([("text".to_owned(), "x".repeat(text_bytes))]);
            incoming
        };
        let mut alerts = Alerts::new(9, 10_000);
        let mut put = |name, text_bytes| alerts.put(of(name, text_bytes), 1).map(|put| put.keeps_texts);
        assert_eq!((put("a", 4000), put("b", 4000)), (Ok(false), Ok(false)));
        assert_eq!((put("c", 4000), put("b", 6000)), (Err(Full::Bytes), Ok(true)), "no place, nor any to grow");
        assert_eq!((put("b", 4000), put("b", 0)), (Ok(false), Ok(false)), "none is needed");
        assert_eq!(put("c", 4000), Ok(false));
        let sum: usize = alerts.iter().map(|(_, kept)| bytes(&kept.posted)).sum();
        assert_eq!(alerts.bytes, sum);

        // What fires goes on to fire, and what ends ends, whether there is a place for longer texts or not.
        let alert = of("c", 0).posted.fingerprint();
        let mut put = |starts_ms, ends_ms, now_ms| {
            let mut longer = of("c", 6000);
            (longer.posted.starts_ms, longer.posted.ends_ms) = (starts_ms, ends_ms);
            let put = alerts.put(longer, now_ms).expect("it is known");
            (put.begins, put.ends, put.keeps_texts)
        };
        assert_eq!(put(0, 300, 2), (false, false, true));
        assert_eq!(put(0, 250, 250), (false, true, true));
        let kept = &alerts.get(alert).expect("it is known").posted;
        assert_eq!((kept.ends_ms, kept.annotations["text"].len()), (250, 4000));
        assert_eq!(alerts.bytes, sum);
    }
}
