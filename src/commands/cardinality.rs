//! `metrickit cardinality`: what makes the series of a server so many, as tables, and what to do about it.
//!
//! The words under the tables are [`hints`]'.

mod hints;

use model::time::{ShowDuration, parse_duration_ms};
use serde::Deserialize;

use super::Target;
use super::admin::figure;
use crate::UsageError;
use crate::cli::CardinalityArgs;
use crate::output::Output;
use crate::render::number::count;
use crate::render::text::{paint, shortened, visible, wrapped};
use crate::render::unit::{BYTES, PLAIN};
use crate::render::{append, table};
use crate::when::show_instant;

/// How an instant is shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M";
/// Columns for a name; with the numbers beside it a table has some 90.
const NAME_COLUMNS: usize = 44;
/// Narrowest table that is laid out for.
const COLUMNS_MAX: usize = 100;

/// What `/api/v1/status/cardinality` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    since_ms: i64,
    known_from_ms: Option<i64>,
    series: Totals,
    limits: Vec<Limit>,
    churn: Churn,
    metrics: Vec<Group>,
    labels: Vec<Label>,
    pairs: Vec<Pair>,
    agents: Vec<Group>,
    jobs: Vec<Group>,
    instances: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
struct Totals {
    all: u64,
    selected: u64,
    active: u64,
    created: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Limit {
    #[serde(rename = "limit")]
    setting: String,
    max: u64,
    series: u64,
    of: String,
}

#[derive(Debug, Default, Deserialize)]
struct Churn {
    created: u64,
    removed: u64,
    metrics: Vec<Group>,
    agents: Vec<Group>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
struct Group {
    name: String,
    series: u64,
    active: u64,
    created: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    name: String,
    values: u64,
    series: u64,
    value_bytes: u64,
    series_without: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Pair {
    name: String,
    value: String,
    series: u64,
}

/// Asks and tells; whether any series was found.
pub(crate) fn run(args: &CardinalityArgs, output: &mut Output) -> anyhow::Result<bool> {
    let window_ms = parse_duration_ms(&args.window).map_err(|error| UsageError(format!("--window: {error}")))?;
    let (top, window) = (args.top.to_string(), ShowDuration(window_ms).to_string());
    let mut pairs = vec![("top", top.as_str()), ("window", window.as_str())];
    pairs.extend(args.selector.iter().map(|selector| ("match[]", selector.as_str())));
    let target = Target::open(&args.target)?;
    let answer = target.client.get("/api/v1/status/cardinality", &pairs);
    target.close()?;
    let answer = answer?;
    if args.json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let report: Report = serde_json::from_value(answer)?;
    let columns = if output.is_terminal { output.width() } else { COLUMNS_MAX };
    let shown = Shown { selector: args.selector.as_deref(), window: &args.window, columns, color: output.color };
    output.text(&shown.told(&report))?;
    Ok(report.series.selected > 0)
}

/// How a report is shown.
struct Shown<'a> {
    selector: Option<&'a str>,
    window: &'a str,
    columns: usize,
    color: bool,
}

impl Shown<'_> {
    fn told(&self, report: &Report) -> String {
        let of = self.selector.map_or_else(String::new, |selector| format!(" of {}", visible(selector)));
        if report.series.selected == 0 {
            return format!("there are no series{of}\n");
        }
        let mut text = self.summary(&of, report);
        self.section(&mut text, "Limits on series in memory", &limits(report));
        let all = report.series.selected;
        if report.metrics.len() > 1 {
            self.section(&mut text, "Metrics", &groups("metric", &report.metrics, all));
        }
        self.section(&mut text, "Labels", &labels(&report.labels));
        self.section(&mut text, "Label pairs in the most series", &pairs(&report.pairs, all));
        self.section(&mut text, "Where they come from", &sources(report));
        self.section(&mut text, &format!("New within {}", self.window), &new(report));
        for hint in hints::hints(report, self.selector) {
            let hint = wrapped(&visible(&hint), 2, self.columns);
            append(&mut text, format_args!("\n{} {}\n", paint("→", "1;33", self.color), hint.trim_start()));
        }
        text
    }

