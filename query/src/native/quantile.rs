//! Estimates of quantiles and shares.
//!
//! Inside an exponential bucket observations are taken to be spread evenly over the logarithm, in the zero bucket and
//! in custom buckets evenly over the value.

use model::Histogram;

use super::buckets::{Stretch, buckets};

/// What observations that are no number did to a quantile. They are in no bucket and above all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NanObservations {
    /// There are none.
    None,
    /// It is higher for them.
    Skewed,
    /// It is one of them.
    Result,
}

/// An estimated quantile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantile {
    /// The estimate.
    pub(crate) value: f64,
    /// An info is due unless there are none.
    pub(crate) nan_observations: NanObservations,
}

/// The `q`-quantile: infinite for a `q` outside 0 to 1, NaN without observations.
pub(crate) fn quantile(q: f64, histogram: &Histogram) -> Quantile {
    let plain = |value| Quantile { value, nan_observations: NanObservations::None };
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return plain(f64::NAN);
    }
    // From the nearer end; from below if what is above is not all in buckets.
    let may_have_nan = histogram.sum.is_nan();
    let forward = may_have_nan || q < 0.5;
    let share = if forward { q } else { 1.0 - q };
    let rank = share * histogram.count;
    let found = if forward { find(rank, buckets(histogram)) } else { find(rank, buckets(histogram).rev()) };
    let (bucket, walked) = found.unwrap_or((EMPTY, 0.0));
    let bucket = match whole(histogram, bucket) {
        Whole::Bucket(bucket) => bucket,
        Whole::Point(value) => return plain(value),
    };
    let walked = walked.min(histogram.count);
    if walked < rank {
        return if may_have_nan {
            Quantile { value: f64::NAN, nan_observations: NanObservations::Result }
        } else {
            plain(bucket.upper)
        };
    }
    let into = if forward { rank - (walked - bucket.count) } else { walked - rank };
    let value = value_at(into / bucket.count, bucket, histogram.is_custom());
    let skewed = may_have_nan && observed(histogram) < histogram.count;
    Quantile { value, nan_observations: if skewed { NanObservations::Skewed } else { NanObservations::None } }
}

/// A bucket where there is none.
const EMPTY: Stretch = Stretch { lower: 0.0, upper: 0.0, count: 0.0, edges: super::buckets::Edges::ClosedClosed };

/// The first bucket up to whose end lie `rank` observations, or else the last, and how many do lie there.
fn find(rank: f64, buckets: impl Iterator<Item = Stretch>) -> Option<(Stretch, f64)> {
    let (mut walked, mut last) = (0.0, None);
    for bucket in buckets {
        walked += bucket.count;
        last = Some((bucket, walked));
        if walked >= rank {
            break;
        }
    }
    last
}

/// How many observations are in buckets.
fn observed(histogram: &Histogram) -> f64 {
    buckets(histogram).map(|bucket| bucket.count).sum()
}

/// Where a quantile that falls into a bucket may lie.
enum Whole {
    /// Somewhere in it.
    Bucket(Stretch),
    /// At the finite end of an infinite bucket.
    Point(f64),
}

fn whole(histogram: &Histogram, bucket: Stretch) -> Whole {
    if !histogram.is_custom() {
        return Whole::Bucket(one_sided_zero(histogram, bucket));
    }
    if bucket.lower == f64::NEG_INFINITY {
        return if bucket.upper <= 0.0 {
            Whole::Point(bucket.upper)
        } else {
            Whole::Bucket(Stretch { lower: 0.0, ..bucket })
        };
    }
    if bucket.upper == f64::INFINITY { Whole::Point(bucket.lower) } else { Whole::Bucket(bucket) }
}

/// Histograms of positive observations alone have positive ones in their zero bucket, too; so with negative ones.
pub(super) fn one_sided_zero(histogram: &Histogram, bucket: Stretch) -> Stretch {
    if bucket.lower < 0.0 && bucket.upper > 0.0 {
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => return Stretch { lower: 0.0, ..bucket },
            (false, true) => return Stretch { upper: 0.0, ..bucket },
            _ => {}
        }
    }
    bucket
}

/// Whether values inside are spread evenly over the value: custom buckets, the zero bucket, and those of which one end
/// has no logarithm.
fn is_linear(bucket: Stretch, is_custom: bool) -> bool {
    is_custom || bucket.lower <= 0.0 && bucket.upper >= 0.0 || bucket.lower.is_infinite() || bucket.upper.is_infinite()
}

/// The value below which `share` of the bucket lies.
fn value_at(share: f64, bucket: Stretch, is_custom: bool) -> f64 {
    let Stretch { lower, upper, .. } = bucket;
    if is_linear(bucket, is_custom) {
        return lower + (upper - lower) * share;
    }
    let (from, to) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 { (from + (to - from) * share).exp2() } else { -(to + (from - to) * (1.0 - share)).exp2() }
}

