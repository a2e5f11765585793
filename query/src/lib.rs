//! PromQL: parser, checker, evaluator, function table.
//!
//! Synchronous. Reads samples through `model`'s `SeriesSource` and knows no engine.

pub mod ast;
mod check;
pub mod functions;
mod lex;
mod parse;
mod parse_error;
mod print;

pub use check::value_type;
pub use parse::{DEPTH_MAX, QUERY_BYTES_MAX, REGEXES_MAX, parse};
pub use parse_error::ParseError;
