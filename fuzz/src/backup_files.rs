//! The files of a backup that are decoded: any bytes as a manifest, and as a catalog's file. Neither panics, what is read of a manifest is
//! exactly its bytes, and what damage changes in a catalog's file is found or read as it was.

use storage::backup::catalog_file::{self, CatalogWriter};
use storage::backup::manifest::Manifest;
use storage::files::{Files, RealFiles};

use crate::input::Input;

/// An entry: tree, key, value.
type Entry = (Vec<u8>, Vec<u8>, Vec<u8>);

/// First what the rest is: a manifest, the lines of one, a catalog's file, or what is in one and what is damaged of it.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => manifest(input.rest()),
        1 => {
            let mut sealed = input.rest().to_vec();
            let crc = crc(&sealed);
            sealed.extend_from_slice(format!("crc {crc:08x}\n").as_bytes());
            manifest(&sealed);
        }
        2 => drop(read(input.rest())),
        _ => damaged(input),
    }
}

fn manifest(bytes: &[u8]) {
    if let Ok(read) = Manifest::decode(bytes) {
        assert_eq!(read.encode(), bytes, "there is one way to write a manifest");
        for block in &read.blocks {
            assert!(!block.file.contains(['/', '\0']) && !block.file.starts_with('.'), "a name is no path");
        }
    }
}

fn read(bytes: &[u8]) -> Option<(u32, Vec<Entry>)> {
    let mut entries = Vec::new();
    let version = catalog_file::read(&bytes.to_vec(), &mut |tree, key, value| {
        entries.push((tree.to_vec(), key.to_vec(), value.to_vec()));
        Ok(())
    });
    Some((version.ok()?, entries))
}

fn damaged(mut input: Input<'_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog-1");
    let file = RealFiles.create(&path).expect("a file can be made");
    let mut writer = CatalogWriter::begin(&path, file, 2).expect("a file can be written");
    let mut entries = Vec::new();
    for at in 0..input.byte() % 8 {
        let tree = vec![b'a' + at / 3];
        let (key, value) = (vec![at; usize::from(input.byte() % 40)], vec![input.byte(); usize::from(input.byte())]);
        writer.entry(&tree, &key, &value).expect("a file can be written");
        entries.push((tree, key, value));
    }
    writer.finish().expect("a file can be written");
    let mut bytes = std::fs::read(&path).expect("a file can be read");
    assert_eq!(read(&bytes), Some((2, entries.clone())));
    let whole = bytes.clone();
    // One place: checksums find what is changed within 32 bits.
    let at = usize::from(input.below(u16::MAX)) % bytes.len();
    bytes[at] ^= input.byte();
    assert_eq!(read(&bytes).is_some(), bytes == whole, "checksums find damage");
    bytes.truncate(at);
    assert_eq!(read(&bytes), None, "an end that is missing is found");
}

/// CRC-32 (IEEE), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
