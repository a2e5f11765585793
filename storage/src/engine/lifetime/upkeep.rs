//! What is to be done for a partition whose days are over: which summaries are missing, which samples may go.
//!
//! It follows from what the blocks hold, so that nothing needs to be remembered over a restart: series that their rule
//! wants summaries of and that have none in the partition, samples that were written after the summaries were made,
//! series that are there longer than their rule keeps them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::rules::Life;
use crate::block::BlockError;
use crate::damage::Damage;
use crate::engine::blocks::{Block, BlockSet};
use crate::engine::partition::{DAY_MS, Partition};
use crate::engine::{Core, StorageError};

/// Blocks are written anew without the series that are there for too long once these are so large a part of them, one in so many.
pub(super) const GONE_SHARE_MIN: u64 = 4;

/// What is remembered of upkeep while the engine is open.
#[derive(Debug, Default)]
pub(in crate::engine) struct Upkeep {
    /// By partition and window: series of which there was nothing to summarise, and the log record up to which.
    nothing: HashMap<(Partition, i64), (u64, RoaringBitmap)>,
}

/// A partition with its blocks.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Those with samples, from the oldest to the newest write.
    pub(super) raw: Vec<Arc<Block>>,
    /// By window.
    pub(super) summaries: BTreeMap<i64, Arc<Block>>,
}

/// What a block of summaries of one window should be.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) window_ms: i64,
    /// The series it should have.
    pub(super) series: RoaringBitmap,
    /// Those of them that are to be made of their samples, because they are missing or were written to.
    pub(super) anew: RoaringBitmap,
}

impl Part {
    /// The series that the partition has anything of.
    pub(super) fn ids(&self) -> RoaringBitmap {
        self.raw.iter().chain(self.summaries.values()).fold(RoaringBitmap::new(), |all, block| all | block.ids())
    }

    /// The last log record whose samples it may hold.
    pub(super) fn last_sequence(&self) -> u64 {
        self.raw.iter().map(|block| block.record.last_sequence).max().unwrap_or(0)
    }

    /// Whether new blocks of summaries would have to be about later log records than those there are, which have some of
    /// `held`: deletes hide the summaries of these by their records.
    fn mixes(&self, held: &RoaringBitmap) -> bool {
        let sequence = self.last_sequence();
        let mut older = self.summaries.values().filter(|block| block.record.last_sequence < sequence);
        older.any(|block| !block.ids().is_disjoint(held))
    }

    /// Which series were written to after record `sequence`.
    fn written_after(&self, sequence: u64) -> RoaringBitmap {
        let newer = self.raw.iter().filter(|block| block.record.last_sequence > sequence);
        newer.fold(RoaringBitmap::new(), |all, block| all | block.ids())
    }
}

/// The partitions of `view` with their blocks, in order of time.
pub(super) fn parts(view: &BlockSet) -> BTreeMap<Partition, Part> {
    let mut parts: BTreeMap<Partition, Part> = BTreeMap::new();
    for block in &view.blocks {
        let part = parts.entry(block.partition()).or_default();
        match block.record.window_ms {
            0 => part.raw.push(block.clone()),
            window_ms => drop(part.summaries.insert(window_ms, block.clone())),
        }
    }
    parts
}

impl Upkeep {
    /// Remembers of which series there was nothing to summarise.
    pub(super) fn remember(&mut self, partition: Partition, window_ms: i64, sequence: u64, nothing: RoaringBitmap) {
        self.nothing.insert((partition, window_ms), (sequence, nothing));
    }

    /// Forgets partitions that are no more.
    fn forget_others(&mut self, parts: &BTreeMap<Partition, Part>) {
        self.nothing.retain(|(partition, _), _| parts.contains_key(partition));
    }

