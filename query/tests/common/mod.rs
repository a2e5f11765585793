//! An engine for test scripts, for every test that runs some.

use std::sync::Arc;

use model::{SeriesSource, SystemClock, WriteBatch};
use query::script::{Store, append_all};
use storage::{Durability, Engine, EngineOptions};

/// An engine that is flushed, closed and opened again before each read.
#[derive(Debug)]
pub(crate) struct Reopened {
    folder: tempfile::TempDir,
    engine: Option<Arc<Engine>>,
}

impl Reopened {
    pub(crate) fn new() -> Result<Self, String> {
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
