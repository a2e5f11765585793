//! Files to import: opened, unzipped where they are zipped, cut at ends of lines, and what they hold guessed.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use model::exposition::parse;
use model::json_lines;

use crate::cli::ImportFormat;

/// Bytes that are looked at to tell what a file holds.
const HEAD_BYTES: u64 = 64 << 10;
/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// Bytes of lines that are handed out together, about.
const CHUNK_BYTES: usize = 1 << 20;
/// How gzip begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// How Parquet files begin, and end.
const PARQUET_MAGIC: &[u8] = b"PAR1";
/// Times below are seconds, from here on milliseconds: as seconds this is the year 5138, as milliseconds 1973.
const MS_FROM: f64 = 1e11;

/// How many bytes of a file were read, for who shows progress.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted<R> {
    inner: R,
    counter: Counter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.counter.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A file that is read from its beginning.
pub(super) struct Source {
    name: String,
    reader: Box<dyn Read>,
    counter: Counter,
    /// The beginning, unzipped.
    head: Vec<u8>,
}

impl Source {
    /// Opens `path`, which is standard input if it is `-`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::of("standard input".to_owned(), Box::new(io::stdin()));
        }
        Self::of(path.display().to_string(), Box::new(File::open(path)?))
    }

    /// What `reader` gives.
    pub(super) fn of(name: String, reader: Box<dyn Read>) -> io::Result<Self> {
        let counter = Counter::default();
        let (head, mut reader) = with_head(Box::new(Counted { inner: reader, counter: counter.clone() }))?;
        if !head.starts_with(&GZIP_MAGIC) {
            return Ok(Self { name, reader, counter, head });
        }
        reader = Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, reader)));
        let (head, reader) = with_head(reader)?;
        Ok(Self { name, reader, counter, head })
    }

    pub(super) fn counter(&self) -> Counter {
        self.counter.clone()
    }

    /// How people know it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What its beginning looks like.
    pub(super) fn guess(&self) -> ImportFormat {
        guess(&self.head)
    }

    /// Its lines, in pieces.
    pub(super) fn chunks(self, line_bytes_max: usize) -> Chunks {
        Chunks { reader: self.reader, buffer: Vec::new(), given: 0, at_end: false, line_bytes_max }
    }
}

/// The first bytes of a reader, and a reader of all.
fn with_head(mut reader: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let all = Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(all)))
}

/// The length of all files, if that is known of each.
pub(super) fn total_bytes(files: &[PathBuf]) -> Option<u64> {
    let length = |file: &PathBuf| fs::metadata(file).ok().filter(fs::Metadata::is_file).map(|of| of.len());
    files.iter().map(length).sum()
}

/// The longest line that a format has.
pub(super) fn line_bytes_max(format: ImportFormat) -> usize {
    match format {
        ImportFormat::Jsonl => json_lines::LINE_BYTES_MAX,
        // It has none.
        ImportFormat::Parquet => 0,
        ImportFormat::Openmetrics | ImportFormat::Prometheus => parse::LINE_BYTES_MAX,
    }
}

/// What a text that begins so is. Prometheus text and OpenMetrics differ in their times alone, as far as samples go:
/// these tell, and else the lines that only OpenMetrics has.
fn guess(head: &[u8]) -> ImportFormat {
    if head.starts_with(PARQUET_MAGIC) {
        return ImportFormat::Parquet;
    }
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut is_open_metrics = false;
    let first = lines.clone().next().unwrap_or_default();
    if is_object(first) {
        return ImportFormat::Jsonl;
    }
    let time = lines.find_map(|line| {
        is_open_metrics |= ["# UNIT ", "# EOF"].iter().any(|start| line.starts_with(start));
        if line.starts_with('#') { None } else { time_of(line) }
    });
    match time {
        Some(time) if time.abs() < MS_FROM => ImportFormat::Openmetrics,
        None if is_open_metrics => ImportFormat::Openmetrics,
        _ => ImportFormat::Prometheus,
    }
}

/// Whether a line is an object of JSON: text may begin with a brace and a quoted name too.
fn is_object(line: &str) -> bool {
    let Some(inside) = line.strip_prefix('{').map(str::trim_start) else { return false };
    let key = inside.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    inside.starts_with('}') || key.is_some_and(|(_, rest)| rest.trim_start().starts_with(':'))
}

/// The time at the end of a sample line, if it has one.
fn time_of(line: &str) -> Option<f64> {
    let line = line.split(" # ").next().unwrap_or_default();
    let behind_labels = line.rfind('}').map_or(line, |at| line.get(at + 1..).unwrap_or_default());
    let mut words = behind_labels.split_ascii_whitespace();
    if behind_labels.len() == line.len() {
        words.next();
    }
    words.next()?;
    words.next()?.parse().ok()
}

