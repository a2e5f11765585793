//! Nothing damaged, cut off or half written is believed; the rest stays readable.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use model::{Samples, TimeRange};
use proptest::prelude::*;
use storage::block::{BlockError, BlockReader, BlockWriter, ColumnCache, KeepAll, MergePlan, merge, verify};
use storage::codec::Effort;
use storage::files::{AfterFault, Fault, FaultyFiles, FileError, Files, HookedFiles, RealFiles};

use crate::common::{Model, bits, check_reads, day_block, open, samples_of, write_block};

proptest! {
    #[test]
    fn random_bytes_are_no_block(mut bytes in prop::collection::vec(any::<u8>(), 0..400), honest in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("block");
        if honest {
            bytes.splice(0..0, *b"MKBLOCK\n");
            bytes.extend_from_slice(b"\nKCOLBKM");
        }
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(matches!(open(&path), Err(BlockError::Damaged(_))));
        prop_assert!(!verify(&RealFiles, &path).unwrap().is_sound());
    }
}

/// Opens the file and reads everything in it; what comes back must be right.
fn check_damaged(path: &Path, model: &Model) -> bool {
    let Ok(reader) = open(path) else { return true };
    let mut noticed = false;
    for (&id, series) in model {
        let mut got = Samples::default();
        noticed |= reader.read(id, TimeRange::ALL, &mut got).is_err();
        for (timestamp_ms, value) in bits(&got) {
            assert_eq!(series.get(&timestamp_ms), Some(&value));
        }
        assert!(noticed || got.len() == series.len());
    }
    noticed || reader.series().count() == model.len()
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let model = day_block();
    write_block(Arc::new(RealFiles), &path, &model, Effort::Small);
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (at, &byte) in bytes.iter().enumerate() {
        file.write_all_at(&[byte ^ (1 << (at % 8))], at as u64).unwrap();
        assert!(check_damaged(&path, &model), "byte {at}");
        let report = verify(&RealFiles, &path);
        assert!(!report.is_ok_and(|report| report.is_sound()), "byte {at} of {} looks sound", bytes.len());
        file.write_all_at(&[byte], at as u64).unwrap();
    }
}

/// The section that a byte of the file belongs to.
fn section_of(bytes: &[u8], at: usize) -> &'static str {
    let footer = bytes.len() - 168;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let ends = (0..4).map(|section| number(footer + section * 24)).chain([footer as u64]);
    let names = ["data", "column directory", "column index", "series directory", "series index"];
    match at {
        0..40 => "header",
        _ if at >= footer => "footer",
        _ => ends.zip(names).find(|(end, _)| (at as u64) < *end).map_or("", |(_, name)| name),
    }
}

/// Wherever a bit flips, the damage is found, and its place and section are told; in the data it costs no other series
/// than those that share the damaged column.
#[test]
fn a_flipped_bit_is_told_by_its_section() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let model = day_block();
    write_block(Arc::new(RealFiles), &path, &model, Effort::Small);
    let sound = std::fs::read(&path).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..sound.len()).step_by(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let section = section_of(&sound, at);
        let Ok(report) = verify(&RealFiles, &path) else { panic!("byte {at} looks like another version") };
        let damage = &report.damage[0];
        let end = damage.offset + damage.bytes;
        // Header and footer end with their own checksum.
        let inside = (damage.offset..end).contains(&(at as u64)) || ["header", "footer"].contains(&section);
        assert!(inside, "byte {at} of the {section}: {damage}");
        let told = damage.detail.split(':').next().unwrap();
        seen.insert(told.to_owned());
        if section != "data" {
            assert_eq!(told, section, "byte {at}: {damage}");
            continue;
        }
        assert!(["column", "chunk"].contains(&told), "byte {at}: {damage}");
        assert_eq!(report.damaged_places, 1);
        let reader = open(&path).unwrap();
        let lost = model.iter().filter(|(id, series)| {
            let mut got = Samples::default();
            let cost = reader.read_around(**id, TimeRange::ALL, &mut got, &mut |_| ()).unwrap();
            assert!(bits(&got).iter().all(|(at_ms, value)| series.get(at_ms) == Some(value)));
            assert_eq!(cost.chunks_lost == 0, got.len() == series.len());
            cost.chunks_lost > 0
        });
        assert!(lost.count() <= if told == "chunk" { 1 } else { model.len() - 1 }, "byte {at}");
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    write_block(Arc::new(RealFiles), &path, &day_block(), Effort::Small);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.set_len(bytes + 1).unwrap();
    assert!(matches!(open(&path), Err(BlockError::Damaged(_))));
    for len in (0..bytes).rev() {
        file.set_len(len).unwrap();
        assert!(matches!(open(&path), Err(BlockError::Damaged(_))), "{len} bytes");
    }
}

