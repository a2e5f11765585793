//! The command line: subcommands, flags, help.
//!
//! Owns the shape and the words. What a subcommand does lives in `commands`, settings of the server in `settings`.

mod agents;
mod alerts;
mod backup;
mod captures;
mod cardinality;
mod deletes;
mod go;
pub(crate) mod help;
mod moving;
mod notify;
mod rules;
mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchCommand;
use crate::commands::check;
use crate::render::Format;
use crate::settings::SettingFlags;

pub(crate) use agents::{AgentsArgs, CheckProfileArgs, CollectionCommand, ShowProfileArgs};
pub(crate) use alerts::{
    AckArgs, AlertsCommand, AlertsListArgs, AlertsLogArgs, RouteCommand, RouteExplainArgs, SilenceAddArgs,
    SilenceCommand, SilenceExpireArgs,
};
pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use captures::{
    CaptureDeleteArgs, CaptureGetArgs, CaptureListArgs, CaptureOrderArgs, CapturesCommand, IntoArgs, ProfileArgs,
    WhatArgs,
};
pub(crate) use cardinality::CardinalityArgs;
pub(crate) use deletes::{DeleteArgs, ServerArgs, UndeleteArgs};
pub(crate) use go::{BurstArgs, DiffArgs, GoCommand, InspectArgs, LeaksArgs, PsArgs};
pub(crate) use moving::{ExportArgs, ExportFormat, ImportArgs, ImportFormat};
pub(crate) use notify::{NotifyArgs, NotifyCommand, PreviewArgs};
pub(crate) use rules::{
    RulesBacktestArgs, RulesCheckArgs, RulesCommand, RulesExplainArgs, RulesShippedArgs, RulesTestArgs,
};
pub(crate) use top::TopArgs;

const EXAMPLES: &str = "\
Start here:
  metrickit up                                      server and agent on this machine, data in ./metrickit-data
  metrickit query 'go_goroutines'                   goroutines of every Go process now
  metrickit query 'rate(node_cpu_seconds_total{mode!=\"idle\"}[1m])' --start now-15m
  metrickit repl                                    type queries: completion, tables, charts

More hosts:
  metrickit server --listen 0.0.0.0:9595 --data /var/lib/metrickit
  metrickit agent --push-url http://SERVER:9595/api/v1/write

Exit status: 0 worked, 1 failed (the query, the server), 2 wrong use or settings, 128+N ended by a second signal N.";

