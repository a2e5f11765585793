//! Reads lines into batches, whatever their format is, and tells of bad ones by file and line.

use anyhow::{anyhow, bail};
use model::exposition::{Entry, MetadataTable, TextFormat, TextParser};
use model::json_lines::{LineReader, Mark};
use model::{FullSample, LabelLimits, LabelsBuilder, MetricMetadata, SampleValue, Samples, WriteBatch};

use super::send::Sending;
use super::source::{ChunkError, Source, line_bytes_max};
use super::{BAD_LINES_TOLD_MAX, Done};
use crate::cli::ImportFormat;

/// Most samples of a request.
const BATCH_SAMPLES_MAX: usize = 10_000;
/// Bytes of labels after which a request is closed.
const BATCH_LABEL_BYTES: usize = 4 << 20;
/// Bytes of histograms after which a request is closed.
const BATCH_HISTOGRAM_BYTES: usize = 8 << 20;
/// Most metrics that one request describes.
const BATCH_METADATA_MAX: usize = 1_000;
/// Most metrics of a text whose descriptions are kept until its end.
const METADATA_MAX: usize = 100_000;
/// What label sets may be here; what they may be in the server, it tells.
const LABEL_LIMITS: LabelLimits = LabelLimits {
    labels_max: usize::MAX,
    name_bytes_max: (1 << 24) - 1,
    value_bytes_max: (1 << 24) - 1,
    set_bytes_max: usize::MAX,
};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) format: Option<ImportFormat>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) skip_bad_lines: bool,
    /// The time of samples without one.
    pub(super) now_ms: i64,
}

/// Reads sources one after the other.
#[derive(Debug)]
pub(super) struct Importer {
    options: Options,
    sending: Sending,
    batch: WriteBatch,
    histogram_bytes: usize,
    /// The packed labels of the series that the batch ends with; empty for none.
    series: String,
    /// Samples read so far.
    samples: u64,
    done: Done,
}

impl Importer {
    pub(super) fn new(options: Options, sending: Sending) -> Self {
        Self {
            options,
            sending,
            batch: WriteBatch::new(),
            histogram_bytes: 0,
            series: String::new(),
            samples: 0,
            done: Done::default(),
        }
    }

    /// What `source` holds, as was said or as it begins.
    pub(super) fn format_of(&self, source: &Source) -> ImportFormat {
        self.options.format.unwrap_or_else(|| source.guess())
    }

