//! Captures: profiles and stacks of programs, taken by agents when somebody asks, an alert fires or goroutines leak, and kept
//! here so that the evidence is there in the morning.
//!
//! [`Captures`] is what the rest of the server uses: others order captures by [`Captures::order`]. `store` is the folder, a
//! file each that describes itself (`record`); `check` and `pprof` let nothing in that viewers would not open; `orders` remembers
//! who asked, `pace` how often; `api` is the HTTP.

mod api;
mod check;
mod orders;
mod pace;
mod page;
mod pprof;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::control::{ProcessName, TaskKind};
use model::exposition::Family;
use model::{CaptureKind, Clock, MetricKind};
use tokio::sync::Semaphore;

pub(crate) use self::api::{PROFILE_TYPE, delete, get, list, order, order_state, upload};
use self::check::PLAIN_BYTES_MAX;
use self::orders::{Order, Orders, State};
pub(crate) use self::pace::Pace;
use self::pace::TooMany;
pub use self::record::By;
use self::record::{About, told};
use self::store::{Bounds, Counts, Kept, Store};
use crate::agents::{AgentBook, OrderError, TaskId};
use crate::gate::Gate;
use crate::memory::MemoryWatch;
use crate::metrics_page::{one_gauge, whole};

/// Most captures that are held at once while they arrive and are checked.
const BODIES_MAX: usize = 4;

/// Bounds on captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Their folder; none: they are not kept, and none can be ordered.
    pub folder: Option<PathBuf>,
    /// Most bytes of all.
    pub bytes_max: u64,
    /// Most captures.
    pub captures_max: usize,
    /// Older ones are removed; none: captures do not age.
    pub age_max_ms: Option<i64>,
    /// Longest capture as it is sent, in bytes.
    pub capture_bytes_max: usize,
    /// Most captures of one process in an hour, those that are ordered and those that agents send by themselves counted apart.
    pub per_hour_max: usize,
    /// Free space on the disk below which none is kept, in bytes.
    pub disk_reserve_bytes: u64,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            folder: None,
            bytes_max: 512 << 20,
            captures_max: 5_000,
            age_max_ms: Some(30 * 86_400_000),
            capture_bytes_max: 16 << 20,
            per_hour_max: 30,
            disk_reserve_bytes: 0,
        }
    }
}

/// Why no capture was ordered or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureError {
    /// The request is wrong, and how.
    Invalid(String),
    /// The agent cannot be given the task.
    Agent(OrderError),
    /// There were too many of this process; in so many seconds there may be another.
    TooMany {
        /// The process.
        instance: String,
        /// Most in an hour.
        limit: usize,
        /// When there may be another.
        again_s: u64,
    },
    /// Captures are not kept here, or not now, and why.
    Off(String),
    /// The disk refused.
    Disk(String),
}

impl std::error::Error for CaptureError {}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::TooMany { instance, limit, again_s } => write!(
                f,
                "{limit} captures of {instance:?} in the last hour are the limit (captures_per_hour_max); the next may be in {again_s} s"
            ),
            Self::Invalid(reason) | Self::Off(reason) | Self::Disk(reason) => f.write_str(reason),
        }
    }
}

/// Uploads that were not taken, by reason.
#[derive(Debug, Default)]
struct Refused {
    malformed: AtomicU64,
    too_large: AtomicU64,
    too_many: AtomicU64,
    disk: AtomicU64,
}

/// Captures and their orders.
#[derive(Debug)]
pub struct Captures {
    /// Why there is no store, where there is none.
    store: Result<Store, String>,
    options: CaptureOptions,
    orders: Orders,
    ordered: Pace,
    unasked: Pace,
    agents: Arc<AgentBook>,
    clock: Arc<dyn Clock>,
    refused: Refused,
    asked: [AtomicU64; By::ALL.len()],
    /// Whoever has a place reads a capture, or holds one that waits to be checked.
    bodies: Gate,
    /// Whoever holds it checks a capture, which takes memory.
    place: Arc<Semaphore>,
}

