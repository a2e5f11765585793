//! Alerting in the server: rule files read and read anew, groups evaluated in time, what they make written, told and kept.
//!
//! What rules mean is `rules`'. Here it gets a clock, the engine, threads and HTTP:
//!
//! - [`load`] reads the files, all or none, and carries what is known of rules over from one set to the next.
//! - [`run`] evaluates groups that are due, on threads of their own that run at lower priority than ingestion; [`places`] bounds their queries.
//! - [`world`] answers the rules' queries and writes their samples; [`shelf`] keeps state in a room of the engine's catalog.
//! - [`deliver`] sends notifications to receivers, [`forward`] alerts to Alertmanagers elsewhere.
//! - [`rules_api`], [`explain_api`] and [`metrics`] tell of it.
//! - [`notifier`] is the thread that tells people, by the file that [`routing`] reads; [`events`] keeps what happened, [`notify_api`] tells it.
//!
//! Order of one evaluation: the state is on disk, samples are written (those that rules of the same group read, before), then people are told. So after
//! a crash nothing was told, nor is in a series, that is not known any more, and what is told again is the same.

pub mod deliver;
pub mod events;
pub(crate) mod explain_api;
pub mod forward;
mod glob;
pub(crate) mod listed;
mod load;
mod metrics;
pub mod notifier;
pub(crate) mod notify_api;
mod notify_metrics;
pub(crate) mod page;
mod places;
pub(crate) mod routing;
pub(crate) mod rules_api;
mod run;
mod shelf;
mod shown;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;

use model::{Clock, ForwardWatch, SeriesSource};
use query::{CancelToken, QueryOptions};
use rules::evaluate::kept::Kept;
use rules::evaluate::{SETTLING_MS, Settings};
use rules::event::{Event, EventKind, EventLog, NoEvents};
use rules::forward::Target;
use rules::posted::{Posted, Tell};
use rules::shelf::Shelf;
use storage::Engine;

use crate::agents::AgentBook;
use crate::captures::{Captures, Pace};
use forward::Forwarder;
use load::Loaded;
use places::{Lanes, NEW_MAX};
use run::Queue;

pub use glob::{matches as is_like, matching as matching_files};
pub use load::{LoadError, Read as ReadFiles, Reloaded};
pub use routing::{NotifyOptions, RoutingError, read_routing};

/// Room of the catalog that has the states of alerts.
const ROOM: &str = "alerts";
/// Most bursts of one process in an hour that alerts ask for.
pub(crate) const BURSTS_PER_HOUR_MAX: usize = 12;
/// Most groups that are evaluated at a time. Threads start when they are needed.
const THREADS_MAX: usize = 32;
/// Part of the queries' memory that is kept for the queries of rules, so that those of people cannot hold them up.
const MEMORY_KEPT_PART: usize = 8;
/// Part of it that the queries of rules take at most, where it is free.
const MEMORY_MOST_PART: usize = 4;

/// How long alerts that wait to be forwarded may take at the end.
const FORWARD_DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// What alerting runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertingOptions {
    /// Rule files: paths whose last part may have `*`, `?` and `[…]`.
    pub rule_files: Vec<String>,
    /// Whether the rules that come with the program are evaluated, too.
    pub shipped_rules: bool,
    /// Whether the server keeps its own metrics; the shipped rule that misses them is left out otherwise.
    pub self_metrics: bool,
    /// Time between two evaluations of groups that do not say.
    pub interval_ms: i64,
    /// How far back groups evaluate that do not say.
    pub query_offset_ms: i64,
    /// Where people reach this server.
    pub external_url: String,
    /// Put on alerts as they are told.
    pub external_labels: BTreeMap<String, String>,
    /// URLs of Alertmanagers that are told of every alert: see [`forward`].
    pub alertmanagers: Vec<String>,
    /// File with Prometheus's `alerting:` section, whose Alertmanagers are told, too.
    pub alertmanagers_file: Option<PathBuf>,
    /// Most groups that are evaluated at a time; 0: none is, and what is known of rules stays as it is.
    pub threads: usize,
    /// Most of their queries at a time.
    pub queries_max: usize,
}

impl Default for AlertingOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            rule_files: Vec::new(),
            shipped_rules: false,
            self_metrics: true,
            interval_ms: 60_000,
            query_offset_ms: 0,
            external_url: String::new(),
            external_labels: BTreeMap::new(),
            alertmanagers: Vec::new(),
            alertmanagers_file: None,
            threads: THREADS_MAX,
            queries_max: processors.clamp(2, 4),
        }
    }
}

impl AlertingOptions {
    /// The Alertmanagers that are to be told, as the file says now.
    ///
    /// # Errors
    ///
    /// As [`forward::read_targets`].
    pub fn targets(&self) -> Result<Vec<Target>, String> {
        forward::read_targets(&self.alertmanagers, self.alertmanagers_file.as_deref())
    }
}

/// What alerting needs of the server.
pub(crate) struct Means {
    pub(crate) engine: Arc<Engine>,
    pub(crate) source: Arc<dyn SeriesSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) captures: Arc<Captures>,
    pub(crate) agents: Arc<AgentBook>,
    /// How often processes are read many times a second for alerts.
    pub(crate) bursts: Pace,
    pub(crate) query: QueryOptions,
}

impl fmt::Debug for Means {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Means").finish_non_exhaustive()
    }
}

