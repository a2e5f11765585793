//! Remote write 2.0 (`io.prometheus.write.v2.Request`): texts are in one table of symbols that everything refers to
//! by position, metadata comes with the series.
//!
//! The table is found first, as protobuf lets it come after what refers to it. Its entries are places in the body;
//! no text is copied but into packed labels.

#![warn(clippy::indexing_slicing)]

use std::collections::HashSet;

use model::remote_write::kind_from_number;
use model::{Exemplar, LabelLimits, LabelsRef, METRIC_NAME, MetricKind, MetricMetadata};

use super::metadata::metadata_fits;
use super::recognise::{SetCheck, is_same};
use super::slow_labels::{SlowLabels, shown};
use super::{Recognised, RemoteWriteDecoder, Target, check_sizes, has_labels};
use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::Reason;
use crate::wire::{Coding, Field, Reader, WireError};

/// A table with room for more symbols than this is given back to the system after the request.
const KEPT_SYMBOLS_MAX: usize = 1 << 16;

/// The texts of a request.
#[derive(Debug, Clone, Copy)]
struct Symbols<'b> {
    body: &'b [u8],
    places: &'b [(usize, usize)],
}

/// Why labels that are references are none.
#[derive(Debug, Clone, Copy)]
enum BadRefs {
    /// A reference beyond the table.
    Unknown { reference: u32, symbols: usize },
    /// A name without a value.
    Odd,
}

/// Turns references into pairs of name and value.
#[derive(Debug, Default)]
struct Pairs<'b> {
    name: Option<&'b [u8]>,
    problem: Option<BadRefs>,
}

/// What is to know of a series beside labels and samples.
#[derive(Debug, Default)]
struct Head<'b> {
    /// Whether the packer took all labels.
    is_packed: bool,
    metric: Option<&'b [u8]>,
    created_ms: i64,
    kind: i32,
    help_ref: u32,
    unit_ref: u32,
}

impl<'b> Symbols<'b> {
    fn get(self, reference: u32) -> Option<&'b [u8]> {
        let &(start, end) = self.places.get(usize::try_from(reference).ok()?)?;
        self.body.get(start..end)
    }
}

impl<'b> Pairs<'b> {
    /// Takes the next reference; gives a pair with every second one.
    fn push(&mut self, reference: u32, symbols: Symbols<'b>) -> Option<(&'b [u8], &'b [u8])> {
        let Some(text) = symbols.get(reference) else {
            let unknown = BadRefs::Unknown { reference, symbols: symbols.places.len() };
            self.problem.get_or_insert(unknown);
            return None;
        };
        let name = self.name.take();
        if name.is_none() {
            self.name = Some(text);
        }
        name.map(|name| (name, text))
    }

    /// What was wrong, when all references were taken.
    fn problem(&self) -> Option<BadRefs> {
        self.problem.or(self.name.map(|_| BadRefs::Odd))
    }
}

impl std::fmt::Display for BadRefs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { reference, symbols } => write!(f, "reference {reference} is beyond the {symbols} symbols"),
            Self::Odd => f.write_str("the last label name has no value"),
        }
    }
}

impl RemoteWriteDecoder {
    pub(super) fn decode_v2(&mut self, body: &[u8], target: &mut Target<'_>) -> Result<(), IngestError> {
        let mut places = std::mem::take(&mut self.symbols);
        places.clear();
        let result = find_symbols(body, target.limits, &mut places).and_then(|()| {
            let symbols = Symbols { body, places: &places };
            self.decode_series_v2(symbols, target)
        });
        if places.capacity() <= KEPT_SYMBOLS_MAX {
            self.symbols = places;
        }
        result
    }

