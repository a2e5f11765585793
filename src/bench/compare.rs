//! `bench compare`: MetricKit, VictoriaMetrics and Prometheus side by side, one after the other on the same bodies.
//!
//! The first server writes as long as it is asked to; the others get as many rounds as it took. Then each is stopped,
//! started, written to again, killed at once, started, and asked for what it had acknowledged; again the others get as
//! much as the first took.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use model::time::{Clock, SystemClock};
use serde::Serialize;

use super::compare_table::show;
use super::fleet::{FIRST_SERIES, Fleet, SERIES_PER_CLUSTER};
use super::ingest::{INTERVAL_MS, START_AGO_MS, Sent, progress, send};
use super::kill_load::{Loss, When, count, has_value, write_and_kill};
use super::machine::Machine;
use super::own::{OwnArgs, SeedArgs, print};
use super::servers::{Kind, Options};
use super::subject::Subject;
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::{PLAIN, SECONDS};

/// Rounds are made in phases, and each phase is sent in about this time.
const PHASE: Duration = Duration::from_millis(500);
/// Most samples of a phase, at least a round: little memory.
const SAMPLES_PER_PHASE: usize = 1_000_000;
/// Rounds of the first phase.
const FIRST_ROUNDS: u64 = 8;
/// How many times longer than the first another server may write before it is cut short.
const SLOWER_MAX: u32 = 4;
/// The newest sample stays this far in the past: servers hide or refuse what is too new.
const END_AGO_MS: i64 = 3_600_000;
/// Seconds that a server's restarts and questions take, for the forecast.
const AROUND_SECONDS: u32 = 10;

/// Arguments of `bench compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Active series; a run for each number
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10000,100000",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: Vec<u32>,
    /// How long the first server writes; the others get the same bodies
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// How long the first server is written to before `kill -9`; the others get as much
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=60))]
    kill_after_seconds: u32,
    /// Servers, in this order; those that are not installed are left out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "metrickit,victoriametrics,prometheus")]
    servers: Vec<Kind>,
    /// Connections that write at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// A server that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) version: String,
}

/// All figures.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    pub(super) servers: Vec<Measured>,
    pub(super) seed: u64,
    pub(super) connections: u32,
    pub(super) samples_per_request: usize,
    pub(super) label_bytes_average: usize,
    pub(super) runs: Vec<Run>,
}

/// The figures of all servers with one number of series.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) series: u32,
    /// Samples of each series.
    pub(super) rounds: u64,
    pub(super) servers: Vec<ServerFigures>,
}

/// The figures of one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ServerFigures {
    pub(super) samples: u64,
    /// It was so much slower than the first that it did not get all.
    pub(super) cut_short: bool,
    pub(super) samples_per_second: f64,
    /// User and system time from its start to its end after a clean stop.
    pub(super) cpu_seconds: f64,
    pub(super) samples_per_cpu_second: f64,
    pub(super) request_p50_ms: f64,
    pub(super) request_p99_ms: f64,
    pub(super) busy_answers: u64,
    /// When the last request was answered.
    pub(super) resident_bytes: u64,
    pub(super) resident_peak_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) disk_bytes_per_sample: f64,
    /// From the start of the process until it is ready and answers right, after a clean stop.
    pub(super) restart_ms: f64,
    /// The same after `kill -9` under load.
    pub(super) restart_after_kill_ms: f64,
    /// Of what was written before `kill -9`.
    pub(super) killed: Loss,
}

/// Which of `wanted` are there, each once; tells about the others.
pub(super) fn available(wanted: &[Kind], output: &mut Output) -> anyhow::Result<Vec<Kind>> {
    let mut there = Vec::new();
    for &kind in wanted {
        match kind.program() {
            Ok(_) if there.contains(&kind) => {}
            Ok(_) => there.push(kind),
            Err(reason) => output.note(&format!("{kind} is left out: {reason}"))?,
        }
    }
    ensure!(!there.is_empty(), "none of these servers is installed");
    Ok(there)
}

