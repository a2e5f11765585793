//! Series over time as a chart in the terminal: braille lines, a value axis, a time axis, a legend.
//!
//! Without colour, series are told apart by the letter at the right end of each line.

use super::append;
use super::axis::{Scale, TimeAxis, onto};
use super::canvas::{Canvas, DOTS_DOWN};
use super::number::short;
use super::text::{paint, shortened, visible, width};
use super::unit::{PLAIN, Unit};
use super::{Axes, Layout};
use crate::client::answer::{LabelMap, Series};
use model::labels::METRIC_NAME;

/// Most series drawn; the rest is counted below the chart.
const SERIES_MAX: usize = 8;
/// Marks on the value axis, about: one for each so many rows.
const MARK_ROWS: usize = 3;
/// Fewest columns of the plot.
const PLOT_COLUMNS_MIN: usize = 16;
/// A gap longer than this many usual distances between samples breaks the line.
const GAP_FACTOR: i64 = 2;
/// Colours of series, as escape sequences for the foreground (bright where the plain one is hard to read).
const COLORS: [&str; SERIES_MAX] = ["36", "33", "32", "35", "94", "91", "96", "93"];

/// What is drawn of one series.
struct Line {
    name: String,
    points: Vec<(i64, f64)>,
}

/// Draws the numbers of `series`; the text ends its last line.
pub(crate) fn draw(series: &[&Series], layout: &Layout) -> String {
    let lines = lines(series);
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value));
    if values().next().is_none() {
        return "no finite values to draw; --format table shows the samples\n".to_owned();
    }
    let unit = unit_of(series, layout.unit);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let rows = layout.chart_rows();
    let scale = Scale::around(low, high, rows / MARK_ROWS, unit);
    let times = || lines.iter().flat_map(|line| line.points.iter().map(|&(time_ms, _)| time_ms));
    let own = (times().min().unwrap_or(0), times().max().unwrap_or(0));

    let labels = value_labels(&scale, unit, rows);
    let label_columns = labels.iter().flatten().map(|label| width(label)).max().unwrap_or(0);
    let ends = ends(&lines, &scale, rows);
    let end_columns = ends.iter().map(Vec::len).max().unwrap_or(0);
    // A space and the axis on the left, a space on the right.
    let columns = layout.chart_columns().saturating_sub(label_columns + end_columns + 3).max(PLOT_COLUMNS_MIN);
    let axes = layout.axes.unwrap_or(Axes { start_ms: own.0, end_ms: own.1, step_ms: 0 });
    let time = TimeAxis { columns, start_ms: axes.start_ms, end_ms: axes.end_ms };

    let canvas = plot(&lines, &scale, &time, rows, axes.step_ms);
    let mut text = String::new();
    for (row, label) in labels.iter().enumerate() {
        let edge = if label.is_some() { '┤' } else { '│' };
        let body = colored_row(&canvas, row, layout.color);
        let end: String = ends[row].iter().map(|&at| paint(&letter(at), COLORS[at], layout.color)).collect();
        let label = label.as_deref().unwrap_or_default();
        let pad = " ".repeat(label_columns.saturating_sub(width(label)));
        text.push_str(format!("{pad}{label} {edge}{body} {end}").trim_end());
        text.push('\n');
    }
    text.push_str(&time.text(label_columns));
    text.push_str(&legend(&lines, unit, layout));
    let shared = shared_labels(series);
    if !shared.is_empty() {
        let all = visible(&Series { labels: shared, points: Vec::new() }.to_string());
        append(&mut text, format_args!("{}\n", shortened(&format!("all are {all}"), layout.chart_columns())));
    }
    if series.len() > lines.len() {
        let left = series.len() - lines.len();
        append(&mut text, format_args!("… and {left} more series; topk({SERIES_MAX}, …) picks some\n"));
    }
    text
}

/// The first series, with their finite points.
fn lines(series: &[&Series]) -> Vec<Line> {
    let finite = |series: &Series| {
        let points = series.points.iter().map(|point| (point.timestamp_ms, point.number()));
        points.filter(|(_, value)| value.is_finite()).collect()
    };
    let shared = shared_labels(series);
    let own = |series: &Series| {
        let differs = |(name, value): &(&String, &String)| shared.get(*name) != Some(*value);
        let labels = series.labels.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect();
        Series { labels, points: Vec::new() }
    };
    let line = |series: &&Series| Line { name: visible(&own(series).to_string()), points: finite(series) };
    series.iter().take(SERIES_MAX).map(line).collect()
}

