//! Test scripts: data, queries and what they must yield, in a plain text that anyone can write.
//!
//! The format is the one of Prometheus's test scripts, so those run here too; `query/tests/cases/README.md` describes
//! it. A library module, so that any engine behind [`Store`] can be held to the same scripts.

mod check;
mod histogram;
mod load;
mod parse;
mod points;
mod read;
mod run;
mod starts;

use std::fmt;
use std::sync::Arc;

use model::{SampleSink, SeriesSource, WriteBatch};

pub use read::{ExpectedHistogram, ShowHistogram, read_labels, read_series};
pub use run::run;

/// What becomes of annotations that a case does not speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// They may be there, as in the scripts of Prometheus.
    Allowed,
    /// A case without any `expect` line must have none.
    Refused,
}

/// Where a script's data goes and comes from.
pub trait Store: fmt::Debug {
    /// Takes samples.
    ///
    /// # Errors
    ///
    /// The reason when not all of them were taken.
    fn write(&mut self, batch: &WriteBatch) -> Result<(), String>;

    /// Something that reads all that was written. Called anew after each load, so that a store may flush or reopen.
    ///
    /// # Errors
    ///
    /// The reason when it cannot be read.
    fn reader(&mut self) -> Result<Arc<dyn SeriesSource>, String>;
}

/// Anything that is a sink and a source at once.
#[derive(Debug)]
pub struct Plain<T>(Arc<T>);

impl<T> Plain<T> {
    /// Wraps `store`.
    pub fn new(store: T) -> Self {
        Self(Arc::new(store))
    }
}

impl<T: SampleSink + SeriesSource + 'static> Store for Plain<T> {
    fn write(&mut self, batch: &WriteBatch) -> Result<(), String> {
        append_all(&*self.0, batch)
    }

    fn reader(&mut self) -> Result<Arc<dyn SeriesSource>, String> {
        Ok(self.0.clone())
    }
}

/// Appends `batch` and makes sure that nothing of it was refused.
///
/// # Errors
///
/// The reason when not all samples were taken.
pub fn append_all(sink: &dyn SampleSink, batch: &WriteBatch) -> Result<(), String> {
    let appended = sink.append(batch).map_err(|error| error.to_string())?;
    match appended.rejections.first() {
        Some(rejection) => Err(rejection.to_string()),
        None => Ok(()),
    }
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// One case that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// The line of its `eval`, from 1.
    pub line: usize,
    /// Its query.
    pub query: String,
    /// Why.
    pub reason: String,
}

/// What became of a script's cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many passed.
    pub passed: usize,
    /// Those that did not.
    pub failed: Vec<CaseReport>,
}