/// Names and versions of `kinds`.
pub(super) fn named(kinds: &[Kind]) -> Vec<Measured> {
    kinds.iter().map(|kind| Measured { name: kind.to_string(), version: kind.version() }).collect()
}

/// Measures and prints.
pub(super) fn run(args: &CompareArgs, output: &mut Output) -> anyhow::Result<()> {
    let kinds = available(&args.servers, output)?;
    output.note(&format!("takes about {}", short(forecast_seconds(args, kinds.len()), SECONDS)))?;
    let total = kinds.len() * args.series.len();
    let bar = progress(total as u64, "{spinner} {pos}/{len} {msg}")?;
    let mut runs = Vec::new();
    let mut label_bytes_average = 0;
    for &series in &args.series {
        label_bytes_average = Fleet::new(series as usize, args.seed.seed).label_bytes_average();
        let (mut rounds, mut killed_after) = (None, None);
        let mut servers = Vec::new();
        for &kind in &kinds {
            let work = Work { args, kind, series, rounds, killed_after, bar: &bar };
            let (figures, written) = work.measure().with_context(|| format!("{kind} with {series} series"))?;
            rounds.get_or_insert(written);
            killed_after.get_or_insert(figures.killed.acknowledged);
            servers.push(figures);
            bar.inc(1);
        }
        runs.push(Run { series, rounds: rounds.unwrap_or(0), servers });
    }
    bar.finish_and_clear();
    let figures = Figures {
        machine: Machine::this(),
        servers: named(&kinds),
        seed: args.seed.seed,
        connections: args.connections,
        samples_per_request: SERIES_PER_CLUSTER,
        label_bytes_average,
        runs,
    };
    print(output, args.own.json, &figures, show)
}

/// Making the bodies takes about as long as sending them.
fn forecast_seconds(args: &CompareArgs, servers: usize) -> f64 {
    let each = args.seconds * 2 + args.kill_after_seconds * 3 + AROUND_SECONDS;
    f64::from(each) * (servers * args.series.len()) as f64
}

/// One server with one number of series.
struct Work<'a> {
    args: &'a CompareArgs,
    kind: Kind,
    series: u32,
    /// How many rounds to write; without, as many as fit the time.
    rounds: Option<u64>,
    /// After how many samples to kill it; without, after the time asked for.
    killed_after: Option<u64>,
    bar: &'a ProgressBar,
}

/// What was written before the first stop.
#[derive(Debug, Default)]
struct Written {
    sent: Sent,
    timed: Duration,
    rounds: u64,
    /// Of the newest round.
    last_ms: i64,
    cut_short: bool,
}

impl Written {
    /// As many as take [`PHASE`], by how long those before took; a few at first.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of rounds, bounded")]
    fn rounds_of_next_phase(&self, series: usize) -> u64 {
        let most = (SAMPLES_PER_PHASE / series.max(1)).max(1) as u64;
        if self.rounds == 0 {
            return FIRST_ROUNDS.min(most);
        }
        let rate = self.rounds as f64 / self.timed.as_secs_f64().max(1e-3);
        ((rate * PHASE.as_secs_f64()) as u64).clamp(1, most)
    }
}

