//! Alertmanager's API, version 2, at `/api/v2`: what `amtool`, Prometheus servers and dashboards speak to an Alertmanager.
//!
//! The form is <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>: times as RFC 3339, errors as one JSON text. Silences
//! have one more field, `recurrence`, a list of time intervals as routing files have them; alerts have `ack`, the status `config.hints`.

pub(crate) mod alerts;
pub(crate) mod shapes;
pub(crate) mod silences;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use crate::admin_guard;
use crate::alerting::listed::TooMuch;
use crate::alerting::notify_api;
use crate::app::App;
use crate::reply::UNAVAILABLE_RETRY_AFTER_S;
use shapes::rfc3339;

/// The Alertmanager release whose API is spoken.
const API_VERSION: &str = "0.34.0";
/// Longest body of a request.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Why a request is refused: the status, and what is wrong.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) String);

impl Refused {
    pub(crate) fn bad(message: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_REQUEST, message.to_string())
    }
}

impl From<TooMuch> for Refused {
    fn from(error: TooMuch) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Value::from(self.1).to_string();
        let mut response = (self.0, [(CONTENT_TYPE, "application/json")], body).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(UNAVAILABLE_RETRY_AFTER_S));
        }
        response
    }
}

/// An answer of JSON without an envelope.
pub(crate) fn answer(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Runs `work`, which may wait for the dispatcher or a disk, on a thread for such work.
async fn apart<T: Send + 'static>(app: &Arc<App>, work: impl FnOnce(&App) -> T + Send + 'static) -> Result<T, Refused> {
    notify_api::apart(app, work).await.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.message))
}

/// All routes. What keeps alerts quiet is behind the guard of the admin API; alerts themselves are taken of every program that reaches the port.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let guarded = Router::new()
        .route("/api/v2/silences", post(silences::set))
        .route("/api/v2/silence/{id}", delete(silences::expire))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), admin_guard::guard));
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(receivers))
        .route("/api/v2/silences", get(silences::list))
        .route("/api/v2/silence/{id}", get(silences::one))
        .route("/api/v2/alerts", get(alerts::list).post(alerts::post))
        .route("/api/v2/alerts/groups", get(alerts::groups))
        .merge(guarded)
}

async fn status(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let (original, hints) = apart(&app, move |app| {
        let config = app.notifier.look(|dispatcher, _| Arc::clone(dispatcher.config()));
        (rules::config::shown(config.text.expose()), config.hints())
    })
    .await?;
    Ok(answer(&json!({
        "cluster": { "status": "disabled", "peers": [] },
        "config": { "original": original, "hints": hints },
        "uptime": rfc3339(app.started.0),
        "versionInfo": {
            "version": API_VERSION,
            "revision": option_env!("METRICKIT_REVISION").unwrap_or_default(),
            "branch": format!("MetricKit {}", env!("CARGO_PKG_VERSION")),
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    })))
}

async fn receivers(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let wanted = alerts::matchers(&alerts::params(&request)?, "receiver_matchers")?;
    let names = apart(&app, move |app| {
        app.notifier.look(|dispatcher, _| {
            let receivers = dispatcher.config().receivers.iter();
            let receivers = receivers.filter(|receiver| alerts::is_receiver(&wanted, &receiver.name));
            receivers.map(|receiver| json!({ "name": receiver.name })).collect::<Vec<_>>()
        })
    })
    .await?;
    Ok(answer(&Value::Array(names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_possible_now_says_when_to_ask_again() {
        let asked_again = |status| {
            let response = Refused(status, "no".to_owned()).into_response();
            response.headers().get(RETRY_AFTER).is_some_and(|value| value == "5")
        };
        assert!(asked_again(StatusCode::SERVICE_UNAVAILABLE) && !asked_again(StatusCode::BAD_REQUEST));
    }
}
