//! The words of `captures`, and of `go profile`, which is an order and a download.

use clap::{Args, Subcommand};

use super::ServerArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  metrickit captures list --job api --start now-1d
  metrickit captures get 019b7a3c5e10-0000                       writes the file, and says how to open it
  metrickit captures order web1/0 --kind goroutine               has the agent take one, and does not wait
  metrickit captures delete 019b7a3c5e10-0000
  metrickit go profile web1/0 --kind heap                        orders, waits, writes the file

A capture is a profile that `go tool pprof FILE` opens, or with --kind stacks text. Agents take them when somebody asks, and one of the goroutines
when these leak. A server takes orders and deletes from programs on its own machine unless its setting admin_api is changed.";

/// What is done with captures.
#[derive(Debug, Subcommand)]
pub(crate) enum CapturesCommand {
    /// List what was captured, the newest first
    #[command(after_help = EXAMPLES)]
    List(CaptureListArgs),
    /// Fetch a capture into a file
    #[command(after_help = EXAMPLES)]
    Get(CaptureGetArgs),
    /// Have an agent capture a Go process, and do not wait for it
    #[command(after_help = EXAMPLES)]
    Order(CaptureOrderArgs),
    /// Remove captures
    #[command(after_help = EXAMPLES)]
    Delete(CaptureDeleteArgs),
}

/// Arguments of `captures list`.
#[derive(Debug, Args)]
pub(crate) struct CaptureListArgs {
    /// Only of this process, `HOST/SLOT`
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) instance: Option<String>,
    /// Only of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Only of this kind: goroutine, heap, allocs, mutex, block, cpu, goroutineleak, stacks
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only those wanted so: request, alert, leak
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,
    /// Only those taken from this time on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Only those taken up to this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<String>,
    /// Most that are listed
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `captures get`.
#[derive(Debug, Args)]
pub(crate) struct CaptureGetArgs {
    /// Id of the capture; `metrickit captures list` tells it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Where it goes
    #[command(flatten)]
    pub(crate) into: IntoArgs,
    /// Where it comes from
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where a file goes.
#[derive(Debug, Args)]
pub(crate) struct IntoArgs {
    /// File to write; `-` for standard output [default: a name that tells what it is, in this folder]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
}

/// What is captured of which process.
#[derive(Debug, Args)]
pub(crate) struct WhatArgs {
    /// The process, as in label `instance`: `HOST/SLOT`; `metrickit go ps` lists them
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// Its job, where several processes are called the same
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// What: goroutine, heap, allocs, mutex, block, cpu, goroutineleak, stacks
    #[arg(long, value_name = "KIND", default_value = "goroutine")]
    pub(crate) kind: String,
    /// Over how long it is measured, in seconds [default: 10 for cpu, else the state of now]
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u32>,
    /// Why, for whoever reads the list later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Arguments of `captures order`.
#[derive(Debug, Args)]
pub(crate) struct CaptureOrderArgs {
    /// What
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `captures delete`.
#[derive(Debug, Args)]
pub(crate) struct CaptureDeleteArgs {
    /// Ids of captures
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Where
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `go profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// What
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    /// Where it goes
    #[command(flatten)]
    pub(crate) into: IntoArgs,
    /// Where it is ordered
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
