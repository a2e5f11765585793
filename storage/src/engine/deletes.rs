//! Deletes: asked for, undone. What one reaches is [`reach`](super::reach)'s, applying them [`apply_deletes`](super::apply_deletes)'s.
//!
//! A delete flushes the head, so that all it deletes is in blocks, and is lasting once the catalog has it. From then on
//! readers do not see its samples ([`hidden`](super::hidden)). Until its window is over it can be undone; then merging
//! rewrites the blocks that it reaches. What is written after it is new data and stays, whatever its timestamps.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Matcher, TimeRange};
use roaring::RoaringBitmap;

use super::blocks::BlockSet;
use super::hidden::{Border, Hidden, Tombstone};
use super::reach::Found;
use super::{Core, Maintenance, StorageError};
use crate::catalog::{DeleteRecord, DeleteStage};

/// Most deletes that wait or are being applied; each is looked at by every read.
pub const DELETES_PENDING_MAX: usize = 1000;
/// Most deletes that are remembered after they were applied or undone.
const DELETES_ENDED_MAX: usize = 1000;

/// What is to be deleted.
#[derive(Debug, Clone)]
pub struct DeleteRequest {
    /// Selectors of series, each as text for people and as matchers; what any of them selects is deleted.
    pub selectors: Vec<(String, Vec<Matcher>)>,
    /// Samples of this time are deleted.
    pub range: TimeRange,
    /// Who asks, as far as known; empty if not.
    pub by: String,
}

/// A delete that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Its number, never given out twice while it is remembered.
    pub id: u64,
    /// What it deletes, and how far it is.
    pub record: DeleteRecord,
    /// Until when it can be undone at least, in milliseconds since the Unix epoch.
    pub undo_until_ms: i64,
}

