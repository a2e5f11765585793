//! What the `*_over_time` functions and their like compute of the samples in one window.

use std::collections::VecDeque;

use super::condensed;
use super::error::{Result, execution};
use super::grid::seconds;
use super::math::{Mean, count, quantile};
use super::window::Window;
use crate::compensated::CompensatedSum;
use crate::functions::FunctionId;

/// A function of the floats of a window alone, which has at least one.
pub(crate) type OfWindow = fn(&Window<'_>) -> Option<f64>;

/// The functions that need nothing but the floats of the window.
pub(crate) fn of_window(id: FunctionId) -> Option<OfWindow> {
    use FunctionId as F;
    Some(match id {
        F::SumOverTime => {
            |window| Some(if window.has_summaries() { condensed::sum(window) } else { sum(window.values()) })
        }
        F::AvgOverTime => |window| {
            if window.has_summaries() { Some(condensed::mean(window)) } else { mean(window.values()) }
        },
        F::StdvarOverTime => |window| Some(variance(window.values())),
        F::StddevOverTime => |window| Some(variance(window.values()).sqrt()),
        F::MadOverTime => |window| Some(median_deviation(window.values())),
        F::TsOfMinOverTime => {
            |window| extreme(window.values(), |value, best| value <= best).map(|at| seconds(window.times_ms()[at]))
        }
        F::TsOfMaxOverTime => {
            |window| extreme(window.values(), |value, best| value >= best).map(|at| seconds(window.times_ms()[at]))
        }
        _ => return None,
    })
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = CompensatedSum::default();
    for &value in values {
        sum.add(value);
    }
    sum.total()
}

fn mean(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    let mut sum = CompensatedSum::starting_at(*first);
    for &value in rest {
        sum.add(value);
    }
    // A sum that overflowed on the way does not come back, so a finite one never did.
    if let Some(mean) = sum.finite_over(count(values.len())) {
        return Some(mean);
    }
    let mut mean = Mean::default();
    for &value in values {
        mean.add(value);
    }
    mean.mean()
}

/// The smallest or largest values of windows that only move on, each sample looked at once: a queue of the samples
/// that may still become the best, the best of the window first (D. Lemire, "Streaming maximum-minimum filter using no
/// more than three comparisons per element", 2006).
#[derive(Debug)]
pub(crate) struct Best {
    beats: fn(f64, f64) -> bool,
    is_least: bool,
    queue: VecDeque<usize>,
    /// The first sample not looked at.
    next: usize,
}

impl Best {
    /// Of a function that picks one of the values.
    pub(crate) fn of(id: FunctionId) -> Option<Self> {
        let is_least = id == FunctionId::MinOverTime;
        let beats: fn(f64, f64) -> bool = match id {
            FunctionId::MinOverTime => |value, other| value < other,
            FunctionId::MaxOverTime => |value, other| value > other,
            _ => return None,
        };
        Some(Self { beats, is_least, queue: VecDeque::new(), next: 0 })
    }

    /// Begins with another series.
    pub(crate) fn restart(&mut self) {
        self.queue.clear();
        self.next = 0;
    }

    /// The best value of a window, which has at least one; NaN only if there is nothing else.
    pub(crate) fn value(&mut self, window: &Window<'_>) -> f64 {
        if window.has_summaries() {
            return condensed::extreme(window, self.is_least);
        }
        let values = window.all_values;
        for at in self.next.max(window.first)..window.after {
            let value = values[at];
            if !value.is_nan() {
                while self.queue.back().is_some_and(|&last| (self.beats)(value, values[last])) {
                    self.queue.pop_back();
                }
                self.queue.push_back(at);
            }
        }
        self.next = self.next.max(window.after);
        while self.queue.front().is_some_and(|&first| first < window.first) {
            self.queue.pop_front();
        }
        self.queue.front().map_or(f64::NAN, |&best| values[best])
    }
}

/// Where the value is that `beats` all before it; NaN loses to every number.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> Option<usize> {
    let mut best = 0;
    for (at, &value) in values.iter().enumerate().skip(1) {
        if beats(value, values[best]) || values[best].is_nan() {
            best = at;
        }
    }
    (!values.is_empty()).then_some(best)
}

