//! State of alerting in a room of the engine's catalog.

use rules::shelf::{Change, Entry, Shelf, ShelfError};
use storage::Room;

/// A room as a shelf.
#[derive(Debug, Clone)]
pub(crate) struct RoomShelf(pub(crate) Room);

impl Shelf for RoomShelf {
    fn load(&self) -> Result<Vec<Entry>, ShelfError> {
        self.0.entries().map_err(|error| ShelfError(error.to_string()))
    }

    fn change(&self, changes: &[Change]) -> Result<(), ShelfError> {
        self.0.change(changes).map_err(|error| ShelfError(error.to_string()))
    }
}
