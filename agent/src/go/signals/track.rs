//! What is remembered of one number of one process: enough for its change over a window.

use std::collections::VecDeque;

/// How far back changes are looked at, in milliseconds: several rounds of collecting, whichever way they come.
pub(super) const WINDOW_MS: i64 = 60_000;
/// A change over less than this says little.
const SPAN_MIN_MS: i64 = 5_000;
/// A value not farther than this from the one before the last replaces the last, so that few are kept whatever the pace.
const APART_MS: i64 = WINDOW_MS / 6;

/// The last values of a number, by time, over one window and a little more.
#[derive(Debug, Clone)]
pub(super) struct Track<T> {
    kept: VecDeque<(i64, T)>,
}

impl<T> Default for Track<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new() }
    }
}

impl<T> Track<T> {
    /// Adds what was read at `at_ms`. What is not later than the last is left out, but for a clock that was set back by more than a
    /// window: then all begins anew. `continues` says whether the value can follow the last; a counter that fell cannot.
    pub(super) fn push(&mut self, at_ms: i64, value: T, continues: impl Fn(&T, &T) -> bool) {
        if let Some((last_ms, last)) = self.kept.back() {
            if at_ms < last_ms.saturating_sub(WINDOW_MS) || !continues(last, &value) {
                self.kept.clear();
            } else if at_ms <= *last_ms {
                return;
            }
        }
        let before_last = self.kept.len().checked_sub(2).and_then(|at| self.kept.get(at));
        if before_last.is_some_and(|(before_ms, _)| at_ms - before_ms <= APART_MS) {
            self.kept.pop_back();
        }
        self.kept.push_back((at_ms, value));
        // One value from before the window stays, so that what is kept spans it.
        while self.kept.get(1).is_some_and(|(second_ms, _)| at_ms - second_ms >= WINDOW_MS) {
            self.kept.pop_front();
        }
    }

    /// The last value, if it is not older than a window at `now_ms`.
    pub(super) fn last(&self, now_ms: i64) -> Option<&T> {
        self.kept.back().filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) <= WINDOW_MS).map(|(_, value)| value)
    }

    /// The first and the last value, and the milliseconds between them, where that is long enough and not long ago.
    pub(super) fn span(&self, now_ms: i64) -> Option<(&T, &T, i64)> {
        let (first_ms, first) = self.kept.front()?;
        let (last_ms, last) = self.kept.back().filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) <= WINDOW_MS)?;
        let span_ms = last_ms - first_ms;
        (span_ms >= SPAN_MIN_MS).then_some((first, last, span_ms))
    }
}

impl Track<f64> {
    /// Adds a reading of a counter, which starts anew when it falls; tells whether it fell.
    pub(super) fn push_counter(&mut self, at_ms: i64, value: f64) -> bool {
        let fell = self.kept.back().is_some_and(|(last_ms, last)| at_ms > *last_ms && value < *last);
        self.push(at_ms, value, |last, value| value >= last);
        fell
    }

    /// Adds a reading of what goes up and down.
    pub(super) fn push_gauge(&mut self, at_ms: i64, value: f64) {
        self.push(at_ms, value, |_, _| true);
    }

    /// By how much it changed, and in how many seconds.
    pub(super) fn change(&self, now_ms: i64) -> Option<(f64, f64)> {
        let (first, last, span_ms) = self.span(now_ms)?;
        Some((last - first, seconds(span_ms)))
    }

    /// By how much it changed in a second.
    pub(super) fn per_second(&self, now_ms: i64) -> Option<f64> {
        self.change(now_ms).map(|(change, seconds)| change / seconds)
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "spans of time are far below 2^53 milliseconds")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_spanned_whatever_the_pace() {
        for every_ms in [100, 1_000, 5_000, 5_100, 10_000, 15_000, 30_000] {
            let mut track = Track::default();
            for round in 0..200 {
                track.push_counter(round * every_ms, f64::from(i32::try_from(round * every_ms).expect("small")) * 2.0);
                assert!(track.kept.len() <= 14, "every {every_ms} ms: {}", track.kept.len());
            }
            let now_ms = 199 * every_ms;
            let (_, span_seconds) = track.change(now_ms).expect("enough");
            let most = seconds(WINDOW_MS + every_ms.max(APART_MS * 2));
            assert!(span_seconds <= most, "every {every_ms} ms: {span_seconds}");
            assert!(span_seconds >= seconds(WINDOW_MS.min(now_ms)) * 0.8, "every {every_ms} ms: {span_seconds}");
            assert!((track.per_second(now_ms).expect("enough") - 2000.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_reset_and_a_clock_set_back_begin_anew() {
        let mut track = Track::default();
        for (at_ms, value) in [(0, 5.0), (10_000, 9.0), (20_000, 1.0)] {
            track.push_counter(at_ms, value);
        }
        assert_eq!(track.change(20_000), None, "a counter that fell is another one");
        track.push_counter(30_000, 4.0);
        assert_eq!(track.change(30_000), Some((3.0, 10.0)));
        track.push_counter(29_000, 5.0);
        assert_eq!(track.change(30_000), Some((3.0, 10.0)), "what comes late is left out");
        track.push_counter(-3_600_000, 6.0);
        assert_eq!(track.change(-3_600_000), None);
        assert_eq!(track.last(-3_600_000), Some(&6.0));
    }

    #[test]
    fn what_is_old_is_not_told() {
        let mut track = Track::default();
        track.push_gauge(0, 1.0);
        track.push_gauge(10_000, 2.0);
        assert_eq!(track.last(70_000), Some(&2.0));
        assert_eq!((track.last(70_001), track.change(70_001)), (None, None));
    }
}
