//! Applying deletes: once a delete can no longer be undone, the blocks it reaches are rewritten without its samples.
//!
//! 1. One change of the catalog says that the delete is being applied, and from which block on blocks are without its
//!    samples: from then on every merge leaves them out, and there is no way back.
//! 2. Block after block is rewritten. What a crash leaves undone is found again by the blocks' ids.
//! 3. When no block is left, the delete has ended. Series that have nothing left go with the round's other empty ones.
//!
//! Blocks that cannot be read now keep their deletes: a repair must not bring back what was deleted.

use parking_lot::MutexGuard;

use super::hidden::Tombstone;
use super::merge::{Ended, plan_deletes};
use super::{Core, StorageError};
use crate::catalog::{DeleteRecord, DeleteStage};

impl Core {
    /// Applies the deletes whose window is over.
    pub(super) fn apply_due_deletes(&self, merging: &MutexGuard<'_, ()>) -> Result<Ended, StorageError> {
        let now_ms = self.clock.now().0;
        let undo_ms = self.options.delete_undo_ms;
        self.apply_deletes(merging, |record| now_ms.saturating_sub(record.created_ms) >= undo_ms)
    }

    /// Applies the deletes that `is_due` says, and goes on with those that are being applied.
    pub(super) fn apply_deletes(
        &self,
        merging: &MutexGuard<'_, ()>,
        is_due: impl Fn(&DeleteRecord) -> bool,
    ) -> Result<Ended, StorageError> {
        self.begin_applying(is_due)?;
        if self.deletes.read().in_stage(is_applying).is_empty() {
            return Ok(Ended::Done);
        }
        let ended = self.merge_by(plan_deletes, merging)?.then(|| self.forget_in_summaries())?;
        self.end_applied()?;
        Ok(ended)
    }

    fn begin_applying(&self, is_due: impl Fn(&DeleteRecord) -> bool) -> Result<(), StorageError> {
        let maintenance = self.open_maintenance()?;
        let mut due = self.deletes.read().in_stage(|stage| stage == DeleteStage::Pending);
        due.retain(|(_, record)| is_due(record));
        for (_, record) in &mut due {
            record.stage = DeleteStage::Applying { next_block: maintenance.state.next_block };
        }
        self.change_deletes(&maintenance, due)
    }

    /// Ends the deletes that are applied everywhere.
    fn end_applied(&self) -> Result<(), StorageError> {
        let maintenance = self.open_maintenance()?;
        let view = self.view();
        let at_ms = self.clock.now().0;
        let mut ended = self.deletes.read().in_stage(is_applying);
        ended.retain(|(id, _)| {
            let Some(tombstone) = self.deletes.read().tombstone(*id) else { return false };
            let unreadable = view.quarantined.iter().any(|(_, record)| tombstone.reaches(record));
            !unreadable && !view.blocks.iter().any(|block| is_left(&tombstone, block))
        });
        for (id, record) in &mut ended {
            record.stage = DeleteStage::Applied { at_ms };
            tracing::info!(id, samples = record.samples, "deleted samples are removed");
        }
        self.change_deletes(&maintenance, ended)
    }
}

fn is_applying(stage: DeleteStage) -> bool {
    matches!(stage, DeleteStage::Applying { .. })
}

/// Whether `block` may still have samples of the delete.
fn is_left(tombstone: &Tombstone, block: &super::blocks::Block) -> bool {
    tombstone.reaches(&block.record)
        && tombstone.next_block.is_none_or(|next_block| block.id.0 < next_block)
        && (!tombstone.series.is_disjoint(block.ids()) || block.damage().is_some())
}
