//! `metrickit go inspect`: one Go process of this host, read in its memory from outside, without a server. Nothing is stopped or changed.
//!
//! Here it is found and read twice; `facts` puts together what was read, `warnings` makes sentences of it, `screen` shows it.

mod facts;
mod find;
mod screen;
mod warnings;

use std::fs::File;
use std::time::Duration;

use agent::go::buildinfo;
use agent::go::local::{Local, Pace, Seen};
use agent::go::signals::limits;
use agent::go::ways::{Part, Reason, Told};
use anyhow::Context;
use model::{Clock, SystemClock};

use self::facts::Pair;
use super::columns;
use crate::UsageError;
use crate::cli::InspectArgs;
use crate::output::Output;

/// Longest time between the two readings.
const SPAN_MAX: Duration = Duration::from_hours(1);

/// Reads and tells; whether the memory of the process could be read.
pub(crate) fn run(args: &InspectArgs, output: &mut Output) -> anyhow::Result<bool> {
    let span = span(&args.span)?;
    let mut local = Local::new(Pace::AtOnce)?;
    let found = local.scan().context("/proc cannot be listed")?;
    let process = find::find(&found, &args.process)?.clone();
    let (pid, name) = (process.life.pid, process.life.name.clone());
    local.only(process);
    let (first, first_limits) = (read(&mut local), limits(pid));
    std::thread::sleep(span);
    let (last, last_limits) = (read(&mut local), limits(pid));
    let (Some(first), Some(last)) = (first, last) else { anyhow::bail!("process {pid} ({name}) ended") };
    // Of a process that ends between the readings nothing is read the second time.
    anyhow::ensure!(last.number("process_threads").is_some(), "process {pid} ({name}) ended while it was read");
    let user = find::owner_of(pid).map(|(_, user)| user).unwrap_or_default();
    let settings = File::open(format!("/proc/{pid}/exe")).and_then(buildinfo::settings).unwrap_or_default();
    let pair = Pair { first: &first, last: &last, first_limits, last_limits };
    let mut facts = pair.facts(user, settings, args.sites);
    facts.warnings = warnings::warnings(&facts);
    if args.json {
        output.line(&serde_json::to_string(&facts)?)?;
    } else {
        output.text(&screen::told(&facts, columns(output), output.color))?;
    }
    let missing = unread(&last, pid, &name);
    if let Some(missing) = &missing {
        output.note(missing)?;
    }
    Ok(missing.is_none())
}

fn read(local: &mut Local) -> Option<Seen> {
    local.read(SystemClock.now().0).pop()
}

fn span(text: &str) -> Result<Duration, UsageError> {
    let wrong = |why: String| UsageError(format!("--for {text:?}: {why}; write it like 2s, at most 1h"));
    let ms = model::time::parse_duration_ms(text).map_err(|error| wrong(error.to_string()))?;
    let span = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    if span.is_zero() || span > SPAN_MAX { Err(wrong("it is out of bounds".to_owned())) } else { Ok(span) }
}

/// Why the runtime was not read, and what helps.
fn unread(seen: &Seen, pid: i32, name: &str) -> Option<String> {
    let go = &seen.process.build.go_version;
    match seen.part(Part::Runtime)? {
        Told::Read(_) => None,
        Told::Not(Reason::NoRight) => Some(find::no_right(pid, name)),
        Told::Not(Reason::UnknownRelease) => Some(format!(
            "the memory of process {pid} ({name}) is not read: no layout of {go} is known to this version of metrickit\nits own pages may tell: `metrickit agent --once` asks for /metrics, /debug/vars and /debug/pprof"
        )),
        Told::Not(Reason::NoAddresses) => Some(format!(
            "the memory of process {pid} ({name}, {go}) is not read: its executable does not tell where the runtime's variables are"
        )),
        Told::Not(reason) => Some(format!("the memory of process {pid} ({name}, {go}) is not read: {}", reason.text())),
    }
}
