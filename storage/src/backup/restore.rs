//! Restoring: a data folder is made of a backup, without an engine.
//!
//! 1. A marker goes first: with it no engine opens the folder, and another restore may begin anew in it.
//! 2. The catalog's file is verified, put into a sled of its own, and held against the manifest.
//! 3. Every block is copied (or linked) and verified on the way.
//! 4. When all is on disk the catalog gets its name, and the marker goes last.
//!
//! There is no log and no `COMMIT`: an engine that opens the folder goes on above the ids and sequences of the catalog.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::catalog_file::{self, CatalogFileError};
use super::manifest::{BlockFile, Manifest, Sum};
use super::transfer::{CopyError, copy, remove_if_there, sum_of};
use super::{BackupError, Progress, RestoreOptions, RestoreReport, folder, names};
use crate::catalog::raw::RawCatalog;
use crate::catalog::{Catalog, CatalogError};
use crate::damage::Damage;
use crate::engine::StorageError;
use crate::engine::lock::FolderLock;
use crate::files::{FileError, Files, ReadAt, RealFiles, folder_of};

/// Where the catalog is made before it gets its name.
const NEW_CATALOG: &str = "catalog.restoring";
/// What sled takes for a small catalog.
const CATALOG_ROOM_BYTES: u64 = 2 << 20;

/// Makes a data folder at `folder` of the backup in `dir`, telling `watch` how far it is. No engine may have the folder open;
/// it must be empty, missing, or left by a restore that did not end.
///
/// # Errors
///
/// When there is no whole backup, it is damaged, the folder is not empty, or a disk is full or fails. The folder then cannot be opened
/// until a restore into it ends.
pub fn restore(
    dir: &Path,
    folder: &Path,
    options: RestoreOptions,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<RestoreReport, BackupError> {
    restore_with(&RealFiles, dir, folder, options, watch)
}

/// As [`restore`], with all but the catalog on `files`.
///
/// # Errors
///
/// As [`restore`].
pub fn restore_with(
    files: &dyn Files,
    dir: &Path,
    folder: &Path,
    options: RestoreOptions,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<RestoreReport, BackupError> {
    let _backup = folder::lock_existing(dir)?;
    let manifest = folder::whole(files, dir)?;
    if folder::lies_in(folder, dir)? {
        return Err(BackupError::InBackup { folder: folder.to_owned(), dir: dir.to_owned() });
    }
    refuse_others(folder)?;
    let _data = FolderLock::take(files, folder)?;
    // Another restore may have ended until it let go of the lock.
    refuse_others(folder)?;
    if !options.link {
        folder::check_room(files, folder, room_for(&manifest), 0)?;
    }
    let report = RestoreReport { number: manifest.number, taken_ms: manifest.taken_ms, ..RestoreReport::default() };
    let total_bytes = manifest.bytes();
    let mut restoring = Restoring { files, dir, folder, options, watch, done_bytes: 0, total_bytes, report };
    restoring.begin()?;
    restoring.catalog(&manifest)?;
    for block in &manifest.blocks {
        restoring.block(block)?;
    }
    restoring.finish(manifest)
}

/// Only an empty folder, or one that a restore left, becomes a data folder.
fn refuse_others(folder: &Path) -> Result<(), BackupError> {
    if folder.join(names::RESTORING).exists() || folder::is_empty(folder)? {
        return Ok(());
    }
    Err(BackupError::Target { folder: folder.to_owned() })
}

/// How much a data folder takes, about: a catalog is longer in sled's files than flat.
fn room_for(manifest: &Manifest) -> u64 {
    manifest.bytes().saturating_add(manifest.catalog.bytes).saturating_add(CATALOG_ROOM_BYTES)
}

/// A restore under way.
struct Restoring<'a> {
    files: &'a dyn Files,
    dir: &'a Path,
    folder: &'a Path,
    options: RestoreOptions,
    watch: &'a mut dyn FnMut(Progress<'_>),
    done_bytes: u64,
    total_bytes: u64,
    report: RestoreReport,
}

