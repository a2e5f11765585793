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
//! One merge holds the samples of one series at a time.

use std::sync::Arc;

use model::TimeRange;

use super::blocks::{Block, BlockSet};
use super::flush::{block_name, record_of};
use super::partition::{DAY_MS, Partition, day_of};
use super::{CATALOG_SPACE_BYTES, Core, Counters, Maintenance, StorageError};
use crate::block::{BlockError, BlockWriter, MergePlan, merge};
use crate::catalog::{BlockRecord, Change};
use crate::codec::Effort;
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
    /// The engine closes, or has to flush first.
    Interrupted,
    /// The disk has no room for what a merge writes before its inputs go.
    NoSpace,
}

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// From the oldest to the newest write.
    blocks: Vec<(BlockId, &'a BlockRecord)>,
    /// Partitions with a block that cannot be read: nothing is merged there until it is repaired or expires.
    blocked: Vec<Partition>,
    /// Up to here the log is flushed; blocks that reach it were written last.
    flushed: u64,
    now_ms: i64,
    bytes_max: u64,
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
        let run = due_run(known, blocks);
        let all = || {
            let few = (2..=INPUTS_MAX).contains(&blocks.len()) && bytes_of(blocks) <= known.bytes_max;
            (few && known.settled(*partition, blocks)).then_some((&blocks[..], LEVEL_MAX))
        };
        if let Some((inputs, level)) = run.or_else(all) {
            return Some(Plan { inputs: ids_of(inputs), outputs: vec![*partition], level });
        }
        let wide = partition.first_day < partition.last_day && bytes_of(blocks) > SPLIT_BYTES;
        if wide
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
    blocks: &'a [(BlockId, &'b BlockRecord)],
) -> Option<(&'a [(BlockId, &'b BlockRecord)], u8)> {
    (0..LEVEL_MAX).find_map(|level| {
        let small = |(_, record): &(BlockId, &BlockRecord)| record.level <= level && record.bytes <= known.bytes_max;
        let runs = blocks.chunk_by(|a, b| small(a) && small(b));
        let tails = runs.flat_map(|run| (0..run.len()).map(|start| &run[start..]));
        let due = tails.map(|run| &run[..fitting(run, known.bytes_max)]).find(|run| run.len() >= FAN_IN);
        due.map(|run| (run, level + 1))
    })
}

/// The next merge on the way to one block a partition, in the smallest coding, whatever its size and age.
pub(super) fn plan_final(known: &Known<'_>) -> Option<Plan> {
    known.partitions().into_iter().find_map(|(partition, blocks)| {
        let is_final = blocks.len() == 1 && blocks.iter().all(|(_, record)| record.level == LEVEL_MAX);
        let inputs = &blocks[..blocks.len().min(INPUTS_MAX)];
        (!is_final).then(|| Plan { inputs: ids_of(inputs), outputs: vec![partition], level: LEVEL_MAX })
    })
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
        let free = !known.blocked.iter().any(|other| hull.contains(other.first_day));
        let small = bytes_of(of_a) + bytes_of(of_b) < JOIN_BYTES && of_a.len() + of_b.len() <= INPUTS_MAX;
        let inputs = [ids_of(of_a), ids_of(of_b)].concat();
        (free && small && known.settled(*a, of_a) && known.settled(*b, of_b)).then(|| Plan {
            inputs,
            outputs: vec![hull],
            level: LEVEL_MAX,
        })
    })
}

/// What one output of a merge keeps.
struct Keep<'a> {
    range: TimeRange,
    closed: &'a dyn Fn() -> bool,
}

impl MergePlan for Keep<'_> {
    fn keep(&mut self, _: u64) -> Option<TimeRange> {
        Some(self.range)
    }

    fn go_on(&mut self) -> bool {
        !(self.closed)()
    }
}

impl Core {
    /// Merges what is due, until nothing is, or the engine closes. With a background, a flush that is due goes first:
    /// the background flushes, and then merges on.
    pub(super) fn merge_all(&self, maintenance: &mut Maintenance) -> Result<Ended, StorageError> {
        self.merge_by(plan, maintenance)
    }

