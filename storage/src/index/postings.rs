//! Label pairs to the series that carry them, and matchers to sets of series.

use std::collections::BTreeMap;
use std::ops::Bound;

use model::{LabelsRef, Matcher};
use roaring::RoaringBitmap;

use crate::ids::SeriesId;

/// Which series carry which label pair.
#[derive(Debug, Default)]
pub struct Postings {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Ids>>,
    all: RoaringBitmap,
}

/// The series of one label pair. Most pairs have one: an id, a pod, an address.
#[derive(Debug, Clone)]
enum Ids {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Ids {
    fn insert(&mut self, id: u32) {
        match self {
            Self::One(one) if *one == id => {}
            Self::One(one) => *self = Self::Many(Box::new([*one, id].into_iter().collect())),
            Self::Many(many) => drop(many.insert(id)),
        }
    }

    /// Removes `id`; says whether none is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(many) => {
                many.remove(id);
                many.is_empty()
            }
        }
    }

    fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::One(one) => drop(set.insert(*one)),
            Self::Many(many) => *set |= &**many,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    fn overlaps(&self, ids: &RoaringBitmap) -> bool {
        match self {
            Self::One(one) => ids.contains(*one),
            Self::Many(many) => !many.is_disjoint(ids),
        }
    }
}

/// One label name with what it takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameUse<'a> {
    /// The name.
    pub name: &'a str,
    /// Number of values.
    pub values: u64,
    /// Bytes of all values' text.
    pub value_bytes: u64,
}

impl Postings {
    /// Adds a series.
    pub fn insert(&mut self, id: SeriesId, labels: LabelsRef<'_>) {
        self.all.insert(id.0);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.insert(id.0);
            } else {
                values.insert(value.into(), Ids::One(id.0));
            }
        }
    }

    /// Removes a series; `labels` are those it was added with.
    pub fn remove(&mut self, id: SeriesId, labels: LabelsRef<'_>) {
        self.all.remove(id.0);
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|ids| ids.remove(id.0)) {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// All series.
    pub fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The series that fulfil all `matchers`.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        // A matcher that refuses the empty text selects series that have the label; the others take series away.
        let mut chosen: Vec<RoaringBitmap> = Vec::new();
        for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
            let set = self.with_value(matcher, true);
            if set.is_empty() {
                return set;
            }
            chosen.push(set);
        }
        chosen.sort_by_key(RoaringBitmap::len);
        let mut chosen = chosen.into_iter();
        let mut ids = chosen.next().unwrap_or_else(|| self.all.clone());
        chosen.for_each(|set| ids &= set);
        for matcher in matchers.iter().filter(|matcher| matcher.matches_empty()) {
            if ids.is_empty() {
                break;
            }
            ids -= self.with_value(matcher, false);
        }
        ids
    }

    /// The series that have the matcher's label with a value that it accepts (`wanted`) or refuses (not `wanted`).
    fn with_value(&self, matcher: &Matcher, wanted: bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let Some(values) = self.names.get(matcher.name()) else { return set };
        match matcher.one_of() {
            // The listed values are the wanted ones for `=` and `=~`, the others for `!=` and `!~`.
            Some(listed) if wanted != matcher.is_negative() => {
                listed.iter().filter_map(|value| values.get(value.as_str())).for_each(|ids| ids.add_to(&mut set));
            }
            _ if wanted && !matcher.is_negative() && !matcher.prefix().is_empty() => {
                let prefix = matcher.prefix();
                values
                    .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                    .take_while(|(value, _)| value.starts_with(prefix))
                    .filter(|(value, _)| matcher.matches(value))
                    .for_each(|(_, ids)| ids.add_to(&mut set));
            }
            // `!~` with a prefix refuses only values that have it.
            _ if !wanted && matcher.is_negative() && !matcher.prefix().is_empty() => {
                let prefix = matcher.prefix();
                values
                    .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                    .take_while(|(value, _)| value.starts_with(prefix))
                    .filter(|(value, _)| !matcher.matches(value))
                    .for_each(|(_, ids)| ids.add_to(&mut set));
            }
            _ => {
                values
                    .iter()
                    .filter(|(value, _)| matcher.matches(value) == wanted)
                    .for_each(|(_, ids)| ids.add_to(&mut set));
            }
        }
        set
    }

    /// The label names among `ids`, sorted.
    pub fn names_among(&self, ids: &RoaringBitmap) -> Vec<String> {
        let among = |values: &BTreeMap<Box<str>, Ids>| values.values().any(|of| of.overlaps(ids));
        self.names.iter().filter(|(_, values)| among(values)).map(|(name, _)| name.to_string()).collect()
    }

    /// The values of `name` among `ids`, sorted.
    pub fn values_among(&self, name: &str, ids: &RoaringBitmap) -> Vec<String> {
        let values = self.names.get(name).into_iter().flatten();
        values.filter(|(_, of)| of.overlaps(ids)).map(|(value, _)| value.to_string()).collect()
    }

    /// Every label name and what it takes up, by name.
    pub fn names(&self) -> impl Iterator<Item = NameUse<'_>> {
        self.names.iter().map(|(name, values)| NameUse {
            name,
            values: values.len() as u64,
            value_bytes: values.keys().map(|value| value.len() as u64).sum(),
        })
    }

    /// Every value of `name` and how many series carry it, by value.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (&**value, ids.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, MatchOp};
    use proptest::prelude::*;

    const VALUES: [&str; 6] = ["", "a", "ab", "abc", "b", "x\ny"];
    const PATTERNS: [&str; 12] = ["", "a", "ab.*", "a|b", ".*", ".+", "a.+", "b|", "(?i)AB", "x.y", "[ab]c?", "never"];

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let names = ["l", "m", "missing"];
        (0..names.len(), 0..ops.len(), 0..PATTERNS.len())
            .prop_map(move |(name, op, text)| Matcher::new(names[name], ops[op], PATTERNS[text]).expect("valid"))
    }

    proptest! {
        /// Whatever short cut is taken, the answer is that of asking every series.
        #[test]
        fn selects_what_fulfils_all_matchers(
            matchers in prop::collection::vec(any_matcher(), 0..4),
            series in prop::collection::vec((0..VALUES.len(), 0..VALUES.len()), 0..30),
            removed in prop::collection::vec(any::<bool>(), 30),
        ) {
            let mut postings = Postings::default();
            let sets: Vec<Labels> = series
                .iter()
                .map(|&(l, m)| Labels::from_pairs([("l", VALUES[l]), ("m", VALUES[m])]).expect("valid"))
                .collect();
            let id = |at: usize| SeriesId(u32::try_from(at * 3).expect("few"));
            for (at, labels) in sets.iter().enumerate() {
                postings.insert(id(at), labels.as_ref());
            }
            for (at, labels) in sets.iter().enumerate().filter(|&(at, _)| removed[at]) {
                postings.remove(id(at), labels.as_ref());
            }
            let fulfils = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
            let want: RoaringBitmap =
                (0..sets.len()).filter(|&at| !removed[at] && fulfils(&sets[at])).map(|at| id(at).0).collect();
            let got = postings.select(&matchers);
            prop_assert_eq!(&got, &want);
            let mut values: Vec<&str> = (0..sets.len())
                .filter(|&at| want.contains(id(at).0))
                .filter_map(|at| sets[at].get("l"))
                .collect();
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(postings.values_among("l", &got), values);
        }
    }
}
