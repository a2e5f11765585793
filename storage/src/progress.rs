//! How far long work on files is, told to whoever waits for it.

use std::path::Path;

/// How far long work is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is read now.
    pub file: &'a Path,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes there are to do.
    pub total_bytes: u64,
}
