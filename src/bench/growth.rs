//! `bench growth`: what ten or a hundred times the series, or a month instead of a day, costs a unit.
//!
//! Each step is a server of its own on a temporary folder: it is written to, stopped, started and asked a fixed list of
//! queries. Steps of series have as many samples a series each; steps of days have the same series and interval.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use model::time::{Clock, ShowDuration, SystemClock};
use serde::Serialize;

use super::Latencies;
use super::compare::{available, named};
use super::fleet::{FIRST_SERIES, Fleet, SERIES_PER_CLUSTER};
use super::growth_table::show;
use super::ingest::{INTERVAL_MS, progress, send};
use super::kill_load::has_value;
use super::machine::Machine;
use super::own::{OwnArgs, SeedArgs, print};
use super::servers::{Kind, Options};
use super::subject::Subject;
use crate::client::Client;
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::SECONDS;
use crate::when::api_seconds;

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// The newest sample stays this far in the past: servers hide or refuse what is too new.
const END_AGO_MS: i64 = 3_600_000;
/// Samples made before they are sent, at least a round.
const SAMPLES_PER_PHASE: usize = 1_000_000;
/// Connections that write at the same time.
const CONNECTIONS: usize = 2;
/// Intervals between two samples of a series that are chosen from, in seconds.
const INTERVALS_SECONDS: [u32; 9] = [15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
/// Steps of a query over all of the time.
const STEPS: i64 = 300;
/// Samples a second that are made and written, and seconds around each step, for the forecast.
const FORECAST: (f64, f64) = (250_000.0, 10.0);

/// Arguments of `bench growth`.
#[derive(Debug, Args)]
pub(crate) struct GrowthArgs {
    /// Steps of series, 40 at least, which is one process [default: 10000,100000,1000000, unless --days is given]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(40..=10_000_000))]
    series: Vec<u32>,
    /// Steps of days [default: 1,7,30, unless --series is given]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Vec<u32>,
    /// Samples of each series in steps of series, 15 seconds apart
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples_per_series: u32,
    /// Series in steps of days
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(40..=1_000_000))]
    days_series: u32,
    /// Most samples of a step of days; chooses the interval, one for all steps
    #[arg(long, value_name = "N", default_value_t = 25_000_000)]
    days_samples_max: u64,
    /// How often each query is asked
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Servers, in this order; those that are not installed are left out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "metrickit")]
    servers: Vec<Kind>,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    Series,
    Days,
}

/// All figures.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    pub(super) seed: u64,
    pub(super) growths: Vec<Growth>,
}

/// The figures of one server as one thing grows.
#[derive(Debug, Serialize)]
pub(super) struct Growth {
    pub(super) server: String,
    pub(super) version: String,
    pub(super) by: By,
    pub(super) interval_ms: i64,
    pub(super) steps: Vec<StepFigures>,
}

/// The figures of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StepFigures {
    /// Series, or days.
    pub(super) size: u32,
    pub(super) series: u32,
    pub(super) samples: u64,
    /// All files after a clean stop.
    pub(super) disk_bytes_per_sample: f64,
    /// When the last request was answered.
    pub(super) resident_bytes: u64,
    pub(super) resident_bytes_per_series: f64,
    /// User and system time from start to end after a clean stop.
    pub(super) cpu_ns_per_sample: f64,
    /// From the start of the process until it is ready and answers right, after a clean stop.
    pub(super) restart_ms: f64,
    /// What it has in memory once it answered all queries after a restart.
    pub(super) resident_after_restart_bytes: u64,
    pub(super) queries: Vec<QueryFigures>,
}

/// The figures of one query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct QueryFigures {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) p50_ms: f64,
    /// Processor time of the server an answer.
    pub(super) cpu_ms: f64,
}

/// What is written in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    by: By,
    size: u32,
    series: u32,
    interval_ms: i64,
    rounds: i64,
}

