//! When index files become one: so that there are few to ask, and what was removed takes no space.
//!
//! A file belongs to a level by the number of its series, each level four times the one below. Four files of a level, or
//! lower ones, become one, until it has [`JOINED_SERIES_MAX`], or as many as there is memory for; a file of which a quarter was
//! removed is written anew; one whose series all are gone, or in later files too, goes. Only hashes and the rows of one label
//! name are held in memory for it: [`JOINING_BYTES`] a series.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::LabelsRef;
use roaring::RoaringBitmap;

use super::super::pairs::{BoxedPairs, Fault};
use super::file::PAGE_IDS;
use super::layout::Stamp;
use super::writer::{IndexWriter, WriteError};
use super::{Cold, ColdSet, MakeError, Part};
use crate::catalog::label_page;
use crate::files::Files;

/// Files that become one.
const FAN_IN: usize = 4;
/// Most files that become one at once.
const INPUTS_MAX: usize = 16;
/// Series of a file of the lowest level, at most.
const LEVEL_SERIES: u64 = 1 << 13;
/// Files are joined up to so many series.
const JOINED_SERIES_MAX: u64 = 1 << 20;
/// Memory that joining takes for each series, at most, in bytes: a row of a value of its own, which outweighs its hash.
pub const JOINING_BYTES: u64 = 32;
/// A file is written anew once so large a part of it, one in so many, was removed.
const GONE_SHARE: u64 = 4;

/// A label page with its number.
type CodedPage<'a> = (u32, Cow<'a, [u8]>);

/// What a file counts when it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    number: u64,
    series: u64,
    gone: u64,
    /// Those that exist and are in no later file.
    own: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Remove(Vec<u64>),
    Join(Vec<u64>),
}

fn level(series: u64) -> u32 {
    (series / LEVEL_SERIES).checked_ilog(FAN_IN as u64).map_or(0, |level| level + 1)
}

/// What is due next; `files` are in their order, and become one of at most `series_max`.
fn plan(files: &[Count], series_max: u64) -> Option<Plan> {
    let empty: Vec<u64> = files.iter().filter(|file| file.own == 0).map(|file| file.number).collect();
    if !empty.is_empty() {
        return Some(Plan::Remove(empty));
    }
    if let Some(thin) = files.iter().find(|file| file.gone * GONE_SHARE >= file.series) {
        return Some(Plan::Join(vec![thin.number]));
    }
    let highest = files.iter().map(|file| level(file.series)).max()?;
    (0..=highest).find_map(|at| {
        let mut series = 0;
        let small = files.iter().filter(|file| level(file.series) <= at);
        let fits = small.take(INPUTS_MAX).take_while(|file| {
            series += file.series;
            series <= series_max
        });
        let numbers: Vec<u64> = fits.map(|file| file.number).collect();
        (numbers.len() >= FAN_IN).then_some(Plan::Join(numbers))
    })
}

impl ColdSet {
    fn counts(&self) -> Vec<Count> {
        let mut later = RoaringBitmap::new();
        let mut counts: Vec<Count> = Vec::with_capacity(self.parts.len());
        for part in self.parts.iter().rev() {
            let ids = part.file.ids();
            let own = ids & &self.all;
            let count = Count {
                number: part.number,
                series: ids.len(),
                gone: ids.intersection_len(&self.gone),
                own: own.len() - own.intersection_len(&later),
            };
            later |= own;
            counts.push(count);
        }
        counts.reverse();
        counts
    }
}

impl Cold {
    /// Joins some files if that is due, in about `bytes_max` of memory; says whether it was. One file that is written anew
    /// takes what it takes.
    pub(in crate::index) fn join(&self, files: &dyn Files, bytes_max: u64) -> Result<bool, MakeError> {
        let now = self.now();
        match plan(&now.counts(), (bytes_max / JOINING_BYTES).min(JOINED_SERIES_MAX)) {
            None => Ok(false),
            Some(Plan::Remove(numbers)) => {
                self.remove_parts(files, &numbers, None);
                Ok(true)
            }
            Some(Plan::Join(numbers)) => {
                let inputs: Vec<Arc<Part>> =
                    now.parts.iter().filter(|part| numbers.contains(&part.number)).cloned().collect();
                // What is damaged is not to come in the place of what is not.
                for part in &inputs {
                    part.file.verify().map_err(|fault| MakeError::Damaged(self.note(part, fault)))?;
                }
                let joined = self.make(files, |path| write_joined(files, path, &inputs, &now.gone))?;
                self.remove_parts(files, &numbers, Some(joined));
                Ok(true)
            }
        }
    }
}

