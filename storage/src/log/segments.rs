//! The folder of segments: appending, syncing, sealing, trimming.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::frame::{HeaderError, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, segment_header};
use super::replay::{self, Read, Replayed, Visit};
use super::settle::Unsettled;
use crate::damage::set_aside;
use crate::files::{FileError, Files, WriteFile};
use crate::ids::Sequence;

/// What the names of segments in the quarantine begin with.
pub(crate) const SET_ASIDE_AS: &str = "log";

/// Why the log does not take a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum LogError {
    /// Nothing was written, or all of it was taken back; later appends may succeed.
    #[error("the log has no space: {0}")]
    DiskFull(FileError),
    /// What is on disk is unknown; the log must be opened again.
    #[error("the log failed: {0}")]
    Broken(#[from] FileError),
    /// Written by a newer program, which must be used to read it.
    #[error("{}: {source}", file.display())]
    Header { file: PathBuf, source: HeaderError },
    /// Whoever reads it asked to stop; the log on disk is as it was.
    #[error("reading the log was stopped")]
    Stopped,
    /// Only a log that was read back knows where to go on.
    #[error("the log was not read back yet")]
    Unread,
}

/// A segment that is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed {
    pub(super) number: u64,
    pub(super) last: Sequence,
    pub(super) bytes: u64,
}

/// The segment that grows.
#[derive(Debug)]
struct Current {
    file: Arc<Growing>,
    number: u64,
    /// Up to here the segment holds whole records.
    good_bytes: u64,
}

/// A file that is appended to, and synced one at a time.
#[derive(Debug)]
struct Growing {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    /// Whether a sync failed. What of the file is on disk is unknown from then on: the system tells of a failure once, and a
    /// later sync says that all is well.
    failed: Mutex<bool>,
}

impl Growing {
    fn sync(&self) -> Result<(), FileError> {
        let mut failed = self.failed.lock();
        if *failed {
            return Err(FileError::new("sync", &self.path, io::Error::other("an earlier sync failed")));
        }
        self.file.sync_data().inspect_err(|_| *failed = true)
    }
}

/// What was appended up to some moment and may not be on disk.
#[derive(Debug)]
pub struct Unsynced {
    file: Arc<Growing>,
    last: Sequence,
}

impl Unsynced {
    /// Returns when it is on disk. Needs no log, so that appending can go on meanwhile.
    ///
    /// # Errors
    ///
    /// When the disk fails; what is on it is then unknown.
    pub fn sync(&self) -> Result<(), LogError> {
        Ok(self.file.sync()?)
    }
}

/// An open log. One writer at a time.
#[derive(Debug)]
pub struct Log {
    files: Arc<dyn Files>,
    folder: PathBuf,
    segment_bytes_max: u64,
    sealed: VecDeque<Sealed>,
    current: Option<Current>,
    /// The segment that nothing may follow yet.
    unsettled: Option<Unsettled>,
    /// Segments that are moved into this folder when they are trimmed.
    aside: Option<(BTreeSet<u64>, PathBuf)>,
    next_number: u64,
    last: Sequence,
    unsynced: bool,
    /// Whether what the segments hold is known.
    read: bool,
}

/// The name of segment `number` inside the log's folder.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:08}.seg")
}

/// The number of the segment called `name`, if it is one.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))?;
    digits.parse().ok().filter(|&number| number < u64::MAX / 2 && segment_name(number) == name)
}

impl Log {
    /// The log in `folder`, which stands in for the one that [`open`](Self::open) returns: it takes nothing.
    pub fn unread(files: Arc<dyn Files>, folder: &Path) -> Self {
        Self {
            files,
            folder: folder.to_owned(),
            segment_bytes_max: 0,
            sealed: VecDeque::new(),
            current: None,
            unsettled: None,
            aside: None,
            next_number: 0,
            last: Sequence(0),
            unsynced: false,
            read: false,
        }
    }

