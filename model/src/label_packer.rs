//! Packs pairs that come sorted, as remote write senders send them, in one pass.
//!
//! The fast way beside [`LabelsBuilder`](crate::LabelsBuilder): bytes go straight into the packed form, and one
//! check over the whole says whether they are UTF-8. Anything out of the ordinary is only said to be so; the
//! builder then finds what it is.

use crate::label_bytes::push_length;
use crate::labels::{LabelLimits, LabelsRef, SET_BYTES_MAX, TEXT_BYTES_MAX};

/// Packs sorted pairs. Reusable: clearing keeps the memory.
#[derive(Debug, Default, Clone)]
pub struct SortedPacker {
    packed: Vec<u8>,
    labels: usize,
    /// Where the last name is in `packed`.
    name_start: usize,
    name_end: usize,
}

impl SortedPacker {
    /// An empty packer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all pairs, keeps the memory.
    pub fn clear(&mut self) {
        *self = Self { packed: std::mem::take(&mut self.packed), ..Self::default() };
        self.packed.clear();
    }

    /// Adds a pair. False, and the pair left out, when a text is empty or too long, the name is not after the last
    /// one, or the set is too long without it.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8], limits: &LabelLimits) -> bool {
        let name_fits = name.len() <= limits.name_bytes_max.min(TEXT_BYTES_MAX);
        let value_fits = value.len() <= limits.value_bytes_max.min(TEXT_BYTES_MAX);
        // No name is before the empty one, which the first name is compared with.
        let is_next = name > &self.packed[self.name_start..self.name_end];
        // What is too long already grows no further, however many pairs come.
        let set_fits = self.packed.len() <= limits.set_bytes_max.min(SET_BYTES_MAX);
        if !is_next || value.is_empty() || !name_fits || !value_fits || !set_fits {
            return false;
        }
        push_length(name.len(), |digit| self.packed.push(digit));
        self.name_start = self.packed.len();
        self.packed.extend_from_slice(name);
        self.name_end = self.packed.len();
        push_length(value.len(), |digit| self.packed.push(digit));
        self.packed.extend_from_slice(value);
        self.labels += 1;
        true
    }

    /// The set, or nothing when a text is not UTF-8 or the set passes a limit.
    pub fn packed(&self, limits: &LabelLimits) -> Option<LabelsRef<'_>> {
        if self.labels > limits.labels_max || self.packed.len() > limits.set_bytes_max.min(SET_BYTES_MAX) {
            return None;
        }
        // Lengths are ASCII, so that the whole is UTF-8 when and only when every text is.
        std::str::from_utf8(&self.packed).ok().map(LabelsRef::trusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LabelsBuilder;
    use proptest::prelude::*;

    /// The packer's set, or nothing when it was not sure.
    fn pack(pairs: &[(Vec<u8>, Vec<u8>)], limits: &LabelLimits) -> Option<String> {
        let mut packer = SortedPacker::new();
        packer.push(b"left over", b"from before", &LabelLimits::default());
        packer.clear();
        let all_taken = pairs.iter().all(|(name, value)| packer.push(name, value, limits));
        if all_taken { packer.packed(limits).map(|set| set.packed().to_owned()) } else { None }
    }

    fn build(pairs: &[(Vec<u8>, Vec<u8>)], limits: &LabelLimits) -> Option<String> {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.push(std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
        }
        builder.pack(limits).ok().map(|set| set.packed().to_owned())
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_the_builder() {
        let limits = LabelLimits { labels_max: 2, name_bytes_max: 3, value_bytes_max: 4, set_bytes_max: 14 };
        let check = |pairs: &[(&str, &[u8])], want: bool| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
            assert_eq!(pack(&pairs, &limits).is_some(), want, "{pairs:?}");
        };
        check(&[], true);
        check(&[("abc", b"1234"), ("b", b"12")], true);
        check(&[("abc", b"1234"), ("b", b"123")], false);
        check(&[("a", b"1"), ("b", b"1"), ("c", b"1")], false);
        check(&[("abcd", b"1")], false);
        check(&[("a", b"12345")], false);
        check(&[("", b"1")], false);
        check(&[("a", b"")], false);
        check(&[("b", b"1"), ("a", b"1")], false);
        check(&[("a", b"1"), ("a", b"1")], false);
        check(&[("a", b"\xc3"), ("b", b"\xa9")], false);
    }

    #[test]
    fn a_set_that_is_too_long_stops_growing() {
        let limits = LabelLimits { set_bytes_max: 100, ..LabelLimits::default() };
        let mut packer = SortedPacker::new();
        let names: Vec<String> = (0..1000).map(|at| format!("{at:04}")).collect();
        assert!(!names.iter().all(|name| packer.push(name.as_bytes(), &[b'x'; 50], &limits)));
        assert!(packer.packed.len() <= 200, "{} bytes", packer.packed.len());
    }

    proptest! {
        #[test]
        fn sorted_pairs_pack_as_the_builder_packs_them(
            pairs in prop::collection::btree_map("\\PC{1,80}", "\\PC{1,200}", 0..8),
        ) {
            let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            let limits = LabelLimits::default();
            let packed = pack(&pairs, &limits);
            prop_assert!(packed.is_some());
            prop_assert_eq!(packed, build(&pairs, &limits));
        }

        #[test]
        fn any_bytes_pack_as_the_builder_packs_them_or_not_at_all(
            pairs in prop::collection::vec(
                (prop::collection::vec(b'a'..b'd', 0..3), prop::collection::vec(any::<u8>(), 0..3)), 0..4),
        ) {
            let limits = LabelLimits::default();
            if let Some(packed) = pack(&pairs, &limits) {
                prop_assert_eq!(Some(packed), build(&pairs, &limits));
            }
        }
    }
}
