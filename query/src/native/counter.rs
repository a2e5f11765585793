//! The change of histograms over a window: what `rate`, `increase`, `delta`, `irate` and `idelta` extrapolate and divide.
//!
//! Owns resets and start times between neighbours. Extrapolation is the same as for floats, and so the evaluator's.

use model::Histogram;
use model::histogram::{Bucket, ResetHint};
use model::sample::{FullSample, HistogramSample, SampleValue};

use super::combine::Total;
use super::findings::{Finding, Findings};
use super::interpolate::interpolate;
use super::reset::is_reset;
use super::scale::equals;

/// The change from the first to the last sample, at the resolution of the coarsest; for counters with what resets in
/// between hide. The first one of counters does not matter if it is followed by a reset. A gauge; nothing for less than
/// two samples or for samples that do not combine.
pub(crate) fn change(samples: &[HistogramSample], is_counter: bool, findings: &mut Findings) -> Option<Histogram> {
    let ([first, second, ..], [.., last]) = (samples, samples) else { return None };
    note_hints(is_counter, [&first.histogram, &last.histogram], findings);
    let nothing;
    let mut previous: &Histogram = &first.histogram;
    if is_counter && starts_over(first, second) {
        let Histogram { schema, custom_bounds, .. } = &*second.histogram;
        nothing = Histogram { schema: *schema, custom_bounds: custom_bounds.clone(), ..Histogram::default() };
        previous = &nothing;
    }
    let mut schema = last.histogram.schema.min(previous.schema);
    if last.histogram.is_custom() != previous.is_custom() {
        findings.only(Finding::MixedKinds);
        return None;
    }
    if is_counter {
        for between in &samples[1..samples.len() - 1] {
            if between.histogram.reset_hint == ResetHint::Gauge {
                findings.add(Finding::NotCounter);
            }
            if between.histogram.is_custom() != previous.is_custom() {
                findings.only(Finding::MixedKinds);
                return None;
            }
            schema = schema.min(between.histogram.schema);
        }
    }
    let mut total = Total::<Bucket>::starting_at(&last.histogram);
    total.layout.reduce_to(schema);
    add(&mut total, previous, -1.0, findings)?;
    if is_counter {
        for [before, sample] in samples.array_windows() {
            if starts_overlap(before.start_ms, before.timestamp_ms, sample.start_ms) {
                findings.add(Finding::StartsOverlap);
            }
            if starts_anew_between(before, sample) || is_reset(previous, &sample.histogram) {
                add(&mut total, previous, 1.0, findings)?;
            }
            previous = &sample.histogram;
        }
    }
    Some(total.finish(ResetHint::Gauge))
}

/// The change from one sample to the next, all of the latter if a counter was reset between them. A gauge; nothing for
/// samples that do not combine.
pub(crate) fn last_change(
    previous: &HistogramSample,
    last: &HistogramSample,
    is_counter: bool,
    findings: &mut Findings,
) -> Option<Histogram> {
    note_hints(is_counter, [&previous.histogram, &last.histogram], findings);
    let mut total = Total::<Bucket>::starting_at(&last.histogram);
    if is_counter && starts_over(previous, last) {
        return Some(total.finish(ResetHint::Gauge));
    }
    let Ok(reconciled) = total.add(&previous.histogram, -1.0) else {
        findings.add(Finding::MixedKinds);
        return None;
    };
    note_reconciled(reconciled, -1.0, findings);
    Some(total.finish(ResetHint::Gauge))
}

