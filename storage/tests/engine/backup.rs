//! Backups of an engine that goes on working, restored and compared.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use model::{Clock, ManualClock, Matcher, SampleSink, TimeRange, TimestampMs};
use storage::backup::{self, Moved, names, restore_with};
use storage::files::FaultyFiles;
use storage::{
    BackupError, BackupOptions, BackupReport, DeleteRequest, DeleteStage, Engine, OpenError, RestoreOptions,
    RestoreReport, check,
};

use crate::any_fault::{Step, World, fast_folder, life, lived, told};
use crate::support::{Content, NOW_MS, Row, append, batch_of, counter, everything, open, open_with, options};

const COPY: BackupOptions = BackupOptions { copy: true };

pub(crate) fn take(engine: &Engine, dir: &Path) -> BackupReport {
    engine.backup(dir, BackupOptions::default(), &mut |_| {}).expect("a backup is taken")
}

pub(crate) fn restore(dir: &Path, folder: &Path) -> Result<RestoreReport, BackupError> {
    backup::restore(dir, folder, RestoreOptions::default(), &mut |_| {})
}

/// What a data folder that is made of the backup in `dir` holds.
pub(crate) fn restored(dir: &Path) -> Content {
    let folder = fast_folder();
    restore(dir, folder.path()).expect("restored");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().damage, vec![], "a restored folder is sound");
    assert!(!folder.path().join("quarantine").exists(), "nothing is set aside");
    everything(&*engine)
}

#[track_caller]
pub(crate) fn check_sound(dir: &Path) {
    let report = check::check(dir, &mut |_| {}).expect("it can be checked");
    assert!(report.blocks == 0 || report.series > 0, "the series of the catalog are counted");
    assert_eq!(report.problems, []);
    assert!(report.backup.is_some());
}

fn rows(from: u32, to: u32) -> Vec<(u32, i64, f64)> {
    (from..to).map(|at| (at % 7, NOW_MS + i64::from(at) * 1000, f64::from(at))).collect()
}

#[test]
fn a_backup_holds_what_was_there_and_the_next_one_takes_what_is_new() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    append(&*engine, &rows(0, 100)).expect("appended");
    engine.append(&batch_of(&[Row::histogram(50, NOW_MS, counter(1, 3, &[1.0, 2.0]))])).expect("appended");
    let first = take(&engine, dir.path());
    assert_eq!((first.number, first.blocks, first.samples), (1, 1, 101));
    assert_eq!((first.linked.files, first.copied.files, first.kept.files, first.removed), (1, 0, 0, 0));
    assert_eq!(first.span, Some(TimeRange::new(NOW_MS, NOW_MS + 99_000)));
    assert_eq!(restored(dir.path()), everything(&*engine));
    check_sound(dir.path());

    append(&*engine, &rows(100, 150)).expect("appended");
    let second = take(&engine, dir.path());
    assert_eq!((second.number, second.linked.files, second.kept.files, second.removed), (2, 1, 1, 1));
    assert_eq!(restored(dir.path()), everything(&*engine));
    let nothing_new = take(&engine, dir.path());
    assert_eq!((nothing_new.linked, nothing_new.kept.files), (Moved::default(), 2));

    engine.merge_to_end().expect("merged");
    let merged = take(&engine, dir.path());
    assert_eq!((merged.blocks, merged.linked.files, merged.kept.files, merged.removed), (1, 1, 0, 3));
    assert_eq!(restored(dir.path()), everything(&*engine));
    check_sound(dir.path());
    let stats = engine.stats();
    assert_eq!((stats.backups, stats.backup_failures, stats.backup_ms), (4, 0, Some(NOW_MS)));
    assert_eq!(stats.backup_bytes, merged.bytes);

    // Copies take the place of links when they are asked for, and stay.
    let copied = engine.backup(dir.path(), COPY, &mut |_| {}).expect("taken");
    assert_eq!((copied.copied.files, copied.kept.files), (1, 0));
    let kept = engine.backup(dir.path(), COPY, &mut |_| {}).expect("taken");
    assert_eq!((kept.copied.files, kept.kept.files), (0, 1));
    let links = take(&engine, dir.path());
    assert_eq!((links.linked.files, links.kept.files), (0, 1), "a copy is as good as a link");
    assert_eq!(restored(dir.path()), everything(&*engine));
    check_sound(dir.path());
}

