//! What two samples that follow each other tell: changes and counter resets, by value and by start time.

use std::sync::Arc;

use model::Histogram;
use model::histogram::ResetHint;
use model::sample::{FullSample, HistogramSample, SampleValue};

use super::reset::is_reset;
use super::scale::equals;

/// Whether a counter began anew between two samples.
pub(crate) fn starts_over(previous: &HistogramSample, current: &HistogramSample) -> bool {
    starts_anew_between(previous, current) || is_reset(&previous.histogram, &current.histogram)
}

/// Gives every histogram without a hint the one that the histogram before it implies. Stale markers are none.
pub(crate) fn tell_resets(samples: &mut [HistogramSample]) {
    let mut previous: Option<Arc<Histogram>> = None;
    for sample in samples.iter_mut().filter(|sample| !sample.histogram.is_stale_marker()) {
        let before = previous.replace(sample.histogram.clone());
        if let Some(before) = before
            && sample.histogram.reset_hint == ResetHint::Unknown
        {
            let is_reset = is_reset(&before, &sample.histogram);
            let reset_hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
            sample.histogram = Arc::new(Histogram { reset_hint, ..Histogram::clone(&sample.histogram) });
        }
    }
}

/// Whether start times tell that a counter began anew between two histograms.
pub(super) fn starts_anew_between(previous: &HistogramSample, current: &HistogramSample) -> bool {
    starts_anew((previous.start_ms, previous.timestamp_ms), (current.start_ms, current.timestamp_ms))
}

/// Whether start times tell that a counter began anew between two samples, each `(start_ms, timestamp_ms)`. It did if
/// it started after the sample before, or with it, if that one's own start is known: then each sample tells its own
/// part. A start of 0 or from the sample's own time on is not known.
pub(crate) fn starts_anew(previous: (i64, i64), current: (i64, i64)) -> bool {
    let ((previous_start, previous_time), (start, time)) = (previous, current);
    if start == 0 || start >= time || start < previous_time {
        return false;
    }
    start > previous_time || previous_start != 0 && previous_start < previous_time
}

/// Whether a counter claims to have started before the sample before, but not when that one says.
pub(crate) fn starts_overlap(previous_start_ms: i64, previous_timestamp_ms: i64, start_ms: i64) -> bool {
    start_ms != 0 && start_ms < previous_timestamp_ms && start_ms != previous_start_ms
}

/// Whether the value changed between two samples, as `changes` counts it. NaN after NaN is no change.
#[expect(clippy::float_cmp, reason = "any difference is a change")]
pub(crate) fn is_change(previous: &SampleValue, current: &SampleValue) -> bool {
    match (previous, current) {
        (SampleValue::Float(previous), SampleValue::Float(current)) => {
            previous != current && !(previous.is_nan() && current.is_nan())
        }
        (SampleValue::Histogram(previous), SampleValue::Histogram(current)) => !equals(previous, current),
        _ => true,
    }
}

/// Whether a counter was reset between two samples, as `resets` counts it.
pub(crate) fn is_reset_between(previous: &FullSample, current: &FullSample) -> bool {
    let fell = match (&previous.value, &current.value) {
        (SampleValue::Float(previous), SampleValue::Float(current)) => current < previous,
        (SampleValue::Histogram(previous), SampleValue::Histogram(current)) => is_reset(previous, current),
        _ => true,
    };
    fell || starts_anew((previous.start_ms, previous.timestamp_ms), (current.start_ms, current.timestamp_ms))
}

#[cfg(test)]
mod tests {
    use super::super::testing::histogram;
    use super::*;

    #[test]
    fn resets_are_told_where_nothing_is_said() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};

        let texts = ["count:4", "count:5", "count:3", "count:9 counter_reset_hint:gauge", "count:9", "count:2"];
        let mut samples: Vec<HistogramSample> = (0..)
            .zip(texts)
            .map(|(at, text)| HistogramSample { timestamp_ms: at, start_ms: 0, histogram: Arc::new(histogram(text)) })
            .collect();
        let marker = HistogramSample { histogram: Arc::new(Histogram::stale_marker()), ..samples[4].clone() };
        samples.insert(4, marker);
        tell_resets(&mut samples);
        let hints: Vec<ResetHint> = samples.iter().map(|sample| sample.histogram.reset_hint).collect();
        assert_eq!(hints, [Unknown, NotReset, Reset, Gauge, Unknown, NotReset, Reset]);
    }

    const EXPONENTIAL: &str = "count:1 sum:1 buckets:[1]";

    #[test]
    fn start_times() {
        for (previous, current, want) in [
            ((0, 100), (0, 200), false),
            ((0, 100), (150, 200), true),
            ((50, 100), (50, 200), false),
            ((50, 100), (100, 200), true),
            ((0, 100), (100, 200), false),
            ((100, 100), (100, 200), false),
            ((0, 100), (200, 200), false),
            ((0, 100), (250, 200), false),
            ((150, 100), (100, 200), false),
        ] {
            assert_eq!(starts_anew(previous, current), want, "{previous:?} {current:?}");
        }
        assert!(starts_overlap(50, 100, 60) && !starts_overlap(50, 100, 50));
        assert!(!starts_overlap(50, 100, 100) && !starts_overlap(50, 100, 0));
    }

    #[test]
    fn neighbours() {
        let of = |text: &str| SampleValue::Histogram(Arc::new(histogram(text)));
        let number = SampleValue::Float;
        for (previous, current, changed, fell) in [
            (number(1.0), number(2.0), true, false),
            (number(2.0), number(1.0), true, true),
            (number(f64::NAN), number(f64::NAN), false, false),
            (number(1.0), number(f64::NAN), true, false),
            (number(1.0), of(EXPONENTIAL), true, true),
            (of(EXPONENTIAL), number(1.0), true, true),
            (of(EXPONENTIAL), of(EXPONENTIAL), false, false),
            (of(EXPONENTIAL), of("count:1 sum:2 buckets:[1]"), true, false),
            (of(EXPONENTIAL), of("count:1 sum:1 buckets:[1] counter_reset_hint:gauge"), false, false),
            (of("count:2 sum:1 buckets:[1]"), of(EXPONENTIAL), true, true),
        ] {
            assert_eq!(is_change(&previous, &current), changed, "{previous:?} {current:?}");
            let sample = |timestamp_ms, value| FullSample { timestamp_ms, start_ms: 0, value };
            assert_eq!(is_reset_between(&sample(1, previous), &sample(2, current)), fell);
        }
    }
}
