//! Reads a block. Header, footer and directories are checked when it is opened, columns and chunks when they are read.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::source::HISTOGRAM_WEIGHT;
use model::{ReadCost, Samples, TimeRange};

use super::directory::{ChunkEntry, ColumnEntry, Directory, SeriesCursor, SeriesEntry};
use super::layout::{
    COLUMN_DIRECTORY, COLUMN_INDEX, Days, Footer, LayoutError, SECTION_NAMES, SERIES_DIRECTORY, SERIES_INDEX, VERSION,
    decode_header,
};
use super::overlay::Mark;
use super::{BlockError, BlockSummary, ColumnCache, Fault, check_crc, chunk as coding};
use crate::codec::histogram_column;
use crate::codec::times::{self, TimeCoding};
use crate::damage::Damage;
use crate::files::{FileBytes, Files};

/// An open block.
#[derive(Debug)]
pub struct BlockReader {
    path: PathBuf,
    file: Box<dyn FileBytes>,
    footer: Footer,
    days: Days,
    cache: Arc<ColumnCache>,
    cache_key: u64,
}

/// What a block holds of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesInfo {
    /// The series.
    pub id: u64,
    /// From its first sample to its last.
    pub bounds: TimeRange,
    /// Its samples.
    pub samples: u64,
    /// Its chunks.
    pub chunks: u64,
    /// Bytes of its chunks, without timestamps.
    pub bytes: u64,
}

/// A chunk's part of its column, found in the directories.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) samples: Range<usize>,
    pub(super) bounds: TimeRange,
}

impl BlockReader {
    /// Opens the block at `path` and checks everything but columns and chunks. Columns it decodes go through `cache`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no block, comes from a newer version, or its directories are damaged.
    pub fn open(files: &dyn Files, path: &Path, cache: Arc<ColumnCache>) -> Result<Self, BlockError> {
        let file = files.map(path)?;
        let layout_error = |error| match error {
            LayoutError::Fault(fault) => BlockError::Damaged(fault.in_file(path)),
            LayoutError::Version(found) => BlockError::Version { path: path.to_owned(), found, supported: VERSION },
        };
        let days = decode_header(file.bytes()).map_err(layout_error)?;
        let footer = Footer::decode(file.bytes()).map_err(layout_error)?;
        let cache_key = cache.block_key();
        let reader = Self { path: path.to_owned(), file, footer, days, cache, cache_key };
        for (section, name) in footer.sections.iter().zip(SECTION_NAMES) {
            let bytes = reader.bytes(section.offset, section.bytes, name);
            bytes
                .and_then(|bytes| check_crc(name, section.offset, bytes, section.crc))
                .map_err(|fault| reader.damaged(fault))?;
        }
        Ok(reader)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file, also when it was unlinked since.
    pub(crate) fn file_bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// What the block holds.
    pub fn summary(&self) -> BlockSummary {
        self.footer.summary(self.days)
    }

    /// The series ascending by id, from `from_id` on. Ends after an error.
    pub fn series_from(&self, from_id: u64) -> SeriesIter<'_> {
        let cursor = Some(self.series_directory().seek(from_id));
        SeriesIter { reader: self, cursor, from_id, entry: SeriesEntry::default() }
    }

