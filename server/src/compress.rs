//! Answers compressed with gzip for clients that take it: at the fastest level, so that no answer costs more
//! processor time than it saves network, and only where there is something to gain.

use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::backup_api::LINES_TYPE;
use crate::captures::PROFILE_TYPE;
use crate::remote_read::STREAM_TYPE;

/// Shorter bodies are sent as they are: they fit a packet or nearly so.
const BODY_BYTES_MIN: u64 = 1024;

/// Compresses what is long enough, was not compressed before, and is neither coded densely as chunks and profiles are nor told line by line. Long answers
/// whose length is not known are compressed as they are written.
pub(crate) fn compressed() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(
        SizeAbove::new(BODY_BYTES_MIN)
            .and(NotForContentType::const_new(STREAM_TYPE))
            .and(NotForContentType::const_new(LINES_TYPE))
            .and(NotForContentType::const_new(PROFILE_TYPE)),
    )
}
