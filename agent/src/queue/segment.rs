//! One file of the queue: a header, then records. Files are named by the sequence of their first record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{Decoded, HEADER_BYTES, PAYLOAD_BYTES_MAX, Record};
use crate::private;

const MAGIC: &[u8; 8] = b"MKQUEUE1";
/// Magic and first sequence.
pub(super) const FILE_HEADER_BYTES: u64 = 16;
const SUFFIX: &str = "queue";
/// Longest file that is opened; a file of the queue is far shorter.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// How far behind a damaged record others are looked for.
const SEARCHED_BYTES_MAX: u64 = 64 << 20;

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    /// Sequence of the last record; below `first` when there is none.
    pub(super) last: u64,
    pub(super) bytes: u64,
    /// Samples in records that are not acknowledged.
    pub(super) waiting: u64,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
    /// Records that were read or written, and the samples in them.
    records: u64,
    samples: u64,
    unread: Option<Unread>,
}

/// What lies behind the last record that could be read at the start.
#[derive(Debug)]
struct Unread {
    bytes: u64,
    /// What was acknowledged then.
    acknowledged: u64,
}

impl Segment {
    /// Makes an empty file whose first record will be `first`.
    pub(super) fn create(folder: &Path, first: u64) -> io::Result<(Self, File)> {
        let path = folder.join(format!("{first:020}.{SUFFIX}"));
        let mut file = private::options().create_new(true).append(true).open(&path)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&first.to_le_bytes());
        if let Err(error) = file.write_all(&header) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok((Self::new(path, first), file))
    }

    fn new(path: PathBuf, first: u64) -> Self {
        Self {
            path,
            first,
            last: first.saturating_sub(1),
            bytes: FILE_HEADER_BYTES,
            waiting: 0,
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
            records: 0,
            samples: 0,
            unread: None,
        }
    }

    /// Takes note of a record that is in the file; `waits` when it is not acknowledged.
    pub(super) fn note(&mut self, record: &Record, waits: bool) {
        self.last = record.sequence;
        self.bytes += record.disk_bytes();
        self.records += 1;
        self.samples += u64::from(record.samples);
        self.oldest_ms = self.oldest_ms.min(record.created_ms);
        self.newest_ms = self.newest_ms.max(record.created_ms);
        if waits {
            self.waiting += u64::from(record.samples);
        }
    }

    /// Whether it could not be read to its end at the start.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Samples that waited behind the last record that could be read at the start; nothing where all could. What can be read by now is
    /// counted, of the rest the number is what it were if its records were like those that could be read.
    pub(super) fn waiting_unread(&self) -> Option<u64> {
        let unread = self.unread.as_ref()?;
        let end = self.bytes.saturating_add(unread.bytes);
        let (mut at, mut last, mut waiting) = (self.bytes, self.last, 0);
        if let Ok(file) = File::open(&self.path) {
            while let Ok(Decoded::Record(record, length)) = read_at(&file, at, end) {
                at += length as u64;
                last = record.sequence;
                waiting += if last > unread.acknowledged { u64::from(record.samples) } else { 0 };
            }
        }
        let read_bytes = self.bytes.saturating_sub(FILE_HEADER_BYTES).max(1);
        let records = (end - at).saturating_mul(self.records) / read_bytes;
        let waiting_records = records.saturating_sub(unread.acknowledged.saturating_sub(last));
        Some(waiting + waiting_records.saturating_mul(self.samples) / self.records.max(1))
    }

    /// The sequence that the name of the file at `path` says.
    pub(super) fn named(path: &Path) -> Option<u64> {
        path.file_stem()?.to_str()?.parse().ok()
    }

    /// Reads the file at `path` through. What ends in no whole record was being written and is cut; where records are damaged, a copy of
    /// the file is put aside before. Only the last file of all, `is_last`, can have been written to. Nothing when it is no file of a queue.
    pub(super) fn recover(path: &Path, acknowledged: u64, is_last: bool) -> io::Result<Option<Recovered>> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        private::tighten(&file);
        let file_bytes = file.metadata()?.len();
        let mut header = [0; 16];
        if file_bytes > FILE_BYTES_MAX || file.read_exact(&mut header).is_err() || !header.starts_with(MAGIC) {
            return Ok(None);
        }
        let (_, first) = header.split_at(8);
        let first = u64::from_le_bytes(first.try_into().expect("eight bytes"));
        let mut segment = Self::new(path.to_owned(), first);
        let mut expected = first;
        let is_whole = loop {
            match read_at(&file, segment.bytes, file_bytes) {
                Ok(Decoded::Record(record, _)) if record.sequence >= expected => {
                    expected = record.sequence + 1;
                    segment.note(&record, record.sequence > acknowledged);
                }
                Ok(Decoded::End) => break true,
                Ok(Decoded::Record(..) | Decoded::Damaged) => break false,
                // What was read before is there; nothing may be written behind what cannot be read.
                Err(error) if segment.first <= segment.last => {
                    tracing::error!(path = %path.display(), at = segment.bytes, %error, "the rest of a queue file cannot be read");
                    let unread_bytes = file_bytes - segment.bytes;
                    segment.unread = Some(Unread { bytes: unread_bytes, acknowledged });
                    return Ok(Some(Recovered { segment, file: None, unread_bytes, cut_bytes: 0, lost_samples: 0 }));
                }
                Err(error) => return Err(error),
            }
        };
        let cut_bytes = file_bytes - segment.bytes;
        let mut lost_samples = 0;
        if !is_whole {
            let behind = whole_behind(&file, &segment, file_bytes).unwrap_or_default();
            if !is_last || !behind.is_empty() || !is_unfinished(&file, segment.bytes, file_bytes)? {
                let aside = path.with_extension("damaged");
                let copied = fs::copy(path, &aside).map(drop);
                let waiting = behind.iter().filter(|(sequence, _)| *sequence > acknowledged);
                lost_samples = waiting.map(|(_, samples)| u64::from(*samples)).sum();
                let (path, aside) = (path.display(), aside.display());
                tracing::error!(%path, %aside, ?copied, lost_samples, "queue file has a damaged record; copied aside and cut before it");
            }
            file.set_len(segment.bytes)?;
        }
        Ok(Some(Recovered { segment, file: Some(file), unread_bytes: 0, cut_bytes, lost_samples }))
    }

    /// Whether `path` is named like a file of the queue.
    pub(super) fn is_segment(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == SUFFIX)
    }
}

