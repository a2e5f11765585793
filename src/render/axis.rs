//! Axes: round numbers and round times to put marks at, and the axis of time as text.

use super::canvas::DOTS_ACROSS;
use super::unit::{Base, Unit};
use crate::when::show_instant;

/// Columns for each mark of the time axis.
const TIME_MARK_COLUMNS: usize = 16;
/// Distances of marks that people count seconds in, from one to a day.
const SECOND_STEPS: [f64; 17] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0,
    86_400.0,
];

/// Distances of time marks that people count in, in milliseconds.
const TIME_STEPS_MS: [i64; 22] = [
    100,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
];

/// A span of values with round ends, and the distance of its marks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) step: f64,
}

impl Scale {
    /// A scale around `low..=high` with about `marks` marks, round in `unit`. Starts at zero when that wastes less
    /// than half.
    pub(crate) fn around(low: f64, high: f64, marks: usize, unit: Unit) -> Self {
        let (low, high) = if low > 0.0 && low <= high / 2.0 { (0.0, high) } else { (low, high) };
        let (low, high) = if high < 0.0 && high >= low / 2.0 { (low, 0.0) } else { (low, high) };
        let (low, high) = if low < high { (low, high) } else { widened(low) };
        #[expect(clippy::cast_precision_loss, reason = "a handful of marks")]
        let step = step_of((high - low) / marks.max(1) as f64, unit);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// Where `value` lies, 0 at the low end and 1 at the high end.
    pub(crate) fn position(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The marks from low to high.
    pub(crate) fn marks(&self) -> impl Iterator<Item = f64> + '_ {
        (0..).map(|at| self.low + f64::from(at) * self.step).take_while(|mark| *mark <= self.high + self.step / 2.0)
    }
}

/// One value gets room on both sides.
fn widened(value: f64) -> (f64, f64) {
    let room = if value == 0.0 { 1.0 } else { value.abs() / 10.0 };
    (value - room, value + room)
}

/// The next round distance of marks.
fn step_of(wanted: f64, unit: Unit) -> f64 {
    match unit.base {
        // Quarters and halves of a unit are round where the units are powers of two.
        Base::Bytes if wanted >= 1.0 => 2f64.powf((wanted.log2() - 1e-9).ceil()),
        Base::Seconds if !unit.per_second && wanted > 0.5 => {
            let known = SECOND_STEPS.into_iter().find(|step| wanted <= step + 1e-9);
            known.unwrap_or_else(|| round_step(wanted / 86_400.0) * 86_400.0)
        }
        _ => round_step(wanted),
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(wanted: f64) -> f64 {
    let power = 10f64.powf(wanted.log10().floor());
    // The quotient of a step that is round already may come out a little high.
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| wanted / power <= factor + 1e-9).unwrap_or(10.0);
    factor * power
}

/// Marks of a time axis over `start_ms..=end_ms`, at most about `marks` of them: instants and what to write there.
pub(crate) fn time_marks(start_ms: i64, end_ms: i64, marks: usize) -> Vec<(i64, String)> {
    let span_ms = end_ms.saturating_sub(start_ms).max(1);
    let wanted_ms = span_ms / i64::try_from(marks.max(1)).unwrap_or(i64::MAX);
    let longest_ms = TIME_STEPS_MS[TIME_STEPS_MS.len() - 1];
    let round = TIME_STEPS_MS.into_iter().find(|&step_ms| step_ms >= wanted_ms);
    let step_ms = round.unwrap_or_else(|| (wanted_ms / longest_ms + 1) * longest_ms);
    let pattern = match step_ms {
        ..1_000 => "%H:%M:%S%.1f",
        1_000..60_000 => "%H:%M:%S",
        60_000..86_400_000 if span_ms <= 86_400_000 => "%H:%M",
        60_000..86_400_000 => "%m-%d %H:%M",
        _ => "%Y-%m-%d",
    };
    let mut found = Vec::new();
    let mut mark_ms = start_ms.div_euclid(step_ms) * step_ms;
    while mark_ms <= end_ms && found.len() <= marks + 1 {
        if mark_ms >= start_ms {
            found.push((mark_ms, show_instant(mark_ms, pattern)));
        }
        mark_ms = mark_ms.saturating_add(step_ms);
    }
    found
}

/// The horizontal axis of a drawing: `columns` characters from start to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeAxis {
    pub(crate) columns: usize,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl TimeAxis {
    /// The column of dots of an instant.
    #[expect(clippy::cast_precision_loss, reason = "a position inside a terminal")]
    pub(crate) fn across(&self, time_ms: i64) -> usize {
        let span_ms = self.end_ms.saturating_sub(self.start_ms).max(1);
        let since_ms = time_ms.saturating_sub(self.start_ms).clamp(0, span_ms);
        onto(since_ms as f64 / span_ms as f64, self.columns * DOTS_ACROSS)
    }

    /// The rule with its marks, their labels, and the whole range, below a drawing whose labels take `indent` columns.
    pub(crate) fn text(&self, indent: usize) -> String {
        let mut rule: Vec<char> = vec!['─'; self.columns];
        let mut texts: Vec<char> = vec![' '; self.columns];
        let mut free_from = 0;
        for (mark_ms, label) in time_marks(self.start_ms, self.end_ms, (self.columns / TIME_MARK_COLUMNS).max(2)) {
            let column = self.across(mark_ms) / DOTS_ACROSS;
            let length = label.chars().count();
            let start = column.saturating_sub(length / 2).min(self.columns.saturating_sub(length));
            // A mark without its label would be a riddle.
            if start >= free_from && start + length <= self.columns {
                rule[column] = '┴';
                for (offset, c) in label.chars().enumerate() {
                    texts[start + offset] = c;
                }
                free_from = start + length + 1;
            }
        }
        let rule: String = rule.into_iter().collect();
        let texts: String = texts.into_iter().collect();
        let pad = " ".repeat(indent);
        format!("{pad} └{rule}\n{pad}  {}\n{pad}  {}\n", texts.trim_end(), self.range())
    }

    /// Start and end in words, shorter where there is little room.
    fn range(&self) -> String {
        let day = |ms| show_instant(ms, "%Y-%m-%d");
        let end = if day(self.start_ms) == day(self.end_ms) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        let full = ("%Y-%m-%d %H:%M:%S", end);
        let patterns = [full, ("%m-%d %H:%M", "%m-%d %H:%M")];
        let texts = patterns.map(|(start, end)| {
            format!("{} to {} UTC", show_instant(self.start_ms, start), show_instant(self.end_ms, end))
        });
        let [long, short] = texts;
        if long.chars().count() <= self.columns { long } else { short }
    }
}

/// A position in 0..=1 as one of `count` dots.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a position inside a terminal"
)]
pub(crate) fn onto(position: f64, count: usize) -> usize {
    ((position * (count - 1) as f64).round() as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::super::unit::{BYTES, PLAIN, SECONDS};
    use super::*;

    #[track_caller]
    fn check_scale(low: f64, high: f64, want: &[f64]) {
        check_unit(low, high, PLAIN, want);
    }

    #[track_caller]
    fn check_unit(low: f64, high: f64, unit: Unit, want: &[f64]) {
        let scale = Scale::around(low, high, 4, unit);
        let got: Vec<f64> = scale.marks().collect();
        assert_eq!(got.len(), want.len(), "{low}..{high}: {got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9), "{low}..{high}: {got:?}");
    }

    #[test]
    fn scales_have_round_marks() {
        check_scale(0.0, 40.0, &[0.0, 10.0, 20.0, 30.0, 40.0]);
        check_scale(3.0, 97.0, &[0.0, 50.0, 100.0]);
        check_scale(90.0, 97.0, &[90.0, 92.0, 94.0, 96.0, 98.0]);
        check_scale(5.0, 5.0, &[4.5, 5.0, 5.5]);
        check_scale(0.0, 0.0, &[-1.0, -0.5, 0.0, 0.5, 1.0]);
        check_scale(-20.0, -1.0, &[-20.0, -15.0, -10.0, -5.0, 0.0]);
    }

    #[test]
    fn marks_are_round_in_their_unit() {
        let mib = f64::from(1 << 20);
        check_unit(0.0, 7.0 * mib, BYTES, &[0.0, 2.0 * mib, 4.0 * mib, 6.0 * mib, 8.0 * mib]);
        check_unit(0.0, 1.0, BYTES, &[0.0, 0.5, 1.0]);
        check_unit(0.0, 100.0, SECONDS, &[0.0, 30.0, 60.0, 90.0, 120.0]);
        check_unit(0.0, 0.2, SECONDS, &[0.0, 0.05, 0.1, 0.15, 0.2]);
        check_unit(0.0, 30_000.0, SECONDS, &[0.0, 21_600.0, 43_200.0]);
        check_unit(0.0, 3_456_000.0, SECONDS, &[0.0, 864_000.0, 1_728_000.0, 2_592_000.0, 3_456_000.0]);
    }

    #[test]
    fn time_marks_are_at_round_times() {
        let marks = time_marks(1_767_225_601_000, 1_767_229_201_000, 4);
        let texts: Vec<&str> = marks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["00:15", "00:30", "00:45", "01:00"]);
        assert_eq!(time_marks(0, 0, 4), [(0, "00:00:00.0".to_owned())]);
        assert_eq!(time_marks(0, 365 * 86_400_000, 4).first().map(|(_, text)| text.as_str()), Some("1970-01-01"));
    }
}
