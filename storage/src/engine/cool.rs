//! Series that nobody writes any more leave memory.
//!
//! A series may leave once blocks and the catalog have all of it, and no sample of it came for
//! [`cold_after_ms`](super::EngineOptions::cold_after_ms) by the clock: [`Activity`] knows from flushes when that was, and
//! what is in the head was not flushed yet. Those that no file has yet go into a new one, when there are enough of them;
//! those that were cold before are in one already, and just leave. A series that comes back finds its id in the files.
//!
//! The files are derived. That one cannot be written is no failure of the engine: its series stay in memory.

use std::collections::BTreeMap;

use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::{Core, Counters, StorageError};
use crate::ids::SeriesId;
use crate::index::CoolError;
use crate::index::cold::{FILE_SERIES_MAX, JOINING_BYTES, Stamp};
use model::TimeRange;

/// To how much time the last write of a series is known.
const STEP_MS: i64 = 600_000;
/// Series that leave memory at once; appends wait for it.
const LEAVE_MAX: usize = 1000;
/// A file has so large a part of the series in memory at least, one in so many.
const SHARE_MIN: u64 = 16;
/// Room that a file takes for each series, and then some.
const FILE_SERIES_BYTES: u64 = 256;
/// Memory that making a file takes for each series, about, in bytes: labels are shared with the index, their pairs are gathered.
const MAKING_BYTES: u64 = 256;
/// Series that a file is made of at once, however little memory there is for it.
const FILE_SERIES_LEAST: u64 = 1 << 13;
/// So long after a flush whatever it wrote stays in memory: who still sends has sent again by then, also if its clock is
/// behind, or what it sends is old.
const SETTLE_MS: i64 = 600_000;

/// When series were written last, as far as flushes tell.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// By the end of a step of time.
    steps: BTreeMap<i64, RoaringBitmap>,
}

impl Activity {
    fn step_of(at_ms: i64) -> i64 {
        at_ms.saturating_sub(at_ms.rem_euclid(STEP_MS)).saturating_add(STEP_MS)
    }

    /// Notes the last sample of a series.
    pub(super) fn note(&mut self, id: SeriesId, at_ms: i64) {
        self.steps.entry(Self::step_of(at_ms)).or_default().insert(id.0);
    }

    /// Notes series that count as written at one time.
    pub(super) fn note_all(&mut self, ids: &RoaringBitmap, at_ms: i64) {
        *self.steps.entry(Self::step_of(at_ms)).or_default() |= ids;
    }

    /// Adds what another knows.
    pub(super) fn add(&mut self, other: Self) {
        for (step, ids) in other.steps {
            *self.steps.entry(step).or_default() |= ids;
        }
    }

    /// The series written after `start_ms`, or a step before; forgets the others.
    fn since(&mut self, start_ms: i64) -> RoaringBitmap {
        self.steps = self.steps.split_off(&start_ms);
        self.steps.values().fold(RoaringBitmap::new(), |all, ids| all | ids)
    }
}

/// When a series counts as written whose newest sample, of those flushed at `now_ms`, is of `newest_ms`.
pub(super) fn written_ms(newest_ms: i64, now_ms: i64, cold_after_ms: i64) -> i64 {
    let settled_ms =
        if cold_after_ms > SETTLE_MS { now_ms.saturating_sub(cold_after_ms - SETTLE_MS) } else { i64::MIN };
    // A sample may be ahead of the clock, for whatever that is worth.
    newest_ms.min(now_ms).max(settled_ms)
}

