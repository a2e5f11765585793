//! `metrickit export`: samples of a server, or of a folder, into a file.
//!
//! The server writes the export; here it is looked over line by line on its way, so that one that was cut off is never
//! taken for a whole one. A file has another name until it is whole. Parquet is made here, of lines of JSON.

#[cfg(feature = "parquet")]
mod parquet;

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use model::json_lines::{self, Counts, LineReader, Mark};
use model::time::{Clock, SystemClock};
use model::{LabelsBuilder, Samples};
use serde::Deserialize;

use super::Target;
use super::admin::{PATIENCE, counted, figure};
use super::part_file::PartFile;
use super::progress::FlowBar;
use crate::UsageError;
use crate::cli::{ExportArgs, ExportFormat};
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use crate::signals;
use crate::when::{api_seconds, parse_instant_ms};

/// The selector of all series.
const EVERYTHING: &str = r#"{__name__!=""}"#;
/// Longest line that is taken, in bytes, its end included.
const LINE_BYTES_MAX: u64 = json_lines::LINE_BYTES_MAX as u64 + 1;
/// Bytes that are read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// How the line begins that ends an export as lines of JSON.
const MARK_START: &str = r#"{"metric":{"__name__":"metrickit_export"}"#;

/// What an export held, and what its format left out.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Report {
    series: u64,
    samples: u64,
    left_out: LeftOut,
    chunks_lost: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeftOut {
    histograms: u64,
    stale_markers: u64,
    starts: u64,
}

/// Exports, and tells what there was. Whether all could be read.
pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let format = args.format.unwrap_or_else(|| format_of(&args.output));
    check_format(format, is_zipped(&args.output))?;
    let form = form(args, format, SystemClock.now().0).map_err(UsageError)?;
    let target = Target::open(&args.target)?;
    let (head, body) = target.client.with_timeout(PATIENCE).stream("/api/v1/export", &form)?;
    let metrics = head.get("x-metrickit-export-metrics").and_then(|text| text.to_str().ok()?.parse().ok());
    let watcher = Watcher { format, metrics, ..Watcher::default() };
    let (report, bytes) = if args.output.as_os_str() == "-" {
        write(Output::stdout(), false, watcher, body)?
    } else {
        to_file(&args.output, watcher, body)?
    };
    target.close()?;
    output.note(&told(&report, bytes, format, begun.elapsed().as_secs_f64()))?;
    Ok(report.chunks_lost == 0)
}

/// What is asked of the server.
fn form(args: &ExportArgs, format: ExportFormat, now_ms: i64) -> Result<Vec<(&'static str, String)>, String> {
    let mut form: Vec<(&str, String)> = args.selectors.iter().map(|text| ("match[]", text.clone())).collect();
    if form.is_empty() {
        form.push(("match[]", EVERYTHING.to_owned()));
    }
    for (name, text) in [("start", &args.start), ("end", &args.end)] {
        if let Some(text) = text {
            let at_ms = parse_instant_ms(text, now_ms).map_err(|error| format!("--{name}: {error}"))?;
            form.push((name, api_seconds(at_ms)));
        }
    }
    let format = match format {
        ExportFormat::Jsonl | ExportFormat::Parquet => "jsonl",
        ExportFormat::Openmetrics => "openmetrics",
    };
    form.extend([("format", format.to_owned()), ("report", "true".to_owned())]);
    Ok(form)
}

/// The format that a file's name stands for.
fn format_of(file: &Path) -> ExportFormat {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match () {
        () if ends_with(&[".txt", ".prom", ".om", ".openmetrics"]) => ExportFormat::Openmetrics,
        () if ends_with(&[".parquet"]) => ExportFormat::Parquet,
        () => ExportFormat::Jsonl,
    }
}

/// Refuses what this program cannot write.
fn check_format(format: ExportFormat, is_zipped: bool) -> Result<(), UsageError> {
    if format != ExportFormat::Parquet {
        return Ok(());
    }
    if is_zipped {
        let text = "a Parquet file is compressed by itself, and no reader takes one in gzip; name it without .gz";
        return Err(UsageError(text.to_owned()));
    }
    #[cfg(not(feature = "parquet"))]
    {
        Err(UsageError(super::WITHOUT_PARQUET.to_owned()))
    }
    #[cfg(feature = "parquet")]
    {
        Ok(())
    }
}

fn is_zipped(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"))
}

/// Writes an export to `file`, which is not touched before the export is whole.
fn to_file(file: &Path, watcher: Watcher, body: impl Read) -> anyhow::Result<(Report, u64)> {
    let part = PartFile::begin(file)?;
    if let Some(name) = part.part().map(Path::to_owned) {
        signals::on_stop(move |signal| {
            let _ = fs::remove_file(&name);
            process::exit(if signal == "SIGTERM" { 143 } else { 130 });
        })?;
    }
    let told = write(part.file(), is_zipped(file), watcher, body)?;
    part.finish()?;
    Ok(told)
}

