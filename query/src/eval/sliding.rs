//! Sums, means, deviations and lines of windows that only move on, each sample looked at a bounded number of times.
//!
//! Nothing is ever subtracted, so that a value that left the window leaves no trace: a window is two stacks (the queue of
//! K. Tangwongsan, M. Hirzel, S. Schneider, "Low-latency sliding-window aggregation in worst-case constant time", DEBS
//! 2017, in its amortised form). Up to a border the sums from each sample to the border are known, beyond it one sum
//! grows; when the window has passed the border, the border moves to its end. Every sum keeps what its additions lost
//! (Neumaier 1974; D. Knuth's two-sum), and deviations and lines are taken from the sample at the border, which lies in
//! the window or at its edge, so that no digits are lost to a distant origin. Values beyond [`Terms::TAME`], whose
//! sums might overflow on the way, are left to those who look at every sample.

use super::grid::seconds;
use super::math::count;
use super::over_time::Line;
use super::window::Window;

/// A sum and what its additions lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pair {
    sum: f64,
    lost: f64,
}

impl Pair {
    #[inline]
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        let added = total - self.sum;
        self.lost += (self.sum - (total - added)) + (value - added);
        self.sum = total;
    }

    #[inline]
    fn join(mut self, other: Self) -> Self {
        self.add(other.sum);
        self.lost += other.lost;
        self
    }

    fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// Where sums are taken from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    time_ms: i64,
    value: f64,
}

/// What is summed.
pub(crate) trait Terms<const N: usize> {
    /// The largest magnitude whose terms may be summed over any window without overflow.
    const TAME: f64;

    /// The terms of one sample.
    fn of(origin: Origin, time_ms: i64, value: f64) -> [f64; N];
}

/// The values themselves.
#[derive(Debug, Default)]
pub(crate) struct Values;

impl Terms<1> for Values {
    const TAME: f64 = 1e290;

    #[inline]
    fn of(_: Origin, _: i64, value: f64) -> [f64; 1] {
        [value]
    }
}

/// Distances from the origin, and their squares.
#[derive(Debug, Default)]
pub(crate) struct Squares;

impl Terms<2> for Squares {
    const TAME: f64 = 1e140;

    #[inline]
    fn of(origin: Origin, _: i64, value: f64) -> [f64; 2] {
        let distance = value - origin.value;
        [distance, distance * distance]
    }
}

/// What the least-squares line is made of.
#[derive(Debug, Default)]
pub(crate) struct Products;

impl Terms<4> for Products {
    const TAME: f64 = 1e140;

    #[inline]
    fn of(origin: Origin, time_ms: i64, value: f64) -> [f64; 4] {
        let (x, y) = (seconds(time_ms.saturating_sub(origin.time_ms)), value - origin.value);
        [x, y, x * y, x * x]
    }
}

/// What is known of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<const N: usize> {
    /// The sums of the terms.
    Sums([Pair; N]),
    /// There is a NaN in it.
    Nan,
    /// There is a value beyond [`Terms::TAME`] in it: look at every sample.
    Wild,
}

/// The sums over a window that moves on.
#[derive(Debug)]
pub(crate) struct Sliding<T, const N: usize> {
    terms: std::marker::PhantomData<T>,
    origin: Origin,
    /// From the sample that many before the border up to the border.
    older: Vec<[Pair; N]>,
    /// The border: one past the newest sample of `older`.
    border: usize,
    /// From the border up to `next`.
    newer: [Pair; N],
    /// The first sample not looked at.
    next: usize,
    /// One past the last NaN and one past the last wild value that were looked at.
    after_nan: usize,
    after_wild: usize,
    /// The last sample that differs from the one before it.
    changed: usize,
}

impl<T: Terms<N>, const N: usize> Sliding<T, N> {
    /// Over no series yet.
    pub(crate) fn new() -> Self {
        Self {
            terms: std::marker::PhantomData,
            origin: Origin::default(),
            older: Vec::new(),
            border: 0,
            newer: [Pair::default(); N],
            next: 0,
            after_nan: 0,
            after_wild: 0,
            changed: 0,
        }
    }

