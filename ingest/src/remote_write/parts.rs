//! What one series brings beside its labels, and its way into a batch. Both versions share it.
//!
//! Labels may come after samples, so that samples are gathered here until the series is whole. Plain floats, which
//! are nearly all, have a list of their own.

#![warn(clippy::indexing_slicing)]

use model::{Exemplar, FullSample, KnownSeries, LabelsRef, METRIC_NAME, SampleValue, WriteBatch};

use super::Target;
use super::histogram::HistogramReader;
use super::sizes::{check, check_samples, check_series};
use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::wire::{Coding, Reader, WireError};

/// Room for so many samples of a series is kept from one request to the next.
const KEPT_MAX: usize = 1 << 12;

/// What is gathered of one series, and counts of the request.
#[derive(Debug, Default)]
pub(super) struct Parts {
    samples: Vec<(i64, f64)>,
    full: Vec<FullSample>,
    exemplars: Vec<Exemplar>,
    histogram: HistogramReader,
    /// Exemplars of this series that are not taken.
    exemplars_left_out: u64,
    /// Histograms of this series among `full`.
    histograms: u64,
    /// Of the request so far.
    request: RequestCounts,
}

#[derive(Debug, Default)]
struct RequestCounts {
    series: usize,
    exemplars: usize,
    histograms: u64,
    histogram_bytes: usize,
}

impl Parts {
    /// Begins a request.
    pub(super) fn begin_request(&mut self) {
        self.request = RequestCounts::default();
    }

    /// Counts a series, whether it is taken or not.
    #[inline]
    pub(super) fn count_series(&mut self, limits: &IngestLimits) -> Result<(), IngestError> {
        self.request.series += 1;
        check_series(limits, self.request.series)
    }

    /// Counts a series if `limits` have room for one more.
    #[inline]
    pub(super) fn count_series_within(&mut self, limits: &IngestLimits) -> bool {
        let has_room = self.request.series < limits.series_per_request_max;
        self.request.series += usize::from(has_room);
        has_room
    }

    /// Begins to gather a series.
    pub(super) fn begin_series(&mut self) {
        self.samples.clear();
        self.full.clear();
        self.exemplars.clear();
        (self.exemplars_left_out, self.histograms) = (0, 0);
    }

    /// Forgets the last series, and gives back memory that one large series took.
    pub(super) fn clear(&mut self) {
        self.begin_series();
        self.samples.shrink_to(KEPT_MAX);
        self.full.shrink_to(KEPT_MAX);
        self.exemplars.shrink_to(KEPT_MAX);
    }

    /// How many histograms of the request are in the batch.
    pub(super) fn histograms(&self) -> u64 {
        self.request.histograms
    }

    /// Reads the sample that `reader` is at.
    pub(super) fn read_sample(&mut self, reader: Reader<'_>, limits: &IngestLimits) -> Result<(), IngestError> {
        let (timestamp_ms, value, start_ms) = read_sample(reader)?;
        if start_ms == 0 {
            self.samples.push((timestamp_ms, value));
        } else {
            self.push_started(timestamp_ms, value, start_ms);
        }
        check_samples(limits, self.samples.len() + self.full.len())
    }

    /// Adds a float whose counter is said to have begun at `start_ms`. One that begins later is not believed.
    #[cold]
    fn push_started(&mut self, timestamp_ms: i64, value: f64, start_ms: i64) {
        if start_ms > timestamp_ms {
            self.samples.push((timestamp_ms, value));
        } else {
            self.full.push(FullSample { timestamp_ms, start_ms, value: SampleValue::Float(value) });
        }
    }

    /// Reads the histogram that `reader` is at. `series` names the series for a reason.
    pub(super) fn read_histogram(
        &mut self,
        reader: Reader<'_>,
        limits: &IngestLimits,
        rejected: &mut Rejected,
        series: impl FnOnce() -> String,
    ) -> Result<(), IngestError> {
        let read = self.histogram.read(reader)?;
        let timestamp_ms = read.timestamp_ms;
        match read.histogram {
            Ok(histogram) => {
                self.request.histogram_bytes += histogram.memory_bytes();
                let limit = limits.histogram_bytes_per_request_max;
                let limit_name = "histogram_bytes_per_request_max";
                check(self.request.histogram_bytes, limit, "bytes of histograms", limit_name)?;
                let start_ms = if read.start_ms > timestamp_ms { 0 } else { read.start_ms };
                let value = SampleValue::Histogram(histogram.into());
                self.full.push(FullSample { timestamp_ms, start_ms, value });
                self.histograms += 1;
                check_samples(limits, self.samples.len() + self.full.len())
            }
            Err(error) => {
                rejected.add(Reason::Histogram, 1, || format!("{}: at {timestamp_ms} ms: {error}", series()));
                Ok(())
            }
        }
    }

