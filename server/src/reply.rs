//! What every API call answers: the envelope around data, and errors.
//!
//! Owns status codes, error types and the piece-wise body: a long answer is written as the client takes it, so
//! that its text never stands in memory whole. The data inside is `answer`'s and the handlers'.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::json::write_string;

/// Bytes written between two looks at the client.
const PIECE_BYTES: usize = 64 * 1024;
/// When what is not possible now may be tried again, in seconds.
pub(crate) const UNAVAILABLE_RETRY_AFTER_S: &str = "5";
/// The warning of an answer that `limit` cut short.
pub(crate) const TRUNCATED: &str = "results truncated due to limit";

/// Why a call failed, in the API's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The request is wrong; fix it.
    BadData,
    /// The query cannot be evaluated over this data, or passes a limit.
    Execution,
    /// It took too long, or waited too long to begin.
    Timeout,
    /// Not now; it may be tried again soon.
    Unavailable,
    /// The client went away or someone ended the query.
    Canceled,
    /// Storage failed, or this program did.
    Internal,
    /// There is no such thing.
    NotFound,
    /// There is, but not with this method.
    MethodNotAllowed,
    /// The body is longer than allowed.
    TooLarge,
    /// This client may not.
    Forbidden,
    /// It was asked for too often; later it may be again.
    TooMany,
}

impl ErrorKind {
    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // nginx's number for a client that closed its request; the field uses it for ended queries.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The `errorType` of the answer.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadData | Self::MethodNotAllowed | Self::TooLarge => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::TooMany => "too_many",
        }
    }
}

