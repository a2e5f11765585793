//! `bench restart`: what a start takes after `kill -9` with as much log as there may be.
//!
//! MetricKit is written to until some samples are in blocks and the log has the bytes asked for, one request short of
//! what makes it write blocks by default. Then it is killed and started, several times: the log stays as it is. Told is how long
//! it takes from the start of the process until a query of what is in blocks is answered right, and until everything is there.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use model::time::{Clock, SystemClock};
use serde::Serialize;

use super::Latencies;
use super::fleet::{FIRST_SERIES, Fleet, SERIES_PER_CLUSTER};
use super::ingest::{BUSY_PAUSE, INTERVAL_MS, Outcome, START_AGO_MS, post, progress, write_client};
use super::kill_load::has_value;
use super::machine::Machine;
use super::own::{OwnArgs, SeedArgs, print};
use super::servers::{Kind, Options};
use super::subject::Subject;
use crate::output::Output;
use crate::render::number::short;
use crate::render::table::aligned;
use crate::render::unit::{BYTES, PLAIN};

/// Rounds that are in blocks.
const BLOCK_ROUNDS: i64 = 8;
/// At which the server that is written to would write blocks: never.
const FLUSH_LOG_BYTES: &str = "1TiB";
/// The metric with the bytes of the log that are in no block.
const LOG_BYTES: &str = "metrickit_log_unflushed_bytes";
const MIB: u64 = 1 << 20;

/// Arguments of `bench restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Active series; a run for each number
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10000,100000",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: Vec<u32>,
    /// Log to start with, in MiB; the default is what makes a server write blocks
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=64))]
    log_mib: u32,
    /// How often each is killed and started
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Memory of the server that is started, as its setting `memory_max`
    #[arg(long, value_name = "BYTES|auto", default_value = "auto")]
    memory_max: String,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seed: u64,
    runs: Vec<Run>,
}

/// With one number of series; times are medians.
#[derive(Debug, Serialize)]
struct Run {
    series: u32,
    log_bytes: u64,
    log_samples: u64,
    /// From the start of the process until samples in blocks are answered right.
    blocks_ms: f64,
    /// Until everything is.
    ready_ms: f64,
    ready_max_ms: f64,
    /// Of these, reading the log.
    replay_ms: f64,
    cpu_ms: f64,
    resident_peak_bytes: u64,
    memory_max_bytes: u64,
}

