//! The file layer: real files do what they say, and faulty ones break the way the tests of storage rely on.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;

use storage::files::{AfterFault, Fault, FaultyFiles, FileError, Files, RealFiles, beside, write_atomically};

/// One table for both: what a file system must do while nothing breaks.
fn check_files(files: &dyn Files) {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    files.create_dir_all(&inner).unwrap();
    files.create_dir_all(&inner).unwrap();
    let path = inner.join("x");
    let file = files.create(&path).unwrap();
    assert!(file.is_empty());
    file.append(b"hello ").unwrap();
    file.append(b"world").unwrap();
    file.write_at(0, b"J").unwrap();
    file.sync_data().unwrap();
    assert_eq!((file.len(), files.read(&path).unwrap().as_slice()), (11, b"Jello world".as_slice()));
    file.set_len(5).unwrap();
    file.append(b"!").unwrap();
    drop(file);
    let file = files.open_append(&path).unwrap();
    assert_eq!(file.len(), 6);
    file.append(b"?").unwrap();
    assert_eq!(files.map(&path).unwrap().bytes(), b"Jello!?");
    let moved = inner.join("y");
    files.rename(&path, &moved).unwrap();
    files.sync_dir(&inner).unwrap();
    let names = |dir: &Path| files.list(dir).unwrap().into_iter().map(|e| (e.name, e.bytes)).collect::<Vec<_>>();
    assert_eq!(names(&inner), [("y".to_owned(), 7)]);
    assert_eq!(names(folder.path()), []);
    for missing in [files.read(&path).err(), files.remove(&path).err(), files.open_append(&path).err()] {
        assert!(missing.unwrap().is_not_found());
    }
    files.create(&path).unwrap();
    assert_eq!(files.map(&path).unwrap().bytes(), b"");
    files.remove(&path).unwrap();
    assert!(files.available_bytes(&inner).unwrap() > 0);
    write_atomically(files, &moved, b"new").unwrap();
    assert_eq!((files.read(&moved).unwrap(), names(&inner).len()), (b"new".to_vec(), 1));
}

#[test]
fn real_and_faulty_files_do_the_same_while_nothing_breaks() {
    check_files(&RealFiles);
    check_files(&FaultyFiles::new());
}

#[test]
fn a_map_outlives_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let map = RealFiles.map(&path).unwrap();
    RealFiles.remove(&path).unwrap();
    assert_eq!(map.bytes(), vec![7; 10_000]);
}

#[test]
fn a_whole_file_is_replaced_or_not_at_all() {
    for (fault, after) in
        [(Fault::Fail, AfterFault::Dead), (Fault::Tear(2), AfterFault::Dead), (Fault::Tear(0), AfterFault::Recovers)]
    {
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x");
            write_atomically(&RealFiles, &path, b"old").unwrap();
            let files = FaultyFiles::new();
            files.fail_at(at, fault, after);
            let written = write_atomically(&files, &path, b"new");
            files.power_cut().unwrap();
            let got = std::fs::read(&path).unwrap();
            assert_eq!(got, if written.is_ok() { b"new" } else { b"old" }, "fault {at}");
            assert!(!beside(&path).exists());
            if written.is_ok() {
                assert_eq!(at, 5, "create, append, sync, rename and sync of the folder can each fail");
                break;
            }
        }
    }
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let [kept, created, removed] = ["kept", "created", "removed"].map(|name| folder.path().join(name));
    let files = FaultyFiles::new();
    let file = files.create(&kept).unwrap();
    files.create(&removed).unwrap();
    file.append(b"synced").unwrap();
    file.sync_data().unwrap();
    files.sync_dir(folder.path()).unwrap();
    file.append(b" not").unwrap();
    files.create(&created).unwrap().sync_data().unwrap();
    files.remove(&removed).unwrap();
    files.power_cut().unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), b"synced");
    assert!(!created.exists() && removed.exists());
}

#[test]
fn a_torn_append_keeps_a_prefix_and_a_dead_disk_stays_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let files = FaultyFiles::new();
    let file = files.create(&path).unwrap();
    files.fail_at(files.changes(), Fault::Tear(3), AfterFault::Dead);
    assert!(matches!(file.append(b"abcdef"), Err(FileError::Failed { operation: "append", .. })));
    assert!(file.append(b"x").is_err() && file.sync_data().is_err() && files.remove(&path).is_err());
    assert_eq!(files.read(&path).unwrap(), b"abc");
    files.heal();
    file.set_len(0).unwrap();
    file.append(b"again").unwrap();
    assert_eq!(files.read(&path).unwrap(), b"again");
}

#[test]
fn a_full_disk_is_told_apart_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let files = FaultyFiles::new();
    let file = files.create(&path).unwrap();
    files.set_disk_full(true);
    assert!(file.append(b"a").unwrap_err().is_disk_full());
    assert!(files.create(&beside(&path)).unwrap_err().is_disk_full());
    assert_eq!(files.available_bytes(folder.path()).unwrap(), 0);
    files.set_available_bytes(Some(5));
    assert_eq!(files.available_bytes(folder.path()).unwrap(), 5);
    files.set_disk_full(false);
    file.append(b"b").unwrap();
    assert_eq!(files.read(&path).unwrap(), b"b");
}
