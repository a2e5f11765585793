//! Remote write 1.0 (`prometheus.WriteRequest`): every series has its labels in full.

#![warn(clippy::indexing_slicing)]

use model::METRIC_NAME;

use super::metadata::{push_metadata, read_metadata};
use super::neighbour::Neighbour;
use super::sizes::{check_sizes, has_room};
use super::slow_labels::{SlowLabels, shown};
use super::{Recognised, RemoteWriteDecoder, Target, has_labels, recognise};
use crate::error::IngestError;
use crate::wire::{Coding, Reader, WireError};

impl RemoteWriteDecoder {
    pub(super) fn decode_v1(&mut self, body: &[u8], target: &mut Target<'_>) -> Result<(), IngestError> {
        let mut reader = Reader::new(body);
        loop {
            self.take_run(&mut reader, target);
            if let Some(series) = reader.short_message(1) {
                self.decode_series(series, target)?;
                continue;
            }
            let Some(field) = reader.next_field("WriteRequest")? else { return Ok(()) };
            match field.number {
                1 => {
                    field.expect(Coding::Bytes, "WriteRequest.timeseries")?;
                    self.decode_series(reader.message("WriteRequest.timeseries")?, target)?;
                }
                3 => {
                    field.expect(Coding::Bytes, "WriteRequest.metadata")?;
                    let (metric, metadata) = read_metadata(reader.message("WriteRequest.metadata")?)?;
                    push_metadata(metric, metadata, target.limits, target.batch, target.rejected);
                }
                _ => reader.skip(field.coding, "WriteRequest, unknown field")?,
            }
        }
    }

    /// Takes series after series as most are: the cursor's next guess, with one plain sample and nothing more. What is not,
    /// or passes a limit, is left to [`decode_series`](Self::decode_series).
    fn take_run(&mut self, reader: &mut Reader<'_>, target: &mut Target<'_>) {
        let Self { parts, neighbour, .. } = self;
        let Target { limits, cursor, batch, .. } = target;
        cursor.guess_run(&mut |known, labels| {
            let (mut behind, label_bytes) = (*reader, labels.packed().len());
            let Some(series) = behind.short_message(1) else { return false };
            let sample = recognise::plain_series(series.rest(), labels, &limits.labels, neighbour);
            let Some((timestamp_ms, value)) = sample else { return false };
            if !has_room(limits, batch, label_bytes) || !parts.count_series_within(limits) {
                return false;
            }
            batch.push_known(known, label_bytes);
            batch.push_sample(timestamp_ms, value);
            *reader = behind;
            true
        });
    }

    fn decode_series(&mut self, series: Reader<'_>, target: &mut Target<'_>) -> Result<(), IngestError> {
        self.parts.count_series(target.limits)?;
        match recognised(series, &mut self.neighbour, target) {
            Some(recognised) => self.take_recognised(series, recognised, target)?,
            None => self.take_series(series, target)?,
        }
        check_sizes(target.limits, target.batch)
    }

    /// Takes a series whose labels are known: mostly one sample is all there is left.
    #[inline]
    fn take_recognised(
        &mut self,
        series: Reader<'_>,
        recognised: Recognised<'_>,
        target: &mut Target<'_>,
    ) -> Result<(), IngestError> {
        if let Some((timestamp_ms, value)) = recognised.sample {
            target.batch.push_known(recognised.series, recognised.label_bytes);
            target.batch.push_sample(timestamp_ms, value);
            return Ok(());
        }
        self.read_series(series, recognised.rest, target)?;
        self.parts.push_known_into(recognised.series, recognised.label_bytes, target.batch);
        self.parts.end_series(target.rejected);
        Ok(())
    }

    /// Decodes a series and puts it into the batch, or says why not.
    fn take_series(&mut self, series: Reader<'_>, target: &mut Target<'_>) -> Result<(), IngestError> {
        let is_packed = self.read_series(series, series, target)?;
        let Self { packer, labels: builder, parts, .. } = self;
        if parts.is_empty() {
            parts.end_series(target.rejected);
            return Ok(());
        }
        let packed = if is_packed { packer.packed(&target.limits.labels) } else { None };
        let labels = if let Some(labels) = packed {
            Ok(labels)
        } else {
            let mut labels = SlowLabels::new(builder, target.limits);
            read_labels(series, &mut labels);
            labels.finish()
        };
        parts.push_into(labels, || metric_name(series), target);
        parts.end_series(target.rejected);
        Ok(())
    }

