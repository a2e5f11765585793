//! An open index file: label sets to ids and back, label pairs to series, all read from the map when asked.
//!
//! Every checksum is compared when it is opened. Of what it has, only the set of its ids is kept in memory.
#![warn(clippy::indexing_slicing)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use model::{Labels, LabelsRef, Matcher};
use roaring::RoaringBitmap;

use super::super::pairs::{self, Fault, IdSet, Pairs, read_ids};
use super::layout::{self, PageRow, SECTIONS, Section, Stamp, TextRow};
use crate::catalog::label_page;
use crate::damage::Damage;
use crate::files::{FileBytes, FileError, Files};
use crate::ids::SeriesId;

/// A row of section [`Hashes`](Section::Hashes): hash and id.
const HASH_ROW_BYTES: usize = 8;

/// Ids of a label page.
pub(super) const PAGE_IDS: u32 = 1 << u8::BITS;

/// The number of the page of the last id there is.
const LAST_PAGE: u32 = u32::MAX / PAGE_IDS;

/// The labels of the series of one page, by their place in it.
pub type PageLabels = Vec<(u8, Labels)>;

/// An immutable file that finds some series.
#[derive(Debug)]
pub struct IndexFile {
    path: PathBuf,
    bytes: Box<dyn FileBytes>,
    stamp: Stamp,
    sections: [Range<usize>; SECTIONS],
    ids: RoaringBitmap,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub enum IndexFileError {
    /// The disk says no.
    File(FileError),
    /// It is not what was written.
    Damaged(Damage),
}

impl IndexFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Self, IndexFileError> {
        // What comparing checksums touches is not to count as this process's memory: it is mapped anew after it.
        let (stamp, sections, ids) = {
            let map = files.map(path).map_err(IndexFileError::File)?;
            checked(map.bytes()).map_err(|fault| IndexFileError::Damaged(in_file(path, fault)))?
        };
        let bytes = files.map(path).map_err(IndexFileError::File)?;
        let known = sections.last().is_some_and(|last| last.end + layout::FOOTER_BYTES == bytes.bytes().len());
        if !known {
            return Err(IndexFileError::Damaged(in_file(path, Fault("its length has changed"))));
        }
        Ok(Self { path: path.to_owned(), bytes, stamp, sections, ids })
    }

    /// Compares every checksum once more.
    pub(super) fn verify(&self) -> Result<(), Fault> {
        layout::read(self.bytes.bytes()).map(drop)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.bytes().len() as u64
    }

    /// Whose it is, and as of when.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Its series.
    pub fn ids(&self) -> &RoaringBitmap {
        &self.ids
    }

    /// The ids that may have `labels`; to be compared.
    pub(super) fn candidates(&self, labels: LabelsRef<'_>) -> impl Iterator<Item = SeriesId> + '_ {
        let wanted = layout::hash(self.stamp.lineage, labels.packed());
        let (rows, _) = self.section(Section::Hashes).as_chunks::<HASH_ROW_BYTES>();
        let read = |row: &[u8; HASH_ROW_BYTES]| {
            let [h0, h1, h2, h3, id @ ..] = *row;
            (u32::from_le_bytes([h0, h1, h2, h3]), u32::from_le_bytes(id))
        };
        let first = rows.partition_point(|row| read(row).0 < wanted);
        let rows = rows.get(first..).unwrap_or_default().iter();
        rows.map(read).take_while(move |(hash, _)| *hash == wanted).map(|(_, id)| SeriesId(id))
    }

    /// Whether series `id` is among those that may have `labels`.
    pub fn may_be(&self, labels: LabelsRef<'_>, id: SeriesId) -> bool {
        self.candidates(labels).any(|candidate| candidate == id)
    }

    /// All hashes with their ids.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (rows, _) = self.section(Section::Hashes).as_chunks::<HASH_ROW_BYTES>();
        rows.iter().map(|row| {
            let [h0, h1, h2, h3, id @ ..] = *row;
            (u32::from_le_bytes([h0, h1, h2, h3]), u32::from_le_bytes(id))
        })
    }

    /// The numbers of its label pages, ascending.
    pub fn pages(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.page_rows().iter().map(|row| PageRow::read(row).number)
    }

    /// The bytes of label page `number`, if it has series of it.
    pub(super) fn page_bytes(&self, number: u32) -> Result<Option<&[u8]>, Fault> {
        let rows = self.page_rows();
        let Ok(at) = rows.binary_search_by_key(&number, |row| PageRow::read(row).number) else { return Ok(None) };
        let fault = Fault("where a label page is");
        let row = PageRow::read(rows.get(at).ok_or(fault)?);
        let all = self.section(Section::Labels);
        let end = rows.get(at + 1).map_or(all.len() as u64, |next| PageRow::read(next).at);
        let bytes = slice(all, row.at, end.checked_sub(row.at).ok_or(fault)?).ok_or(fault)?;
        if crc32fast::hash(bytes) == row.crc { Ok(Some(bytes)) } else { Err(Fault("the checksum of a label page")) }
    }

    pub(super) fn page_labels(&self, number: u32) -> Result<PageLabels, Fault> {
        self.some_labels(number, |_| true)
    }

    /// The labels of its series in page `number` whose slots are `wanted`.
    pub(super) fn some_labels(&self, number: u32, wanted: impl Fn(u8) -> bool) -> Result<PageLabels, Fault> {
        let Some(bytes) = self.page_bytes(number)? else { return Ok(PageLabels::new()) };
        label_page::decode_some(bytes, wanted).map_err(|_| Fault("a label page"))
    }

