//! The directories of a block: what there is and where, in a few bytes for each column and chunk.
//!
//! Entries are coded against the one before, so they come in groups that can each be read from their start; the
//! indexes say where groups start. `docs/format.md` has the bytes.

use super::Fault;
use super::layout::{
    COLUMN_DIRECTORY, COLUMN_GROUP, COLUMN_INDEX_BYTES, SECTION_NAMES, SERIES_DIRECTORY, SERIES_GROUP,
    SERIES_INDEX_BYTES, u32_at, u64_at,
};
use crate::codec::CHUNK_SAMPLES_MAX;
use crate::codec::varint::{push_i64, push_u64, take_i64, take_u64, take_usize};

/// Bits of a chunk's tag; the low five are the value coding's.
const CODING_BITS: u8 = 0x1f;
const OTHER_COLUMN_BIT: u8 = 0x20;
const SLICE_BIT: u8 = 0x40;
const GAP_BIT: u8 = 0x80;

/// One timestamp column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnEntry {
    pub(super) tag: u8,
    pub(super) count: usize,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// The part of a column that belongs to a chunk, if it is not the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) first: usize,
    pub(super) count: usize,
    /// First timestamp less the column's smallest.
    pub(super) after_min_ms: u64,
    /// The column's largest less the last timestamp.
    pub(super) before_max_ms: u64,
}

/// One value chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkEntry {
    pub(super) coding_tag: u8,
    pub(super) column: u64,
    pub(super) slice: Option<Slice>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// One series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeriesEntry {
    pub(super) id: u64,
    pub(super) chunks: Vec<ChunkEntry>,
}

/// Grows the column directory and its index.
#[derive(Debug, Default)]
pub(super) struct ColumnDirectoryWriter {
    pub(super) directory: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) count: u64,
    previous_min_ms: i64,
    previous_end: u64,
}

impl ColumnDirectoryWriter {
    pub(super) fn push(&mut self, entry: &ColumnEntry) {
        if self.count.is_multiple_of(COLUMN_GROUP) {
            self.index.extend_from_slice(&(self.directory.len() as u64).to_le_bytes());
            self.previous_min_ms = 0;
            self.previous_end = 0;
        }
        let out = &mut self.directory;
        out.push(entry.tag);
        push_u64(out, entry.count as u64);
        push_i64(out, entry.min_ms.wrapping_sub(self.previous_min_ms));
        push_u64(out, entry.max_ms.wrapping_sub(entry.min_ms).cast_unsigned());
        push_u64(out, entry.offset - self.previous_end);
        push_u64(out, entry.bytes);
        out.extend_from_slice(&entry.crc.to_le_bytes());
        self.previous_min_ms = entry.min_ms;
        self.previous_end = entry.offset + entry.bytes;
        self.count += 1;
    }
}

/// Grows the series directory and its index.
#[derive(Debug, Default)]
pub(super) struct SeriesDirectoryWriter {
    pub(super) directory: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) count: u64,
    previous_id: u64,
    previous_first_column: u64,
    previous_end: u64,
}

impl SeriesDirectoryWriter {
    /// Appends a series with at least one chunk, its id above the one before.
    pub(super) fn push(&mut self, entry: &SeriesEntry) {
        let Some(first) = entry.chunks.first() else { return };
        if self.count.is_multiple_of(SERIES_GROUP) {
            self.index.extend_from_slice(&entry.id.to_le_bytes());
            self.index.extend_from_slice(&(self.directory.len() as u64).to_le_bytes());
            push_u64(&mut self.directory, first.offset);
            self.previous_id = entry.id;
            self.previous_first_column = 0;
            self.previous_end = first.offset;
        }
        push_u64(&mut self.directory, entry.id - self.previous_id);
        push_u64(&mut self.directory, entry.chunks.len() as u64);
        let mut expected = self.previous_first_column;
        for chunk in &entry.chunks {
            self.push_chunk(chunk, expected);
            expected = chunk.column.wrapping_add(1);
        }
        self.previous_id = entry.id;
        self.previous_first_column = first.column;
        self.count += 1;
    }