/// The labels that several series have in common; they are said once.
fn shared_labels(series: &[&Series]) -> LabelMap {
    let [first, rest @ ..] = series else { return LabelMap::new() };
    let is_shared =
        |name: &str, value: &str| rest.iter().all(|other| other.labels.get(name).is_some_and(|own| own == value));
    let all = first.labels.iter().filter(|(name, value)| !rest.is_empty() && is_shared(name, value));
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The unit that all names agree on; `of_query` where no series has a name.
fn unit_of(series: &[&Series], of_query: Unit) -> Unit {
    let mut units = series.iter().map(|series| series.labels.get(METRIC_NAME).map(|name| Unit::of_metric(name)));
    let Some(first) = units.next() else { return of_query };
    if units.all(|unit| unit == first) { first.unwrap_or(of_query) } else { PLAIN }
}

/// The label of each row, if a mark falls there.
fn value_labels(scale: &Scale, unit: Unit, rows: usize) -> Vec<Option<String>> {
    let mut labels = vec![None; rows];
    for mark in scale.marks() {
        labels[row_of(scale, mark, rows) / DOTS_DOWN] = Some(short(mark, unit));
    }
    labels
}

/// For each row the lines whose newest value lies there.
fn ends(lines: &[Line], scale: &Scale, rows: usize) -> Vec<Vec<usize>> {
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); rows];
    for (at, line) in lines.iter().enumerate() {
        if let Some(&(_, value)) = line.points.last() {
            ends[row_of(scale, value, rows) / DOTS_DOWN].push(at);
        }
    }
    ends
}

/// The row of dots, from the top, where `value` lies.
fn row_of(scale: &Scale, value: f64, rows: usize) -> usize {
    onto(1.0 - scale.position(value), rows * DOTS_DOWN)
}

/// The dots of all lines; where they cross, the first line's colour is on top. Samples are `step_ms` apart, or as
/// their distances tell if that is zero.
fn plot(lines: &[Line], scale: &Scale, time: &TimeAxis, rows: usize, step_ms: i64) -> Canvas {
    let mut canvas = Canvas::new(time.columns, rows);
    for (at, line) in lines.iter().enumerate().rev() {
        let usual_ms = if step_ms > 0 { step_ms } else { usual_distance_ms(&line.points) };
        let gap_ms = usual_ms.saturating_mul(GAP_FACTOR);
        let is_near = |(from_ms, _): (i64, f64), (to_ms, _): (i64, f64)| to_ms.saturating_sub(from_ms) < gap_ms;
        let dot_of = |(time_ms, value)| (time.across(time_ms), row_of(scale, value, rows));
        for (index, &point) in line.points.iter().enumerate() {
            let before =
                index.checked_sub(1).map(|before| line.points[before]).filter(|&before| is_near(before, point));
            let is_alone = before.is_none() && line.points.get(index + 1).is_none_or(|&next| !is_near(point, next));
            let dot = dot_of(point);
            match before {
                Some(before) => canvas.line(dot_of(before), dot, at),
                // Two dots wide, for one is hard to see.
                None if is_alone => canvas.line((dot.0 ^ 1, dot.1), dot, at),
                None => canvas.dot(dot, at),
            }
        }
    }
    canvas
}

/// The median distance between neighbours.
fn usual_distance_ms(points: &[(i64, f64)]) -> i64 {
    let mut distances: Vec<i64> = points.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied().unwrap_or(0)
}

/// The characters of a row, with an escape sequence where the series changes.
fn colored_row(canvas: &Canvas, row: usize, color: bool) -> String {
    let mut text = String::new();
    let mut now: Option<usize> = None;
    for (c, owner) in canvas.row(row) {
        if color && owner.is_some() && owner != now {
            append(&mut text, format_args!("\u{1b}[{}m", COLORS[owner.unwrap_or(0)]));
            now = owner;
        }
        text.push(c);
    }
    if now.is_some() {
        text.push_str("\u{1b}[0m");
    }
    text
}

/// `A` for the first series.
fn letter(at: usize) -> String {
    char::from_u32('A' as u32 + u32::try_from(at).unwrap_or(0)).unwrap_or('?').to_string()
}

