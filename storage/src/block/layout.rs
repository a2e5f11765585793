//! The fixed parts of a block file: header and footer.

use super::Fault;

pub(super) const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const FOOTER_BYTES: usize = 168;

const MAGIC: [u8; 8] = *b"MKBLOCK\n";
const MAGIC_BACKWARDS: [u8; 8] = *b"\nKCOLBKM";
const HEADER_CRC_AT: usize = 36;
const VERSION_AT: usize = 152;
const FOOTER_CRC_AT: usize = 156;

/// The sections that the footer lists, in the order they lie in the file.
pub(super) const SECTION_NAMES: [&str; 4] = ["column directory", "column index", "series directory", "series index"];
pub(super) const COLUMN_DIRECTORY: usize = 0;
pub(super) const COLUMN_INDEX: usize = 1;
pub(super) const SERIES_DIRECTORY: usize = 2;
pub(super) const SERIES_INDEX: usize = 3;

/// Columns and series in one group of their directories.
pub(super) const COLUMN_GROUP: u64 = 16;
pub(super) const SERIES_GROUP: u64 = 32;

/// Bytes of one entry of the indexes.
pub(super) const COLUMN_INDEX_BYTES: u64 = 8;
pub(super) const SERIES_INDEX_BYTES: u64 = 16;

/// Where a section is, and its checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// What the footer says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) sections: [Section; 4],
    pub(super) series: u64,
    pub(super) chunks: u64,
    pub(super) columns: u64,
    pub(super) samples: u64,
    pub(super) min_ms: i64,
    pub(super) max_ms: i64,
    pub(super) file_bytes: u64,
}

/// Why the fixed parts cannot be read.
#[derive(Debug)]
pub(super) enum LayoutError {
    Fault(Fault),
    Version(u16),
}

impl From<Fault> for LayoutError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The number at `at`, or `None` beyond the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|raw| u64::from_le_bytes(*raw))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|raw| u32::from_le_bytes(*raw))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|raw| u16::from_le_bytes(*raw))
}

/// The partition of a block: days since 1970-01-01 UTC, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) first: i64,
    pub(super) last: i64,
}

/// The header of a block of `days`.
pub(super) fn encode_header(days: Days) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&days.first.to_le_bytes());
    bytes.extend_from_slice(&days.last.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// The partition of the block that `file` is.
pub(super) fn decode_header(file: &[u8]) -> Result<Days, LayoutError> {
    let fault = |detail: &str| Fault::new("header", 0, HEADER_BYTES as u64, detail);
    let header = file.get(..HEADER_BYTES).ok_or_else(|| fault("file too short"))?;
    if !header.starts_with(&MAGIC) {
        return Err(fault("not a block file").into());
    }
    let (checked, _) = header.split_at(HEADER_CRC_AT);
    super::check_crc("header", 0, checked, u32_at(header, HEADER_CRC_AT).unwrap_or(0))?;
    match u16_at(header, 8) {
        Some(VERSION) => {}
        found => return Err(LayoutError::Version(found.unwrap_or(0))),
    }
    if header.get(10..16) != Some(&[0; 6]) || header.get(32..HEADER_CRC_AT) != Some(&[0; 4]) {
        return Err(fault("reserved bytes are not zero").into());
    }
    let day_at = |at: usize| u64_at(header, at).unwrap_or(0).cast_signed();
    Ok(Days { first: day_at(16), last: day_at(24) })
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        for section in &self.sections {
            bytes.extend_from_slice(&section.offset.to_le_bytes());
            bytes.extend_from_slice(&section.bytes.to_le_bytes());
            bytes.extend_from_slice(&section.crc.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        for number in [
            self.series,
            self.chunks,
            self.columns,
            self.samples,
            self.min_ms.cast_unsigned(),
            self.max_ms.cast_unsigned(),
            self.file_bytes,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(&MAGIC_BACKWARDS);
        bytes
    }

    /// The footer of the file that `file` is, with its sections known to lie inside the file, without gap.
    pub(super) fn decode(file: &[u8]) -> Result<Self, LayoutError> {
        let at = file.len().saturating_sub(FOOTER_BYTES);
        let fault = |detail: &str| Fault::new("footer", at as u64, FOOTER_BYTES as u64, detail);
        let bytes = file.get(at..).filter(|bytes| bytes.len() == FOOTER_BYTES);
        let bytes = bytes.filter(|_| at >= HEADER_BYTES).ok_or_else(|| fault("file too short"))?;
        if !bytes.ends_with(&MAGIC_BACKWARDS) {
            return Err(fault("file is cut off").into());
        }
        let (checked, _) = bytes.split_at(FOOTER_CRC_AT);
        super::check_crc("footer", at as u64, checked, u32_at(bytes, FOOTER_CRC_AT).unwrap_or(0))?;
        match u16_at(bytes, VERSION_AT) {
            Some(VERSION) => {}
            found => return Err(LayoutError::Version(found.unwrap_or(0))),
        }
        let number = |at: usize| u64_at(bytes, at).unwrap_or(0);
        let mut footer = Self {
            sections: [Section::default(); 4],
            series: number(96),
            chunks: number(104),
            columns: number(112),
            samples: number(120),
            min_ms: number(128).cast_signed(),
            max_ms: number(136).cast_signed(),
            file_bytes: number(144),
        };
        for (place, section) in footer.sections.iter_mut().enumerate() {
            *section = Section {
                offset: number(place * 24),
                bytes: number(place * 24 + 8),
                crc: u32_at(bytes, place * 24 + 16).unwrap_or(0),
            };
        }
        footer.check(file.len() as u64).map_err(fault)?;
        Ok(footer)
    }

    /// Whether lengths and counts agree with each other.
    fn check(&self, file_bytes: u64) -> Result<(), &'static str> {
        if self.file_bytes != file_bytes {
            return Err("file has another length");
        }
        let mut at = self.sections.first().map_or(0, |section| section.offset);
        if at < HEADER_BYTES as u64 {
            return Err("sections overlap the header");
        }
        for section in &self.sections {
            if section.offset != at {
                return Err("sections have gaps");
            }
            at = at.checked_add(section.bytes).ok_or("a section ends beyond the file")?;
        }
        if at.checked_add(FOOTER_BYTES as u64) != Some(file_bytes) {
            return Err("sections do not end at the footer");
        }
        let [_, column_index, _, series_index] = &self.sections;
        let fits = |count: u64, group: u64, bytes_each: u64, section: &Section| {
            count.div_ceil(group).checked_mul(bytes_each) == Some(section.bytes)
        };
        if !fits(self.columns, COLUMN_GROUP, COLUMN_INDEX_BYTES, column_index)
            || !fits(self.series, SERIES_GROUP, SERIES_INDEX_BYTES, series_index)
        {
            return Err("an index has another length than its count");
        }
        Ok(())
    }

    /// Where the data ends.
    pub(super) fn data_end(&self) -> u64 {
        self.sections.first().map_or(0, |section| section.offset)
    }
}
