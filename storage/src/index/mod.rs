//! Finding series: labels to id and back ([`table`]), what comes next ([`predict`]), and matchers to sets of ids ([`postings`]).
//!
//! All of it is in memory and is rebuilt from the catalog and the log when the engine opens.

pub mod postings;
pub mod predict;
pub mod table;

pub use postings::Postings;
pub use predict::{Followers, Predictor};
pub use table::SeriesTable;