#[test]
fn an_empty_folder_is_backed_up_too() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    let report = take(&engine, &dir.path().join("new").join("deep"));
    assert_eq!((report.blocks, report.span, report.samples), (0, None, 0));
    assert_eq!(restored(&dir.path().join("new").join("deep")), Content::new());
}

/// A whole life; after each step of it a backup, in whose middle other things happen, holds what was there before.
#[test]
fn whatever_a_folder_goes_through_its_backups_hold_it() {
    let dir = fast_folder();
    let mut world = World::new("backups".to_owned());
    for (at, step) in life().iter().enumerate() {
        world.step(step).expect("no fault");
        if matches!(step, Step::Days(_)) {
            continue;
        }
        let engine = world.engine().clone();
        let options = BackupOptions { copy: at % 3 == 0 };
        let mut asked = 0;
        engine
            .backup(dir.path(), options, &mut |_| {
                asked += 1;
                if asked == 1 {
                    // Nothing is held any more; none of this is in the backup.
                    engine.flush().expect("flushed");
                    engine.maintain().expect("maintained");
                }
            })
            .expect("taken");
        assert!(asked > 0);
        let folder = fast_folder();
        restore(dir.path(), folder.path()).expect("restored");
        let copy = Engine::open(folder.path(), lived(), world.clock.clone()).expect("opens");
        assert_eq!(copy.stats().damage, vec![], "step {at}");
        for maintained in [false, true] {
            let mut missing = Vec::new();
            let wrong = told(&copy, world.clock.now().0, &world.given(), &[], &mut missing);
            assert_eq!((wrong, missing.first()), (None, None), "step {at}: {step:?}, maintained {maintained}");
            copy.maintain().expect("maintained");
        }
        assert_eq!(copy.deletes(), engine.deletes(), "step {at}");
        check_sound(dir.path());
    }
}

/// Appends, flushes, merges and backups in threads of their own: each backup is what was acknowledged at one moment between
/// its beginning and its end.
#[test]
fn a_backup_is_of_one_moment_while_everything_goes_on() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    let (ended, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                let number = acknowledged.load(Ordering::Acquire);
                // An old series, and a new one now and then.
                let at_ms = NOW_MS + i64::from(number);
                append(&*engine, &[(0, at_ms, 1.0), (1 + number / 50, at_ms, 2.0)]).expect("appended");
                acknowledged.store(number + 1, Ordering::Release);
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                engine.flush().expect("flushed");
                engine.maintain().expect("merged");
            }
        });
        for round in 0..8 {
            let before = acknowledged.load(Ordering::Acquire);
            let options = BackupOptions { copy: round % 2 == 0 };
            engine.backup(dir.path(), options, &mut |_| {}).expect("taken");
            let after = acknowledged.load(Ordering::Acquire) + 1;
            let content = restored(dir.path());
            let times = |of: &[(i64, f64)]| of.iter().map(|(at_ms, _)| at_ms - NOW_MS).collect::<Vec<i64>>();
            let mut both: [Vec<(i64, f64)>; 2] = Default::default();
            for (labels, samples) in content {
                let is_old = labels.iter().any(|pair| pair == ("at", "0"));
                let floats = samples.into_iter().map(|sample| match sample.value {
                    model::SampleValue::Float(value) => (sample.timestamp_ms, value),
                    model::SampleValue::Histogram(_) => panic!("nobody wrote one"),
                });
                both[usize::from(!is_old)].extend(floats);
            }
            both[1].sort_unstable_by_key(|(at_ms, _)| *at_ms);
            let count = u32::try_from(both[0].len()).expect("few");
            assert!((before..=after).contains(&count), "round {round}: {count}, {before} before, {after} after");
            let want: Vec<i64> = (0..i64::from(count)).collect();
            assert_eq!(times(&both[0]), want, "round {round}");
            assert_eq!(times(&both[1]), want, "round {round}: whole requests");
        }
        ended.store(true, Ordering::Release);
    });
    check_sound(dir.path());
}