/// Live monitoring for Go applications: agents, a time-series engine and PromQL in one binary
#[derive(Debug, Parser)]
#[command(name = "metrickit", version, about, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter such as storage=debug,info
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "METRICKIT_LOG_LEVEL",
        hide_env_values = true,
        display_order = 900
    )]
    pub(crate) log_level: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server and an agent for this machine in one process
    #[command(after_help = UP_EXAMPLES)]
    Up(SettingFlags),
    /// Start a server: takes remote write, keeps it, answers PromQL
    #[command(after_help = SERVER_EXAMPLES)]
    Server(SettingFlags),
    /// Start an agent: reads this host and its Go processes, pushes to a server
    Agent(agent::AgentArgs),
    /// Evaluate one query and print the answer
    #[command(after_help = QUERY_EXAMPLES)]
    Query(QueryArgs),
    /// Type queries, with completion, tables and charts; or read them from a pipe
    #[command(after_help = REPL_EXAMPLES)]
    Repl(ReplArgs),
    /// Make a server write or merge its blocks now
    #[command(subcommand, after_help = ADMIN_EXAMPLES)]
    Admin(AdminCommand),
    /// Delete samples by selector and time; they can be brought back for a day
    #[command(after_help = deletes::DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// List deletes, and until when each can be undone
    Deletes(ServerArgs),
    /// Bring back what a delete took away
    Undelete(UndeleteArgs),
    /// Write samples to a file: lines of JSON or OpenMetrics text
    #[command(after_help = moving::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Read samples from files and write them to a server
    #[command(after_help = moving::IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Tell what a server keeps of which series, and for how long
    #[command(subcommand, after_help = RETENTION_EXAMPLES)]
    Retention(RetentionCommand),
    /// Take a backup of a server's data while it runs, or of a data folder
    #[command(after_help = backup::BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Make a data folder of a backup
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// Tell which metrics, labels and agents have the most series, and what is new
    #[command(after_help = cardinality::EXAMPLES)]
    Cardinality(CardinalityArgs),
    /// Tell of Go processes: which there are, where goroutines leak
    #[command(subcommand, after_help = go::EXAMPLES)]
    Go(GoCommand),
    /// Watch Go processes on a live screen: sort, filter, open one to see where its goroutines are
    #[command(after_help = top::EXAMPLES)]
    Top(TopArgs),
    /// List the agents that check in, and how they are
    #[command(after_help = agents::AGENTS_EXAMPLES)]
    Agents(AgentsArgs),
    /// Tell what agents are to collect, by environment
    #[command(subcommand, after_help = agents::COLLECTION_EXAMPLES)]
    Collection(CollectionCommand),
    /// Profiles and stacks of Go processes: list them, fetch them, have them taken
    #[command(subcommand, after_help = captures::EXAMPLES)]
    Captures(CapturesCommand),
    /// Look over rule files, run their unit tests, tell why alerts fire, list the rules that come with the program
    #[command(subcommand, after_help = rules::EXAMPLES)]
    Rules(RulesCommand),
    /// Tell of alerts: which fire, and what happened to them
    #[command(subcommand, after_help = alerts::ALERTS_EXAMPLES)]
    Alerts(AlertsCommand),
    /// Keep alerts quiet: add, list and end silences
    #[command(subcommand, after_help = alerts::SILENCE_EXAMPLES)]
    Silence(SilenceCommand),
    /// Take alerts on, so that nobody is reminded of them
    #[command(after_help = alerts::ACK_EXAMPLES)]
    Ack(AckArgs),
    /// Tell where alerts go, and check routing files
    #[command(subcommand, after_help = alerts::ROUTE_EXAMPLES)]
    Route(RouteCommand),
    /// Read all of a data folder or a backup and tell what is damaged; changes nothing
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Try receivers of alerts: send a notification, or show what would be sent
    #[command(subcommand, after_help = notify::EXAMPLES)]
    Notify(NotifyCommand),
    /// Measure a server: how fast it takes samples and answers queries
    #[command(subcommand)]
    Bench(BenchCommand),
}

const UP_EXAMPLES: &str = "\
Examples:
  metrickit up
  metrickit up --listen 0.0.0.0:9595 --data /var/lib/metrickit --retention 90d
  METRICKIT_DURABILITY=interval metrickit up --print-config

The agent's options come from its own file and METRICKIT_AGENT_… variables, see `metrickit agent --help`.";

const SERVER_EXAMPLES: &str = "\
Examples:
  metrickit server
  metrickit server --listen 0.0.0.0:9595 --data /var/lib/metrickit --retention 90d
  metrickit server --config /etc/metrickit/server.toml --print-config

Later layers win: defaults, then the file of --config, then METRICKIT_… variables, then flags.
The first line on standard output is `listening on http://ADDRESS`; /-/ready answers 200 once the data is open.
SIGTERM and SIGINT stop cleanly, a second one at once.";

const QUERY_EXAMPLES: &str = "\
Examples:
  metrickit query 'up'
  metrickit query 'sum by (mode) (rate(node_cpu_seconds_total[1m]))' --time now-10m
  metrickit query 'go_goroutines' --start now-1h                    a chart over the last hour
  metrickit query 'go_goroutines' --start now-1h --step 30s --format csv > goroutines.csv
  metrickit query 'up' --format json | jq '.data.result[].metric'
  metrickit query 'sum(rate(http_request_duration_seconds[5m]))'    a native histogram: count, sum, quantiles
  metrickit query 'sum(rate(http_request_duration_seconds[5m]))' --format chart        its buckets as bars
  metrickit query 'sum by (job) (up)' --explain                     what each part reads, and how long it takes
  metrickit query 'up' --data ./metrickit-data                      without a running server

Times: now, now-1h30m, Unix seconds, 2026-01-01T00:00:00Z.
Exit status: 0 answered, 1 the query or the server failed, 2 wrong use.";

const REPL_EXAMPLES: &str = "\
Examples:
  metrickit repl
  metrickit repl --url http://metrics.example.com:9595
  metrickit repl --data ./metrickit-data < queries.promql

In the REPL, .help lists the commands, .help rate tells how a function is called. From a pipe, open brackets continue on the next line and an empty line ends
a query; at the end of input the exit status is 1 if any line failed.";

