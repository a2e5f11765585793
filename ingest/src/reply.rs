//! The answers of the write routes.
//!
//! | What became of it | remote write | text import |
//! | --- | --- | --- |
//! | all was taken | 204 | 204 |
//! | part was taken | 400, text: the sender must not send it again | 200, JSON |
//! | nothing could be taken | 400, text | 400, JSON |
//! | refused as a whole | 4xx, text | 4xx, text |
//! | overloaded, too slow, disk full, closing | 503 with `Retry-After`, text | the same |
//! | storage failed | 500, text | the same |
//!
//! Senders of remote write send a request again after 5xx and drop it after 4xx; 429 is not used, as Prometheus
//! takes it for a 4xx unless it is told otherwise.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use crate::error::IngestError;
use crate::metrics::{Outcome, Route};
use crate::rejected::Rejected;

/// What a request brought.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) samples_accepted: u64,
    pub(crate) metadata_accepted: usize,
    pub(crate) rejected: Rejected,
}

#[derive(Serialize)]
struct PartialJson<'a> {
    status: &'static str,
    samples_accepted: u64,
    samples_rejected: u64,
    errors: &'a [String],
}

/// The answer to a request that was worked on or refused, and its outcome for the counters.
pub(crate) fn answer(route: Route, result: &Result<Done, IngestError>) -> (Outcome, Response<Body>) {
    match result {
        Ok(done) if done.rejected.is_empty() => (Outcome::Taken, empty(StatusCode::NO_CONTENT)),
        Ok(done) => {
            let response = match route {
                Route::RemoteWrite => text(StatusCode::BAD_REQUEST, partial_text(done)),
                Route::TextImport => partial_json(done),
            };
            (Outcome::Partial, response)
        }
        Err(error) => (outcome(error), refusal(error)),
    }
}

fn outcome(error: &IngestError) -> Outcome {
    match (error, error.status()) {
        (IngestError::BodyBroke { .. }, _) => Outcome::Abandoned,
        (_, 503) => Outcome::Busy,
        (_, 500..) => Outcome::Failed,
        _ => Outcome::Refused,
    }
}

fn refusal(error: &IngestError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, format!("{error}\n"));
    if let Some(seconds) = error.retry_after_s() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn partial_text(done: &Done) -> String {
    let rejected = done.rejected.told_count();
    let mut text = format!(
        "{rejected} samples or metadata were not taken and will not be when sent again; {} samples were taken:\n",
        done.samples_accepted
    );
    for reason in done.rejected.reasons() {
        text.push_str(reason);
        text.push('\n');
    }
    let more = rejected.saturating_sub(done.rejected.reasons().len() as u64);
    if more > 0 {
        text.push_str("and more\n");
    }
    text
}

fn partial_json(done: &Done) -> Response<Body> {
    let nothing_taken = done.samples_accepted == 0 && done.metadata_accepted == 0;
    let (code, status) = if nothing_taken { (StatusCode::BAD_REQUEST, "error") } else { (StatusCode::OK, "partial") };
    let body = PartialJson {
        status,
        samples_accepted: done.samples_accepted,
        samples_rejected: done.rejected.told_count(),
        errors: done.rejected.reasons(),
    };
    let body = serde_json::to_string(&body).unwrap_or_default();
    with_body(code, "application/json", body)
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    with_body(status, "text/plain; charset=utf-8", body)
}

fn with_body(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.body_mut() = Body::from(body);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