impl Work<'_> {
    fn say(&self, doing: &str) {
        self.bar.set_message(format!("{} with {} series: {doing}", self.kind, short(self.series.into(), PLAIN)));
    }

    /// The figures, and how many rounds were written.
    fn measure(&self) -> anyhow::Result<(ServerFigures, u64)> {
        self.say("starting");
        let mut subject = Subject::start(self.kind, Options::default(), self.args.own.data.as_deref())?;
        let mut fleet = Fleet::new(self.series as usize, self.args.seed.seed);
        let mut written = self.write(&subject, &mut fleet)?;
        let running = subject.usage().context("the server's process can be read")?;
        self.say("stopping");
        let stopped = subject.stop()?.context("the server's process can be read")?;
        let disk_bytes = subject.disk_bytes().context("the server's folder is known")?;

        let (value, last_ms) = (fleet.first_value(), written.last_ms);
        let is_there = move |client: &_| has_value(client, FIRST_SERIES, value, last_ms);
        let restart = subject.start_again_until(is_there)?;
        self.say("writing until it is killed");
        let rate = written.sent.samples as f64 / written.timed.as_secs_f64();
        let ledger = write_and_kill(
            &mut subject,
            &mut fleet,
            last_ms + INTERVAL_MS,
            self.args.connections as usize,
            self.when_killed(rate),
        )?;
        self.say("counting what is left");
        let restart_after_kill = subject.start_again_until(is_there)?;
        let killed = count(&subject.client, &ledger)?;

        let [request_p50_ms, request_p99_ms, _] = written.sent.latencies.quantiles_ms();
        let samples = written.sent.samples as f64;
        let ms = |took: Duration| took.as_secs_f64() * 1000.0;
        let figures = ServerFigures {
            samples: written.sent.samples,
            cut_short: written.cut_short,
            samples_per_second: rate,
            cpu_seconds: stopped.cpu_seconds,
            samples_per_cpu_second: samples / stopped.cpu_seconds.max(0.01),
            request_p50_ms,
            request_p99_ms,
            busy_answers: written.sent.busy,
            resident_bytes: running.resident_bytes,
            resident_peak_bytes: stopped.resident_peak_bytes.max(running.resident_peak_bytes),
            disk_bytes,
            disk_bytes_per_sample: disk_bytes as f64 / samples,
            restart_ms: ms(restart),
            restart_after_kill_ms: ms(restart_after_kill),
            killed,
        };
        Ok((figures, written.rounds))
    }

    fn when_killed(&self, rate: f64) -> When {
        let time = Duration::from_secs(self.args.kill_after_seconds.into());
        let time = if self.killed_after.is_some() { time * SLOWER_MAX } else { time };
        When { samples: self.killed_after, time, rate }
    }

    fn write(&self, subject: &Subject, fleet: &mut Fleet) -> anyhow::Result<Written> {
        let now_ms = SystemClock.now().0;
        let first_ms = (now_ms - START_AGO_MS) / INTERVAL_MS * INTERVAL_MS;
        let wanted = Duration::from_secs(self.args.seconds.into());
        let longest = if self.rounds.is_some() { wanted * SLOWER_MAX } else { wanted };
        let rounds_max = self.rounds.unwrap_or_else(|| ((now_ms - END_AGO_MS - first_ms) / INTERVAL_MS).unsigned_abs());
        let mut written = Written::default();
        while written.rounds < rounds_max && written.timed < longest {
            let mut bodies = Vec::new();
            for _ in 0..written.rounds_of_next_phase(fleet.len()).min(rounds_max - written.rounds) {
                written.last_ms = first_ms + i64::try_from(written.rounds)? * INTERVAL_MS;
                written.rounds += 1;
                bodies.push(fleet.round(written.last_ms, SERIES_PER_CLUSTER));
            }
            let start = Instant::now();
            written.sent.add(send(subject, bodies, self.args.connections as usize, None)?);
            written.timed += start.elapsed();
            let samples = short(written.sent.samples as f64, PLAIN);
            self.say(&format!("{samples} samples written in {:.0} s", written.timed.as_secs_f64()));
        }
        written.cut_short = self.rounds.is_some() && written.rounds < rounds_max;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_take_half_a_second_each() {
        let after = |rounds, timed_ms, series| {
            let written = Written { rounds, timed: Duration::from_millis(timed_ms), ..Written::default() };
            written.rounds_of_next_phase(series)
        };
        assert_eq!(after(0, 0, 10_000), 8);
        assert_eq!(after(0, 0, 1_000_000), 1);
        assert_eq!(after(8, 100, 40), 40, "80 rounds a second");
        assert_eq!(after(100, 10, 10_000), 100, "not more than a million samples");
        assert_eq!(after(1, 60_000, 1_000_000), 1, "at least one");
    }
}
