//! `metrickit silence`: keeps alerts quiet, at times that come again too, and shows when before it does.

use model::time::{Clock, SystemClock, parse_duration_ms};
use rules::notify::silence::{Recurrence, Silence};
use serde_json::{Value as Json, json};

use super::admin::server;
use crate::UsageError;
use crate::cli::{ServerArgs, SilenceAddArgs, SilenceCommand, SilenceExpireArgs};
use crate::output::Output;
use crate::render::{append, table};
use crate::when::{api_seconds, parse_instant_ms, show_instant};

/// How instants are shown.
const TIME_PATTERN: &str = "%a %Y-%m-%d %H:%M";
/// Most occurrences that are shown.
const OCCURRENCES_MAX: usize = 5;
/// What is shown of a silence whose times are all outside of it.
const NEVER: &str = "it never mutes\n";

/// Does what is asked for.
pub(crate) fn run(command: &SilenceCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        SilenceCommand::Add(args) => add(args, output),
        SilenceCommand::List(args) => list(args, output),
        SilenceCommand::Expire(args) => expire(args, output),
    }
}

fn add(args: &SilenceAddArgs, output: &mut Output) -> anyhow::Result<()> {
    let now_ms = SystemClock.now().0;
    let start = args.start.as_deref().map(|text| parse_instant_ms(text, now_ms)).transpose();
    let starts_ms = start.map_err(|error| UsageError(format!("--start: {error}")))?.unwrap_or(now_ms);
    let recurrence = recurrence(args)?;
    let ends_ms = starts_ms.saturating_add(length_ms(args)?);
    let shown = shown(recurrence.as_ref(), starts_ms, ends_ms, now_ms);
    let (from, to) = (show_instant(starts_ms, TIME_PATTERN), show_instant(ends_ms, TIME_PATTERN));
    if ends_ms <= now_ms {
        let now = show_instant(now_ms, TIME_PATTERN);
        return Err(UsageError(format!("its end {to} UTC is past: it is {now} UTC now")).into());
    }
    if shown == NEVER {
        return Err(UsageError(format!("none of its times is between {from} and {to} UTC: it never mutes")).into());
    }
    if args.dry_run {
        output.text(&shown)?;
        return Ok(());
    }
    let author = args.author.clone().unwrap_or_else(super::deletes::who);
    let (start, end) = (api_seconds(starts_ms), api_seconds(ends_ms));
    let mut form: Vec<(&str, &str)> = args.matchers.iter().map(|text| ("matcher", text.as_str())).collect();
    form.extend([("start", start.as_str()), ("end", &end), ("by", &author), ("comment", &args.comment)]);
    if let Some(recurrence) = &recurrence {
        form.push(("recurrence", &recurrence.text));
    }
    let made = server(args.server.url.as_deref())?.post("/api/v1/alerting/silences", &form)?;
    if args.server.json {
        output.line(&made.to_string())?;
        return Ok(());
    }
    output.line(made["id"].as_str().unwrap_or_default())?;
    output.note(shown.trim_end())?;
    Ok(())
}

/// How long it lasts: one that comes again would seldom come within an hour.
fn length_ms(args: &SilenceAddArgs) -> anyhow::Result<i64> {
    let recurs = args.daily.is_some() || args.weekdays.is_some();
    let text = args.duration.as_deref().unwrap_or(if recurs { "52w" } else { "1h" });
    Ok(parse_duration_ms(text).map_err(|error| UsageError(format!("--for: {error}")))?)
}

/// Which times the arguments mean, if not all.
fn recurrence(args: &SilenceAddArgs) -> anyhow::Result<Option<Recurrence>> {
    if args.daily.is_none() && args.weekdays.is_none() {
        return Ok(None);
    }
    let span = |from: &str, to: &str| json!([{ "start_time": from, "end_time": to }]);
    let times = match args.daily.as_deref() {
        None => vec![Json::Null],
        Some(text) => {
            let wrong = || UsageError(format!("--daily: {text:?} is no span such as 22:00-06:00"));
            let (from, to) = text.split_once('-').ok_or_else(wrong)?;
            // What passes midnight is two spans.
            if from < to { vec![span(from, to)] } else { vec![span(from, "24:00"), span("00:00", to)] }
        }
    };
    let all: Vec<Json> = times
        .into_iter()
        .filter(|times| times[0]["start_time"] != times[0]["end_time"] || times.is_null())
        .map(|times| {
            let mut one = json!({ "location": args.zone });
            if !times.is_null() {
                one["times"] = times;
            }
            if let Some(days) = &args.weekdays {
                one["weekdays"] = days.split(',').map(str::trim).collect();
            }
            one
        })
        .collect();
    let text = Json::Array(all).to_string();
    Ok(Some(Recurrence::parse(&text).map_err(|error| UsageError(format!("the times: {error}")))?))
}