/// A file that was read through.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segment: Segment,
    /// Open for appending; none where that must not be.
    pub(super) file: Option<File>,
    /// Bytes behind the last good record that cannot be read now, but perhaps at a later start.
    pub(super) unread_bytes: u64,
    /// Bytes behind the last good record, which are gone.
    pub(super) cut_bytes: u64,
    /// Samples that waited in whole records among them.
    pub(super) lost_samples: u64,
}

/// Whether what begins at `offset` is the beginning of a record at most, or room that was never written.
fn is_unfinished(file: &File, offset: u64, file_bytes: u64) -> io::Result<bool> {
    let Some((length, head)) = head_at(file, offset, file_bytes)? else { return Ok(true) };
    let runs_out = (HEADER_BYTES + length) as u64 > file_bytes.saturating_sub(offset);
    Ok(length <= PAYLOAD_BYTES_MAX && runs_out || head == [0; HEADER_BYTES])
}

/// Sequence and samples of the whole records behind the damaged one where `segment` ends. Its length may be what is damaged, so they are
/// looked for at every byte.
fn whole_behind(file: &File, segment: &Segment, file_bytes: u64) -> io::Result<Vec<(u64, u32)>> {
    let left = file_bytes.saturating_sub(segment.bytes).min(SEARCHED_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or_default()];
    file.read_exact_at(&mut bytes, segment.bytes)?;
    let mut found = Vec::new();
    let (mut last, mut at) = (segment.last, 1);
    while let Some((head, _)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<HEADER_BYTES>) {
        let (length, _) = head.split_first_chunk::<4>().expect("the header is longer");
        let whole = (u32::from_le_bytes(*length) as usize).saturating_add(HEADER_BYTES);
        // Checked by its sum only where its number could be the next: the sum of all bytes at every byte takes long.
        let follows = Record::sequence_in(head).checked_sub(last).is_some_and(|ahead| (1..=left).contains(&ahead));
        match bytes.get(at..at.saturating_add(whole)).filter(|_| follows).map(Record::decode) {
            Some(Decoded::Record(record, _)) => {
                last = record.sequence;
                at += whole;
                found.push((record.sequence, record.samples));
            }
            _ => at += 1,
        }
    }
    Ok(found)
}

/// The length that the record at `offset` says its payload has, and its header; nothing where the file has no whole header.
fn head_at(file: &File, offset: u64, file_bytes: u64) -> io::Result<Option<(usize, [u8; HEADER_BYTES])>> {
    let mut head = [0; HEADER_BYTES];
    if file_bytes.saturating_sub(offset) < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, offset)?;
    let (length, _) = head.split_first_chunk::<4>().expect("the header is longer");
    Ok(Some((u32::from_le_bytes(*length) as usize, head)))
}

#[cfg(test)]
thread_local! {
    /// Where a device that fails now and then cannot be read, on this thread.
    pub(super) static UNREADABLE_FROM: std::cell::Cell<u64> = const { std::cell::Cell::new(u64::MAX) };
}

/// The record at `offset` of a file with `file_bytes` bytes.
pub(super) fn read_at(file: &File, offset: u64, file_bytes: u64) -> io::Result<Decoded> {
    #[cfg(test)]
    if offset >= UNREADABLE_FROM.get() {
        return Err(io::ErrorKind::Other.into());
    }
    let left = file_bytes.saturating_sub(offset);
    if left == 0 {
        return Ok(Decoded::End);
    }
    let Some((length, _)) = head_at(file, offset, file_bytes)? else { return Ok(Decoded::Damaged) };
    if length > PAYLOAD_BYTES_MAX || ((HEADER_BYTES + length) as u64) > left {
        return Ok(Decoded::Damaged);
    }
    let mut bytes = vec![0; HEADER_BYTES + length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Record::decode(&bytes))
}
