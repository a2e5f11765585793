//! Replaying the log: what was acknowledged and is in no block yet comes back into the head.
//!
//! [`Core::replay`] applies every record as it was applied when it was written. It may run beside readers, who see the
//! blocks and what has come back so far. Appends are refused until it has ended, and whoever writes blocks waits for
//! it, so that nobody but the replay changes the head meanwhile and the order stays that of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::recovery::Recovery;
use super::{Core, Counters, OpenError, StorageError};
use crate::damage::{Damage, QUARANTINE_BYTES_MAX, keep_copy, not_kept};
use crate::files::Files;
use crate::ids::Sequence;
use crate::log::replay::Record;
use crate::log::{Log, LogError, Refused, SET_ASIDE_AS};

/// How far the log has been replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Bytes of the log that were gone through.
    pub bytes: u64,
    /// Bytes that the log has.
    pub of_bytes: u64,
}

impl std::fmt::Display for ReplayProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, of_bytes } = self;
        write!(f, "the log is still being replayed: {bytes} of {of_bytes} bytes")
    }
}

/// How the replay of one engine stands.
#[derive(Debug, Default)]
pub(super) struct Replay {
    stage: Mutex<Stage>,
    ended: Condvar,
    /// Whether everything acknowledged is in the head or in blocks; set once.
    complete: AtomicBool,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    took_us: AtomicU64,
    /// Sequences up to this one were given to records, wherever these are now.
    given: Sequence,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    UnderWay,
    Complete,
    /// The engine is closed before its end.
    Stopped,
    /// The error, until somebody is told.
    Failed(Option<OpenError>),
}

impl Replay {
    /// A replay of `of_bytes`, under way from now on; new records come after `given`.
    pub(super) fn of(of_bytes: u64, given: Sequence) -> Self {
        Self { of_bytes: of_bytes.into(), given, ..Self::default() }
    }

    /// How far it is; `None` once everything is there.
    pub(super) fn progress(&self) -> Option<ReplayProgress> {
        if self.complete.load(Ordering::Acquire) {
            return None;
        }
        let of_bytes = self.of_bytes.load(Ordering::Relaxed);
        Some(ReplayProgress { bytes: self.bytes.load(Ordering::Relaxed).min(of_bytes), of_bytes })
    }

    /// Bytes of the log gone through, and the time that took in microseconds.
    pub(super) fn done(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.took_us.load(Ordering::Relaxed))
    }

    fn end(&self, stage: Stage) {
        if matches!(stage, Stage::Complete) {
            self.complete.store(true, Ordering::Release);
        }
        *self.stage.lock() = stage;
        self.ended.notify_all();
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Why it did not come to a good end; the first who asks is told in full.
    pub(super) fn wait(&self) -> Result<(), OpenError> {
        let mut stage = self.stage.lock();
        while matches!(*stage, Stage::UnderWay) {
            self.ended.wait(&mut stage);
        }
        match &mut *stage {
            Stage::UnderWay | Stage::Complete => Ok(()),
            Stage::Stopped => Err(OpenError::Log(LogError::Stopped)),
            Stage::Failed(error) => Err(error.take().unwrap_or(OpenError::Replay)),
        }
    }
}

/// The thread that replays beside readers.
#[derive(Debug)]
pub(super) struct ReplayThread(JoinHandle<()>);

impl ReplayThread {
    pub(super) fn start(core: &Arc<Core>) -> Result<Self, OpenError> {
        let core = core.clone();
        let work = move || {
            // What is wrong is kept for those who wait.
            if let Err(error) = core.replay() {
                core.replay.end(match error {
                    OpenError::Log(LogError::Stopped) => Stage::Stopped,
                    error => Stage::Failed(Some(error)),
                });
            }
        };
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(work);
        thread.map(Self).map_err(|source| OpenError::Thread { source })
    }

    pub(super) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that replays the log panicked");
        }
    }
}

/// Wakes those who wait also when the replay panics.
struct EndOnPanic<'a>(&'a Replay);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        self.0.end(Stage::Failed(None));
    }
}

impl Core {
    /// Reads the log back. Once, before anything is appended.
    pub(super) fn replay(&self) -> Result<(), OpenError> {
        let poison = self.poison_on_panic("replaying the log");
        let wake = EndOnPanic(&self.replay);
        let replayed = self.replay_log();
        poison.disarm();
        std::mem::forget(wake);
        if let Err(error) = &replayed
            && !matches!(error, OpenError::Log(LogError::Stopped))
        {
            self.poison(error);
        }
        replayed
    }

    fn replay_log(&self) -> Result<(), OpenError> {
        let started = Instant::now();
        let flushed = Sequence(self.maintenance.lock().state.flushed);
        let mut recovery = Recovery::new(self, self.writer.lock().next_series);
        let folder = self.folder.join("log");
        let mut before = 0;
        let mut visit = |record: Record<'_>| {
            if self.closing() {
                return Err(Refused::Stop);
            }
            // Offsets begin anew in each segment.
            let end = record.end() as u64;
            let bytes = if end > before { end - before } else { end };
            before = end;
            let applied = recovery.apply(record).map_err(Refused::Damaged);
            self.replay.bytes.fetch_add(bytes, Ordering::Relaxed);
            applied
        };
        let (files, segment_bytes) = (self.files.clone(), self.options.log_segment_bytes);
        let (mut log, mut replayed) = Log::open(files, &folder, segment_bytes, flushed, &mut visit)?;
        log.go_on_after(self.replay.given);
        let uncopied = keep_damaged_segments(&*self.files, &mut replayed.damage, &self.quarantine());
        log.set_aside_when_trimmed(&uncopied, &self.quarantine());
        let Recovery { next_series, uncatalogued, unsaved_metadata, .. } = recovery;
        let mut writer = self.writer.lock();
        writer.log = log;
        writer.next_series = next_series;
        writer.uncatalogued = uncatalogued;
        writer.unsaved_metadata = unsaved_metadata;
        self.counters.log_unflushed_bytes.store(writer.log.bytes(), Ordering::Relaxed);
        self.note_log(&writer);
        drop(writer);
        Counters::add(&self.counters.replayed_records, replayed.records);
        Counters::add(&self.counters.torn_bytes, replayed.torn_bytes);
        for damage in replayed.damage {
            self.damage.add(damage);
        }
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.series_limits.recount(&self.series);
        self.churn.lock().begin(self.clock.now().0);
        self.replay.took_us.store(took_us, Ordering::Relaxed);
        self.replay.bytes.store(self.replay.of_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.replay.end(Stage::Complete);
        Ok(())
    }

    /// Waits until the head is whole, which whoever writes blocks of it or looks for what it lacks must do.
    pub(super) fn wait_replayed(&self) -> Result<(), StorageError> {
        self.replay.wait().or_else(|_| {
            self.check_poison()?;
            Err(StorageError::Closed)
        })
    }
}

/// Keeps copies of segments with damage; the log itself is trimmed by the next flush. Returns those of which no copy could be
/// made, as on a full disk, and which are the only ones that there are.
fn keep_damaged_segments(files: &dyn Files, damage: &mut Vec<Damage>, quarantine: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = damage.iter().map(|damage| damage.file.clone()).collect();
    segments.dedup();
    segments.retain(|segment| match keep_copy(files, segment, SET_ASIDE_AS, quarantine, QUARANTINE_BYTES_MAX) {
        Ok(true) => false,
        Ok(false) => {
            damage.push(not_kept(segment));
            false
        }
        Err(error) => {
            tracing::warn!(%error, "no copy of a damaged log segment is made, so it is moved when the log needs it no more");
            true
        }
    });
    segments
}
