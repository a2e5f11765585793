//! Captured profiles on disk: a folder of files that viewers open as they are, each with a small file that says what it is
//! of. The folder is bounded in bytes and age; the oldest make room.
//!
//! A capture is there once its file has its name: it is written as `ID.part` and renamed when it is whole, after what is
//! known of it. Whatever a killed agent leaves behind besides is removed at the next opening.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::ProfilesConfig;
use crate::private;

/// One capture may have this part of all bytes: one in so many.
const CAPTURE_PART: u64 = 4;
/// Longest description of a capture.
const ABOUT_BYTES_MAX: u64 = 16 << 10;
/// Longest id.
const ID_BYTES_MAX: usize = 40;

const PART: &str = "part";
const ABOUT: &str = "json";

/// Why a capture could not be kept or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum StoreError {
    /// The disk refused; nothing of the capture is left.
    #[error("captured profiles, {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The capture is longer than the folder's bound lets one be.
    #[error("captured profile is longer than {limit_bytes} bytes, a part of profiles.bytes_max")]
    TooLong { limit_bytes: u64 },
    /// There is no such capture, or no longer.
    #[error("there is no captured profile {id:?}")]
    Unknown { id: String },
}

/// What is known of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct About {
    /// When it was begun, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The kind, as in the path.
    pub kind: String,
    /// Over how many seconds; 0 for a state.
    pub seconds: u32,
    /// Ending of a file with it: `pb.gz`, `txt`, `trace`.
    pub extension: String,
    /// Why it was captured, for people.
    pub reason: String,
    /// Labels of the program: `job`, `instance`.
    pub labels: Vec<(String, String)>,
    /// What it is in the word of whoever wanted it; empty: as `kind`.
    pub what: String,
    /// Who wanted it: `request`, `leak`.
    pub by: String,
    /// How it was taken: `pprof`, `sdk`, `memory`.
    pub way: String,
    /// What the executable says of itself.
    pub version: String,
    /// Its revision.
    pub revision: String,
    /// The release of Go that made it.
    pub go_version: String,
    /// The server's task that it was taken for.
    pub task: Option<u64>,
}

impl About {
    /// A capture that is taken because of `reason`.
    pub fn because(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::default() }
    }

    /// The label called `name`; empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// A capture that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// By which it is found.
    pub id: String,
    /// Its length.
    pub bytes: u64,
    /// What it is of.
    pub about: About,
}

/// The folder of captures. One agent uses it at a time: it lies in the folder that the queue locks, or is the agent's own.
#[derive(Debug)]
pub struct Store {
    config: ProfilesConfig,
    /// Oldest first.
    captures: Mutex<Vec<Capture>>,
}