/// Writes an export to `out`; what it held, and how many bytes it has.
fn write(out: impl Write + Send, is_zipped: bool, watcher: Watcher, body: impl Read) -> anyhow::Result<(Report, u64)> {
    #[cfg(feature = "parquet")]
    if watcher.format == ExportFormat::Parquet {
        let mut file = parquet::ParquetFile::begin(out)?;
        let (report, _) = copy(watcher, body, &mut |line| file.take(line))?;
        let (left_out, bytes) = file.finish()?;
        return Ok((Report { left_out, ..report }, bytes));
    }
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let told = if is_zipped {
        let mut encoder = GzEncoder::new(out, Compression::default());
        let told = copy(watcher, body, &mut |line| encoder.write_all(line).context(CANNOT_WRITE))?;
        out = encoder.finish().context(CANNOT_WRITE)?;
        told
    } else {
        copy(watcher, body, &mut |line| out.write_all(line).context(CANNOT_WRITE))?
    };
    out.flush().context(CANNOT_WRITE)?;
    Ok(told)
}

/// Hands on what comes until its end, and tells what it held and how many bytes it has.
fn copy(
    mut watcher: Watcher,
    body: impl Read,
    take: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<(Report, u64)> {
    let bar = FlowBar::start(None)?;
    let mut body = BufReader::with_capacity(BUFFER_BYTES, body);
    let (mut line, mut bytes, mut shown_bytes) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = body.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).context(BROKE_OFF)?;
        if read == 0 {
            break;
        }
        ensure!(
            line.len() as u64 <= LINE_BYTES_MAX,
            "a line of the export has more than {LINE_BYTES_MAX} bytes, which no reader takes"
        );
        ensure!(line.ends_with(b"\n"), "{BROKE_OFF} in the middle of a line");
        if watcher.look(&line)? {
            bytes += line.len() as u64;
            take(&line)?;
        }
        if bytes - shown_bytes > BUFFER_BYTES as u64 {
            shown_bytes = bytes;
            bar.show(bytes, watcher.progress());
        }
    }
    bar.end();
    match watcher.report {
        Some(report) => Ok((report, bytes)),
        None => bail!("{BROKE_OFF} before its end; the server's log may tell why"),
    }
}

/// What is said where the disk is full or fails, or nobody reads any more.
const CANNOT_WRITE: &str = "cannot write the export";
/// What is said of an export that is not whole.
const BROKE_OFF: &str = "the export broke off";

/// Looks at the lines of an export: how far it is, and whether it is whole.
#[derive(Debug)]
struct Watcher {
    format: ExportFormat,
    /// How many metrics there are, if the server told.
    metrics: Option<u64>,
    metrics_seen: u64,
    /// How the line before began: with the metric.
    start: Vec<u8>,
    /// Whether `# EOF` was there.
    saw_eof: bool,
    report: Option<Report>,
}

impl Default for Watcher {
    fn default() -> Self {
        let (start, format) = (Vec::new(), ExportFormat::Jsonl);
        Self { format, metrics: None, metrics_seen: 0, start, saw_eof: false, report: None }
    }
}

impl Watcher {
    /// Takes in a line. Whether it is a part of the export, and not what is told about it.
    fn look(&mut self, line: &[u8]) -> anyhow::Result<bool> {
        ensure!(self.report.is_none(), "the export goes on behind its end");
        match self.format {
            ExportFormat::Jsonl | ExportFormat::Parquet if line.starts_with(MARK_START.as_bytes()) => {
                if let Some(Counts { series, samples, chunks_lost, .. }) = end_counts(line)? {
                    self.report = Some(Report { series, samples, chunks_lost, ..Report::default() });
                }
            }
            ExportFormat::Jsonl | ExportFormat::Parquet => self.see(metric_start(line)),
            ExportFormat::Openmetrics if self.saw_eof => {
                self.report = Some(serde_json::from_slice(line).context("the end of the export is not understood")?);
                return Ok(false);
            }
            ExportFormat::Openmetrics => {
                self.saw_eof = line == b"# EOF\n";
                if line.starts_with(b"# TYPE ") {
                    self.see(line);
                }
            }
        }
        Ok(true)
    }

    /// Counts the metric that a line begins with, if it is another than before.
    fn see(&mut self, start: &[u8]) {
        if self.start != start {
            self.start.clear();
            self.start.extend_from_slice(start);
            self.metrics_seen += 1;
        }
    }

    fn progress(&self) -> String {
        let of = self.metrics.map_or_else(String::new, |metrics| format!(" of {metrics}"));
        format!("metric {}{of}", self.metrics_seen)
    }
}

/// A line's start up to the end of its metric's name, as our own servers write it.
fn metric_start(line: &[u8]) -> &[u8] {
    let name_at = MARK_START.find("metrickit").unwrap_or(0);
    let rest = line.get(name_at..).unwrap_or_default();
    let name_bytes = rest.iter().position(|&byte| byte == b'"').unwrap_or(0);
    line.get(..name_at + name_bytes).unwrap_or_default()
}

