//! Decodes remote write requests by walking their protobuf bytes into a [`WriteBatch`].
//!
//! Owns what version of the protocol a request speaks, and version 1.0 (`prometheus.WriteRequest`); `v2` has version
//! 2.0, `parts`, `histogram` and `exemplar` what both share. Field numbers are those of [`model::remote_write`], whose
//! messages are what the tests compare this walk with. A request that is not the wire format is refused whole, with
//! the place; a series or histogram that is none is rejected alone. Series that the sink's cursor guessed are recognised
//! by their bytes (`recognise`), and have no label decoded; strings of others are copied once, into packed labels.

#![warn(clippy::indexing_slicing)]

mod exemplar;
mod histogram;
mod neighbour;
mod parts;
mod recognise;
mod v2;

use model::remote_write::{kind_from_number, v2::PROTO as PROTO_2};
use model::{
    KnownSeries, LabelError, LabelLimits, LabelsBuilder, LabelsRef, METRIC_NAME, MetricMetadata, SeriesCursor,
    SortedPacker, WriteBatch,
};

use self::exemplar::ExemplarReader;
use self::neighbour::Neighbour;
use self::parts::Parts;
use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::wire::{Coding, Reader, WireError};

/// The content types spoken.
pub(crate) const CONTENT_TYPES: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request (remote write 2.0) \
     or application/x-protobuf;proto=prometheus.WriteRequest (remote write 1.0)";

/// Most labels of one series that are read, empty ones and duplicates included.
pub(crate) const SERIES_LABELS_MAX: usize = 1024;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0, `prometheus.WriteRequest`.
    V1,
    /// 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

/// The version that a `Content-Type` tells; none at all is taken for 1.0, as its first senders had it.
///
/// # Errors
///
/// [`IngestError::ContentType`] for anything but protobuf, and for messages of other names.
pub(crate) fn version_of(content_type: Option<&str>) -> Result<Version, IngestError> {
    let Some(found) = content_type else { return Ok(Version::V1) };
    let mut parts = found.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let proto = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    match proto {
        None | Some("prometheus.WriteRequest") if is_protobuf => Ok(Version::V1),
        Some(PROTO_2) if is_protobuf => Ok(Version::V2),
        _ => Err(IngestError::ContentType { found: found.to_owned(), spoken: CONTENT_TYPES }),
    }
}

/// Decodes requests, keeping its memory from one to the next.
#[derive(Debug, Default)]
pub struct RemoteWriteDecoder {
    /// Takes the labels of most series: sorted, none empty.
    packer: SortedPacker,
    /// Takes those of the others.
    labels: LabelsBuilder,
    exemplar: ExemplarReader,
    parts: Parts,
    /// A series of the request, of version 1.0.
    neighbour: Neighbour,
    /// Where the symbols of a request of version 2.0 are in its body, as start and end.
    symbols: Vec<(usize, usize)>,
}

/// Where what is decoded goes, and what it goes by.
struct Target<'t> {
    limits: &'t IngestLimits,
    cursor: &'t mut (dyn SeriesCursor + 't),
    batch: &'t mut WriteBatch,
    rejected: &'t mut Rejected,
}

/// A series that was recognised.
#[derive(Debug, Clone, Copy)]
struct Recognised<'b> {
    series: KnownSeries,
    /// Length of its packed labels.
    label_bytes: usize,
    /// Behind its labels.
    rest: Reader<'b>,
    /// Time and value, if one plain sample is all that comes there.
    sample: Option<(i64, f64)>,
}

impl RemoteWriteDecoder {
    /// Adds the series and metadata of `body`, which is decompressed, to `batch`, and what can't be taken to
    /// `rejected`. Series that `cursor` knows, which is of the sink that `batch` is for, are added as known.
    ///
    /// # Errors
    ///
    /// When the bytes are no write request of `version` or pass a limit on requests; `batch` is then to be thrown
    /// away.
    pub fn decode(
        &mut self,
        version: Version,
        body: &[u8],
        limits: &IngestLimits,
        cursor: &mut dyn SeriesCursor,
        batch: &mut WriteBatch,
        rejected: &mut Rejected,
    ) -> Result<(), IngestError> {
        self.parts.begin_request();
        self.neighbour.clear();
        let mut target = Target { limits, cursor, batch, rejected };
        match version {
            Version::V1 => self.decode_v1(body, &mut target),
            Version::V2 => self.decode_v2(body, &mut target),
        }
    }

