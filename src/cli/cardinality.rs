//! The words of `cardinality`.

use clap::Args;

use super::TargetArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit cardinality                                  which metrics, labels and agents have the most series
  metrickit cardinality http_requests_total              which label makes this metric so large
  metrickit cardinality '{instance=~\"web1.*\"}' --window 1h
  metrickit cardinality --top 3 --json | jq '.limits[]'

A series is a metric with one set of labels. Memory, disk and the time of queries follow their number. What a label costs stands under `without it`: how
many series there would be if programs left it out.
Active are series with samples since blocks were last written. New are those that were created in the window.";

/// Arguments of `cardinality`.
#[derive(Debug, Args)]
pub(crate) struct CardinalityArgs {
    /// Series selector [default: all series]
    #[arg(value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Rows in each table
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: u16,
    /// How far back series count as new
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub(crate) window: String,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
