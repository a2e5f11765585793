//! Backups and restores of which one operation fails, or which end at any moment: the folder of a backup has the old one or the
//! new one, whole; a data folder that was not restored to its end does not open; and a flipped bit is found.
//!
//! By default some operations fail and some bits flip, chosen by a seed that is printed; with `METRICKIT_FAULTS=all` every
//! operation does, and many bits.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ManualClock, TimestampMs};
use storage::backup::{self, names, restore_with};
use storage::files::{AfterFault, Fault, FaultyFiles, FileError, HookedFiles, RealFiles};
use storage::{BackupError, BackupOptions, Engine, OpenError, RestoreOptions, check};

use crate::any_fault::{World, all_faults, fast_folder, lived, seed, told};
use crate::backup::{check_sound, restore, restored, take};
use crate::file_kinds::{BACKUP, check_kinds, kind_of, sections};
use crate::support::{Content, NOW_MS, append, everything, open, open_with, options};

/// Backups and restores of which one operation fails, when not all do.
const TRIES: usize = 60;
/// Flips in one file, when not many.
const FLIPS: usize = 24;
/// Flips in one file at most.
const FLIPS_MAX: usize = 400;

/// A way in which an operation fails.
#[derive(Debug, Clone, Copy)]
enum Way {
    Change(Fault, AfterFault),
    Look(AfterFault),
}

/// Each way, and whether the power goes after it.
const WAYS: [(Way, bool); 6] = [
    (Way::Change(Fault::Fail, AfterFault::Recovers), false),
    (Way::Change(Fault::Fail, AfterFault::Dead), true),
    (Way::Change(Fault::Fail, AfterFault::Dead), false),
    (Way::Change(Fault::Tear(7), AfterFault::Dead), true),
    (Way::Look(AfterFault::Recovers), false),
    (Way::Look(AfterFault::Dead), true),
];

impl Way {
    /// Plans it for the operation of its kind that is `at` operations away.
    fn plan(self, files: &FaultyFiles, at: u64) {
        match self {
            Self::Change(fault, after) => files.fail_at(files.changes() + at, fault, after),
            Self::Look(after) => files.fail_look_at(files.looks() + at, after),
        }
    }

    /// How many operations of its kind there are of `(changes, looks)`.
    fn of(self, (changes, looks): (u64, u64)) -> u64 {
        if matches!(self, Self::Look(_)) { looks } else { changes }
    }
}

/// All that can fail, or some of it.
#[expect(clippy::print_stdout, reason = "the seed repeats a run")]
fn cases(counts: (u64, u64)) -> Vec<(Way, bool, u64)> {
    let of = |&(way, cut): &(Way, bool)| (0..way.of(counts)).map(move |at| (way, cut, at));
    let all: Vec<_> = WAYS.iter().flat_map(of).collect();
    let seed = seed();
    let stride = if all_faults() { 1 } else { all.len().div_ceil(TRIES) };
    println!("METRICKIT_SEED={seed}; {counts:?} changes and looks, every {stride}th of {}", all.len());
    all.into_iter().skip(fastrand::Rng::with_seed(seed).usize(0..stride)).step_by(stride).collect()
}

/// A folder on a disk that can fail, and a backup of it.
struct Scene {
    _folder: tempfile::TempDir,
    dir: tempfile::TempDir,
    files: FaultyFiles,
    engine: Arc<Engine>,
    /// What the backup has; `None` if there is none.
    old: Option<Content>,
    /// What the next one has.
    new: Content,
    options: BackupOptions,
}

impl Scene {
    fn new(copy: bool, first: bool) -> Self {
        let (folder, dir, files) = (fast_folder(), fast_folder(), FaultyFiles::new());
        let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
        let write = |from: u32, to: u32| {
            let rows: Vec<_> = (from..to).map(|at| (at % 5, NOW_MS + i64::from(at), f64::from(at))).collect();
            append(&*engine, &rows).expect("appended");
            engine.flush().expect("flushed");
        };
        write(0, 20);
        write(20, 30);
        let options = BackupOptions { copy };
        let old = (!first).then(|| {
            engine.backup(dir.path(), options, &mut |_| {}).expect("taken");
            everything(&*engine)
        });
        write(30, 50);
        engine.merge_to_end().expect("merged");
        write(50, 60);
        let new = everything(&*engine);
        Self { _folder: folder, dir, files, engine, old, new, options }
    }

