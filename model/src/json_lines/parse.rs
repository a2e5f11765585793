//! Reads lines of samples, see [`super`] for their shape.
//!
//! Keys come in any order; those that are not known are read over. Histograms are checked as those of remote write are.

#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use super::cursor::Cursor;
use super::{
    Counts, LINE_BYTES_MAX, LINE_HISTOGRAMS_MAX, LINE_LABELS_MAX, LINE_METADATA_MAX, LINE_SAMPLES_MAX, Mark,
    NULL_NAN_BITS, VERSION,
};
use crate::histogram::{BUCKETS_MAX, Bucket, Histogram, HistogramError, ResetHint};
use crate::labels::LabelsBuilder;
use crate::metadata::{MetricKind, MetricMetadata};
use crate::sample::{HistogramSample, STALE_NAN_BITS, Samples};

/// Why a line was not understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct ParseError {
    /// The byte in the line, counted from 1.
    pub column: usize,
    /// What was wrong there.
    pub problem: Problem,
}

/// What was wrong with a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum Problem {
    /// JSON, or the shape of a line, wants something else here.
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: String },
    /// A backslash with what JSON does not know.
    #[error("this is no escape of a character")]
    Escape,
    /// Too many objects inside one another.
    #[error("values lie too deep in one another")]
    TooDeep,
    /// No labels.
    #[error("the key \"metric\" is missing")]
    NoMetric,
    /// A key that counts, twice.
    #[error("the key {key:?} occurs twice")]
    Twice { key: &'static str },
    /// Columns of different lengths.
    #[error("there are {values} values, but {others} {column}")]
    Lengths { values: usize, column: &'static str, others: usize },
    /// More samples than the limit.
    #[error("more than {limit} samples or {LINE_HISTOGRAMS_MAX} histograms on one line")]
    TooManySamples { limit: usize },
    /// More metrics than the limit.
    #[error("more than {LINE_METADATA_MAX} metrics described on one line")]
    TooMuchMetadata,
    /// More labels than the limit.
    #[error("more than {LINE_LABELS_MAX} labels on one line")]
    TooManyLabels,
    /// A line longer than the limit.
    #[error("the line has {found_bytes} bytes, the limit is {LINE_BYTES_MAX}")]
    TooLong { found_bytes: usize },
    /// A histogram that is none.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// Written by a later version.
    #[error("the export is of version {found}, known is {VERSION}")]
    Version { found: u64 },
}

/// What a line says beside labels and samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// What is known of metrics, by name.
    pub metadata: Vec<(String, MetricMetadata)>,
    /// An end of an export.
    pub mark: Option<Mark>,
}

/// Reads lines. Keeps its memory from one to the next.
#[derive(Debug)]
pub struct LineReader {
    samples_max: usize,
    nans: Vec<(i64, f64, i64)>,
}

/// Which keys a line has had.
#[derive(Debug, Default)]
struct Seen(u32);

/// The keys that count.
const KEYS: [&str; 9] = ["metric", "values", "timestamps", "starts", "nans", "histograms", "metadata", "begin", "end"];

impl Seen {
    /// Notes `key`, and gives it back if it counts.
    fn note(&mut self, cursor: Cursor<'_>, key: &str) -> Result<Option<&'static str>, ParseError> {
        let Some(at) = KEYS.iter().position(|known| *known == key) else { return Ok(None) };
        let bit = 1 << at;
        let key = KEYS.get(at).copied().unwrap_or_default();
        if self.0 & bit != 0 {
            return Err(cursor.problem(Problem::Twice { key }));
        }
        self.0 |= bit;
        Ok(Some(key))
    }

    fn has_metric(&self) -> bool {
        self.0 & 1 != 0
    }
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new(LINE_SAMPLES_MAX)
    }
}

impl LineReader {
    /// A reader of lines with at most `samples_max` samples each, and never more than [`LINE_SAMPLES_MAX`].
    pub fn new(samples_max: usize) -> Self {
        Self { samples_max: samples_max.min(LINE_SAMPLES_MAX), nans: Vec::new() }
    }

