//! Averages and deviations of what a histogram observed.

use model::Histogram;

use super::buckets::{Stretch, buckets};
use crate::compensated::CompensatedSum;

/// The mean of the observations.
pub(crate) fn average(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The variance of the observations, each taken for the middle of its bucket.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = average(histogram);
    let mut squares = CompensatedSum::default();
    for bucket in buckets(histogram) {
        let away = middle(bucket, histogram.is_custom()) - mean;
        squares.add(bucket.count * away * away);
    }
    squares.total() / histogram.count
}

/// The standard deviation of the observations.
pub(crate) fn standard_deviation(histogram: &Histogram) -> f64 {
    variance(histogram).sqrt()
}

/// The middle of a bucket: arithmetic for custom ones, 0 for the zero bucket, else geometric.
fn middle(bucket: Stretch, is_custom: bool) -> f64 {
    let Stretch { lower, upper, .. } = bucket;
    if is_custom {
        f64::midpoint(lower, upper)
    } else if lower <= 0.0 && upper >= 0.0 {
        0.0
    } else {
        geometric_mean(lower, upper)
    }
}

/// The geometric mean of two numbers of one sign, with that sign.
pub(super) fn geometric_mean(a: f64, b: f64) -> f64 {
    let product = a * b;
    // Near the ends of the range of a double the product leaves it, the mean does not.
    let mean = if product.is_normal() { product.abs().sqrt() } else { a.abs().sqrt() * b.abs().sqrt() };
    if a < 0.0 || b < 0.0 { -mean } else { mean }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{histogram, near};
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn deviations() {
        for (text, deviation, variance_wanted) in [
            ("schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]", 1.078_799_318_004_381_1, 1.163_807_968_526_718),
            ("schema:8 count:10 sum:10 buckets:[1 2 3 4]", 0.004_896_031_389_823_746_5, 2.397_112_337_013_944_7e-5),
            (
                "count:10 sum:-112946 n_buckets:[0 0 1 1 1 0 1 1 0 0 3 0 0 0 1 0 0 1]",
                27_556.344_499_842,
                759_352_122.193_994_5,
            ),
            ("count:10 sum:-100 n_buckets:[0 0 0 0 10]", 1.313_708_498_984_8, 1.725_830_020_304_794),
            ("count:7 sum:NaN z_bucket:1 buckets:[6]", f64::NAN, f64::NAN),
            ("count:7 sum:inf z_bucket:1 buckets:[6]", INF, INF),
            ("schema:-53 count:4 sum:8 custom_values:[0 1 2 4] buckets:[0 1 2 1]", 0.9375_f64.sqrt(), 0.9375),
        ] {
            let histogram = histogram(text);
            let got = (standard_deviation(&histogram), variance(&histogram));
            assert!(near(got.0, deviation) && near(got.1, variance_wanted), "{text}: {got:?}");
        }
        assert!(near(average(&histogram("count:4 sum:5")), 1.25));
    }
}
