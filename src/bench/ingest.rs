//! `bench ingest`: how fast a server takes remote write, and what that costs it.
//!
//! Bodies are made in phases that are not timed, and sent as fast as they are taken in phases that are. Time between
//! samples is 15 seconds of data, so a run of seconds writes hours.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use model::time::{Clock, SystemClock};
use serde::Serialize;

use super::fleet::{Body, Fleet};
use super::paced::{self, Pace};
use super::subject::Subject;
use super::{IngestArgs, Latencies};
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::{BYTES, PLAIN, Unit};

/// Distance of two samples of a series.
pub(super) const INTERVAL_MS: i64 = 15_000;
/// How far back the first sample lies: inside the retention that servers have by default.
pub(super) const START_AGO_MS: i64 = 24 * 86_400_000;
/// Bodies made before the first are sent, in bytes: little, so that short runs are short.
const FIRST_BODIES_BYTES_MAX: usize = 32 << 20;
/// Bodies made at a time later on, in bytes.
const BODIES_BYTES_MAX: usize = 256 << 20;
/// Pause after a server said that it has too much under way.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How often a request is sent again.
pub(super) const BUSY_TRIES_MAX: u32 = 6_000;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The figures of one run.
#[derive(Debug, Serialize)]
struct Figures {
    seed: u64,
    series: u32,
    samples_per_request: u32,
    connections: u32,
    label_bytes_average: usize,
    samples: u64,
    requests: usize,
    /// Answers "too much under way", after which the request was sent again.
    busy_answers: u64,
    /// Wall time of the timed phases.
    seconds: f64,
    samples_per_second: f64,
    /// Whether the server was stopped before processor time and disk were read, so that everything is in blocks. One
    /// at `--url` goes on running, and what it has still to write is in neither figure.
    stopped: bool,
    /// Processor time of the server since the first request.
    server_cpu_seconds: Option<f64>,
    samples_per_cpu_second: Option<f64>,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    body_bytes_per_sample: f64,
    resident_bytes: Option<u64>,
    resident_peak_bytes: Option<u64>,
    resident_bytes_per_series: Option<f64>,
    disk_bytes: Option<u64>,
    disk_bytes_per_sample: Option<f64>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) samples: u64,
    pub(super) bytes: u64,
    /// Of requests that were taken.
    pub(super) latencies: Latencies,
    /// Times that a server said "too much under way".
    pub(super) busy: u64,
}

impl Sent {
    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.bytes += other.bytes;
        self.latencies.extend(other.latencies);
        self.busy += other.busy;
    }
}

