//! Merging: few larger blocks instead of many small ones.
//!
//! [`plan`] decides by the blocks' records alone, [`Core::run_merge`] does it. Only blocks of one partition that follow
//! each other in write order are merged, so that it stays known which of two blocks is newer. The rules, first that
//! applies:
//!
//! 1. Four blocks in a row of a level up to *n* become one of level *n* + 1, of at most three levels.
//! 2. A partition whose days are over and that the last flush did not write to becomes one block.
//! 3. A partition of several days that has grown large is cut in two.
//! 4. Where there are many partitions, two small neighbours as in 2 become one partition.
//!
//! A merge is planned under the maintenance lock, written without it, beside flushes and reads, and committed under it if
//! what it was planned on still stands. It holds the samples of one series at a time, pauses while appends wait for a flush,
//! and ends when the engine closes. Only who holds the merging lock replaces or removes blocks. Chunks that are damaged are
//! left out, after a copy of their file went to the quarantine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use model::{Samples, TimeRange};
use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::blocks::{Block, BlockSet};
use super::flush::{block_name, record_of};
use super::hidden::{Hidden, Tombstone};
use super::partition::{DAY_MS, Partition, day_of};
use super::{CATALOG_SPACE_BYTES, Core, Counters, DAMAGE_KEPT_MAX, Maintenance, StorageError};
use crate::block::overlay::Mark;
use crate::block::{BlockError, BlockWriter, MergePlan, merge};
use crate::catalog::{BlockRecord, Change};
use crate::codec::Effort;
use crate::damage::{Damage, keep_copy};
use crate::ids::{BlockId, Sequence};

/// Blocks of a level that become one of the next.
const FAN_IN: usize = 4;
/// Highest level of a merge by number.
const LEVEL_MAX: u8 = 3;
/// Most blocks merged at once.
const INPUTS_MAX: usize = 64;
/// Partitions of several days are cut above this length.
const SPLIT_BYTES: u64 = 32 << 20;
/// Two neighbours shorter than this together are joined.
const JOIN_BYTES: u64 = 4 << 20;
/// As many partitions are left alone.
const JOIN_PARTITIONS_MIN: usize = 64;

/// Blocks to merge, and the partitions that their samples go to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    inputs: Vec<BlockId>,
    outputs: Vec<Partition>,
    level: u8,
}

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

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// From the oldest to the newest write.
    blocks: Vec<(BlockId, &'a BlockRecord)>,
    /// Partitions with a block that cannot be read: nothing is merged there until it is repaired or expires.
    blocked: Vec<Partition>,
    /// Partitions with summaries: these are of all of their samples, so they stay as they are.
    summarised: Vec<Partition>,
    /// Up to here the log is flushed; blocks that reach it were written last.
    flushed: u64,
    now_ms: i64,
    bytes_max: u64,
    /// What deletes hide; those that reach some blocks of a partition and not the others part them.
    hidden: Hidden,
    /// The blocks themselves, where their records do not tell enough.
    view: &'a BlockSet,
    unmergeable: &'a BTreeSet<BlockId>,
}

impl Known<'_> {
    /// The partitions with their blocks, in order of time.
    fn partitions(&self) -> Vec<(Partition, Vec<(BlockId, &BlockRecord)>)> {
        let mut of: std::collections::BTreeMap<Partition, Vec<(BlockId, &BlockRecord)>> =
            std::collections::BTreeMap::new();
        for &(id, record) in &self.blocks {
            let partition = super::blocks::partition_of(record);
            if !self.blocked.contains(&partition) {
                of.entry(partition).or_default().push((id, record));
            }
        }
        of.into_iter().collect()
    }

    /// Whether `blocks` of partitions within `hull` may become one: no delete reaches some of them only.
    fn together(&self, hull: Partition, blocks: &[(BlockId, &BlockRecord)]) -> bool {
        let last = |(_, record): &(BlockId, &BlockRecord)| record.last_sequence;
        let (min, max) = (blocks.iter().map(last).min(), blocks.iter().map(last).max());
        min.zip(max).is_none_or(|(min, max)| !self.hidden.part(hull.range(), min, max))
    }

    /// Whether nothing more is expected for the partition soon.
    fn settled(&self, partition: Partition, blocks: &[(BlockId, &BlockRecord)]) -> bool {
        partition.end_ms() < self.now_ms && blocks.iter().all(|(_, record)| record.last_sequence < self.flushed)
    }
}