/// See the module.
pub struct Alerting {
    options: AlertingOptions,
    means: Means,
    shelf: Box<dyn Shelf>,
    settings: Settings,
    /// As in the settings, and later where the clock was set forward.
    settling_until_ms: AtomicI64,
    /// By how much it was, since the start.
    forward_ms: AtomicI64,
    loaded: RwLock<Loaded>,
    /// Held by whoever reads the files anew: what is known of rules that are no more.
    loading: Mutex<Kept>,
    queue: Mutex<Queue>,
    /// Wakes threads that wait for a group to be due.
    wake: Condvar,
    stopping: AtomicBool,
    lanes: Lanes,
    /// Of evaluations under way.
    tokens: Mutex<Vec<Weak<CancelToken>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    told: OnceLock<Arc<dyn Tell>>,
    forwarder: RwLock<Option<Arc<Forwarder>>>,
    events: OnceLock<Arc<dyn EventLog>>,
    reload_failures: AtomicU64,
}

impl fmt::Debug for Alerting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Alerting").field("options", &self.options).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alerting {
    /// Alerting that has no rules yet: see [`start`](Self::start).
    pub(crate) fn new(options: AlertingOptions, mut means: Means) -> Self {
        let query = &means.query;
        let (all, bytes_max) = (&query.resources, query.resources.bytes_max());
        // Whoever evaluates nothing needs nothing.
        let kept = if options.threads == 0 { 0 } else { bytes_max / MEMORY_KEPT_PART };
        let resources = all.reserve(kept, bytes_max / MEMORY_MOST_PART);
        means.query = QueryOptions {
            // Groups are spread over threads; queries of rules are many and small.
            threads_max: 1,
            bytes_max: query.bytes_max.min(resources.bytes_max()),
            resources: Arc::new(resources),
            ..query.clone()
        };
        let settings = Settings {
            external_labels: options.external_labels.clone(),
            external_url: options.external_url.clone(),
            interval_ms: options.interval_ms,
            query_offset_ms: options.query_offset_ms,
            settling_until_ms: means.clock.now().0.saturating_add(SETTLING_MS),
        };
        let shelf = Box::new(shelf::RoomShelf(means.engine.room(ROOM)));
        let queries_max = options.queries_max;
        Self {
            settling_until_ms: AtomicI64::new(settings.settling_until_ms),
            forward_ms: AtomicI64::new(0),
            queue: Mutex::new(Queue::new(ForwardWatch::new(&*means.clock))),
            options,
            means,
            shelf,
            settings,
            loaded: RwLock::default(),
            loading: Mutex::default(),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            lanes: Lanes::new(queries_max, NEW_MAX),
            tokens: Mutex::default(),
            threads: Mutex::default(),
            told: OnceLock::new(),
            forwarder: RwLock::default(),
            events: OnceLock::new(),
            reload_failures: AtomicU64::new(0),
        }
    }

    /// Hands alerts to `told` and what happens to `events`, from now on and for good.
    pub fn connect(&self, told: Arc<dyn Tell>, events: Arc<dyn EventLog>) {
        // A second caller is too late.
        let _ = (self.told.set(told), self.events.set(events));
    }

    /// Ends the evaluation of rules; what is under way is given up, and nobody is told of it. Starting again is not foreseen.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for token in lock(&self.tokens).iter().filter_map(Weak::upgrade) {
            token.cancel();
        }
        self.lanes.wake();
        drop(lock(&self.queue));
        self.wake.notify_all();
        // One that ends may have started another one before.
        while let Some(thread) = { lock(&self.threads).pop() } {
            if thread.join().is_err() {
                tracing::error!("a thread that evaluates rules panicked");
            }
        }
        if let Some(forwarder) = self.forwarder() {
            forwarder.stop(FORWARD_DRAIN);
        }
    }

    /// What forwarding says of itself.
    pub(crate) fn forward_families(&self) -> Vec<model::exposition::Family> {
        self.forwarder().map(|forwarder| forwarder.families()).unwrap_or_default()
    }

    /// Where alerts are forwarded to.
    pub(crate) fn alertmanagers(&self) -> Vec<String> {
        self.forwarder().map(|forwarder| forwarder.urls()).unwrap_or_default()
    }

    fn forwarder(&self) -> Option<Arc<Forwarder>> {
        self.forwarder.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells `targets` from now on. Where they are others than before, what waits for those is sent first.
    fn forward_to(&self, targets: Vec<Target>) {
        if self.forwarder().map_or(targets.is_empty(), |forwarder| forwarder.targets() == targets) {
            return;
        }
        for target in &targets {
            tracing::info!(alertmanager = %rules::receivers::shown_url(&target.url), "alerts are forwarded");
        }
        let made = Forwarder::new(targets).map_err(|error| tracing::error!("alerts are not forwarded: {error}"));
        let before = std::mem::replace(
            &mut *self.forwarder.write().unwrap_or_else(PoisonError::into_inner),
            made.ok().map(Arc::new),
        );
        if let Some(before) = before {
            before.stop(FORWARD_DRAIN);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn now_ms(&self) -> i64 {
        self.means.clock.now().0
    }

    fn loaded(&self) -> std::sync::RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, at_ms: i64, kind: EventKind) {
        let none: Arc<dyn EventLog> = Arc::new(NoEvents);
        self.events.get().unwrap_or(&none).record(Event { at_ms, kind });
    }

    fn tell(&self, alerts: Vec<Posted>) {
        if alerts.is_empty() {
            return;
        }
        if let Some(forwarder) = self.forwarder() {
            forwarder.tell(alerts.clone());
        }
        if let Some(told) = self.told.get() {
            told.tell(alerts);
        }
    }
}
