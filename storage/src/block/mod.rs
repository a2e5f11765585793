//! Immutable block files: the samples of many series of one partition (a UTC day, or a run of thin ones), compressed column by column.
//!
//! Owns the file format that `docs/format.md` draws byte by byte: [`BlockWriter`] writes one, [`BlockReader`] reads
//! one, [`merge()`] makes one of several, [`verify()`] looks at every byte of one. Which blocks exist is the catalog's business;
//! a file counts only once the catalog says so. How columns become bytes is left to [`codec`](crate::codec).
//!
//! ```
//! use std::sync::Arc;
//! use model::{Samples, TimeRange};
//! use storage::block::{BlockReader, BlockWriter, ColumnCache};
//! use storage::codec::Effort;
//! use storage::files::RealFiles;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("block");
//! let mut samples = Samples::default();
//! samples.push(1_000, 0.5);
//! samples.push(16_000, 0.75);
//!
//! let mut writer = BlockWriter::create(Arc::new(RealFiles), &path, 0, Effort::Small).unwrap();
//! writer.add_series(7, &samples).unwrap(); // ascending by id
//! let summary = writer.finish().unwrap(); // synced, folder too
//! assert_eq!((summary.series, summary.samples), (1, 2));
//!
//! let reader = BlockReader::open(&RealFiles, &path, Arc::new(ColumnCache::new(1 << 20))).unwrap();
//! let mut got = Samples::default();
//! let cost = reader.read(7, TimeRange::new(2_000, 20_000), &mut got).unwrap(); // appends
//! assert_eq!((got.timestamps_ms, got.values, cost.samples), (vec![16_000], vec![0.75], 2));
//! ```
#![warn(clippy::indexing_slicing)]

mod cache;
mod census;
mod chunk;
mod directory;
mod known;
mod layout;
mod merge;
pub(crate) mod overlay;
mod reach;
mod reader;
mod summarised;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

use model::TimeRange;

use crate::damage::Damage;
use crate::files::FileError;

pub use cache::ColumnCache;
pub use census::{Census, CodingShare};
pub(crate) use chunk::SUMMARIES;
pub use merge::{KeepAll, MergePlan, merge};
pub use overlay::overlay;
pub use reader::{BlockReader, SeriesInfo, SeriesIter};
pub use verify::{DAMAGE_TOLD_MAX, Report, verify};
pub use writer::BlockWriter;

/// Milliseconds in a partition.
pub const DAY_MS: i64 = 86_400_000;

/// The UTC day that a timestamp falls into, counted from 1970-01-01.
pub fn day_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(DAY_MS)
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSummary {
    /// First day of the partition: days since 1970-01-01 UTC.
    pub partition_day: i64,
    /// Its last day, mostly the same.
    pub last_day: i64,
    /// From the first sample to the last; empty if there is none.
    pub bounds: TimeRange,
    /// Series.
    pub series: u64,
    /// Value chunks.
    pub chunks: u64,
    /// Distinct timestamp columns.
    pub columns: u64,
    /// Samples.
    pub samples: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Why a block cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum BlockError {
    /// The file system said no; see there.
    #[error(transparent)]
    File(#[from] FileError),
    /// Bytes changed or are missing. Quarantine what the damage covers; the rest is still readable.
    #[error("block {0}")]
    Damaged(Damage),
    /// Written by a newer version of this program; use that one.
    #[error("{}: block version {found}, this program reads {supported}", path.display())]
    Version { path: PathBuf, found: u16, supported: u16 },
    /// The caller broke the order of series or samples; nothing of the series was written.
    #[error("series {series_id}: {detail}")]
    Unordered { series_id: u64, detail: &'static str },
    /// The merge plan asked to stop; nothing is left behind.
    #[error("merge was stopped")]
    Stopped,
}

/// Damage inside a file whose name the finder does not know.
#[derive(Debug, Clone)]
struct Fault {
    section: &'static str,
    offset: u64,
    bytes: u64,
    detail: String,
}

impl Fault {
    fn new(section: &'static str, offset: u64, bytes: u64, detail: impl Into<String>) -> Self {
        Self { section, offset, bytes, detail: detail.into() }
    }

    fn in_file(self, path: &Path) -> Damage {
        let detail = format!("{}: {}", self.section, self.detail);
        Damage { file: path.to_owned(), offset: self.offset, bytes: self.bytes, detail }
    }
}

/// Checks bytes against their stored CRC-32.
fn check_crc(section: &'static str, offset: u64, bytes: &[u8], stored: u32) -> Result<(), Fault> {
    let found = crc32fast::hash(bytes);
    if found == stored {
        return Ok(());
    }
    let detail = format!("checksum {found:#010x} differs from stored {stored:#010x}");
    Err(Fault::new(section, offset, bytes.len() as u64, detail))
}
