//! `metrickit import`: samples of files into a server.
//!
//! One thread reads (`source`, `read`) and fills batches, another sends them (`send`) as remote write (`encode`). A few
//! batches are under way, so that memory does not grow with the files.

mod encode;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod send;
mod source;

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use model::LabelsBuilder;
use model::time::{Clock, SystemClock};

#[cfg(not(feature = "parquet"))]
use super::WITHOUT_PARQUET;
use super::admin::{counted, figure};
use super::progress::FlowBar;
use crate::UsageError;
use crate::cli::{ImportArgs, ImportFormat};
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use read::{Importer, Options};
use send::{Sending, Sent};
use source::{Source, total_bytes};

/// Most bad lines that are told one by one.
const BAD_LINES_TOLD_MAX: usize = 10;

/// What became of the files.
#[derive(Debug, Default)]
struct Done {
    sent: Sent,
    /// Bytes read, as they lie in the files.
    bytes: u64,
    bad_lines: u64,
    /// The first bad lines in words.
    told: Vec<String>,
    /// Files that were cut off.
    cut_off: Vec<String>,
}

/// Imports, and tells what became of it. Whether all was taken.
pub(crate) fn run(args: &ImportArgs, output: &mut Output) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let client = Client::new(args.url.as_deref().unwrap_or(URL_DEFAULT));
    let client = client.map_err(|error| UsageError(error.to_string()))?;
    check_labels(&args.labels)?;
    let options = Options {
        format: args.format,
        labels: args.labels.clone(),
        skip_bad_lines: args.skip_bad_lines,
        now_ms: SystemClock.now().0,
    };
    let bar = FlowBar::start(total_bytes(&args.files))?;
    let sending = Sending::start(client.url())?;
    let mut importer = Importer::new(options, sending);
    let mut bytes = 0;
    let mut read = Ok(());
    for file in &args.files {
        read = import_file(file, &mut importer, &mut bytes, &bar);
        if read.is_err() {
            break;
        }
    }
    let (done, sent) = importer.finish(bytes);
    bar.end();
    // If the server is why reading ended, it tells more than the reading does.
    if let Err(error) = sent.and(read) {
        output.note(&told(&done, begun.elapsed().as_secs_f64()))?;
        return Err(error);
    }
    output.line(&told(&done, begun.elapsed().as_secs_f64()))?;
    let is_whole = done.sent.refused == 0 && done.bad_lines == 0 && done.cut_off.is_empty();
    Ok(is_whole)
}

fn import_file(file: &Path, importer: &mut Importer, bytes: &mut u64, bar: &FlowBar) -> anyhow::Result<()> {
    let source = Source::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let before = *bytes;
    if importer.format_of(&source) == ImportFormat::Parquet {
        drop(source);
        return import_parquet(file, importer, bytes, bar);
    }
    let counter = source.counter();
    let read = importer.read(source, &mut |samples| {
        let done_bytes = before + counter.bytes();
        bar.show(done_bytes, counted(samples, "sample"));
    });
    *bytes = before + counter.bytes();
    read
}

#[cfg(feature = "parquet")]
fn import_parquet(file: &Path, importer: &mut Importer, bytes: &mut u64, bar: &FlowBar) -> anyhow::Result<()> {
    anyhow::ensure!(file.as_os_str() != "-", "Parquet is read from files only, for its end comes first");
    let before = *bytes;
    let read = parquet::read(file, importer, &mut |done_bytes, samples| {
        bar.show(before + done_bytes, counted(samples, "sample"));
    });
    *bytes = before + file.metadata().map_or(0, |of| of.len());
    read
}

#[cfg(not(feature = "parquet"))]
fn import_parquet(file: &Path, _: &mut Importer, _: &mut u64, _: &FlowBar) -> anyhow::Result<()> {
    anyhow::bail!("{} is a Parquet file, and {WITHOUT_PARQUET}", file.display())
}

/// Labels that no series can have are told before anything is read.
fn check_labels(labels: &[(String, String)]) -> Result<(), UsageError> {
    let mut builder = LabelsBuilder::new();
    for (name, value) in labels {
        builder.push(name, value);
    }
    builder.build().map(drop).map_err(|error| UsageError(format!("--label: {error}")))
}

fn told(done: &Done, seconds: f64) -> String {
    let Done { sent, bytes, .. } = done;
    let mut text = format!(
        "imported {} from {} in {}",
        counted(sent.taken, "sample"),
        figure(*bytes, BYTES),
        short(seconds, SECONDS)
    );
    let mut list = |headline: String, lines: &[String], more: u64| {
        text.push('\n');
        text.push_str(&headline);
        for line in lines {
            text.extend(["\n  ", line]);
        }
        if more > lines.len() as u64 {
            text.push_str("\n  and more");
        }
    };
    if sent.refused > 0 {
        let headline = format!("refused: {} will not be taken when sent again", counted(sent.refused, "sample"));
        list(headline, &sent.reasons, sent.refused);
    }
    if sent.starts_dropped > 0 {
        let what = counted(sent.starts_dropped, "start");
        list(format!("left out: {what} of counters, which this server does not take"), &[], 0);
    }
    if done.bad_lines > 0 {
        list(format!("left out: {} not understood", counted(done.bad_lines, "line")), &done.told, done.bad_lines);
    }
    if !done.cut_off.is_empty() {
        let files = done.cut_off.join(", ");
        list(format!("cut off: {files} does not end as it should; the rest is missing"), &[], 0);
    }
    if sent.pauses > 0 {
        list(format!("the server was waited for {} times", figure(sent.pauses, PLAIN)), &[], 0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_told() {
        let reasons = vec!["too old".to_owned()];
        let sent = Sent { taken: 5, refused: 2, starts_dropped: 1, reasons, ..Sent::default() };
        let done =
            Done { sent, bytes: 1024, bad_lines: 1, told: vec!["a:1: bad".to_owned()], cut_off: vec!["a".to_owned()] };
        let want = "\
imported 5 samples from 1KiB in 500ms
refused: 2 samples will not be taken when sent again
  too old
  and more
left out: 1 start of counters, which this server does not take
left out: 1 line not understood
  a:1: bad
cut off: a does not end as it should; the rest is missing";
        assert_eq!(told(&done, 0.5), want);
    }
}
