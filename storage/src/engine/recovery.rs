//! One record of the log after the other, applied as it was when it was written.
//!
//! The order and what surrounds it are [`replay`](super::replay)'s. Here ids of the log become ids of the table: the
//! labels decide, and a definition that is lost costs the samples that need it, nothing else.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use model::{Exemplar, LabelsRef};

use super::Core;
use crate::ids::SeriesId;
use crate::log::payload::{FullRow, PayloadReader, SampleColumns, Section};
use crate::log::replay::Record;

/// What the records seen so far mean for those to come.
#[derive(Debug)]
pub(super) struct Recovery<'c> {
    core: &'c Core,
    pub(super) next_series: u32,
    pub(super) uncatalogued: Vec<SeriesId>,
    pub(super) unsaved_metadata: BTreeSet<String>,
    /// Ids that the log gives to labels which have another one. The labels decide.
    aliases: HashMap<u32, SeriesId, ahash::RandomState>,
    columns: SampleColumns,
    /// The latest sample so far, which tells about when a record was written.
    newest_ms: i64,
}

impl<'c> Recovery<'c> {
    /// Of an engine that holds what its catalog holds; ids from `next_series` on are free.
    pub(super) fn new(core: &'c Core, next_series: u32) -> Self {
        Self {
            core,
            next_series,
            uncatalogued: Vec::new(),
            unsaved_metadata: BTreeSet::new(),
            aliases: HashMap::default(),
            columns: SampleColumns::default(),
            newest_ms: i64::MIN,
        }
    }

    /// Applies a record of the log as it was applied when it was written.
    pub(super) fn apply(&mut self, record: Record<'_>) -> Result<(), String> {
        let mut reader = PayloadReader::new(record.payload, std::mem::take(&mut self.columns));
        let mut unknown = 0;
        let known = self.uncatalogued.len();
        loop {
            match reader.next_section().map_err(|error| error.to_string())? {
                None => break,
                Some(Section::Series(series)) => series.iter().try_for_each(|&(id, labels)| self.define(id, labels))?,
                Some(Section::Samples) => unknown += self.apply_samples(&mut reader.samples),
                Some(Section::FullSamples(rows)) => unknown += self.apply_full(rows),
                Some(Section::Exemplars(rows)) => self.apply_exemplars(rows),
                Some(Section::Metadata(metadata)) => {
                    let mut known = self.core.metadata.write();
                    for (metric, metadata) in metadata {
                        self.unsaved_metadata.insert(metric.to_owned());
                        known.insert(metric.to_owned(), metadata);
                    }
                }
            }
        }
        self.columns = reader.samples;
        if self.uncatalogued.len() > known {
            let at_ms = self.newest_ms.min(self.core.clock.now().0);
            self.core.churn.lock().created(at_ms, self.next_series);
        }
        if unknown > 0 { Err(format!("{unknown} samples of series whose definition is lost")) } else { Ok(()) }
    }

    fn define(&mut self, id: SeriesId, labels: LabelsRef<'_>) -> Result<(), String> {
        self.know(Some(id.0));
        let known = self.core.series.find(labels).map_err(|damage| damage.to_string())?.map(|found| found.id());
        if known == Some(id) {
            return Ok(());
        }
        let id_taken = self.core.series.has(id);
        let own = known.unwrap_or(if id_taken { SeriesId(self.next_series) } else { id });
        if own != id {
            self.aliases.insert(id.0, own);
        }
        if known.is_none() {
            let labels = labels.to_owned();
            self.core.series.insert([(own, &labels)]);
            self.uncatalogued.push(own);
            self.next_series = self.next_series.max(own.0.saturating_add(1));
        }
        Ok(())
    }

    /// Gives no series an id that the log knows, also where its definition is lost: samples would go to it that are another's.
    fn know(&mut self, newest: Option<u32>) {
        self.next_series = self.next_series.max(newest.map_or(0, |id| id.saturating_add(1)));
    }

