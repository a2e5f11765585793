//! `bench disk`: what a recording of real metrics takes on disk, in each server's final form.
//!
//! The pages are written in the order of time, every server is brought to its final form as far as it can be asked to,
//! answers a few queries, which must be those of the others, and is stopped before its files are measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::agree::Points;
use super::compare::{Measured, available, named};
use super::compare_table::{Better, hundredths, plain, to_best_other};
use super::ingest::{BUSY_PAUSE, BUSY_TRIES_MAX, Outcome, post, progress, write_client};
use super::machine::Machine;
use super::own::{OwnArgs, print};
use super::recording::{Page, pages};
use super::servers::{Kind, Options, Part};
use super::subject::Subject;
use crate::output::Output;
use crate::render::append;
use crate::render::table::aligned;
use crate::when::api_seconds;

/// Queries whose answers are compared; an answer with a step has one each so many milliseconds.
const QUERIES: [(&str, Option<i64>); 5] = [
    ("{__name__!=\"\"}", None),
    ("count by (__name__) ({__name__!=\"\"})", None),
    ("go_goroutines", Some(10_000)),
    ("max_over_time(go_memstats_heap_alloc_bytes[1m])", Some(30_000)),
    ("sum by (job) (count_over_time(process_cpu_seconds_total[1m]))", Some(30_000)),
];
/// Queries are asked between two pages, so that it does not matter whether a sample at exactly the end of a window
/// belongs to it.
const AFTER_MS: i64 = 501;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Longest time an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// Arguments of `bench disk`.
#[derive(Debug, Args)]
pub(crate) struct DiskArgs {
    /// Folder that `bench record` made: exposition pages in files `TARGET/TIMESTAMP_MS.txt.gz`
    #[arg(long, value_name = "DIR")]
    recording: PathBuf,
    /// Servers, in this order; those that are not installed are left out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "metrickit,victoriametrics,prometheus")]
    servers: Vec<Kind>,
    #[command(flatten)]
    own: OwnArgs,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    servers: Vec<Measured>,
    targets: Vec<String>,
    pages: usize,
    seconds: f64,
    disk: Vec<ServerFigures>,
}

/// The figures of one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ServerFigures {
    samples: u64,
    series: u64,
    /// Bytes of samples in their final form, of series and labels, of logs and what is not in its final form yet.
    samples_bytes: u64,
    index_bytes: u64,
    log_bytes: u64,
    /// Of what can be made again.
    cache_bytes: u64,
    /// Whether the server could be asked to bring its files to their final form.
    settled: bool,
    /// User and system time from start to end.
    cpu_seconds: f64,
    /// By query, how the answer differs from that of the first server.
    answers: Vec<String>,
}

impl ServerFigures {
    fn bytes(&self) -> u64 {
        self.samples_bytes + self.index_bytes + self.log_bytes + self.cache_bytes
    }
}

/// Measures and prints.
pub(super) fn run(args: &DiskArgs, output: &mut Output) -> anyhow::Result<()> {
    let kinds = available(&args.servers, output)?;
    let pages = pages(&args.recording)?;
    let mut targets: Vec<String> = pages.iter().map(|page| page.target.clone()).collect();
    targets.sort_unstable();
    targets.dedup();
    output.note(&format!("takes a few minutes: {} pages into {} servers", plain(pages.len() as f64), kinds.len()))?;
    let bar = progress((pages.len() * kinds.len()) as u64, "{spinner} {bar:40} {eta} left, {msg}")?;
    let mut disk = Vec::new();
    let mut first: Option<Vec<Points>> = None;
    for &kind in &kinds {
        let (mut figures, answers) =
            measure(kind, &pages, args.own.data.as_deref(), &bar).with_context(|| kind.to_string())?;
        let ours = first.get_or_insert_with(|| answers.clone());
        figures.answers = ours.iter().zip(&answers).map(|(ours, theirs)| ours.compare(theirs)).collect();
        disk.push(figures);
    }
    bar.finish_and_clear();
    let (oldest, newest) = (pages.first().map_or(0, |page| page.time_ms), pages.last().map_or(0, |page| page.time_ms));
    let figures = Figures {
        machine: Machine::this(),
        servers: named(&kinds),
        targets,
        pages: pages.len(),
        seconds: (newest - oldest) as f64 / 1000.0,
        disk,
    };
    print(output, args.own.json, &figures, show)
}

