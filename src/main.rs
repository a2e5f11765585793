//! The command line: one binary that is server, agent, query client, REPL and load generator.
//!
//! `cli` has the words, `commands` what they do, `settings` where values come from, `serving` puts the server
//! together, `client` asks one, `render` shows answers, `output` writes them. `top` has a screen of its own.

mod allocator;
mod bench;
mod cli;
mod client;
mod commands;
mod output;
mod render;
mod repl;
mod serving;
mod settings;
mod signals;
mod top;
mod when;

use std::io;
use std::process::ExitCode;

use clap::FromArgMatches;

use cli::{Cli, Command};
use commands::server::Role;
use output::Output;
use settings::SettingsError;

/// The query or the server failed.
const EXIT_FAILED: u8 = 1;
/// The command line or the settings are wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Wrong use that clap cannot see, such as a malformed time.
#[derive(Debug)]
struct UsageError(String);

impl std::error::Error for UsageError {}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn main() -> ExitCode {
    let mut output = Output::new();
    let mut command = cli::help::command(output.width());
    let matches = command.get_matches_mut();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    match run(cli, &mut output) {
        Ok(code) => code,
        Err(error) => report(&error, &mut output),
    }
}

/// Runs the subcommand. Its exit status; a failure that is no error here has been told already.
fn run(cli: Cli, output: &mut Output) -> anyhow::Result<ExitCode> {
    let Cli { log_level, command } = cli;
    // Programs that answer a person stay quiet; those that run for months tell what they do.
    if !matches!(command, Command::Up(_) | Command::Server(_) | Command::Agent(_)) {
        // Lines of a log would lie on the screen of `top`.
        let quiet = if matches!(command, Command::Top(_)) { "off" } else { "warn" };
        commands::start_logging(log_level.as_deref().unwrap_or(quiet))?;
    }
    let worked = match command {
        Command::Agent(args) => return commands::agent::run(args, log_level),
        Command::Up(flags) => commands::server::run(&flags, log_level, Role::Up, output).map(|()| true),
        Command::Server(flags) => commands::server::run(&flags, log_level, Role::Server, output).map(|()| true),
        Command::Query(args) => commands::query::run(&args, output),
        Command::Repl(args) => {
            let target = commands::Target::open(&args.target)?;
            let worked = repl::run(&target.client, output)?;
            target.close()?;
            Ok(worked)
        }
        Command::Admin(command) => commands::admin::run(&command, output).map(|()| true),
        Command::Delete(args) => commands::deletes::delete(&args, output),
        Command::Deletes(args) => commands::deletes::list(&args, output).map(|()| true),
        Command::Undelete(args) => commands::deletes::undelete(&args, output).map(|()| true),
        Command::Export(args) => commands::export::run(&args, output),
        Command::Import(args) => commands::import::run(&args, output),
        Command::Retention(command) => commands::retention::run(&command, output),
        Command::Backup(args) => commands::backup::take(&args, output),
        Command::Restore(args) => commands::backup::restore(&args, output),
        Command::Cardinality(args) => commands::cardinality::run(&args, output),
        Command::Go(command) => commands::go::run(&command, output),
        Command::Top(args) => top::run(&args, output).map(|()| true),
        Command::Agents(args) => commands::agents::run(&args, output),
        Command::Collection(command) => commands::collection::run(&command, output),
        Command::Captures(command) => commands::captures::run(&command, output),
        Command::Rules(command) => commands::rules::run(&command, output),
        Command::Alerts(command) => commands::alerts::alerts(&command, output).map(|()| true),
        Command::Silence(command) => commands::silences::run(&command, output).map(|()| true),
        Command::Ack(args) => commands::alerts::ack(&args, output).map(|()| true),
        Command::Route(command) => commands::route::run(&command, output),
        Command::Check(args) => commands::check::run(&args, output),
        Command::Notify(command) => commands::notify::run(&command, output),
        Command::Bench(command) => bench::run(&command, output).map(|()| true),
    };
    Ok(if worked? { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// Tells what went wrong, and the exit status for it.
fn report(error: &anyhow::Error, output: &mut Output) -> ExitCode {
    let is_broken_pipe = error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe));
    if is_broken_pipe {
        return ExitCode::SUCCESS;
    }
    // When standard error is gone too, the status alone tells.
    let _ = output.note(&format!("error: {error:#}"));
    let is_usage = error.is::<UsageError>() || error.is::<SettingsError>();
    ExitCode::from(if is_usage { EXIT_USAGE } else { EXIT_FAILED })
}
