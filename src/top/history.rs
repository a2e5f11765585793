//! What a number was in the last minutes, and that as a line of blocks.

use std::collections::VecDeque;

/// How far back is shown, in milliseconds.
pub(super) const SPAN_MS: i64 = 600_000;
/// Most points of a number.
const POINTS_MAX: usize = 1_200;
/// Blocks by height.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Points of one number in order of time.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    points: VecDeque<(i64, f64)>,
}

impl History {
    /// Adds what was at `at_ms`; what is not later than the last is left out.
    pub(super) fn push(&mut self, at_ms: i64, value: f64) {
        if self.points.back().is_some_and(|(last_ms, _)| at_ms <= *last_ms) || !value.is_finite() {
            return;
        }
        self.points.push_back((at_ms, value));
        while self.points.len() > POINTS_MAX || self.points.front().is_some_and(|(first, _)| at_ms - first > SPAN_MS) {
            self.points.pop_front();
        }
    }

    /// Puts what was before in front.
    pub(super) fn begin_with(&mut self, past: &[(i64, f64)]) {
        let first_ms = self.points.front().map_or(i64::MAX, |(at_ms, _)| *at_ms);
        let mut joined = Self::default();
        for &(at_ms, value) in past.iter().filter(|(at_ms, _)| *at_ms < first_ms).chain(&self.points) {
            joined.push(at_ms, value);
        }
        *self = joined;
    }

    /// The time that is known, at most the last minutes, in `columns` blocks; from the lowest to the highest value of that time. What
    /// hardly changes is a low line.
    pub(super) fn line(&self, columns: usize) -> String {
        let (Some((first_ms, _)), Some((last_ms, _))) = (self.points.front(), self.points.back()) else {
            return String::new();
        };
        let mut cells: Vec<Option<f64>> = vec![None; columns];
        let span = (last_ms - first_ms).max(1);
        for (at_ms, value) in &self.points {
            let at = i128::from(at_ms - first_ms) * columns as i128 / i128::from(span);
            let at = usize::try_from(at).unwrap_or(0).min(columns.saturating_sub(1));
            if let Some(cell) = cells.get_mut(at) {
                *cell = Some(*value);
            }
        }
        let told = cells.iter().flatten();
        let low = told.clone().copied().fold(f64::INFINITY, f64::min);
        let high = told.copied().fold(f64::NEG_INFINITY, f64::max);
        // A change of less than a hundredth is none to the eye.
        let range = (high - low).max(high.abs() * 0.01);
        let mut last = ' ';
        let block = |cell: Option<f64>| {
            if let Some(value) = cell {
                last = if range > 0.0 { BLOCKS[height((value - low) / range)] } else { BLOCKS[0] };
            }
            last
        };
        cells.into_iter().map(block).collect()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the blocks")]
fn height(part: f64) -> usize {
    (part * 7.0).round().clamp(0.0, 7.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(i64, f64)], columns: usize) -> String {
        let mut history = History::default();
        for &(at_ms, value) in points {
            history.push(at_ms, value);
        }
        history.line(columns)
    }

    #[test]
    fn values_become_blocks() {
        assert_eq!(line(&[], 4), "");
        assert_eq!(line(&[(0, 5.0)], 4), "▁▁▁▁");
        assert_eq!(line(&[(0, 0.0), (1_000, 1.0), (2_000, 2.0), (3_000, 3.0)], 4), "▁▃▅█".replace("▅█", "▆█"));
        assert_eq!(line(&[(0, 100.0), (9_000, 100.2)], 3), "▁▁▂");
        assert_eq!(line(&[(0, 0.0), (10, 0.0)], 2), "▁▁");
        assert_eq!(line(&[(0, 1.0)], 0), "");
    }

    #[test]
    fn old_points_go_and_the_past_comes_first() {
        let mut history = History::default();
        for at in 0..2_000 {
            history.push(at * 1_000, 1.0);
        }
        assert!(history.points.len() <= 601, "{}", history.points.len());
        history.push(0, 5.0);
        assert_eq!(history.points.back(), Some(&(1_999_000, 1.0)), "not later than the last");
        let mut history = History::default();
        history.push(5_000, 2.0);
        history.begin_with(&[(1_000, 1.0), (6_000, 9.0)]);
        assert_eq!(history.points, [(1_000, 1.0), (5_000, 2.0)]);
    }
}
