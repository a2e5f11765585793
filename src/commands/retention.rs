//! `metrickit retention explain`: what a server keeps of which series, and by which rule.

use model::time::ShowDuration;
use serde::Deserialize;

use super::Target;
use crate::cli::{RetentionArgs, RetentionCommand};
use crate::commands::admin::{counted, figure};
use crate::output::Output;
use crate::render::unit::BYTES;
use crate::render::{append, table};
use crate::when::show_instant;

/// How an instant is shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M";

/// What `/api/v1/status/retention` answers.
#[derive(Debug, Deserialize)]
struct Report {
    rules: u64,
    series: u64,
    kept: Vec<Kept>,
}

/// The series under one rule.
#[derive(Debug, Deserialize)]
struct Kept {
    rule: Option<u64>,
    text: String,
    series: u64,
    samples: Column,
    summaries: Vec<Column>,
}

/// Samples, or summaries of one window.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Column {
    window_ms: i64,
    keep_ms: Option<i64>,
    from_ms: Option<i64>,
    held_from_ms: Option<i64>,
    about_bytes: u64,
}

/// Asks and tells; whether any series was found.
pub(crate) fn run(command: &RetentionCommand, output: &mut Output) -> anyhow::Result<bool> {
    let RetentionCommand::Explain(RetentionArgs { selector, target, json }) = command;
    let target = Target::open(target)?;
    let pairs: Vec<(&str, &str)> = selector.iter().map(|selector| ("match[]", selector.as_str())).collect();
    let answer = target.client.get("/api/v1/status/retention", &pairs);
    target.close()?;
    let answer = answer?;
    if *json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let report: Report = serde_json::from_value(answer)?;
    output.text(&told(selector.as_deref(), &report))?;
    Ok(report.series > 0)
}

fn told(selector: Option<&str>, report: &Report) -> String {
    let of = selector.map_or_else(String::new, |selector| format!(" of {selector}"));
    if report.series == 0 {
        return format!("there are no series{of}\n");
    }
    let rules = match report.rules {
        0 => "there are no rules, the setting `retention` counts for all".to_owned(),
        _ => format!("{} in retention_rules, the first that matches counts", counted(report.rules, "rule")),
    };
    let mut text = format!("{}{of}; {rules}\n", counted_series(report.series));
    for kept in &report.kept {
        let name = match kept.rule {
            Some(number) => format!("rule {number}: {}", kept.text),
            None if report.rules == 0 => "retention".to_owned(),
            None => "no rule: the setting `retention`".to_owned(),
        };
        let rows: Vec<Vec<String>> = std::iter::once(&kept.samples).chain(&kept.summaries).map(row).collect();
        let header = ["kept", "for", "shown from (UTC)", "held from (UTC)", "about"];
        append(&mut text, format_args!("\n{name}\n{}\n", counted_series(kept.series)));
        text.push_str(&table::columns(&header, &rows, None));
    }
    text
}

fn row(column: &Column) -> Vec<String> {
    let instant = |ms: Option<i64>, none: &str| ms.map_or_else(|| none.to_owned(), |ms| show_instant(ms, TIME_PATTERN));
    let name = match column.window_ms {
        0 => "samples".to_owned(),
        window_ms => format!("{} summaries", ShowDuration(window_ms)),
    };
    vec![
        name,
        column.keep_ms.map_or_else(|| "ever".to_owned(), |ms| ShowDuration(ms).to_string()),
        instant(column.from_ms, "the first"),
        instant(column.held_from_ms, "none yet"),
        figure(column.about_bytes, BYTES),
    ]
}

/// `1.5k series`.
fn counted_series(count: u64) -> String {
    format!("{} series", figure(count, crate::render::unit::PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_by_rule() {
        let samples = |keep_ms| Column {
            window_ms: 0,
            keep_ms,
            from_ms: keep_ms.map(|_| 1_767_225_600_000),
            held_from_ms: Some(1_767_312_000_000),
            about_bytes: 1 << 20,
        };
        let hours = Column { window_ms: 3_600_000, keep_ms: None, from_ms: None, held_from_ms: None, about_bytes: 0 };
        let ruled = Kept {
            rule: Some(2),
            text: "{job=\"api\"} raw 15d, 1h for forever".to_owned(),
            series: 1,
            samples: samples(Some(15 * 86_400_000)),
            summaries: vec![hours],
        };
        let other = Kept {
            rule: None,
            text: "retention".to_owned(),
            series: 1200,
            samples: samples(None),
            summaries: Vec::new(),
        };
        let report = Report { rules: 2, series: 1201, kept: vec![ruled, other] };
        let text = told(Some("up"), &report);
        assert!(text.starts_with("1.2k series of up; 2 rules in retention_rules"), "{text}");
        for line in ["rule 2: {job=\"api\"} raw 15d, 1h for forever", "no rule: the setting `retention`"] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(name)).unwrap_or_default();
            line.split(['│', '┆']).map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(cells("samples"), ["samples", "15d", "2026-01-01 00:00", "2026-01-02 00:00", "1MiB"]);
        assert_eq!(cells("1h summaries"), ["1h summaries", "ever", "the first", "none yet", "0B"]);
        assert_eq!(told(Some("up"), &Report { rules: 0, series: 0, kept: vec![] }), "there are no series of up\n");
    }
}
