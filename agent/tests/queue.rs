//! The queue against a model, and against cuts at every byte.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent::config::{Config, layers::Settings};
use agent::queue::{Queue, QueueError};
use proptest::prelude::*;

fn options(folder: &Path) -> agent::config::QueueConfig {
    let config = Config::from_settings(&Settings::defaults()).expect("defaults are valid");
    let mut options = config.queue;
    folder.clone_into(&mut options.folder);
    options.segment_bytes = 200;
    options
}

/// Everything that is queued, without acknowledging it.
fn waiting(queue: &mut Queue) -> Vec<Vec<u8>> {
    let batch = queue.peek(u64::MAX, u64::MAX, 0);
    batch.map(|batch| batch.records().map(|record| record.payload.clone()).collect()).unwrap_or_default()
}

fn payload(number: u32) -> Vec<u8> {
    let length = (number as usize * 7) % 50;
    [number.to_le_bytes().as_slice(), &vec![b'x'; length]].concat()
}

#[test]
fn nobody_else_may_read_what_waits() {
    let top = tempfile::tempdir().expect("a folder");
    let folder = top.path().join("queue");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let path = folder.join(format!("{:020}.queue", 1));
    let mut queue = Queue::open(&options(&folder)).expect("opens");
    queue.push(payload(1), 1, 0).expect("written");
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    drop(queue);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its owner");
    drop(Queue::open(&options(&folder)).expect("opens again"));
    assert_eq!(mode(&path), 0o600, "what was there before too");
}

#[test]
fn a_file_cut_at_any_byte_gives_back_its_whole_records() {
    let original = tempfile::tempdir().expect("a folder");
    let mut settings = options(original.path());
    settings.segment_bytes = 1 << 20;
    let mut queue = Queue::open(&settings).expect("opens");
    let mut ends = vec![16];
    for number in 0..5 {
        queue.push(payload(number), 1, 0).expect("written");
        ends.push(queue.state().disk_bytes);
    }
    drop(queue);
    let name = format!("{:020}.queue", 1);
    let bytes = fs::read(original.path().join(&name)).expect("the file");
    for cut in 16..=bytes.len() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(&name), &bytes[..cut]).expect("written");
        let mut queue = Queue::open(&options(folder.path())).expect("opens");
        let whole = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
        let mut want: Vec<_> = (0..u32::try_from(whole).expect("few")).map(payload).collect();
        assert_eq!(waiting(&mut queue), want, "cut at {cut}");
        queue.push(payload(99), 1, 0).expect("goes on");
        drop(queue);
        let mut queue = Queue::open(&options(folder.path())).expect("opens again");
        want.push(payload(99));
        assert_eq!(waiting(&mut queue), want, "cut at {cut}, then one more");
    }
}

#[test]
fn a_file_with_a_changed_byte_never_gives_back_something_else() {
    let original = tempfile::tempdir().expect("a folder");
    let mut settings = options(original.path());
    settings.segment_bytes = 1 << 20;
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..3 {
        queue.push(payload(number), 1, 0).expect("written");
    }
    drop(queue);
    let all: Vec<_> = (0..3).map(payload).collect();
    let name = format!("{:020}.queue", 1);
    let bytes = fs::read(original.path().join(&name)).expect("the file");
    for at in 0..bytes.len() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(folder.path().join(&name), &changed).expect("written");
        let mut queue = Queue::open(&options(folder.path())).expect("opens");
        let got = waiting(&mut queue);
        assert!(all.starts_with(&got) && got.len() < 3, "byte {at}: {} records", got.len());
    }
}

#[test]
fn damage_found_while_reading_costs_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = options(folder.path());
    settings.memory_bytes_max = 0;
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..30 {
        queue.push(vec![u8::try_from(number).expect("small"); 60], 1, 0).expect("written");
    }
    let before = waiting(&mut queue);
    let mut files: Vec<_> = fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "queue"));
    files.sort();
    let mut bytes = fs::read(&files[2]).expect("the file");
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    fs::write(&files[2], bytes).expect("written");
    let after = waiting(&mut queue);
    let lost = before.len() - after.len();
    assert!(lost > 0 && lost <= 3, "{lost} lost");
    assert!(queue.state().lost > 0 && files[2].with_extension("damaged").exists());
}

#[test]
fn damage_found_at_the_start_is_put_aside_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = options(folder.path());
    settings.segment_bytes = 1 << 20;
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..5 {
        queue.push(payload(number), 10, 0).expect("written");
    }
    drop(queue);
    let path = folder.path().join(format!("{:020}.queue", 1));
    let mut bytes = fs::read(&path).expect("the file");
    // In the payload of the second record.
    bytes[16 + 28 + payload(0).len() + 28] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let mut queue = Queue::open(&settings).expect("opens");
    assert_eq!(waiting(&mut queue), [payload(0)]);
    assert_eq!(queue.state().lost, 30, "those behind the damaged one");
    assert_eq!(fs::read(path.with_extension("damaged")).expect("put aside"), bytes);
}

