//! Histograms over time as a heat map: buckets upwards, time to the right, the shade tells the count.

use super::axis::TimeAxis;
use super::bars::{self, observed};
use super::canvas::DOTS_ACROSS;
use super::number::short;
use super::text::{paint, shortened, visible, width};
use super::unit::PLAIN;
use super::{Axes, Layout, append};
use crate::client::answer::Series;
use crate::client::histogram::Histogram;

/// Fewest columns of the map.
const COLUMNS_MIN: usize = 16;
/// A cell reaches to the next sample unless that is further than this many steps.
const GAP_FACTOR: i64 = 2;
/// Shades without colour, from nothing to the most.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Shades in colour, from little to the most, of the 256 colours of terminals.
const COLORS: [&str; 6] = ["38;5;24", "38;5;31", "38;5;37", "38;5;113", "38;5;220", "38;5;202"];

/// Draws the histograms of `series`; the text ends its last line.
pub(super) fn draw(series: &Series, layout: &Layout) -> String {
    let unit = observed(series, layout.observed);
    let samples: Vec<(i64, &Histogram)> =
        series.points.iter().filter_map(|point| Some((point.timestamp_ms, point.histogram()?))).collect();
    let name = visible(&series.to_string());
    let bounds = row_bounds(&samples, layout.chart_rows());
    let (Some(first), Some(last), false) = (samples.first(), samples.last(), bounds.is_empty()) else {
        return format!("{name}\nno observations\n");
    };
    let labels: Vec<String> = bounds.iter().map(|&bound| short(bound, unit)).collect();
    let label_columns = labels.iter().map(|label| width(label)).max().unwrap_or(0);
    let columns = layout.chart_columns().saturating_sub(label_columns + 2).max(COLUMNS_MIN);
    let axes = layout.axes.unwrap_or(Axes { start_ms: first.0, end_ms: last.0, step_ms: 0 });
    let time = TimeAxis { columns, start_ms: axes.start_ms, end_ms: axes.end_ms };
    let cells = cells(&samples, &bounds, &time, axes.step_ms);
    let highest = cells.iter().flatten().copied().fold(0.0, f64::max);

    let mut text = format!("{}\n", shortened(&name, layout.chart_columns()));
    for (row, label) in cells.iter().zip(&labels).rev() {
        let pad = " ".repeat(label_columns - width(label));
        let shades: String = row.iter().map(|&count| shade(count / highest, layout.color)).collect();
        append(&mut text, format_args!("{pad}{label} ┤{}\n", shades.trim_end()));
    }
    text.push_str(&time.text(label_columns));
    let key: Vec<String> = keys(highest, layout.color);
    append(&mut text, format_args!("bucket counts up to  {}\n", key.join("  ")));
    text.push_str("newest: ");
    text.push_str(&bars::summary(last.1, unit, layout.chart_columns().saturating_sub("newest: ".len())));
    text
}

/// The upper bounds of the rows, ascending: all that occur, or every so many of them.
fn row_bounds(samples: &[(i64, &Histogram)], rows_max: usize) -> Vec<f64> {
    let buckets = samples.iter().flat_map(|(_, histogram)| &histogram.buckets);
    let mut bounds: Vec<f64> = buckets.filter(|bucket| bucket.count > 0.0).map(|bucket| bucket.high).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let share = bounds.len().div_ceil(rows_max).max(1);
    // Counted from the top, so that the highest bound is always there.
    let mut kept: Vec<f64> = bounds.iter().rev().step_by(share).copied().collect();
    kept.reverse();
    kept
}

/// The counts by row and column. A bucket counts in the row of the next bound at or above its own; where several
/// samples share a column the highest count stays.
fn cells(samples: &[(i64, &Histogram)], bounds: &[f64], time: &TimeAxis, step_ms: i64) -> Vec<Vec<f64>> {
    let mut cells = vec![vec![0.0_f64; time.columns]; bounds.len()];
    let column = |time_ms| time.across(time_ms) / DOTS_ACROSS;
    for (at, &(time_ms, histogram)) in samples.iter().enumerate() {
        let from = column(time_ms);
        let next = samples.get(at + 1).map(|&(next_ms, _)| next_ms);
        let is_near =
            |next_ms: &i64| step_ms == 0 || next_ms.saturating_sub(time_ms) < step_ms.saturating_mul(GAP_FACTOR);
        let to = next.filter(is_near).map_or(from, |next_ms| column(next_ms).saturating_sub(1).max(from));
        let mut counts = vec![0.0; bounds.len()];
        for bucket in &histogram.buckets {
            let row = bounds.partition_point(|&bound| bound < bucket.high);
            if let Some(count) = counts.get_mut(row) {
                *count += bucket.count;
            }
        }
        for (row, count) in cells.iter_mut().zip(counts) {
            row[from..=to].iter_mut().for_each(|cell| *cell = cell.max(count));
        }
    }
    cells
}

