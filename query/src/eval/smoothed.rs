//! `smoothed` instant selectors over series that have histograms.
//!
//! Owns the value at a time between two samples, of which at least one may be a histogram. Series of floats alone are
//! the selectors' own.

use std::sync::Arc;

use model::{HistogramSample, SampleValue, Samples};

use super::column::Column;
use super::grid::{Grid, Shift, seconds};
use super::native_range::Met;
use super::select::interpolate;
use crate::native::{Finding, Findings, interpolate_instant};

/// Fills `column`, which has a slot a step, with the values at the shifted times of `grid`: between the neighbours, each
/// no farther than lookback; of the left one if there is no right one. Nothing where lookback around the time holds both
/// floats and histograms. `samples` are without stale markers.
pub(crate) fn smooth(samples: &Samples, grid: Grid, shift: Shift, lookback_ms: i64, column: &mut Column) -> Met {
    let mut met = Met::default();
    let (times, histograms) = (&samples.timestamps_ms, &samples.histograms);
    let (mut after, mut after_histogram) = (0, 0);
    for at in 0..grid.len {
        let time_ms = shift.apply(grid.time_ms(at));
        while times.get(after).is_some_and(|&time| time <= time_ms) {
            after += 1;
        }
        while histograms.get(after_histogram).is_some_and(|next| next.timestamp_ms <= time_ms) {
            after_histogram += 1;
        }
        let is_near =
            |time: i64| time > time_ms.saturating_sub(lookback_ms) && time <= time_ms.saturating_add(lookback_ms);
        let left = after.checked_sub(1).filter(|&left| is_near(times[left]));
        let right = Some(after).filter(|&right| times.get(right).is_some_and(|&time| is_near(time)));
        let is_near = |sample: &&HistogramSample| is_near(sample.timestamp_ms);
        let left_histogram = after_histogram.checked_sub(1).map(|left| &histograms[left]).filter(is_near);
        let right_histogram = histograms.get(after_histogram).filter(is_near);
        let value = match (left.or(right), left_histogram.or(right_histogram)) {
            (Some(_), Some(_)) => {
                met.add_mix();
                None
            }
            (_, Some(_)) => between(left_histogram, right_histogram, time_ms, &mut met),
            _ => left.map(|left| {
                let point = |at: usize| (times[at], samples.values[at]);
                SampleValue::Float(match right {
                    Some(right) if times[left] < time_ms => interpolate(point(left), point(right), time_ms),
                    _ => samples.values[left],
                })
            }),
        };
        if value.is_some() {
            column.set(at, value);
        }
    }
    met
}

/// The histogram at a time between two.
fn between(
    left: Option<&HistogramSample>,
    right: Option<&HistogramSample>,
    time_ms: i64,
    met: &mut Met,
) -> Option<SampleValue> {
    let left = left?;
    let Some(right) = right.filter(|_| left.timestamp_ms < time_ms) else {
        return Some(SampleValue::Histogram(left.histogram.clone()));
    };
    let mut findings = Findings::default();
    let distance = seconds(right.timestamp_ms.saturating_sub(left.timestamp_ms));
    let share = seconds(time_ms.saturating_sub(left.timestamp_ms)) / distance;
    let value = interpolate_instant(&left.histogram, &right.histogram, share, &mut findings);
    if value.is_err() {
        findings.add(Finding::MixedKinds);
    }
    met.add(findings);
    Some(SampleValue::Histogram(Arc::new(value.ok()?)))
}
