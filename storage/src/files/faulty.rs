//! Files that break on command: the N-th change fails or is torn, the N-th look fails, the disk fills up, the power goes.
//!
//! They live in a real folder, so that what survived can be opened with [`RealFiles`] too. The
//! model of a power cut is a strict one: a file keeps its synced prefix alone, and a creation, rename or removal
//! whose folder was not synced did not happen. What a failed sync was to bring to the disk never gets there, even if
//! the next sync says so: operating systems forget what they could not write. Overwriting inside the synced prefix is
//! taken as done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{FileBytes, FileEntry, FileError, Files, ReadAt, RealFiles, WriteFile, folder_of};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and changes nothing.
    Fail,
    /// A write keeps only its first bytes, at most so many, and fails. Other operations fail.
    Tear(usize),
}

/// What becomes of the disk after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFault {
    /// Every further change fails.
    Dead,
    /// It works again.
    Recovers,
}

/// A folder of real files with faults on top. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct FaultyFiles(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    changes: u64,
    plan: Option<(When, Fault, AfterFault)>,
    /// Listings, readings, mappings and openings.
    looks: u64,
    look_plan: Option<(u64, AfterFault)>,
    dead: bool,
    blind: bool,
    /// Syncs of files that went well.
    syncs: u64,
    disk_full: bool,
    available_bytes: Option<u64>,
    /// Synced length of every file written through here.
    synced_bytes: BTreeMap<PathBuf, u64>,
    /// Files of which a sync failed.
    unsyncable: BTreeSet<PathBuf>,
    /// Folder changes since the folder was synced, oldest first.
    unsynced: Vec<FolderChange>,
}

/// Which change a fault is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The one of this number.
    At(u64),
    /// The next one of this kind.
    Next(&'static str),
}

/// One change of a folder and what undoes it.
#[derive(Debug)]
enum FolderChange {
    Created { path: PathBuf, replaced: Option<Vec<u8>> },
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Removed { path: PathBuf, content: Vec<u8> },
}

impl FolderChange {
    fn folder(&self) -> &Path {
        match self {
            Self::Created { path, .. } | Self::Removed { path, .. } => folder_of(path),
            Self::Renamed { to, .. } => folder_of(to),
        }
    }
}

impl FaultyFiles {
    /// Files without a fault so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changes (creations, writes, syncs, renames, removals) were asked for.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Plans a fault for change number `at`, counted from 0 over the life of these files.
    pub fn fail_at(&self, at: u64, fault: Fault, after: AfterFault) {
        self.0.lock().plan = Some((When::At(at), fault, after));
    }

    /// Plans a fault for the next sync of a file, whichever it is.
    pub fn fail_next_sync(&self, after: AfterFault) {
        self.0.lock().plan = Some((When::Next("sync"), Fault::Fail, after));
    }

    /// How many syncs of files went well.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// How many looks (listings, readings, mappings, openings of what is there) were asked for.
    pub fn looks(&self) -> u64 {
        self.0.lock().looks
    }

    /// Plans the failure of look number `at`, counted from 0 over the life of these files. After
    /// [`AfterFault::Dead`] every further look fails, and changes go on.
    pub fn fail_look_at(&self, at: u64, after: AfterFault) {
        self.0.lock().look_plan = Some((at, after));
    }

