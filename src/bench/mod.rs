//! The load generator: first figures on any machine with one command.
//!
//! `compare` measures several servers side by side, `ingest` writes as fast as one takes it, `query` asks a fixed list
//! over generated data. Bodies come from `fleet`, a server under load is a process of its own (`subject`, `servers`),
//! so that its processor time is its own, and `guard` sees to it that none outlives the benchmark.

#![expect(clippy::cast_precision_loss, reason = "figures are shown in a few digits")]

mod agree;
mod alerts;
mod compare;
mod compare_table;
mod disk;
mod fleet;
mod growth;
mod growth_table;
mod guard;
mod ingest;
mod kill_load;
mod machine;
mod own;
mod paced;
mod process;
mod queries;
mod query;
mod query_table;
mod record;
mod recording;
mod restart;
mod servers;
mod stall;
mod subject;

use clap::{Args, Subcommand};

use crate::output::Output;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// What many rules over many series cost, and how soon after a sample a webhook is told
    #[command(after_help = ALERTS_HELP)]
    Alerts(alerts::AlertsArgs),
    /// MetricKit, VictoriaMetrics and Prometheus side by side on the same data, in one table
    #[command(after_help = COMPARE_HELP)]
    Compare(compare::CompareArgs),
    /// What a recording of real metrics takes on disk, server by server, and whether their answers are equal
    #[command(after_help = DISK_HELP)]
    Disk(disk::DiskArgs),
    /// How costs grow with series and with days: bytes, memory, processor time, queries, per unit
    #[command(after_help = GROWTH_HELP)]
    Growth(growth::GrowthArgs),
    /// Keep the pages that real targets expose, for bench disk
    #[command(after_help = RECORD_HELP)]
    Record(record::RecordArgs),
    /// Starts after kill -9 with as much log as there may be: until blocks are answered, until everything is
    #[command(after_help = RESTART_HELP)]
    Restart(restart::RestartArgs),
    /// Whether a Go program stalls longer while it is read in its memory every second
    #[command(after_help = STALL_HELP)]
    Stall(stall::StallArgs),
    /// The process of bench stall that reads
    #[command(hide = true)]
    StallReader(stall::StallReaderArgs),
    /// Remote write as fast as it is taken: samples per second and per processor second, latency, disk, memory
    Ingest(IngestArgs),
    /// A fixed list of queries over generated data: latency of each
    Query(QueryArgs),
}

const ALERTS_HELP: &str = "\
Examples:
  metrickit bench alerts
  metrickit bench alerts --series 10000 --rules 1000 --interval 5 --intervals 24 --json";

const COMPARE_HELP: &str = "\
Each server runs alone, on a temporary folder, with its own defaults. METRICKIT_BENCH_VICTORIAMETRICS and
METRICKIT_BENCH_PROMETHEUS name other programs than the installed victoria-metrics and prometheus.

Examples:
  metrickit bench compare
  metrickit bench compare --series 100000 --seconds 60 --servers metrickit,victoriametrics
  metrickit bench compare --json > compare.json";

const DISK_HELP: &str = "\
Every page is written at the time it was recorded, with the labels job and instance. MetricKit and VictoriaMetrics then
merge what they have; Prometheus cuts blocks by time alone, so its head and log are measured as they are.

Example:
  metrickit bench disk --recording ./recording --servers metrickit,victoriametrics";

const GROWTH_HELP: &str = "\
Examples:
  metrickit bench growth
  metrickit bench growth --days 1,7,30,365 --days-series 100
  metrickit bench growth --series 10000,100000 --servers metrickit,victoriametrics --json";

const RECORD_HELP: &str = "\
Example:
  metrickit bench record --target api=http://127.0.0.1:8080/metrics --target db=http://127.0.0.1:9187/metrics \\
    --every 2s --for 25m --out ./recording";

const RESTART_HELP: &str = "\
Examples:
  metrickit bench restart
  metrickit bench restart --series 100000 --memory-max 102MiB --json";

const STALL_HELP: &str = "\
Needs Go, and the right to read the memory of a program of one's own (CAP_SYS_PTRACE, or ptrace_scope 0).

Examples:
  metrickit bench stall
  metrickit bench stall --goroutines 100000 --heap-mib 1000 --rounds 60 --json";

