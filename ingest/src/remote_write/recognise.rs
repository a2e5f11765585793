//! Recognises series by the bytes of their messages: are these the labels that a guess has?
//!
//! Nothing is decoded. Bytes that say the same in another way than encoders write it are not recognised, and go
//! through the decoder; so does whatever breaks a limit, which says why.

#![warn(clippy::indexing_slicing)]

use model::{LabelLimits, LabelsRef, METRIC_NAME};

use super::neighbour::Neighbour;

/// The key of field 1 with a length: a label of a series, or a label's name.
const KEY_1: u8 = 0x0a;
/// The key of field 2 with a length: a label's value, or a sample of a series.
const KEY_2: u8 = 0x12;
/// The key of a sample's value, eight bytes.
const KEY_VALUE: u8 = 0x09;
/// The key of a sample's time, a varint.
const KEY_TIMESTAMP: u8 = 0x10;

/// A series with more labels of its own than this is what the next ones are compared with.
const OWN_LABELS_MAX: usize = 3;

/// Time and value of the sample of `series`, if it is `labels` as [`label_fields`] has it and one plain sample.
#[inline]
pub(super) fn plain_series(
    series: &[u8],
    labels: LabelsRef<'_>,
    limits: &LabelLimits,
    neighbour: &mut Neighbour,
) -> Option<(i64, f64)> {
    let taken = label_fields(series, labels, limits, neighbour)?;
    only_sample(series.get(taken..)?)
}

/// How many bytes the label fields at the start of `series`, a message of version 1.0, take if they are `labels`, as
/// encoders write them and within `limits`, and no other comes next. Labels behind other fields are not seen.
/// `neighbour` is a series that was recognised under the same limits, and may become this one.
#[inline]
pub(super) fn label_fields(
    series: &[u8],
    labels: LabelsRef<'_>,
    limits: &LabelLimits,
    neighbour: &mut Neighbour,
) -> Option<usize> {
    let mut check = SetCheck::new(labels, limits)?;
    let (mut pairs, mut rest) = (labels.byte_pairs(), series);
    // The labels compared one by one, and the neighbour's label that should be next.
    let (mut own, mut next) = (0, 0);
    while let Some((name, value)) = pairs.next() {
        check.take(name, value)?;
        rest = strip_label(rest, name, value)?;
        (own, next) = (own + 1, next + 1);
        if own <= OWN_LABELS_MAX
            && let Some(run) = neighbour.run(next, pairs.packed())
        {
            rest = rest.strip_prefix(run.fields)?;
            check.take_checked(run.labels, run.has_metric)?;
            pairs.skip_bytes(run.packed_bytes);
            next = run.end;
        }
    }
    let is_whole = check.is_series() && rest.first() != Some(&KEY_1);
    let taken = is_whole.then_some(series.len() - rest.len())?;
    if own > OWN_LABELS_MAX {
        neighbour.replace(labels, series.get(..taken)?, field_bytes);
    }
    Some(taken)
}

/// Looks at what the decoder would look at in a set: limits may have changed since the series was made.
pub(super) struct SetCheck<'l> {
    limits: &'l LabelLimits,
    labels: usize,
    has_metric: bool,
}

impl<'l> SetCheck<'l> {
    #[inline]
    pub(super) fn new(labels: LabelsRef<'_>, limits: &'l LabelLimits) -> Option<Self> {
        let fits = labels.packed().len() <= limits.set_bytes_max;
        fits.then_some(Self { limits, labels: 0, has_metric: false })
    }

    #[inline]
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        self.labels += 1;
        self.has_metric |= name == METRIC_NAME.as_bytes();
        let fits = name.len() <= self.limits.name_bytes_max
            && value.len() <= self.limits.value_bytes_max
            && self.labels <= self.limits.labels_max;
        fits.then_some(())
    }

    /// Takes so many labels whose lengths were found to fit before.
    #[inline]
    fn take_checked(&mut self, labels: usize, has_metric: bool) -> Option<()> {
        self.labels += labels;
        self.has_metric |= has_metric;
        (self.labels <= self.limits.labels_max).then_some(())
    }

    /// Whether this is a set that a series may have.
    #[inline]
    pub(super) fn is_series(&self) -> bool {
        self.has_metric
    }
}

/// What follows the label field at the start of `bytes`, if it is this label.
#[inline]
fn strip_label<'b>(bytes: &'b [u8], name: &[u8], value: &[u8]) -> Option<&'b [u8]> {
    let length = name.len() + value.len() + 4;
    if length >= 0x80 {
        return strip_long_label(bytes, name, value);
    }
    // All lengths take one byte.
    let ([key, outer, name_key, inner], rest) = bytes.split_first_chunk::<4>()?;
    if [*key, *name_key] != [KEY_1; 2] || usize::from(*outer) != length || usize::from(*inner) != name.len() {
        return None;
    }
    let ([value_key, inner], rest) = strip(rest, name)?.split_first_chunk::<2>()?;
    if *value_key != KEY_2 || usize::from(*inner) != value.len() {
        return None;
    }
    strip(rest, value)
}

