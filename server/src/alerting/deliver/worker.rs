//! Workers: a thread serves one integration until nothing waits for it, then the next one that nobody serves, then ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rules::event::{Event, EventKind, alerts_told};
use rules::notify::delivery::Delivered;
use rules::receivers::{RenderError, Verdict, render};

use super::queue::{Item, backoff_ms};
use super::{ATTEMPT_TIMEOUT, ATTEMPT_TIMEOUT_MIN, Deliveries, DiskSecrets, Key, WORKERS_MAX};

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
        // Whoever is last to serve looks for others to serve: those that found no free worker.
        let mut state = deliveries.state();
        let Some(other) = state.unserved.pop_front() else {
            state.workers -= 1;
            return;
        };
        key = other;
    }
}

/// The next item of `key`, once it is due; `None` when nothing waits any more.
fn next(deliveries: &Deliveries, key: &Key) -> Option<Item> {
    let mut given_up = Vec::new();
    let mut state = deliveries.state();
    let found = loop {
        let now_ms = deliveries.clock.now().0;
        let stops_at = state.stops_at;
        let slot = state.queues.entry(key.clone()).or_default();
        if let Some(stops_at) = stops_at {
            let left = stops_at.saturating_duration_since(Instant::now());
            let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
            given_up.extend(slot.queue.drain_later(now_ms.saturating_add(left_ms)));
        }
        if let Some(item) = slot.queue.take_due(now_ms) {
            slot.sending = true;
            break Some(item);
        }
        let Some(due_ms) = slot.queue.next_due_ms() else {
            // An empty queue is not kept: receivers come and go with the file.
            state.queues.remove(key);
            break None;
        };
        let wait = Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0));
        let wait = wait.clamp(Duration::from_millis(1), WAIT_MAX);
        state = deliveries.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
    };
    drop(state);
    deliveries.changed.notify_all();
    for item in given_up {
        deliveries.fail(item, "the server stops");
    }
    found
}

/// Makes one attempt, and decides what follows.
fn serve(deliveries: &Deliveries, key: &Key, mut item: Item) {
    item.attempts = item.attempts.saturating_add(1);
    let began = Instant::now();
    let tried = catch_unwind(AssertUnwindSafe(|| attempt(deliveries, &item)));
    let verdict = tried.unwrap_or_else(|_| Verdict::Refused("sending it failed within this program".to_owned()));
    deliveries.metrics.attempted(key, began.elapsed());
    let ended = match verdict {
        Verdict::Taken(answer) => Some((item, Delivered::Taken { answer, attempts: 0 })),
        Verdict::Refused(error) => Some((item, Delivered::Failed { error, attempts: 0 })),
        Verdict::Again { after_ms, why } => again(deliveries, key, item, after_ms, why),
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
    item.due_ms = deliveries.clock.now().0.saturating_add(wait_ms);
    if item.due_ms >= item.notification.deadline_ms {
        return Some((item, Delivered::Failed { error: format!("not delivered in time: {why}"), attempts: 0 }));
    }
    record(deliveries, &item, &why, wait_ms);
    item.trouble = why;
    let newer = deliveries.state().queues.entry(key.clone()).or_default().queue.put_back(item);
    newer.map(|item| {
        let error = format!("a newer notification of its group took its place; last: {}", item.trouble);
        (item, Delivered::Failed { error, attempts: 0 })
    })
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

fn attempt(deliveries: &Deliveries, item: &Item) -> Verdict {
    let book = deliveries.book();
    let notification = &item.notification;
    let integrations = book.receivers.get(&notification.receiver);
    let Some(integration) = integrations.and_then(|all| all.get(notification.integration)) else {
        return Verdict::Refused("there is no such receiver any more".to_owned());
    };
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