/// What both benchmarks take.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Measure this server, which runs already, instead of starting one on a temporary folder
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Process of the server at --url, for its processor time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) pid: Option<u32>,
    /// Folder for the data: of the server at --url, to measure it; else where to put the temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<std::path::PathBuf>,
    /// Durability of the server that is started: sync, interval or off
    #[arg(long, value_name = "MODE", default_value = "sync", conflicts_with = "url")]
    pub(crate) durability: String,
    /// Values are the same for the same seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `bench ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Active series
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) series: u32,
    /// Samples in one request, each of another series, as real senders do
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) samples_per_request: u32,
    /// Connections that write at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) connections: u32,
    /// How long to write; making the bodies is not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Write a sample of each series every so many seconds, as agents do, instead of as fast as they are taken
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) every: Option<u32>,
    /// What both benchmarks take
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Arguments of `bench query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Active series
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) series: u32,
    /// Seconds between two samples of a series
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) interval_seconds: u32,
    /// A server that runs already, to be loaded with the same data and asked the same, such as
    /// prometheus=http://127.0.0.1:9090 or, with its process for its processor time, prometheus=http://127.0.0.1:9090,1234
    #[arg(long, value_name = "NAME=URL[,PID]", value_parser = Beside::parse)]
    pub(crate) beside: Vec<Beside>,
    /// Other servers to start, load with the same data and ask the same: victoriametrics, prometheus
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) servers: Vec<servers::Kind>,
    /// Ask only queries whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// The servers hold the data of an earlier run that ended at --end-ms
    #[arg(long, requires = "url", requires = "end_ms")]
    pub(crate) loaded: bool,
    /// Newest sample, in milliseconds since the Unix epoch, instead of now
    #[arg(long, value_name = "MS")]
    pub(crate) end_ms: Option<i64>,
    /// Hours of data
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) hours: u32,
    /// How often each query is asked
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) repeat: u32,
    /// What both benchmarks take
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// A server measured beside ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pid: Option<u32>,
}

impl Beside {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("expected NAME=URL")?;
        let (url, pid) = match address.rsplit_once(',') {
            Some((url, pid)) => (url, Some(pid.parse().map_err(|_| format!("{pid:?} is no process id"))?)),
            None => (address, None),
        };
        Ok(Self { name: name.to_owned(), url: url.to_owned(), pid })
    }
}

/// Runs one benchmark and prints its figures.
pub(crate) fn run(command: &BenchCommand, output: &mut Output) -> anyhow::Result<()> {
    if !matches!(command, BenchCommand::Record(_)) {
        guard::clean_up_on_signals()?;
    }
    match command {
        BenchCommand::Alerts(args) => alerts::run(args, output),
        BenchCommand::Compare(args) => compare::run(args, output),
        BenchCommand::Disk(args) => disk::run(args, output),
        BenchCommand::Growth(args) => growth::run(args, output),
        BenchCommand::Record(args) => record::run(args, output),
        BenchCommand::Restart(args) => restart::run(args, output),
        BenchCommand::Stall(args) => stall::run(args, output),
        BenchCommand::StallReader(args) => stall::read(args, output),
        BenchCommand::Ingest(args) => ingest::run(args, output),
        BenchCommand::Query(args) => query::run(args, output),
    }
}

/// Latencies in microseconds, shown as a few quantiles.
#[derive(Debug, Default)]
struct Latencies(Vec<u64>);

impl Latencies {
    fn push(&mut self, took: std::time::Duration) {
        self.0.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The smallest in milliseconds; zero without any latency.
    fn smallest_ms(&self) -> f64 {
        self.0.iter().min().copied().unwrap_or(0) as f64 / 1000.0
    }

    /// The quantiles 0.5, 0.99 and 1 in milliseconds, by nearest rank; zero without any latency.
    fn quantiles_ms(&mut self) -> [f64; 3] {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = |percent: usize| (self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        let ms = |at: usize| self.0.get(at).copied().unwrap_or(0) as f64 / 1000.0;
        [ms(at(50)), ms(at(99)), ms(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let shown = |micros: Vec<u64>| Latencies(micros).quantiles_ms().map(|ms| ms.to_string());
        assert_eq!(shown(vec![]), ["0", "0", "0"]);
        assert_eq!(shown(vec![3000, 1500, 2000]), ["2", "3", "3"]);
        assert_eq!(shown((1..=1000).rev().map(|at| at * 1000).collect()), ["500", "990", "1000"]);
    }

    #[test]
    fn servers_beside_ours() {
        let beside = |name: &str, url: &str, pid| Ok(Beside { name: name.to_owned(), url: url.to_owned(), pid });
        assert_eq!(Beside::parse("vm=http://a:1"), beside("vm", "http://a:1", None));
        assert_eq!(Beside::parse("vm=http://a:1,77"), beside("vm", "http://a:1", Some(77)));
        assert!(Beside::parse("http://a:1").is_err());
        assert!(Beside::parse("vm=http://a:1,x").is_err());
    }
}
