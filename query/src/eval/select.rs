//! Instant selectors: the newest sample of each series at each step.
//!
//! Owns lookback and staleness, the sample times that `timestamp` asks for, and `smoothed` selectors.

use std::time::Instant;

use model::sample::is_stale_marker;
use model::{Matcher, SampleValue, Samples, SeriesSet, SourceError, TimeRange};

use super::column::{ABSENT, Column, Head, Sink};
use super::error::Result;
use super::evaluator::Evaluator;
use super::grid::{Grid, Shift, seconds};
use super::guard::Held;
use super::notes::Note;
use super::smoothed::smooth;
use super::summaries::{Lookback, Summaries, Takes, instant_window_ms};
use crate::ast::{RangeExtension, Selector, Span};
use crate::native::tell_resets;

/// What a source is taken to hold for each series it selected, in bytes: where its samples are, and a copy of those still
/// being collected.
pub const SELECTED_BYTES: usize = 256;

/// What is read for a selector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'m> {
    pub(crate) matchers: &'m [Matcher],
    pub(crate) range: TimeRange,
    /// Which of several lengths of summaries serve best: the longest up to this.
    pub(crate) window_ms_max: i64,
    pub(crate) takes: Takes,
    /// Whether the newest sample of each series is enough.
    pub(crate) newest_alone: bool,
}

/// Takes a series: its labels, its samples with stale markers, and its summaries.
pub(crate) type ReadSink<'s> = dyn FnMut(Head, &mut Samples, &mut Summaries) -> Result<()> + 's;

/// What a selector yields for the sample it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The value.
    Value,
    /// The value, where a histogram without hint tells whether its counter began anew.
    ValueTellingResets,
    /// The time of the sample in seconds.
    Time,
    /// The start timestamp of the sample in seconds; 0 for unknown.
    StartTime,
}

