//! The catalog as one flat file: every tree of it, key by key, in frames with checksums.
//!
//! sled writes where it likes and as long as it is open, so that its files cannot be copied under it. What this file holds is read
//! through sled, and put into a new one when the backup is restored. What keys and values mean is the
//! [catalog](crate::catalog)'s business. The bytes are drawn in `docs/format-backup.md`.
#![warn(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::manifest::Sum;
use crate::codec::varint::{push_u64, take_usize};
use crate::files::{FileError, ReadAt, WriteFile};

const MAGIC: [u8; 8] = *b"MKCATLG\n";
const VERSION: u32 = 1;
/// Length of the header.
pub const HEADER_BYTES: usize = 20;
/// Length of what precedes each frame: its length and its checksum.
const FRAME_HEAD_BYTES: usize = 8;
/// Entries are gathered up to this length.
const FRAME_BYTES: usize = 1 << 20;
/// Longest frame; an entry is in one frame whole.
const FRAME_BYTES_MAX: usize = 512 << 20;
/// Longest name of a tree.
const TREE_BYTES_MAX: usize = 64;
/// Longest key: names of metrics are keys.
const KEY_BYTES_MAX: usize = 1 << 20;

/// Takes an entry: tree, key, value. Or says why it cannot go on.
pub type TakeEntry<'a> = dyn FnMut(&[u8], &[u8], &[u8]) -> Result<(), String> + 'a;

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CatalogFileError {
    /// Bytes changed or are missing.
    #[error("{detail} at byte {offset}")]
    Damaged { offset: u64, detail: &'static str },
    /// A newer program wrote it.
    #[error("its version is {0}, this program reads {VERSION}")]
    Version(u32),
    /// The disk fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// Whoever took the entries could not go on.
    #[error("{0}")]
    Refused(String),
}

/// Writes such a file.
#[derive(Debug)]
pub struct CatalogWriter {
    path: PathBuf,
    file: Box<dyn WriteFile>,
    sum: Hasher,
    /// The frame that grows: room for its head, and what is in it so far.
    frame: Vec<u8>,
    /// Whose entries are in it.
    tree: Vec<u8>,
}

impl CatalogWriter {
    /// Begins `file`, which is new and lies at `path`.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails.
    pub fn begin(path: &Path, file: Box<dyn WriteFile>, folder_version: u32) -> Result<Self, FileError> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&folder_version.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let mut writer = Self { path: path.to_owned(), file, sum: Hasher::new(), frame: Vec::new(), tree: Vec::new() };
        writer.append(&header)?;
        Ok(writer)
    }

    /// Adds an entry of `tree`. Entries of one tree follow each other.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails, or the entry is longer than a file can have it.
    pub fn entry(&mut self, tree: &[u8], key: &[u8], value: &[u8]) -> Result<(), FileError> {
        // What a reader would refuse must not look like a backup.
        for (what, found, limit) in [("tree", tree.len(), TREE_BYTES_MAX), ("key", key.len(), KEY_BYTES_MAX)] {
            if found > limit {
                let detail = format!("the name of a {what} of the catalog has {found} bytes, a backup takes {limit}");
                return Err(FileError::new("append", &self.path, std::io::Error::other(detail)));
            }
        }
        if self.tree != tree || self.frame.len() + key.len() + value.len() > FRAME_BYTES {
            self.end_frame()?;
        }
        if self.frame.is_empty() {
            self.frame.resize(FRAME_HEAD_BYTES, 0);
            push_u64(&mut self.frame, tree.len() as u64);
            self.frame.extend_from_slice(tree);
            tree.clone_into(&mut self.tree);
        }
        push_u64(&mut self.frame, key.len() as u64);
        push_u64(&mut self.frame, value.len() as u64);
        self.frame.extend_from_slice(key);
        self.frame.extend_from_slice(value);
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), FileError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        self.write_frame()
    }

    fn write_frame(&mut self) -> Result<(), FileError> {
        let mut frame = std::mem::take(&mut self.frame);
        let payload = frame.split_off(FRAME_HEAD_BYTES);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if length as usize > FRAME_BYTES_MAX {
            let detail = format!("a value of the catalog has {length} bytes, a backup takes {FRAME_BYTES_MAX}");
            return Err(FileError::new("append", &self.path, std::io::Error::other(detail)));
        }
        self.append(&head_of(length, &payload))?;
        self.append(&payload)?;
        self.frame = payload;
        self.frame.clear();
        Ok(())
    }

    /// Ends the file and puts it on disk.
    ///
    /// # Errors
    ///
    /// When the disk is full or fails.
    pub fn finish(mut self) -> Result<Sum, FileError> {
        self.end_frame()?;
        self.frame.resize(FRAME_HEAD_BYTES, 0);
        self.write_frame()?;
        self.file.sync_data()?;
        Ok(Sum { bytes: self.file.len(), crc: self.sum.finalize() })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.sum.update(bytes);
        self.file.append(bytes)
    }
}

fn head_of(length: u32, payload: &[u8]) -> [u8; FRAME_HEAD_BYTES] {
    let mut hasher = Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    let head = u64::from(length) | u64::from(hasher.finalize()) << u32::BITS;
    head.to_le_bytes()
}