impl Store {
    /// Opens the folder of `config`, makes it where it is not there, and removes what is not whole or too old.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or listed.
    pub fn open(config: &ProfilesConfig, now_ms: i64) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { path: config.folder.clone(), source };
        private::make_folder(&config.folder).map_err(failed)?;
        let mut captures = Vec::new();
        let mut others = Vec::new();
        for entry in fs::read_dir(&config.folder).map_err(failed)?.flatten() {
            let path = entry.path();
            if is_ours(&path)
                && let Ok(file) = File::open(&path)
            {
                private::tighten(&file);
            }
            match capture_at(&path) {
                Some(capture) => captures.push(capture),
                None if is_ours(&path) => others.push(path),
                None => {}
            }
        }
        for path in others {
            let described = |capture: &Capture| about_path(&config.folder, &capture.id) == path;
            if !captures.iter().any(described) {
                remove(&path);
            }
        }
        captures.sort_by(|a, b| (a.about.at_ms, &a.id).cmp(&(b.about.at_ms, &b.id)));
        let store = Self { config: config.clone(), captures: Mutex::new(captures) };
        store.make_room(0, now_ms);
        Ok(store)
    }

    /// Begins a capture; it is there once it is [committed](Draft::commit).
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn begin(&self, about: About) -> Result<Draft<'_>, StoreError> {
        let id = format!("{:012x}-{:08x}", about.at_ms.max(0), fastrand::u32(..));
        let path = self.config.folder.join(format!("{id}.{PART}"));
        let file = private::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Ok(Draft { store: self, id, about, path, file, bytes: 0, failed: None, committed: false })
    }

    /// The captures, oldest first.
    pub fn list(&self) -> Vec<Capture> {
        self.captures.lock().clone()
    }

    /// Opens the capture `id`.
    ///
    /// # Errors
    ///
    /// When it is not there, or the disk refuses.
    pub fn read(&self, id: &str) -> Result<(Capture, File), StoreError> {
        let unknown = || StoreError::Unknown { id: id.chars().take(ID_BYTES_MAX).collect() };
        let found = self.captures.lock().iter().find(|capture| capture.id == id).cloned();
        let capture = found.ok_or_else(unknown)?;
        let path = data_path(&self.config.folder, &capture);
        match File::open(&path) {
            Ok(file) => Ok((capture, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Removes the capture `id`, if it is there.
    pub fn remove(&self, id: &str) {
        let mut captures = self.captures.lock();
        if let Some(at) = captures.iter().position(|capture| capture.id == id) {
            let gone = captures.remove(at);
            remove(&data_path(&self.config.folder, &gone));
            remove(&about_path(&self.config.folder, &gone.id));
        }
    }

    /// Bytes of all captures.
    pub fn bytes(&self) -> u64 {
        self.captures.lock().iter().map(|capture| capture.bytes).sum()
    }

    /// Most bytes of one capture.
    pub fn capture_bytes_max(&self) -> u64 {
        self.config.bytes_max / CAPTURE_PART
    }

    /// Removes what is too old, and the oldest until `bytes` more fit.
    fn make_room(&self, bytes: u64, now_ms: i64) {
        let mut captures = self.captures.lock();
        let mut held: u64 = captures.iter().map(|capture| capture.bytes).sum();
        captures.retain(|capture| {
            let old = now_ms.saturating_sub(capture.about.at_ms) > self.config.age_max_ms;
            let kept = !old && held.saturating_add(bytes) <= self.config.bytes_max;
            if !kept {
                held -= capture.bytes;
                // The capture first: what describes nothing is removed at the next opening.
                remove(&data_path(&self.config.folder, capture));
                remove(&about_path(&self.config.folder, &capture.id));
            }
            kept
        });
    }
}

/// A capture that is being written. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Draft<'a> {
    store: &'a Store,
    id: String,
    about: About,
    path: PathBuf,
    file: File,
    bytes: u64,
    failed: Option<StoreError>,
    committed: bool,
}

impl Draft<'_> {
    /// Keeps the capture for good, and makes room for it at `now_ms`; returns its id.
    ///
    /// # Errors
    ///
    /// When the disk refused at any time, or the capture is too long. Nothing of it is left then.
    pub fn commit(mut self, now_ms: i64) -> Result<String, StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let folder = &self.store.config.folder;
        let capture = Capture { id: self.id.clone(), bytes: self.bytes, about: self.about.clone() };
        self.store.make_room(self.bytes, now_ms);
        let about = about_path(folder, &capture.id);
        let data = data_path(folder, &capture);
        let kept = self
            .file
            .sync_all()
            .and_then(|()| write_synced(&about, &serde_json::to_vec(&capture.about)?))
            .and_then(|()| fs::rename(&self.path, &data))
            .and_then(|()| File::open(folder)?.sync_all());
        if let Err(source) = kept {
            remove(&data);
            remove(&about);
            return Err(StoreError::Io { path: self.path.clone(), source });
        }
        self.committed = true;
        let mut captures = self.store.captures.lock();
        let at = captures.partition_point(|other| (other.about.at_ms, &other.id) < (capture.about.at_ms, &capture.id));
        captures.insert(at, capture);
        Ok(self.id.clone())
    }
}

impl Write for Draft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit_bytes = self.store.capture_bytes_max();
        if self.bytes.saturating_add(bytes.len() as u64) > limit_bytes {
            self.failed = Some(StoreError::TooLong { limit_bytes });
            return Err(io::Error::other("too long"));
        }
        match self.file.write(bytes) {
            Ok(written) => {
                self.bytes += written as u64;
                Ok(written)
            }
            Err(error) => {
                let source = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(StoreError::Io { path: self.path.clone(), source });
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            remove(&self.path);
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "file of a captured profile not removed");
        }
        _ => {}
    }
}

fn data_path(folder: &Path, capture: &Capture) -> PathBuf {
    folder.join(format!("{}.{}", capture.id, capture.about.extension))
}

fn about_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.{ABOUT}"))
}

/// Id and ending of a file of a store.
fn parts(path: &Path) -> Option<(&str, &str)> {
    let (id, extension) = path.file_name()?.to_str()?.split_once('.')?;
    let id_fits = id.len() <= ID_BYTES_MAX && id.len() > 12 && id.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    (id_fits && [PART, ABOUT, "pb.gz", "txt", "trace"].contains(&extension)).then_some((id, extension))
}

fn is_ours(path: &Path) -> bool {
    parts(path).is_some()
}

/// The capture whose file is at `path`, when it is whole and described.
fn capture_at(path: &Path) -> Option<Capture> {
    let (id, extension) = parts(path).filter(|(_, extension)| *extension != PART && *extension != ABOUT)?;
    let mut text = Vec::new();
    let about = File::open(about_path(path.parent()?, id)).ok()?;
    about.take(ABOUT_BYTES_MAX).read_to_end(&mut text).ok()?;
    let about: About = serde_json::from_slice(&text).ok()?;
    let bytes = fs::metadata(path).ok()?.len();
    (about.extension == extension).then(|| Capture { id: id.to_owned(), bytes, about })
}
