//! `metrickit go`: what the fleet's Go processes are and do.

mod burst;
mod diff;
mod inspect;
mod leaks;
mod ps;

use crate::cli::GoCommand;
use crate::output::Output;

/// Columns that text is laid out for where it does not go to a terminal.
const COLUMNS_MAX: usize = 140;

/// Reads or asks, and tells; whether it worked.
pub(crate) fn run(command: &GoCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        GoCommand::Burst(args) => burst::run(args, output),
        GoCommand::Diff(args) => diff::run(args, output),
        GoCommand::Inspect(args) => inspect::run(args, output),
        GoCommand::Leaks(args) => leaks::run(args, output),
        GoCommand::Ps(args) => ps::run(args, output),
        GoCommand::Profile(args) => super::captures::profile(args, output),
    }
}

fn columns(output: &Output) -> usize {
    table_columns(output).unwrap_or(COLUMNS_MAX)
}

/// Columns that a table must fit: elsewhere than on a terminal it has all there is to tell.
fn table_columns(output: &Output) -> Option<usize> {
    output.is_terminal.then(|| output.width())
}