    fn decode_series_v2(&mut self, symbols: Symbols<'_>, target: &mut Target<'_>) -> Result<(), IngestError> {
        let mut described = HashSet::new();
        let mut reader = Reader::new(symbols.body);
        while let Some(field) = reader.next_field("Request")? {
            if field.number != 5 {
                reader.skip(field.coding, "Request")?;
                continue;
            }
            field.expect(Coding::Bytes, "Request.timeseries")?;
            let series = reader.message("Request.timeseries")?;
            self.parts.count_series(target.limits)?;
            let recognised = recognise(series, symbols, target);
            let from = recognised.map_or(series, |(recognised, _)| recognised.rest);
            let mut head = self.read_series_v2(series, from, symbols, target)?;
            self.parts.set_missing_starts(head.created_ms);
            if let Some((recognised, metric)) = recognised {
                head.metric = Some(metric);
                self.parts.push_known_into(recognised.series, recognised.label_bytes, target.batch);
                self.parts.end_series(target.rejected);
            } else {
                self.push_series_v2(series, &head, symbols, target);
            }
            check_sizes(target.limits, target.batch)?;
            describe(&head, symbols, &mut described, target);
        }
        Ok(())
    }

    /// Reads one series from `reader` on into `parts` and, as far as it takes them, `packer`.
    fn read_series_v2<'b>(
        &mut self,
        series: Reader<'b>,
        mut reader: Reader<'b>,
        symbols: Symbols<'b>,
        target: &mut Target<'_>,
    ) -> Result<Head<'b>, IngestError> {
        let limits = target.limits;
        self.packer.clear();
        self.parts.begin_series();
        let mut head = Head { is_packed: true, ..Head::default() };
        let mut pairs = Pairs::default();
        while let Some(field) = reader.next_field("TimeSeries")? {
            match field.number {
                1 => each_ref(&mut reader, field, "TimeSeries.labels_refs", |reference| {
                    let Some((name, value)) = pairs.push(reference, symbols) else { return };
                    if name == METRIC_NAME.as_bytes() && !value.is_empty() {
                        head.metric = Some(value);
                    }
                    head.is_packed = head.is_packed && self.packer.push(name, value, &limits.labels);
                })?,
                2 => {
                    field.expect(Coding::Bytes, "TimeSeries.samples")?;
                    self.parts.read_sample(reader.message("TimeSeries.samples")?, limits)?;
                }
                3 => {
                    field.expect(Coding::Bytes, "TimeSeries.histograms")?;
                    let histogram = reader.message("TimeSeries.histograms")?;
                    self.parts.read_histogram(histogram, limits, target.rejected, || metric_name(series, symbols))?;
                }
                4 => {
                    field.expect(Coding::Bytes, "TimeSeries.exemplars")?;
                    let exemplar = self.read_exemplar_v2(reader.message("TimeSeries.exemplars")?, symbols, limits)?;
                    self.parts.push_exemplar(exemplar, limits);
                }
                5 => {
                    field.expect(Coding::Bytes, "TimeSeries.metadata")?;
                    read_metadata(reader.message("TimeSeries.metadata")?, &mut head)?;
                }
                6 => {
                    field.expect(Coding::Varint, "TimeSeries.created_timestamp")?;
                    head.created_ms = reader.varint("TimeSeries.created_timestamp")?.cast_signed();
                }
                _ => reader.skip(field.coding, "TimeSeries, unknown field")?,
            }
        }
        if pairs.problem().is_some() {
            (head.is_packed, head.metric) = (false, None);
        }
        Ok(head)
    }

    fn read_exemplar_v2(
        &mut self,
        mut reader: Reader<'_>,
        symbols: Symbols<'_>,
        limits: &IngestLimits,
    ) -> Result<Option<Exemplar>, WireError> {
        self.exemplar.clear();
        let mut pairs = Pairs::default();
        while let Some(field) = reader.next_field("Exemplar")? {
            if field.number == 1 {
                each_ref(&mut reader, field, "Exemplar.labels_refs", |reference| {
                    if let Some((name, value)) = pairs.push(reference, symbols) {
                        self.exemplar.push_label(name, value);
                    }
                })?;
            } else {
                self.exemplar.read_field(&mut reader, field)?;
            }
        }
        if pairs.problem().is_some() {
            self.exemplar.refuse();
        }
        Ok(self.exemplar.finish(&limits.labels))
    }

    /// Puts the series that was read last into the batch, or says why not.
    fn push_series_v2(&mut self, series: Reader<'_>, head: &Head<'_>, symbols: Symbols<'_>, target: &mut Target<'_>) {
        let Self { packer, labels: builder, parts, .. } = self;
        if parts.is_empty() {
            return parts.end_series(target.rejected);
        }
        let packed = if head.is_packed { packer.packed(&target.limits.labels) } else { None };
        let labels = if let Some(labels) = packed {
            Ok(labels)
        } else {
            let mut labels = SlowLabels::new(builder, target.limits);
            if let Some(problem) = each_pair(series, symbols, |name, value| labels.push(name, value)) {
                labels.fail(Reason::BadLabels, || problem.to_string());
            }
            labels.finish()
        };
        parts.push_into(labels, || metric_name(series, symbols), target);
        parts.end_series(target.rejected);
    }
}

