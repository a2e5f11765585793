//! `metrickit route`: where an alert goes, by a server that runs; whether a routing file is one, and what of it does not do what it says.

use std::path::Path;

use rules::route::Route;
use server::NotifyOptions;

use super::admin::counted;
use super::alerts::told_route;
use crate::cli::{RouteCommand, RouteExplainArgs};
use crate::output::Output;

/// Runs it; whether what was asked about is good.
pub(crate) fn run(command: &RouteCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        RouteCommand::Explain(args) => explain(args, output).map(|()| true),
        RouteCommand::Check(args) => {
            let mut is_good = true;
            for path in &args.files {
                is_good &= check(path, args.strict, output)?;
            }
            Ok(is_good)
        }
    }
}

fn explain(args: &RouteExplainArgs, output: &mut Output) -> anyhow::Result<()> {
    let pairs: Vec<(&str, &str)> = args.labels.iter().map(|label| ("label", label.as_str())).collect();
    let answer = super::admin::server(args.server.url.as_deref())?.get("/api/v1/alerting/route", &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    output.text(&told_route(&answer))?;
    Ok(())
}

/// Reads the file at `path` and its templates as a server does.
fn check(path: &Path, is_strict: bool, output: &mut Output) -> anyhow::Result<bool> {
    let options = NotifyOptions { file: Some(path.to_owned()), ..NotifyOptions::default() };
    let config = match options.load() {
        Ok((config, _)) => config,
        Err(error) => {
            output.line(&error.to_string())?;
            return Ok(false);
        }
    };
    let (routes, receivers) = (routes(&config.route), config.receivers.len());
    let counts = (counted(routes as u64, "route"), counted(receivers as u64, "receiver"));
    output.line(&format!("{}: {} and {}", path.display(), counts.0, counts.1))?;
    let hints = config.hints();
    for hint in &hints {
        output.line(&format!("hint: {}: {hint}", path.display()))?;
    }
    Ok(hints.is_empty() || !is_strict)
}

fn routes(route: &Route) -> usize {
    1 + route.routes.iter().map(routes).sum::<usize>()
}
