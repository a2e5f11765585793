//! What to do when a shipped rule fires: the page that its alerts link to, as Markdown, without the network.

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::reply::{ApiError, ErrorKind};

/// As text, which every browser shows.
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) async fn all() -> Response {
    ([(CONTENT_TYPE, TEXT)], rules::shipped::runbooks()).into_response()
}

pub(crate) async fn one(Path(alert): Path<String>) -> Result<Response, ApiError> {
    match rules::shipped::runbook(&alert) {
        Some(text) => Ok(([(CONTENT_TYPE, TEXT)], format!("{text}\n")).into_response()),
        None => Err(ApiError::new(
            ErrorKind::NotFound,
            format!("no shipped rule is called {alert:?}; /runbooks lists them"),
        )),
    }
}