impl Evaluator<'_> {
    pub(crate) fn instant_selector(
        &self,
        selector: &Selector,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let shift = self.shift(&selector.modifiers)?;
        if selector.extension == Some(RangeExtension::Smoothed) {
            return self.smoothed_selector(selector, (span, shift), grid, sink);
        }
        let wanted = if selector.tells_resets { Wanted::ValueTellingResets } else { Wanted::Value };
        self.selected(&selector.matchers, shift, wanted, grid, sink)
    }

    /// The newest samples of the selected series, or their times.
    pub(crate) fn selected(
        &self,
        matchers: &[Matcher],
        shift: Shift,
        wanted: Wanted,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let mut column = Column::default();
        let range = Self::read_range(grid, shift, self.lookback_ms, 0);
        let window_ms_max = instant_window_ms(grid, shift);
        let newest_alone = looks_once(grid, shift) && wanted != Wanted::ValueTellingResets;
        let reading = Reading { matchers, range, window_ms_max, takes: Takes::LAST, newest_alone };
        self.read_each(&reading, &mut |head, samples, summaries| {
            self.guard.spend(grid.len)?;
            column.reset(grid.len);
            summaries.stand_in_with_ends(samples);
            let lookback = Lookback { ms: self.lookback_ms, summaries };
            if samples.histograms.is_empty() {
                pick_newest(samples, grid, shift, lookback, wanted, column.slots_mut());
            } else {
                if wanted == Wanted::ValueTellingResets {
                    tell_resets(&mut samples.histograms);
                }
                pick_newest_full(samples, grid, shift, lookback, wanted, &mut column);
            }
            if column.is_empty() { Ok(()) } else { sink(head, &mut column) }
        })
    }

    /// Reads every selected series once. Of a pipeline's selector only the series that are this thread's turn.
    pub(crate) fn read_each(&self, reading: &Reading<'_>, visit: &mut ReadSink<'_>) -> Result<()> {
        self.guard.look()?;
        if reading.range.is_empty() {
            return Ok(());
        }
        if let Some(turn) = &self.turn
            && turn.is_of(reading.matchers, reading.range)?
        {
            return self.read_series(turn.set, turn.series.clone(), reading, visit);
        }
        let (set, _held) = self.select(reading.matchers, reading.range, reading.newest_alone)?;
        self.read_series(&*set, 0..set.len(), reading, visit)
    }

    /// The series that fulfil `matchers`, and what is accounted for the selection. Where there are summaries `range` is
    /// longer by one at both ends: the newest may be as old as that, and one that begins inside ends as late as that.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        newest_alone: bool,
    ) -> Result<(Box<dyn SeriesSet>, Held<'_>)> {
        let (source, series_max) = (self.source, self.guard.options().series_max);
        // What there is no memory for is refused before it is collected.
        let affordable = self.guard.free_bytes() / SELECTED_BYTES;
        let wanted_max = series_max.min(affordable);
        let refused = |error| match error {
            SourceError::TooManySeries { .. } if affordable < series_max => {
                self.guard.out_of_memory((affordable + 1).saturating_mul(SELECTED_BYTES))
            }
            error => error.into(),
        };
        let more_ms = source.summary_window_ms(range);
        let (start_ms, end_ms) = (range.start.0.saturating_sub(more_ms), range.end.0);
        let set = if newest_alone {
            source.select_newest(matchers, TimeRange::new(start_ms, end_ms), wanted_max).map_err(refused)?
        } else {
            source
                .select(matchers, TimeRange::new(start_ms, end_ms.saturating_add(more_ms)), wanted_max)
                .map_err(refused)?
        };
        let held = self.guard.hold(set.len().saturating_mul(SELECTED_BYTES))?;
        self.guard.look()?;
        Ok((set, held))
    }

    fn read_series(
        &self,
        set: &dyn SeriesSet,
        series: std::ops::Range<usize>,
        reading: &Reading<'_>,
        visit: &mut ReadSink<'_>,
    ) -> Result<()> {
        let (mut samples, mut summaries) = (Samples::default(), Summaries::default());
        let mut held = self.guard.hold(0)?;
        for at in series {
            let started = self.trace.is_on().then(Instant::now);
            let cost = set.read_with_summaries(at, reading.window_ms_max, &mut samples, summaries.list_mut())?;
            self.guard.count_read(cost)?;
            held.reach(memory_bytes(&samples) + summaries.bytes())?;
            self.trace.count_read(reading.matchers, cost, started);
            if let Some(extent) = summaries.extent() {
                let count = summaries.list().len();
                self.trace.count_summaries(reading.matchers, reading.takes.columns, count, extent);
                if let Some(what) = reading.takes.needs_samples {
                    self.notes.add(Note::OfSummaries(what, extent), reading.takes.span);
                }
            } else if samples.is_empty() {
                continue;
            }
            visit(Head::new(set.labels(at).clone()), &mut samples, &mut summaries)?;
        }
        Ok(())
    }

    /// What an instant selector reads.
    pub(crate) fn selector_reads(&self, selector: &Selector, grid: Grid) -> Result<TimeRange> {
        let shift = self.shift(&selector.modifiers)?;
        let after_ms = if selector.extension == Some(RangeExtension::Smoothed) { self.lookback_ms } else { 0 };
        Ok(Self::read_range(grid, shift, self.lookback_ms, after_ms))
    }

    /// `selector smoothed`: the value at each step by linear interpolation between its neighbours.
    fn smoothed_selector(
        &self,
        selector: &Selector,
        (span, shift): (Span, Shift),
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let mut column = Column::default();
        let range = Self::read_range(grid, shift, self.lookback_ms, self.lookback_ms);
        let (window_ms_max, takes) = (instant_window_ms(grid, shift), Takes::OUTLINE.at(span));
        let reading = Reading { matchers: &selector.matchers, range, window_ms_max, takes, newest_alone: false };
        self.read_each(&reading, &mut |head, samples, summaries| {
            remove_stale_markers(samples);
            summaries.outline(samples);
            let lookback_ms = self.lookback_ms.max(summaries.window_ms_max());
            self.guard.spend(grid.len)?;
            column.reset(grid.len);
            if !samples.histograms.is_empty() {
                let met = smooth(samples, grid, shift, lookback_ms, &mut column);
                self.tell(met, &head, span)?;
                return if column.is_empty() { Ok(()) } else { sink(head, &mut column) };
            }
            let (times, values) = (&samples.timestamps_ms, &samples.values);
            let mut after = 0;
            for (at, slot) in column.slots_mut().iter_mut().enumerate() {
                let time_ms = shift.apply(grid.time_ms(at));
                while after < times.len() && times[after] <= time_ms {
                    after += 1;
                }
                let Some(left) = after.checked_sub(1).filter(|&left| times[left] > time_ms.saturating_sub(lookback_ms))
                else {
                    continue;
                };
                let reachable = |&right: &usize| times[right] <= time_ms.saturating_add(lookback_ms);
                *slot = match Some(after).filter(|&right| right < times.len()).filter(reachable) {
                    Some(right) if times[left] < time_ms => {
                        interpolate((times[left], values[left]), (times[right], values[right]), time_ms)
                    }
                    _ => values[left],
                };
            }
            if column.is_empty() { Ok(()) } else { sink(head, &mut column) }
        })
    }
}

/// Whether a selector looks at a single time.
pub(super) fn looks_once(grid: Grid, shift: Shift) -> bool {
    grid.len == 1 || shift.at_ms.is_some()
}

/// Memory of the samples of a series.
fn memory_bytes(samples: &Samples) -> usize {
    let floats = samples.timestamps_ms.len() * size_of::<(i64, f64)>() + size_of_val(samples.starts_ms.as_slice());
    let histograms = samples.histograms.iter().map(|sample| size_of_val(sample) + sample.histogram.memory_bytes());
    floats + histograms.sum::<usize>()
}

