//! Reads a page of metrics, one entry at a time, and goes on after a bad line.
//!
//! The grammars are those of the Prometheus text format 0.0.4, with quoted UTF-8 names, and of OpenMetrics 1.0.
//! A line is read in one pass; once the parser's buffers are warm, a sample line allocates nothing. Exemplars
//! are read over until a caller [asks](TextParser::exemplar) for one. What a line is made of is the business of [`super::parse::cursor`]; whether a label set is
//! within limits shows when the caller packs it.

#![warn(clippy::indexing_slicing)]

mod cursor;

use std::borrow::Cow;

use self::cursor::Cursor;
use super::TextFormat;
use crate::labels::{LabelsBuilder, METRIC_NAME};
use crate::metadata::MetricKind;

/// Longest line, in bytes without its end.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most labels on one line. Keeps the search for duplicate names short.
pub const LINE_LABELS_MAX: usize = 128;
/// Longest part of a bad line that an error repeats, in characters.
const FOUND_CHARS_MAX: usize = 32;

/// What one line says.
#[derive(Debug)]
pub enum Entry<'a> {
    /// `# HELP`: a sentence for people.
    Help {
        /// The metric, in OpenMetrics the family.
        metric: &'a str,
        /// The text, without escapes.
        help: Cow<'a, str>,
    },
    /// `# TYPE`: the kind.
    Type {
        /// The metric, in OpenMetrics the family.
        metric: &'a str,
        /// Its kind.
        kind: MetricKind,
    },
    /// `# UNIT`, in OpenMetrics only.
    Unit {
        /// The family.
        metric: &'a str,
        /// Its unit, such as `seconds`.
        unit: &'a str,
    },
    /// One sample.
    Sample {
        /// Every label in the order of the line, the metric name as `__name__` among them. Names are unique and
        /// not empty; values may be empty, which packing leaves out.
        labels: &'a mut LabelsBuilder,
        /// The value.
        value: f64,
        /// Milliseconds since the Unix epoch, when the line has a time.
        timestamp_ms: Option<i64>,
    },
}

/// The exemplar of a sample line, without its labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineExemplar {
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the Unix epoch, when the exemplar has a time of its own.
    pub timestamp_ms: Option<i64>,
}

/// Why one line was not understood. The lines around it are not concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct LineError {
    /// The line, counted from 1.
    pub line: usize,
    /// The byte in the line, counted from 1.
    pub column: usize,
    /// What was wrong there.
    pub problem: LineProblem,
}

/// What was wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum LineProblem {
    /// The grammar wants something else here.
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: &'static str, found: String },
    /// The same label name twice.
    #[error("label name {name:?} occurs twice")]
    DuplicateLabel { name: String },
    /// More labels than the limit.
    #[error("more than {limit} labels on one line")]
    TooManyLabels { limit: usize },
    /// A line longer than the limit.
    #[error("the line has {found_bytes} bytes, the limit is {limit_bytes}")]
    TooLong { found_bytes: usize, limit_bytes: usize },
    /// OpenMetrics ends with `# EOF`; what follows is not read.
    #[error("text after # EOF, which ends the page")]
    AfterEof,
}

/// Reads entries from a page. See the module's notes.
#[derive(Debug)]
pub struct TextParser<'t> {
    rest: &'t str,
    format: TextFormat,
    line: usize,
    saw_eof: bool,
    labels: LabelsBuilder,
    name_buffer: String,
    value_buffer: String,
    /// The labels of the exemplar of the line read last, and what follows them.
    exemplar: Option<Cursor<'t>>,
}

