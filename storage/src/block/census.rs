//! What the bytes of a block are spent on: columns, chunks by coding, directories.

use std::collections::BTreeMap;

use super::directory::SeriesEntry;
use super::layout::{FOOTER_BYTES, HEADER_BYTES};
use super::{BlockError, BlockReader, chunk};

/// Chunks of one coding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodingShare {
    /// Chunks.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of their values, without timestamps and directory.
    pub bytes: u64,
}

/// Where the bytes of a block are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Value chunks by the name of their coding.
    pub codings: BTreeMap<&'static str, CodingShare>,
    /// Bytes of timestamp columns.
    pub column_bytes: u64,
    /// Bytes of the directories and their indexes.
    pub directory_bytes: u64,
    /// Header and footer.
    pub frame_bytes: u64,
}

impl Census {
    /// Counts what `reader` has, by its directories alone.
    ///
    /// # Errors
    ///
    /// When a directory is malformed.
    pub fn of(reader: &BlockReader) -> Result<Self, BlockError> {
        let footer = reader.footer();
        let mut census = Self { frame_bytes: (HEADER_BYTES + FOOTER_BYTES) as u64, ..Self::default() };
        census.directory_bytes = footer.sections.iter().map(|section| section.bytes).sum();
        for number in 0..footer.columns {
            let column = reader.column_directory().column(number).map_err(|fault| reader.damaged(fault))?;
            census.column_bytes += column.bytes;
        }
        let (mut cursor, mut entry) = (reader.entries(), SeriesEntry::default());
        while cursor.next_into(&mut entry).map_err(|fault| reader.damaged(fault))? {
            for part in &entry.chunks {
                let placed = reader.place(part).map_err(|fault| reader.damaged(fault))?;
                let share = census.codings.entry(chunk::name(part.coding_tag)).or_default();
                share.chunks += 1;
                share.samples += placed.samples.len() as u64;
                share.bytes += part.bytes;
            }
        }
        Ok(census)
    }
}
