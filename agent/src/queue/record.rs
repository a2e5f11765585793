#![warn(clippy::indexing_slicing)]
//! Records of the queue and their bytes on disk.
//!
//! A record is, little-endian: payload length `u32`, CRC-32 `u32` of all that follows, sequence `u64`, time of
//! collecting in milliseconds `i64`, samples `u32`, payload. The payload is one snappy block: a message of remote write
//! 1.0 that also has starts, custom bounds and exemplars (`send::encode`).

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 28;
/// Longest payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// One piece of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number; grows by one with each record, and never comes back.
    pub sequence: u64,
    /// When it was collected, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Samples in it.
    pub samples: u32,
    /// The compressed piece.
    pub payload: Vec<u8>,
}

/// What lies at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A record, and how many bytes it took.
    Record(Record, usize),
    /// The end of the file, exactly between two records.
    End,
    /// Bytes that are no whole record: cut off or changed.
    Damaged,
}

impl Record {
    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        (HEADER_BYTES + self.payload.len()) as u64
    }

    /// Appends the record's bytes to `out`.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`PAYLOAD_BYTES_MAX`], which the queue checks first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.payload.len() <= PAYLOAD_BYTES_MAX, "the queue checked the length");
        let length = u32::try_from(self.payload.len()).expect("bounded above");
        let mut checked = crc32fast::Hasher::new();
        let fields = self.fields();
        checked.update(&fields);
        checked.update(&self.payload);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&checked.finalize().to_le_bytes());
        out.extend_from_slice(&fields);
        out.extend_from_slice(&self.payload);
    }

    /// The sequence that `head` says.
    pub(super) fn sequence_in(head: &[u8; HEADER_BYTES]) -> u64 {
        let (_, rest) = head.split_at(8);
        rest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Reads the record at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Decoded {
        if bytes.is_empty() {
            return Decoded::End;
        }
        Self::decode_whole(bytes).map_or(Decoded::Damaged, |(record, length)| Decoded::Record(record, length))
    }

    fn decode_whole(bytes: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX)?;
        let checked = rest.get(..FIELDS_BYTES + length)?;
        if crc32fast::hash(checked) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (sequence, rest) = checked.split_first_chunk()?;
        let (created_ms, rest) = rest.split_first_chunk()?;
        let (samples, payload) = rest.split_first_chunk()?;
        let record = Self {
            sequence: u64::from_le_bytes(*sequence),
            created_ms: i64::from_le_bytes(*created_ms),
            samples: u32::from_le_bytes(*samples),
            payload: payload.to_vec(),
        };
        Some((record, HEADER_BYTES + length))
    }

    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(FIELDS_BYTES);
        fields.extend_from_slice(&self.sequence.to_le_bytes());
        fields.extend_from_slice(&self.created_ms.to_le_bytes());
        fields.extend_from_slice(&self.samples.to_le_bytes());
        fields
    }
}

/// Bytes of sequence, time and samples.
const FIELDS_BYTES: usize = HEADER_BYTES - 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_every_change_is_seen() {
        let record = Record { sequence: 7, created_ms: -5, samples: 3, payload: b"payload".to_vec() };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(bytes.len() as u64, record.disk_bytes());
        assert_eq!(Record::decode(&bytes), Decoded::Record(record, bytes.len()));
        assert_eq!(Record::decode(&[]), Decoded::End);
        for cut in 1..bytes.len() {
            assert_eq!(Record::decode(bytes.get(..cut).expect("in range")), Decoded::Damaged, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            *changed.get_mut(bit / 8).expect("in range") ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&changed), Decoded::Damaged, "bit {bit}");
        }
    }
}
