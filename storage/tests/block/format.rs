//! A block written by version 1 stays readable for ever: its bytes are kept, and what they mean is written here.

use std::path::Path;
use std::sync::Arc;

use storage::block::verify;
use storage::codec::Effort;
use storage::files::RealFiles;

use crate::common::{check_reads, day_block, open, write_block};

const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/block-v1.bin");

#[test]
fn a_stored_block_of_version_1_is_read() {
    let report = verify(&RealFiles, Path::new(STORED)).unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
    check_reads(&open(Path::new(STORED)).unwrap(), &day_block(), model::TimeRange::new(0, 100_000));
}

/// The writer may choose better codings one day; then this tells that it did, and the fixture stays as it is.
#[test]
fn header_and_footer_are_where_the_format_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let summary = write_block(Arc::new(RealFiles), &path, &day_block(), Effort::Small);
    let bytes = std::fs::read(&path).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let footer = bytes.len() - 168;
    assert_eq!(&bytes[..10], b"MKBLOCK\n\x01\0");
    assert_eq!((number(16), number(24)), (0, 0));
    assert_eq!(bytes[36..40], crc32fast::hash(&bytes[..36]).to_le_bytes());
    let want = [summary.series, summary.chunks, summary.columns, summary.samples];
    assert_eq!([96, 104, 112, 120].map(|at| number(footer + at)), want);
    assert_eq!(number(footer + 144), bytes.len() as u64);
    assert_eq!(bytes[footer + 156..footer + 160], crc32fast::hash(&bytes[footer..footer + 156]).to_le_bytes());
    assert_eq!(&bytes[footer + 160..], b"\nKCOLBKM");
    // The sections follow each other up to the footer.
    let mut at = number(footer);
    for section in 0..4 {
        assert_eq!(number(footer + section * 24), at);
        at += number(footer + section * 24 + 8);
    }
    assert_eq!(at, footer as u64);
    // The first column: constant step from 0 by 15 s; then the first series, constant 2.5 (0x4004…).
    assert_eq!(bytes[40..46], [0x00, 0xb0, 0xea, 0x01, 0x40, 0x04]);
}

/// Writes the fixture anew; only for a new version of the format.
#[test]
#[ignore = "writes into the source folder"]
fn write_the_fixture() {
    write_block(Arc::new(RealFiles), Path::new(STORED), &day_block(), Effort::Small);
}
