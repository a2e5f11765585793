//! The words of `go`.

use clap::{Args, Subcommand};

use super::{ProfileArgs, ServerArgs, TargetArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit go ps                                        every Go process of the fleet
  metrickit go leaks                                     where goroutines leak, and by what evidence
  metrickit go inspect api                               one process of this host, now, without a server
  metrickit go inspect 4711 --for 10s --json | jq .goroutines.sites
  metrickit go diff v1.4.2 v1.5.0                        releases compared
  metrickit go leaks --min-grade 0 --job api
  metrickit go burst web1/0 --for 1m --every 100ms       its numbers ten times a second, for a minute
  metrickit go profile web1/0 --kind heap                a file that `go tool pprof` opens
  metrickit go leaks --json | jq '.leaks[] | .file + \":\" + .line'";

const INSPECT_EXAMPLES: &str = "\
Examples:
  metrickit go inspect 4711
  metrickit go inspect api                              by the name of its executable
  metrickit go inspect api --for 30s --sites 50
  sudo metrickit go inspect api                         a process of another user
  metrickit go inspect api --json | jq '.goroutines.sites[] | select(.count > 100)'

The process is read twice through /proc/PID/mem, --for apart; it is not stopped, attached to or changed. That takes its user, or CAP_SYS_PTRACE.
Exit status: 0 read, 1 no such process, or its memory could not be read, 2 wrong use. docs/go-commands.md tells the fields of --json.";

const DIFF_EXAMPLES: &str = "\
Examples:
  metrickit go diff v1.4.2 v1.5.0
  metrickit go diff 8c5f01 a93be2 --job api                             revisions, by their beginnings
  metrickit go diff v1.4.2 v1.5.0 --range 6h
  metrickit go diff v1.4.2 v1.5.0 --requests orders_handled_total       the counter that tells how much there was to do
  metrickit go diff v1.4.2 v1.5.0 --json | jq '.metrics[] | select(.change.beyondNoise) | .name'

Each release is compared by the last --range in which it ran, today or weeks ago. docs/go-commands.md tells what counts as noise.";

/// What is told of Go processes.
#[derive(Debug, Subcommand)]
pub(crate) enum GoCommand {
    /// Compare two releases of a program by what their processes show
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Read one Go process of this host from outside, now, without a server: build, goroutines, collector, heap, scheduler
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Tell where goroutines leak, how sure that is, and since when
    #[command(after_help = EXAMPLES)]
    Leaks(LeaksArgs),
    /// Read a Go process up to ten times a second for a while
    #[command(after_help = EXAMPLES)]
    Burst(BurstArgs),
    /// List the Go processes of all hosts
    #[command(after_help = EXAMPLES)]
    Ps(PsArgs),
    /// Have an agent take a profile of a Go process, wait for it, and fetch it
    #[command(after_help = EXAMPLES)]
    Profile(ProfileArgs),
}

/// Arguments of `go inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Process id, or name of the executable, or a part of it
    #[arg(value_name = "PID|NAME")]
    pub(crate) process: String,
    /// Time between the two readings, of which rates are made
    #[arg(long = "for", value_name = "DURATION", default_value = "2s")]
    pub(crate) span: String,
    /// Most goroutine sites told
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    pub(crate) sites: usize,
    /// Print what was read as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `go diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The older release: its version, or the beginning of its revision
    #[arg(value_name = "REV_A")]
    pub(crate) rev_a: String,
    /// The newer one
    #[arg(value_name = "REV_B")]
    pub(crate) rev_b: String,
    /// Only processes of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Only processes whose executable is called so
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How much of each release is compared, up to when it last ran
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) range: String,
    /// How far back releases are looked for
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    pub(crate) history: String,
    /// Counter of requests, to compare what one request takes [default: the first of some usual names that is there]
    #[arg(long, value_name = "METRIC")]
    pub(crate) requests: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print the comparison as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `go leaks`.
#[derive(Debug, Args)]
pub(crate) struct LeaksArgs {
    /// Lowest grade told: 0 hint, 1 suspect, 2 probable, 3 strong, 4 proved
    #[arg(long, value_name = "GRADE", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub(crate) min_grade: u8,
    /// Only processes of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Only this process
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) instance: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `go ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only processes of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Arguments of `go burst`.
#[derive(Debug, Args)]
pub(crate) struct BurstArgs {
    /// The process, as in label `instance`: HOST/SLOT
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// Its job, where several processes have this instance
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// For how long, five minutes at most
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    pub(crate) length: String,
    /// Time between two readings, 100ms at least
    #[arg(long, value_name = "DURATION", default_value = "100ms")]
    pub(crate) every: String,
    /// Order it and do not wait for its end
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