/// The series that the cursor guesses, if its labels are the references at the start of `series`, and all that it has;
/// with the metric's name.
fn recognise<'b>(
    series: Reader<'b>,
    symbols: Symbols<'b>,
    target: &mut Target<'_>,
) -> Option<(Recognised<'b>, &'b [u8])> {
    let mut rest = series;
    let field = rest.next_field("TimeSeries").ok()??;
    if field.number != 1 || field.coding != Coding::Bytes {
        return None;
    }
    let references = rest.message("TimeSeries.labels_refs").ok()?;
    let limits = &target.limits.labels;
    let (mut metric, mut label_bytes) = (None, 0);
    let series = target.cursor.guess(&mut |labels| {
        metric = metric_of_same(references, symbols, labels, limits);
        label_bytes = labels.packed().len();
        metric.is_some()
    })?;
    (!has_labels(rest)).then_some((Recognised { series, label_bytes, rest, sample: None }, metric?))
}

/// The metric's name, if `references` are the labels in order and within `limits`.
fn metric_of_same<'b>(
    mut references: Reader<'_>,
    symbols: Symbols<'b>,
    labels: LabelsRef<'_>,
    limits: &LabelLimits,
) -> Option<&'b [u8]> {
    let mut check = SetCheck::new(labels, limits)?;
    let mut next = || symbols.get(references.varint32("TimeSeries.labels_refs").ok()?);
    let mut metric = None;
    for (name, value) in labels.byte_pairs() {
        check.take(name, value)?;
        let (found_name, found_value) = (next()?, next()?);
        if !is_same(found_name, name) || !is_same(found_value, value) {
            return None;
        }
        if name == METRIC_NAME.as_bytes() {
            metric = Some(found_value);
        }
    }
    metric.filter(|_| references.rest().is_empty())
}

/// Finds the symbols of `body`.
fn find_symbols(body: &[u8], limits: &IngestLimits, places: &mut Vec<(usize, usize)>) -> Result<(), IngestError> {
    let mut reader = Reader::new(body);
    while let Some(field) = reader.next_field("Request")? {
        if field.number != 4 {
            reader.skip(field.coding, "Request, unknown field")?;
            continue;
        }
        field.expect(Coding::Bytes, "Request.symbols")?;
        let length = reader.bytes("Request.symbols")?.len();
        let limit = limits.symbols_per_request_max;
        if places.len() >= limit {
            let found = format!("{} or more", places.len() + 1);
            return Err(IngestError::Limit { what: "symbols", found, limit_name: "symbols_per_request_max", limit });
        }
        places.push((reader.at_byte() - length, reader.at_byte()));
    }
    Ok(())
}

/// Hands every reference of a field to `take`.
fn each_ref(
    reader: &mut Reader<'_>,
    field: Field,
    name: &'static str,
    mut take: impl FnMut(u32),
) -> Result<(), WireError> {
    reader.each(field, Coding::Varint, name, |element| element.varint32(name).map(&mut take))
}