impl Step {
    fn samples(self) -> u64 {
        u64::from(self.series) * self.rounds.unsigned_abs()
    }
}

/// The steps that are asked for.
fn steps(args: &GrowthArgs) -> anyhow::Result<Vec<Step>> {
    let neither = args.series.is_empty() && args.days.is_empty();
    let or = |given: &[u32], default: [u32; 3]| if neither { default.to_vec() } else { given.to_vec() };
    let (by_series, by_days) = (or(&args.series, [10_000, 100_000, 1_000_000]), or(&args.days, [1, 7, 30]));
    let rounds = i64::from(args.samples_per_series);
    let of_series = |size| Step { by: By::Series, size, series: size, interval_ms: INTERVAL_MS, rounds };
    let mut steps: Vec<Step> = by_series.into_iter().map(of_series).collect();
    if let Some(&longest) = by_days.iter().max() {
        let samples = |seconds: &u32| {
            u64::from(longest) * DAY_MS.unsigned_abs() / 1000 / u64::from(*seconds) * u64::from(args.days_series)
        };
        let seconds = INTERVALS_SECONDS.into_iter().find(|seconds| samples(seconds) <= args.days_samples_max);
        let seconds = seconds.context("--days-samples-max is too small for these days and series")?;
        let interval_ms = i64::from(seconds) * 1000;
        let of_days = |size: u32| Step {
            by: By::Days,
            size,
            series: args.days_series,
            interval_ms,
            rounds: i64::from(size) * DAY_MS / interval_ms,
        };
        steps.extend(by_days.into_iter().map(of_days));
    }
    Ok(steps)
}

/// Measures and prints.
pub(super) fn run(args: &GrowthArgs, output: &mut Output) -> anyhow::Result<()> {
    let kinds = available(&args.servers, output)?;
    let steps = steps(args)?;
    let samples: u64 = steps.iter().map(|step| step.samples()).sum();
    let each = samples as f64 / FORECAST.0 + steps.len() as f64 * FORECAST.1;
    output.note(&format!("takes about {}", short(each * kinds.len() as f64, SECONDS)))?;
    if let Some(step) = steps.iter().find(|step| step.by == By::Days) {
        let (interval, series) = (ShowDuration(step.interval_ms), step.series);
        output.note(&format!("days are of {series} series with a sample every {interval}"))?;
    }
    let bar = progress(samples * kinds.len() as u64, "{spinner} {bar:40} {eta} left, {msg}")?;
    let mut growths = Vec::new();
    for (&kind, server) in kinds.iter().zip(named(&kinds)) {
        for by in [By::Series, By::Days] {
            let of_this: Vec<Step> = steps.iter().copied().filter(|step| step.by == by).collect();
            let Some(first) = of_this.first() else { continue };
            let interval_ms = first.interval_ms;
            let measured = of_this.iter().map(|&step| {
                bar.set_message(format!("{kind} with {} {}", step.size, unit(by)));
                Run { kind, step, args, bar: &bar }
                    .measure()
                    .with_context(|| format!("{kind} with {} {}", step.size, unit(by)))
            });
            let steps = measured.collect::<anyhow::Result<Vec<_>>>()?;
            let (server, version) = (server.name.clone(), server.version.clone());
            growths.push(Growth { server, version, by, interval_ms, steps });
        }
    }
    bar.finish_and_clear();
    let figures = Figures { machine: Machine::this(), seed: args.seed.seed, growths };
    print(output, args.own.json, &figures, show)
}

/// What the size of a step counts.
pub(super) fn unit(by: By) -> &'static str {
    match by {
        By::Series => "series",
        By::Days => "days",
    }
}

/// One server at one step.
struct Run<'a> {
    kind: Kind,
    step: Step,
    args: &'a GrowthArgs,
    bar: &'a ProgressBar,
}

