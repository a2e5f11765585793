//! Retention: whole blocks that are too old go. Which series go with them is [`leave`](super::leave)'s.
//!
//! Samples that are too old inside a block that is not are hidden from reads at once and left out by the next merge.
//! What the rules of single series ask for beyond that is [`lifetime`](super::lifetime)'s.

use parking_lot::MutexGuard;

use super::merge::{Ended, plan_final};
use super::{Core, Counters, Maintenance, StorageError};
use crate::files::FileError;
use crate::ids::BlockId;

impl Core {
    /// One round: drops blocks, merges, makes summaries, removes series, lets others leave memory. What fails does not keep
    /// from its work what comes after it; the first failure is told.
    pub(super) fn maintain(&self) -> Result<(), StorageError> {
        let ended = self.maintain_once();
        if matches!(ended, Err(_) | Ok(Ended::NoSpace)) && !self.closing() {
            Counters::add(&self.counters.maintenance_failures, 1);
            if ended.is_ok() {
                let folder = self.blocks_folder();
                tracing::warn!(folder = %folder.display(), "the disk had no room for what a merge or a delete writes");
            }
        }
        ended.map(drop)
    }

    fn maintain_once(&self) -> Result<Ended, StorageError> {
        let merging = self.merging.lock();
        self.drop_expired(&mut *self.open_maintenance()?)?;
        let rewritten = self.rewrite_blocks(&merging);
        // Also where a full disk is why nothing was merged: that is what the limit is for.
        let limited = self.keep_disk_limit(&merging);
        let removed = self.open_maintenance().and_then(|mut maintenance| self.remove_series(&mut maintenance));
        let cooled = self.cool_series(&merging);
        let ended = rewritten?;
        limited.and(removed.map(drop)).and(cooled)?;
        Ok(ended)
    }

    fn rewrite_blocks(&self, merging: &MutexGuard<'_, ()>) -> Result<Ended, StorageError> {
        // Summaries and samples of a delete that is applied in part are left alone.
        let deleted = self.apply_due_deletes(merging)?;
        if deleted != Ended::Done {
            if deleted == Ended::NoSpace {
                self.note_waiting_delete();
            }
            return Ok(deleted);
        }
        let merged = self.merge_all(merging);
        let kept = self.keep_lifetimes(merging);
        let ended = merged?;
        kept.map(|()| ended)
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
                while self.remove_series(&mut *self.open_maintenance()?)? {}
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
}
