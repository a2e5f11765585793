//! Moving the window of a range vector over the samples of one series, step by step.
//!
//! Owns which samples lie in the window of each step, found from where the window before lay, and the reports of work
//! to the guard. What is computed of a window is the caller's.

use model::{SampleValue, Samples};

use super::column::Column;
use super::error::Result;
use super::grid::seconds;
use super::guard::Guard;
use super::window::{Frame, HISTOGRAM_UNITS, Window};

/// Work is reported in portions of about this many values.
const UNITS_PER_REPORT: usize = 1 << 12;
/// Fewest windows a sample lies in for state that moves along to be worth its upkeep.
const REVISITS_MIN: i64 = 4;
/// As many samples are looked at again faster than state about them is kept.
const SAMPLES_MIN: usize = 24;

impl Frame<'_> {
    /// Computes `of_window` for the window of each step that holds a sample of either kind (with an extension: for each
    /// step) and writes what it yields to `column`.
    pub(crate) fn slide(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<()> {
        let mut unreported = self.begin(guard, column)?;
        let slots = column.slots_mut();
        self.each_window(samples, |window| {
            unreported += window.units();
            report(guard, &mut unreported)?;
            if let Some(value) = of_window(window) {
                slots[window.step] = value;
            }
            Ok(())
        })
    }

    /// [`slide`](Self::slide) for what costs the same however much the window holds.
    #[inline]
    pub(crate) fn slide_steadily(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Result<Option<f64>>,
    ) -> Result<()> {
        let mut unreported = self.begin(guard, column)? + samples.len();
        report(guard, &mut unreported)?;
        let slots = column.slots_mut();
        self.each_window(samples, |window| {
            if let Some(value) = of_window(window)? {
                slots[window.step] = value;
            }
            Ok(())
        })
    }

    /// [`slide`](Self::slide) for functions that may yield histograms.
    pub(crate) fn slide_full(
        &self,
        guard: &Guard<'_>,
        samples: &Samples,
        column: &mut Column,
        mut of_window: impl FnMut(&Window<'_>) -> Option<SampleValue>,
    ) -> Result<()> {
        let mut unreported = self.begin(guard, column)?;
        self.each_window(samples, |window| {
            unreported += window.units();
            report(guard, &mut unreported)?;
            if let Some(value) = of_window(window) {
                column.set(window.step, Some(value));
            }
            Ok(())
        })
    }

    /// Whether each sample lies in so many windows that keeping state from window to window is worth it.
    pub(crate) fn revisits(&self, samples: &Samples) -> bool {
        samples.values.len() >= SAMPLES_MIN
            && i64::try_from(self.grid.len).is_ok_and(|len| len >= REVISITS_MIN)
            && self.range_ms / REVISITS_MIN >= self.grid.step_ms
    }

    /// Empties the column; the work that is.
    fn begin(&self, guard: &Guard<'_>, column: &mut Column) -> Result<usize> {
        guard.spend(self.grid.len)?;
        column.reset(self.grid.len);
        Ok(0)
    }

    #[inline]
    fn each_window(&self, samples: &Samples, mut visit: impl FnMut(&Window<'_>) -> Result<()>) -> Result<()> {
        let times_ms = samples.timestamps_ms.as_slice();
        let histograms = samples.histograms.as_slice();
        let (mut first_stride, mut after_stride) = (0, 0);
        let summaries = self.summaries.list();
        let mut window = Window::of(samples);
        (window.all_summaries, window.summary_places) = (summaries, self.summaries.places());
        for step in 0..self.grid.len {
            window.step = step;
            window.time_ms = self.grid.time_ms(step);
            window.end_ms = self.shift.apply(window.time_ms);
            window.start_ms = window.end_ms.saturating_sub(self.range_ms);
            window.after = past(times_ms, window.after, window.end_ms, &mut after_stride);
            if !summaries.is_empty() {
                self.widen(&mut window);
            }
            window.first = past(times_ms, window.first, window.start_ms, &mut first_stride).min(window.after);
            while histograms.get(window.after_histogram).is_some_and(|next| next.timestamp_ms <= window.end_ms) {
                window.after_histogram += 1;
            }
            while window.first_histogram < window.after_histogram
                && histograms[window.first_histogram].timestamp_ms <= window.start_ms
            {
                window.first_histogram += 1;
            }
            if !summaries.is_empty() {
                self.fit(&mut window);
            }
            if !window.is_empty() || self.extension.is_some() {
                visit(&window)?;
            }
        }
        Ok(())
    }

    /// Makes a window that is shorter than the summary at its end as long as that: it would miss most summaries.
    fn widen(&self, window: &mut Window<'_>) {
        let places = window.summary_places;
        while places.get(window.after_summary).is_some_and(|&place| place < window.after) {
            window.after_summary += 1;
        }
        let Some(newest) = window.after_summary.checked_sub(1) else { return };
        if places[newest] + 1 == window.after {
            let length_ms = self.range_ms.max(window.all_summaries[newest].window_ms);
            window.start_ms = window.end_ms.saturating_sub(length_ms);
        }
    }

    /// Moves the ends of a window that cut summaries to where these begin and end. A summary whose latest sample lies in
    /// the window belongs to it.
    fn fit(&self, window: &mut Window<'_>) {
        let (all, places) = (window.all_summaries, window.summary_places);
        while window.first_summary < window.after_summary && places[window.first_summary] < window.first {
            window.first_summary += 1;
        }
        window.share = 1.0;
        if !window.has_summaries() {
            return;
        }
        let (first, last) = (&all[window.first_summary], &all[window.after_summary - 1]);
        if places[window.first_summary] == window.first && first.first_ms <= window.start_ms {
            window.start_ms = first.end_ms().saturating_sub(first.window_ms);
        }
        if places[window.after_summary - 1] + 1 == window.after && last.end_ms() > window.end_ms {
            window.end_ms = last.end_ms();
        }
        if let (Some(next), Some(&place)) = (all.get(window.after_summary), places.get(window.after_summary))
            && place == window.after
            && next.first_ms <= window.end_ms
        {
            window.end_ms = next.end_ms().saturating_sub(next.window_ms);
        }
        let length_ms = window.end_ms.saturating_sub(window.start_ms);
        if length_ms != self.range_ms {
            window.share = seconds(self.range_ms) / seconds(length_ms);
        }
    }
}

impl Window<'_> {
    /// What looking at everything in it costs.
    fn units(&self) -> usize {
        self.floats() + self.histograms().len() * HISTOGRAM_UNITS
    }
}

/// The first of the ascending times from `at` on that lies after `limit_ms`. `stride` is how far the step before went:
/// over regular samples this one goes as far, and two looks tell.
#[inline]
fn past(times_ms: &[i64], at: usize, limit_ms: i64, stride: &mut usize) -> usize {
    let guess = at + *stride;
    let mut found = match times_ms.get(at..guess) {
        Some([.., last]) if *last <= limit_ms => guess,
        _ => at,
    };
    while times_ms.get(found).is_some_and(|&time_ms| time_ms <= limit_ms) {
        found += 1;
    }
    *stride = found - at;
    found
}

#[inline]
fn report(guard: &Guard<'_>, unreported: &mut usize) -> Result<()> {
    if *unreported >= UNITS_PER_REPORT {
        guard.spend(std::mem::take(unreported))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_over_regular_and_odd_samples() {
        for times_ms in [
            (0..100).map(|at| at * 15).collect::<Vec<i64>>(),
            (0..100)
                .map(|at| at * at % 700)
                .scan(0, |sum, gap| {
                    Some(*{
                        *sum += gap + 1;
                        sum
                    })
                })
                .collect(),
            vec![],
            vec![5],
        ] {
            for (step, from) in [(10, 0), (15, 7), (60, -100), (1000, 3), (0, 20)] {
                let (mut at, mut stride) = (0, 0);
                for limit_ms in (0..200).map(|n| from + n * step) {
                    at = past(&times_ms, at, limit_ms, &mut stride);
                    assert_eq!(at, times_ms.partition_point(|&time| time <= limit_ms), "{limit_ms} of {times_ms:?}");
                }
            }
        }
    }
}
