//! `metrickit go leaks`: the leaking sites of all Go processes as a table, with what each grade means.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{COLUMNS_MAX, table_columns};
use crate::cli::LeaksArgs;
use crate::commands::Target;
use crate::output::Output;
use crate::render::number::short;
use crate::render::text::{paint, shortened, visible, wrapped};
use crate::render::unit::PLAIN;
use crate::render::{append, table};
use crate::when::show_instant;

/// How an instant is shown.
const TIME_PATTERN: &str = "%m-%d %H:%M";
/// Columns for a name.
const NAME_COLUMNS: usize = 40;
/// Characters of a revision that tell it apart.
const REVISION_CHARS: usize = 10;

/// What each grade means, from 0 on.
const MEANINGS: [(&str, &str); 5] = [
    ("hint", "all goroutines of the process together become more, which load does not explain; many are false alarms"),
    ("suspect", "window after window more goroutines are started than end; watch it"),
    ("probable", "at this site there are more after each window than ever before; look at the code"),
    (
        "strong",
        "at this site more and more goroutines have been blocked for long; it leaks unless they wait on purpose",
    ),
    ("proved", "the runtime found that nothing can wake these goroutines any more"),
];

/// What `/api/v1/go/leaks` answers.
#[derive(Debug, Default, Deserialize)]
struct Report {
    processes: Vec<Process>,
    leaks: Vec<Leak>,
}

#[derive(Debug, Default, Deserialize)]
struct Process {
    labels: BTreeMap<String, String>,
    grade: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Leak {
    labels: BTreeMap<String, String>,
    grade: f64,
    goroutines: Option<f64>,
    growth_per_hour: Option<f64>,
    since_seconds: Option<f64>,
    file: String,
    line: String,
    blocked_at: String,
    revision: String,
    version: String,
}

/// Asks and tells.
pub(crate) fn run(args: &LeaksArgs, output: &mut Output) -> anyhow::Result<bool> {
    let grade = args.min_grade.to_string();
    let mut pairs = vec![("min_grade", grade.as_str())];
    pairs.extend(args.job.iter().map(|job| ("job", job.as_str())));
    pairs.extend(args.instance.iter().map(|instance| ("instance", instance.as_str())));
    let target = Target::open(&args.target)?;
    let answer = target.client.get("/api/v1/go/leaks", &pairs);
    target.close()?;
    let answer = answer?;
    let report: Report = serde_json::from_value(answer.clone())?;
    if args.json {
        output.line(&answer.to_string())?;
    } else {
        output.text(&told(&report, args.min_grade, table_columns(output), output.color))?;
    }
    Ok(true)
}

fn told(report: &Report, min_grade: u8, columns: Option<usize>, color: bool) -> String {
    if report.leaks.is_empty() && report.processes.is_empty() {
        return format!("no goroutine leak of grade {min_grade} or above is known\n");
    }
    let mut text = String::new();
    if !report.leaks.is_empty() {
        let header = ["grade", "job", "instance", "site", "at", "waits for", "since", "revision", "count", "growth/h"];
        let rows: Vec<Vec<String>> = report.leaks.iter().map(row).collect();
        text.push_str(&table::fitted(&header, &rows, 2, columns, &["revision", "since", "waits for", "growth/h"]));
    }
    let named: BTreeSet<(String, String)> = report.leaks.iter().map(|leak| process_of(&leak.labels)).collect();
    let others = report.processes.iter().filter(|process| !named.contains(&process_of(&process.labels)));
    let rows: Vec<Vec<String>> = others
        .map(|process| {
            let (job, instance) = process_of(&process.labels);
            vec![grade(process.grade), name(&job), name(&instance)]
        })
        .collect();
    if !rows.is_empty() {
        append(&mut text, format_args!("{}\n", paint("Processes whose sites tell nothing yet", "1", color)));
        text.push_str(&table::aligned(&["grade", "job", "instance"], &rows, 0, columns));
    }
    for grade in grades(report) {
        if let Some((word, meaning)) = MEANINGS.get(grade) {
            let columns = columns.unwrap_or(COLUMNS_MAX);
            append(&mut text, format_args!("{}\n", wrapped(&format!("{grade} {word}: {meaning}"), 2, columns)));
        }
    }
    text
}

/// The grades that are told, highest first.
fn grades(report: &Report) -> Vec<usize> {
    let all = report.leaks.iter().map(|leak| leak.grade).chain(report.processes.iter().map(|process| process.grade));
    let all: BTreeSet<usize> = all.filter_map(|grade| short(grade, PLAIN).parse().ok()).collect();
    all.into_iter().rev().collect()
}

fn row(leak: &Leak) -> Vec<String> {
    let (job, instance) = process_of(&leak.labels);
    let label = |name: &str| leak.labels.get(name).map_or("", String::as_str);
    let place = if leak.file.is_empty() { leak.blocked_at.clone() } else { format!("{}:{}", leak.file, leak.line) };
    let revision = if leak.revision.is_empty() { &leak.version } else { &leak.revision };
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| short(value, PLAIN));
    #[expect(clippy::cast_possible_truncation, reason = "a float to an integer saturates")]
    let since = leak.since_seconds.map(|seconds| show_instant((seconds * 1000.0) as i64, TIME_PATTERN));
    vec![
        grade(leak.grade),
        name(&job),
        name(&instance),
        name(label("site")),
        tail(&place),
        name(label("wait")),
        since.unwrap_or_default(),
        visible(&revision.chars().take(REVISION_CHARS).collect::<String>()),
        number(leak.goroutines),
        number(leak.growth_per_hour),
    ]
}

