//! `rate`, `increase` and `delta` over a plain window of floats, and `irate` and `idelta`.
//!
//! Owns the extrapolation, which histograms share. Counter resets are found once for a series; a window then adds up
//! those inside it, so that a step costs what its resets cost and not what its samples cost.

use super::grid::seconds;
use super::marks::Resets;
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

/// The samples a change is taken between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampled {
    /// When the first was taken.
    pub(crate) first_ms: i64,
    /// When the last was taken.
    pub(crate) last_ms: i64,
    /// How many there are, these two included.
    pub(crate) samples: usize,
    /// When the counter began, if that was after the start of the window and before the first sample.
    pub(crate) began_ms: Option<i64>,
}

impl Sampled {
    /// `began_ms` as the start that the first sample tells, 0 for unknown.
    #[inline]
    pub(crate) fn new(window: &Window<'_>, first_ms: i64, last_ms: i64, samples: usize, start_ms: i64) -> Self {
        let began = start_ms != 0 && start_ms > window.start_ms && start_ms < first_ms;
        Self { first_ms, last_ms, samples, began_ms: began.then_some(start_ms) }
    }

    /// By how much the change is to be multiplied so that it reaches to the ends of the window: each end by its whole
    /// gap if the gap is not much longer than the samples' distance, else by half that distance; a counter to no time
    /// before it was zero, which `first` and `change` tell, or to its known start, where it was zero. Nothing for a
    /// single sample without known start.
    #[inline]
    pub(crate) fn factor(self, window: &Window<'_>, kind: RateKind, first: f64, change: f64) -> Option<f64> {
        let mut sampled = seconds(self.last_ms - self.first_ms);
        let distance = if self.samples > 1 { sampled / (count(self.samples) - 1.0) } else { 0.0 };
        let threshold = distance * 1.1;
        let mut start_gap = seconds(self.first_ms - window.start_ms);
        let mut end_gap = seconds(window.end_ms - self.last_ms);
        if let Some(began_ms) = self.began_ms {
            start_gap = 0.0;
            sampled = seconds(self.last_ms - began_ms);
        } else if self.samples < 2 {
            return None;
        } else {
            if start_gap >= threshold {
                start_gap = distance / 2.0;
            }
            if kind.is_counter && change > 0.0 && first >= 0.0 {
                start_gap = start_gap.min(sampled * (first / change));
            }
        }
        if end_gap >= threshold {
            end_gap = distance / 2.0;
        }
        let factor = (sampled + start_gap + end_gap) / sampled;
        Some(if kind.is_rate { factor / seconds(window.end_ms - window.start_ms) } else { factor })
    }
}

/// What windows have in common whose samples lie at the same places: with steady samples, nearly all of a series. The
/// factor is that without the rule that a counter was never below zero.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Steady {
    /// The gap before the first sample and after the last, and the time between them.
    places_ms: (i64, i64, i64),
    samples: usize,
    window_ms: i64,
    sampled: f64,
    start_gap: f64,
    factor: f64,
}

impl Steady {
    /// The factor of a window without known start, if the rule about zero surely does not change it.
    #[inline]
    fn factor(&mut self, window: &Window<'_>, kind: RateKind, of: Sampled, first: f64, change: f64) -> Option<f64> {
        let places_ms = (of.first_ms - window.start_ms, window.end_ms - of.last_ms, of.last_ms - of.first_ms);
        let window_ms = window.end_ms - window.start_ms;
        if (places_ms, of.samples, window_ms) != (self.places_ms, self.samples, self.window_ms) {
            let sampled = seconds(places_ms.2);
            let distance = sampled / (count(of.samples) - 1.0);
            let gap = seconds(places_ms.0);
            *self = Self {
                places_ms,
                samples: of.samples,
                window_ms,
                sampled,
                start_gap: if gap >= distance * 1.1 { distance / 2.0 } else { gap },
                // Without a change the rule does not apply.
                factor: of.factor(window, kind, first, 0.0)?,
            };
        }
        // More than rounding away from where the counter would have been at zero.
        let is_far = first * self.sampled > change * self.start_gap * 1.000_001;
        (!kind.is_counter || change <= 0.0 || first < 0.0 || is_far).then_some(self.factor)
    }
}

/// The change of the floats over the window, extrapolated to its ends.
#[inline]
pub(crate) fn extrapolated(
    window: &Window<'_>,
    kind: RateKind,
    resets: &mut Resets,
    steady: &mut Steady,
) -> Option<f64> {
    let (times, values) = (window.times_ms(), window.values());
    let (&[first_ms, ..], &[first, ..]) = (times, values) else { return None };
    let (&[.., last_ms], &[.., last]) = (times, values) else { return None };
    let start_ms = if kind.is_counter { window.start_of_float(window.first) } else { 0 };
    let sampled = Sampled::new(window, first_ms, last_ms, values.len(), start_ms);
    let mut change = last - first;
    if kind.is_counter {
        change = resets.corrected(change, window.all_values, window.first, window.after);
        if sampled.began_ms.is_some() {
            change += first;
        }
    }
    if sampled.began_ms.is_none()
        && sampled.samples > 1
        && let Some(factor) = steady.factor(window, kind, sampled, first, change)
    {
        return Some(change * factor);
    }
    Some(change * sampled.factor(window, kind, first, change)?)
}

/// `irate`: the increase between the last two floats per second; after a reset the last value counts from zero.
pub(crate) fn irate(window: &Window<'_>) -> Option<f64> {
    let ([.., before_ms, last_ms], [.., before, last]) = (window.times_ms(), window.values()) else { return None };
    let change = if window.is_float_reset(window.after - 1) { *last } else { last - before };
    (last_ms > before_ms).then(|| change / seconds(last_ms - before_ms))
}

/// `idelta`: the difference of the last two floats.
pub(crate) fn idelta(window: &Window<'_>) -> Option<f64> {
    let [.., before, last] = window.values() else { return None };
    Some(last - before)
}
