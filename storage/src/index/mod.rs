//! Finding series: labels to id and back ([`table`]), what comes next ([`predict`]), and matchers to sets of ids ([`postings`]).
//!
//! [`SeriesIndex`] puts them together, and is all that the engine sees of them. What is in memory is rebuilt from the catalog
//! and the log when the engine opens; series that are written no more are found in files ([`cold`]).

pub mod cold;
mod names;
mod pairs;
pub mod postings;
pub mod predict;
mod series;
pub mod table;

pub use postings::Postings;
pub use predict::{Followers, Predictor};
pub use series::{CoolError, Found, IndexPart, IndexUse, Known, SeriesIndex};
pub use table::SeriesTable;
