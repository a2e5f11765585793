//! What functions compute of windows that hold summaries.
//!
//! A window is a run of pieces: summaries, and samples between them, each of which is the summary of itself. All that is
//! computed here is that of the samples themselves if the window begins and ends where summaries do. Where it cuts some,
//! it was [moved](super::slide) to their ends before, and what adds up over time is taken in proportion.

use model::Summary;

use super::marks::{is_change, is_drop};
use super::rate::{RateKind, Sampled};
use super::window::Window;
use crate::compensated::CompensatedSum;

/// Counts beyond 2^53 lose digits.
#[expect(clippy::cast_precision_loss, reason = "no series has 2^53 samples")]
fn number(of: u64) -> f64 {
    of as f64
}

/// A sample as the summary of itself.
fn alone(time_ms: i64, value: f64) -> Summary {
    Summary {
        window_ms: 1,
        count: 1,
        first_ms: time_ms,
        last_ms: time_ms,
        first: value,
        last: value,
        min: value,
        max: value,
        sum: value,
        before_resets: 0.0,
        resets: 0,
        changes: 0,
        ended: false,
    }
}

impl<'a> Window<'a> {
    /// What it holds, in order of time.
    fn pieces(&self) -> impl Iterator<Item = Summary> + use<'a> {
        let window = *self;
        let mut next = window.first_summary;
        (window.first..window.after).map(move |at| {
            if next < window.after_summary && window.summary_places[next] == at {
                next += 1;
                window.all_summaries[next - 1]
            } else {
                alone(window.all_times_ms[at], window.all_values[at])
            }
        })
    }

    /// Time and value of the first sample of the float at `at`, which may stand in for a summary.
    pub(crate) fn earliest_of(&self, at: usize) -> (i64, f64) {
        match self.summary_places.binary_search(&at) {
            Ok(of) => (self.all_summaries[of].first_ms, self.all_summaries[of].first),
            Err(_) => (self.all_times_ms[at], self.all_values[at]),
        }
    }
}

/// How many floats there are.
pub(crate) fn samples(window: &Window<'_>) -> f64 {
    number(window.pieces().map(|piece| piece.count).sum()) * window.share
}

/// The sum of all floats.
pub(crate) fn sum(window: &Window<'_>) -> f64 {
    let mut sum = CompensatedSum::default();
    window.pieces().for_each(|piece| sum.add(piece.sum));
    sum.total() * window.share
}

/// The mean of all floats; where their sum is beyond what a number can be, that of the means.
pub(crate) fn mean(window: &Window<'_>) -> f64 {
    let mut sum = CompensatedSum::default();
    let mut samples = 0;
    for piece in window.pieces() {
        sum.add(piece.sum);
        samples += piece.count;
    }
    sum.finite_over(number(samples)).unwrap_or_else(|| {
        let mut mean = CompensatedSum::default();
        window
            .pieces()
            .for_each(|piece| mean.add(piece.sum / number(piece.count) * (number(piece.count) / number(samples))));
        mean.total()
    })
}

/// The smallest or largest float, whichever `beats` the others; NaN only if there is nothing else.
pub(crate) fn extreme(window: &Window<'_>, is_least: bool) -> f64 {
    window.pieces().fold(f64::NAN, |best, piece| {
        let value = if is_least { piece.min } else { piece.max };
        let beats = if is_least { value < best } else { value > best };
        if best.is_nan() || beats { value } else { best }
    })
}

/// How often something happened between two samples that follow each other: `inside` a piece, or from one to the next,
/// the first of which is `before` the window.
fn events(
    window: &Window<'_>,
    before: Option<f64>,
    inside: impl Fn(&Summary) -> u64,
    happens: impl Fn(f64, f64) -> bool,
) -> f64 {
    let (mut found, mut before) = (0, before);
    for piece in window.pieces() {
        found += inside(&piece) + u64::from(before.is_some_and(|before| happens(before, piece.first)));
        before = Some(piece.last);
    }
    number(found) * window.share
}

/// How often the value changed.
pub(crate) fn changes(window: &Window<'_>, before: Option<f64>) -> f64 {
    events(window, before, |piece| piece.changes, is_change)
}

/// How often the value fell.
pub(crate) fn resets(window: &Window<'_>, before: Option<f64>) -> f64 {
    events(window, before, |piece| piece.resets, is_drop)
}

/// What resets hide of the increase of a counter from `first` over the window and on to `last`: the sum of the values
/// before each.
pub(crate) fn hidden(window: &Window<'_>, first: f64, last: f64) -> f64 {
    let (mut sum, mut before) = (0.0, first);
    for piece in window.pieces() {
        if is_drop(before, piece.first) {
            sum += before;
        }
        sum += piece.before_resets;
        before = piece.last;
    }
    if is_drop(before, last) { sum + before } else { sum }
}

/// `rate`, `increase` and `delta`: the change over the window, extrapolated to its ends.
pub(crate) fn extrapolated(window: &Window<'_>, kind: RateKind) -> Option<f64> {
    let newest = window.after.checked_sub(1)?;
    let (first_ms, first) = window.earliest_of(window.first);
    let (last_ms, last) = (window.all_times_ms[newest], window.all_values[newest]);
    let many: u64 = window.pieces().map(|piece| piece.count).sum();
    let start_ms = if kind.is_counter { window.start_of_float(window.first) } else { 0 };
    let sampled = Sampled::new(window, first_ms, last_ms, usize::try_from(many).unwrap_or(usize::MAX), start_ms);
    let mut change = last - first;
    if kind.is_counter {
        change += hidden(window, first, last);
        if sampled.began_ms.is_some() {
            change += first;
        }
    }
    let change = change * sampled.factor(window, kind, first, change)?;
    Some(if kind.is_rate { change } else { change * window.share })
}
