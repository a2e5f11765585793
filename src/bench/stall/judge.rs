//! Whether one of two was longer, pair by pair: the sign test, which asks nothing of how figures are spread.

use std::fmt;

use serde::Serialize;

/// Below this chance of so many pairs by accident the difference counts.
const CHANCE_MAX: f64 = 0.05;

/// Differences of pairs.
#[derive(Debug, Serialize)]
pub(super) struct SignTest {
    pub(super) pairs: usize,
    /// Of these the second is longer; equal ones count for neither.
    pub(super) longer: usize,
    pub(super) shorter: usize,
    pub(super) median_ms: f64,
    /// Chance that at least so many are longer when both are alike.
    pub(super) chance: f64,
}

impl SignTest {
    /// `second` less `first`, in microseconds.
    pub(super) fn of(first: &[u64], second: &[u64]) -> Self {
        let mut differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| *b as f64 - *a as f64).collect();
        differences.sort_by(f64::total_cmp);
        let longer = differences.iter().filter(|difference| **difference > 0.0).count();
        let shorter = differences.iter().filter(|difference| **difference < 0.0).count();
        let median_ms = quantile(&differences, 0.5) / 1000.0;
        Self { pairs: differences.len(), longer, shorter, median_ms, chance: at_least(longer, longer + shorter) }
    }

    /// Whether the second is longer, with 95 %.
    pub(super) fn longer(&self) -> bool {
        self.chance < CHANCE_MAX
    }
}

impl fmt::Display for SignTest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, longer, shorter, median_ms, chance } = self;
        write!(out, "{longer} longer and {shorter} shorter of {pairs}, median {median_ms:+.2} ms, chance {chance:.3}")
    }
}

/// Chance of `heads` or more in `throws` of a coin.
fn at_least(heads: usize, throws: usize) -> f64 {
    // Terms of the binomial distribution from 2^-throws on, each from the one before.
    let mut term = 0.5f64.powi(i32::try_from(throws).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for head in 0..heads {
        below += term;
        term *= (throws - head) as f64 / (head + 1) as f64;
    }
    (1.0 - below).clamp(0.0, 1.0)
}

/// The quantile `part` of sorted values, by nearest rank; the default without any.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
pub(super) fn quantile<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_a_coin() {
        for (heads, throws, want) in
            [(0, 0, 1.0), (0, 10, 1.0), (10, 10, 1.0 / 1024.0), (9, 10, 11.0 / 1024.0), (5, 10, 638.0 / 1024.0)]
        {
            assert!((at_least(heads, throws) - want).abs() < 1e-12, "{heads} of {throws}");
        }
    }

    #[test]
    fn only_what_is_longer_nearly_always_is_longer() {
        let alone: Vec<u64> = (0..20).map(|at| 3000 + at).collect();
        let later: Vec<u64> = alone.iter().map(|us| us + 500).collect();
        let pairs = SignTest::of(&alone, &later);
        assert!(pairs.longer() && pairs.longer == 20 && (pairs.median_ms - 0.5).abs() < 1e-9, "{pairs:?}");
        assert!(!SignTest::of(&later, &alone).longer());
        let mixed: Vec<u64> = (0..20).map(|at| if at % 2 == 0 { 2000 } else { 9000 }).collect();
        assert!(!SignTest::of(&alone, &mixed).longer(), "one time in two");
        let none = SignTest::of(&[], &[]);
        assert!(!none.longer() && none.median_ms.abs() < f64::EPSILON);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values: Vec<u64> = (1..=10_000).collect();
        assert_eq!([0.5, 0.9999, 1.0].map(|part| quantile(&values, part)), [5_000, 9_999, 10_000]);
        assert_eq!(quantile::<u64>(&[], 0.5), 0);
    }
}
