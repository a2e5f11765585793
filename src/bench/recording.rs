//! Recordings of real metrics: exposition pages in files `TARGET/TIMESTAMP_MS.txt.gz`, and the requests that replay them.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use model::exposition::{Entry, TextFormat, TextParser};
use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use model::{LabelsBuilder, METRIC_NAME};
use prost::Message;

use super::fleet::Body;

/// Largest page, in bytes of text.
pub(super) const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Most pages of a recording.
const PAGES_MAX: usize = 10_000_000;
/// Most samples in one request.
const SAMPLES_PER_REQUEST: usize = 5_000;
/// How the names of pages end.
const SUFFIX: &str = ".txt.gz";

/// A page of a recording.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Page {
    pub(super) time_ms: i64,
    pub(super) target: String,
    path: PathBuf,
}

/// The pages below `folder` in the order of time.
pub(super) fn pages(folder: &Path) -> anyhow::Result<Vec<Page>> {
    let list = |folder: &Path| fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()));
    let mut pages = Vec::new();
    for target in list(folder)? {
        let target = target?;
        if !target.file_type()?.is_dir() {
            continue;
        }
        let Ok(name) = target.file_name().into_string() else { continue };
        for entry in list(&target.path())? {
            let path = entry?.path();
            let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
            // Others are not pages, such as one that was being written.
            let Some(time_ms) = stem.and_then(|stem| stem.parse().ok()) else { continue };
            ensure!(pages.len() < PAGES_MAX, "{} has more than {PAGES_MAX} pages", folder.display());
            pages.push(Page { time_ms, target: name.clone(), path });
        }
    }
    ensure!(!pages.is_empty(), "{} has no pages TARGET/TIMESTAMP_MS{SUFFIX}", folder.display());
    pages.sort();
    Ok(pages)
}

/// Keeps a page of `target`. It is there whole or not at all.
pub(super) fn keep(folder: &Path, target: &str, time_ms: i64, text: &[u8]) -> anyhow::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (unfinished, path) = (folder.join(".unfinished"), folder.join(format!("{time_ms}{SUFFIX}")));
    let write = || {
        let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
        encoder.write_all(text)?;
        encoder.finish()?;
        fs::rename(&unfinished, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

impl Page {
    /// The text of the page.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        let read = || {
            let mut text = String::new();
            let mut decoder = GzDecoder::new(BufReader::new(File::open(&self.path)?)).take(PAGE_BYTES_MAX + 1);
            decoder.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        let text = read().with_context(|| format!("cannot read {}", self.path.display()))?;
        ensure!(text.len() as u64 <= PAGE_BYTES_MAX, "{} has more than {PAGE_BYTES_MAX} bytes", self.path.display());
        Ok(text)
    }

    /// The requests that write the samples of the page at its time. Every series gets the labels `job` and `instance`;
    /// those of the page are kept as `exported_job` and `exported_instance`, as when a target is scraped.
    pub(super) fn requests(&self) -> anyhow::Result<Vec<Body>> {
        let text = self.read()?;
        let mut parser = TextParser::new(&text, TextFormat::Prometheus);
        let mut series = Vec::new();
        while let Some(entry) = parser.next_entry() {
            match entry {
                Ok(Entry::Sample { labels, value, timestamp_ms }) => {
                    let timestamp = timestamp_ms.unwrap_or(self.time_ms);
                    series.push(self.series(labels, value, timestamp)?);
                }
                Ok(_) => {}
                Err(error) => bail!("{}: {error}", self.path.display()),
            }
        }
        let mut encoder = snap::raw::Encoder::new();
        let bodies = series.chunks(SAMPLES_PER_REQUEST).map(|chunk| {
            let request = WriteRequest { timeseries: chunk.to_vec(), metadata: Vec::new() };
            let bytes = encoder.compress_vec(&request.encode_to_vec()).context("a page is below snappy's limit")?;
            Ok(Body { bytes, samples: chunk.len() })
        });
        bodies.collect()
    }

    fn series(&self, labels: &mut LabelsBuilder, value: f64, timestamp: i64) -> anyhow::Result<TimeSeries> {
        for (name, exported) in [("job", "exported_job"), ("instance", "exported_instance")] {
            if let Some(theirs) = labels.get(name).map(str::to_owned) {
                labels.set(exported, &theirs);
            }
            labels.set(name, &self.target);
        }
        let labels = labels.build().with_context(|| format!("{}: labels", self.path.display()))?;
        debug_assert!(labels.get(METRIC_NAME).is_some());
        let labels = labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() });
        let sample = WireSample { value, timestamp, ..WireSample::default() };
        Ok(TimeSeries { labels: labels.collect(), samples: vec![sample], ..TimeSeries::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_kept_listed_and_turned_into_requests() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        keep(folder.path(), "api", 2_000, b"up 1\n").expect("kept");
        keep(folder.path(), "api", 1_000, b"# HELP x A sum.\nx_total{job=\"theirs\",z=\"1\"} 2.5\ny 3 500\n")
            .expect("kept");
        keep(folder.path(), "db", 1_500, b"up 0\n").expect("kept");
        fs::write(folder.path().join("api/.unfinished"), "half").expect("written");
        fs::write(folder.path().join("notes.txt"), "words").expect("written");
        let pages = pages(folder.path()).expect("listed");
        let listed: Vec<(i64, &str)> = pages.iter().map(|page| (page.time_ms, page.target.as_str())).collect();
        assert_eq!(listed, [(1_000, "api"), (1_500, "db"), (2_000, "api")]);

        let bodies = pages[0].requests().expect("requests");
        assert_eq!(bodies.iter().map(|body| body.samples).collect::<Vec<_>>(), [2]);
        let message = snap::raw::Decoder::new().decompress_vec(&bodies[0].bytes).expect("snappy");
        let request = WriteRequest::decode(message.as_slice()).expect("a request");
        let shown: Vec<String> = request
            .timeseries
            .iter()
            .map(|series| {
                let labels: Vec<String> =
                    series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
                format!("{} {}@{}", labels.join(","), series.samples[0].value, series.samples[0].timestamp)
            })
            .collect();
        let want = [
            "__name__=x_total,exported_job=theirs,instance=api,job=api,z=1 2.5@1000",
            "__name__=y,instance=api,job=api 3@500",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(pages(folder.path()).is_err());
        keep(folder.path(), "api", 1, b"{ no page\n").expect("kept");
        let error = pages(folder.path()).expect("listed")[0].requests().expect_err("no page").to_string();
        assert!(error.contains("1.txt.gz: line 1"), "{error}");
    }
}