    /// Adds an exemplar; nothing stands for one that can't be taken.
    pub(super) fn push_exemplar(&mut self, exemplar: Option<Exemplar>, limits: &IngestLimits) {
        match exemplar {
            Some(exemplar) if self.request.exemplars < limits.exemplars_per_request_max => {
                self.request.exemplars += 1;
                self.exemplars.push(exemplar);
            }
            _ => self.exemplars_left_out += 1,
        }
    }

    /// Gives `start_ms` to samples without a start of their own.
    pub(super) fn set_missing_starts(&mut self, start_ms: i64) {
        if start_ms == 0 {
            return;
        }
        for sample in self.full.iter_mut().filter(|sample| sample.start_ms == 0) {
            sample.start_ms = if start_ms > sample.timestamp_ms { 0 } else { start_ms };
        }
        let full = &mut self.full;
        self.samples.retain(|&(timestamp_ms, value)| {
            let is_believed = start_ms <= timestamp_ms;
            if is_believed {
                full.push(FullSample { timestamp_ms, start_ms, value: SampleValue::Float(value) });
            }
            !is_believed
        });
    }

    /// Whether the series brings nothing to put into a batch.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.full.is_empty() && self.exemplars.is_empty()
    }

    /// Puts the series into the batch, or says why not. `series` is asked for its name only for a reason.
    pub(super) fn push_into(
        &mut self,
        labels: Result<LabelsRef<'_>, (Reason, String)>,
        series: impl FnOnce() -> String,
        target: &mut Target<'_>,
    ) {
        let rejected = &mut *target.rejected;
        match labels {
            Ok(labels) if labels.get(METRIC_NAME).is_some() => {
                if let Some(known) = target.cursor.find(labels) {
                    self.push_known_into(known, labels.packed().len(), target.batch);
                } else {
                    target.batch.push_series(labels);
                    self.move_into(target.batch);
                }
            }
            Ok(labels) => self.reject(Reason::NoMetricName, || format!("{labels}: no metric name"), rejected),
            Err((reason, problem)) => self.reject(reason, || format!("{}: {problem}", series()), rejected),
        }
    }

    /// Puts the series, which is `known` and has packed labels of `label_bytes`, into `batch`.
    pub(super) fn push_known_into(&mut self, known: KnownSeries, label_bytes: usize, batch: &mut WriteBatch) {
        if !self.is_empty() {
            batch.push_known(known, label_bytes);
            self.move_into(batch);
        }
    }

    fn move_into(&mut self, batch: &mut WriteBatch) {
        self.samples.iter().for_each(|&(timestamp_ms, value)| batch.push_sample(timestamp_ms, value));
        self.full.drain(..).for_each(|sample| batch.push_full_sample(sample));
        self.exemplars.drain(..).for_each(|exemplar| batch.push_exemplar(exemplar));
        self.request.histograms += self.histograms;
    }

    /// Counts exemplars that were left out. They are not told.
    pub(super) fn end_series(&self, rejected: &mut Rejected) {
        if self.exemplars_left_out > 0 {
            rejected.add(Reason::Exemplar, self.exemplars_left_out, String::new);
        }
    }

    /// Counts a series that is not taken, its exemplars in silence.
    #[cold]
    fn reject(&mut self, reason: Reason, message: impl FnOnce() -> String, rejected: &mut Rejected) {
        let samples = (self.samples.len() + self.full.len()) as u64;
        if samples > 0 {
            rejected.add(reason, samples, message);
        }
        self.exemplars_left_out += self.exemplars.len() as u64;
    }
}

/// Reads time, value and start, 0 when there is none.
fn read_sample(mut reader: Reader<'_>) -> Result<(i64, f64, i64), WireError> {
    let (mut timestamp_ms, mut value, mut start_ms) = (0, 0.0, 0);
    while let Some(field) = reader.next_field("Sample")? {
        match field.number {
            1 => {
                field.expect(Coding::Fixed64, "Sample.value")?;
                value = reader.double("Sample.value")?;
            }
            2 => {
                field.expect(Coding::Varint, "Sample.timestamp")?;
                timestamp_ms = reader.varint("Sample.timestamp")?.cast_signed();
            }
            3 => {
                field.expect(Coding::Varint, "Sample.start_timestamp")?;
                start_ms = reader.varint("Sample.start_timestamp")?.cast_signed();
            }
            _ => reader.skip(field.coding, "Sample, unknown field")?,
        }
    }
    Ok((timestamp_ms, value, start_ms))
}
