//! Appending: many callers, one writer at a time, one sync for all that wait.
//!
//! A caller puts its prepared batch into the queue and waits for the writer's lock. Whoever gets it first writes the
//! batches of all in the queue, syncs once, applies them to the head in the order of the log, and leaves each its
//! result; the others find theirs when they get the lock. The order in the log is therefore the order in the head, and
//! replaying the log gives the same samples. New series get their id here, and become known only once the record that
//! defines them is in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hashbrown::HashMap;
use model::{Appended, Labels, MetricMetadata, Rejection, SeriesLimit, SinkError, WriteBatch};
use parking_lot::Mutex;

use super::exemplars::Verdict;
use super::extras::{Extras, cut};
use super::prepare::Prepared;
use super::{Core, Counters, Durability, RECORD_PAYLOAD_BYTES, Writer};
use crate::damage::Damage;
use crate::ids::{Sequence, SeriesId};
use crate::index::Found;
use crate::log::payload::{SampleColumns, push_metadata, push_series};
use crate::log::{LogError, frame};

/// Most series or metrics in one section.
const SECTION_TEXTS_MAX: usize = 1 << 12;
/// What a sender is told to wait when the head or the log is too large.
const BUSY_RETRY_MS: u64 = 1000;
/// What a sender is told to wait when the process is short of memory: a flush takes as long.
const SHORT_RETRY_MS: u64 = 5000;
/// Memory for the records of a group that is kept from one to the next.
const RECORDS_KEPT_BYTES: usize = 1 << 20;
/// The head and the log may be so many times larger than what makes them flush before appends are refused.
const BACKLOG_FACTOR: u64 = 2;

/// A batch in the queue.
#[derive(Debug)]
pub(super) struct Pending {
    prepared: Prepared,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
enum Outcome {
    Done(Result<Appended, SinkError>),
    /// Series were removed since its ids were looked up.
    LookUpAgain,
}

/// What of a batch belongs to series that were unknown when it was prepared.
#[derive(Debug, Default)]
struct Late {
    columns: SampleColumns,
    extras: Extras,
}

/// One group's new series and samples of series that were unknown when its batches were prepared.
#[derive(Debug, Default)]
struct Staged {
    ids: HashMap<Labels, SeriesId, ahash::RandomState>,
    /// In the order of their ids.
    created: Vec<(SeriesId, Labels)>,
    /// Cold ones that are written again, with the ids that they have.
    returned: Vec<(SeriesId, Labels)>,
}

impl Core {
    pub(super) fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        loop {
            self.admit()?;
            let prepared = self.prepare(batch)?;
            if prepared.is_empty() {
                Counters::add(&self.counters.samples_rejected, prepared.appended.samples_rejected);
                return Ok(prepared.appended);
            }
            let outcome = Arc::new(Mutex::new(None));
            self.queue.lock().push(Pending { prepared, outcome: outcome.clone() });
            let mut writer = self.writer.lock();
            if outcome.lock().is_none() {
                let group = std::mem::take(&mut *self.queue.lock());
                let guard = self.poison_on_panic("an append");
                self.write_group(&mut writer, group);
                guard.disarm();
            }
            drop(writer);
            let outcome = outcome.lock().take();
            match outcome {
                Some(Outcome::Done(mut result)) => {
                    if let Ok(appended) = &mut result {
                        self.tell_causes(appended);
                    }
                    return result;
                }
                Some(Outcome::LookUpAgain) => {}
                // Whoever wrote the group panicked: what of it is on disk is unknown.
                None => return Err(SinkError::Poisoned { detail: self.poison(&"an append was left unfinished") }),
            }
        }
    }

    /// Whether appends are taken at all now.
    fn admit(&self) -> Result<(), SinkError> {
        if let Some(detail) = self.poison.get() {
            return Err(SinkError::Poisoned { detail: detail.clone() });
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(SinkError::Closed);
        }
        if let Some(progress) = self.replay.progress() {
            return Err(SinkError::Busy { detail: progress.to_string(), retry_after_ms: BUSY_RETRY_MS });
        }
        if let Some(detail) = self.refused() {
            return Err(SinkError::Busy { detail, retry_after_ms: SHORT_RETRY_MS });
        }
        let head = (self.head.bytes(), self.options.head_bytes_max, "head");
        let log = (self.counters.log_unflushed_bytes.load(Ordering::Relaxed), self.options.flush_log_bytes, "log");
        for (bytes, flush_at_bytes, what) in [head, log] {
            if bytes > flush_at_bytes {
                self.wake.now();
            }
            if bytes / BACKLOG_FACTOR > flush_at_bytes {
                let detail = format!("{what} has {bytes} bytes waiting to be flushed");
                return Err(SinkError::Busy { detail, retry_after_ms: BUSY_RETRY_MS });
            }
        }
        Ok(())
    }

