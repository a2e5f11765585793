//! A bit that flips anywhere in a folder: found and told of with file and place, or refused with what to do; never a panic,
//! never a sample that nobody wrote, and nothing that is missing without a word.
//!
//! By default one byte of every section of every file, and some more, chosen by a seed that is printed; with
//! `METRICKIT_FAULTS=all` many more.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use model::Clock;
use storage::check::check;
use storage::files::FaultyFiles;

use crate::any_fault::{World, all_faults, fast_folder, open, seed, told};
use crate::file_kinds::{DATA_FOLDER, check_kinds, kind_of, sections};
use crate::support::Content;

/// Flips in one file, when not many.
const FLIPS: usize = 12;
/// Flips in one file at most.
const FLIPS_MAX: usize = 400;

/// A checksum may lie behind what it is of.
const CHECKSUM_BYTES: u64 = 4;
/// Length of a segment of the catalog's file.
const SLED_SEGMENT_BYTES: usize = 128 << 10;
/// Length of its header.
const SLED_HEADER_BYTES: usize = 20;

/// The files of a folder and those below it, by their path inside.
fn files_of(folder: &Path, inside: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder.join(inside)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = inside.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            files_of(folder, &path, into);
        } else {
            into.insert(path, fs::read(entry.path()).expect("read"));
        }
    }
}

fn write_files(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Harmless,
    Reported,
    Refused,
}

/// Opens the folder, reads everything, and lets it be written, merged and opened again.
fn look(folder: &Path, flipped: &Path, world: &World, content: &Content) -> Result<Found, String> {
    let files = FaultyFiles::new();
    let in_catalog = flipped.starts_with("catalog");
    let mut found = Found::Harmless;
    for round in 0..2 {
        let engine = match open(folder, &world.clock, &files) {
            Ok(engine) => engine,
            Err(error) if in_catalog && error.contains("restore") => return Ok(Found::Refused),
            Err(error) => return Err(format!("round {round}: refused without need or help: {error}")),
        };
        for written in [false, true] {
            let mut missing = Vec::new();
            if let Some(wrong) = told(&engine, world.clock.now().0, content, &world.said, &mut missing) {
                return Err(format!("round {round}, written {written}: {wrong}"));
            }
            let damage = engine.stats().damage;
            if damage.is_empty() && !missing.is_empty() && found == Found::Harmless {
                return Err(format!("round {round}, written {written}: {} missing without a word", missing.len()));
            }
            if !in_catalog && !damage.is_empty() && damage.iter().all(|damage| damage.file != folder.join(flipped)) {
                return Err(format!("round {round}: only others are blamed: {damage:?}"));
            }
            if !damage.is_empty() {
                found = Found::Reported;
            }
            if !written {
                let done = engine.flush().and_then(|()| engine.maintain());
                done.map_err(|error| format!("round {round}: {error}"))?;
            }
        }
    }
    Ok(found)
}

/// A check of the folder tells of the flip at byte `at`, with its place. What is behind the last whole record is told of as an
/// append that was cut short.
fn check_tells(folder: &Path, flipped: &Path, at: usize) -> Result<(), String> {
    let file = folder.join(flipped);
    let report = check(folder, &mut |_| {}).map_err(|error| format!("no check: {error}"))?;
    let covers = |offset: u64, bytes: u64| (offset..offset + bytes + CHECKSUM_BYTES).contains(&(at as u64));
    let mut problems = report.problems.iter().map(|problem| &problem.damage);
    let placed = problems.any(|damage| damage.file == file && covers(damage.offset, damage.bytes));
    let noted = flipped.starts_with("log") && report.notes.iter().any(|note| note.path == file);
    if placed || noted { Ok(()) } else { Err(format!("the check does not tell where: {:?}", report.problems)) }
}

/// The bytes of a file that flip, and whether a check must tell of each.
fn chosen(path: &Path, bytes: &[u8], random: &mut fastrand::Rng) -> Vec<(usize, bool)> {
    let flips = if all_faults() { FLIPS_MAX } else { FLIPS };
    // Of sled's file most is not used yet.
    let is_sled = path.ends_with("db");
    let used: Vec<usize> = (0..bytes.len()).filter(|&at| !is_sled || bytes[at] != 0).collect();
    let stride = used.len().div_ceil(flips);
    // For a damaged header sled forgets the whole segment, at once or at a later start.
    let headers = (0..bytes.len()).filter(|at| is_sled && at % SLED_SEGMENT_BYTES < SLED_HEADER_BYTES);
    let some = used.iter().copied().skip(random.usize(0..stride)).step_by(stride);
    let anywhere = headers.chain(some).map(|at| (at, false)).collect::<Vec<_>>();
    let of_sections = sections(kind_of(path), bytes).into_iter().map(|(_, section)| (random.usize(section), true));
    of_sections.chain(anywhere).collect()
}

#[test]
fn a_bit_that_flips_anywhere_is_found() {
    let (world, content) = World::lived();
    let mut sound = BTreeMap::new();
    files_of(world.folder.path(), Path::new(""), &mut sound);
    check_kinds(sound.keys().map(PathBuf::as_path), &DATA_FOLDER);
    let seed = seed();
    println!("METRICKIT_SEED={seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    let mut wrong = Vec::new();
    for (path, bytes) in sound.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let mut became: BTreeMap<Found, usize> = BTreeMap::new();
        for (at, is_checked) in chosen(path, bytes, random) {
            let folder = fast_folder();
            write_files(folder.path(), &sound);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << random.u8(0..8);
            fs::write(folder.path().join(path), flipped).expect("written");
            let looked = catch_unwind(AssertUnwindSafe(|| {
                if is_checked {
                    check_tells(folder.path(), path, at)?;
                }
                look(folder.path(), path, &world, &content)
            }));
            match looked {
                Ok(Ok(found)) => *became.entry(found).or_default() += 1,
                Ok(Err(error)) => wrong.push(format!("{} byte {at}: {error}", path.display())),
                Err(_) => wrong.push(format!("{} byte {at}: panicked", path.display())),
            }
        }
        println!("{}, {} bytes: {became:?}", path.display(), bytes.len());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