/// The change over a window with `anchored` or `smoothed` ends. `samples` are those inside and, if there are, the one
/// before the window and, for smoothed ends, the one after; the evaluator has seen to it that none is farther than
/// lookback. Anchored ends have the value of the last sample up to them, or else of the first one after; smoothed ends
/// lie between their neighbours. A gauge; nothing if all samples lie before the window or all after it, and for samples
/// that do not combine.
pub(crate) fn extended_change(
    samples: &[HistogramSample],
    (start_ms, end_ms): (i64, i64),
    is_smoothed: bool,
    is_counter: bool,
    findings: &mut Findings,
) -> Option<Histogram> {
    let first = samples.partition_point(|sample| sample.timestamp_ms <= start_ms).saturating_sub(1);
    let end = samples.partition_point(|sample| sample.timestamp_ms < end_ms);
    let after = samples.partition_point(|sample| sample.timestamp_ms <= end_ms);
    // An anchored window ends with its last sample, a smoothed one with the first from its end on.
    let last = if is_smoothed { end.min(samples.len().checked_sub(1)?) } else { after.checked_sub(1)? };
    let samples = samples.get(first..=last)?;
    let ([first, ..], [.., last]) = (samples, samples) else { return None };
    if last.timestamp_ms <= start_ms || first.timestamp_ms > end_ms {
        return None;
    }
    for sample in samples {
        if sample.histogram.is_custom() != first.histogram.is_custom() {
            findings.only(Finding::MixedKinds);
            return None;
        }
        if is_counter && sample.histogram.reset_hint == ResetHint::Gauge {
            findings.add(Finding::NotCounter);
        }
    }
    let mut at = |time_ms: i64, neighbours: [&HistogramSample; 2]| {
        let [left, right] = neighbours;
        let share = seconds(time_ms - left.timestamp_ms) / seconds(right.timestamp_ms - left.timestamp_ms);
        interpolate(&left.histogram, &right.histogram, share, is_counter, findings).ok()
    };
    let left = match samples {
        [before, next, ..] if is_smoothed && before.timestamp_ms < start_ms => at(start_ms, [before, next])?,
        _ => first.histogram.as_ref().clone(),
    };
    let right = match samples {
        [.., before, next] if is_smoothed && next.timestamp_ms > end_ms => at(end_ms, [before, next])?,
        _ => last.histogram.as_ref().clone(),
    };
    if !is_counter {
        note_hints(false, [&left, &right], findings);
    }
    let mut total = Total::<Bucket>::starting_at(&right);
    add(&mut total, &left, -1.0, findings)?;
    if is_counter {
        add_resets(&mut total, samples, &left, &right, is_smoothed && first.timestamp_ms < start_ms, findings)?;
    }
    Some(total.finish(ResetHint::Gauge))
}

/// Adds what the resets between `left`, all samples but the outer ones, and `right` hide. If `left` lies between the
/// first two samples, what it has of a reset between these is accounted for.
fn add_resets(
    total: &mut Total<Bucket>,
    samples: &[HistogramSample],
    left: &Histogram,
    right: &Histogram,
    left_is_between: bool,
    findings: &mut Findings,
) -> Option<()> {
    let (mut previous, mut inner) = (left, samples.get(1..samples.len().saturating_sub(1)).unwrap_or_default());
    if let [first, second, rest @ ..] = samples
        && left_is_between
        && is_reset(&first.histogram, &second.histogram)
    {
        if rest.is_empty() {
            return Some(());
        }
        (previous, inner) = (&second.histogram, &rest[..rest.len() - 1]);
    }
    if samples.len() < 2 {
        return Some(());
    }
    for current in inner.iter().map(|sample| &*sample.histogram).chain([right]) {
        if is_reset(previous, current) {
            add(total, previous, 1.0, findings)?;
        }
        previous = current;
    }
    Some(())
}

fn add(total: &mut Total<Bucket>, other: &Histogram, sign: f64, findings: &mut Findings) -> Option<()> {
    let Ok(reconciled) = total.add(other, sign) else {
        findings.only(Finding::MixedKinds);
        return None;
    };
    note_reconciled(reconciled, sign, findings);
    Some(())
}

fn note_reconciled(reconciled: bool, sign: f64, findings: &mut Findings) {
    if reconciled {
        let subtracting = sign < 0.0;
        findings.add(if subtracting { Finding::BoundsReconciledSubtracting } else { Finding::BoundsReconciledAdding });
    }
}

/// Notes hints of the first and the last histogram that do not go with the function.
fn note_hints(is_counter: bool, histograms: [&Histogram; 2], findings: &mut Findings) {
    let mut are_gauges = histograms.into_iter().map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if is_counter {
        if are_gauges.any(|is_gauge| is_gauge) {
            findings.add(Finding::NotCounter);
        }
    } else if !are_gauges.all(|is_gauge| is_gauge) {
        findings.add(Finding::NotGauge);
    }
}

#[expect(clippy::cast_precision_loss, reason = "windows are far shorter than 2^53 milliseconds")]
fn seconds(duration_ms: i64) -> f64 {
    duration_ms as f64 / 1000.0
}

/// Whether a counter began anew between two samples.
fn starts_over(previous: &HistogramSample, current: &HistogramSample) -> bool {
    starts_anew_between(previous, current) || is_reset(&previous.histogram, &current.histogram)
}

fn starts_anew_between(previous: &HistogramSample, current: &HistogramSample) -> bool {
    starts_anew((previous.start_ms, previous.timestamp_ms), (current.start_ms, current.timestamp_ms))
}