/// Measures and prints.
pub(super) fn run(args: &IngestArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut subject = Subject::new(&args.common)?;
    let mut fleet = Fleet::new(args.series as usize, args.common.seed);
    let label_bytes_average = fleet.label_bytes_average();
    let now_ms = SystemClock.now().0;
    let mut next_ms = (now_ms - START_AGO_MS) / INTERVAL_MS * INTERVAL_MS;
    let wanted = Duration::from_secs(args.seconds.into());
    let bar = progress(u64::from(args.seconds) * 1000, "{spinner} writing {bar:40} {msg}")?;

    let before = subject.usage();
    let (mut sent, mut timed) = (Sent::default(), Duration::ZERO);
    if let Some(seconds) = args.every {
        let samples_per_request = args.samples_per_request as usize;
        let pace = Pace { every: Duration::from_secs(seconds.into()), wanted, samples_per_request };
        let started = Instant::now();
        sent = paced::send(subject.client.url(), &mut fleet, pace, &bar)?;
        timed = started.elapsed();
    }
    while args.every.is_none() && timed < wanted && next_ms < now_ms {
        let mut rounds = Vec::new();
        let mut made_bytes = 0;
        let bytes_max = if timed.is_zero() { FIRST_BODIES_BYTES_MAX } else { BODIES_BYTES_MAX };
        while made_bytes < bytes_max && next_ms < now_ms {
            let round = fleet.round(next_ms, args.samples_per_request as usize);
            made_bytes += round.iter().map(|body| body.bytes.len()).sum::<usize>();
            rounds.push(round);
            next_ms += INTERVAL_MS;
        }
        let start = Instant::now();
        sent.add(send(&subject, rounds, args.connections as usize, Some(start + wanted.saturating_sub(timed)))?);
        timed += start.elapsed();
        bar.set_position(u64::try_from(timed.as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("{} samples/s", short(sent.samples as f64 / timed.as_secs_f64(), PLAIN)));
    }
    bar.finish_and_clear();
    ensure!(sent.samples > 0, "nothing was sent within the time");
    let running = subject.usage();
    let stopped = subject.stop()?;
    let cpu_seconds = before.zip(stopped).map(|(before, stopped)| stopped.cpu_seconds - before.cpu_seconds);
    let figures = figures(args, label_bytes_average, sent, timed, cpu_seconds, running, subject.disk_bytes());
    if args.common.json {
        output.line(&serde_json::to_string(&figures).context("figures are JSON")?)?;
    } else {
        output.text(&show(&figures))?;
        if next_ms >= now_ms && timed < wanted {
            output
                .note("ended early: the generated time has reached the present; take more series for a longer run")?;
        }
    }
    Ok(())
}

/// Sends `rounds`, body `n` of each on connection `n % connections`, so that the samples of a series keep their order.
/// Ends at `until` at the latest, between two requests.
pub(super) fn send(
    subject: &Subject,
    rounds: Vec<Vec<Body>>,
    connections: usize,
    until: Option<Instant>,
) -> anyhow::Result<Sent> {
    let mut lanes: Vec<Vec<Body>> = (0..connections).map(|_| Vec::new()).collect();
    for round in rounds {
        for (at, body) in round.into_iter().enumerate() {
            lanes[at % connections].push(body);
        }
    }
    let url = format!("{}/api/v1/write", subject.client.url());
    std::thread::scope(|scope| {
        let workers: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| send_lane(&url, lane, until))).collect();
        let mut sent = Sent::default();
        for worker in workers {
            sent.add(worker.join().map_err(|_| anyhow::anyhow!("a sending thread panicked"))??);
        }
        Ok(sent)
    })
}

fn send_lane(url: &str, lane: Vec<Body>, until: Option<Instant>) -> anyhow::Result<Sent> {
    let http = write_client();
    let mut sent = Sent::default();
    for body in lane {
        for tries in 0.. {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(sent);
            }
            let start = Instant::now();
            match post(&http, url, &body.bytes)? {
                Outcome::Taken => {}
                Outcome::Busy => {
                    ensure!(tries < BUSY_TRIES_MAX, "{url} has had too much under way for too long");
                    sent.busy += 1;
                    std::thread::sleep(BUSY_PAUSE);
                    continue;
                }
                Outcome::Refused(reason) => bail!("{url} answered {reason}"),
            }
            sent.latencies.push(start.elapsed());
            sent.samples += body.samples as u64;
            sent.bytes += body.bytes.len() as u64;
            break;
        }
    }
    Ok(sent)
}

/// What a server said to a write.
#[derive(Debug)]
pub(super) enum Outcome {
    Taken,
    /// It has too much under way; to be sent again.
    Busy,
    Refused(String),
}

/// A client that gives error answers as answers.
pub(super) fn write_client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(REQUEST_TIMEOUT));
    config.build().into()
}

/// Writes one body. An error is one of the connection.
pub(super) fn post(http: &ureq::Agent, url: &str, body: &[u8]) -> anyhow::Result<Outcome> {
    let mut response = http
        .post(url)
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .send(body)
        .with_context(|| format!("cannot write to {url}"))?;
    let answer = response.body_mut().read_to_string().unwrap_or_default();
    let status = response.status();
    Ok(match status.as_u16() {
        429 | 503 => Outcome::Busy,
        _ if status.is_success() => Outcome::Taken,
        _ => Outcome::Refused(format!("{status}: {}", answer.trim())),
    })
}

/// A progress bar on standard error; nothing where that is no terminal.
pub(super) fn progress(length: u64, template: &str) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