/// The population variance (Welford's method, compensated).
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (CompensatedSum::default(), CompensatedSum::default());
    for (at, &value) in values.iter().enumerate() {
        let delta = value - mean.total();
        mean.add(delta / count(at + 1));
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count(values.len())
}

/// The median of the distances from the median; NaN if any value is.
fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    let median = quantile(0.5, &mut sorted);
    for value in &mut sorted {
        *value = (*value - median).abs();
    }
    quantile(0.5, &mut sorted)
}

/// A straight line: `slope * (seconds after the origin) + intercept`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

/// The line through the samples of a window with the least squared distances; nothing with fewer than two samples.
pub(crate) fn regression(window: &Window<'_>, origin_ms: i64) -> Option<Line> {
    let values = window.values();
    let [first, _, ..] = values else { return None };
    #[expect(clippy::float_cmp, reason = "a constant is exactly constant")]
    let constant = values.iter().all(|value| value == first);
    if constant {
        return Some(if first.is_infinite() {
            Line { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Line { slope: 0.0, intercept: *first }
        });
    }
    let mut sums = [CompensatedSum::default(); 4];
    for (&time_ms, &y) in window.times_ms().iter().zip(values) {
        let x = seconds(time_ms.saturating_sub(origin_ms));
        for (sum, term) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            sum.add(term);
        }
    }
    let [x, y, xy, xx] = sums.map(CompensatedSum::total);
    let n = count(values.len());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some(Line { slope, intercept: y / n - slope * x / n })
}

/// Holt's double exponential smoothing; nothing with fewer than two samples.
pub(crate) fn smoothing(values: &[f64], factor: f64, trend_factor: f64) -> Option<f64> {
    let [first, second, ..] = values else { return None };
    let (mut before, mut level, mut trend) = (0.0, *first, second - first);
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        (before, level) = (level, factor * value + (1.0 - factor) * (level + trend));
    }
    Some(level)
}

/// Checks a smoothing factor: strictly between 0 and 1.
pub(crate) fn check_factor(name: &str, short: &str, factor: f64) -> Result<()> {
    if factor > 0.0 && factor < 1.0 {
        return Ok(());
    }
    Err(execution(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}")))
}

#[cfg(test)]
mod tests {
    use model::Samples;

    use super::*;

    /// The best values of all windows of `width` samples, by the queue and by looking at every sample.
    fn check(id: FunctionId, values: &[f64], width: usize, stride: usize) {
        let samples = Samples::from_floats((0..).take(values.len()).collect(), values.to_vec());
        let mut best = Best::of(id).expect("one of the two");
        let beats = best.beats;
        best.restart();
        for after in (1..=values.len()).step_by(stride) {
            let first = after.saturating_sub(width);
            let window = Window { first, after, ..Window::of(&samples) };
            let want = values[first..after]
                .iter()
                .fold(f64::NAN, |best, &value| if best.is_nan() || beats(value, best) { value } else { best });
            let found = best.value(&window);
            assert!(found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan(), "{id:?} {first}..{after}");
        }
    }

    #[test]
    fn the_best_of_moving_windows() {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.0, 0.0, 2.0, f64::NAN, f64::NAN];
        let mut state = 1u32;
        let values: Vec<f64> = (0..500)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                odd[(state >> 16) as usize % odd.len()]
            })
            .collect();
        for (width, stride) in [(1, 1), (2, 1), (7, 1), (7, 3), (3, 10), (100, 1), (1000, 7)] {
            check(FunctionId::MinOverTime, &values, width, stride);
            check(FunctionId::MaxOverTime, &values, width, stride);
        }
    }
}
