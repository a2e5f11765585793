//! Workers: a thread serves one integration until nothing is due for it, then the next one that nobody serves, then ends. One more thread keeps the
//! times of integrations whose next attempt is later, so that those hold up no worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rules::config::receivers::Integration;
use rules::event::{Event, EventKind, alerts_told};
use rules::notify::delivery::Delivered;
use rules::receivers::{RenderError, Verdict, render};

use super::queue::{Item, backoff_ms};
use super::{ATTEMPT_TIMEOUT, ATTEMPT_TIMEOUT_MIN, Book, Deliveries, DiskSecrets, Key, WORKERS_MAX, superseded};

/// Longest wait for something to be due before the clock is looked at again.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Starts workers for integrations that have none, as far as there may be more.
pub(super) fn start(deliveries: &Arc<Deliveries>) {
    loop {
        let key = {
            let mut state = deliveries.state();
            if state.workers >= WORKERS_MAX {
                return;
            }
            let Some(key) = state.unserved.pop_front() else { return };
            state.workers += 1;
            key
        };
        let (own, served) = (Arc::clone(deliveries), key.clone());
        let started = std::thread::Builder::new().name("alerting-deliver".to_owned()).spawn(move || work(&own, served));
        if let Err(error) = started {
            let left = {
                let mut state = deliveries.state();
                state.workers -= 1;
                let slot = state.queues.entry(key).or_default();
                slot.served = false;
                slot.queue.drain()
            };
            for item in left {
                deliveries.fail(item, &format!("no thread to send it: {error}"));
            }
        }
    }
}

fn work(deliveries: &Arc<Deliveries>, first: Key) {
    let mut key = first;
    loop {
        while let Some(item) = next(deliveries, &key) {
            serve(deliveries, &key, item);
        }
        start_timer(deliveries);
        // Whoever is last to serve looks for others to serve: those that found no free worker.
        let mut state = deliveries.state();
        let Some(other) = state.unserved.pop_front() else {
            state.workers -= 1;
            return;
        };
        key = other;
    }
}

/// The next item of `key` that is due; `None` when none is, and nobody serves `key` any more.
fn next(deliveries: &Deliveries, key: &Key) -> Option<Item> {
    let mut given_up = Vec::new();
    let mut guard = deliveries.state();
    let state = &mut *guard;
    let now_ms = deliveries.clock.now().0;
    let slot = state.queues.entry(key.clone()).or_default();
    slot.queue.watch_clock(now_ms);
    if let Some(stops_at) = state.stops_at {
        given_up = slot.queue.drain_later(stop_ms(now_ms, stops_at));
    }
    let found = slot.queue.take_due(now_ms);
    if found.is_some() {
        slot.sending = true;
    } else if let Some(due_ms) = slot.queue.next_due_ms() {
        slot.served = false;
        slot.later_ms = Some(due_ms);
        state.later.insert((due_ms, key.clone()));
    } else {
        // An empty queue is not kept: receivers come and go with the file.
        state.queues.remove(key);
    }
    drop(guard);
    deliveries.changed.notify_all();
    for item in given_up {
        deliveries.fail(item, "the server stops");
    }
    found
}

/// When a stop at `stops_at` is by the clock.
pub(super) fn stop_ms(now_ms: i64, stops_at: Instant) -> i64 {
    let left = stops_at.saturating_duration_since(Instant::now());
    now_ms.saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))
}

/// Starts the thread that keeps times, if there are any to keep and it does not run.
fn start_timer(deliveries: &Arc<Deliveries>) {
    {
        let mut state = deliveries.state();
        if state.later.is_empty() || state.has_timer {
            return;
        }
        state.has_timer = true;
    }
    let own = Arc::clone(deliveries);
    let started = std::thread::Builder::new().name("alerting-later".to_owned()).spawn(move || keep_times(&own));
    if let Err(error) = started {
        let left: Vec<Item> = {
            let mut state = deliveries.state();
            state.has_timer = false;
            let later: Vec<Key> = std::mem::take(&mut state.later).into_iter().map(|(_, key)| key).collect();
            later.iter().filter_map(|key| state.queues.remove(key)).flat_map(|mut slot| slot.queue.drain()).collect()
        };
        for item in left {
            deliveries.fail(item, &format!("no thread to keep its time: {error}"));
        }
    }
}