#[test]
fn a_delete_is_undone_after_restoring_and_ids_go_on() {
    let (folder, dir, new) = (fast_folder(), fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    append(&*engine, &rows(0, 70)).expect("appended");
    let before = everything(&*engine);
    let selectors = vec![("{at=\"3\"}".to_owned(), vec![Matcher::equal("at", "3")])];
    let request = DeleteRequest { selectors, range: TimeRange::ALL, by: "ann".to_owned() };
    let deleted = engine.delete(request).expect("deleted").expect("something");
    append(&*engine, &[(3, NOW_MS + 500, 9.0)]).expect("what comes later stays");
    let hidden = everything(&*engine);
    take(&engine, dir.path());

    restore(dir.path(), new.path()).expect("restored");
    let copy = open(new.path(), options());
    assert_eq!(everything(&*copy), hidden);
    assert_eq!(copy.undo_delete(deleted.id).expect("undone").record.stage, DeleteStage::Undone { at_ms: NOW_MS });
    append(&*copy, &[(3, NOW_MS + 500, 3.5)]).expect("appended");
    let mut want = before;
    let three = want.iter_mut().find(|(labels, _)| labels.iter().any(|pair| pair == ("at", "3"))).expect("there");
    three.1.push(model::FullSample { timestamp_ms: NOW_MS + 500, start_ms: 0, value: model::SampleValue::Float(3.5) });
    three.1.sort_unstable_by_key(|sample| sample.timestamp_ms);
    assert_eq!(everything(&*copy), want);
    // New series, blocks and records have numbers that the backup does not know.
    for round in 0..3 {
        append(&*copy, &[(100 + round, NOW_MS, 1.0), (0, NOW_MS + 200_000 + i64::from(round), 2.0)]).expect("appended");
        copy.flush().expect("flushed");
    }
    let grown = everything(&*copy);
    assert_eq!(grown.len(), want.len() + 3);
    copy.merge_to_end().expect("merged");
    drop(copy);
    let copy = open(new.path(), options());
    assert_eq!(copy.stats().damage, vec![]);
    assert_eq!(everything(&*copy), grown);
    // The restored folder has blocks of the same names and other bytes: the backup tells them apart.
    append(&*engine, &rows(200, 230)).expect("appended");
    engine.merge_to_end().expect("merged");
    take(&engine, dir.path());
    take(&copy, dir.path());
    assert_eq!(restored(dir.path()), grown);
    check_sound(dir.path());
}

#[test]
fn what_is_not_a_backup_is_left_alone() {
    let (folder, dir, new) = (fast_folder(), fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    append(&*engine, &rows(0, 10)).expect("appended");
    let refused = |dir: &Path| engine.backup(dir, BackupOptions::default(), &mut |_| {}).expect_err("refused");
    std::fs::write(new.path().join("notes"), "mine").expect("written");
    let foreign = refused(new.path());
    assert!(matches!(&foreign, BackupError::Foreign { .. }), "{foreign}");
    assert_eq!(std::fs::read_dir(new.path()).expect("listed").count(), 1, "not even a lock is made");
    assert!(matches!(refused(&folder.path().join("backups")), BackupError::Inside { .. }));
    assert!(matches!(refused(folder.path()), BackupError::Inside { .. }));
    let around = new.path().join("nowhere").join("..").join("..").join(folder.path().file_name().unwrap()).join("x");
    assert!(matches!(refused(&around), BackupError::Inside { .. }), "{}", around.display());
    assert!(!new.path().join("nowhere").exists());
    assert!(matches!(refused(&new.path().join("notes")), BackupError::File(_)));

    assert!(matches!(restore(dir.path(), &new.path().join("x")), Err(BackupError::NoBackup { .. })));
    std::fs::write(dir.path().join(names::UNFINISHED), "").expect("written");
    assert!(matches!(restore(dir.path(), &new.path().join("x")), Err(BackupError::Unfinished { .. })));
    take(&engine, dir.path());
    assert!(matches!(restore(dir.path(), new.path()), Err(BackupError::Target { .. })));
    assert!(matches!(restore(dir.path(), folder.path()), Err(BackupError::Target { .. })));
    assert!(matches!(restore(dir.path(), &dir.path().join("blocks/data")), Err(BackupError::InBackup { .. })));
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    assert!(matches!(Engine::open(dir.path(), options(), clock), Err(OpenError::Backup { .. })));
    // One at a time.
    let mut met = None;
    engine
        .backup(dir.path(), COPY, &mut |_| {
            met.get_or_insert_with(|| (refused(dir.path()), restore(dir.path(), &new.path().join("x"))));
        })
        .expect("taken");
    assert!(matches!(met, Some((BackupError::InUse { .. }, Err(BackupError::InUse { .. })))), "{met:?}");
    // A folder of ours in which a link stands for the blocks could lead anywhere.
    let linked = fast_folder();
    std::fs::write(linked.path().join(names::UNFINISHED), "").expect("written");
    std::os::unix::fs::symlink(new.path(), linked.path().join(names::BLOCKS)).expect("linked");
    assert!(matches!(refused(linked.path()), BackupError::Foreign { .. }));
    assert_eq!(engine.stats().backup_failures, 7);
    // Names that no backup makes stay whatever else goes.
    std::fs::write(dir.path().join("blocks").join("README"), "mine").expect("written");
    std::fs::write(dir.path().join("notes"), "mine").expect("written");
    take(&engine, dir.path());
    assert!(dir.path().join("blocks").join("README").exists() && dir.path().join("notes").exists());
    let report = check::check(dir.path(), &mut |_| {}).expect("checked");
    assert_eq!((report.problems_total, report.notes.len()), (0, 2));
}

/// What a full disk would end in its middle is refused before it begins, with what it takes; the disk is left to the server
/// where it is the server's own.
#[test]
fn what_has_no_room_is_refused_before_it_begins() {
    let (folder, dir, new) = (fast_folder(), fast_folder(), fast_folder());
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
    append(&*engine, &rows(0, 1000)).expect("appended");
    engine.flush().expect("flushed");
    let copy = |bytes: u64| {
        files.set_available_bytes(Some(bytes));
        let taken = engine.backup(dir.path(), COPY, &mut |_| {});
        files.set_available_bytes(None);
        taken
    };
    let left_bytes = options().disk_reserve_bytes / 2;
    let plenty = copy(left_bytes + (1 << 30)).expect("taken");
    std::fs::remove_dir_all(dir.path()).expect("removed");
    let block_bytes = plenty.copied.bytes;
    // Above what the flush and the catalog ask for.
    let refused = copy(left_bytes + (4 << 20) + block_bytes - 1).expect_err("refused");
    let want = format!("{block_bytes} bytes are needed, and {} may be taken", block_bytes - 1);
    assert!(refused.to_string().contains(&want), "{refused}");
    assert!(matches!(restore(dir.path(), new.path()), Err(BackupError::Unfinished { .. })));
    copy(left_bytes + (4 << 20) + block_bytes).expect("there is just room");

    let full = FaultyFiles::new();
    full.set_available_bytes(Some(1000));
    let how = |link: bool| RestoreOptions { link, keep_damaged: false };
    let refused = restore_with(&full, dir.path(), new.path(), how(false), &mut |_| {}).expect_err("refused");
    assert!(matches!(refused, BackupError::NoRoom { free_bytes: 1000, .. }), "{refused}");
    restore_with(&full, dir.path(), new.path(), how(true), &mut |_| {}).expect("links take no room");
    assert_eq!(everything(&*open(new.path(), options())), everything(&*engine));
}

#[test]
fn what_is_damaged_or_missing_in_the_folder_is_told_of_and_taken_as_it_is() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    for round in 0..3u32 {
        append(&*engine, &rows(round * 10, round * 10 + 10)).expect("appended");
        engine.flush().expect("flushed");
    }
    let content = everything(&*engine);
    drop(engine);
    let blocks = folder.path().join("blocks");
    let mut files: Vec<_> = std::fs::read_dir(&blocks).expect("listed").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let whole = std::fs::read(&files[0]).expect("read");
    std::fs::write(&files[0], &whole[..whole.len() - 9]).expect("cut");
    std::fs::remove_file(&files[2]).expect("removed");
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().blocks_quarantined, 2);
    let left = everything(&*engine);
    let report = take(&engine, dir.path());
    let name = |at: usize| files[at].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!((report.blocks, &report.damaged, &report.lost), (2, &vec![name(0)], &vec![name(2)]));
    let found = check::check(dir.path(), &mut |_| {}).expect("checked");
    assert_eq!((found.problems_total, found.notes.len()), (1, 1), "{found:?}");

    let new = fast_folder();
    assert_eq!(restore(dir.path(), new.path()).expect("restored").lost, vec![name(2)]);
    let copy = open(new.path(), options());
    assert_eq!((everything(&*copy), copy.stats().damage.len()), (left, 2), "as it was");
    drop(copy);
    // Somebody finds the bytes.
    std::fs::write(new.path().join("blocks").join(name(0)), &whole).expect("written");
    assert_eq!(open(new.path(), options()).stats().blocks_quarantined, 1);
    assert_ne!(content.len(), 0);
}

