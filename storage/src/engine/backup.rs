//! A backup of a folder that is open: what the engine holds still for it, and for how long.
//!
//! 1. A flush, so that all that was acknowledged is in blocks and catalog. In the same breath, under the maintenance lock, the
//!    catalog's state, its blocks and deletes are taken: they are of one moment.
//! 2. With the merging lock, which keeps every block file and every series where it is: the blocks get their places in the
//!    backup's folder, and series and metadata are written. Links make that quick. Flushes go on; the series that they add stand
//!    for nothing in the backup.
//! 3. Without any lock: blocks that could not be linked are copied from what readers have open, which stays readable when a
//!    merge unlinks it. So copying to a slow disk holds up neither merging nor retention.
//!
//! The backup's folder, its files and their order are [`backup`](crate::backup)'s.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::TimeRange;

use super::blocks::Block;
use super::{Core, Counters, StorageError};
use crate::backup::catalog_file::CatalogWriter;
use crate::backup::folder::lies_in;
use crate::backup::manifest::Manifest;
use crate::backup::{BackupError, BackupOptions, BackupReport, Placed, Progress, Source, Taking};
use crate::catalog::raw::{RawEntry, RawTree};
use crate::catalog::{BlockRecord, CatalogError, FOLDER_VERSION};
use crate::files::{FileError, ReadAt, copy_part, ended};

/// The catalog and the blocks at one moment.
struct Moment {
    taken_ms: i64,
    trees: Vec<RawTree>,
    /// The entries of the trees that must be of the moment, in the order of the trees.
    fixed: Vec<Vec<RawEntry>>,
    blocks: Vec<Arc<Block>>,
    /// Blocks that cannot be read.
    quarantined: Vec<BlockRecord>,
}

/// The bytes of an open block, whether its file is still there or not.
#[derive(Debug)]
struct Held(Arc<Block>);

