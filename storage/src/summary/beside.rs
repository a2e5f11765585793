//! What is kept one by one beside summaries: native histograms, the last of each window, and the stale markers that no
//! summary tells of.

use model::sample::{is_stale_marker, stale_marker};
use model::summary::window_end_ms;
use model::{HistogramSample, ResetHint, Samples, Summary};

/// What summaries do not tell of `samples`: their histograms, and their stale markers.
pub fn one_by_one(samples: Samples) -> Samples {
    let mut beside = Samples { histograms: samples.histograms, ..Samples::default() };
    let markers = samples.timestamps_ms.iter().zip(&samples.values).filter(|(_, value)| is_stale_marker(**value));
    markers.for_each(|(&at_ms, &value)| beside.push(at_ms, value));
    beside
}

/// Leaves of `beside`, which is of the windows of `summaries` and of windows that have none, what they do not tell. Of
/// histograms the last of each window stays; of stale markers the first of each run in a window without a summary. One
/// that follows the samples of a summary ends it. Both ascend in time.
pub fn settle_beside(summaries: &mut [Summary], beside: &mut Samples, window_ms: i64) {
    thin(&mut beside.histograms, window_ms);
    // Where a float was written over by a histogram and the window could not be made anew, both claim one instant.
    let is_told = |at_ms: i64| summaries.binary_search_by_key(&at_ms, |of| of.last_ms).is_ok();
    beside.histograms.retain(|sample| !is_told(sample.timestamp_ms));
    let of_floats = std::mem::take(&mut beside.timestamps_ms);
    let markers = of_floats.iter().zip(&beside.values).filter(|(_, value)| is_stale_marker(**value));
    let mut kept_ms: Vec<i64> = Vec::new();
    for (&at_ms, _) in markers {
        let end_ms = window_end_ms(at_ms, window_ms);
        let found = summaries.binary_search_by_key(&end_ms, Summary::end_ms).ok();
        if let Some(summary) = found.and_then(|at| summaries.get_mut(at)) {
            summary.ended |= at_ms > summary.last_ms;
            continue;
        }
        let repeats = kept_ms.last().is_some_and(|&before_ms| {
            let between = beside.histograms.partition_point(|sample| sample.timestamp_ms <= before_ms);
            let next = beside.histograms.get(between);
            window_end_ms(before_ms, window_ms) == end_ms && next.is_none_or(|next| next.timestamp_ms > at_ms)
        });
        if !repeats {
            kept_ms.push(at_ms);
        }
    }
    beside.values = vec![stale_marker(); kept_ms.len()];
    beside.timestamps_ms = kept_ms;
    beside.starts_ms.clear();
}

/// Leaves of `samples`, ascending in time, the last of each window of `window_ms`, and the last before each reset of a
/// counter, told by its hint or by a falling count: increases from one window to another stay what they were.
fn thin(samples: &mut Vec<HistogramSample>, window_ms: i64) {
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
    use crate::summary::summarise;
    use model::Histogram;

    fn sample(timestamp_ms: i64, count: f64) -> HistogramSample {
        let histogram = Histogram { count, zero_count: count, ..Histogram::default() };
        HistogramSample { timestamp_ms, start_ms: 0, histogram: histogram.into() }
    }

    /// Samples at some times and markers at others, by windows of 60: where markers stay, and which windows end.
    #[track_caller]
    fn check(samples_ms: &[i64], markers_ms: &[i64], histograms_ms: &[i64], want: (&[i64], &[i64])) {
        let mut rows: Vec<(i64, f64)> = samples_ms.iter().map(|&at_ms| (at_ms, 1.0)).collect();
        rows.extend(markers_ms.iter().map(|&at_ms| (at_ms, stale_marker())));
        rows.sort_unstable_by_key(|row| row.0);
        let mut samples =
            Samples { histograms: histograms_ms.iter().map(|&at| sample(at, 1.0)).collect(), ..Samples::default() };
        for (at_ms, value) in rows {
            samples.push(at_ms, value);
        }
        let mut summaries = Vec::new();
        summarise(&samples.timestamps_ms, &samples.values, 60, &mut summaries);
        let mut beside = one_by_one(samples);
        settle_beside(&mut summaries, &mut beside, 60);
        let ended: Vec<i64> = summaries.iter().filter(|of| of.ended).map(Summary::end_ms).collect();
        assert_eq!((beside.timestamps_ms.as_slice(), ended.as_slice()), want, "{samples_ms:?} {markers_ms:?}");
        assert!(beside.values.iter().all(|value| is_stale_marker(*value)) && beside.values.len() == want.0.len());
    }

    #[test]
    fn markers_stay_where_no_summary_tells_of_them() {
        check(&[10, 50], &[55, 56], &[], (&[], &[60]));
        check(&[10, 50], &[20], &[], (&[], &[]));
        check(&[10, 50], &[61], &[], (&[61], &[]));
        check(&[10, 50], &[60, 61, 75, 120, 121, 200], &[], (&[61, 121, 200], &[60]));
        check(&[10, 200], &[61, 75, 190, 201], &[], (&[61], &[240]));
        check(&[], &[10, 20, 30, 40], &[25], (&[10, 30], &[]));
    }

    /// A marker that was written, or is known, when its window's samples are gone.
    #[test]
    fn a_summary_is_ended_by_a_marker_that_came_later() {
        let mut summaries = Vec::new();
        summarise(&[10, 30], &[1.0, 2.0], 60, &mut summaries);
        for (marker_ms, want) in [(20, false), (30, false), (31, true), (40, true)] {
            let mut beside = one_by_one(Samples::from_floats(vec![marker_ms], vec![stale_marker()]));
            settle_beside(&mut summaries, &mut beside, 60);
            assert_eq!((summaries.iter().any(|of| of.ended), beside.len()), (want, 0), "{marker_ms}");
        }
    }

    #[test]
    fn the_last_of_each_window_stays_and_what_is_before_a_reset() {
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