#[test]
fn a_damaged_chunk_leaves_the_others_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let model = day_block();
    let summary = write_block(Arc::new(RealFiles), &path, &model, Effort::Small);
    let mut bytes = std::fs::read(&path).unwrap();
    // Right behind the header lies the first column, then the chunk of the first series.
    let at = 40 + 4;
    bytes[at + 3] ^= 0x55;
    std::fs::write(&path, &bytes).unwrap();
    let reader = open(&path).unwrap();
    let readable = model.keys().filter(|&&id| reader.read(id, TimeRange::ALL, &mut Samples::default()).is_ok()).count();
    let report = verify(&RealFiles, &path).unwrap();
    assert!(readable < model.len());
    assert_eq!(report.damaged_places, 1, "{:?}", report.damage);
    assert_eq!(report.damage[0].file, path);
    assert!(report.samples_readable < summary.samples);
    // A merge must not lose the damaged samples silently.
    let merged = folder.path().join("merged");
    let writer = BlockWriter::create(Arc::new(RealFiles), &merged, 0, Effort::Fast).unwrap();
    assert!(matches!(merge(&[&reader], &mut KeepAll, writer), Err(BlockError::Damaged(damage)) if damage.file == path));
    assert_eq!(RealFiles.list(folder.path()).unwrap().len(), 1);
}

#[test]
fn a_crash_at_any_change_leaves_no_block_or_a_whole_one() {
    let model = day_block();
    for (after, power_cut) in [(AfterFault::Dead, true), (AfterFault::Dead, false), (AfterFault::Recovers, false)] {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("block");
            let files = FaultyFiles::new();
            files.fail_at(at, Fault::Tear(11), after);
            let written = (|| {
                let mut writer = BlockWriter::create(Arc::new(files.clone()), &path, 0, Effort::Fast)?;
                for (&id, series) in &model {
                    writer.add_series(id, &samples_of(series))?;
                }
                writer.finish()
            })();
            let changes = files.changes();
            if power_cut {
                files.power_cut().unwrap();
            }
            if path.exists() {
                let reader = BlockReader::open(&files, &path, Arc::new(ColumnCache::new(1000))).unwrap();
                check_reads(&reader, &model, TimeRange::ALL);
            }
            assert!(written.is_err() || path.exists(), "acknowledged and gone");
            if written.is_ok() {
                assert!(changes <= at);
                break;
            }
            if after == AfterFault::Recovers {
                let left = RealFiles.list(folder.path()).unwrap();
                assert!(left.iter().all(|entry| entry.name == "block"), "{left:?}");
            }
        }
    }
}

#[test]
fn a_full_disk_and_a_stopped_merge_leave_nothing_behind() {
    struct Stop;
    impl MergePlan for Stop {
        fn go_on(&mut self) -> bool {
            false
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let files = FaultyFiles::new();
    let mut writer = BlockWriter::create(Arc::new(files.clone()), &path, 0, Effort::Fast).unwrap();
    writer.add_series(1, &samples_of(&BTreeMap::from([(1, 1)]))).unwrap();
    files.set_disk_full(true);
    assert!(matches!(writer.finish(), Err(BlockError::File(error)) if error.is_disk_full()));
    assert_eq!(RealFiles.list(folder.path()).unwrap(), []);
    files.set_disk_full(false);
    write_block(Arc::new(files.clone()), &path, &day_block(), Effort::Fast);
    let reader = open(&path).unwrap();
    let merged = folder.path().join("merged");
    let writer = |files: &FaultyFiles| BlockWriter::create(Arc::new(files.clone()), &merged, 0, Effort::Fast).unwrap();
    assert!(matches!(merge(&[&reader], &mut Stop, writer(&files)), Err(BlockError::Stopped)));
    assert_eq!(RealFiles.list(folder.path()).unwrap().len(), 1);
    assert!(merge(&[], &mut KeepAll, writer(&files)).unwrap().is_none());
    assert_eq!(RealFiles.list(folder.path()).unwrap().len(), 1);
    assert!(merge(&[&reader, &reader], &mut KeepAll, writer(&files)).unwrap().is_some());
    check_reads(&open(&merged).unwrap(), &day_block(), TimeRange::ALL);
}

/// Who could not be told that its block is on disk forgets the block's name.
#[test]
fn a_folder_that_cannot_be_synced_keeps_no_block() {
    let folder = tempfile::tempdir().unwrap();
    let files = HookedFiles::over(Arc::new(RealFiles), |operation, path| match operation {
        "sync_dir" => Err(FileError::new("sync folder", path, std::io::Error::other("a planned fault"))),
        _ => Ok(()),
    });
    let path = folder.path().join("block");
    let mut writer = BlockWriter::create(Arc::new(files), &path, 0, Effort::Fast).unwrap();
    writer.add_series(1, &samples_of(&BTreeMap::from([(1, 1)]))).unwrap();
    assert!(matches!(writer.finish(), Err(BlockError::File(_))));
    assert_eq!(RealFiles.list(folder.path()).unwrap(), []);
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    write_block(Arc::new(RealFiles), &path, &day_block(), Effort::Small);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..36]).to_le_bytes();
    bytes[36..40].copy_from_slice(&crc);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(&path), Err(BlockError::Version { found: 2, supported: 1, .. })));
}
