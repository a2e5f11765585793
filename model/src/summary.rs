//! Summaries: what is kept of samples that are too old to be kept one by one.
//!
//! Downsampling replaces the samples of a series by one [`Summary`] a window. It holds what the functions of the query
//! language need, so that most answers over whole windows are those of the samples themselves: counts, sums, extremes
//! and the increases of counters exactly. `storage` makes and keeps them, `query` computes with them.

/// The floats of one series in one window, stale markers left out. A window without any has no summary; a stale marker
/// that is alone in its window is kept as it is.
///
/// Windows are aligned to the Unix epoch: one of `window_ms` covers `(k * window_ms - window_ms, k * window_ms]`, open on
/// the left as the windows of the query language are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Length of the window in milliseconds, above 0.
    pub window_ms: i64,
    /// Number of samples, at least 1.
    pub count: u64,
    /// Time of the earliest, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Time of the latest.
    pub last_ms: i64,
    /// Value of the earliest.
    pub first: f64,
    /// Value of the latest.
    pub last: f64,
    /// Smallest value; NaN only if all are.
    pub min: f64,
    /// Largest value; NaN only if all are.
    pub max: f64,
    /// Sum of all.
    pub sum: f64,
    /// What resets hide of the difference between the latest and the earliest: the sum of the values before each. It is
    /// kept instead of the increase because it is exact also where one of the two is NaN or infinite.
    pub before_resets: f64,
    /// How often the value went down: a counter's resets.
    pub resets: u64,
    /// How often a value differed from the one before it.
    pub changes: u64,
    /// Whether a stale marker follows the latest sample inside the window.
    pub ended: bool,
}

impl Summary {
    /// The end of the window, in milliseconds since the Unix epoch: the latest instant that belongs to it.
    pub fn end_ms(&self) -> i64 {
        window_end_ms(self.last_ms, self.window_ms)
    }

    /// What a counter gained from the earliest to the latest: the sum of the steps up, and of the values that steps down
    /// begin anew with.
    pub fn increase(&self) -> f64 {
        self.last - self.first + self.before_resets
    }
}

/// The end of the window of length `window_ms` that `at_ms` belongs to; at the far end of time the last instant.
pub fn window_end_ms(at_ms: i64, window_ms: i64) -> i64 {
    match at_ms.rem_euclid(window_ms) {
        0 => at_ms,
        past => at_ms.saturating_add(window_ms - past),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_on_the_left() {
        for (at_ms, want_ms) in [(1, 300), (300, 300), (301, 600), (0, 0), (-1, 0), (-300, -300), (i64::MAX, i64::MAX)]
        {
            assert_eq!(window_end_ms(at_ms, 300), want_ms, "for {at_ms}");
        }
    }
}