    /// Begins with another series.
    pub(crate) fn restart(&mut self) {
        self.older.clear();
        (self.border, self.next) = (0, 0);
        (self.after_nan, self.after_wild, self.changed) = (0, 0, 0);
    }

    /// The sums of a window, which has at least one sample and lies no further back than the one before.
    #[inline]
    pub(crate) fn found(&mut self, window: &Window<'_>) -> Found<N> {
        if window.first >= self.border {
            self.move_border(window);
        }
        while self.next < window.after {
            let at = self.next;
            self.look(window, at);
            let terms = self.terms_of(window, at);
            for (sum, term) in self.newer.iter_mut().zip(terms) {
                sum.add(term);
            }
            self.next += 1;
        }
        if self.after_nan > window.first {
            return Found::Nan;
        }
        if self.after_wild > window.first {
            return Found::Wild;
        }
        let mut sums = self.newer;
        if let Some(older) = (self.border - window.first).checked_sub(1).and_then(|at| self.older.get(at)) {
            for (sum, older) in sums.iter_mut().zip(older) {
                *sum = older.join(*sum);
            }
        }
        Found::Sums(sums)
    }

    /// Whether all values of the window looked at last are the same.
    pub(crate) fn is_constant(&self, window: &Window<'_>) -> bool {
        self.changed <= window.first
    }

    /// Moves the border to the end of the window.
    fn move_border(&mut self, window: &Window<'_>) {
        for at in self.next.max(window.first)..window.after {
            self.look(window, at);
        }
        let last = window.after - 1;
        self.origin = Origin { time_ms: window.all_times_ms[last], value: tame::<T, N>(window.all_values[last]) };
        (self.border, self.next) = (window.after, window.after);
        self.newer = [Pair::default(); N];
        self.older.clear();
        let mut sums = [Pair::default(); N];
        for at in (window.first..window.after).rev() {
            for (sum, term) in sums.iter_mut().zip(self.terms_of(window, at)) {
                sum.add(term);
            }
            self.older.push(sums);
        }
    }

    /// Takes note of what is not in the sums.
    #[inline]
    fn look(&mut self, window: &Window<'_>, at: usize) {
        let value = window.all_values[at];
        if value.is_nan() {
            self.after_nan = at + 1;
        } else if value.abs() > T::TAME {
            self.after_wild = at + 1;
        }
        #[expect(clippy::float_cmp, reason = "a constant is exactly constant")]
        if at > 0 && value != window.all_values[at - 1] {
            self.changed = at;
        }
    }

    #[inline]
    fn terms_of(&self, window: &Window<'_>, at: usize) -> [f64; N] {
        T::of(self.origin, window.all_times_ms[at], tame::<T, N>(window.all_values[at]))
    }
}

/// A value that may be summed.
#[inline]
fn tame<T: Terms<N>, const N: usize>(value: f64) -> f64 {
    // A NaN is not tame either.
    if value.abs() <= T::TAME { value } else { 0.0 }
}

impl Sliding<Values, 1> {
    /// The sum of a window; nothing if every sample has to be looked at.
    #[inline]
    pub(crate) fn sum(&mut self, window: &Window<'_>) -> Option<f64> {
        match self.found(window) {
            Found::Sums([sum]) => Some(sum.total()),
            Found::Nan => Some(f64::NAN),
            Found::Wild => None,
        }
    }

    /// The mean of a window; nothing if every sample has to be looked at.
    #[inline]
    pub(crate) fn mean(&mut self, window: &Window<'_>) -> Option<f64> {
        match self.found(window) {
            Found::Sums([sum]) => Some(sum.sum / count(window.floats()) + sum.lost / count(window.floats())),
            Found::Nan => Some(f64::NAN),
            Found::Wild => None,
        }
    }
}

impl Sliding<Squares, 2> {
    /// The population variance of a window; nothing if every sample has to be looked at.
    #[inline]
    pub(crate) fn variance(&mut self, window: &Window<'_>) -> Option<f64> {
        match self.found(window) {
            Found::Sums([distances, squares]) => {
                let (n, distance) = (count(window.floats()), distances.total());
                Some(((squares.total() - distance * (distance / n)) / n).max(0.0))
            }
            Found::Nan => Some(f64::NAN),
            Found::Wild => None,
        }
    }
}

