//! The change of histograms over a window, which `rate`, `increase`, `delta`, `irate` and `idelta` extrapolate and
//! divide.
//!
//! Owns plain windows and the last two samples of one; windows with other ends are `extended`'s. Extrapolation is the
//! same as for floats, and so the evaluator's.

use model::Histogram;
use model::histogram::{Bucket, ResetHint};
use model::sample::HistogramSample;

use super::combine::Total;
use super::findings::{Finding, Findings};
use super::neighbours::{starts_anew_between, starts_over, starts_overlap};
use super::reset::is_reset;

/// The change from the first to the last sample, at the resolution of the coarsest; for counters with what resets in
/// between hide. The first one of counters does not matter if it is followed by a reset. A gauge; nothing for less than
/// two samples or for samples that do not combine.
pub(crate) fn change(samples: &[HistogramSample], is_counter: bool, findings: &mut Findings) -> Option<Histogram> {
    let resets = (1..samples.len()).filter(|&at| is_counter && starts_over(&samples[at - 1], &samples[at]));
    change_over(samples, resets, is_counter, findings)
}

/// [`change`] where the resets are known: for each the place of the first sample after it, in order.
pub(crate) fn change_over(
    samples: &[HistogramSample],
    resets: impl Iterator<Item = usize>,
    is_counter: bool,
    findings: &mut Findings,
) -> Option<Histogram> {
    let ([first, second, ..], [.., last]) = (samples, samples) else { return None };
    let mut resets = resets.peekable();
    if is_counter {
        note_hints(true, [&first.histogram, &last.histogram], findings);
    }
    let nothing;
    let mut previous: &Histogram = &first.histogram;
    let first_is_lost = is_counter && resets.next_if_eq(&1).is_some();
    if first_is_lost {
        let Histogram { schema, custom_bounds, .. } = &*second.histogram;
        nothing = Histogram { schema: *schema, custom_bounds: custom_bounds.clone(), ..Histogram::default() };
        previous = &nothing;
    }
    let mut schema = last.histogram.schema.min(previous.schema);
    if last.histogram.is_custom() != previous.is_custom() {
        findings.add(Finding::MixedKinds);
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
        let overlap = |[before, sample]: &[HistogramSample; 2]| {
            starts_overlap(before.start_ms, before.timestamp_ms, sample.start_ms)
        };
        if samples.array_windows().any(overlap) {
            findings.add(Finding::StartsOverlap);
        }
        if first_is_lost && (starts_anew_between(first, second) || is_reset(previous, &second.histogram)) {
            add(&mut total, previous, 1.0, findings)?;
        }
        for at in resets {
            add(&mut total, &samples[at - 1].histogram, 1.0, findings)?;
        }
    } else {
        note_hints(false, [&first.histogram, &last.histogram], findings);
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

/// Adds to the total, notes what was met.
pub(super) fn add(total: &mut Total<Bucket>, other: &Histogram, sign: f64, findings: &mut Findings) -> Option<()> {
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
pub(super) fn note_hints(is_counter: bool, histograms: [&Histogram; 2], findings: &mut Findings) {
    let mut are_gauges = histograms.into_iter().map(|histogram| histogram.reset_hint == ResetHint::Gauge);
    if is_counter {
        if are_gauges.any(|is_gauge| is_gauge) {
            findings.add(Finding::NotCounter);
        }
    } else if !are_gauges.all(|is_gauge| is_gauge) {
        findings.add(Finding::NotGauge);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_outcome, samples};
    use super::*;

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

    #[test]
    fn start_times_tell_of_resets() {
        let mut started = samples(&["count:3 buckets:[3]", "count:4 buckets:[4]", "count:5 buckets:[5]"]);
        started[1].start_ms = 30_000;
        started[2].start_ms = 40_000;
        let mut findings = Findings::default();
        let got = change(&started, true, &mut findings);
        check_outcome(got, findings, Some("count:5 buckets:[5]"), &[Finding::StartsOverlap]);
    }
}