fn figures(
    args: &IngestArgs,
    label_bytes_average: usize,
    mut sent: Sent,
    timed: Duration,
    cpu_seconds: Option<f64>,
    running: Option<super::process::Usage>,
    disk_bytes: Option<u64>,
) -> Figures {
    let [latency_p50_ms, latency_p99_ms, latency_max_ms] = sent.latencies.quantiles_ms();
    let samples = sent.samples as f64;
    Figures {
        seed: args.common.seed,
        series: args.series,
        samples_per_request: args.samples_per_request,
        connections: args.connections,
        label_bytes_average,
        samples: sent.samples,
        requests: sent.latencies.0.len(),
        busy_answers: sent.busy,
        seconds: timed.as_secs_f64(),
        samples_per_second: samples / timed.as_secs_f64(),
        stopped: args.common.url.is_none(),
        server_cpu_seconds: cpu_seconds,
        samples_per_cpu_second: cpu_seconds.filter(|&seconds| seconds > 0.0).map(|seconds| samples / seconds),
        latency_p50_ms,
        latency_p99_ms,
        latency_max_ms,
        body_bytes_per_sample: sent.bytes as f64 / samples,
        resident_bytes: running.map(|usage| usage.resident_bytes),
        resident_peak_bytes: running.map(|usage| usage.resident_peak_bytes),
        resident_bytes_per_series: running.map(|usage| usage.resident_bytes as f64 / f64::from(args.series)),
        disk_bytes,
        disk_bytes_per_sample: disk_bytes.map(|bytes| bytes as f64 / samples),
    }
}

fn show(figures: &Figures) -> String {
    let plain = |value: f64| short(value, PLAIN);
    let bytes = |value: Option<u64>| value.map_or("unknown".to_owned(), |value| short(value as f64, BYTES));
    let of = |value: Option<f64>, unit: Unit| value.map_or("unknown".to_owned(), |value| short(value, unit));
    let f = figures;
    let (work, when) = if f.stopped {
        ("until stopped, blocks included", "after stop")
    } else {
        ("until the last answer", "while running")
    };
    format!(
        "{} series with {} bytes of labels, {} samples a request, {} connections, seed {}\n\
         written          {} samples in {:.1} s ({} requests, {} sent again, {} bytes a sample)\n\
         speed            {} samples/s\n\
         server CPU       {} s {work}: {} samples per CPU second\n\
         latency          p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms\n\
         memory           {} while writing (peak {}), {} a series\n\
         disk             {} {when}, {} bytes a sample\n",
        f.series,
        f.label_bytes_average,
        f.samples_per_request,
        f.connections,
        f.seed,
        plain(f.samples as f64),
        f.seconds,
        f.requests,
        f.busy_answers,
        plain(f.body_bytes_per_sample),
        plain(f.samples_per_second),
        of(f.server_cpu_seconds, PLAIN),
        of(f.samples_per_cpu_second, PLAIN),
        f.latency_p50_ms,
        f.latency_p99_ms,
        f.latency_max_ms,
        bytes(f.resident_bytes),
        bytes(f.resident_peak_bytes),
        of(f.resident_bytes_per_series, BYTES),
        bytes(f.disk_bytes),
        of(f.disk_bytes_per_sample, PLAIN),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::BenchCommand;
    use crate::cli::{Cli, Command};

    #[track_caller]
    fn check(flags: &[&str], said: [&str; 2]) {
        let line = ["metrickit", "bench", "ingest"].iter().chain(flags);
        let Command::Bench(BenchCommand::Ingest(args)) = Cli::parse_from(line).command else {
            panic!("these flags are of bench ingest");
        };
        let sent = Sent { samples: 10, bytes: 100, latencies: Latencies(vec![1]), busy: 0 };
        let shown = show(&figures(&args, 200, sent, Duration::from_secs(1), Some(1.0), None, Some(5)));
        for words in said {
            assert!(shown.contains(words), "{words:?} in {shown}");
        }
    }

    #[test]
    fn a_server_that_goes_on_is_not_told_as_stopped() {
        check(&[], ["until stopped, blocks included:", "after stop,"]);
        check(&["--url", "http://127.0.0.1:1"], ["until the last answer:", "while running,"]);
    }
}