/// A call's failure: what kind, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A parameter that is missing or wrong.
    pub(crate) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::BadData, format!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<model::SourceError> for ApiError {
    fn from(error: model::SourceError) -> Self {
        let kind = match error {
            model::SourceError::TooManySeries { .. } => ErrorKind::Execution,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut text = br#"{"status":"error","errorType":"#.to_vec();
        write_string(&mut text, self.kind.as_str());
        text.extend_from_slice(br#","error":"#);
        write_string(&mut text, &self.message);
        text.push(b'}');
        let mut response = json_response(Body::from(text));
        *response.status_mut() = self.kind.status();
        let retry_after_s = match self.kind {
            ErrorKind::Timeout => Some("1"),
            ErrorKind::Unavailable => Some(UNAVAILABLE_RETRY_AFTER_S),
            _ => None,
        };
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

/// Data that is written piece by piece.
pub(crate) trait WriteData: Send + 'static {
    /// Writes on until `out` holds `until_bytes` or more, or the data ends. Returns whether it ended.
    fn write(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool;
}

/// JSON text that is there already.
impl WriteData for Vec<u8> {
    fn write(&mut self, out: &mut Vec<u8>, _until_bytes: usize) -> bool {
        out.append(self);
        true
    }
}

/// A list whose elements are written one by one.
pub(crate) struct List<T> {
    items: std::vec::IntoIter<T>,
    write_item: fn(&mut Vec<u8>, &T),
    begun: bool,
}

impl<T> List<T> {
    pub(crate) fn new(items: Vec<T>, write_item: fn(&mut Vec<u8>, &T)) -> Self {
        Self { items: items.into_iter(), write_item, begun: false }
    }
}

impl<T: Send + 'static> WriteData for List<T> {
    fn write(&mut self, out: &mut Vec<u8>, until_bytes: usize) -> bool {
        while out.len() < until_bytes {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(if self.begun { b"]" } else { b"[]" });
                return true;
            };
            out.push(if self.begun { b',' } else { b'[' });
            self.begun = true;
            (self.write_item)(out, &item);
        }
        false
    }
}

/// Remarks that go beside the data.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

impl Annotations {
    /// With the remark of an answer that was cut, if it was.
    pub(crate) fn truncated(mut self, cut: bool) -> Self {
        if cut {
            self.warnings.push(TRUNCATED.to_owned());
        }
        self
    }
}

/// A successful answer with `data`. Work is done here up to the first piece; the rest follows as the client reads.
pub(crate) fn success(mut data: impl WriteData, annotations: &Annotations) -> Response {
    let mut first = br#"{"status":"success","data":"#.to_vec();
    let mut tail = Vec::new();
    write_annotations(&mut tail, "warnings", &annotations.warnings);
    write_annotations(&mut tail, "infos", &annotations.infos);
    tail.push(b'}');
    if data.write(&mut first, PIECE_BYTES) {
        first.append(&mut tail);
        return json_response(Body::from(first));
    }
    json_response(Body::new(Pieces { ready: first, data: Some(Box::new(data)), tail }))
}

/// An answer in a format of its own, written piece by piece as [`success`] does.
pub(crate) fn plain(content_type: &'static str, mut data: impl WriteData) -> Response {
    let mut first = Vec::new();
    let body = if data.write(&mut first, PIECE_BYTES) {
        Body::from(first)
    } else {
        Body::new(Pieces { ready: first, data: Some(Box::new(data)), tail: Vec::new() })
    };
    ([(CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}

/// A successful answer with a small document.
pub(crate) fn success_json(data: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(text) => success(text, &Annotations::default()),
        Err(error) => ApiError::new(ErrorKind::Internal, error.to_string()).into_response(),
    }
}

fn json_response(body: Body) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Writes `,"name":[…]`, or nothing for no texts.
fn write_annotations(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.push(b',');
    write_string(out, name);
    out.extend_from_slice(b":[");
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// The body of a long answer.
struct Pieces {
    ready: Vec<u8>,
    data: Option<Box<dyn WriteData>>,
    tail: Vec<u8>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut piece = std::mem::take(&mut self.ready);
        if piece.is_empty() {
            let Some(data) = &mut self.data else { return Poll::Ready(None) };
            piece.reserve(PIECE_BYTES + PIECE_BYTES / 8);
            if data.write(&mut piece, PIECE_BYTES) {
                self.data = None;
                piece.append(&mut self.tail);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn names(count: usize) -> List<String> {
        List::new((0..count).map(|at| format!("name_{at}")).collect(), |out, name| write_string(out, name))
    }

    #[tokio::test]
    async fn envelopes() {
        let none = Annotations::default();
        assert_eq!(text(success(names(0), &none)).await, r#"{"status":"success","data":[]}"#);
        assert_eq!(text(success(names(2), &none)).await, r#"{"status":"success","data":["name_0","name_1"]}"#);
        let both = Annotations { warnings: vec!["w".into(), "x".into()], infos: vec!["i".into()] };
        assert_eq!(
            text(success(names(0), &both)).await,
            r#"{"status":"success","data":[],"warnings":["w","x"],"infos":["i"]}"#
        );
    }

    /// A long list comes in many frames, none much larger than a piece, and whole.
    #[tokio::test]
    async fn long_answers_come_in_pieces() {
        let response = success(names(50_000), &Annotations::default().truncated(true));
        let mut body = response.into_body();
        let (mut whole, mut frames) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() < PIECE_BYTES + 1024);
            whole.extend_from_slice(&data);
            frames += 1;
        }
        assert!(frames > 5, "{frames} frames");
        let document: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(document["data"].as_array().unwrap().len(), 50_000);
        assert_eq!(document["data"][49_999], "name_49999");
        assert_eq!(document["warnings"][0], TRUNCATED);
    }

    #[tokio::test]
    async fn errors_name_type_and_status() {
        for (kind, status, error_type) in [
            (ErrorKind::BadData, 400, "bad_data"),
            (ErrorKind::Execution, 422, "execution"),
            (ErrorKind::Timeout, 503, "timeout"),
            (ErrorKind::Canceled, 499, "canceled"),
            (ErrorKind::Internal, 500, "internal"),
            (ErrorKind::NotFound, 404, "not_found"),
            (ErrorKind::MethodNotAllowed, 405, "bad_data"),
            (ErrorKind::TooLarge, 413, "bad_data"),
            (ErrorKind::Forbidden, 403, "forbidden"),
            (ErrorKind::TooMany, 429, "too_many"),
        ] {
            let response = ApiError::new(kind, "it \"broke\"").into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let want = format!(r#"{{"status":"error","errorType":"{error_type}","error":"it \"broke\""}}"#);
            assert_eq!(text(response).await, want);
        }
    }
}
