//! The most that the folder may take: the oldest samples go first, and it is said.
//!
//! Samples go a partition at a time, then, if that is not enough, summaries, also from the oldest on. The newest
//! partition with samples stays: what is being written is worth more than what is old, and to lose it would end
//! monitoring. Partitions without samples but with summaries are shown by these.

use crate::catalog::BlockRecord;
use crate::engine::blocks::{BlockSet, partition_of};
use crate::engine::partition::Partition;
use crate::engine::{Core, Counters, StorageError};
use crate::ids::BlockId;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

impl Core {
    /// Length of all that the folder holds: blocks, catalog, log, index files, and what is in quarantine.
    fn folder_bytes(&self, view: &BlockSet, quarantine_bytes: u64) -> u64 {
        let blocks: u64 = records(view).map(|(_, record)| record.bytes).sum();
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let index_bytes = self.series.usage().file_bytes;
        blocks + get(&self.counters.catalog_bytes) + get(&self.counters.log_bytes) + index_bytes + quarantine_bytes
    }

    /// Drops the oldest partitions until the folder is as small as it must be, or only the newest is left.
    pub(in crate::engine) fn keep_disk_limit(&self, _: &MutexGuard<'_, ()>) -> Result<(), StorageError> {
        let limit_bytes = self.options.disk_bytes_max;
        if limit_bytes == 0 {
            return Ok(());
        }
        // What people move away is not counted any more.
        let quarantined = self.files.list(&self.quarantine()).unwrap_or_default();
        let quarantine_bytes = quarantined.iter().map(|entry| entry.bytes).sum();
        loop {
            let view = self.view();
            let bytes = self.folder_bytes(&view, quarantine_bytes);
            if bytes <= limit_bytes {
                return Ok(());
            }
            let Some((partition, dropped)) = oldest(&view) else { return Ok(()) };
            let freed_bytes: u64 = dropped.iter().map(|(_, record)| record.bytes).sum();
            let until_ms = partition.end_ms().saturating_add(1);
            tracing::warn!(
                until_ms,
                freed_bytes,
                bytes,
                limit_bytes,
                "the data folder is larger than disk_bytes_max: the oldest samples are dropped, though retention would keep them"
            );
            let files: Vec<String> = dropped.iter().map(|(_, record)| record.file.clone()).collect();
            let ids: Vec<BlockId> = dropped.iter().map(|(id, _)| *id).collect();
            self.replace(&mut *self.open_maintenance()?, &ids, Vec::new())?;
            for file in &files {
                self.remove_file(file);
            }
            Counters::add(&self.counters.disk_limit_drops, 1);
            Counters::add(&self.counters.disk_limit_bytes, freed_bytes);
            Counters::add(&self.counters.blocks_dropped, ids.len() as u64);
        }
    }
}

fn records(view: &BlockSet) -> impl Iterator<Item = (BlockId, &BlockRecord)> {
    let readable = view.blocks.iter().map(|block| (block.id, &block.record));
    readable.chain(view.quarantined.iter().map(|(id, record)| (*id, record)))
}

/// The blocks to drop first: the samples of the oldest partition that is not the newest, or else its summaries.
fn oldest(view: &BlockSet) -> Option<(Partition, Vec<(BlockId, &BlockRecord)>)> {
    let newest = records(view).filter(|(_, record)| record.window_ms == 0).map(|(_, of)| partition_of(of)).max();
    let first = |summaries: bool| {
        let of = || records(view).filter(move |(_, record)| (record.window_ms > 0) == summaries);
        let oldest = of().map(|(_, record)| partition_of(record)).min().filter(|&oldest| Some(oldest) != newest)?;
        Some((oldest, of().filter(|(_, record)| partition_of(record) == oldest).collect()))
    };
    first(false).or_else(|| first(true))
}