fn process_of(labels: &BTreeMap<String, String>) -> (String, String) {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

fn grade(grade: f64) -> String {
    short(grade, PLAIN)
}

fn name(text: &str) -> String {
    shortened(&visible(text), NAME_COLUMNS)
}

/// The end of a path: the file and its line count, not where it was built.
fn tail(place: &str) -> String {
    let parts: Vec<&str> = place.rsplit('/').take(2).collect();
    name(&parts.into_iter().rev().collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let answer = serde_json::json!({
            "processes": [
                { "labels": { "job": "api", "instance": "web1/0" }, "grade": 3.0 },
                { "labels": { "job": "shop", "instance": "web2/0" }, "grade": 0.0 },
            ],
            "leaks": [{
                "labels": { "job": "api", "instance": "web1/0", "site": "main.leak.func1", "wait": "chan send" },
                "grade": 3.0, "goroutines": 1500.0, "growthPerHour": 120.0, "sinceSeconds": 1_767_225_600.0,
                "file": "/src/shop/cmd/api/main.go", "line": "41", "revision": "8c5f0123456789abcdef",
            }],
        });
        serde_json::from_value(answer).expect("a report")
    }

    #[test]
    fn leaks_are_a_table_with_the_meaning_of_grades() {
        let text = told(&report(), 0, None, false);
        for wanted in [
            "│ 3     ┆ api ┆ web1/0   ┆ main.leak.func1 ┆ api/main.go:41 ┆ chan send ┆ 01-01 00:00 ┆ 8c5f012345 ┆  1.5k ┆      120 │",
            "Processes whose sites tell nothing yet\n",
            "│ 0     ┆ shop ┆ web2/0   │",
            "3 strong: at this site more and more",
            "0 hint: all goroutines",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(!text.contains("4 proved") && !text.contains("│ 3     ┆ api ┆ web1/0   │"), "{text}");
        let long = || "n".repeat(NAME_COLUMNS);
        let labels = ["job", "instance", "site", "wait"].map(|name| (name.to_owned(), long())).into();
        let wide = Leak { labels, blocked_at: long(), growth_per_hour: Some(120.0), ..Leak::default() };
        let text = told(&Report { leaks: vec![wide], ..Report::default() }, 0, None, false);
        assert!(
            text.contains("growth/h") && !text.contains("a wider terminal"),
            "whole where there is no width\n{text}"
        );
        assert_eq!(told(&Report::default(), 2, None, false), "no goroutine leak of grade 2 or above is known\n");
    }

    #[test]
    fn what_is_missing_or_hostile_is_no_trouble() {
        let leak = Leak { grade: 2.0, file: "a\u{1b}[31m.go".into(), ..Leak::default() };
        let text = told(&Report { leaks: vec![leak], ..Report::default() }, 2, Some(140), false);
        assert!(!text.contains('\u{1b}') && text.contains("2 probable"), "{text}");
    }
}
