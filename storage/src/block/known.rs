//! The timestamp columns that the writer remembers, so that series of one scrape share one.

use std::collections::VecDeque;

/// Most columns remembered; with columns of the largest size that is 4 MiB.
const COLUMNS_MAX: usize = 128;

/// A run that ends at the end of a column, with more of the series to come, is worth a chunk from so many samples on.
const RUN_MIN: usize = 16;

/// Part of a column that a series begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) column: u64,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) column_count: usize,
    pub(super) column_min_ms: i64,
    pub(super) column_max_ms: i64,
}

/// Recently used columns, the last used in front.
#[derive(Debug, Default)]
pub(super) struct KnownColumns(VecDeque<(u64, Vec<i64>)>);

impl KnownColumns {
    /// Remembers column `number`, and forgets the one not used for longest.
    pub(super) fn insert(&mut self, number: u64, timestamps_ms: &[i64]) {
        let mut memory = if self.0.len() >= COLUMNS_MAX { self.0.pop_back() } else { None }.unwrap_or_default().1;
        memory.clear();
        memory.extend_from_slice(timestamps_ms);
        self.0.push_front((number, memory));
    }

    /// A remembered column that holds the beginning of `timestamps_ms`, up to the end of one of both.
    pub(super) fn find(&mut self, timestamps_ms: &[i64]) -> Option<Found> {
        let begins = |column: &Vec<i64>| {
            let first = column.binary_search(timestamps_ms.first()?).ok()?;
            let tail = column.get(first..)?;
            let count = tail.len().min(timestamps_ms.len());
            let same = tail.get(..count) == timestamps_ms.get(..count);
            (same && (count == timestamps_ms.len() || count >= RUN_MIN)).then_some((first, count))
        };
        let (place, (first, count)) =
            self.0.iter().enumerate().find_map(|(place, (_, column))| Some((place, begins(column)?)))?;
        let (number, column) = self.0.remove(place)?;
        let found = Found {
            column: number,
            first,
            count,
            column_count: column.len(),
            column_min_ms: column.first().copied().unwrap_or(0),
            column_max_ms: column.last().copied().unwrap_or(0),
        };
        self.0.push_front((number, column));
        Some(found)
    }
}