/// Whether start times tell that a counter began anew between two samples, each `(start_ms, timestamp_ms)`. It did if it
/// started after the sample before, or with it, if that one's own start is known: then each sample tells its own part.
/// A start of 0 or from the sample's own time on is not known.
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
    use std::sync::Arc;

    use super::super::testing::{check, histogram};
    use super::*;

    /// Samples every 60 s from 0 on, `-` for none.
    fn samples(texts: &[&str]) -> Vec<HistogramSample> {
        let timed = (0..).map(|at| at * 60_000).zip(texts);
        let some = timed.filter(|(_, text)| **text != "-");
        some.map(|(timestamp_ms, text)| HistogramSample {
            timestamp_ms,
            start_ms: 0,
            histogram: Arc::new(histogram(text)),
        })
        .collect()
    }

    #[track_caller]
    fn check_outcome(got: Option<Histogram>, findings: Findings, want: Option<&str>, met: &[Finding]) {
        match (got, want) {
            (Some(got), Some(want)) => check(&got, &format!("{want} counter_reset_hint:gauge")),
            (got, want) => assert_eq!(got.is_some(), want.is_some(), "{got:?}"),
        }
        assert_eq!(findings.iter().collect::<Vec<_>>(), met);
    }

    #[track_caller]
    fn check_change(is_counter: bool, texts: &[&str], want: Option<&str>, met: &[Finding]) {
        let mut findings = Findings::default();
        let got = change(&samples(texts), is_counter, &mut findings);
        check_outcome(got, findings, want, met);
    }

    const EXPONENTIAL: &str = "count:1 sum:1 buckets:[1]";
    const CUSTOM: &str = "schema:-53 count:1 sum:1 custom_values:[5 10] buckets:[1]";
    const OTHER_CUSTOM: &str = "schema:-53 count:1 sum:1 custom_values:[2] buckets:[1]";

    #[test]
    fn changes_over_windows() {
        check_change(true, &["count:4 buckets:[1 2 1]"], None, &[]);
        check_change(
            true,
            &["count:4 sum:4 buckets:[1 2 1]", "count:5 sum:6 buckets:[1 3 1]"],
            Some("count:1 sum:2 offset:1 buckets:[1]"),
            &[],
        );
        // What a reset hides is added, at the resolution of the coarsest.
        check_change(
            true,
            &[
                "count:3 sum:1 buckets:[1 2]",
                "schema:-1 count:4 buckets:[1 3]",
                "count:1 buckets:[1]",
                "count:6 buckets:[2 4]",
            ],
            Some("schema:-1 count:7 sum:-1 buckets:[2 5]"),
            &[],
        );
        check_change(
            false,
            &["count:3 buckets:[1 2]", "schema:-1 count:4 buckets:[1 3]", "count:2 buckets:[1 1]"],
            Some("count:-1 offset:1 buckets:[-1]"),
            &[Finding::NotGauge],
        );
        let gauge = |text: &str| format!("{text} counter_reset_hint:gauge");
        check_change(
            false,
            &[&gauge("count:3 buckets:[3]"), &gauge("count:1 buckets:[1]")],
            Some("count:-2 buckets:[-2]"),
            &[],
        );
        check_change(
            true,
            &["count:1 buckets:[1]", &gauge("count:2 buckets:[2]"), "count:3 buckets:[3]"],
            Some("count:2 buckets:[2]"),
            &[Finding::NotCounter],
        );
    }

    #[test]
    fn the_first_one_does_not_matter_before_a_reset() {
        check_change(
            true,
            &["count:9 buckets:[9]", "count:1 sum:1 buckets:[1]", "count:3 sum:4 buckets:[1 2]"],
            Some("count:3 sum:4 buckets:[1 2]"),
            &[],
        );
        check_change(true, &[CUSTOM, EXPONENTIAL, EXPONENTIAL], Some(EXPONENTIAL), &[]);
        check_change(true, &["schema:-1 count:9 buckets:[9]", EXPONENTIAL], Some(EXPONENTIAL), &[]);
        check_change(true, &[EXPONENTIAL, CUSTOM], Some(CUSTOM), &[]);
        check_change(
            true,
            &[EXPONENTIAL, "count:3 buckets:[3] counter_reset_hint:reset"],
            Some("count:3 buckets:[3]"),
            &[],
        );
    }

    #[test]
    fn kinds_and_bounds() {
        check_change(true, &[EXPONENTIAL, CUSTOM, EXPONENTIAL, CUSTOM], None, &[Finding::MixedKinds]);
        check_change(true, &[CUSTOM, CUSTOM, EXPONENTIAL], None, &[Finding::MixedKinds]);
        check_change(false, &[EXPONENTIAL, CUSTOM], None, &[Finding::MixedKinds]);
        check_change(
            true,
            &[CUSTOM, CUSTOM, OTHER_CUSTOM],
            Some("schema:-53"),
            &[Finding::BoundsReconciledSubtracting],
        );
        check_change(
            true,
            &[
                "schema:-53 count:3 custom_values:[1 2] buckets:[1 1 1]",
                "schema:-53 count:5 custom_values:[1 2] buckets:[1 3 1]",
                "schema:-53 count:4 custom_values:[2 3] buckets:[1 1 2]",
            ],
            Some("schema:-53 count:6 custom_values:[2] buckets:[3 3]"),
            &[Finding::BoundsReconciledSubtracting, Finding::BoundsReconciledAdding],
        );
    }

    #[track_caller]
    fn check_last(is_counter: bool, texts: [&str; 2], want: Option<&str>, met: &[Finding]) {
        let mut findings = Findings::default();
        let samples = samples(&texts);
        let got = last_change(&samples[0], &samples[1], is_counter, &mut findings);
        check_outcome(got, findings, want, met);
    }

    #[test]
    fn changes_between_two() {
        check_last(
            true,
            ["count:3 buckets:[3]", "count:4 buckets:[4]"],
            Some(EXPONENTIAL).map(|_| "count:1 buckets:[1]"),
            &[],
        );
        check_last(true, ["count:3 buckets:[3]", "count:2 buckets:[2]"], Some("count:2 buckets:[2]"), &[]);
        check_last(
            false,
            ["count:3 buckets:[3]", "count:2 buckets:[2]"],
            Some("count:-1 buckets:[-1]"),
            &[Finding::NotGauge],
        );
        check_last(true, [EXPONENTIAL, CUSTOM], Some(CUSTOM), &[]);
        check_last(false, [EXPONENTIAL, CUSTOM], None, &[Finding::NotGauge, Finding::MixedKinds]);
        check_last(
            true,
            [
                "schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]",
                "schema:-53 sum:555 count:450 custom_values:[1 2 3 4 5 6 7 8] buckets:[10 20 30 40 50 60 70 80 90]",
            ],
            Some("schema:-53 sum:500 count:435 custom_values:[2 4 6] buckets:[29 68 105 233]"),
            &[Finding::BoundsReconciledSubtracting],
        );
        let reset = "schema:-53 sum:56 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]";
        check_last(
            true,
            ["schema:-53 sum:55 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]", reset],
            Some(reset),
            &[],
        );
    }

    #[track_caller]
    fn check_extended(is_smoothed: bool, texts: &[&str], window_s: (i64, i64), want: Option<&str>) {
        let mut findings = Findings::default();
        let window = (window_s.0 * 1000, window_s.1 * 1000);
        let got = extended_change(&samples(texts), window, is_smoothed, true, &mut findings);
        check_outcome(got, findings, want, &[]);
    }

    #[test]
    fn extended_windows() {
        let rising =
            ["count:10 buckets:[10]", "count:20 buckets:[20]", "count:40 buckets:[40]", "count:44 buckets:[44]"];
        check_extended(false, &rising, (60, 120), Some("count:20 buckets:[20]"));
        check_extended(false, &rising, (90, 130), Some("count:20 buckets:[20]"));
        check_extended(false, &rising, (-5, 130), Some("count:30 buckets:[30]"));
        check_extended(false, &rising, (200, 300), None);
        check_extended(false, &rising, (-300, -200), None);
        check_extended(true, &rising, (30, 90), Some("count:15 buckets:[15]"));
        check_extended(true, &rising, (60, 120), Some("count:20 buckets:[20]"));
        check_extended(true, &rising, (130, 140), Some("count:0.6666666666666667 buckets:[0.6666666666666667]"));
        check_extended(true, &rising, (-60, 500), Some("count:34 buckets:[34]"));
        check_extended(true, &rising, (200, 300), None);
        check_extended(true, &rising, (-300, -200), None);
        // From 20 to 8 the counter began anew: 2 at 75 s, 4 at 90 s.
        let reset = [
            "count:10 buckets:[10]",
            "count:20 buckets:[20]",
            "count:8 buckets:[8]",
            "count:9 buckets:[9]",
            "count:3 buckets:[3]",
        ];
        check_extended(false, &reset, (0, 180), Some("count:19 buckets:[19]"));
        check_extended(true, &reset, (75, 90), Some("count:2 buckets:[2]"));
        check_extended(true, &reset, (30, 90), Some("count:9 buckets:[9]"));
        check_extended(true, &reset, (90, 150), Some("count:4.5 buckets:[4.5]"));
        check_extended(true, &reset, (90, 210), Some("count:6.5 buckets:[6.5]"));
    }

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
        let mut started = samples(&["count:3 buckets:[3]", "count:4 buckets:[4]", "count:5 buckets:[5]"]);
        started[1].start_ms = 30_000;
        started[2].start_ms = 40_000;
        let mut findings = Findings::default();
        let got = change(&started, true, &mut findings);
        check_outcome(got, findings, Some("count:5 buckets:[5]"), &[Finding::StartsOverlap]);
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