/// Has integrations served when their time comes, until none waits.
fn keep_times(deliveries: &Arc<Deliveries>) {
    let mut guard = deliveries.state();
    loop {
        let now_ms = deliveries.clock.now().0;
        let state = &mut *guard;
        state.watch_clock(now_ms);
        while let Some((_, key)) = state.later.first().filter(|(due_ms, _)| *due_ms <= now_ms).cloned() {
            state.later.pop_first();
            if let Some(slot) = state.queues.get_mut(&key) {
                slot.later_ms = None;
                slot.served = true;
                state.unserved.push_back(key);
            }
        }
        if !state.unserved.is_empty() {
            drop(guard);
            start(deliveries);
            guard = deliveries.state();
        }
        let Some((due_ms, _)) = guard.later.first() else {
            guard.has_timer = false;
            return;
        };
        let wait = Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0));
        let wait = wait.clamp(Duration::from_millis(1), WAIT_MAX);
        guard = deliveries.changed.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Makes one attempt, and decides what follows.
fn serve(deliveries: &Deliveries, key: &Key, mut item: Item) {
    let book = deliveries.book();
    let integration = book.receivers.get(&key.0).and_then(|all| all.get(key.1));
    let ended = if let Some(integration) = integration {
        item.attempts = item.attempts.saturating_add(1);
        let began = Instant::now();
        let tried = catch_unwind(AssertUnwindSafe(|| attempt(deliveries, &book, integration, &item)));
        let verdict = tried.unwrap_or_else(|_| Verdict::Refused("sending it failed within this program".to_owned()));
        deliveries.metrics.attempted(key, began.elapsed());
        match verdict {
            Verdict::Taken(answer) => Some((item, Delivered::Taken { answer, attempts: 0 })),
            Verdict::Refused(error) => Some((item, Delivered::Failed { error, attempts: 0 })),
            Verdict::Again { after_ms, why } => again(deliveries, key, item, after_ms, why),
        }
    } else {
        let why = item.with_trouble("there is no such receiver any more");
        Some((item, Delivered::Superseded { why, attempts: 0 }))
    };
    if let Some((item, delivered)) = ended {
        // A callback that panics must not end the worker.
        let _ = catch_unwind(AssertUnwindSafe(|| deliveries.finish(item, delivered)));
    }
    let mut state = deliveries.state();
    if let Some(slot) = state.queues.get_mut(key) {
        slot.sending = false;
    }
    drop(state);
    deliveries.changed.notify_all();
}

/// Puts `item` back for another attempt, if there is time for it and no newer one waits; otherwise what became of it.
fn again(
    deliveries: &Deliveries,
    key: &Key,
    mut item: Item,
    after_ms: Option<i64>,
    why: String,
) -> Option<(Item, Delivered)> {
    let wait_ms = backoff_ms(item.attempts, after_ms);
    let now_ms = deliveries.clock.now().0;
    item.watch_clock(now_ms);
    item.due_ms = now_ms.saturating_add(wait_ms);
    if item.due_ms >= item.notification.deadline_ms {
        return Some((item, Delivered::Failed { error: format!("not delivered in time: {why}"), attempts: 0 }));
    }
    record(deliveries, &item, &why, wait_ms);
    item.trouble = why;
    let newer = deliveries.state().queues.entry(key.clone()).or_default().queue.put_back(item);
    newer.map(superseded)
}

/// Takes note of an attempt that another one follows. The last one is told by whoever asked for the delivery.
fn record(deliveries: &Deliveries, item: &Item, why: &str, again_after_ms: i64) {
    let notification = &item.notification;
    deliveries.events.record(Event {
        at_ms: deliveries.clock.now().0,
        kind: EventKind::Attempt {
            group_key: notification.group_key.clone(),
            receiver: notification.receiver.clone(),
            integration: notification.integration,
            alerts: alerts_told(&notification.alerts),
            attempt: item.attempts,
            answer: why.to_owned(),
            again_after_ms,
        },
    });
}

fn attempt(deliveries: &Deliveries, book: &Book, integration: &Integration, item: &Item) -> Verdict {
    let notification = &item.notification;
    let outgoing = match render(integration, notification, &book.external_url, &book.templates, &DiskSecrets) {
        Ok(outgoing) => outgoing,
        // The file may come back.
        Err(error @ RenderError::Secret(_)) => return Verdict::Again { after_ms: None, why: error.to_string() },
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let left_ms = notification.deadline_ms.saturating_sub(deliveries.clock.now().0);
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
    let timeout = outgoing.timeout().unwrap_or(ATTEMPT_TIMEOUT);
    deliveries.sender.send(&outgoing, timeout.min(left.max(ATTEMPT_TIMEOUT_MIN)))
}
