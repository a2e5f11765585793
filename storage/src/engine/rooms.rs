//! Rooms: what the engine keeps for others in its catalog, beside the data it belongs to, carried by conversions and backups.

use std::sync::{Arc, Weak};

use super::{Core, Engine, StorageError};
use crate::catalog::rooms::Rooms;
use crate::catalog::{ROOM_KEY_BYTES_MAX, ROOM_NAME_BYTES_MAX, ROOM_VALUE_BYTES_MAX, RoomChange, RoomEntry};

/// Small values under keys that outlive the process: a part of the catalog with a name of its own. It does not keep the engine open.
#[derive(Debug, Clone)]
pub struct Room {
    core: Weak<Core>,
    name: String,
}

impl Room {
    /// Everything in it, ascending by key.
    ///
    /// # Errors
    ///
    /// When the engine is closed or its catalog cannot be read.
    pub fn entries(&self) -> Result<Vec<RoomEntry>, StorageError> {
        let core = self.core()?;
        Ok(core.rooms()?.entries(&self.name)?)
    }

    /// Carries out all of `changes` or none, in their order; nobody sees a part of them. When this returns they are on disk.
    ///
    /// # Errors
    ///
    /// When a key or value is longer than [`ROOM_KEY_BYTES_MAX`] and [`ROOM_VALUE_BYTES_MAX`], the engine is closed or poisoned,
    /// the disk is full, or the catalog cannot be written; only then is it unknown whether the changes are on disk.
    pub fn change(&self, changes: &[RoomChange]) -> Result<(), StorageError> {
        let core = self.core()?;
        core.check_poison()?;
        for (key, value) in changes {
            let value_bytes = value.as_ref().map_or(0, Vec::len);
            if key.len() > ROOM_KEY_BYTES_MAX || value_bytes > ROOM_VALUE_BYTES_MAX {
                return Err(StorageError::RoomEntry { key_bytes: key.len(), value_bytes });
            }
        }
        let rooms = core.rooms()?;
        if changes.is_empty() {
            return Ok(());
        }
        core.check_catalog_space()?;
        rooms.change(&self.name, changes).map_err(|error| {
            core.poison(&error);
            error.into()
        })
    }

    fn core(&self) -> Result<Arc<Core>, StorageError> {
        self.core.upgrade().ok_or(StorageError::Closed)
    }
}

impl Engine {
    /// The room `name`, at most [`ROOM_NAME_BYTES_MAX`] bytes without a zero byte; longer names are cut. Empty until something is
    /// put into it.
    pub fn room(&self, name: &str) -> Room {
        let fits = |end: &usize| name.is_char_boundary(*end);
        let end = (0..=name.len().min(ROOM_NAME_BYTES_MAX)).rev().find(fits).unwrap_or(0);
        let name = name.get(..end).unwrap_or_default().replace('\0', "");
        Room { core: Arc::downgrade(&self.core), name }
    }
}

impl Core {
    fn rooms(&self) -> Result<Arc<Rooms>, StorageError> {
        self.rooms.read().clone().ok_or(StorageError::Closed)
    }
}
