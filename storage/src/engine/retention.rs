//! Retention: whole blocks that are too old go, and series that nothing holds any more.
//!
//! Samples that are too old inside a block that is not are hidden from reads at once and left out by the next merge.
//! What the rules of single series ask for beyond that is [`lifetime`](super::lifetime)'s.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use model::{METRIC_NAME, Matcher, TimeRange};
use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::merge::{Ended, plan_final};
use super::{Core, Counters, Maintenance, StorageError};
use crate::files::FileError;
use crate::ids::{BlockId, SeriesId};

/// Most series removed in one round; appends wait for it.
const SERIES_ROUND_MAX: usize = 10_000;
/// What the names of a metric's series may have behind the name that its metadata has.
const SERIES_SUFFIXES: [&str; 8] = ["_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum"];

impl Core {
    /// One round: drops blocks, merges, makes summaries, removes series, lets others leave memory. What fails does not keep
    /// from its work what comes after it; the first failure is told.
    pub(super) fn maintain(&self) -> Result<(), StorageError> {
        let merging = self.merging.lock();
        self.drop_expired(&mut *self.open_maintenance()?)?;
        let rewritten = self.rewrite_blocks(&merging);
        // Also where a full disk is why nothing was merged: that is what the limit is for.
        let limited = self.keep_disk_limit(&merging);
        let removed = self.open_maintenance().and_then(|mut maintenance| self.remove_series(&mut maintenance));
        let cooled = self.cool_series(&merging);
        rewritten.and(limited).and(removed.map(drop)).and(cooled)
    }

    fn rewrite_blocks(&self, merging: &MutexGuard<'_, ()>) -> Result<(), StorageError> {
        // Summaries and samples of a delete that is applied in part are left alone.
        if self.apply_due_deletes(merging)? != Ended::Done {
            return Ok(());
        }
        let merged = self.merge_all(merging);
        let kept = self.keep_lifetimes(merging);
        merged.and(kept)
    }

    /// As [`maintain`](Self::maintain), but merges every partition to its end.
    pub(super) fn merge_to_end(&self) -> Result<(), StorageError> {
        self.work_to_end(|merging| {
            let ended = self.apply_due_deletes(merging)?.then(|| self.merge_by(plan_final, merging))?;
            // What is one block a partition may still be cut in two or joined.
            ended.then(|| self.merge_all(merging))?.then(|| self.keep_lifetimes(merging).map(|()| Ended::Done))
        })
    }

    /// Applies all deletes, those that could still be undone too.
    pub(super) fn apply_deletes_now(&self) -> Result<(), StorageError> {
        self.work_to_end(|merging| self.apply_deletes(merging, |_| true))
    }

    /// Does `work` on the blocks, which ends early for good reasons only, and removes series that have nothing left.
    fn work_to_end(
        &self,
        work: impl FnOnce(&MutexGuard<'_, ()>) -> Result<Ended, StorageError>,
    ) -> Result<(), StorageError> {
        let merging = self.merging.lock();
        self.drop_expired(&mut *self.open_maintenance()?)?;
        match work(&merging)? {
            Ended::Done => {
                while self.remove_series(&mut *self.open_maintenance()?)? == SERIES_ROUND_MAX {}
                Ok(())
            }
            Ended::NoSpace => {
                Err(FileError::DiskFull { operation: "merge blocks in", path: self.blocks_folder() }.into())
            }
            Ended::Interrupted => {
                let short = self.refused().filter(|_| !self.closing());
                Err(short.map_or(StorageError::Closed, |detail| StorageError::Short { detail }))
            }
        }
    }

    /// The maintenance lock, of an engine that can still change its catalog.
    pub(super) fn open_maintenance(&self) -> Result<MutexGuard<'_, Maintenance>, StorageError> {
        self.wait_replayed()?;
        let maintenance = self.maintenance.lock();
        maintenance.catalog()?;
        self.check_poison()?;
        Ok(maintenance)
    }

