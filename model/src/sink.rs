//! The contract for writing: batches of samples by series, and what became of them.
//!
//! `ingest` decodes requests into a [`WriteBatch`], `storage` takes it. A batch keeps all its label text in one
//! string, so that filling it again and again allocates nothing.

use std::fmt;

use crate::cursor::{KnownSeries, NoCursor, SeriesCursor};
use crate::exemplar::Exemplar;
use crate::labels::LabelsRef;
use crate::metadata::MetricMetadata;
use crate::sample::{FullSample, Sample};
use crate::series_limit::{FullLimit, SeriesLimit};
use crate::time::TimestampMs;

/// Samples of many series, and metadata of metrics, in the order they came.
#[derive(Debug, Default, Clone)]
pub struct WriteBatch {
    /// Packed label sets, end to end.
    label_text: String,
    /// Bytes of the label sets of known series, which are not in `label_text`.
    known_label_bytes: usize,
    /// As of when all known series are known.
    known_as_of: Option<u64>,
    series: Vec<SeriesSpan>,
    samples: Vec<Sample>,
    full_samples: Vec<FullSample>,
    exemplars: Vec<Exemplar>,
    exemplar_label_bytes: usize,
    metadata: Vec<(String, MetricMetadata)>,
}

/// Which series samples of a batch belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSeries<'b> {
    /// The one with these labels.
    Labels(LabelsRef<'b>),
    /// The one that the sink's cursor knew by this number. Its labels are not in the batch.
    Known(u32),
}

impl<'b> BatchSeries<'b> {
    /// Its labels, if the batch has them.
    #[inline]
    pub fn labels(self) -> Option<LabelsRef<'b>> {
        match self {
            Self::Labels(labels) => Some(labels),
            Self::Known(_) => None,
        }
    }

    /// Its number, if the sink's cursor knew it.
    #[inline]
    pub fn known(self) -> Option<u32> {
        match self {
            Self::Labels(_) => None,
            Self::Known(number) => Some(number),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct SeriesSpan {
    series: SpanSeries,
    sample_start: usize,
    full_start: usize,
    exemplar_start: usize,
}

/// A [`BatchSeries`] whose labels are a part of the batch's text.
#[derive(Debug, Clone, Copy)]
enum SpanSeries {
    Labels { start: usize, end: usize },
    Known(u32),
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch, keeps its memory.
    pub fn clear(&mut self) {
        self.label_text.clear();
        (self.known_label_bytes, self.known_as_of) = (0, None);
        self.series.clear();
        self.samples.clear();
        self.full_samples.clear();
        self.exemplars.clear();
        self.exemplar_label_bytes = 0;
        self.metadata.clear();
    }

    /// Starts a series; the samples pushed next belong to it. A series may occur more than once.
    pub fn push_series(&mut self, labels: LabelsRef<'_>) {
        let start = self.label_text.len();
        self.label_text.push_str(labels.packed());
        self.push_span(SpanSeries::Labels { start, end: self.label_text.len() });
    }

    /// Starts a series that the sink knows, as its own cursor told for this batch. `label_bytes` is the length of its
    /// packed labels, which are counted but not kept.
    #[inline]
    pub fn push_known(&mut self, series: KnownSeries, label_bytes: usize) {
        self.known_label_bytes += label_bytes;
        self.known_as_of = Some(self.known_as_of.map_or(series.as_of, |as_of| as_of.min(series.as_of)));
        self.push_span(SpanSeries::Known(series.number));
    }

    #[inline]
    fn push_span(&mut self, series: SpanSeries) {
        self.series.push(SeriesSpan {
            series,
            sample_start: self.samples.len(),
            full_start: self.full_samples.len(),
            exemplar_start: self.exemplars.len(),
        });
    }

    /// Adds a sample to the series started last. Without a series it is ignored.
    #[inline]
    pub fn push_sample(&mut self, timestamp_ms: i64, value: f64) {
        debug_assert!(!self.series.is_empty(), "a sample needs a series");
        if !self.series.is_empty() {
            self.samples.push(Sample { timestamp: TimestampMs(timestamp_ms), value });
        }
    }

    /// Adds a sample that is more than a float at a time to the series started last: a histogram, or a float whose
    /// start is known. Of one series and timestamp it counts more than a plain sample of the same batch. Without a
    /// series it is ignored.
    pub fn push_full_sample(&mut self, sample: FullSample) {
        debug_assert!(!self.series.is_empty(), "a sample needs a series");
        if !self.series.is_empty() {
            self.full_samples.push(sample);
        }
    }

    /// Adds an exemplar to the series started last. Without a series it is ignored.
    pub fn push_exemplar(&mut self, exemplar: Exemplar) {
        debug_assert!(!self.series.is_empty(), "an exemplar needs a series");
        if !self.series.is_empty() {
            self.exemplar_label_bytes += exemplar.labels.packed().len();
            self.exemplars.push(exemplar);
        }
    }

    /// Adds what is known of `metric`.
    pub fn push_metadata(&mut self, metric: impl Into<String>, metadata: MetricMetadata) {
        self.metadata.push((metric.into(), metadata));
    }

    /// The series in order, each with its plain samples.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (BatchSeries<'_>, &[Sample])> + '_ {
        (0..self.series.len()).map(|at| (self.series(at), self.samples(at)))
    }

    /// Series `at`, which is below [`series_len`](Self::series_len).
    #[inline]
    pub fn series(&self, at: usize) -> BatchSeries<'_> {
        match self.series[at].series {
            SpanSeries::Labels { start, end } => BatchSeries::Labels(LabelsRef::trusted(&self.label_text[start..end])),
            SpanSeries::Known(number) => BatchSeries::Known(number),
        }
    }

    /// The plain samples of series `at`.
    #[inline]
    pub fn samples(&self, at: usize) -> &[Sample] {
        let end = self.series.get(at + 1).map_or(self.samples.len(), |next| next.sample_start);
        &self.samples[self.series[at].sample_start..end]
    }

    /// As of when the known series were known, by the sink's own count; nothing if there is none.
    pub fn known_as_of(&self) -> Option<u64> {
        self.known_as_of
    }

    /// The samples of series `at` that are more than a float at a time.
    pub fn full_samples(&self, at: usize) -> &[FullSample] {
        let end = self.series.get(at + 1).map_or(self.full_samples.len(), |next| next.full_start);
        &self.full_samples[self.series[at].full_start..end]
    }

    /// The exemplars of series `at`.
    pub fn exemplars(&self, at: usize) -> &[Exemplar] {
        let end = self.series.get(at + 1).map_or(self.exemplars.len(), |next| next.exemplar_start);
        &self.exemplars[self.series[at].exemplar_start..end]
    }

    /// How many exemplars there are.
    pub fn exemplars_len(&self) -> usize {
        self.exemplars.len()
    }

    /// Bytes of all label sets in packed form, those of known series and of exemplars included.
    #[inline]
    pub fn label_bytes(&self) -> usize {
        self.label_text.len() + self.known_label_bytes + self.exemplar_label_bytes
    }

    /// Memory held, in bytes, but for what single histograms and metadata hold.
    pub fn memory_bytes(&self) -> usize {
        self.label_text.capacity()
            + self.series.capacity() * size_of::<SeriesSpan>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.full_samples.capacity() * size_of::<FullSample>()
            + self.exemplars.capacity() * size_of::<Exemplar>()
            + self.exemplar_label_bytes
    }

    /// How many series were started.
    #[inline]
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// How many samples there are, of every kind.
    #[inline]
    pub fn samples_len(&self) -> usize {
        self.samples.len() + self.full_samples.len()
    }

    /// What is known of metrics.
    pub fn metadata(&self) -> &[(String, MetricMetadata)] {
        &self.metadata
    }

    /// Whether there are neither samples that are more than a float at a time nor exemplars.
    pub fn is_plain(&self) -> bool {
        self.full_samples.is_empty() && self.exemplars.is_empty()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.full_samples.is_empty() && self.exemplars.is_empty() && self.metadata.is_empty()
    }
}

