//! Turning a batch into what is written: ids where series are known, labels where they are new, columns, coded bytes.
//!
//! This part of an append runs in the caller's thread without any lock held for long, so that it uses every core.

use std::sync::atomic::Ordering;

use model::sink::REJECTIONS_TOLD_MAX;
use model::{Appended, BatchSeries, Labels, LabelsRef, MetricMetadata, Rejection, Sample, SinkError, WriteBatch};

use super::Core;
use super::extras::{Extras, UnknownExtras};
use crate::ids::SeriesId;
use crate::log::payload::{SECTION_ROWS_MAX, SampleColumns, push_samples};

/// Most samples in one section of a record.
const SECTION_SAMPLES_MAX: usize = 1 << 16;

/// A batch ready to be written.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Samples of known series.
    pub(super) columns: SampleColumns,
    /// The sections of `columns`.
    pub(super) sections: Vec<Vec<u8>>,
    /// Samples of series that were unknown.
    pub(super) unknown: Vec<(Labels, Vec<Sample>)>,
    /// Metadata that is new.
    pub(super) metadata: Vec<(String, MetricMetadata)>,
    /// What there is besides plain floats, of known series and of unknown ones.
    pub(super) extras: Extras,
    pub(super) unknown_extras: UnknownExtras,
    /// How often series had been removed before the ids were looked up.
    pub(super) removals: u64,
    pub(super) appended: Appended,
}

/// A series of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resolved<'b> {
    /// One that the engine has.
    Known(SeriesId),
    /// One that nobody saw before.
    New(LabelsRef<'b>),
}

/// The timestamps that are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    oldest_ms: i64,
    newest_ms: i64,
}

impl Core {
    /// # Errors
    ///
    /// When a series is gone that the batch knows by its number.
    pub(super) fn prepare(&self, batch: &WriteBatch) -> Result<Prepared, SinkError> {
        let removals = self.removals.load(Ordering::Acquire);
        self.check_known(batch, removals)?;
        let mut prepared = Prepared { removals, columns: self.spare.columns(), ..Prepared::default() };
        let window = self.window();
        prepared.columns.reserve(batch.samples_len());
        let plain = batch.is_plain();
        let mut resolved = Vec::new();
        let mut predictor = self.series.predictor();
        for at in 0..batch.series_len() {
            let samples = batch.samples(at);
            let series = match batch.series(at) {
                BatchSeries::Known(number) => Resolved::Known(SeriesId(number)),
                BatchSeries::Labels(labels) => predictor.resolve(labels).map_or(Resolved::New(labels), Resolved::Known),
            };
            match series {
                Resolved::Known(id) => prepared.take_known(id, samples, window, || self.series_shown(batch, at)),
                Resolved::New(labels) => prepared.take_unknown(labels, samples, window),
            }
            if !plain {
                resolved.push(series);
            }
        }
        if !plain {
            self.take_extras(batch, &resolved, window, &mut prepared);
        }
        self.reject_late(&mut prepared);
        prepared.appended.samples_accepted = (prepared.columns.len() + prepared.extras.full.len()) as u64;
        self.push_sample_sections(&prepared.columns, &mut prepared.sections);
        self.take_metadata(batch, &mut prepared);
        Ok(prepared)
    }

    /// Series may have been removed since the batch was decoded, when no sample of it was in the engine yet. An id is
    /// never given to another series.
    fn check_known(&self, batch: &WriteBatch, removals: u64) -> Result<(), SinkError> {
        if batch.known_as_of().is_none_or(|as_of| as_of == removals) {
            return Ok(());
        }
        let mut known = (0..batch.series_len()).filter_map(|at| batch.series(at).known());
        if known.all(|id| self.series.has(SeriesId(id))) { Ok(()) } else { Err(SinkError::SeriesRemoved) }
    }

    /// A series of the batch, for a rejection.
    #[cold]
    pub(super) fn series_shown(&self, batch: &WriteBatch, at: usize) -> String {
        match batch.series(at) {
            BatchSeries::Known(number) => self.name_of(SeriesId(number)),
            BatchSeries::Labels(labels) => labels.to_string(),
        }
    }

