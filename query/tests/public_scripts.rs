//! The public test scripts of Prometheus over the store in memory and over the engine.
//!
//! They are not part of the project. Without them beside it there is nothing to run; with them every case must pass
//! but those that the language has left behind since their release.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::Reopened;
use query::script::{Plain, Report, Store, Unsaid, run};
use storage::memory::MemoryStore;

/// What the scripts of 3.5.3 say and the language no longer does: since 3.6 custom buckets of different bounds are brought
/// to common ones, where they were left out with a warning.
const BOUNDS: &str = "custom buckets of different bounds are reconciled";
/// Another: the extrapolation of a histogram's rate ends where its count was zero.
const ZERO: &str = "histograms are not extrapolated below zero";

/// Cases that the language has left behind: file, line, reason. Each of them must fail.
const SUPERSEDED: [(&str, usize, &str); 20] = [
    ("functions.test", 261, BOUNDS),
    ("functions.test", 329, BOUNDS),
    ("native_histograms.test", 1045, ZERO),
    ("native_histograms.test", 1127, BOUNDS),
    ("native_histograms.test", 1130, BOUNDS),
    ("native_histograms.test", 1162, BOUNDS),
    ("native_histograms.test", 1164, BOUNDS),
    ("native_histograms.test", 1189, BOUNDS),
    ("native_histograms.test", 1191, BOUNDS),
    ("native_histograms.test", 1205, BOUNDS),
    ("native_histograms.test", 1207, BOUNDS),
    ("native_histograms.test", 1209, BOUNDS),
    ("native_histograms.test", 1211, BOUNDS),
    ("native_histograms.test", 1219, BOUNDS),
    ("native_histograms.test", 1221, BOUNDS),
    ("native_histograms.test", 1235, BOUNDS),
    ("native_histograms.test", 1237, BOUNDS),
    ("native_histograms.test", 1240, BOUNDS),
    ("native_histograms.test", 1243, BOUNDS),
    ("native_histograms.test", 1262, BOUNDS),
];

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promqltest");
    let mut found = Vec::new();
    for version in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(version.path()).into_iter().flatten().flatten().map(|file| file.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "test")));
    }
    found.sort();
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Counts the cases of each script and makes sure that no case fails.
#[track_caller]
fn all_pass(open: &mut dyn FnMut() -> Result<Box<dyn Store>, String>) -> String {
    let mut counts = String::new();
    let mut unexpected = Vec::new();
    let scripts = scripts();
    if scripts.is_empty() {
        counts.push_str("the public scripts are not here; tests/cases holds the project's own");
    }
    for path in scripts {
        let text = std::fs::read_to_string(&path).expect("a readable script");
        let name = file_name(&path);
        let Report { passed, failed } =
            run(&text, Unsaid::Allowed, open).unwrap_or_else(|error| panic!("{name}: {error}"));
        writeln!(counts, "{name:<28} {passed:>4} passed {:>4} failed", failed.len())
            .expect("a string takes everything");
        let is_superseded = |line: usize| SUPERSEDED.iter().any(|one| one.0 == name && one.1 == line);
        for case in failed.iter().filter(|case| !is_superseded(case.line)) {
            unexpected.push(format!("{name}:{} {}\n    {}", case.line, case.query, case.reason));
        }
        for (_, line, reason) in SUPERSEDED.iter().filter(|one| one.0 == name) {
            if !failed.iter().any(|case| case.line == *line) {
                unexpected.push(format!("{name}:{line} passes, though {reason}"));
            }
        }
    }
    assert!(unexpected.is_empty(), "{} cases fail:\n{}\n{counts}", unexpected.len(), unexpected.join("\n"));
    counts
}

#[test]
fn in_memory() {
    println!("{}", all_pass(&mut || Ok(Box::new(Plain::new(MemoryStore::new())))));
}

#[test]
fn over_the_engine_reopened() {
    println!("{}", all_pass(&mut || Ok(Box::new(Reopened::new()?))));
}