    fn push_chunk(&mut self, chunk: &ChunkEntry, expected_column: u64) {
        let out = &mut self.directory;
        let gap = chunk.offset - self.previous_end;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            (chunk.coding_tag & CODING_BITS)
                | bit(chunk.column != expected_column, OTHER_COLUMN_BIT)
                | bit(chunk.slice.is_some(), SLICE_BIT)
                | bit(gap > 0, GAP_BIT),
        );
        if gap > 0 {
            push_u64(out, gap);
        }
        if chunk.column != expected_column {
            push_i64(out, chunk.column.wrapping_sub(expected_column).cast_signed());
        }
        if let Some(slice) = chunk.slice {
            push_u64(out, slice.first as u64);
            push_u64(out, slice.count as u64);
            push_u64(out, slice.after_min_ms);
            push_u64(out, slice.before_max_ms);
        }
        push_u64(out, chunk.bytes);
        out.extend_from_slice(&chunk.crc.to_le_bytes());
        self.previous_end = chunk.offset + chunk.bytes;
    }
}

/// A directory with its index, as they lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    pub(super) entries: &'a [u8],
    pub(super) index: &'a [u8],
    /// Entries in all.
    pub(super) count: u64,
    /// Where the directory starts in the file, for errors.
    pub(super) offset: u64,
}

impl<'a> Directory<'a> {
    fn fault(&self, kind: usize, rest: &[u8], detail: &str) -> Fault {
        let section = SECTION_NAMES.get(kind).copied().unwrap_or_default();
        let at = self.offset + (self.entries.len() - rest.len()) as u64;
        Fault::new(section, at, rest.len() as u64, detail)
    }

    /// The bytes of the directory from the start of group `group`, whose index entry ends with their offset.
    fn group(&self, group: u64, index_bytes: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(group.checked_add(1)?.checked_mul(index_bytes)?).ok()?.checked_sub(8)?;
        self.entries.get(usize::try_from(u64_at(self.index, at)?).ok()?..)
    }

    /// Column `number`.
    pub(super) fn column(&self, number: u64) -> Result<ColumnEntry, Fault> {
        let kind = COLUMN_DIRECTORY;
        if number >= self.count {
            return Err(self.fault(kind, &[], &format!("no column {number}, there are {}", self.count)));
        }
        let rest = self.group(number / COLUMN_GROUP, COLUMN_INDEX_BYTES);
        let mut rest = rest.ok_or_else(|| self.fault(kind, &[], "a group starts beyond the end"))?;
        let mut entry = ColumnEntry { tag: 0, count: 0, min_ms: 0, max_ms: 0, offset: 0, bytes: 0, crc: 0 };
        for _ in 0..=number % COLUMN_GROUP {
            let start = rest;
            entry = take_column(&mut rest, &entry).ok_or_else(|| self.fault(kind, start, "malformed entry"))?;
        }
        Ok(entry)
    }

    /// A cursor before all series whose id is at least `id`, and before fewer than a group of others.
    pub(super) fn seek(&self, id: u64) -> SeriesCursor<'a> {
        let first_id = |group: u64| u64_at(self.index, usize::try_from(group * SERIES_INDEX_BYTES).ok()?);
        // How many groups start at or before the id.
        let (mut low, mut high) = (0, self.count.div_ceil(SERIES_GROUP));
        while low < high {
            let middle = low.midpoint(high);
            if first_id(middle).is_some_and(|first| first <= id) { low = middle + 1 } else { high = middle }
        }
        let next = low.saturating_sub(1) * SERIES_GROUP;
        SeriesCursor { directory: *self, rest: &[], next, id: 0, first_column: 0, end: 0 }
    }
}