    fn drop_expired(&self, maintenance: &mut Maintenance) -> Result<(), StorageError> {
        let start_ms = self.retention_start_ms();
        let view = self.view();
        let readable = view.blocks.iter().map(|block| (block.id, &block.record));
        let expired: Vec<_> = readable
            .chain(view.quarantined.iter().map(|(id, record)| (*id, record)))
            .filter(|(_, record)| record.max_ms < start_ms)
            .collect();
        if expired.is_empty() {
            return Ok(());
        }
        let ids: Vec<BlockId> = expired.iter().map(|(id, _)| *id).collect();
        self.replace(maintenance, &ids, Vec::new())?;
        for (_, record) in &expired {
            self.remove_file(&record.file);
        }
        Counters::add(&self.counters.blocks_dropped, ids.len() as u64);
        Counters::add(&self.counters.dropped_bytes, expired.iter().map(|(_, record)| record.bytes).sum());
        Ok(())
    }

    /// The metrics with metadata, ascending, that only have series among `gone`, whose names are `names`.
    fn metrics_that_end(&self, names: &BTreeSet<String>, gone: &RoaringBitmap) -> Vec<String> {
        let known = self.metadata.read();
        let families = names.iter().flat_map(|name| {
            let stems = SERIES_SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix));
            stems.chain([name.as_str()])
        });
        let mut ends: Vec<String> =
            families.filter(|family| known.contains_key(*family)).map(ToOwned::to_owned).collect();
        drop(known);
        ends.sort_unstable();
        ends.dedup();
        // Where the index cannot tell, it stays.
        let ends_too =
            |name: String| self.series.select(&[Matcher::equal(METRIC_NAME, name)]).is_ok_and(|of| of.is_subset(gone));
        ends.retain(|family| {
            ends_too(family.clone()) && SERIES_SUFFIXES.iter().all(|suffix| ends_too(format!("{family}{suffix}")))
        });
        ends
    }

    /// Removes series without samples, at most so many a round. Returns how many.
    fn remove_series(&self, maintenance: &mut Maintenance) -> Result<usize, StorageError> {
        // A block that cannot be read now may be repaired, and needs its series then.
        if !maintenance.check_series || !self.view().quarantined.is_empty() {
            return Ok(0);
        }
        // Blocks stay as they are while maintenance is held; appends need not wait until their series are found out.
        let blocks = self.view();
        let mut whole = true;
        for damage in blocks.blocks.iter().filter_map(|block| block.damage()) {
            self.damage.add(damage.clone());
            whole = false;
        }
        if !whole {
            return Ok(0);
        }
        // With the writer's lock no series is created and no sample added meanwhile.
        let mut writer = self.writer.lock();
        let mut empty = self.series.all();
        for block in &blocks.blocks {
            empty -= block.ids();
        }
        empty -= self.head.overlapping(&empty, TimeRange::ALL);
        let gone: Vec<SeriesId> = empty.iter().take(SERIES_ROUND_MAX).map(SeriesId).collect();
        if gone.is_empty() {
            maintenance.check_series = false;
            return Ok(0);
        }
        self.check_catalog_space()?;
        let mut names = BTreeSet::new();
        let ids: RoaringBitmap = gone.iter().map(|id| id.0).collect();
        let read = self.series.each(&ids, |_, labels| {
            if !names.contains(labels.metric_name()) {
                names.insert(labels.metric_name().to_owned());
            }
        });
        let metrics = read.map_or_else(|_| Vec::new(), |()| self.metrics_that_end(&names, &ids));
        // Lasting with the series.
        let catalog = maintenance.catalog()?;
        let removed = catalog.remove_metadata(&metrics).and_then(|()| catalog.remove_series(&gone));
        removed.inspect_err(|error| drop(self.poison(error)))?;
        maintenance.check_series = gone.len() == SERIES_ROUND_MAX;
        self.series.remove(&gone, |labels| self.series_limits.release(labels.as_ref()));
        self.lifetimes.forget(&gone);
        self.metadata.write().retain(|metric, _| metrics.binary_search(metric).is_err());
        self.churn.lock().removed(self.clock.now().0, gone.len() as u64);
        // Only now, so that whoever sees this number finds none of the removed series; ids that appenders looked up
        // before are looked up again.
        self.removals.fetch_add(1, Ordering::AcqRel);
        writer.uncatalogued.retain(|id| gone.binary_search(id).is_err());
        drop(writer);
        Counters::add(&self.counters.series_removed, gone.len() as u64);
        Ok(gone.len())
    }
}