    /// Samples read so far.
    #[cfg(feature = "parquet")]
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Reads all of `source`. Tells `progress` now and then how many samples there were so far.
    ///
    /// Fails at the first bad line unless these are skipped, and when nothing can be sent any more.
    pub(super) fn read(&mut self, source: Source, progress: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        let name = source.name().to_owned();
        let format = self.format_of(&source);
        let mut reader: Box<dyn ReadLines> = match format {
            ImportFormat::Jsonl => Box::new(Lines::default()),
            ImportFormat::Parquet => bail!("{name} has no lines"),
            ImportFormat::Openmetrics => Box::new(Text::new(TextFormat::OpenMetrics)),
            ImportFormat::Prometheus => Box::new(Text::new(TextFormat::Prometheus)),
        };
        let mut chunks = source.chunks(line_bytes_max(format));
        let mut lines_before = 0;
        loop {
            let chunk = match chunks.next() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(ChunkError::Io(error)) => {
                    return Err(anyhow!(error).context(format!("{name} cannot be read behind line {lines_before}")));
                }
                Err(ChunkError::TooLong) => {
                    let limit = line_bytes_max(format);
                    bail!("{name}:{}: the line has more than {limit} bytes", lines_before + 1);
                }
            };
            for (at, text) in valid_parts(chunk) {
                let line = lines_before + at;
                match text {
                    Some(text) => reader.read(text, &mut Place { importer: self, file: &name, lines_before: line })?,
                    None => self.bad_line(&name, line + 1, "the line is not UTF-8")?,
                }
            }
            lines_before += line_ends(chunk);
            progress(self.samples);
        }
        if reader.end(self)? {
            self.done.cut_off.push(name);
        }
        Ok(())
    }

    /// Sends what is left, and waits until all is sent, or cannot be: what became of it, and why there is no more.
    pub(super) fn finish(mut self, bytes: u64) -> (Done, anyhow::Result<()>) {
        // If there is nobody to send it, the end tells why.
        let _ = self.flush();
        let (sent, ended) = self.sending.finish();
        (Done { sent, bytes, ..self.done }, ended)
    }

    /// Takes in samples of the series with `labels`, or says why that is none.
    pub(super) fn take(
        &mut self,
        labels: &mut LabelsBuilder,
        samples: impl IntoIterator<Item = FullSample>,
    ) -> anyhow::Result<Result<(), String>> {
        for (name, value) in &self.options.labels {
            labels.set(name, value);
        }
        match labels.pack(&LABEL_LIMITS) {
            Ok(packed) => samples.into_iter().try_for_each(|sample| self.push(packed, sample)).map(Ok),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn push(&mut self, labels: model::LabelsRef<'_>, sample: FullSample) -> anyhow::Result<()> {
        let is_full = self.batch.samples_len() >= BATCH_SAMPLES_MAX
            || self.batch.label_bytes() >= BATCH_LABEL_BYTES
            || self.histogram_bytes >= BATCH_HISTOGRAM_BYTES;
        if is_full {
            self.flush()?;
        }
        if self.batch.series_len() == 0 || self.series != labels.packed() {
            self.series.clear();
            self.series.push_str(labels.packed());
            self.batch.push_series(labels);
        }
        match sample {
            FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) } => {
                self.batch.push_sample(timestamp_ms, value);
            }
            full => {
                if let SampleValue::Histogram(histogram) = &full.value {
                    self.histogram_bytes += histogram.memory_bytes();
                }
                self.batch.push_full_sample(full);
            }
        }
        self.samples += 1;
        Ok(())
    }

    fn describe(&mut self, metric: String, metadata: MetricMetadata) -> anyhow::Result<()> {
        if self.batch.metadata().len() >= BATCH_METADATA_MAX {
            self.flush()?;
        }
        self.batch.push_metadata(metric, metadata);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.series.clear();
        self.histogram_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() || self.sending.push(batch) { Ok(()) } else { Err(anyhow!("nothing can be sent")) }
    }

    pub(super) fn bad_line(&mut self, file: &str, line: usize, problem: &str) -> anyhow::Result<()> {
        let told = format!("{file}:{line}: {problem}");
        if !self.options.skip_bad_lines {
            bail!("{told}; --skip-bad-lines goes on after such lines");
        }
        self.done.bad_lines += 1;
        if self.done.told.len() < BAD_LINES_TOLD_MAX {
            self.done.told.push(told);
        }
        Ok(())
    }
}

/// Where lines go, and where they are from.
struct Place<'a> {
    importer: &'a mut Importer,
    file: &'a str,
    lines_before: usize,
}

impl Place<'_> {
    fn bad_line(&mut self, line: usize, problem: &str) -> anyhow::Result<()> {
        self.importer.bad_line(self.file, self.lines_before + line, problem)
    }
}

