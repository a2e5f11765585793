//! Places for queries of rules: so many are asked at a time, in the order in which they came.
//!
//! Groups have threads of their own, so that one that takes long holds up no other. What would then overload the machine, or starve the others, is the
//! queries: they wait for a place here, those of groups whose queries take longer than their interval for a place apart. Who has a usual place for
//! longer than that has the place apart from then on, also where that is taken: the usual one is for whoever waits. A group that nobody knows yet has
//! it for a few seconds at most, however long its interval is: after a start all are new, and slow ones among them must not be what the others wait for.
//! No more than twice the usual places are taken in all, so that a machine on which everything takes long is not asked for ever more at a time: who
//! would be beyond that stays in its usual place.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use query::CancelToken;

use super::lock;

/// Places for queries of groups that take longer than their interval.
const SLOW_PLACES: isize = 1;
/// Longest time for which a query of a new group has a usual place.
pub(super) const NEW_MAX: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    changed: Condvar,
    /// As [`NEW_MAX`] says.
    new_max: Duration,
}

#[derive(Debug)]
struct State {
    usual: Lane,
    slow: Lane,
    /// Until when those that have a usual place may have it, by their numbers; `None`: for good.
    held: BTreeMap<u64, Option<Instant>>,
    /// What is free in the slow lane at the least: with as much, twice the usual places are taken.
    slow_min: isize,
}

#[derive(Debug)]
struct Lane {
    /// Below zero where some came from the usual lane.
    free: isize,
    /// The number of whoever comes next.
    next: u64,
    /// Whose turn it is.
    turn: u64,
}

impl Lane {
    fn new(free: isize) -> Self {
        Self { free, next: 0, turn: 0 }
    }
}

impl State {
    fn lane(&mut self, is_slow: bool) -> &mut Lane {
        if is_slow { &mut self.slow } else { &mut self.usual }
    }

    /// Moves those to the slow lane whose time is over, as far as there is room, and returns when that of the next one is that can be moved.
    fn move_late(&mut self, now: Instant) -> Option<Instant> {
        let Self { usual, slow, held, slow_min } = self;
        held.retain(|_, until| {
            let stays = slow.free <= *slow_min || until.is_none_or(|until| until > now);
            if !stays {
                (usual.free, slow.free) = (usual.free + 1, slow.free - 1);
            }
            stays
        });
        // Where there is no room, whoever gives a place back wakes those that wait.
        held.values().flatten().min().copied().filter(|_| slow.free > *slow_min)
    }
}

impl Lanes {
    pub(super) fn new(places: usize, new_max: Duration) -> Self {
        let places = isize::try_from(places.max(1)).unwrap_or(isize::MAX);
        let (usual, slow) = (Lane::new(places), Lane::new(SLOW_PLACES));
        let state = State { usual, slow, held: BTreeMap::new(), slow_min: SLOW_PLACES - places };
        Self { state: Mutex::new(state), changed: Condvar::new(), new_max }
    }

    /// As [`Self::take`], for a group that is evaluated for the first time.
    pub(super) fn take_new(&self, left: Duration, cancel: &CancelToken) -> Option<Place<'_>> {
        self.take(left.min(self.new_max), cancel)
    }

    /// Waits for a place, for a group whose queries should take no longer than `left`: one of the slow ones when that is nothing. `None` when
    /// `cancel` is canceled.
    pub(super) fn take(&self, left: Duration, cancel: &CancelToken) -> Option<Place<'_>> {
        let is_slow = left.is_zero();
        let mut state = lock(&self.state);
        let number = state.lane(is_slow).next;
        state.lane(is_slow).next += 1;
        while !cancel.is_canceled() {
            let now = Instant::now();
            let next = state.move_late(now);
            let lane = state.lane(is_slow);
            if lane.free > 0 && lane.turn == number {
                (lane.free, lane.turn) = (lane.free - 1, lane.turn + 1);
                if !is_slow {
                    state.held.insert(number, now.checked_add(left));
                }
                drop(state);
                self.changed.notify_all();
                return Some(Place { lanes: self, number: (!is_slow).then_some(number) });
            }
            state = match next {
                Some(next) => {
                    let waited = self.changed.wait_timeout(state, next.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        // All are canceled together, at the end: nobody comes after one that gives up.
        None
    }

    /// Has those that wait look at whether they were canceled.
    pub(super) fn wake(&self) {
        drop(lock(&self.state));
        self.changed.notify_all();
    }

    /// How many have asked for a usual place.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        lock(&self.state).usual.next
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    lanes: &'a Lanes,
    /// Of one that began in the usual lane.
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.lanes.state);
        let is_usual = self.number.is_some_and(|number| state.held.remove(&number).is_some());
        state.lane(!is_usual).free += 1;
        drop(state);
        self.lanes.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_comes_first_is_first_and_slow_groups_hold_up_no_other() {
        let (lanes, cancel) = (Lanes::new(2, NEW_MAX), CancelToken::new());
        let (lanes, cancel) = (&lanes, &cancel);
        let take = |minutes| lanes.take(Duration::from_mins(minutes), cancel);
        let slow = take(0).expect("a place");
        let first = take(60).expect("a place");
        let second = take(60).expect("a place");
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            for number in 0..3_u64 {
                let tell = tell.clone();
                scope.spawn(move || {
                    let place = take(60);
                    tell.send((number, place.is_some())).expect("somebody listens");
                });
                // The next one comes when this one has its number.
                while lanes.asked() < number + 3 {
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
            let waiting = scope.spawn(move || take(0).is_none());
            while lock(&lanes.state).slow.next < 2 {
                std::thread::yield_now();
            }
            cancel.cancel();
            lanes.wake();
            assert!(waiting.join().expect("it ended"));
        });
        drop(slow);
        assert_eq!(free(lanes), (2, 1));
    }

    #[test]
    fn who_takes_too_long_has_a_place_apart_from_then_on() {
        let (lanes, cancel) = (Lanes::new(2, NEW_MAX), CancelToken::new());
        let take = |left| lanes.take(left, &cancel).expect("a place");
        let (short, long) = (Duration::from_millis(1), Duration::from_hours(1));
        let late = [take(short), take(short)];
        let quick = [take(long), take(long)];
        assert_eq!(free(&lanes), (0, -1));
        drop(late);
        assert_eq!(free(&lanes), (0, 1));
        drop(quick);
        assert_eq!(free(&lanes), (2, 1));
        drop(take(Duration::MAX));
    }

    #[test]
    fn no_more_than_twice_the_usual_places_are_taken() {
        let (lanes, cancel) = (Lanes::new(2, NEW_MAX), CancelToken::new());
        let (lanes, cancel) = (&lanes, &cancel);
        let take = || lanes.take(Duration::from_millis(1), cancel);
        let mut late: Vec<_> = (0..4).map(|_| take().expect("a place")).collect();
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            scope.spawn(move || {
                let place = take();
                tell.send(()).expect("somebody listens");
                drop(place);
            });
            while lanes.asked() < 5 {
                std::thread::yield_now();
            }
            let waited = told.recv_timeout(Duration::from_millis(50));
            assert!(waited.is_err(), "a fifth one has a place");
            assert_eq!(free(lanes), (0, -1));
            // One that was moved goes: another one can be.
            drop(late.remove(0));
            told.recv_timeout(Duration::from_mins(1)).expect("it has a place");
        });
        drop(late);
        assert_eq!(free(lanes), (2, 1));
    }

    fn free(lanes: &Lanes) -> (isize, isize) {
        let state = lock(&lanes.state);
        (state.usual.free, state.slow.free)
    }
}