    /// All series ascending by id.
    pub fn series(&self) -> SeriesIter<'_> {
        self.series_from(0)
    }

    /// What the block holds of series `id`, or `None`.
    ///
    /// # Errors
    ///
    /// When a directory is malformed.
    pub fn series_info(&self, id: u64) -> Result<Option<SeriesInfo>, BlockError> {
        match self.find(id).map_err(|fault| self.damaged(fault))? {
            Some(entry) => self.info(&entry).map(Some),
            None => Ok(None),
        }
    }

    /// Appends to `into` from when to when each chunk of series `id` reaches, and its samples, weighed.
    ///
    /// # Errors
    ///
    /// When a directory is malformed.
    pub fn extents(&self, id: u64, into: &mut Vec<(TimeRange, u64)>) -> Result<(), BlockError> {
        let Some(entry) = self.find(id).map_err(|fault| self.damaged(fault))? else { return Ok(()) };
        for chunk in &entry.chunks {
            let placed = self.place(chunk).map_err(|fault| self.damaged(fault))?;
            let weight = if chunk.coding_tag == histogram_column::TAG { HISTOGRAM_WEIGHT } else { 1 };
            into.push((placed.bounds, placed.samples.len() as u64 * weight));
        }
        Ok(())
    }

    /// Appends the samples of series `id` inside `range` to `into`, ascending and unique. A series that is not in the
    /// block has none.
    ///
    /// # Errors
    ///
    /// When a chunk or its column is damaged: the first damage found. `into` then has what could be read of the others.
    pub fn read(&self, id: u64, range: TimeRange, into: &mut Samples) -> Result<ReadCost, BlockError> {
        let mut first: Option<Damage> = None;
        let cost = self.read_around(id, range, into, &mut |damage| first = first.take().or(Some(damage)))?;
        first.map_or(Ok(cost), |damage| Err(BlockError::Damaged(damage)))
    }

    /// As [`read`](Self::read), but leaves damaged chunks out, telling `told` of each and counting it in the cost.
    ///
    /// # Errors
    ///
    /// When the directory is malformed.
    pub fn read_around(
        &self,
        id: u64,
        range: TimeRange,
        into: &mut Samples,
        told: &mut dyn FnMut(Damage),
    ) -> Result<ReadCost, BlockError> {
        match self.find(id).map_err(|fault| self.damaged(fault))? {
            Some(entry) => self.read_sound(&entry, range, into, &mut |damage| {
                told(damage);
                Ok(())
            }),
            None => Ok(ReadCost::default()),
        }
    }

    /// Appends the samples of a series inside `range` to `into`. What a damaged chunk means is for `damaged` to say.
    pub(super) fn read_sound(
        &self,
        entry: &SeriesEntry,
        range: TimeRange,
        into: &mut Samples,
        damaged: &mut dyn FnMut(Damage) -> Result<(), BlockError>,
    ) -> Result<ReadCost, BlockError> {
        let mut cost = ReadCost::default();
        for chunk in &entry.chunks {
            let before = Mark::of(into);
            if let Err(fault) = self.read_chunk(chunk, range, into, &mut cost) {
                before.restore(into);
                cost.chunks_lost += 1;
                damaged(fault.in_file(&self.path))?;
            }
        }
        Ok(cost)
    }

    /// What the footer says.
    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The series of the block in order, undecoded.
    pub(super) fn entries(&self) -> SeriesCursor<'_> {
        self.series_directory().seek(0)
    }

    /// Appends the samples of a chunk inside `range` to `into`; after a failure `into` may have some more.
    pub(super) fn read_chunk(
        &self,
        chunk: &ChunkEntry,
        range: TimeRange,
        into: &mut Samples,
        cost: &mut ReadCost,
    ) -> Result<(), Fault> {
        let cached = self.cache.get(self.cache_key, chunk.column);
        let column = if let Some(column) = cached {
            column
        } else {
            let entry = self.column_directory().column(chunk.column)?;
            if !place(chunk, &entry)?.bounds.overlaps(range) {
                return Ok(());
            }
            cost.bytes += entry.bytes;
            let column = self.decode_column(&entry)?;
            self.cache.insert(self.cache_key, chunk.column, column.clone());
            column
        };
        let times = match chunk.slice {
            None => &*column,
            Some(slice) => column
                .get(slice.first..)
                .and_then(|tail| tail.get(..slice.count))
                .ok_or_else(|| outside_column(chunk))?,
        };
        let wanted = range_of(times, range);
        if wanted.is_empty() {
            return Ok(());
        }
        let encoded = self.bytes(chunk.offset, chunk.bytes, "chunk")?;
        check_crc("chunk", chunk.offset, encoded, chunk.crc)?;
        let count = times.len() as u64;
        coding::decode(chunk.coding_tag, encoded, times, wanted, into)
            .map_err(|error| Fault::new("chunk", chunk.offset, chunk.bytes, error.to_string()))?;
        cost.chunks += 1;
        cost.bytes += chunk.bytes;
        cost.samples += count;
        Ok(())
    }

    /// Column `number`, from the cache or decoded.
    pub(super) fn column(&self, number: u64, cost: &mut ReadCost) -> Result<Arc<[i64]>, Fault> {
        if let Some(column) = self.cache.get(self.cache_key, number) {
            return Ok(column);
        }
        let entry = self.column_directory().column(number)?;
        cost.bytes += entry.bytes;
        let column = self.decode_column(&entry)?;
        self.cache.insert(self.cache_key, number, column.clone());
        Ok(column)
    }

    /// Checks and decodes a column.
    pub(super) fn decode_column(&self, entry: &ColumnEntry) -> Result<Arc<[i64]>, Fault> {
        let fault = |detail: String| Fault::new("column", entry.offset, entry.bytes, detail);
        let encoded = self.bytes(entry.offset, entry.bytes, "column")?;
        check_crc("column", entry.offset, encoded, entry.crc)?;
        let mut times = Vec::new();
        TimeCoding::from_tag(entry.tag)
            .and_then(|coding| times::decode(coding, encoded, entry.count, &mut times))
            .map_err(|error| fault(error.to_string()))?;
        let bounds = (times.first().copied(), times.last().copied());
        if bounds != (Some(entry.min_ms), Some(entry.max_ms)) || !times.is_sorted_by(|a, b| a < b) {
            return Err(fault("timestamps contradict the directory".to_owned()));
        }
        Ok(times.into())
    }

    /// The entry of series `id`.
    pub(super) fn find(&self, id: u64) -> Result<Option<SeriesEntry>, Fault> {
        let mut entry = SeriesEntry::default();
        let mut cursor = self.series_directory().seek(id);
        while cursor.next_into(&mut entry)? && entry.id <= id {
            if entry.id == id {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn info(&self, entry: &SeriesEntry) -> Result<SeriesInfo, BlockError> {
        let mut info = SeriesInfo {
            id: entry.id,
            bounds: TimeRange::new(i64::MAX, i64::MIN),
            samples: 0,
            chunks: entry.chunks.len() as u64,
            bytes: 0,
        };
        for chunk in &entry.chunks {
            let placed = self.place(chunk).map_err(|fault| self.damaged(fault))?;
            info.bounds.start = info.bounds.start.min(placed.bounds.start);
            info.bounds.end = info.bounds.end.max(placed.bounds.end);
            info.samples += placed.samples.len() as u64;
            info.bytes += chunk.bytes;
        }
        Ok(info)
    }

    pub(super) fn place(&self, chunk: &ChunkEntry) -> Result<Placed, Fault> {
        place(chunk, &self.column_directory().column(chunk.column)?)
    }

    /// Bytes of the file, which are there unless an offset is damaged.
    pub(super) fn bytes(&self, offset: u64, bytes: u64, section: &'static str) -> Result<&[u8], Fault> {
        let range =
            usize::try_from(offset).ok().zip(offset.checked_add(bytes).and_then(|end| usize::try_from(end).ok()));
        range
            .and_then(|(start, end)| self.file.bytes().get(start..end))
            .ok_or_else(|| Fault::new(section, offset, bytes, "it lies beyond the end of the file"))
    }

    fn section(&self, which: usize) -> (&[u8], u64) {
        let section = self.footer.sections.get(which).copied().unwrap_or_default();
        (self.bytes(section.offset, section.bytes, "").unwrap_or_default(), section.offset)
    }

    pub(super) fn column_directory(&self) -> Directory<'_> {
        let (entries, offset) = self.section(COLUMN_DIRECTORY);
        Directory { entries, index: self.section(COLUMN_INDEX).0, count: self.footer.columns, offset }
    }

    pub(super) fn series_directory(&self) -> Directory<'_> {
        let (entries, offset) = self.section(SERIES_DIRECTORY);
        Directory { entries, index: self.section(SERIES_INDEX).0, count: self.footer.series, offset }
    }

    pub(super) fn damaged(&self, fault: Fault) -> BlockError {
        BlockError::Damaged(fault.in_file(&self.path))
    }
}

