//! The log after every kind of end: torn, cut, flipped, missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use storage::files::{AfterFault, Fault, FaultyFiles, Files, RealFiles};
use storage::ids::Sequence;
use storage::log::{Log, LogError, Replayed, frame};

const SEGMENT_BYTES: u64 = 200;

/// What a replay gave: sequences with payloads, and its report.
type Read = (Vec<(u64, Vec<u8>)>, Replayed);

fn open_on(files: Arc<dyn Files>, folder: &Path, after: u64) -> Result<(Log, Read), LogError> {
    let mut records = Vec::new();
    let (log, replayed) = Log::open(files, folder, SEGMENT_BYTES, Sequence(after), &mut |record| {
        records.push((record.sequence.0, record.payload.to_vec()));
        Ok(())
    })?;
    Ok((log, (records, replayed)))
}

fn open(folder: &Path, after: u64) -> (Log, Read) {
    open_on(Arc::new(RealFiles), folder, after).expect("the log opens")
}

fn append(log: &mut Log, payload: &[u8]) -> Result<(), LogError> {
    let sequence = Sequence(log.last().0 + 1);
    let mut record = Vec::new();
    frame::push_record(&mut record, sequence, &[payload]);
    log.append(&record, sequence)
}

fn payload(at: u64) -> Vec<u8> {
    vec![u8::try_from(at).expect("few"); 40]
}

/// A folder whose log has `records` records, two to a segment.
fn filled(records: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _) = open(folder.path(), 0);
    for at in 1..=records {
        append(&mut log, &payload(at)).expect("appended");
    }
    log.sync().expect("synced");
    folder
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = RealFiles.list(folder).expect("listed");
    entries.into_iter().map(|entry| folder.join(entry.name)).collect()
}

fn wanted(sequences: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    sequences.into_iter().map(|at| (at, payload(at))).collect()
}

/// The system tells of a sync that failed once.
#[test]
fn after_a_failed_sync_no_other_goes_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Arc::new(FaultyFiles::new());
    let (mut log, _) = open_on(files.clone(), folder.path(), 0).expect("the log opens");
    append(&mut log, &payload(1)).expect("appended");
    let beside = log.unsynced().expect("appended and not synced");
    files.fail_next_sync(AfterFault::Recovers);
    beside.sync().expect_err("planned");
    log.sync().expect_err("what is on disk is unknown");
    log.seal().expect_err("nothing may follow it");
}

/// An opening that ended while it wrote the newest segment anew leaves nothing that counts.
#[test]
fn left_overs_of_an_opening_are_removed() {
    let folder = filled(3);
    fs::write(folder.path().join("00000002.seg.tmp"), "half").expect("written");
    let (_, (records, replayed)) = open(folder.path(), 0);
    assert_eq!((records, replayed.damage), (wanted(1..=3), vec![]));
    let names: Vec<_> =
        segments(folder.path()).iter().filter_map(|path| path.extension().map(ToOwned::to_owned)).collect();
    assert_eq!(names, ["seg", "seg"]);
}

/// What is appended while another thread syncs is not taken as synced with it.
#[test]
fn a_sync_beside_the_log_covers_what_was_there_when_it_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Arc::new(FaultyFiles::new());
    let (mut log, _) = open_on(files.clone(), folder.path(), 0).expect("the log opens");
    assert!(log.unsynced().is_none());
    for at in 1..=9 {
        append(&mut log, &payload(at)).expect("appended");
        let before = log.unsynced().expect("appended and not synced");
        if at % 3 == 0 {
            append(&mut log, &payload(at)).expect("appended");
        }
        before.sync().expect("synced");
        log.synced(&before);
        assert_eq!(log.unsynced().is_some(), at % 3 == 0, "record {at}");
    }
    let last = log.last();
    log.sync().expect("synced");
    assert!(log.unsynced().is_none());
    drop(log);
    files.power_cut().expect("off and on");
    let (log, _) = open_on(files, folder.path(), 0).expect("the log opens");
    assert_eq!(log.last(), last);
}