    fn decode_v1(&mut self, body: &[u8], target: &mut Target<'_>) -> Result<(), IngestError> {
        let mut reader = Reader::new(body);
        loop {
            while let Some(series) = reader.short_message(1) {
                self.decode_series(series, target)?;
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

    #[inline]
    fn decode_series(&mut self, series: Reader<'_>, target: &mut Target<'_>) -> Result<(), IngestError> {
        self.parts.count_series(target.limits)?;
        match recognise(series, &mut self.neighbour, target) {
            Some(recognised) => self.take_recognised(series, recognised, target)?,
            None => self.take_series(series, target)?,
        }
        check_sizes(target.limits, target.batch)
    }

    /// Forgets what is gathered, and gives back memory that one large request took.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
    }

    /// How many histograms of the request decoded last are in its batch.
    pub fn histograms(&self) -> u64 {
        self.parts.histograms()
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
fn recognise<'b>(series: Reader<'b>, neighbour: &mut Neighbour, target: &mut Target<'_>) -> Option<Recognised<'b>> {
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

/// Whether there are labels in what is left of a series, of either version; what is damaged may have some.
#[cold]
fn has_labels(mut rest: Reader<'_>) -> bool {
    loop {
        match rest.next_field("TimeSeries") {
            Ok(Some(field)) if field.number != 1 && rest.skip(field.coding, "TimeSeries").is_ok() => {}
            Ok(None) => return false,
            _ => return true,
        }
    }
}

/// Gathers labels that the packer did not take, to find what is wrong with them, if anything. References make labels of
/// any length cheap to send, so that lengths are looked at before texts are.
struct SlowLabels<'l> {
    builder: &'l mut LabelsBuilder,
    limits: &'l LabelLimits,
    found: usize,
    /// Bytes of names and values so far.
    bytes: usize,
    problem: Option<(Reason, String)>,
}

impl<'l> SlowLabels<'l> {
    fn new(builder: &'l mut LabelsBuilder, limits: &'l IngestLimits) -> Self {
        builder.clear();
        Self { builder, limits: &limits.labels, found: 0, bytes: 0, problem: None }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.found += 1;
        if self.problem.is_some() || self.found > SERIES_LABELS_MAX {
            return;
        }
        if let Some(error) = self.too_long(name, value) {
            return self.fail(label_reason(&error), || error.to_string());
        }
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => self.builder.push(name, value),
            _ => self.fail(Reason::BadLabels, || format!("label {:?} is not UTF-8", shown(name))),
        }
    }

    /// The error of a label that is too long, or with which the set is.
    fn too_long(&mut self, name: &[u8], value: &[u8]) -> Option<LabelError> {
        let LabelLimits { name_bytes_max, value_bytes_max, set_bytes_max, .. } = *self.limits;
        if name.len() > name_bytes_max {
            let prefix = shown(name).chars().take(32).collect();
            return Some(LabelError::NameTooLong { prefix, found_bytes: name.len(), limit_bytes: name_bytes_max });
        }
        if value.len() > value_bytes_max {
            let (name, found_bytes) = (shown(name), value.len());
            return Some(LabelError::ValueTooLong { name, found_bytes, limit_bytes: value_bytes_max });
        }
        // Labels with an empty value are left out.
        self.bytes += if value.is_empty() { 0 } else { name.len() + value.len() };
        let (found_bytes, limit_bytes) = (self.bytes, set_bytes_max);
        (found_bytes > limit_bytes).then_some(LabelError::SetTooLong { found_bytes, limit_bytes })
    }

    /// Says that the labels are none, unless that was said before.
    fn fail(&mut self, reason: Reason, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(|| (reason, problem()));
    }

    /// The labels, or why they are none.
    fn finish(self) -> Result<LabelsRef<'l>, (Reason, String)> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.found > SERIES_LABELS_MAX {
            let too_many = LabelError::TooMany { found: self.found, limit: SERIES_LABELS_MAX };
            return Err((label_reason(&too_many), too_many.to_string()));
        }
        self.builder.pack(self.limits).map_err(|error| (label_reason(&error), error.to_string()))
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
#[inline]
pub(crate) fn check_sizes(limits: &IngestLimits, batch: &WriteBatch) -> Result<(), IngestError> {
    check_series(limits, batch.series_len())?;
    let limit = limits.label_bytes_per_request_max;
    check(batch.label_bytes(), limit, "bytes of labels", "label_bytes_per_request_max")?;
    check_samples(limits, batch.samples_len())
}

#[inline]
fn check_series(limits: &IngestLimits, found: usize) -> Result<(), IngestError> {
    check(found, limits.series_per_request_max, "series", "series_per_request_max")
}

#[inline]
fn check_samples(limits: &IngestLimits, found: usize) -> Result<(), IngestError> {
    check(found, limits.samples_per_request_max, "samples", "samples_per_request_max")
}

/// The error when `found` is above `limit`; there may be more behind what was looked at.
#[inline]
pub(crate) fn check(
    found: usize,
    limit: usize,
    what: &'static str,
    limit_name: &'static str,
) -> Result<(), IngestError> {
    if found <= limit { Ok(()) } else { Err(limit_passed(found, limit, what, limit_name)) }
}

#[cold]
fn limit_passed(found: usize, limit: usize, what: &'static str, limit_name: &'static str) -> IngestError {
    IngestError::Limit { what, found: format!("{found} or more"), limit_name, limit }
}

/// Puts metadata into `batch`, or says why not.
pub(crate) fn push_metadata(
    metric: impl Into<String> + AsRef<str>,
    metadata: MetricMetadata,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) {
    let found_bytes = metric.as_ref().len() + metadata.unit.len() + metadata.help.len();
    if metadata_fits(metric.as_ref(), found_bytes, limits, batch, rejected) {
        batch.push_metadata(metric, metadata);
    }
}

/// Whether what is known of a metric, of `found_bytes` with its name, has room in `batch`; says so if it has not.
fn metadata_fits(
    name: &str,
    found_bytes: usize,
    limits: &IngestLimits,
    batch: &WriteBatch,
    rejected: &mut Rejected,
) -> bool {
    let start = || name.chars().take(64).collect::<String>();
    if name.is_empty() {
        rejected.add(Reason::BadMetadata, 1, || "metadata without a metric name".to_owned());
    } else if batch.metadata().len() >= limits.metadata_per_request_max {
        let limit = limits.metadata_per_request_max;
        rejected.add(Reason::BadMetadata, 1, || {
            format!("{}: metadata beyond metadata_per_request_max of {limit}", start())
        });
    } else if found_bytes > limits.metadata_bytes_max {
        let limit = limits.metadata_bytes_max;
        rejected.add(Reason::BadMetadata, 1, || {
            format!("metadata of {} has {found_bytes} bytes, the limit metadata_bytes_max is {limit}", start())
        });
    } else {
        return true;
    }
    false
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

/// The start of a text that may not be UTF-8, for an error.
fn shown(text: &[u8]) -> String {
    let start = text.get(..512).unwrap_or(text);
    String::from_utf8_lossy(start).chars().take(128).collect()
}

fn read_metadata(mut reader: Reader<'_>) -> Result<(&str, MetricMetadata), WireError> {
    let mut kind = 0;
    let (mut metric, mut help, mut unit) = ("", "", "");
    while let Some(field) = reader.next_field("MetricMetadata")? {
        match field.number {
            1 => {
                field.expect(Coding::Varint, "MetricMetadata.type")?;
                kind = reader.varint32("MetricMetadata.type")?.cast_signed();
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
        for (spoken, version) in [
            (None, Version::V1),
            (Some("application/x-protobuf"), Version::V1),
            (Some("Application/X-Protobuf; charset=x"), Version::V1),
            (Some("application/x-protobuf;proto=prometheus.WriteRequest"), Version::V1),
            (Some("application/x-protobuf; proto=\"prometheus.WriteRequest\""), Version::V1),
            (Some("application/x-protobuf;proto=io.prometheus.write.v2.Request"), Version::V2),
            (Some("application/x-protobuf; Proto = io.prometheus.write.v2.Request"), Version::V2),
        ] {
            assert_eq!(version_of(spoken).ok(), Some(version), "{spoken:?}");
        }
        for other in [
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "application/json",
            "application/json;proto=prometheus.WriteRequest",
            "application/json;proto=io.prometheus.write.v2.Request",
            "",
            "text/plain",
        ] {
            let error = version_of(Some(other)).expect_err(other);
            assert_eq!(error.status(), 415);
            assert!(error.to_string().contains("prometheus.WriteRequest"), "{error}");
        }
    }
}
