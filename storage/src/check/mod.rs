//! Looks at every byte of a data folder that no engine has open, or of a backup, and tells what is wrong with it.
//!
//! Reads the catalog, walks the log record by record, decodes every chunk of every block, and holds the three against
//! each other: what the catalog says of a block, that its file is there, that every series in it has labels. Owns the
//! [`Report`] and what a problem costs; what the bytes mean is known to [`block`](crate::block), [`log`](crate::log) and
//! [`catalog`](crate::catalog). Changes nothing: a torn end of the log, files that nobody names and an unfinished
//! conversion stay as they are, for the next opening of the folder settles them; they are notes, not problems.

mod backup;
mod blocks;
mod catalog;
mod index;
mod log;

use std::path::{Path, PathBuf};

use crate::backup::BackupError;
use crate::backup::names::{MANIFEST, RESTORING, UNFINISHED};
use crate::catalog::mark::MARK_NAME;
use crate::damage::Damage;
use crate::engine::OpenError;
use crate::engine::lock::FolderLock;
use crate::files::{FileEntry, FileError, Files, RealFiles};
use crate::index::cold::FOLDER_NAME;
pub use crate::progress::Progress;

/// Most problems, and most notes, that are told one by one.
pub const TOLD_MAX: usize = 1000;

/// Files and folders that a data folder consists of.
const KNOWN: [&str; 11] = [
    "LOCK",
    MARK_NAME,
    RESTORING,
    "log",
    "blocks",
    "captures",
    "catalog",
    "catalog.version-1",
    "catalog.version-2",
    FOLDER_NAME,
    "quarantine",
];

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFound {
    /// Backups in one folder count up from 1.
    pub number: u64,
    /// The moment it is of, in milliseconds since the Unix epoch.
    pub taken_ms: i64,
    /// The version of the program that took it.
    pub program: String,
}

/// Why a folder cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CheckError {
    /// An engine has it open; stop that one, or check a backup.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is neither catalog nor log nor blocks; look for another folder.
    #[error("{} is no data folder: it has neither catalog nor log nor blocks", folder.display())]
    NoData { folder: PathBuf },
    /// There is no whole backup in the folder, or it is in use.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The disk fails, or permissions are missing.
    #[error(transparent)]
    File(#[from] FileError),
    /// The catalog is read from a copy, which cannot be made.
    #[error("no temporary copy of the catalog {}: {source}", folder.display())]
    Copy { folder: PathBuf, source: std::io::Error },
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, and what was found.
    pub damage: Damage,
    /// What it costs.
    pub costs: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Something that is as it may be, and worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file or folder.
    pub path: PathBuf,
    /// What about it.
    pub detail: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Of a backup: which one it is.
    pub backup: Option<BackupFound>,
    /// Blocks that the catalog names.
    pub blocks: u64,
    /// Bytes of their files.
    pub block_bytes: u64,
    /// Samples in them that can be read.
    pub block_samples: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Whole records that are in no block yet.
    pub log_records: u64,
    /// Samples in these records.
    pub log_samples: u64,
    /// Series that catalog or log know.
    pub series: u64,
    /// Metrics whose metadata the catalog has.
    pub metadata: u64,
    /// Bytes of the catalog's files.
    pub catalog_bytes: u64,
    /// Files in the folder `index`.
    pub index_files: u64,
    /// Bytes of them.
    pub index_bytes: u64,
    /// The first [`TOLD_MAX`] problems.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problems_total: u64,
    /// The first [`TOLD_MAX`] notes.
    pub notes: Vec<Note>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems_total == 0
    }

    fn problem(&mut self, damage: Damage, costs: impl Into<String>, remedy: &'static str) {
        self.problems_total += 1;
        if self.problems.len() < TOLD_MAX {
            self.problems.push(Problem { damage, costs: costs.into(), remedy });
        }
    }

    fn note(&mut self, path: PathBuf, detail: impl Into<String>) {
        if self.notes.len() < TOLD_MAX {
            self.notes.push(Note { path, detail: detail.into() });
        }
    }
}

