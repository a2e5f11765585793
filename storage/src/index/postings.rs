//! Label pairs to the series that carry them, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use model::{LabelsRef, Matcher};
use roaring::RoaringBitmap;

use super::pairs::{self, Fault, IdSet, Pairs};
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

    fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::One(id)) => self.insert(id),
            (Self::Many(many), Self::Many(other)) => **many |= *other,
            (Self::One(one), Self::Many(mut other)) => {
                other.insert(*one);
                *self = Self::Many(other);
            }
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

    fn as_set(&self) -> IdSet<'_> {
        match self {
            Self::One(one) => IdSet::One(*one),
            Self::Many(many) => IdSet::Many(many),
        }
    }
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

    /// Adds the series of another, which are none of these.
    pub fn join(&mut self, other: Self) {
        if self.all.is_empty() {
            *self = other;
            return;
        }
        self.all |= other.all;
        for (name, values) in other.names {
            let Some(known) = self.names.get_mut(&name) else {
                self.names.insert(name, values);
                continue;
            };
            for (value, ids) in values {
                match known.get_mut(&value) {
                    Some(known) => known.join(ids),
                    None => drop(known.insert(value, ids)),
                }
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
        // What is in memory can be read.
        pairs::select(self, matchers).unwrap_or_default()
    }
}

impl Pairs for Postings {
    fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    fn names(&self) -> impl Iterator<Item = Result<&str, Fault>> {
        self.names.keys().map(|name| Ok(&**name))
    }

    fn values<'a>(
        &'a self,
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = Result<(&'a str, IdSet<'a>), Fault>> + use<'a> {
        let values = self.names.get(name);
        let values = values.map(|values| values.range::<str, _>((Bound::Included(from), Bound::Unbounded)));
        values.into_iter().flatten().map(|(value, ids)| Ok((&**value, ids.as_set())))
    }

    fn pair(&self, name: &str, value: &str) -> Result<Option<IdSet<'_>>, Fault> {
        Ok(self.names.get(name).and_then(|values| values.get(value)).map(Ids::as_set))
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
            let among: Vec<String> = values.into_iter().map(str::to_owned).collect();
            prop_assert_eq!(pairs::values_among(&postings, "l", &got), Ok(among));
            let carry = |set: &RoaringBitmap, value: &str| {
                let carries = |at: &usize| set.contains(id(*at).0) && sets[*at].get("l") == Some(value);
                (0..sets.len()).filter(carries).count() as u64
            };
            let (mut counted, mut wanted) = (Vec::new(), Vec::new());
            pairs::each_value(&postings, "l", [&got, postings.all()], |value, counts| {
                counted.push(counts);
                wanted.push([carry(&got, value), carry(postings.all(), value)]);
            }).expect("readable");
            prop_assert_eq!(counted, wanted);
        }
    }
}
