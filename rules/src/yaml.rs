//! YAML to our types: complaints with their place, limits on size and on what references repeat.

use model::time::parse_duration_ms;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

/// Most faults that are told of one file.
const FAULTS_MAX: usize = 200;

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

/// Collects what is wrong with a file.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    file: &'a str,
    found: Vec<FileFault>,
    /// How many there are, the untold too.
    count: usize,
}

impl<'a> Faults<'a> {
    /// Of the file called `file`, with nothing wrong yet.
    pub(crate) fn of(file: &'a str) -> Self {
        Self { file, found: Vec::new(), count: 0 }
    }

    /// Takes note of something wrong.
    pub(crate) fn wrong(&mut self, at: Location, message: impl Into<String>) {
        self.count += 1;
        if self.found.len() < FAULTS_MAX {
            self.found.push(FileFault::new(self.file, at, message));
        }
    }

    /// A duration in milliseconds; `None` when it is not there or none.
    pub(crate) fn duration(&mut self, text: Option<&Spanned<String>>, what: &str) -> Option<i64> {
        let text = text?;
        match parse_duration_ms(&text.value) {
            Ok(ms) => Some(ms),
            Err(error) => {
                self.wrong(at(text), format!("{what}: {error}"));
                None
            }
        }
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The first thing that is wrong.
    pub(crate) fn first(self) -> Option<String> {
        self.found.into_iter().next().map(|fault| fault.message)
    }

    /// Whether the file is right.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in its order; of very many the first found, and how many more there are.
    pub(crate) fn none_or_all(mut self) -> Result<(), Vec<FileFault>> {
        if self.count == 0 {
            return Ok(());
        }
        self.found.sort_by_key(|fault| (fault.line, fault.column));
        if let (more @ 1.., Some(last)) = (self.count - self.found.len(), self.found.last()) {
            let message = format!("and {more} more; {FAULTS_MAX} are told of one file");
            let last = FileFault { message, ..last.clone() };
            self.found.push(last);
        }
        Err(self.found)
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
    let told =
        told.rsplit_once(" at line ").filter(|(_, place)| place.contains("column")).map_or(told, |(told, _)| told);
    match told.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest.to_owned(),
        _ => told.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_once() {
        let fault = read::<serde_json::Value>("r.yml", "a: {b: c[1m] > 5}").expect_err("no YAML");
        assert_eq!((fault.line, fault.message.contains("line")), (1, false), "{fault}");
    }

    #[test]
    fn very_many_faults_are_counted() {
        let groups = |count: usize| format!("groups:\n{}", "- {name: g, rules: [{record: a}]}\n".repeat(count));
        // Of each group but the first its name is a fault, too.
        let faults = crate::file::read("r.yml", &groups(2)).expect_err("faults");
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        let faults = crate::file::read("r.yml", &groups(1000)).expect_err("faults");
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert_eq!(faults.last().map(|last| last.message.as_str()), Some("and 1799 more; 200 are told of one file"));
    }
}
