//! The pairs of a label set as bytes, for comparing them with bytes from outside that nobody checked to be text.

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
        let (name, rest) = split_text(self.0)?;
        let (value, rest) = split_text(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// The text at the start of `packed`, and what follows.
#[inline]
fn split_text(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = packed.split_first()?;
    if first < 64 { rest.split_at_checked(usize::from(first)) } else { split_long(first, rest) }
}

/// A text of 64 bytes or more, the first digit of whose length is `first`.
fn split_long(first: u8, mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = usize::from(first & 63);
    // A length has at most four digits.
    for shift in [6, 12, 18] {
        let (&digit, after) = rest.split_first()?;
        length |= usize::from(digit & 63) << shift;
        rest = after;
        if digit < 64 {
            break;
        }
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
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
    fn the_longest_texts_are_read() {
        for length in [63, 64, 4095, 4096, 262_143, 262_144, (1 << 24) - 1] {
            let set = Labels::from_pairs([("a", "x".repeat(length))]).expect("valid");
            let found: Vec<_> = set.as_ref().byte_pairs().map(|(name, value)| (name, value.len())).collect();
            assert_eq!(found, [(b"a".as_slice(), length)]);
        }
    }
}
