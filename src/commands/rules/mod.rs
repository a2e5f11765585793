//! `metrickit rules …`: what can be done with rule files without a server, or beside one.

mod backtest;
mod check;
mod explain;
mod shipped;
mod test;

use crate::cli::RulesCommand;
use crate::output::Output;

/// Does it; whether it worked.
pub(crate) fn run(command: &RulesCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        RulesCommand::Check(args) => check::run(args, output),
        RulesCommand::Test(args) => test::run(args, output),
        RulesCommand::Backtest(args) => backtest::run(args, output),
        RulesCommand::Explain(args) => explain::run(args, output).map(|()| true),
        RulesCommand::Shipped(args) => shipped::run(args, output).map(|()| true),
    }
}