    /// The labels of its series in page `number`.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn labels_of_page(&self, number: u32) -> Result<PageLabels, Damage> {
        self.page_labels(number).map_err(|fault| self.damage(fault))
    }

    /// The series of `labels`, if it has it.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn find(&self, labels: LabelsRef<'_>) -> Result<Option<SeriesId>, Damage> {
        for id in self.candidates(labels) {
            let rows = self.labels_of_page(page_of(id))?;
            let slot = id.0.to_le_bytes()[0];
            if rows.iter().any(|(of, known)| *of == slot && known.as_ref() == labels) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Its series that fulfil all `matchers`.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Damage> {
        pairs::select(self, matchers).map_err(|fault| self.damage(fault))
    }

    pub(super) fn damage(&self, fault: Fault) -> Damage {
        in_file(&self.path, fault)
    }

    fn section(&self, section: Section) -> &[u8] {
        let range = self.sections.get(section as usize).cloned();
        range.and_then(|range| self.bytes.bytes().get(range)).unwrap_or_default()
    }

    fn page_rows(&self) -> &[[u8; PageRow::BYTES]] {
        self.section(Section::Pages).as_chunks().0
    }

    /// The text of a row.
    fn text(&self, row: TextRow) -> Option<&[u8]> {
        slice(self.section(Section::Values), row.at, u64::from(row.bytes))
    }

    /// The rows of the values of `name`.
    fn value_rows(&self, name: &str) -> Result<&[[u8; TextRow::BYTES]], Fault> {
        let (names, _) = self.section(Section::Names).as_chunks();
        let at = names.partition_point(|row| self.text(TextRow::read(row)).is_some_and(|text| text < name.as_bytes()));
        let Some(row) = names.get(at).map(TextRow::read) else { return Ok(&[]) };
        if self.text(row) != Some(name.as_bytes()) {
            return Ok(&[]);
        }
        let bytes = u64::from(row.of) * TextRow::BYTES as u64;
        let rows =
            slice(self.section(Section::Values), row.of_at, bytes).ok_or(Fault("where the values of a name are"))?;
        Ok(rows.as_chunks().0)
    }

    fn value_of<'a>(&'a self, row: &[u8; TextRow::BYTES]) -> Result<(&'a str, IdSet<'a>), Fault> {
        let row = TextRow::read(row);
        let text = self.text(row).and_then(|text| std::str::from_utf8(text).ok()).ok_or(Fault("a value"))?;
        let ids = match row.of {
            0 => u32::try_from(row.of_at).ok().map(IdSet::One),
            bytes => slice(self.section(Section::Values), row.of_at, u64::from(bytes)).map(IdSet::Stored),
        };
        Ok((text, ids.ok_or(Fault("where a set of series is"))?))
    }

    /// The place of the first of `rows` whose text is not before `value`.
    fn first_from(&self, rows: &[[u8; TextRow::BYTES]], value: &str) -> usize {
        rows.partition_point(|row| self.text(TextRow::read(row)).is_some_and(|text| text < value.as_bytes()))
    }
}

impl Pairs for IndexFile {
    fn all(&self) -> &RoaringBitmap {
        &self.ids
    }

    fn names(&self) -> impl Iterator<Item = Result<&str, Fault>> {
        let (names, _) = self.section(Section::Names).as_chunks();
        names.iter().map(|row| {
            let text = self.text(TextRow::read(row)).and_then(|text| std::str::from_utf8(text).ok());
            text.ok_or(Fault("a name"))
        })
    }

    fn values<'a>(
        &'a self,
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = Result<(&'a str, IdSet<'a>), Fault>> + use<'a> {
        let (rows, fault) = match self.value_rows(name) {
            Ok(rows) => (rows.get(self.first_from(rows, from)..).unwrap_or_default(), None),
            Err(fault) => (Default::default(), Some(Err(fault))),
        };
        fault.into_iter().chain(rows.iter().map(|row| self.value_of(row)))
    }

    fn pair(&self, name: &str, value: &str) -> Result<Option<IdSet<'_>>, Fault> {
        let rows = self.value_rows(name)?;
        let Some(row) = rows.get(self.first_from(rows, value)) else { return Ok(None) };
        let (found, ids) = self.value_of(row)?;
        Ok((found == value).then_some(ids))
    }
}

/// The label page of a series.
pub(super) fn page_of(id: SeriesId) -> u32 {
    id.0 / PAGE_IDS
}

fn checked(bytes: &[u8]) -> Result<(Stamp, [Range<usize>; SECTIONS], RoaringBitmap), Fault> {
    let (stamp, sections) = layout::read(bytes)?;
    let of = |section: Section| sections.get(section as usize).cloned().and_then(|range| bytes.get(range));
    let (pages, _) = of(Section::Pages).unwrap_or_default().as_chunks();
    let numbers = || pages.iter().map(|row| PageRow::read(row).number);
    if !numbers().is_sorted_by(|a, b| a < b) || numbers().next_back().is_some_and(|last| last > LAST_PAGE) {
        return Err(Fault("the numbers of its label pages"));
    }
    let ids = read_ids(of(Section::Ids).unwrap_or_default())?;
    Ok((stamp, sections, ids))
}

fn in_file(path: &Path, Fault(detail): Fault) -> Damage {
    let detail = format!("index file: {detail}; it is made again from the catalog");
    Damage { file: path.to_owned(), offset: 0, bytes: 0, detail }
}

fn slice(bytes: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(usize::try_from(length).ok()?)?)
}
