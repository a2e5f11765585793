//! Segment headers and record frames: where a record starts, how long it is, whether it is whole.
//!
//! A record begins with a marker, so that reading can go on behind damage: the next place where marker, bounds and
//! checksum all hold is the next record.
#![warn(clippy::indexing_slicing)]

use crate::ids::Sequence;

/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"MKITLOG\n";
/// The only version so far.
const SEGMENT_VERSION: u32 = 1;
/// Bytes of a segment header.
pub const SEGMENT_HEADER_BYTES: usize = 24;
/// First bytes of a record.
const RECORD_MARKER: [u8; 4] = [0xf5, b'M', b'K', b'R'];
/// Bytes of a record header.
pub const RECORD_HEADER_BYTES: usize = 24;
/// Longest payload of a record.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;
/// While looking for a record behind damage, checksums of at most so many times the segment's length are computed.
const RESYNC_LENGTHS_MAX: usize = 16;
/// The one kind of record so far: a batch.
const KIND_BATCH: u8 = 1;

/// Why a segment header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum HeaderError {
    /// Fewer bytes than a header.
    #[error("segment header is cut short at {found_bytes} bytes")]
    Short { found_bytes: usize },
    /// Not a log segment, or its header changed on disk.
    #[error("segment header is damaged")]
    Damaged,
    /// Written by a newer program.
    #[error("segment version {version} is unknown, the newest known is {SEGMENT_VERSION}")]
    Version { version: u32 },
}

/// The header of a segment whose first record will be `first`.
pub fn segment_header(first: Sequence) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let (covered, crc) = header.split_at_mut(20);
    let (magic, rest) = covered.split_at_mut(8);
    let (version, sequence) = rest.split_at_mut(4);
    magic.copy_from_slice(&SEGMENT_MAGIC);
    version.copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    sequence.copy_from_slice(&first.0.to_le_bytes());
    crc.copy_from_slice(&crc32fast::hash(covered).to_le_bytes());
    header
}

/// Reads a segment header: the sequence its first record has.
///
/// # Errors
///
/// When it is short, damaged or of an unknown version.
pub fn read_segment_header(bytes: &[u8]) -> Result<Sequence, HeaderError> {
    let header: &[u8; SEGMENT_HEADER_BYTES] =
        bytes.first_chunk().ok_or(HeaderError::Short { found_bytes: bytes.len() })?;
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = *header;
    let covered = header.split_last_chunk::<4>().map_or(&[][..], |(covered, _)| covered);
    if [m0, m1, m2, m3, m4, m5, m6, m7] != SEGMENT_MAGIC
        || crc32fast::hash(covered) != u32::from_le_bytes([c0, c1, c2, c3])
    {
        return Err(HeaderError::Damaged);
    }
    match u32::from_le_bytes([v0, v1, v2, v3]) {
        SEGMENT_VERSION => Ok(Sequence(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]))),
        version => Err(HeaderError::Version { version }),
    }
}

/// Appends the record of `payload`, whose parts have at most [`PAYLOAD_BYTES_MAX`] bytes together, to `out`.
pub fn push_record(out: &mut Vec<u8>, sequence: Sequence, payload: &[&[u8]]) {
    let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
    debug_assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "larger batches are split");
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    let mut covered = [0; 16];
    let (for_length, rest) = covered.split_at_mut(4);
    let (for_sequence, for_kind) = rest.split_at_mut(8);
    for_length.copy_from_slice(&length.to_le_bytes());
    for_sequence.copy_from_slice(&sequence.0.to_le_bytes());
    for_kind.copy_from_slice(&[KIND_BATCH, 0, 0, 0]);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&covered);
    for part in payload {
        hasher.update(part);
    }
    out.reserve(RECORD_HEADER_BYTES + payload_bytes);
    out.extend_from_slice(&RECORD_MARKER);
    out.extend_from_slice(&covered);
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    for part in payload {
        out.extend_from_slice(part);
    }
}

/// A whole record inside a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub sequence: Sequence,
    /// Where it starts in its segment.
    pub offset: usize,
    /// Its content, whose checksum held.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Where the next record starts.
    pub fn end(&self) -> usize {
        self.offset + RECORD_HEADER_BYTES + self.payload.len()
    }
}

/// The sequence and the payload's length that a header at `offset` claims, unchecked.
fn claim_at(segment: &[u8], offset: usize) -> Option<(Sequence, usize)> {
    let header = segment.get(offset..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
    let [_, _, _, _, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, ..] = *header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    Some((Sequence(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7])), length))
}

/// The record at `offset`, if a whole one is there.
pub fn record_at(segment: &[u8], offset: usize) -> Option<Record<'_>> {
    let bytes = segment.get(offset..)?;
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let [m0, m1, m2, m3, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, kind, z0, z1, z2, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != RECORD_MARKER || [kind, z0, z1, z2] != [KIND_BATCH, 0, 0, 0] {
        return None;
    }
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    let payload = rest.get(..length).filter(|_| length <= PAYLOAD_BYTES_MAX)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(4..20)?);
    hasher.update(payload);
    let sequence = Sequence(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
    (hasher.finalize() == u32::from_le_bytes([c0, c1, c2, c3])).then_some(Record { sequence, offset, payload })
}

