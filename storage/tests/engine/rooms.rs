//! Rooms: what others keep in the catalog outlives the process, goes along with backups, and is nobody else's.

use std::sync::{Arc, Barrier};

use storage::{ROOM_VALUE_BYTES_MAX, RoomChange, RoomEntry, StorageError};

use crate::any_fault::fast_folder;
use crate::backup::{check_sound, restore, take};
use crate::support::{NOW_MS, append, open, options};

fn put(key: &str, value: &str) -> RoomChange {
    (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
}

fn remove(key: &str) -> RoomChange {
    (key.as_bytes().to_vec(), None)
}

fn entries(of: &[(&str, &str)]) -> Vec<RoomEntry> {
    of.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn what_was_changed_is_there_after_a_crash_and_after_closing() {
    let folder = fast_folder();
    let engine = open(folder.path(), options());
    let room = engine.room("alerts");
    assert_eq!(room.entries().expect("readable"), []);
    room.change(&[put("b", "1"), put("a", "2"), put("c", "3")]).expect("changed");
    engine.room("alert").change(&[put("s", "another room")]).expect("changed");
    // Of changes to one key the last counts.
    room.change(&[put("b", "4"), remove("c"), put("d", "5"), remove("d"), put("", "6")]).expect("changed");
    room.change(&[]).expect("nothing to do");
    let want = entries(&[("", "6"), ("a", "2"), ("b", "4")]);
    assert_eq!(room.entries().expect("readable"), want);
    drop(engine);
    assert!(matches!(room.entries(), Err(StorageError::Closed)), "a room does not keep the engine open");

    let engine = open(folder.path(), options());
    assert_eq!(engine.room("alerts").entries().expect("readable"), want);
    assert_eq!(engine.room("alert").entries().expect("readable"), entries(&[("s", "another room")]));
    let room = engine.room("alerts");
    engine.close().expect("closed");
    assert!(matches!(room.change(&[put("a", "9")]), Err(StorageError::Closed)));
    let again = open(folder.path(), options());
    assert_eq!(again.room("alerts").entries().expect("readable"), want);
}

#[test]
fn what_is_too_long_is_refused_whole() {
    let folder = fast_folder();
    let engine = open(folder.path(), options());
    let room = engine.room("alerts");
    let long = "v".repeat(ROOM_VALUE_BYTES_MAX);
    let error = room.change(&[put("a", "1"), put("b", &format!("{long}v"))]).expect_err("refused");
    assert!(error.to_string().contains("a value of 1048577"), "{error}");
    assert_eq!(room.entries().expect("readable"), []);
    room.change(&[put("b", &long)]).expect("changed");
    drop(engine);
    let engine = open(folder.path(), options());
    assert_eq!(engine.room("alerts").entries().expect("readable"), entries(&[("b", &long)]));
}

#[test]
fn backups_take_rooms_along() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    append(&*engine, &[(1, NOW_MS, 1.0)]).expect("appended");
    engine.room("alerts").change(&[put("a", "1"), put("b", &"long".repeat(20_000))]).expect("changed");
    let want = engine.room("alerts").entries().expect("readable");
    take(&engine, dir.path());
    engine.room("alerts").change(&[put("a", "after the backup"), remove("b")]).expect("changed");
    check_sound(dir.path());
    let target = fast_folder();
    restore(dir.path(), target.path()).expect("restored");
    let restored = open(target.path(), options());
    assert_eq!(restored.room("alerts").entries().expect("readable"), want);
}

/// Callers at the same time, while heads are flushed: each change is whole, and none is lost.
#[test]
fn changes_of_many_callers_are_all_kept() {
    const CALLERS: usize = 6;
    const ROUNDS: usize = 20;
    let folder = fast_folder();
    let engine = open(folder.path(), options());
    let start = Arc::new(Barrier::new(CALLERS + 1));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (room, start) = (engine.room(&format!("room{}", caller % 2)), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    let (one, other) = (format!("{caller}/one"), format!("{caller}/other"));
                    room.change(&[put(&one, &round.to_string()), put(&other, &round.to_string())]).expect("changed");
                }
            })
        })
        .collect();
    start.wait();
    for round in 0..10 {
        append(&*engine, &[(round, NOW_MS, 1.0)]).expect("appended");
        engine.flush().expect("flushed");
    }
    for caller in callers {
        caller.join().expect("no panic");
    }
    drop(engine);
    let engine = open(folder.path(), options());
    for room in 0..2 {
        let want: Vec<RoomEntry> = (0..CALLERS)
            .filter(|caller| caller % 2 == room)
            .flat_map(|caller| [format!("{caller}/one"), format!("{caller}/other")])
            .map(|key| (key.into_bytes(), (ROUNDS - 1).to_string().into_bytes()))
            .collect();
        assert_eq!(engine.room(&format!("room{room}")).entries().expect("readable"), want);
    }
    assert_eq!(engine.stats().series, 10);
}
