//! A damaged block file: opening, verifying and reading it never panic, and what is read without an error is what
//! was written.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use model::{Samples, TimeRange};
use storage::block::{BlockReader, BlockWriter, ColumnCache, verify};
use storage::codec::Effort;
use storage::files::RealFiles;

use crate::input::Input;

/// First what to do: take the rest as a file, or damage a good file at places that the rest names.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("block");
    let mut written = Vec::new();
    if input.byte().is_multiple_of(2) {
        fs::write(&path, input.rest()).expect("a file can be written");
    } else {
        written = write_block(&path, input.byte());
        let mut bytes = fs::read(&path).expect("the block can be read");
        while !input.is_empty() {
            let at = usize::from(input.below(u16::MAX)) % bytes.len();
            bytes[at] ^= input.byte();
        }
        fs::write(&path, &bytes).expect("a file can be written");
    }
    drop(verify(&RealFiles, &path));
    let Ok(reader) = BlockReader::open(&RealFiles, &path, Arc::new(ColumnCache::new(1 << 20))) else { return };
    for info in reader.series().take(1000) {
        let Ok(info) = info else { continue };
        let mut samples = Samples::default();
        if reader.read(info.id, TimeRange::ALL, &mut samples).is_ok()
            && let Some((_, want)) = written.iter().find(|(id, _)| *id == info.id)
        {
            assert_eq!(samples.timestamps_ms, want.timestamps_ms, "checksums find damage");
            assert!(samples.values.iter().map(|v| v.to_bits()).eq(want.values.iter().map(|v| v.to_bits())));
        }
    }
}

/// A small block with columns of several kinds.
fn write_block(path: &Path, kind: u8) -> Vec<(u64, Samples)> {
    let mut writer = BlockWriter::create(Arc::new(RealFiles), path, 0, Effort::Small).expect("a block can be made");
    let mut written = Vec::new();
    for id in 0..4u32 {
        let mut samples = Samples::default();
        for at in 0..(20 + i32::from(kind % 64)) {
            let value = match id {
                0 => 1.0,
                1 => f64::from(at),
                2 => f64::from(at * at % 17) / 10.0,
                _ => (f64::from(at) + f64::from(kind)).sin(),
            };
            samples.push(i64::from(at) * 1000 + i64::from(id % 2), value);
        }
        writer.add_series(u64::from(id) * 3, &samples).expect("a series can be added");
        written.push((u64::from(id) * 3, samples));
    }
    writer.finish().expect("a block can be finished");
    written
}
