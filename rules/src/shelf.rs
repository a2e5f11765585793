//! Where state is kept that must outlive the process: small values under keys, changed in one step.
//!
//! The rooms that hold state decide what it is and how it is written; the server puts the catalog behind it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Why a shelf cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ShelfError(pub String);

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);
/// A key, and its new value; `None` removes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Values under keys.
pub trait Shelf: Send + Sync {
    /// All of them, in the order of their keys.
    ///
    /// # Errors
    ///
    /// When the disk fails or the store is damaged.
    fn load(&self) -> Result<Vec<Entry>, ShelfError>;

    /// Carries out all of `changes` or none. Once it returns they outlive the process, however it ends.
    ///
    /// # Errors
    ///
    /// When the disk fails or is full.
    fn change(&self, changes: &[Change]) -> Result<(), ShelfError>;
}

/// A shelf that lasts as long as the process, for tests and trials.
#[derive(Debug, Default)]
pub struct MemoryShelf(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Shelf for MemoryShelf {
    fn load(&self) -> Result<Vec<Entry>, ShelfError> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn change(&self, changes: &[Change]) -> Result<(), ShelfError> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => drop(values.insert(key.clone(), value.clone())),
                None => drop(values.remove(key)),
            }
        }
        Ok(())
    }
}
