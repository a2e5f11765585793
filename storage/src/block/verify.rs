//! Looks at every byte of a block and tells what is damaged.

use std::path::Path;
use std::sync::Arc;

use model::Samples;

use super::directory::{ChunkEntry, SeriesEntry};
use super::layout::HEADER_BYTES;
use super::{BlockError, BlockReader, BlockSummary, ColumnCache, Fault, check_crc, chunk as coding};
use crate::codec::CHUNK_SAMPLES_MAX;
use crate::damage::Damage;
use crate::files::Files;

/// Most damaged places that are told one by one.
pub const DAMAGE_TOLD_MAX: usize = 100;

/// Stands for the timestamps of a chunk.
static NO_TIMES: [i64; CHUNK_SAMPLES_MAX] = [0; CHUNK_SAMPLES_MAX];

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What the footer says, if it can be read.
    pub summary: Option<BlockSummary>,
    /// Samples that can be read.
    pub samples_readable: u64,
    /// The first [`DAMAGE_TOLD_MAX`] damaged places.
    pub damage: Vec<Damage>,
    /// How many there are.
    pub damaged_places: u64,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damaged_places == 0
    }

    fn add(&mut self, damage: Damage) {
        self.damaged_places += 1;
        if self.damage.len() < DAMAGE_TOLD_MAX {
            self.damage.push(damage);
        }
    }
}

/// Checks every section, column and chunk of the block at `path`.
///
/// # Errors
///
/// When the file cannot be read or comes from a newer version. Damage is no error here, it is in the report.
pub fn verify(files: &dyn Files, path: &Path) -> Result<Report, BlockError> {
    let mut report = Report::default();
    match BlockReader::open(files, path, Arc::new(ColumnCache::new(0))) {
        Ok(reader) => {
            report.summary = Some(reader.summary());
            let mut check = Check { reader: &reader, report: &mut report, parts: Vec::new() };
            let columns_good = check.columns();
            check.series(&columns_good);
            check.gaps();
            Ok(report)
        }
        Err(BlockError::Damaged(damage)) => {
            report.add(damage);
            Ok(report)
        }
        Err(error) => Err(error),
    }
}

/// A check under way: everything that opening the block did not look at.
struct Check<'a> {
    reader: &'a BlockReader,
    report: &'a mut Report,
    /// Offset and length of every column and chunk seen.
    parts: Vec<(u64, u64)>,
}

impl Check<'_> {
    fn found(&mut self, fault: Fault) {
        self.report.add(fault.in_file(self.reader.path()));
    }

    /// Decodes every column; which of them are good.
    fn columns(&mut self) -> Vec<bool> {
        let mut good = Vec::new();
        for number in 0..self.reader.footer().columns {
            let checked = self.reader.column_directory().column(number).and_then(|entry| {
                self.parts.push((entry.offset, entry.bytes));
                self.reader.decode_column(&entry)
            });
            good.push(checked.is_ok());
            checked.map_or_else(|fault| self.found(fault), drop);
        }
        good
    }

    /// Decodes every chunk and counts what can be read.
    fn series(&mut self, columns_good: &[bool]) {
        let mut scratch = Samples::default();
        let mut entry = SeriesEntry::default();
        let mut cursor = self.reader.entries();
        let (mut chunks, mut samples) = (0, 0);
        loop {
            match cursor.next_into(&mut entry) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return self.found(fault),
            }
            for chunk in &entry.chunks {
                self.parts.push((chunk.offset, chunk.bytes));
                chunks += 1;
                let count = self.reader.place(chunk).map_or(0, |placed| placed.samples.len());
                samples += count as u64;
                scratch.clear();
                if let Err(fault) = self.chunk(chunk, &mut scratch) {
                    self.found(fault);
                } else if usize::try_from(chunk.column).is_ok_and(|column| columns_good.get(column) == Some(&true)) {
                    self.report.samples_readable += count as u64;
                }
            }
        }
        let footer = self.reader.footer();
        if (footer.chunks, footer.samples) != (chunks, samples) {
            let detail = format!("{chunks} chunks and {samples} samples in the directory, other numbers in the footer");
            self.found(Fault::new("footer", footer.file_bytes, 0, detail));
        }
    }

    fn chunk(&self, chunk: &ChunkEntry, scratch: &mut Samples) -> Result<(), Fault> {
        let placed = self.reader.place(chunk)?;
        let encoded = self.reader.bytes(chunk.offset, chunk.bytes, "chunk")?;
        check_crc("chunk", chunk.offset, encoded, chunk.crc)?;
        // Which times they are does not matter to the values; a column that is damaged is told of by itself.
        let count = placed.samples.len();
        let times = NO_TIMES.get(..count).unwrap_or_default();
        coding::decode(chunk.coding_tag, encoded, times, 0..count, scratch)
            .map_err(|error| Fault::new("chunk", chunk.offset, chunk.bytes, error.to_string()))
    }

    /// Every byte of the data belongs to one column or chunk.
    fn gaps(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_unstable();
        parts.push((self.reader.footer().data_end(), 0));
        let mut at = HEADER_BYTES as u64;
        for (offset, bytes) in parts {
            if offset != at {
                let detail = "bytes that belong to nothing, or to two";
                self.found(Fault::new("data", at.min(offset), at.abs_diff(offset), detail));
            }
            at = offset.saturating_add(bytes);
        }
    }
}
