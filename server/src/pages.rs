//! What is answered beside the API: the start page, health, and errors about the path itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::html;
use crate::reply::{ApiError, ErrorKind};

/// The start page: what is here, and a first query to click.
const START: &str = include_str!("start.html");

pub(crate) async fn start(State(app): State<Arc<App>>) -> Response {
    let stats = app.engine.stats();
    let known = START
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{series}", &stats.series.to_string())
        .replace("{samples}", &stats.samples_appended.to_string());
    html::page("MetricKit", &known)
}

pub(crate) async fn healthy() -> &'static str {
    "MetricKit is healthy.\n"
}

/// Ready once everything acknowledged can be read and writes are taken; queries are answered before.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    if let Some(detail) = app.engine.poisoned() {
        let told = format!("MetricKit takes no writes until it is restarted: {detail}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, told).into_response();
    }
    match app.engine.replaying() {
        None => "MetricKit is ready.\n".into_response(),
        Some(progress) => {
            let told = format!("MetricKit answers queries, but {progress}.\n");
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], told).into_response()
        }
    }
}

pub(crate) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("there is nothing at {:?}; / lists what there is", uri.path()))
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, format!("{:?} does not take {method}", uri.path()))
}
