//! `bench record`: keeps the pages that real targets expose, to be replayed by `bench disk`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use model::time::{Clock, SystemClock, parse_duration_ms};

use super::ingest::progress;
use super::recording::{PAGE_BYTES_MAX, keep};
use crate::output::Output;

/// Shortest and longest time between two pages of a target, in milliseconds.
const EVERY_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;
/// Longest recording, in milliseconds.
const FOR_MS_MAX: i64 = 7 * 86_400_000;
/// Longest sleep, after which it is looked whether to stop.
const NAP: Duration = Duration::from_millis(100);
/// Longest name of a target, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Arguments of `bench record`.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// A target to read, such as api=http://127.0.0.1:8080/metrics; may occur again and again
    #[arg(long, value_name = "NAME=URL", required = true, value_parser = Target::parse)]
    target: Vec<Target>,
    /// Time between two pages of a target
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: String,
    /// How long to record; SIGINT ends it earlier
    #[arg(long = "for", value_name = "DURATION", default_value = "25m")]
    length: String,
    /// Folder of the recording; pages are added to those that are there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What is read, and the name it is kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    url: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("expected NAME=URL")?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b':');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(format!("{name:?} is no name for a folder; use letters, digits and _ - . :"));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("{url:?} is no address; write it like http://127.0.0.1:8080/metrics"));
        }
        Ok(Self { name: name.to_owned(), url: url.to_owned() })
    }
}

/// Records, and says how much.
pub(super) fn run(args: &RecordArgs, output: &mut Output) -> anyhow::Result<()> {
    let every_ms = parse_duration_ms(&args.every).context("--every")?;
    ensure!(EVERY_MS.contains(&every_ms), "--every {} is not between 100ms and 1h", args.every);
    let length_ms = parse_duration_ms(&args.length).context("--for")?;
    ensure!((1..=FOR_MS_MAX).contains(&length_ms), "--for {} is not above 0 and up to 7d", args.length);
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    crate::signals::on_stop(move |_| stopping.store(true, Ordering::Relaxed))?;

    let every = Duration::from_millis(every_ms.unsigned_abs());
    let http: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(every.max(NAP))).build().into();
    let rounds = u64::try_from(length_ms / every_ms).unwrap_or(0).max(1);
    let bar = progress(rounds, "{spinner} recording {bar:40} {eta} left, {msg}")?;
    let (kept, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut last_failure = None;
    let start = Instant::now();
    for round in 0..rounds {
        let due = start + every * u32::try_from(round).unwrap_or(u32::MAX);
        while Instant::now() < due && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()).min(NAP));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for (target, failure) in read_all(&http, args)? {
            match failure {
                None => drop(kept.fetch_add(1, Ordering::Relaxed)),
                Some(reason) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    last_failure = Some(format!("{target}: {reason}"));
                }
            }
        }
        bar.set_message(format!("{} pages", kept.load(Ordering::Relaxed)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (kept, failed) = (kept.into_inner(), failed.into_inner());
    if let Some(reason) = last_failure {
        output.note(&format!("{failed} pages could not be read; the last: {reason}"))?;
    }
    ensure!(kept > 0, "no page was read");
    output.line(&format!("{kept} pages of {} targets in {}", args.target.len(), args.out.display()))?;
    Ok(())
}

/// Reads every target once, at the same time, and keeps the pages. For each why there is none, if so; an error is one
/// of the folder.
fn read_all<'a>(http: &ureq::Agent, args: &'a RecordArgs) -> anyhow::Result<Vec<(&'a str, Option<String>)>> {
    std::thread::scope(|scope| {
        let readers: Vec<_> = args.target.iter().map(|target| scope.spawn(|| read(http, target))).collect();
        let mut results = Vec::new();
        for (target, reader) in args.target.iter().zip(readers) {
            let name = target.name.as_str();
            let (time_ms, text) = reader.join().map_err(|_| anyhow::anyhow!("a reading thread panicked"))?;
            match text {
                Ok(text) => {
                    keep(&args.out, name, time_ms, text.as_bytes())?;
                    results.push((name, None));
                }
                Err(error) => results.push((name, Some(error.to_string()))),
            }
        }
        Ok(results)
    })
}

/// The time before the request, and the page.
fn read(http: &ureq::Agent, target: &Target) -> (i64, Result<String, ureq::Error>) {
    let time_ms = SystemClock.now().0;
    let response = http.get(&target.url).header("Accept", "text/plain;version=0.0.4").call();
    let text =
        response.and_then(|mut response| response.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_string());
    (time_ms, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_names_that_are_folders() {
        let target = |name: &str, url: &str| Ok(Target { name: name.to_owned(), url: url.to_owned() });
        assert_eq!(Target::parse("api=http://a:1/metrics?x=y"), target("api", "http://a:1/metrics?x=y"));
        for wrong in ["http://a:1", "=http://a:1", "../x=http://a:1", ".x=http://a:1", "a/b=http://a:1", "a=b"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
