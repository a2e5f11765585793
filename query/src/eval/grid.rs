//! The grid of evaluation times, and how `offset` and `@` move a time.

/// Evaluation times `start_ms + n * step_ms` for `n` below `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) len: usize,
}

impl Grid {
    /// A single evaluation time.
    pub(crate) fn instant(time_ms: i64) -> Self {
        Self { start_ms: time_ms, step_ms: 1, len: 1 }
    }

    /// Times from `start_ms` up to `end_ms`, `step_ms` (positive) apart; none when the end lies before the start.
    pub(crate) fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let steps = (i128::from(end_ms) - i128::from(start_ms)).div_euclid(i128::from(step_ms.max(1))) + 1;
        Self { start_ms, step_ms: step_ms.max(1), len: usize::try_from(steps.max(0)).unwrap_or(usize::MAX) }
    }

    /// The multiples of `step_ms` in `(after_ms, end_ms]`.
    pub(crate) fn multiples(after_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        Self::range(start_ms, end_ms, step_ms)
    }

    /// The time of step `at`.
    #[inline]
    pub(crate) fn time_ms(self, at: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX)))
    }

    /// The time of the last step.
    pub(crate) fn end_ms(self) -> i64 {
        self.time_ms(self.len.saturating_sub(1))
    }

    /// The grid's first step alone.
    pub(crate) fn first(self) -> Self {
        Self { len: self.len.min(1), ..self }
    }

    /// Every time in order.
    pub(crate) fn times_ms(self) -> impl Iterator<Item = i64> {
        (0..self.len).map(move |at| self.time_ms(at))
    }
}

/// What `offset` and `@` do to an evaluation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shift {
    /// `@`: look here instead.
    pub(crate) at_ms: Option<i64>,
    /// `offset`: and this much earlier.
    pub(crate) offset_ms: i64,
}

impl Shift {
    /// Where to look at evaluation time `time_ms`.
    #[inline]
    pub(crate) fn apply(self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds beyond 2^53 lie 285 thousand years ahead")]
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids() {
        let times = |grid: Grid| grid.times_ms().collect::<Vec<_>>();
        assert_eq!(times(Grid::range(0, 25, 10)), [0, 10, 20]);
        assert_eq!(times(Grid::range(5, 4, 10)), []);
        assert_eq!(times(Grid::multiples(-15, 20, 10)), [-10, 0, 10, 20]);
        assert_eq!(times(Grid::multiples(10, 20, 10)), [20], "open at the left");
        assert_eq!(times(Grid::multiples(11, 19, 10)), []);
        assert_eq!(Grid::range(i64::MIN, i64::MAX, 1).len, usize::MAX, "saturates, the byte limit refuses it");
    }
}
