//! The words of `rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ServerArgs, TargetArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit rules check rules/*.yml                  every fault, with line and column
  metrickit rules check rules/*.yml --lint           and what is seldom meant
  metrickit rules check rules/*.yml --url http://127.0.0.1:9595   and series that the server does not have
  metrickit rules test rules/tests/*.yml             unit tests, in files of promtool
  metrickit rules explain HighLatency job=api        why an alert fires or does not, and what its thresholds are
  metrickit rules shipped                            which rules come with the program
  metrickit rules shipped go.yml > my-go.yml         one of its files, to change

Exit status: 0 the files are rules, 1 a fault was found, or with --strict anything to think about.";

const TEST_EXAMPLES: &str = "\
Examples:
  metrickit rules test rules/tests/*.yml
  metrickit rules test alerts_test.yml --only 'disk*'
  metrickit rules test alerts_test.yml --json | jq '.files[].tests[].failures[]'

A file of tests is one of `promtool test rules`: series that are made up, and the alerts and samples that must come of them. Paths of rule_files
are relative to the folder it lies in. Rules are evaluated by what evaluates them in a server.
Exit status: 0 all is as expected, 1 something is not or cannot be read, 2 wrong use.";

const BACKTEST_EXAMPLES: &str = "\
Examples:
  metrickit rules backtest rules/api.yml --start now-7d
  metrickit rules backtest rules/*.yml --start now-30d --step 5m --url http://metrics.example:9595
  metrickit rules backtest rules/api.yml --data ./metrickit-data --json | jq '.fired[].labels'

Rules are evaluated at every step of the time as a server evaluates them, `for`, labels and overrides included; nothing is written. What rules of the
files record is seen by other rules only as far as the server has it. Alerts that are pending at the start begin there.
Exit status: 0 evaluated, 1 a rule could not be, or the server failed, 2 wrong use.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  metrickit rules explain HighLatency                    all it looks at: states, times, values
  metrickit rules explain HighLatency job=api env=prod   these alone, and which override holds
  metrickit rules explain HighLatency env=prod --file rules/api.yml     without a server
  metrickit rules explain GoGcSevere env=dev --shipped   of the rules that come with the program

Name and labels can be taken over as `metrickit alerts list` shows them. Values are those of now,
also where the condition is false; states are those of the last evaluation.
Exit status: 0 explained, 1 the server failed or has no such rule, 2 wrong use.";

/// What to do with rule files.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Read rule files and tell everything that is wrong with them
    Check(RulesCheckArgs),
    /// Run unit tests of rules: files of `promtool test rules`
    #[command(after_help = TEST_EXAMPLES)]
    Test(RulesTestArgs),
    /// Tell when alerts would have fired over the history that a server has
    #[command(after_help = BACKTEST_EXAMPLES)]
    Backtest(RulesBacktestArgs),
    /// Tell why an alert fires or does not: its rule, thresholds, overrides, times and values
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(RulesExplainArgs),
    /// List the rules that come with the program, or print one of their files
    Shipped(RulesShippedArgs),
}

/// Arguments of `rules check`.
#[derive(Debug, Args)]
pub(crate) struct RulesCheckArgs {
    /// Rule files
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Tell what is allowed and seldom meant, too: short windows, alerts without `for`
    #[arg(long)]
    pub(crate) lint: bool,
    /// Lint, and tell which series this server does not have
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Time between two evaluations of groups that do not say
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) interval: String,
    /// Fail where there is anything to think about
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Arguments of `rules test`.
#[derive(Debug, Args)]
pub(crate) struct RulesTestArgs {
    /// Files of tests
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Only tests whose name is like this: a pattern with `*` and `?`
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Option<String>,
    /// Print what came of each test as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `rules explain`.
#[derive(Debug, Args)]
pub(crate) struct RulesExplainArgs {
    /// Name of an alert, or of a series that a rule records
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Only alerts and series with these labels
    #[arg(value_name = "LABEL=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Look into this rule file instead of asking a server; may be given several times
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Look into the rules that come with the program instead of asking a server
    #[arg(long)]
    pub(crate) shipped: bool,
    /// Most series of a rule
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) limit: usize,
    /// Where to ask
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `rules shipped`.
#[derive(Debug, Args)]
pub(crate) struct RulesShippedArgs {
    /// Print this file, such as go.yml
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<String>,
}

/// Arguments of `rules backtest`.
#[derive(Debug, Args)]
pub(crate) struct RulesBacktestArgs {
    /// Rule files
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to ask
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// From here on [default: a day before the end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Up to here [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Time between two evaluations [default: each group's own interval, else 1m]
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Print the times as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