/// When it mutes.
fn shown(recurrence: Option<&Recurrence>, starts_ms: i64, ends_ms: i64, now_ms: i64) -> String {
    let silence = Silence {
        id: String::new(),
        sets: Vec::new(),
        starts_ms,
        ends_ms,
        updated_ms: now_ms,
        created_by: String::new(),
        comment: String::new(),
        recurrence: recurrence.cloned(),
    };
    let at = |ms: i64| show_instant(ms, TIME_PATTERN);
    let mut text = String::new();
    let spans = silence.occurrences(now_ms, ends_ms, OCCURRENCES_MAX + 1);
    for (from_ms, to_ms) in spans.iter().take(OCCURRENCES_MAX) {
        append(&mut text, format_args!("mutes {} to {} UTC\n", at(*from_ms), at(*to_ms)));
    }
    if spans.is_empty() {
        text.push_str(NEVER);
    } else if spans.len() > OCCURRENCES_MAX {
        append(&mut text, format_args!("and so on until {} UTC\n", at(ends_ms)));
    }
    text
}

fn list(args: &ServerArgs, output: &mut Output) -> anyhow::Result<()> {
    let answer = server(args.url.as_deref())?.get("/api/v1/alerting/silences", &[])?;
    if args.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let all = answer.as_array().map_or(&[][..], Vec::as_slice);
    output.text(&told(all, output.is_terminal.then(|| output.width())))?;
    Ok(())
}

fn told(all: &[Json], width: Option<usize>) -> String {
    if all.is_empty() {
        return "no silences\n".to_owned();
    }
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let time = |value: &Json| text(value).replace('T', " ").chars().take(16).collect::<String>();
    let matcher = |one: &Json| {
        let op = match (one["isRegex"] == true, one["isEqual"] == true) {
            (false, true) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (true, false) => "!~",
        };
        format!("{}{op}{}", text(&one["name"]), text(&one["value"]))
    };
    let row = |silence: &Json| {
        let matchers: Vec<String> = silence["matchers"].as_array().into_iter().flatten().map(matcher).collect();
        let recurs = if silence["recurrence"].is_null() { "" } else { ", recurs" };
        // One of the routing file has no end.
        let is_always = text(&silence["startsAt"]).starts_with("0001-");
        let time = |value: &Json| if is_always { "always".to_owned() } else { time(value) };
        vec![
            text(&silence["id"]),
            format!("{}{recurs}", text(&silence["status"]["state"])),
            matchers.join(" "),
            time(&silence["startsAt"]),
            time(&silence["endsAt"]),
            text(&silence["createdBy"]),
            text(&silence["comment"]),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = ["id", "state", "matchers", "from (UTC)", "to (UTC)", "by", "comment"];
    table::fitted(&header, &rows, 0, width, &["by", "from (UTC)"])
}

fn expire(args: &SilenceExpireArgs, output: &mut Output) -> anyhow::Result<()> {
    let client = server(args.server.url.as_deref())?;
    for id in &args.ids {
        let path = format!("/api/v1/alerting/silences/{id}/expire");
        let answer = client.post(&path, &[])?;
        output.line(&if args.server.json { answer.to_string() } else { format!("{id} is over") })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &str) -> SilenceAddArgs {
        let line = format!("metrickit silence add a=b {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a command");
        let Command::Silence(SilenceCommand::Add(args)) = cli.command else { panic!("another command") };
        args
    }

    fn times(line: &str) -> Result<Option<Recurrence>, String> {
        recurrence(&args(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn silences_of_the_routing_file_are_always_there() {
        let of = |from: &str, to: &str| {
            told(&[json!({"id": "x", "startsAt": from, "endsAt": to, "status": {"state": "active"}})], None)
        };
        let (file, other) =
            (of("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), of("2026-11-23T18:13:00Z", "9999-12-31T23:59:59Z"));
        assert!(file.contains("┆ always ") && !file.contains("9999"), "{file}");
        assert!(other.contains("2026-11-23 18:13") && other.contains("9999-12-31 23:59"), "{other}");
    }

    #[test]
    fn what_comes_again_lasts_longer() {
        const HOUR_MS: i64 = 3_600_000;
        for (line, hours) in
            [("", 1), ("--for 2h", 2), ("--daily 22:00-06:00", 52 * 168), ("--weekdays sunday --for 1d", 24)]
        {
            assert_eq!(length_ms(&args(line)).expect("a time"), hours * HOUR_MS, "{line}");
        }
    }

    #[test]
    fn times_come_again() {
        const HOUR_MS: i64 = 3_600_000;
        assert_eq!(times(""), Ok(None));
        let nightly = times("--daily 22:00-06:00").expect("times");
        // The epoch is a Thursday.
        let want = "\
mutes Thu 1970-01-01 00:00 to Thu 1970-01-01 06:00 UTC
mutes Thu 1970-01-01 22:00 to Fri 1970-01-02 06:00 UTC
";
        assert_eq!(shown(nightly.as_ref(), 0, 40 * HOUR_MS, 0), want);
        let weekend = times("--weekdays saturday,sunday").expect("times");
        assert_eq!(shown(weekend.as_ref(), 0, 24 * HOUR_MS, 0), NEVER);
        let text = shown(weekend.as_ref(), 0, 24 * 365 * HOUR_MS, 0);
        assert!(text.starts_with("mutes Sat 1970-01-03 00:00 to Mon 1970-01-05 00:00 UTC\n"), "{text}");
        assert!(text.ends_with("and so on until Fri 1971-01-01 00:00 UTC\n"), "{text}");
        for wrong in ["--daily 22", "--daily 25:00-26:00", "--weekdays someday", "--daily 1:00-2:00"] {
            assert!(times(wrong).is_err(), "{wrong}");
        }
    }
}
