//! Writes an index file, section by section, with little in memory.

use std::path::{Path, PathBuf};

use model::Labels;
use roaring::RoaringBitmap;

use super::super::Postings;
use super::super::pairs::{BoxedPairs, Fault, IdSet, merged};
use super::file::page_of;
use super::layout::{self, PageRow, SECTIONS, Section, Stamp, TextRow};
use crate::catalog::label_page;
use crate::files::{FileError, Files, WriteFile, beside, folder_of};
use crate::ids::SeriesId;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// Why a file cannot be written.
#[derive(Debug)]
pub(super) enum WriteError {
    File(FileError),
    /// What it is made of is damaged.
    Fault(Fault),
}

impl From<FileError> for WriteError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A file under another name until it is whole.
#[derive(Debug)]
pub(super) struct IndexWriter<'a> {
    files: &'a dyn Files,
    path: &'a Path,
    beside: PathBuf,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
    stamp: Stamp,
    lengths: [(u64, crc32fast::Hasher); SECTIONS],
}

impl<'a> IndexWriter<'a> {
    pub(super) fn create(files: &'a dyn Files, path: &'a Path, stamp: Stamp) -> Result<Self, FileError> {
        let beside = beside(path);
        let file = files.create(&beside)?;
        let buffer = layout::header(stamp);
        Ok(Self { files, path, beside, file, buffer, stamp, lengths: Default::default() })
    }

    /// Appends to a section; sections come in their order. Says where in the section the bytes begin.
    fn push(&mut self, section: Section, bytes: &[u8]) -> Result<u64, FileError> {
        let (length, crc) = &mut self.lengths[section as usize];
        let at = *length;
        *length += bytes.len() as u64;
        crc.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.file.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(at)
    }

    /// Writes label pages, which ascend.
    pub(super) fn pages<B: AsRef<[u8]>>(
        &mut self,
        pages: impl Iterator<Item = Result<(u32, B), Fault>>,
    ) -> Result<(), WriteError> {
        let mut rows = Vec::new();
        for page in pages {
            let (number, bytes) = page?;
            let at = self.push(Section::Labels, bytes.as_ref())?;
            PageRow { number, crc: crc32fast::hash(bytes.as_ref()), at }.push(&mut rows);
        }
        self.push(Section::Pages, &rows)?;
        Ok(())
    }

    /// Writes hashes with their ids.
    pub(super) fn hashes(&mut self, mut hashes: Vec<(u32, u32)>) -> Result<(), FileError> {
        hashes.sort_unstable();
        hashes.dedup();
        for (hash, id) in hashes {
            self.push(Section::Hashes, &(u64::from(id) << 32 | u64::from(hash)).to_le_bytes())?;
        }
        Ok(())
    }

    /// Writes the ids.
    pub(super) fn ids(&mut self, ids: &RoaringBitmap) -> Result<(), FileError> {
        self.push(Section::Ids, &portable(ids)).map(drop)
    }

    /// Writes the label pairs of `parts`, without the series `gone`.
    pub(super) fn pairs(&mut self, parts: &[&dyn BoxedPairs], gone: &RoaringBitmap) -> Result<(), WriteError> {
        let (mut names, mut rows) = (Vec::new(), Vec::new());
        let mut name: Option<(String, u32)> = None;
        merged(parts, gone, &mut |of, value, ids| {
            if name.as_ref().is_none_or(|(known, _)| known != of) {
                self.end_name(name.take(), &mut rows, &mut names)?;
                name = Some((of.to_owned(), 0));
            }
            if let Some((_, values)) = &mut name {
                *values += 1;
            }
            let at = self.push(Section::Values, value.as_bytes())?;
            let (of_at, of) = match ids {
                IdSet::One(one) => (u64::from(one), 0),
                IdSet::Many(many) if many.len() == 1 => (u64::from(many.min().unwrap_or(0)), 0),
                IdSet::Many(many) => self.push_ids(&portable(many))?,
                IdSet::Stored(bytes) => self.push_ids(bytes)?,
            };
            TextRow { at, of_at, bytes: length(value.as_bytes())?, of }.push(&mut rows);
            Ok::<(), WriteError>(())
        })?;
        self.end_name(name, &mut rows, &mut names)?;
        self.push(Section::Names, &names)?;
        Ok(())
    }

    fn push_ids(&mut self, bytes: &[u8]) -> Result<(u64, u32), WriteError> {
        Ok((self.push(Section::Values, bytes)?, length(bytes)?))
    }

    /// Writes the rows of a name's values, and its own into `names`.
    fn end_name(
        &mut self,
        name: Option<(String, u32)>,
        rows: &mut Vec<u8>,
        names: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let Some((name, of)) = name else { return Ok(()) };
        let of_at = self.push(Section::Values, rows)?;
        rows.clear();
        let at = self.push(Section::Values, name.as_bytes())?;
        TextRow { at, of_at, bytes: length(name.as_bytes())?, of }.push(names);
        Ok(())
    }

    /// Makes the file last under its name.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        let sections = std::mem::take(&mut self.lengths).map(|(length, crc)| (length, crc.finalize()));
        let footer = layout::footer(&layout::header(self.stamp), &sections);
        self.buffer.extend_from_slice(&footer);
        self.file.append(&self.buffer)?;
        self.file.sync_data()?;
        self.files.rename(&self.beside, self.path)?;
        self.files.sync_dir(folder_of(self.path))
    }
}

fn portable(ids: &RoaringBitmap) -> Vec<u8> {
    let mut ids = ids.clone();
    ids.optimize();
    let mut bytes = Vec::with_capacity(ids.serialized_size());
    ids.serialize_into(&mut bytes).expect("memory takes all");
    bytes
}

fn length(bytes: &[u8]) -> Result<u32, Fault> {
    u32::try_from(bytes.len()).map_err(|_| Fault("a text is too long"))
}

/// Writes a file of `series`, which ascend by id.
pub(super) fn write_rows(
    files: &dyn Files,
    path: &Path,
    stamp: Stamp,
    series: &[(SeriesId, Labels)],
) -> Result<(), WriteError> {
    let mut writer = IndexWriter::create(files, path, stamp)?;
    let pages = series.chunk_by(|a, b| page_of(a.0) == page_of(b.0)).map(|rows| {
        let coded = label_page::encode(rows.iter().map(|(id, labels)| (id.0.to_le_bytes()[0], labels.as_ref())));
        Ok((rows.first().map_or(0, |(id, _)| page_of(*id)), coded))
    });
    writer.pages(pages)?;
    writer.hashes(series.iter().map(|(id, labels)| (layout::hash(stamp.lineage, labels.packed()), id.0)).collect())?;
    writer.ids(&series.iter().map(|(id, _)| id.0).collect())?;
    let mut postings = Postings::default();
    for (id, labels) in series {
        postings.insert(*id, labels.as_ref());
    }
    writer.pairs(&[&postings], &RoaringBitmap::new())?;
    writer.finish()?;
    Ok(())
}