impl Run<'_> {
    fn measure(&self) -> anyhow::Result<StepFigures> {
        let step = self.step;
        let options = Options { large_queries: true, ..Options::default() };
        let parent: Option<&Path> = self.args.own.data.as_deref();
        let mut subject = Subject::start(self.kind, options, parent)?;
        let mut fleet = Fleet::new(step.series as usize, self.args.seed.seed);
        let end_ms = (SystemClock.now().0 - END_AGO_MS) / step.interval_ms * step.interval_ms;
        let samples = self.write(&subject, &mut fleet, end_ms)?;
        let running = subject.usage().context("the server's process can be read")?;
        let stopped = subject.stop()?.context("the server's process can be read")?;
        let disk_bytes = subject.disk_bytes().context("the server's folder is known")?;
        let value = fleet.first_value();
        // The fleet of a large step takes more memory than the server.
        drop(fleet);
        let restart = subject.start_again_until(|client| has_value(client, FIRST_SERIES, value, end_ms))?;
        let mut queries = Vec::new();
        for query in questions(step, end_ms) {
            queries.push(self.ask(&subject, query)?);
        }
        let after = subject.usage().context("the server's process can be read")?;
        Ok(StepFigures {
            size: step.size,
            series: step.series,
            samples,
            disk_bytes_per_sample: disk_bytes as f64 / samples as f64,
            resident_bytes: running.resident_bytes,
            resident_bytes_per_series: running.resident_bytes as f64 / f64::from(step.series),
            cpu_ns_per_sample: stopped.cpu_seconds * 1e9 / samples as f64,
            restart_ms: restart.as_secs_f64() * 1000.0,
            resident_after_restart_bytes: after.resident_bytes,
            queries,
        })
    }

    /// Writes all rounds, the newest at `end_ms`; returns how many samples.
    fn write(&self, subject: &Subject, fleet: &mut Fleet, end_ms: i64) -> anyhow::Result<u64> {
        let times: Vec<i64> = (0..self.step.rounds).rev().map(|back| end_ms - back * self.step.interval_ms).collect();
        let mut samples = 0;
        for phase in times.chunks((SAMPLES_PER_PHASE / fleet.len().max(1)).max(1)) {
            let bodies = phase.iter().map(|&time_ms| fleet.round(time_ms, SERIES_PER_CLUSTER)).collect();
            let sent = send(subject, bodies, CONNECTIONS, None)?.samples;
            samples += sent;
            self.bar.inc(sent);
        }
        ensure!(samples == self.step.samples(), "{samples} samples were written of {}", self.step.samples());
        Ok(samples)
    }

    fn ask(&self, subject: &Subject, question: Question) -> anyhow::Result<QueryFigures> {
        let mut latencies = Latencies::default();
        let ask = || ask(&subject.client, &question).with_context(|| question.text.clone());
        // The first answer warms caches and is not counted.
        ensure!(ask()? > 0, "{} has no answer", question.text);
        let cpu_seconds = || subject.usage().map_or(0.0, |usage| usage.cpu_seconds);
        let before = cpu_seconds();
        for _ in 0..self.args.repeat {
            let start = Instant::now();
            ask()?;
            latencies.push(start.elapsed());
        }
        let cpu_ms = (cpu_seconds() - before) * 1000.0 / f64::from(self.args.repeat);
        let [p50_ms, _, _] = latencies.quantiles_ms();
        Ok(QueryFigures { name: question.name, text: question.text, p50_ms, cpu_ms })
    }
}

/// A query of the fixed list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    name: &'static str,
    text: String,
    /// Start, end and step; start and end are the same for an instant query.
    times: [i64; 3],
}

