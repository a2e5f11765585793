//! The manifest: what a backup consists of, in lines of text that a person can read and whose checksum is the last of them.
//!
//! A backup is there once its manifest is: it is renamed into place when all that it names is on disk. What is read back must
//! be, byte for byte, what would be written of it; so there is one way to say a thing, and a name is never a path.
#![warn(clippy::indexing_slicing)]

use std::fmt::Write as _;

use super::names;

/// The version of the layout and of the manifest.
pub const VERSION: u32 = 1;
/// Longest manifest: about a million blocks.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Longest name of a program's version.
const PROGRAM_BYTES_MAX: usize = 64;
/// What a manifest begins with, before its version.
const FIRST_WORDS: &str = "metrickit backup ";

/// Length and CRC-32 of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 of all of them.
    pub crc: u32,
}

/// A block of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockFile {
    /// Its name in a data folder.
    pub file: String,
    /// What tells it from other blocks that ever had the name.
    pub stamp: u32,
    /// Its bytes.
    pub sum: Sum,
}

/// What a backup consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Backups in one folder count up from 1.
    pub number: u64,
    /// When it was taken, in milliseconds since the Unix epoch: it has what was acknowledged before.
    pub taken_ms: i64,
    /// The version of the program that took it.
    pub program: String,
    /// The version of the data folder.
    pub folder_version: u32,
    /// The file with the catalog.
    pub catalog: Sum,
    /// The blocks, ascending by name.
    pub blocks: Vec<BlockFile>,
    /// Blocks that the catalog names, but whose files were gone, or could not be read, when the backup was taken; ascending.
    pub lost: Vec<String>,
}

/// Why a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// Its bytes are not what was written.
    Damaged(String),
    /// A newer program wrote it.
    Version(u32),
}

impl Manifest {
    /// The manifest as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let Self { number, taken_ms, program, folder_version, catalog, blocks, lost } = self;
        let mut text = format!(
            "{FIRST_WORDS}{VERSION}\nnumber {number}\ntaken-ms {taken_ms}\nprogram {program}\nfolder-version {folder_version}\n\
             catalog {} {:08x}\n",
            catalog.bytes, catalog.crc
        );
        let grown = "text grows";
        for BlockFile { file, stamp, sum } in blocks {
            writeln!(text, "block {file} {stamp:08x} {} {:08x}", sum.bytes, sum.crc).expect(grown);
        }
        for file in lost {
            writeln!(text, "lost {file}").expect(grown);
        }
        let crc = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc {crc:08x}").expect(grown);
        text.into_bytes()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// When a newer program wrote it, or its bytes are not what was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |detail: &str| ManifestError::Damaged(detail.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
        let first = text.lines().next().unwrap_or_default();
        let version = first.strip_prefix(FIRST_WORDS).ok_or_else(|| damaged("it does not begin as one"))?;
        match version.parse() {
            Ok(VERSION) => {}
            Ok(newer) if newer > VERSION => return Err(ManifestError::Version(newer)),
            _ => return Err(damaged("its version cannot be read")),
        }
        let mut found = Self::default();
        for (at, line) in text.lines().enumerate().skip(1) {
            found.take(line).ok_or_else(|| ManifestError::Damaged(format!("line {} cannot be read", at + 1)))?;
        }
        // Whatever was left out, said twice, or changed is not as it would be written.
        if found.encode() != bytes {
            return Err(damaged("its lines or its checksum are not as they were written"));
        }
        let is_ordered = found.blocks.is_sorted_by(|a, b| a.file < b.file) && found.lost.is_sorted_by(|a, b| a < b);
        let is_lost = |file: &String| found.lost.binary_search(file).is_ok();
        if !is_ordered || found.blocks.iter().any(|block| is_lost(&block.file)) {
            return Err(damaged("it names a block twice, or not in order"));
        }
        Ok(found)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["number", number] => self.number = number.parse().ok()?,
            ["taken-ms", at_ms] => self.taken_ms = at_ms.parse().ok()?,
            ["program", program] if program.len() <= PROGRAM_BYTES_MAX => program.clone_into(&mut self.program),
            ["folder-version", version] => self.folder_version = version.parse().ok()?,
            ["catalog", bytes, crc] => self.catalog = sum(bytes, crc)?,
            ["block", file, stamp, bytes, crc] if names::is_block(file) => {
                let (file, stamp) = (file.to_owned(), u32::from_str_radix(stamp, 16).ok()?);
                self.blocks.push(BlockFile { file, stamp, sum: sum(bytes, crc)? });
            }
            ["lost", file] if names::is_block(file) => self.lost.push(file.to_owned()),
            ["crc", _] => {}
            _ => return None,
        }
        Some(())
    }

    /// The block of this name.
    pub(super) fn block(&self, file: &str) -> Option<&BlockFile> {
        let at = self.blocks.binary_search_by(|block| block.file.as_str().cmp(file)).ok()?;
        self.blocks.get(at)
    }

    /// What is known of a block, if it is the one with this stamp and length.
    pub(super) fn known(&self, file: &str, stamp: u32, bytes: u64) -> Option<Sum> {
        let block = self.block(file)?;
        (block.stamp == stamp && block.sum.bytes == bytes).then_some(block.sum)
    }

    /// Bytes of all its files but itself.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().fold(self.catalog.bytes, |sum, block| sum.saturating_add(block.sum.bytes))
    }
}

fn sum(bytes: &str, crc: &str) -> Option<Sum> {
    Some(Sum { bytes: bytes.parse().ok()?, crc: u32::from_str_radix(crc, 16).ok()? })
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn some() -> Manifest {
        let block = |file: &str, stamp, bytes| BlockFile { file: file.to_owned(), stamp, sum: Sum { bytes, crc: 7 } };
        Manifest {
            number: 3,
            taken_ms: -5,
            program: "0.1.0-rc.1+a".to_owned(),
            folder_version: 2,
            catalog: Sum { bytes: 99, crc: u32::MAX },
            blocks: vec![block("00000001.blk", 0xab, 5), block("123456789.blk", 0, u64::MAX)],
            lost: vec!["00000002.blk".to_owned()],
        }
    }

    /// The text with its checksum made right.
    fn sealed(text: &str) -> Vec<u8> {
        let body = text.rsplit_once("crc ").map_or(text, |(body, _)| body);
        format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes())).into_bytes()
    }

    #[test]
    fn a_manifest_is_read_back_and_every_flipped_bit_is_found() {
        let bytes = some().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(some()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut to {cut}");
        }
    }

    #[test]
    fn what_nobody_writes_is_refused_whatever_its_checksum() {
        let text = String::from_utf8(some().encode()).expect("text");
        assert_eq!(Manifest::decode(&sealed(&text)), Ok(some()));
        for (from, to) in [
            ("00000001.blk", "../../../x.blk"),
            ("00000001.blk", "1.blk"),
            ("00000001.blk", "00000003.blk/"),
            ("lost 00000002.blk", "lost 00000001.blk"),
            ("block 00000001.blk", "block 999999999.blk"),
            ("number 3", "number 03"),
            ("number 3", "number 3\nnumber 3"),
            ("number 3\n", ""),
            ("taken-ms -5", "taken-ms  -5"),
            ("000000ab", "000000AB"),
            ("program 0.1.0", "other 0.1.0"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(
                matches!(Manifest::decode(&sealed(&changed)), Err(ManifestError::Damaged(_))),
                "{from:?} as {to:?}"
            );
        }
        let newer = text.replacen("backup 1", "backup 2", 1);
        assert_eq!(Manifest::decode(newer.as_bytes()), Err(ManifestError::Version(2)), "whatever else it says");
    }
}
