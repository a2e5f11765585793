//! Quantiles of windows that only move on: the values of the window in order, into which new ones are put and from which
//! old ones are taken.
//!
//! Moving a few kilobytes within one array is faster than any tree up to thousands of values; where many values change
//! at once, the window is looked at anew, by selection.

use super::math::count;
use super::window::Window;

/// What putting a value in its place costs, in nanoseconds and beside moving the others; measured, as the rest is.
const PLACE_COST: usize = 36;
/// Values moved in that unit.
const VALUES_PER_MOVE: usize = 16;
/// What selection costs a value.
const SELECT_COST: usize = 4;

/// The values of a window in ascending order, NaN before all.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    /// As numbers in the same order.
    keys: Vec<u64>,
    /// Whether they are in order: that pays from the second of overlapping windows on.
    is_sorted: bool,
    /// Which samples are in it.
    first: usize,
    after: usize,
}

impl Ordered {
    /// Begins with another series.
    pub(crate) fn restart(&mut self) {
        self.keys.clear();
        self.is_sorted = false;
        (self.first, self.after) = (0, 0);
    }

    /// The `q`-quantile of a window, which has at least one value and lies no further back than the one before, and how
    /// much work it was, in values.
    pub(crate) fn quantile(&mut self, q: f64, window: &Window<'_>) -> (f64, usize) {
        let (leave, enter) = (window.first.saturating_sub(self.first), window.after.saturating_sub(self.after));
        let moves = leave + enter;
        let pays = moves * (PLACE_COST + window.floats() / VALUES_PER_MOVE) <= window.floats() * SELECT_COST;
        let goes_on = window.first < self.after && pays;
        let work = if goes_on && self.is_sorted {
            self.move_on(window);
            moves * (1 + window.floats() / (PLACE_COST * VALUES_PER_MOVE))
        } else {
            self.keys.clear();
            self.keys.extend(window.values().iter().map(|&value| key(value)));
            window.floats()
        };
        (self.first, self.after) = (window.first, window.after);
        if goes_on && !self.is_sorted {
            self.keys.sort_unstable();
        }
        self.is_sorted = goes_on;
        (if goes_on { self.ranked(q) } else { select(q, &mut self.keys) }, work)
    }

    fn move_on(&mut self, window: &Window<'_>) {
        for &value in &window.all_values[self.first..window.first] {
            let place = self.keys.partition_point(|&other| other < key(value));
            self.keys.remove(place);
        }
        for &value in &window.all_values[self.after..window.after] {
            let place = self.keys.partition_point(|&other| other < key(value));
            self.keys.insert(place, key(value));
        }
    }

    fn ranked(&self, q: f64) -> f64 {
        match rank(q, self.keys.len()) {
            Ok((lower, upper, weight)) => between(self.keys[lower], self.keys[upper], weight),
            Err(outside) => outside,
        }
    }
}

fn select(q: f64, keys: &mut [u64]) -> f64 {
    match rank(q, keys.len()) {
        Ok((lower, upper, weight)) => {
            let (_, &mut low, above) = keys.select_nth_unstable(lower);
            let high = if upper == lower { low } else { above.iter().min().copied().unwrap_or(low) };
            between(low, high, weight)
        }
        Err(outside) => outside,
    }
}

/// Which values of `len` ordered ones the quantile lies between, and how near to the second; or the quantile itself if
/// there is no such place.
fn rank(q: f64, len: usize) -> Result<(usize, usize, f64), f64> {
    if len == 0 || q.is_nan() {
        return Err(f64::NAN);
    }
    if q < 0.0 {
        return Err(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Err(f64::INFINITY);
    }
    let rank = q * (count(len) - 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank lies within the values")]
    let lower = (rank.floor().max(0.0) as usize).min(len - 1);
    Ok((lower, (lower + 1).min(len - 1), rank - rank.floor()))
}

fn between(low: u64, high: u64, weight: f64) -> f64 {
    value(low) * (1.0 - weight) + value(high) * weight
}

const SIGN: u64 = 1 << 63;

/// A number that orders as the value does: NaN before all, -0 before 0.
#[inline]
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_nan() {
        0
    } else if bits & SIGN == 0 {
        bits | SIGN
    } else {
        !bits
    }
}

/// The value of a key.
fn value(key: u64) -> f64 {
    match key {
        0 => f64::NAN,
        positive if positive & SIGN != 0 => f64::from_bits(positive & !SIGN),
        negative => f64::from_bits(!negative),
    }
}

#[cfg(test)]
mod tests {
    use model::Samples;

    use super::super::math::quantile;
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_samples() {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e-300, 7.0];
        for (width, stride) in [(1, 1), (2, 1), (30, 6), (30, 29), (30, 40), (360, 6), (300, 1), (1000, 7), (300, 200)]
        {
            let mut random = fastrand::Rng::with_seed(width as u64 * 1000 + stride as u64);
            let values: Vec<f64> = (0..2000)
                .map(|_| if random.u8(0..5) == 0 { odd[random.usize(0..odd.len())] } else { random.f64() - 0.5 })
                .collect();
            let samples = Samples::from_floats((0..2000).collect(), values);
            let mut ordered = Ordered::default();
            ordered.restart();
            for after in (1..=2000usize).step_by(stride) {
                let first = after.saturating_sub(width);
                let window = Window { first, after, ..Window::of(&samples) };
                for q in [0.5, 0.0, 1.0, 0.99, -1.0, 2.0, f64::NAN].into_iter().take(1 + after % 7) {
                    let want = quantile(q, &mut window.values().to_vec());
                    let (found, _) = ordered.quantile(q, &window);
                    #[expect(clippy::float_cmp, reason = "the same values are picked")]
                    let same = found == want || (found.is_nan() && want.is_nan());
                    assert!(same, "{found} is not {want}: {q} of {first}..{after}, width {width}, stride {stride}");
                }
            }
        }
    }

    #[test]
    fn keys_order_as_values_do() {
        let ascending = [f64::NEG_INFINITY, -1.0, -1e-310, -0.0, 0.0, 1e-310, 1.0, f64::MAX, f64::INFINITY];
        assert!(ascending.iter().map(|&value| key(value)).is_sorted_by(|a, b| a < b));
        assert!(ascending.iter().all(|&one| value(key(one)).to_bits() == one.to_bits()));
        assert!(key(f64::NAN) < key(f64::NEG_INFINITY) && key(-f64::NAN) == key(f64::NAN) && value(0).is_nan());
    }
}
