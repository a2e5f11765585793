//! Merging: few larger blocks instead of many small ones.
//!
//! [`plan()`] decides by the blocks' records alone, [`Core::run_merge`] does it. A merge is planned under the
//! maintenance lock, written without it, beside flushes and reads, and committed under it if what it was planned on
//! still stands. It holds the samples of one series at a time, pauses while appends wait for a flush, and ends when the
//! engine closes. Only who holds the merging lock replaces or removes blocks. Chunks that are damaged are left out,
//! after a copy of their file went to the quarantine.

mod plan;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::{Samples, TimeRange};
use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::blocks::{Block, BlockSet};
use super::flush::{block_name, record_of};
use super::hidden::Tombstone;
use super::partition::{DAY_MS, Partition};
use super::strain::{affordable, merging_bytes};
use super::{Core, Counters, DAMAGE_KEPT_MAX, Maintenance, StorageError};
use crate::block::overlay::Mark;
use crate::block::{BlockError, BlockWriter, MergePlan, merge};
use crate::catalog::Change;
use crate::codec::Effort;
use crate::damage::{Damage, QUARANTINE_BYTES_MAX, keep_copy, not_kept};
use crate::ids::{BlockId, Sequence};
use plan::{Known, LEVEL_MAX, Plan, plan};
pub(super) use plan::{plan_deletes, plan_final};

/// Why a round of merges ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left to merge.
    Done,
    /// The engine closes.
    Interrupted,
    /// The disk has no room for what a merge writes before its inputs go.
    NoSpace,
}

impl Ended {
    /// Goes on with `next` if this is done.
    pub(super) fn then(self, next: impl FnOnce() -> Result<Self, StorageError>) -> Result<Self, StorageError> {
        if self == Self::Done { next() } else { Ok(self) }
    }
}

/// What one output of a merge keeps.
struct Keep<'a> {
    core: &'a Core,
    range: TimeRange,
    /// What was left out because it is damaged.
    damage: Vec<Damage>,
    /// From when on anything is kept of a series.
    start_ms_of: &'a dyn Fn(u64) -> i64,
    /// Deletes whose samples it leaves out.
    deletes: Vec<Arc<Tombstone>>,
}

impl MergePlan for Keep<'_> {
    fn keep(&mut self, series_id: u64) -> Option<TimeRange> {
        let start_ms = (self.start_ms_of)(series_id).max(self.range.start.0);
        let range = Some(TimeRange::new(start_ms, self.range.end.0)).filter(|range| !range.is_empty())?;
        let deleted = self.deletes.iter().any(|delete| delete.hides(series_id) && delete.covers(range));
        (!deleted).then_some(range)
    }

    fn edit(&mut self, series_id: u64, samples: &mut Samples) {
        for delete in self.deletes.iter().filter(|delete| delete.hides(series_id)) {
            Mark::default().remove(samples, delete.range);
        }
    }

    fn leave_out(&mut self, damage: Damage) -> bool {
        self.damage.push(damage);
        self.damage.len() <= DAMAGE_KEPT_MAX
    }

    fn go_on(&mut self) -> bool {
        self.core.merge_may_go_on()
    }
}

/// A merge under way.
#[derive(Debug)]
struct Running {
    inputs: Vec<Arc<Block>>,
    /// The blocks that it writes.
    outputs: Vec<(BlockId, Partition)>,
    level: u8,
}

impl Running {
    /// Whether the blocks are still as the merge was planned: its inputs are there, and if it changes partitions, nobody
    /// wrote to them or between them meanwhile.
    fn stands(&self, view: &BlockSet) -> bool {
        let there = self.inputs.iter().all(|input| view.blocks.iter().any(|block| block.id == input.id));
        let same = |input: &Arc<Block>| self.outputs.iter().all(|(_, output)| *output == input.partition());
        if !there || self.inputs.iter().all(same) {
            return there;
        }
        let of_inputs = self.inputs.iter().map(|input| input.partition());
        let touched: Vec<Partition> = of_inputs.chain(self.outputs.iter().map(|(_, output)| *output)).collect();
        let first_day = touched.iter().map(|partition| partition.first_day).min();
        let last_day = touched.iter().map(|partition| partition.last_day).max();
        let apart = |other: Partition| Some(other.last_day) < first_day || Some(other.first_day) > last_day;
        let is_input = |id: BlockId| self.inputs.iter().any(|input| input.id == id);
        view.blocks.iter().all(|block| is_input(block.id) || apart(block.partition()))
            && view.quarantined.iter().all(|(_, record)| apart(super::blocks::partition_of(record)))
    }
}

