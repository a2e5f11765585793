//! Places for queries of rules: so many are asked at a time, in the order in which they came.
//!
//! Groups have threads of their own, so that one that takes long holds up no other. What would then overload the machine, or starve the others, is the
//! queries: they wait for a place here, those of groups that take longer than their interval for a place apart.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use query::CancelToken;

use super::lock;

/// Places for queries of groups that take longer than their interval.
const SLOW_PLACES: usize = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    usual: Places,
    slow: Places,
}

impl Lanes {
    pub(super) fn new(places: usize) -> Self {
        Self { usual: Places::new(places.max(1)), slow: Places::new(SLOW_PLACES) }
    }

    /// Waits for a place, for a group whose evaluation has taken `taken` of its `interval`; `None` when `cancel` is canceled.
    pub(super) fn take(&self, taken: Duration, interval: Duration, cancel: &CancelToken) -> Option<Place<'_>> {
        let places = if taken > interval { &self.slow } else { &self.usual };
        places.take(cancel)
    }

    /// Has those that wait look at whether they were canceled.
    pub(super) fn wake(&self) {
        for places in [&self.usual, &self.slow] {
            drop(lock(&places.state));
            places.changed.notify_all();
        }
    }
}

#[derive(Debug)]
struct Places {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The number of whoever comes next.
    next: u64,
    /// Whose turn it is.
    turn: u64,
}

impl Places {
    fn new(free: usize) -> Self {
        Self { state: Mutex::new(State { free, next: 0, turn: 0 }), changed: Condvar::new() }
    }

    fn take(&self, cancel: &CancelToken) -> Option<Place<'_>> {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next += 1;
        while (state.free == 0 || state.turn != number) && !cancel.is_canceled() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // All are canceled together, at the end: nobody comes after one that gives up.
        if cancel.is_canceled() {
            return None;
        }
        (state.free, state.turn) = (state.free - 1, state.turn + 1);
        drop(state);
        self.changed.notify_all();
        Some(Place(self))
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).free += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_comes_first_is_first_and_slow_groups_hold_up_no_other() {
        let (lanes, cancel) = (Lanes::new(2), CancelToken::new());
        let (lanes, cancel) = (&lanes, &cancel);
        let take = |seconds| lanes.take(Duration::from_secs(seconds), Duration::from_secs(10), cancel);
        let slow = take(11).expect("a place");
        let first = take(10).expect("a place");
        let second = take(0).expect("a place");
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            for number in 0..3_u64 {
                let tell = tell.clone();
                scope.spawn(move || {
                    let place = take(0);
                    tell.send((number, place.is_some())).expect("somebody listens");
                });
                // The next one comes when this one has its number.
                while lock(&lanes.usual.state).next < number + 3 {
                    std::thread::yield_now();
                }
            }
            drop(first);
            let order: Vec<(u64, bool)> = told.iter().take(1).collect();
            assert_eq!(order, [(0, true)]);
            drop(second);
            let others: Vec<(u64, bool)> = told.iter().take(2).collect();
            assert!(others.iter().all(|(_, has_place)| *has_place), "{others:?}");
            // At the end nobody waits any more.
            let waiting = scope.spawn(move || take(11).is_none());
            while lock(&lanes.slow.state).next < 2 {
                std::thread::yield_now();
            }
            cancel.cancel();
            lanes.wake();
            assert!(waiting.join().expect("it ended"));
        });
        drop(slow);
        assert_eq!((lock(&lanes.usual.state).free, lock(&lanes.slow.state).free), (2, 1));
    }
}
