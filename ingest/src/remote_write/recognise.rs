//! Recognises series by the bytes of their messages: are these the labels that a guess has?
//!
//! Nothing is decoded. Bytes that say the same in another way than encoders write it are not recognised, and go
//! through the decoder; so does whatever breaks a limit, which says why.

#![warn(clippy::indexing_slicing)]

use model::{LabelLimits, LabelsRef, METRIC_NAME};

/// The key of field 1 with a length: a label of a series, or a label's name.
const KEY_1: u8 = 0x0a;
/// The key of field 2 with a length: a label's value, or a sample of a series.
const KEY_2: u8 = 0x12;
/// The key of a sample's value, eight bytes.
const KEY_VALUE: u8 = 0x09;
/// The key of a sample's time, a varint.
const KEY_TIMESTAMP: u8 = 0x10;

/// How many bytes the label fields at the start of `series`, a message of version 1.0, take if they are `labels`, as
/// encoders write them and within `limits`, and no other comes next. Labels behind other fields are not seen.
#[inline]
pub(super) fn label_fields(series: &[u8], labels: LabelsRef<'_>, limits: &LabelLimits) -> Option<usize> {
    let mut check = SetCheck::new(labels, limits)?;
    let mut rest = series;
    for (name, value) in labels.byte_pairs() {
        check.take(name, value)?;
        rest = strip_label(rest, name, value)?;
    }
    let is_whole = check.is_series() && rest.first() != Some(&KEY_1);
    is_whole.then_some(series.len() - rest.len())
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
    let length = name.len() + value.len() + 2 + varint_bytes(name.len()) + varint_bytes(value.len());
    let rest = strip_key(bytes, KEY_1, length)?;
    let rest = strip(strip_key(rest, KEY_1, name.len())?, name)?;
    strip(strip_key(rest, KEY_2, value.len())?, value)
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
        1..4 => a.iter().eq(b),
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
    let mut timestamp = 0u64;
    let (last, digits) = rest.strip_prefix(&[KEY_TIMESTAMP])?.split_last()?;
    // A tenth byte and bytes that say nothing are left to the decoder.
    if digits.len() > 8 || *last == 0 || *last >= 0x80 {
        return None;
    }
    for (at, &digit) in digits.iter().enumerate() {
        if digit < 0x80 {
            return None;
        }
        timestamp |= u64::from(digit & 0x7f) << (7 * at);
    }
    timestamp |= u64::from(*last) << (7 * digits.len());
    Some((timestamp.cast_signed(), value))
}