/// The fixed list. Windows hold some samples whatever the interval is, and end between two samples.
fn questions(step: Step, end_ms: i64) -> Vec<Question> {
    let end_ms = end_ms + step.interval_ms / 2;
    let window = ShowDuration(300_000.max(4 * step.interval_ms));
    let span_ms = step.rounds * step.interval_ms;
    let all_step_ms = (span_ms / STEPS / 1000 * 1000).max(15_000);
    let wide = ShowDuration(all_step_ms.max(4 * step.interval_ms));
    let instant = [end_ms, end_ms, 0];
    let hour = [end_ms - 3_600_000.min(span_ms), end_ms, 60_000];
    let all = [end_ms - span_ms + all_step_ms, end_ms, all_step_ms];
    let of = |name, text: String, times| Question { name, text, times };
    vec![
        of("newest of one series", format!("last_over_time({FIRST_SERIES}[{window}])"), instant),
        of(
            "count of all series",
            format!("count by (__name__) (last_over_time({{__name__!=\"\"}}[{window}]))"),
            instant,
        ),
        of("rate by job, last hour", format!("sum by (job) (rate(process_cpu_seconds_total[{window}]))"), hour),
        of("one series, whole time", format!("max_over_time({FIRST_SERIES}[{wide}])"), all),
        of("rate by job, whole time", format!("sum by (job) (rate(process_cpu_seconds_total[{wide}]))"), all),
    ]
}

/// Asks once; how many series the answer has.
fn ask(client: &Client, question: &Question) -> anyhow::Result<usize> {
    let [start_ms, end_ms, step_ms] = question.times;
    let (start, end, step) = (api_seconds(start_ms), api_seconds(end_ms), api_seconds(step_ms));
    let (path, times) = if start_ms == end_ms {
        ("/api/v1/query", vec![("time", end.as_str())])
    } else {
        ("/api/v1/query_range", vec![("start", start.as_str()), ("end", end.as_str()), ("step", step.as_str())])
    };
    let pairs: Vec<(&str, &str)> =
        [("query", question.text.as_str()), ("nocache", "1")].into_iter().chain(times).collect();
    let client = client.with_timeout(Duration::from_mins(2));
    let data = client.get(path, &pairs)?;
    Ok(data["result"].as_array().map_or(0, Vec::len))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::BenchCommand;
    use crate::cli::{Cli, Command};

    #[track_caller]
    fn check(flags: &[&str], want: &[(u32, u32, i64, i64)]) {
        let line = ["metrickit", "bench", "growth"].iter().chain(flags);
        let Command::Bench(BenchCommand::Growth(args)) = Cli::parse_from(line).command else {
            panic!("these flags are of bench growth");
        };
        let steps = steps(&args).expect("steps");
        let got: Vec<_> = steps.iter().map(|s| (s.size, s.series, s.interval_ms / 1000, s.rounds)).collect();
        assert_eq!(got, want, "{flags:?}");
    }

    #[test]
    fn steps_are_those_asked_for() {
        check(&["--series", "40,80"], &[(40, 40, 15, 20), (80, 80, 15, 20)]);
        // One interval for all, so short that the longest has as many samples as allowed.
        let days = ["--days", "1,7", "--days-series", "100", "--days-samples-max", "2100000"];
        check(&days, &[(1, 100, 30, 2880), (7, 100, 30, 7 * 2880)]);
        let default = [(10_000, 10_000, 15, 20), (100_000, 100_000, 15, 20), (1_000_000, 1_000_000, 15, 20)];
        let default_days = [(1, 1000, 120, 720), (7, 1000, 120, 7 * 720), (30, 1000, 120, 30 * 720)];
        check(&[], &[default, default_days].concat());
    }

    #[test]
    fn questions_parse() {
        for (interval_ms, rounds) in [(15_000, 20), (300_000, 8640), (7_200_000, 12)] {
            let step = Step { by: By::Days, size: 1, series: 1, interval_ms, rounds };
            for question in questions(step, 1_000_000_000) {
                assert!(query::parse(&question.text).is_ok(), "{}", question.text);
                assert!(question.times[0] <= question.times[1], "{question:?}");
            }
        }
    }
}