    /// Reads `series` from `reader` on into `parts` and, as far as it takes them, `packer`; tells whether it took all
    /// labels.
    fn read_series(
        &mut self,
        series: Reader<'_>,
        mut reader: Reader<'_>,
        target: &mut Target<'_>,
    ) -> Result<bool, IngestError> {
        let limits = target.limits;
        self.packer.clear();
        self.parts.begin_series();
        let mut is_packed = true;
        while let Some(field) = reader.next_field("TimeSeries")? {
            match field.number {
                1 => {
                    field.expect(Coding::Bytes, "TimeSeries.labels")?;
                    let (name, value) = read_label(reader.message("TimeSeries.labels")?)?;
                    is_packed = is_packed && self.packer.push(name, value, &limits.labels);
                }
                2 => {
                    field.expect(Coding::Bytes, "TimeSeries.samples")?;
                    self.parts.read_sample(reader.message("TimeSeries.samples")?, limits)?;
                }
                3 => {
                    field.expect(Coding::Bytes, "TimeSeries.exemplars")?;
                    let exemplar = self.exemplar.read(reader.message("TimeSeries.exemplars")?, &limits.labels)?;
                    self.parts.push_exemplar(exemplar, limits);
                }
                4 => {
                    field.expect(Coding::Bytes, "TimeSeries.histograms")?;
                    let histogram = reader.message("TimeSeries.histograms")?;
                    self.parts.read_histogram(histogram, limits, target.rejected, || metric_name(series))?;
                }
                _ => reader.skip(field.coding, "TimeSeries, unknown field")?,
            }
        }
        Ok(is_packed)
    }
}

/// The series that the cursor guesses, if its labels are those at the start of `series`, and all that it has.
#[inline]
fn recognised<'b>(series: Reader<'b>, neighbour: &mut Neighbour, target: &mut Target<'_>) -> Option<Recognised<'b>> {
    let (message, limits) = (series.rest(), &target.limits.labels);
    let (mut wire_bytes, mut label_bytes) = (0, 0);
    let known = target.cursor.guess(&mut |labels| {
        let taken = recognise::label_fields(message, labels, limits, neighbour);
        (wire_bytes, label_bytes) = (taken.unwrap_or(0), labels.packed().len());
        taken.is_some()
    })?;
    let rest = series.behind(wire_bytes);
    let sample = recognise::only_sample(rest.rest());
    let is_whole = sample.is_some() || !has_labels(rest);
    is_whole.then_some(Recognised { series: known, label_bytes, rest, sample })
}

/// Reads name and value, which are checked to be text later.
pub(super) fn read_label(mut reader: Reader<'_>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value) = (&[][..], &[][..]);
    while let Some(field) = reader.next_field("Label")? {
        match field.number {
            1 => {
                field.expect(Coding::Bytes, "Label.name")?;
                name = reader.bytes("Label.name")?;
            }
            2 => {
                field.expect(Coding::Bytes, "Label.value")?;
                value = reader.bytes("Label.value")?;
            }
            _ => reader.skip(field.coding, "Label, unknown field")?,
        }
    }
    Ok((name, value))
}

/// Reads the labels of a series that was read before into `labels`.
#[cold]
fn read_labels(mut series: Reader<'_>, labels: &mut SlowLabels<'_>) {
    while let Ok(Some(field)) = series.next_field("TimeSeries") {
        let read = if field.number == 1 {
            series.message("TimeSeries.labels").and_then(read_label).map(|(name, value)| labels.push(name, value))
        } else {
            series.skip(field.coding, "TimeSeries")
        };
        if read.is_err() {
            return;
        }
    }
}

/// The metric name of a series that was read before, for an error.
#[cold]
fn metric_name(mut series: Reader<'_>) -> String {
    while let Ok(Some(field)) = series.next_field("TimeSeries") {
        if field.number != 1 {
            if series.skip(field.coding, "TimeSeries").is_err() {
                break;
            }
            continue;
        }
        match series.message("TimeSeries.labels").and_then(read_label) {
            Ok((name, value)) if name == METRIC_NAME.as_bytes() && !value.is_empty() => return shown(value),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    "a series without a metric name".to_owned()
}