/// The counts of the line that ends an export; nothing for the line that begins one.
fn end_counts(line: &[u8]) -> anyhow::Result<Option<Counts>> {
    let line = std::str::from_utf8(line).context("a mark of the export is not UTF-8")?;
    let told = LineReader::default().read(line, &mut LabelsBuilder::new(), &mut Samples::default());
    Ok(match told.context("a mark of the export is not understood")?.mark {
        Some(Mark::End(counts)) => Some(counts),
        _ => None,
    })
}

fn told(report: &Report, bytes: u64, format: ExportFormat, seconds: f64) -> String {
    let headline = format!(
        "exported {} of {} series, {} in {}",
        counted(report.samples, "sample"),
        figure(report.series, PLAIN),
        figure(bytes, BYTES),
        short(seconds, SECONDS)
    );
    let left_out = [
        (report.left_out.histograms, "native histogram"),
        (report.left_out.stale_markers, "stale marker"),
        (report.left_out.starts, "start"),
    ];
    let parts: Vec<String> =
        left_out.iter().filter(|(count, _)| *count > 0).map(|&(count, what)| counted(count, what)).collect();
    let left_out = (!parts.is_empty()).then(|| {
        let parts = parts.join(", ");
        let format = if format == ExportFormat::Parquet { "Parquet rows" } else { "OpenMetrics text" };
        format!("warning: left out, because {format} cannot say them: {parts}; --format jsonl has them")
    });
    let lost = (report.chunks_lost > 0).then(|| {
        let chunks = counted(report.chunks_lost, "chunk");
        format!("warning: {chunks} of stored data cannot be read and are missing; the server's log names them")
    });
    [Some(headline), left_out, lost].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: ExportFormat, body: &str, want: Result<&str, &str>) {
        let mut out = Vec::new();
        let watcher = Watcher { format, ..Watcher::default() };
        let got = write(&mut out, false, watcher, body.as_bytes()).map(|_| String::from_utf8(out).expect("text"));
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
            (got, want) => panic!("{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn only_whole_exports_are_taken() {
        let begin = r#"{"metric":{"__name__":"metrickit_export"},"values":[],"timestamps":[],"begin":{"version":1}}"#;
        let line = r#"{"metric":{"__name__":"a"},"values":[1],"timestamps":[1]}"#;
        let end = r#"{"metric":{"__name__":"metrickit_export"},"values":[],"timestamps":[],"end":{"series":1}}"#;
        let whole = format!("{begin}\n{line}\n{end}\n");
        check(ExportFormat::Jsonl, &whole, Ok(&whole));
        check(ExportFormat::Jsonl, &format!("{begin}\n{line}\n"), Err("broke off before its end"));
        check(ExportFormat::Jsonl, "", Err("broke off before its end"));
        check(ExportFormat::Jsonl, &whole[..whole.len() - 1], Err("broke off in the middle of a line"));
        check(ExportFormat::Jsonl, &format!("{whole}{line}\n"), Err("goes on behind its end"));
        let text = "# TYPE a gauge\na 1 1\n# EOF\n";
        check(ExportFormat::Openmetrics, &format!("{text}{{\"series\":1}}\n"), Ok(text));
        check(ExportFormat::Openmetrics, text, Err("broke off before its end"));
        check(ExportFormat::Openmetrics, "a 1 1\n", Err("broke off before its end"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let report: Report = serde_json::from_str(
            r#"{"series":2,"samples":3,"leftOut":{"histograms":1,"staleMarkers":2,"starts":0},"chunksLost":4}"#,
        )
        .expect("a report");
        let text = told(&report, 2048, ExportFormat::Openmetrics, 0.5);
        assert!(text.starts_with("exported 3 samples of 2 series, 2KiB in 500ms\n"), "{text}");
        assert!(text.contains("cannot say them: 1 native histogram, 2 stale markers; "), "{text}");
        assert!(text.contains("4 chunks of stored data"), "{text}");
    }

    #[test]
    fn names_of_files_tell_the_format() {
        for (name, want) in [
            ("a.txt.GZ", ExportFormat::Openmetrics),
            ("a.om", ExportFormat::Openmetrics),
            ("-", ExportFormat::Jsonl),
            ("a.gz", ExportFormat::Jsonl),
            ("a.Parquet", ExportFormat::Parquet),
        ] {
            assert_eq!(format_of(Path::new(name)), want, "{name}");
        }
        assert!(check_format(format_of(Path::new("a.parquet.gz")), true).is_err());
        assert_eq!(check_format(ExportFormat::Parquet, false).is_ok(), cfg!(feature = "parquet"));
        let seen = |line: &str| String::from_utf8(metric_start(line.as_bytes()).to_vec()).expect("text");
        assert_eq!(seen(r#"{"metric":{"__name__":"up","job":"x"},"#), r#"{"metric":{"__name__":"up"#);
        assert_eq!(seen("{}"), "");
    }
}
