//! Rooms of the catalog: small values that others than the engine keep here, each under a name of its own.
//!
//! All are in the tree `rooms`: the key is the room's name, a zero byte, and the key within the room. What the values mean is
//! their owners' business, and nothing of the engine rests on them. Changes become true together and lasting in one step; those
//! of callers that come at the same time share one flush of sled.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use super::CatalogError;
use super::long_values::LongValues;

/// The tree of rooms.
pub(super) const ROOMS_TREE: &str = "rooms";
/// Longest name of a room.
pub const ROOM_NAME_BYTES_MAX: usize = 64;
/// Longest key within a room.
pub const ROOM_KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value in a room.
pub const ROOM_VALUE_BYTES_MAX: usize = 1 << 20;

/// A key within a room and its value.
pub type RoomEntry = (Vec<u8>, Vec<u8>);
/// A key within a room and its new value; `None` removes it.
pub type RoomChange = (Vec<u8>, Option<Vec<u8>>);

/// Whoever holds it makes changes of sled lasting. What is put into sled between the sync of its long values and its flush would be
/// on disk before them.
pub(super) type Lasting = Arc<Mutex<()>>;

/// The rooms of an open catalog.
#[derive(Debug)]
pub(crate) struct Rooms {
    folder: PathBuf,
    db: sled::Db,
    tree: sled::Tree,
    long_values: Arc<LongValues>,
    lasting: Lasting,
    /// Changes that nobody has begun to carry out.
    queue: Mutex<Vec<Arc<Waiting>>>,
}

/// A change, and what became of it.
#[derive(Debug)]
struct Waiting {
    /// Keys of the tree.
    changes: Vec<RoomChange>,
    done: OnceLock<Result<(), Failure>>,
}

/// Why a change failed, for each of those who wait for it.
#[derive(Debug, Clone)]
enum Failure {
    Sled(sled::Error),
    Files(std::io::ErrorKind, String),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl Rooms {
    pub(super) fn new(
        folder: PathBuf,
        db: sled::Db,
        tree: sled::Tree,
        long_values: Arc<LongValues>,
        lasting: Lasting,
    ) -> Self {
        Self { folder, db, tree, long_values, lasting, queue: Mutex::default() }
    }

    /// The tree that all are in.
    pub(super) fn tree(&self) -> &sled::Tree {
        &self.tree
    }

    /// Everything in the room `name`, ascending by key.
    pub(crate) fn entries(&self, name: &str) -> Result<Vec<RoomEntry>, CatalogError> {
        let prefix = key_of(name, &[]);
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry.map_err(|source| self.failed(Failure::Sled(source)))?;
            Ok((key.get(prefix.len()..).unwrap_or_default().to_vec(), value.to_vec()))
        };
        self.tree.scan_prefix(&prefix).map(entry).collect()
    }

    /// Carries out all of `changes` in the room `name`, for good when this returns.
    pub(crate) fn change(&self, name: &str, changes: &[RoomChange]) -> Result<(), CatalogError> {
        let changes = changes.iter().map(|(key, value)| (key_of(name, key), value.clone())).collect();
        let waiting = Arc::new(Waiting { changes, done: OnceLock::new() });
        self.queue.lock().push(Arc::clone(&waiting));
        let held = self.lasting.lock();
        // Whoever held it before may have carried this out with its own.
        if waiting.done.get().is_none() {
            let group = std::mem::take(&mut *self.queue.lock());
            let done = self.carry_out(&group);
            for each in group {
                // Set once: only who took it from the queue does.
                let _ = each.done.set(done.clone());
            }
        }
        drop(held);
        match waiting.done.get() {
            Some(Err(failure)) => Err(self.failed(failure.clone())),
            _ => Ok(()),
        }
    }

    fn carry_out(&self, group: &[Arc<Waiting>]) -> Result<(), Failure> {
        let mut batch = sled::Batch::default();
        for (key, value) in group.iter().flat_map(|waiting| &waiting.changes) {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.tree.apply_batch(batch)?;
        self.long_values.sync().map_err(|error| Failure::Files(error.kind(), error.to_string()))?;
        self.db.flush()?;
        Ok(())
    }

    /// Keeps all rooms as they are until the guard is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.lasting.lock()
    }

    fn failed(&self, failure: Failure) -> CatalogError {
        let folder = self.folder.clone();
        match failure {
            Failure::Sled(source) => CatalogError::Sled { folder, source },
            Failure::Files(kind, detail) => CatalogError::Files { folder, source: std::io::Error::new(kind, detail) },
        }
    }
}

/// The key in the tree.
fn key_of(room: &str, key: &[u8]) -> Vec<u8> {
    [room.as_bytes(), &[0], key].concat()
}