fn write_joined(
    files: &dyn Files,
    path: &std::path::Path,
    inputs: &[Arc<Part>],
    gone: &RoaringBitmap,
) -> Result<(), WriteError> {
    let lineage = inputs.first().map_or(0, |part| part.file.stamp().lineage);
    let commit = inputs.iter().map(|part| part.file.stamp().commit).max().unwrap_or(0);
    let mut writer = IndexWriter::create(files, path, Stamp { lineage, commit })?;
    let mut pages: BTreeMap<u32, Vec<&Part>> = BTreeMap::new();
    for part in inputs {
        part.file.pages().for_each(|number| pages.entry(number).or_default().push(part));
    }
    let pages = pages.into_iter();
    writer.pages(pages.filter_map(|(number, parts)| page_of_all(number, &parts, gone).transpose()))?;
    let hashes = inputs.iter().flat_map(|part| part.file.hashes()).filter(|(_, id)| !gone.contains(*id));
    writer.hashes(hashes.collect())?;
    let ids = inputs.iter().fold(RoaringBitmap::new(), |all, part| all | part.file.ids());
    writer.ids(&(ids - gone))?;
    let parts: Vec<&dyn BoxedPairs> = inputs.iter().map(|part| &part.file as &dyn BoxedPairs).collect();
    writer.pairs(&parts, gone)?;
    writer.finish()?;
    Ok(())
}

/// A label page of what `parts` have of it and is not `gone`; `None` if that is nothing.
fn page_of_all<'a>(number: u32, parts: &[&'a Part], gone: &RoaringBitmap) -> Result<Option<CodedPage<'a>>, Fault> {
    let first = number * PAGE_IDS;
    let last = first + (PAGE_IDS - 1);
    if let [part] = parts
        && gone.range_cardinality(first..=last) == 0
    {
        return Ok(part.file.page_bytes(number)?.map(|bytes| (number, Cow::Borrowed(bytes))));
    }
    let mut rows = BTreeMap::new();
    for part in parts {
        rows.extend(part.file.page_labels(number)?);
    }
    rows.retain(|slot, _| !gone.contains(first + u32::from(*slot)));
    let rows = || rows.iter().map(|(slot, labels)| (*slot, labels.as_ref()));
    let coded = |rows: &mut dyn Iterator<Item = (u8, LabelsRef<'_>)>| label_page::encode(rows.collect::<Vec<_>>());
    Ok((rows().next().is_some()).then(|| (number, Cow::Owned(coded(&mut rows())))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(u64, u64, u64)], want: Option<&Plan>) {
        let counts = (0..).zip(files).map(|(number, &(series, gone, own))| Count { number, series, gone, own });
        assert_eq!(plan(&counts.collect::<Vec<_>>(), JOINED_SERIES_MAX).as_ref(), want, "{files:?}");
    }

    #[test]
    fn little_memory_makes_smaller_files() {
        let files: Vec<Count> = (0..5).map(|number| Count { number, series: 1000, gone: 0, own: 1000 }).collect();
        assert_eq!(plan(&files, 5000), Some(Plan::Join(vec![0, 1, 2, 3, 4])));
        assert_eq!(plan(&files, 4999), Some(Plan::Join(vec![0, 1, 2, 3])));
        assert_eq!(plan(&files, 3999), None);
        let thin = Count { gone: 900, ..files[0] };
        assert_eq!(plan(&[thin], 1), Some(Plan::Join(vec![0])));
    }

    #[test]
    fn four_of_a_level_become_one() {
        let of = |series| (series, 0, series);
        check(&[], None);
        check(&[of(10), of(4000), of(8000)], None);
        check(&[of(10), of(90_000), of(8000), of(9), of(9)], Some(&Plan::Join(vec![0, 2, 3, 4])));
        check(&[of(90_000), of(8000), of(90_000), of(20_000)], Some(&Plan::Join(vec![0, 1, 2, 3])));
        check(&[of(1 << 20), of(1 << 20), of(1 << 20), of(1 << 20)], None);
        check(&[of(100), (100, 24, 76)], None);
        check(&[of(100), (100, 25, 75)], Some(&Plan::Join(vec![1])));
        check(&[(100, 0, 0), of(100), (100, 100, 0)], Some(&Plan::Remove(vec![0, 2])));
    }
}