impl Core {
    /// Lets the series leave memory that are not written any more, and joins their files.
    pub(super) fn cool_series(&self, _: &MutexGuard<'_, ()>) -> Result<(), StorageError> {
        self.mend_index()?;
        while !self.closing() {
            let (idle, stamp) = self.idle_series()?;
            let filed = self.series.filed();
            self.leave(&(&idle & &filed));
            let mut new = idle - filed;
            let least = (self.options.cold_series_min as u64).max(self.series.live_len() as u64 / SHARE_MIN);
            if new.is_empty() || new.len() < least {
                break;
            }
            if let Some(end) = u32::try_from(self.file_series_max()).ok().and_then(|most| new.select(most)) {
                new.remove_range(end..);
            }
            let filed = self.has_space(new.len()).and_then(|()| {
                let _working = self.work_memory.take(new.len() * MAKING_BYTES);
                self.series.file(&*self.files, stamp, &new)
            });
            if let Err(error) = filed {
                log_unmade(&error);
                return Ok(());
            }
            self.leave(&new);
        }
        while !self.closing() {
            let joined = self.has_space(FILE_SERIES_MAX as u64).and_then(|()| {
                let bytes_max = self.options.maintenance_bytes_max;
                let _working = self.work_memory.take(bytes_max.min(FILE_SERIES_MAX as u64 * JOINING_BYTES));
                self.series.join_files(&*self.files, bytes_max)
            });
            match joined {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log_unmade(&error);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The series in memory that may leave it, and the commit of the catalog that has them all.
    fn idle_series(&self) -> Result<(RoaringBitmap, Stamp), StorageError> {
        let mut maintenance = self.open_maintenance()?;
        let start_ms = self.clock.now().0.saturating_sub(self.options.cold_after_ms);
        let mut idle = self.series.live() - maintenance.activity.since(start_ms);
        if let Some(flushing) = &maintenance.flushing {
            idle -= flushing.series.iter().map(|id| id.0).collect::<RoaringBitmap>();
        }
        idle -= self.writer.lock().uncatalogued.iter().map(|id| id.0).collect::<RoaringBitmap>();
        idle -= self.head.overlapping(&idle, TimeRange::ALL);
        let catalog = maintenance.catalog()?;
        let stamp = Stamp { lineage: catalog.lineage()?, commit: catalog.last_commit()?.number };
        Ok((idle, stamp))
    }

    /// Takes series out of memory that a file has, unless they were written to meanwhile.
    fn leave(&self, ids: &RoaringBitmap) {
        let ids: Vec<u32> = ids.iter().collect();
        for part in ids.chunks(LEAVE_MAX) {
            let mut part: RoaringBitmap = part.iter().copied().collect();
            let writer = self.writer.lock();
            part -= self.head.overlapping(&part, TimeRange::ALL);
            let part: Vec<SeriesId> = part.iter().map(SeriesId).collect();
            self.series.forget(&part, |labels| self.series_limits.release(labels.as_ref()));
            drop(writer);
            self.lifetimes.forget(&part);
            Counters::add(&self.counters.series_cooled, part.len() as u64);
        }
    }

    /// Series that a file is made of at once.
    fn file_series_max(&self) -> u64 {
        (self.options.maintenance_bytes_max / MAKING_BYTES).clamp(FILE_SERIES_LEAST, FILE_SERIES_MAX as u64)
    }

    /// Puts the series of damaged files back into memory, from the catalog, and removes the files. What of them is not written
    /// any more goes into another file next.
    fn mend_index(&self) -> Result<(), StorageError> {
        let found = self.series.damaged();
        let damaged = found.series();
        if damaged.is_empty() {
            return Ok(());
        }
        let maintenance = self.open_maintenance()?;
        let mut rows = Vec::new();
        for page in maintenance.catalog()?.label_pages() {
            let page = page?;
            if page.ids()?.iter().any(|id| damaged.contains(id.0)) {
                rows.extend(page.series()?.into_iter().filter(|(id, _)| damaged.contains(id.0)));
            }
        }
        let writer = self.writer.lock();
        rows.retain(|(id, _)| self.series.live_labels(*id).is_none());
        self.series.insert(rows.iter().map(|(id, labels)| (*id, labels)));
        self.series_limits.recount(&self.series);
        self.series.remove_damaged(&*self.files, &found);
        drop(writer);
        drop(maintenance);
        tracing::warn!(series = damaged.len(), "series of a damaged index file are in memory, until they have another");
        Ok(())
    }

    fn has_space(&self, series: u64) -> Result<(), CoolError> {
        let needed_bytes = series * FILE_SERIES_BYTES;
        if self.rewrite_bytes_max() < needed_bytes {
            let path = self.folder.join(crate::index::cold::FOLDER_NAME);
            return Err(crate::files::FileError::DiskFull { operation: "write", path }.into());
        }
        Ok(())
    }
}

/// Logs why no file is made.
fn log_unmade(error: &CoolError) {
    tracing::warn!(%error, "no index file is made now; its series stay in memory, or in the files that they are in");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is behind the clock, by however much, is not taken for one that is gone.
    #[test]
    fn what_was_flushed_just_now_was_written_lately() {
        let (now_ms, hour_ms) = (100 * STEP_MS, 6 * STEP_MS);
        for (newest_ms, want_ms) in [
            (now_ms, now_ms),
            (now_ms + 1, now_ms),
            (now_ms - hour_ms + SETTLE_MS + 1, now_ms - hour_ms + SETTLE_MS + 1),
            (now_ms - hour_ms, now_ms - hour_ms + SETTLE_MS),
            (i64::MIN, now_ms - hour_ms + SETTLE_MS),
        ] {
            assert_eq!(written_ms(newest_ms, now_ms, hour_ms), want_ms, "{newest_ms}");
        }
        assert_eq!(written_ms(7, now_ms, SETTLE_MS), 7, "who wants series to leave at once has that");
        assert_eq!(written_ms(i64::MIN, i64::MIN, i64::MAX), i64::MIN);
    }

    #[test]
    fn what_was_written_is_known_to_a_step_of_time() {
        let mut activity = Activity::default();
        for (id, at_ms) in [(1, 0), (2, STEP_MS - 1), (3, STEP_MS), (4, -1), (5, i64::MAX), (6, i64::MIN)] {
            activity.note(SeriesId(id), at_ms);
        }
        activity.note_all(&[1, 9].into(), 5 * STEP_MS);
        let mut other = Activity::default();
        other.note(SeriesId(7), 2 * STEP_MS);
        activity.add(other);
        let mut since = |start_ms| activity.since(start_ms).iter().collect::<Vec<u32>>();
        assert_eq!(since(0), [1, 2, 3, 4, 5, 7, 9]);
        assert_eq!(since(1), [1, 2, 3, 5, 7, 9]);
        assert_eq!(since(STEP_MS + 1), [1, 3, 5, 7, 9]);
        assert_eq!(since(3 * STEP_MS), [1, 5, 7, 9]);
        assert_eq!(since(i64::MAX), [5]);
    }
}
