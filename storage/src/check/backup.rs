//! A backup's part of a check: every file is what the manifest says, and all together is a data folder without fault.
//!
//! The catalog is restored into a temporary folder and looked at there; blocks are looked at where they are, as those of a data
//! folder, and summed besides.

use std::collections::BTreeMap;
use std::path::Path;

use super::{BackupFound, Check, CheckError, Progress, Report};
use crate::backup::manifest::{BlockFile, Manifest, Sum};
use crate::backup::{BackupError, folder, names, restore};
use crate::catalog::{BlockRecord, Catalog};
use crate::damage::Damage;
use crate::files::{FileEntry, Files, RealFiles};

const REMEDY: &str =
    "restore another backup, or what is whole of this one with --keep-damaged; take the next one into another folder";
const REMEDY_CATALOG: &str = "restore another backup; take the next one into another folder";

/// Checks the backup in `dir`.
pub(super) fn check(dir: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Report, CheckError> {
    let _lock = folder::lock_existing(dir)?;
    let mut check =
        Check { folder: dir, files: RealFiles, report: Report::default(), watch, done_bytes: 0, total_bytes: 0 };
    match folder::whole(&RealFiles, dir) {
        Ok(manifest) => check.backup(&manifest)?,
        Err(BackupError::Manifest { path, detail }) => {
            let damage = Damage { file: path, offset: 0, bytes: 0, detail };
            check.report.problem(damage, "nobody knows what the backup consists of", REMEDY_CATALOG);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(check.report)
}

impl Check<'_> {
    fn backup(&mut self, manifest: &Manifest) -> Result<(), CheckError> {
        let Manifest { number, taken_ms, program, .. } = manifest;
        self.report.backup = Some(BackupFound { number: *number, taken_ms: *taken_ms, program: program.clone() });
        self.total_bytes = manifest.bytes();
        let known = self.catalog_file(manifest)?;
        let records: BTreeMap<&str, &BlockRecord> =
            known.blocks.iter().map(|(_, record)| (record.file.as_str(), record)).collect();
        let series = known.readable.then_some(&known.series);
        for block in &manifest.blocks {
            let name = names::block(&block.file, block.stamp);
            let path = self.folder.join(names::BLOCKS).join(&name);
            let before = self.report.problems_total;
            // A block of which there is no record was told of with the catalog.
            if let Some(record) = records.get(block.file.as_str())
                && path.exists()
            {
                self.block(&path, &BlockRecord { file: name, ..(*record).clone() }, series);
            }
            let found_more = self.report.problems_total > before;
            self.block_sum(&path, block, found_more)?;
        }
        self.report.series = known.series.len();
        self.report.blocks = manifest.blocks.len() as u64;
        for file in &manifest.lost {
            let detail = "was missing in the data folder when the backup was taken";
            self.report.note(self.folder.join(names::BLOCKS).join(file), detail);
        }
        self.left_overs(manifest)?;
        Ok(())
    }

    /// Looks at the catalog in a temporary folder.
    fn catalog_file(&mut self, manifest: &Manifest) -> Result<super::catalog::Known, CheckError> {
        let path = self.folder.join(names::catalog(manifest.number));
        self.reading(&path);
        let nothing = super::catalog::Known::default();
        let Some(file) =
            self.summed(&path, manifest.catalog, "the backup cannot be restored", REMEDY_CATALOG, false)?
        else {
            return Ok(nothing);
        };
        self.report.catalog_bytes = file;
        let failed = |source| CheckError::Copy { folder: path.clone(), source };
        let copy = tempfile::Builder::new().prefix("metrickit-check-").tempdir().map_err(failed)?;
        let new = copy.path().join("catalog");
        let read = restore::fill_catalog(&new, &path, &*self.files.open_read(&path)?);
        let known = read.and_then(|()| Ok(self.read_catalog(&new)?));
        let known = match known {
            Ok(known) => known,
            Err(error) => {
                self.catalog_problem(&path, error.to_string());
                return Ok(nothing);
            }
        };
        match Catalog::open(&new).and_then(|catalog| restore::agrees(&catalog, manifest)) {
            Ok(Ok(())) => {}
            Ok(Err(detail)) => self.catalog_problem(&self.folder.join(names::MANIFEST), detail),
            Err(error) => self.catalog_problem(&path, error.to_string()),
        }
        self.records_agree(&known);
        Ok(known)
    }

    fn catalog_problem(&mut self, path: &Path, detail: String) {
        let damage = Damage { file: path.to_owned(), offset: 0, bytes: 0, detail };
        self.report.problem(damage, "the backup cannot be restored", REMEDY_CATALOG);
    }

    fn block_sum(&mut self, path: &Path, block: &BlockFile, found_more: bool) -> Result<(), CheckError> {
        self.reading(path);
        if let Some(bytes) = self.summed(path, block.sum, "some or all samples of the block", REMEDY, found_more)? {
            self.report.block_bytes += bytes;
        }
        self.done_bytes += block.sum.bytes;
        Ok(())
    }

    /// The length of a file that is there. That its sum is another one is a problem, unless `is_told` already.
    fn summed(
        &mut self,
        path: &Path,
        want: Sum,
        costs: &str,
        remedy: &'static str,
        is_told: bool,
    ) -> Result<Option<u64>, CheckError> {
        let file = match self.files.open_read(path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                let damage =
                    Damage { file: path.to_owned(), offset: 0, bytes: want.bytes, detail: "is missing".to_owned() };
                self.report.problem(damage, costs, remedy);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let found = crate::backup::sum_of(&*file)?;
        if let Some(damage) = restore::differs(path, found, want).filter(|_| !is_told) {
            self.report.problem(damage, costs, remedy);
        }
        Ok(Some(found.bytes))
    }

    /// Names what the manifest does not.
    fn left_overs(&mut self, manifest: &Manifest) -> Result<(), CheckError> {
        let named: std::collections::BTreeSet<String> =
            manifest.blocks.iter().map(|block| names::block(&block.file, block.stamp)).collect();
        let catalog = names::catalog(manifest.number);
        let blocks = self.list(names::BLOCKS)?;
        let files = self.list("")?;
        let ours = |entry: &&FileEntry| ![names::MANIFEST, names::LOCK, &catalog].contains(&entry.name.as_str());
        let others = files.iter().filter(ours).map(|entry| (self.folder.join(&entry.name), entry.bytes));
        let of_blocks = blocks.iter().filter(|entry| !named.contains(&entry.name));
        let of_blocks = of_blocks.map(|entry| (self.folder.join(names::BLOCKS).join(&entry.name), entry.bytes));
        for (path, bytes) in others.chain(of_blocks).collect::<Vec<_>>() {
            self.report.note(
                path,
                format!("{bytes} bytes that the manifest does not name; the next backup removes its own left-overs"),
            );
        }
        Ok(())
    }
}