    /// The labels of a series, or its number where they cannot be told.
    pub(super) fn name_of(&self, id: SeriesId) -> String {
        let labels = self.series.labels(id).ok().flatten();
        labels.map_or_else(|| format!("series {}", id.0), |labels| labels.to_string())
    }

    fn window(&self) -> Window {
        let Some(_) = self.options.retention_ms else {
            return Window { oldest_ms: i64::MIN, newest_ms: i64::MAX };
        };
        let now_ms = self.clock.now().0;
        let newest_ms = self.options.future_lead_ms.map_or(i64::MAX, |lead_ms| now_ms.saturating_add(lead_ms));
        Window { oldest_ms: self.retention_start_ms(), newest_ms }
    }

    /// Appends the sections of `columns`.
    pub(super) fn push_sample_sections(&self, columns: &SampleColumns, sections: &mut Vec<Vec<u8>>) {
        const _: () =
            assert!(SECTION_SAMPLES_MAX <= SECTION_ROWS_MAX, "sections are smaller than what the reader takes");
        let ids = columns.ids.chunks(SECTION_SAMPLES_MAX);
        let rest = columns.timestamps_ms.chunks(SECTION_SAMPLES_MAX).zip(columns.values.chunks(SECTION_SAMPLES_MAX));
        for (ids, (timestamps_ms, values)) in ids.zip(rest) {
            let mut section = self.spare.section();
            push_samples(&mut section, ids, timestamps_ms, values);
            sections.push(section);
        }
    }

    /// Metadata that differs from what is known, as far as there is room.
    fn take_metadata(&self, batch: &WriteBatch, prepared: &mut Prepared) {
        if batch.metadata().is_empty() {
            return;
        }
        let known = self.metadata.read();
        let mut room = self.options.metadata_max.saturating_sub(known.len());
        for (metric, metadata) in batch.metadata() {
            let before = known.get(metric);
            if before == Some(metadata) || (before.is_none() && room == 0) {
                continue;
            }
            room -= usize::from(before.is_none());
            prepared.metadata.push((metric.clone(), metadata.clone()));
        }
    }
}

impl Prepared {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
            && self.unknown.is_empty()
            && self.metadata.is_empty()
            && self.extras.is_empty()
            && self.unknown_extras.is_empty()
    }

    /// Takes the samples of a known series; `shown` tells which one for a rejection.
    fn take_known(&mut self, id: SeriesId, samples: &[Sample], window: Window, shown: impl Fn() -> String) {
        for sample in samples {
            if window.takes(sample.timestamp.0) {
                self.columns.push(id, sample.timestamp.0, sample.value);
            } else {
                self.reject(false, || window.rejection(shown(), sample.timestamp.0));
            }
        }
    }

    fn take_unknown(&mut self, labels: LabelsRef<'_>, samples: &[Sample], window: Window) {
        let mut taken = Vec::with_capacity(samples.len());
        for sample in samples {
            if window.takes(sample.timestamp.0) {
                taken.push(*sample);
            } else {
                self.reject(false, || window.rejection(labels.to_string(), sample.timestamp.0));
            }
        }
        if !taken.is_empty() {
            self.unknown.push((labels.to_owned(), taken));
        }
    }

    /// Counts a float or a histogram that is not taken; the first ones are told.
    #[cold]
    pub(super) fn reject(&mut self, is_histogram: bool, rejection: impl FnOnce() -> Rejection) {
        self.appended.samples_rejected += 1;
        self.appended.histograms_rejected += u64::from(is_histogram);
        if self.appended.rejections.len() < REJECTIONS_TOLD_MAX {
            self.appended.rejections.push(rejection());
        }
    }
}

impl Window {
    pub(super) fn takes(self, timestamp_ms: i64) -> bool {
        (self.oldest_ms..=self.newest_ms).contains(&timestamp_ms)
    }

    pub(super) fn rejection(self, series: String, timestamp_ms: i64) -> Rejection {
        if timestamp_ms < self.oldest_ms {
            Rejection::TooOld { series, timestamp_ms, oldest_ms: self.oldest_ms }
        } else {
            Rejection::TooFarAhead { series, timestamp_ms, newest_ms: self.newest_ms }
        }
    }
}
