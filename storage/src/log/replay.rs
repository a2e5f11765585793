//! Reading the log back: every whole record in order, whatever else is in the files.
//!
//! Only the last segment can end in a torn record, which was never acknowledged: it is cut off. Anything else that is
//! no record, also at the end of the last segment, is damage: it is reported, a copy of the segment is left for the engine
//! to keep, and reading goes on at the next whole record.
#![warn(clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

pub use super::frame::Record;
use super::frame::{HeaderError, SEGMENT_HEADER_BYTES, is_unfinished, next_record, read_segment_header, record_at};
use super::segments::{LogError, Sealed, segment_name, segment_number};
use super::settle::{Unsettled, forget, is_left_over, settle};
use crate::damage::Damage;
use crate::files::{FileError, Files};
use crate::ids::Sequence;

/// Most records that damage, lost segments included, may hide between two.
const HIDDEN_RECORDS_MAX: u64 = 1 << 32;

/// What reading the log back found.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The last sequence that was used; the next record takes the one after it.
    pub last: Sequence,
    /// Records given to the visitor.
    pub records: u64,
    /// Bytes of an unfinished record that were cut off.
    pub torn_bytes: u64,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

/// Why a record that is whole was not used.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody can use it, for this reason: damage.
    Damaged(String),
    /// Reading shall end here. Nothing is cut off or reported of what follows.
    Stop,
}

impl From<String> for Refused {
    fn from(detail: String) -> Self {
        Self::Damaged(detail)
    }
}

/// What is given every record.
pub type Visit<'v> = dyn FnMut(Record<'_>) -> Result<(), Refused> + 'v;

/// What is there, and what was read of it.
pub(super) struct Read {
    /// All segments: none of them grows.
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) unsettled: Option<Unsettled>,
    pub(super) replayed: Replayed,
}

/// One pass over all segments.
struct Pass<'a, 'v> {
    files: &'a dyn Files,
    folder: &'a Path,
    after: Sequence,
    visit: &'a mut Visit<'v>,
    /// Whether a torn end is cut off, or only counted; and what was read is brought to the disk.
    cuts: bool,
    unsettled: Option<Unsettled>,
    replayed: Replayed,
    /// The sequence of the record read last, also of those up to `after`.
    seen: Sequence,
}

/// Reads every segment of `folder`.
pub(super) fn replay(
    files: &dyn Files,
    folder: &Path,
    after: Sequence,
    visit: &mut Visit<'_>,
) -> Result<Read, LogError> {
    for left_over in files.list(folder)?.into_iter().filter(|entry| is_left_over(&entry.name)) {
        forget(files, &folder.join(left_over.name))?;
    }
    pass(files, folder, after, visit, true)
}

/// Reads every segment of `folder` as opening the log does, and changes nothing: a torn end is counted and stays.
///
/// # Errors
///
/// When a segment is of a newer version, or the disk fails.
pub fn inspect(files: &dyn Files, folder: &Path, after: Sequence, visit: &mut Visit<'_>) -> Result<Replayed, LogError> {
    pass(files, folder, after, visit, false).map(|read| read.replayed)
}

fn pass(
    files: &dyn Files,
    folder: &Path,
    after: Sequence,
    visit: &mut Visit<'_>,
    cuts: bool,
) -> Result<Read, LogError> {
    let mut numbers: Vec<u64> = files.list(folder)?.iter().filter_map(|entry| segment_number(&entry.name)).collect();
    numbers.sort_unstable();
    let newest = numbers.last().copied();
    let replayed = Replayed { last: after, ..Replayed::default() };
    let mut pass = Pass { files, folder, after, visit, cuts, unsettled: None, replayed, seen: Sequence(0) };
    let mut sealed = VecDeque::with_capacity(numbers.len());
    for number in numbers {
        sealed.extend(pass.segment(number, newest == Some(number))?);
    }
    Ok(Read { sealed, unsettled: pass.unsettled, replayed: pass.replayed })
}

