//! Histograms times and by numbers, and their equality.

use model::Histogram;
use model::histogram::ResetHint;

/// Every count and the sum times `factor`. A negative factor makes a gauge.
pub(crate) fn multiply(histogram: &Histogram, factor: f64) -> Histogram {
    scaled(histogram, factor, |count| count * factor)
}

/// Every count and the sum by `divisor`. A negative divisor makes a gauge; zero leaves no buckets but the zero bucket.
pub(crate) fn divide(histogram: &Histogram, divisor: f64) -> Histogram {
    if divisor == 0.0 {
        return Histogram {
            schema: histogram.schema,
            reset_hint: histogram.reset_hint,
            count: histogram.count / divisor,
            sum: histogram.sum / divisor,
            zero_threshold: histogram.zero_threshold,
            // Custom buckets have no zero bucket to hold what 0/0 is.
            zero_count: if histogram.is_custom() { 0.0 } else { histogram.zero_count / divisor },
            custom_bounds: histogram.custom_bounds.clone(),
            ..Histogram::default()
        };
    }
    scaled(histogram, divisor, |count| count / divisor)
}

/// The negative of a histogram, which is a gauge.
pub(crate) fn negate(histogram: &Histogram) -> Histogram {
    multiply(histogram, -1.0)
}

fn scaled(histogram: &Histogram, by: f64, scale: impl Fn(f64) -> f64) -> Histogram {
    let mut result = histogram.clone();
    for bucket in result.positive.iter_mut().chain(&mut result.negative) {
        bucket.count = scale(bucket.count);
    }
    (result.count, result.sum) = (scale(result.count), scale(result.sum));
    if !result.is_custom() {
        result.zero_count = scale(result.zero_count);
    }
    if by < 0.0 {
        result.reset_hint = ResetHint::Gauge;
    }
    result.compact();
    result
}

/// Whether two histograms are equal, as `==` has it: counts, sums and buckets bit by bit, so that NaN equals itself;
/// hints do not matter.
#[expect(clippy::float_cmp, reason = "thresholds and bounds are the same or not")]
pub(crate) fn equals(a: &Histogram, b: &Histogram) -> bool {
    let bits = |one: &Histogram| [one.count, one.sum, one.zero_count].map(f64::to_bits);
    a.schema == b.schema
        && bits(a) == bits(b)
        && a.zero_threshold == b.zero_threshold
        && a.positive == b.positive
        && a.negative == b.negative
        && a.custom_bounds == b.custom_bounds
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, histogram};
    use super::*;

    #[test]
    fn by_numbers() {
        let some = histogram("count:6 sum:-3 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] n_buckets:[2]");
        check(
            &multiply(&some, 0.5),
            "count:3 sum:-1.5 z_bucket:0.5 z_bucket_w:0.1 buckets:[0.5 1] n_buckets:[1] counter_reset_hint:unknown",
        );
        check(
            &negate(&some),
            "count:-6 sum:3 z_bucket:-1 z_bucket_w:0.1 buckets:[-1 -2] n_buckets:[-2] counter_reset_hint:gauge",
        );
        check(
            &divide(&some, -2.0),
            "count:-3 sum:1.5 z_bucket:-0.5 z_bucket_w:0.1 buckets:[-0.5 -1] n_buckets:[-1] counter_reset_hint:gauge",
        );
        check(&divide(&some, 0.0), "count:inf sum:-inf z_bucket:inf z_bucket_w:0.1");
        check(&divide(&some, -0.0), "count:-inf sum:inf z_bucket:-inf z_bucket_w:0.1 counter_reset_hint:unknown");
        check(&multiply(&some, 0.0), "count:0 sum:-0 z_bucket:0 z_bucket_w:0.1");
        check(&divide(&histogram("z_bucket_w:0.1"), 0.0), "count:NaN sum:NaN z_bucket:NaN z_bucket_w:0.1");
        let custom = histogram("schema:-53 count:3 sum:1 custom_values:[1] buckets:[1 2]");
        check(&divide(&custom, 0.0), "schema:-53 count:inf sum:inf custom_values:[1]");
        check(&multiply(&custom, f64::NAN), "schema:-53 count:NaN sum:NaN custom_values:[1] buckets:[NaN NaN]");
    }

    #[track_caller]
    fn check_equals(a: &str, b: &str, want: bool) {
        assert_eq!(equals(&histogram(a), &histogram(b)), want, "{a} == {b}");
    }

    #[test]
    fn equality() {
        check_equals("count:1 sum:NaN buckets:[1]", "count:1 sum:NaN buckets:[1 0]", true);
        check_equals("count:1 counter_reset_hint:gauge", "count:1 counter_reset_hint:reset", true);
        check_equals("count:1 buckets:[1]", "count:1 buckets:[0 1]", false);
        check_equals("count:1 schema:1", "count:1", false);
        check_equals("z_bucket_w:0.1", "z_bucket_w:0.2", false);
        check_equals("z_bucket:1", "z_bucket:2", false);
        check_equals("sum:1", "sum:2", false);
        check_equals("n_buckets:[1]", "n_buckets:[2]", false);
        check_equals("schema:-53 custom_values:[1]", "schema:-53 custom_values:[2]", false);
    }
}
