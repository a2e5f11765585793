//! Single numbers and sets of bucket indexes in few bytes, for what is coded alone and not as a column.

use super::varint::{push_i64, push_u64, take_i64, take_u64, take_usize};

/// Whole numbers below this are coded as integers; a double holds each of them.
const WHOLE_END: f64 = 9_007_199_254_740_992.0;

/// Appends any double: a whole number from 0 on as a varint of twice it, anything else as a varint of twice the number
/// of its leading bytes and 1, then these bytes, most significant first; the bytes left out are zero.
pub(super) fn push_number(out: &mut Vec<u8>, value: f64) {
    if let Some(whole) = whole(value) {
        push_u64(out, whole << 1);
        return;
    }
    let kept = 8 - value.to_bits().trailing_zeros().min(56) / 8;
    push_u64(out, u64::from(kept << 1 | 1));
    out.extend(value.to_bits().to_be_bytes().iter().take(kept as usize));
}

/// Takes a double off the front of `bytes`.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<f64> {
    let head = take_u64(bytes)?;
    if head & 1 == 0 {
        return from_whole(head >> 1);
    }
    let kept = usize::try_from(head >> 1).ok().filter(|kept| (1..=8).contains(kept))?;
    let (leading, rest) = bytes.split_at_checked(kept)?;
    *bytes = rest;
    let mut raw = [0; 8];
    raw.iter_mut().zip(leading).for_each(|(to, from)| *to = *from);
    Some(f64::from_be_bytes(raw))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 on and below 2^53")]
fn whole(value: f64) -> Option<u64> {
    let small = value.is_sign_positive() && value < WHOLE_END && value.fract() == 0.0;
    small.then_some(value as u64)
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn from_whole(whole: u64) -> Option<f64> {
    (whole < 1 << 53).then_some(whole as f64)
}

/// Appends a set of bucket indexes, which ascend: the number of runs, and for each the svarint of its first index (of
/// the second and later runs: a varint, less the last index before and 2) and the varint of how many more follow.
pub(super) fn push_indexes(out: &mut Vec<u8>, indexes: impl Iterator<Item = i32> + Clone) {
    let starts = |before: Option<i32>, index: i32| before.is_none_or(|before| before.checked_add(1) != Some(index));
    let (mut runs, mut before) = (0u64, None);
    for index in indexes.clone() {
        runs += u64::from(starts(before, index));
        before = Some(index);
    }
    push_u64(out, runs);
    let mut run: Option<(i32, i32)> = None;
    let mut end = None;
    for index in indexes {
        match &mut run {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => {
                push_run(out, run.replace((index, index)), &mut end);
            }
        }
    }
    push_run(out, run, &mut end);
}

fn push_run(out: &mut Vec<u8>, run: Option<(i32, i32)>, end: &mut Option<i32>) {
    let Some((first, last)) = run else { return };
    match *end {
        None => push_i64(out, i64::from(first)),
        Some(end) => push_u64(out, (i64::from(first) - i64::from(end) - 2).unsigned_abs()),
    }
    push_u64(out, u64::from(last.abs_diff(first)));
    *end = Some(last);
}

/// Takes a set of at most `max` bucket indexes off the front of `bytes`.
pub(super) fn take_indexes(bytes: &mut &[u8], max: usize) -> Option<Vec<i32>> {
    let runs = take_usize(bytes, max)?;
    let mut indexes: Vec<i32> = Vec::new();
    for _ in 0..runs {
        let first = match indexes.last() {
            None => take_i64(bytes)?,
            Some(&last) => i64::from(last).checked_add(2)?.checked_add_unsigned(take_u64(bytes)?)?,
        };
        let more = take_usize(bytes, max)?;
        if indexes.len() + more >= max {
            return None;
        }
        let first = i32::try_from(first).ok()?;
        let last = first.checked_add(i32::try_from(more).ok()?)?;
        indexes.extend(first..=last);
    }
    Some(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_numbers_take_few_bytes() {
        for (value, bytes) in [(0.0, 1), (63.0, 1), (64.0, 2), (0.5, 3), (-0.0, 2), (-1.0, 3), (0.1, 9), (1e300, 9)] {
            let mut out = Vec::new();
            push_number(&mut out, value);
            assert_eq!(out.len(), bytes, "{value}");
        }
        assert_eq!(take_number(&mut &[1][..]), None);
        assert_eq!(take_number(&mut &[19, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]), None);
    }

    #[test]
    fn indexes_are_bounded() {
        let mut out = Vec::new();
        push_indexes(&mut out, [i32::MIN, 0, 1, i32::MAX].into_iter());
        assert_eq!(take_indexes(&mut out.as_slice(), 4), Some(vec![i32::MIN, 0, 1, i32::MAX]));
        assert_eq!(take_indexes(&mut out.as_slice(), 3), None);
        // One run that would go beyond 32 bits, and one that starts there.
        for bytes in [&[1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 1][..], &[1, 0x80, 0x80, 0x80, 0x80, 0x10, 0]] {
            assert_eq!(take_indexes(&mut &*bytes, 100), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_indexes_come_back(
            bits in any::<u64>(),
            shift in 0u32..64,
            indexes in prop::collection::btree_set(prop_oneof![-20i32..20, any::<i32>()], 0..40),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut out = Vec::new();
            for value in [f64::from_bits(bits << shift), from_whole(bits >> 11).unwrap()] {
                push_number(&mut out, value);
                let mut rest = out.as_slice();
                prop_assert_eq!(take_number(&mut rest).map(f64::to_bits), Some(value.to_bits()));
                prop_assert!(rest.is_empty());
                out.clear();
            }
            push_indexes(&mut out, indexes.iter().copied());
            let mut rest = out.as_slice();
            prop_assert_eq!(take_indexes(&mut rest, indexes.len()), Some(indexes.iter().copied().collect()));
            prop_assert!(rest.is_empty());
            let taken = take_indexes(&mut noise.as_slice(), 1000).unwrap_or_default();
            prop_assert!(taken.is_sorted_by(|a, b| a < b) && taken.len() <= 1000);
            let _ = take_number(&mut noise.as_slice());
        }
    }
}
