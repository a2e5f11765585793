//! The engine: one data folder, open for appending and reading.
//!
//! Puts the parts in order and owns what must hold between them:
//!
//! - An append is in the log, then in the head, then acknowledged ([`append`]).
//! - A flush writes the head's older generation into blocks, registers them, and only then forgets the generation and
//!   trims the log ([`flush`]). Readers look at the head before they look at the blocks, so they never find a gap.
//! - Merging and retention replace and drop blocks in one step of the catalog ([`merge`], [`retention`]). Rules by selector, and
//!   summaries in place of samples, are [`lifetime`]'s.
//! - Series that nothing holds are removed ([`leave`]), those that are written no more leave memory ([`cool`]).
//! - Opening brings everything back ([`open`]).
//!
//! ```text
//! folder/LOCK         held while the engine is open
//! folder/log/         segments of the write-ahead log
//! folder/blocks/      block files; those the catalog does not know are removed when opening, if it is sure to be the newest
//! folder/catalog/     sled
//! folder/index/       files that find series which are written no more; made again from the catalog if they are missing
//! folder/COMMIT       the mark of the catalog's last commit
//! folder/quarantine/  copies of damaged log segments, block files that nobody can explain
//! ```

mod append;
mod apply_deletes;
mod background;
mod backup;
mod blocks;
mod cardinality;
mod churn;
mod cool;
mod cursor;
mod deletes;
mod durations;
mod error;
mod exemplars;
mod extras;
mod flush;
mod hidden;
mod label_order;
mod leave;
mod lifetime;
pub(crate) mod lock;
mod merge;
mod open;
mod options;
mod partition;
mod prepare;
mod reach;
mod read;
mod recovery;
mod replay;
mod retention;
mod rooms;
mod series_limits;
mod space;
mod spare;
mod stats;
mod strain;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::{Appended, Clock, Matcher, MetricMetadata, SampleSink, SeriesCursor, SinkError, TimeRange, WriteBatch};
use parking_lot::{Mutex, RwLock};

use crate::backup::{BackupError, BackupOptions, BackupReport};
use crate::block::ColumnCache;
use crate::catalog::rooms::Rooms;
use crate::catalog::{Catalog, State};
use crate::damage::Damage;
use crate::files::{Files, RealFiles};
use crate::head::{Generation, Head};
use crate::ids::{BlockId, Sequence, SeriesId};
use crate::index::SeriesIndex;
use crate::log::Log;
use crate::progress::Progress;
use background::Background;
use blocks::BlockSet;
pub use cardinality::{CardinalityReport, CardinalityRequest, LabelUse, PairUse, SeriesGroup};
use churn::Churn;
use cool::Activity;
use deletes::DeleteList;
pub use deletes::{DELETES_PENDING_MAX, Delete, DeleteError, DeleteRequest};
use durations::Durations;
pub use durations::{DURATION_BOUNDS_US, DurationStats};
pub use error::{OpenError, StorageError};
use exemplars::Exemplars;
use label_order::LabelOrder;
pub use lifetime::{KeptSeries, KeptStep, LifetimeRule, LifetimeStep, RetentionReport};
use lifetime::{Lifetimes, Upkeep};
use lock::FolderLock;
pub use options::{Durability, EngineOptions};
pub use reach::Reach;
pub use replay::ReplayProgress;
use replay::{Replay, ReplayThread};
pub use rooms::Room;
pub use series_limits::LimitUse;
use series_limits::SeriesLimits;
use spare::Spare;
pub use stats::{Cardinality, Count, EngineStats, SummaryBlocks};
pub use strain::EXEMPLAR_BYTES;
use strain::WorkMemory;

/// Most damaged places that are remembered for the statistics.
const DAMAGE_KEPT_MAX: usize = 1000;

/// Payload above which a batch is spread over several records.
const RECORD_PAYLOAD_BYTES: usize = 32 << 20;

