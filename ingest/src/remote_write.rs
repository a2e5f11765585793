//! Decodes remote write 1.0 requests by walking their protobuf bytes into a [`WriteBatch`].
//!
//! Field numbers are those of `prometheus.WriteRequest`, as in [`model::remote_write`], whose messages are what
//! the tests compare this walk with. A request that is not the wire format is refused whole, with the place;
//! a series that is no series is rejected alone. Strings are copied once, into the batch's packed labels.

#![warn(clippy::indexing_slicing)]

use model::remote_write::kind_from_number;
use model::{LabelError, LabelsBuilder, METRIC_NAME, MetricMetadata, SortedPacker, WriteBatch};

use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::wire::{Coding, Reader, WireError};

/// The content type spoken.
pub(crate) const CONTENT_TYPE: &str = "application/x-protobuf;proto=prometheus.WriteRequest (remote write 1.0)";

/// Most labels of one series that are read, empty ones and duplicates included.
pub(crate) const SERIES_LABELS_MAX: usize = 1024;

/// Checks a `Content-Type`; none at all is taken for remote write 1.0, as its first senders had it.
///
/// # Errors
///
/// [`IngestError::ContentType`] for anything but protobuf, and for remote write 2.0, which then has its
/// senders fall back to 1.0.
pub(crate) fn check_content_type(content_type: Option<&str>) -> Result<(), IngestError> {
    let Some(found) = content_type else { return Ok(()) };
    let mut parts = found.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let proto = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    if is_protobuf && proto.is_none_or(|proto| proto == "prometheus.WriteRequest") {
        return Ok(());
    }
    Err(IngestError::ContentType { found: found.to_owned(), spoken: CONTENT_TYPE })
}

/// Decodes requests, keeping its memory from one to the next.
#[derive(Debug, Default)]
pub struct RemoteWriteDecoder {
    /// Takes the labels of most series: sorted, none empty.
    packer: SortedPacker,
    /// Takes those of the others.
    labels: LabelsBuilder,
    samples: Vec<(i64, f64)>,
}

/// What is to know of a series beside labels and samples.
#[derive(Debug, Default)]
struct Extras {
    /// Whether the packer took all labels.
    packed: bool,
    exemplars: u64,
    histograms: u64,
}

impl RemoteWriteDecoder {
    /// Adds the series and metadata of `body`, which is decompressed, to `batch`, and what can't be taken to
    /// `rejected`.
    ///
    /// # Errors
    ///
    /// When the bytes are no write request or pass a limit on requests; `batch` is then to be thrown away.
    pub fn decode(
        &mut self,
        body: &[u8],
        limits: &IngestLimits,
        batch: &mut WriteBatch,
        rejected: &mut Rejected,
    ) -> Result<(), IngestError> {
        let mut reader = Reader::new(body);
        while let Some(field) = reader.next_field("WriteRequest")? {
            match field.number {
                1 => {
                    field.expect(Coding::Bytes, "WriteRequest.timeseries")?;
                    let series = reader.message("WriteRequest.timeseries")?;
                    let extras = self.read_series(series, limits)?;
                    self.push_series(series, &extras, limits, batch, rejected)?;
                    check_sizes(limits, batch)?;
                }
                3 => {
                    field.expect(Coding::Bytes, "WriteRequest.metadata")?;
                    let (metric, metadata) = read_metadata(reader.message("WriteRequest.metadata")?)?;
                    push_metadata(metric, metadata, limits, batch, rejected);
                }
                _ => reader.skip(field.coding, "WriteRequest, unknown field")?,
            }
        }
        Ok(())
    }