impl Sliding<Products, 4> {
    /// The least-squares line of a window of two samples or more, from `origin_ms`; nothing if every sample has to be
    /// looked at.
    #[inline]
    pub(crate) fn line(&mut self, window: &Window<'_>, origin_ms: i64) -> Option<Line> {
        let [x, y, xy, xx] = match self.found(window) {
            Found::Sums(sums) => sums.map(Pair::total),
            Found::Nan => return Some(Line { slope: f64::NAN, intercept: f64::NAN }),
            Found::Wild => return None,
        };
        if self.is_constant(window) {
            return Some(Line { slope: 0.0, intercept: window.all_values[window.first] });
        }
        let n = count(window.floats());
        let slope = (xy - x * (y / n)) / (xx - x * (x / n));
        let mean_x = x / n + seconds(self.origin.time_ms.saturating_sub(origin_ms));
        Some(Line { slope, intercept: self.origin.value + (y / n - slope * mean_x) })
    }
}

#[cfg(test)]
mod tests {
    use model::Samples;

    use super::super::over_time::{of_window, regression};
    use super::*;
    use crate::compensated::CompensatedSum;
    use crate::functions::FunctionId;

    /// Samples of an odd distance, with values of the given classes.
    fn samples(random: &mut fastrand::Rng, classes: &[f64]) -> Samples {
        let mut samples = Samples::default();
        let mut time_ms = 0;
        for _ in 0..400 {
            time_ms += random.i64(1..30_000);
            let class = classes[random.usize(0..classes.len())];
            let value = if class.is_finite() { class * (random.f64() - 0.3) } else { class };
            // Runs of the same value, and values far from zero that differ little.
            samples.push(time_ms, if random.u8(0..4) == 0 { class } else { value });
        }
        samples
    }

    /// Calls `check` for windows that move on over `samples`.
    fn move_over(samples: &Samples, random: &mut fastrand::Rng, mut check: impl FnMut(&Window<'_>)) {
        let (mut first, mut after) = (0, 0);
        let width = random.usize(1..120);
        while after < samples.values.len() {
            after = (after + random.usize(0..9)).clamp(first + 1, samples.values.len());
            first = first.max(after.saturating_sub(width + random.usize(0..3))).min(after - 1);
            let (start_ms, end_ms) = (samples.timestamps_ms[first] - 1, samples.timestamps_ms[after - 1]);
            check(&Window { first, after, start_ms, end_ms, time_ms: end_ms + 777, ..Window::of(samples) });
        }
    }

    const CLASSES: [&[f64]; 7] = [
        &[10.0],
        &[1e9, 1e9 + 1.0, 1e9 + 0.25],
        &[1e16, -1e16, 1.0, 1e-5],
        &[1e300, -1e300, 1.0, 1e-300],
        &[f64::INFINITY, 1.0, 2.0],
        &[f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, 3.0, 4.0, 5.0, 6.0, 7.0],
        &[f64::MAX, f64::MAX, -1.0, f64::MIN],
    ];

    fn class_of(seed: u64) -> &'static [f64] {
        CLASSES[usize::try_from(seed).expect("a small number") % CLASSES.len()]
    }

    #[track_caller]
    fn assert_near(found: f64, want: f64, slack: f64, seed: u64) {
        let same = found.to_bits() == want.to_bits() || (found.is_nan() && want.is_nan());
        let near = (found - want).abs() <= 1e-12 * want.abs() + slack;
        assert!(same || near, "{found:e} is not {want:e}, seed {seed}");
    }

    fn sum(values: impl Iterator<Item = f64>) -> f64 {
        let mut sum = CompensatedSum::default();
        values.for_each(|value| sum.add(value));
        sum.total()
    }

