//! Opening a folder: catalog and blocks, whatever state the last process left them in. The log is
//! [`replay`](super::replay)'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use model::{Clock, MetricMetadata};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::blocks::{Block, BlockSet};
use super::churn::Churn;
use super::cool::Activity;
use super::deletes::DeleteList;
use super::exemplars::Exemplars;
use super::label_order::LabelOrder;
use super::lifetime::{Lifetimes, Upkeep};
use super::lock::FolderLock;
use super::replay::Replay;
use super::series_limits::SeriesLimits;
use super::{Core, Counters, EngineOptions, Maintenance, OpenError, OpenFolder, Writer};
use crate::backup::folder::is_backup;
use crate::backup::names::RESTORING;
use crate::block::{BlockError, BlockReader, ColumnCache};
use crate::catalog::mark::MARK_NAME;
use crate::catalog::{Catalog, CatalogError, ChurnRecord, LabelPage, Mark, Marked, State};
use crate::damage::{Damage, set_aside};
use crate::files::{Files, folder_of};
use crate::head::Head;
use crate::ids::Sequence;
use crate::index::cold::{self, Cold, Stamp};
use crate::index::table::PAGE_SERIES;
use crate::index::{IndexPart, SeriesIndex};
use crate::log::Log;

impl Core {
    pub(super) fn open(
        folder: &Path,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
    ) -> Result<Self, OpenError> {
        if is_backup(folder) {
            return Err(OpenError::Backup { folder: folder.to_owned() });
        }
        let lock = FolderLock::take(&*files, folder)?;
        if folder.join(RESTORING).exists() {
            return Err(OpenError::Restoring { folder: folder.to_owned() });
        }
        let blocks_folder = folder.join("blocks");
        files.create_dir_all(&blocks_folder)?;
        let mut catalog = open_catalog(&*files, folder)?;
        let own = catalog.last_commit()?;
        let Standing { state, given, explains, marks, damage: mut found } = Standing::of(&mut catalog, &files, folder)?;
        let cold = open_cold(&*files, folder.join(cold::FOLDER_NAME), &catalog, own.number, options.label_cache_bytes)?;
        let Catalogued { series, metadata, next_series } = Catalogued::read(&catalog, cold)?;
        let columns = Arc::new(ColumnCache::new(options.column_cache_bytes));
        let next_series = next_series.max(state.next_series);
        let (blocks, damage) = open_blocks(&*files, &blocks_folder, &catalog, &columns, explains)?;
        found.extend(damage);
        let churn = churn_of(&catalog, next_series)?;
        if marks {
            catalog.mark()?;
        }
        let log_folder = folder.join("log");
        files.create_dir_all(&log_folder)?;
        let segments = files.list(&log_folder)?;
        let log_bytes = segments.iter().map(|segment| segment.bytes).sum();
        // The folders made above must not vanish with what will be synced in them.
        files.sync_dir(folder)?;
        let counters = Counters {
            log_bytes: AtomicU64::new(log_bytes),
            log_segments: AtomicU64::new(segments.len() as u64),
            catalog_bytes: AtomicU64::new(catalog.disk_bytes()),
            flushed_ms: clock.now().0.into(),
            ..Counters::default()
        };
        let log = Log::unread(files.clone(), &log_folder);
        let (uncatalogued, unsaved_metadata) = (Vec::new(), BTreeSet::new());
        let writer = Writer { log, next_series, uncatalogued, unsaved_metadata, records: Vec::new() };
        let mut activity = Activity::default();
        // Senders are given as much time to come back as any series that is not written.
        activity.note_all(&series.live(), clock.now().0);
        let lifetimes = Lifetimes::new(&options.lifetimes, options.retention_ms);
        let series_limits = SeriesLimits::new(&options);
        series_limits.recount(&series);
        let core = Self {
            replay: Replay::of(log_bytes, given),
            head: Head::default(),
            exemplars: RwLock::new(Exemplars::new(options.exemplars_max)),
            options,
            clock,
            files,
            folder: folder.to_owned(),
            series,
            series_limits,
            churn: Mutex::new(churn),
            order: LabelOrder::default(),
            metadata: RwLock::new(metadata),
            lifetimes,
            deletes: RwLock::new(DeleteList::new(catalog.deletes()?)),
            blocks: RwLock::new(Arc::new(blocks)),
            rooms: RwLock::new(Some(Arc::clone(catalog.rooms()))),
            columns,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
            maintenance: Mutex::new(Maintenance {
                open: Some(OpenFolder { catalog, _lock: lock }),
                state,
                flushing: None,
                unmergeable: BTreeSet::new(),
                activity,
                check_series: true,
                upkeep: Upkeep::default(),
            }),
            removals: AtomicU64::new(0),
            poison: OnceLock::new(),
            flush_failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            counters,
            damage: Arc::default(),
            merging: Mutex::default(),
            spare: super::Spare::default(),
            work_memory: super::WorkMemory::default(),
            refused: RwLock::default(),
            flush_asked: AtomicBool::new(false),
            wake: super::background::Wake::default(),
            wake_merge: super::background::Wake::default(),
            wake_sync: super::background::Wake::default(),
        };
        for damage in found {
            core.damage.add(damage);
        }
        Ok(core)
    }
}