    /// The summaries that a partition should have; `None` if it has them. `by_rule` are its series by rule, without those of
    /// `held`, of which it keeps what it has.
    fn due(
        &self,
        partition: Partition,
        part: &Part,
        windows: &[i64],
        by_rule: &[(RoaringBitmap, &Life)],
        held: &RoaringBitmap,
    ) -> Option<Vec<Wanted>> {
        let mut all: Vec<i64> = windows.iter().chain(part.summaries.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        let end_ms = partition.end_ms();
        let sequence = part.last_sequence();
        let (mut due, mut wanted) = (false, Vec::with_capacity(all.len()));
        for window_ms in all {
            let block = part.summaries.get(&window_ms);
            let has = block.map(|block| block.ids().clone()).unwrap_or_default();
            let made = block.map_or(0, |block| block.record.last_sequence);
            let (mut series, mut named) = (RoaringBitmap::new(), RoaringBitmap::new());
            for (ids, life) in by_rule.iter().filter(|(_, life)| life.summaries_start_ms(window_ms) <= end_ms) {
                if life.steps.iter().any(|(step_ms, _)| *step_ms == window_ms) {
                    named |= ids;
                } else {
                    // What an earlier rule made stays as long as anything of the series.
                    series |= ids & &has;
                }
            }
            series |= &named;
            let empty = self.nothing.get(&(partition, window_ms)).filter(|(upto, _)| *upto == sequence);
            let missing = &named - &has - empty.map(|(_, ids)| ids.clone()).unwrap_or_default();
            let written = if made > 0 { part.written_after(made) & &series & &has } else { RoaringBitmap::new() };
            series |= &has & held;
            let gone = has.len() - has.intersection_len(&series);
            due |= !missing.is_empty() || !written.is_empty() || (gone > 0 && gone * GONE_SHARE_MIN >= has.len());
            wanted.push(Wanted { window_ms, anew: (&named - &has) | written, series });
        }
        due.then_some(wanted)
    }
}

impl Core {
    /// Makes the summaries that are missing, and removes what they stand for, partition by partition, until the engine
    /// closes.
    pub(in crate::engine) fn keep_lifetimes(&self, _: &MutexGuard<'_, ()>) -> Result<(), StorageError> {
        // Before the blocks: what is in the head no more when its span is read is found in them.
        let in_head = self.head.span();
        let mut maintenance = self.open_maintenance()?;
        let view = self.view();
        let parts = parts(&view);
        maintenance.upkeep.forget_others(&parts);
        let blocked = view.blocked(&maintenance.unmergeable);
        let flushed = maintenance.state.flushed;
        drop(maintenance);
        let hidden = self.hidden();
        if self.lifetimes.is_plain() && parts.values().all(|part| part.summaries.is_empty()) {
            return Ok(());
        }
        let now_ms = self.clock.now().0;
        let lives = self.lifetimes.at(now_ms);
        let windows = self.lifetimes.windows();
        let all = view.blocks.iter().fold(RoaringBitmap::new(), |all, block| all | block.ids());
        let by_rule = self.lifetimes.split(&all, &self.series)?;
        for (&partition, part) in &parts {
            // As for merges: a partition that is being written to would be summarised again and again.
            let quiet = partition.end_ms() < now_ms.saturating_sub(DAY_MS)
                || part.raw.iter().all(|block| block.record.last_sequence < flushed);
            // Of series of which a delete may give something back, what there is stays as it is.
            let held = hidden.series_in(partition.range());
            if partition.end_ms() >= now_ms
                || !quiet
                || blocked.contains(&partition)
                || part.mixes(&held)
                || hidden.is_bordered(partition.range())
            {
                continue;
            }
            let ids = part.ids() - &held;
            let here: Vec<(RoaringBitmap, &Life)> = by_rule.iter().map(|of| of & &ids).zip(&lives).collect();
            let due = self.maintenance.lock().upkeep.due(partition, part, &windows, &here, &held);
            let done = match due {
                Some(wanted) => self.make_summaries(partition, part, &wanted),
                // Of what was made now, samples go in the next round.
                None => self.drop_raw(partition, part, &here, in_head),
            };
            match done {
                Ok(true) => {}
                Ok(false) | Err(StorageError::Block(BlockError::Stopped)) => return Ok(()),
                Err(StorageError::Block(BlockError::Damaged(damage))) => self.leave_alone(part, damage),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Neither merges nor summarises the partition of a damaged block any more.
    fn leave_alone(&self, part: &Part, damage: Damage) {
        let mut blocks = part.raw.iter().chain(part.summaries.values());
        if let Some(block) = blocks.find(|block| damage.file.ends_with(&block.record.file)) {
            self.maintenance.lock().unmergeable.insert(block.id);
        }
        self.damage.add(damage);
    }
}