    #[test]
    fn sums_and_means_are_those_of_all_samples() {
        for seed in 0..140 {
            let mut random = fastrand::Rng::with_seed(seed);
            let samples = samples(&mut random, class_of(seed));
            for (id, is_mean) in [(FunctionId::SumOverTime, false), (FunctionId::AvgOverTime, true)] {
                let looking = of_window(id).expect("a sum");
                let mut sums = Sliding::<Values, 1>::new();
                sums.restart();
                move_over(&samples, &mut random, |window| {
                    let found = if is_mean { sums.mean(window) } else { sums.sum(window) };
                    let want = looking(window).expect("samples");
                    // What compensation itself rounds, of sums that cancel.
                    let slack = 1e-28 * window.values().iter().map(|value| value.abs()).sum::<f64>();
                    assert_near(found.unwrap_or(want), want, if slack.is_finite() { slack } else { 0.0 }, seed);
                    let wild = window.values().iter().any(|value| value.abs() > Values::TAME);
                    let nan = window.values().iter().any(|value| value.is_nan());
                    assert_eq!(found.is_none(), wild && !nan, "seed {seed}");
                });
            }
        }
    }

    #[test]
    fn variances_are_those_of_all_samples() {
        for seed in 0..140 {
            let mut random = fastrand::Rng::with_seed(seed);
            let samples = samples(&mut random, class_of(seed));
            let looking = of_window(FunctionId::StdvarOverTime).expect("a variance");
            let mut sums = Sliding::<Squares, 2>::new();
            sums.restart();
            move_over(&samples, &mut random, |window| {
                let Some(found) = sums.variance(window) else { return };
                let (n, first) = (count(window.floats()), window.values()[0]);
                if found.is_nan() {
                    assert!(looking(window).expect("samples").is_nan());
                    return;
                }
                // In two passes from a value of the window, which loses next to nothing.
                let distances = || window.values().iter().map(|value| value - first);
                let mean = sum(distances()) / n;
                let want = sum(distances().map(|distance| (distance - mean) * (distance - mean))) / n;
                assert_near(found, want, 0.0, seed);
                let usual = looking(window).expect("samples");
                let digits = window.values().iter().fold(0.0, |most: f64, value| most.max(value.abs())) / want.sqrt();
                assert!(
                    want == 0.0 || (usual - want).abs() <= want * (1e-12 + 1e-15 * digits),
                    "{usual} is not {want}"
                );
            });
        }
    }

    #[test]
    fn lines_are_those_of_all_samples() {
        for seed in 0..140 {
            let mut random = fastrand::Rng::with_seed(seed);
            let samples = samples(&mut random, class_of(seed));
            let mut sums = Sliding::<Products, 4>::new();
            sums.restart();
            move_over(&samples, &mut random, |window| {
                let Some(found) = sums.line(window, window.time_ms).filter(|_| window.floats() > 1) else { return };
                let usual = regression(window, window.time_ms).expect("two samples");
                if found.slope.is_nan() || usual.slope == 0.0 {
                    assert_near(found.slope, usual.slope, 0.0, seed);
                    assert_near(found.intercept, usual.intercept, 0.0, seed);
                    return;
                }
                // In two passes from the middle of the window.
                let n = count(window.floats());
                let xs = || window.times_ms().iter().map(|&time_ms| seconds(time_ms - window.start_ms));
                let ys = || window.values().iter().map(|value| value - window.values()[0]);
                let (mean_x, mean_y) = (sum(xs()) / n, sum(ys()) / n);
                let products = || xs().zip(ys()).map(|(x, y)| (x - mean_x) * (y - mean_y));
                let squares = sum(xs().map(|x| (x - mean_x) * (x - mean_x)));
                let steepest = products().map(f64::abs).sum::<f64>() / squares;
                assert_near(found.slope, sum(products()) / squares, 1e-12 * steepest, seed);
                let at_time = seconds(window.time_ms - window.start_ms) - mean_x;
                let want = window.values()[0] + mean_y + sum(products()) / squares * at_time;
                let slack = 1e-12 * (steepest * at_time.abs() + mean_y.abs() + window.values()[0].abs());
                assert_near(found.intercept, want, slack, seed);
            });
        }
    }
}