/// The figures of one server, and its answers.
fn measure(
    kind: Kind,
    pages: &[Page],
    parent: Option<&Path>,
    bar: &ProgressBar,
) -> anyhow::Result<(ServerFigures, Vec<Points>)> {
    bar.set_message(kind.to_string());
    let mut subject = Subject::start(kind, Options::default(), parent)?;
    let http = write_client();
    let url = format!("{}/api/v1/write", subject.client.url());
    let mut samples = 0;
    for page in pages {
        for body in page.requests()? {
            let mut tries = 0;
            loop {
                match post(&http, &url, &body.bytes)? {
                    Outcome::Taken => break,
                    Outcome::Refused(reason) => bail!("a page of {} was refused: {reason}", page.target),
                    Outcome::Busy => {
                        tries += 1;
                        ensure!(tries < BUSY_TRIES_MAX, "{url} has had too much under way for too long");
                        std::thread::sleep(BUSY_PAUSE);
                    }
                }
            }
            samples += body.samples as u64;
        }
        bar.inc(1);
    }
    bar.set_message(format!("{kind}: merging"));
    let settled = subject.settle()?;
    let (first_ms, last_ms) = (pages.first(), pages.last());
    let span =
        first_ms.zip(last_ms).map_or((0, 0), |(first, last)| (first.time_ms + AFTER_MS, last.time_ms + AFTER_MS));
    let answers =
        QUERIES.iter().map(|query| ask(subject.client.url(), query, span)).collect::<anyhow::Result<Vec<_>>>()?;
    let stopped = subject.stop()?.context("the server's process can be read")?;
    let part = |part| subject.part_bytes(part).context("the server's folder is known");
    let figures = ServerFigures {
        samples,
        series: answers[0].series() as u64,
        samples_bytes: part(Part::Samples)?,
        index_bytes: part(Part::Index)?,
        log_bytes: part(Part::Log)?,
        cache_bytes: part(Part::Cache)?,
        settled,
        cpu_seconds: stopped.cpu_seconds,
        answers: Vec::new(),
    };
    Ok((figures, answers))
}

fn ask(url: &str, (query, step_ms): &(&str, Option<i64>), (first_ms, last_ms): (i64, i64)) -> anyhow::Result<Points> {
    let mut pairs = vec![("query", (*query).to_owned()), ("nocache", "1".to_owned())];
    let path = if let Some(step_ms) = step_ms {
        pairs.extend([
            ("start", api_seconds(first_ms)),
            ("end", api_seconds(last_ms)),
            ("step", api_seconds(*step_ms)),
        ]);
        "query_range"
    } else {
        pairs.push(("time", api_seconds(last_ms)));
        "query"
    };
    let http: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).build().into();
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    let mut response =
        http.get(format!("{url}/api/v1/{path}")).query_pairs(pairs).call().with_context(|| (*query).to_owned())?;
    Points::read(&response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?)
}

