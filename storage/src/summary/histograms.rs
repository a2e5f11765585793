//! Native histograms in windows: what is kept of them one by one.

use model::summary::window_end_ms;
use model::{HistogramSample, ResetHint};

/// Leaves of `samples`, ascending in time, the last of each window of `window_ms`, and the last before each reset of a
/// counter, told by its hint or by a falling count: increases from one window to another stay what they were.
pub fn thin(samples: &mut Vec<HistogramSample>, window_ms: i64) {
    let keep = |at: usize| {
        let (Some(sample), Some(next)) = (samples.get(at), samples.get(at + 1)) else { return true };
        let other_window = window_end_ms(sample.timestamp_ms, window_ms) != window_end_ms(next.timestamp_ms, window_ms);
        other_window || is_reset(sample, next)
    };
    let kept: Vec<bool> = (0..samples.len()).map(keep).collect();
    let mut kept = kept.into_iter();
    samples.retain(|_| kept.next().unwrap_or(true));
}

fn is_reset(sample: &HistogramSample, next: &HistogramSample) -> bool {
    next.histogram.reset_hint == ResetHint::Reset
        || next.histogram.is_stale_marker()
        || (next.histogram.reset_hint != ResetHint::Gauge && next.histogram.count < sample.histogram.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;

    #[test]
    fn the_last_of_each_window_stays_and_what_is_before_a_reset() {
        let sample = |timestamp_ms: i64, count: f64| {
            let histogram = Histogram { count, zero_count: count, ..Histogram::default() };
            HistogramSample { timestamp_ms, start_ms: 0, histogram: histogram.into() }
        };
        let mut samples: Vec<_> = [(10, 1.0), (60, 2.0), (61, 3.0), (70, 9.0), (80, 1.0), (90, 2.0), (130, 3.0)]
            .map(|(at_ms, count)| sample(at_ms, count))
            .into();
        thin(&mut samples, 60);
        let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
        assert_eq!(times, [60, 70, 90, 130]);
        let before = samples.clone();
        thin(&mut samples, 60);
        assert_eq!(samples, before, "thinning again changes nothing");
    }
}