/// Why there is no delete, or it cannot be undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum DeleteError {
    /// Apply those that wait, or wait until they are.
    #[error(
        "{limit} deletes wait to be applied, which is the limit; apply them by clean_tombstones, or name several selectors at once"
    )]
    TooMany { limit: usize },
    /// No delete has this number, or it ended long ago.
    #[error("there is no delete {id}; `metrickit deletes` lists those there are")]
    Unknown { id: u64 },
    /// Nothing can be brought back.
    #[error("delete {id} cannot be undone: {reason}")]
    Settled { id: u64, reason: &'static str },
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// All deletes that are remembered, with the series of those that hide something.
#[derive(Debug, Default)]
pub(super) struct DeleteList {
    all: BTreeMap<u64, (DeleteRecord, Option<Arc<Tombstone>>)>,
    /// Of deletes that are being made.
    borders: Vec<Border>,
    hidden: Hidden,
}

impl DeleteList {
    pub(super) fn new(known: Vec<(u64, DeleteRecord, RoaringBitmap)>) -> Self {
        let mut list = Self::default();
        for (id, record, series) in known {
            list.insert(id, record, series);
        }
        list.refresh();
        list
    }

    fn insert(&mut self, id: u64, record: DeleteRecord, series: RoaringBitmap) {
        let tombstone = tombstone_of(&record, series);
        self.all.insert(id, (record, tombstone));
    }

    fn refresh(&mut self) {
        let tombstones = self.all.values().filter_map(|(_, tombstone)| tombstone.clone());
        self.hidden = Hidden::new(tombstones).with_borders(&self.borders);
    }

    /// What the deletes hide now.
    pub(super) fn hidden(&self) -> Hidden {
        self.hidden.clone()
    }

    /// Deletes in a stage that `wanted` says, by id.
    pub(super) fn in_stage(&self, wanted: impl Fn(DeleteStage) -> bool) -> Vec<(u64, DeleteRecord)> {
        let chosen = self.all.iter().filter(|(_, (record, _))| wanted(record.stage));
        chosen.map(|(&id, (record, _))| (id, record.clone())).collect()
    }

    /// The series of a delete that hides something.
    pub(super) fn tombstone(&self, id: u64) -> Option<Arc<Tombstone>> {
        self.all.get(&id).and_then(|(_, tombstone)| tombstone.clone())
    }

    fn change(&mut self, changed: Vec<(u64, DeleteRecord)>, forgotten: &[u64]) {
        for (id, record) in changed {
            let series = self.tombstone(id).map(|tombstone| tombstone.series.clone()).unwrap_or_default();
            self.insert(id, record, series);
        }
        self.all.retain(|id, _| !forgotten.contains(id));
        self.refresh();
    }
}

fn tombstone_of(record: &DeleteRecord, series: RoaringBitmap) -> Option<Arc<Tombstone>> {
    let next_block = match record.stage {
        DeleteStage::Pending => None,
        DeleteStage::Applying { next_block } => Some(next_block),
        DeleteStage::Undone { .. } | DeleteStage::Applied { .. } => return None,
    };
    let range = TimeRange::new(record.start_ms, record.end_ms);
    Some(Arc::new(Tombstone { range, last_sequence: record.last_sequence, series, next_block }))
}

impl Core {
    /// What deletes hide now. To be taken before the list of blocks.
    pub(super) fn hidden(&self) -> Hidden {
        self.deletes.read().hidden()
    }

    pub(super) fn deletes(&self) -> Vec<Delete> {
        let all = self.deletes.read().in_stage(|_| true);
        all.into_iter().map(|(id, record)| self.told(id, record)).collect()
    }

    fn told(&self, id: u64, record: DeleteRecord) -> Delete {
        let undo_until_ms = record.created_ms.saturating_add(self.options.delete_undo_ms);
        Delete { id, record, undo_until_ms }
    }

    /// Deletes. `None` if there was nothing to delete.
    pub(super) fn delete(&self, request: DeleteRequest) -> Result<Option<Delete>, DeleteError> {
        let begun = self.begin_delete(request.range)?;
        let counted = self.count_delete(&begun, &request)?;
        if counted.found.series.is_empty() {
            return Ok(None);
        }
        self.register_delete(&begun, request, counted).map(Some)
    }

    /// Flushes, so that what is to be deleted is in blocks, and keeps these from being merged with later ones.
    fn begin_delete(&self, range: TimeRange) -> Result<Begun<'_>, DeleteError> {
        let mut maintenance = self.open_maintenance()?;
        self.check_room_for_delete()?;
        self.flush_all(&mut maintenance)?;
        let border = Border { range, last_sequence: maintenance.state.flushed };
        let mut list = self.deletes.write();
        list.borders.push(border);
        list.refresh();
        Ok(Begun { core: self, border, view: self.view() })
    }

    fn check_room_for_delete(&self) -> Result<(), DeleteError> {
        let waiting = self.deletes.read().in_stage(DeleteStage::hides).len();
        if waiting >= DELETES_PENDING_MAX { Err(DeleteError::TooMany { limit: DELETES_PENDING_MAX }) } else { Ok(()) }
    }

    /// Finds out what is to be deleted, beside flushes and merges.
    fn count_delete(&self, begun: &Begun<'_>, request: &DeleteRequest) -> Result<Counted, DeleteError> {
        let selectors = request.selectors.iter().map(|(_, matchers)| matchers.as_slice());
        let ids = self.selected(selectors).map_err(StorageError::from)?;
        let mut found = Found::default();
        self.count_in_blocks(&begun.view, &ids, request.range, &self.hidden(), &mut found)?;
        Ok(Counted { ids, found })
    }

    /// Makes the delete lasting, then seen.
    fn register_delete(
        &self,
        begun: &Begun<'_>,
        request: DeleteRequest,
        Counted { ids, found }: Counted,
    ) -> Result<Delete, DeleteError> {
        let maintenance = self.open_maintenance()?;
        self.check_room_for_delete()?;
        let record = DeleteRecord {
            selectors: request.selectors.into_iter().map(|(text, _)| text).collect(),
            start_ms: request.range.start.0,
            end_ms: request.range.end.0,
            last_sequence: begun.border.last_sequence,
            created_ms: self.clock.now().0,
            by: request.by,
            series: found.series.len(),
            samples: found.reach.samples,
            bytes: found.reach.bytes,
            stage: DeleteStage::Pending,
        };
        let id = self.deletes.read().all.last_key_value().map_or(1, |(id, _)| id + 1);
        self.check_catalog_space()?;
        // What another delete hides already stays hidden when that one is undone.
        let series = found.stored;
        let added = maintenance.catalog()?.add_delete(id, &record, &series);
        added.map_err(|error| self.catalog_failed(error))?;
        let mut list = self.deletes.write();
        list.insert(id, record.clone(), series);
        list.refresh();
        drop(list);
        self.exemplars.write().remove(&ids, request.range);
        tracing::info!(
            id, by = record.by, selectors = ?record.selectors, series = record.series, samples = record.samples,
            "samples are deleted, and hidden until that can no longer be undone"
        );
        Ok(self.told(id, record))
    }

    /// Brings back what a delete hides.
    pub(super) fn undo_delete(&self, id: u64) -> Result<Delete, DeleteError> {
        let maintenance = self.open_maintenance()?;
        let known = self.deletes.read().all.get(&id).map(|(record, _)| record.clone());
        let Some(mut record) = known else { return Err(DeleteError::Unknown { id }) };
        let settled = |reason| DeleteError::Settled { id, reason };
        record.stage = match record.stage {
            DeleteStage::Pending => DeleteStage::Undone { at_ms: self.clock.now().0 },
            DeleteStage::Undone { .. } => return Err(settled("it was undone already")),
            DeleteStage::Applying { .. } => return Err(settled("its samples are being removed")),
            DeleteStage::Applied { .. } => return Err(settled("its samples are removed")),
        };
        self.change_deletes(&maintenance, vec![(id, record.clone())])?;
        tracing::info!(id, "a delete is undone");
        Ok(self.told(id, record))
    }

    /// Makes changed deletes lasting, then seen. Of those that ended the oldest are forgotten.
    pub(super) fn change_deletes(
        &self,
        maintenance: &Maintenance,
        changed: Vec<(u64, DeleteRecord)>,
    ) -> Result<(), StorageError> {
        if changed.is_empty() {
            return Ok(());
        }
        let ended: Vec<u64> =
            self.deletes.read().in_stage(|stage| !stage.hides()).into_iter().map(|(id, _)| id).collect();
        let forgotten = &ended[..ended.len().saturating_sub(DELETES_ENDED_MAX)];
        self.check_catalog_space()?;
        let written =
            maintenance.catalog()?.change_deletes(changed.iter().map(|(id, record)| (*id, record)), forgotten);
        written.map_err(|error| self.catalog_failed(error))?;
        self.deletes.write().change(changed, forgotten);
        Ok(())
    }

    fn catalog_failed(&self, error: crate::catalog::CatalogError) -> StorageError {
        self.poison(&error);
        error.into()
    }
}

