//! What is told of bucket counts that had to be raised, beside whose they are: which buckets, by how much, how often and
//! when. Told again of the same metric, it widens.

use std::fmt;

use super::calendar::Moment;
use super::grid::Grid;

/// Where and when counts were raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forced {
    /// Bounds of the first and the last bucket whose count was raised.
    pub(crate) bounds: (f64, f64),
    /// The most that a count was raised by.
    pub(crate) diff_max: f64,
    /// How many histograms there were.
    count: u64,
    /// First and last time of them.
    times_ms: (i64, i64),
}

impl Forced {
    /// A count raised by `diff` in the bucket up to `bound`.
    pub(crate) fn new(bound: f64, diff: f64) -> Self {
        Self { bounds: (bound, bound), diff_max: diff, count: 1, times_ms: (0, 0) }
    }

    /// The same at a step.
    pub(crate) fn at(self, grid: Grid, step: usize) -> Self {
        let time_ms = grid.time_ms(step);
        Self { times_ms: (time_ms, time_ms), ..self }
    }

    /// Another bucket of the same histogram.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { count: self.count, ..self.join(other) }
    }

    /// Other histograms.
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            bounds: (self.bounds.0.min(other.bounds.0), self.bounds.1.max(other.bounds.1)),
            diff_max: self.diff_max.max(other.diff_max),
            count: self.count.saturating_add(other.count),
            times_ms: (self.times_ms.0.min(other.times_ms.0), self.times_ms.1.max(other.times_ms.1)),
        }
    }
}

/// As it stands behind the text, in Prometheus's words.
impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::notes::Number;
        let (first, last) = (Number(self.bounds.0), Number(self.bounds.1));
        let (diff, count) = (TwoDigits(self.diff_max), self.count);
        let (from, to) = (Moment(self.times_ms.0 / 1000), Moment(self.times_ms.1 / 1000));
        write!(
            f,
            ", from buckets {first} to {last}, with a max diff of {diff}, over {count} samples from {from} to {to}"
        )
    }
}

/// A number with two significant digits, as Go's `%.2g` shows it.
struct TwoDigits(f64);

impl fmt::Display for TwoDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = format!("{:.1e}", self.0);
        match shown.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
            Some((_, exponent @ -4..=1)) => {
                let decimals = usize::try_from(1 - exponent).unwrap_or(0);
                let text = format!("{:.decimals$}", self.0);
                f.write_str(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
            }
            Some((digits, exponent)) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(f, "{}e{sign}{:02}", digits.trim_end_matches(".0"), exponent.unsigned_abs())
            }
            None => write!(f, "{}", super::notes::Number(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits() {
        let rows = [
            (10.0, "10"),
            (1.0, "1"),
            (0.5, "0.5"),
            (7.25, "7.2"),
            (99.9, "1e+02"),
            (1234.0, "1.2e+03"),
            (0.000_012, "1.2e-05"),
            (0.012_6, "0.013"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, want) in rows {
            assert_eq!(TwoDigits(value).to_string(), want);
        }
    }

    #[test]
    fn it_widens() {
        let grid = Grid { start_ms: 1_703_462_400_999, step_ms: 86_400_000, len: 367 };
        let some = Forced::new(2.5, 1.0).and(Forced::new(100.0, 10.0)).at(grid, 0);
        let all = some.join(Forced::new(5.0, 3.0).at(grid, 366)).join(some);
        assert_eq!(
            all.to_string(),
            ", from buckets 2.5 to 100, with a max diff of 10, over 3 samples from 2023-12-25T00:00:00Z to \
             2024-12-25T00:00:00Z"
        );
    }
}
