//! `increase_pure` and `rate_pure`: what a counter counted, with nothing guessed.
//!
//! The change from the newest sample at or before the window's start to the newest at or before its end. Each pair of
//! neighbouring samples counts in exactly one of the windows that lie side by side, so that their results add up to the
//! result over all of them. Samples farther back than lookback do not count as the start: the counter is taken to begin
//! with its first sample inside, from zero if its start is known to lie inside, else from that sample's value.

use model::{SampleValue, Samples};

use super::condensed;
use super::grid::seconds;
use super::marks::Resets;
use super::native_range::{Met, pure_change};
use super::window::{Frame, Window};
use crate::native;

/// The state of one of the two functions over one series.
#[derive(Debug)]
pub(crate) struct Pure {
    resets: Resets,
    is_rate: bool,
}

/// The sample that a window starts from, by its place among those of its kind.
#[derive(Debug, Clone, Copy)]
enum Base {
    None,
    Float(usize),
    Histogram(usize),
}

impl Pure {
    /// `rate_pure` or `increase_pure`.
    pub(crate) fn new(is_rate: bool) -> Self {
        Self { resets: Resets::default(), is_rate }
    }

    /// Begins with another series.
    pub(crate) fn restart(&mut self, samples: &Samples) {
        self.resets.find(&samples.timestamps_ms, &samples.values, &samples.starts_ms);
    }

    /// The change over a window of an anchored frame.
    pub(crate) fn change(&mut self, frame: &Frame<'_>, window: &Window<'_>, met: &mut Met) -> Option<SampleValue> {
        let base = base(frame, window);
        let histograms = !window.histograms().is_empty() || matches!(base, Base::Histogram(_));
        if histograms && (window.floats() > 0 || matches!(base, Base::Float(_))) {
            met.add_mix();
            return None;
        }
        let length = seconds(window.end_ms - window.start_ms);
        if !histograms {
            let change = self.float_change(window, base, met)?;
            return Some(SampleValue::Float(if self.is_rate { change / length } else { change }));
        }
        let (from, began) = match base {
            Base::Histogram(at) => (at, false),
            _ => (window.first_histogram, is_inside(window, window.histograms().first()?.start_ms)),
        };
        let change = pure_change(&window.all_histograms[from..window.after_histogram], began, met)?;
        let change = if self.is_rate { native::divide(&change, length) } else { change };
        Some(SampleValue::Histogram(change.into()))
    }

    fn float_change(&mut self, window: &Window<'_>, base: Base, met: &mut Met) -> Option<f64> {
        let (from, first, zero) = match base {
            Base::Float(at) => (at, window.all_values[at], None),
            _ if window.floats() == 0 => return None,
            _ => {
                let began = is_inside(window, window.start_of_float(window.first));
                let (_, first) = window.earliest_of(window.first);
                (window.first, first, began.then_some(first))
            }
        };
        if self.resets.has_overlap(from, window.after) {
            met.add_overlap();
        }
        let last = window.all_values[window.after - 1];
        if window.has_summaries() {
            let change = last - first + condensed::hidden(window, first, last) + zero.unwrap_or(0.0);
            return Some(if self.is_rate { change } else { change * window.share });
        }
        let change = self.resets.corrected(last - first, window.all_values, from, window.after);
        Some(change + zero.unwrap_or(0.0))
    }
}

/// Whether a start, 0 for unknown, is one inside the window.
fn is_inside(window: &Window<'_>, start_ms: i64) -> bool {
    let first_ms = super::native_range::first_ms(window);
    start_ms != 0 && start_ms >= window.start_ms && first_ms.is_some_and(|first_ms| start_ms < first_ms)
}

/// The newest sample at or before the start of the window, within lookback: of the start, or, if there is none inside, of
/// the end.
fn base(frame: &Frame<'_>, window: &Window<'_>) -> Base {
    let seen_from_ms = if window.is_empty() { window.end_ms } else { window.start_ms };
    let float = window.first.checked_sub(1).map(|at| (window.all_times_ms[at], Base::Float(at)));
    let histogram = window.first_histogram.checked_sub(1);
    let histogram = histogram.map(|at| (window.all_histograms[at].timestamp_ms, Base::Histogram(at)));
    let newest = float.into_iter().chain(histogram).max_by_key(|&(time_ms, _)| time_ms);
    newest.filter(|&(time_ms, _)| frame.reaches(time_ms, seen_from_ms)).map_or(Base::None, |(_, base)| base)
}