/// Reads the lines of one format.
trait ReadLines {
    /// Reads whole lines.
    fn read(&mut self, text: &str, place: &mut Place<'_>) -> anyhow::Result<()>;

    /// There are no more. Whether some are missing.
    fn end(self: Box<Self>, importer: &mut Importer) -> anyhow::Result<bool>;
}

/// Lines of JSON.
#[derive(Default)]
struct Lines {
    reader: LineReader,
    labels: LabelsBuilder,
    samples: Samples,
    /// An export began, and has not ended.
    is_open: bool,
}

impl ReadLines for Lines {
    fn read(&mut self, text: &str, place: &mut Place<'_>) -> anyhow::Result<()> {
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match self.reader.read(line, &mut self.labels, &mut self.samples) {
                Err(error) => place.bad_line(at + 1, &error.to_string())?,
                Ok(told) => {
                    if let Some(mark) = told.mark {
                        self.is_open = mark == Mark::Begin;
                    }
                    for (metric, metadata) in told.metadata {
                        place.importer.describe(metric, metadata)?;
                    }
                    if let Err(problem) = place.importer.take(&mut self.labels, self.samples.iter_full())? {
                        place.bad_line(at + 1, &problem)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn end(self: Box<Self>, _: &mut Importer) -> anyhow::Result<bool> {
        Ok(self.is_open)
    }
}

/// Text of either format.
struct Text {
    format: TextFormat,
    table: MetadataTable,
    saw_eof: bool,
}

impl Text {
    fn new(format: TextFormat) -> Self {
        Self { format, table: MetadataTable::new(format, METADATA_MAX), saw_eof: false }
    }
}

impl ReadLines for Text {
    fn read(&mut self, text: &str, place: &mut Place<'_>) -> anyhow::Result<()> {
        if self.saw_eof {
            let Some(at) = text.lines().position(|line| !line.trim().is_empty()) else { return Ok(()) };
            return place.bad_line(at + 1, "text after # EOF, which ends the page");
        }
        let mut parser = TextParser::new(text, self.format);
        while let Some(entry) = parser.next_entry() {
            let problem = match entry {
                Err(error) => Some((error.line, format!("column {}: {}", error.column, error.problem))),
                Ok(Entry::Sample { labels, value, timestamp_ms }) => {
                    let timestamp_ms = timestamp_ms.unwrap_or(place.importer.options.now_ms);
                    let sample = FullSample { timestamp_ms, start_ms: 0, value: SampleValue::Float(value) };
                    let taken = place.importer.take(labels, [sample])?;
                    taken.err().map(|problem| (parser.line(), problem))
                }
                Ok(about_metric) => {
                    self.table.take(&about_metric);
                    None
                }
            };
            if let Some((line, problem)) = problem {
                place.bad_line(line, &problem)?;
            }
        }
        self.saw_eof |= parser.saw_eof();
        Ok(())
    }

    fn end(self: Box<Self>, importer: &mut Importer) -> anyhow::Result<bool> {
        for (metric, metadata) in self.table.into_metrics() {
            importer.describe(metric, metadata)?;
        }
        Ok(self.format == TextFormat::OpenMetrics && !self.saw_eof)
    }
}

/// The parts of `chunk` that are UTF-8, and the lines between them that are not, each with the lines before it.
fn valid_parts(chunk: &[u8]) -> Vec<(usize, Option<&str>)> {
    let (mut parts, mut rest, mut lines) = (Vec::new(), chunk, 0);
    while !rest.is_empty() {
        let valid_bytes = match std::str::from_utf8(rest) {
            Ok(text) => {
                parts.push((lines, Some(text)));
                break;
            }
            Err(error) => error.valid_up_to(),
        };
        let valid = rest.get(..valid_bytes).unwrap_or_default();
        let line_at = valid.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (before, bad) = rest.split_at(line_at);
        if let Some(text) = std::str::from_utf8(before).ok().filter(|text| !text.is_empty()) {
            parts.push((lines, Some(text)));
        }
        lines += line_ends(before);
        parts.push((lines, None));
        let bad_bytes = bad.iter().position(|&byte| byte == b'\n').map_or(bad.len(), |at| at + 1);
        lines += 1;
        rest = bad.get(bad_bytes..).unwrap_or_default();
    }
    parts
}

fn line_ends(text: &[u8]) -> usize {
    text.split(|&byte| byte == b'\n').count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_are_no_text_are_bad() {
        assert_eq!(valid_parts(b""), []);
        assert_eq!(valid_parts(b"a\nb"), [(0, Some("a\nb"))]);
        let want = [(0, Some("a\nb\n")), (2, None), (3, Some("d\n")), (4, None), (5, Some("f"))];
        assert_eq!(valid_parts(b"a\nb\nc\xff\nd\n\xe9\xff\nf"), want);
        assert_eq!(valid_parts(b"\xff"), [(0, None)]);
    }
}