/// Measures and prints.
pub(super) fn run(args: &RestartArgs, output: &mut Output) -> anyhow::Result<()> {
    let bar = progress(args.series.len() as u64, "{spinner} {pos}/{len} {msg}")?;
    let mut runs = Vec::new();
    for &series in &args.series {
        runs.push(measure(args, series, &bar).with_context(|| format!("with {series} series"))?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let figures = Figures { machine: Machine::this(), seed: args.seed.seed, runs };
    print(output, args.own.json, &figures, show)
}

fn measure(args: &RestartArgs, series: u32, bar: &ProgressBar) -> anyhow::Result<Run> {
    let say = |doing: &str| bar.set_message(format!("{} series: {doing}", short(series.into(), PLAIN)));
    say("writing");
    let memory_max = ("--memory-max", args.memory_max.clone());
    let written_to = vec![("--flush-log-bytes", FLUSH_LOG_BYTES.to_owned())];
    let options = Options { settings: written_to, ..Options::default() };
    let mut subject = Subject::start(Kind::MetricKit, options, args.own.data.as_deref())?;
    let mut load = Load::new(&subject, Fleet::new(series as usize, args.seed.seed));
    for _ in 0..BLOCK_ROUNDS {
        load.write_round()?;
    }
    subject.client.post("/api/v1/admin/flush", &[]).context("writing blocks")?;
    let in_blocks = load.newest;
    let log_bytes_max = u64::from(args.log_mib) * MIB;
    let log_samples = load.fill_log(&subject, log_bytes_max)?;
    let newest = load.newest;
    let log_bytes = byte_metric(&subject, LOG_BYTES)?;
    say("killing and starting");
    subject.set_options(Options { settings: vec![memory_max], ..Options::default() });
    let [mut blocks, mut ready, mut replay, mut cpu] = <[Latencies; 4]>::default();
    let (mut resident_peak_bytes, mut memory_max_bytes) = (0, 0);
    for _ in 0..args.repeat {
        subject.kill()?;
        let (of_blocks, of_all) =
            subject.start_again_noting(|client| has_value(client, FIRST_SERIES, in_blocks.0, in_blocks.1))?;
        let usage = subject.usage().context("the server's process can be read")?;
        ensure!(has_value(&subject.client, FIRST_SERIES, newest.0, newest.1), "the newest sample is not there");
        blocks.push(of_blocks);
        ready.push(of_all);
        cpu.push(Duration::from_secs_f64(usage.cpu_seconds));
        replay.push(Duration::from_secs_f64(metric(&subject, "metrickit_replay_seconds")?));
        resident_peak_bytes = resident_peak_bytes.max(usage.resident_peak_bytes);
        memory_max_bytes = byte_metric(&subject, "metrickit_memory_max_bytes")?;
    }
    let [ready_ms, _, ready_max_ms] = ready.quantiles_ms();
    let median = |of: &mut Latencies| of.quantiles_ms()[0];
    Ok(Run {
        series,
        log_bytes,
        log_samples,
        blocks_ms: median(&mut blocks),
        ready_ms,
        ready_max_ms,
        replay_ms: median(&mut replay),
        cpu_ms: median(&mut cpu),
        resident_peak_bytes,
        memory_max_bytes,
    })
}

/// What is written, and when the next round is.
struct Load {
    http: ureq::Agent,
    url: String,
    fleet: Fleet,
    next_ms: i64,
    /// The newest sample of the first series that was taken: value and time.
    newest: (f64, i64),
}

impl Load {
    fn new(subject: &Subject, fleet: Fleet) -> Self {
        let next_ms = (SystemClock.now().0 - START_AGO_MS) / INTERVAL_MS * INTERVAL_MS;
        let url = format!("{}/api/v1/write", subject.client.url());
        Self { http: write_client(), url, fleet, next_ms, newest: (f64::NAN, next_ms) }
    }

    fn write_round(&mut self) -> anyhow::Result<u64> {
        self.write_while(|| Ok(true))
    }

    /// Writes a round, body by body, as long as there is room; how many samples that were.
    fn write_while(&mut self, mut has_room: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<u64> {
        let mut samples = 0;
        for body in self.fleet.round(self.next_ms, SERIES_PER_CLUSTER) {
            if !has_room()? {
                return Ok(samples);
            }
            loop {
                match post(&self.http, &self.url, &body.bytes)? {
                    Outcome::Taken => break,
                    Outcome::Busy => std::thread::sleep(BUSY_PAUSE),
                    Outcome::Refused(reason) => anyhow::bail!("a request was refused: {reason}"),
                }
            }
            samples += body.samples as u64;
            self.newest = (self.fleet.first_value(), self.next_ms);
        }
        self.next_ms += INTERVAL_MS;
        Ok(samples)
    }

    /// Writes until the next request would bring the log to `bytes_max`; the samples in it.
    fn fill_log(&mut self, subject: &Subject, bytes_max: u64) -> anyhow::Result<u64> {
        let log_bytes = || byte_metric(subject, LOG_BYTES);
        let mut samples = 0;
        let (mut bytes, mut round_bytes) = (log_bytes()?, 0);
        // Rounds are about as long as each other, the last of them is watched.
        while bytes + round_bytes + round_bytes / 4 < bytes_max {
            samples += self.write_round()?;
            let before = std::mem::replace(&mut bytes, log_bytes()?);
            round_bytes = bytes.saturating_sub(before);
        }
        loop {
            let mut longest = round_bytes / self.fleet.len().div_ceil(SERIES_PER_CLUSTER).max(1) as u64;
            let mut last = bytes;
            let mut full = false;
            samples += self.write_while(|| {
                let now = log_bytes()?;
                longest = longest.max(now.saturating_sub(last));
                last = now;
                full = now + longest + longest / 4 >= bytes_max;
                Ok(!full)
            })?;
            bytes = last;
            if full {
                return Ok(samples);
            }
        }
    }
}

/// A figure of the server's own metrics.
fn metric(subject: &Subject, name: &str) -> anyhow::Result<f64> {
    let mut answer = write_client().get(format!("{}/metrics", subject.client.url())).call()?;
    let text = answer.body_mut().read_to_string()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.with_context(|| format!("the server does not tell {name}"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
fn byte_metric(subject: &Subject, name: &str) -> anyhow::Result<u64> {
    metric(subject, name).map(|bytes| bytes as u64)
}

fn show(figures: &Figures, width: Option<usize>) -> String {
    let header = ["series", "log", "samples", "blocks ms", "ready ms", "max", "replay ms", "CPU ms", "peak", "budget"];
    let ms = |ms: f64| format!("{ms:.0}");
    let bytes = |bytes: u64| short(bytes as f64, BYTES);
    let row = |run: &Run| {
        let counts = [short(run.series.into(), PLAIN), bytes(run.log_bytes), short(run.log_samples as f64, PLAIN)];
        let times = [run.blocks_ms, run.ready_ms, run.ready_max_ms, run.replay_ms, run.cpu_ms].map(ms);
        let memory = [run.resident_peak_bytes, run.memory_max_bytes].map(bytes);
        counts.into_iter().chain(times).chain(memory).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = figures.runs.iter().map(row).collect();
    let mut text = format!("{}, seed {}\n", figures.machine.line(), figures.seed);
    text.push_str(&aligned(&header, &rows, header.len(), width));
    text.push_str(
        "From the start of the process, after kill -9: until samples in blocks are answered, and until all are.\n",
    );
    text
}
