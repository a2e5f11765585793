//! Decodes pages of the exposition formats, as `curl` and push jobs send them, into a [`WriteBatch`].
//!
//! Lines that are not understood are rejected one by one with their number; the others are taken. Exemplars that can't
//! be taken are counted, and their samples taken.

use model::exemplar::{EXEMPLAR_LABEL_CHARS_MAX, label_chars};
use model::exposition::{Entry, LineError, LineExemplar, MetadataTable, TextFormat, TextParser};
use model::{Exemplar, LabelsBuilder, LabelsRef, METRIC_NAME, WriteBatch};

use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::rejected::{Reason, Rejected};
use crate::remote_write::{check_sizes, label_reason, push_metadata};

/// Most labels that a request may add to its samples.
pub const EXTRA_LABELS_MAX: usize = 32;

/// What the parameters of a request ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Labels that every sample gets; they replace those of the page.
    pub extra_labels: Vec<(String, String)>,
    /// The time of samples without one; else that of the server.
    pub timestamp_ms: Option<i64>,
}

impl ImportOptions {
    /// Reads `extra_label=name=value`, which may occur again and again, and `timestamp`, in milliseconds.
    ///
    /// # Errors
    ///
    /// [`IngestError::Request`] for any other parameter, so that a slip is seen, and for values that are none.
    pub fn from_params(params: &[(String, String)]) -> Result<Self, IngestError> {
        let refuse = |detail| Err(IngestError::Request { what: "query parameters", detail });
        let mut options = Self::default();
        for (param, value) in params {
            match param.as_str() {
                "extra_label" => match value.split_once('=') {
                    Some((name, _)) if options.extra_labels.iter().any(|(other, _)| other == name) => {
                        return refuse(format!("extra_label {name:?} occurs twice"));
                    }
                    Some((name, value)) if !name.is_empty() => {
                        options.extra_labels.push((name.to_owned(), value.to_owned()));
                    }
                    _ => return refuse(format!("extra_label is {value:?}, expected name=value")),
                },
                "timestamp" => match value.parse() {
                    Ok(timestamp_ms) => options.timestamp_ms = Some(timestamp_ms),
                    Err(_) => return refuse(format!("timestamp is {value:?}, expected whole milliseconds")),
                },
                _ => return refuse(format!("{param:?} is not known here, expected extra_label or timestamp")),
            }
        }
        if options.extra_labels.len() > EXTRA_LABELS_MAX {
            let count = options.extra_labels.len();
            return refuse(format!("{count} extra_label, the limit is {EXTRA_LABELS_MAX}"));
        }
        Ok(options)
    }
}

/// Adds the samples and metadata of the page `body` to `batch`, and what can't be taken to `rejected`. Samples
/// without a time get `now_ms` unless `options` has one.
///
/// # Errors
///
/// When the page is not UTF-8 or passes a limit on requests; `batch` is then to be thrown away.
pub fn decode_page(
    body: &[u8],
    format: TextFormat,
    options: &ImportOptions,
    now_ms: i64,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) -> Result<(), IngestError> {
    let text = text_of(body)?;
    let default_ms = options.timestamp_ms.unwrap_or(now_ms);
    let mut table = MetadataTable::new(format, limits.metadata_per_request_max);
    let mut parser = TextParser::new(text, format);
    let mut exemplar_labels = LabelsBuilder::new();
    while let Some(entry) = parser.next_entry() {
        match entry {
            Err(error) => rejected.add(Reason::BadLine, 1, || error.to_string()),
            Ok(Entry::Sample { labels, value, timestamp_ms }) => {
                for (name, value) in &options.extra_labels {
                    labels.set(name, value);
                }
                if let Err((reason, message)) = push_labels(labels, limits, batch) {
                    rejected.add(reason, 1, || format!("line {}: {message}", parser.line()));
                    continue;
                }
                let sample_ms = timestamp_ms.unwrap_or(default_ms);
                batch.push_sample(sample_ms, value);
                check_sizes(limits, batch)?;
                if let Some(read) = parser.exemplar(&mut exemplar_labels) {
                    push_exemplar(read, &mut exemplar_labels, sample_ms, limits, batch, rejected);
                }
            }
            Ok(about_metric) => table.take(&about_metric),
        }
    }
    if format == TextFormat::OpenMetrics && !parser.saw_eof() {
        rejected.add(Reason::BadLine, 1, || "the page does not end with # EOF, it may be cut off".to_owned());
    }
    let dropped = table.lines_dropped();
    if dropped > 0 {
        let limit = limits.metadata_per_request_max;
        rejected.add(Reason::BadMetadata, dropped, || {
            format!("{dropped} lines about metrics beyond metadata_per_request_max of {limit}")
        });
    }
    for (metric, metadata) in table.into_metrics() {
        push_metadata(metric, metadata, limits, batch, rejected);
    }
    Ok(())
}

/// Starts the series with `labels` in `batch`, or says why it is none.
pub(crate) fn push_labels(
    labels: &mut LabelsBuilder,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
) -> Result<(), (Reason, String)> {
    match labels.pack(&limits.labels) {
        Ok(labels) if labels.get(METRIC_NAME).is_some() => {
            batch.push_series(labels);
            Ok(())
        }
        Ok(_) => Err((Reason::NoMetricName, "no metric name".to_owned())),
        Err(error) => Err((label_reason(&error), error.to_string())),
    }
}

/// Puts an exemplar into `batch`; one without a time has that of its sample. One that can't be taken is counted.
fn push_exemplar(
    read: Result<LineExemplar, LineError>,
    labels: &mut LabelsBuilder,
    sample_ms: i64,
    limits: &IngestLimits,
    batch: &mut WriteBatch,
    rejected: &mut Rejected,
) {
    let has_room = batch.exemplars_len() < limits.exemplars_per_request_max;
    let fits = |labels: &LabelsRef<'_>| has_room && label_chars(*labels) <= EXEMPLAR_LABEL_CHARS_MAX;
    match (read, labels.pack(&limits.labels).ok().filter(fits)) {
        (Ok(LineExemplar { value, timestamp_ms }), Some(labels)) => {
            let timestamp_ms = timestamp_ms.unwrap_or(sample_ms);
            batch.push_exemplar(Exemplar { labels: labels.to_owned(), value, timestamp_ms });
        }
        _ => rejected.add(Reason::Exemplar, 1, String::new),
    }
}

/// A body that must be UTF-8.
pub(crate) fn text_of(body: &[u8]) -> Result<&str, IngestError> {
    std::str::from_utf8(body).map_err(|error| {
        let at_byte = error.valid_up_to();
        let line = 1 + body.iter().take(at_byte).filter(|&&byte| byte == b'\n').count();
        IngestError::Utf8 { line, at_byte }
    })
}