/// A line for each series: its letter, newest, lowest and highest value, its name as far as it fits.
fn legend(lines: &[Line], unit: Unit, layout: &Layout) -> String {
    let numbers = |line: &Line| {
        let values = || line.points.iter().map(|&(_, value)| value);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let last = values().next_back().unwrap_or(f64::NAN);
        [last, low, high].map(|value| if value.is_finite() { short(value, unit) } else { "-".to_owned() })
    };
    let all: Vec<[String; 3]> = lines.iter().map(numbers).collect();
    let columns: [usize; 3] =
        std::array::from_fn(|at| all.iter().map(|texts| texts[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (at, (line, [last, low, high])) in lines.iter().zip(&all).enumerate() {
        let [a, b, c] = columns;
        let head = format!("last {last:>a$}  min {low:>b$}  max {high:>c$}");
        let room = layout.chart_columns().saturating_sub(width(&head) + 4);
        let letter = paint(&letter(at), COLORS[at], layout.color);
        append(&mut text, format_args!("{letter} {head}  {}\n", shortened(&line.name, room)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Point, series};

    fn ramp(name: &str, from: i64, step: i64) -> Series {
        let points = (0..=20).map(|at| Point::new(at * 60_000, (from + at * step).to_string()));
        Series { points: points.collect(), ..series(&[("__name__", name)], &[]) }
    }

    const LAYOUT: Layout =
        Layout { width: Some(50), height: None, color: false, rows_max: 3, unit: PLAIN, observed: PLAIN, axes: None };

    #[track_caller]
    fn check(series: &[Series], layout: &Layout, want: &str) {
        let got = drawn(series, layout);
        assert_eq!(got, want, "\n{got}");
    }

    fn drawn(series: &[Series], layout: &Layout) -> String {
        draw(&series.iter().collect::<Vec<_>>(), layout)
    }

    #[test]
    fn two_lines_with_axes_and_legend() {
        let series = [ramp("up_bytes", 0, 1024), ramp("down", 20_000, -1000)];
        check(&series, &LAYOUT, include_str!("chart_two_lines.txt"));
    }

    #[test]
    fn bytes_have_round_marks_of_bytes() {
        check(&[ramp("up_bytes", 0, 30 << 20)], &LAYOUT, include_str!("chart_bytes.txt"));
        let rate = Unit { per_second: true, ..super::super::unit::BYTES };
        let nameless = Series { labels: [].into(), ..ramp("", 0, 1 << 20) };
        assert!(drawn(&[nameless], &Layout { unit: rate, ..LAYOUT }).contains("16MiB/s ┤"));
    }

    #[test]
    fn a_gap_breaks_the_line_and_one_value_has_room() {
        let points = [(0, "5"), (60, "5"), (120, "NaN"), (600, "5"), (660, "5")];
        check(&[series(&[("a", "b")], &points)], &LAYOUT, include_str!("chart_gap.txt"));
    }

    #[test]
    fn the_step_tells_a_gap_from_a_rare_sample() {
        let points = [(0, "1"), (60, "2"), (300, "3"), (360, "4"), (600, "2")];
        let axes = Axes { start_ms: 0, end_ms: 600_000, step_ms: 60_000 };
        check(&[series(&[], &points)], &Layout { axes: Some(axes), ..LAYOUT }, include_str!("chart_steps.txt"));
    }

    #[test]
    fn what_series_share_is_said_once() {
        let of = |mode| series(&[("__name__", "cpu"), ("job", "node"), ("mode", mode)], &[(0, "1"), (60, "2")]);
        let got = drawn(&[of("idle"), of("user")], &LAYOUT);
        let legend: Vec<&str> = got.lines().rev().take(3).collect();
        assert_eq!(
            legend,
            [
                "all are cpu{job=\"node\"}",
                "B last 2  min 1  max 2  {mode=\"user\"}",
                "A last 2  min 1  max 2  {mode=\"idle\"}",
            ]
        );
    }

    #[test]
    fn one_point_is_a_dot() {
        check(&[series(&[("__name__", "up")], &[(90, "1")])], &LAYOUT, include_str!("chart_point.txt"));
    }

    #[test]
    fn nothing_to_draw_and_too_much() {
        assert!(drawn(&[series(&[], &[(0, "NaN")])], &LAYOUT).starts_with("no finite values"));
        let many: Vec<Series> = (0..10).map(|at| ramp("x", at, 1)).collect();
        let axes = Axes { start_ms: 0, end_ms: 3_600_000, step_ms: 60_000 };
        let got = drawn(&many, &Layout { color: true, axes: Some(axes), ..LAYOUT });
        assert!(got.ends_with("… and 2 more series; topk(8, …) picks some\n"), "{got}");
    }

    #[test]
    fn lines_keep_to_the_width() {
        for columns in [0, 40, 77, 200] {
            let got = drawn(&[ramp(&"long_name".repeat(40), 0, 7)], &Layout { width: Some(columns), ..LAYOUT });
            let widest = got.lines().map(width).max().unwrap_or(0);
            assert!(widest <= columns.max(60), "{widest} columns of {columns}\n{got}");
        }
    }

    #[test]
    fn tall_terminals_get_taller_charts() {
        let rows = |height| {
            let got = drawn(&[ramp("x", 0, 1)], &Layout { height, ..LAYOUT });
            got.lines().take_while(|line| !line.contains('└')).count()
        };
        assert_eq!([None, Some(5), Some(24), Some(50), Some(500)].map(rows), [12, 8, 12, 20, 20]);
    }
}
