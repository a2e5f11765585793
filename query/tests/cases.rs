//! The project's own test scripts, over the store in memory and over the engine, flushed and reopened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{SeriesSource, SystemClock, WriteBatch};
use query::script::{Plain, Report, Store, append_all, run};
use storage::memory::MemoryStore;
use storage::{Durability, Engine, EngineOptions};

/// An engine that is flushed, closed and opened again before each read.
#[derive(Debug)]
struct Reopened {
    folder: tempfile::TempDir,
    engine: Option<Arc<Engine>>,
}

impl Reopened {
    fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut store = Self { folder, engine: None };
        store.open()?;
        Ok(store)
    }

    fn open(&mut self) -> Result<Arc<Engine>, String> {
        let options = EngineOptions { durability: Durability::Off, retention_ms: None, ..EngineOptions::default() };
        let engine = Engine::open(self.folder.path(), options, Arc::new(SystemClock)).map_err(|e| e.to_string())?;
        Ok(self.engine.insert(engine).clone())
    }
}

impl Store for Reopened {
    fn write(&mut self, batch: &WriteBatch) -> Result<(), String> {
        let engine = self.engine.as_ref().ok_or("the engine is closed")?;
        append_all(&**engine, batch)
    }

    fn reader(&mut self) -> Result<Arc<dyn SeriesSource>, String> {
        if let Some(engine) = self.engine.take() {
            engine.flush().map_err(|error| error.to_string())?;
            engine.close().map_err(|error| error.to_string())?;
        }
        Ok(self.open()?)
    }
}

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
        let Report { passed, failed, skipped } = run(&text, open).unwrap_or_else(|error| panic!("{name}: {error}"));
        cases += passed + failed.len();
        assert_eq!(skipped, [], "{name} needs what is not there");
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