/// Why one sample was not taken though the rest of its batch was. Sending it again will not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum Rejection {
    /// Retention would drop it at once.
    #[error("{series}: timestamp {timestamp_ms} ms is before {oldest_ms} ms, the start of retention")]
    TooOld { series: String, timestamp_ms: i64, oldest_ms: i64 },
    /// The samples around it are gone, and the summary that tells of them cannot take it in: it would never be shown.
    #[error(
        "{series}: timestamp {timestamp_ms} ms is inside a window of {window_ms} ms that only its summary tells of, and that \
         takes no more samples; delete the window to write it anew"
    )]
    Summarised { series: String, timestamp_ms: i64, window_ms: i64 },
    /// Further ahead of the server's clock than allowed.
    #[error("{series}: timestamp {timestamp_ms} ms is after {newest_ms} ms, the server's time plus the allowed lead")]
    TooFarAhead { series: String, timestamp_ms: i64, newest_ms: i64 },
    /// A histogram that is none, found by who keeps it.
    #[error("{series}: at {timestamp_ms} ms: {detail}")]
    Histogram { series: String, timestamp_ms: i64, detail: String },
    /// A new series where no more are allowed.
    #[error("{full}; not taken: {series}")]
    SeriesLimit { series: String, full: Box<FullLimit> },
}

/// Most rejections that are told one by one.
pub const REJECTIONS_TOLD_MAX: usize = 10;

/// What became of a batch that was taken. All of `samples_accepted` is durable as the engine's mode promises.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Appended {
    /// Samples kept.
    pub samples_accepted: u64,
    /// Samples not kept.
    pub samples_rejected: u64,
    /// How many of those are histograms.
    pub histograms_rejected: u64,
    /// How many of `samples_rejected` are of new series that a limit had no room for, in the order of
    /// [`SeriesLimit::ALL`].
    pub samples_over_limit: [u64; SeriesLimit::ALL.len()],
    /// Exemplars not kept, which no reason is told for.
    pub exemplars_rejected: u64,
    /// Series seen for the first time.
    pub series_created: u64,
    /// The first [`REJECTIONS_TOLD_MAX`] reasons.
    pub rejections: Vec<Rejection>,
}