    /// Reads one series into `samples` and, as far as it takes them, `packer`.
    fn read_series(&mut self, mut reader: Reader<'_>, limits: &IngestLimits) -> Result<Extras, IngestError> {
        self.packer.clear();
        self.samples.clear();
        let mut extras = Extras { packed: true, ..Extras::default() };
        while let Some(field) = reader.next_field("TimeSeries")? {
            match field.number {
                1 => {
                    field.expect(Coding::Bytes, "TimeSeries.labels")?;
                    let (name, value) = read_label(reader.message("TimeSeries.labels")?)?;
                    extras.packed = extras.packed && self.packer.push(name, value, &limits.labels);
                }
                2 => {
                    field.expect(Coding::Bytes, "TimeSeries.samples")?;
                    self.samples.push(read_sample(reader.message("TimeSeries.samples")?)?);
                    check_samples(limits, self.samples.len())?;
                }
                number => {
                    extras.exemplars += u64::from(number == 3);
                    extras.histograms += u64::from(number == 4);
                    reader.skip(field.coding, "TimeSeries, unknown field")?;
                }
            }
        }
        Ok(extras)
    }

    /// Puts the series that was read last into `batch`, or says why not.
    fn push_series(
        &mut self,
        series: Reader<'_>,
        extras: &Extras,
        limits: &IngestLimits,
        batch: &mut WriteBatch,
        rejected: &mut Rejected,
    ) -> Result<(), WireError> {
        let packed = if extras.packed { self.packer.packed(&limits.labels) } else { None };
        let packed = match packed {
            Some(labels) => Ok(labels),
            None => read_labels(series, &mut self.labels)?.and_then(|()| {
                self.labels.pack(&limits.labels).map_err(|error| (label_reason(&error), error.to_string()))
            }),
        };
        if extras.exemplars > 0 {
            rejected.add(Reason::Exemplar, extras.exemplars, String::new);
        }
        if extras.histograms > 0 {
            rejected.add(Reason::Histogram, extras.histograms, || {
                let (name, count) = (metric_name(series), extras.histograms);
                format!("{name}: {count} native histogram samples were not taken, they are not supported yet")
            });
        }
        let samples_count = self.samples.len() as u64;
        if samples_count == 0 {
            return Ok(());
        }
        match packed {
            Ok(labels) if labels.get(METRIC_NAME).is_some() => {
                batch.push_series(labels);
                for &(timestamp_ms, value) in &self.samples {
                    batch.push_sample(timestamp_ms, value);
                }
            }
            Ok(labels) => rejected.add(Reason::NoMetricName, samples_count, || format!("{labels}: no metric name")),
            Err((reason, problem)) => {
                rejected.add(reason, samples_count, || format!("{}: {problem}", metric_name(series)));
            }
        }
        Ok(())
    }
}

/// The reason a label set is refused for.
pub(crate) fn label_reason(error: &LabelError) -> Reason {
    match error {
        LabelError::EmptyName | LabelError::Duplicate { .. } | LabelError::Damaged { .. } => Reason::BadLabels,
        _ => Reason::LabelLimit,
    }
}

/// The error when `batch` holds more than one request may.
pub(crate) fn check_sizes(limits: &IngestLimits, batch: &WriteBatch) -> Result<(), IngestError> {
    let limit = limits.series_per_request_max;
    if batch.series_len() > limit {
        let found = format!("{} or more", batch.series_len());
        return Err(IngestError::Limit { what: "series", found, limit_name: "series_per_request_max", limit });
    }
    check_samples(limits, batch.samples_len())
}

fn check_samples(limits: &IngestLimits, found: usize) -> Result<(), IngestError> {
    let limit = limits.samples_per_request_max;
    if found <= limit {
        return Ok(());
    }
    let found = format!("{found} or more");
    Err(IngestError::Limit { what: "samples", found, limit_name: "samples_per_request_max", limit })
}

/// Puts metadata into `batch`, or says why not.
pub(crate) fn push_metadata(
    metric: impl Into<String> + AsRef<str>,
    metadata: MetricMetadata,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) {
    let name = metric.as_ref();
    let found_bytes = name.len() + metadata.unit.len() + metadata.help.len();
    if name.is_empty() {
        rejected.add(Reason::BadMetadata, 1, || "metadata without a metric name".to_owned());
    } else if batch.metadata().len() >= limits.metadata_per_request_max {
        let limit = limits.metadata_per_request_max;
        rejected.add(Reason::BadMetadata, 1, || format!("{name}: metadata beyond metadata_per_request_max of {limit}"));
    } else if found_bytes > limits.metadata_bytes_max {
        let limit = limits.metadata_bytes_max;
        rejected.add(Reason::BadMetadata, 1, || {
            let start: String = name.chars().take(64).collect();
            format!("metadata of {start} has {found_bytes} bytes, the limit metadata_bytes_max is {limit}")
        });
    } else {
        batch.push_metadata(metric, metadata);
    }
}

