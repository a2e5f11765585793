//! Opening a folder: catalog, blocks, log, in this order, whatever state the last process left them in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use model::{Clock, Exemplar, LabelsRef, MetricMetadata};
use parking_lot::{Mutex, RwLock};

use super::blocks::{Block, BlockSet};
use super::exemplars::Exemplars;
use super::label_order::LabelOrder;
use super::lifetime::{Lifetimes, Upkeep};
use super::lock::FolderLock;
use super::{Core, Counters, EngineOptions, Maintenance, OpenError, OpenFolder, Writer};
use crate::block::{BlockError, BlockReader, ColumnCache};
use crate::catalog::{Catalog, State};
use crate::damage::{Damage, keep_copy};
use crate::files::Files;
use crate::head::Head;
use crate::ids::{Sequence, SeriesId};
use crate::index::{Followers, Postings, SeriesTable};
use crate::log::payload::{FullRow, PayloadReader, SampleColumns, Section};
use crate::log::replay::Record;
use crate::log::{Log, Replayed};

/// What the log's records are applied to.
struct Recovery {
    table: SeriesTable,
    postings: Postings,
    metadata: BTreeMap<String, MetricMetadata>,
    head: Head,
    exemplars: Exemplars,
    next_series: u32,
    uncatalogued: Vec<SeriesId>,
    unsaved_metadata: std::collections::BTreeSet<String>,
    /// Ids that the log gives to labels which have another one. The labels decide.
    aliases: HashMap<u32, SeriesId, ahash::RandomState>,
    columns: SampleColumns,
}

impl Core {
    pub(super) fn open(
        folder: &Path,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
        files: Arc<dyn Files>,
    ) -> Result<Self, OpenError> {
        let lock = FolderLock::take(folder)?;
        let blocks_folder = folder.join("blocks");
        files.create_dir_all(&blocks_folder)?;
        refuse_lost_catalog(&*files, &blocks_folder, &folder.join("catalog"))?;
        let catalog = Catalog::open(&folder.join("catalog"))?;
        let state = catalog.state()?;
        let mut recovery = Recovery::from_catalog(&catalog, &state, &options)?;
        let columns = Arc::new(ColumnCache::new(options.column_cache_bytes));
        let (blocks, mut damage) = open_blocks(&*files, &blocks_folder, &catalog, &columns)?;
        let (log, replayed) = Log::open(
            files.clone(),
            &folder.join("log"),
            options.log_segment_bytes,
            Sequence(state.flushed),
            &mut |record| recovery.apply(record),
        )?;
        // The folders made above must not vanish with what will be synced in them.
        files.sync_dir(folder)?;
        keep_damaged_segments(&*files, &replayed, &folder.join("quarantine"));
        let counters = Counters {
            replayed_records: AtomicU64::new(replayed.records),
            torn_bytes: AtomicU64::new(replayed.torn_bytes),
            log_unflushed_bytes: AtomicU64::new(log.bytes()),
            catalog_bytes: AtomicU64::new(catalog.disk_bytes()),
            flushed_ms: clock.now().0.into(),
            ..Counters::default()
        };
        damage.extend(replayed.damage);
        let Recovery { table, postings, metadata, head, exemplars, .. } = recovery;
        let Recovery { next_series, uncatalogued, unsaved_metadata, .. } = recovery;
        let writer = Writer { log, next_series, uncatalogued, unsaved_metadata, records: Vec::new() };
        let lifetimes = Lifetimes::new(&options.lifetimes, options.retention_ms);
        let core = Self {
            options,
            clock,
            files,
            folder: folder.to_owned(),
            table,
            order: LabelOrder::default(),
            postings: RwLock::new(postings),
            metadata: RwLock::new(metadata),
            head,
            lifetimes,
            exemplars: RwLock::new(exemplars),
            blocks: RwLock::new(Arc::new(blocks)),
            columns,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
            maintenance: Mutex::new(Maintenance {
                open: Some(OpenFolder { catalog, _lock: lock }),
                state,
                flushing: None,
                unmergeable: std::collections::BTreeSet::new(),
                check_series: true,
                upkeep: Upkeep::default(),
            }),
            followers: Followers::default(),
            removals: AtomicU64::new(0),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            counters,
            damage: Arc::default(),
            merging: Mutex::default(),
            wake: super::background::Wake::default(),
            wake_merge: super::background::Wake::default(),
        };
        for damage in damage {
            core.damage.add(damage);
        }
        core.note_log(&core.writer.lock());
        Ok(core)
    }
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

/// Opens what is registered, removes what is not, and reports what is missing or damaged.
fn open_blocks(
    files: &dyn Files,
    folder: &Path,
    catalog: &Catalog,
    columns: &Arc<ColumnCache>,
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
        files.remove(&folder.join(name))?;
    }
    Ok((BlockSet::new(blocks, quarantined), damage))
}

