//! Evaluating groups when they are due: threads that take the next one from a queue, and one round of a group.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use model::{Clock, ForwardWatch};
use query::CancelToken;
use rules::alert::State;
use rules::evaluate::{Evaluation, RuleFault, RuleState, SETTLING_MS, Settings, schedule};
use rules::event::{EventKind, event_labels, fingerprint_text};
use rules::posted::fingerprint;
use rules::shelf::Change;

use super::load::Slot;
use super::shown::Shown;
use super::world::ServerWorld;
use super::{Alerting, lock};

/// By how much these threads are nicer than those that take in samples; queries of people are nicer still.
const NICE: i32 = 5;
/// Longest sleep without a look at the clock, which may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Most threads that wait for a group to be due; more end.
const IDLE_MAX: usize = 4;
/// Time between two attempts to read what rules are and what is known of them.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Time between two looks at whether the log is replayed.
const REPLAY_LOOK: Duration = Duration::from_millis(50);

/// A group and when it is to be evaluated.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) due_ms: i64,
    pub(super) slot: Arc<Slot>,
}

/// Groups by when they are due.
#[derive(Debug)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<(i64, u64)>>,
    slots: BTreeMap<u64, Arc<Slot>>,
    next: u64,
    /// The latest time it was asked at.
    seen_ms: i64,
    forward: ForwardWatch,
    /// Threads that evaluate groups or wait for one to be due.
    threads: usize,
    /// Those that wait.
    idle: usize,
}

impl Queue {
    /// One without groups, for the clock that `forward` watches.
    pub(super) fn new(forward: ForwardWatch) -> Self {
        let (order, slots) = Default::default();
        Self { order, slots, next: 0, seen_ms: 0, forward, threads: 0, idle: 0 }
    }

    pub(super) fn push(&mut self, due: Due) {
        self.next += 1;
        self.order.push(Reverse((due.due_ms, self.next)));
        self.slots.insert(self.next, due.slot);
    }

    /// When the next is due.
    fn next_ms(&self) -> Option<i64> {
        self.order.peek().map(|Reverse((due_ms, _))| *due_ms)
    }

    /// Takes note of the time. Where the clock was set back, groups are placed anew.
    fn watch_clock(&mut self, now_ms: i64) {
        let by_ms = self.seen_ms.saturating_sub(now_ms);
        if by_ms < schedule::STEP_MS_MIN {
            self.seen_ms = self.seen_ms.max(now_ms);
            return;
        }
        self.seen_ms = now_ms;
        tracing::warn!(seconds = by_ms / 1000, "the clock was set back; rules are evaluated by the new time");
        self.place(|due_ms, interval_ms| schedule::placed_ms(due_ms, now_ms, interval_ms));
    }

    /// Has groups be due when `placed_ms` says, of when they were and of their intervals.
    fn place(&mut self, placed_ms: impl Fn(i64, i64) -> i64) {
        for Reverse((due_ms, number)) in std::mem::take(&mut self.order) {
            if let Some(slot) = self.slots.get(&number) {
                self.order.push(Reverse((placed_ms(due_ms, slot.interval_ms), number)));
            }
        }
    }

    /// Takes note of a clock that was set forward: what was due before that is missed. Returns the time and by how much it was set.
    fn watch_forward(&mut self, clock: &dyn Clock) -> (i64, i64) {
        let (now_ms, by_ms) = self.forward.look(clock);
        if by_ms > 0 {
            tracing::warn!(seconds = by_ms / 1000, "the clock was set forward; rules are evaluated by the new time");
            self.place(|due_ms, interval_ms| {
                schedule::first_ms(now_ms, interval_ms, due_ms.rem_euclid(interval_ms.max(1)))
            });
        }
        (now_ms, by_ms)
    }

    /// The next, if it is due at `now_ms`.
    fn pop(&mut self, now_ms: i64) -> Option<Due> {
        self.watch_clock(now_ms);
        self.next_ms().filter(|due_ms| *due_ms <= now_ms)?;
        let Reverse((due_ms, number)) = self.order.pop()?;
        self.slots.remove(&number).map(|slot| Due { due_ms, slot })
    }
}

/// Changes that are to be on the shelf, the newest for each key.
#[derive(Debug, Default)]
pub(super) struct Unsaved(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Unsaved {
    pub(super) fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        Self(changes.into_iter().collect())
    }

    pub(super) fn add(&mut self, changes: Vec<Change>) {
        self.0.extend(changes);
    }

    pub(super) fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
}

impl Alerting {
    /// Reads the rule files, waits for the engine to have everything, and evaluates from then on.
    pub fn start(self: &Arc<Self>) {
        if self.options.threads > 0 {
            match self.options.targets() {
                Ok(targets) => self.forward_to(targets),
                Err(error) => tracing::error!("alerts are not forwarded: {error}"),
            }
            self.start_thread(true);
        }
    }

