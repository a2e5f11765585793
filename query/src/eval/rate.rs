//! `rate`, `increase` and `delta` over a plain window, and `irate` and `idelta`.
//!
//! Counter resets are found once for a series; a window then adds up those inside it, so that a step costs what its
//! resets cost and not what its samples cost.

use super::grid::seconds;
use super::math::count;
use super::window::Window;
use crate::functions::FunctionId;

/// Which of the three is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateKind {
    /// Drops are resets, and the value was never below zero.
    pub(crate) is_counter: bool,
    /// Per second of the range.
    pub(crate) is_rate: bool,
}

impl RateKind {
    /// Of a function of the family.
    pub(crate) fn of(id: FunctionId) -> Option<Self> {
        match id {
            FunctionId::Rate => Some(Self { is_counter: true, is_rate: true }),
            FunctionId::Increase => Some(Self { is_counter: true, is_rate: false }),
            FunctionId::Delta => Some(Self { is_counter: false, is_rate: false }),
            _ => None,
        }
    }
}

/// The places where a counter fell, in order.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    at: Vec<usize>,
    /// The first one that may lie in the window, which only moves on.
    next: usize,
}

impl Resets {
    /// Finds the drops in the values of a series; a NaN never is one.
    pub(crate) fn find(&mut self, values: &[f64]) {
        self.next = 0;
        self.at.clear();
        self.at.extend(values.array_windows().enumerate().filter(|(_, [a, b])| b < a).map(|(at, _)| at + 1));
    }

    /// `change` and the values before each drop between the samples `first..after`, added in their order: of values
    /// of very different size another order keeps other digits.
    fn corrected(&mut self, change: f64, values: &[f64], first: usize, after: usize) -> f64 {
        while self.at.get(self.next).is_some_and(|&at| at <= first) {
            self.next += 1;
        }
        self.at[self.next..].iter().take_while(|&&at| at < after).fold(change, |sum, &at| sum + values[at - 1])
    }
}

/// The change over the window, extrapolated to its ends: each end by its whole gap if the gap is not much longer than
/// the samples' distance, else by half that distance; a counter to no time before it was zero.
pub(crate) fn extrapolated(window: &Window<'_>, kind: RateKind, resets: &mut Resets) -> Option<f64> {
    let (times, values) = (window.times_ms(), window.values());
    let ([first_ms, .., last_ms], [first, .., last]) = (times, values) else { return None };
    let mut change = last - first;
    if kind.is_counter {
        change = resets.corrected(change, window.all_values, window.first, window.after);
    }
    let sampled = seconds(last_ms - first_ms);
    let distance = sampled / (count(values.len()) - 1.0);
    let threshold = distance * 1.1;
    let mut start_gap = seconds(first_ms - window.start_ms);
    let mut end_gap = seconds(window.end_ms - last_ms);
    if start_gap >= threshold {
        start_gap = distance / 2.0;
    }
    if kind.is_counter && change > 0.0 && *first >= 0.0 {
        start_gap = start_gap.min(sampled * (first / change));
    }
    if end_gap >= threshold {
        end_gap = distance / 2.0;
    }
    let mut factor = (sampled + start_gap + end_gap) / sampled;
    if kind.is_rate {
        factor /= seconds(window.end_ms - window.start_ms);
    }
    Some(change * factor)
}

/// `irate`: the increase between the last two samples per second; after a reset the last value counts from zero.
pub(crate) fn irate(window: &Window<'_>) -> Option<f64> {
    let ([.., before_ms, last_ms], [.., before, last]) = (window.times_ms(), window.values()) else { return None };
    let change = if last < before { *last } else { last - before };
    (last_ms > before_ms).then(|| change / seconds(last_ms - before_ms))
}

/// `idelta`: the difference of the last two samples.
pub(crate) fn idelta(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.values() else { return None };
    Some(last - before)
}