/// Keeps copies of segments with damage; the log itself is trimmed by the next flush.
fn keep_damaged_segments(files: &dyn Files, replayed: &Replayed, quarantine: &Path) {
    let mut segments: Vec<&PathBuf> = replayed.damage.iter().map(|damage| &damage.file).collect();
    segments.dedup();
    for segment in segments {
        if let Err(error) = keep_copy(files, segment, "log", quarantine) {
            tracing::warn!(%error, "no copy of a damaged log segment is kept");
        }
    }
}

impl Recovery {
    fn from_catalog(catalog: &Catalog, state: &State, options: &EngineOptions) -> Result<Self, OpenError> {
        let mut recovery = Self {
            table: SeriesTable::default(),
            postings: Postings::default(),
            metadata: BTreeMap::new(),
            head: Head::default(),
            exemplars: Exemplars::new(options.exemplars_max),
            next_series: state.next_series,
            uncatalogued: Vec::new(),
            unsaved_metadata: std::collections::BTreeSet::new(),
            aliases: HashMap::default(),
            columns: SampleColumns::default(),
        };
        for entry in catalog.series() {
            let (id, labels) = entry?;
            recovery.table.insert(id, &labels);
            recovery.postings.insert(id, labels.as_ref());
            recovery.next_series = recovery.next_series.max(id.0.saturating_add(1));
        }
        for entry in catalog.metadata() {
            let (metric, metadata) = entry?;
            recovery.metadata.insert(metric, metadata);
        }
        Ok(recovery)
    }

    /// Applies a record of the log as it was applied when it was written.
    fn apply(&mut self, record: Record<'_>) -> Result<(), String> {
        let mut reader = PayloadReader::new(record.payload, std::mem::take(&mut self.columns));
        let mut unknown = 0;
        loop {
            match reader.next_section().map_err(|error| error.to_string())? {
                None => break,
                Some(Section::Series(series)) => series.iter().for_each(|&(id, labels)| self.define(id, labels)),
                Some(Section::Samples) => unknown += self.apply_samples(&mut reader.samples),
                Some(Section::FullSamples(rows)) => unknown += self.apply_full(rows),
                Some(Section::Exemplars(rows)) => self.apply_exemplars(rows),
                Some(Section::Metadata(metadata)) => {
                    for (metric, metadata) in metadata {
                        self.unsaved_metadata.insert(metric.to_owned());
                        self.metadata.insert(metric.to_owned(), metadata);
                    }
                }
            }
        }
        self.columns = reader.samples;
        if unknown > 0 { Err(format!("{unknown} samples of series whose definition is lost")) } else { Ok(()) }
    }

    fn define(&mut self, id: SeriesId, labels: LabelsRef<'_>) {
        self.next_series = self.next_series.max(id.0.saturating_add(1));
        let known = self.table.find(labels);
        if known == Some(id) {
            return;
        }
        let id_taken = self.table.labels(id).is_some();
        let own = known.unwrap_or(if id_taken { SeriesId(self.next_series) } else { id });
        if own != id {
            self.aliases.insert(id.0, own);
        }
        if known.is_none() {
            let labels = labels.to_owned();
            self.table.insert(own, &labels);
            self.postings.insert(own, labels.as_ref());
            self.uncatalogued.push(own);
            self.next_series = self.next_series.max(own.0.saturating_add(1));
        }
    }

    /// Adds the samples of known series that are more than a float; returns how many others there were.
    fn apply_full(&mut self, mut rows: Vec<FullRow>) -> usize {
        let count = rows.len();
        for row in &mut rows {
            row.id = self.own(row.id);
        }
        rows.retain(|row| self.postings.all().contains(row.id.0));
        self.head.apply_full(&rows);
        count - rows.len()
    }

    fn apply_exemplars(&mut self, rows: Vec<(SeriesId, Exemplar)>) {
        for (id, exemplar) in rows {
            let id = self.own(id);
            if self.postings.all().contains(id.0) {
                self.exemplars.push(id, exemplar);
            }
        }
    }

    /// The id that the labels have which the log knows as `id`.
    fn own(&self, id: SeriesId) -> SeriesId {
        self.aliases.get(&id.0).copied().unwrap_or(id)
    }

    /// Adds the samples of known series; returns how many others there were.
    fn apply_samples(&mut self, samples: &mut SampleColumns) -> usize {
        if !self.aliases.is_empty() {
            for id in &mut samples.ids {
                *id = self.aliases.get(id).map_or(*id, |own| own.0);
            }
        }
        let known = self.postings.all();
        // Ids come in runs, so that there is little to ask.
        let mut runs = samples.ids.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        if runs.all(|run| known.contains_range(run[0]..=run[run.len() - 1])) {
            self.head.apply(samples);
            return 0;
        }
        let mut kept = SampleColumns::default();
        let rows = samples.ids.iter().zip(&samples.timestamps_ms).zip(&samples.values);
        for ((&id, &timestamp_ms), &value) in rows.filter(|((id, _), _)| known.contains(**id)) {
            kept.push(SeriesId(id), timestamp_ms, value);
        }
        self.head.apply(&kept);
        samples.len() - kept.len()
    }
}
