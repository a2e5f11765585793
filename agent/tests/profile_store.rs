//! The folder of captured profiles: bounds, full disks, and what a kill leaves behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent::config::ProfilesConfig;
use agent::go::profile::store::{About, Store, StoreError};

fn config(folder: &Path) -> ProfilesConfig {
    ProfilesConfig { folder: folder.to_owned(), bytes_max: 1_000, age_max_ms: 10_000 }
}

fn about(at_ms: i64) -> About {
    About {
        at_ms,
        kind: "heap".to_owned(),
        seconds: 3,
        extension: "pb.gz".to_owned(),
        reason: "asked for".to_owned(),
        labels: vec![("job".to_owned(), "a/../b".to_owned())],
        ..About::default()
    }
}

/// Keeps `bytes` bytes captured at `at_ms`.
fn put(store: &Store, at_ms: i64, bytes: usize) -> Result<String, StoreError> {
    let mut draft = store.begin(about(at_ms))?;
    let written = draft.write_all(&vec![7; bytes]);
    let kept = draft.commit(at_ms);
    assert_eq!(written.is_ok(), kept.is_ok());
    kept
}

fn ids(store: &Store) -> Vec<String> {
    store.list().into_iter().map(|capture| capture.id).collect()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).expect("listed").count()
}

#[test]
fn nobody_else_may_read_it() {
    let top = tempfile::tempdir().expect("a folder");
    let folder = top.path().join("captures");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let store = Store::open(&config(&folder), 0).expect("opened");
    put(&store, 10, 20).expect("kept");
    assert_eq!(mode(&folder), 0o700);
    let paths: Vec<_> = fs::read_dir(&folder).expect("listed").flatten().map(|entry| entry.path()).collect();
    assert_eq!(paths.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600; 2]);
    for path in &paths {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its owner");
    }
    drop(Store::open(&config(&folder), 20).expect("opened again"));
    assert_eq!(paths.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600; 2], "what was there before too");
}

#[test]
fn what_is_kept_is_there_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&config(folder.path()), 0).expect("opened");
    let (second, first) = (put(&store, 20, 30).expect("kept"), put(&store, 10, 20).expect("kept"));
    for store in [store, Store::open(&config(folder.path()), 100).expect("opened again")] {
        assert_eq!(ids(&store), [first.as_str(), second.as_str()], "oldest first");
        assert_eq!(store.bytes(), 50);
        let (capture, mut file) = store.read(&second).expect("there");
        assert_eq!((capture.bytes, capture.about), (30, about(20)));
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("readable");
        assert_eq!(bytes, vec![7; 30]);
    }
}

#[test]
fn the_oldest_make_room_and_age_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&config(folder.path()), 0).expect("opened");
    let all: Vec<String> = (0..6).map(|at| put(&store, at, 200).expect("kept")).collect();
    assert_eq!(ids(&store), all[1..], "five of 200 bytes fit in 1,000");
    assert_eq!(files(folder.path()), 10);
    assert!(matches!(store.read(&all[0]), Err(StoreError::Unknown { .. })));
    let late = put(&store, 10_004, 1).expect("kept");
    assert_eq!(ids(&store), [all[4].as_str(), all[5].as_str(), late.as_str()], "ten seconds and older");
    let store = Store::open(&config(folder.path()), 20_004).expect("opened");
    assert_eq!(ids(&store), [late.as_str()]);
    assert_eq!(files(folder.path()), 2);
    let smaller = ProfilesConfig { bytes_max: 0, ..config(folder.path()) };
    assert!(Store::open(&smaller, 20_004).expect("opened").list().is_empty());
}

#[test]
fn one_that_is_too_long_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&config(folder.path()), 0).expect("opened");
    let kept = put(&store, 1, 250).expect("a quarter");
    assert!(matches!(put(&store, 2, 251), Err(StoreError::TooLong { limit_bytes: 250 })));
    drop(store.begin(about(3)).expect("begun"));
    assert_eq!((ids(&store), files(folder.path())), (vec![kept], 2));
}

#[test]
fn a_disk_that_refuses_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&config(&folder.path().join("captures")), 0).expect("opened");
    let kept = put(&store, 1, 10).expect("kept");
    let draft = store.begin(about(2)).expect("begun");
    fs::remove_dir_all(folder.path().join("captures")).expect("removed");
    assert!(matches!(draft.commit(2), Err(StoreError::Io { .. })));
    assert!(matches!(store.begin(about(3)), Err(StoreError::Io { .. })));
    assert!(matches!(store.read(&kept), Err(StoreError::Unknown { .. })));
    fs::create_dir(folder.path().join("captures")).expect("made");
    let again = put(&store, 4, 10).expect("it goes on when the folder is back");
    assert!(store.read(&again).is_ok());
}

#[test]
fn a_full_disk_leaves_nothing() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&config(folder.path()), 0).expect("opened");
    let mut draft = store.begin(about(1)).expect("begun");
    draft.write_all(b"x").expect("this much fits");
    let part = fs::read_dir(folder.path()).expect("listed").flatten().next().expect("the draft").path();
    // The disk is full when what is known of the capture is to be written.
    std::os::unix::fs::symlink(full, part.with_extension("json")).expect("linked");
    let refused = draft.commit(1).expect_err("refused");
    let StoreError::Io { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!((files(folder.path()), store.list().len()), (0, 0));
    put(&store, 2, 10).expect("room has come back");
}

#[test]
fn whatever_a_kill_leaves_is_removed_or_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = {
        let store = Store::open(&config(folder.path()), 0).expect("opened");
        put(&store, 1, 10).expect("kept")
    };
    let data = fs::read(folder.path().join(format!("{whole}.pb.gz"))).expect("there");
    let described = fs::read(folder.path().join(format!("{whole}.json"))).expect("there");
    let id = "000000000002-0000abcd";
    // Each state a kill can leave: the part alone, with its description, and a description cut short or alone.
    let states: [&[(&str, &[u8])]; 5] = [
        &[("part", &data)],
        &[("part", &data), ("json", &described)],
        &[("json", &described[..5]), ("part", &data)],
        &[("json", &described)],
        &[("pb.gz", &data), ("json", &described[..5])],
    ];
    for state in states {
        for (extension, bytes) in state {
            fs::write(folder.path().join(format!("{id}.{extension}")), bytes).expect("written");
        }
        fs::write(folder.path().join("notes.txt"), b"somebody's").expect("written");
        let store = Store::open(&config(folder.path()), 0).expect("opened");
        assert_eq!(ids(&store), [whole.as_str()], "{state:?}");
        assert_eq!(files(folder.path()), 3, "what is not the store's is left alone");
    }
    fs::write(folder.path().join(format!("{id}.json")), &described).expect("written");
    fs::write(folder.path().join(format!("{id}.pb.gz")), &data).expect("written");
    assert_eq!(ids(&Store::open(&config(folder.path()), 0).expect("opened")), [whole.as_str(), id], "whole");
}

#[test]
fn ids_are_no_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("secret.txt"), b"x").expect("written");
    let store = Store::open(&config(&folder.path().join("captures")), 0).expect("opened");
    for id in ["", "../secret", "/etc/passwd", &"x".repeat(10_000)] {
        assert!(matches!(store.read(id), Err(StoreError::Unknown { .. })), "{id}");
    }
}