    /// Makes the disk work again and forgets the plan.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.dead = false;
        state.blind = false;
        state.plan = None;
        state.look_plan = None;
        state.disk_full = false;
    }

    /// Whether a fault has left the disk dead, for changes or for looks.
    pub fn is_dead(&self) -> bool {
        let state = self.0.lock();
        state.dead || state.blind
    }

    /// Switches "no space left on device" for everything that needs space.
    pub fn set_disk_full(&self, full: bool) {
        self.0.lock().disk_full = full;
    }

    /// What [`Files::available_bytes`] answers; `None` asks the real file system.
    pub fn set_available_bytes(&self, bytes: Option<u64>) {
        self.0.lock().available_bytes = bytes;
    }

    /// Drops everything that was not synced, as if the power had gone. Files still open must not be used after it.
    ///
    /// # Errors
    ///
    /// When the folder below cannot be changed.
    pub fn power_cut(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        for (path, &synced) in &state.synced_bytes {
            if let Ok(metadata) = std::fs::metadata(path)
                && metadata.len() > synced
            {
                std::fs::OpenOptions::new().write(true).open(path)?.set_len(synced)?;
            }
        }
        for change in std::mem::take(&mut state.unsynced).into_iter().rev() {
            match change {
                FolderChange::Created { path, replaced: None } => std::fs::remove_file(path)?,
                FolderChange::Created { path, replaced: Some(content) } | FolderChange::Removed { path, content } => {
                    std::fs::write(path, content)?;
                }
                FolderChange::Renamed { from, to, replaced } => {
                    std::fs::rename(&to, from)?;
                    if let Some(content) = replaced {
                        std::fs::write(to, content)?;
                    }
                }
            }
        }
        *state = State::default();
        Ok(())
    }

    /// Counts a change and says how much of it may happen: all (`Ok`), or so many bytes before it fails.
    fn admit(&self, operation: &'static str, path: &Path, needs_space: bool) -> Result<(), (usize, FileError)> {
        let mut state = self.0.lock();
        let at = state.changes;
        state.changes += 1;
        let broken = || FileError::new(operation, path, io::Error::other("planned fault"));
        if state.dead {
            return Err((0, broken()));
        }
        let due = |when: When| when == When::At(at) || when == When::Next(operation);
        if let Some((_, fault, after)) = state.plan.take_if(|plan| due(plan.0)) {
            state.dead = after == AfterFault::Dead;
            if operation == "sync" {
                state.unsyncable.insert(path.to_owned());
            }
            let kept_bytes = if let Fault::Tear(bytes) = fault { bytes } else { 0 };
            return Err((kept_bytes, broken()));
        }
        if needs_space && state.disk_full {
            return Err((0, FileError::new(operation, path, io::Error::from(io::ErrorKind::StorageFull))));
        }
        Ok(())
    }

    /// Counts a look and says whether it may happen.
    fn admit_look(&self, operation: &'static str, path: &Path) -> Result<(), FileError> {
        let mut state = self.0.lock();
        let at = state.looks;
        state.looks += 1;
        if let Some((_, after)) = state.look_plan.take_if(|plan| plan.0 == at) {
            state.blind = after == AfterFault::Dead;
        } else if !state.blind {
            return Ok(());
        }
        Err(FileError::new(operation, path, io::Error::other("planned fault")))
    }

    fn admit_whole(&self, operation: &'static str, path: &Path, needs_space: bool) -> Result<(), FileError> {
        self.admit(operation, path, needs_space).map_err(|(_, error)| error)
    }
}