    /// Opens the log in `folder` and gives every record above `after` to `visit`, in order. A torn end is cut off.
    /// What `visit` cannot use counts as damage, as do bytes that are no record. When this returns all that was read is on
    /// disk, or will be before anything is appended.
    ///
    /// # Errors
    ///
    /// When a segment is of a newer version, the disk fails, or `visit` wants to stop.
    pub fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        segment_bytes_max: u64,
        after: Sequence,
        visit: &mut Visit<'_>,
    ) -> Result<(Self, Replayed), LogError> {
        files.create_dir_all(folder)?;
        let Read { sealed, unsettled, replayed } = replay::replay(&*files, folder, after, visit)?;
        let next_number = sealed.back().map_or(1, |last| last.number + 1);
        let last = replayed.last;
        let unread = Self::unread(files, folder);
        Ok((Self { segment_bytes_max, sealed, unsettled, next_number, last, read: true, ..unread }, replayed))
    }

    /// The sequence of the record appended last.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Gives no record a sequence up to `given`, which others had.
    pub fn go_on_after(&mut self, given: Sequence) {
        self.last = self.last.max(given);
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
            + self.current.as_ref().map_or(0, |current| current.good_bytes)
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.current.is_some())
    }

    /// Appends a run of records whose last one is `last`.
    ///
    /// # Errors
    ///
    /// [`LogError::DiskFull`] when the log is as it was before; anything else means its end is unknown.
    pub fn append(&mut self, records: &[u8], last: Sequence) -> Result<(), LogError> {
        if !self.read {
            return Err(LogError::Unread);
        }
        let length = records.len() as u64;
        let full = |current: &Current, max| {
            current.good_bytes > SEGMENT_HEADER_BYTES as u64 && current.good_bytes + length > max
        };
        if self.current.as_ref().is_some_and(|current| full(current, self.segment_bytes_max)) {
            self.seal()?;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                if let Some(unsettled) = &self.unsettled {
                    unsettled.settle(&*self.files)?;
                    self.unsettled = None;
                }
                none.insert(Current::create(&*self.files, &self.folder, &mut self.next_number, self.last)?)
            }
        };
        match current.file.file.append(records) {
            Ok(()) => {
                current.good_bytes += length;
                self.last = last;
                self.unsynced = true;
                Ok(())
            }
            Err(error) if error.is_disk_full() => {
                current.file.file.set_len(current.good_bytes)?;
                Err(LogError::DiskFull(error))
            }
            Err(error) => Err(LogError::Broken(error)),
        }
    }

    /// Returns when everything appended is on disk.
    ///
    /// # Errors
    ///
    /// When the disk fails; what is on it is then unknown.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if let (true, Some(current)) = (self.unsynced, &self.current) {
            current.file.sync()?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// What is not known to be on disk, to be synced elsewhere.
    pub fn unsynced(&self) -> Option<Unsynced> {
        let current = self.current.as_ref().filter(|_| self.unsynced)?;
        Some(Unsynced { file: current.file.clone(), last: self.last })
    }

    /// Takes note that `of` is on disk. What was appended since is not.
    pub fn synced(&mut self, of: &Unsynced) {
        // Sealing has synced what was before the growing segment.
        self.unsynced &= self.last != of.last;
    }

    /// Ends the growing segment, so that it can be trimmed once its records are elsewhere.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn seal(&mut self) -> Result<(), LogError> {
        self.sync()?;
        if let Some(current) = self.current.take() {
            let Current { number, good_bytes, .. } = current;
            self.sealed.push_back(Sealed { number, last: self.last, bytes: good_bytes });
        }
        Ok(())
    }

    /// Has the segments at `paths`, of whose damage there is no copy, moved into the folder `quarantine` when they are trimmed,
    /// which takes no space.
    pub fn set_aside_when_trimmed(&mut self, paths: &[PathBuf], quarantine: &Path) {
        let number = |path: &PathBuf| segment_number(path.file_name()?.to_str()?);
        self.aside = Some((paths.iter().filter_map(number).collect(), quarantine.to_owned()));
    }

    /// Removes the sealed segments that hold no record above `covered`, or sets them aside.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed or moved; it is tried again next time.
    pub fn trim(&mut self, covered: Sequence) -> Result<(), FileError> {
        let mut removed = false;
        while let Some(segment) = self.sealed.front().filter(|segment| segment.last <= covered) {
            let path = self.folder.join(segment_name(segment.number));
            let gone = match &self.aside {
                Some((numbers, quarantine)) if numbers.contains(&segment.number) => {
                    set_aside(&*self.files, &path, SET_ASIDE_AS, quarantine).map(drop)
                }
                _ => self.files.remove(&path),
            };
            match gone {
                Ok(()) => removed = true,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
            self.sealed.pop_front();
        }
        if removed { self.files.sync_dir(&self.folder) } else { Ok(()) }
    }
}

impl Current {
    /// The next segment, its header on disk.
    fn create(files: &dyn Files, folder: &Path, next: &mut u64, last: Sequence) -> Result<Self, LogError> {
        let path = folder.join(segment_name(*next));
        let made = files.create(&path).and_then(|file| {
            file.append(&segment_header(Sequence(last.0 + 1)))?;
            file.sync_data()?;
            files.sync_dir(folder)?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                *next += 1;
                let file = Arc::new(Growing { file, path, failed: Mutex::new(false) });
                Ok(Self { file, number: *next - 1, good_bytes: SEGMENT_HEADER_BYTES as u64 })
            }
            // No record is in it: the next attempt empties and reuses it.
            Err(error) if error.is_disk_full() => Err(LogError::DiskFull(error)),
            Err(error) => Err(LogError::Broken(error)),
        }
    }
}

const _: () = assert!(PAYLOAD_BYTES_MAX < u32::MAX as usize, "a record's length is 32 bits");
