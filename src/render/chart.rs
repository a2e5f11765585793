//! Series over time as a chart in the terminal: braille lines, a value axis, a time axis, a legend.
//!
//! Without colour, series are told apart by the letter at the right end of each line.

use super::append;
use super::axis::{Scale, time_marks};
use super::canvas::{Canvas, DOTS_ACROSS, DOTS_DOWN};
use super::number::{Unit, short};
use crate::client::answer::Series;
use crate::when::show_instant;
use model::labels::METRIC_NAME;

/// Most series drawn; the rest is counted below the chart.
const SERIES_MAX: usize = 8;
/// Rows of the plot.
const ROWS: usize = 12;
/// Marks on the value axis, about.
const VALUE_MARKS: usize = 4;
/// Columns for each mark of the time axis.
const TIME_MARK_COLUMNS: usize = 16;
/// Fewest columns of the plot.
const PLOT_COLUMNS_MIN: usize = 16;
/// A gap longer than this many usual distances between samples breaks the line.
const GAP_FACTOR: i64 = 2;
/// Colours of series, as escape sequences for the foreground (bright where the plain one is hard to read).
const COLORS: [&str; SERIES_MAX] = ["36", "33", "32", "35", "94", "91", "96", "93"];

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    width: usize,
    color: bool,
    range_ms: Option<(i64, i64)>,
}

impl Options {
    /// A chart of `width` columns; over `range_ms`, or the samples' own range.
    pub(crate) fn new(width: usize, color: bool, range_ms: Option<(i64, i64)>) -> Self {
        Self { width, color, range_ms }
    }
}

/// What is drawn of one series.
struct Line {
    name: String,
    points: Vec<(i64, f64)>,
}

/// Draws `series`; the text ends its last line.
pub(crate) fn draw(series: &[Series], options: &Options) -> String {
    let lines = lines(series);
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value));
    if values().next().is_none() {
        return "no finite values to draw; --format table shows the samples\n".to_owned();
    }
    let scale =
        Scale::around(values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max), VALUE_MARKS);
    let times = || lines.iter().flat_map(|line| line.points.iter().map(|&(time_ms, _)| time_ms));
    let own_range = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let (start_ms, end_ms) = options.range_ms.unwrap_or(own_range);
    let unit = unit_of(series);

    let labels = value_labels(&scale, unit);
    let label_columns = labels.iter().flatten().map(|label| label.chars().count()).max().unwrap_or(0);
    let ends = ends(&lines, &scale);
    let end_columns = ends.iter().map(Vec::len).max().unwrap_or(0);
    // A space and the axis on the left, a space on the right.
    let plot_columns = options.width.saturating_sub(label_columns + end_columns + 3).max(PLOT_COLUMNS_MIN);
    let plot = Plot { columns: plot_columns, start_ms, end_ms, scale };

    let canvas = plot.draw(&lines);
    let mut text = String::new();
    for (row, label) in labels.iter().enumerate() {
        let axis = if label.is_some() { '┤' } else { '│' };
        let body = colored_row(&canvas, row, options.color);
        let end: String = ends[row].iter().map(|&at| paint(&letter(at), at, options.color)).collect();
        let line = format!("{:>label_columns$} {axis}{body} {end}", label.as_deref().unwrap_or_default());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&plot.time_axis(label_columns));
    text.push_str(&legend(&lines, unit, options));
    if series.len() > lines.len() {
        let text_more = format!("… and {} more series; topk({SERIES_MAX}, …) picks some\n", series.len() - lines.len());
        text.push_str(&text_more);
    }
    text
}

/// The first series, with their finite points.
fn lines(series: &[Series]) -> Vec<Line> {
    let finite = |series: &Series| {
        let points = series.points.iter().map(|point| (point.timestamp_ms, point.number()));
        points.filter(|(_, value)| value.is_finite()).collect()
    };
    series
        .iter()
        .take(SERIES_MAX)
        .map(|series| Line {
            name: series.to_string().escape_debug().to_string().replace("\\\"", "\""),
            points: finite(series),
        })
        .collect()
}

/// The unit that all names agree on.
fn unit_of(series: &[Series]) -> Unit {
    let of = |series: &Series| series.labels.get(METRIC_NAME).map_or(Unit::Plain, |name| Unit::of_metric(name));
    if series.iter().all(|series| of(series) == Unit::Bytes) { Unit::Bytes } else { Unit::Plain }
}

/// The label of each row, if a mark falls there.
fn value_labels(scale: &Scale, unit: Unit) -> Vec<Option<String>> {
    let mut labels = vec![None; ROWS];
    for mark in scale.marks() {
        labels[row_of(scale, mark) / DOTS_DOWN] = Some(short(mark, unit));
    }
    labels
}

/// For each row the lines whose newest value lies there.
fn ends(lines: &[Line], scale: &Scale) -> [Vec<usize>; ROWS] {
    let mut ends: [Vec<usize>; ROWS] = Default::default();
    for (at, line) in lines.iter().enumerate() {
        if let Some(&(_, value)) = line.points.last() {
            ends[row_of(scale, value) / DOTS_DOWN].push(at);
        }
    }
    ends
}

/// The row of dots, from the top, where `value` lies.
fn row_of(scale: &Scale, value: f64) -> usize {
    onto(1.0 - scale.position(value), ROWS * DOTS_DOWN)
}

/// A position in 0..=1 as one of `count` dots.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a position inside a terminal"
)]
fn onto(position: f64, count: usize) -> usize {
    ((position * (count - 1) as f64).round() as usize).min(count - 1)
}

struct Plot {
    columns: usize,
    start_ms: i64,
    end_ms: i64,
    scale: Scale,
}