    fn summary(&self, of: &str, report: &Report) -> String {
        let Totals { all, selected, active, created } = report.series;
        let mut text = format!(
            "{} series{of}, {} active, {} new within {}\n",
            series(selected),
            series(active),
            series(created),
            self.window
        );
        if selected < all {
            append(&mut text, format_args!("the server has {}, these are {}\n", series(all), share(selected, all)));
        }
        let Churn { created, removed, .. } = report.churn;
        append(
            &mut text,
            format_args!("on the whole server {} were created and {} removed\n", series(created), series(removed)),
        );
        if let Some(from_ms) = report.known_from_ms.filter(|from_ms| *from_ms == report.since_ms) {
            let from = show_instant(from_ms, TIME_PATTERN);
            append(&mut text, format_args!("what is new is known from {from} UTC on\n"));
        }
        text
    }

    fn section(&self, text: &mut String, title: &str, table: &Table) {
        if !table.rows.is_empty() {
            append(text, format_args!("\n{}\n", paint(title, "1", self.color)));
            text.push_str(&table::aligned(&table.header, &table.rows, table.right, Some(self.columns)));
        }
    }
}

/// Rows under a header, of whose columns the last are numbers.
struct Table {
    header: Vec<&'static str>,
    right: usize,
    rows: Vec<Vec<String>>,
}

fn limits(report: &Report) -> Table {
    let row = |of: &Limit| {
        let whose = if of.of.is_empty() { "the server".to_owned() } else { name(&of.of) };
        let (max, used) = match of.max {
            0 => ("any number".to_owned(), String::new()),
            max => (series(max), share(of.series, max)),
        };
        vec![of.setting.clone(), whose, series(of.series), max, used]
    };
    let header = vec!["limit", "largest", "series", "may have", "used"];
    // A limit that nothing counts for says nothing.
    Table { header, right: 3, rows: report.limits.iter().filter(|of| of.series > 0).map(row).collect() }
}

fn groups(of: &'static str, groups: &[Group], all: u64) -> Table {
    let row = |group: &Group| {
        let mut row = vec![name(&group.name)];
        row.extend(numbers(group, all));
        row
    };
    let header = vec![of, "series", "share", "active", "new"];
    Table { header, right: 4, rows: groups.iter().map(row).collect() }
}

fn numbers(group: &Group, all: u64) -> [String; 4] {
    [series(group.series), share(group.series, all), series(group.active), series(group.created)]
}

fn labels(labels: &[Label]) -> Table {
    let row = |label: &Label| {
        let without = label.series_without.map_or_else(String::new, |left| format!("≈ {} series", series(left)));
        let text = figure(label.value_bytes, BYTES);
        vec![name(&label.name), series(label.values), text, series(label.series), without]
    };
    let header = vec!["label", "values", "their text", "in series", "without it"];
    Table { header, right: 4, rows: labels.iter().map(row).collect() }
}

fn pairs(pairs: &[Pair], all: u64) -> Table {
    let row = |pair: &Pair| {
        let shown = name(&format!("{}={}", pair.name, model::labels::Quoted(&pair.value)));
        vec![shown, series(pair.series), share(pair.series, all)]
    };
    Table { header: vec!["label pair", "series", "share"], right: 2, rows: pairs.iter().map(row).collect() }
}

/// Agents, jobs and instances; those that tell nothing more are left out.
fn sources(report: &Report) -> Table {
    let all = report.series.selected;
    let mut rows = Vec::new();
    let kinds = [("agent", &report.agents), ("job", &report.jobs), ("instance", &report.instances)];
    for (kind, groups) in kinds {
        if kind == "instance" && report.instances == report.agents {
            continue;
        }
        for group in groups {
            let mut row = vec![kind.to_owned(), name(&group.name)];
            row.extend(numbers(group, all));
            rows.push(row);
        }
    }
    Table { header: vec!["by", "name", "series", "share", "active", "new"], right: 4, rows }
}

fn new(report: &Report) -> Table {
    let created = report.series.created;
    let mut rows = Vec::new();
    for (kind, groups) in [("metric", &report.churn.metrics), ("agent", &report.churn.agents)] {
        for group in groups {
            let (new, all) = (group.created, group.series);
            rows.push(vec![kind.to_owned(), name(&group.name), series(new), share(new, created), series(all)]);
        }
    }
    Table { header: vec!["by", "name", "new", "share of new", "series"], right: 3, rows }
}

fn name(text: &str) -> String {
    shortened(&visible(text), NAME_COLUMNS)
}

/// `1.5k`.
fn series(number: u64) -> String {
    figure(number, PLAIN)
}

/// `12.3%` of `all`.
fn share(part: u64, all: u64) -> String {
    let percent = if all == 0 { 0.0 } else { 100.0 * count(part) / count(all) };
    format!("{percent:.1}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, series: u64, active: u64, created: u64) -> Group {
        Group { name: name.to_owned(), series, active, created }
    }

    fn label(name: &str, values: u64, series: u64, without: Option<u64>) -> Label {
        Label { name: name.to_owned(), values, series, value_bytes: values * 10, series_without: without }
    }

    fn report() -> Report {
        let limit =
            |limit: &str, max, series, of: &str| Limit { setting: limit.to_owned(), max, series, of: of.to_owned() };
        let web1 = vec![group("web1", 9000, 5000, 100)];
        Report {
            since_ms: 1_767_225_600_000,
            known_from_ms: Some(1_767_000_000_000),
            series: Totals { all: 12_000, selected: 10_000, active: 6_000, created: 100 },
            limits: vec![
                limit("series_max", 5_000_000, 12_000, ""),
                limit("series_per_metric_max", 10_000, 9_500, "http_requests_total"),
                limit("series_per_agent_max", 0, 9_000, "web1"),
            ],
            churn: Churn {
                created: 140,
                removed: 20,
                metrics: vec![group("http_requests_total", 9500, 5500, 100)],
                agents: web1.clone(),
            },
            metrics: vec![group("http_requests_total", 9500, 5500, 100), group("up", 500, 500, 0)],
            labels: vec![label("path", 9000, 9500, Some(12)), label("job", 1, 10_000, None)],
            pairs: vec![Pair { name: "job".into(), value: "a\u{1b}pi".into(), series: 10_000 }],
            agents: web1.clone(),
            jobs: vec![group("api", 10_000, 6_000, 100)],
            instances: web1,
        }
    }

    #[test]
    fn a_report_is_tables_that_fit() {
        let shown = Shown { selector: Some("{job=\"api\"}"), window: "24h", columns: 100, color: false };
        let text = shown.told(&report());
        for wanted in [
            "10k series of {job=\"api\"}, 6k active, 100 new within 24h\n",
            "the server has 12k, these are 83.3%\n",
            "on the whole server 140 were created and 20 removed\n",
            "│ series_per_metric_max ┆ http_requests_total ┆   9.5k ┆        10k ┆ 95.0% │\n",
            "│ series_per_agent_max  ┆ web1                ┆     9k ┆ any number ┆       │\n",
            "│ http_requests_total ┆   9.5k ┆ 95.0% ┆   5.5k ┆ 100 │\n",
            "│ path  ┆     9k ┆    87.9KiB ┆      9.5k ┆ ≈ 12 series │\n",
            "New within 24h\n",
            "→ ",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(!text.contains("known from") && !text.contains('\u{1b}') && !text.contains("│ instance"), "{text}");
        assert!(text.lines().all(|line| crate::render::text::width(line) <= 100), "{text}");
        let none = Shown { selector: Some("x"), ..shown };
        assert_eq!(none.told(&Report::default()), "there are no series of x\n");
    }

    #[test]
    fn long_names_are_cut() {
        let mut wide = report();
        wide.metrics[0].name = "x".repeat(300);
        wide.pairs[0].value = "y".repeat(300);
        wide.limits[1].of = "z".repeat(300);
        let text = Shown { selector: None, window: "24h", columns: 100, color: false }.told(&wide);
        // Commands in hints are whole, so that they work.
        let tables = text.split("\n→").next().unwrap_or_default();
        assert!(tables.lines().all(|line| crate::render::text::width(line) <= 100), "{text}");
    }
}
