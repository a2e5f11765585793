//! A catalog that is older than what it once was: told, and no block that it does not name is removed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use storage::Engine;

use crate::support::{NOW_MS, append, everything, labels, open, options};

/// The names of the files in a folder inside `folder`, sorted.
fn names(folder: &Path, of: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join(of)) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn flushed(folder: &Path, series: u32) {
    let engine = open(folder, options());
    append(&*engine, &[(series, NOW_MS, f64::from(series))]).expect("taken");
    engine.close().expect("closed");
}

fn series(engine: &Arc<Engine>) -> Vec<String> {
    everything(&**engine).iter().map(|(labels, _)| labels.to_string()).collect()
}

/// A folder with series 0 and 1, each in a block, whose catalog knows of 0 alone.
fn gone_back() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    flushed(folder.path(), 0);
    copy(&folder.path().join("catalog"), &folder.path().join("older"));
    flushed(folder.path(), 1);
    assert_eq!(names(folder.path(), "blocks"), ["00000000.blk", "00000001.blk"]);
    fs::remove_dir_all(folder.path().join("catalog")).expect("removed");
    fs::rename(folder.path().join("older"), folder.path().join("catalog")).expect("moved");
    folder
}

#[test]
fn what_an_older_catalog_does_not_name_is_kept_and_told() {
    let folder = gone_back();
    let lost = fs::read(folder.path().join("blocks/00000001.blk")).expect("read");
    let checked = storage::check::check(folder.path(), &mut |_| {}).expect("checked");
    assert!(checked.problems.iter().any(|problem| problem.damage.detail.contains("older")), "{checked:?}");

    let engine = open(folder.path(), options());
    let details: Vec<String> = engine.stats().damage.iter().map(ToString::to_string).collect();
    assert!(details.iter().any(|detail| detail.contains("older than its blocks")), "{details:?}");
    assert!(details.iter().any(|detail| detail.contains("00000001.blk")), "{details:?}");
    assert_eq!(series(&engine), [labels(0).to_string()], "what is named is read");
    drop(engine);
    let again = open(folder.path(), options());
    assert!(!again.stats().damage.is_empty(), "told until a commit follows");

    append(&*again, &[(2, NOW_MS, 2.0)]).expect("taken");
    again.close().expect("closed");
    drop(again);
    assert_eq!(names(folder.path(), "blocks"), ["00000000.blk", "00000002.blk"], "no id is used twice");
    assert_eq!(names(folder.path(), "quarantine"), ["unnamed-00000001.blk"]);
    assert_eq!(fs::read(folder.path().join("quarantine/unnamed-00000001.blk")).expect("read"), lost);
    let settled = open(folder.path(), options());
    assert_eq!(settled.stats().damage, vec![]);
    assert_eq!(series(&settled), [labels(0).to_string(), labels(2).to_string()]);
}

#[test]
fn nothing_in_quarantine_is_written_over() {
    let folder = gone_back();
    fs::create_dir(folder.path().join("quarantine")).expect("made");
    fs::write(folder.path().join("quarantine/unnamed-00000001.blk"), "earlier").expect("written");
    drop(open(folder.path(), options()));
    assert_eq!(names(folder.path(), "quarantine"), ["unnamed-00000001.blk", "unnamed-2-00000001.blk"]);
    assert_eq!(fs::read(folder.path().join("quarantine/unnamed-00000001.blk")).expect("read"), b"earlier");
}

#[test]
fn only_a_mark_that_is_read_allows_to_remove_left_overs() {
    for (mark, kept, damaged) in [("whole", false, 0), ("missing", true, 1), ("changed", true, 2)] {
        let folder = tempfile::tempdir().expect("a folder");
        flushed(folder.path(), 0);
        let blocks = folder.path().join("blocks");
        fs::copy(blocks.join("00000000.blk"), blocks.join("00000009.blk")).expect("copied");
        let path = folder.path().join("COMMIT");
        match mark {
            "missing" => fs::remove_file(&path).expect("removed"),
            "changed" => fs::write(&path, "MKCOMIT").expect("written"),
            _ => {}
        }
        let engine = open(folder.path(), options());
        assert_eq!(engine.stats().damage.len(), damaged, "{mark}");
        assert_eq!(names(folder.path(), "blocks"), ["00000000.blk"], "{mark}");
        assert_eq!(names(folder.path(), "quarantine").len(), usize::from(kept), "{mark}");
        drop(engine);
        assert_eq!(open(folder.path(), options()).stats().damage, vec![], "{mark}: marked anew");
    }
}