fn strip_long_label<'b>(bytes: &'b [u8], name: &[u8], value: &[u8]) -> Option<&'b [u8]> {
    let length = label_bytes(name, value);
    let rest = strip_key(bytes, KEY_1, length)?;
    let rest = strip(strip_key(rest, KEY_1, name.len())?, name)?;
    strip(strip_key(rest, KEY_2, value.len())?, value)
}

/// Length of the message of a label.
fn label_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 2 + varint_bytes(name.len()) + varint_bytes(value.len())
}

/// Length of the field of a label.
fn field_bytes(name: &[u8], value: &[u8]) -> usize {
    let length = label_bytes(name, value);
    1 + varint_bytes(length) + length
}

/// What follows `key` and `length`.
fn strip_key(bytes: &[u8], key: u8, mut length: usize) -> Option<&[u8]> {
    let digit = |length: usize| (length & 0x7f).to_le_bytes()[0];
    let mut rest = bytes.strip_prefix(&[key])?;
    while length >= 0x80 {
        rest = rest.strip_prefix(&[digit(length) | 0x80])?;
        length /= 0x80;
    }
    rest.strip_prefix(&[digit(length)])
}

fn varint_bytes(mut value: usize) -> usize {
    let mut bytes = 1;
    while value >= 0x80 {
        value /= 0x80;
        bytes += 1;
    }
    bytes
}

/// What follows `prefix` in `bytes`.
#[inline]
fn strip<'b>(bytes: &'b [u8], prefix: &[u8]) -> Option<&'b [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    is_same(start, prefix).then_some(rest)
}

/// Whether two texts of one length are the same. Most have up to 32 bytes, where two loads from either end, which may
/// overlap, are all that is compared; a call of `memcmp` takes longer than that.
#[inline]
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
    }
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0 => true,
        1 => a.first() == b.first(),
        2..4 => ends::<2>(a, b),
        4..8 => ends::<4>(a, b),
        8..=16 => ends::<8>(a, b),
        17..=32 => ends::<16>(a, b),
        _ => a == b,
    }
}

/// Time and value of the sample that `bytes` are, if they are one field of a series with a plain float and nothing
/// more. Encoders leave out a value of zero.
#[inline]
pub(super) fn only_sample(bytes: &[u8]) -> Option<(i64, f64)> {
    let ([key, length], sample) = bytes.split_first_chunk::<2>()?;
    if *key != KEY_2 || usize::from(*length) != sample.len() {
        return None;
    }
    let (value, rest) = match sample.strip_prefix(&[KEY_VALUE]) {
        Some(rest) => rest.split_first_chunk::<8>().map(|(bits, rest)| (f64::from_le_bytes(*bits), rest))?,
        None => (0.0, sample),
    };
    let timestamp = only_varint(rest.strip_prefix(&[KEY_TIMESTAMP])?)?;
    Some((timestamp.cast_signed(), value))
}

/// The number that `digits` are, up to eight bytes that all say something. Others are left to the decoder.
#[inline]
fn only_varint(digits: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    match (digits.len(), digits.first_chunk::<6>(), word.first_chunk_mut::<6>()) {
        // Times of this century in milliseconds.
        (6, Some(from), Some(to)) => *to = *from,
        (length, ..) => word.get_mut(..length)?.copy_from_slice(digits),
    }
    let (last, word) = (*digits.last()?, u64::from_le_bytes(word));
    let goes_on = word & 0x8080_8080_8080_8080;
    // All but the last byte go on, and the last one is not idle.
    let is_whole = goes_on == 0x8080_8080_8080_8080 & !(u64::MAX << (8 * digits.len() - 8)) && last != 0;
    // Groups of seven bits move together: in pairs, in fours, in one.
    let bits = word & 0x7f7f_7f7f_7f7f_7f7f;
    let bits = (bits & 0x007f_007f_007f_007f) | (bits & 0x7f00_7f00_7f00_7f00) >> 1;
    let bits = (bits & 0x0000_3fff_0000_3fff) | (bits & 0x3fff_0000_3fff_0000) >> 2;
    is_whole.then_some((bits & 0x0fff_ffff) | (bits & 0x0fff_ffff_0000_0000) >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_are_what_encoders_write(number: u64, shift in 0u32..64, damage in prop::option::of((0usize..10, any::<u8>()))) {
            let mut digits = Vec::new();
            prost::encoding::encode_varint(number >> shift, &mut digits);
            if let Some((at, byte)) = damage {
                let at = at % digits.len();
                digits.get_mut(at).into_iter().for_each(|digit| *digit = byte);
            }
            let mut rest = digits.as_slice();
            let decoded = prost::encoding::decode_varint(&mut rest).ok().filter(|_| rest.is_empty());
            let mut shortest = Vec::new();
            if let Some(number) = decoded {
                prost::encoding::encode_varint(number, &mut shortest);
            }
            let want = decoded.filter(|_| shortest == digits && digits.len() <= 8 && *digits != [0]);
            prop_assert_eq!(only_varint(&digits), want);
        }
    }

    #[test]
    fn no_digits_are_no_varint() {
        assert_eq!((only_varint(&[]), only_varint(&[0x80; 9]), only_varint(&[5])), (None, None, Some(5)));
    }
}