/// Hands every label of a series that was read before to `take`; gives what is wrong with the references.
#[cold]
fn each_pair<'b>(
    mut series: Reader<'b>,
    symbols: Symbols<'b>,
    mut take: impl FnMut(&'b [u8], &'b [u8]),
) -> Option<BadRefs> {
    let mut pairs = Pairs::default();
    while let Ok(Some(field)) = series.next_field("TimeSeries") {
        let read = if field.number == 1 {
            each_ref(&mut series, field, "TimeSeries.labels_refs", |reference| {
                if let Some((name, value)) = pairs.push(reference, symbols) {
                    take(name, value);
                }
            })
        } else {
            series.skip(field.coding, "TimeSeries")
        };
        if read.is_err() {
            break;
        }
    }
    pairs.problem()
}

/// The metric name of a series that was read before, for an error.
#[cold]
fn metric_name(series: Reader<'_>, symbols: Symbols<'_>) -> String {
    let mut metric = None;
    each_pair(series, symbols, |name, value| {
        if name == METRIC_NAME.as_bytes() && !value.is_empty() {
            metric.get_or_insert(value);
        }
    });
    metric.map_or_else(|| "a series without a metric name".to_owned(), shown)
}

/// Reads what is known of the metric; what is not told stays, as messages that come in parts are one.
fn read_metadata(mut reader: Reader<'_>, head: &mut Head<'_>) -> Result<(), WireError> {
    while let Some(field) = reader.next_field("Metadata")? {
        match field.number {
            1 => {
                field.expect(Coding::Varint, "Metadata.type")?;
                head.kind = reader.varint32("Metadata.type")?.cast_signed();
            }
            3 => {
                field.expect(Coding::Varint, "Metadata.help_ref")?;
                head.help_ref = reader.varint32("Metadata.help_ref")?;
            }
            4 => {
                field.expect(Coding::Varint, "Metadata.unit_ref")?;
                head.unit_ref = reader.varint32("Metadata.unit_ref")?;
            }
            _ => reader.skip(field.coding, "Metadata, unknown field")?,
        }
    }
    Ok(())
}

/// Puts what a series tells of its metric into `batch`, once a metric, or says why not.
fn describe<'b>(head: &Head<'b>, symbols: Symbols<'b>, described: &mut HashSet<&'b [u8]>, target: &mut Target<'_>) {
    let Target { limits, batch, rejected, .. } = target;
    let Some(metric) = head.metric else { return };
    let kind = kind_from_number(head.kind);
    // Position 0 is the empty text.
    let is_told = kind != MetricKind::Unknown || head.help_ref != 0 || head.unit_ref != 0;
    if !is_told || metric.len() > limits.labels.value_bytes_max {
        // A name that is too long was rejected with its series.
        return;
    }
    let family = family_of(metric, kind);
    if !described.insert(family) {
        return;
    }
    let text = |reference| if reference == 0 { Some(&[][..]) } else { symbols.get(reference) };
    let Ok(family) = std::str::from_utf8(family) else {
        // It was rejected with its series.
        return;
    };
    let no_text = || format!("{family}: help or unit of its metadata is no symbol, or is not UTF-8");
    let Some((help, unit)) = text(head.help_ref).zip(text(head.unit_ref)) else {
        return rejected.add(Reason::BadMetadata, 1, no_text);
    };
    // Long texts are cheap to send, so that they are measured before they are copied.
    if !metadata_fits(family, family.len() + help.len() + unit.len(), limits, batch, rejected) {
        return;
    }
    match (std::str::from_utf8(help), std::str::from_utf8(unit)) {
        (Ok(help), Ok(unit)) => {
            batch.push_metadata(family, MetricMetadata { kind, unit: unit.to_owned(), help: help.to_owned() });
        }
        _ => rejected.add(Reason::BadMetadata, 1, no_text),
    }
}

/// The name of the metric that a series is part of: histograms and summaries have series of other names.
fn family_of(metric: &[u8], kind: MetricKind) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        MetricKind::Histogram => &[b"_bucket", b"_count", b"_sum"],
        MetricKind::GaugeHistogram => &[b"_bucket", b"_gcount", b"_gsum", b"_count", b"_sum"],
        MetricKind::Summary => &[b"_count", b"_sum"],
        _ => &[],
    };
    let family = suffixes.iter().find_map(|suffix| metric.strip_suffix(*suffix));
    family.filter(|family| !family.is_empty()).unwrap_or(metric)
}
