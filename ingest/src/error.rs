//! Why a whole request is refused, and what its sender should do about it.

use model::SinkError;

use crate::wire::WireError;

/// Why nothing of a request was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum IngestError {
    /// A header or parameter says something this route does not understand.
    #[error("{what}: {detail}")]
    Request { what: &'static str, detail: String },
    /// The content is of a kind that is not spoken here.
    #[error("content of type {found:?} is not spoken here; send {spoken}")]
    ContentType { found: String, spoken: &'static str },
    /// The body is compressed in a way that is not spoken here.
    #[error("content encoding {found:?} is not spoken here; send one of {spoken}")]
    ContentEncoding { found: String, spoken: &'static str },
    /// The compressed bytes are damaged.
    #[error("the body is no valid {encoding}: {detail}")]
    Compressed { encoding: &'static str, detail: String },
    /// The protobuf bytes are damaged.
    #[error("the body is no valid write request: {0}")]
    Wire(#[from] WireError),
    /// Text that is not UTF-8.
    #[error("line {line} of the body is not UTF-8, at byte {at_byte} of the body")]
    Utf8 { line: usize, at_byte: usize },
    /// More than a limit allows; send less at once.
    #[error("{found} {what} is more than the limit {limit_name} of {limit}")]
    Limit { what: &'static str, found: String, limit_name: &'static str, limit: usize },
    /// The sender, or the network between, did not bring the body in time; send again after the pause.
    #[error("the body did not arrive within body_read_ms_max of {limit_ms} ms; try again in {retry_after_s} s")]
    Slow { limit_ms: u64, retry_after_s: u64 },
    /// The connection broke while the body was read.
    #[error("the body ended early: {detail}")]
    BodyBroke { detail: String },
    /// Too much is under way; send again after the pause.
    #[error("too much is under way: {what} are at the limit {limit_name} of {limit}; try again in {retry_after_s} s")]
    Overloaded { what: &'static str, limit_name: &'static str, limit: usize, retry_after_s: u64 },
    /// Storage took nothing.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A defect of the server.
    #[error("the server failed on this request: {detail}")]
    Internal { detail: String },
}

/// The pause after a full disk, in seconds: people have to act.
const DISK_FULL_RETRY_S: u64 = 30;
/// The pause while the server is closing, in seconds: it is being restarted.
const CLOSED_RETRY_S: u64 = 5;

impl IngestError {
    /// The HTTP status. Senders of remote write send again after 5xx and drop the request after 4xx, 408 too, so that
    /// a body that was too slow is a 503: a bad network must not cost samples.
    pub fn status(&self) -> u16 {
        match self {
            Self::Request { .. }
            | Self::Compressed { .. }
            | Self::Wire(_)
            | Self::Utf8 { .. }
            | Self::BodyBroke { .. } => 400,
            Self::Limit { .. } => 413,
            Self::ContentType { .. } | Self::ContentEncoding { .. } => 415,
            Self::Slow { .. } | Self::Overloaded { .. } => 503,
            Self::Sink(_) if self.retry_after_s().is_some() => 503,
            Self::Sink(_) | Self::Internal { .. } => 500,
        }
    }

    /// The pause to ask for, in seconds, when sending again can help without anybody acting on this server.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Slow { retry_after_s, .. } | Self::Overloaded { retry_after_s, .. } => Some(*retry_after_s),
            Self::Sink(SinkError::Busy { retry_after_ms, .. }) => Some(retry_after_ms.div_ceil(1000).max(1)),
            Self::Sink(SinkError::DiskFull { .. }) => Some(DISK_FULL_RETRY_S),
            Self::Sink(SinkError::Closed) => Some(CLOSED_RETRY_S),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: SinkError, status: u16, retry_after_s: Option<u64>) {
        let error = IngestError::from(error);
        assert_eq!((error.status(), error.retry_after_s()), (status, retry_after_s), "{error}");
    }

    #[test]
    fn storage_errors_are_sent_again_unless_a_restart_is_needed() {
        let busy = |retry_after_ms| SinkError::Busy { detail: "x".into(), retry_after_ms };
        check(busy(0), 503, Some(1));
        check(busy(1000), 503, Some(1));
        check(busy(1001), 503, Some(2));
        check(SinkError::DiskFull { available_bytes: 1, needed_bytes: 2 }, 503, Some(30));
        check(SinkError::Closed, 503, Some(5));
        check(SinkError::Poisoned { detail: "x".into() }, 500, None);
    }
}