    /// Reads `line`, which has no end of line in it. Its labels replace those in `labels`, which may be no set yet:
    /// packing tells. Its samples, in the order of the line, replace those in `samples`. After an error both hold
    /// anything.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, and where.
    pub fn read(&mut self, line: &str, labels: &mut LabelsBuilder, samples: &mut Samples) -> Result<Line, ParseError> {
        labels.clear();
        samples.clear();
        self.nans.clear();
        let (mut told, mut seen) = (Line::default(), Seen::default());
        let mut cursor = Cursor::new(line);
        if line.len() > LINE_BYTES_MAX {
            return Err(cursor.problem(Problem::TooLong { found_bytes: line.len() }));
        }
        let limit = self.samples_max;
        cursor.object(|cursor, key| {
            match seen.note(*cursor, key)? {
                Some("metric") => read_labels(cursor, labels)?,
                Some("values") => read_column(cursor, limit, &mut samples.values, read_value)?,
                Some("timestamps") => read_column(cursor, limit, &mut samples.timestamps_ms, Cursor::whole)?,
                Some("nans") => read_column(cursor, limit, &mut self.nans, read_nan)?,
                Some("starts") => read_column(cursor, limit, &mut samples.starts_ms, Cursor::whole)?,
                Some("histograms") => {
                    read_column(cursor, limit.min(LINE_HISTOGRAMS_MAX), &mut samples.histograms, read_histogram)?;
                }
                Some("metadata") => read_metadata(cursor, &mut told.metadata)?,
                Some("begin") => told.mark = Some(read_begin(cursor)?),
                Some("end") => told.mark = Some(read_end(cursor)?),
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.expect_end()?;
        if !seen.has_metric() {
            return Err(cursor.problem(Problem::NoMetric));
        }
        self.settle(samples).map_err(|problem| cursor.problem(problem))?;
        Ok(told)
    }

    /// Checks that columns fit, and puts NaNs in their places.
    fn settle(&self, samples: &mut Samples) -> Result<(), Problem> {
        let values = samples.values.len();
        let starts = if samples.starts_ms.is_empty() { values } else { samples.starts_ms.len() };
        for (column, others) in [("timestamps", samples.timestamps_ms.len()), ("starts", starts)] {
            if others != values {
                return Err(Problem::Lengths { values, column, others });
            }
        }
        if values.saturating_add(self.nans.len()).saturating_add(samples.histograms.len()) > self.samples_max {
            return Err(Problem::TooManySamples { limit: self.samples_max });
        }
        if !self.nans.is_empty() {
            for &(timestamp_ms, value, start_ms) in &self.nans {
                samples.push_started(timestamp_ms, value, start_ms);
            }
            sort_floats(samples);
        }
        if samples.starts_ms.iter().all(|&start_ms| start_ms == 0) {
            samples.starts_ms.clear();
        }
        Ok(())
    }
}

/// Brings floats into the order of time; of one time they stay as they were.
fn sort_floats(samples: &mut Samples) {
    let mut floats: Vec<(i64, f64, i64)> =
        samples.iter().enumerate().map(|(at, one)| (one.timestamp.0, one.value, samples.start_ms(at))).collect();
    floats.sort_by_key(|(timestamp_ms, ..)| *timestamp_ms);
    let has_starts = !samples.starts_ms.is_empty();
    samples.timestamps_ms.clear();
    samples.values.clear();
    samples.starts_ms.clear();
    for (timestamp_ms, value, start_ms) in floats {
        samples.timestamps_ms.push(timestamp_ms);
        samples.values.push(value);
        if has_starts {
            samples.starts_ms.push(start_ms);
        }
    }
}

fn read_labels(cursor: &mut Cursor<'_>, labels: &mut LabelsBuilder) -> Result<(), ParseError> {
    let mut count = 0;
    cursor.object(|cursor, name| {
        count += 1;
        if count > LINE_LABELS_MAX {
            return Err(cursor.problem(Problem::TooManyLabels));
        }
        labels.push(name, &cursor.string()?);
        Ok(())
    })
}

fn read_column<'t, T>(
    cursor: &mut Cursor<'t>,
    limit: usize,
    column: &mut Vec<T>,
    mut read: impl FnMut(&mut Cursor<'t>) -> Result<T, ParseError>,
) -> Result<(), ParseError> {
    cursor.list(|cursor| {
        if column.len() == limit {
            return Err(cursor.problem(Problem::TooManySamples { limit }));
        }
        column.push(read(cursor)?);
        Ok(())
    })
}

/// A value of a column, also as others write it.
fn read_value(cursor: &mut Cursor<'_>) -> Result<f64, ParseError> {
    let at_value = *cursor;
    match cursor.peek() {
        Some(b'"') => special(&cursor.string()?).ok_or_else(|| at_value.unexpected("a number, null or an infinity")),
        Some(b'0'..=b'9') => cursor.float(),
        _ => {
            if let Some(value) = special(cursor.word()) {
                return Ok(value);
            }
            *cursor = at_value;
            cursor.float()
        }
    }
}

/// What is no number, by its name.
fn special(name: &str) -> Option<f64> {
    let (sign, name) = match name.strip_prefix('-') {
        Some(name) => (-1.0, name),
        None => (1.0, name.strip_prefix('+').unwrap_or(name)),
    };
    if ["inf", "infinity"].iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Some(sign * f64::INFINITY);
    }
    (name == "null" || name.eq_ignore_ascii_case("nan")).then(|| f64::from_bits(NULL_NAN_BITS))
}

/// A value, also one that only our own keys have.
fn read_any(cursor: &mut Cursor<'_>) -> Result<f64, ParseError> {
    let at_text = *cursor;
    if cursor.peek() == Some(b'"') {
        let text = cursor.string()?;
        let bits = if text == "stale" { Some(STALE_NAN_BITS) } else { text.strip_prefix("nan:").and_then(nan_bits) };
        if let Some(bits) = bits {
            return Ok(f64::from_bits(bits));
        }
        *cursor = at_text;
    }
    read_value(cursor)
}

/// When, what and the start, of a value that is no number.
fn read_nan(cursor: &mut Cursor<'_>) -> Result<(i64, f64, i64), ParseError> {
    cursor.expect(b'[', "a list of timestamp and value")?;
    let timestamp_ms = cursor.whole()?;
    cursor.expect(b',', ", after the timestamp")?;
    let at_value = *cursor;
    let value = read_any(cursor)?;
    if !value.is_nan() {
        return Err(at_value.unexpected("\"stale\", null or \"nan:BITS\""));
    }
    let start_ms = if cursor.eat(b',') { cursor.whole()? } else { 0 };
    cursor.expect(b']', "] after the value")?;
    Ok((timestamp_ms, value, start_ms))
}

fn nan_bits(digits: &str) -> Option<u64> {
    let is_plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bits = u64::from_str_radix(digits, 16).ok().filter(|_| is_plain)?;
    f64::from_bits(bits).is_nan().then_some(bits)
}

fn read_histogram(cursor: &mut Cursor<'_>) -> Result<HistogramSample, ParseError> {
    let at_histogram = *cursor;
    let (mut timestamp_ms, mut start_ms) = (None, 0);
    let mut of = Histogram::default();
    cursor.object(|cursor, key| {
        match key {
            "timestamp" => timestamp_ms = Some(cursor.whole()?),
            "start" => start_ms = cursor.whole()?,
            "schema" => of.schema = cursor.whole()?,
            "reset" => of.reset_hint = read_hint(cursor)?,
            "count" => of.count = read_any(cursor)?,
            "sum" => of.sum = read_any(cursor)?,
            "zero_threshold" => of.zero_threshold = read_any(cursor)?,
            "zero_count" => of.zero_count = read_any(cursor)?,
            "positive" => of.positive = read_buckets(cursor, read_bucket)?,
            "negative" => of.negative = read_buckets(cursor, read_bucket)?,
            "bounds" => of.custom_bounds = read_buckets(cursor, read_any)?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let timestamp_ms = timestamp_ms.ok_or_else(|| at_histogram.unexpected("a histogram with a timestamp"))?;
    if of.is_stale_marker() {
        of = Histogram::stale_marker();
    } else {
        of.compact();
        of.check().map_err(|error| at_histogram.problem(error.into()))?;
    }
    Ok(HistogramSample { timestamp_ms, start_ms, histogram: Arc::new(of) })
}

fn read_hint(cursor: &mut Cursor<'_>) -> Result<ResetHint, ParseError> {
    let at_text = *cursor;
    let text = cursor.string()?;
    let all = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
    let hint = all.into_iter().find(|hint| hint.to_string() == *text);
    hint.ok_or_else(|| at_text.unexpected("unknown, reset, not_reset or gauge"))
}

fn read_buckets<'t, T>(
    cursor: &mut Cursor<'t>,
    mut read: impl FnMut(&mut Cursor<'t>) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let mut buckets = Vec::new();
    cursor.list(|cursor| {
        if buckets.len() == BUCKETS_MAX {
            return Err(cursor.problem(HistogramError::TooManyBuckets { found: BUCKETS_MAX + 1 }.into()));
        }
        buckets.push(read(cursor)?);
        Ok(())
    })?;
    Ok(buckets)
}

fn read_bucket(cursor: &mut Cursor<'_>) -> Result<Bucket, ParseError> {
    let (index, count) = cursor.pair(Cursor::whole, read_any)?;
    Ok(Bucket { index, count })
}

fn read_metadata(cursor: &mut Cursor<'_>, all: &mut Vec<(String, MetricMetadata)>) -> Result<(), ParseError> {
    cursor.list(|cursor| {
        if all.len() == LINE_METADATA_MAX {
            return Err(cursor.problem(Problem::TooMuchMetadata));
        }
        let (mut metric, mut metadata) = (String::new(), MetricMetadata::default());
        cursor.object(|cursor, key| {
            match key {
                "metric" => metric = cursor.string()?.into_owned(),
                "type" => {
                    let at_kind = *cursor;
                    let kind = MetricKind::parse(&cursor.string()?);
                    metadata.kind = kind.ok_or_else(|| at_kind.unexpected("a metric type such as counter or gauge"))?;
                }
                "unit" => metadata.unit = cursor.string()?.into_owned(),
                "help" => metadata.help = cursor.string()?.into_owned(),
                _ => cursor.skip()?,
            }
            Ok(())
        })?;
        all.push((metric, metadata));
        Ok(())
    })
}

fn read_begin(cursor: &mut Cursor<'_>) -> Result<Mark, ParseError> {
    let at_begin = *cursor;
    let mut version = 0;
    cursor.object(|cursor, key| {
        match key {
            "version" => version = cursor.whole()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    if version == VERSION { Ok(Mark::Begin) } else { Err(at_begin.problem(Problem::Version { found: version })) }
}

fn read_end(cursor: &mut Cursor<'_>) -> Result<Mark, ParseError> {
    let mut counts = Counts::default();
    cursor.object(|cursor, key| {
        match key {
            "series" => counts.series = cursor.whole()?,
            "samples" => counts.samples = cursor.whole()?,
            "histograms" => counts.histograms = cursor.whole()?,
            "chunks_lost" => counts.chunks_lost = cursor.whole()?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(Mark::End(counts))
}
