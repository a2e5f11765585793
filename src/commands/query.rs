//! `metrickit query`: one query, one answer.

use model::time::{Clock, SystemClock};

use super::Target;
use crate::UsageError;
use crate::cli::QueryArgs;
use crate::client::{Answer, ClientError, Extras, Moment};
use crate::output::Output;
use crate::render::{self, Format, plan};
use crate::repl::asking::{fault, layout, notes};
use crate::when::{parse_instant_ms, parse_step_ms, step_for_ms};

/// The range when only its end or step is given, in milliseconds.
const RANGE_DEFAULT_MS: i64 = 3_600_000;

/// Asks, prints, and returns whether there was an answer.
pub(crate) fn run(args: &QueryArgs, output: &mut Output) -> anyhow::Result<bool> {
    let moment = moment(args, SystemClock.now().0).map_err(UsageError)?;
    let is_range = matches!(moment, Moment::Range { .. });
    let format = args.format.unwrap_or(if is_range && output.is_terminal { Format::Chart } else { Format::Table });
    let target = Target::open(&args.target)?;
    let extras = Extras { plan: args.explain, stats: args.explain || args.stats };
    let worked = match target.client.query_with(&args.expr, moment, extras) {
        Ok(answer) if args.explain && format != Format::Json => explained(&args.expr, &answer, output)?,
        Ok(answer) => {
            let layout = layout(&args.expr, output, moment, usize::MAX);
            output.text(&render::answer(&answer, format, &layout))?;
            notes(&args.expr, &answer, output)?;
            if let Some(stats) = answer.stats.as_ref().filter(|_| args.stats) {
                output.note(&plan::totals(stats))?;
            }
            true
        }
        Err(error) => {
            if let (Format::Json, ClientError::Refused { body, .. }) = (format, &error) {
                output.line(body.trim_end())?;
            }
            fault(&args.expr, &error, output)?;
            false
        }
    };
    target.close()?;
    Ok(worked)
}

/// Prints the plan instead of the answer. Returns whether there was one.
fn explained(query: &str, answer: &Answer, output: &mut Output) -> anyhow::Result<bool> {
    let Some(found) = &answer.plan else {
        output.note(plan::MISSING)?;
        return Ok(false);
    };
    output.text(&plan::draw(query, found, output.width(), output.color))?;
    if let Some(stats) = &answer.stats {
        output.line(&plan::totals(stats))?;
    }
    notes(query, answer, output)?;
    Ok(true)
}

/// When to evaluate.
fn moment(args: &QueryArgs, now_ms: i64) -> Result<Moment, String> {
    let instant = |text: &Option<String>, flag: &str| {
        text.as_deref()
            .map(|text| parse_instant_ms(text, now_ms).map_err(|error| format!("{flag}: {error}")))
            .transpose()
    };
    if args.start.is_none() && args.end.is_none() && args.step.is_none() {
        return Ok(Moment::Instant { time_ms: instant(&args.time, "--time")? });
    }
    let end_ms = instant(&args.end, "--end")?.unwrap_or(now_ms);
    let start_ms = instant(&args.start, "--start")?.unwrap_or(end_ms.saturating_sub(RANGE_DEFAULT_MS));
    if start_ms > end_ms {
        return Err("--start lies after --end".to_owned());
    }
    let step_ms = match &args.step {
        Some(text) => parse_step_ms(text).map_err(|error| format!("--step: {error}"))?,
        None => step_for_ms(end_ms.saturating_sub(start_ms)),
    };
    Ok(Moment::Range { start_ms, end_ms, step_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[track_caller]
    fn check(flags: &str, want: Result<Moment, &str>) {
        let words = ["metrickit", "query", "up"].into_iter().chain(flags.split_whitespace());
        let Command::Query(args) = Cli::parse_from(words).command else { panic!("a query") };
        match (moment(&args, 10_000_000), want) {
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => assert_eq!(got, want.map_err(str::to_owned), "for {flags:?}"),
        }
    }

    #[test]
    fn moments() {
        let range = |start_ms, end_ms, step_ms| Ok(Moment::Range { start_ms, end_ms, step_ms });
        check("", Ok(Moment::Instant { time_ms: None }));
        check("--time now-1s", Ok(Moment::Instant { time_ms: Some(9_999_000) }));
        check("--time soon", Err("--time: "));
        check("--step 30s", range(6_400_000, 10_000_000, 30_000));
        check("--start 0 --end 60", range(0, 60_000, 1_000));
        check("--end 5000", range(1_400_000, 5_000_000, 15_000));
        check("--start now --end 0", Err("--start lies after --end"));
        check("--start 0 --step 0", Err("--step: "));
    }
}
