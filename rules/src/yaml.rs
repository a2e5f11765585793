//! YAML to our types: complaints with their place, limits on size and on what references repeat.

use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

/// Longest file.
pub(crate) const FILE_BYTES_MAX: usize = 8 << 20;

/// Most levels in a file; reading is recursive.
const DEPTH_MAX: usize = 48;

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileFault {
    /// Its name.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

impl FileFault {
    pub(crate) fn new(file: &str, at: Location, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: at.line().max(1), column: at.column().max(1), message: message.into() }
    }
}

/// Where something is said.
pub(crate) fn at<T>(spanned: &Spanned<T>) -> Location {
    spanned.referenced
}

/// Reads `text`, whose name is `file`.
pub(crate) fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, FileFault> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("a file of {} bytes; {FILE_BYTES_MAX} are allowed", text.len());
        return Err(FileFault { file: file.to_owned(), line: 1, column: 1, message });
    }
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: DEPTH_MAX } };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location();
        FileFault {
            file: file.to_owned(),
            line: place.map_or(1, |place| place.line().max(1)),
            column: place.map_or(1, |place| place.column().max(1)),
            message: plain(&error.to_string()),
        }
    })
}

/// A complaint without the place that it begins with, which is told already.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let told = first.strip_prefix("error: ").unwrap_or(first);
    match told.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest.to_owned(),
        _ => told.to_owned(),
    }
}
