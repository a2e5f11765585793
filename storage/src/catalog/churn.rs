//! When series came and went, as the catalog keeps it: one value in the tree `manifest`.
//!
//! Owns the bytes. What is remembered, and how finely, is the engine's (`engine/churn`). Points are stored as steps from one to
//! the next, which take some five bytes each.

use bincode::{Decode, Encode};

use super::stored::{decode, encode, value_error};
use super::{Catalog, CatalogError};

/// Key in the tree `manifest`.
const CHURN_KEY: &[u8] = &[4];
/// Unit of the times that are stored.
const MINUTE_MS: i64 = 60_000;
/// Most points that are read.
const POINTS_MAX: usize = 1 << 16;

/// A minute in which series came or went, and how it was at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChurnPoint {
    /// When the minute began, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The id that the next series was to get.
    pub next_series: u32,
    /// How many series had been removed since the folder was made.
    pub removed: u64,
}

/// What is remembered of when series came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChurnRecord {
    /// How many series were removed since the folder was made.
    pub removed: u64,
    /// Points; each is later than the one before, and its numbers are not smaller.
    pub points: Vec<ChurnPoint>,
}

#[derive(Debug, Encode, Decode)]
enum StoredChurn {
    V1 { removed: u64, steps: Vec<StoredStep> },
}

/// What a point has more than the one before; the first one than nothing.
#[derive(Debug, Encode, Decode)]
struct StoredStep {
    minutes: i64,
    series: u32,
    removed: u64,
}

impl Catalog {
    /// Sets what is remembered of when series came and went. Lasting after the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn set_churn(&self, record: &ChurnRecord) -> Result<(), CatalogError> {
        self.manifest.insert(CHURN_KEY, to_bytes(record)).map(drop).map_err(|source| self.failed(source))
    }

    /// What is remembered of when series came and went; nothing in a folder of a program that did not know of it.
    ///
    /// # Errors
    ///
    /// When sled fails or the value cannot be read.
    pub fn churn(&self) -> Result<ChurnRecord, CatalogError> {
        match self.manifest.get(CHURN_KEY).map_err(|source| self.failed(source))? {
            None => Ok(ChurnRecord::default()),
            Some(bytes) => of_bytes(&bytes),
        }
    }
}

fn to_bytes(record: &ChurnRecord) -> Vec<u8> {
    let mut before = ChurnPoint { at_ms: 0, next_series: 0, removed: 0 };
    let step = |point: &ChurnPoint| {
        let step = StoredStep {
            minutes: point.at_ms.div_euclid(MINUTE_MS) - before.at_ms.div_euclid(MINUTE_MS),
            series: point.next_series.saturating_sub(before.next_series),
            removed: point.removed.saturating_sub(before.removed),
        };
        before = *point;
        step
    };
    encode(&StoredChurn::V1 { removed: record.removed, steps: record.points.iter().map(step).collect() })
}

fn of_bytes(bytes: &[u8]) -> Result<ChurnRecord, CatalogError> {
    let wrong = |detail| value_error("manifest", CHURN_KEY, detail);
    let StoredChurn::V1 { removed, steps } = decode("manifest", CHURN_KEY, bytes)?;
    if steps.len() > POINTS_MAX {
        return Err(wrong("too many points"));
    }
    let mut points = Vec::with_capacity(steps.len());
    let mut minute = 0_i64;
    let mut point = ChurnPoint { at_ms: 0, next_series: 0, removed: 0 };
    for step in steps {
        if !points.is_empty() && step.minutes < 1 {
            return Err(wrong("points do not ascend"));
        }
        let mut later = |point: ChurnPoint| {
            minute = minute.checked_add(step.minutes)?;
            Some(ChurnPoint {
                at_ms: minute.checked_mul(MINUTE_MS)?,
                next_series: point.next_series.checked_add(step.series)?,
                removed: point.removed.checked_add(step.removed)?,
            })
        };
        point = later(point).ok_or_else(|| wrong("a point is beyond all numbers"))?;
        points.push(point);
    }
    Ok(ChurnRecord { removed, points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_was_written(
            removed in any::<u64>(),
            first in -1_000_000_000i64..1_000_000_000,
            steps in prop::collection::vec((1i64..1_000_000, 0u32..1_000_000, 0u64..1_000_000), 0..50),
        ) {
            let mut point = ChurnPoint { at_ms: first * MINUTE_MS, next_series: 7, removed: 9 };
            let mut points = vec![point];
            for (minutes, series, gone) in steps {
                point.at_ms += minutes * MINUTE_MS;
                point.next_series += series;
                point.removed += gone;
                points.push(point);
            }
            for points in [points, Vec::new()] {
                let record = ChurnRecord { removed, points };
                prop_assert_eq!(of_bytes(&to_bytes(&record)).expect("readable"), record);
            }
        }

        /// Bytes of whatever kind are read or refused, in bounded memory.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(of_bytes(&bytes));
        }
    }

    #[test]
    fn stored_bytes() {
        let points = vec![
            ChurnPoint { at_ms: 60_000 * 200, next_series: 3, removed: 1 },
            ChurnPoint { at_ms: 60_000 * 260, next_series: 300, removed: 1 },
        ];
        let record = ChurnRecord { removed: 5, points };
        let bytes = [0, 5, 2, 251, 144, 1, 3, 1, 120, 251, 41, 1, 0];
        assert_eq!(to_bytes(&record), bytes);
        assert_eq!(of_bytes(&bytes).expect("readable"), record);
        assert!(of_bytes(&[0, 5, 2, 2, 0, 0, 0, 0, 0]).is_err(), "two points of one minute");
    }
}
