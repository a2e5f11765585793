//! Looks at every byte of a block and tells what is damaged.

use std::path::Path;
use std::sync::Arc;

use super::{BlockError, BlockReader, BlockSummary, ColumnCache};
use crate::damage::Damage;
use crate::files::Files;

/// Most damaged places that are told one by one.
pub const DAMAGE_TOLD_MAX: usize = 100;

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
            let samples_readable = reader.check_all(|fault| report.add(fault.in_file(path)));
            report.samples_readable = samples_readable;
            Ok(report)
        }
        Err(BlockError::Damaged(damage)) => {
            report.add(damage);
            Ok(report)
        }
        Err(error) => Err(error),
    }
}