    /// Adds the samples of known series that are more than a float; returns how many others there were.
    fn apply_full(&mut self, mut rows: Vec<FullRow>) -> usize {
        let count = rows.len();
        self.know(rows.iter().map(|row| row.id.0).max());
        for row in &mut rows {
            self.newest_ms = self.newest_ms.max(row.timestamp_ms);
            row.id = self.own(row.id);
        }
        self.core.series.with_known(|known| rows.retain(|row| known.has(row.id)));
        self.core.head.apply_full(&rows);
        count - rows.len()
    }

    fn apply_exemplars(&mut self, rows: Vec<(SeriesId, Exemplar)>) {
        self.know(rows.iter().map(|(id, _)| id.0).max());
        let mut kept = self.core.exemplars.write();
        self.core.series.with_known(|known| {
            for (id, exemplar) in rows {
                let id = self.own(id);
                if known.has(id) {
                    kept.push(id, exemplar);
                }
            }
        });
    }

    /// The id that the labels have which the log knows as `id`.
    fn own(&self, id: SeriesId) -> SeriesId {
        self.aliases.get(&id.0).copied().unwrap_or(id)
    }

    /// Adds the samples of known series; returns how many others there were.
    fn apply_samples(&mut self, samples: &mut SampleColumns) -> usize {
        self.know(samples.ids.iter().copied().max());
        self.newest_ms = samples.timestamps_ms.iter().copied().fold(self.newest_ms, i64::max);
        if !self.aliases.is_empty() {
            for id in &mut samples.ids {
                *id = self.aliases.get(id).map_or(*id, |own| own.0);
            }
        }
        // Ids come in runs, so that there is little to ask.
        let mut runs = samples.ids.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        if self.core.series.with_known(|known| runs.all(|run| known.has_all(run[0]..=run[run.len() - 1]))) {
            self.core.head.apply(samples);
            return 0;
        }
        let mut kept = SampleColumns::default();
        let rows = samples.ids.iter().zip(&samples.timestamps_ms).zip(&samples.values);
        self.core.series.with_known(|known| {
            for ((&id, &timestamp_ms), &value) in rows.filter(|((id, _), _)| known.has(SeriesId(**id))) {
                kept.push(SeriesId(id), timestamp_ms, value);
            }
        });
        self.core.head.apply(&kept);
        samples.len() - kept.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Labels, ManualClock, SampleSink, TimestampMs, WriteBatch};

    use crate::files::RealFiles;
    use crate::ids::{Sequence, SeriesId};
    use crate::log::payload::push_samples;
    use crate::log::{Log, frame};
    use crate::{Engine, EngineOptions};

    /// Samples whose series is lost must not become those of a series that is new.
    #[test]
    fn no_id_of_the_log_is_given_out_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Arc::new(RealFiles);
        let path = folder.path().join("log");
        let (mut log, _) = Log::open(files, &path, 1 << 20, Sequence(0), &mut |_| Ok(())).expect("a new log");
        let (mut samples, mut record) = (Vec::new(), Vec::new());
        push_samples(&mut samples, &[40, 41], &[1, 1], &[0.5, 0.5]);
        frame::push_record(&mut record, Sequence(1), &[&samples]);
        log.append(&record, Sequence(1)).expect("appended");
        drop(log);

        let options = EngineOptions { background: false, retention_ms: None, ..EngineOptions::default() };
        let clock = Arc::new(ManualClock::new(TimestampMs(0)));
        let engine = Engine::open(folder.path(), options, clock).expect("opens");
        assert_eq!(engine.stats().damage.len(), 1, "their definition is lost");
        let up = Labels::from_pairs([("__name__", "up")]).expect("valid labels");
        let mut batch = WriteBatch::new();
        batch.push_series(up.as_ref());
        batch.push_sample(2, 1.0);
        engine.append(&batch).expect("appended");
        assert_eq!(
            engine.core.series.find(up.as_ref()).expect("readable"),
            Some(crate::index::Found::Live(SeriesId(42)))
        );
    }
}