/// Reads name and value, which are checked to be text later.
fn read_label(mut reader: Reader<'_>) -> Result<(&[u8], &[u8]), WireError> {
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

/// Reads the labels of one series into `labels`, or tells why they are none: a text that is not UTF-8, or more than
/// [`SERIES_LABELS_MAX`].
#[cold]
fn read_labels(mut series: Reader<'_>, labels: &mut LabelsBuilder) -> Result<Result<(), (Reason, String)>, WireError> {
    labels.clear();
    let mut found = 0;
    while let Some(field) = series.next_field("TimeSeries")? {
        if field.number != 1 {
            series.skip(field.coding, "TimeSeries")?;
            continue;
        }
        let (name, value) = read_label(series.message("TimeSeries.labels")?)?;
        found += 1;
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) if found <= SERIES_LABELS_MAX => labels.push(name, value),
            (Ok(_), Ok(_)) => {}
            _ => return Ok(Err((Reason::BadLabels, format!("label {:?} is not UTF-8", shown(name))))),
        }
    }
    let too_many = LabelError::TooMany { found, limit: SERIES_LABELS_MAX };
    Ok(if found > SERIES_LABELS_MAX { Err((label_reason(&too_many), too_many.to_string())) } else { Ok(()) })
}

/// The start of a text that may not be UTF-8, for an error.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(128).collect()
}

fn read_sample(mut reader: Reader<'_>) -> Result<(i64, f64), WireError> {
    let (mut timestamp_ms, mut value) = (0, 0.0);
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
            _ => reader.skip(field.coding, "Sample, unknown field")?,
        }
    }
    Ok((timestamp_ms, value))
}

fn read_metadata(mut reader: Reader<'_>) -> Result<(&str, MetricMetadata), WireError> {
    let mut kind = 0;
    let (mut metric, mut help, mut unit) = ("", "", "");
    while let Some(field) = reader.next_field("MetricMetadata")? {
        match field.number {
            1 => {
                field.expect(Coding::Varint, "MetricMetadata.type")?;
                kind = low_half(reader.varint("MetricMetadata.type")?);
            }
            2 => {
                field.expect(Coding::Bytes, "MetricMetadata.metric_family_name")?;
                metric = reader.text("MetricMetadata.metric_family_name")?;
            }
            4 => {
                field.expect(Coding::Bytes, "MetricMetadata.help")?;
                help = reader.text("MetricMetadata.help")?;
            }
            5 => {
                field.expect(Coding::Bytes, "MetricMetadata.unit")?;
                unit = reader.text("MetricMetadata.unit")?;
            }
            _ => reader.skip(field.coding, "MetricMetadata, unknown field")?,
        }
    }
    let kind = kind_from_number(kind);
    Ok((metric, MetricMetadata { kind, unit: unit.to_owned(), help: help.to_owned() }))
}

/// An int32 from its varint: the low half, as protobuf has it, since senders extend the sign of negative ones.
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low_half(varint: u64) -> i32 {
    varint as i32
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for spoken in [
            None,
            Some("application/x-protobuf"),
            Some("Application/X-Protobuf; charset=x"),
            Some("application/x-protobuf;proto=prometheus.WriteRequest"),
            Some("application/x-protobuf; proto=\"prometheus.WriteRequest\""),
        ] {
            assert!(check_content_type(spoken).is_ok(), "{spoken:?}");
        }
        for other in
            ["application/x-protobuf;proto=io.prometheus.write.v2.Request", "application/json", "", "text/plain"]
        {
            let error = check_content_type(Some(other)).expect_err(other);
            assert_eq!(error.status(), 415);
            assert!(error.to_string().contains("prometheus.WriteRequest"), "{error}");
        }
    }
}