#[test]
fn a_damaged_length_is_no_unfinished_record() {
    // Which record's header, what becomes of it, and what then waits and is lost: of the damaged record itself nobody knows how many.
    let flip: fn(&mut [u8]) = |head| head[2] ^= 0x10;
    let zero: fn(&mut [u8]) = |head| head.fill(0);
    for (file, at, change, want, lost) in [
        (1, 1, flip, vec![0, 3, 4, 5], 10),
        (1, 1, zero, vec![0, 3, 4, 5], 10),
        (1, 2, flip, vec![0, 1, 3, 4, 5], 0),
        (4, 1, flip, vec![0, 1, 2, 3], 10),
        (4, 1, zero, vec![0, 1, 2, 3], 10),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = options(folder.path());
        let mut queue = Queue::open(&settings).expect("opens");
        for number in 0..6 {
            queue.push(vec![number; 60], 10, 0).expect("written");
        }
        drop(queue);
        let path = folder.path().join(format!("{file:020}.queue"));
        let mut bytes = fs::read(&path).expect("the file");
        let start = 16 + at * 88;
        change(&mut bytes[start..start + 28]);
        fs::write(&path, &bytes).expect("written");
        let mut queue = Queue::open(&settings).expect("opens");
        let waits: Vec<u8> = waiting(&mut queue).iter().map(|payload| payload[0]).collect();
        assert_eq!((waits, queue.state().lost), (want, lost), "file {file}, record {at}");
        assert_eq!(fs::read(path.with_extension("damaged")).expect("put aside"), bytes);
    }
}

#[test]
fn what_cannot_be_read_at_the_start_is_put_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = options(folder.path());
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..30 {
        queue.push(payload(number), 1, 0).expect("written");
    }
    drop(queue);
    let newest = || {
        let listed = fs::read_dir(folder.path()).expect("listed").flatten().map(|entry| entry.path());
        listed.filter(|path| path.extension().is_some_and(|extension| extension == "queue")).max().expect("files")
    };
    let path = newest();
    fs::remove_file(&path).expect("removed");
    // It is opened for nothing: neither to be read nor to be written.
    fs::create_dir(&path).expect("made");
    let mut queue = Queue::open(&settings).expect("opens");
    assert!(path.with_extension("damaged").exists() && !path.exists());
    let before = waiting(&mut queue);
    assert!(before.len() > 10, "{}", before.len());
    queue.push(payload(99), 1, 0).expect("goes on");
    assert_eq!(waiting(&mut queue).len(), before.len() + 1);
    assert_ne!(newest(), path);
}

#[test]
fn how_old_the_oldest_is_that_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = options(folder.path());
    settings.segment_bytes = 1 << 20;
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..3 {
        queue.push(payload(number), 1, i64::from(number) * 1_000).expect("written");
    }
    assert_eq!(queue.state().oldest_ms, Some(0));
    let first = queue.peek(1, 1 << 20, 3_000).expect("one waits");
    queue.acknowledge(&first).expect("stored");
    assert_eq!(queue.state().oldest_ms, Some(1_000), "what was sent does not count, though the file has it");
}

#[test]
fn caps_drop_the_oldest_and_count_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = options(folder.path());
    settings.bytes_max = 1000;
    settings.age_max_ms = 1000;
    let mut queue = Queue::open(&settings).expect("opens");
    for number in 0..100 {
        queue.push(payload(number), 1, 0).expect("written");
    }
    let state = queue.state();
    assert!(state.disk_bytes <= 1000 + 200, "{} bytes", state.disk_bytes);
    let kept = waiting(&mut queue);
    assert_eq!(kept.len() as u64 + state.dropped_bytes_cap, 100);
    assert_eq!(state.samples_waiting, kept.len() as u64);
    assert_eq!(kept.last(), Some(&payload(99)), "the newest stay");
    let mut waits = |now_ms| queue.peek(u64::MAX, u64::MAX, now_ms).is_some();
    assert!(waits(2_000) && waits(61_999), "all are too old now, if the clock is right");
    assert!(waits(0) && waits(62_000), "which it was not");
    assert!(!waits(122_000), "now it is");
    assert_eq!(queue.state().dropped_age_cap, kept.len() as u64);
    assert_eq!(queue.state().samples_waiting, 0);
}