fn take_column(rest: &mut &[u8], previous: &ColumnEntry) -> Option<ColumnEntry> {
    let (&tag, after_tag) = rest.split_first()?;
    *rest = after_tag;
    let count = take_usize(rest, CHUNK_SAMPLES_MAX).filter(|&count| count > 0)?;
    let min_ms = previous.min_ms.wrapping_add(take_i64(rest)?);
    let max_ms = min_ms.wrapping_add(take_u64(rest)?.cast_signed());
    let offset = previous.offset.checked_add(previous.bytes)?.checked_add(take_u64(rest)?)?;
    let bytes = take_u64(rest)?;
    let crc = take_crc(rest)?;
    Some(ColumnEntry { tag, count, min_ms, max_ms, offset, bytes, crc })
}

fn take_crc(rest: &mut &[u8]) -> Option<u32> {
    let crc = u32_at(rest, 0)?;
    *rest = rest.get(4..)?;
    Some(crc)
}

/// Walks the series directory in order.
#[derive(Debug, Clone)]
pub(super) struct SeriesCursor<'a> {
    directory: Directory<'a>,
    rest: &'a [u8],
    /// Number of the series that comes next.
    next: u64,
    id: u64,
    first_column: u64,
    end: u64,
}

impl SeriesCursor<'_> {
    /// Reads the next series into `entry`; false at the end.
    pub(super) fn next_into(&mut self, entry: &mut SeriesEntry) -> Result<bool, Fault> {
        if self.next >= self.directory.count {
            return Ok(false);
        }
        let start = self.rest;
        if self.take(entry).is_none() {
            let fault = self.directory.fault(SERIES_DIRECTORY, start, "malformed entry");
            self.next = u64::MAX;
            return Err(fault);
        }
        self.next += 1;
        Ok(true)
    }

    fn take(&mut self, entry: &mut SeriesEntry) -> Option<()> {
        let first_of_group = self.next.is_multiple_of(SERIES_GROUP);
        if first_of_group {
            let group = self.next / SERIES_GROUP;
            self.rest = self.directory.group(group, SERIES_INDEX_BYTES)?;
            self.end = take_u64(&mut self.rest)?;
            let first_id = u64_at(self.directory.index, usize::try_from(group * SERIES_INDEX_BYTES).ok()?)?;
            // Ids ascend across groups too.
            if self.next > 0 && self.id > 0 && first_id <= self.id {
                return None;
            }
            self.id = first_id;
            self.first_column = 0;
        }
        let step = take_u64(&mut self.rest)?;
        if (step == 0) != first_of_group {
            return None;
        }
        entry.id = self.id.checked_add(step)?;
        entry.chunks.clear();
        let chunks = take_u64(&mut self.rest)?;
        if chunks == 0 {
            return None;
        }
        let mut expected = self.first_column;
        for _ in 0..chunks {
            let chunk = self.take_chunk(expected)?;
            expected = chunk.column.wrapping_add(1);
            entry.chunks.push(chunk);
        }
        self.id = entry.id;
        self.first_column = entry.chunks.first()?.column;
        Some(())
    }

    fn take_chunk(&mut self, expected_column: u64) -> Option<ChunkEntry> {
        let (&tag, after_tag) = self.rest.split_first()?;
        self.rest = after_tag;
        let rest = &mut self.rest;
        let gap = if tag & GAP_BIT != 0 { take_u64(rest)? } else { 0 };
        let other = if tag & OTHER_COLUMN_BIT != 0 { take_i64(rest)? } else { 0 };
        let slice = if tag & SLICE_BIT != 0 {
            Some(Slice {
                first: take_usize(rest, CHUNK_SAMPLES_MAX)?,
                count: take_usize(rest, CHUNK_SAMPLES_MAX)?,
                after_min_ms: take_u64(rest)?,
                before_max_ms: take_u64(rest)?,
            })
        } else {
            None
        };
        let offset = self.end.checked_add(gap)?;
        let bytes = take_u64(rest)?;
        let crc = take_crc(rest)?;
        self.end = offset.checked_add(bytes)?;
        let column = expected_column.wrapping_add_signed(other);
        Some(ChunkEntry { coding_tag: tag & CODING_BITS, column, slice, offset, bytes, crc })
    }
}
