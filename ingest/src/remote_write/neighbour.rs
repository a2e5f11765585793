//! A series that the ones after it are compared with: those of one target have nearly all labels in common.
//!
//! Of a series that was recognised both forms are kept, its packed labels and its fields in the message. Where a guess
//! goes on with the same packed labels, the message must go on with the same fields, and both are compared as one run
//! of bytes, whatever number of labels that is. It says nothing that comparing label by label would not say.

#![warn(clippy::indexing_slicing)]

use std::ops::Range;

use model::{LabelsRef, METRIC_NAME};

/// Bytes of a series that are kept from one request to the next.
const KEPT_BYTES_MAX: usize = 1 << 12;
/// Labels of a series that are kept from one request to the next.
const KEPT_LABELS_MAX: usize = 64;

/// The labels of one series in both forms.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    packed: Vec<u8>,
    fields: Vec<u8>,
    /// Where each label begins, and where the last one ends.
    places: Vec<Place>,
    /// Which label is the metric's name.
    metric_at: usize,
}

/// A place between two labels.
#[derive(Debug, Clone, Copy)]
struct Place {
    packed: usize,
    fields: usize,
}

/// Labels in a row that a series has in common with its neighbour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'n> {
    pub(super) labels: usize,
    pub(super) has_metric: bool,
    pub(super) packed_bytes: usize,
    /// What a message has to say for them.
    pub(super) fields: &'n [u8],
    /// The label of the neighbour that follows.
    pub(super) end: usize,
}

impl Neighbour {
    /// Forgets the series, and gives back memory that a large one took.
    pub(super) fn clear(&mut self) {
        self.packed.clear();
        self.fields.clear();
        self.places.clear();
        self.packed.shrink_to(KEPT_BYTES_MAX);
        self.fields.shrink_to(KEPT_BYTES_MAX);
        self.places.shrink_to(KEPT_LABELS_MAX);
    }

    /// Takes `labels` and their `fields` as the series to compare with. `field_bytes` gives the length of the field of a
    /// name and a value.
    pub(super) fn replace(
        &mut self,
        labels: LabelsRef<'_>,
        fields: &[u8],
        field_bytes: impl Fn(&[u8], &[u8]) -> usize,
    ) {
        self.clear();
        self.packed.extend_from_slice(labels.packed().as_bytes());
        self.fields.extend_from_slice(fields);
        let mut place = Place { packed: 0, fields: 0 };
        let mut pairs = labels.byte_pairs();
        while let Some((name, value)) = pairs.next() {
            if name == METRIC_NAME.as_bytes() {
                self.metric_at = self.places.len();
            }
            self.places.push(place);
            let packed = self.packed.len() - pairs.packed().len();
            place = Place { packed, fields: place.fields + field_bytes(name, value) };
        }
        self.places.push(place);
        debug_assert_eq!(place.fields, fields.len(), "fields are of the labels");
    }

    /// The labels in common at the start of `packed`, the rest of a set, where the neighbour's label `expected` is the
    /// first one to compare with. Rests of one length are taken for the same labels.
    #[inline]
    pub(super) fn run(&self, expected: usize, packed: &[u8]) -> Option<Run<'_>> {
        let is_same_rest = |place: &Place| self.packed.len() - place.packed == packed.len();
        let start = if self.places.get(expected).is_some_and(is_same_rest) {
            expected
        } else {
            self.places.iter().position(is_same_rest).unwrap_or(expected)
        };
        let from = self.places.get(start)?;
        let rest = self.packed.get(from.packed..)?;
        // Mostly all of it is in common.
        let same = if rest == packed { rest.len() } else { common_prefix(rest, packed) };
        let end = if same == rest.len() {
            self.places.len() - 1
        } else {
            let behind = self.places.get(start + 1..)?;
            start + behind.iter().take_while(|place| place.packed <= from.packed + same).count()
        };
        self.between(start..end)
    }

    #[inline]
    fn between(&self, labels: Range<usize>) -> Option<Run<'_>> {
        let (from, to) = (self.places.get(labels.start)?, self.places.get(labels.end)?);
        let fields = self.fields.get(from.fields..to.fields)?;
        (!labels.is_empty()).then(|| Run {
            labels: labels.len(),
            has_metric: labels.contains(&self.metric_at),
            packed_bytes: to.packed - from.packed,
            fields,
            end: labels.end,
        })
    }
}

/// How many bytes both begin with.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 16;
    let len = a.len().min(b.len());
    let (a, b) = (a.get(..len).unwrap_or_default(), b.get(..len).unwrap_or_default());
    let first_change = |a: &[u8; WORD], b: &[u8; WORD]| {
        (u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b)).trailing_zeros() as usize / 8
    };
    for (at, (a, b)) in a.as_chunks::<WORD>().0.iter().zip(b.as_chunks::<WORD>().0).enumerate() {
        if a != b {
            return at * WORD + first_change(a, b);
        }
    }
    match (a.last_chunk::<WORD>(), b.last_chunk::<WORD>()) {
        // What these two share with the words before is the same.
        (Some(a), Some(b)) => len - WORD + first_change(a, b),
        _ => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefixes_are_as_long_as_they_are(
            shared in prop::collection::vec(any::<u8>(), 0..70),
            rests in (prop::collection::vec(0u8..2, 0..40), prop::collection::vec(0u8..2, 0..40)),
        ) {
            let (a, b) = ([&shared[..], &rests.0].concat(), [&shared[..], &rests.1].concat());
            prop_assert_eq!(common_prefix(&a, &b), a.iter().zip(&b).take_while(|(a, b)| a == b).count());
        }
    }
}