impl Restoring<'_> {
    fn went(&mut self, file: &Path, more_bytes: u64) -> bool {
        (self.watch)(Progress { file, done_bytes: self.done_bytes, total_bytes: self.total_bytes });
        self.done_bytes += more_bytes;
        true
    }

    /// Marks the folder, and removes what an earlier restore left in it.
    fn begin(&self) -> Result<(), BackupError> {
        let marker = self.files.create(&self.folder.join(names::RESTORING))?;
        marker.append(b"a data folder that is not restored yet\n")?;
        marker.sync_data()?;
        self.files.sync_dir(self.folder)?;
        self.files.sync_dir(folder_of(self.folder))?;
        for name in [NEW_CATALOG, "catalog", names::BLOCKS] {
            let path = self.folder.join(name);
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", &path, error).into());
                }
                _ => {}
            }
        }
        self.files.create_dir_all(&self.folder.join(names::BLOCKS))?;
        Ok(())
    }

    /// Makes a catalog of the backup's file, beside the place where it will be, and holds it against the manifest.
    fn catalog(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let path = self.dir.join(names::catalog(manifest.number));
        let file = open(self.files, &path, manifest.catalog)?;
        let found = sum_of(&*file, &mut |more| self.went(&path, more)).map_err(failed)?;
        if let Some(damage) = differs(&path, found, manifest.catalog) {
            return Err(BackupError::Damaged { damage: vec![damage] });
        }
        let new = self.folder.join(NEW_CATALOG);
        fill_catalog(&new, &path, &*file)?;
        let catalog = Catalog::open(&new)?;
        self.report.series = readable(&catalog)?;
        let named = agrees(&catalog, manifest)?;
        drop(catalog);
        named.map_err(|detail| BackupError::Manifest { path: self.dir.join(names::MANIFEST), detail })
    }

    /// Brings a block into the folder. Where it is damaged that is remembered.
    fn block(&mut self, block: &BlockFile) -> Result<(), BackupError> {
        let from = self.dir.join(names::BLOCKS).join(names::block(&block.file, block.stamp));
        let to = self.folder.join(names::BLOCKS).join(&block.file);
        let damage = |detail: String| Damage { file: from.clone(), offset: 0, bytes: block.sum.bytes, detail };
        let file = match self.files.open_read(&from) {
            Ok(file) => file,
            Err(error) => {
                self.report.damaged.push(damage(error.to_string()));
                return Ok(());
            }
        };
        let (files, link) = (self.files, self.options.link);
        let linked = link && files.hard_link(&from, &to).is_ok();
        let went = &mut |more| self.went(&from, more);
        let found = if linked { sum_of(&*file, went) } else { copy(files, &*file, &to, went) };
        match found {
            Ok(found) => {
                self.report.damaged.extend(differs(&from, found, block.sum));
                let moved = if linked { &mut self.report.linked } else { &mut self.report.copied };
                moved.add(found.bytes);
                Ok(())
            }
            Err(CopyError::Read(error)) => {
                self.report.damaged.push(damage(error.to_string()));
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes a data folder of what is there.
    fn finish(self, manifest: Manifest) -> Result<RestoreReport, BackupError> {
        let Self { files, folder, options, watch, total_bytes, report, .. } = self;
        if !report.damaged.is_empty() && !options.keep_damaged {
            return Err(BackupError::Damaged { damage: report.damaged });
        }
        files.sync_dir(&folder.join(names::BLOCKS))?;
        let new = folder.join(NEW_CATALOG);
        sync_folders(files, &new)?;
        files.sync_dir(folder)?;
        files.rename(&new, &folder.join("catalog"))?;
        files.sync_dir(folder)?;
        remove_if_there(files, &folder.join(names::RESTORING))?;
        files.sync_dir(folder)?;
        watch(Progress { file: folder, done_bytes: total_bytes, total_bytes });
        Ok(RestoreReport { bytes: manifest.bytes(), lost: manifest.lost, ..report })
    }
}

/// Syncs a folder of sled and those in it: long values have files of their own there.
fn sync_folders(files: &dyn Files, dir: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::new("list", dir, source);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            files.sync_dir(&entry.path())?;
        }
    }
    files.sync_dir(dir)
}

/// The catalog's file, which cannot be done without.
fn open(files: &dyn Files, path: &Path, sum: Sum) -> Result<Box<dyn ReadAt>, BackupError> {
    files.open_read(path).map_err(|error| {
        if error.is_not_found() {
            let detail = "is missing".to_owned();
            return BackupError::Damaged {
                damage: vec![Damage { file: path.to_owned(), offset: 0, bytes: sum.bytes, detail }],
            };
        }
        error.into()
    })
}

/// Makes a catalog in the new folder `new` of the entries of `file`, which is at `path`.
pub(crate) fn fill_catalog(new: &Path, path: &Path, file: &dyn ReadAt) -> Result<(), BackupError> {
    let mut catalog = RawCatalog::create(new)?;
    let mut failed: Option<CatalogError> = None;
    let read = catalog_file::read(file, &mut |tree, key, value| {
        catalog.insert(tree, key, value).map_err(|error| {
            let detail = error.to_string();
            failed = Some(error);
            detail
        })
    });
    match (read, failed) {
        (_, Some(error)) => return Err(error.into()),
        (Err(CatalogFileError::File(error)), None) => return Err(error.into()),
        (Err(CatalogFileError::Version(found)), None) => {
            return Err(BackupError::Version { path: path.to_owned(), found });
        }
        (Err(source), None) => return Err(BackupError::Catalog { path: path.to_owned(), source }),
        (Ok(_), None) => {}
    }
    Ok(catalog.finish()?)
}

/// Decodes all of the catalog that an engine decodes when it opens; how many series there are.
fn readable(catalog: &Catalog) -> Result<u64, CatalogError> {
    let mut series = 0;
    for entry in catalog.series() {
        entry?;
        series += 1;
    }
    for entry in catalog.metadata() {
        entry?;
    }
    catalog.deletes()?;
    catalog.state()?;
    Ok(series)
}

/// Whether catalog and manifest name the same blocks; if not, which they differ in.
pub(crate) fn agrees(catalog: &Catalog, manifest: &Manifest) -> Result<Result<(), String>, CatalogError> {
    let mut named: BTreeSet<&str> = manifest.blocks.iter().map(|block| block.file.as_str()).collect();
    named.extend(manifest.lost.iter().map(String::as_str));
    for entry in catalog.blocks() {
        let (_, record) = entry?;
        if !named.remove(record.file.as_str()) {
            return Ok(Err(format!("the catalog has block {}, but it does not name it", record.file)));
        }
    }
    Ok(match named.first() {
        Some(name) => Err(format!("it names block {name}, but the catalog does not have it")),
        None => Ok(()),
    })
}

/// What is damaged of a file that has another sum than it should.
pub(crate) fn differs(path: &Path, found: Sum, want: Sum) -> Option<Damage> {
    let detail = if found.bytes != want.bytes {
        format!("it has {} bytes, not {}", found.bytes, want.bytes)
    } else if found.crc != want.crc {
        format!("its checksum is {:08x}, not {:08x}", found.crc, want.crc)
    } else {
        return None;
    };
    Some(Damage { file: PathBuf::from(path), offset: 0, bytes: want.bytes, detail })
}

fn failed(error: CopyError) -> BackupError {
    match error {
        CopyError::Read(error) | CopyError::Write(error) => error.into(),
        CopyError::Stopped => StorageError::Closed.into(),
    }
}
