//! `/api/v1/agents…` and `/api/v1/go/burst`: agents check in, people see how they are and order bursts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use model::control::{CheckIn, MESSAGE_BYTES_MAX, ProcessName, TaskKind};
use serde_json::{Value, json};

use super::book::{Listed, OrderError};
use super::profiles::ListedProfile;
use super::tasks::TaskId;
use crate::app::App;
use crate::params::{Params, read_body};
use crate::reply::{ApiError, ErrorKind, success_json};
use crate::running::Client;

/// Longest time a request may wait for news.
const WAIT_MS_MAX: i64 = 60_000;
/// How long a burst takes unless asked for.
const BURST_MS_DEFAULT: i64 = 30_000;
/// Time between two of its readings unless asked for.
const BURST_INTERVAL_MS_DEFAULT: i64 = 100;

/// Takes note of an agent and answers what it is to do: at once where there is news, else after `wait`.
pub(crate) async fn check_in(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let address = Client::of(request.extensions()).map(|Client(address)| address.ip());
    let (head, body) = request.into_parts();
    let wait = wait(&Params::of_url(&head.uri)?)?;
    let body = read_body(body, MESSAGE_BYTES_MAX).await?;
    let wrong = |reason: String| ApiError::new(ErrorKind::BadData, format!("this is no check-in: {reason}"));
    let check_in: CheckIn = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    check_in.check().map_err(wrong)?;
    if app.agents.note(&check_in, address).is_none() {
        let message = "too many agents have checked in; the server's log tells the limit";
        return Err(ApiError::new(ErrorKind::Unavailable, message));
    }
    Ok(success_json(&app.agents.orders(&check_in, wait).await))
}

/// Every agent that has checked in of late.
pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let environment = params.first("environment");
    let wanted = |agent: &&Listed| environment.is_none_or(|name| agent.check_in.environment == name);
    let agents: Vec<Value> = app.agents.list().iter().filter(wanted).map(listed).collect();
    Ok(success_json(&json!({ "nowMs": app.clock.now().0, "agents": agents })))
}

fn listed(listed: &Listed) -> Value {
    let Listed { check_in, seen_ms, address, state } = listed;
    json!({
        "agent": check_in.agent,
        "state": state,
        "lastSeenMs": seen_ms,
        "address": address,
        "version": check_in.version,
        "environment": check_in.environment,
        "startedMs": check_in.started_ms,
        "queue": check_in.queue,
        "shed": check_in.shed,
        "cpuSeconds": check_in.cpu_seconds,
        "cpuPercent": check_in.cpu_percent,
        "residentBytes": check_in.resident_bytes,
        "goProcesses": check_in.go_processes,
        "tasksUnderWay": check_in.under_way.len(),
        "profileEtag": check_in.profile_etag,
        "profileError": check_in.profile_error,
        "configError": check_in.config_error,
    })
}

/// What agents of `environment` are to collect, as TOML, unless `If-None-Match` names it.
pub(crate) async fn profile(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let environment = params.first("environment").unwrap_or_default();
    let Some(profile) = app.agents.profile(environment) else {
        let message = format!("there is no profile for environment {environment:?}, and no default");
        return Err(ApiError::new(ErrorKind::NotFound, message));
    };
    let etag =
        HeaderValue::from_str(&profile.etag).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    if request.headers().get(IF_NONE_MATCH).is_some_and(|known| *known == etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let kind = HeaderValue::from_static("application/toml");
    Ok(([(CONTENT_TYPE, kind), (ETAG, etag)], profile.text.to_string()).into_response())
}

/// The profiles there are; with `environment`, the one that counts there, and its text.
pub(crate) async fn profiles(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let environment = params.first("environment");
    let told = |(listed, agents): &(ListedProfile, usize)| {
        let profile = listed.profile.as_ref();
        let mut told = json!({
            "environment": listed.environment,
            "etag": profile.map_or("", |profile| &profile.etag),
            "agents": agents,
            "error": listed.error,
        });
        if environment.is_some() {
            told["text"] = json!(profile.map_or("", |profile| &profile.text));
        }
        told
    };
    let profiles: Vec<Value> = app.agents.profiles(environment).iter().map(told).collect();
    Ok(success_json(&json!({ "profiles": profiles })))
}

/// Has a Go process read more often for a while.
pub(crate) async fn burst(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let process = ProcessName::new(params.first("job").unwrap_or_default(), params.required("instance")?);
    let for_ms = params.positive_duration_ms("for")?.unwrap_or(BURST_MS_DEFAULT);
    let interval_ms = params.positive_duration_ms("every")?.unwrap_or(BURST_INTERVAL_MS_DEFAULT);
    let agent = process.agent().to_owned();
    let seconds = for_ms.unsigned_abs().div_ceil(1_000);
    let id = app.agents.order(&agent, TaskKind::Burst { process, interval_ms: interval_ms.unsigned_abs(), seconds })?;
    Ok(success_json(&json!({ "task": id, "agent": agent, "seconds": seconds, "intervalMs": interval_ms })))
}

/// What became of a task: at once where it is over, else after `wait` at the latest.
pub(crate) async fn task(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let number = id.parse().map_err(|_| ApiError::parameter("id", format!("{id:?} is not a number")))?;
    let wait = wait(&Params::of_url(request.uri())?)?;
    match app.agents.wait_outcome(TaskId(number), wait).await {
        Some(state) => Ok(success_json(&state)),
        None => Err(ApiError::new(ErrorKind::NotFound, format!("no task {number} is known, or it ended long ago"))),
    }
}

fn wait(params: &Params) -> Result<Duration, ApiError> {
    let ms = params.duration_ms("wait")?.unwrap_or(0);
    if !(0..=WAIT_MS_MAX).contains(&ms) {
        return Err(ApiError::parameter("wait", format!("{ms} ms; allowed are 0 to {WAIT_MS_MAX} ms")));
    }
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let kind = match error {
            OrderError::Invalid(_) => ErrorKind::BadData,
            OrderError::Unknown { .. } => ErrorKind::NotFound,
            OrderError::Away { .. } | OrderError::Twins { .. } | OrderError::Full(_) => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}
