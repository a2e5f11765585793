//! The words of `go`.

use clap::{Args, Subcommand};

use super::TargetArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit go ps                                        every Go process of the fleet
  metrickit go leaks                                     where goroutines leak, and by what evidence
  metrickit go leaks --min-grade 0 --job api
  metrickit go leaks --json | jq '.leaks[] | .file + \":\" + .line'";

/// What is told of Go processes.
#[derive(Debug, Subcommand)]
pub(crate) enum GoCommand {
    /// Tell where goroutines leak, how sure that is, and since when
    #[command(after_help = EXAMPLES)]
    Leaks(LeaksArgs),
    /// List the Go processes of all hosts
    #[command(after_help = EXAMPLES)]
    Ps(PsArgs),
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