#[test]
fn an_offer_is_in_a_file_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = options(folder.path());
    settings.bytes_max = 1000;
    settings.memory_bytes_max = 0;
    let mut queue = Queue::open(&settings).expect("opens");
    let mut taken = Vec::new();
    let refused = loop {
        let next = payload(u32::try_from(taken.len()).expect("few"));
        match queue.offer(next.clone(), 1, 0) {
            Ok(()) => taken.push(next),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, QueueError::Full { limit_bytes: 1000, .. }), "{refused}");
    let state = queue.state();
    assert!(taken.len() > 5 && state.disk_bytes <= 1000 && state.dropped_bytes_cap == 0, "{state:?}");
    assert!(matches!(queue.offer(vec![0; 17 << 20], 1, 0), Err(QueueError::TooLong { .. })));
    // As after a kill: what was taken is in the files, nothing of what was not.
    drop(queue);
    let mut queue = Queue::open(&settings).expect("opens again");
    assert_eq!(waiting(&mut queue), taken);
    let batch = queue.peek(u64::MAX, u64::MAX, 0).expect("some");
    queue.acknowledge(&batch).expect("stored");
    queue.offer(payload(7), 1, 0).expect("there is room again");
}

#[test]
fn an_offer_that_the_disk_refuses_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = Queue::open(&options(folder.path())).expect("opens");
    // A folder in place of the next file.
    fs::create_dir(folder.path().join(format!("{:020}.queue", 1))).expect("made");
    assert!(matches!(queue.offer(payload(1), 1, 0), Err(QueueError::Io { .. })));
    assert!(queue.peek(u64::MAX, u64::MAX, 0).is_none() && queue.state().samples_waiting == 0);
    fs::remove_dir(folder.path().join(format!("{:020}.queue", 1))).expect("removed");
    queue.offer(payload(2), 1, 0).expect("the disk is well again");
    assert_eq!(waiting(&mut queue), [payload(2)]);
}

#[test]
fn one_folder_one_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Queue::open(&options(folder.path())).expect("opens");
    assert!(matches!(Queue::open(&options(folder.path())), Err(QueueError::InUse { .. })));
    drop(first);
    Queue::open(&options(folder.path())).expect("opens after the first is gone");
}

#[test]
fn a_batch_has_its_bounds_but_one_record_at_least() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut queue = Queue::open(&options(folder.path())).expect("opens");
    for _ in 0..5 {
        queue.push(vec![0; 100], 10, 0).expect("written");
    }
    for (samples_max, bytes_max, want) in [(25, u64::MAX, 2), (u64::MAX, 310, 3), (1, 1, 1), (50, 500, 5)] {
        let batch = queue.peek(samples_max, bytes_max, 0).expect("some");
        assert_eq!(batch.records().len(), want, "{samples_max} samples, {bytes_max} bytes");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    /// Take up to so many records and acknowledge them.
    Send(u64),
    /// Take and do not acknowledge.
    Fail(u64),
    /// End and open again; `true` loses the stored position, as a power cut can.
    Reopen(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        2 => (1..6u64).prop_map(Step::Send),
        1 => (1..6u64).prop_map(Step::Fail),
        1 => any::<bool>().prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was pushed comes back in order, from the first not acknowledged on. After losing the position, records may
    /// come again, but none is missing and none is out of order.
    #[test]
    fn as_a_model(steps in steps(), memory_bytes_max in 0..500u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = options(folder.path());
        settings.memory_bytes_max = memory_bytes_max;
        let mut queue = Queue::open(&settings).expect("opens");
        let (mut pushed, mut acknowledged) = (0u32, 0u32);
        for step in steps {
            match step {
                Step::Push => {
                    queue.push(payload(pushed), 1, 0).expect("written");
                    pushed += 1;
                }
                Step::Send(count) | Step::Fail(count) => {
                    let batch = queue.peek(count, u64::MAX, 0);
                    let got: Vec<_> = batch.iter().flat_map(|batch| batch.records().map(|r| r.payload.clone())).collect();
                    let end = pushed.min(acknowledged + u32::try_from(count).expect("small"));
                    let want: Vec<_> = (acknowledged..end).map(payload).collect();
                    prop_assert_eq!(&got, &want);
                    if let (Step::Send(_), Some(batch)) = (&step, batch) {
                        queue.acknowledge(&batch).expect("stored");
                        acknowledged = end;
                    }
                }
                Step::Reopen(lose_position) => {
                    drop(queue);
                    if lose_position {
                        fs::write(folder.path().join("acknowledged"), b"").expect("written");
                    }
                    queue = Queue::open(&settings).expect("opens");
                    let got = waiting(&mut queue);
                    let first = pushed - u32::try_from(got.len()).expect("few");
                    prop_assert!(first == acknowledged || (lose_position && first < acknowledged));
                    prop_assert_eq!(&got, &(first..pushed).map(payload).collect::<Vec<_>>());
                    acknowledged = first;
                }
            }
            prop_assert_eq!(queue.state().samples_waiting, u64::from(pushed - acknowledged));
        }
    }
}
