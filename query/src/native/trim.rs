//! Cutting a histogram at a value: `</` keeps what is below it, `>/` what is above.
//!
//! The bucket the cut goes through is split by estimate. Of an infinite bucket nothing is known of how observations lie
//! in it: those of the last one are taken to lie at infinity, those of the first one at minus infinity, unless it ends
//! above zero, when they are positive.

use model::Histogram;

use super::buckets::{Stretch, negative, positive, zero};
use super::moments::geometric_mean;
use super::quantile::{one_sided_zero, share_below};

/// Which side of the cut is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Observations below it.
    Below,
    /// Observations above it.
    Above,
}

/// What is left of a bucket: how many observations, and what each is taken for in the sum.
type Rest = (f64, f64);

/// What is left of `histogram` beyond a cut at `at`. If anything is gone, the count is what is left and the sum an
/// estimate from the middles of buckets; otherwise the result is the histogram as it is.
pub(crate) fn trim(histogram: &Histogram, keep: Keep, at: f64) -> Histogram {
    let mut trimmed = histogram.clone();
    let mut left = Left::default();
    for bucket in &mut trimmed.positive {
        left.keep(rest(positive(histogram, *bucket), histogram.is_custom(), keep, at), &mut bucket.count);
    }
    for bucket in &mut trimmed.negative {
        left.keep(rest(negative(histogram, *bucket), false, keep, at), &mut bucket.count);
    }
    if trimmed.zero_count > 0.0 {
        left.keep(rest_of_zero(histogram, keep, at), &mut trimmed.zero_count);
    }
    if left.cut {
        (trimmed.count, trimmed.sum) = (left.count, left.sum);
        trimmed.compact();
    }
    trimmed
}

/// What is left of the buckets so far.
#[derive(Debug, Default)]
struct Left {
    count: f64,
    sum: f64,
    cut: bool,
}

impl Left {
    fn keep(&mut self, (rest, each): Rest, count: &mut f64) {
        self.count += rest;
        if rest != 0.0 {
            self.sum += rest * each;
        }
        #[expect(clippy::float_cmp, reason = "a count that stays is the same")]
        let stays = *count == rest;
        self.cut |= !stays;
        *count = rest;
    }
}

/// What is left of a bucket.
fn rest(bucket: Stretch, is_custom: bool, keep: Keep, at: f64) -> Rest {
    let Stretch { lower, upper, count, .. } = bucket;
    let (is_kept, is_cut) = match keep {
        Keep::Below => (upper <= at, lower < at),
        Keep::Above => (lower >= at, upper > at),
    };
    if is_kept {
        return (count, middle(lower, upper, is_custom));
    }
    if !is_cut {
        return (0.0, 0.0);
    }
    if lower.is_infinite() || upper.is_infinite() {
        return rest_of_infinite(bucket, keep, at);
    }
    let below = count * share_below(at, bucket, is_custom);
    match keep {
        Keep::Below => (below, middle(lower, at, is_custom)),
        Keep::Above => (count - below, middle(at, upper, is_custom)),
    }
}

/// What is left of an infinite bucket that the cut goes through.
fn rest_of_infinite(bucket: Stretch, keep: Keep, at: f64) -> Rest {
    let Stretch { lower, upper, count, .. } = bucket;
    let gone = (0.0, 0.0);
    if lower.is_finite() {
        return if keep == Keep::Above { (count, at) } else { gone };
    }
    // Of a bucket that is infinite at both ends, or that is cut where it should have nothing, nothing is known at all.
    match keep {
        _ if upper.is_infinite() => gone,
        Keep::Below if upper <= 0.0 => (count, at),
        Keep::Below if at > 0.0 => (count * (at / upper), at / 2.0),
        Keep::Above if upper > 0.0 && at >= 0.0 => (count * (1.0 - at / upper), f64::midpoint(at, upper)),
        Keep::Below | Keep::Above => gone,
    }
}

