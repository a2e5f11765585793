//! What waits to be sent to one integration: bounded, in the order in which it is due. A plain structure without clocks and threads.

use rules::notify::delivery::{Done, Notification};

/// Most notifications that wait for one integration.
pub(super) const QUEUE_MAX: usize = 1_000;
/// Before the second attempt.
const BACKOFF_MS_MIN: i64 = 500;
/// Longest time between two attempts that nobody asked for.
const BACKOFF_MS_MAX: i64 = 60_000;

/// A notification on its way.
pub(super) struct Item {
    pub(super) notification: Notification,
    pub(super) done: Done,
    /// When it came, milliseconds since the Unix epoch.
    pub(super) came_ms: i64,
    /// Not to be sent before.
    pub(super) due_ms: i64,
    /// The latest time it was looked at.
    pub(super) seen_ms: i64,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// What the last attempt came to.
    pub(super) trouble: String,
}

impl Item {
    /// Takes note of the time. Where the clock was set back, it is due, and to be given up, by as much earlier.
    pub(super) fn watch_clock(&mut self, now_ms: i64) {
        let by_ms = self.seen_ms.saturating_sub(now_ms).max(0);
        for at_ms in [&mut self.came_ms, &mut self.due_ms, &mut self.notification.deadline_ms] {
            *at_ms = at_ms.saturating_sub(by_ms);
        }
        self.seen_ms = now_ms;
    }

    /// `why` it is given up, and what the last attempt came to.
    pub(super) fn with_trouble(&self, why: &str) -> String {
        if self.trouble.is_empty() { why.to_owned() } else { format!("{why}; last: {}", self.trouble) }
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    items: Vec<Item>,
}

/// What became of an item that was offered.
pub(super) enum Offered {
    /// It waits.
    Taken,
    /// It waits in the place of an older one of its group, which nobody needs any more.
    Replaced(Item),
    /// There is no room.
    Full(Item),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes `item`. One of the same group that still waits is out of date.
    pub(super) fn offer(&mut self, item: Item) -> Offered {
        let older = self.items.iter().position(|known| known.notification.group_key == item.notification.group_key);
        if let Some(at) = older {
            let older = self.items.remove(at);
            self.items.push(item);
            return Offered::Replaced(older);
        }
        if self.items.len() >= QUEUE_MAX {
            return Offered::Full(item);
        }
        self.items.push(item);
        Offered::Taken
    }

    /// Puts back an item that is to be sent again; gives it back if a newer one of its group waits.
    pub(super) fn put_back(&mut self, item: Item) -> Option<Item> {
        let newer = self.items.iter().any(|known| known.notification.group_key == item.notification.group_key);
        if newer {
            return Some(item);
        }
        self.items.push(item);
        None
    }

    /// Takes note of the time, as [`Item::watch_clock`] does.
    pub(super) fn watch_clock(&mut self, now_ms: i64) {
        self.items.iter_mut().for_each(|item| item.watch_clock(now_ms));
    }

    /// When the next one is due.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.items.iter().map(|item| item.due_ms).min()
    }

    /// The one that is due first, if any is at `now_ms`.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<Item> {
        let first = self.items.iter().enumerate().min_by_key(|(at, item)| (item.due_ms, *at))?;
        (first.1.due_ms <= now_ms).then_some(first.0).map(|at| self.items.remove(at))
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Those that are not due by `by_ms`.
    pub(super) fn drain_later(&mut self, by_ms: i64) -> Vec<Item> {
        let (later, rest) = self.drain().into_iter().partition(|item| item.due_ms > by_ms);
        self.items = rest;
        later
    }
}