    /// Writes the batches of a group and leaves each its outcome.
    fn write_group(&self, writer: &mut Writer, group: Vec<Pending>) {
        let removals = self.removals.load(Ordering::Acquire);
        let (fresh, stale): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|pending| pending.prepared.removals == removals);
        for pending in stale {
            *pending.outcome.lock() = Some(Outcome::LookUpAgain);
        }
        let mut batches: Vec<(Prepared, Arc<Mutex<Option<Outcome>>>)> =
            fresh.into_iter().map(|pending| (pending.prepared, pending.outcome)).collect();
        let mut staged = Staged::default();
        let mut last = writer.log.last();
        let mut records = std::mem::take(&mut writer.records);
        records.clear();
        let mut late = Vec::with_capacity(batches.len());
        let mut staging = Ok(());
        for (prepared, _) in &mut batches {
            match self.stage(writer.next_series, prepared, &mut staged, &mut records, &mut last) {
                Ok(of_batch) => late.push(of_batch),
                Err(damage) => staging = Err(self.index_is_mended(damage)),
            }
        }
        let written = staging.and_then(|()| self.write_records(writer, &records, last));
        writer.records = records;
        writer.records.clear();
        writer.records.shrink_to(RECORDS_KEPT_BYTES);
        match written {
            Ok(()) => self.apply(writer, batches, late, staged),
            Err(error) => {
                let admitted = staged.created.iter().chain(&staged.returned);
                admitted.for_each(|(_, labels)| self.series_limits.release(labels.as_ref()));
                for (_, outcome) in batches {
                    *outcome.lock() = Some(Outcome::Done(Err(error.clone())));
                }
            }
        }
    }

    /// Refuses a group because an index file turned out damaged: nobody knows whether its series exist, and giving them other
    /// ids would part them from their samples. The catalog knows, and maintenance puts it right.
    #[cold]
    fn index_is_mended(&self, damage: Damage) -> SinkError {
        let detail = damage.to_string();
        self.damage.add(damage);
        self.wake_merge.now();
        SinkError::Busy { detail, retry_after_ms: BUSY_RETRY_MS }
    }

    /// Gives unknown series an id and appends the batch's records. Returns what `prepared` had no id for.
    ///
    /// # Errors
    ///
    /// When it cannot be told whether a series is known.
    fn stage(
        &self,
        next_series: u32,
        prepared: &mut Prepared,
        staged: &mut Staged,
        records: &mut Vec<u8>,
        last: &mut Sequence,
    ) -> Result<Late, Damage> {
        let mut late = Late::default();
        let created_before = staged.created.len();
        for (labels, samples) in std::mem::take(&mut prepared.unknown) {
            match self.id_of(&labels, next_series, staged)? {
                Ok(id) => samples.iter().for_each(|sample| late.columns.push(id, sample.timestamp.0, sample.value)),
                Err(limit) => self.reject_series(limit, &labels, samples.iter().map(|_| false), prepared),
            }
        }
        if !prepared.unknown_extras.is_empty() {
            self.stage_extras(next_series, prepared, staged, &mut late.extras)?;
        }
        prepared.appended.samples_accepted += (late.columns.len() + late.extras.full.len()) as u64;
        let created = &staged.created[created_before..];
        prepared.appended.series_created = created.len() as u64;
        let mut sections = Vec::new();
        for series in cut(created, SECTION_TEXTS_MAX, |(_, labels)| labels.packed().len()) {
            let mut section = Vec::new();
            push_series(&mut section, series.iter().map(|(id, labels)| (*id, labels.as_ref())));
            sections.push(section);
        }
        self.push_sample_sections(&late.columns, &mut sections);
        sections.append(&mut prepared.sections);
        for extras in [&late.extras, &prepared.extras] {
            extras.push_full_sections(&mut sections);
        }
        for extras in [&late.extras, &prepared.extras] {
            extras.push_exemplar_sections(&mut sections);
        }
        let text_bytes = |(metric, of): &(String, MetricMetadata)| metric.len() + of.unit.len() + of.help.len();
        for metadata in cut(&prepared.metadata, SECTION_TEXTS_MAX, text_bytes) {
            let mut section = Vec::new();
            push_metadata(&mut section, metadata.iter().map(|(metric, metadata)| (metric.as_str(), metadata)));
            sections.push(section);
        }
        push_records(records, &sections, last);
        self.spare.give_sections(sections);
        Ok(late)
    }

    /// Gives ids to what unknown series have besides plain floats. Exemplars alone make no series.
    fn stage_extras(
        &self,
        next_series: u32,
        prepared: &mut Prepared,
        staged: &mut Staged,
        into: &mut Extras,
    ) -> Result<(), Damage> {
        let unknown = std::mem::take(&mut prepared.unknown_extras);
        for (labels, samples) in unknown.full {
            match self.id_of(&labels, next_series, staged)? {
                Ok(id) => samples.into_iter().for_each(|sample| into.push(id, sample)),
                Err(limit) => {
                    self.reject_series(limit, &labels, samples.iter().map(|sample| sample.is_histogram), prepared);
                }
            }
        }
        for (labels, exemplars) in unknown.exemplars {
            match self.known_id(&labels, staged)? {
                Some(id) => into.exemplars.extend(exemplars.into_iter().map(|exemplar| (id, exemplar))),
                None => prepared.appended.exemplars_rejected += exemplars.len() as u64,
            }
        }
        Ok(())
    }

    /// The id of a series that is not in memory, given to it now if it has none and there is room; else the limit that is
    /// full.
    fn id_of(
        &self,
        labels: &Labels,
        next_series: u32,
        staged: &mut Staged,
    ) -> Result<Result<SeriesId, SeriesLimit>, Damage> {
        if let Some(&id) = staged.ids.get(labels) {
            return Ok(Ok(id));
        }
        let found = self.series.find(labels.as_ref())?;
        if let Some(Found::Live(id)) = found {
            return Ok(Ok(id));
        }
        let created = u32::try_from(staged.created.len()).ok();
        // The largest id stays free, so that the next one always fits.
        let new = created.and_then(|created| next_series.checked_add(created)).filter(|&id| id < u32::MAX);
        let id = match &found {
            Some(found) => Ok(found.id()),
            None => new.map(SeriesId).ok_or(SeriesLimit::Server),
        };
        let id = id.and_then(|id| self.series_limits.admit(labels.as_ref()).map(|()| id));
        if let Ok(id) = id {
            staged.ids.insert(labels.clone(), id);
            let into = if found.is_some() { &mut staged.returned } else { &mut staged.created };
            into.push((id, labels.clone()));
        }
        Ok(id)
    }

    /// The id of a series, if it has one.
    fn known_id(&self, labels: &Labels, staged: &Staged) -> Result<Option<SeriesId>, Damage> {
        match staged.ids.get(labels) {
            Some(&id) => Ok(Some(id)),
            None => Ok(self.series.find(labels.as_ref())?.map(|found| found.id())),
        }
    }

    /// Counts the samples of a series that `limit` has no room for; `are_histograms` tells of each what it is.
    #[cold]
    fn reject_series(
        &self,
        limit: SeriesLimit,
        labels: &Labels,
        are_histograms: impl ExactSizeIterator<Item = bool>,
        prepared: &mut Prepared,
    ) {
        let samples = are_histograms.len() as u64;
        prepared.appended.samples_over_limit[limit as usize] += samples;
        self.series_limits.note_refused(limit, labels.as_ref(), samples);
        for is_histogram in are_histograms {
            prepared.reject(is_histogram, || {
                let full = self.series_limits.full(limit, labels.as_ref());
                Rejection::SeriesLimit { series: labels.to_string(), full: Box::new(full) }
            });
        }
    }

    /// Puts the records into the log, and onto the disk if the durability asks for it.
    fn write_records(&self, writer: &mut Writer, records: &[u8], last: Sequence) -> Result<(), SinkError> {
        if let Some(detail) = self.poison.get() {
            return Err(SinkError::Poisoned { detail: detail.clone() });
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(SinkError::Closed);
        }
        if records.is_empty() {
            return Ok(());
        }
        let needed_bytes = self.options.disk_reserve_bytes.saturating_add(records.len() as u64);
        let full = |available_bytes| {
            Counters::add(&self.counters.disk_full_refusals, 1);
            SinkError::DiskFull { available_bytes, needed_bytes }
        };
        // A file system that does not say how much is left is found full by the write itself.
        match self.files.available_bytes(&self.folder) {
            Ok(available_bytes) if available_bytes < needed_bytes => return Err(full(available_bytes)),
            _ => {}
        }
        let count = last.0 - writer.log.last().0;
        let written = writer.log.append(records, last).and_then(|()| match self.options.durability {
            Durability::Sync => {
                Counters::add(&self.counters.log_syncs, 1);
                let started = Instant::now();
                writer.log.sync().inspect(|()| self.counters.sync_times.add_since(started))
            }
            Durability::Interval { .. } | Durability::Off => Ok(()),
        });
        match written {
            Ok(()) => {
                Counters::add(&self.counters.log_records, count);
                Counters::add(&self.counters.log_unflushed_bytes, records.len() as u64);
                self.note_log(writer);
                Ok(())
            }
            Err(LogError::DiskFull(_)) => Err(full(self.files.available_bytes(&self.folder).unwrap_or(0))),
            Err(error) => Err(SinkError::Poisoned { detail: self.poison(&error) }),
        }
    }

    /// Makes the group visible, in the order of the log.
    fn apply(
        &self,
        writer: &mut Writer,
        batches: Vec<(Prepared, Arc<Mutex<Option<Outcome>>>)>,
        late: Vec<Late>,
        staged: Staged,
    ) {
        self.series.insert(staged.returned.iter().map(|(id, labels)| (*id, labels)));
        self.create_series(writer, staged.created);
        for ((mut prepared, outcome), late) in batches.into_iter().zip(late) {
            // What was unknown when the batch was looked up came before what was known by then.
            self.head.apply(&late.columns);
            self.head.apply(&prepared.columns);
            self.spare.give_columns(prepared.columns);
            for extras in [late.extras, prepared.extras] {
                prepared.appended.exemplars_rejected += self.apply_extras(extras);
            }
            if !prepared.metadata.is_empty() {
                writer.unsaved_metadata.extend(prepared.metadata.iter().map(|(metric, _)| metric.clone()));
                self.metadata.write().extend(prepared.metadata);
            }
            Counters::add(&self.counters.samples_appended, prepared.appended.samples_accepted);
            Counters::add(&self.counters.samples_rejected, prepared.appended.samples_rejected);
            Counters::add(&self.counters.series_created, prepared.appended.series_created);
            *outcome.lock() = Some(Outcome::Done(Ok(prepared.appended)));
        }
    }

    /// Returns how many exemplars were not kept.
    fn apply_extras(&self, extras: Extras) -> u64 {
        if !extras.full.is_empty() {
            self.head.apply_full(&extras.full);
            Counters::add(&self.counters.histograms_appended, extras.histograms);
        }
        if extras.exemplars.is_empty() {
            return 0;
        }
        let mut kept = self.exemplars.write();
        let verdicts = extras.exemplars.into_iter().map(|(id, exemplar)| kept.push(id, exemplar));
        verdicts.filter(|verdict| *verdict == Verdict::Refused).count() as u64
    }

    /// Makes new series known; their definitions are in the log.
    pub(super) fn create_series(&self, writer: &mut Writer, created: Vec<(SeriesId, Labels)>) {
        if created.is_empty() {
            return;
        }
        self.series.insert(created.iter().map(|(id, labels)| (*id, labels)));
        for (id, _) in created {
            writer.uncatalogued.push(id);
            writer.next_series = writer.next_series.max(id.0.saturating_add(1));
        }
        self.churn.lock().created(self.clock.now().0, writer.next_series);
    }

    pub(super) fn note_log(&self, writer: &Writer) {
        self.counters.log_bytes.store(writer.log.bytes(), Ordering::Relaxed);
        self.counters.log_segments.store(writer.log.segments() as u64, Ordering::Relaxed);
    }
}

/// Appends `sections` as one record, or as several if they are large.
fn push_records(records: &mut Vec<u8>, sections: &[Vec<u8>], last: &mut Sequence) {
    let mut sections = sections.iter().map(Vec::as_slice).peekable();
    while sections.peek().is_some() {
        let mut parts = Vec::new();
        let mut bytes = 0;
        while let Some(part) = sections.next_if(|part| parts.is_empty() || bytes + part.len() <= RECORD_PAYLOAD_BYTES) {
            bytes += part.len();
            parts.push(part);
        }
        last.0 += 1;
        frame::push_record(records, *last, &parts);
    }
}