/// An open data folder. Dropping it without [`close`](Self::close) is safe and like a crash of the process: what was
/// acknowledged is replayed from the log when the folder is opened next. With durability by interval the log is synced a last
/// time.
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
    background: Mutex<Option<Background>>,
    replaying: Mutex<Option<ReplayThread>>,
}

/// All that appenders, readers and the background share.
#[derive(Debug)]
struct Core {
    options: EngineOptions,
    clock: Arc<dyn Clock>,
    files: Arc<dyn Files>,
    folder: PathBuf,
    series: SeriesIndex,
    /// Changed under the writer's lock.
    series_limits: SeriesLimits,
    /// Changed under the writer's lock.
    churn: Mutex<Churn>,
    /// The order of series by labels, as far as it is known.
    order: LabelOrder,
    metadata: RwLock<BTreeMap<String, MetricMetadata>>,
    head: Head,
    lifetimes: Lifetimes,
    exemplars: RwLock<Exemplars>,
    /// Changed by whoever holds `maintenance`.
    deletes: RwLock<DeleteList>,
    blocks: RwLock<Arc<BlockSet>>,
    /// What others keep in the catalog, until the engine is closed.
    rooms: RwLock<Option<Arc<Rooms>>>,
    /// Decoded timestamps of blocks.
    columns: Arc<ColumnCache>,
    /// Appends that wait to be written.
    queue: Mutex<Vec<append::Pending>>,
    /// Whoever holds it writes for all that wait.
    writer: Mutex<Writer>,
    /// Held by whoever replaces or removes blocks, for as long as it takes; taken before `maintenance`.
    merging: Mutex<()>,
    /// Held while a flush writes, and while any other change of the blocks is planned or committed; taken before `writer`.
    maintenance: Mutex<Maintenance>,
    /// Goes up whenever series are removed, so that ids looked up before are looked up again.
    removals: AtomicU64,
    /// Whether the head holds everything that was acknowledged.
    replay: Replay,
    /// Why nothing is taken any more.
    poison: OnceLock<String>,
    /// Whether the last flush failed.
    flush_failed: AtomicBool,
    /// Set under the writer's lock too, so that no append is acknowledged after it.
    closed: AtomicBool,
    counters: Counters,
    damage: Arc<DamageList>,
    /// Memory that appends work in.
    spare: Spare,
    /// Memory that flushes and merges work in.
    work_memory: WorkMemory,
    /// Why appends are refused, if they are.
    refused: RwLock<Option<String>>,
    /// Whether somebody wants the head flushed, however small it is.
    flush_asked: AtomicBool,
    /// Wakes the thread that flushes.
    wake: background::Wake,
    /// Wakes the thread that merges.
    wake_merge: background::Wake,
    /// Wakes the thread that syncs.
    wake_sync: background::Wake,
}

/// What one writer at a time changes.
#[derive(Debug)]
struct Writer {
    log: Log,
    next_series: u32,
    /// Series that the catalog does not have yet.
    uncatalogued: Vec<SeriesId>,
    /// Metrics whose metadata the catalog does not have yet.
    unsaved_metadata: BTreeSet<String>,
    /// Memory for the records of a group.
    records: Vec<u8>,
}

/// What the catalog holds, and what is about to change in it.
#[derive(Debug)]
struct Maintenance {
    /// Until the engine is closed.
    open: Option<OpenFolder>,
    /// What the catalog holds.
    state: State,
    /// A flush that has begun.
    flushing: Option<Flushing>,
    /// Blocks with damaged chunks: read as far as possible, merged never.
    unmergeable: BTreeSet<BlockId>,
    /// When series were written last.
    activity: Activity,
    /// Whether there may be series without samples.
    check_series: bool,
    upkeep: Upkeep,
}

/// Damaged places that were found, by whomever.
#[derive(Debug, Default)]
struct DamageList(Mutex<Vec<Damage>>);

