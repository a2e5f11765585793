//! Finding series: labels to id and back ([`table`]), what comes next ([`predict`]), and matchers to sets of ids ([`postings`]).
//!
//! [`SeriesIndex`] puts them together, and is all that the engine sees of them. It is rebuilt from the catalog and the log
//! when the engine opens.

mod pairs;
pub mod postings;
pub mod predict;
mod series;
pub mod table;

pub use postings::Postings;
pub use predict::{Followers, Predictor};
pub use series::{Known, SeriesIndex};
pub use table::SeriesTable;
