//! `metrickit go diff`: two releases of a program compared by what their processes showed, from what the server has.
//!
//! `releases` finds what is meant and when it ran, `fetch` what its processes showed then, `compare` says what is beyond noise, `report` puts it
//! together, `screen` shows it.

mod compare;
mod fetch;
mod releases;
mod report;
mod screen;

use model::time::parse_duration_ms;
use model::{Clock, SystemClock};

use self::fetch::{Life, Window};
use self::releases::{Filter, Release};
use self::report::{Named, Report};
use super::columns;
use crate::UsageError;
use crate::cli::DiffArgs;
use crate::client::Client;
use crate::commands::Target;
use crate::output::Output;

/// Shortest range: the samples of a few rounds beyond what a process needs to settle.
const RANGE_MIN_MS: i64 = 300_000;
/// Longest range and history, in milliseconds: ten years.
const RANGE_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// Asks and tells; whether both could be compared.
pub(crate) fn run(args: &DiffArgs, output: &mut Output) -> anyhow::Result<bool> {
    let range_ms = duration("--range", &args.range)?;
    let history_ms = duration("--history", &args.history)?.max(range_ms);
    if let Some(name) = args.requests.as_deref().filter(|name| !model::labels::is_metric_name(name)) {
        return Err(UsageError(format!("--requests {name:?} is no name of a metric")).into());
    }
    let target = Target::open(&args.target)?;
    let report = report(&target.client, args, range_ms, history_ms);
    target.close()?;
    let report = report?;
    if args.json {
        output.line(&serde_json::to_string(&report)?)?;
    } else {
        output.text(&screen::told(&report, columns(output), output.color))?;
    }
    Ok(true)
}

fn duration(flag: &str, text: &str) -> Result<i64, UsageError> {
    let ms = parse_duration_ms(text).map_err(|error| UsageError(format!("{flag} {text:?}: {error}")))?;
    if (RANGE_MIN_MS..=RANGE_MAX_MS).contains(&ms) {
        Ok(ms)
    } else {
        Err(UsageError(format!("{flag} {text:?} is out of bounds: it is 5m at least")))
    }
}

fn report(client: &Client, args: &DiffArgs, range_ms: i64, history_ms: i64) -> anyhow::Result<Report> {
    let now_ms = SystemClock.now().0;
    let filter = Filter { job: args.job.as_deref(), name: args.name.as_deref() };
    let (all, step_ms) = releases::seen(client, filter, now_ms, history_ms)?;
    let (a, b) = (releases::meant(&all, &args.rev_a)?, releases::meant(&all, &args.rev_b)?);
    anyhow::ensure!(a.key != b.key, "{:?} and {:?} are both {}", args.rev_a, args.rev_b, a.key.text());
    let job = releases::common_job(a, b)?;
    // A release that runs now, or ended within a step, is compared by what is newest.
    let window = |release: &Release| -> anyhow::Result<Window> {
        let runs = release.last_ms + step_ms > now_ms && step_ms < range_ms / 4;
        let end_ms = if runs { now_ms } else { releases::ended_ms(client, &job, release, step_ms)? };
        Ok(Window::ending(end_ms, range_ms))
    };
    let (a_window, b_window) = (window(a)?, window(b)?);
    let requests = args.requests.as_deref();
    let in_b = fetch::lives(client, &job, b_window, requests)?;
    // In one range both may have run, one after the other or side by side.
    let in_a = if a_window == b_window { in_b.clone() } else { fetch::lives(client, &job, a_window, requests)? };
    let (a_lives, b_lives) = (of(a, in_a)?, of(b, in_b)?);
    let a = (Named::of(a, &a_lives, a_window.end_ms), a_lives.as_slice());
    let b = (Named::of(b, &b_lives, b_window.end_ms), b_lives.as_slice());
    #[expect(clippy::cast_precision_loss, reason = "bounded to ten years")]
    let range_seconds = range_ms as f64 / 1000.0;
    Ok(report::compare(job, range_seconds, a, b))
}

/// The lives of `release` of which something was kept.
fn of(release: &Release, lives: Vec<Life>) -> anyhow::Result<Vec<Life>> {
    let told = |life: &Life| life.release == release.key && life.values.iter().any(|values| !values.is_empty());
    let lives: Vec<Life> = lives.into_iter().filter(told).collect();
    anyhow::ensure!(
        !lives.is_empty(),
        "no process of {} showed anything in this range once it had run for {} s; widen --range",
        release.key.text(),
        fetch::SETTLES_MS / 1000
    );
    Ok(lives)
}
