//! Flushing: the head's older generation becomes blocks, and the log lets go of it.
//!
//! 1. Under the writer's lock: the log's segment ends, and the head turns to a new generation. What the ended one
//!    holds is exactly the records up to there.
//! 2. Without any lock: one block for each partition is written and synced, series by series.
//! 3. One commit of the catalog registers them, with new series, metadata and how far the log is covered.
//! 4. Readers get the blocks, then the generation is forgotten, then the log is trimmed.
//!
//! A failure before the commit leaves everything as it was: the next flush takes up the same generation.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::{Labels, MetricMetadata, Samples, TimeRange};

use super::blocks::{Block, BlockSet};
use super::cool::{Activity, written_ms};
use super::partition::{DayCount, Partition, day_of};
use super::strain::writing_bytes;
use super::{Core, Counters, Flushing, Maintenance, StorageError};
use crate::block::overlay::{append, times, within};
use crate::block::{BlockReader, BlockSummary, BlockWriter};
use crate::catalog::{BlockRecord, Catalog, CatalogError, Change, State};
use crate::codec::Effort;
use crate::head::Layer;
use crate::ids::{BlockId, Sequence, SeriesId};

/// Blocks that one pass over the head writes side by side; each takes a buffer and directories in memory.
const WRITERS_MAX: usize = 16;

/// New series are told to the catalog by so many ids: a few of its pages.
const NEW_SERIES_IDS: u32 = 1 << 12;

/// What a flush finds out about the series of its generation.
#[derive(Debug, Default)]
struct Seen {
    /// When they were written.
    activity: Activity,
    /// Whether samples were too old to be written: their series may have none left.
    too_old: bool,
}

