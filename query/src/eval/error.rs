//! Why a query has no answer. A variant is a decision for the caller; the HTTP surface maps each to a status.

use model::SourceError;

use crate::ParseError;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum QueryError {
    /// The text is no query, or its types do not fit; fix it (`bad_data`).
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The query is fine, what was asked of it is not: times, step, kind of result; fix the request (`bad_data`).
    #[error("{message}")]
    Request { message: String },
    /// The data or a computed parameter does not fit the query (`execution`).
    #[error("{message}")]
    Execution { message: String },
    /// The query needs more than it may use; narrow it or raise the limit (`execution`).
    #[error("query needs more than {limit} {what}, which is the limit; narrow the selection or shorten the range")]
    Limit { what: &'static str, limit: u64 },
    /// The query took too long; narrow it or raise the limit (`timeout`).
    #[error("query timed out after {limit_ms} ms")]
    Timeout { limit_ms: u64 },
    /// The caller gave up (`canceled`).
    #[error("query was canceled")]
    Canceled,
    /// Storage failed (`internal`).
    #[error(transparent)]
    Source(SourceError),
}

/// What every step of evaluation returns.
pub(crate) type Result<T, E = QueryError> = std::result::Result<T, E>;

/// The data does not fit the query.
pub(crate) fn execution(message: impl Into<String>) -> QueryError {
    QueryError::Execution { message: message.into() }
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooManySeries { limit } => Self::Limit { what: "series", limit: limit as u64 },
            other => Self::Source(other),
        }
    }
}
