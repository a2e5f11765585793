//! The answers of the write routes.
//!
//! | What became of it | remote write | import of text or lines |
//! | --- | --- | --- |
//! | all was taken | 204 | 204 |
//! | part was taken | 400, text: the sender must not send it again | 200, JSON |
//! | nothing could be taken | 400, text | 400, JSON |
//! | refused as a whole | 4xx, text | 4xx, text |
//! | overloaded, too slow, disk full, closing | 503 with `Retry-After`, text | the same |
//! | storage failed | 500, text | the same |
//!
//! Answers to remote write 2.0 tell in headers how much was written, on errors too.
//!
//! Senders of remote write send a request again after 5xx and drop it after 4xx; 429 is not used, as Prometheus
//! takes it for a 4xx unless it is told otherwise.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use model::Appended;
use serde::Serialize;

use crate::error::IngestError;
use crate::metrics::{Outcome, Route};
use crate::rejected::Rejected;

/// The headers of [`tell_written`]: floats, histograms and exemplars.
const WRITTEN_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// What storage kept of a request, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) floats: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
}

impl Written {
    /// What was kept of a batch with `histograms` and `exemplars`.
    pub(crate) fn of(appended: &Appended, histograms: u64, exemplars: u64) -> Self {
        let kept = appended.samples_accepted;
        let histograms = histograms.saturating_sub(appended.histograms_rejected).min(kept);
        let exemplars = exemplars.saturating_sub(appended.exemplars_rejected);
        Self { floats: kept - histograms, histograms, exemplars }
    }

    /// Floats and histograms.
    pub(crate) fn samples(self) -> u64 {
        self.floats + self.histograms
    }
}

/// What a request brought.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) written: Written,
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
                Route::TextImport | Route::LinesImport => partial_json(done),
            };
            (Outcome::Partial, response)
        }
        Err(error) => (outcome(error), refusal(error)),
    }
}

/// Adds the headers that tell senders of remote write 2.0 how much was written; nothing, when the request failed.
pub(crate) fn tell_written(response: &mut Response<Body>, result: &Result<Done, IngestError>) {
    let Written { floats, histograms, exemplars } = result.as_ref().map(|done| done.written).unwrap_or_default();
    for (name, count) in WRITTEN_HEADERS.into_iter().zip([floats, histograms, exemplars]) {
        response.headers_mut().insert(name, HeaderValue::from(count));
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
        done.written.samples()
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
    let nothing_taken = done.written.samples() == 0 && done.metadata_accepted == 0;
    let (code, status) = if nothing_taken { (StatusCode::BAD_REQUEST, "error") } else { (StatusCode::OK, "partial") };
    let body = PartialJson {
        status,
        samples_accepted: done.written.samples(),
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