/// What is left of the zero bucket, in which observations are spread evenly. It has only those of the sign that all
/// other buckets have.
fn rest_of_zero(histogram: &Histogram, keep: Keep, at: f64) -> Rest {
    let Stretch { lower, upper, count, .. } = one_sided_zero(histogram, zero(histogram));
    let whole = (count, f64::midpoint(lower, upper));
    // Of a zero bucket without width all lies above a cut at zero.
    match keep {
        Keep::Below if at <= lower => (0.0, 0.0),
        Keep::Below if at >= upper => whole,
        Keep::Above if at <= lower => whole,
        Keep::Above if at >= upper => (0.0, 0.0),
        Keep::Below => (count * ((at - lower) / (upper - lower)), f64::midpoint(lower, at)),
        Keep::Above => (count * ((upper - at) / (upper - lower)), f64::midpoint(at, upper)),
    }
}

/// What observations between two values are taken for.
fn middle(lower: f64, upper: f64, is_custom: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if is_custom => f64::midpoint(lower, upper),
        (false, false) => geometric_mean(lower, upper),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, histogram};
    use super::Keep::{Above, Below};
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[track_caller]
    fn check_trims(text: &str, rows: &[(Keep, f64, &str)]) {
        for &(keep, at, want) in rows {
            check(&trim(&histogram(text), keep, at), want);
        }
    }

    #[test]
    fn exponential_buckets() {
        let some = "sum:123.75 count:34 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1 2]";
        check_trims(
            some,
            &[
                (
                    Below,
                    2.0,
                    "count:10 sum:3.535533905932737 z_bucket:1 z_bucket_w:0.001 buckets:[2 4] n_buckets:[1 2]",
                ),
                (Above, 2.0, "count:24 sum:113.13708498984761 z_bucket_w:0.001 offset:2 buckets:[8 16]"),
                (
                    Above,
                    -1.0,
                    "count:32 sum:119.50104602052653 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1]",
                ),
                (Below, -1.0, "count:2 sum:-2.8284271247461903 z_bucket_w:0.001 n_offset:1 n_buckets:[2]"),
                (Below, INF, some),
                (Above, -INF, some),
                (Below, 8.0, some),
                (Above, INF, "z_bucket_w:0.001"),
                (Below, -INF, "z_bucket_w:0.001"),
                (Above, 0.0, "sum:120.20840280171308 count:30.5 z_bucket:0.5 z_bucket_w:0.001 buckets:[2 4 8 16]"),
            ],
        );
        check_trims(
            "schema:2 sum:12.8 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 3 1]",
            &[
                (
                    Below,
                    1.13,
                    "schema:2 count:13.410582181123704 sum:-9.385798726068234 z_bucket:1 \
                     z_bucket_w:0.001 buckets:[1 1.410582181123704] n_buckets:[1 5 3 1]",
                ),
                (
                    Above,
                    -1.3,
                    "schema:2 count:25.54213947904476 sum:16.295884912175374 z_bucket:1 \
                     z_bucket_w:0.001 buckets:[1 2 4 7 3] n_buckets:[1 5 1.54213947904476]",
                ),
            ],
        );
    }

    #[test]
    fn zero_buckets() {
        let some = "count:16 sum:-6.75 z_bucket:5 z_bucket_w:0.01 buckets:[2 3] n_buckets:[1 2 3]";
        check_trims(
            some,
            &[
                (Below, -0.005, "count:7.25 sum:-12.03019028017131 z_bucket:1.25 z_bucket_w:0.01 n_buckets:[1 2 3]"),
                (Above, 0.0, "count:7.5 sum:5.669354249492381 z_bucket:2.5 z_bucket_w:0.01 buckets:[2 3]"),
            ],
        );
        check_trims(
            "count:4 z_bucket:2 z_bucket_w:0.01 buckets:[2]",
            &[
                (Below, 0.005, "count:1 sum:0.0025 z_bucket:1 z_bucket_w:0.01"),
                (Below, 0.0, "z_bucket_w:0.01"),
                (Above, 0.0, "count:4 z_bucket:2 z_bucket_w:0.01 buckets:[2]"),
            ],
        );
        check_trims("count:2 sum:7 z_bucket:2", &[(Below, 0.0, ""), (Above, 0.0, "count:2 sum:7 z_bucket:2")]);
        check_trims(
            "count:4 z_bucket:2 z_bucket_w:0.01 n_buckets:[2]",
            &[(Above, -0.005, "count:1 sum:-0.0025 z_bucket:1 z_bucket_w:0.01")],
        );
    }

    #[test]
    fn custom_buckets() {
        let some = "schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]";
        check_trims(
            some,
            &[
                (Below, 13.0, "schema:-53 count:9.4 sum:75.1 custom_values:[5 10 15 20] buckets:[1 6 2.4]"),
                (Above, 13.0, "schema:-53 count:5.6 sum:94.9 custom_values:[5 10 15 20] offset:2 buckets:[1.6 3 1]"),
                (Below, 15.0, "schema:-53 count:11 sum:97.5 custom_values:[5 10 15 20] buckets:[1 6 4]"),
                (Above, 15.0, "schema:-53 count:4 sum:72.5 custom_values:[5 10 15 20] offset:3 buckets:[3 1]"),
                (Below, 50.0, "schema:-53 count:14 sum:150 custom_values:[5 10 15 20] buckets:[1 6 4 3]"),
                (Below, 0.0, "schema:-53 custom_values:[5 10 15 20]"),
                (Below, -INF, "schema:-53 custom_values:[5 10 15 20]"),
                (Above, INF, "schema:-53 custom_values:[5 10 15 20]"),
                (Below, INF, some),
                (Above, -INF, some),
                (Above, 0.0, some),
            ],
        );
        check_trims(
            "schema:-53 sum:100 count:100 buckets:[100]",
            &[
                (Below, 10.0, "schema:-53"),
                (Above, 10.0, "schema:-53"),
                (Below, INF, "schema:-53 sum:100 count:100 buckets:[100]"),
                (Above, -INF, "schema:-53 sum:100 count:100 buckets:[100]"),
            ],
        );
    }

    #[test]
    fn infinite_buckets() {
        check_trims(
            "schema:-53 sum:33 count:101 custom_values:[0] buckets:[1 100]",
            &[
                (Below, 10.0, "schema:-53 sum:0 count:1 custom_values:[0] buckets:[1]"),
                (Below, -10.0, "schema:-53 sum:-10 count:1 custom_values:[0] buckets:[1]"),
                (Above, -10.0, "schema:-53 sum:0 count:100 custom_values:[0] buckets:[0 100]"),
                (Above, 10.0, "schema:-53 sum:1000 count:100 custom_values:[0] buckets:[0 100]"),
            ],
        );
        check_trims(
            "schema:-53 sum:33 count:101 custom_values:[5] buckets:[1 100]",
            &[
                (Below, 10.0, "schema:-53 sum:2.5 count:1 custom_values:[5] buckets:[1]"),
                (Below, 2.0, "schema:-53 sum:0.4 count:0.4 custom_values:[5] buckets:[0.4]"),
                (Below, 0.0, "schema:-53 custom_values:[5]"),
                (Above, -10.0, "schema:-53 sum:500 count:100 custom_values:[5] buckets:[0 100]"),
                (Above, 0.0, "schema:-53 sum:33 count:101 custom_values:[5] buckets:[1 100]"),
                (Above, 2.0, "schema:-53 sum:502.1 count:100.6 custom_values:[5] buckets:[0.6 100]"),
            ],
        );
        check_trims(
            "schema:-53 sum:33 count:101 custom_values:[-5] buckets:[1 100]",
            &[
                (Below, 0.0, "schema:-53 count:1 sum:-5 custom_values:[-5] buckets:[1]"),
                (Below, -10.0, "schema:-53 sum:-10 count:1 custom_values:[-5] buckets:[1]"),
                (Above, -10.0, "schema:-53 sum:-500 count:100 custom_values:[-5] buckets:[0 100]"),
                (Above, -2.0, "schema:-53 sum:-200 count:100 custom_values:[-5] buckets:[0 100]"),
            ],
        );
    }

    #[test]
    fn hints_stay() {
        let gauge = "count:2 buckets:[1 1] counter_reset_hint:gauge";
        check(
            &trim(&histogram(gauge), Below, 1.0),
            "count:1 sum:0.7071067811865476 buckets:[1] counter_reset_hint:gauge",
        );
    }
}