impl Core {
    /// Merges what is due, until nothing is, or the engine closes.
    pub(super) fn merge_all(&self, merging: &MutexGuard<'_, ()>) -> Result<Ended, StorageError> {
        let ended = self.merge_by(plan, merging)?;
        if ended != Ended::Interrupted {
            self.note_waiting(plan);
        }
        Ok(ended)
    }

    /// Takes note of what `plan` would still merge on a larger disk: it waits for room.
    fn note_waiting(&self, plan: fn(&Known<'_>) -> Option<Plan>) {
        let maintenance = self.maintenance.lock();
        let view = self.view();
        let waiting = plan(&self.known(&maintenance, &view, u64::MAX));
        let is_input = |block: &&Arc<Block>| waiting.as_ref().is_some_and(|due| due.inputs.contains(&block.id));
        let bytes = view.blocks.iter().filter(is_input).map(|block| block.record.bytes).sum();
        self.counters.merge_waiting_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes note of the block, of samples or summaries, that a delete waits to write anew.
    pub(super) fn note_waiting_delete(&self) {
        let maintenance = self.maintenance.lock();
        let (view, hidden) = (self.view(), self.hidden());
        let is_waiting = |block: &&Arc<Block>| !maintenance.unmergeable.contains(&block.id) && hidden.is_due(block);
        let bytes = view.blocks.iter().find(is_waiting).map_or(0, |block| block.record.bytes);
        self.counters.merge_waiting_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Merges by `plan` until it finds nothing more to merge, or the engine closes.
    pub(super) fn merge_by(
        &self,
        plan: fn(&Known<'_>) -> Option<Plan>,
        _: &MutexGuard<'_, ()>,
    ) -> Result<Ended, StorageError> {
        while !self.closing() {
            let Some(running) = self.begin_merge(plan)? else { return Ok(Ended::Done) };
            match self.run_merge(&running) {
                Ok(true) => {}
                Ok(false) => return Ok(Ended::NoSpace),
                Err(StorageError::Block(BlockError::Damaged(damage))) => {
                    let damaged = running.inputs.iter().find(|block| damage.file.ends_with(&block.record.file));
                    if !damaged.is_some_and(|block| self.maintenance.lock().unmergeable.insert(block.id)) {
                        return Err(BlockError::Damaged(damage).into());
                    }
                    self.damage.add(damage);
                }
                Err(StorageError::Block(BlockError::Stopped)) => return Ok(Ended::Interrupted),
                Err(error) if error.is_disk_full() => return Ok(Ended::NoSpace),
                Err(error) => return Err(error),
            }
        }
        Ok(Ended::Interrupted)
    }

    /// Plans the next merge, if one is due.
    fn begin_merge(&self, plan: fn(&Known<'_>) -> Option<Plan>) -> Result<Option<Running>, StorageError> {
        let mut maintenance = self.maintenance.lock();
        maintenance.catalog()?;
        self.check_poison()?;
        let view = self.view();
        let Some(due) = plan(&self.known(&maintenance, &view, self.rewrite_bytes_max())) else { return Ok(None) };
        let mut inputs: Vec<Arc<Block>> =
            view.blocks.iter().filter(|block| due.inputs.contains(&block.id)).cloned().collect();
        // Only where samples stay in their partition a part of the blocks can be merged first.
        if due.outputs.len() == 1 && inputs.iter().all(|input| due.outputs.contains(&input.partition())) {
            inputs.truncate(affordable(&inputs, self.options.maintenance_bytes_max));
        }
        let first = maintenance.state.next_block;
        maintenance.state.next_block += due.outputs.len() as u64;
        let outputs = (first..).map(BlockId).zip(due.outputs).collect();
        Ok(Some(Running { inputs, outputs, level: due.level }))
    }

    /// What merges are planned by, where there is room for `room_bytes` of blocks that are written anew.
    fn known<'a>(&self, maintenance: &'a Maintenance, view: &'a BlockSet, room_bytes: u64) -> Known<'a> {
        Known {
            blocks: view.raw().map(|block| (block.id, &block.record)).collect(),
            summarised: view.summarised(),
            blocked: view.blocked(&maintenance.unmergeable),
            flushed: maintenance.state.flushed,
            now_ms: self.clock.now().0,
            // What there is no room for now does not keep smaller merges waiting.
            bytes_max: self.options.merge_bytes_max.min(room_bytes),
            room_bytes,
            hidden: self.hidden(),
            view,
            unmergeable: &maintenance.unmergeable,
        }
    }

    /// Says whether there was space for it.
    fn run_merge(&self, running: &Running) -> Result<bool, StorageError> {
        let started = Instant::now();
        let inputs = &running.inputs;
        // Merging waits for space; it needs as much again until its inputs are removed.
        if self.rewrite_bytes_max() < inputs.iter().map(|block| block.record.bytes).sum::<u64>() {
            return Ok(false);
        }
        let _working = self.work_memory.take(merging_bytes(inputs));
        let mut added: Vec<Arc<Block>> = Vec::new();
        let mut damage = Vec::new();
        for &output in &running.outputs {
            match self.write_merged(running, output, &mut damage) {
                Ok(block) => added.extend(block),
                Err(error) => {
                    self.remove_blocks(&added);
                    return Err(error);
                }
            }
        }
        self.finish_merge(running, added, damage)?;
        self.counters.merge_times.add_since(started);
        Ok(true)
    }

    /// Puts what was written in the place of the inputs, unless these have changed meanwhile.
    fn finish_merge(&self, running: &Running, added: Vec<Arc<Block>>, damage: Vec<Damage>) -> Result<(), StorageError> {
        if let Err(error) = self.keep_damaged_blocks(running, damage) {
            self.remove_blocks(&added);
            return Err(error);
        }
        let mut maintenance = self.maintenance.lock();
        if !running.stands(&self.view()) {
            self.remove_blocks(&added);
            return Ok(());
        }
        let written_bytes = added.iter().map(|block| block.record.bytes).sum();
        let removed: Vec<BlockId> = running.inputs.iter().map(|block| block.id).collect();
        self.replace(&mut maintenance, &removed, added)?;
        drop(maintenance);
        for block in &running.inputs {
            self.remove_file(&block.record.file);
        }
        Counters::add(&self.counters.merges, 1);
        Counters::add(&self.counters.merge_read_bytes, running.inputs.iter().map(|block| block.record.bytes).sum());
        Counters::add(&self.counters.merge_written_bytes, written_bytes);
        Ok(())
    }

    /// Reports what a merge left out, and keeps the files that it is in, once each. A block of which no copy can be made is
    /// not merged.
    fn keep_damaged_blocks(&self, running: &Running, mut damage: Vec<Damage>) -> Result<(), StorageError> {
        for block in &running.inputs {
            let path = block.reader.path();
            let Some(found) = damage.iter().find(|damage| damage.file == path) else { continue };
            match keep_copy(&*self.files, path, "block", &self.quarantine(), QUARANTINE_BYTES_MAX) {
                Ok(true) => {}
                Ok(false) => damage.push(not_kept(path)),
                Err(error) => {
                    tracing::warn!(%error, "no copy of a damaged block can be kept, so it stays, and is not merged");
                    return Err(BlockError::Damaged(found.clone()).into());
                }
            }
        }
        for damage in damage {
            self.damage.add(damage);
        }
        Ok(())
    }

    fn write_merged(
        &self,
        running: &Running,
        (id, output): (BlockId, Partition),
        damage: &mut Vec<Damage>,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        let inputs = &running.inputs;
        let path = self.blocks_folder().join(block_name(id));
        let Partition { first_day, last_day } = output;
        // What will be merged again need not be as small as can be.
        let effort = if running.level < LEVEL_MAX { Effort::Fast } else { Effort::Small };
        let writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, effort)?;
        let start_ms = first_day.saturating_mul(DAY_MS).max(self.retention_start_ms());
        let last = inputs.iter().map(|block| block.record.last_sequence).max().unwrap_or(0);
        let ids = inputs.iter().fold(RoaringBitmap::new(), |all, block| all | block.ids());
        let (start_ms_of, deletes) = (self.lifetime_starts_of(&ids)?, self.hidden().applying(last));
        let range = TimeRange::new(start_ms, output.end_ms());
        let mut keep = Keep { core: self, range, start_ms_of: &start_ms_of, damage: Vec::new(), deletes };
        let readers: Vec<_> = inputs.iter().map(|block| &block.reader).collect();
        let merged = merge(&readers, &mut keep, writer)?;
        damage.append(&mut keep.damage);
        let Some(summary) = merged else { return Ok(None) };
        let first = inputs.iter().map(|block| block.record.first_sequence).min().unwrap_or(0);
        let record = record_of(id, output, running.level, &summary, Sequence(first), Sequence(last));
        self.open_block(id, record).map(Some)
    }

    /// Unregisters blocks and registers others in one step. The files of the removed ones are the caller's to unlink; if it is
    /// not begun, those that would be added are gone.
    pub(super) fn replace(
        &self,
        maintenance: &mut Maintenance,
        removed: &[BlockId],
        added: Vec<Arc<Block>>,
    ) -> Result<(), StorageError> {
        let change = Change {
            added: added.iter().map(|block| (block.id, block.record.clone())).collect(),
            removed: removed.to_vec(),
            state: maintenance.state,
        };
        let ready = maintenance.catalog().and_then(|catalog| self.check_catalog_space().map(|()| catalog));
        let catalog = ready.inspect_err(|_| self.remove_blocks(&added))?;
        // What becomes of a commit that fails only the next start knows.
        self.commit(catalog, &change)?;
        self.publish(removed, added);
        // Expired samples are left out, and with them perhaps the last of a series.
        maintenance.check_series = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::plan::{FAN_IN, Plan, ids_of};
    use super::*;
    use crate::engine::partition::Partition;

    const NOW_MS: i64 = 10 * DAY_MS;

    fn engine(folder: &std::path::Path) -> Arc<crate::Engine> {
        let options = crate::EngineOptions { background: false, retention_ms: None, ..crate::EngineOptions::default() };
        crate::Engine::open(folder, options, Arc::new(model::ManualClock::new(model::TimestampMs(NOW_MS))))
            .expect("opens")
    }

    fn append(engine: &crate::Engine, days: &[i64]) {
        let mut batch = model::WriteBatch::new();
        let up = model::Labels::from_pairs([("__name__", "up")]).expect("valid labels");
        batch.push_series(up.as_ref());
        for day in days {
            batch.push_sample(day * DAY_MS + 1, 0.5);
        }
        model::SampleSink::append(engine, &batch).expect("appended");
        engine.flush().expect("flushed");
    }

    fn files(folder: &std::path::Path) -> usize {
        std::fs::read_dir(folder.join("blocks")).expect("a folder").count()
    }

    #[test]
    fn a_flush_goes_on_while_a_merge_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(folder.path());
        for _ in 0..FAN_IN {
            append(&engine, &[10]);
        }
        let again = engine.core.begin_merge(plan).expect("planned").expect("due");
        let running = engine.core.begin_merge(plan).expect("planned").expect("due");
        append(&engine, &[10]);
        assert!(engine.core.run_merge(&running).expect("merged"));
        let view = engine.core.view();
        assert_eq!(view.blocks.iter().map(|block| block.record.level).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(files(folder.path()), 2);
        // The inputs of the other are gone: it changes nothing.
        assert!(engine.core.run_merge(&again).expect("given up"));
        assert_eq!((engine.core.view().blocks.len(), files(folder.path())), (2, 2));
    }

    #[test]
    fn a_merge_that_moves_partitions_gives_way_to_a_flush_into_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(folder.path());
        append(&engine, &[3]);
        append(&engine, &[5]);
        let join = |known: &Known<'_>| {
            let outputs = vec![Partition { first_day: 3, last_day: 5 }];
            Some(Plan { inputs: ids_of(&known.blocks), outputs, level: LEVEL_MAX })
        };
        let running = engine.core.begin_merge(join).expect("planned").expect("due");
        append(&engine, &[4]);
        assert!(engine.core.run_merge(&running).expect("given up"));
        let days: Vec<i64> = engine.core.view().partitions().iter().map(|partition| partition.first_day).collect();
        assert_eq!((days, files(folder.path())), (vec![3, 4, 5], 3));
        let running = engine.core.begin_merge(join).expect("planned").expect("due");
        assert!(engine.core.run_merge(&running).expect("merged"));
        assert_eq!((engine.core.view().partitions().len(), files(folder.path())), (1, 1));
    }
}