/// How long to wait after attempt `attempts` (from 1) failed: twice as long each time, and at least what the other side asked for.
pub(super) fn backoff_ms(attempts: u32, asked_ms: Option<i64>) -> i64 {
    let doubled = BACKOFF_MS_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.min(BACKOFF_MS_MAX).max(asked_ms.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use model::Labels;
    use rules::notify::decision::Reason;

    use super::super::State;
    use super::*;

    fn item(group: &str, due_ms: i64) -> Item {
        let notification = Notification {
            group_key: group.to_owned(),
            receiver: "r".to_owned(),
            integration: 0,
            reason: Reason::First,
            alerts: Vec::new(),
            group_labels: Labels::empty(),
            route_labels: std::collections::BTreeMap::new(),
            at_ms: 0,
            deadline_ms: 1000,
        };
        Item {
            notification,
            done: Box::new(|_| {}),
            came_ms: 0,
            due_ms,
            seen_ms: 0,
            attempts: 0,
            trouble: String::new(),
        }
    }

    #[test]
    fn what_is_due_first_comes_first() {
        let mut queue = Queue::default();
        for (group, due_ms) in [("a", 30), ("b", 10), ("c", 10), ("d", 50)] {
            assert!(matches!(queue.offer(item(group, due_ms)), Offered::Taken));
        }
        let mut take = |now_ms| queue.take_due(now_ms).map(|item| item.notification.group_key);
        assert_eq!([take(9), take(10), take(10), take(10)], [None, Some("b".into()), Some("c".into()), None]);
        assert_eq!(queue.next_due_ms(), Some(30));
        assert_eq!(queue.drain_later(30).len(), 1);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn newer_ones_take_the_place_of_older_ones() {
        let mut queue = Queue::default();
        assert!(matches!(queue.offer(item("a", 1)), Offered::Taken));
        assert!(matches!(queue.offer(item("a", 2)), Offered::Replaced(Item { due_ms: 1, .. })));
        assert!(queue.put_back(item("a", 3)).is_some(), "a newer one waits");
        assert!(queue.put_back(item("b", 3)).is_none());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut queue = Queue::default();
        let hour_ms = 3_600_000;
        let mut one = item("a", hour_ms + 500);
        (one.came_ms, one.seen_ms, one.notification.deadline_ms) = (hour_ms, hour_ms, hour_ms + 60_000);
        assert!(matches!(queue.offer(one), Offered::Taken));
        queue.watch_clock(7000);
        assert!(queue.take_due(7499).is_none());
        let item = queue.take_due(7500).expect("it is due");
        assert_eq!((item.came_ms, item.notification.deadline_ms), (7000, 67_000));
        // Forward it is due, and nothing moves.
        queue.put_back(item);
        queue.watch_clock(hour_ms);
        assert_eq!(queue.next_due_ms(), Some(7500));
    }

    #[test]
    fn integrations_whose_time_is_later_go_by_the_new_time() {
        let (mut state, key, hour_ms) = (State::default(), ("r".to_owned(), 0), 3_600_000);
        state.watch_clock(hour_ms);
        let mut one = item("a", hour_ms + 500);
        one.seen_ms = hour_ms;
        let slot = state.queues.entry(key.clone()).or_default();
        slot.queue.put_back(one);
        slot.later_ms = Some(hour_ms + 500);
        state.later.insert((hour_ms + 500, key.clone()));
        state.watch_clock(7000);
        assert_eq!(state.later.iter().cloned().collect::<Vec<_>>(), [(7500, key.clone())]);
        assert_eq!(state.queues[&key].later_ms, Some(7500));
    }

    #[test]
    fn there_is_an_end() {
        let mut queue = Queue::default();
        for number in 0..QUEUE_MAX {
            assert!(matches!(queue.offer(item(&number.to_string(), 0)), Offered::Taken));
        }
        assert!(matches!(queue.offer(item("one more", 0)), Offered::Full(_)));
        assert!(matches!(queue.offer(item("7", 0)), Offered::Replaced(_)), "no more than before");
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<i64> = (1..10).map(|attempts| backoff_ms(attempts, None)).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!((backoff_ms(1, Some(7000)), backoff_ms(u32::MAX, Some(1))), (7000, 60_000));
    }
}
