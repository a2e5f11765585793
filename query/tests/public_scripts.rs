//! The public test scripts of Prometheus over the store in memory and over the engine.
//!
//! They are not part of the project. Without them beside it there is nothing to run; with them every case must pass
//! but those listed here with the reason.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::Reopened;
use query::script::{Plain, Report, Store, run};
use storage::memory::MemoryStore;

/// Cases that are known to fail: file, query, reason.
const KNOWN: [(&str, &str, &str); 0] = [];

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
        let Report { passed, failed } = run(&text, open).unwrap_or_else(|error| panic!("{name}: {error}"));
        writeln!(counts, "{name:<28} {passed:>4} passed {:>4} failed", failed.len())
            .expect("a string takes everything");
        for case in failed {
            if !KNOWN.iter().any(|(file, query, _)| *file == name && *query == case.query) {
                unexpected.push(format!("{name}:{} {}\n    {}", case.line, case.query, case.reason));
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
