//! `metrickit-agent`: the agent alone, for hosts that run no server.

use std::io::IsTerminal;
use std::process::ExitCode;

use agent::{AgentArgs, StopFlag, allocator, cli};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Collects the host and its Go processes and pushes them to a remote-write receiver.
#[derive(Debug, Parser)]
#[command(name = "metrickit-agent", version, max_term_width = 100)]
struct Command {
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter such as `agent::send=debug,info`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    #[command(flatten)]
    agent: AgentArgs,
}

fn main() -> ExitCode {
    allocator::keep_little();
    let Command { log_level, mut agent } = Command::parse();
    agent.set_log_level(log_level);
    let filter = EnvFilter::try_new(agent.log_filter()).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let stop = StopFlag::new();
    if let Err(error) = cli::stop_on_signals(&stop) {
        tracing::error!(%error, "signals cannot be handled");
        return ExitCode::FAILURE;
    }
    cli::main_with(&agent, &stop, &mut std::io::stdout().lock())
}