impl Files for FaultyFiles {
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        self.admit_whole("create", path, true)?;
        let replaced = std::fs::read(path).ok();
        let file = RealFiles.create(path)?;
        let mut state = self.0.lock();
        state.synced_bytes.insert(path.to_owned(), 0);
        state.unsyncable.remove(path);
        state.unsynced.push(FolderChange::Created { path: path.to_owned(), replaced });
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), files: self.clone() }))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, FileError> {
        self.admit_look("open", path)?;
        let file = RealFiles.open_append(path)?;
        self.0.lock().synced_bytes.entry(path.to_owned()).or_insert(file.len());
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), files: self.clone() }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        self.admit_look("read", path)?;
        RealFiles.read(path)
    }

    fn map(&self, path: &Path) -> Result<Box<dyn FileBytes>, FileError> {
        self.admit_look("map", path)?;
        Ok(Box::new(RealFiles.read(path)?))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadAt>, FileError> {
        self.admit_look("open", path)?;
        let file = RealFiles.open_read(path)?;
        Ok(Box::new(FaultyRead { file, path: path.to_owned(), files: self.clone() }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.admit_whole("link", to, false)?;
        RealFiles.hard_link(from, to)?;
        let mut state = self.0.lock();
        if let Some(&synced) = state.synced_bytes.get(from) {
            state.synced_bytes.insert(to.to_owned(), synced);
        }
        state.unsynced.push(FolderChange::Created { path: to.to_owned(), replaced: None });
        Ok(())
    }

    fn same_file(&self, a: &Path, b: &Path) -> Result<bool, FileError> {
        self.admit_look("look at", a)?;
        RealFiles.same_file(a, b)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.admit_whole("rename", from, false)?;
        let replaced = std::fs::read(to).ok();
        RealFiles.rename(from, to)?;
        let mut state = self.0.lock();
        if let Some(synced) = state.synced_bytes.remove(from) {
            state.synced_bytes.insert(to.to_owned(), synced);
        }
        state.unsyncable.remove(to);
        if state.unsyncable.remove(from) {
            state.unsyncable.insert(to.to_owned());
        }
        state.unsynced.push(FolderChange::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        self.admit_whole("remove", path, false)?;
        let content = RealFiles.read(path)?;
        RealFiles.remove(path)?;
        let mut state = self.0.lock();
        let synced = state.synced_bytes.remove(path).unwrap_or(u64::MAX);
        let kept = content.len().min(usize::try_from(synced).unwrap_or(usize::MAX));
        state.unsynced.push(FolderChange::Removed { path: path.to_owned(), content: content[..kept].to_vec() });
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FileError> {
        self.admit_whole("create folder", path, !path.is_dir())?;
        RealFiles.create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FileError> {
        self.admit_whole("sync folder", dir, false)?;
        self.0.lock().unsynced.retain(|change| change.folder() != dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, FileError> {
        self.admit_look("list", dir)?;
        RealFiles.list(dir)
    }

    fn available_bytes(&self, path: &Path) -> Result<u64, FileError> {
        let state = self.0.lock();
        match state.available_bytes {
            Some(bytes) => Ok(bytes),
            None if state.disk_full => Ok(0),
            None => RealFiles.available_bytes(path),
        }
    }
}

#[derive(Debug)]
struct FaultyRead {
    file: Box<dyn ReadAt>,
    path: PathBuf,
    files: FaultyFiles,
}

impl ReadAt for FaultyRead {
    fn length(&self) -> u64 {
        self.file.length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), FileError> {
        self.files.admit_look("read", &self.path)?;
        self.file.read_at(offset, into)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    files: FaultyFiles,
}

impl WriteFile for FaultyFile {
    fn append(&self, bytes: &[u8]) -> Result<(), FileError> {
        match self.files.admit("append", &self.path, true) {
            Ok(()) => self.file.append(bytes),
            Err((kept_bytes, error)) => {
                let end = self.file.len();
                self.file.write_at(end, &bytes[..kept_bytes.min(bytes.len())])?;
                Err(error)
            }
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        match self.files.admit("write", &self.path, true) {
            Ok(()) => self.file.write_at(offset, bytes),
            Err((kept_bytes, error)) => {
                self.file.write_at(offset, &bytes[..kept_bytes.min(bytes.len())])?;
                Err(error)
            }
        }
    }

    fn set_len(&self, bytes: u64) -> Result<(), FileError> {
        self.files.admit_whole("set length", &self.path, false)?;
        self.file.set_len(bytes)?;
        let mut state = self.files.0.lock();
        let synced = state.synced_bytes.entry(self.path.clone()).or_insert(0);
        *synced = (*synced).min(bytes);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), FileError> {
        self.files.admit_whole("sync", &self.path, false)?;
        let mut state = self.files.0.lock();
        state.syncs += 1;
        if !state.unsyncable.contains(&self.path) {
            state.synced_bytes.insert(self.path.clone(), self.file.len());
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.file.len()
    }
}
