//! The words of `top`.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit top                                      what the server on this machine knows
  metrickit top --url http://metrics.example.com:9595 --job api
  metrickit top --local                              this host, without a server; as root for processes of all users

Keys: Enter opens a process, ←→ sort, / filters, space pauses, ? tells the rest, q quits.";

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[arg(long, value_name = "URL", help = super::TARGET_URL)]
    pub(crate) url: Option<String>,
    /// Read the Go processes of this host instead, from outside, as an agent does; no server is asked
    #[arg(long, conflicts_with_all = ["url", "job"])]
    pub(crate) local: bool,
    /// Only processes of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) interval: String,
}
