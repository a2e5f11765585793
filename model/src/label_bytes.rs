//! The packed form of label sets, as bytes: the lengths in it, written and read, and its pairs.
//!
//! Pairs as bytes are for comparing them with bytes from outside that nobody checked to be text. What is a set, and its
//! pairs as texts, are `labels`'s.

#![warn(clippy::indexing_slicing)]

use crate::labels::LabelsRef;

/// Iterates over the pairs of a label set in name order, as bytes.
#[derive(Debug, Clone)]
pub struct LabelBytes<'a>(&'a [u8]);

impl<'a> LabelsRef<'a> {
    /// The pairs in name order, as bytes: cheaper than [`iter`](Self::iter), which cuts text.
    #[inline]
    pub fn byte_pairs(self) -> LabelBytes<'a> {
        LabelBytes(self.packed().as_bytes())
    }
}

impl<'a> LabelBytes<'a> {
    /// The pairs that are left, in the packed form.
    #[inline]
    pub fn packed(&self) -> &'a [u8] {
        self.0
    }

    /// Steps over the pairs that so many bytes of the packed form are; without whole pairs, what follows is none.
    #[inline]
    pub fn skip_bytes(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for LabelBytes<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (pair, rest) = split_pair(self.0)?;
        self.0 = rest;
        Some(pair)
    }
}

/// Name and value of a pair.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pair at the start of `packed`, and what follows.
#[inline]
pub(crate) fn split_pair(packed: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let (name, rest) = split_text(packed)?;
    let (value, rest) = split_text(rest)?;
    Some(((name, value), rest))
}

/// The text at the start of `packed`, and what follows.
#[inline]
fn split_text(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_length(packed)?;
    rest.split_at_checked(length)
}

/// The length at the start of `packed`, and what follows. Nothing at the end, or where there is none.
#[inline]
pub(crate) fn take_length(packed: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = packed.split_first()?;
    if first < 64 { Some((usize::from(first), rest)) } else { take_long(first, rest) }
}

/// A length of 64 or more, whose first digit is `first`. Four digits hold 16 MiB, far above any limit; more is damage, as
/// is what is not ASCII.
fn take_long(first: u8, mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let (mut length, mut digit) = (usize::from(first & 63), first);
    for shift in [6, 12, 18] {
        if digit >= 128 {
            return None;
        }
        (digit, rest) = rest.split_first().map(|(&next, after)| (next, after))?;
        length |= usize::from(digit & 63) << shift;
        if digit < 64 {
            return Some((length, rest));
        }
    }
    None
}

/// Gives the digits of a length in the packed form to `push`.
#[inline]
pub(crate) fn push_length(length: usize, mut push: impl FnMut(u8)) {
    let digit = |value: usize| u8::try_from(value & 63).expect("six bits fit a byte");
    let mut rest = length;
    while rest >= 64 {
        push(digit(rest) | 64);
        rest /= 64;
    }
    push(digit(rest));
}

/// How many digits a length takes.
pub(crate) fn length_bytes(mut length: usize) -> usize {
    let mut bytes = 1;
    while length >= 64 {
        length /= 64;
        bytes += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{length_bytes, push_length, take_length};
    use crate::Labels;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_those_of_the_texts(pairs in prop::collection::btree_map("\\PC{1,80}", "\\PC{1,200}", 0..8)) {
            let set = Labels::from_pairs(pairs.iter()).expect("map keys are unique");
            let texts: Vec<_> = set.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            prop_assert_eq!(set.as_ref().byte_pairs().collect::<Vec<_>>(), texts);
        }
    }

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for length in [0, 1, 63, 64, 4095, 4096, 262_143, 262_144, (1 << 24) - 1] {
            let mut digits = Vec::new();
            push_length(length, |digit| digits.push(digit));
            assert_eq!(digits.len(), length_bytes(length));
            let cut_short = |end| digits.get(..end).and_then(take_length);
            assert!((0..digits.len()).all(|end| cut_short(end).is_none()), "{length} cut short");
            digits.push(7);
            assert_eq!(take_length(&digits), Some((length, [7].as_slice())));
        }
        for damaged in [&[64][..], &[128, 0], &[64, 128, 0], &[64, 64, 64, 64, 0], &[200]] {
            assert_eq!(take_length(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn the_longest_texts_are_read() {
        for length in [63, 64, 4095, 4096, 262_143, 262_144, (1 << 24) - 1] {
            let set = Labels::from_pairs([("a", "x".repeat(length))]).expect("valid");
            let found: Vec<_> = set.as_ref().byte_pairs().map(|(name, value)| (name, value.len())).collect();
            assert_eq!(found, [(b"a".as_slice(), length)]);
        }
    }
}