#[test]
fn records_come_back_from_any_point() {
    let folder = filled(8);
    assert_eq!(segments(folder.path()).len(), 4);
    for after in 0..=9 {
        let (log, (records, replayed)) = open(folder.path(), after);
        assert_eq!(records, wanted(after + 1..=8), "after {after}");
        assert_eq!((log.last(), replayed.damage.len()), (Sequence(after.max(8)), 0));
    }
}

#[test]
fn a_torn_end_is_cut_at_every_byte() {
    let folder = filled(8);
    let newest = segments(folder.path()).pop().expect("segments");
    let whole = fs::read(&newest).expect("read");
    for length in 0..whole.len() {
        fs::write(&newest, &whole[..length]).expect("written");
        let (mut log, (records, replayed)) = open(folder.path(), 0);
        let kept = 6 + (length.max(24) as u64 - 24) / 64;
        assert_eq!(records, wanted(1..=kept), "{length} bytes");
        assert!(replayed.damage.is_empty(), "{length} bytes: {:?}", replayed.damage);
        // What comes next follows what was kept.
        append(&mut log, &payload(kept + 1)).expect("appended");
        log.sync().expect("synced");
        drop(log);
        let (_, (records, replayed)) = open(folder.path(), 0);
        assert_eq!(records, wanted(1..=kept + 1), "{length} bytes");
        assert!(replayed.damage.is_empty() && replayed.torn_bytes == 0);
        for segment in segments(folder.path()).into_iter().filter(|segment| *segment > newest) {
            fs::remove_file(segment).expect("removed");
        }
    }
}

#[test]
fn damage_in_the_middle_costs_what_it_covers() {
    let folder = filled(8);
    for (segment, offset, lost) in [(0, 24 + 30, 1), (1, 24 + 5, 3), (3, 24 + 63, 7)] {
        let path = &segments(folder.path())[segment];
        let whole = fs::read(path).expect("read");
        let mut damaged = whole.clone();
        damaged[offset] ^= 0x10;
        fs::write(path, &damaged).expect("written");
        let (_, (records, replayed)) = open(folder.path(), 0);
        assert_eq!(records, wanted((1..=8).filter(|&at| at != lost)));
        let [damage] = &replayed.damage[..] else { panic!("one damaged place: {:?}", replayed.damage) };
        assert_eq!((&damage.file, damage.offset, damage.bytes), (path, 24, 64));
        fs::write(path, &whole).expect("written");
    }
}

/// A header is on disk before any record, so that a longer segment without one was there.
#[test]
fn a_newest_segment_without_anything_readable_is_damage() {
    let folder = filled(4);
    let newest = segments(folder.path()).pop().expect("segments");
    let length = std::fs::metadata(&newest).expect("a file").len();
    std::fs::write(&newest, vec![0; usize::try_from(length).expect("short")]).expect("written");
    let (_, (_, replayed)) = open(folder.path(), 0);
    assert_eq!(replayed.damage.first().map(|damage| &damage.file), Some(&newest));
}

#[test]
fn the_end_of_an_older_segment_is_damage_not_torn() {
    let folder = filled(8);
    let oldest = segments(folder.path()).remove(0);
    let whole = fs::read(&oldest).expect("read");
    fs::write(&oldest, &whole[..whole.len() - 1]).expect("written");
    let (_, (records, replayed)) = open(folder.path(), 0);
    assert_eq!(records, wanted((1..=8).filter(|&at| at != 2)));
    assert!(!replayed.damage.is_empty() && replayed.torn_bytes == 0, "{replayed:?}");
    assert_eq!(fs::read(&oldest).expect("read").len(), whole.len() - 1, "damaged files are left alone");
}

#[test]
fn a_missing_segment_is_reported_unless_it_was_flushed() {
    let folder = filled(8);
    fs::remove_file(&segments(folder.path())[1]).expect("removed");
    let (_, (records, replayed)) = open(folder.path(), 0);
    assert_eq!(records, wanted([1, 2, 5, 6, 7, 8]));
    assert_eq!(replayed.damage.len(), 1, "{:?}", replayed.damage);
    let (_, (records, replayed)) = open(folder.path(), 4);
    assert_eq!((records, replayed.damage.len()), (wanted(5..=8), 0));
}

