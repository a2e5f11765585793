//! Histograms between two others in time.

use model::Histogram;
use model::histogram::ResetHint;

use super::combine::{MixedKinds, add, subtract};
use super::findings::{Finding, Findings};
use super::reset::is_reset;
use super::scale::multiply;

/// The histogram `share` of the way from `left` to `right`, 0 to 1. If a counter was reset between them, it began from
/// zero. What was met goes into `findings`.
///
/// # Errors
///
/// One has exponential buckets, the other custom ones.
pub(crate) fn interpolate(
    left: &Histogram,
    right: &Histogram,
    share: f64,
    is_counter: bool,
    findings: &mut Findings,
) -> Result<Histogram, MixedKinds> {
    if left.is_custom() != right.is_custom() {
        return Err(MixedKinds);
    }
    if share <= 0.0 {
        return Ok(left.clone());
    }
    if share >= 1.0 {
        return Ok(right.clone());
    }
    if is_counter && is_reset(left, right) {
        return Ok(multiply(right, share));
    }
    let change = subtract(right, left)?;
    if change.bounds_reconciled {
        findings.add(Finding::BoundsReconciledSubtracting);
    }
    let between = add(&multiply(&change.histogram, share), left)?;
    if between.bounds_reconciled {
        findings.add(Finding::BoundsReconciledAdding);
    }
    // The change is a gauge, what lies between two histograms is what they are.
    let hints = [left.reset_hint, right.reset_hint];
    let reset_hint = match hints {
        [left, right] if left == right => left,
        hints if hints.contains(&ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    Ok(Histogram { reset_hint, ..between.histogram })
}

/// The value of a `smoothed` instant selector: a counter, unless both are gauges.
///
/// # Errors
///
/// One has exponential buckets, the other custom ones.
pub(crate) fn interpolate_instant(
    left: &Histogram,
    right: &Histogram,
    share: f64,
    findings: &mut Findings,
) -> Result<Histogram, MixedKinds> {
    let are_gauges = left.reset_hint == ResetHint::Gauge && right.reset_hint == ResetHint::Gauge;
    interpolate(left, right, share, !are_gauges, findings)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, histogram};
    use super::*;

    #[track_caller]
    fn check_between(left: &str, right: &str, share: f64, want: &str, met: &[Finding]) {
        let mut findings = Findings::default();
        let got = interpolate_instant(&histogram(left), &histogram(right), share, &mut findings).expect("of a kind");
        check(&got, want);
        assert_eq!(findings.iter().collect::<Vec<_>>(), met);
    }

    #[test]
    fn between_two() {
        let (one, three) = ("count:1 sum:10 buckets:[1]", "count:5 sum:30 buckets:[3 2]");
        check_between(one, three, 0.5, "count:3 sum:20 buckets:[2 1] counter_reset_hint:unknown", &[]);
        check_between(one, three, 0.0, one, &[]);
        check_between(one, three, 1.0, three, &[]);
        check_between(three, one, 0.25, "count:0.25 sum:2.5 buckets:[0.25]", &[]);
        let gauge = |text: &str| format!("{text} counter_reset_hint:gauge");
        check_between(&gauge(three), &gauge(one), 0.25, &gauge("count:4 sum:25 buckets:[2.5 1.5]"), &[]);
        check_between(
            "schema:-53 count:3 custom_values:[1 2] buckets:[1 1 1]",
            "schema:-53 count:6 custom_values:[2 3] buckets:[4 1 1]",
            0.5,
            "schema:-53 count:4.5 custom_values:[2] buckets:[3 1.5]",
            &[Finding::BoundsReconciledSubtracting, Finding::BoundsReconciledAdding],
        );
        let mut findings = Findings::default();
        let (one, custom) = (histogram(one), histogram("schema:-53 count:1 buckets:[1]"));
        assert_eq!(interpolate_instant(&one, &custom, 0.5, &mut findings), Err(MixedKinds));
    }
}