fn show(figures: &Figures, width: Option<usize>) -> String {
    let versions: Vec<String> = figures.servers.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
    let mut text = format!("{}\n{}\n", figures.machine.line(), versions.join(", "));
    let minutes = figures.seconds / 60.0;
    append(
        &mut text,
        format_args!("{} pages of {} in {minutes:.0} minutes\n", figures.pages, figures.targets.join(", ")),
    );
    let ratio = figures.disk.len() > 1;
    let header: Vec<&str> = std::iter::once("")
        .chain(figures.servers.iter().map(|one| one.name.as_str()))
        .chain(ratio.then_some("ratio"))
        .collect();
    let per_sample = |bytes: u64, one: &ServerFigures| bytes as f64 / one.samples.max(1) as f64;
    let row =
        |name: &str, shown: &dyn Fn(&ServerFigures) -> String, ratio_of: Option<&dyn Fn(&ServerFigures) -> f64>| {
            let mut cells = vec![name.to_owned()];
            cells.extend(figures.disk.iter().map(shown));
            if ratio {
                let values = ratio_of.map(|of| figures.disk.iter().map(of).collect::<Vec<f64>>());
                let value = values.and_then(|values| to_best_other(&values, Better::Less));
                cells.push(value.map_or_else(String::new, |value| format!("{value:.1}")));
            }
            cells
        };
    let bytes_row = |name: &str, bytes: fn(&ServerFigures) -> u64, with_ratio: bool| {
        let value = move |one: &ServerFigures| per_sample(bytes(one), one);
        row(name, &move |one| hundredths(value(one)), with_ratio.then_some(&value as &dyn Fn(&ServerFigures) -> f64))
    };
    let rows = vec![
        row("samples", &|one| plain(one.samples as f64), None),
        row("series", &|one| one.series.to_string(), None),
        bytes_row("bytes per sample: samples", |one| one.samples_bytes, true),
        bytes_row("  series, labels, places", |one| one.index_bytes, false),
        bytes_row("  log, unfinished", |one| one.log_bytes, false),
        bytes_row("  all of these", |one| one.bytes() - one.cache_bytes, true),
        bytes_row("  caches", |one| one.cache_bytes, false),
        bytes_row("  everything", ServerFigures::bytes, true),
        row("CPU seconds", &|one| format!("{:.1}", one.cpu_seconds), Some(&|one| one.cpu_seconds)),
    ];
    text.push_str(&aligned(&header, &rows, header.len() - 1, width));
    for (one, server) in figures.disk.iter().zip(&figures.servers) {
        if !one.settled {
            append(
                &mut text,
                format_args!("{} could not be asked for its final form; its files are as they are.\n", server.name),
            );
        }
        for ((query, _), answer) in QUERIES.iter().zip(&one.answers).filter(|(_, answer)| *answer != "equal") {
            append(&mut text, format_args!("{} answers {query} otherwise: {answer}\n", server.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_shows_the_parts() {
        let one = |factor: u64, settled: bool, answer: &str| ServerFigures {
            samples: 1_000_000,
            series: 2_830,
            samples_bytes: 400_000 * factor,
            index_bytes: 50_000,
            log_bytes: 0,
            cache_bytes: 10_000 * (factor - 1),
            settled,
            cpu_seconds: 2.0,
            answers: vec!["equal".to_owned(), answer.to_owned()],
        };
        let server = |name: &str| Measured { name: name.to_owned(), version: "1".to_owned() };
        let figures = Figures {
            machine: Machine {
                cores: 2,
                processor: "CPU".to_owned(),
                memory_bytes: Some(1 << 30),
                kernel: "6".to_owned(),
            },
            servers: vec![server("MetricKit"), server("VictoriaMetrics")],
            targets: vec!["caddy".to_owned(), "etcd".to_owned()],
            pages: 1_500,
            seconds: 1_500.0,
            disk: vec![one(1, true, "equal"), one(2, false, "1 points missing, 0 more, others equal")],
        };
        let got = show(&figures, Some(100));
        let want = "\
2 cores (CPU), 1GiB memory, Linux 6
MetricKit 1, VictoriaMetrics 1
1500 pages of caddy, etcd in 25 minutes
┌───────────────────────────┬───────────┬─────────────────┬───────┐
│                           ┆ MetricKit ┆ VictoriaMetrics ┆ ratio │
╞═══════════════════════════╪═══════════╪═════════════════╪═══════╡
│ samples                   ┆        1M ┆              1M ┆       │
│ series                    ┆      2830 ┆            2830 ┆       │
│ bytes per sample: samples ┆      0.40 ┆            0.80 ┆   2.0 │
│   series, labels, places  ┆      0.05 ┆            0.05 ┆       │
│   log, unfinished         ┆      0.00 ┆            0.00 ┆       │
│   all of these            ┆      0.45 ┆            0.85 ┆   1.9 │
│   caches                  ┆      0.00 ┆            0.01 ┆       │
│   everything              ┆      0.45 ┆            0.86 ┆   1.9 │
│ CPU seconds               ┆       2.0 ┆             2.0 ┆   1.0 │
└───────────────────────────┴───────────┴─────────────────┴───────┘
VictoriaMetrics could not be asked for its final form; its files are as they are.
VictoriaMetrics answers count by (__name__) ({__name__!=\"\"}) otherwise: 1 points missing, 0 more, others equal
";
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn queries_parse() {
        for (query, _) in QUERIES {
            assert!(query::parse(query).is_ok(), "{query}");
        }
    }
}
