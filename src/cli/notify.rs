//! The words of `notify`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const CONFIG: &str = "The server's file of settings [env: METRICKIT_CONFIG]";

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit notify preview ops --file alertmanager.yml        what each integration of receiver ops would be sent
  metrickit notify preview ops --label severity=page --label instance=web1:9100 --resolved
  metrickit notify preview ops --template '{{ .CommonLabels.severity | toUpper }}: {{ len .Alerts }}'
  metrickit notify test ops                                   sends it, and shows request and answer
  metrickit notify test ops --integration slack[0] --config /etc/metrickit/server.toml

The receivers are those of the server's setting alerting_config, or of --file: a file of Alertmanager works as it is. The notification has one
alert, which fires now unless --resolved. Secrets are never shown. No server is needed: this program sends by itself, from this machine.
Exit status: 0 everything was rendered, or taken; 1 something was not; 2 wrong use or settings.";

/// What to do with a notification of one's own making.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a notification to a receiver; show what was sent and what the answer was
    #[command(after_help = EXAMPLES)]
    Test(NotifyArgs),
    /// Show what a receiver would be sent; send nothing
    #[command(after_help = EXAMPLES)]
    Preview(PreviewArgs),
}

/// Arguments of `notify test`.
#[derive(Debug, Args)]
pub(crate) struct NotifyArgs {
    /// Name of the receiver, as routes call it
    #[arg(value_name = "RECEIVER")]
    pub(crate) receiver: String,
    /// File with receivers, in Alertmanager's form [default: the server's setting `alerting_config`]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", conflicts_with = "file", help = CONFIG)]
    pub(crate) config: Option<PathBuf>,
    /// Only this integration of the receiver: a kind, or a kind and its number, such as `webhook[1]`
    #[arg(long, value_name = "NAME")]
    pub(crate) integration: Option<String>,
    /// A label of the alert, beside alertname and severity; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// An annotation of the alert, beside summary; may be given several times
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// The alert has ended
    #[arg(long)]
    pub(crate) resolved: bool,
}

/// Arguments of `notify preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// Whom, and about what
    #[command(flatten)]
    pub(crate) about: NotifyArgs,
    /// Fill this template instead, and print what comes of it
    #[arg(long, value_name = "TEXT")]
    pub(crate) template: Option<String>,
}
