//! A remote read request: its body under limits, its queries as checked questions.

#![warn(clippy::indexing_slicing)]

use std::fmt;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_ENCODING;
use model::remote_write::read::{LabelMatcher, MatcherType, Query, ReadRequest, ResponseType};
use model::{Matcher, TimeRange};
use prost::Message as _;

use crate::params::read_body;
use crate::reply::{ApiError, ErrorKind};

/// Most queries in one request.
const QUERIES_MAX: usize = 100;
/// Most matchers in one query.
const MATCHERS_MAX: usize = 100;
/// Most unknown response types that an error tells.
const RESPONSE_TYPES_SHOWN_MAX: usize = 10;
/// Most bytes that one byte of a snappy block stands for: an element of three bytes copies up to 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// A checked request.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) questions: Vec<Question>,
    pub(super) response_type: ResponseType,
}

/// Which series, and when.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) matchers: Vec<Matcher>,
    pub(super) range: TimeRange,
}

impl Questions {
    /// Reads a body of at most `bytes_max` bytes, compressed and not.
    pub(super) async fn read(request: Request<Body>, bytes_max: usize) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("snappy");
        if !encoding.eq_ignore_ascii_case("snappy") {
            return Err(bad(format!("a read request must be compressed with snappy, not {encoding:?}")));
        }
        let body = read_body(body, bytes_max).await?;
        Self::from_message(ReadRequest::decode(unsnap(&body, bytes_max)?.as_slice()).map_err(bad)?)
    }

    fn from_message(message: ReadRequest) -> Result<Self, ApiError> {
        let found = message.queries.len();
        if found > QUERIES_MAX {
            return Err(bad(format!("a read request may have {QUERIES_MAX} queries, this one has {found}")));
        }
        let accepted = message.accepted_response_types;
        let known = |number: &i32| ResponseType::try_from(*number).ok();
        let response_type = match accepted.iter().find_map(known) {
            Some(found) => found,
            None if accepted.is_empty() => ResponseType::Samples,
            None => {
                let some: Vec<&i32> = accepted.iter().take(RESPONSE_TYPES_SHOWN_MAX).collect();
                let found = accepted.len();
                return Err(bad(format!("none of {found} response types {some:?} is known; 0 and 1 are")));
            }
        };
        let questions = message.queries.into_iter().map(Question::from_message).collect::<Result<_, _>>()?;
        Ok(Self { questions, response_type })
    }
}

impl Question {
    fn from_message(query: Query) -> Result<Self, ApiError> {
        let found = query.matchers.len();
        if found > MATCHERS_MAX {
            return Err(bad(format!("a query may have {MATCHERS_MAX} matchers, this one has {found}")));
        }
        let range = TimeRange::new(query.start_timestamp_ms, query.end_timestamp_ms);
        Ok(Self { matchers: query.matchers.into_iter().map(matcher).collect::<Result<_, _>>()?, range })
    }
}

/// How a request stands in the list of queries under way.
impl fmt::Display for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("remote read")?;
        for (at, question) in self.questions.iter().enumerate() {
            f.write_str(if at > 0 { ", {" } else { " {" })?;
            for (at, matcher) in question.matchers.iter().enumerate() {
                let separator = if at > 0 { "," } else { "" };
                write!(f, "{separator}{matcher}")?;
            }
            f.write_str("}")?;
        }
        Ok(())
    }
}

fn matcher(of: LabelMatcher) -> Result<Matcher, ApiError> {
    let op =
        MatcherType::try_from(of.r#type).map_err(|_| bad(format!("matcher type {} is not known", of.r#type)))?.op();
    Matcher::new(of.name, op, of.value).map_err(bad)
}

fn unsnap(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let damaged = |error: snap::Error| bad(format!("the body is no snappy block: {error}"));
    let declared = snap::raw::decompress_len(body).map_err(damaged)?;
    let possible = body.len().saturating_mul(SNAPPY_RATIO_MAX);
    if declared > bytes_max.min(possible) {
        let message = format!("the body declares {declared} bytes, the limit is {}", bytes_max.min(possible));
        return Err(ApiError::new(ErrorKind::TooLarge, message));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(damaged)
}

fn bad(reason: impl fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::BadData, reason.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(accepted: &[i32], matchers: &[(i32, &str, &str)]) -> Result<Questions, ApiError> {
        let matchers =
            matchers.iter().map(|of| LabelMatcher { r#type: of.0, name: of.1.into(), value: of.2.into() }).collect();
        let query = Query { start_timestamp_ms: -5, end_timestamp_ms: 5, matchers, hints: None };
        Questions::from_message(ReadRequest { queries: vec![query], accepted_response_types: accepted.to_vec() })
    }

    #[track_caller]
    fn check_error<T: fmt::Debug>(result: Result<T, ApiError>, kind: ErrorKind, want: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(want), "{}", error.message);
    }

    #[test]
    fn the_first_known_kind_of_answer_is_taken() {
        for (accepted, want) in [
            (vec![], ResponseType::Samples),
            (vec![0, 1], ResponseType::Samples),
            (vec![7, 1, 0], ResponseType::StreamedXorChunks),
        ] {
            assert_eq!(of(&accepted, &[]).unwrap().response_type, want, "{accepted:?}");
        }
        check_error(of(&[7], &[]), ErrorKind::BadData, "none of 1 response types [7] is known");
        let message = of(&vec![7; 100_000], &[]).unwrap_err().message;
        assert!(message.len() < 200, "{} bytes", message.len());
    }

    #[test]
    fn matchers_of_all_kinds() {
        let questions = of(&[], &[(0, "a", "b"), (1, "c", ""), (2, "d", "e.*"), (3, "f g", "h")]).unwrap();
        assert_eq!(questions.to_string(), r#"remote read {a="b",c!="",d=~"e.*","f g"!~"h"}"#);
        assert_eq!(questions.questions.first().unwrap().range, TimeRange::new(-5, 5));
        check_error(of(&[], &[(4, "a", "b")]), ErrorKind::BadData, "matcher type 4");
        check_error(of(&[], &[(2, "a", "(")]), ErrorKind::BadData, "(");
        check_error(of(&[], &[(0, "a", "b"); MATCHERS_MAX + 1]), ErrorKind::BadData, "this one has 101");
        let queries = vec![Query::default(); QUERIES_MAX + 1];
        let many = ReadRequest { queries, accepted_response_types: Vec::new() };
        check_error(Questions::from_message(many), ErrorKind::BadData, "this one has 101");
    }

    proptest! {
        /// Whatever comes, it is a request or an error.
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(unsnap(&bytes, 1_000));
            if let Ok(message) = ReadRequest::decode(bytes.as_slice()) {
                drop(Questions::from_message(message));
            }
        }
    }

    #[test]
    fn bodies_are_bounded_before_they_are_there() {
        let block = snap::raw::Encoder::new().compress_vec(&[7; 1_000]).unwrap();
        assert_eq!(unsnap(&block, 1_000).unwrap(), [7; 1_000]);
        check_error(unsnap(&block, 999), ErrorKind::TooLarge, "declares 1000 bytes, the limit is 999");
        check_error(unsnap(&[0xff, 0xff, 0x7f], 1 << 30), ErrorKind::TooLarge, "the limit is 66");
        check_error(unsnap(b"\x05hello", 1_000), ErrorKind::BadData, "no snappy block");
    }
}
