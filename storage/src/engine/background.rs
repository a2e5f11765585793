//! The thread that flushes, merges, drops and, with durability by interval, syncs.
//!
//! It wakes once in a while and asks the clock what is due. It can be woken early, and stops at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Core, Durability, OpenError, StorageError};

/// Longest pause between two looks.
const TICK: Duration = Duration::from_millis(500);
/// Pause after a flush that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How others reach the thread.
#[derive(Debug, Default)]
pub(super) struct Wake {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    look: bool,
    stop: bool,
}

impl Wake {
    /// Makes the thread look now.
    pub(super) fn now(&self) {
        self.asked.lock().look = true;
        self.changed.notify_all();
    }

    /// Ends the thread.
    fn stop(&self) {
        self.asked.lock().stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.asked.lock().stop
    }

    /// Waits at most `pause`; says whether to go on.
    fn wait(&self, pause: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !asked.look && !asked.stop {
            self.changed.wait_for(&mut asked, pause);
        }
        asked.look = false;
        !asked.stop
    }
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Background {
    core: Arc<Core>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Starts the thread if the options want one.
    pub(super) fn start(core: &Arc<Core>) -> Result<Option<Self>, OpenError> {
        let by_interval = matches!(core.options.durability, Durability::Interval { .. });
        if !core.options.background && !by_interval {
            return Ok(None);
        }
        let of_thread = core.clone();
        let thread = std::thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || of_thread.run_background())
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Some(Self { core: core.clone(), thread }))
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        self.core.wake.stop();
        if self.thread.join().is_err() {
            tracing::error!("the background thread of storage panicked");
        }
    }
}

impl Core {
    /// Whether long work should end.
    pub(super) fn closing(&self) -> bool {
        self.wake.stopped()
    }

    fn run_background(&self) {
        // Without it nothing would be flushed any more, and appends would be told to come back later for ever.
        let guard = self.poison_on_panic("the background thread of storage");
        self.look_after();
        guard.disarm();
    }

    fn look_after(&self) {
        let sync_every = match self.options.durability {
            Durability::Interval { interval_ms } => Some(Duration::from_millis(interval_ms.max(1))),
            Durability::Sync | Durability::Off => None,
        };
        let maintain_every = Duration::from_millis(self.options.maintain_every_ms);
        let mut maintained = Instant::now();
        let mut retry_at: Option<Instant> = None;
        while self.wake.wait(sync_every.unwrap_or(TICK).min(TICK)) {
            if self.poison.get().is_some() {
                continue;
            }
            if sync_every.is_some() {
                self.sync_log();
            }
            if !self.options.background {
                continue;
            }
            let due = match retry_at {
                Some(retry_at) => Instant::now() >= retry_at,
                None => self.flush_due(),
            };
            let flushed = due && self.report("flush", self.flush().err());
            if due {
                retry_at = (!flushed).then(|| Instant::now() + RETRY);
            }
            if flushed || maintained.elapsed() >= maintain_every {
                self.report("maintenance", self.maintain().err());
                maintained = Instant::now();
            }
        }
    }

    fn sync_log(&self) {
        let mut writer = self.writer.lock();
        if let Err(error) = writer.log.sync() {
            self.poison(&error);
        }
    }

    pub(super) fn flush_due(&self) -> bool {
        let age_ms = self.clock.now().0.saturating_sub(self.counters.flushed_ms.load(Ordering::Relaxed));
        self.counters.log_unflushed_bytes.load(Ordering::Relaxed) > self.options.flush_log_bytes
            || self.head.bytes() > self.options.head_bytes_max
            || age_ms >= self.options.flush_age_ms
    }

    /// Says whether `what` went well, and logs if not. Being stopped in the middle is no failure worth a word.
    fn report(&self, what: &str, failure: Option<StorageError>) -> bool {
        let Some(error) = failure else { return true };
        if !self.closing() {
            tracing::error!(%error, what, "storage could not finish; it will try again");
        }
        false
    }
}