    /// Merges by `plan` until it finds nothing more to merge, or something else goes first.
    pub(super) fn merge_by(
        &self,
        plan: fn(&Known<'_>) -> Option<Plan>,
        maintenance: &mut Maintenance,
    ) -> Result<Ended, StorageError> {
        let interrupted = || self.closing() || (self.options.background && self.flush_due());
        while !interrupted() {
            let view = self.view();
            let known = Known {
                blocks: view.blocks.iter().map(|block| (block.id, &block.record)).collect(),
                blocked: view.blocked(&maintenance.unmergeable),
                flushed: maintenance.state.flushed,
                now_ms: self.clock.now().0,
                bytes_max: self.options.merge_bytes_max,
            };
            let Some(due) = plan(&known) else { return Ok(Ended::Done) };
            match self.run_merge(maintenance, &view, &due) {
                Ok(true) => {}
                Ok(false) => return Ok(Ended::NoSpace),
                Err(StorageError::Block(BlockError::Damaged(damage))) => {
                    let damaged = view.blocks.iter().find(|block| damage.file.ends_with(&block.record.file));
                    if !damaged.is_some_and(|block| maintenance.unmergeable.insert(block.id)) {
                        return Err(BlockError::Damaged(damage).into());
                    }
                    self.damage.add(damage);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ended::Interrupted)
    }

    /// Says whether there was space for it.
    fn run_merge(&self, maintenance: &mut Maintenance, view: &BlockSet, due: &Plan) -> Result<bool, StorageError> {
        self.check_poison()?;
        let inputs: Vec<&Arc<Block>> = view.blocks.iter().filter(|block| due.inputs.contains(&block.id)).collect();
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
        for &output in &due.outputs {
            let written = self.write_merged(maintenance, &inputs, output, due.level);
            match written {
                Ok(block) => added.extend(block),
                Err(error) => {
                    self.remove_blocks(&added);
                    return Err(error);
                }
            }
        }
        self.check_catalog_space().inspect_err(|_| self.remove_blocks(&added))?;
        self.replace(maintenance, &inputs.iter().map(|block| block.id).collect::<Vec<_>>(), added)?;
        for block in inputs {
            self.remove_file(&block.record.file);
        }
        Counters::add(&self.counters.merges, 1);
        Ok(true)
    }

    fn write_merged(
        &self,
        maintenance: &mut Maintenance,
        inputs: &[&Arc<Block>],
        output: Partition,
        level: u8,
    ) -> Result<Option<Arc<Block>>, StorageError> {
        let id = BlockId(maintenance.state.next_block);
        maintenance.state.next_block += 1;
        let path = self.blocks_folder().join(block_name(id));
        let Partition { first_day, last_day } = output;
        let writer = BlockWriter::create_spanning(self.files.clone(), &path, first_day, last_day, Effort::Small)?;
        let start_ms = first_day.saturating_mul(DAY_MS).max(self.retention_start_ms());
        let closed = || self.closing();
        let mut keep = Keep { range: TimeRange::new(start_ms, output.end_ms()), closed: &closed };
        let readers: Vec<_> = inputs.iter().map(|block| &block.reader).collect();
        let Some(summary) = merge(&readers, &mut keep, writer)? else { return Ok(None) };
        let first = inputs.iter().map(|block| block.record.first_sequence).min().unwrap_or(0);
        let last = inputs.iter().map(|block| block.record.last_sequence).max().unwrap_or(0);
        let record = record_of(id, output, level, &summary, Sequence(first), Sequence(last));
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

    #[track_caller]
    fn check(records: &[BlockRecord], flushed: u64, want: Option<(&[u64], (i64, i64), u8)>) {
        let blocks = (0..).map(BlockId).zip(records).collect();
        let known = Known { blocks, blocked: Vec::new(), flushed, now_ms: NOW_MS, bytes_max: 1000 };
        let want = want.map(|(inputs, (first_day, last_day), level)| Plan {
            inputs: inputs.iter().copied().map(BlockId).collect(),
            outputs: vec![Partition { first_day, last_day }],
            level,
        });
        assert_eq!(plan(&known), want, "for {records:?}");
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
        let known = Known { blocks, blocked: Vec::new(), flushed: 2, now_ms: NOW_MS, bytes_max: 1 << 40 };
        let halves = [(-7, -1), (0, 5)].map(|(first_day, last_day)| Partition { first_day, last_day });
        assert_eq!(plan(&known).map(|plan| plan.outputs), Some(halves.to_vec()));
    }
}
