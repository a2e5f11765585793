//! Checking a folder: what is whole has no problem, whatever flips is found in the file it is in, nothing is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::check::{CheckError, Report, check};

use crate::support::{NOW_MS, Row, append, batch_of, counter, open, options};
use model::SampleSink;

fn checked(folder: &Path) -> Report {
    check(folder, &mut |_| {}).expect("the folder can be checked")
}

/// A folder with two blocks, a catalog, and a log with two segments, as a process that was killed leaves it.
fn make(folder: &Path) {
    let engine = open(folder, options());
    for round in 0..2 {
        let at_ms = NOW_MS + round * 90_000_000;
        let rows: Vec<(u32, i64, f64)> =
            (0..200u32).map(|at| (at % 5, at_ms + i64::from(at) * 1000, f64::from(at) * 0.37)).collect();
        append(&*engine, &rows).expect("appended");
        engine.append(&batch_of(&[Row::histogram(9, at_ms, counter(1, 0, &[1.0, 2.0]))])).expect("appended");
        engine.flush().expect("flushed");
    }
    append(&*engine, &[(1, NOW_MS + 1, 1.0), (7, NOW_MS + 2, 2.0)]).expect("appended");
    drop(engine);
    let engine = open(folder, options());
    append(&*engine, &[(1, NOW_MS + 3, 1.0), (8, NOW_MS + 4, 2.0)]).expect("appended");
    drop(engine);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Every file with its bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            let bytes = std::fs::read(&path).expect("read");
            all.insert(path, bytes);
        }
    }
    all
}

/// The files of a folder inside the data folder, ascending.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    content(&folder.join(name)).into_keys().collect()
}

#[track_caller]
fn check_found(report: &Report, file: &Path, what: &str) {
    assert!(report.problems.iter().any(|problem| problem.damage.file == file), "{what}: {:?}", report.problems);
}

#[test]
fn a_folder_after_a_kill_has_no_problem_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let torn = files(folder.path(), "log").pop().expect("a segment");
    let mut bytes = std::fs::read(&torn).expect("read");
    bytes.extend_from_slice(&bytes.clone()[24..40]);
    std::fs::write(&torn, &bytes).expect("written");
    std::fs::write(folder.path().join("blocks/00000099.blk"), b"half").expect("written");
    let before = content(folder.path());
    let report = checked(folder.path());
    assert_eq!(report.problems, []);
    assert!(report.is_sound());
    assert_eq!((report.blocks, report.block_samples), (2, 402));
    assert_eq!((report.log_segments, report.log_records, report.log_samples), (2, 2, 4));
    assert_eq!(report.series, 8);
    let noted: Vec<_> = report.notes.iter().map(|note| note.path.file_name().unwrap().to_owned()).collect();
    assert_eq!(noted, [torn.file_name().unwrap(), "00000099.blk".as_ref()]);
    assert_eq!(content(folder.path()), before, "nothing is changed");
    drop(open(folder.path(), options()));
    assert_eq!(checked(folder.path()).notes, [], "opening settles what was noted");
}

#[test]
fn a_folder_in_use_or_without_data_is_not_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(check(folder.path(), &mut |_| {}), Err(CheckError::NoData { .. })));
    assert_eq!(content(folder.path()), BTreeMap::new(), "no lock file is made");
    let engine = open(folder.path(), options());
    assert!(matches!(check(folder.path(), &mut |_| {}), Err(CheckError::Open(_))));
    drop(engine);
    assert!(checked(folder.path()).is_sound());
}

