//! When groups are evaluated: at fixed moments of their interval, spread by the hash of their names so that not all are evaluated at once.
//!
//! The moments are the same after every restart. One that passes while an evaluation runs is skipped and counted. None is further away than
//! the one after the next: where a clock is set back, groups are [placed anew](placed_ms).

/// A clock that is set back by less counts as one that stood still: what is due comes late by as much.
pub const STEP_MS_MIN: i64 = 1000;

/// Where in its interval a group is evaluated.
pub fn offset_ms(file: &str, group: &str, interval_ms: i64) -> i64 {
    let hash = super::kept::number_of([file, group]);
    i64::try_from(hash % interval_ms.max(1).unsigned_abs()).unwrap_or(0)
}

/// The first moment at or after `now_ms`.
pub fn first_ms(now_ms: i64, interval_ms: i64, offset_ms: i64) -> i64 {
    let interval_ms = interval_ms.max(1);
    now_ms.saturating_add((offset_ms.wrapping_sub(now_ms)).rem_euclid(interval_ms))
}

/// The moment after `slot_ms`, and how many were missed, when the evaluation for that one ended at `now_ms`.
pub fn next_ms(slot_ms: i64, now_ms: i64, interval_ms: i64) -> (i64, u64) {
    let interval_ms = interval_ms.max(1);
    let passed = now_ms.saturating_sub(slot_ms).div_euclid(interval_ms).max(1);
    let next_ms = slot_ms.saturating_add(passed.saturating_mul(interval_ms));
    (placed_ms(next_ms, now_ms, interval_ms), (passed - 1).unsigned_abs())
}

/// The moment `due_ms`, or, where the clock was set back so that it is further away than an interval, the first one from `now_ms` on.
pub fn placed_ms(due_ms: i64, now_ms: i64, interval_ms: i64) -> i64 {
    let interval_ms = interval_ms.max(1);
    if due_ms.saturating_sub(now_ms) < interval_ms.saturating_add(STEP_MS_MIN) {
        return due_ms;
    }
    first_ms(now_ms, interval_ms, due_ms.rem_euclid(interval_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_that_pass_are_missed() {
        for (now_ms, want) in [(100, (110, 0)), (109, (110, 0)), (110, (110, 0)), (125, (120, 1)), (150, (150, 4))] {
            assert_eq!(next_ms(100, now_ms, 10), want, "{now_ms}");
        }
    }

    #[test]
    fn moments_are_near_when_the_clock_is_set_back() {
        let hour_ms = 3_600_000;
        for (due_ms, now_ms, want) in [
            (hour_ms + 25_000, 0, 5000),
            (hour_ms + 25_000, 5000, 5000),
            (hour_ms + 25_000, 5001, 15_000),
            (25_000, 14_001, 25_000),
            (25_000, 14_000, 15_000),
        ] {
            assert_eq!(placed_ms(due_ms, now_ms, 10_000), want, "{due_ms} at {now_ms}");
        }
        assert_eq!(next_ms(hour_ms + 5000, 0, 10_000), (5000, 0));
    }

    #[test]
    fn groups_are_spread() {
        let offsets: std::collections::BTreeSet<i64> =
            (0..100).map(|at| offset_ms("r.yml", &format!("group {at}"), 15_000)).collect();
        assert!(offsets.len() > 90 && offsets.iter().all(|offset| (0..15_000).contains(offset)), "{offsets:?}");
    }

    proptest! {
        #[test]
        fn the_first_moment_is_the_next_of_its_kind(now_ms in -1_000_000_i64..1_000_000, interval_ms in 1_i64..5000, part in 0.0..1.0_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
            let offset_ms = (interval_ms as f64 * part) as i64;
            let first = first_ms(now_ms, interval_ms, offset_ms);
            prop_assert!(first >= now_ms && first < now_ms + interval_ms);
            prop_assert_eq!((first - offset_ms).rem_euclid(interval_ms), 0);
        }
    }
}
