//! Where what lies in an index file: a header, six sections without gap, a footer. `docs/format-index.md` draws it.
#![warn(clippy::indexing_slicing)]

use std::ops::Range;

use super::super::pairs::Fault;

pub(super) const MAGIC: [u8; 8] = *b"MKINDEX\n";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 32;
/// Length and checksum of each section, and a checksum of them and the header.
pub(super) const FOOTER_BYTES: usize = SECTIONS * 12 + 4;
pub(super) const SECTIONS: usize = 6;

/// The sections, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Label pages, as the catalog codes them.
    Labels,
    /// Which pages, where.
    Pages,
    /// Hashes of label sets with their ids.
    Hashes,
    /// All ids.
    Ids,
    /// Texts of names and values, sets of series, and the rows of values.
    Values,
    /// The rows of names.
    Names,
}

/// Whose series a file has, and as of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the catalog's folder, which is also the key of the hashes.
    pub lineage: u64,
    /// A commit of the catalog that had all its series.
    pub commit: u64,
}

pub(super) fn header(stamp: Stamp) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&stamp.lineage.to_le_bytes());
    bytes.extend_from_slice(&stamp.commit.to_le_bytes());
    bytes
}

/// Length and checksum of each section, coded behind `header`.
pub(super) fn footer(header: &[u8], sections: &[(u64, u32); SECTIONS]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOTER_BYTES);
    for (length, crc) in sections {
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc.to_le_bytes());
    }
    let crc = footer_crc(header, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn footer_crc(header: &[u8], table: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(table);
    crc.finalize()
}

/// Where the sections of a file are, all of whose checksums were compared.
pub(super) fn read(bytes: &[u8]) -> Result<(Stamp, [Range<usize>; SECTIONS]), Fault> {
    let short = Fault("it is shorter than header and footer");
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(short)?;
    let (_, footer) = rest.split_last_chunk::<FOOTER_BYTES>().ok_or(short)?;
    let (magic, fields) = header.split_first_chunk::<8>().ok_or(short)?;
    if *magic != MAGIC {
        return Err(Fault("its first bytes"));
    }
    let (table, crc) = footer.split_last_chunk::<4>().ok_or(short)?;
    if u32::from_le_bytes(*crc) != footer_crc(header, table) {
        return Err(Fault("its footer"));
    }
    if take_u32(fields, 0) != Some(VERSION) {
        return Err(Fault("its version is another one"));
    }
    let stamp = take_u64(fields, 8).zip(take_u64(fields, 16)).map(|(lineage, commit)| Stamp { lineage, commit });
    let mut sections = [const { 0..0 }; SECTIONS];
    let mut at = HEADER_BYTES;
    for (section, row) in sections.iter_mut().zip(table.chunks_exact(12)) {
        let length = take_u64(row, 0).and_then(|length| usize::try_from(length).ok()).ok_or(short)?;
        let end = at.checked_add(length).ok_or(short)?;
        let content = bytes.get(at..end).ok_or(short)?;
        if take_u32(row, 8) != Some(crc32fast::hash(content)) {
            return Err(Fault("the checksum of a section"));
        }
        *section = at..end;
        at = end;
    }
    if at + FOOTER_BYTES != bytes.len() {
        return Err(Fault("its length"));
    }
    Ok((stamp.ok_or(short)?, sections))
}

/// Writes the checksums of a file anew, whatever its bytes say, as far as its sections can be told. For tests and fuzzing:
/// what is wrong behind sound checksums must be read without a panic too.
pub fn seal(bytes: &mut [u8]) {
    let Some(table_at) = bytes.len().checked_sub(FOOTER_BYTES) else { return };
    let (content, footer) = bytes.split_at_mut(table_at);
    let Some((table, crc)) = footer.split_last_chunk_mut::<4>() else { return };
    let mut at = HEADER_BYTES;
    for row in table.chunks_exact_mut(12) {
        let end = take_u64(row, 0).and_then(|length| at.checked_add(usize::try_from(length).ok()?));
        let Some(section) = end.and_then(|end| content.get(at..end)) else { return };
        if let Some(of_section) = row.last_chunk_mut::<4>() {
            *of_section = crc32fast::hash(section).to_le_bytes();
        }
        at += section.len();
    }
    if let Some(header) = content.get(..HEADER_BYTES) {
        *crc = footer_crc(header, table).to_le_bytes();
    }
}

pub(super) fn take_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn take_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// A row of section [`Pages`](Section::Pages): a label page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRow {
    pub(super) number: u32,
    pub(super) crc: u32,
    /// In section [`Labels`](Section::Labels); it ends where the next begins.
    pub(super) at: u64,
}

impl PageRow {
    pub(super) const BYTES: usize = 16;

    pub(super) fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
    }

    pub(super) fn read(row: &[u8; Self::BYTES]) -> Self {
        let [n0, n1, n2, n3, c0, c1, c2, c3, at @ ..] = *row;
        let (number, crc) = (u32::from_le_bytes([n0, n1, n2, n3]), u32::from_le_bytes([c0, c1, c2, c3]));
        Self { number, crc, at: u64::from_le_bytes(at) }
    }
}

/// A row of names or of values: where its text is, and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextRow {
    /// Of the text, in section [`Values`](Section::Values).
    pub(super) at: u64,
    /// Of a name: where the rows of its values are. Of a value: where its set of series is, or its only series.
    pub(super) of_at: u64,
    pub(super) bytes: u32,
    /// Of a name: how many values it has. Of a value: the length of its set; 0 if there is but one series.
    pub(super) of: u32,
}

impl TextRow {
    pub(super) const BYTES: usize = 24;

    pub(super) fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.of_at.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.of.to_le_bytes());
    }

    pub(super) fn read(row: &[u8; Self::BYTES]) -> Self {
        let number = |at| take_u64(row, at).unwrap_or(u64::MAX);
        let small = |at| take_u32(row, at).unwrap_or(u32::MAX);
        Self { at: number(0), of_at: number(8), bytes: small(16), of: small(20) }
    }
}

/// The hash of a label set in the files of `lineage`: the upper half of `SipHash-2-4`, so that no sender can make sets
/// that all have one.
pub(super) fn hash(lineage: u64, packed: &str) -> u32 {
    use std::hash::Hasher;
    #[expect(
        deprecated,
        reason = "std has no other SipHash with a key of one's own, and this one is the published one"
    )]
    let mut hasher = std::hash::SipHasher::new_with_keys(lineage, u64::from_le_bytes(MAGIC));
    hasher.write(packed.as_bytes());
    let [.., a, b, c, d] = hasher.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is on disk: another compiler must give the same.
    #[test]
    fn hashes_stay_what_they_are() {
        use std::hash::Hasher;
        // The example of the paper "SipHash: a fast short-input PRF", appendix A.
        #[expect(deprecated, reason = "as above")]
        let mut hasher = std::hash::SipHasher::new_with_keys(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        hasher.write(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
        assert_ne!(hash(1, "a"), hash(2, "a"));
    }

    #[test]
    fn rows_are_read_back() {
        let page = PageRow { number: 7, crc: u32::MAX, at: 1 << 40 };
        let text = TextRow { at: 1 << 41, of_at: 9, bytes: 3, of: u32::MAX };
        let (mut pages, mut texts) = (Vec::new(), Vec::new());
        page.push(&mut pages);
        text.push(&mut texts);
        assert_eq!(pages.first_chunk().map(PageRow::read), Some(page));
        assert_eq!(texts.first_chunk().map(TextRow::read), Some(text));
    }
}