/// What keeps the folder from being opened again.
#[derive(Debug)]
struct OpenFolder {
    catalog: Catalog,
    /// Given back last.
    _lock: FolderLock,
}

/// A generation of the head on its way into blocks.
#[derive(Debug)]
struct Flushing {
    generation: Generation,
    /// The first and last record whose samples the generation may hold.
    first: Sequence,
    last: Sequence,
    next_series: u32,
    series: Vec<SeriesId>,
    metadata: Vec<String>,
}

/// Numbers for the statistics.
#[derive(Debug, Default)]
struct Counters {
    samples_appended: AtomicU64,
    samples_rejected: AtomicU64,
    histograms_appended: AtomicU64,
    series_created: AtomicU64,
    series_removed: AtomicU64,
    series_cooled: AtomicU64,
    log_records: AtomicU64,
    log_syncs: AtomicU64,
    log_bytes: AtomicU64,
    log_segments: AtomicU64,
    log_unflushed_bytes: AtomicU64,
    flushes: AtomicU64,
    flush_failures: AtomicU64,
    merges: AtomicU64,
    merge_waiting_bytes: AtomicU64,
    maintenance_failures: AtomicU64,
    blocks_dropped: AtomicU64,
    blocks_rewritten: AtomicU64,
    samples_summarised: AtomicU64,
    partitions_summarised: AtomicU64,
    lifetime_bytes_freed: AtomicU64,
    disk_limit_drops: AtomicU64,
    disk_limit_bytes: AtomicU64,
    disk_full_refusals: AtomicU64,
    replayed_records: AtomicU64,
    torn_bytes: AtomicU64,
    catalog_bytes: AtomicU64,
    sync_times: Durations,
    flush_times: Durations,
    flushed_bytes: AtomicU64,
    merge_times: Durations,
    merge_read_bytes: AtomicU64,
    merge_written_bytes: AtomicU64,
    dropped_bytes: AtomicU64,
    /// When the last flush ended, by the clock.
    flushed_ms: AtomicI64,
    backups: AtomicU64,
    backup_failures: AtomicU64,
    /// The moment of the last backup, 0 for none, and its length.
    backup_ms: AtomicI64,
    backup_bytes: AtomicU64,
}

impl Engine {
    /// Opens or creates the data folder and recovers what it holds. Starts the background threads.
    ///
    /// # Errors
    ///
    /// When the folder is in use, cannot be made, is of a newer version, or its catalog is damaged. Damage to blocks
    /// and log does not keep it from opening; [`stats`](Self::stats) tells of it.
    pub fn open(folder: &Path, options: EngineOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, OpenError> {
        Self::open_with(folder, options, clock, Arc::new(RealFiles))
    }

    /// As [`open`](Self::open), with log and blocks on `files`. Catalog and lock are always the operating system's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        folder: &Path,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
    ) -> Result<Arc<Self>, OpenError> {
        let core = Arc::new(Core::open(folder, options, clock, files)?);
        core.replay()?;
        let background = Mutex::new(Background::start(&core)?);
        Ok(Arc::new(Self { core, background, replaying: Mutex::default() }))
    }

    /// As [`open`](Self::open), but returns as soon as catalog and blocks are open; the log is replayed in a thread.
    /// Until that [has ended](Self::wait_replayed), appends are told to come back later, reads find what is in blocks
    /// and what is back so far, and [`flush`](Self::flush) and [`maintain`](Self::maintain) wait.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), save for those of the log.
    pub fn open_replaying(
        folder: &Path,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_replaying_with(folder, options, clock, Arc::new(RealFiles))
    }

    /// As [`open_replaying`](Self::open_replaying), with log and blocks on `files`.
    ///
    /// # Errors
    ///
    /// As [`open_replaying`](Self::open_replaying).
    pub fn open_replaying_with(
        folder: &Path,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
    ) -> Result<Arc<Self>, OpenError> {
        let core = Arc::new(Core::open(folder, options, clock, files)?);
        let background = Mutex::new(Background::start(&core)?);
        let replaying = Mutex::new(Some(ReplayThread::start(&core)?));
        Ok(Arc::new(Self { core, background, replaying }))
    }

