//! Sending notifications: a bounded queue and a worker for each integration that has something due, so that one that hangs holds up no other.
//!
//! Workers are threads that start when something is due and end when nothing is. What they send is rendered by [`rules::receivers`];
//! [`Sender`] makes one attempt, [`Deliveries`] repeats it until it is taken, refused for good, or its time is over.

mod exec;
mod file;
mod http;
mod mail;
mod metrics;
mod oauth;
mod queue;
mod sender;
mod template_files;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::Clock;
use model::exposition::Family;
use rules::config::Config;
use rules::config::receivers::Integration;
use rules::event::EventLog;
use rules::notify::delivery::{Deliver, Delivered, Done, Notification};
use rules::receivers::Templates;

use metrics::Metrics;
use queue::{Item, Offered, Queue};
pub use sender::{DiskSecrets, Sender};
pub use template_files::load_templates;

/// Most workers at once. An integration beyond them waits for an attempt to end.
const WORKERS_MAX: usize = 512;
/// How long one attempt may take where nothing else is said.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// What an attempt gets at least, however near its deadline.
const ATTEMPT_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Which integration: the receiver's name, and its place among the receiver's.
pub(super) type Key = (String, usize);

/// Whom to send to, and how it is rendered.
#[derive(Debug)]
struct Book {
    receivers: BTreeMap<String, Vec<Arc<Integration>>>,
    templates: Templates,
    external_url: String,
}

impl Book {
    /// What an integration is called.
    fn name(&self, (receiver, place): &Key) -> String {
        let integration = self.receivers.get(receiver).and_then(|all| all.get(*place));
        integration.map_or_else(|| format!("gone[{place}]"), |integration| integration.name())
    }
}

/// Sends notifications.
pub struct Deliveries {
    /// Itself, for its workers.
    own: Weak<Self>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn EventLog>,
    sender: Sender,
    book: Mutex<Arc<Book>>,
    state: Mutex<State>,
    /// Told when something changes that a worker or [`Deliveries::stop`] may wait for.
    changed: Condvar,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Key, Slot>,
    /// Integrations that have something to send, and no worker.
    unserved: VecDeque<Key>,
    /// Integrations whose next attempt is later, and when.
    later: BTreeSet<(i64, Key)>,
    /// Whether a thread looks after them.
    has_timer: bool,
    /// When it looked last.
    seen_ms: i64,
    workers: usize,
    /// Once it is set nothing new is taken, and nothing is tried after it.
    stops_at: Option<Instant>,
}

#[derive(Default)]
struct Slot {
    queue: Queue,
    /// Whether a worker serves it, or it waits for one.
    served: bool,
    /// Under which time it is among [`State::later`].
    later_ms: Option<i64>,
    /// Whether an attempt is under way.
    sending: bool,
}

