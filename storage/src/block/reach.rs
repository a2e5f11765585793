//! Which series of a block reach into a range of time, found in one walk over the directories: what listings and
//! selections ask of a block that lies in their range in part.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;
use model::TimeRange;
use roaring::RoaringBitmap;

use super::directory::{ColumnEntry, SeriesEntry};
use super::layout::SERIES_GROUP;
use super::reader::{BlockReader, place};
use super::{BlockError, Fault};

/// Most columns that are remembered in one walk; series that were scraped together share theirs.
const COLUMNS_MAX: usize = 4096;

impl BlockReader {
    /// Those of `ids` whose samples in the block begin before the end of `range` and end after its start, as
    /// [`series_info`](Self::series_info) tells of each.
    ///
    /// # Errors
    ///
    /// When a directory is malformed.
    pub fn reaching_into(&self, ids: &RoaringBitmap, range: TimeRange) -> Result<RoaringBitmap, BlockError> {
        self.reaching(ids, range).map_err(|fault| self.damaged(fault))
    }

    fn reaching(&self, ids: &RoaringBitmap, range: TimeRange) -> Result<RoaringBitmap, Fault> {
        let mut found = RoaringBitmap::new();
        let mut columns = Columns { reader: self, known: HashMap::default() };
        let Some(first) = ids.min() else { return Ok(found) };
        let (mut cursor, mut entry) = (self.series_directory().seek(first.into()), SeriesEntry::default());
        let mut more = cursor.next_into(&mut entry)?;
        for id in ids {
            let wanted = u64::from(id);
            // Ids of the block lie at least one apart, so that what is farther than a group is in another one.
            if more && wanted.saturating_sub(entry.id) > SERIES_GROUP {
                cursor = self.series_directory().seek(wanted);
                more = cursor.next_into(&mut entry)?;
            }
            while more && entry.id < wanted {
                more = cursor.next_into(&mut entry)?;
            }
            if !more {
                break;
            }
            if entry.id == wanted && columns.reach_into(&entry, range)? {
                found.insert(id);
            }
        }
        Ok(found)
    }
}

/// The entries of columns, each read once.
struct Columns<'a> {
    reader: &'a BlockReader,
    known: HashMap<u64, ColumnEntry, RandomState>,
}

impl Columns<'_> {
    /// Whether `range` overlaps what lies between the first and the last sample of all chunks of `entry`.
    fn reach_into(&mut self, entry: &SeriesEntry, range: TimeRange) -> Result<bool, Fault> {
        let mut bounds = TimeRange::new(i64::MAX, i64::MIN);
        for chunk in &entry.chunks {
            let of = place(chunk, &self.column(chunk.column)?)?.bounds;
            bounds = TimeRange { start: bounds.start.min(of.start), end: bounds.end.max(of.end) };
        }
        Ok(bounds.overlaps(range))
    }

    fn column(&mut self, number: u64) -> Result<ColumnEntry, Fault> {
        if self.known.len() >= COLUMNS_MAX {
            self.known.clear();
        }
        Ok(match self.known.entry(number) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => *place.insert(self.reader.column_directory().column(number)?),
        })
    }
}
