//! `metrickit agent`: what `metrickit-agent` is, inside this binary.

use std::process::ExitCode;

use agent::{AgentArgs, StopFlag, cli};

use super::start_logging;
use crate::signals;

/// Runs until a signal, then sends what is queued.
pub(crate) fn run(args: &AgentArgs, log_level: Option<&str>) -> anyhow::Result<ExitCode> {
    // Options that cannot be read are told by the agent itself, through this log.
    let configured = args.resolve().map_or_else(|_| "info".to_owned(), |config| config.log);
    start_logging(log_level.unwrap_or(&configured))?;
    let stop = StopFlag::new();
    let asked = stop.clone();
    signals::on_stop(move |_| asked.stop())?;
    Ok(cli::main_with(args, &stop, &mut std::io::stdout().lock()))
}
