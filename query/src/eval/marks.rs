//! Places in the samples of a series where something happened: a counter fell, a value changed.
//!
//! Owns finding them once for a series, so that a window costs what happens inside it and not what it holds, and the
//! rules by which the start of a counter tells that it began anew.

use model::{FullSample, HistogramSample, Samples};

use crate::native::{starts_anew, starts_over, starts_overlap};

/// How many pairs of samples are looked at for any event at all before looking at each.
const PAIRS_AT_ONCE: usize = 64;

/// Places in order, and those of a window that only moves on. An event is at the second of the two samples it is
/// between; a window holds it when it holds both.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    at: Vec<usize>,
    /// The first one that may lie in the window.
    first: usize,
    /// One past the last one in the window.
    after: usize,
}

impl Marks {
    /// Begins with another series: the places where `happens` holds of a value and the next.
    #[inline]
    pub(crate) fn find(&mut self, values: &[f64], happens: impl Fn(f64, f64) -> bool) {
        self.clear();
        let mut start = 0;
        while start + 1 < values.len() {
            let end = values.len().min(start + PAIRS_AT_ONCE + 1);
            let block = &values[start..end];
            // Most stretches hold nothing, which is seen without a branch a pair.
            if block.array_windows().fold(false, |any, &[a, b]| any | happens(a, b)) {
                let pairs = block.array_windows().enumerate();
                self.at.extend(pairs.filter(|(_, [a, b])| happens(*a, *b)).map(|(at, _)| start + at + 1));
            }
            start = end - 1;
        }
    }

    /// [`find`](Self::find) for a series with histograms: the places are those among its samples of both kinds in order.
    pub(crate) fn find_full(&mut self, samples: &Samples, happens: impl Fn(&FullSample, &FullSample) -> bool) {
        self.clear();
        let mut before: Option<FullSample> = None;
        for (at, sample) in samples.iter_full().enumerate() {
            if before.is_some_and(|before| happens(&before, &sample)) {
                self.at.push(at);
            }
            before = Some(sample);
        }
    }

    /// Begins with another series: the places among its histograms where a counter began anew.
    pub(crate) fn find_histograms(&mut self, histograms: &[HistogramSample]) {
        self.clear();
        let resets = histograms.array_windows().enumerate().filter(|(_, [before, next])| starts_over(before, next));
        self.at.extend(resets.map(|(at, _)| at + 1));
    }

    /// Adds the places for which `happens` holds of the index of the second of two samples, among `len` samples.
    pub(crate) fn find_more(&mut self, len: usize, happens: impl Fn(usize) -> bool) {
        self.at.extend((1..len).filter(|&at| happens(at)));
        self.at.sort_unstable();
        self.at.dedup();
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.at.clear();
        (self.first, self.after) = (0, 0);
    }

    /// The places between the samples `first..after`. Neither bound ever goes back.
    #[inline]
    pub(crate) fn between(&mut self, first: usize, after: usize) -> &[usize] {
        while self.at.get(self.after).is_some_and(|&at| at < after) {
            self.after += 1;
        }
        while self.at.get(self.first).is_some_and(|&at| at <= first) {
            self.first += 1;
        }
        self.at.get(self.first..self.after).unwrap_or_default()
    }
}

/// A value smaller than the one before; a NaN never is.
#[inline]
pub(crate) fn is_drop(before: f64, value: f64) -> bool {
    value < before
}

/// A value other than the one before; NaN after NaN is none.
#[inline]
#[expect(clippy::float_cmp, reason = "a change is any difference")]
pub(crate) fn is_change(before: f64, value: f64) -> bool {
    before != value && !(before.is_nan() && value.is_nan())
}

/// The places where a counter began anew and those where its starts contradict each other.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    pub(crate) marks: Marks,
    overlaps: Marks,
}

impl Resets {
    /// Begins with another series: its drops, and what its starts tell; `starts_ms` may be empty.
    pub(crate) fn find(&mut self, times_ms: &[i64], values: &[f64], starts_ms: &[i64]) {
        self.marks.find(values, is_drop);
        self.overlaps.clear();
        if starts_ms.len() == times_ms.len() && !starts_ms.is_empty() {
            let sample = |at: usize| (starts_ms[at], times_ms[at]);
            self.marks.find_more(times_ms.len(), |at| starts_anew(sample(at - 1), sample(at)));
            let overlaps = |at: usize| starts_overlap(starts_ms[at - 1], times_ms[at - 1], starts_ms[at]);
            self.overlaps.find_more(times_ms.len(), overlaps);
        }
    }

    /// `change` and the values before each reset between the samples `first..after`, added in their order: of values of very different
    /// size another order keeps other digits.
    #[inline]
    pub(crate) fn corrected(&mut self, change: f64, values: &[f64], first: usize, after: usize) -> f64 {
        self.marks.between(first, after).iter().fold(change, |sum, &at| sum + values[at - 1])
    }

    /// Whether any two samples of `first..after` that follow each other contradict each other in when they began.
    #[inline]
    pub(crate) fn has_overlap(&mut self, first: usize, after: usize) -> bool {
        !self.overlaps.at.is_empty() && !self.overlaps.between(first, after).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_moving_windows() {
        let values: Vec<f64> = (0..500u32).map(|at| f64::from(at * 7919 % 13)).collect();
        let mut marks = Marks::default();
        marks.find(&values, is_drop);
        for (first, after) in (0..500).map(|at| (at, (at + at % 70).min(500))) {
            let after = after.max(first);
            let want: Vec<usize> = (first + 1..after).filter(|&at| values[at] < values[at - 1]).collect();
            // Ends go back here, which windows never do.
            let mut fresh = Marks { at: marks.at.clone(), ..Marks::default() };
            assert_eq!(fresh.between(first, after), want, "{first}..{after}");
        }
        for first in 0..430 {
            let want: Vec<usize> = (first + 1..first + 70).filter(|&at| values[at] < values[at - 1]).collect();
            assert_eq!(marks.between(first, first + 70), want);
        }
    }

    #[test]
    fn changes_and_drops() {
        let nan = f64::NAN;
        assert_eq!(
            [is_change(1.0, nan), is_change(nan, nan), is_change(nan, 1.0), is_change(0.0, -0.0)],
            [true, false, true, false]
        );
        assert_eq!([is_drop(1.0, nan), is_drop(nan, 1.0), is_drop(2.0, 1.0)], [false, false, true]);
    }

    #[test]
    fn starts_are_resets_without_a_drop() {
        let mut resets = Resets::default();
        // A start between the two; a start at the first when its own is known; the same start again.
        resets.find(&[10, 20, 30, 40], &[1.0, 2.0, 3.0, 4.0], &[5, 15, 20, 20]);
        assert_eq!(resets.marks.between(0, 4), [1, 2]);
        assert!(!resets.has_overlap(0, 4));
        resets.find(&[10, 20, 30], &[1.0, 2.0, 3.0], &[5, 5, 7]);
        assert!(resets.marks.between(0, 3).is_empty());
        assert!(resets.has_overlap(0, 3));
    }
}