impl Core {
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        self.flush_all(&mut *self.open_maintenance()?)
    }

    /// Flushes, and lets go of the folder if nothing is left to do in it. What was not replayed stays in the log.
    pub(super) fn flush_and_release(&self) -> Result<(), StorageError> {
        // A merge that somebody else runs ends soon, and must not write into a folder that was let go of.
        let _merging = self.merging.lock();
        let mut maintenance = self.maintenance.lock();
        if maintenance.open.is_some() {
            if self.replay.progress().is_none() {
                self.flush_all(&mut maintenance)?;
            }
            // Changes under way hold the catalog until they end.
            *self.rooms.write() = None;
            maintenance.open = None;
        }
        Ok(())
    }

    pub(super) fn flush_all(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        let resumed = maintenance.flushing.is_some();
        let mut flushed = self.flush_held(maintenance);
        if resumed && flushed.is_ok() {
            // That was what an earlier flush had left; now what came since.
            flushed = self.flush_held(maintenance);
        }
        self.flush_failed.store(flushed.is_err(), Ordering::Release);
        match &flushed {
            Ok(()) => {
                self.flush_asked.store(false, Ordering::Release);
                self.counters.flushed_ms.store(self.clock.now().0, Ordering::Relaxed);
            }
            Err(_) => Counters::add(&self.counters.flush_failures, 1),
        }
        flushed
    }

    fn flush_held(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        maintenance.catalog()?;
        self.check_poison()?;
        let started = Instant::now();
        if maintenance.flushing.is_none() {
            maintenance.flushing = self.begin_flush(&maintenance.state)?;
        }
        let Some(flushing) = &maintenance.flushing else { return Ok(()) };
        let mut seen = Seen::default();
        let written = self.write_blocks(flushing, &mut maintenance.state.next_block, &mut seen)?;
        self.check_catalog_space().inspect_err(|_| self.remove_blocks(&written))?;
        let state = State { flushed: flushing.last.0, next_series: flushing.next_series, ..maintenance.state };
        let added = written.iter().map(|block| (block.id, block.record.clone())).collect();
        let change = Change { added, removed: Vec::new(), state };
        let catalog = maintenance.catalog()?;
        self.save_new(catalog, flushing).inspect_err(|error| drop(self.poison(error)))?;
        self.commit(catalog, &change)?;
        maintenance.state = state;
        Counters::add(&self.counters.flushed_bytes, written.iter().map(|block| block.record.bytes).sum());
        // In this order: a reader that no longer finds the samples in the head finds them in the blocks.
        self.publish(&[], written);
        self.head.clear(flushing.generation);
        let covered = flushing.last;
        maintenance.flushing = None;
        maintenance.activity.add(seen.activity);
        maintenance.check_series |= seen.too_old;
        Counters::add(&self.counters.flushes, 1);
        self.counters.flush_times.add_since(started);
        let mut writer = self.writer.lock();
        // What cannot be removed now is tried again by the next flush.
        if let Err(error) = writer.log.trim(covered) {
            tracing::warn!(%error, "the log cannot be trimmed");
        }
        self.note_log(&writer);
        Ok(())
    }

    /// Ends a generation of the head, if there is anything in it or in the log.
    fn begin_flush(&self, state: &State) -> Result<Option<Flushing>, StorageError> {
        let mut writer = self.writer.lock();
        let last = writer.log.last();
        if last.0 <= state.flushed {
            return Ok(None);
        }
        writer.log.seal().inspect_err(|error| drop(self.poison(error)))?;
        self.counters.log_unflushed_bytes.store(0, Ordering::Relaxed);
        let metadata = std::mem::take(&mut writer.unsaved_metadata);
        Ok(Some(Flushing {
            generation: self.head.turn(),
            first: Sequence(state.flushed + 1),
            last,
            next_series: writer.next_series,
            series: std::mem::take(&mut writer.uncatalogued),
            metadata: metadata.into_iter().collect(),
        }))
    }

    /// Tells the catalog of new series, when they came, and metadata; lasting with the next commit.
    fn save_new(&self, catalog: &Catalog, flushing: &Flushing) -> Result<(), CatalogError> {
        for ids in flushing.series.chunk_by(|a, b| a.0 / NEW_SERIES_IDS == b.0 / NEW_SERIES_IDS) {
            let labels = |&id: &SeriesId| Some((id, self.series.live_labels(id)?));
            let series: Vec<(SeriesId, Labels)> = ids.iter().filter_map(labels).collect();
            catalog.add_series(series.iter().map(|(id, labels)| (*id, labels)))?;
        }
        let known = self.metadata.read();
        let metadata: Vec<(String, MetricMetadata)> =
            flushing.metadata.iter().filter_map(|metric| Some((metric.clone(), known.get(metric)?.clone()))).collect();
        drop(known);
        catalog.set_metadata(metadata.iter().map(|(metric, metadata)| (metric.as_str(), metadata)))?;
        let churn = self.churn.lock().unsaved();
        churn.map_or(Ok(()), |record| catalog.set_churn(&record))
    }

    /// Makes a change of the catalog lasting.
    pub(super) fn commit(&self, catalog: &Catalog, change: &Change) -> Result<(), StorageError> {
        catalog.commit(change).inspect_err(|error| drop(self.poison(error)))?;
        self.counters.catalog_bytes.store(catalog.disk_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Writes the generation's samples, one block a partition. On failure no file of it stays.
    fn write_blocks(
        &self,
        flushing: &Flushing,
        next_block: &mut u64,
        seen: &mut Seen,
    ) -> Result<Vec<Arc<Block>>, StorageError> {
        let known = self.view().partitions();
        let kept = TimeRange::new(self.retention_start_ms(), i64::MAX);
        let partitions = self.count_days(flushing, kept, &known, seen)?;
        let mut written: Vec<Arc<Block>> = Vec::with_capacity(partitions.len());
        for part in partitions.chunks(self.writers_max(WRITERS_MAX)) {
            if let Err(error) = self.write_part(flushing, kept, part, next_block, &mut written) {
                self.remove_blocks(&written);
                return Err(error);
            }
        }
        Ok(written)
    }

    fn count_days(
        &self,
        flushing: &Flushing,
        kept: TimeRange,
        known: &[Partition],
        seen: &mut Seen,
    ) -> Result<Vec<Partition>, StorageError> {
        let mut days = DayCount::new(known);
        let now_ms = self.clock.now().0;
        let (mut extents, mut samples) = (Vec::new(), Samples::default());
        for page in 0..self.head.pages() {
            self.head.page_extents(page, flushing.generation, &mut extents);
            for series in extents.chunk_by(|a, b| a.series == b.series) {
                let newest_ms = series.iter().map(|extent| extent.range.end.0).max();
                if let (Some(extent), Some(newest_ms)) = (series.first(), newest_ms) {
                    seen.activity.note(extent.series, written_ms(newest_ms, now_ms, self.options.cold_after_ms));
                }
            }
            seen.too_old |= extents.iter().any(|extent| !kept.contains(extent.range.start.0));
            if extents.iter().all(|extent| kept.contains(extent.range.start.0) && has_no_day_between(extent.range)) {
                for extent in &extents {
                    add_ends(&mut days, extent.range, extent.samples);
                }
                continue;
            }
            for (_, layers) in self.head.page_layers(page, flushing.generation) {
                read_layers(&layers, kept, &mut samples)?;
                times(&samples).for_each(|at_ms| days.add(day_of(at_ms), 1));
            }
        }
        Ok(days.partitions())
    }

    /// Writes the blocks of at most [`WRITERS_MAX`] partitions, sorted, in one pass over the head.
    fn write_part(
        &self,
        flushing: &Flushing,
        kept: TimeRange,
        partitions: &[Partition],
        next_block: &mut u64,
        written: &mut Vec<Arc<Block>>,
    ) -> Result<(), StorageError> {
        let mut writers = Vec::with_capacity(partitions.len());
        let series_max = self.series.len() * partitions.len() as u64;
        let _working = self.work_memory.take(writing_bytes(series_max, 0));
        for partition in partitions {
            let id = BlockId(*next_block);
            *next_block += 1;
            let path = self.blocks_folder().join(block_name(id));
            let Partition { first_day, last_day } = *partition;
            let writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, Effort::Fast)?;
            writers.push((id, writer));
        }
        let (mut samples, mut part) = (Samples::default(), Samples::default());
        for page in 0..self.head.pages() {
            for (series, layers) in self.head.page_layers(page, flushing.generation) {
                read_layers(&layers, kept, &mut samples)?;
                for (at, partition) in partitions.iter().enumerate() {
                    let (floats, histograms) = within(&samples, partition.range());
                    part.clear();
                    append(&mut part, &samples, floats, histograms);
                    writers[at].1.add_series(u64::from(series.0), &part)?;
                }
            }
        }
        for ((id, writer), partition) in writers.into_iter().zip(partitions) {
            if writer.series() > 0 {
                let summary = writer.finish()?;
                let record = record_of(id, *partition, 0, &summary, flushing.first, flushing.last);
                written.push(self.open_block(id, record)?);
            }
        }
        Ok(())
    }

    /// Opens a block that was just written.
    pub(super) fn open_block(&self, id: BlockId, record: BlockRecord) -> Result<Arc<Block>, StorageError> {
        let path = self.blocks_folder().join(&record.file);
        match BlockReader::open(&*self.files, &path, self.columns.clone()) {
            Ok(reader) => Ok(Arc::new(Block::new(id, record, reader))),
            Err(error) => {
                self.remove_file(&record.file);
                Err(error.into())
            }
        }
    }

    /// Shows readers the blocks as the catalog has them now.
    pub(super) fn publish(&self, removed: &[BlockId], added: Vec<Arc<Block>>) {
        let mut blocks = self.blocks.write();
        let changed: BlockSet = blocks.change(removed, added);
        *blocks = Arc::new(changed);
    }

    /// Removes blocks that are not registered.
    pub(super) fn remove_blocks(&self, blocks: &[Arc<Block>]) {
        for block in blocks {
            self.remove_file(&block.record.file);
        }
    }

    /// Removes a block file that is not registered; one that stays is removed when the folder is opened next.
    pub(super) fn remove_file(&self, name: &str) {
        let path: &Path = &self.blocks_folder().join(name);
        if let Err(error) = self.files.remove(path)
            && !error.is_not_found()
        {
            tracing::warn!(%error, "an unregistered block stays until the next start");
        }
    }
}

