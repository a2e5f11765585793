//! Files on their way: summed, compared, copied, in pieces that take no memory.
#![warn(clippy::indexing_slicing)]

use std::path::Path;

use crc32fast::Hasher;

use super::manifest::Sum;
use crate::files::{FileError, Files, ReadAt, beside};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 1 << 20;
/// What the first bytes of a block say: all of its header but the checksum.
const HEAD_BYTES: u64 = 36;
/// Length of a block's footer.
const FOOTER_BYTES: u64 = 168;
/// As much of the footer as its checksum covers.
const TAIL_BYTES: u64 = 156;

/// Why a copy was not made.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The file cannot be read.
    Read(FileError),
    /// The copy cannot be written.
    Write(FileError),
    /// Whoever watched wants no more.
    Stopped,
}

/// Hands `content` to `take` piece by piece.
fn each_piece(content: &dyn ReadAt, take: &mut dyn FnMut(&[u8]) -> Result<(), CopyError>) -> Result<(), CopyError> {
    let mut buffer = vec![0; usize::try_from(content.length()).map_or(PIECE_BYTES, |length| length.min(PIECE_BYTES))];
    let mut at = 0;
    while at < content.length() {
        let left = usize::try_from(content.length() - at).unwrap_or(PIECE_BYTES);
        buffer.truncate(left);
        content.read_at(at, &mut buffer).map_err(CopyError::Read)?;
        take(&buffer)?;
        at += buffer.len() as u64;
    }
    Ok(())
}

/// Length and checksum of `content`. `went` is told how many bytes are done more, and says whether to go on.
pub(super) fn sum_of(content: &dyn ReadAt, went: &mut dyn FnMut(u64) -> bool) -> Result<Sum, CopyError> {
    let mut hasher = Hasher::new();
    each_piece(content, &mut |piece| {
        hasher.update(piece);
        if went(piece.len() as u64) { Ok(()) } else { Err(CopyError::Stopped) }
    })?;
    Ok(Sum { bytes: content.length(), crc: hasher.finalize() })
}

/// Writes `content` to a new file at `path`, which is on disk when this returns, once its folder is synced. What was there is
/// replaced in one step, a failure leaves it. Returns the sum of what was read; `went` as for [`sum_of`].
pub(super) fn copy(
    files: &dyn Files,
    content: &dyn ReadAt,
    path: &Path,
    went: &mut dyn FnMut(u64) -> bool,
) -> Result<Sum, CopyError> {
    let beside = beside(path);
    // Emptying a left-over in place would empty what it is linked to.
    remove_if_there(files, &beside).map_err(CopyError::Write)?;
    let copied = write(files, content, &beside, went)
        .and_then(|sum| files.rename(&beside, path).map(|()| sum).map_err(CopyError::Write));
    if copied.is_err() {
        // It takes space; what cannot be removed now is removed by the next try.
        let _ = files.remove(&beside);
    }
    copied
}

fn write(
    files: &dyn Files,
    content: &dyn ReadAt,
    path: &Path,
    went: &mut dyn FnMut(u64) -> bool,
) -> Result<Sum, CopyError> {
    let file = files.create(path).map_err(CopyError::Write)?;
    let mut hasher = Hasher::new();
    each_piece(content, &mut |piece| {
        hasher.update(piece);
        file.append(piece).map_err(CopyError::Write)?;
        if went(piece.len() as u64) { Ok(()) } else { Err(CopyError::Stopped) }
    })?;
    file.sync_data().map_err(CopyError::Write)?;
    Ok(Sum { bytes: content.length(), crc: hasher.finalize() })
}

/// Removes a file that need not be there.
pub(super) fn remove_if_there(files: &dyn Files, path: &Path) -> Result<(), FileError> {
    match files.remove(path) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// What of a block tells it from others of its name: its days and its footer, which has the checksums of its directories, which
/// have those of everything else. Of a file that is no block, the same places.
pub(super) fn ends(content: &dyn ReadAt) -> Result<Vec<u8>, FileError> {
    let length = content.length();
    let head = length.min(HEAD_BYTES);
    let tail_at = length.saturating_sub(FOOTER_BYTES);
    let mut ends = length.to_le_bytes().to_vec();
    // The checksums in header and footer stay out: a CRC over bytes and their CRC is the same for all.
    for (at, bytes) in [(0, head), (tail_at, (length - tail_at).min(TAIL_BYTES))] {
        let mut part = vec![0; usize::try_from(bytes).unwrap_or(0)];
        content.read_at(at, &mut part)?;
        ends.append(&mut part);
    }
    Ok(ends)
}

/// The [`ends`] in four bytes.
pub(super) fn stamp_of(ends: &[u8]) -> u32 {
    crc32fast::hash(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_differ_have_other_stamps() {
        let block = |crc: u32| {
            let mut bytes: Vec<u8> = vec![1; 40];
            let mut footer = crc.to_le_bytes().to_vec();
            footer.resize(156, 0);
            footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
            footer.extend_from_slice(b"12345678");
            bytes.extend_from_slice(&footer);
            stamp_of(&ends(&bytes).expect("memory is read"))
        };
        let mut stamps: Vec<u32> = (0..100).map(block).collect();
        stamps.sort_unstable();
        stamps.dedup();
        assert_eq!(stamps.len(), 100);
        let short = |length: usize| ends(&vec![7; length]).expect("memory is read").len();
        assert_eq!([short(0), short(5), short(100), short(300)], [8, 18, 144, 200]);
    }

    #[test]
    fn long_files_are_summed_in_pieces() {
        let content: Vec<u8> = (0..PIECE_BYTES * 2 + 9).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let mut pieces = Vec::new();
        let sum = sum_of(&content, &mut |bytes| {
            pieces.push(bytes);
            true
        });
        let want = Sum { bytes: content.len() as u64, crc: crc32fast::hash(&content) };
        assert_eq!(sum.expect("read"), want);
        assert_eq!(pieces, [1 << 20, 1 << 20, 9]);
        assert!(matches!(sum_of(&content, &mut |_| false), Err(CopyError::Stopped)));
    }
}
