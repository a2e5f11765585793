//! Quantiles and fractions of classic histograms: one series a bucket, its upper bound in the label `le`, its value the
//! count of all observations up to that bound.

use super::super::column::{Column, Head};
use super::super::forced::Forced;

/// Relative differences of counts up to which a decrease is taken for rounding.
const LEVEL_TOLERANCE: f64 = 1e-12;

/// One bucket: its upper bound, and how many observations lie at or below it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one histogram over the grid, by ascending bound.
#[derive(Debug)]
pub(super) struct Classic {
    pub(super) head: Head,
    pub(super) buckets: Vec<(f64, Column)>,
}

impl Classic {
    /// Whether any bucket has a count at `step`.
    pub(super) fn is_there(&self, step: usize) -> bool {
        self.buckets.iter().any(|(_, column)| column.get(step).is_some())
    }

    /// The buckets that have a count at `step`, those of equal bounds added up.
    pub(super) fn at(&self, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (bound, column) in &self.buckets {
            let Some(count) = column.get(step) else { continue };
            match buckets.last_mut() {
                Some(last) if last.bound >= *bound => last.count += count,
                _ => buckets.push(Bucket { bound: *bound, count }),
            }
        }
    }
}

/// The `q`-quantile, and which counts had to be raised to be monotonic.
pub(super) fn quantile(q: f64, buckets: &mut [Bucket]) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let [.., before_last, last] = &*buckets else { return (f64::NAN, forced) };
    let total = last.count;
    if total == 0.0 {
        return (f64::NAN, forced);
    }
    let rank = q * total;
    let hit =
        buckets[..buckets.len() - 1].partition_point(|bucket| bucket.count < rank || (bucket.count - rank).is_nan());
    let value = match hit {
        hit if hit == buckets.len() - 1 => before_last.bound,
        0 if buckets[0].bound <= 0.0 => buckets[0].bound,
        0 => buckets[0].bound * (rank / buckets[0].count),
        hit => {
            let (below, bucket) = (buckets[hit - 1], buckets[hit]);
            below.bound + (bucket.bound - below.bound) * ((rank - below.count) / (bucket.count - below.count))
        }
    };
    (value, forced)
}

/// Raises counts that decrease to the one before; where that was more than rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut buckets = buckets.iter_mut();
    let mut highest = buckets.next()?.count;
    for bucket in buckets {
        if is_level(highest, bucket.count) {
            bucket.count = highest;
        } else if bucket.count < highest {
            let raised = Forced::new(bucket.bound, highest - bucket.count);
            forced = Some(forced.map_or(raised, |forced| forced.and(raised)));
            bucket.count = highest;
        } else {
            highest = bucket.count;
        }
    }
    forced
}

/// Whether two counts differ by rounding at most.
fn is_level(a: f64, b: f64) -> bool {
    let (difference, size) = ((a - b).abs(), a.abs() + b.abs());
    difference == 0.0 || difference / size.min(f64::MAX) < LEVEL_TOLERANCE
}

/// The share of observations between two bounds.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(total) = buckets.last().filter(|last| last.bound == f64::INFINITY).map(|last| last.count) else {
        return f64::NAN;
    };
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (count_below(upper, buckets).min(total) - count_below(lower, buckets).min(total)) / total
}

/// How many observations lie below `limit`, interpolated inside its bucket unless that is infinite.
fn count_below(limit: f64, buckets: &[Bucket]) -> f64 {
    let mut below = 0.0;
    for (at, bucket) in buckets.iter().enumerate() {
        let start = match at.checked_sub(1) {
            Some(before) => buckets[before].bound,
            None if bucket.bound > 0.0 => 0.0,
            None => f64::NEG_INFINITY,
        };
        if start >= limit {
            return below;
        }
        if bucket.bound > limit {
            return match (start, bucket.bound) {
                // What lies in an infinite bucket may lie anywhere: none of it counts as inside the bounds.
                (f64::NEG_INFINITY, _) => bucket.count,
                (_, f64::INFINITY) => below,
                _ => below + (bucket.count - below) * ((limit - start) / (bucket.bound - start)),
            };
        }
        below = bucket.count;
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    #[track_caller]
    fn check_quantile(q: f64, pairs: &[(f64, f64)], want: (f64, bool)) {
        let (value, forced) = quantile(q, &mut buckets(pairs));
        assert!((value - want.0).abs() < 1e-9 || value.is_nan() && want.0.is_nan(), "{value}");
        assert_eq!(forced.is_some(), want.1);
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles() {
        let even = [(1.0, 10.0), (2.0, 20.0), (INF, 20.0)];
        check_quantile(0.5, &even, (1.0, false));
        check_quantile(0.75, &even, (1.5, false));
        check_quantile(0.25, &even, (0.5, false));
        check_quantile(1.0, &[(1.0, 10.0), (INF, 20.0)], (1.0, false));
        check_quantile(0.1, &[(-1.0, 10.0), (INF, 20.0)], (-1.0, false));
        check_quantile(0.5, &[(1.0, 10.0)], (f64::NAN, false));
        check_quantile(0.5, &[(INF, 10.0)], (f64::NAN, false));
        check_quantile(0.5, &[(1.0, 0.0), (INF, 0.0)], (f64::NAN, false));
        check_quantile(0.5, &[(1.0, 10.0), (2.0, 5.0), (INF, 20.0)], (1.0, true));
        check_quantile(0.5, &[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 20.0)], (1.0, false));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact by design")]
    fn fractions() {
        let some = buckets(&[(0.0, 2.0), (2.0, 6.0), (INF, 10.0)]);
        assert_eq!(fraction(0.0, 1.0, &some), 0.2);
        assert_eq!(fraction(f64::NEG_INFINITY, 0.0, &some), 0.2);
        assert_eq!(fraction(-1.0, 0.0, &some), 0.0, "nothing is known inside the first bucket");
        assert_eq!(fraction(2.0, 100.0, &some), 0.0, "nor inside the last");
        assert_eq!(fraction(2.0, INF, &some), 0.4);
        assert_eq!(fraction(1.0, 1.0, &some), 0.0);
        assert!(fraction(0.0, 1.0, &some[..2]).is_nan());
    }
}