impl Captures {
    /// Opens the folder of `options`. Where that fails captures are off, and the rest of the server works. While `memory` is short
    /// none is taken in.
    pub(crate) fn open(
        options: CaptureOptions,
        agents: Arc<AgentBook>,
        clock: Arc<dyn Clock>,
        memory: Arc<MemoryWatch>,
    ) -> Self {
        let bounds =
            Bounds { bytes_max: options.bytes_max, captures_max: options.captures_max, age_max_ms: options.age_max_ms };
        let store = match &options.folder {
            None => Err("this server keeps no captures".to_owned()),
            Some(folder) => Store::open(folder, bounds, clock.now().0).map_err(|error| {
                tracing::error!(folder = %folder.display(), %error, "captures cannot be kept");
                format!("captures cannot be kept: {}: {error}", folder.display())
            }),
        };
        Self {
            store,
            orders: Orders::default(),
            ordered: Pace::new(options.per_hour_max),
            unasked: Pace::new(options.per_hour_max),
            options,
            agents,
            clock,
            refused: Refused::default(),
            asked: Default::default(),
            bodies: Gate::new(BODIES_MAX, usize::MAX, memory),
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// Has the agent of `process` capture `what` over `seconds` seconds, 0 for a state; `reason` is for people. What an alert
    /// orders goes last when room is made. An order for the same that is under way counts for this one too.
    ///
    /// # Errors
    ///
    /// When it cannot be, or there were too many of this process; see [`CaptureError`].
    pub fn order(
        &self,
        process: &ProcessName,
        what: CaptureKind,
        seconds: u32,
        (by, reason): (By, &str),
    ) -> Result<TaskId, CaptureError> {
        self.store()?;
        if let Some(problem) = what.problem_with(seconds) {
            return Err(CaptureError::Invalid(format!("{what} {problem}")));
        }
        let under_way = |order: &&Order| !self.state_of(order).is_over();
        if let Some(same) = self.orders.same(process, what, seconds).iter().find(under_way) {
            return Ok(TaskId(same.id));
        }
        let now_ms = self.clock.now().0;
        self.ordered.take(&process.instance, now_ms).map_err(|many| too_many(&process.instance, &many))?;
        let task =
            TaskKind::Capture { process: process.clone(), what: what.text().to_owned(), seconds: seconds.into() };
        let TaskId(id) = self.agents.order(process.agent(), task).map_err(|error| {
            self.ordered.give_back(&process.instance);
            CaptureError::Agent(error)
        })?;
        if let Some(counter) = self.asked.get(by as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let reason = told(reason);
        self.orders.add(Order {
            id,
            process: process.clone(),
            what,
            seconds,
            reason,
            by,
            asked_ms: now_ms,
            capture: None,
        });
        Ok(TaskId(id))
    }

    fn store(&self) -> Result<&Store, CaptureError> {
        self.store.as_ref().map_err(|reason| CaptureError::Off(reason.clone()))
    }

    fn state_of(&self, order: &Order) -> State {
        let (task, told_ms) = (self.agents.outcome(TaskId(order.id)), self.agents.told_ms(TaskId(order.id)));
        order.state(task, told_ms.map_or(0, |told_ms| self.clock.now().0.saturating_sub(told_ms)))
    }

    /// Checks what an agent sent and keeps it. `about` is as the agent says; for one that was ordered, the order says why.
    fn take(&self, what: CaptureKind, mut about: About, body: &[u8]) -> Result<Kept, CaptureError> {
        let (store, now_ms) = (self.store()?, self.clock.now().0);
        let order = about.order.and_then(|id| self.orders.get(id));
        if order.as_ref().is_some_and(|order| !order.is_met_by(what, &about.instance)) {
            about.order = None;
        }
        let order = order.filter(|_| about.order.is_some());
        about.pinned = false;
        if let Some(order) = &order {
            (about.reason, about.by) = (order.reason.clone(), order.by);
            about.pinned = order.by == By::Alert;
        } else {
            self.unasked.take(&about.instance, now_ms).map_err(|many| {
                self.refused.too_many.fetch_add(1, Ordering::Relaxed);
                too_many(&about.instance, &many)
            })?;
        }
        let checked = check::check(what, body, PLAIN_BYTES_MAX).map_err(|reason| {
            self.refused.malformed.fetch_add(1, Ordering::Relaxed);
            CaptureError::Invalid(format!("this is no capture of {what}: {reason}"))
        })?;
        what.text().clone_into(&mut about.what);
        about.is_text = what.is_text();
        // An agent's clock may be ahead; nothing was taken after now.
        about.time_ms = about.time_ms.min(now_ms);
        about.plain_bytes = checked.plain.len() as u64;
        (about.samples, about.total) = (checked.samples, checked.total);
        (about.total_of, about.unit) = (checked.total_of, checked.unit);
        self.check_space(about.plain_bytes)?;
        let kept = store.put(about, &checked.plain, now_ms).map_err(|error| {
            if error.kind() == io::ErrorKind::FileTooLarge {
                // It never has room: its agent need not try again.
                self.refused.too_large.fetch_add(1, Ordering::Relaxed);
                return CaptureError::Invalid(format!("the capture is too large: {error}"));
            }
            self.refused.disk.fetch_add(1, Ordering::Relaxed);
            CaptureError::Disk(format!("the capture could not be written: {error}"))
        })?;
        if let Some(order) = order {
            self.orders.arrived(order.id, &kept.id);
        }
        Ok(kept)
    }

    /// Leaves the disk its reserve.
    fn check_space(&self, bytes: u64) -> Result<(), CaptureError> {
        let Some(space) = self.options.folder.as_ref().and_then(|folder| rustix::fs::statvfs(folder).ok()) else {
            return Ok(());
        };
        let (free, reserve) = (space.f_bavail.saturating_mul(space.f_frsize), self.options.disk_reserve_bytes);
        if free >= reserve.saturating_add(bytes) {
            return Ok(());
        }
        self.refused.disk.fetch_add(1, Ordering::Relaxed);
        Err(CaptureError::Off(format!("the disk has {free} bytes free, disk_reserve_bytes is {reserve}")))
    }

    /// What the server's own page tells of captures.
    pub(crate) fn families(&self) -> Vec<Family> {
        let none = Counts::default();
        let (counts, (captures, bytes)) = match &self.store {
            Ok(store) => (&store.counts, store.size()),
            Err(_) => (&none, (0, 0)),
        };
        let counter = |name: &'static str, help: &'static str| Family::new(name, MetricKind::Counter, help);
        let count = |of: &AtomicU64| whole(of.load(Ordering::Relaxed));
        let mut removed = counter("metrickit_captures_removed_total", "Captures that were removed, by reason.");
        for (reason, of) in [
            ("bytes", &counts.gone_by_bytes),
            ("count", &counts.gone_by_count),
            ("age", &counts.gone_by_age),
            ("deleted", &counts.deleted),
        ] {
            removed = removed.with(&[("reason", reason)], count(of));
        }
        let mut refused = counter("metrickit_captures_refused_total", "Captures that were not taken, by reason.");
        for (reason, of) in [
            ("malformed", &self.refused.malformed),
            ("too_large", &self.refused.too_large),
            ("too_many", &self.refused.too_many),
            ("disk", &self.refused.disk),
        ] {
            refused = refused.with(&[("reason", reason)], count(of));
        }
        let mut asked = counter("metrickit_capture_orders_total", "Captures ordered of agents, by who wanted them.");
        for (by, of) in By::ALL.iter().zip(&self.asked) {
            asked = asked.with(&[("by", by.text())], count(of));
        }
        vec![
            one_gauge("metrickit_captures", "Captures that are kept.", whole(captures as u64)),
            one_gauge("metrickit_captures_bytes", "Bytes of captures on disk.", whole(bytes)),
            one_gauge(
                "metrickit_captures_unreadable",
                "Files of captures that could not be read at the start.",
                count(&counts.unreadable),
            ),
            counter("metrickit_captures_stored_total", "Captures that were stored.").with(&[], count(&counts.stored)),
            removed,
            refused,
            asked,
        ]
    }
}

fn too_many(instance: &str, many: &TooMany) -> CaptureError {
    CaptureError::TooMany { instance: instance.to_owned(), limit: many.limit, again_s: many.again_s }
}