/// Whether `folder` looks like a data folder or a backup, whatever state it is in: an engine makes one of any other.
pub fn is_ours(folder: &Path) -> bool {
    ["LOCK", "catalog", RESTORING, MANIFEST, UNFINISHED].iter().any(|name| folder.join(name).exists())
}

/// A check under way.
struct Check<'a> {
    folder: &'a Path,
    files: RealFiles,
    report: Report,
    watch: &'a mut dyn FnMut(Progress<'_>),
    done_bytes: u64,
    total_bytes: u64,
}

/// Checks the data folder, or the backup, at `folder`, telling `watch` how far it is. What is wrong is in the report; only what keeps the check
/// from being made is an error.
///
/// # Errors
///
/// When the folder is in use or holds no data, or files cannot be read.
pub fn check(folder: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Report, CheckError> {
    if crate::backup::folder::is_backup(folder) {
        return backup::check(folder, watch);
    }
    // A folder without lock file was opened by nobody since it came here.
    let _lock = FolderLock::take_existing(folder)?;
    let check = Check { folder, files: RealFiles, report: Report::default(), watch, done_bytes: 0, total_bytes: 0 };
    check.run()
}

impl Check<'_> {
    fn run(mut self) -> Result<Report, CheckError> {
        self.unfinished_restore();
        let segments = self.list("log")?;
        let blocks = self.list("blocks")?;
        let has_catalog = crate::catalog::Catalog::exists(&self.folder.join("catalog"));
        if !has_catalog && segments.is_empty() && blocks.is_empty() {
            return Err(CheckError::NoData { folder: self.folder.to_owned() });
        }
        self.total_bytes = segments.iter().chain(&blocks).map(|entry| entry.bytes).sum();
        let known = if has_catalog {
            self.catalog()?
        } else {
            if !blocks.is_empty() {
                self.lost_catalog(blocks.len());
            }
            catalog::Known::default()
        };
        let catalog::Known { readable, state, blocks: registered, series } = known;
        let series = self.log(&segments, state, readable, series)?;
        self.report.series = series.len();
        self.blocks(&blocks, &registered, readable.then_some(&series));
        self.other_files()?;
        Ok(self.report)
    }

    fn unfinished_restore(&mut self) {
        let file = self.folder.join(RESTORING);
        if file.exists() {
            let detail = "a restore into the folder did not end".to_owned();
            let damage = Damage { file, offset: 0, bytes: 0, detail };
            self.report.problem(damage, "the folder does not open", "restore the backup again");
        }
    }

    fn lost_catalog(&mut self, blocks: usize) {
        let file = self.folder.join("catalog");
        let detail = format!("there are {blocks} files in the folder blocks, but no catalog");
        let costs = "the folder does not open, and nobody knows which blocks count";
        self.report.problem(Damage { file, offset: 0, bytes: 0, detail }, costs, "restore the folder from a backup");
    }

    /// The files of a folder inside the data folder; none if it is not there.
    fn list(&self, name: &str) -> Result<Vec<FileEntry>, FileError> {
        match self.files.list(&self.folder.join(name)) {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Tells how far it is.
    fn reading(&mut self, file: &Path) {
        let (done_bytes, total_bytes) = (self.done_bytes.min(self.total_bytes), self.total_bytes);
        (self.watch)(Progress { file, done_bytes, total_bytes });
    }

    /// Names what lies beside log, blocks and catalog.
    fn other_files(&mut self) -> Result<(), FileError> {
        for entry in self.list("quarantine")? {
            let path = self.folder.join("quarantine").join(entry.name);
            self.report.note(path, format!("{} bytes, kept when damage was found earlier", entry.bytes));
        }
        let failed = |source| FileError::new("list", self.folder, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.retain(|name| !KNOWN.iter().any(|known| name.as_os_str() == *known));
        names.sort_unstable();
        for name in names {
            self.report.note(self.folder.join(name), "is no part of a data folder; it is left alone");
        }
        self.reading(self.folder);
        Ok(())
    }
}