/// Hands every entry of the file to `take`: tree, key, value. Returns the version of the data folder that it is of.
///
/// # Errors
///
/// When bytes changed or are missing, the disk fails, a newer program wrote it, or `take` says why it cannot go on.
pub fn read(file: &dyn ReadAt, take: &mut TakeEntry<'_>) -> Result<u32, CatalogFileError> {
    let folder_version = read_header(file)?;
    let mut at = HEADER_BYTES as u64;
    let mut payload = Vec::new();
    loop {
        let damaged = |detail| CatalogFileError::Damaged { offset: at, detail };
        let mut head = [0; FRAME_HEAD_BYTES];
        let left = file.length().saturating_sub(at);
        if left < FRAME_HEAD_BYTES as u64 {
            return Err(damaged("the file ends early"));
        }
        file.read_at(at, &mut head)?;
        let [a, b, c, d, ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let end = at + FRAME_HEAD_BYTES as u64 + u64::from(length);
        if length as usize > FRAME_BYTES_MAX || end > file.length() {
            return Err(damaged("a frame ends beyond the file"));
        }
        // Its length is that of bytes which are there.
        payload.resize(length as usize, 0);
        file.read_at(at + FRAME_HEAD_BYTES as u64, &mut payload)?;
        if head_of(length, &payload) != head {
            return Err(damaged("a frame's checksum differs"));
        }
        if length == 0 {
            return if end == file.length() { Ok(folder_version) } else { Err(damaged("bytes follow the end")) };
        }
        read_frame(&payload, take).ok_or_else(|| damaged("a frame's entries cannot be read"))??;
        at = end;
    }
}

fn read_header(file: &dyn ReadAt) -> Result<u32, CatalogFileError> {
    let damaged = |detail| CatalogFileError::Damaged { offset: 0, detail };
    let mut header = [0; HEADER_BYTES];
    if file.length() < HEADER_BYTES as u64 {
        return Err(damaged("the file is too short"));
    }
    file.read_at(0, &mut header)?;
    let parts = header.split_last_chunk::<4>().and_then(|(covered, crc)| {
        let (magic, rest) = covered.split_first_chunk::<8>()?;
        let (version, folder_version) = rest.split_first_chunk::<4>()?;
        Some((covered, *magic, *version, *folder_version.first_chunk::<4>()?, *crc))
    });
    let Some((covered, magic, version, folder_version, crc)) = parts else { return Err(damaged("its header")) };
    if magic != MAGIC || u32::from_le_bytes(crc) != crc32fast::hash(covered) {
        return Err(damaged("it is no file of a catalog"));
    }
    match u32::from_le_bytes(version) {
        VERSION => Ok(u32::from_le_bytes(folder_version)),
        other => Err(CatalogFileError::Version(other)),
    }
}

/// `None` if it is malformed.
fn read_frame(mut payload: &[u8], take: &mut TakeEntry<'_>) -> Option<Result<(), CatalogFileError>> {
    let length = take_usize(&mut payload, TREE_BYTES_MAX)?;
    let (tree, mut rest) = payload.split_at_checked(length)?;
    while !rest.is_empty() {
        let key_bytes = take_usize(&mut rest, KEY_BYTES_MAX)?;
        let value_bytes = take_usize(&mut rest, FRAME_BYTES_MAX)?;
        let (key, after) = rest.split_at_checked(key_bytes)?;
        let (value, after) = after.split_at_checked(value_bytes)?;
        rest = after;
        if let Err(detail) = take(tree, key, value) {
            return Some(Err(CatalogFileError::Refused(detail)));
        }
    }
    Some(Ok(()))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    use crate::files::{Files, RealFiles};

    type Entries = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

    fn entries() -> Entries {
        let one = |tree: &str, key: &str, value: Vec<u8>| (tree.as_bytes().to_vec(), key.as_bytes().to_vec(), value);
        vec![
            one("a", "", Vec::new()),
            one("a", "k", vec![7; 300]),
            one("b", "long", vec![1; FRAME_BYTES + 5]),
            one("b", "after", vec![2]),
            one("c", "k", vec![3; 200]),
        ]
    }

    fn encode(folder_version: u32, entries: &[(Vec<u8>, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog-1");
        let file = RealFiles.create(&path).expect("made");
        let mut writer = CatalogWriter::begin(&path, file, folder_version).expect("written");
        for (tree, key, value) in entries {
            writer.entry(tree, key, value).expect("written");
        }
        let sum = writer.finish().expect("written");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(sum, Sum { bytes: bytes.len() as u64, crc: crc32fast::hash(&bytes) });
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<(u32, Entries), CatalogFileError> {
        let mut all = Entries::new();
        let version = read(&bytes.to_vec(), &mut |tree, key, value| {
            all.push((tree.to_vec(), key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok((version, all))
    }

    #[test]
    fn entries_are_read_back() {
        let bytes = encode(2, &entries());
        assert_eq!(read_all(&bytes).expect("readable"), (2, entries()));
        assert_eq!(read_all(&encode(9, &[])).expect("readable"), (9, Vec::new()));
        let refused = read(&bytes, &mut |_, key, _| if key == b"long" { Err("no room".to_owned()) } else { Ok(()) });
        assert!(matches!(refused, Err(CatalogFileError::Refused(detail)) if detail == "no room"));
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog-1");
        let mut writer = CatalogWriter::begin(&path, RealFiles.create(&path).expect("made"), 2).expect("written");
        let long = vec![b'k'; KEY_BYTES_MAX + 1];
        let refused = writer.entry(b"a", &long, b"v").expect_err("refused").to_string();
        assert!(refused.contains("1048577 bytes, a backup takes 1048576"), "{refused}");
        writer.entry(&[b't'; TREE_BYTES_MAX + 1], b"k", b"v").expect_err("refused");
        writer.entry(b"a", &long[1..], b"v").expect("written");
        writer.finish().expect("written");
        let entries = read_all(&std::fs::read(&path).expect("read")).expect("readable").1;
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(2, &[entries()[0].clone(), entries()[1].clone(), entries()[4].clone()]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(read_all(&bytes[..cut]).is_err(), "cut to {cut}");
        }
        assert!(read_all(&[&bytes[..], &[0]].concat()).is_err(), "longer");
    }
}
