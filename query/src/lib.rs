//! PromQL: parser, checker, evaluator, function table.
//!
//! Synchronous. Reads samples through `model`'s `SeriesSource` and knows no engine.

pub mod ast;
pub mod functions;
