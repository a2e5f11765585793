//! The threads of an engine: one flushes, one merges and drops beside it, and with durability by interval one syncs the log.
//!
//! They wake once in a while and ask the clock what is due. They can be woken early, and stop at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Core, Durability, OpenError, StorageError};

/// Longest pause between two looks.
const TICK: Duration = Duration::from_millis(500);
/// So long a merge is held up while the process is short of memory.
const SHORT_PATIENCE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(5) };
/// Pause after a flush that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How others reach a thread.
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
    pub(super) fn stop(&self) {
        self.asked.lock().stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.asked.lock().stop
    }

    /// Waits at most `pause`; says whether to go on, and whether it was asked to look.
    fn wait(&self, pause: Duration) -> Next {
        let mut asked = self.asked.lock();
        if !asked.look && !asked.stop {
            self.changed.wait_for(&mut asked, pause);
        }
        let look = std::mem::take(&mut asked.look);
        if asked.stop { Next::Stop } else { Next::GoOn { asked: look } }
    }
}

/// What comes after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn { asked: bool },
    Stop,
}

/// The running threads. Dropping it ends them and waits for them.
#[derive(Debug)]
pub(super) struct Background {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads that the options want.
    pub(super) fn start(core: &Arc<Core>) -> Result<Option<Self>, OpenError> {
        let mut background = Self { core: core.clone(), threads: Vec::new() };
        if core.options.background {
            background.spawn("storage", Core::flush_when_due)?;
            background.spawn("storage-merge", Core::maintain_when_due)?;
        }
        if let Durability::Interval { .. } = core.options.durability {
            background.spawn("storage-sync", Core::sync_by_interval)?;
        }
        Ok((!background.threads.is_empty()).then_some(background))
    }

    fn spawn(&mut self, name: &'static str, work: fn(&Core)) -> Result<(), OpenError> {
        let core = self.core.clone();
        let run = move || {
            // Without it nothing would be flushed any more, and appends would be told to come back later for ever.
            let guard = core.poison_on_panic("a background thread of storage");
            work(&core);
            guard.disarm();
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(run) {
            Ok(thread) => self.threads.push(thread),
            Err(source) => return Err(OpenError::Thread { source }),
        }
        Ok(())
    }
}

impl Drop for Background {
    /// Ends the threads and waits for them.
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.core.wake.stop();
        self.core.wake_merge.stop();
        self.core.wake_sync.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of storage panicked");
            }
        }
    }
}

impl Core {
    /// Whether long work should end.
    pub(super) fn closing(&self) -> bool {
        self.wake.stopped() || self.closed.load(Ordering::Acquire)
    }

    /// Holds up a merge while appends wait for a flush, which can use the processor then; false when it should end. After a
    /// flush that failed nothing is gained by waiting, and the merge may be what makes room for it. Where the process stays
    /// short of memory the merge ends with what it holds: series that leave memory come after it, and may be what helps.
    pub(super) fn merge_may_go_on(&self) -> bool {
        let is_due = || self.head.bytes() > self.options.head_bytes_max && !self.flush_failed.load(Ordering::Acquire);
        let mut short_since: Option<Instant> = None;
        while self.options.background && !self.closing() {
            let is_short = self.refused.read().is_some();
            if !is_short && !is_due() {
                break;
            }
            if is_short && short_since.get_or_insert_with(Instant::now).elapsed() >= SHORT_PATIENCE {
                return false;
            }
            if self.poison.get().is_some() || self.wake_merge.wait(TICK / 20) == Next::Stop {
                return false;
            }
        }
        !self.closing()
    }

    fn flush_when_due(&self) {
        let mut retry_at: Option<Instant> = None;
        while self.wake.wait(TICK) != Next::Stop {
            if self.poison.get().is_some() || self.replay.progress().is_some() {
                continue;
            }
            let due = match retry_at {
                Some(retry_at) => Instant::now() >= retry_at,
                None => self.flush_due(),
            };
            if due {
                let flushed = self.report("flush", self.flush().err());
                retry_at = (!flushed).then(|| Instant::now() + RETRY);
                self.wake_merge.now();
            }
        }
    }

