//! `rate`, `increase` and `delta` over `anchored` and `smoothed` windows, which look beyond their ends instead of
//! extrapolating.
//!
//! Owns which functions know these windows, and what they are for floats; for histograms they are `native_range`'s.

use model::SampleValue;

use super::condensed;
use super::grid::seconds;
use super::native_range::{self, Met, extended_histograms};
use super::rate::RateKind;
use super::select::interpolate;
use super::window::{Frame, Window};
use crate::ast::RangeExtension;
use crate::functions::FunctionId;

/// The functions that take `anchored` windows.
pub(crate) const ANCHORED: [FunctionId; 5] =
    [FunctionId::Changes, FunctionId::Delta, FunctionId::Increase, FunctionId::Rate, FunctionId::Resets];
/// The functions that take `smoothed` windows.
pub(crate) const SMOOTHED: [FunctionId; 3] = [FunctionId::Delta, FunctionId::Increase, FunctionId::Rate];

/// The value of a function over an extended window. With both kinds of sample in reach there is none.
pub(crate) fn extended(kind: RateKind, frame: &Frame<'_>, window: &Window<'_>, met: &mut Met) -> Option<SampleValue> {
    let left = left_neighbour(frame, window);
    let right = right_neighbour(frame, window);
    if !window.all_histograms.is_empty() && !extended_histograms(frame, window).is_empty() {
        if window.floats() > 0 || left.is_some() || right.is_some() {
            met.add_mix();
            return None;
        }
        return native_range::extended(frame, window, kind, met);
    }
    if frame.extension == Some(RangeExtension::Smoothed) {
        return smoothed(kind, window, left, right).map(SampleValue::Float);
    }
    if window.floats() == 0 {
        return None;
    }
    let first = left.map_or_else(|| window.earliest_of(window.first).1, |left| window.all_values[left]);
    let last = *window.values().last()?;
    Some(SampleValue::Float(finish(kind, window, first, last)))
}

/// The newest float at or before the window's start, no further back than lookback.
fn left_neighbour(frame: &Frame<'_>, window: &Window<'_>) -> Option<usize> {
    window.first.checked_sub(1).filter(|&at| frame.reaches(window.all_times_ms[at], window.start_ms))
}

/// The first float after the window of a `smoothed` frame, no further on than lookback.
fn right_neighbour(frame: &Frame<'_>, window: &Window<'_>) -> Option<usize> {
    let newest_ms = window.end_ms.saturating_add(frame.lookback_ms);
    let is_near = |&at: &usize| at < window.all_times_ms.len() && window.earliest_of(at).0 <= newest_ms;
    (frame.extension == Some(RangeExtension::Smoothed)).then_some(window.after).filter(is_near)
}

fn smoothed(kind: RateKind, window: &Window<'_>, left: Option<usize>, right: Option<usize>) -> Option<f64> {
    let point = |at: usize| (window.all_times_ms[at], window.all_values[at]);
    let earliest = |at: usize| window.earliest_of(at);
    // All samples before the window or all after it: nothing is known of what lies inside.
    let first_inside_or_right = if window.floats() > 0 { Some(window.first) } else { right };
    let last_inside_or_left = if window.floats() > 0 { Some(window.after - 1) } else { left };
    let (next, previous) = (first_inside_or_right?, last_inside_or_left?);
    let start_value = left.map_or(earliest(next).1, |left| edge(kind, point(left), earliest(next), window.start_ms));
    let end_value =
        right.map_or(point(previous).1, |right| edge(kind, point(previous), earliest(right), window.end_ms));
    Some(finish(kind, window, start_value, end_value))
}

/// The value at `time_ms` between two samples. A counter that fell between them began again from zero.
fn edge(kind: RateKind, left: (i64, f64), right: (i64, f64), time_ms: i64) -> f64 {
    if left.0 >= time_ms {
        return left.1;
    }
    let fell = kind.is_counter && right.1 < left.1;
    interpolate(if fell { (left.0, 0.0) } else { left }, right, time_ms)
}

/// The change from `first` to `last`, for a counter with what the resets in between hide.
fn finish(kind: RateKind, window: &Window<'_>, first: f64, last: f64) -> f64 {
    let mut change = last - first;
    if kind.is_counter && window.has_summaries() {
        change += condensed::hidden(window, first, last);
    } else if kind.is_counter {
        let mut previous = first;
        for &value in window.values().iter().chain([&last]) {
            if value < previous {
                change += previous;
            }
            previous = value;
        }
    }
    if kind.is_rate { change / seconds(window.end_ms - window.start_ms) } else { change * window.share }
}