#[test]
fn trimming_keeps_what_is_not_covered() {
    let folder = filled(8);
    let (mut log, _) = open(folder.path(), 0);
    for (covered, left) in [(0, 4), (1, 4), (2, 3), (5, 2), (8, 0)] {
        log.trim(Sequence(covered)).expect("trimmed");
        assert_eq!((log.segments(), segments(folder.path()).len()), (left, left), "covered {covered}");
    }
    append(&mut log, &payload(9)).expect("appended");
    drop(log);
    let (_, (records, replayed)) = open(folder.path(), 8);
    assert_eq!((records, replayed.damage.len()), (wanted([9]), 0));
}

#[test]
fn a_newer_version_is_refused() {
    let folder = filled(1);
    let path = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&path).expect("read");
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    let opened = open_on(Arc::new(RealFiles), folder.path(), 0);
    assert!(matches!(opened, Err(LogError::Header { .. })));
}

/// A full disk takes back what it began; when space returns the log goes on without a gap.
#[test]
fn a_full_disk_leaves_whole_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = FaultyFiles::new();
    let (mut log, _) = open_on(Arc::new(files.clone()), folder.path(), 0).expect("opens");
    for at in 1..=7 {
        files.set_disk_full(true);
        assert!(matches!(append(&mut log, &payload(at)), Err(LogError::DiskFull(_))), "record {at}");
        files.set_disk_full(false);
        append(&mut log, &payload(at)).expect("appended");
    }
    log.sync().expect("synced");
    let (_, (records, replayed)) = open(folder.path(), 0);
    assert_eq!((records, replayed.damage.len(), replayed.torn_bytes), (wanted(1..=7), 0, 0));
}

/// Whatever change of the disk fails, and wherever the power goes: what was synced is read back.
#[test]
fn synced_records_survive_every_fault() {
    for fault in [Fault::Fail, Fault::Tear(1), Fault::Tear(30), Fault::Tear(63)] {
        for at in 0.. {
            let folder = tempfile::tempdir().expect("a folder");
            let files = FaultyFiles::new();
            files.fail_at(at, fault, AfterFault::Dead);
            let mut synced = 0;
            let opened = open_on(Arc::new(files.clone()), folder.path(), 0);
            let done = opened.is_ok_and(|(mut log, _)| {
                (1..=5).all(|sequence| {
                    let kept = append(&mut log, &payload(sequence)).and_then(|()| log.sync()).is_ok();
                    synced += u64::from(kept);
                    kept
                })
            });
            if at % 2 == 0 {
                files.power_cut().expect("the folder is real");
            }
            let (_, (records, replayed)) = open(folder.path(), 0);
            let read = records.len() as u64;
            assert!((synced..=synced + 1).contains(&read), "{fault:?} at {at}: {synced} synced, {read} read");
            assert_eq!(records, wanted(1..=read), "{fault:?} at {at}");
            assert!(replayed.damage.is_empty(), "{fault:?} at {at}: {:?}", replayed.damage);
            if done {
                break;
            }
        }
    }
}

proptest! {
    /// Any bytes in place of a segment, or flipped inside one: no panic, and untouched segments are read.
    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..300),
        which in 0usize..3,
        flips in prop::collection::vec((0usize..300, any::<u8>()), 0..4),
        replace in any::<bool>(),
    ) {
        let folder = filled(6);
        let path = &segments(folder.path())[which];
        let mut bytes = if replace { garbage } else { fs::read(path).expect("read") };
        for (at, flip) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
        }
        fs::write(path, &bytes).expect("written");
        if let Ok((_, (records, _))) = open_on(Arc::new(RealFiles), folder.path(), 0) {
            let spared = (1..=6).filter(|at| (at - 1) / 2 != which as u64);
            for record in wanted(spared) {
                prop_assert!(records.contains(&record), "record {}", record.0);
            }
        }
    }
}
