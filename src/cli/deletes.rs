//! The words of `delete`, `deletes` and `undelete`.

use clap::Args;

use super::SERVER_URL;

pub(super) const DELETE_EXAMPLES: &str = "\
Examples:
  metrickit delete 'http_requests_total{job=\"old\"}' --dry-run          what would go
  metrickit delete 'http_requests_total{job=\"old\"}'                    shows it, and asks
  metrickit delete '{env=\"dev\"}' --end now-7d --yes                    without asking
  metrickit delete 'a_total' 'b_total{host=\"x\"}' --start 2026-01-01T00:00:00Z --end now

What is deleted is seen no more at once, and comes back by `metrickit undelete NUMBER` until the server's setting delete_undo (a day) is over; then
the space is freed. What is written later stays, whatever its time. Exemplars go for good.
A server takes deletes from programs on its own machine unless its setting admin_api is changed.";

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[arg(long, value_name = "URL", env = "METRICKIT_URL", hide_env = true, help = SERVER_URL)]
    pub(crate) url: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Selectors of series, in PromQL; what any of them selects is deleted
    #[arg(value_name = "SELECTOR", required = true)]
    pub(crate) selectors: Vec<String>,
    /// Delete samples from this time on [default: all before the end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Delete samples up to this time [default: all after the start]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Only tell what would be deleted
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Delete without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `undelete`.
#[derive(Debug, Args)]
pub(crate) struct UndeleteArgs {
    /// Number of the delete; `metrickit deletes` lists them
    #[arg(value_name = "NUMBER")]
    pub(crate) id: u64,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
