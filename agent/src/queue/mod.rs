//! The queue on disk: records are appended to files, read in order, acknowledged by sequence, and dropped oldest first
//! when a cap is passed, which is counted. A killed agent loses nothing that was pushed; a power cut at most what was
//! written since the last forced write. What was sent but not yet acknowledged is sent again after a crash: the same
//! samples at the same times, which receivers keep once.
//!
//! The newest records are kept in memory too, so that a sender that keeps up never reads the disk, and a full disk does
//! not stop the flow. Bytes of files are `segment`'s, bytes of records are `record`'s.

pub mod record;
mod segment;

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::record::{Decoded, HEADER_BYTES, PAYLOAD_BYTES_MAX, Record};
use self::segment::{FILE_HEADER_BYTES, Segment, read_at};
use crate::config::QueueConfig;
use crate::private;

const ACKNOWLEDGED_FILE: &str = "acknowledged";
const LOCK_FILE: &str = "lock";

/// Most files that wait to be forced to the device.
const UNSYNCED_MAX: usize = 4;
/// How long a file must be too old before it is dropped, in milliseconds: clocks are wrong now and then.
const TOO_OLD_FOR_MS: i64 = 60_000;

/// A queue that threads share.
pub type SharedQueue = Arc<Mutex<Queue>>;

/// Why the queue cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum QueueError {
    /// Another agent uses the folder: give this one its own.
    #[error("queue folder {} is in use by another agent; set queue.folder", folder.display())]
    InUse { folder: PathBuf },
    /// The disk refused: the record is in memory alone until space returns.
    #[error("queue file {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// There is no room for what may be refused; try again when the receiver has taken some.
    #[error("queue has {bytes} bytes, the limit queue.bytes_max is {limit_bytes}")]
    Full { bytes: u64, limit_bytes: u64 },
    /// The record is longer than any receiver would take.
    #[error("record of {bytes} bytes, the limit is {limit_bytes}")]
    TooLong { bytes: usize, limit_bytes: usize },
}

/// What the queue holds and what it had to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Samples that are not acknowledged.
    pub samples_waiting: u64,
    /// When the oldest of them was collected, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// Samples dropped by the cap on bytes.
    pub dropped_bytes_cap: u64,
    /// Samples dropped by the cap on age.
    pub dropped_age_cap: u64,
    /// Samples lost: damage on disk, or evicted from memory while the disk refused.
    pub lost: u64,
}

/// Records to send together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Vec<BatchEntry>,
}

#[derive(Debug)]
struct BatchEntry {
    record: Arc<Record>,
    /// First sequence of the file it was read from, and where it ends there.
    place: Option<(u64, u64)>,
}

impl Batch {
    /// The records.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.entries.iter().map(|entry| &*entry.record)
    }

    /// Forgets all but the first `count` records; the rest is not touched by an acknowledgement.
    pub fn keep_first(&mut self, count: usize) {
        self.entries.truncate(count);
    }

    /// Samples in all records.
    pub fn samples(&self) -> u64 {
        self.records().map(|record| u64::from(record.samples)).sum()
    }
}

/// Files that were written, to be forced to the device.
#[derive(Debug)]
pub struct Unsynced {
    files: Vec<(PathBuf, Arc<File>)>,
    folder: PathBuf,
}

impl Unsynced {
    /// Forces them.
    ///
    /// # Errors
    ///
    /// When the device refuses.
    pub fn sync(&self) -> Result<(), QueueError> {
        for (path, file) in &self.files {
            file.sync_data().map_err(|source| QueueError::Io { path: path.clone(), source })?;
        }
        // The folder too: a new file that it does not name yet would be lost whole.
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| QueueError::Io { path: self.folder.clone(), source })
    }

    /// The same. Records are written and survive a kill; a power cut is all that a refusal leaves open.
    pub fn sync_or_warn(&self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "queue file not forced to the device");
        }
    }
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    folder: PathBuf,
    options: QueueConfig,
    /// Held for its lock.
    _lock: File,
    segments: VecDeque<Segment>,
    /// The last segment, open for appending; none after a failed write.
    active: Option<Arc<File>>,
    /// Files before it that were not forced to the device yet, and whether it is time to.
    unsynced: Vec<(PathBuf, Arc<File>)>,
    sync_due: bool,
    next_sequence: u64,
    acknowledged: u64,
    /// The newest records, not acknowledged, and whether each is on disk.
    memory: VecDeque<(Arc<Record>, bool)>,
    memory_bytes: u64,
    /// Where reading goes on: first sequence of a file, offset.
    cursor: Option<(u64, u64)>,
    synced_ms: i64,
    /// Since when the oldest file is too old.
    too_old_since_ms: Option<i64>,
    counts: QueueState,
}

