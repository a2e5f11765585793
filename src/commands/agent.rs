//! `metrickit agent`: what `metrickit-agent` is, inside this binary.

use std::process::ExitCode;

use agent::{AgentArgs, StopFlag, allocator, cli};

use super::start_logging;
use crate::signals;

/// Runs until a signal, then sends what is queued.
pub(crate) fn run(mut args: AgentArgs, log_level: Option<String>) -> anyhow::Result<ExitCode> {
    allocator::keep_little();
    args.set_log_level(log_level);
    start_logging(&args.log_filter())?;
    let stop = StopFlag::new();
    let asked = stop.clone();
    signals::on_stop(move |_| asked.stop())?;
    Ok(cli::main_with(&args, &stop, &mut std::io::stdout().lock()))
}