    fn take(&self) -> Result<(), BackupError> {
        self.engine.backup(self.dir.path(), self.options, &mut |_| {}).map(drop)
    }

    /// The folder has one of the two backups, whole.
    #[track_caller]
    fn check(&self, taken: bool, case: &str) {
        let dir = self.dir.path();
        let new = fast_folder();
        match restore(dir, &new.path().join("data")) {
            Ok(_) => {}
            Err(BackupError::NoBackup { .. } | BackupError::Unfinished { .. }) => {
                assert!(!taken && self.old.is_none(), "{case}: the backup is gone");
                return;
            }
            Err(error) => panic!("{case}: {error}"),
        }
        let content = restored(dir);
        assert!(content == self.new || (!taken && Some(&content) == self.old.as_ref()), "{case}: {content:?}");
        check_sound(dir);
    }
}

fn fail_all(copy: bool, first: bool) {
    let counts = {
        let scene = Scene::new(copy, first);
        let before = (scene.files.changes(), scene.files.looks());
        scene.take().expect("no fault");
        scene.check(true, "no fault");
        (scene.files.changes() - before.0, scene.files.looks() - before.1)
    };
    assert!(counts.0 > 15 && counts.1 > 5, "{counts:?}");
    for (way, cut, at) in cases(counts) {
        let case = format!("copy {copy}, first {first}, {way:?}, operation {at}, power cut {cut}");
        let scene = Scene::new(copy, first);
        way.plan(&scene.files, at);
        let taken = scene.take();
        if let Err(error) = &taken {
            assert!(error.to_string().contains("planned fault"), "{case}: {error}");
        }
        if cut {
            // The engine's folder goes back too, and nobody looks at it any more.
            scene.files.power_cut().expect("the folder is real");
            scene.check(taken.is_ok(), &case);
            continue;
        }
        scene.files.heal();
        scene.check(taken.is_ok(), &case);
        if scene.engine.poisoned().is_none() {
            scene.take().unwrap_or_else(|error| panic!("{case}: the next one: {error}"));
            scene.check(true, &case);
        }
    }
}

#[test]
fn whichever_operation_of_a_backup_fails_one_backup_is_whole() {
    fail_all(false, false);
    fail_all(true, false);
}

#[test]
fn whichever_operation_of_a_first_backup_fails_the_next_one_is_taken() {
    fail_all(true, true);
    fail_all(false, true);
}

/// Who takes a backup ends in its middle, as by `kill -9`: the next one begins with what is there.
#[test]
fn a_backup_that_ends_in_its_middle_is_gone_on_with() {
    for stop_at in 0..4 {
        for copy in [false, true] {
            let scene = Scene::new(copy, stop_at % 2 == 0);
            let mut asked = 0;
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let _ = scene.engine.backup(scene.dir.path(), scene.options, &mut |_| {
                    assert!(asked < stop_at, "a planned end");
                    asked += 1;
                });
            }));
            scene.check(ended.is_ok(), &format!("stopped at {stop_at}"));
            let report = scene.engine.backup(scene.dir.path(), scene.options, &mut |_| {}).expect("taken");
            scene.check(true, "after it");
            assert_eq!(report.kept.files + report.linked.files + report.copied.files, report.blocks);
            if !copy && ended.is_err() {
                assert_eq!(report.linked.files, 0, "links are there already");
            }
        }
    }
}