impl State {
    /// Takes note of the time. Where the clock was set back, what is later is so by the new time.
    fn watch_clock(&mut self, now_ms: i64) {
        let was_ms = std::mem::replace(&mut self.seen_ms, now_ms);
        if was_ms <= now_ms {
            return;
        }
        for (_, key) in std::mem::take(&mut self.later) {
            let Some(slot) = self.queues.get_mut(&key) else { continue };
            slot.queue.watch_clock(now_ms);
            let due_ms = slot.queue.next_due_ms().unwrap_or(now_ms);
            slot.later_ms = Some(due_ms);
            self.later.insert((due_ms, key));
        }
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Sends to the receivers of `config`. `external_url` is where this server is reached.
    pub fn new(
        config: &Config,
        templates: Templates,
        external_url: &str,
        clock: Arc<dyn Clock>,
        events: Arc<dyn EventLog>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            clock,
            events,
            sender: Sender::default(),
            book: Mutex::new(Arc::new(book(config, templates, external_url))),
            state: Mutex::default(),
            changed: Condvar::new(),
            metrics: Metrics::default(),
        })
    }

    /// Sends to the receivers of another `config` from now on, what waits already included: places in the list of a receiver count.
    pub fn configure(&self, config: &Config, templates: Templates, external_url: &str) {
        let book = book(config, templates, external_url);
        self.metrics.retain(|(receiver, place)| book.receivers.get(receiver).is_some_and(|all| *place < all.len()));
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }

    /// Takes nothing more, and waits until all that waits is sent, at most for `within`. What is left then is given up and told so.
    pub fn stop(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut state = self.state();
        state.stops_at = Some(until);
        let stop_ms = worker::stop_ms(self.clock.now().0, until);
        let too_late: Vec<Item> = state.queues.values_mut().flat_map(|slot| slot.queue.drain_later(stop_ms)).collect();
        drop(state);
        for item in too_late {
            self.fail(item, "the server stops");
        }
        let mut state = self.state();
        self.changed.notify_all();
        while state.queues.values().any(|slot| slot.sending || slot.queue.len() > 0) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let left: Vec<Item> = state.queues.values_mut().flat_map(|slot| slot.queue.drain()).collect();
        drop(state);
        for item in left {
            self.fail(item, "the server stops");
        }
    }

    /// What it says of itself.
    pub fn families(&self) -> Vec<Family> {
        let lengths: Vec<(Key, usize)> =
            self.state().queues.iter().map(|(key, slot)| (key.clone(), slot.queue.len())).collect();
        self.metrics.families(&self.book(), &lengths)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives `item` up.
    fn fail(&self, item: Item, why: &str) {
        let error = item.with_trouble(why);
        self.finish(item, Delivered::Failed { error, attempts: 0 });
    }

    /// Tells what became of `item`.
    fn finish(&self, item: Item, mut delivered: Delivered) {
        let key = (item.notification.receiver.clone(), item.notification.integration);
        let took_ms = self.clock.now().0.saturating_sub(item.came_ms);
        match &mut delivered {
            Delivered::Taken { attempts, .. } => {
                *attempts = item.attempts;
                if self.metrics.taken(&key, took_ms) {
                    tracing::info!(receiver = key.0, integration = self.book().name(&key), "takes notifications again");
                }
            }
            Delivered::Failed { attempts, error } => {
                *attempts = item.attempts;
                // Told once, not for each notification; the event log has them all.
                if self.metrics.failed(&key) {
                    let integration = self.book().name(&key);
                    tracing::warn!(receiver = key.0, integration, "a notification was given up: {error}");
                }
            }
            Delivered::Superseded { attempts, .. } => {
                *attempts = item.attempts;
                self.metrics.superseded(&key);
            }
        }
        (item.done)(delivered);
    }
}

/// `item`, whose place a newer one of its group took, and what is told of it.
fn superseded(item: Item) -> (Item, Delivered) {
    let why = item.with_trouble("a newer notification of its group took its place");
    (item, Delivered::Superseded { why, attempts: 0 })
}

fn book(config: &Config, templates: Templates, external_url: &str) -> Book {
    for hint in config.hints() {
        tracing::warn!("the routing file: {hint}");
    }
    let receivers = config.receivers.iter().map(|receiver| {
        let integrations = receiver.integrations.iter().cloned().map(Arc::new).collect();
        (receiver.name.clone(), integrations)
    });
    Book { receivers: receivers.collect(), templates, external_url: external_url.to_owned() }
}

/// What a queue says of an item that it does not keep.
enum Unkept {
    Nothing,
    Stopping(Item),
    OutOfDate(Item),
    Full(Item),
}

impl Deliver for Deliveries {
    fn deliver(&self, notification: Notification, done: Done) {
        let key = (notification.receiver.clone(), notification.integration);
        let now_ms = self.clock.now().0;
        let trouble = String::new();
        let item = Item { notification, done, came_ms: now_ms, due_ms: now_ms, seen_ms: now_ms, attempts: 0, trouble };
        self.metrics.came(&key);
        let unkept = {
            let mut guard = self.state();
            let state = &mut *guard;
            if state.stops_at.is_some() {
                Unkept::Stopping(item)
            } else {
                let slot = state.queues.entry(key.clone()).or_default();
                let unkept = match slot.queue.offer(item) {
                    Offered::Taken => Unkept::Nothing,
                    Offered::Replaced(older) => Unkept::OutOfDate(older),
                    Offered::Full(item) => Unkept::Full(item),
                };
                if let Some(later_ms) = slot.later_ms.take() {
                    state.later.remove(&(later_ms, key.clone()));
                }
                if !slot.served {
                    slot.served = true;
                    state.unserved.push_back(key.clone());
                }
                unkept
            }
        };
        match unkept {
            Unkept::Nothing => {}
            Unkept::Stopping(item) => self.fail(item, "the server stops"),
            Unkept::OutOfDate(item) => {
                let (item, delivered) = superseded(item);
                self.finish(item, delivered);
            }
            Unkept::Full(item) => {
                self.metrics.dropped(&key);
                self.fail(item, &format!("{} notifications wait for this receiver already", queue::QUEUE_MAX));
            }
        }
        self.changed.notify_all();
        if let Some(own) = self.own.upgrade() {
            worker::start(&own);
        }
    }
}
