//! Several label sets in one text, for whoever keeps many of them: each takes its bytes and where they end, no allocation of its
//! own.

use std::sync::Arc;

use crate::labels::{Labels, LabelsRef};

/// Label sets that are kept together, numbered in their order.
#[derive(Debug, Clone)]
pub struct LabelSets {
    text: Arc<str>,
    ends: Box<[u32]>,
}

impl LabelSets {
    /// The first of `sets`, as many as their texts fit 4 GiB; one always does.
    pub fn new(sets: &[LabelsRef<'_>]) -> Self {
        let mut end = 0_u32;
        let ends: Box<[u32]> = sets
            .iter()
            .map_while(|set| {
                end = end.checked_add(u32::try_from(set.packed().len()).ok()?)?;
                Some(end)
            })
            .collect();
        let mut text = String::with_capacity(ends.last().map_or(0, |&end| end as usize));
        sets.iter().take(ends.len()).for_each(|set| text.push_str(set.packed()));
        Self { text: text.into(), ends }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Set number `at`, if there are more.
    #[inline]
    pub fn get(&self, at: usize) -> Option<LabelsRef<'_>> {
        let (start, end) = self.span(at)?;
        self.text.get(start as usize..end as usize).map(LabelsRef::trusted)
    }

    /// As [`get`](Self::get), to be kept: it shares the text, which is freed when neither this nor any of its sets is there any
    /// more.
    pub fn share(&self, at: usize) -> Option<Labels> {
        let (start, end) = self.span(at)?;
        Some(Labels::of_shared(self.text.clone(), start, end))
    }

    #[inline]
    fn span(&self, at: usize) -> Option<(u32, u32)> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        /// Sets of one text are those that were put together, and equal, hash and order as sets that own theirs.
        #[test]
        fn sets_come_back(values in prop::collection::vec("[a-zö]{0,9}", 0..20)) {
            let owned: Vec<Labels> = values.iter().map(|value| Labels::from_pairs([("a", value)]).expect("valid")).collect();
            let refs: Vec<LabelsRef<'_>> = owned.iter().map(Labels::as_ref).collect();
            let sets = LabelSets::new(&refs);
            prop_assert_eq!((sets.len(), sets.is_empty()), (owned.len(), owned.is_empty()));
            let shared: Vec<Labels> = (0..sets.len()).map_while(|at| sets.share(at)).collect();
            prop_assert_eq!(&shared, &owned);
            for (at, of) in owned.iter().enumerate() {
                prop_assert_eq!(sets.get(at), Some(of.as_ref()));
                prop_assert_eq!(shared[at].cmp(&owned[0]), of.cmp(&owned[0]));
            }
            prop_assert!(sets.get(owned.len()).is_none() && sets.share(owned.len()).is_none());
            let known: HashSet<Labels> = owned.into_iter().collect();
            prop_assert!(shared.iter().all(|of| known.contains(of)));
        }
    }

    #[test]
    fn a_set_outlives_the_others() {
        let sets =
            LabelSets::new(&[Labels::empty().as_ref(), LabelsRef::from_packed("\u{1}a\u{1}b").expect("canonical")]);
        let kept = sets.share(1).expect("two");
        drop(sets);
        assert_eq!(kept.to_string(), "{a=\"b\"}");
    }
}