/// Pieces of a file that end with ends of lines.
pub(super) struct Chunks {
    reader: Box<dyn Read>,
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that were handed out.
    given: usize,
    at_end: bool,
    line_bytes_max: usize,
}

/// Why there is no next piece.
#[derive(Debug)]
pub(super) enum ChunkError {
    /// The next line is longer than may be.
    TooLong,
    Io(io::Error),
}

impl Chunks {
    /// The next lines, nothing at the end. The last may be without its end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ChunkError> {
        self.buffer.drain(..self.given);
        self.given = 0;
        let mut searched = 0;
        loop {
            let fresh = self.buffer.get(searched..).unwrap_or_default();
            let last_end = fresh.iter().rposition(|&byte| byte == b'\n').map(|at| searched + at + 1);
            if let Some(end) = last_end.filter(|_| self.buffer.len() >= CHUNK_BYTES || self.at_end) {
                self.given = end;
                return Ok(self.buffer.get(..end));
            }
            if self.at_end {
                self.given = self.buffer.len();
                return Ok(if self.given == 0 { None } else { Some(&self.buffer) });
            }
            searched = if last_end.is_some() { 0 } else { self.buffer.len() };
            if searched > self.line_bytes_max {
                return Err(ChunkError::TooLong);
            }
            let read = self.reader.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.buffer);
            self.at_end = read.map_err(ChunkError::Io)? == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn check_guess(head: &str, want: ImportFormat) {
        assert_eq!(guess(head.as_bytes()), want, "{head:?}");
    }

    #[test]
    fn formats_are_told_from_the_beginning() {
        use ImportFormat::{Jsonl, Openmetrics, Prometheus};
        check_guess("\n {\"metric\":{}}", Jsonl);
        check_guess("{ \"values\" : [", Jsonl);
        check_guess("{\"my.metric\"} 1 1700000000", Openmetrics);
        check_guess("{\"my.metric\",a=\"b\"} 1 1700000000000", Prometheus);
        check_guess("PAR1\u{15}", ImportFormat::Parquet);
        check_guess("", Prometheus);
        check_guess("up 1", Prometheus);
        check_guess("# TYPE up gauge\nup{a=\"} 5 7\"} 1 1700000000.5\n", Openmetrics);
        check_guess("# HELP up x\nup 1 1700000000000\n", Prometheus);
        check_guess("up 1\n# EOF\n", Openmetrics);
        check_guess("# UNIT a_seconds seconds\na_seconds 1\n", Openmetrics);
        check_guess("a 1 # {trace=\"x\"} 5 1700000000000\nb 1 -5\n", Openmetrics);
    }

    #[track_caller]
    fn check_chunks(text: &[u8]) {
        for zipped in [false, true] {
            let bytes = if zipped {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text).expect("memory takes it");
                encoder.finish().expect("memory takes it")
            } else {
                text.to_vec()
            };
            let length = bytes.len() as u64;
            let source = Source::of("x".into(), Box::new(Cursor::new(bytes))).expect("memory");
            let counter = source.counter();
            let mut chunks = source.chunks(64 << 10);
            let mut got = Vec::new();
            while let Some(chunk) = chunks.next().expect("lines") {
                assert!(chunk.len() <= CHUNK_BYTES + READ_BYTES, "{}", chunk.len());
                assert!(got.is_empty() || got.ends_with(b"\n"), "pieces end with lines");
                got.extend_from_slice(chunk);
            }
            assert!(got == text, "{} bytes of {}", got.len(), text.len());
            assert_eq!(counter.bytes(), length);
        }
    }

    #[test]
    fn pieces_end_with_lines_and_are_bounded() {
        check_chunks(b"");
        check_chunks(b"a");
        check_chunks(b"a\nb");
        check_chunks(b"a\n\n");
        let lines: Vec<u8> = (0..400_000u32).flat_map(|at| format!("line {at}\n").into_bytes()).collect();
        check_chunks(&lines);
        check_chunks(&lines[..lines.len() - 1]);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_memory() {
        let endless = io::repeat(b'x').take(u64::MAX);
        let mut chunks = Source::of("x".into(), Box::new(endless)).expect("memory").chunks(1 << 20);
        assert!(matches!(chunks.next(), Err(ChunkError::TooLong)));
        assert!(chunks.buffer.len() < 2 << 20);
    }
}
