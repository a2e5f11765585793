//! Answers as tables: a column for each label that differs, what all rows share said once.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use model::labels::Quoted;

use super::bars::{QUANTILES, observed};
use super::number::short;
use super::text::{visible, width, wrapped};
use super::{Layout, append};
use crate::client::Value;
use crate::client::answer::{Point, Reading, Series};
use crate::client::histogram::Histogram;
use crate::when::show_instant;

/// Told instead of an empty table.
const NOTHING: &str = "no series: nothing matches at this time, or the newest sample is older than the lookback";
/// How rows of samples show their time.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S%.3f";

/// Writes `value` as a table, or as one line if it is one value.
pub(crate) fn write(value: &Value, layout: &Layout) -> String {
    match value {
        Value::Scalar(point) | Value::String(point) => format!("{}\n", visible(&point.reading.to_string())),
        Value::Vector(series) | Value::Matrix(series) if series.is_empty() => {
            format!("{}\n", wrapped(NOTHING, 0, layout.width.unwrap_or(usize::MAX)))
        }
        Value::Vector(series) => labelled(series, false, layout),
        Value::Matrix(series) => labelled(series, true, layout),
    }
}

/// Writes columns under a header, the last one aligned to the right.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    aligned(header, rows, 1, width)
}

/// Writes columns under a header, the last `right` of them aligned to the right.
pub(crate) fn aligned(header: &[&str], rows: &[Vec<String>], right: usize, width: Option<usize>) -> String {
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
    for at in header.len().saturating_sub(right)..header.len() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// The same, and where it is wider than `width` with fewer columns: those without any text go first, then those that `spare` names, in this order,
/// until it fits. What is missing is said.
pub(crate) fn fitted(
    header: &[&str],
    rows: &[Vec<String>],
    right: usize,
    width: Option<usize>,
    spare: &[&str],
) -> String {
    let is_empty = |at: usize| rows.iter().all(|row| row[at].is_empty());
    let empty = header.iter().enumerate().filter(|(at, _)| is_empty(*at)).map(|(_, name)| (*name, true));
    let spare = spare.iter().map(|name| (*name, false));
    let (mut header, mut rows, mut right) = (header.to_vec(), rows.to_vec(), right);
    let mut missing = Vec::new();
    for (name, is_empty) in empty.collect::<Vec<_>>().into_iter().chain(spare) {
        if width.is_none_or(|width| natural_width(&header, &rows) <= width) {
            break;
        }
        let Some(at) = header.iter().position(|known| *known == name) else { continue };
        right -= usize::from(at + right >= header.len());
        header.remove(at);
        for row in &mut rows {
            row.remove(at);
        }
        if !is_empty {
            missing.push(name);
        }
    }
    let mut text = aligned(&header, &rows, right, width);
    if !missing.is_empty() {
        append(&mut text, format_args!("  a wider terminal has: {}\n", missing.join(", ")));
    }
    text
}

/// Which columns stand behind the labels.
struct Tail {
    time: bool,
    value: bool,
    histogram: bool,
}

impl Tail {
    fn header(&self) -> Vec<&'static str> {
        let mut header = Vec::new();
        header.extend(self.time.then_some("time (UTC)"));
        header.extend(self.value.then_some("value"));
        if self.histogram {
            header.extend(["count", "sum"]);
            header.extend(QUANTILES.map(|(_, name)| name));
        }
        header
    }

    /// How many columns are aligned to the right.
    fn right(&self) -> usize {
        self.header().len() - usize::from(self.time)
    }

    fn cells(&self, series: &Series, point: &Point, layout: &Layout) -> Vec<String> {
        let mut cells = Vec::new();
        cells.extend(self.time.then(|| show_instant(point.timestamp_ms, TIME_PATTERN)));
        let (text, histogram) = match &point.reading {
            Reading::Text(text) => (text.as_str(), None),
            Reading::Histogram(histogram) => ("", Some(histogram)),
        };
        cells.extend(self.value.then(|| text.to_owned()));
        if self.histogram {
            cells.extend(histogram.map_or_else(Default::default, |histogram| summary(series, histogram, layout)));
        }
        cells
    }
}

/// Count and sum as sent, and quantiles in the unit of the series.
fn summary(series: &Series, histogram: &Histogram, layout: &Layout) -> [String; 2 + QUANTILES.len()] {
    let unit = observed(series, layout.observed);
    let quantile = |q| histogram.quantile(q).map(|value| short(value, unit)).unwrap_or_default();
    let [p50, p90, p99] = QUANTILES.map(|(q, _)| quantile(q));
    [histogram.count.clone(), histogram.sum.clone(), p50, p90, p99]
}