    /// How far the log has been replayed; `None` once everything that was acknowledged can be read.
    pub fn replaying(&self) -> Option<ReplayProgress> {
        self.core.replay.progress()
    }

    /// Waits until the log has been replayed.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, or the engine was closed before its end. The first who asks is told in full.
    pub fn wait_replayed(&self) -> Result<(), OpenError> {
        self.core.replay.wait()
    }

    /// Writes the head into blocks and trims the log. When this returns, everything appended before is in blocks.
    ///
    /// # Errors
    ///
    /// When the engine is poisoned, or a block, the log or the catalog cannot be written.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.core.flush()
    }

    /// One round of retention and merging, until nothing is left to merge. Flushes go on meanwhile.
    ///
    /// # Errors
    ///
    /// When the engine is poisoned, or a block or the catalog cannot be read or written.
    pub fn maintain(&self) -> Result<(), StorageError> {
        self.core.maintain()
    }

    /// As [`maintain`](Self::maintain), but merges the blocks of every partition into one, the current day's too,
    /// however large they are. What is flushed meanwhile is merged with them. For measurements, and before a folder is
    /// put away; the background never does as much.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain), and when the disk has no room for a merge or the engine closes meanwhile.
    pub fn merge_to_end(&self) -> Result<(), StorageError> {
        self.core.merge_to_end()
    }

    /// What a delete of the samples in `range` would hide, of the series that any of `selectors` selects.
    ///
    /// # Errors
    ///
    /// When a block cannot be read.
    pub fn preview_delete<'a>(
        &self,
        selectors: impl IntoIterator<Item = &'a [Matcher]>,
        range: TimeRange,
    ) -> Result<Reach, StorageError> {
        self.core.preview_delete(selectors.into_iter(), range)
    }

    /// Deletes samples of the time and the series asked for. When this returns no reader sees them any more, and
    /// [`undo_delete`](Self::undo_delete) brings them back until [`EngineOptions::delete_undo_ms`] is over; then merging
    /// removes them. What is written from now on stays, whatever its timestamps. `None` if there is nothing to delete.
    ///
    /// The head is flushed for it, and exemplars go at once and for good.
    ///
    /// # Errors
    ///
    /// When [`DELETES_PENDING_MAX`] deletes wait, the flush fails, or the catalog cannot be written.
    pub fn delete(&self, request: DeleteRequest) -> Result<Option<Delete>, DeleteError> {
        self.core.delete(request)
    }

    /// The deletes that are remembered: those that hide something, and the latest that ended.
    pub fn deletes(&self) -> Vec<Delete> {
        self.core.deletes()
    }

    /// Brings back the samples of a delete.
    ///
    /// # Errors
    ///
    /// When there is no such delete, its samples are removed or about to be, or the catalog cannot be written.
    pub fn undo_delete(&self, id: u64) -> Result<Delete, DeleteError> {
        self.core.undo_delete(id)
    }

    /// Removes what deletes hide, now and for good, and then the series that have nothing left.
    ///
    /// # Errors
    ///
    /// As [`merge_to_end`](Self::merge_to_end).
    pub fn apply_deletes(&self) -> Result<(), StorageError> {
        self.core.apply_deletes_now()
    }

    /// Takes a backup into the folder `dir`: all that was acknowledged before. Appends, flushes and reads go on; merging and
    /// dropping wait until the blocks have their places, not for their bytes. If `dir` has a backup, what is there of the new one
    /// stays, and what is not of it is removed once the new one is whole. See [`backup`](crate::backup).
    ///
    /// `watch` is told how far it is.
    ///
    /// # Errors
    ///
    /// When `dir` has something else in it, is in use or inside the data folder, a disk is full or fails, or the engine closes
    /// meanwhile. The backup that was there is still whole.
    pub fn backup(
        &self,
        dir: &Path,
        options: BackupOptions,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<BackupReport, BackupError> {
        self.core.backup(dir, options, watch)
    }

    /// Why nothing is taken any more, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.core.poison.get().cloned()
    }

    /// Numbers about the engine.
    pub fn stats(&self) -> EngineStats {
        self.core.stats()
    }

    /// What the series' labels are, the `top` largest of each kind.
    pub fn cardinality(&self, top: usize) -> Cardinality {
        self.core.cardinality(top)
    }

    /// Stops taking appends, ends the background threads, flushes, and lets go of the folder: it can be opened again at
    /// once, also while this engine is still read. A replay under way is given up, and there is nothing to flush then:
    /// the log has it. Closing again does nothing.
    ///
    /// # Errors
    ///
    /// When the flush fails; what was acknowledged is then still in the log. The folder is let go of when the engine is
    /// dropped, or closing again succeeds.
    pub fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        self.core.stop_appends();
        self.stop_background();
        self.core.flush_and_release()
    }

    fn stop_background(&self) {
        self.core.wake.stop();
        let replaying = self.replaying.lock().take();
        if let Some(replaying) = replaying {
            replaying.join();
        }
        let background = self.background.lock().take();
        drop(background);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_background();
        if let Durability::Interval { .. } = self.core.options.durability {
            self.core.sync_log();
        }
    }
}

