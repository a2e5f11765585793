//! One histogram as horizontal bars: a row for each bucket with its bounds, its count and its share.

use super::number::short;
use super::text::{paint, shortened, visible, width};
use super::unit::{PLAIN, Unit};
use super::{Layout, append};
use crate::client::answer::Series;
use crate::client::histogram::{Bucket, Histogram};
use model::labels::METRIC_NAME;

/// Most rows; with more buckets, neighbours share one.
const ROWS_MAX: usize = 24;
/// Quantiles that sum a histogram up, with their names.
pub(super) const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")];
/// Longest bar, in columns.
const BAR_COLUMNS_MAX: usize = 60;
/// Shortest room for bars.
const BAR_COLUMNS_MIN: usize = 8;
/// Eighths of a column.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// The colour of bars.
const COLOR: &str = "36";

/// The unit of what `series` observes: its name tells, else `of_query`.
pub(super) fn observed(series: &Series, of_query: Unit) -> Unit {
    // The result of `rate` counts observations a second; each of them is still of the base.
    let unit = series.labels.get(METRIC_NAME).map_or(of_query, |name| Unit::of_metric(name));
    Unit { per_second: false, ..unit }
}

/// Count, sum and mean, then quantiles: on one line if `columns` suffice. The text ends its last line.
pub(super) fn summary(histogram: &Histogram, unit: Unit, columns: usize) -> String {
    let number = |text: &str, unit| text.parse().map_or_else(|_| text.to_owned(), |value| short(value, unit));
    let mut parts = vec![format!("count {}", number(&histogram.count, PLAIN))];
    parts.push(format!("sum {}", number(&histogram.sum, unit)));
    parts.extend(histogram.mean().map(|mean| format!("mean {}", short(mean, unit))));
    let quantile =
        |&(q, name): &(f64, &str)| histogram.quantile(q).map(|value| format!("{name} {}", short(value, unit)));
    let (totals, quantiles) = (parts.join("  "), QUANTILES.iter().filter_map(quantile).collect::<Vec<_>>().join("  "));
    let between = if width(&totals) + width(&quantiles) + 2 <= columns { "  " } else { "\n" };
    format!("{}\n", format!("{totals}{between}{quantiles}").trim_end())
}

/// Buckets that share a row.
struct Row {
    interval: String,
    count: f64,
    /// Whether empty buckets lie between the row above and this one.
    after_gap: bool,
}

/// Draws `histogram` of `series`; the text ends its last line.
pub(super) fn draw(series: &Series, histogram: &Histogram, layout: &Layout) -> String {
    let unit = observed(series, layout.observed);
    let columns = layout.chart_columns();
    let mut text = String::new();
    append(&mut text, format_args!("{}\n", shortened(&visible(&series.to_string()), columns)));
    text.push_str(&summary(histogram, unit, columns));
    let rows = rows(&histogram.buckets, unit);
    let total: f64 = rows.iter().map(|row| row.count).sum();
    let highest = rows.iter().map(|row| row.count).fold(0.0, f64::max);
    let tails: Vec<String> = rows.iter().map(|row| tail(row.count, total)).collect();
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let head_columns = widest(&mut rows.iter().map(|row| width(&row.interval)));
    let tail_columns = widest(&mut tails.iter().map(|tail| width(tail)));
    // The axis with spaces around it, and one before the count.
    let room = columns.saturating_sub(head_columns + tail_columns + 5).clamp(BAR_COLUMNS_MIN, BAR_COLUMNS_MAX);
    for (row, tail) in rows.iter().zip(&tails) {
        if row.after_gap {
            append(&mut text, format_args!("{:>head_columns$} │\n", "⋮"));
        }
        let bar = bar(row.count / highest, room);
        let pad = " ".repeat(room - width(&bar));
        let bar = paint(&bar, COLOR, layout.color);
        append(&mut text, format_args!("{:>head_columns$} │{bar}{pad} {tail}\n", row.interval));
    }
    text
}

