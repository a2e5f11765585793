//! Taking a backup: files go into its folder in an order in which it has a whole backup at any moment.
//!
//! 1. Left-overs of what did not end are removed, as far as they are in the way.
//! 2. Each block gets its place, while the engine keeps its file where it is: one that is there already, a link, or none yet.
//! 3. The catalog's file is written.
//! 4. What is no link is copied, and all that is new is summed; what cannot be read is left out, and named. The engine goes on merging and dropping: a link or an open file
//!    keeps what it was of.
//! 5. The manifest takes the place of the old one. Then what only that one named is removed.
//!
//! The engine gives the blocks and the entries of the catalog; what a folder is, and its lock, are [`folder`]'s.
#![warn(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog_file::CatalogWriter;
use super::folder::{self, Standing};
use super::manifest::{BlockFile, MANIFEST_BYTES_MAX, Manifest, Sum};
use super::transfer::{CopyError, copy, ends, remove_if_there, stamp_of, sum_of};
use super::{BackupError, BackupReport, Progress, names};
use crate::block::{BlockReader, BlockSummary, ColumnCache};
use crate::catalog::BlockRecord;
use crate::engine::StorageError;
use crate::engine::lock::FolderLock;
use crate::files::{FileError, Files, ReadAt, folder_of, write_atomically};

/// A backup being taken.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    files: &'a dyn Files,
    dir: &'a Path,
    _lock: FolderLock,
    /// The backup that is there.
    before: Option<Manifest>,
    number: u64,
    /// Whether links are tried.
    link: bool,
    /// How much of the disk is left to others.
    left_bytes: u64,
}

/// A block of the data folder.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name.
    pub(crate) file: String,
    /// Where it is, as long as the engine keeps it.
    pub(crate) path: PathBuf,
    /// Its bytes, as long as this lives.
    pub(crate) content: Box<dyn ReadAt>,
}

/// A block and what became of it in the folder.
#[derive(Debug)]
pub(crate) struct Placed {
    source: Source,
    stamp: u32,
    way: Way,
}

/// How a block comes into the folder.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is there, with this sum.
    Known(Sum),
    /// A file that looks like it is there; a backup that did not end made it.
    LeftOver,
    Linked,
    Copy,
}

impl Placed {
    /// Bytes that are to be read of it.
    fn bytes(&self) -> u64 {
        match self.way {
            Way::Known(_) => 0,
            Way::LeftOver | Way::Linked | Way::Copy => self.source.content.length(),
        }
    }
}

impl<'a> Taking<'a> {
    /// Prepares `dir` for a backup, by links as far as they can be made if `link`. Of its disk `left_bytes` are left to others.
    pub(crate) fn begin(files: &'a dyn Files, dir: &'a Path, link: bool, left_bytes: u64) -> Result<Self, BackupError> {
        let foreign = || BackupError::Foreign { folder: dir.to_owned() };
        // Nothing is made in a folder that is somebody else's, not even a lock.
        if folder::look(files, dir)? == Standing::Foreign {
            return Err(foreign());
        }
        let lock = folder::lock(files, dir)?;
        let before = match folder::look(files, dir)? {
            Standing::Foreign => return Err(foreign()),
            Standing::Whole(manifest) => Some(manifest),
            Standing::Unfinished => None,
            Standing::Empty => {
                let marker = files.create(&dir.join(names::UNFINISHED))?;
                marker.append(b"a backup that is not whole yet\n")?;
                marker.sync_data()?;
                files.sync_dir(dir)?;
                files.sync_dir(folder_of(dir))?;
                None
            }
        };
        let number = before.as_ref().map_or(1, |manifest| manifest.number.saturating_add(1));
        let taking = Self { files, dir, _lock: lock, before, number, link, left_bytes };
        taking.prepare_blocks()?;
        Ok(taking)
    }

    fn blocks(&self) -> PathBuf {
        self.dir.join(names::BLOCKS)
    }

