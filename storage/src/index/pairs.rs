//! Label pairs and the series that carry them, however they are kept: in memory ([`Postings`](super::Postings)) or in a file.
//!
//! Owns what is asked of either: matchers to sets of series, names and values among some series, and all pairs of several
//! such stores as one. How pairs are kept and found is each store's own.
#![warn(clippy::indexing_slicing)]

use std::borrow::Cow;

use model::Matcher;
use roaring::RoaringBitmap;

/// Bytes that are not what they should be; nothing in memory is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

/// The series of one label pair.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdSet<'a> {
    /// A single one, as most pairs have: an id, a pod, an address.
    One(u32),
    /// In memory.
    Many(&'a RoaringBitmap),
    /// In the portable format.
    #[expect(dead_code, reason = "what files have, which are to come")]
    Stored(&'a [u8]),
}

impl<'a> IdSet<'a> {
    pub(super) fn add_to(&self, set: &mut RoaringBitmap) -> Result<(), Fault> {
        match self {
            Self::One(one) => drop(set.insert(*one)),
            Self::Many(many) => *set |= *many,
            Self::Stored(bytes) => *set |= read_ids(bytes)?,
        }
        Ok(())
    }

    fn overlaps(&self, ids: &RoaringBitmap) -> Result<bool, Fault> {
        Ok(match self {
            Self::One(one) => ids.contains(*one),
            Self::Many(many) => !many.is_disjoint(ids),
            Self::Stored(bytes) => !read_ids(bytes)?.is_disjoint(ids),
        })
    }

    pub(super) fn len_in(&self, ids: &RoaringBitmap) -> Result<u64, Fault> {
        Ok(match self {
            Self::One(one) => u64::from(ids.contains(*one)),
            Self::Many(many) => many.intersection_len(ids),
            Self::Stored(bytes) => read_ids(bytes)?.intersection_len(ids),
        })
    }

    pub(super) fn to_bitmap(self) -> Result<Cow<'a, RoaringBitmap>, Fault> {
        Ok(match self {
            Self::One(one) => Cow::Owned(RoaringBitmap::from_iter([one])),
            Self::Many(many) => Cow::Borrowed(many),
            Self::Stored(bytes) => Cow::Owned(read_ids(bytes)?),
        })
    }
}

pub(super) fn read_ids(bytes: &[u8]) -> Result<RoaringBitmap, Fault> {
    RoaringBitmap::deserialize_from(bytes).map_err(|_| Fault("a set of series"))
}

/// A store of label pairs. Names and values ascend.
pub(super) trait Pairs {
    /// All series.
    fn all(&self) -> &RoaringBitmap;

    /// The label names.
    fn names(&self) -> impl Iterator<Item = Result<&str, Fault>>;

    /// The values of `name` from `from` on, each with its series.
    fn values<'a>(&'a self, name: &str, from: &str) -> impl Iterator<Item = Result<(&'a str, IdSet<'a>), Fault>>;

    /// The series with one pair.
    fn pair(&self, name: &str, value: &str) -> Result<Option<IdSet<'_>>, Fault>;
}

/// The series that fulfil all `matchers`.
pub(super) fn select(pairs: &impl Pairs, matchers: &[Matcher]) -> Result<RoaringBitmap, Fault> {
    // A matcher that refuses the empty text selects series that have the label; the others take series away.
    let mut chosen: Vec<RoaringBitmap> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
        let set = with_value(pairs, matcher, true)?;
        if set.is_empty() {
            return Ok(set);
        }
        chosen.push(set);
    }
    chosen.sort_by_key(RoaringBitmap::len);
    let mut chosen = chosen.into_iter();
    let mut ids = chosen.next().unwrap_or_else(|| pairs.all().clone());
    chosen.for_each(|set| ids &= set);
    for matcher in matchers.iter().filter(|matcher| matcher.matches_empty()) {
        if ids.is_empty() {
            break;
        }
        ids -= with_value(pairs, matcher, false)?;
    }
    Ok(ids)
}

/// The series that have the matcher's label with a value that it accepts (`wanted`) or refuses (not `wanted`).
fn with_value(pairs: &impl Pairs, matcher: &Matcher, wanted: bool) -> Result<RoaringBitmap, Fault> {
    let mut set = RoaringBitmap::new();
    let name = matcher.name();
    // The listed values are the wanted ones for `=` and `=~`, the others for `!=` and `!~`.
    if let Some(listed) = matcher.one_of().filter(|_| wanted != matcher.is_negative()) {
        for value in listed {
            pairs.pair(name, value.as_str())?.map_or(Ok(()), |ids| ids.add_to(&mut set))?;
        }
        return Ok(set);
    }
    // `!~` with a prefix refuses only values that have it.
    let prefix = if wanted == matcher.is_negative() { "" } else { matcher.prefix() };
    for found in pairs.values(name, prefix) {
        let (value, ids) = found?;
        if !value.starts_with(prefix) {
            break;
        }
        if matcher.matches(value) == wanted {
            ids.add_to(&mut set)?;
        }
    }
    Ok(set)
}

/// The label names among `ids`, ascending.
pub(super) fn names_among(pairs: &impl Pairs, ids: &RoaringBitmap) -> Result<Vec<String>, Fault> {
    let all = pairs.all().is_subset(ids);
    let mut names = Vec::new();
    for name in pairs.names() {
        let name = name?;
        let mut among = all;
        let mut values = pairs.values(name, "");
        while !among && let Some(found) = values.next() {
            among = found?.1.overlaps(ids)?;
        }
        if among {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The values of `name` among `ids`, ascending.
pub(super) fn values_among(pairs: &impl Pairs, name: &str, ids: &RoaringBitmap) -> Result<Vec<String>, Fault> {
    let all = pairs.all().is_subset(ids);
    let mut among = Vec::new();
    for found in pairs.values(name, "") {
        let (value, of) = found?;
        if all || of.overlaps(ids)? {
            among.push(value.to_owned());
        }
    }
    Ok(among)
}

/// Calls `visit` with each value of `name`, ascending, and the number of series in each of `sets` that carry it.
pub(super) fn each_value<const N: usize>(
    pairs: &impl Pairs,
    name: &str,
    sets: [&RoaringBitmap; N],
    mut visit: impl FnMut(&str, [u64; N]),
) -> Result<(), Fault> {
    for found in pairs.values(name, "") {
        let (value, of) = found?;
        let mut counts = [0; N];
        for (count, set) in counts.iter_mut().zip(sets) {
            *count = of.len_in(set)?;
        }
        visit(value, counts);
    }
    Ok(())
}

/// The label names, ascending, each with its number of values.
pub(super) fn name_sizes(pairs: &impl Pairs) -> Result<Vec<(String, u64)>, Fault> {
    let size = |name: &str| Ok((name.to_owned(), pairs.values(name, "").count() as u64));
    pairs.names().map(|name| size(name?)).collect()
}