#[test]
fn a_damaged_backup_is_refused_or_kept_as_far_as_it_is_whole() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    for round in 0..2u32 {
        append(&*engine, &rows(round * 1000, round * 1000 + 900)).expect("appended");
        engine.flush().expect("flushed");
    }
    engine.backup(dir.path(), COPY, &mut |_| {}).expect("taken");
    let blocks = dir.path().join("blocks");
    let mut files: Vec<_> = std::fs::read_dir(&blocks).expect("listed").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bytes = std::fs::read(&files[0]).expect("read");
    bytes[100] ^= 4;
    std::fs::write(&files[0], bytes).expect("written");
    let new = fast_folder();
    let refused = restore(dir.path(), new.path());
    assert!(
        matches!(&refused, Err(BackupError::Damaged { damage }) if damage.len() == 1 && damage[0].file == files[0])
    );
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let unopened = Engine::open(new.path(), options(), clock);
    assert!(matches!(unopened, Err(OpenError::Restoring { .. })));
    assert!(!check::check(new.path(), &mut |_| {}).expect("checked").is_sound());
    // Another try begins anew in the same folder.
    let borne = RestoreOptions { keep_damaged: true, link: true };
    let report = backup::restore(dir.path(), new.path(), borne, &mut |_| {}).expect("restored");
    assert_eq!((report.damaged.len(), report.linked.files, report.copied.files), (1, 2, 0));
    let copy = open(new.path(), options());
    let (got, whole) = (everything(&*copy), everything(&*engine));
    let count = |content: &Content| content.iter().map(|(_, samples)| samples.len()).sum::<usize>();
    assert!(count(&got) < count(&whole) && count(&got) >= 900, "{} of {}", count(&got), count(&whole));
    assert!(!copy.stats().damage.is_empty());
    // Merging what was linked leaves the backup as it is.
    drop(copy);
    std::fs::remove_file(&files[0]).expect("removed");
    let copy = open(new.path(), options());
    copy.merge_to_end().expect("merged");
    drop(copy);
    let missing = restore(dir.path(), &new.path().join("second"));
    assert!(matches!(&missing, Err(BackupError::Damaged { damage }) if damage.len() == 1), "{missing:?}");
    // The next backup heals what it has in the data folder.
    let healed = engine.backup(dir.path(), COPY, &mut |_| {}).expect("taken");
    assert_eq!((healed.copied.files, healed.kept.files), (1, 1));
    assert_eq!(restored(dir.path()), whole);
}
