//! The project's own test scripts, over the store in memory and over the engine, flushed and reopened.

mod common;

use std::path::{Path, PathBuf};

use common::Reopened;
use query::script::{Plain, Report, Store, Unsaid, run};
use storage::memory::MemoryStore;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let files = std::fs::read_dir(folder).expect("the folder of the scripts").flatten().map(|file| file.path());
    let mut found: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "test")).collect();
    found.sort();
    found
}

#[track_caller]
fn all_pass(open: &mut dyn FnMut() -> Result<Box<dyn Store>, String>) {
    let mut failures = Vec::new();
    let mut cases = 0;
    for path in scripts() {
        let text = std::fs::read_to_string(&path).expect("a readable script");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Report { passed, failed } =
            run(&text, Unsaid::Refused, open).unwrap_or_else(|error| panic!("{name}: {error}"));
        cases += passed + failed.len();
        failures.extend(failed.iter().map(|case| format!("{name}:{} {}\n    {}", case.line, case.query, case.reason)));
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(cases > 300, "only {cases} cases were found");
}

#[test]
fn in_memory() {
    all_pass(&mut || Ok(Box::new(Plain::new(MemoryStore::new()))));
}

#[test]
fn over_the_engine_reopened() {
    all_pass(&mut || Ok(Box::new(Reopened::new()?)));
}
