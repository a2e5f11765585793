//! Finding series: labels to id and back ([`table`]), and matchers to sets of ids ([`postings`]).
//!
//! All of it is in memory and is rebuilt from the catalog and the log when the engine opens.

pub mod postings;
pub mod table;

pub use postings::Postings;
pub use table::SeriesTable;
