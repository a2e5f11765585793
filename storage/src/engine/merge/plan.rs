//! Which blocks are merged next, and into which partitions. Decided by the blocks' records alone; doing it is left to
//! [`merge`](super).
//!
//! The rules, first that applies:
//!
//! 1. Four blocks in a row of a level up to *n* become one of level *n* + 1, of at most three levels.
//! 2. A partition whose days are over and that the last flush did not write to becomes one block.
//! 3. A partition of several days that has grown large is cut in two.
//! 4. Where there are many partitions, two small neighbours as in 2 become one partition.
//!
//! Only blocks of one partition that follow each other in write order are merged, so that it stays known which of two blocks
//! is newer; 3 and 4 take all blocks of their partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::BlockRecord;
use crate::engine::blocks::{BlockSet, partition_of};
use crate::engine::hidden::Hidden;
use crate::engine::partition::{Partition, day_of};
use crate::ids::BlockId;

/// Blocks of a level that become one of the next.
pub(super) const FAN_IN: usize = 4;
/// Highest level of a merge by number.
pub(super) const LEVEL_MAX: u8 = 3;
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
pub(in crate::engine) struct Plan {
    pub(super) inputs: Vec<BlockId>,
    pub(super) outputs: Vec<Partition>,
    pub(super) level: u8,
}

/// What a plan is made from.
#[derive(Debug)]
pub(in crate::engine) struct Known<'a> {
    /// From the oldest to the newest write.
    pub(super) blocks: Vec<(BlockId, &'a BlockRecord)>,
    /// Partitions with a block that cannot be read: nothing is merged there until it is repaired or expires.
    pub(super) blocked: Vec<Partition>,
    /// Partitions with summaries: these are of all of their samples, so they stay as they are.
    pub(super) summarised: Vec<Partition>,
    /// Up to here the log is flushed; blocks that reach it were written last.
    pub(super) flushed: u64,
    pub(super) now_ms: i64,
    /// Most bytes of blocks that become one.
    pub(super) bytes_max: u64,
    /// Most bytes of blocks that there is room for to write anew.
    pub(super) room_bytes: u64,
    /// What deletes hide; those that reach some blocks of a partition and not the others part them.
    pub(super) hidden: Hidden,
    /// The blocks themselves, where their records do not tell enough.
    pub(super) view: &'a BlockSet,
    pub(super) unmergeable: &'a BTreeSet<BlockId>,
}

impl Known<'_> {
    /// The partitions with their blocks, in order of time.
    fn partitions(&self) -> Vec<(Partition, Vec<(BlockId, &BlockRecord)>)> {
        let mut of: BTreeMap<Partition, Vec<(BlockId, &BlockRecord)>> = BTreeMap::new();
        for &(id, record) in &self.blocks {
            let partition = partition_of(record);
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

pub(super) fn ids_of(blocks: &[(BlockId, &BlockRecord)]) -> Vec<BlockId> {
    blocks.iter().map(|(id, _)| *id).collect()
}

/// The next merge that is due, if any.
pub(super) fn plan(known: &Known<'_>) -> Option<Plan> {
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
            && bytes_of(blocks) <= known.room_bytes
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
pub(in crate::engine) fn plan_final(known: &Known<'_>) -> Option<Plan> {
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
pub(in crate::engine) fn plan_deletes(known: &Known<'_>) -> Option<Plan> {
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
        let bytes = bytes_of(of_a) + bytes_of(of_b);
        let small = bytes < JOIN_BYTES && bytes <= known.room_bytes && of_a.len() + of_b.len() <= INPUTS_MAX;
        let inputs = [ids_of(of_a), ids_of(of_b)].concat();
        let together = known.together(hull, &[&of_a[..], of_b].concat());
        (free && small && together && known.settled(*a, of_a) && known.settled(*b, of_b)).then(|| Plan {
            inputs,
            outputs: vec![hull],
            level: LEVEL_MAX,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::partition::DAY_MS;

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

    fn planned(blocks: Vec<(BlockId, &BlockRecord)>, flushed: u64, room_bytes: u64) -> Option<Plan> {
        let (view, unmergeable, bytes_max) = (&BlockSet::default(), &BTreeSet::new(), room_bytes.min(1000));
        let (blocked, summarised, hidden, now_ms) = (Vec::new(), Vec::new(), Hidden::default(), NOW_MS);
        plan(&Known { blocks, blocked, summarised, flushed, now_ms, bytes_max, room_bytes, hidden, view, unmergeable })
    }

    #[track_caller]
    fn check(records: &[BlockRecord], flushed: u64, want: Option<(&[u64], (i64, i64), u8)>) {
        let blocks = (0..).map(BlockId).zip(records).collect();
        let got = planned(blocks, flushed, u64::MAX);
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

    /// However long, if there is room for it; else it keeps others from nothing.
    #[test]
    fn a_large_run_of_days_is_cut_in_two() {
        let mut wide = record(-9, 3, 1);
        (wide.last_day, wide.min_ms, wide.max_ms, wide.bytes) = (8, -7 * DAY_MS, 5 * DAY_MS, SPLIT_BYTES + 1);
        let others = [record(9, 1, 1), record(9, 0, 2)];
        let blocks: Vec<_> = (0..).map(BlockId).zip([&wide].into_iter().chain(&others)).collect();
        let halves = [(-7, -1), (0, 5)].map(|(first_day, last_day)| Partition { first_day, last_day });
        assert_eq!(planned(blocks.clone(), 3, SPLIT_BYTES + 1).map(|plan| plan.outputs), Some(halves.to_vec()));
        let day = Partition { first_day: 9, last_day: 9 };
        assert_eq!(planned(blocks, 3, SPLIT_BYTES).map(|plan| plan.outputs), Some(vec![day]));
    }
}