/// When series came and went. Nothing else rests on it, so that a folder where it cannot be read opens without.
fn churn_of(catalog: &Catalog, next_series: u32) -> Result<Churn, CatalogError> {
    match catalog.churn() {
        Ok(record) => Ok(Churn::new(record, next_series)),
        Err(error @ CatalogError::Value { .. }) => {
            tracing::warn!(%error, "when series were created is known from now on only");
            Ok(Churn::new(ChurnRecord::default(), next_series))
        }
        Err(error) => Err(error),
    }
}

/// Opens the catalog of `folder`, if it is not lost.
fn open_catalog(files: &dyn Files, folder: &Path) -> Result<Catalog, OpenError> {
    let path = folder.join("catalog");
    refuse_lost_catalog(files, &folder.join("blocks"), &path)?;
    let catalog = Catalog::open(&path)?;
    // sled does not make the names of its files last, nor that of its folder.
    files.sync_dir(&path)?;
    files.sync_dir(folder)?;
    Ok(catalog)
}

/// A block file exists only after its catalog.
fn refuse_lost_catalog(files: &dyn Files, blocks_folder: &Path, catalog: &Path) -> Result<(), OpenError> {
    let blocks = files.list(blocks_folder)?.iter().filter(|entry| entry.name.strip_suffix(".blk").is_some()).count();
    if blocks > 0 && !Catalog::exists(catalog) {
        let (blocks_folder, catalog) = (blocks_folder.to_owned(), catalog.to_owned());
        return Err(OpenError::CatalogMissing { blocks_folder, catalog, blocks });
    }
    Ok(())
}

/// How the catalog stands to the mark of its last commit.
#[derive(Debug)]
struct Standing {
    /// The catalog's, with no id that was given out before.
    state: State,
    /// Sequences up to this one were given out.
    given: Sequence,
    /// Whether the catalog is sure to be the newest there was: then what it does not name is a left-over.
    explains: bool,
    /// Whether its last commit is to be marked.
    marks: bool,
    damage: Vec<Damage>,
}

impl Standing {
    fn of(catalog: &mut Catalog, files: &Arc<dyn Files>, folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(MARK_NAME);
        let own = catalog.last_commit()?;
        let (mut explains, mut damage, mut before) = (false, Vec::new(), Mark::default());
        match Mark::read(&**files, &path)? {
            Marked::Nothing => {}
            Marked::Unreadable(found) => damage.push(found),
            Marked::Commit(marked) => {
                before = marked;
                explains = !own.is_before(&marked);
                if !explains {
                    damage.push(gone_back(&folder.join("catalog").join("db"), &own, &marked));
                }
            }
        }
        catalog.mark_commits(files.clone(), path, before);
        // One that the catalog is behind stays until a commit follows it.
        let marks = own != before && !own.is_before(&before);
        let Mark { state: known, .. } = own.max(&before);
        let state = State { flushed: own.state.flushed, ..known };
        Ok(Self { state, given: Sequence(known.flushed), explains, marks, damage })
    }
}

fn gone_back(file: &Path, own: &Mark, marked: &Mark) -> Damage {
    let detail = format!(
        "the catalog is older than its blocks: it is at commit {} and log record {}, but was at commit {} and log record {}; \
         what was acknowledged or deleted between is missing: restore the data folder from a backup; blocks that the \
         catalog does not name are kept in quarantine",
        own.number, own.state.flushed, marked.number, marked.state.flushed,
    );
    Damage { file: file.to_owned(), offset: 0, bytes: 0, detail }
}

