//! The words of `alerts`, `silence`, `ack` and `route`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

pub(super) const ALERTS_EXAMPLES: &str = "\
Examples:
  metrickit alerts list                                   what fires now, and what keeps it quiet
  metrickit alerts list team=web severity=page
  metrickit alerts log                                    what happened lately: states, routes, silences, deliveries
  metrickit alerts log event=delivery receiver=ops --start now-1h
  metrickit alerts log alertname=HighLatency --json | jq '.[].why'

A matcher is LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEX or LABEL!~REGEX; `alerts log` takes FIELD=VALUE only.";

pub(super) const SILENCE_EXAMPLES: &str = "\
Examples:
  metrickit silence add alertname=HighLatency job=api --for 2h --comment 'known, being fixed'
  metrickit silence add job=backup --daily 22:00-06:00 --zone Europe/Berlin --for 30d --dry-run     when it would mute
  metrickit silence add env=dev --weekdays saturday,sunday --for 52w --comment 'nobody works'
  metrickit silence list
  metrickit silence expire 0f7e1c9a-…

Alerts that are silenced are still evaluated and listed; only nobody is told. When a silence ends, what still fires is told at once.
A server takes silences from programs on its own machine unless its setting admin_api is changed.";

pub(super) const ACK_EXAMPLES: &str = "\
Examples:
  metrickit ack alertname=HighLatency job=api --note 'looking into it'
  metrickit ack team=web --for 2h
  metrickit ack alertname=HighLatency --remove

Who takes an alert on is no longer reminded of it, and it does not escalate. It is still told when it changes or ends; it ends with the alert.";

pub(super) const ROUTE_EXAMPLES: &str = "\
Examples:
  metrickit route explain alertname=HighLatency team=web severity=page
  metrickit route check --strict alertmanager.yml

explain asks a server: it shows every route that such an alert is compared with, who would be told, in which group and when, and what would keep it
quiet now. check needs none.
Exit status of check: 0 the files are good, 1 a fault was found, or with --strict anything to think about.";

/// What is told of alerts.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List the alerts that fire
    List(AlertsListArgs),
    /// Tell what happened to alerts, the newest first
    Log(AlertsLogArgs),
}

/// Arguments of `alerts list`.
#[derive(Debug, Args)]
pub(crate) struct AlertsListArgs {
    /// Only alerts that fulfil all of these
    #[arg(value_name = "MATCHER")]
    pub(crate) matchers: Vec<String>,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `alerts log`.
#[derive(Debug, Args)]
pub(crate) struct AlertsLogArgs {
    /// Only events with these fields or labels: event=delivery, receiver=ops, alertname=Leak
    #[arg(value_name = "FIELD=VALUE")]
    pub(crate) fields: Vec<String>,
    /// From this time on [default: the beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Most events
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What to do with silences.
#[derive(Debug, Subcommand)]
pub(crate) enum SilenceCommand {
    /// Keep alerts quiet for a time
    #[command(after_help = SILENCE_EXAMPLES)]
    Add(SilenceAddArgs),
    /// List silences
    List(ServerArgs),
    /// End a silence
    Expire(SilenceExpireArgs),
}

/// Arguments of `silence add`.
#[derive(Debug, Args)]
pub(crate) struct SilenceAddArgs {
    /// What an alert has that is silenced; all must hold
    #[arg(value_name = "MATCHER", required = true)]
    pub(crate) matchers: Vec<String>,
    /// How long from its start on [default: 1h; 52w where it comes again]
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) duration: Option<String>,
    /// When it begins [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) comment: String,
    /// Who makes it [default: the user]
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Only between these times of day, past midnight too: 22:00-06:00
    #[arg(long, value_name = "HH:MM-HH:MM")]
    pub(crate) daily: Option<String>,
    /// Only on these days: saturday,sunday or monday:friday
    #[arg(long, value_name = "DAYS")]
    pub(crate) weekdays: Option<String>,
    /// Whose clock times and days are by
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) zone: String,
    /// Only show when it would mute
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `silence expire`.
#[derive(Debug, Args)]
pub(crate) struct SilenceExpireArgs {
    /// Its id; `metrickit silence list` has it
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `ack`.
#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// What the alerts have that are taken on; all must hold
    #[arg(value_name = "MATCHER", required = true)]
    pub(crate) matchers: Vec<String>,
    /// Who takes them on [default: the user]
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// What to tell others
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) note: String,
    /// For how long at most
    #[arg(long = "for", value_name = "DURATION", default_value = "24h")]
    pub(crate) duration: String,
    /// End the acknowledgement instead
    #[arg(long)]
    pub(crate) remove: bool,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What is told of routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Show where an alert with these labels goes, and why
    #[command(after_help = ROUTE_EXAMPLES)]
    Explain(RouteExplainArgs),
    /// Read routing files and their templates, tell everything that is wrong with them, and what does not do what it says
    Check(RouteCheckArgs),
}

/// Arguments of `route check`.
#[derive(Debug, Args)]
pub(crate) struct RouteCheckArgs {
    /// Routing files, in Alertmanager's form
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Hints are faults, too
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Arguments of `route explain`.
#[derive(Debug, Args)]
pub(crate) struct RouteExplainArgs {
    /// Labels of the alert
    #[arg(value_name = "LABEL=VALUE", required = true)]
    pub(crate) labels: Vec<String>,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