impl Plot {
    /// The dots of all lines; where they cross, the first line's colour is on top.
    fn draw(&self, lines: &[Line]) -> Canvas {
        let mut canvas = Canvas::new(self.columns, ROWS);
        for (at, line) in lines.iter().enumerate().rev() {
            let gap_ms = usual_distance_ms(&line.points).saturating_mul(GAP_FACTOR);
            let mut last: Option<(i64, (usize, usize))> = None;
            for &(time_ms, value) in &line.points {
                let dot = (self.across(time_ms), row_of(&self.scale, value));
                match last {
                    Some((last_ms, from)) if time_ms - last_ms <= gap_ms => canvas.line(from, dot, at),
                    _ => canvas.dot(dot, at),
                }
                last = Some((time_ms, dot));
            }
        }
        canvas
    }

    /// The column of dots of an instant.
    #[expect(clippy::cast_precision_loss, reason = "a position inside a terminal")]
    fn across(&self, time_ms: i64) -> usize {
        let span_ms = self.end_ms.saturating_sub(self.start_ms).max(1);
        let since_ms = time_ms.saturating_sub(self.start_ms).clamp(0, span_ms);
        onto(since_ms as f64 / span_ms as f64, self.columns * DOTS_ACROSS)
    }

    /// The axis with its marks, and the day.
    fn time_axis(&self, label_columns: usize) -> String {
        let mut rule: Vec<char> = vec!['─'; self.columns];
        let mut texts: Vec<char> = vec![' '; self.columns];
        let mut free_from = 0;
        for (mark_ms, label) in time_marks(self.start_ms, self.end_ms, (self.columns / TIME_MARK_COLUMNS).max(2)) {
            let column = self.across(mark_ms) / DOTS_ACROSS;
            rule[column] = '┴';
            let length = label.chars().count();
            let start = column.saturating_sub(length / 2).min(self.columns.saturating_sub(length));
            if start >= free_from && start + length <= self.columns {
                for (offset, c) in label.chars().enumerate() {
                    texts[start + offset] = c;
                }
                free_from = start + length + 1;
            }
        }
        let rule: String = rule.into_iter().collect();
        let texts: String = texts.into_iter().collect();
        let pad = " ".repeat(label_columns);
        let day = |ms| show_instant(ms, "%Y-%m-%d %H:%M:%S");
        let range = format!("{} to {} UTC", day(self.start_ms), day(self.end_ms));
        format!("{pad} └{rule}\n{pad}  {}\n{pad}  {range}\n", texts.trim_end())
    }
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

fn paint(text: &str, at: usize, color: bool) -> String {
    if color { format!("\u{1b}[{}m{text}\u{1b}[0m", COLORS[at]) } else { text.to_owned() }
}

/// `A` for the first series.
fn letter(at: usize) -> String {
    char::from_u32('A' as u32 + u32::try_from(at).unwrap_or(0)).unwrap_or('?').to_string()
}

/// A line for each series: its letter, newest, lowest and highest value, its name as far as it fits.
fn legend(lines: &[Line], unit: Unit, options: &Options) -> String {
    let numbers = |line: &Line| {
        let values = || line.points.iter().map(|&(_, value)| value);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let last = values().next_back().unwrap_or(f64::NAN);
        [last, low, high].map(|value| if value.is_finite() { short(value, unit) } else { "-".to_owned() })
    };
    let all: Vec<[String; 3]> = lines.iter().map(numbers).collect();
    let columns: [usize; 3] = std::array::from_fn(|at| all.iter().map(|texts| texts[at].len()).max().unwrap_or(0));
    let mut text = String::new();
    for (at, (line, [last, low, high])) in lines.iter().zip(&all).enumerate() {
        let [a, b, c] = columns;
        let head = format!("last {last:>a$}  min {low:>b$}  max {high:>c$}");
        let room = options.width.saturating_sub(head.chars().count() + 5);
        append(
            &mut text,
            format_args!("{} {head}  {}\n", paint(&letter(at), at, options.color), shortened(&line.name, room)),
        );
    }
    text
}

/// `text` in at most `columns` characters.
fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Point, series};

    fn ramp(name: &str, from: i64, step: i64) -> Series {
        let points = (0..=20).map(|at| Point { timestamp_ms: at * 60_000, text: (from + at * step).to_string() });
        Series { points: points.collect(), ..series(&[("__name__", name)], &[]) }
    }

    #[track_caller]
    fn check(series: &[Series], want: &str) {
        let got = draw(series, &Options::new(50, false, None));
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn two_lines_with_axes_and_legend() {
        check(&[ramp("up_bytes", 0, 1024), ramp("down", 20_000, -1000)], include_str!("chart_two_lines.txt"));
    }

    #[test]
    fn a_gap_breaks_the_line_and_one_value_has_room() {
        let points = [(0, "5"), (60, "5"), (120, "NaN"), (600, "5"), (660, "5")];
        check(&[series(&[("a", "b")], &points)], include_str!("chart_gap.txt"));
    }

    #[test]
    fn nothing_to_draw_and_too_much() {
        assert!(draw(&[series(&[], &[(0, "NaN")])], &Options::new(50, false, None)).starts_with("no finite values"));
        let many: Vec<Series> = (0..10).map(|at| ramp("x", at, 1)).collect();
        let got = draw(&many, &Options::new(50, true, Some((0, 3_600_000))));
        assert!(got.ends_with("… and 2 more series; topk(8, …) picks some\n"), "{got}");
    }

    #[test]
    fn lines_keep_to_the_width() {
        for width in [0, 40, 77, 200] {
            let got = draw(&[ramp(&"long_name".repeat(40), 0, 7)], &Options::new(width, false, None));
            let widest = got.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= width.max(60), "{widest} columns of {width}\n{got}");
        }
    }
}