/// Whether `tail`, which holds no whole record, can be the beginning of the record `sequence` that was never finished, or
/// space that was never written. Else it was changed after it had been written.
pub fn is_unfinished(tail: &[u8], sequence: Sequence) -> bool {
    let marked = tail.iter().zip(&RECORD_MARKER).all(|(found, marker)| found == marker);
    let cut = claim_at(tail, 0).is_none_or(|(claimed, payload_bytes)| {
        let whole_bytes = payload_bytes.saturating_add(RECORD_HEADER_BYTES);
        claimed == sequence && whole_bytes > tail.len() && !is_whole_but_for_its_length(tail)
    });
    (marked && cut) || tail.iter().all(|&byte| byte == 0)
}

/// Whether all bytes up to the end are a record with another length than its header has.
fn is_whole_but_for_its_length(bytes: &[u8]) -> bool {
    let Some((header, payload)) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>() else { return false };
    let (Some(other), Some(crc), Ok(length)) = (header.get(8..20), header.get(20..), u32::try_from(payload.len()))
    else {
        return false;
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(other);
    hasher.update(payload);
    hasher.finalize().to_le_bytes() == crc
}

/// The first whole record at or behind `offset` whose sequence is above `after` and not above `until`: values that
/// senders chose may look like records. Gives up when it has checked many times the segment's length.
pub fn next_record(segment: &[u8], mut offset: usize, after: Sequence, until: Sequence) -> Option<Record<'_>> {
    let mut checked_bytes = 0;
    loop {
        let rest = segment.get(offset..)?;
        offset += rest.windows(RECORD_MARKER.len()).position(|bytes| bytes == RECORD_MARKER)?;
        let (sequence, length) = claim_at(segment, offset)?;
        if sequence > after && sequence <= until && length <= segment.len() - offset {
            checked_bytes += length;
            if checked_bytes > segment.len().saturating_mul(RESYNC_LENGTHS_MAX) {
                return None;
            }
            if let Some(record) = record_at(segment, offset) {
                return Some(record);
            }
        }
        offset += 1;
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn segment(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = segment_header(Sequence(1)).to_vec();
        for (at, payload) in payloads.iter().enumerate() {
            push_record(&mut bytes, Sequence(at as u64 + 1), &[payload]);
        }
        bytes
    }

    #[test]
    fn any_flipped_bit_loses_one_record_alone() {
        let bytes = segment(&[b"first", b"", b"third"]);
        let starts = [24, 24 + 29, 24 + 29 + 24];
        assert_eq!(read_segment_header(&bytes), Ok(Sequence(1)));
        for bit in 24 * 8..(24 + 29) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(record_at(&damaged, starts[0]), None, "bit {bit}");
            let next = next_record(&damaged, starts[0], Sequence(0), Sequence(9)).expect("two are whole");
            assert_eq!((next.sequence, next.offset), (Sequence(2), starts[1]), "bit {bit}");
            assert_eq!(record_at(&damaged, next.end()).map(|r| r.payload), Some(&b"third"[..]));
        }
    }

    /// Of a record that is cut anywhere, nothing is damaged; of one in which a bit flipped, something is.
    #[test]
    fn a_torn_record_is_told_from_a_changed_one() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, Sequence(7), &[b"payload"]);
        assert!((0..bytes.len()).all(|length| is_unfinished(&bytes[..length], Sequence(7))));
        assert!(is_unfinished(&[0; 99], Sequence(7)) && !is_unfinished(&bytes[..30], Sequence(8)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_unfinished(&flipped, Sequence(7)), "bit {bit}");
        }
    }

    /// Bytes that look like the start of long records, as values may, are looked at a bounded number of times.
    #[test]
    fn behind_damage_false_records_cost_little_and_lead_nowhere() {
        let mut bytes = segment_header(Sequence(1)).to_vec();
        bytes.extend_from_slice(b"damage");
        push_record(&mut bytes, Sequence(u64::MAX), &[b"forged"]);
        push_record(&mut bytes, Sequence(1), &[b"known already"]);
        push_record(&mut bytes, Sequence(3), &[b"real"]);
        let found = next_record(&bytes, 24, Sequence(1), Sequence(1000));
        assert_eq!(found.map(|record| record.payload), Some(&b"real"[..]));
        // Without a bound these are 400 GB to check.
        let count = 1 << 18;
        let mut header = Vec::new();
        push_record(&mut header, Sequence(2), &[]);
        let mut many = Vec::new();
        for at in (0..count).rev() {
            let length = u32::try_from(at * header.len()).expect("below 16 MiB");
            header[4..8].copy_from_slice(&length.to_le_bytes());
            many.extend_from_slice(&header);
        }
        assert_eq!(next_record(&many, 0, Sequence(1), Sequence(1000)), None);
    }

    #[test]
    fn a_cut_header_or_record_is_no_record() {
        let bytes = segment(&[b"first"]);
        for length in 0..bytes.len() {
            assert_eq!(record_at(&bytes[..length], 24), None, "{length} bytes");
            assert_eq!(read_segment_header(&bytes[..length]).is_ok(), length >= 24, "{length} bytes");
        }
        for bit in 0..24 * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_segment_header(&damaged), Err(HeaderError::Damaged), "bit {bit}");
        }
    }
}