impl ReadAt for Held {
    fn length(&self) -> u64 {
        self.0.reader.file_bytes().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError> {
        copy_part(self.0.reader.file_bytes(), offset, into).ok_or_else(|| ended(self.0.reader.path()))
    }
}

impl Core {
    pub(super) fn backup(
        &self,
        dir: &Path,
        options: BackupOptions,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<BackupReport, BackupError> {
        let taken = self.take_backup(dir, options, watch);
        match &taken {
            Ok(report) => {
                Counters::add(&self.counters.backups, 1);
                self.counters.backup_ms.store(report.taken_ms, Ordering::Relaxed);
                self.counters.backup_bytes.store(report.bytes, Ordering::Relaxed);
            }
            Err(_) => Counters::add(&self.counters.backup_failures, 1),
        }
        taken
    }

    fn take_backup(
        &self,
        dir: &Path,
        options: BackupOptions,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<BackupReport, BackupError> {
        self.refuse_inside(dir)?;
        self.wait_replayed()?;
        let mut taking = Taking::begin(&*self.files, dir, !options.copy, self.left_on_disk_of(dir))?;
        let merging = self.merging.lock();
        let Moment { taken_ms, trees, fixed, blocks, quarantined } = self.moment()?;
        let mut counted = BackupReport::default();
        let mut manifest = Manifest {
            taken_ms,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            folder_version: FOLDER_VERSION,
            ..Manifest::default()
        };
        let mut placed = Vec::with_capacity(blocks.len() + quarantined.len());
        for block in blocks {
            counted.count(block.record.samples, TimeRange::new(block.record.min_ms, block.record.max_ms));
            let (file, path) = (block.record.file.clone(), block.reader.path().to_owned());
            let source = Source { file, path, content: Box::new(Held(block)) };
            // What is in memory can be read.
            placed.push(taking.place(source)??);
        }
        for record in quarantined {
            placed.extend(self.place_damaged(&mut taking, &record, &mut counted)?);
        }
        manifest.lost = counted.lost.iter().chain(&counted.unread).cloned().collect();
        let mut writer = taking.begin_catalog(FOLDER_VERSION)?;
        write_trees(&mut writer, &trees, fixed)?;
        // Syncs take their time, and what is held is held no longer than it must be.
        drop((trees, merging));
        manifest.catalog = writer.finish()?;
        let report = taking.finish(placed, manifest, watch, &|| !self.closing())?;
        let BackupReport { number, bytes, blocks, .. } = report;
        tracing::info!(dir = %dir.display(), number, bytes, blocks, "a backup is taken");
        let BackupReport { samples, span, from_before, mut damaged, lost, mut unread, .. } = counted;
        damaged.retain(|file| !report.unread.contains(file));
        unread.extend_from_slice(&report.unread);
        Ok(BackupReport { samples, span, from_before, damaged, lost, unread, ..report })
    }

    /// Gives a block its place that cannot be opened: as an earlier backup has it, or as it is. Notes which; nothing where not even
    /// its bytes are there.
    fn place_damaged(
        &self,
        taking: &mut Taking<'_>,
        record: &BlockRecord,
        counted: &mut BackupReport,
    ) -> Result<Option<Placed>, BackupError> {
        let file = record.file.clone();
        if let Some(known) = taking.known_before(record) {
            tracing::warn!(block = file, "a damaged block of the data folder is whole in the backup, and stays in it");
            counted.from_before.push(file);
            return Ok(Some(known));
        }
        let path = self.blocks_folder().join(&file);
        let placed = match self.files.open_read(&path) {
            Ok(content) => taking.place(Source { file: file.clone(), path, content })?,
            Err(error) => Err(error),
        };
        match placed {
            Ok(placed) => {
                counted.damaged.push(file);
                Ok(Some(placed))
            }
            Err(error) if error.is_not_found() => {
                counted.lost.push(file);
                Ok(None)
            }
            Err(error) => {
                tracing::error!(block = file, %error, "a block cannot be read, and is not in the backup");
                counted.unread.push(file);
                Ok(None)
            }
        }
    }

    /// Flushes, and takes what must be of one moment.
    fn moment(&self) -> Result<Moment, StorageError> {
        let mut maintenance = self.open_maintenance()?;
        // Before the flush: what was acknowledged up to now is in it.
        let taken_ms = self.clock.now().0;
        self.flush_all(&mut maintenance)?;
        let catalog = maintenance.catalog()?;
        let trees = catalog.raw_trees()?;
        let _rooms_stay = catalog.rooms().hold();
        let entries = |tree: &RawTree| -> Result<Vec<RawEntry>, CatalogError> {
            if tree.may_be_newer() { Ok(Vec::new()) } else { tree.entries().collect() }
        };
        let fixed = trees.iter().map(entries).collect::<Result<_, _>>()?;
        let view = self.view();
        let quarantined = view.quarantined.iter().map(|(_, record)| record.clone()).collect();
        Ok(Moment { taken_ms, trees, fixed, blocks: view.blocks.clone(), quarantined })
    }

    /// The one would go with the other.
    fn refuse_inside(&self, dir: &Path) -> Result<(), BackupError> {
        if lies_in(dir, &self.folder)? {
            return Err(BackupError::Inside { folder: dir.to_owned(), data: self.folder.clone() });
        }
        Ok(())
    }

    /// What a backup into `dir` leaves free: on the data folder's own disk as much as whoever rewrites blocks.
    fn left_on_disk_of(&self, dir: &Path) -> u64 {
        let device = |path: &Path| path.ancestors().find_map(|above| above.metadata().ok()).map(|of| of.dev());
        let is_own = std::path::absolute(dir).is_ok_and(|dir| device(&dir) == device(&self.folder));
        if is_own { self.rewrite_left_bytes() } else { 0 }
    }
}

fn write_trees(writer: &mut CatalogWriter, trees: &[RawTree], fixed: Vec<Vec<RawEntry>>) -> Result<(), BackupError> {
    for (tree, entries) in trees.iter().zip(fixed) {
        for (key, value) in entries {
            writer.entry(&tree.name, &key, &value)?;
        }
        if tree.may_be_newer() {
            for entry in tree.entries() {
                let (key, value) = entry?;
                writer.entry(&tree.name, &key, &value)?;
            }
        }
    }
    Ok(())
}
