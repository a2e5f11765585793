//! `metrickit-agent`: the agent alone, for hosts that run no server.

use std::io::IsTerminal;
use std::process::ExitCode;

use agent::{AgentArgs, StopFlag, cli};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Collects the host and its Go processes and pushes them to a remote-write receiver.
#[derive(Debug, Parser)]
#[command(name = "metrickit-agent", version)]
struct Command {
    #[command(flatten)]
    agent: AgentArgs,
}

fn main() -> ExitCode {
    let command = Command::parse();
    // A configuration that cannot be read is told by `main_with`, through this same log.
    let filter = command.agent.resolve().map_or_else(|_| "info".to_owned(), |config| config.log);
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let stop = StopFlag::new();
    if let Err(error) = cli::stop_on_signals(&stop) {
        tracing::error!(%error, "signals cannot be handled");
        return ExitCode::FAILURE;
    }
    cli::main_with(&command.agent, &stop, &mut std::io::stdout().lock())
}