    fn start_thread(self: &Arc<Self>, is_first: bool) {
        lock(&self.queue).threads += 1;
        let alerting = Arc::clone(self);
        let thread = std::thread::Builder::new().name("alerting-evaluate".to_owned());
        let started = thread.spawn(move || alerting.work(is_first));
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                lock(&self.queue).threads -= 1;
                tracing::error!(%error, "a thread that evaluates rules cannot be started");
            }
        }
    }

    fn work(self: &Arc<Self>, is_first: bool) {
        // Where that is not allowed, the thread runs as others do.
        let _ = rustix::process::nice(NICE);
        if is_first {
            // A condition on samples that are not back yet would be judged by none.
            while self.means.engine.replaying().is_some() && !self.is_stopping() {
                self.pause(REPLAY_LOOK);
            }
            // The files were good when the server began, and what is known of rules may be readable again.
            while !self.is_stopping() && self.loaded().at_ms.is_none() && self.reload().is_err() {
                self.pause(READ_AGAIN);
            }
        }
        while let Some((due, is_last)) = self.next_due() {
            // Somebody is to take the next group while this one is evaluated.
            if is_last {
                self.start_thread(false);
            }
            self.run(due);
        }
    }

    fn pause(&self, at_most: Duration) {
        let queue = lock(&self.queue);
        if !self.is_stopping() {
            drop(self.wake.wait_timeout(queue, at_most).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits for a group to be due, and tells whether another thread is to wait for the next; `None` when this one is not needed any more.
    fn next_due(&self) -> Option<(Due, bool)> {
        let mut queue = lock(&self.queue);
        if self.is_stopping() || queue.idle >= IDLE_MAX {
            queue.threads -= 1;
            return None;
        }
        queue.idle += 1;
        loop {
            let now_ms = self.watch_clock(&mut queue);
            let due = queue.pop(now_ms).filter(|_| !self.is_stopping());
            if due.is_some() || self.is_stopping() {
                queue.idle -= 1;
                let is_last = queue.idle == 0 && queue.threads < self.options.threads;
                return due.map(|due| (due, is_last));
            }
            let pause = queue.next_ms().map_or(SLEEP_MAX, |due_ms| {
                Duration::from_millis(due_ms.saturating_sub(now_ms).unsigned_abs()).min(SLEEP_MAX)
            });
            let waited = self.wake.wait_timeout(queue, pause.max(Duration::from_millis(1)));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What time it is. Where the clock was set forward, missing data is no evidence for a while, as after a start.
    fn watch_clock(&self, queue: &mut Queue) -> i64 {
        let (now_ms, by_ms) = queue.watch_forward(&*self.means.clock);
        if by_ms > 0 {
            self.settling_until_ms.store(now_ms.saturating_add(SETTLING_MS), Ordering::Release);
            self.forward_ms.fetch_add(by_ms, Ordering::AcqRel);
        }
        now_ms
    }

    /// Evaluates all groups that are due, on this thread. For tests with a clock of their own.
    #[cfg(test)]
    pub(crate) fn run_due(&self) {
        loop {
            let mut queue = lock(&self.queue);
            let now_ms = self.watch_clock(&mut queue);
            let due = queue.pop(now_ms);
            drop(queue);
            let Some(due) = due else { return };
            self.run(due);
        }
    }

    fn run(&self, due: Due) {
        let Due { due_ms, slot } = due;
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.evaluate(&slot, due_ms)));
        let goes_on = done.unwrap_or_else(|_| {
            tracing::error!(group = slot.name(), "evaluating a group of rules panicked");
            self.trouble(due_ms, &slot, "", "evaluating it panicked; the log has the details");
            // What it knew may be half changed.
            lock(&slot.state).is_some()
        });
        if !goes_on {
            return;
        }
        let (next_ms, missed) = schedule::next_ms(due_ms, self.now_ms(), slot.interval_ms);
        if missed > 0 {
            let mut counts = lock(&slot.counts);
            let is_news = counts.missed_in_a_row == 0;
            (counts.missed, counts.missed_in_a_row) = (counts.missed + missed, counts.missed_in_a_row + missed);
            drop(counts);
            if is_news {
                self.trouble(due_ms, &slot, "", &format!("it takes too long: {missed} evaluations were missed"));
            }
        } else {
            lock(&slot.counts).missed_in_a_row = 0;
        }
        let mut queue = lock(&self.queue);
        queue.push(Due { due_ms: next_ms, slot });
        drop(queue);
        self.wake.notify_one();
    }

    /// One round of a group; false when other rules have taken its place.
    fn evaluate(&self, slot: &Slot, at_ms: i64) -> bool {
        let began = Instant::now();
        let mut state = lock(&slot.state);
        let Some(known) = state.as_mut() else { return false };
        let cancel = self.cancel_token();
        let world = ServerWorld::of_slot(self, slot, Arc::clone(&cancel));
        let forward_ms = self.forward_ms.load(Ordering::Acquire);
        let settling_until_ms = self.settling_until_ms.load(Ordering::Acquire);
        let settings = Settings { settling_until_ms, ..self.settings.clone() };
        let (mut made, samples) = known.judge(&slot.group, &world, &settings, at_ms);
        // The next start goes on from the round before.
        if cancel.is_canceled() {
            return false;
        }
        let saved = self.save(slot, std::mem::take(&mut made.changes));
        made.write(&world, samples);
        let count =
            |state| known.rules().iter().flat_map(RuleState::alerts).filter(|one| one.1.times.state == state).count();
        let (pending, firing) = (count(State::Pending) as u64, count(State::Firing) as u64);
        *lock(&slot.shown) = Arc::new(Shown::of(known));
        drop(state);
        let mut counts = lock(&slot.counts);
        counts.iterations += 1;
        counts.evaluations += slot.group.rules.len() as u64;
        counts.failures += made.faults.iter().filter(|fault| fault.rule.is_some()).count() as u64;
        counts.shelf_failures += u64::from(saved.is_err());
        (counts.pending, counts.firing, counts.evaluated_ms) = (pending, firing, Some(at_ms));
        (counts.last_seconds, counts.last_samples) = (began.elapsed().as_secs_f64(), made.samples);
        counts.computed = world.computed();
        drop(counts);
        self.note(slot, at_ms, &made, saved.err());
        // Nothing has ended by a clock that was set forward meanwhile.
        let by_ms = self.forward_ms.load(Ordering::Acquire) - forward_ms;
        for posted in made.posted.iter_mut().filter(|posted| !posted.is_resolved(at_ms)) {
            posted.ends_ms = posted.ends_ms.saturating_add(by_ms);
        }
        // People are told also where the disk is full, which is what they may have to be told of.
        self.tell(made.posted);
        true
    }

    /// A token that is canceled when evaluation ends.
    pub(super) fn cancel_token(&self) -> Arc<CancelToken> {
        let token = Arc::<CancelToken>::default();
        let mut tokens = lock(&self.tokens);
        tokens.retain(|token| token.strong_count() > 0);
        tokens.push(Arc::downgrade(&token));
        drop(tokens);
        if self.is_stopping() {
            token.cancel();
        }
        token
    }

    fn save(&self, slot: &Slot, changes: Vec<Change>) -> Result<(), String> {
        let mut unsaved = lock(&slot.unsaved);
        unsaved.add(changes);
        let all = unsaved.take();
        if all.is_empty() {
            return Ok(());
        }
        self.shelf.change(&all).map_err(|error| {
            *unsaved = Unsaved::of(all);
            error.to_string()
        })
    }

    /// Puts what happened into the event log.
    fn note(&self, slot: &Slot, at_ms: i64, made: &Evaluation, unsaved: Option<String>) {
        if let Some((from_ms, to_ms)) = made.downtime_ms {
            let seconds = to_ms.saturating_sub(from_ms) / 1000;
            let message = format!("group {} was not evaluated, for {seconds} s at most; its alerts go on", slot.name());
            self.record(at_ms, EventKind::Note { message });
        }
        let fault = |fault: &RuleFault| {
            let rule = fault.rule.and_then(|rule| slot.group.rules.get(rule)).map(|rule| rule.name.clone());
            (rule.unwrap_or_default(), fault.message.clone())
        };
        let unsaved = unsaved.map(|error| (String::new(), format!("states of alerts could not be kept: {error}")));
        let troubles: BTreeSet<(String, String)> = made.faults.iter().map(fault).chain(unsaved).collect();
        let known = std::mem::replace(&mut *lock(&slot.troubles), troubles.clone());
        for (rule, message) in troubles.difference(&known) {
            tracing::warn!(group = slot.name(), rule, message, "rules could not be evaluated");
            self.trouble(at_ms, slot, rule, message);
        }
        for one in &made.transitions {
            self.record(
                at_ms,
                EventKind::AlertState {
                    fingerprint: fingerprint_text(fingerprint(one.labels.as_ref())),
                    labels: event_labels(one.labels.as_ref()),
                    group: slot.name(),
                    from: word(one.before).to_owned(),
                    to: word(one.after).to_owned(),
                    value: Some(one.value).filter(|value| value.is_finite()),
                },
            );
        }
    }

    fn trouble(&self, at_ms: i64, slot: &Slot, rule: &str, message: &str) {
        let (group, rule, message) = (slot.name(), rule.to_owned(), message.to_owned());
        self.record(at_ms, EventKind::GroupTrouble { group, rule, message });
    }

    /// How often the files could not be taken.
    pub(super) fn failed_reloads(&self) -> u64 {
        self.reload_failures.load(Ordering::Relaxed)
    }
}

/// A state as events and the API have it.
pub(super) fn word(state: Option<State>) -> &'static str {
    match state {
        None => "inactive",
        Some(State::Pending) => "pending",
        Some(State::Firing) => "firing",
        Some(State::Resolved) => "resolved",
    }
}