impl SampleSink for Engine {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        self.core.append(batch)
    }

    fn cursor(&self) -> Box<dyn SeriesCursor + '_> {
        Box::new(self.core.cursor())
    }
}

impl Core {
    /// When this returns, every append that was acknowledged is in log and head, and none will be any more.
    fn stop_appends(&self) {
        let writer = self.writer.lock();
        self.closed.store(true, Ordering::Release);
        drop(writer);
    }

    /// The instant before which nothing is kept of any series.
    fn retention_start_ms(&self) -> i64 {
        self.lifetimes.longest_ms().map_or(i64::MIN, |keep_ms| self.clock.now().0.saturating_sub(keep_ms))
    }

    fn blocks_folder(&self) -> PathBuf {
        self.folder.join("blocks")
    }

    fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
    }

    /// The blocks as they are now.
    fn view(&self) -> Arc<BlockSet> {
        self.blocks.read().clone()
    }

    fn check_poison(&self) -> Result<(), StorageError> {
        match self.poison.get() {
            Some(detail) => Err(StorageError::Poisoned { detail: detail.clone() }),
            None => Ok(()),
        }
    }

    /// Guards work after whose panic memory and disk may differ.
    fn poison_on_panic(&self, work: &'static str) -> PoisonOnPanic<'_> {
        PoisonOnPanic { core: self, work }
    }

    /// Takes nothing more until the folder is opened again.
    fn poison(&self, detail: &dyn std::fmt::Display) -> String {
        let detail = self.poison.get_or_init(|| detail.to_string()).clone();
        tracing::error!(folder = %self.folder.display(), detail, "storage takes no more writes until it is reopened");
        detail
    }
}

/// Poisons the engine unless the work that it guards comes to its end.
#[derive(Debug)]
struct PoisonOnPanic<'a> {
    core: &'a Core,
    work: &'static str,
}

impl PoisonOnPanic<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.core.poison(&format_args!("{} panicked", self.work));
    }
}

impl DamageList {
    /// Reports damage once.
    fn add(&self, damage: Damage) {
        let mut known = self.0.lock();
        if known.len() < DAMAGE_KEPT_MAX && !known.contains(&damage) {
            tracing::error!(%damage, "stored bytes are damaged; the rest stays readable");
            known.push(damage);
        }
    }
}

impl Maintenance {
    fn catalog(&self) -> Result<&Catalog, StorageError> {
        self.open.as_ref().map(|open| &open.catalog).ok_or(StorageError::Closed)
    }
}

impl Counters {
    fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
