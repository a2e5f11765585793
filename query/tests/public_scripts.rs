//! The public test scripts of Prometheus over the store in memory.
//!
//! They are not part of the project. Without them beside it there is nothing to run; with them nearly every case must
//! pass, and those that do not are listed here with the reason.

use std::path::{Path, PathBuf};

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

#[test]
fn public_scripts_pass() {
    let mut unexpected = Vec::new();
    let scripts = scripts();
    if scripts.is_empty() {
        println!("the public scripts are not here; tests/cases holds the project's own");
    }
    for path in scripts {
        let text = std::fs::read_to_string(&path).expect("a readable script");
        let mut open = || Ok(Box::new(Plain::new(MemoryStore::new())) as Box<dyn Store>);
        let Report { passed, failed, skipped } = run(&text, &mut open).expect("a well-formed script");
        let name = file_name(&path);
        println!(
            "{name:<28} {passed:>4} passed {:>4} failed {:>4} need native histograms",
            failed.len(),
            skipped.len()
        );
        for case in failed {
            if !KNOWN.iter().any(|(file, query, _)| *file == name && *query == case.query) {
                unexpected.push(format!("{name}:{} {}\n    {}", case.line, case.query, case.reason));
            }
        }
    }
    assert!(unexpected.is_empty(), "{} cases fail:\n{}", unexpected.len(), unexpected.join("\n"));
}