/// Opens what is registered, and reports what is missing or damaged. What is not registered is removed, if the catalog is sure
/// to be the newest there was (`explains`); else it is moved to the quarantine, and reported.
fn open_blocks(
    files: &dyn Files,
    folder: &Path,
    catalog: &Catalog,
    columns: &Arc<ColumnCache>,
    explains: bool,
) -> Result<(BlockSet, Vec<Damage>), OpenError> {
    let (mut blocks, mut quarantined, mut damage) = (Vec::new(), Vec::new(), Vec::new());
    let mut unregistered: Vec<String> = files.list(folder)?.into_iter().map(|entry| entry.name).collect();
    for entry in catalog.blocks() {
        let (id, record) = entry?;
        unregistered.retain(|name| *name != record.file);
        let path = folder.join(&record.file);
        match BlockReader::open(files, &path, columns.clone()) {
            Ok(reader) => blocks.push(Arc::new(Block::new(id, record, reader))),
            Err(error) => {
                let found = match error {
                    BlockError::Damaged(found) => found,
                    other => Damage { file: path, offset: 0, bytes: record.bytes, detail: other.to_string() },
                };
                damage.push(found);
                quarantined.push((id, record));
            }
        }
    }
    for name in unregistered {
        let path = folder.join(name);
        if explains {
            files.remove(&path)?;
            continue;
        }
        let kept = set_aside(files, &path, "unnamed", &folder_of(folder).join("quarantine"))?;
        let detail = format!(
            "the catalog does not name it, and may be older: it is kept as {}; restore the data folder from a backup, or \
             remove it if nothing is missing",
            kept.display()
        );
        damage.push(Damage { file: path, offset: 0, bytes: 0, detail });
    }
    Ok((BlockSet::new(blocks, quarantined), damage))
}

/// Most threads that read label pages.
const READERS_MAX: usize = 8;
/// Fewer label pages are not worth a thread.
const PAGES_EACH_MIN: usize = 64;

/// What the catalog knows of series and metrics.
#[derive(Debug, Default)]
struct Catalogued {
    series: SeriesIndex,
    metadata: BTreeMap<String, MetricMetadata>,
    /// An id above all series that exist.
    next_series: u32,
}

impl Catalogued {
    /// What the catalog has; series that `cold` finds are left to it.
    fn read(catalog: &Catalog, cold: Cold) -> Result<Self, OpenError> {
        let pages = catalog.label_pages().collect::<Result<Vec<_>, _>>()?;
        let filed = cold.all();
        let mut series = SeriesIndex::new(cold);
        let exist = read_pages(&series, &pages, &filed)?;
        series.keep_filed(&exist);
        let mut metadata = BTreeMap::new();
        for entry in catalog.metadata() {
            let (metric, of) = entry?;
            metadata.insert(metric, of);
        }
        Ok(Self { series, metadata, next_series: exist.max().map_or(0, |id| id.saturating_add(1)) })
    }
}

/// Opens the index files that belong to the catalog, which is at commit `number`.
fn open_cold(
    files: &dyn Files,
    folder: PathBuf,
    catalog: &Catalog,
    commit: u64,
    cache_bytes: usize,
) -> Result<Cold, OpenError> {
    let as_of = Stamp { lineage: catalog.lineage()?, commit };
    Cold::open(files, folder, as_of, cache_bytes, |page, rows| {
        let Some(page) = catalog.label_page(page)? else { return Ok(None) };
        let known = page.series()?;
        let (mut common, mut same) = (0, 0);
        for (slot, labels) in rows {
            let of_slot = known.iter().find(|(id, _)| id.0.to_le_bytes()[0] == *slot);
            common += usize::from(of_slot.is_some());
            same += usize::from(of_slot.is_some_and(|(_, known)| known == labels));
        }
        Ok((common > 0).then_some(common == same))
    })
}

/// Puts the series of `pages` that are not `filed` into memory, with several threads. Returns all that exist.
fn read_pages(series: &SeriesIndex, pages: &[LabelPage], filed: &RoaringBitmap) -> Result<RoaringBitmap, CatalogError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(READERS_MAX);
    let each = pages.len().div_ceil(threads).max(PAGES_EACH_MIN);
    series.reserve((pages.len() * PAGE_SERIES).saturating_sub(usize::try_from(filed.len()).unwrap_or(usize::MAX)));
    let mut exist = RoaringBitmap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            pages.chunks(each).map(|pages| scope.spawn(move || read_part(series, pages, filed))).collect();
        for thread in threads {
            let (ids, part) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            exist |= ids;
            series.join_part(part);
        }
        Ok(exist)
    })
}

fn read_part(
    series: &SeriesIndex,
    pages: &[LabelPage],
    filed: &RoaringBitmap,
) -> Result<(RoaringBitmap, IndexPart), CatalogError> {
    let (mut exist, mut part) = (RoaringBitmap::new(), IndexPart::default());
    for page in pages {
        // Of most pages either all series are in files, or none.
        if filed.range_cardinality(page.range()) > 0 {
            let ids: RoaringBitmap = page.ids()?.into_iter().map(|id| id.0).collect();
            let all_filed = ids.is_subset(filed);
            exist |= ids;
            if all_filed {
                continue;
            }
        }
        let mut rows = page.series()?;
        exist.extend(rows.iter().map(|(id, _)| id.0));
        rows.retain(|(id, _)| !filed.contains(id.0));
        series.insert_part(&mut part, &rows);
    }
    Ok((exist, part))
}
