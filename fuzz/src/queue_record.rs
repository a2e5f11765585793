//! Any bytes as records of the agent's queue: what is read is written back the same, with its checksum, and its payload decodes
//! or is refused. The checksum is set right in a copy, or hardly any bytes would come behind it.

use agent::queue::record::{Decoded, HEADER_BYTES, PAYLOAD_BYTES_MAX, Record};
use agent::send::encode::decompress;
use agent::send::request::RecordDecoder;

/// Most bytes of a payload that are inflated.
const INFLATED_BYTES_MAX: usize = 1 << 20;

/// The bytes as they are, and with each record's checksum set right.
pub fn run(data: &[u8]) {
    walk(data);
    let mut mended = data.to_vec();
    let mut at = 0;
    while let Some(record) = mended.get_mut(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        let length = u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize;
        if length > PAYLOAD_BYTES_MAX || record.len() < HEADER_BYTES + length {
            break;
        }
        let crc = crc32fast::hash(&record[8..HEADER_BYTES + length]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        at += HEADER_BYTES + length;
    }
    let records = walk(&mended);
    assert_eq!(records, at, "records whose checksum is right are read");
}

/// Reads record after record; how many bytes were whole records.
fn walk(data: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match Record::decode(&data[at..]) {
            Decoded::Record(record, length) => {
                let mut again = Vec::new();
                record.encode(&mut again);
                assert_eq!(again, &data[at..at + length], "written back as it was read");
                assert_eq!(record.disk_bytes(), length as u64);
                if let Some(bytes) = decompress(&record.payload, INFLATED_BYTES_MAX) {
                    assert!(bytes.len() <= INFLATED_BYTES_MAX);
                    let _ = RecordDecoder::default().decode(&bytes);
                }
                at += length;
            }
            Decoded::End => {
                assert_eq!(at, data.len());
                return at;
            }
            Decoded::Damaged => return at,
        }
    }
}
