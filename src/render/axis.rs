//! Axes: round numbers and round times to put marks at.

use crate::when::show_instant;

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
    /// A scale around `low..=high` with about `marks` marks. Starts at zero when that wastes less than half.
    pub(crate) fn around(low: f64, high: f64, marks: usize) -> Self {
        let (low, high) = if low > 0.0 && low <= high / 2.0 { (0.0, high) } else { (low, high) };
        let (low, high) = if high < 0.0 && high >= low / 2.0 { (low, 0.0) } else { (low, high) };
        let (low, high) = if low < high { (low, high) } else { widened(low) };
        #[expect(clippy::cast_precision_loss, reason = "a handful of marks")]
        let step = round_step((high - low) / marks.max(1) as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_scale(low: f64, high: f64, want: &[f64]) {
        let scale = Scale::around(low, high, 4);
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
    fn time_marks_are_at_round_times() {
        let marks = time_marks(1_767_225_601_000, 1_767_229_201_000, 4);
        let texts: Vec<&str> = marks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["00:15", "00:30", "00:45", "01:00"]);
        assert_eq!(time_marks(0, 0, 4), [(0, "00:00:00.0".to_owned())]);
        assert_eq!(time_marks(0, 365 * 86_400_000, 4).first().map(|(_, text)| text.as_str()), Some("1970-01-01"));
    }
}
