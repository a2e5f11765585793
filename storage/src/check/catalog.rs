//! The catalog's part of a check: every value of it decodes, and its records agree with each other.
//!
//! sled cannot open a folder without writing to it. So its files are copied to a temporary folder, and the copy is opened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use roaring::RoaringBitmap;

use super::{Check, CheckError};
use crate::catalog::mark::MARK_NAME;
use crate::catalog::{BlockRecord, Catalog, CatalogError, Mark, Marked, State};
use crate::damage::Damage;
use crate::ids::BlockId;
use crate::index::cold::Stamp;

/// A catalog's folder, and where conversions put theirs.
const FOLDERS: [&str; 3] = ["catalog", "catalog.version-1", "catalog.version-2"];
/// What to do about a catalog that cannot be read.
const REMEDY: &str = "restore the folder from a backup";
/// What to do about a mark that cannot be read.
const REMEDY_MARK: &str = "open the folder, and look whether samples are missing";

/// What the catalog says.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether all of it could be read. If not, nothing can be said against what it does not name.
    pub(super) readable: bool,
    pub(super) state: State,
    pub(super) blocks: Vec<(BlockId, BlockRecord)>,
    pub(super) series: RoaringBitmap,
}

impl Check<'_> {
    pub(super) fn catalog(&mut self) -> Result<Known, CheckError> {
        let folder = self.folder.join("catalog");
        self.reading(&folder);
        let failed = |source| CheckError::Copy { folder: folder.clone(), source };
        let copy = tempfile::Builder::new().prefix("metrickit-check-").tempdir().map_err(failed)?;
        for name in FOLDERS {
            self.report.catalog_bytes += self.copy(name, copy.path())?;
        }
        // What sled does with bytes it did not write is not always an error.
        let read = catch_unwind(AssertUnwindSafe(|| self.read_catalog(&copy.path().join("catalog"))));
        let known = match read {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                self.unreadable(detail_of(error));
                Known::default()
            }
            Err(_) => {
                self.unreadable("sled cannot open its files".to_owned());
                Known::default()
            }
        };
        self.records_agree(&known);
        Ok(known)
    }

    /// Copies the files of a folder; returns how many bytes.
    fn copy(&self, name: &str, to: &Path) -> Result<u64, CheckError> {
        let (from, to) = (self.folder.join(name), to.join(name));
        let failed = |source| CheckError::Copy { folder: from.clone(), source };
        if !from.is_dir() {
            return Ok(0);
        }
        let mut bytes = 0;
        std::fs::create_dir(&to).map_err(failed)?;
        for entry in std::fs::read_dir(&from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let target = to.join(entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_file() {
                bytes += std::fs::copy(entry.path(), target).map_err(failed)?;
            } else if kind.is_dir() {
                bytes += copy_files(&entry.path(), &target).map_err(failed)?;
            }
        }
        Ok(bytes)
    }

    pub(super) fn read_catalog(&mut self, folder: &Path) -> Result<Known, CatalogError> {
        let catalog = Catalog::open(folder)?;
        let mut known = Known { readable: true, state: catalog.state()?, ..Known::default() };
        let commit = catalog.last_commit()?;
        self.mark(&commit);
        // Of a catalog whose folder has no number yet there are no index files.
        let mut index = self.index_files(Stamp { lineage: catalog.lineage()?, commit: commit.number });
        for entry in catalog.series() {
            match entry {
                Ok((id, labels)) => {
                    known.series.insert(id.0);
                    index.compare(id, &labels);
                }
                Err(error) => self.skip(&mut known, error)?,
            }
        }
        self.index_differs(index);
        for entry in catalog.metadata() {
            match entry {
                Ok(_) => self.report.metadata += 1,
                Err(error) => self.skip(&mut known, error)?,
            }
        }
        for entry in catalog.blocks() {
            match entry {
                Ok(block) => known.blocks.push(block),
                Err(error) => self.skip(&mut known, error)?,
            }
        }
        match catalog.churn() {
            Err(CatalogError::Value { detail, .. }) => {
                let damage = Damage { file: self.folder.join("catalog"), offset: 0, bytes: 0, detail };
                self.report.problem(damage, "when series were created", "open the folder; it is known from then on");
            }
            other => drop(other?),
        }
        if let Err(error) = catalog.deletes() {
            self.skip(&mut known, error)?;
        }
        Ok(known)
    }

    /// Holds the catalog's last commit against its mark.
    fn mark(&mut self, own: &Mark) {
        let path = self.folder.join(MARK_NAME);
        let costs = "what came since, if anything; blocks that the catalog does not name are kept in quarantine";
        match Mark::read(&self.files, &path) {
            Ok(Marked::Commit(marked)) if own.is_before(&marked) => {
                let (own, marked) = (own.number, marked.number);
                let detail = format!("the catalog is older than its blocks: at commit {own}, but was at {marked}");
                let damage = Damage { file: self.folder.join("catalog"), offset: 0, bytes: 0, detail };
                self.report.problem(damage, costs, REMEDY);
            }
            Ok(Marked::Unreadable(damage)) => self.report.problem(damage, costs, REMEDY_MARK),
            Ok(Marked::Commit(_) | Marked::Nothing) => {}
            Err(error) => {
                let damage = Damage { file: path, offset: 0, bytes: 0, detail: error.to_string() };
                self.report.problem(damage, costs, REMEDY_MARK);
            }
        }
    }

    /// Goes on behind a value that cannot be read; where sled itself fails there is no going on.
    fn skip(&mut self, known: &mut Known, error: CatalogError) -> Result<(), CatalogError> {
        known.readable = false;
        match error {
            CatalogError::Value { .. } => {
                self.unreadable(error.to_string());
                Ok(())
            }
            other => Err(other),
        }
    }

    fn unreadable(&mut self, detail: String) {
        let damage = Damage { file: self.folder.join("catalog"), offset: 0, bytes: self.report.catalog_bytes, detail };
        self.report.problem(damage, "the folder does not open", REMEDY);
    }

    /// Partitions are equal or apart, ids were given out, no two blocks share a file.
    pub(super) fn records_agree(&mut self, known: &Known) {
        let file = self.folder.join("catalog");
        let mut by_day: Vec<&(BlockId, BlockRecord)> = known.blocks.iter().collect();
        by_day.sort_by_key(|(id, record)| (record.first_day, record.last_day, *id));
        let mut wrong = Vec::new();
        for [(a, of_a), (b, of_b)] in by_day.array_windows() {
            let same = (of_a.first_day, of_a.last_day) == (of_b.first_day, of_b.last_day);
            if !same && of_b.first_day <= of_a.last_day {
                wrong.push(format!("the partitions of blocks {} and {} overlap", a.0, b.0));
            }
        }
        for (id, record) in &known.blocks {
            if id.0 >= known.state.next_block {
                wrong.push(format!("block {} was not given out yet, the next is {}", id.0, known.state.next_block));
            }
            if record.last_sequence > known.state.flushed && record.window_ms == 0 {
                let flushed = known.state.flushed;
                wrong.push(format!("block {} has record {}, flushed is {flushed}", id.0, record.last_sequence));
            }
        }
        for detail in wrong {
            let damage = Damage { file: file.clone(), offset: 0, bytes: 0, detail };
            self.report.problem(damage, "new samples may overwrite or hide others", REMEDY);
        }
    }
}

fn detail_of(error: CatalogError) -> String {
    match error {
        CatalogError::Sled { source, .. } => source.to_string(),
        CatalogError::Files { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Copies the files of `from`, whose folders sled does not nest any deeper.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<u64> {
    std::fs::create_dir(to)?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            bytes += std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(bytes)
}
