//! The write-ahead log: what was acknowledged and is in no block yet.
//!
//! Plain segment files of checksummed records ([`frame`]), each record one batch in columns ([`payload`]).
//! [`Log`] appends, syncs and trims; [`replay`] reads everything back after any end of the process. Who shares a
//! sync with whom is decided by the engine. The bytes are drawn in `docs/format-log-catalog.md`.

pub mod frame;
pub mod payload;
pub mod replay;
mod segments;
mod settle;

pub use replay::{Refused, Replayed, Visit};
pub use segments::{Log, LogError, Unsynced};
pub(crate) use segments::{SET_ASIDE_AS, segment_number};
pub(crate) use settle::is_left_over;