#[test]
fn whichever_operation_of_a_restore_fails_the_folder_opens_whole_or_not_at_all() {
    let scene = Scene::new(true, true);
    scene.take().expect("taken");
    let dir = scene.dir.path();
    for link in [false, true] {
        let how = RestoreOptions { link, keep_damaged: false };
        let counts = {
            let (folder, files) = (fast_folder(), FaultyFiles::new());
            restore_with(&files, dir, folder.path(), how, &mut |_| {}).expect("no fault");
            (files.changes(), files.looks())
        };
        for (way, cut, at) in cases(counts) {
            let case = format!("link {link}, {way:?}, operation {at}, power cut {cut}");
            let (folder, files) = (fast_folder(), FaultyFiles::new());
            way.plan(&files, at);
            let done = restore_with(&files, dir, folder.path(), how, &mut |_| {});
            if cut {
                files.power_cut().expect("the folder is real");
            }
            let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
            match Engine::open(folder.path(), options(), clock.clone()) {
                Ok(engine) if done.is_ok() || everything(&*engine) == scene.new => {
                    assert_eq!((everything(&*engine), engine.stats().damage), (scene.new.clone(), vec![]), "{case}");
                }
                // Before the marker was there, nothing was.
                Ok(engine) => assert_eq!(everything(&*engine), Content::new(), "{case}"),
                Err(OpenError::Restoring { .. }) => {
                    assert!(done.is_err(), "{case}");
                    restore(dir, folder.path()).unwrap_or_else(|error| panic!("{case}: again: {error}"));
                    let engine = Engine::open(folder.path(), options(), clock).expect("opens");
                    assert_eq!(everything(&*engine), scene.new, "{case}");
                }
                Err(error) => panic!("{case}: {error}"),
            }
        }
    }
}

fn files_of(folder: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_of(&path, into);
        } else {
            into.insert(path.clone(), fs::read(path).expect("read"));
        }
    }
}

#[test]
fn a_bit_that_flips_in_a_backup_is_found_by_restore_and_check() {
    let (mut world, content) = World::lived();
    world.step(&crate::any_fault::Step::Flush).expect("opened and flushed");
    let dir = fast_folder();
    world.engine().backup(dir.path(), BackupOptions { copy: true }, &mut |_| {}).expect("taken");
    world.close();
    let mut files = BTreeMap::new();
    files_of(dir.path(), &mut files);
    let inside = |path: &Path| path.strip_prefix(dir.path()).expect("inside").to_owned();
    let insides: Vec<PathBuf> = files.keys().map(|path| inside(path)).collect();
    check_kinds(insides.iter().map(PathBuf::as_path), &BACKUP);
    let seed = seed();
    println!("METRICKIT_SEED={seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    for (path, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let stride = bytes.len().div_ceil(if all_faults() { FLIPS_MAX } else { FLIPS });
        let of_sections = sections(kind_of(&inside(path)), bytes).into_iter().map(|(_, section)| random.usize(section));
        let of_sections: Vec<usize> = of_sections.collect();
        for at in (random.usize(0..stride)..bytes.len()).step_by(stride).chain(of_sections) {
            let case = format!("{} byte {at} of {}", path.display(), bytes.len());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << random.u8(0..8);
            fs::write(path, &flipped).expect("written");
            let folder = fast_folder();
            let data = folder.path().join("data");
            let refused = restore(dir.path(), &data).expect_err(&case);
            assert!(!matches!(refused, BackupError::File(_) | BackupError::NoBackup { .. }), "{case}: {refused}");
            match check::check(dir.path(), &mut |_| {}) {
                Ok(report) => {
                    let named = report.problems.iter().any(|problem| problem.damage.file == *path);
                    assert!(named, "{case}: {:?}", report.problems);
                }
                Err(error) => assert!(path.ends_with(names::MANIFEST), "{case}: {error}"),
            }
            // What is whole of blocks can be had, and nothing that nobody wrote.
            if path.extension().is_some_and(|extension| extension == "blk") && at % 3 == 0 {
                let borne = RestoreOptions { keep_damaged: true, link: false };
                backup::restore(dir.path(), &data, borne, &mut |_| {})
                    .unwrap_or_else(|error| panic!("{case}: {error}"));
                let engine = Engine::open(&data, lived(), world.clock.clone()).expect("opens");
                let now_ms = model::Clock::now(&*world.clock).0;
                let mut missing = Vec::new();
                assert_eq!(told(&engine, now_ms, &content, &world.said, &mut missing), None, "{case}");
                assert!(missing.is_empty() || !engine.stats().damage.is_empty(), "{case}: missing without a word");
            }
            fs::write(path, bytes).expect("written");
        }
    }
    check_sound(dir.path());
}