/// Whether `range`, from one sample to another, touches no other days than those of its ends.
fn has_no_day_between(range: TimeRange) -> bool {
    day_of(range.end.0) - day_of(range.start.0) <= 1
}

/// Counts the samples of a chunk, half of them to the day of either end: days are exact, how full they are is not.
fn add_ends(days: &mut DayCount<'_>, range: TimeRange, count: u64) {
    let (first, last) = (day_of(range.start.0), day_of(range.end.0));
    if first == last {
        days.add(first, count);
    } else {
        days.add(first, count.div_ceil(2));
        days.add(last, count / 2);
    }
}

/// The samples of a series in `range`, newest layer over older ones.
fn read_layers(layers: &[Layer], range: TimeRange, samples: &mut Samples) -> Result<(), StorageError> {
    samples.clear();
    for layer in layers {
        layer.read(range, samples).map_err(|error| StorageError::Head { detail: error.to_string() })?;
    }
    Ok(())
}

/// The name of a block's file.
pub(super) fn block_name(id: BlockId) -> String {
    format!("{:08}.blk", id.0)
}

pub(super) fn record_of(
    id: BlockId,
    partition: Partition,
    level: u8,
    summary: &BlockSummary,
    first: Sequence,
    last: Sequence,
) -> BlockRecord {
    BlockRecord {
        file: block_name(id),
        first_day: partition.first_day,
        last_day: partition.last_day,
        level,
        min_ms: summary.bounds.start.0,
        max_ms: summary.bounds.end.0,
        series: summary.series,
        samples: summary.samples,
        bytes: summary.bytes,
        first_sequence: first.0,
        last_sequence: last.0,
        window_ms: 0,
    }
}