/// Fills `slots` with what the newest sample in `(t - lookback, t]` says, unless that is a stale marker.
fn pick_newest(samples: &Samples, grid: Grid, shift: Shift, lookback: Lookback<'_>, wanted: Wanted, slots: &mut [f64]) {
    let (times, values) = (&samples.timestamps_ms, &samples.values);
    let mut after = 0;
    for (at, slot) in slots.iter_mut().enumerate() {
        let time_ms = shift.apply(grid.time_ms(at));
        while after < times.len() && times[after] <= time_ms {
            after += 1;
        }
        let Some(newest) = after.checked_sub(1) else { continue };
        // A stale marker is the mark of absence already.
        if lookback.reaches(times[newest], time_ms) {
            *slot = match wanted {
                _ if is_stale_marker(values[newest]) => ABSENT,
                Wanted::Value | Wanted::ValueTellingResets => values[newest],
                Wanted::Time => seconds(times[newest]),
                Wanted::StartTime => seconds(samples.start_ms(newest)),
            };
        }
    }
}

/// [`pick_newest`] for a series with histograms.
fn pick_newest_full(
    samples: &Samples,
    grid: Grid,
    shift: Shift,
    lookback: Lookback<'_>,
    wanted: Wanted,
    column: &mut Column,
) {
    let mut newest = None;
    let mut rest = samples.iter_full().peekable();
    for at in 0..grid.len {
        let time_ms = shift.apply(grid.time_ms(at));
        while let Some(next) = rest.next_if(|next| next.timestamp_ms <= time_ms) {
            newest = Some(next);
        }
        let Some(found) = newest.as_ref().filter(|found| lookback.reaches(found.timestamp_ms, time_ms)) else {
            continue;
        };
        let is_stale = match &found.value {
            SampleValue::Float(value) => is_stale_marker(*value),
            SampleValue::Histogram(histogram) => histogram.is_stale_marker(),
        };
        if !is_stale {
            column.set(
                at,
                Some(match wanted {
                    Wanted::Value | Wanted::ValueTellingResets => found.value.clone(),
                    Wanted::Time => SampleValue::Float(seconds(found.timestamp_ms)),
                    Wanted::StartTime => SampleValue::Float(seconds(found.start_ms)),
                }),
            );
        }
    }
}

/// Drops the stale markers of a range, which are no samples.
pub(crate) fn remove_stale_markers(samples: &mut Samples) {
    samples.histograms.retain(|sample| !sample.histogram.is_stale_marker());
    // All values are looked at, which takes less time than to stop at the first marker: mostly there is none.
    if !samples.values.iter().fold(false, |found, &value| found | is_stale_marker(value)) {
        return;
    }
    let mut kept = 0;
    for at in 0..samples.values.len() {
        if !is_stale_marker(samples.values[at]) {
            samples.values[kept] = samples.values[at];
            samples.timestamps_ms[kept] = samples.timestamps_ms[at];
            if let Some(&start_ms) = samples.starts_ms.get(at) {
                samples.starts_ms[kept] = start_ms;
            }
            kept += 1;
        }
    }
    samples.values.truncate(kept);
    samples.timestamps_ms.truncate(kept);
    samples.starts_ms.truncate(kept);
}

/// The value at `time_ms` on the line through two samples.
pub(crate) fn interpolate(left: (i64, f64), right: (i64, f64), time_ms: i64) -> f64 {
    let share = seconds(time_ms.saturating_sub(left.0)) / seconds(right.0.saturating_sub(left.0));
    left.1 + (right.1 - left.1) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_markers_go_and_other_nans_stay() {
        let mut samples = Samples::default();
        for (time_ms, value) in [(1, 1.0), (2, model::sample::stale_marker()), (3, f64::NAN), (4, 2.0)] {
            samples.push(time_ms, value);
        }
        remove_stale_markers(&mut samples);
        assert_eq!(samples.timestamps_ms, [1, 3, 4]);
    }

    #[test]
    fn the_newest_sample_within_lookback() {
        let mut samples = Samples::default();
        for (time_ms, value) in [(0, 1.0), (10, model::sample::stale_marker()), (20, 3.0)] {
            samples.push(time_ms, value);
        }
        let mut slots = [ABSENT; 6];
        let grid = Grid { start_ms: 0, step_ms: 5, len: 6 };
        let lookback = Lookback { ms: 8, summaries: &super::super::summaries::NONE };
        pick_newest(&samples, grid, Shift::default(), lookback, Wanted::Value, &mut slots);
        assert_eq!(Column::from_values(slots.to_vec()).get(1), Some(1.0));
        let present: Vec<bool> = slots.iter().map(|&slot| super::super::column::is_present(slot)).collect();
        assert_eq!(present, [true, true, false, false, true, true]);
    }
}
