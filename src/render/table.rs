//! Answers as tables: a column for each label that differs, what all rows share said once.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use model::labels::Quoted;

use super::{Layout, append};
use crate::client::Value;
use crate::client::answer::Series;
use crate::when::show_instant;

/// How rows of samples show their time.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S%.3f";

/// Writes `value` as a table, or as one line if it is one value.
pub(crate) fn write(value: &Value, layout: &Layout) -> String {
    match value {
        Value::Scalar(point) | Value::String(point) => format!("{}\n", point.text),
        Value::Vector(series) | Value::Matrix(series) if series.is_empty() => {
            "no series: nothing matches at this time, or the newest sample is older than the lookback\n".to_owned()
        }
        Value::Vector(series) => labelled(series, false, layout),
        Value::Matrix(series) => labelled(series, true, layout),
    }
}

/// Writes columns under a header, the last one aligned to the right.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    if let Some(column) = header.len().checked_sub(1).and_then(|last| table.column_mut(last)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}

/// Control characters written as escapes, so that a label value cannot steer the terminal.
fn visible(text: &str) -> String {
    if text.contains(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

fn labelled(series: &[Series], with_time: bool, layout: &Layout) -> String {
    let names: BTreeSet<&str> = series.iter().flat_map(|series| series.labels.keys().map(String::as_str)).collect();
    let value_of = |series: &Series, name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let is_shared = |name: &&str| {
        series.len() > 1 && series.windows(2).all(|pair| pair[0].labels.get(*name) == pair[1].labels.get(*name))
    };
    let (shared, own): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_shared);

    let mut header: Vec<&str> = own.clone();
    if with_time {
        header.push("time (UTC)");
    }
    header.push("value");
    let rows_all: usize = series.iter().map(|series| series.points.len()).sum();
    let shown = series.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)));
    let shown = shown.take(layout.rows_max);
    let tail = |point: &crate::client::answer::Point| {
        let time = with_time.then(|| show_instant(point.timestamp_ms, TIME_PATTERN));
        time.into_iter().chain([point.text.clone()])
    };
    let mut rows: Vec<Vec<String>> = shown
        .clone()
        .map(|(series, point)| own.iter().map(|name| value_of(series, name)).chain(tail(point)).collect())
        .collect();

    let mut text = String::new();
    if layout.width.is_some_and(|width| natural_width(&header, &rows) > width) {
        // Too many labels for columns: one column in the notation of the query language.
        header = if with_time { vec!["series", "time (UTC)", "value"] } else { vec!["series", "value"] };
        rows = shown.map(|(series, point)| std::iter::once(series.to_string()).chain(tail(point)).collect()).collect();
    } else if !shared.is_empty() {
        let pairs: Vec<String> =
            shared.iter().map(|name| format!("{name}={}", Quoted(&value_of(&series[0], name)))).collect();
        append(&mut text, format_args!("all rows: {}\n", visible(&pairs.join(", "))));
    }
    text.push_str(&columns(&header, &rows, layout.width));
    if rows_all > rows.len() {
        append(&mut text, format_args!("… and {} more rows; --format csv has them all\n", rows_all - rows.len()));
    }
    text
}

/// Columns a table needs when no cell is wrapped: its texts, and a border and two spaces for each column.
fn natural_width(header: &[&str], rows: &[Vec<String>]) -> usize {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([header[at].chars().count()]).max().unwrap_or(0)
    };
    (0..header.len()).map(|at| widest(at) + 3).sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Point, series};

    const LAYOUT: Layout = Layout { width: Some(60), color: false, rows_max: 3, range_ms: None };

    #[track_caller]
    fn check(value: &Value, want: &str) {
        let got = write(value, &LAYOUT);
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn labels_that_differ_are_columns_and_the_rest_is_said_once() {
        let vector = Value::Vector(vec![
            series(&[("__name__", "up"), ("job", "api"), ("instance", "a:1")], &[(1, "1")]),
            series(&[("__name__", "up"), ("job", "api"), ("instance", "b:1")], &[(1, "0.25")]),
        ]);
        let want = "\
all rows: __name__=\"up\", job=\"api\"
┌──────────┬───────┐
│ instance ┆ value │
╞══════════╪═══════╡
│ a:1      ┆     1 │
│ b:1      ┆  0.25 │
└──────────┴───────┘
";
        check(&vector, want);
    }

    #[test]
    fn rows_that_are_too_wide_show_the_series_in_one_column() {
        let long = "x".repeat(30);
        let vector = Value::Vector(vec![series(&[("a", &long), ("b", &long)], &[(1, "1")])]);
        let got = write(&vector, &LAYOUT);
        assert!(got.contains("│ series"), "{got}");
        assert!(got.lines().all(|line| line.chars().count() <= 60), "{got}");
    }

    #[test]
    fn a_matrix_has_a_row_for_each_sample_and_a_limit() {
        let points = [(0, "1"), (1, "2"), (2, "3"), (3, "4")];
        let got = write(&Value::Matrix(vec![series(&[("__name__", "up")], &points)]), &LAYOUT);
        assert!(got.contains("│ up       ┆ 1970-01-01 00:00:02.000 ┆     3 │"), "{got}");
        assert!(got.ends_with("… and 1 more rows; --format csv has them all\n"), "{got}");
    }

    #[test]
    fn single_values_and_nothing() {
        check(&Value::Scalar(Point { timestamp_ms: 0, text: "42".into() }), "42\n");
        assert!(write(&Value::Vector(vec![]), &LAYOUT).starts_with("no series"));
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        let vector = Value::Vector(vec![series(&[("a", "\u{1b}[31m")], &[(1, "1")])]);
        assert!(!write(&vector, &LAYOUT).contains('\u{1b}'));
    }
}
