//! The change of histograms over `anchored` and `smoothed` windows, which look beyond their ends instead of
//! extrapolating.

use model::Histogram;
use model::histogram::{Bucket, ResetHint};
use model::sample::HistogramSample;

use super::combine::Total;
use super::counter::{add, note_hints};
use super::findings::{Finding, Findings};
use super::interpolate::interpolate;
use super::reset::is_reset;

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
            findings.add(Finding::MixedKinds);
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

#[expect(clippy::cast_precision_loss, reason = "windows are far shorter than 2^53 milliseconds")]
fn seconds(duration_ms: i64) -> f64 {
    duration_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_outcome, samples};
    use super::*;

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
}