/// A delete that is being made. Until it is dropped no block of what came before is merged with one of what came after.
#[derive(Debug)]
struct Begun<'c> {
    core: &'c Core,
    border: Border,
    /// The blocks that have all it may delete.
    view: Arc<BlockSet>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut list = self.core.deletes.write();
        if let Some(at) = list.borders.iter().position(|border| *border == self.border) {
            list.borders.swap_remove(at);
        }
        list.refresh();
    }
}

/// What a delete reaches.
#[derive(Debug)]
struct Counted {
    ids: RoaringBitmap,
    found: Found,
}

#[cfg(test)]
mod tests {
    use model::{Labels, ManualClock, SampleSink, Samples, SeriesSource, TimestampMs, WriteBatch};

    use super::*;
    use crate::{Engine, EngineOptions};

    fn append(engine: &Engine, at_ms: i64) {
        let mut batch = WriteBatch::new();
        batch.push_series(Labels::from_pairs([("__name__", "up")]).expect("valid labels").as_ref());
        batch.push_sample(at_ms, 0.5);
        engine.append(&batch).expect("appended");
    }

    fn times(engine: &Engine) -> Vec<i64> {
        let set = engine.select(&[], TimeRange::ALL, 9).expect("selected");
        let mut samples = Samples::default();
        set.read(0, &mut samples).expect("read");
        samples.timestamps_ms
    }

    /// While a delete is counted flushes and merges go on, and what came meanwhile stays apart from what it hides.
    #[test]
    fn counting_holds_up_no_flush() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = EngineOptions { background: false, retention_ms: None, ..EngineOptions::default() };
        let clock = Arc::new(ManualClock::new(TimestampMs(0)));
        let engine = Engine::open(folder.path(), options, clock).expect("opens");
        for at_ms in [1, 2] {
            append(&engine, at_ms);
            engine.flush().expect("flushed");
        }
        let request =
            || DeleteRequest { selectors: vec![(String::new(), Vec::new())], range: TimeRange::ALL, by: String::new() };
        for registers in [false, true] {
            let begun = engine.core.begin_delete(TimeRange::ALL).expect("begun");
            append(&engine, 3);
            engine.flush().expect("flushed");
            let counted = engine.core.count_delete(&begun, &request()).expect("counted");
            assert_eq!(counted.found.reach.samples, if registers { 3 } else { 2 });
            engine.merge_to_end().expect("merged");
            assert_eq!(engine.core.view().blocks.len(), 2);
            if registers {
                engine.core.register_delete(&begun, request(), counted).expect("registered");
                assert_eq!(times(&engine), [3]);
            }
            drop(begun);
            assert!(engine.core.deletes.read().borders.is_empty());
            if !registers {
                engine.merge_to_end().expect("merged");
                assert_eq!(engine.core.view().blocks.len(), 1, "nothing parts them any more");
            }
        }
        engine.undo_delete(1).expect("undone");
        assert_eq!(times(&engine), [1, 2, 3]);
    }
}