impl Drop for BlockReader {
    fn drop(&mut self) {
        self.cache.forget(self.cache_key);
    }
}

fn outside_column(chunk: &ChunkEntry) -> Fault {
    Fault::new("series directory", chunk.offset, chunk.bytes, "a chunk's slice lies outside of its column")
}

/// Where in its column a chunk lies.
pub(super) fn place(chunk: &ChunkEntry, column: &ColumnEntry) -> Result<Placed, Fault> {
    let Some(slice) = chunk.slice else {
        return Ok(Placed { samples: 0..column.count, bounds: TimeRange::new(column.min_ms, column.max_ms) });
    };
    if slice.count == 0 || slice.first + slice.count > column.count {
        return Err(outside_column(chunk));
    }
    let start = column.min_ms.wrapping_add_unsigned(slice.after_min_ms);
    let end = column.max_ms.wrapping_sub_unsigned(slice.before_max_ms);
    Ok(Placed { samples: slice.first..slice.first + slice.count, bounds: TimeRange::new(start, end) })
}

/// The part of ascending `times` inside `range`.
fn range_of(times: &[i64], range: TimeRange) -> Range<usize> {
    let start = times.partition_point(|&time| time < range.start.0);
    let end = times.partition_point(|&time| time <= range.end.0);
    start..end.max(start)
}

/// The series of a block, ascending by id.
#[derive(Debug)]
pub struct SeriesIter<'a> {
    reader: &'a BlockReader,
    /// `None` after the end or an error.
    cursor: Option<SeriesCursor<'a>>,
    from_id: u64,
    entry: SeriesEntry,
}

impl Iterator for SeriesIter<'_> {
    type Item = Result<SeriesInfo, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let item = match self.cursor.as_mut()?.next_into(&mut self.entry) {
                Ok(true) if self.entry.id < self.from_id => continue,
                Ok(true) => Some(self.reader.info(&self.entry)),
                Ok(false) => None,
                Err(fault) => Some(Err(self.reader.damaged(fault))),
            };
            if !matches!(item, Some(Ok(_))) {
                self.cursor = None;
            }
            return item;
        }
    }
}
