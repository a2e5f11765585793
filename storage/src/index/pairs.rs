//! Label pairs and the series that carry them, however they are kept: in memory ([`Postings`](super::Postings)) or in a file.
//!
//! Owns what is asked of either: matchers to sets of series, names and values among some series, and all pairs of several
//! such stores as one. How pairs are kept and found is each store's own.
#![warn(clippy::indexing_slicing)]

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
    Stored(&'a [u8]),
}

impl IdSet<'_> {
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

    /// How many of them are in each of `sets`.
    pub(super) fn lens_in<const N: usize>(&self, sets: [&RoaringBitmap; N]) -> Result<[u64; N], Fault> {
        Ok(match self {
            Self::One(one) => sets.map(|set| u64::from(set.contains(*one))),
            Self::Many(many) => sets.map(|set| many.intersection_len(set)),
            Self::Stored(bytes) => {
                let stored = read_ids(bytes)?;
                sets.map(|set| stored.intersection_len(set))
            }
        })
    }

    pub(super) fn len(&self) -> Result<u64, Fault> {
        Ok(match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
            Self::Stored(bytes) => read_ids(bytes)?.len(),
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
    fn values<'a>(
        &'a self,
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = Result<(&'a str, IdSet<'a>), Fault>> + use<'a, Self>;

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
        visit(value, of.lens_in(sets)?);
    }
    Ok(())
}

/// The label names, ascending, each with its number of values.
pub(super) fn name_sizes(pairs: &impl Pairs) -> Result<Vec<(String, u64)>, Fault> {
    let size = |name: &str| Ok((name.to_owned(), pairs.values(name, "").count() as u64));
    pairs.names().map(|name| size(name?)).collect()
}

type Boxed<'a, T> = Box<dyn Iterator<Item = Result<T, Fault>> + 'a>;

/// [`Pairs`] whose kind is not known.
pub(super) trait BoxedPairs {
    fn boxed_names(&self) -> Boxed<'_, &str>;
    fn boxed_values<'a>(&'a self, name: &str) -> Boxed<'a, (&'a str, IdSet<'a>)>;
}

impl<P: Pairs> BoxedPairs for P {
    fn boxed_names(&self) -> Boxed<'_, &str> {
        Box::new(self.names())
    }

    fn boxed_values<'a>(&'a self, name: &str) -> Boxed<'a, (&'a str, IdSet<'a>)> {
        Box::new(self.values(name, ""))
    }
}

/// Calls `visit` with each pair of any of `parts`, by name and value, and with all its series that are not `gone`, if there
/// is any.
pub(super) fn merged<E: From<Fault>>(
    parts: &[&dyn BoxedPairs],
    gone: &RoaringBitmap,
    visit: &mut dyn FnMut(&str, &str, IdSet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut names = Vec::new();
    for part in parts {
        names.extend(part.boxed_names().collect::<Result<Vec<&str>, Fault>>()?);
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        merged_values(parts, gone, name, &mut |value, ids| visit(name, value, ids))?;
    }
    Ok(())
}

/// Calls `visit` with each value that `name` has in any of `parts`, ascending, and with all its series that are not `gone`, if
/// there is any.
pub(super) fn merged_values<E: From<Fault>>(
    parts: &[&dyn BoxedPairs],
    gone: &RoaringBitmap,
    name: &str,
    visit: &mut dyn FnMut(&str, IdSet<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut values: Vec<_> = parts.iter().map(|part| part.boxed_values(name)).collect();
    let mut heads = Vec::with_capacity(values.len());
    for values in &mut values {
        heads.push(values.next().transpose()?);
    }
    while let Some(value) = heads.iter().flatten().map(|(value, _)| *value).min() {
        let mut found: Option<IdSet<'_>> = None;
        let mut all: Option<RoaringBitmap> = None;
        for (head, values) in heads.iter_mut().zip(&mut values) {
            let Some((_, ids)) = head.take_if(|(of, _)| *of == value) else { continue };
            *head = values.next().transpose()?;
            match (&mut all, found) {
                (Some(all), _) => ids.add_to(all)?,
                (None, None) => found = Some(ids),
                (None, Some(before)) => {
                    let all = all.insert(RoaringBitmap::new());
                    before.add_to(all)?;
                    ids.add_to(all)?;
                }
            }
        }
        // Most values are one series' own, or none was removed: then nothing is copied.
        let mut all = match (all, found) {
            (None, Some(IdSet::One(one))) if gone.contains(one) => continue,
            (None, Some(found)) if gone.is_empty() || matches!(found, IdSet::One(_)) => {
                visit(value, found)?;
                continue;
            }
            (None, Some(found)) => {
                let mut all = RoaringBitmap::new();
                found.add_to(&mut all)?;
                all
            }
            (all, _) => all.unwrap_or_default(),
        };
        all -= gone;
        if !all.is_empty() {
            visit(value, IdSet::Many(&all))?;
        }
    }
    Ok(())
}