impl Queue {
    /// Opens the queue in `options.folder`, making it if needed, and finds again what was not acknowledged.
    ///
    /// # Errors
    ///
    /// When another agent uses the folder, or it cannot be read and written.
    pub fn open(options: &QueueConfig) -> Result<Self, QueueError> {
        let folder = options.folder.clone();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| QueueError::Io { path, source }
        };
        private::make_folder(&folder).map_err(failed(&folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(QueueError::InUse { folder }),
            Err(TryLockError::Error(source)) => return Err(QueueError::Io { path: lock_path, source }),
        }
        let mut queue = Self {
            acknowledged: read_acknowledged(&folder),
            folder,
            options: options.clone(),
            _lock: lock,
            segments: VecDeque::new(),
            active: None,
            unsynced: Vec::new(),
            sync_due: false,
            next_sequence: 1,
            memory: VecDeque::new(),
            memory_bytes: 0,
            cursor: None,
            synced_ms: 0,
            too_old_since_ms: None,
            counts: QueueState::default(),
        };
        queue.recover()?;
        Ok(queue)
    }

    fn recover(&mut self) -> Result<(), QueueError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| QueueError::Io { path, source }
        };
        let listed = fs::read_dir(&self.folder).map_err(failed(&self.folder))?;
        let mut paths: Vec<PathBuf> =
            listed.flatten().map(|entry| entry.path()).filter(|path| Segment::is_segment(path)).collect();
        paths.sort();
        // Sequences up to here may be in files already.
        let mut taken = 0;
        let count = paths.len();
        for (at, path) in paths.into_iter().enumerate() {
            let recovered = Segment::recover(&path, self.acknowledged, at + 1 == count).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "queue file cannot be read");
                None
            });
            let in_order = |first| self.segments.back().is_none_or(|before| first > before.last);
            let recovered = match recovered {
                Some(recovered) if !in_order(recovered.segment.first) => {
                    self.counts.lost += recovered.segment.waiting + recovered.lost_samples;
                    None
                }
                recovered => recovered,
            };
            let Some(recovered) = recovered else {
                let aside = path.with_extension("damaged");
                let renamed = fs::rename(&path, &aside);
                tracing::error!(path = %path.display(), aside = %aside.display(), ?renamed, "no file of this queue; put aside");
                // Its name must not be taken again where it stays.
                taken = taken.max(Segment::named(&path).unwrap_or_default());
                continue;
            };
            self.counts.lost += recovered.lost_samples;
            // A later start may read the rest: what comes now must stand behind it.
            let unread_max = recovered.unread_bytes / HEADER_BYTES as u64;
            taken = taken.max(recovered.segment.last.saturating_add(unread_max));
            if recovered.cut_bytes > 0 {
                let path = path.display();
                tracing::warn!(%path, cut_bytes = recovered.cut_bytes, "queue file ended in no whole record; cut");
            }
            self.active = recovered.file.map(Arc::new);
            self.segments.push_back(recovered.segment);
        }
        let last = self.segments.back().map_or(0, |segment| segment.last);
        self.next_sequence = last.max(self.acknowledged).max(taken.min(u64::MAX / 2)) + 1;
        // A file whose name would be taken again is gone from the list when it holds nothing.
        self.remove_acknowledged();
        Ok(())
    }

    /// Appends a record of `samples` samples collected at `now_ms`. It is kept in memory even when this fails.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or the payload is longer than [`PAYLOAD_BYTES_MAX`], which is then dropped.
    pub fn push(&mut self, payload: Vec<u8>, samples: u32, now_ms: i64) -> Result<(), QueueError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            self.counts.lost += u64::from(samples);
            return Err(QueueError::TooLong { bytes: payload.len(), limit_bytes: PAYLOAD_BYTES_MAX });
        }
        let record = Arc::new(Record { sequence: self.next_sequence, created_ms: now_ms, samples, payload });
        self.next_sequence += 1;
        self.drop_old(now_ms);
        let written = self.write(&record, now_ms);
        self.memory_bytes += record.disk_bytes();
        self.memory.push_back((record, written.is_ok()));
        self.trim_memory();
        written
    }

    /// Appends a record of somebody who keeps it until this returns: it is in a file then. Unlike with
    /// [`push`](Self::push), nothing older makes room for it, and what the disk refuses is not kept in memory.
    ///
    /// # Errors
    ///
    /// When the queue is full, the disk refuses, or the payload is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn offer(&mut self, payload: Vec<u8>, samples: u32, now_ms: i64) -> Result<(), QueueError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(QueueError::TooLong { bytes: payload.len(), limit_bytes: PAYLOAD_BYTES_MAX });
        }
        let record = Arc::new(Record { sequence: self.next_sequence, created_ms: now_ms, samples, payload });
        self.drop_old(now_ms);
        let bytes = self.disk_bytes();
        if bytes + record.disk_bytes() > self.options.bytes_max {
            return Err(QueueError::Full { bytes, limit_bytes: self.options.bytes_max });
        }
        self.write(&record, now_ms)?;
        self.next_sequence += 1;
        self.memory_bytes += record.disk_bytes();
        self.memory.push_back((record, true));
        self.trim_memory();
        Ok(())
    }

    /// The next records, at most `samples_max` samples and `bytes_max` compressed bytes in all, but one at least;
    /// nothing when all is acknowledged. The same again until it is acknowledged.
    pub fn peek(&mut self, samples_max: u64, bytes_max: u64, now_ms: i64) -> Option<Batch> {
        self.drop_old(now_ms);
        let mut batch = Batch::default();
        let (mut position, mut samples, mut bytes) = (self.acknowledged, 0, 0);
        let mut place = self.cursor;
        while let Some(entry) = self.next_after(position, place) {
            let (more_samples, more_bytes) = (u64::from(entry.record.samples), entry.record.payload.len() as u64);
            let full = samples + more_samples > samples_max || bytes + more_bytes > bytes_max;
            if full && !batch.entries.is_empty() {
                break;
            }
            samples += more_samples;
            bytes += more_bytes;
            position = entry.record.sequence;
            place = entry.place.or(place);
            batch.entries.push(entry);
            if full {
                break;
            }
        }
        Some(batch).filter(|batch| !batch.entries.is_empty())
    }

    /// Takes note that `batch` needs not be sent again.
    ///
    /// # Errors
    ///
    /// When the position cannot be stored; then a restart sends the batch once more.
    pub fn acknowledge(&mut self, batch: &Batch) -> Result<(), QueueError> {
        for entry in &batch.entries {
            let sequence = entry.record.sequence;
            if sequence <= self.acknowledged {
                continue;
            }
            self.acknowledged = sequence;
            self.cursor = entry.place.or(self.cursor);
            let samples = u64::from(entry.record.samples);
            if let Some(segment) = self.segments.iter_mut().find(|own| own.first <= sequence && sequence <= own.last) {
                segment.waiting = segment.waiting.saturating_sub(samples);
            }
            while self.memory.front().is_some_and(|(record, _)| record.sequence <= sequence) {
                self.forget_oldest();
            }
        }
        self.remove_acknowledged();
        self.store_acknowledged()
    }

    /// What it holds and what it dropped.
    pub fn state(&self) -> QueueState {
        let in_memory_alone: u64 =
            self.memory.iter().filter(|(_, on_disk)| !on_disk).map(|(record, _)| u64::from(record.samples)).sum();
        let waiting = self.segments.iter().filter(|segment| segment.waiting > 0);
        // Of what is on disk alone, only the file is known: it is no older than the first record of that.
        let front = self.memory.front().map(|(record, _)| record);
        let in_memory = front.filter(|record| record.sequence <= self.acknowledged.saturating_add(1));
        let on_disk = || waiting.clone().map(|segment| segment.oldest_ms).next();
        let oldest_ms = in_memory.map(|record| record.created_ms).or_else(on_disk);
        QueueState {
            disk_bytes: self.disk_bytes(),
            samples_waiting: waiting.map(|segment| segment.waiting).sum::<u64>() + in_memory_alone,
            oldest_ms: oldest_ms.or_else(|| front.map(|record| record.created_ms)),
            ..self.counts
        }
    }

    /// Forces what was written to the device.
    ///
    /// # Errors
    ///
    /// When the device refuses.
    pub fn sync(&mut self) -> Result<(), QueueError> {
        self.sync_due = true;
        self.take_unsynced().map_or(Ok(()), |unsynced| unsynced.sync())
    }

    /// What is to be forced to the device now, if it is time to. A device may take seconds for it, so that whoever pushes does it with the
    /// queue unlocked.
    pub fn take_unsynced(&mut self) -> Option<Unsynced> {
        if !std::mem::take(&mut self.sync_due) {
            return None;
        }
        let mut files = std::mem::take(&mut self.unsynced);
        if let (Some(file), Some(segment)) = (&self.active, self.segments.back()) {
            files.push((segment.path.clone(), Arc::clone(file)));
        }
        (!files.is_empty()).then(|| Unsynced { files, folder: self.folder.clone() })
    }

    fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn write(&mut self, record: &Record, now_ms: i64) -> Result<(), QueueError> {
        if let Some(segment) = self.segments.back().filter(|segment| segment.bytes >= self.options.segment_bytes) {
            let path = segment.path.clone();
            self.unsynced.extend(self.active.take().map(|file| (path, file)));
            self.sync_due = true;
            if self.unsynced.len() >= UNSYNCED_MAX
                && let Some(unsynced) = self.take_unsynced()
            {
                unsynced.sync_or_warn();
            }
        }
        if self.active.is_none() {
            let path = self.folder.clone();
            let (segment, file) =
                Segment::create(&self.folder, record.sequence).map_err(|source| QueueError::Io { path, source })?;
            self.segments.push_back(segment);
            self.active = Some(Arc::new(file));
        }
        let (Some(mut file), Some(segment)) = (self.active.as_deref(), self.segments.back_mut()) else { return Ok(()) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        if let Err(source) = file.write_all(&bytes) {
            // Half a record must not stand before whole ones: cut it, and go on in a new file.
            let _ = file.set_len(segment.bytes);
            self.active = None;
            let path = segment.path.clone();
            if segment.last < segment.first {
                // Nothing is in it: a disk that stays full must not collect empty files.
                self.segments.pop_back();
                let _ = fs::remove_file(&path);
            }
            return Err(QueueError::Io { path, source });
        }
        segment.note(record, true);
        if now_ms.abs_diff(self.synced_ms) >= self.options.sync_interval_ms.unsigned_abs() {
            self.synced_ms = now_ms;
            self.sync_due = true;
        }
        Ok(())
    }

    /// The first record after sequence `position`, from disk as long as it has any that memory has not.
    fn next_after(&mut self, position: u64, place: Option<(u64, u64)>) -> Option<BatchEntry> {
        let memory_first = self.memory.front().map_or(u64::MAX, |(record, _)| record.sequence);
        let unread = |segment: &Segment| segment.last > position && segment.first <= segment.last;
        while let Some(at) = self.segments.iter().position(unread) {
            let segment = &self.segments[at];
            if position + 1 >= memory_first || segment.first >= memory_first {
                break;
            }
            let start =
                place.filter(|(first, _)| *first == segment.first).map_or(FILE_HEADER_BYTES, |(_, offset)| offset);
            match first_after(segment, start, position) {
                Ok(Some((record, end))) if record.sequence < memory_first => {
                    let place = Some((segment.first, end));
                    return Some(BatchEntry { record: Arc::new(record), place });
                }
                Ok(Some(_)) => break,
                Ok(None) => self.abandon(at, "no whole record where one was written"),
                Err(error) => self.abandon(at, &error.to_string()),
            }
        }
        let (record, _) = self.memory.iter().find(|(record, _)| record.sequence > position)?;
        Some(BatchEntry { record: Arc::clone(record), place: None })
    }

    /// Gives up a file that can no longer be read; the rest of the queue goes on.
    fn abandon(&mut self, at: usize, why: &str) {
        if at + 1 == self.segments.len() {
            self.active = None;
        }
        let Some(segment) = self.segments.remove(at) else { return };
        tracing::error!(path = %segment.path.display(), samples = segment.waiting, why, "queue file is damaged; put aside");
        self.counts.lost += segment.waiting + segment.waiting_unread().unwrap_or(0);
        let _ = fs::rename(&segment.path, segment.path.with_extension("damaged"));
    }

    /// Keeps the caps on bytes and age, file by file from the oldest.
    fn drop_old(&mut self, now_ms: i64) {
        while self.disk_bytes() > self.options.bytes_max {
            let Some(samples) = self.drop_first() else { break };
            self.counts.dropped_bytes_cap += samples;
        }
        let too_old = |segment: &Segment| now_ms.saturating_sub(segment.newest_ms) > self.options.age_max_ms;
        let count = self
            .segments
            .iter()
            .take_while(|segment| (segment.waiting > 0 || segment.has_unread()) && too_old(segment))
            .count();
        if count == 0 {
            self.too_old_since_ms = None;
            return;
        }
        let since_ms = self.too_old_since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms));
        self.too_old_since_ms = Some(since_ms);
        if now_ms.saturating_sub(since_ms) < TOO_OLD_FOR_MS {
            return;
        }
        self.too_old_since_ms = None;
        for _ in 0..count {
            self.counts.dropped_age_cap += self.drop_first().unwrap_or(0);
        }
    }

    /// Removes the oldest file, what could not be read of it included; returns the samples that were waiting in it.
    fn drop_first(&mut self) -> Option<u64> {
        let segment = self.forget_first()?;
        let unread = segment.waiting_unread().unwrap_or(0);
        let _ = fs::remove_file(&segment.path);
        Some(segment.waiting + unread)
    }

    /// Forgets the oldest file and what of it is in memory; the file itself stays.
    fn forget_first(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        if self.segments.is_empty() {
            self.active = None;
        }
        self.acknowledged = self.acknowledged.max(segment.last);
        while let Some((record, on_disk)) = self.memory.front().filter(|(record, _)| record.sequence <= segment.last) {
            // What the disk had refused stands in no file.
            if !on_disk {
                self.counts.lost += u64::from(record.samples);
            }
            self.forget_oldest();
        }
        Some(segment)
    }

    /// Removes files whose records are all acknowledged, save the one that is written to. One that could not be read to its end waits for
    /// a later start until a record of the next file is acknowledged; then nothing of it is sent any more, and it is put aside.
    fn remove_acknowledged(&mut self) {
        while let (Some(segment), Some(next)) = (self.segments.front(), self.segments.get(1)) {
            let end = if segment.has_unread() { next.first } else { segment.last };
            if self.acknowledged < end {
                break;
            }
            let Some(segment) = self.forget_first() else { break };
            if let Some(samples) = segment.waiting_unread() {
                self.counts.lost += samples;
                let aside = segment.path.with_extension("damaged");
                let renamed = fs::rename(&segment.path, &aside);
                tracing::error!(aside = %aside.display(), samples, ?renamed, "the rest of a queue file could not be read; put aside");
            } else {
                let _ = fs::remove_file(&segment.path);
            }
        }
    }

    /// Forgets what of the samples in memory is on disk too; it is read back from there.
    pub fn free_memory(&mut self) {
        while self.memory.len() > 1 && self.memory.front().is_some_and(|(_, on_disk)| *on_disk) {
            self.forget_oldest();
        }
    }

    fn trim_memory(&mut self) {
        while self.memory_bytes > self.options.memory_bytes_max && self.memory.len() > 1 {
            if let Some((record, false)) = self.memory.front() {
                self.counts.lost += u64::from(record.samples);
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((record, _)) = self.memory.pop_front() {
            self.memory_bytes -= record.disk_bytes();
        }
    }

    /// Stores the position whole or not at all: written aside, then renamed.
    fn store_acknowledged(&self) -> Result<(), QueueError> {
        let path = self.folder.join(ACKNOWLEDGED_FILE);
        let aside = path.with_extension("new");
        let position = self.acknowledged.to_le_bytes();
        let mut bytes = position.to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&position).to_le_bytes());
        fs::write(&aside, &bytes)
            .and_then(|()| fs::rename(&aside, &path))
            .map_err(|source| QueueError::Io { path, source })
    }
}