/// The share of a bucket that lies below `value`, which is inside it.
pub(super) fn share_below(value: f64, bucket: Stretch, is_custom: bool) -> f64 {
    let Stretch { lower, upper, .. } = bucket;
    if is_linear(bucket, is_custom) {
        return (value - lower) / (upper - lower);
    }
    let [from, to, at] = [lower, upper, value].map(|end| end.abs().log2());
    if lower > 0.0 { (at - from) / (to - from) } else { 1.0 - (at - to) / (from - to) }
}

/// An estimated share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fraction {
    /// The estimate.
    pub(crate) value: f64,
    /// Some observations are no number; they are in no share. An info is due.
    pub(crate) nan_observations: bool,
}

/// The share of observations between two values: NaN without observations or with an end that is no number.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> Fraction {
    let plain = |value| Fraction { value, nan_observations: false };
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return plain(f64::NAN);
    }
    if lower >= upper {
        return plain(0.0);
    }
    let (total, nan_observations) = if histogram.sum.is_nan() {
        let observed = observed(histogram);
        (observed, observed < histogram.count)
    } else {
        (histogram.count, false)
    };
    let below = |limit| count_below(limit, histogram).map_or(total, |below| if below > total { total } else { below });
    Fraction { value: (below(upper) - below(lower)) / histogram.count, nan_observations }
}

/// How many observations lie below `limit`; nothing if all buckets do.
fn count_below(limit: f64, histogram: &Histogram) -> Option<f64> {
    let mut below = 0.0;
    for bucket in buckets(histogram) {
        let bucket = if histogram.is_custom() { from_zero(bucket) } else { one_sided_zero(histogram, bucket) };
        if bucket.lower >= limit {
            return Some(below);
        }
        if bucket.upper > limit {
            // What lies in an infinite bucket may lie anywhere: none of it counts as inside the ends.
            return Some(match (bucket.lower, bucket.upper) {
                (f64::NEG_INFINITY, _) => below + bucket.count,
                (_, f64::INFINITY) => below,
                _ => below + bucket.count * share_below(limit, bucket, histogram.is_custom()),
            });
        }
        below += bucket.count;
    }
    None
}