fn bytes_of(blocks: &[(BlockId, &BlockRecord)]) -> u64 {
    blocks.iter().map(|(_, record)| record.bytes).sum()
}

fn ids_of(blocks: &[(BlockId, &BlockRecord)]) -> Vec<BlockId> {
    blocks.iter().map(|(id, _)| *id).collect()
}

/// The next merge that is due, if any.
fn plan(known: &Known<'_>) -> Option<Plan> {
    let partitions = known.partitions();
    for (partition, blocks) in &partitions {
        let run = due_run(known, *partition, blocks);
        let together = known.together(*partition, blocks);
        let all = || {
            let few = together && (2..=INPUTS_MAX).contains(&blocks.len()) && bytes_of(blocks) <= known.bytes_max;
            (few && known.settled(*partition, blocks)).then_some((&blocks[..], LEVEL_MAX))
        };
        if let Some((inputs, level)) = run.or_else(all) {
            return Some(Plan { inputs: ids_of(inputs), outputs: vec![*partition], level });
        }
        let whole = known.summarised.contains(partition);
        let wide = !whole && partition.first_day < partition.last_day && bytes_of(blocks) > SPLIT_BYTES;
        if wide
            && together
            && blocks.len() <= INPUTS_MAX
            && let Some(outputs) = split(*partition, blocks)
        {
            return Some(Plan { inputs: ids_of(blocks), outputs, level: LEVEL_MAX });
        }
    }
    join(known, &partitions)
}

/// Blocks in a row that are merged because of their number.
fn due_run<'a, 'b>(
    known: &Known<'_>,
    partition: Partition,
    blocks: &'a [(BlockId, &'b BlockRecord)],
) -> Option<(&'a [(BlockId, &'b BlockRecord)], u8)> {
    (0..LEVEL_MAX).find_map(|level| {
        let small = |(_, record): &(BlockId, &BlockRecord)| record.level <= level && record.bytes <= known.bytes_max;
        let runs = blocks.chunk_by(|a, b| small(a) && small(b) && known.together(partition, &[*a, *b]));
        let tails = runs.flat_map(|run| (0..run.len()).map(|start| &run[start..]));
        let due = tails.map(|run| &run[..fitting(run, known.bytes_max)]).find(|run| run.len() >= FAN_IN);
        due.map(|run| (run, level + 1))
    })
}

/// The next merge on the way to one block a partition, in the smallest coding, whatever its size and age.
pub(super) fn plan_final(known: &Known<'_>) -> Option<Plan> {
    known.partitions().into_iter().find_map(|(partition, blocks)| {
        // Blocks that a delete parts stay apart until it has ended.
        let runs = blocks.chunk_by(|a, b| known.together(partition, &[*a, *b]));
        let unfinished = |run: &&[(BlockId, &BlockRecord)]| run.len() > 1 || run[0].1.level != LEVEL_MAX;
        let run = runs.into_iter().find(unfinished)?;
        let inputs = &run[..run.len().min(INPUTS_MAX)];
        Some(Plan { inputs: ids_of(inputs), outputs: vec![partition], level: LEVEL_MAX })
    })
}

/// The next block that is written anew, alone, because it still has samples of deletes that are being applied.
pub(super) fn plan_deletes(known: &Known<'_>) -> Option<Plan> {
    let mut blocks = known.view.raw().filter(|block| !known.unmergeable.contains(&block.id));
    let block = blocks.find(|block| known.hidden.is_due(block))?;
    Some(Plan { inputs: vec![block.id], outputs: vec![block.partition()], level: block.record.level })
}

/// How many of the first `blocks` can be merged at once.
fn fitting(blocks: &[(BlockId, &BlockRecord)], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = |(_, record): &&(BlockId, &BlockRecord)| {
        bytes += record.bytes;
        bytes <= bytes_max
    };
    blocks.iter().take(INPUTS_MAX).take_while(fits).count()
}