/// A cell at `share` of the highest count. The root spreads the low counts, which are most.
fn shade(share: f64, color: bool) -> String {
    if color {
        let at = level(share, COLORS.len());
        return at.checked_sub(1).map_or_else(|| " ".to_owned(), |at| paint("█", COLORS[at], true));
    }
    SHADES[level(share, SHADES.len() - 1)].to_string()
}

/// Which of `levels` shades, from 1; 0 for nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a handful of shades; NaN becomes 0"
)]
fn level(share: f64, levels: usize) -> usize {
    if share > 0.0 { ((share.sqrt() * levels as f64).ceil() as usize).clamp(1, levels) } else { 0 }
}

/// Each shade with the highest count that has it.
fn keys(highest: f64, color: bool) -> Vec<String> {
    let levels = if color { COLORS.len() } else { SHADES.len() - 1 };
    #[expect(clippy::cast_precision_loss, reason = "a handful of shades")]
    let key = |level: usize| {
        // A little below the boundary, which rounding must not cross.
        let share = (level as f64 / levels as f64).powi(2);
        format!("{} {}", shade(share * 0.999, color), short(highest * share, PLAIN))
    };
    (1..=levels).map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::{Point, Reading, series};
    use crate::client::histogram::histogram;

    const LAYOUT: Layout =
        Layout { width: Some(50), height: None, color: false, rows_max: 3, unit: PLAIN, observed: PLAIN, axes: None };

    fn wave() -> Series {
        let at = |minute: i64| {
            let slow = ["0", "1", "4", "9", "16", "9", "4"][usize::try_from(minute % 7).expect("small")];
            let buckets = [(0, "0.25", "0.5", "16"), (0, "0.5", "1", slow), (0, "2", "4", "1")];
            Point { timestamp_ms: minute * 60_000, reading: Reading::Histogram(histogram("20", "9", &buckets)) }
        };
        let points = (0..=20).filter(|minute| !(12..=14).contains(minute)).map(at).collect();
        Series { points, ..series(&[("__name__", "request_seconds")], &[]) }
    }

    #[test]
    fn buckets_over_time_are_shaded() {
        let axes = Axes { start_ms: 0, end_ms: 1_200_000, step_ms: 60_000 };
        let got = draw(&wave(), &Layout { axes: Some(axes), ..LAYOUT });
        assert_eq!(got, include_str!("heatmap.txt"), "\n{got}");
        assert!(got.lines().all(|line| width(line) <= 50), "\n{got}");
    }

    #[test]
    fn rows_are_joined_when_there_are_too_many() {
        let bounds: Vec<String> = (0..=40).map(|at| at.to_string()).collect();
        let buckets: Vec<_> = bounds.windows(2).map(|pair| (0, pair[0].as_str(), pair[1].as_str(), "1")).collect();
        let all = histogram("40", "1", &buckets);
        let samples = [(0, &all)];
        let rows = row_bounds(&samples, 12);
        assert_eq!(rows, [4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0]);
        let time = TimeAxis { columns: 2, start_ms: 0, end_ms: 0 };
        assert!(cells(&samples, &rows, &time, 0).iter().all(|row| (row[0] - 4.0).abs() < 1e-9));
    }

    #[test]
    fn nothing_observed() {
        let point = Point { timestamp_ms: 0, reading: Reading::Histogram(histogram("0", "0", &[])) };
        let empty = Series { points: vec![point], ..series(&[("__name__", "x")], &[]) };
        assert_eq!(draw(&empty, &LAYOUT), "x\nno observations\n");
    }

    #[test]
    fn colour_has_more_shades() {
        let got = draw(&wave(), &Layout { color: true, ..LAYOUT });
        assert!(COLORS.iter().filter(|color| got.contains(*color)).count() >= 4, "{got}");
        assert!(!got.contains('░'));
    }
}