const RETENTION_EXAMPLES: &str = "\
Examples:
  metrickit retention explain                                    all series, by the rule they fall under
  metrickit retention explain '{__name__=~\"go_.*\"}'
  metrickit retention explain go_goroutines --json | jq '.kept[].text'

Rules are a list in the settings file; the first that matches a series counts, and `retention` for the others:
  retention = \"30d\"
  retention_rules = [
    '{env=\"dev\"} keep 7d',
    '{__name__=~\"go_.*\"} raw 15d, 5m for 90d, 1h for 2y',
  ]
With `raw 15d, 5m for 90d` samples older than 15 days become summaries of five minutes: count, sum, smallest, largest, first, last and
increase. They take effect at the next start; try one with `metrickit server --retention-rules '…' --print-config` first.";

/// What is told of retention.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Tell which rule each series falls under, what is kept until when, and how much it takes
    #[command(after_help = RETENTION_EXAMPLES)]
    Explain(RetentionArgs),
}

/// Arguments of `retention explain`.
#[derive(Debug, Args)]
pub(crate) struct RetentionArgs {
    /// Series selector [default: all series]
    #[arg(value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const ADMIN_EXAMPLES: &str = "\
Examples:
  metrickit admin flush
  metrickit admin merge --url http://127.0.0.1:9595
  metrickit admin merge --json | jq .after.bytes

A server does both by itself. Its setting admin_api says who may ask for it: programs on its own machine unless changed.";

/// What a server is made to do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Write what is in memory into blocks
    Flush(AdminArgs),
    /// Write what is in memory into blocks, and merge those of every day into one
    Merge(AdminArgs),
}

/// Arguments of `admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[arg(long, value_name = "URL", env = "METRICKIT_URL", hide_env = true, help = SERVER_URL)]
    pub(crate) url: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// In one order everywhere, which clap's own words about defaults and variables would not be.
const SERVER_URL: &str = "Server to ask [env: METRICKIT_URL] [default: http://127.0.0.1:9595]";
/// A variable that clap reads would count as said, and stand in the way of a folder.
const TARGET_URL: &str =
    "Server to ask; anything that speaks Prometheus's query API [env: METRICKIT_URL] [default: http://127.0.0.1:9595]";

/// Where queries go.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    #[arg(long, value_name = "URL", help = TARGET_URL)]
    pub(crate) url: Option<String>,
    /// Open this data folder instead; no server may be running on it. Nothing is dropped by retention
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The query, in PromQL
    #[arg(value_name = "EXPR")]
    pub(crate) expr: String,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Evaluate at this time [default: now]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"], allow_hyphen_values = true)]
    pub(crate) time: Option<String>,
    /// Evaluate over a range from here [default: an hour before the end, if --end or --step is given]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// End of the range [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Step of the range, such as 30s [default: a round one for some 240 points]
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// How to print the answer [default: chart for ranges on a terminal, else table]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<Format>,
    /// Evaluate, but print what each part of the query read and how long it took, instead of the answer
    #[arg(long)]
    pub(crate) explain: bool,
    /// Tell on standard error what the query read
    #[arg(long)]
    pub(crate) stats: bool,
}

/// Arguments of `repl`.
#[derive(Debug, Args)]
pub(crate) struct ReplArgs {
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[track_caller]
    fn parse(line: &str) -> Result<Command, String> {
        let words = std::iter::once("metrickit").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_settings_become_values() {
        let Ok(Command::Server(flags)) = parse("server --retention off --print-config --flush-log-bytes 1MiB") else {
            panic!("server parses");
        };
        assert_eq!(flags.values.get("retention").map(String::as_str), Some("off"));
        assert_eq!(flags.values.get("flush_log_bytes").map(String::as_str), Some("1MiB"));
        assert!(flags.print_config && flags.config.is_none());
    }

    #[test]
    fn wrong_use_is_refused_with_a_hint() {
        assert!(parse("serve").is_err_and(|error| error.contains("server")));
        assert!(parse("server --retenton 1d").is_err_and(|error| error.contains("--retention")));
        assert!(parse("query up --time 1 --start 2").is_err());
        assert!(parse("query up --url a --data b").is_err());
        assert!(parse("query").is_err());
        assert!(parse("query up --time -5").is_ok());
    }
}
