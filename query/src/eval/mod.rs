//! Evaluation: from a checked syntax tree and a source of series to an answer.
//!
//! Owns the public request and answer. An instant query is a range query of one step. Every expression is evaluated
//! over the whole grid of steps at once, series by series: a selector decodes each series once, fills one column of
//! values over the grid and hands it on; functions change the column on its way, aggregations fold it into their
//! groups. So memory follows the result, not the input. Only what needs several series side by side (matching,
//! ranking, quantiles over series, histograms by bucket) holds columns, and accounts for them.

mod aggregate;
mod binary;
mod calendar;
mod call;
mod column;
mod condensed;
mod crew;
mod duration;
mod error;
mod evaluator;
mod explain;
mod extended;
mod finish;
mod forced;
mod grid;
mod guard;
mod histogram;
mod implied_range;
mod info;
mod invariant;
mod label_functions;
mod marks;
mod matching;
mod math;
mod names;
mod native_range;
mod notes;
mod order;
mod ordered;
mod over_time;
mod pipeline;
mod pure;
mod range_call;
mod rank;
mod rate;
mod rate_call;
mod resources;
mod select;
mod sets;
mod shared;
mod slide;
mod sliding;
mod smoothed;
mod summaries;
mod told;
mod window;
mod xxh64;

use model::{Labels, SampleValue, Samples, SeriesSource};

pub use error::QueryError;
pub use explain::{Downsampled, Explain};
pub use guard::{CancelToken, Cost, QueryOptions};
pub use resources::{AnswerMemory, QUERIES_BYTES_MAX_DEFAULT, Resources};
pub use select::SELECTED_BYTES;
pub use told::ANNOTATIONS_TOLD_MAX;

use crate::ast::Expr;
use crate::parse;

/// What to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The query text.
    pub query: &'a str,
    /// When.
    pub time: QueryTime,
    /// Limits and defaults.
    pub options: &'a QueryOptions,
    /// Instead of [`QueryOptions::lookback_ms`].
    pub lookback_ms: Option<i64>,
    /// Instead of [`QueryOptions::timeout_ms`], if shorter.
    pub timeout_ms: Option<u64>,
    /// Ends the evaluation early, and tells how far it is.
    pub cancel: &'a CancelToken,
    /// Whether the answer is to say what each node took.
    pub explain: bool,
}

/// The times a query is evaluated at, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum QueryTime {
    /// Once.
    Instant { time_ms: i64 },
    /// At `start_ms`, then every `step_ms`, up to `end_ms`.
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What a query yields.
#[derive(Debug)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// What may be wrong with the query or the data; at most [`ANNOTATIONS_TOLD_MAX`] and a line about the rest.
    pub warnings: Vec<String>,
    /// What is worth knowing about the result; as many.
    pub infos: Vec<String>,
    /// What it took.
    pub cost: Cost,
    /// What each node of the query took, if that was asked for.
    pub explain: Option<Explain>,
    /// What is accounted for the value.
    pub memory: Option<AnswerMemory>,
}

/// A result.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    /// A number; instant queries only.
    Scalar { timestamp_ms: i64, value: f64 },
    /// A text; instant queries only.
    String { timestamp_ms: i64, text: String },
    /// One value a series, in the order the query gives them; instant queries only.
    Vector(Vec<VectorElement>),
    /// Values over time, ordered by labels: every range query, and instant queries for range vectors.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Debug, Clone)]
pub struct VectorElement {
    /// The labels; unique within the vector.
    pub labels: Labels,
    /// The evaluation time.
    pub timestamp_ms: i64,
    /// The value.
    pub value: SampleValue,
}

/// One series of a matrix.
#[derive(Debug, Clone)]
pub struct Series {
    /// The labels; unique within the matrix.
    pub labels: Labels,
    /// The samples; at least one.
    pub samples: Samples,
}

/// Parses and evaluates a query over `source`.
///
/// # Errors
///
/// See [`QueryError`]: each variant is a decision for the caller.
pub fn evaluate(source: &dyn SeriesSource, request: &Request<'_>) -> Result<Answer, QueryError> {
    evaluate_expr(source, &parse(request.query)?, request)
}

/// Evaluates an expression that was parsed before from `request.query`, whose text the annotations point into.
///
/// # Errors
///
/// See [`QueryError`].
pub fn evaluate_expr(source: &dyn SeriesSource, expr: &Expr, request: &Request<'_>) -> Result<Answer, QueryError> {
    finish::answer(source, expr, request)
}