/// A custom bucket around zero, which is taken to hold nothing below it. So does Prometheus, and so do classic buckets.
fn from_zero(bucket: Stretch) -> Stretch {
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 { Stretch { lower: 0.0, ..bucket } } else { bucket }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{histogram, near};
    use super::*;

    const POSITIVE: &str = "count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]";
    const NEGATIVE: &str = "count:12 sum:100 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]";
    const BOTH: &str = "count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] n_buckets:[2 3 0 1 4]";
    const CUSTOM: &str = "schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]";
    const INF: f64 = f64::INFINITY;

    #[track_caller]
    fn check_quantiles(text: &str, rows: &[(f64, f64)]) {
        for &(q, want) in rows {
            let got = quantile(q, &histogram(text)).value;
            assert!(near(got, want), "{q} of {text}: {got}, not {want}");
        }
    }

    #[test]
    fn quantiles() {
        check_quantiles("count:0", &[(0.5, f64::NAN), (-1.0, -INF), (1.1, INF)]);
        check_quantiles("count:4 sum:5 buckets:[1 2 1]", &[(0.5, 2_f64.sqrt()), (f64::NAN, f64::NAN)]);
        check_quantiles(
            POSITIVE,
            &[
                (1.0, 16.0),
                (0.99, 15.670_724_761_390_83),
                (0.9, 12.996_038_341_699_77),
                (0.6, 4.594_793_419_988_138),
                (0.5, 1.587_401_051_968_199_4),
                (0.1, 0.0006),
                (0.0, 0.0),
            ],
        );
        check_quantiles(
            NEGATIVE,
            &[
                (1.0, 0.0),
                (0.99, -0.00006),
                (0.9, -0.0006),
                (0.5, -1.587_401_051_968_199_6),
                (0.1, -12.996_038_341_699_768),
                (0.0, -16.0),
            ],
        );
        check_quantiles(
            BOTH,
            &[
                (0.9, 10.556_063_286_183_155),
                (0.7, 1.203_025_036_082_116_4),
                (0.55, 0.0006),
                (0.5, 0.0),
                (0.45, -0.0006),
                (0.3, -1.203_025_036_082_116_9),
                (0.01, -15.348_225_909_204_23),
            ],
        );
        check_quantiles("count:8 buckets:[1 2 1] n_buckets:[1 2 1]", &[(0.5, 0.5)]);
        check_quantiles("schema:-1 sum:6 count:5 buckets:[0 0 5]", &[(0.5, 8.0)]);
        check_quantiles("schema:1 sum:6 count:5 n_buckets:[0 5]", &[(0.5, -1.189_207_115_002_721)]);
    }

    #[test]
    fn quantiles_of_custom_buckets() {
        check_quantiles(CUSTOM, &[(0.5, 7.5), (0.125, 2.5), (0.0, 0.0), (0.99, 10.0), (1.0, 10.0)]);
        check_quantiles("schema:-53 sum:5 count:4 custom_values:[-5 10] buckets:[1 2 1]", &[(0.1, -5.0), (0.5, 2.5)]);
        check_quantiles("schema:-53 sum:5 count:4 buckets:[4]", &[(0.1, 0.0), (0.9, 0.0)]);
    }

    #[test]
    fn observations_that_are_no_number() {
        use NanObservations as N;
        for (text, q, value, nan) in [
            ("count:3 sum:NaN", 1.0, f64::NAN, N::Result),
            ("count:15 sum:NaN buckets:[12]", 0.81, f64::NAN, N::Result),
            ("count:15 sum:NaN buckets:[12]", 0.8, 1.0, N::Skewed),
            ("count:15 sum:NaN buckets:[12]", 0.4, std::f64::consts::FRAC_1_SQRT_2, N::Skewed),
            ("count:12 sum:NaN buckets:[12]", 1.0, 1.0, N::None),
            ("count:15 sum:1 buckets:[12]", 0.4, std::f64::consts::FRAC_1_SQRT_2, N::None),
        ] {
            let got = quantile(q, &histogram(text));
            assert!(near(got.value, value) && got.nan_observations == nan, "{q} of {text}: {got:?}");
        }
        for (text, upper, value, nan) in [
            ("count:3 sum:NaN", INF, 0.0, true),
            ("count:15 sum:NaN buckets:[12]", INF, 0.8, true),
            ("count:15 sum:NaN buckets:[12]", std::f64::consts::FRAC_1_SQRT_2, 0.4, true),
            ("count:12 sum:NaN buckets:[12]", INF, 1.0, false),
        ] {
            let got = fraction(-INF, upper, &histogram(text));
            assert!(near(got.value, value) && got.nan_observations == nan, "{text}: {got:?}");
        }
    }

    #[track_caller]
    fn check_fractions(text: &str, rows: &[(f64, f64, f64)]) {
        for &(lower, upper, want) in rows {
            let got = fraction(lower, upper, &histogram(text)).value;
            assert!(near(got, want), "{lower} to {upper} of {text}: {got}, not {want}");
        }
    }

    #[test]
    fn fractions() {
        check_fractions("count:0", &[(0.0, 1.0, f64::NAN)]);
        check_fractions("count:1 sum:0.25 z_bucket:1 z_bucket_w:0.5", &[(-0.5, 0.5, 1.0), (0.0, 1.0, 0.5)]);
        check_fractions(
            POSITIVE,
            &[
                (0.0, INF, 1.0),
                (-INF, 0.0, 0.0),
                (0.0, 0.001, 2.0 / 12.0),
                (0.001, INF, 10.0 / 12.0),
                (0.0, 0.0005, 1.0 / 12.0),
                (0.0, 1.5, 0.479_573_958_513_622_4),
                (1.5, 2.0, 0.103_759_374_819_710_91),
                (0.0, 6.0, 0.632_080_208_393_429_7),
                (1.5, 6.0, 0.152_506_249_879_807_24),
                (-8.0, -1.0, 0.0),
                (42.0, 3.1, 0.0),
                (3.1, f64::NAN, f64::NAN),
                (-INF, INF, 1.0),
            ],
        );
        check_fractions(
            NEGATIVE,
            &[
                (-0.0005, 0.0, 1.0 / 12.0),
                (-INF, -6.0, 0.367_919_791_606_570_35),
                (-6.0, -1.5, 0.152_506_249_879_807_24),
                (0.0, INF, 0.0),
            ],
        );
        check_fractions(
            BOTH,
            &[(-0.0005, 0.0005, 2.0 / 24.0), (-INF, 0.0005, 13.0 / 24.0), (-2.0, -1.5, 0.051_879_687_409_855_456)],
        );
        check_fractions(
            CUSTOM,
            &[(5.0, 10.0, 0.5), (0.0, 2.5, 0.125), (-INF, 2.5, 0.125), (10.0, 99.0, 0.0), (10.0, INF, 0.25)],
        );
        check_fractions(
            "schema:-53 sum:5 count:4 custom_values:[-5 5] buckets:[1 2 1]",
            &[
                (-INF, -5.0, 0.25),
                (-7.0, -5.0, 0.0),
                (-INF, -7.0, 0.25),
                (-5.0, 0.0, 0.0),
                (-5.0, 2.5, 0.25),
                (-INF, 5.0, 0.75),
            ],
        );
    }
}