    fn maintain_when_due(&self) {
        let maintain_every = Duration::from_millis(self.options.maintain_every_ms);
        let mut maintained = Instant::now();
        loop {
            let asked = match self.wake_merge.wait(TICK) {
                Next::Stop => return,
                Next::GoOn { asked } => asked,
            };
            if self.poison.get().is_none() && (asked || maintained.elapsed() >= maintain_every) {
                self.report("maintenance", self.maintain().err());
                maintained = Instant::now();
            }
        }
    }

    fn sync_by_interval(&self) {
        let Durability::Interval { interval_ms } = self.options.durability else { return };
        while self.wake_sync.wait(Duration::from_millis(interval_ms.max(1))) != Next::Stop {
            self.sync_log();
        }
    }

    /// Brings what was appended to the disk.
    pub(super) fn sync_log(&self) {
        if self.poison.get().is_some() {
            return;
        }
        // Appends go on while the disk writes.
        let Some(unsynced) = self.writer.lock().log.unsynced() else { return };
        match unsynced.sync() {
            Ok(()) => self.writer.lock().log.synced(&unsynced),
            Err(error) => drop(self.poison(&error)),
        }
    }

    pub(super) fn flush_due(&self) -> bool {
        let age_ms = self.clock.now().0.saturating_sub(self.counters.flushed_ms.load(Ordering::Relaxed));
        self.counters.log_unflushed_bytes.load(Ordering::Relaxed) > self.options.flush_log_bytes
            || self.head.bytes() > self.options.head_bytes_max
            || age_ms >= self.options.flush_age_ms
            || self.flush_asked.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineOptions;
    use crate::files::FaultyFiles;

    /// An engine without its threads, whose head is always due.
    fn core(folder: &std::path::Path, files: &FaultyFiles) -> Arc<Core> {
        let options = EngineOptions { retention_ms: None, head_bytes_max: 0, ..EngineOptions::default() };
        let clock = Arc::new(model::ManualClock::new(model::TimestampMs(0)));
        let core = Core::open(folder, options, clock, Arc::new(files.clone())).expect("opens");
        core.replay().expect("an empty log");
        Arc::new(core)
    }

    fn append(core: &Core) {
        let mut batch = model::WriteBatch::new();
        batch.push_series(model::Labels::from_pairs([("__name__", "up")]).expect("valid labels").as_ref());
        batch.push_sample(1, 0.5);
        core.append(&batch).expect("appended");
    }

    #[test]
    fn a_merge_waits_for_no_flush_that_fails() {
        let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
        let core = core(folder.path(), &files);
        append(&core);
        files.set_available_bytes(Some(0));
        core.flush().expect_err("no room");
        assert!(core.head.bytes() > core.options.head_bytes_max, "it is still due");
        assert!(core.merge_may_go_on());
    }

    /// What fills memory may be series that only maintenance takes out of it: merges must not keep it from that.
    #[test]
    fn series_leave_memory_while_the_process_is_short_of_it() {
        let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
        let options = EngineOptions { retention_ms: None, cold_series_min: 1, ..EngineOptions::default() };
        let clock = Arc::new(model::ManualClock::new(model::TimestampMs(0)));
        let core = Arc::new(Core::open(folder.path(), options, clock.clone(), Arc::new(files)).expect("opens"));
        core.replay().expect("an empty log");
        for _ in 0..8 {
            append(&core);
            core.flush().expect("flushed");
        }
        clock.set(model::TimestampMs(10 * 3_600_000));
        *core.refused.write() = Some("too much is held".to_owned());
        assert!(matches!(core.merge_to_end(), Err(StorageError::Short { .. })), "it is given up and says why");
        core.maintain().expect("goes on with what is left");
        assert_eq!((core.stats().index.live, core.stats().index.cold), (0, 1));
        assert_eq!((core.stats().blocks, core.stats().merges), (8, 0), "merges wait");
        *core.refused.write() = None;
        core.merge_to_end().expect("merged");
        assert_eq!(core.stats().blocks, 1);
    }

    #[test]
    fn threads_that_nobody_holds_end() {
        let (folder, files) = (tempfile::tempdir().expect("a folder"), FaultyFiles::new());
        let core = core(folder.path(), &files);
        drop(Background::start(&core).expect("started").expect("there are some"));
        assert_eq!(Arc::strong_count(&core), 1);
    }
}