#[test]
fn any_flipped_bit_of_a_block_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    for file in files(folder.path(), "blocks") {
        let good = std::fs::read(&file).expect("read");
        let random = &mut fastrand::Rng::with_seed(7);
        let header = 0..40;
        let footer = good.len() - 168..good.len();
        let inside: Vec<usize> = (0..24).map(|_| random.usize(40..good.len() - 168)).collect();
        for at in header.step_by(7).chain(footer.step_by(11)).chain(inside) {
            let mut bad = good.clone();
            bad[at] ^= 1 << random.u8(0..8);
            std::fs::write(&file, &bad).expect("written");
            let report = checked(folder.path());
            check_found(&report, &file, &format!("byte {at} of {}", good.len()));
            assert!(report.problems.iter().all(|problem| problem.damage.file == file), "byte {at}: {report:?}");
        }
        std::fs::write(&file, &good).expect("written");
    }
    assert!(checked(folder.path()).is_sound());
}

#[test]
fn any_flipped_bit_of_the_log_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let segments = files(folder.path(), "log");
    for file in &segments {
        let good = std::fs::read(file).expect("read");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(file, &bad).expect("written");
            match check(folder.path(), &mut |_| {}) {
                Ok(report) => check_found(&report, file, &format!("byte {at} of {}", good.len())),
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        std::fs::write(file, &good).expect("written");
    }
}

/// sled does not look at bytes that it needs no more: either the check finds the flip, or all is there all the same.
#[test]
fn flipped_bits_of_the_catalog_are_found_or_do_no_harm() {
    let original = tempfile::tempdir().expect("a folder");
    make(original.path());
    let want = checked(original.path());
    let random = &mut fastrand::Rng::with_seed(3);
    let mut found = 0;
    for file in files(original.path(), "catalog") {
        let good = std::fs::read(&file).expect("read");
        let used = good.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for _ in 0..40.min(used) {
            let at = random.usize(0..used);
            let folder = tempfile::tempdir().expect("a folder");
            copy(original.path(), folder.path());
            let flipped = folder.path().join(file.strip_prefix(original.path()).expect("inside"));
            let mut bad = good.clone();
            bad[at] ^= 1 << random.u8(0..8);
            std::fs::write(&flipped, &bad).expect("written");
            let report = checked(folder.path());
            if !report.is_sound() {
                found += 1;
                let named = report.problems.iter().any(|problem| problem.damage.file == folder.path().join("catalog"));
                assert!(named || report.problems_total > 0);
                continue;
            }
            let lost = format!("byte {at} of {} was flipped unnoticed", flipped.display());
            assert_eq!((report.series, report.blocks), (want.series, want.blocks), "{lost}");
            assert_eq!((report.log_records, report.block_samples), (want.log_records, want.block_samples), "{lost}");
        }
    }
    assert!(found > 0, "some bytes matter");
}

#[test]
fn what_is_missing_is_told_with_what_it_costs() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let block = files(folder.path(), "blocks").remove(0);
    let kept = std::fs::read(&block).expect("read");
    std::fs::remove_file(&block).expect("removed");
    let report = checked(folder.path());
    assert_eq!(report.problems_total, 1);
    assert_eq!(report.problems[0].damage.file, block);
    assert!(report.problems[0].costs.contains("201 samples of its 6 series"), "{}", report.problems[0].costs);
    std::fs::write(&block, &kept).expect("written");

    let segment = files(folder.path(), "log").remove(0);
    let kept = std::fs::read(&segment).expect("read");
    std::fs::remove_file(&segment).expect("removed");
    let report = checked(folder.path());
    assert!(report.problems[0].damage.detail.contains("missing"), "{:?}", report.problems);
    std::fs::write(&segment, &kept).expect("written");

    // Another block under the name of the first.
    let [first, second] = &files(folder.path(), "blocks")[..] else { panic!("two blocks") };
    std::fs::copy(second, first).expect("copied");
    let report = checked(folder.path());
    assert!(report.problems.iter().any(|problem| problem.damage.detail.contains("in the catalog")), "{report:?}");

    std::fs::rename(folder.path().join("catalog"), folder.path().join("elsewhere")).expect("renamed");
    let report = checked(folder.path());
    assert!(report.problems[0].damage.detail.contains("no catalog"), "{:?}", report.problems);
}
