//! Any bytes as the log's last segment, and as a record's payload: opening and reading never panic, and what was
//! opened can be appended to and opened again with the same records.

use std::fs;
use std::sync::Arc;

use storage::files::RealFiles;
use storage::ids::Sequence;
use storage::log::Log;
use storage::log::frame::{push_record, segment_header};
use storage::log::payload::{PayloadReader, SampleColumns};

/// First what the rest is: a payload, a whole segment, or what follows a segment's header and a good record.
pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    if kind % 3 == 0 {
        return read_payload(bytes);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut segment = Vec::new();
    if kind % 3 == 1 {
        segment.extend_from_slice(&segment_header(Sequence(1)));
        push_record(&mut segment, Sequence(1), &[b"first"]);
    }
    segment.extend_from_slice(bytes);
    fs::write(folder.path().join("00000001.seg"), &segment).expect("a segment can be written");
    let open = |records: &mut Vec<(Sequence, Vec<u8>)>| {
        Log::open(Arc::new(RealFiles), folder.path(), 1 << 20, Sequence(0), &mut |record| {
            records.push((record.sequence, record.payload.to_vec()));
            read_payload(record.payload);
            Ok(())
        })
    };
    let mut records = Vec::new();
    let Ok((mut log, replayed)) = open(&mut records) else { return };
    assert!(records.is_sorted_by(|a, b| a.0 < b.0), "records come in order");
    if kind % 3 == 1 {
        assert_eq!(records.first(), Some(&(Sequence(1), b"first".to_vec())), "a good record stays");
    }
    let Some(next) = replayed.last.0.checked_add(1).map(Sequence) else { return };
    let mut bytes = Vec::new();
    push_record(&mut bytes, next, &[b"next"]);
    log.append(&bytes, next).expect("an open log takes records");
    log.sync().expect("an open log can be synced");
    drop(log);
    let mut again = Vec::new();
    open(&mut again).expect("an opened log opens again");
    records.push((next, b"next".to_vec()));
    assert_eq!(again, records);
}

fn read_payload(payload: &[u8]) {
    let mut reader = PayloadReader::new(payload, SampleColumns::default());
    while let Ok(Some(_)) = reader.next_section() {}
}