    /// Makes the folder of blocks, and removes what is in the way of new ones.
    fn prepare_blocks(&self) -> Result<(), BackupError> {
        let blocks = self.blocks();
        self.files.create_dir_all(&blocks)?;
        if blocks.is_symlink() {
            // Files are removed in it: it must not be another one's folder.
            return Err(BackupError::Foreign { folder: blocks });
        }
        for entry in self.files.list(&blocks)? {
            if names::is_block_of_backup(&entry.name) && names::is_tmp(&entry.name) {
                self.files.remove(&blocks.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Begins the file of the catalog.
    pub(crate) fn begin_catalog(&self, folder_version: u32) -> Result<CatalogWriter, BackupError> {
        let path = self.dir.join(names::catalog(self.number));
        remove_if_there(self.files, &path)?;
        Ok(CatalogWriter::begin(&path, self.files.create(&path)?, folder_version)?)
    }

    /// Gives a block its place, unless it cannot be read. Until this returns its file must stay.
    pub(crate) fn place(&mut self, source: Source) -> Result<Result<Placed, FileError>, BackupError> {
        let ends = match ends(&*source.content) {
            Ok(ends) => ends,
            Err(unread) => return Ok(Err(unread)),
        };
        let stamp = stamp_of(&ends);
        let target = self.blocks().join(names::block(&source.file, stamp));
        let way = match self.look(&source, stamp, &target, &ends)? {
            Some(way) => way,
            None if self.link => self.try_link(&source.path, &target)?,
            None => Way::Copy,
        };
        Ok(Ok(Placed { source, stamp, way }))
    }

    /// A block that cannot be read any more, as the backup that is there has it: whole, and what its record says.
    pub(crate) fn known_before(&self, record: &BlockRecord) -> Option<Placed> {
        let BlockFile { file, stamp, sum } = self.before.as_ref()?.block(&record.file)?;
        let path = self.blocks().join(names::block(file, *stamp));
        let reader = BlockReader::open(self.files, &path, Arc::new(ColumnCache::new(0))).ok()?;
        let content = self.files.open_read(&path).ok()?;
        let is_it = is_of(record, &reader.summary()) && sum_of(&*content, &mut |_| true).is_ok_and(|own| own == *sum);
        let source = Source { file: file.clone(), path, content };
        is_it.then_some(Placed { source, stamp: *stamp, way: Way::Known(*sum) })
    }

    /// How a block is there that has the name `target` already.
    fn look(&self, source: &Source, stamp: u32, target: &Path, own_ends: &[u8]) -> Result<Option<Way>, BackupError> {
        let there = match self.files.open_read(target) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        if self.files.same_file(&source.path, target)? {
            if !self.link {
                // Its place is taken by a copy in one step, for the backup before names it.
                return Ok(Some(Way::Copy));
            }
        } else if ends(&*there)? != own_ends {
            // It was damaged since, so that nobody misses it.
            self.files.remove(target)?;
            return Ok(None);
        }
        let before = self.before.as_ref();
        let known = before.and_then(|before| before.known(&source.file, stamp, source.content.length()));
        Ok(Some(known.map_or(Way::LeftOver, Way::Known)))
    }

    fn try_link(&mut self, from: &Path, to: &Path) -> Result<Way, BackupError> {
        match self.files.hard_link(from, to) {
            Ok(()) => Ok(Way::Linked),
            Err(error) if error.is_disk_full() => Err(error.into()),
            Err(error) => {
                tracing::info!(%error, "blocks are copied into the backup, for they cannot be linked");
                self.link = false;
                Ok(Way::Copy)
            }
        }
    }

    /// Brings the blocks into the folder that are not there yet, and makes a backup of all. `go_on` is asked now and then.
    pub(crate) fn finish(
        self,
        placed: Vec<Placed>,
        mut manifest: Manifest,
        watch: &mut dyn FnMut(Progress<'_>),
        go_on: &dyn Fn() -> bool,
    ) -> Result<BackupReport, BackupError> {
        let total_bytes = placed.iter().map(Placed::bytes).sum();
        let copied = placed.iter().filter(|block| matches!(block.way, Way::Copy)).map(Placed::bytes);
        folder::check_room(self.files, self.dir, copied.sum(), self.left_bytes)?;
        let mut work = Work { watch, go_on, done_bytes: 0, total_bytes };
        let mut report = BackupReport::default();
        for Placed { source, stamp, way } in placed {
            let path = self.blocks().join(names::block(&source.file, stamp));
            match self.bring(&source, way, &path, &mut work, &mut report) {
                Ok(sum) => manifest.blocks.push(BlockFile { file: source.file, stamp, sum }),
                // One block is no reason to have no backup of the others. What is there of it is removed, as nobody names it.
                Err(CopyError::Read(error)) => {
                    tracing::error!(block = source.file, %error, "a block cannot be read, and is not in the backup");
                    manifest.lost.push(source.file.clone());
                    report.unread.push(source.file);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        manifest.number = self.number;
        manifest.blocks.sort_by(|a, b| a.file.cmp(&b.file));
        manifest.lost.sort_unstable();
        let removed = self.commit(&manifest)?;
        (work.watch)(Progress { file: self.dir, done_bytes: total_bytes, total_bytes });
        Ok(BackupReport {
            number: manifest.number,
            taken_ms: manifest.taken_ms,
            bytes: manifest.bytes(),
            catalog_bytes: manifest.catalog.bytes,
            blocks: manifest.blocks.len() as u64,
            removed,
            ..report
        })
    }

    /// Brings a block into the folder; its sum. It is the block that could not be read if reading fails.
    fn bring(
        &self,
        source: &Source,
        way: Way,
        path: &Path,
        work: &mut Work<'_>,
        report: &mut BackupReport,
    ) -> Result<Sum, CopyError> {
        let content = &*source.content;
        let bytes = content.length();
        match way {
            Way::Known(sum) => {
                report.kept.add(bytes);
                return Ok(sum);
            }
            Way::Linked => {
                let sum = sum_of(content, &mut |more| work.went(path, more))?;
                report.linked.add(bytes);
                return Ok(sum);
            }
            Way::LeftOver => {
                // Nobody remembers its sum; it must be that of the block.
                let own = sum_of(content, &mut |_| work.went(path, 0))?;
                let there = self.files.open_read(path).map_err(CopyError::Write)?;
                match sum_of(&*there, &mut |more| work.went(path, more)) {
                    Ok(sum) if sum == own => {
                        report.kept.add(bytes);
                        return Ok(own);
                    }
                    Err(CopyError::Stopped) => return Err(CopyError::Stopped),
                    // One that is another, or cannot be read, is replaced.
                    _ => {}
                }
            }
            Way::Copy => {}
        }
        let sum = copy(self.files, content, path, &mut |more| work.went(path, more))?;
        report.copied.add(bytes);
        Ok(sum)
    }

    /// Puts the manifest into the place of the one before, and removes what it does not name; how many files that were.
    fn commit(&self, manifest: &Manifest) -> Result<u64, BackupError> {
        let path = self.dir.join(names::MANIFEST);
        let bytes = manifest.encode();
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let detail = format!("it would have {} bytes, the limit is {MANIFEST_BYTES_MAX}", bytes.len());
            return Err(BackupError::Manifest { path, detail });
        }
        self.files.sync_dir(&self.blocks())?;
        self.files.sync_dir(self.dir)?;
        remove_if_there(self.files, &crate::files::beside(&path))?;
        write_atomically(self.files, &path, &bytes)?;
        Ok(self.clean(manifest).unwrap_or_else(|error| {
            tracing::warn!(%error, "files of earlier backups stay until the next one");
            0
        }))
    }

    /// Removes the files of backups that `manifest` does not name.
    fn clean(&self, manifest: &Manifest) -> Result<u64, FileError> {
        let mut removed = 0;
        let named: std::collections::BTreeSet<String> =
            manifest.blocks.iter().map(|block| names::block(&block.file, block.stamp)).collect();
        let blocks = self.blocks();
        for entry in self.files.list(&blocks)? {
            if names::is_block_of_backup(&entry.name) && !named.contains(&entry.name) {
                self.files.remove(&blocks.join(&entry.name))?;
                removed += 1;
            }
        }
        let catalog = names::catalog(manifest.number);
        for entry in self.files.list(self.dir)? {
            if names::is_of_backup(&entry.name) && entry.name != catalog {
                self.files.remove(&self.dir.join(&entry.name))?;
                removed += u64::from(entry.name != names::UNFINISHED);
            }
        }
        self.files.sync_dir(&blocks)?;
        self.files.sync_dir(self.dir)?;
        Ok(removed)
    }
}

/// How far the copying is.
struct Work<'a> {
    watch: &'a mut dyn FnMut(Progress<'_>),
    go_on: &'a dyn Fn() -> bool,
    done_bytes: u64,
    total_bytes: u64,
}

impl Work<'_> {
    fn went(&mut self, file: &Path, more_bytes: u64) -> bool {
        // A left-over that is no copy of its block is read, and then copied all the same.
        let (done_bytes, total_bytes) = (self.done_bytes.min(self.total_bytes), self.total_bytes);
        (self.watch)(Progress { file, done_bytes, total_bytes });
        self.done_bytes += more_bytes;
        (self.go_on)()
    }
}

/// Whether a block is the one of its record.
fn is_of(record: &BlockRecord, block: &BlockSummary) -> bool {
    let of_record = (record.bytes, record.series, record.samples, record.min_ms, record.max_ms);
    let of_block = (block.bytes, block.series, block.samples, block.bounds.start.0, block.bounds.end.0);
    of_record == of_block && (record.first_day, record.last_day) == (block.partition_day, block.last_day)
}

fn failed(error: CopyError) -> BackupError {
    match error {
        CopyError::Read(error) | CopyError::Write(error) => error.into(),
        CopyError::Stopped => StorageError::Closed.into(),
    }
}

/// Totals of what a backup has.
impl BackupReport {
    /// Counts a block of the catalog.
    pub(crate) fn count(&mut self, samples: u64, span: model::TimeRange) {
        self.samples += samples;
        let known = self.span.unwrap_or(span);
        let (start, end) = (known.start.min(span.start), known.end.max(span.end));
        self.span = Some(model::TimeRange { start, end });
    }
}