impl Pass<'_, '_> {
    fn segment(&mut self, number: u64, newest: bool) -> Result<Option<Sealed>, LogError> {
        let path = self.folder.join(segment_name(number));
        let bytes = self.files.read(&path)?;
        let header = read_segment_header(&bytes);
        if let Err(source @ HeaderError::Version { .. }) = header {
            return Err(LogError::Header { file: path, source });
        }
        let start = SEGMENT_HEADER_BYTES.min(bytes.len());
        if newest && header.is_err() && bytes.len() <= SEGMENT_HEADER_BYTES {
            // Made just before the end of the process: records come only after its header was synced.
            if self.cuts {
                self.files.remove(&path)?;
                self.files.sync_dir(self.folder)?;
            }
            return Ok(None);
        }
        match header {
            Ok(first) => self.expect(&path, first),
            Err(error) => self.lost(&path, 0, start, error.to_string()),
        }
        let end = self.records(&path, &bytes, start)?;
        let mut kept_bytes = bytes.len();
        let tail = bytes.get(end..).unwrap_or_default();
        let next = Sequence(self.seen.0.saturating_add(1));
        if newest && !tail.is_empty() && is_unfinished(tail, next) {
            self.replayed.torn_bytes += (bytes.len() - end) as u64;
            kept_bytes = end;
        } else if !tail.is_empty() {
            self.lost(&path, end, tail.len(), "no record up to the end of the segment".to_owned());
            if newest {
                // Its place is not given to another, which would be in doubt if the bytes became readable again.
                self.replayed.last = self.replayed.last.max(next);
            }
        }
        if self.cuts {
            self.keep(&path, bytes.get(..kept_bytes).unwrap_or_default(), bytes.len(), newest)?;
        }
        Ok(Some(Sealed { number, last: self.replayed.last, bytes: kept_bytes as u64 }))
    }

    /// The next record at or behind `offset` that can follow what was read.
    fn next<'b>(&self, bytes: &'b [u8], offset: usize) -> Option<Record<'b>> {
        let newest = self.replayed.last.max(self.seen).0;
        next_record(bytes, offset, self.seen, Sequence(newest.saturating_add(HIDDEN_RECORDS_MAX)))
    }

    /// Visits the records of a segment; returns where the last of them ends.
    fn records(&mut self, path: &Path, bytes: &[u8], start: usize) -> Result<usize, LogError> {
        let mut end = start;
        loop {
            let here = record_at(bytes, end).filter(|record| record.sequence > self.seen);
            let Some(record) = here.or_else(|| self.next(bytes, end)) else { return Ok(end) };
            if record.offset > end {
                let detail = format!("no whole record between {} and {}", self.seen.0, record.sequence.0);
                self.lost(path, end, record.offset - end, detail);
            } else if self.seen != Sequence(0) {
                self.expect(path, record.sequence);
            }
            end = record.end();
            self.seen = record.sequence;
            if record.sequence > self.after {
                self.replayed.records += 1;
                match (self.visit)(record) {
                    Ok(()) => {}
                    Err(Refused::Damaged(detail)) => {
                        self.lost(path, record.offset, record.end() - record.offset, detail);
                    }
                    Err(Refused::Stop) => return Err(LogError::Stopped),
                }
                self.replayed.last = self.replayed.last.max(record.sequence);
            }
        }
    }

    /// Reports records that are missing before `next`, unless they are in blocks anyway.
    fn expect(&mut self, path: &Path, next: Sequence) {
        let known = self.replayed.last.0.max(self.seen.0);
        if next.0 > known.saturating_add(1) {
            self.lost(path, 0, 0, format!("records {} to {} are missing before it", known + 1, next.0 - 1));
        }
        // What a damaged middle hid is reported once.
        self.seen = self.seen.max(Sequence(next.0.saturating_sub(1)));
        self.replayed.last = self.replayed.last.max(self.seen);
    }

    fn lost(&mut self, path: &Path, offset: usize, bytes: usize, detail: String) {
        let file: PathBuf = path.to_owned();
        self.replayed.damage.push(Damage { file, offset: offset as u64, bytes: bytes as u64, detail });
    }

    /// Makes what was read of a segment, which has `length` bytes, lasting: later records rest on it.
    fn keep(&mut self, path: &Path, read: &[u8], length: usize, newest: bool) -> Result<(), FileError> {
        let counts = self.replayed.last > self.after;
        if newest && counts {
            self.unsettled = settle(self.files, path, read)?;
            if self.unsettled.is_none() {
                return Ok(());
            }
        }
        let file = (counts || read.len() < length).then(|| self.files.open_append(path)).transpose()?;
        let Some(file) = file else { return Ok(()) };
        if read.len() < length {
            file.set_len(read.len() as u64)?;
        }
        file.sync_data()
    }
}