/// The position stored last; 0, which sends everything again, when there is none that can be trusted.
fn read_acknowledged(folder: &Path) -> u64 {
    let Ok(bytes) = fs::read(folder.join(ACKNOWLEDGED_FILE)) else { return 0 };
    let Some((position, crc)) = bytes.split_first_chunk::<8>() else { return 0 };
    if crc != crc32fast::hash(position).to_le_bytes() {
        return 0;
    }
    u64::from_le_bytes(*position)
}

/// The first record after sequence `position` at or behind `start` in the file of `segment`, and where it ends.
fn first_after(segment: &Segment, start: u64, position: u64) -> io::Result<Option<(Record, u64)>> {
    let file = File::open(&segment.path)?;
    let mut offset = start;
    loop {
        match read_at(&file, offset, segment.bytes)? {
            Decoded::Record(record, length) => {
                offset += length as u64;
                if record.sequence > position {
                    return Ok(Some((record, offset)));
                }
            }
            Decoded::End | Decoded::Damaged => return Ok(None),
        }
    }
}

#[cfg(test)]
mod unread_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        let listed = fs::read_dir(folder).expect("listed").flatten();
        listed.filter(|entry| Segment::is_segment(&entry.path())).count()
    }

    #[test]
    fn a_disk_that_refuses_leaves_no_empty_files_and_loses_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        let mut queue = Queue::open(&options).expect("opens");
        let (segment, _) = Segment::create(folder.path(), 1).expect("made");
        // A file that was opened for reading refuses to be written.
        queue.active = Some(Arc::new(File::open(&segment.path).expect("opened")));
        queue.segments.push_back(segment);
        assert!(matches!(queue.push(vec![1], 1, 0), Err(QueueError::Io { .. })));
        assert_eq!(files(folder.path()), 0);
        queue.push(vec![2], 1, 0).expect("the disk is well again");
        assert_eq!(files(folder.path()), 1);
        let batch = queue.peek(10, 10, 0).expect("both");
        assert_eq!(batch.records().map(|record| record.payload[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.state().samples_waiting, 2);
    }

    #[test]
    fn what_is_forced_to_the_device_is_forced_with_the_queue_unlocked() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        (options.segment_bytes, options.sync_interval_ms) = (150, 1_000);
        let mut queue = Queue::open(&options).expect("opens");
        let mut due = |now_ms| {
            queue.push(vec![0; 60], 1, now_ms).expect("written");
            queue.take_unsynced().map(|unsynced| {
                unsynced.sync().expect("forced");
                unsynced.files.len()
            })
        };
        assert_eq!([due(1_000), due(1_010), due(1_020), due(2_000)], [Some(1), None, Some(2), Some(1)]);
    }

    #[test]
    fn what_is_put_aside_at_a_start_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        for (first, samples) in [(1, 1), (2, 10)] {
            let (_, mut file) = Segment::create(folder.path(), first).expect("made");
            let mut bytes = Vec::new();
            for sequence in first..first + 3 {
                Record { sequence, created_ms: 0, samples, payload: vec![1] }.encode(&mut bytes);
            }
            file.write_all(&bytes).expect("written");
        }
        let state = Queue::open(&options).expect("opens").state();
        assert_eq!((state.samples_waiting, state.lost, files(folder.path())), (3, 30, 1));
    }

    #[test]
    fn what_the_disk_refused_counts_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = QueueConfig { folder: folder.path().to_owned(), ..crate::Config::default().queue };
        (options.segment_bytes, options.bytes_max) = (1, 400);
        let mut queue = Queue::open(&options).expect("opens");
        queue.push(vec![0; 60], 1, 0).expect("written");
        // A folder in place of the next file.
        let in_the_way = folder.path().join(format!("{:020}.queue", 2));
        fs::create_dir(&in_the_way).expect("made");
        assert!(matches!(queue.push(vec![0; 60], 10, 0), Err(QueueError::Io { .. })));
        for _ in 0..20 {
            queue.push(vec![0; 60], 1, 0).expect("the next file is another one");
        }
        let state = queue.state();
        assert_eq!(state.lost, 10, "{state:?}");
        assert_eq!(state.dropped_bytes_cap + state.samples_waiting, 21, "{state:?}");
    }
}