/// A data folder of the version before is backed up, and what is in the log of a stopped one too.
#[test]
fn a_stopped_folder_is_backed_up_with_what_its_log_holds() {
    let (folder, dir) = (fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    append(&*engine, &[(1, NOW_MS, 1.0), (2, NOW_MS, 2.0)]).expect("appended");
    let content = everything(&*engine);
    drop(engine);
    let engine = open(folder.path(), options());
    assert_eq!(engine.stats().replayed_records, 1);
    take(&engine, dir.path());
    assert_eq!(restored(dir.path()), content);
}

/// A block that the disk does not give back costs itself: the others are backed up, it is named, and a copy that an earlier backup
/// has of it stays.
#[test]
fn a_block_that_cannot_be_read_ends_no_backup() {
    let (folder, earlier, later) = (fast_folder(), fast_folder(), fast_folder());
    let engine = open(folder.path(), options());
    for day in 0..3 {
        append(&*engine, &[(1, NOW_MS + day * 86_400_000, 1.0)]).expect("appended");
        engine.flush().expect("flushed");
    }
    let all = everything(&*engine);
    engine.backup(earlier.path(), BackupOptions { copy: true }, &mut |_| {}).expect("taken");
    drop(engine);
    let block = folder.path().join("blocks").join("00000001.blk");
    let files = HookedFiles::over(Arc::new(RealFiles), move |operation, path| {
        let error = || FileError::new(operation, path, std::io::Error::other("planned fault"));
        if path == block && ["map", "open_read"].contains(&operation) { Err(error()) } else { Ok(()) }
    });
    let engine = open_with(folder.path(), options(), Arc::new(files));
    let name = vec!["00000001.blk".to_owned()];
    let report = take(&engine, later.path());
    assert_eq!((report.blocks, &report.unread, report.is_whole()), (2, &name, false));
    let new = fast_folder();
    assert_eq!(restore(later.path(), new.path()).expect("restored").lost, name);
    assert_eq!(everything(&*open(new.path(), options()))[0].1.len(), 2);

    let report = take(&engine, earlier.path());
    assert_eq!((report.blocks, &report.from_before, report.is_whole()), (3, &name, true));
    assert_eq!(restored(earlier.path()), all);
}

/// The same where reading it fails on the way, wherever.
#[test]
fn a_block_whose_bytes_end_on_the_way_ends_no_backup() {
    let folder = fast_folder();
    let engine = open(folder.path(), options());
    for day in 0..2 {
        append(&*engine, &[(1, NOW_MS + day * 86_400_000, 1.0)]).expect("appended");
        engine.flush().expect("flushed");
    }
    drop(engine);
    // The magic of its footer.
    let path = folder.path().join("blocks/00000001.blk");
    let mut bytes = std::fs::read(&path).expect("read");
    *bytes.last_mut().expect("a block") ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let files = FaultyFiles::new();
    let engine = open_with(folder.path(), options(), Arc::new(files.clone()));
    let mut unread = 0;
    for copy in [false, true] {
        for at in 0..60 {
            let dir = fast_folder();
            files.fail_look_at(files.looks() + at, AfterFault::Recovers);
            let taken = engine.backup(dir.path(), BackupOptions { copy }, &mut |_| {});
            files.heal();
            // What fails in the backup's own folder ends it as ever.
            let Ok(report) = taken else { continue };
            let is_named = report.unread == ["00000001.blk"];
            assert_eq!((report.blocks, report.damaged.len()), if is_named { (1, 0) } else { (2, 1) }, "look {at}");
            unread += usize::from(is_named);
            let new = fast_folder();
            assert_eq!(restore(dir.path(), new.path()).expect("restored").lost, report.unread);
            assert_eq!(everything(&*open(new.path(), options()))[0].1.len(), 1);
        }
    }
    assert!(unread >= 4, "{unread}");
}
