//! Counter resets between two histograms of one series.

use model::Histogram;
use model::histogram::{Bucket, ResetHint};

use super::buckets::bound;
use super::layout::{Layout, reduced_index, shared_bounds};
use crate::compensated::CompensatedSum;

/// Whether the counter began anew between `previous` and `current`: the hint says so, or, where it says nothing, some
/// count shrank or the buckets changed as those of a running counter never do. Sums do not matter: observations may be
/// negative.
pub(crate) fn is_reset(previous: &Histogram, current: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    match (previous.is_custom(), current.is_custom()) {
        (true, true) => is_custom_reset(previous, current),
        (false, false) => is_exponential_reset(previous, current),
        _ => true,
    }
}

fn is_custom_reset(previous: &Histogram, current: &Histogram) -> bool {
    if previous.custom_bounds == current.custom_bounds {
        return any_shrank(pairs(&previous.positive), pairs(&current.positive));
    }
    let shared = shared_bounds(&previous.custom_bounds, &current.custom_bounds);
    let [previous, current] = [previous, current].map(|histogram| {
        let mut layout = Layout::<Bucket>::of(histogram);
        layout.move_to_bounds(&shared);
        layout.positive
    });
    any_shrank(pairs(&previous), pairs(&current))
}

fn is_exponential_reset(previous: &Histogram, current: &Histogram) -> bool {
    let threshold = current.zero_threshold;
    if current.schema > previous.schema || threshold < previous.zero_threshold {
        return true;
    }
    let mut zero = CompensatedSum::starting_at(previous.zero_count);
    if threshold > previous.zero_threshold {
        for side in [&previous.positive, &previous.negative] {
            for bucket in side {
                if bound(previous.schema, bucket.index.saturating_sub(1)) >= threshold {
                    break;
                }
                if bound(previous.schema, bucket.index) > threshold {
                    return true;
                }
                zero.add(bucket.count);
            }
        }
    }
    if current.zero_count < zero.total() {
        return true;
    }
    let coarser = (previous.schema - current.schema).unsigned_abs();
    let sides = [(&previous.positive, &current.positive), (&previous.negative, &current.negative)];
    sides.into_iter().any(|(was, is)| {
        let was = outside(was, previous.schema, threshold);
        let is = outside(is, current.schema, threshold);
        any_shrank(reduced(was, coarser), pairs(is))
    })
}

/// The buckets that reach beyond the zero bucket.
fn outside(side: &[Bucket], schema: i8, threshold: f64) -> &[Bucket] {
    if threshold == 0.0 {
        return side;
    }
    &side[side.partition_point(|bucket| bound(schema, bucket.index) <= threshold)..]
}

fn pairs(side: &[Bucket]) -> impl Iterator<Item = (i32, f64)> + '_ {
    side.iter().map(|bucket| (bucket.index, bucket.count))
}

/// Buckets at a coarser schema, those that fall together as one.
fn reduced(side: &[Bucket], coarser: u8) -> impl Iterator<Item = (i32, f64)> + '_ {
    side.chunk_by(move |a, b| reduced_index(a.index, coarser) == reduced_index(b.index, coarser)).filter_map(
        move |together| {
            let first = together.first()?;
            let count = together.iter().map(|bucket| bucket.count).sum();
            Some((reduced_index(first.index, coarser), count))
        },
    )
}

/// Whether some populated bucket shrank or vanished. Both ascend by index.
fn any_shrank(previous: impl Iterator<Item = (i32, f64)>, current: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut current = current.peekable();
    for (index, was) in previous {
        while current.next_if(|&(other, _)| other < index).is_some() {}
        let is = current.next_if(|&(other, _)| other == index).map_or(0.0, |(_, count)| count);
        if is < was || is == 0.0 && was != 0.0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::testing::histogram;
    use super::*;

    #[track_caller]
    fn check(previous: &str, current: &str, want: bool) {
        assert_eq!(is_reset(&histogram(previous), &histogram(current)), want, "{previous} -> {current}");
    }

    #[test]
    fn hints_decide_first() {
        check("count:1", "count:9 counter_reset_hint:reset", true);
        check("count:9", "count:1 counter_reset_hint:not_reset", false);
        check("count:9", "count:1 counter_reset_hint:gauge", true);
        check("count:1", "count:9 counter_reset_hint:gauge", false);
    }

    #[test]
    fn shrinking_counts_are_resets() {
        check("count:4 sum:5 buckets:[1 2 1]", "count:4 sum:-9 buckets:[1 2 1]", false);
        check("count:4 buckets:[1 2 1]", "count:5 buckets:[1 1 3]", true);
        check("count:4 buckets:[1 2 1]", "count:5 buckets:[1 0 4]", true);
        check("count:4 buckets:[1 2 1]", "count:5 buckets:[1]", true);
        check("count:4 n_buckets:[1 2 1]", "count:5 n_buckets:[1 2]", true);
        check("count:4 buckets:[0 2 1]", "count:5 buckets:[1 2 1] n_buckets:[1]", false);
        check("count:4 z_bucket:2", "count:5 z_bucket:1", true);
        check("count:0", "count:5 buckets:[5]", false);
        check("count:4 buckets:[1 NaN]", "count:5 buckets:[1 NaN]", false);
    }

    #[test]
    fn layouts_may_only_get_coarser() {
        check("count:3 buckets:[1 2]", "schema:1 count:3 buckets:[1 2]", true);
        check("schema:1 count:6 buckets:[1 2 3]", "count:6 buckets:[1 5]", false);
        check("schema:1 count:6 buckets:[1 2 3]", "count:6 buckets:[2 4]", true);
        check("count:6 z_bucket:1 z_bucket_w:1", "count:6 z_bucket:1 z_bucket_w:0.5", true);
        check(
            "count:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 3]",
            "count:6 z_bucket:3 z_bucket_w:1 buckets:[0 3]",
            false,
        );
        check("count:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 3]", "count:6 z_bucket:2 z_bucket_w:1 buckets:[0 4]", true);
        check("count:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 3]", "count:6 z_bucket:6 z_bucket_w:1.5", true);
        check(
            "count:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 0 3]",
            "count:6 z_bucket:3 z_bucket_w:1.5 buckets:[0 0 3]",
            false,
        );
    }

    #[test]
    fn custom_buckets() {
        let some = "schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]";
        check(some, "schema:-53 count:16 custom_values:[2 4 6] buckets:[1 2 5 8]", false);
        check(some, "schema:-53 count:15 custom_values:[2 4 6] buckets:[1 1 6 7]", true);
        check(some, "count:15 buckets:[15]", true);
        check("count:15 buckets:[15]", some, true);
        check(some, "schema:-53 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]", true);
        check(some, "schema:-53 count:16 custom_values:[2 3 4 6] buckets:[1 0 2 5 8]", false);
        check(some, "schema:-53 count:15 custom_values:[1 6] buckets:[0 8 7]", false);
        check(some, "schema:-53 count:15 custom_values:[1 6] buckets:[0 7 8]", true);
        check(some, "schema:-53 count:15 custom_values:[9] buckets:[14 1]", false);
    }
}
