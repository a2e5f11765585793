//! Executables that lie: no panic, no large allocation, no wrong answer.

use std::fs::File;
use std::io::Write;

use agent::go::buildinfo::{self, BuildInfo};
use proptest::prelude::*;

const SEGMENT_AT: usize = 128;

/// A 64-bit little-endian ELF file with one writable segment that holds `data`, and no sections.
fn elf(data: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&[2, 0, 0x3e, 0, 1, 0, 0, 0]);
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&64u64.to_le_bytes());
    file.extend_from_slice(&[0; 12]);
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&[1, 0, 0, 0, 6, 0, 0, 0]);
    let length = data.len() as u64;
    for word in [SEGMENT_AT as u64, 0x40_0000, 0x40_0000, length, length, 16] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.resize(SEGMENT_AT, 0);
    file.extend_from_slice(data);
    file
}

fn read(bytes: &[u8]) -> Option<BuildInfo> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    buildinfo::read(File::open(file.path()).expect("opens")).expect("no error of the disk")
}

fn header(pointer_bytes: u8, flags: u8) -> Vec<u8> {
    let mut block = b"\xff Go buildinf:".to_vec();
    block.extend_from_slice(&[pointer_bytes, flags]);
    block.resize(32, 0);
    block
}

fn inline() -> Vec<u8> {
    let mut block = header(8, 2);
    let module = "0123456789abcdefpath\tp\nmod\tm\tv1\t\n0123456789abcdef";
    block.push(7);
    block.extend_from_slice(b"go1.2.3");
    block.push(u8::try_from(module.len()).expect("short"));
    block.extend_from_slice(module.as_bytes());
    block
}

/// The form before Go 1.18: two pointers to string headers.
fn pointers() -> Vec<u8> {
    let address = |at: usize| 0x40_0000 + at as u64;
    let module = "0123456789abcdefpath\tp\nmod\tm\tv1\t\n0123456789abcdef";
    let mut block = header(8, 0);
    block[16..24].copy_from_slice(&address(32).to_le_bytes());
    block[24..32].copy_from_slice(&address(48).to_le_bytes());
    for (at, length) in [(64, 7), (71, module.len())] {
        block.extend_from_slice(&address(at).to_le_bytes());
        block.extend_from_slice(&(length as u64).to_le_bytes());
    }
    block.extend_from_slice(b"go1.2.3");
    block.extend_from_slice(module.as_bytes());
    block
}

#[test]
fn both_forms() {
    for block in [inline(), pointers()] {
        let info = read(&elf(&block)).expect("a Go executable");
        assert_eq!((info.go_version.as_str(), info.path.as_str(), info.version.as_str()), ("go1.2.3", "p", "v1"));
        let mut shifted = vec![0; 160];
        shifted.extend_from_slice(&inline());
        assert!(read(&elf(&shifted)).is_some(), "behind other data, at a multiple of 16");
        assert!(read(&elf(&shifted[8..])).is_none(), "not elsewhere");
    }
}

#[test]
fn cut_anywhere() {
    for block in [inline(), pointers()] {
        let file = elf(&block);
        for cut in 0..file.len() {
            let _ = read(&file[..cut]);
        }
    }
    for text in ["", "#!/bin/sh\n", "\x7fELF"] {
        assert_eq!(read(text.as_bytes()), None);
    }
}

#[test]
fn lengths_that_lie() {
    for length in [&[0xff; 9][..], &[0xff; 20], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]] {
        let mut block = header(8, 2);
        block.extend_from_slice(length);
        block.extend_from_slice(b"go1.2.3");
        assert_eq!(read(&elf(&block)), None);
    }
    for address in [0, u64::MAX, 0x40_0000 - 1, 0x40_0000 + 10_000] {
        let mut block = header(8, 0);
        block[16..24].copy_from_slice(&u64::to_le_bytes(address));
        assert_eq!(read(&elf(&block)), None, "{address:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), pointer in any::<bool>()) {
        let mut file = elf(&if pointer { pointers() } else { inline() });
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = read(&file);
    }
}