fn labelled(series: &[Series], with_time: bool, layout: &Layout) -> String {
    let names: BTreeSet<&str> = series.iter().flat_map(|series| series.labels.keys().map(String::as_str)).collect();
    let value_of = |series: &Series, name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let is_shared = |name: &&str| {
        series.len() > 1 && series.windows(2).all(|pair| pair[0].labels.get(*name) == pair[1].labels.get(*name))
    };
    let (shared, own): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_shared);

    let points = || series.iter().flat_map(|series| series.points.iter().map(move |point| (series, point)));
    let rows_all = points().count();
    let shown = || points().take(layout.rows_max);
    let tail = Tail {
        time: with_time,
        value: shown().any(|(_, point)| point.histogram().is_none()),
        histogram: shown().any(|(_, point)| point.histogram().is_some()),
    };
    let mut header: Vec<&str> = own.iter().copied().chain(tail.header()).collect();
    let mut rows: Vec<Vec<String>> = shown()
        .map(|(series, point)| {
            own.iter().map(|name| value_of(series, name)).chain(tail.cells(series, point, layout)).collect()
        })
        .collect();

    let mut text = String::new();
    if layout.width.is_some_and(|width| natural_width(&header, &rows) > width) {
        // Too many labels for columns: one column in the notation of the query language.
        header = std::iter::once("series").chain(tail.header()).collect();
        rows = shown()
            .map(|(series, point)| {
                std::iter::once(series.to_string()).chain(tail.cells(series, point, layout)).collect()
            })
            .collect();
    } else if !shared.is_empty() {
        let pairs: Vec<String> =
            shared.iter().map(|name| format!("{name}={}", Quoted(&value_of(&series[0], name)))).collect();
        append(&mut text, format_args!("all rows: {}\n", visible(&pairs.join(", "))));
    }
    text.push_str(&aligned(&header, &rows, tail.right(), layout.width));
    if rows_all > rows.len() {
        append(&mut text, format_args!("… and {} more rows; --format csv has them all\n", rows_all - rows.len()));
    }
    text
}

/// Columns a table needs when no cell is wrapped: its texts, and a border and two spaces for each column.
fn natural_width(header: &[&str], rows: &[Vec<String>]) -> usize {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| width(&row[at]));
        cells.chain([width(header[at])]).max().unwrap_or(0)
    };
    (0..header.len()).map(|at| widest(at) + 3).sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use super::super::unit::PLAIN;
    use super::*;
    use crate::client::answer::series;
    use crate::client::histogram::histogram;

    const LAYOUT: Layout =
        Layout { width: Some(60), height: None, color: false, rows_max: 3, unit: PLAIN, observed: PLAIN, axes: None };

    #[track_caller]
    fn check(value: &Value, want: &str) {
        let got = write(value, &LAYOUT);
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn columns_are_left_out_where_there_is_no_room() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = [row(["api", "", "v1.2.3", "12"]), row(["a-longer-name", "", "v1.2.4", "7"])];
        let told = |width| fitted(&["job", "note", "version", "count"], &rows, 1, width, &["version", "count"]);
        assert!(told(None).starts_with("┌───────────────┬──────┬"), "{}", told(None));
        let want = "\
┌───────────────┬─────────┬───────┐
│ job           ┆ version ┆ count │
╞═══════════════╪═════════╪═══════╡
│ api           ┆ v1.2.3  ┆    12 │
│ a-longer-name ┆ v1.2.4  ┆     7 │
└───────────────┴─────────┴───────┘
";
        assert_eq!(told(Some(40)), want, "\n{}", told(Some(40)));
        let want = "\
┌───────────────┬───────┐
│ job           ┆ count │
╞═══════════════╪═══════╡
│ api           ┆    12 │
│ a-longer-name ┆     7 │
└───────────────┴───────┘
  a wider terminal has: version
";
        assert_eq!(told(Some(30)), want, "\n{}", told(Some(30)));
        assert!(told(Some(20)).ends_with("  a wider terminal has: version, count\n"), "{}", told(Some(20)));
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
    fn histograms_are_told_by_count_sum_and_quantiles() {
        let reading = Reading::Histogram(histogram("4", "0.7", &[(0, "0.125", "0.25", "4")]));
        let timed = Series {
            points: vec![Point { timestamp_ms: 1000, reading }],
            ..series(&[("__name__", "request_seconds"), ("job", "api")], &[])
        };
        let want = "\
┌─────────────────┬─────┬───────┬─────┬─────────┬─────────┬─────────┐
│ __name__        ┆ job ┆ count ┆ sum ┆     p50 ┆     p90 ┆     p99 │
╞═════════════════╪═════╪═══════╪═════╪═════════╪═════════╪═════════╡
│ request_seconds ┆ api ┆     4 ┆ 0.7 ┆ 176.8ms ┆ 233.3ms ┆ 248.3ms │
└─────────────────┴─────┴───────┴─────┴─────────┴─────────┴─────────┘
";
        let wide = Layout { width: Some(80), ..LAYOUT };
        let got = write(&Value::Vector(vec![timed.clone()]), &wide);
        assert_eq!(got, want, "\n{got}");
        let plain = series(&[("__name__", "up")], &[(1, "1")]);
        let got = write(&Value::Vector(vec![timed, plain]), &wide);
        assert!(got.contains("┆ value ┆ count ┆") && got.lines().all(|line| width(line) <= 80), "{got}");
    }

    #[test]
    fn single_values_and_nothing() {
        check(&Value::Scalar(Point::new(0, "42")), "42\n");
        assert!(write(&Value::Vector(vec![]), &LAYOUT).starts_with("no series"));
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        let vector = Value::Vector(vec![series(&[("a", "\u{1b}[31m")], &[(1, "1")])]);
        assert!(!write(&vector, &LAYOUT).contains('\u{1b}'));
    }
}