/// A line that has something to say, its cursor after the keyword.
enum Line<'t> {
    Help(Cursor<'t>),
    Type(Cursor<'t>),
    Unit(Cursor<'t>),
    Sample(Cursor<'t>),
    Bad(LineError),
}

impl<'t> TextParser<'t> {
    /// A parser at the start of `text`.
    pub fn new(text: &'t str, format: TextFormat) -> Self {
        Self {
            rest: text,
            format,
            line: 0,
            saw_eof: false,
            labels: LabelsBuilder::new(),
            name_buffer: String::new(),
            value_buffer: String::new(),
            exemplar: None,
        }
    }

    /// The next entry, the error of a bad line, or nothing at the end of the page. After an error the next
    /// call goes on with the next line.
    pub fn next_entry(&mut self) -> Option<Result<Entry<'_>, LineError>> {
        self.exemplar = None;
        let line = self.next_line()?;
        Some(match line {
            Line::Help(cursor) => self.help(cursor),
            Line::Type(cursor) => self.kind(cursor),
            Line::Unit(cursor) => self.unit(cursor),
            Line::Sample(cursor) => self.sample(cursor),
            Line::Bad(error) => Err(error),
        })
    }

    /// The exemplar of the sample read last, once; its labels, as on the line, replace what is in `labels`. What is
    /// wrong with an exemplar is told here alone: the sample before it counts.
    pub fn exemplar(&mut self, labels: &mut LabelsBuilder) -> Option<Result<LineExemplar, LineError>> {
        let cursor = self.exemplar.take()?;
        labels.clear();
        Some(self.read_exemplar(cursor, labels))
    }

    fn read_exemplar(&mut self, mut cursor: Cursor<'t>, labels: &mut LabelsBuilder) -> Result<LineExemplar, LineError> {
        let at_labels = cursor;
        cursor.eat(b'{');
        self.label_list(&mut cursor, labels)?;
        if labels.get(METRIC_NAME).is_some() {
            return Err(at_labels.unexpected("labels without a metric name"));
        }
        cursor.skip_blanks();
        let value = cursor.number()?;
        cursor.skip_blanks();
        let timestamp_ms = if cursor.at_end() { None } else { Some(cursor.timestamp_seconds()?) };
        cursor.expect_end()?;
        Ok(LineExemplar { value, timestamp_ms })
    }

    /// Whether `# EOF` was read. An OpenMetrics page without it was cut off on its way.
    pub fn saw_eof(&self) -> bool {
        self.saw_eof
    }

    /// The line of the entry read last, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Goes past blank lines and comments to a line with something to say.
    fn next_line(&mut self) -> Option<Line<'t>> {
        loop {
            let text = self.take_line()?;
            let mut cursor = Cursor::new(text, self.line);
            cursor.skip_blanks();
            if cursor.at_end() {
                continue;
            }
            if self.saw_eof {
                self.rest = "";
                return Some(Line::Bad(cursor.problem(LineProblem::AfterEof)));
            }
            if text.len() > LINE_BYTES_MAX {
                let problem = LineProblem::TooLong { found_bytes: text.len(), limit_bytes: LINE_BYTES_MAX };
                return Some(Line::Bad(cursor.problem(problem)));
            }
            if !cursor.eat(b'#') {
                return Some(Line::Sample(cursor));
            }
            cursor.skip_blanks();
            match (cursor.token(), self.format) {
                ("HELP", _) => return Some(Line::Help(cursor)),
                ("TYPE", _) => return Some(Line::Type(cursor)),
                ("UNIT", TextFormat::OpenMetrics) => return Some(Line::Unit(cursor)),
                ("EOF", TextFormat::OpenMetrics) => self.saw_eof = true,
                _ => {}
            }
        }
    }

    /// The next line without its end.
    fn take_line(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn help(&mut self, mut cursor: Cursor<'t>) -> Result<Entry<'_>, LineError> {
        let metric = cursor.described_metric(&mut self.name_buffer)?;
        cursor.skip_blanks();
        let help = unescape_help(cursor.take_rest(), self.format);
        Ok(Entry::Help { metric, help })
    }

    fn kind(&mut self, mut cursor: Cursor<'t>) -> Result<Entry<'_>, LineError> {
        let metric = cursor.described_metric(&mut self.name_buffer)?;
        cursor.skip_blanks();
        let at_kind = cursor;
        let Some(kind) = MetricKind::parse(cursor.token()) else {
            return Err(at_kind.unexpected("a metric type such as counter or gauge"));
        };
        cursor.expect_end()?;
        Ok(Entry::Type { metric, kind })
    }

    fn unit(&mut self, mut cursor: Cursor<'t>) -> Result<Entry<'_>, LineError> {
        let metric = cursor.described_metric(&mut self.name_buffer)?;
        cursor.skip_blanks();
        let unit = cursor.token();
        cursor.expect_end()?;
        Ok(Entry::Unit { metric, unit })
    }

    fn sample(&mut self, mut cursor: Cursor<'t>) -> Result<Entry<'_>, LineError> {
        let mut labels = std::mem::take(&mut self.labels);
        labels.clear();
        let read = self.sample_into(&mut cursor, &mut labels);
        self.labels = labels;
        let (value, timestamp_ms) = read?;
        Ok(Entry::Sample { labels: &mut self.labels, value, timestamp_ms })
    }

    /// Reads a sample line, its labels into `labels`.
    fn sample_into(
        &mut self,
        cursor: &mut Cursor<'t>,
        labels: &mut LabelsBuilder,
    ) -> Result<(f64, Option<i64>), LineError> {
        let at_name = *cursor;
        let name = cursor.metric_name();
        if !name.is_empty() {
            labels.push(METRIC_NAME, name);
        }
        let at_blank = *cursor;
        cursor.skip_blanks();
        let braced = cursor.eat(b'{');
        if braced {
            self.label_list(cursor, labels)?;
            cursor.skip_blanks();
        }
        if labels.get(METRIC_NAME).is_none_or(str::is_empty) {
            return Err(at_name.unexpected("a metric name"));
        }
        if !braced && at_blank.is_at(*cursor) {
            return Err(cursor.unexpected("a blank or { after the metric name"));
        }
        let value = cursor.number()?;
        cursor.skip_blanks();
        let mut timestamp_ms = None;
        if !cursor.at_end() && !self.at_exemplar(*cursor) {
            timestamp_ms = Some(match self.format {
                TextFormat::Prometheus => cursor.timestamp_ms()?,
                TextFormat::OpenMetrics => cursor.timestamp_seconds()?,
            });
            cursor.skip_blanks();
        }
        if self.at_exemplar(*cursor) {
            self.exemplar = Some(cursor.exemplar()?);
        } else {
            cursor.expect_end()?;
        }
        Ok((value, timestamp_ms))
    }

    fn at_exemplar(&self, cursor: Cursor<'t>) -> bool {
        self.format == TextFormat::OpenMetrics && cursor.peek() == Some(b'#')
    }

    /// Reads labels up to and with the closing brace. A quoted string without a value is the metric name.
    fn label_list(&mut self, cursor: &mut Cursor<'t>, labels: &mut LabelsBuilder) -> Result<(), LineError> {
        let Self { name_buffer, value_buffer, .. } = self;
        let mut count = 0usize;
        loop {
            cursor.skip_blanks();
            if cursor.eat(b'}') {
                return Ok(());
            }
            let at_name = *cursor;
            let quoted = cursor.eat(b'"');
            let name = if quoted { cursor.quoted(name_buffer)? } else { cursor.label_name() };
            if name.is_empty() {
                return Err(at_name.unexpected("a label name or }"));
            }
            cursor.skip_blanks();
            let (name, value) = if cursor.eat(b'=') {
                cursor.skip_blanks();
                if !cursor.eat(b'"') {
                    return Err(cursor.unexpected("a label value in double quotes"));
                }
                (name, cursor.quoted(value_buffer)?)
            } else if quoted {
                (METRIC_NAME, name)
            } else {
                return Err(cursor.unexpected("= after the label name"));
            };
            if labels.get(name).is_some() {
                return Err(at_name.problem(LineProblem::DuplicateLabel { name: name.to_owned() }));
            }
            count += 1;
            if count > LINE_LABELS_MAX {
                return Err(at_name.problem(LineProblem::TooManyLabels { limit: LINE_LABELS_MAX }));
            }
            labels.push(name, value);
            cursor.skip_blanks();
            if !cursor.eat(b',') && cursor.peek() != Some(b'}') {
                return Err(cursor.unexpected(", or } after the label"));
            }
        }
    }
}

/// Resolves `\\` and `\n`, in OpenMetrics also `\"`. Other backslashes stay as they are.
fn unescape_help(text: &str, format: TextFormat) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match characters.clone().next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if format == TextFormat::OpenMetrics => plain.push('"'),
            _ => {
                plain.push('\\');
                continue;
            }
        }
        characters.next();
    }
    Cow::Owned(plain)
}