/// The rows of `buckets`, ascending.
fn rows(buckets: &[Bucket], unit: Unit) -> Vec<Row> {
    let share = buckets.len().div_ceil(ROWS_MAX).max(1);
    let mut last_high: Option<f64> = None;
    let row = |group: &[Bucket]| {
        let (first, last) = (group.first()?, group.last()?);
        let after_gap = last_high.is_some_and(|high| first.low > high);
        last_high = Some(last.high);
        let interval = last.interval(&short(first.low, unit), &short(last.high, unit), ", ");
        Some(Row { interval, count: group.iter().map(|bucket| bucket.count).sum(), after_gap })
    };
    buckets.chunks(share).filter_map(row).collect()
}

/// The count and its share of all.
fn tail(count: f64, total: f64) -> String {
    let percent = count / total * 100.0;
    let count = short(count, PLAIN);
    if percent.is_finite() { format!("{count:>6} {percent:>5.1}%") } else { format!("{count:>6}") }
}

/// A bar of `share` (0 to 1) of `columns`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a length inside a terminal; NaN becomes 0"
)]
pub(super) fn bar(share: f64, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (columns * EIGHTHS.len()) as f64).round() as usize;
    // What is there is seen.
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / EIGHTHS.len()), EIGHTHS[eighths % EIGHTHS.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;
    use crate::client::histogram::histogram;

    const LAYOUT: Layout =
        Layout { width: Some(60), height: None, color: false, rows_max: 3, unit: PLAIN, observed: PLAIN, axes: None };

    #[track_caller]
    fn check(name: &str, histogram: &Histogram, want: &str) {
        let got = draw(&series(&[("__name__", name), ("job", "api")], &[]), histogram, &LAYOUT);
        assert_eq!(got, want, "\n{got}");
        assert!(got.lines().all(|line| width(line) <= 60), "\n{got}");
    }

    #[test]
    fn buckets_are_bars_with_bounds_counts_and_gaps() {
        let buckets = [
            (3, "-0.001", "0.001", "2"),
            (0, "0.0625", "0.125", "100"),
            (0, "0.125", "0.25", "50"),
            (0, "0.25", "0.5", "0.5"),
            (0, "2", "4", "1"),
        ];
        check("request_seconds", &histogram("153.5", "20", &buckets), include_str!("bars_gap.txt"));
    }

    #[test]
    fn custom_buckets_reach_to_infinity() {
        let buckets = [(3, "-Inf", "1024", "3"), (0, "1024", "4096", "6"), (0, "4096", "+Inf", "1")];
        check("response_bytes", &histogram("10", "30000", &buckets), include_str!("bars_custom.txt"));
    }

    #[test]
    fn nothing_observed_and_negative_counts_are_told() {
        check("x", &histogram("0", "0", &[]), "x{job=\"api\"}\ncount 0  sum 0\n");
        let got = draw(&series(&[], &[]), &histogram("-1", "-2", &[(0, "1", "2", "-1")]), &LAYOUT);
        assert!(got.contains("(1, 2] │") && got.contains("-1"), "{got}");
    }

    #[test]
    fn many_buckets_share_rows() {
        let bounds: Vec<(String, String)> = (1..=100).map(|at| (at.to_string(), (at + 1).to_string())).collect();
        let buckets: Vec<_> = bounds.iter().map(|(low, high)| (0, low.as_str(), high.as_str(), "1")).collect();
        let got = draw(&series(&[], &[]), &histogram("100", "1", &buckets), &LAYOUT);
        assert_eq!(got.lines().count(), 2 + 20, "five to a row\n{got}");
        assert!(got.contains("(96, 101]"), "{got}");
    }

    #[test]
    fn bars_have_eighths() {
        assert_eq!(
            [0.0, 1e-9, 0.5, 0.53, 1.0, 7.0, f64::NAN].map(|share| bar(share, 4)),
            ["", "▏", "██", "██▏", "████", "████", ""]
        );
    }
}
