//! The mark of the last commit, outside of sled: shows that sled has silently gone back to an older state.
//!
//! sled forgets a segment of its file whose header is damaged, and with it everything since. So each commit has a number,
//! kept in the catalog, and after the commit is on disk the number and the state are written to the file `COMMIT` beside
//! the catalog's folder. A crash in between leaves the mark one commit behind, which is well. A catalog that is behind its
//! mark has lost commits: what it does not name may be what they made.
#![warn(clippy::indexing_slicing)]

use std::path::Path;

use super::State;
use crate::damage::Damage;
use crate::files::{FileError, Files, write_atomically};

/// Name of the file in the data folder.
pub const MARK_NAME: &str = "COMMIT";
const MAGIC: [u8; 8] = *b"MKCOMIT\n";
const VERSION: u32 = 1;
const MARK_BYTES: usize = 44;

/// A commit that was on disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number; commits count up from 1.
    pub number: u64,
    /// The state since then.
    pub state: State,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// There is none: no commit was marked yet.
    Nothing,
    /// Its bytes are not what was written.
    Unreadable(Damage),
    /// The commit marked last.
    Commit(Mark),
}

impl Mark {
    /// Reads the mark at `path`.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Marked, FileError> {
        let bytes = match files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Marked::Nothing),
            Err(error) => return Err(error),
        };
        Ok(Self::decode(&bytes).map_or_else(
            || {
                let detail = "the mark of the last commit cannot be read: nobody knows whether the catalog is older; \
                              the next commit writes it anew";
                let (file, bytes) = (path.to_owned(), bytes.len() as u64);
                Marked::Unreadable(Damage { file, offset: 0, bytes, detail: detail.to_owned() })
            },
            Marked::Commit,
        ))
    }

    /// Puts it in the place of the one before.
    ///
    /// # Errors
    ///
    /// When the disk fails; the one before is then still there, or this one.
    pub fn write(&self, files: &dyn Files, path: &Path) -> Result<(), FileError> {
        write_atomically(files, path, &self.encode())
    }

    /// Whether a catalog at `self` has lost what `marked` had.
    pub fn is_before(&self, marked: &Self) -> bool {
        let (own, other) = (&self.state, &marked.state);
        self.number < marked.number
            || own.flushed < other.flushed
            || own.next_block < other.next_block
            || own.next_series < other.next_series
    }

    /// The larger of each of their values.
    #[must_use]
    pub fn max(self, other: &Self) -> Self {
        let (own, others) = (self.state, other.state);
        Self {
            number: self.number.max(other.number),
            state: State {
                flushed: own.flushed.max(others.flushed),
                next_block: own.next_block.max(others.next_block),
                next_series: own.next_series.max(others.next_series),
            },
        }
    }

    fn encode(&self) -> Vec<u8> {
        let Self { number, state: State { flushed, next_block, next_series } } = self;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for value in [number, flushed, next_block] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&next_series.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = covered.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (flushed, rest) = rest.split_first_chunk::<8>()?;
        let (next_block, rest) = rest.split_first_chunk::<8>()?;
        let next_series = rest.first_chunk::<4>()?;
        let whole = *magic == MAGIC
            && u32::from_le_bytes(*version) == VERSION
            && u32::from_le_bytes(*crc) == crc32fast::hash(covered);
        whole.then(|| Self {
            number: u64::from_le_bytes(*number),
            state: State {
                flushed: u64::from_le_bytes(*flushed),
                next_block: u64::from_le_bytes(*next_block),
                next_series: u32::from_le_bytes(*next_series),
            },
        })
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_every_flipped_bit_is_found() {
        let mark = Mark { number: 7, state: State { flushed: 1 << 40, next_block: 9, next_series: u32::MAX } };
        let bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Some(mark));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(Mark::decode(&bytes[1..]), None);
    }
}