/// Two halves of a partition, by the days that have samples; one if there is but one such day.
fn split(partition: Partition, blocks: &[(BlockId, &BlockRecord)]) -> Option<Vec<Partition>> {
    let first = blocks.iter().map(|(_, record)| day_of(record.min_ms)).min()?;
    let last = blocks.iter().map(|(_, record)| day_of(record.max_ms)).max()?;
    if first == last {
        return Some(vec![Partition { first_day: first, last_day: last }]);
    }
    // Days reach to about a hundred thousand million, far from overflow.
    let middle = first + (last - first) / 2;
    debug_assert!(partition.contains(first) && partition.contains(last), "samples lie in their partition");
    Some(vec![Partition { first_day: first, last_day: middle }, Partition { first_day: middle + 1, last_day: last }])
}

/// Two small neighbours that become one partition.
fn join(known: &Known<'_>, partitions: &[(Partition, Vec<(BlockId, &BlockRecord)>)]) -> Option<Plan> {
    if partitions.len() <= JOIN_PARTITIONS_MIN {
        return None;
    }
    partitions.array_windows().find_map(|[(a, of_a), (b, of_b)]| {
        let hull = Partition { first_day: a.first_day, last_day: b.last_day };
        let mut fixed = known.blocked.iter().chain(&known.summarised);
        let free = !fixed.any(|other| hull.contains(other.first_day));
        let small = bytes_of(of_a) + bytes_of(of_b) < JOIN_BYTES && of_a.len() + of_b.len() <= INPUTS_MAX;
        let inputs = [ids_of(of_a), ids_of(of_b)].concat();
        let together = known.together(hull, &[&of_a[..], of_b].concat());
        (free && small && together && known.settled(*a, of_a) && known.settled(*b, of_b)).then(|| Plan {
            inputs,
            outputs: vec![hull],
            level: LEVEL_MAX,
        })
    })
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
        self.merge_by(plan, merging)
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
        let known = Known {
            blocks: view.raw().map(|block| (block.id, &block.record)).collect(),
            summarised: view.summarised(),
            blocked: view.blocked(&maintenance.unmergeable),
            flushed: maintenance.state.flushed,
            now_ms: self.clock.now().0,
            bytes_max: self.options.merge_bytes_max,
            hidden: self.hidden(),
            view: &view,
            unmergeable: &maintenance.unmergeable,
        };
        let Some(due) = plan(&known) else { return Ok(None) };
        let inputs = view.blocks.iter().filter(|block| due.inputs.contains(&block.id)).cloned().collect();
        let first = maintenance.state.next_block;
        maintenance.state.next_block += due.outputs.len() as u64;
        let outputs = (first..).map(BlockId).zip(due.outputs).collect();
        Ok(Some(Running { inputs, outputs, level: due.level }))
    }

    /// Says whether there was space for it.
    fn run_merge(&self, running: &Running) -> Result<bool, StorageError> {
        let started = Instant::now();
        let inputs = &running.inputs;
        let needed_bytes = inputs.iter().map(|block| block.record.bytes).sum::<u64>();
        // Merging waits for space; it needs as much again until its inputs are removed.
        if self
            .files
            .available_bytes(&self.folder)
            .is_ok_and(|available| available < needed_bytes + CATALOG_SPACE_BYTES)
        {
            return Ok(false);
        }
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
        let ready = maintenance.catalog().map(drop).and_then(|()| self.check_catalog_space());
        if ready.is_err() || !running.stands(&self.view()) {
            self.remove_blocks(&added);
            return ready;
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

    /// Reports what a merge left out, and keeps the files that it is in, once each.
    fn keep_damaged_blocks(&self, running: &Running, damage: Vec<Damage>) -> Result<(), StorageError> {
        let quarantine = self.folder.join("quarantine");
        for block in &running.inputs {
            let path = block.reader.path();
            if damage.iter().any(|damage| damage.file == path) {
                keep_copy(&*self.files, path, "block", &quarantine)?;
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
        let (start_ms_of, deletes) = (self.lifetime_starts(&ids)?, self.hidden().applying(last));
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

    /// Unregisters blocks and registers others in one step. The files of the removed ones are the caller's to unlink.
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
        self.check_catalog_space()?;
        self.commit(maintenance.catalog()?, &change)?;
        self.publish(removed, added);
        // Expired samples are left out, and with them perhaps the last of a series.
        maintenance.check_series = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 10 * DAY_MS;

    fn record(day: i64, level: u8, last_sequence: u64) -> BlockRecord {
        BlockRecord {
            first_day: day,
            last_day: day,
            level,
            min_ms: day * DAY_MS,
            max_ms: day * DAY_MS,
            bytes: 100,
            last_sequence,
            ..BlockRecord::default()
        }
    }

    fn planned(blocks: Vec<(BlockId, &BlockRecord)>, flushed: u64, bytes_max: u64) -> Option<Plan> {
        let (view, unmergeable) = (&BlockSet::default(), &BTreeSet::new());
        let (blocked, summarised, hidden) = (Vec::new(), Vec::new(), Hidden::default());
        plan(&Known { blocks, blocked, summarised, flushed, now_ms: NOW_MS, bytes_max, hidden, view, unmergeable })
    }

    #[track_caller]
    fn check(records: &[BlockRecord], flushed: u64, want: Option<(&[u64], (i64, i64), u8)>) {
        let blocks = (0..).map(BlockId).zip(records).collect();
        let got = planned(blocks, flushed, 1000);
        let want = want.map(|(inputs, (first_day, last_day), level)| Plan {
            inputs: inputs.iter().copied().map(BlockId).collect(),
            outputs: vec![Partition { first_day, last_day }],
            level,
        });
        assert_eq!(got, want, "for {records:?}");
    }

    #[test]
    fn four_in_a_row_become_one() {
        let today = |level, at| record(10, level, at);
        check(&[today(0, 1), today(0, 2), today(0, 3)], 3, None);
        check(&[today(0, 1), today(0, 2), today(0, 3), today(0, 4)], 4, Some((&[0, 1, 2, 3], (10, 10), 1)));
        check(
            &[today(2, 1), today(0, 2), today(0, 3), today(0, 4), today(0, 5)],
            5,
            Some((&[1, 2, 3, 4], (10, 10), 1)),
        );
        check(&[today(0, 1), today(0, 2), today(3, 3), today(0, 4), today(0, 5)], 5, None);
        check(&[today(1, 1), today(1, 2), today(1, 3), today(0, 4)], 4, Some((&[0, 1, 2, 3], (10, 10), 2)));
    }

    /// Merging that had to wait, as for space, takes up what has gathered part by part.
    #[test]
    fn a_backlog_larger_than_one_merge_is_merged_in_parts() {
        let backlog: Vec<BlockRecord> = (1..=90).map(|at| record(10, 0, at)).collect();
        check(&backlog, 90, Some((&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], (10, 10), 1)));
        let mut after_large = backlog;
        after_large[0].bytes = 900;
        check(&after_large[..5], 5, Some((&[1, 2, 3, 4], (10, 10), 1)));
    }

    #[test]
    fn a_day_that_is_over_becomes_one_block() {
        check(&[record(9, 1, 1), record(9, 0, 2)], 3, Some((&[0, 1], (9, 9), 3)));
        check(&[record(9, 1, 1), record(9, 0, 3)], 3, None);
        check(&[record(10, 1, 1), record(10, 0, 2)], 3, None);
        check(&[record(9, 1, 1), record(8, 0, 2)], 3, None);
    }

    #[test]
    fn many_thin_days_are_joined() {
        let days: Vec<BlockRecord> = (-60..5).map(|day| record(day, 3, 1)).collect();
        check(&days, 2, Some((&[0, 1], (-60, -59), 3)));
        check(&days[1..], 2, None);
    }

    #[test]
    fn a_large_run_of_days_is_cut_in_two() {
        let mut wide = record(-9, 3, 1);
        (wide.last_day, wide.min_ms, wide.max_ms, wide.bytes) = (8, -7 * DAY_MS, 5 * DAY_MS, SPLIT_BYTES + 1);
        let blocks = vec![(BlockId(0), &wide)];
        let halves = [(-7, -1), (0, 5)].map(|(first_day, last_day)| Partition { first_day, last_day });
        assert_eq!(planned(blocks, 2, 1 << 40).map(|plan| plan.outputs), Some(halves.to_vec()));
    }

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