/// Why a whole batch was not taken. Nothing of it may be taken as acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum SinkError {
    /// Too much is under way; send again after the pause.
    #[error("storage is busy: {detail}; try again in {retry_after_ms} ms")]
    Busy { detail: String, retry_after_ms: u64 },
    /// The disk is full; writes resume by themselves when space returns.
    #[error("disk is full: {available_bytes} bytes available, {needed_bytes} needed; writes resume when space returns")]
    DiskFull { available_bytes: u64, needed_bytes: u64 },
    /// A write or sync failed; nothing is taken until the engine is opened again.
    #[error("storage stopped taking writes after a failure: {detail}; restart to recover")]
    Poisoned { detail: String },
    /// The engine is closing.
    #[error("storage is closed")]
    Closed,
    /// A series that the batch names by its number was removed meanwhile; decode the request again, without numbers.
    #[error("a series was removed while samples of it were on their way; try again")]
    SeriesRemoved,
}

/// Something that keeps samples.
pub trait SampleSink: fmt::Debug + Send + Sync {
    /// Takes `batch`; when this returns, what was accepted is visible to the next read and as durable as the
    /// sink's mode promises. The same series and timestamp again replaces the value.
    ///
    /// # Errors
    ///
    /// When nothing of the batch can be acknowledged.
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError>;

    /// Recognises the series of one request while it is decoded into a batch for this sink.
    fn cursor(&self) -> Box<dyn SeriesCursor + '_> {
        Box::new(NoCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::sample::SampleValue;

    #[test]
    fn a_batch_gives_back_what_was_pushed() {
        let a = Labels::from_pairs([("__name__", "a")]).expect("valid");
        let b = Labels::from_pairs([("__name__", "b"), ("x", "y")]).expect("valid");
        let mut batch = WriteBatch::new();
        for _ in 0..2 {
            batch.clear();
            batch.push_series(a.as_ref());
            batch.push_series(b.as_ref());
            batch.push_sample(1, 1.0);
            batch.push_sample(2, 2.0);
            batch.push_series(a.as_ref());
            batch.push_sample(3, 3.0);
            let got: Vec<_> = batch.iter().map(|(series, samples)| (series, samples.len())).collect();
            assert_eq!(got, [(&a, 0), (&b, 2), (&a, 1)].map(|(of, len)| (BatchSeries::Labels(of.as_ref()), len)));
            assert_eq!((batch.series_len(), batch.samples_len()), (3, 3));
        }
    }

    #[test]
    fn known_series_have_a_number_instead_of_labels() {
        let labels = Labels::from_pairs([("__name__", "a")]).expect("valid");
        let mut batch = WriteBatch::new();
        assert_eq!(batch.known_as_of(), None);
        batch.push_known(KnownSeries { number: 7, as_of: 3 }, 12);
        batch.push_sample(1, 1.0);
        batch.push_series(labels.as_ref());
        batch.push_known(KnownSeries { number: 0, as_of: 2 }, 5);
        let got: Vec<_> = batch.iter().map(|(series, samples)| (series, samples.len())).collect();
        let of_labels = BatchSeries::Labels(labels.as_ref());
        assert_eq!(got, [(BatchSeries::Known(7), 1), (of_labels, 0), (BatchSeries::Known(0), 0)]);
        assert_eq!((of_labels.known(), of_labels.labels()), (None, Some(labels.as_ref())));
        assert_eq!((BatchSeries::Known(7).known(), BatchSeries::Known(7).labels()), (Some(7), None));
        assert_eq!((batch.known_as_of(), batch.label_bytes()), (Some(2), 17 + labels.packed().len()));
        batch.clear();
        assert_eq!((batch.known_as_of(), batch.label_bytes()), (None, 0));
    }

    #[test]
    fn histograms_and_exemplars_stay_with_their_series() {
        let labels = |name| Labels::from_pairs([("__name__", name)]).expect("valid");
        let full = |timestamp_ms| FullSample { timestamp_ms, start_ms: 1, value: SampleValue::Float(2.0) };
        let exemplar = Exemplar { labels: labels("e"), value: 1.0, timestamp_ms: 3 };
        let mut batch = WriteBatch::new();
        batch.push_series(labels("a").as_ref());
        batch.push_full_sample(full(10));
        batch.push_series(labels("b").as_ref());
        batch.push_sample(1, 1.0);
        batch.push_exemplar(exemplar.clone());
        batch.push_full_sample(full(20));
        assert_eq!((batch.full_samples(0), batch.exemplars(0)), ([full(10)].as_slice(), [].as_slice()));
        assert_eq!((batch.full_samples(1), batch.exemplars(1)), ([full(20)].as_slice(), [exemplar].as_slice()));
        assert_eq!((batch.samples_len(), batch.exemplars_len(), batch.is_empty()), (3, 1, false));
        assert_eq!(batch.label_bytes(), ["a", "b", "e"].map(|name| labels(name).packed().len()).iter().sum::<usize>());
        batch.clear();
        assert_eq!((batch.is_empty(), batch.label_bytes()), (true, 0));
    }
}
