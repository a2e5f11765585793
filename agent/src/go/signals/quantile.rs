//! Quantiles of what a histogram of the runtime gained between two readings.

use model::Histogram;
use model::histogram::{Bucket, CUSTOM_SCHEMA};

/// The counts of a histogram with custom buckets, without its bounds, which its neighbours in time share.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    count: f64,
    buckets: Vec<Bucket>,
}

impl Counts {
    /// Those of `histogram`; none if its buckets are others.
    pub(super) fn of(histogram: &Histogram) -> Option<Self> {
        let known = histogram.schema == CUSTOM_SCHEMA && !histogram.is_stale_marker();
        known.then(|| Self { count: histogram.count, buckets: histogram.positive.clone() })
    }

    /// Whether `later` can come after these: nothing became less.
    pub(super) fn may_precede(&self, later: &Self) -> bool {
        later.count >= self.count && gained(self, later).all(|(_, count)| count >= 0.0)
    }

    /// Observations that `later` has more.
    pub(super) fn gained_by(&self, later: &Self) -> f64 {
        later.count - self.count
    }

    /// The quantiles `wanted`, ascending from 0 to 1, of the observations that `later` has more: by linear interpolation inside a
    /// bucket, as the buckets of the runtime are linear in each power of two. None when there is none.
    pub(super) fn quantiles_gained<const N: usize>(
        &self,
        later: &Self,
        bounds: &[f64],
        wanted: [f64; N],
    ) -> Option<[f64; N]> {
        let total: f64 = gained(self, later).map(|(_, count)| count).sum();
        if total <= 0.0 {
            return None;
        }
        let mut found = [f64::NAN; N];
        for (quantile, found) in wanted.into_iter().zip(&mut found) {
            *found = value_at(gained(self, later), bounds, quantile * total);
        }
        found.iter().all(|value| !value.is_nan()).then_some(found)
    }
}

/// The quantiles `wanted`, ascending, of what the runtime's histogram `later` observed since `before`, or since the program began, and
/// how many observations that were. None when there were none, or `before` is of another program.
pub fn quantiles_between<const N: usize>(
    before: Option<&Histogram>,
    later: &Histogram,
    wanted: [f64; N],
) -> Option<([f64; N], f64)> {
    let first = before.map_or_else(|| Some(Counts::default()), Counts::of)?;
    let last = Counts::of(later)?;
    if before.is_some_and(|before| before.custom_bounds != later.custom_bounds) || !first.may_precede(&last) {
        return None;
    }
    let found = first.quantiles_gained(&last, &later.custom_bounds, wanted)?;
    Some((found, first.gained_by(&last)))
}

/// The buckets of `later` by index, each with what it has more than `first`.
fn gained<'a>(first: &'a Counts, later: &'a Counts) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut before = first.buckets.iter().peekable();
    let mut after = later.buckets.iter().peekable();
    std::iter::from_fn(move || match (before.peek(), after.peek()) {
        (Some(old), Some(new)) if old.index == new.index => {
            let gain = (new.index, new.count - old.count);
            before.next();
            after.next();
            Some(gain)
        }
        (Some(old), new) if new.is_none_or(|new| old.index < new.index) => {
            before.next().map(|old| (old.index, -old.count))
        }
        _ => after.next().map(|new| (new.index, new.count)),
    })
}

/// The value that `rank` observations do not exceed.
fn value_at(buckets: impl Iterator<Item = (i32, f64)>, bounds: &[f64], rank: f64) -> f64 {
    let bound = |index: Option<usize>| index.and_then(|index| bounds.get(index)).copied();
    let (mut below, mut last) = (0.0, f64::NAN);
    for (index, count) in buckets.filter(|(_, count)| *count > 0.0) {
        let at = usize::try_from(index).ok();
        // The outermost buckets have one bound alone, which stands for them.
        let value = match (bound(at.and_then(|at| at.checked_sub(1))), bound(at)) {
            (Some(lower), Some(upper)) => lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0),
            (Some(bound), None) | (None, Some(bound)) => bound,
            (None, None) => f64::NAN,
        };
        if below + count >= rank {
            return value;
        }
        below += count;
        last = value;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 4] = [0.0, 1.0, 2.0, 4.0];

    fn counts(buckets: &[(i32, f64)]) -> Counts {
        Counts {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets: buckets.iter().map(|&(index, count)| Bucket { index, count }).collect(),
        }
    }

    #[test]
    fn quantiles_lie_where_the_gain_is() {
        let (first, later) = (counts(&[(1, 100.0), (3, 5.0)]), counts(&[(1, 100.0), (2, 80.0), (3, 25.0)]));
        assert!(first.may_precede(&later) && !later.may_precede(&first));
        assert_eq!(first.gained_by(&later).to_bits(), 100.0_f64.to_bits());
        // 80 between 1 and 2, 20 between 2 and 4; the hundred below 1 were there before.
        assert_eq!(first.quantiles_gained(&later, &BOUNDS, [0.4, 0.8, 0.9, 1.0]), Some([1.5, 2.0, 3.0, 4.0]));
        assert_eq!(later.quantiles_gained(&later, &BOUNDS, [0.5]), None, "nothing was gained");
    }

    #[test]
    fn buckets_without_an_end_are_told_by_their_other() {
        let none = counts(&[]);
        assert_eq!(none.quantiles_gained(&counts(&[(0, 1.0), (4, 1.0)]), &BOUNDS, [0.5, 1.0]), Some([0.0, 4.0]));
        assert_eq!(none.quantiles_gained(&counts(&[(9, 1.0)]), &BOUNDS, [0.5]), None, "an index without a bound");
    }

    #[test]
    fn what_is_between_two_histograms() {
        let histogram = |buckets: &[(i32, f64)]| Histogram {
            schema: CUSTOM_SCHEMA,
            count: buckets.iter().map(|(_, count)| count).sum(),
            positive: buckets.iter().map(|&(index, count)| Bucket { index, count }).collect(),
            custom_bounds: BOUNDS.to_vec(),
            ..Histogram::default()
        };
        let (first, later) = (histogram(&[(1, 100.0)]), histogram(&[(1, 100.0), (2, 80.0)]));
        assert_eq!(quantiles_between(Some(&first), &later, [0.5]), Some(([1.5], 80.0)));
        assert_eq!(quantiles_between(None, &first, [1.0]), Some(([1.0], 100.0)));
        assert_eq!(quantiles_between(Some(&later), &first, [0.5]), None, "less than before");
        assert_eq!(quantiles_between(Some(&first), &first, [0.5]), None, "nothing between");
    }

    #[test]
    fn a_histogram_that_lost_a_bucket_is_another_one() {
        assert!(!counts(&[(1, 3.0)]).may_precede(&counts(&[(2, 5.0)])));
        assert!(counts(&[(1, 3.0)]).may_precede(&counts(&[(1, 3.0), (2, 5.0)])));
    }
}
