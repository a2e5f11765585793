//! `metrickit captures list`: one line a capture.

use model::time::{Clock, SystemClock};

use super::{CAPTURES_PATH, Record, server};
use crate::UsageError;
use crate::cli::CaptureListArgs;
use crate::output::Output;
use crate::render::number::{count, short};
use crate::render::table;
use crate::render::text::shortened;
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use crate::when::{api_seconds, parse_instant_ms, show_instant};

/// How instants are shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S";
/// Columns for a reason, and for a name, where the table does not go to a terminal.
const REASON_COLUMNS: usize = 72;
const NAME_COLUMNS: usize = 32;
/// Characters of a revision that tell it apart.
const REVISION_CHARS: usize = 10;

/// Asks and tells; whether there are any.
pub(super) fn run(args: &CaptureListArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    let now_ms = SystemClock.now().0;
    let mut pairs = vec![("limit", args.limit.to_string())];
    for (name, value) in [("instance", &args.instance), ("job", &args.job), ("what", &args.kind), ("by", &args.by)] {
        pairs.extend(value.clone().map(|value| (name, value)));
    }
    for (name, text) in [("start", &args.start), ("end", &args.end)] {
        if let Some(text) = text {
            let at_ms = parse_instant_ms(text, now_ms).map_err(|error| UsageError(format!("--{name}: {error}")))?;
            pairs.push((name, api_seconds(at_ms)));
        }
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = client.get(CAPTURES_PATH, &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let all: Vec<Record> = serde_json::from_value(answer)?;
    output.text(&told(&all, output.is_terminal.then(|| output.width())))?;
    Ok(true)
}

fn told(all: &[Record], width: Option<usize>) -> String {
    if all.is_empty() {
        return "nothing was captured, or it is gone again; `metrickit go profile INSTANCE --kind heap` captures\n"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let header = ["id", "taken (UTC)", "instance", "job", "kind", "way", "revision", "why", "in all", "size"];
    table::fitted(&header, &rows, 2, width, &["way", "revision", "in all"])
}

fn row(record: &Record) -> Vec<String> {
    let kind = if record.seconds > 0 { format!("{} {}s", record.what, record.seconds) } else { record.what.clone() };
    vec![
        record.id.clone(),
        show_instant(record.time_ms, TIME_PATTERN),
        shortened(&record.instance, NAME_COLUMNS),
        shortened(&record.job, NAME_COLUMNS),
        kind,
        record.way.clone(),
        record.revision.chars().take(REVISION_CHARS).collect(),
        shortened(&record.reason, REASON_COLUMNS),
        total(record),
        short(count(record.bytes), BYTES),
    ]
}

/// The sum that a viewer would show first.
pub(super) fn total(record: &Record) -> String {
    let amount = count(record.total.max(0).unsigned_abs());
    match record.unit.as_str() {
        "bytes" => short(amount, BYTES),
        "nanoseconds" => short(amount / 1e9, SECONDS),
        _ => short(amount, PLAIN),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn record(what: &str, total: i64, unit: &str) -> Record {
        Record {
            id: "019b7a3c5e10-0000".to_owned(),
            time_ms: 1_767_225_600_000,
            instance: "web1/0".to_owned(),
            job: "api".to_owned(),
            what: what.to_owned(),
            seconds: 0,
            reason: "goroutines leak, grade 2".to_owned(),
            way: "memory".to_owned(),
            revision: "8c5f0123456789".to_owned(),
            bytes: 4096,
            total,
            unit: unit.to_owned(),
            file: "api-web1-0-heap-20260101T000000Z.pb.gz".to_owned(),
            is_text: false,
        }
    }

    #[test]
    fn captures_are_a_table() {
        let cpu = Record { seconds: 10, ..record("cpu", 1_500_000_000, "nanoseconds") };
        let text = told(&[record("goroutine", 1200, "count"), record("heap", 64 << 20, "bytes"), cpu], None);
        for wanted in [
            "019b7a3c5e10-0000 ┆ 2026-01-01 00:00:00 ┆ web1/0   ┆ api ┆ goroutine",
            "memory ┆ 8c5f012345 ┆ goroutines leak, grade 2 ┆   1.2k ┆ 4KiB",
            "64MiB",
            "cpu 10s",
            "1.5s",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(told(&[], None).contains("metrickit go profile"));
    }
}
