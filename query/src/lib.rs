//! PromQL: parser, checker, evaluator, function table.
//!
//! Synchronous. Reads samples through `model`'s `SeriesSource` and knows no engine.

pub mod ast;
mod check;
mod compensated;
mod eval;
pub mod functions;
mod lex;
pub mod native;
mod parse;
mod parse_error;
mod print;
pub mod script;

pub use check::value_type;
pub use eval::{
    ANNOTATIONS_TOLD_MAX, Answer, AnswerMemory, CancelToken, Cost, Downsampled, Explain, QUERIES_BYTES_MAX_DEFAULT,
    QueryError, QueryOptions, QueryTime, Request, Resources, SELECTED_BYTES, Series, Value, VectorElement, evaluate,
    evaluate_expr,
};
pub use parse::{DEPTH_MAX, QUERY_BYTES_MAX, REGEXES_MAX, parse};
pub use parse_error::ParseError;
