//! `/api/v1/captures`: agents send captures, people list, fetch, delete and order them.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use flate2::read::GzDecoder;
use model::CaptureKind;
use model::control::ProcessName;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::check::PLAIN_BYTES_MAX;
use super::orders::{Order, State};
use super::page;
use super::record::{About, By, told};
use super::store::Kept;
use super::{CaptureError, Captures};
use crate::agents::TaskId;
use crate::app::App;
use crate::html;
use crate::params::{Params, read_body};
use crate::reply::{Annotations, ApiError, ErrorKind, success, success_json};

/// Captures told, unless asked for.
const LIMIT_DEFAULT: usize = 1_000;
/// Longest wait for an order to be over.
const WAIT_MS_MAX: i64 = 60_000;
/// Pause between two looks at an order.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Longest time that a capture is on its way here.
const BODY_TIME_MAX: Duration = Duration::from_mins(1);
/// Longest wait for other captures: to be read, and again to be checked.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Longest `job` or `instance`, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Content type of profiles; never compressed again.
pub(crate) const PROFILE_TYPE: &str = "application/octet-stream";

impl App {
    /// Captures of programs, and orders for more.
    pub fn captures(&self) -> &Arc<Captures> {
        &self.captures
    }
}

/// Takes a capture from an agent: its bytes as the body, what it is as parameters of the URL.
pub(crate) async fn upload(Shared(app): Shared<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let params = Params::of_url(&head.uri)?;
    let (what, about) = (kind(&params)?, described(&params, app.clock.now().0)?);
    let captures = Arc::clone(&app.captures);
    captures.store()?;
    let busy = || ApiError::new(ErrorKind::Unavailable, "other captures are being taken in; try again soon");
    let room = captures.bodies.enter(TURN_MAX).await;
    let room = room.map_err(|error| if error.kind == ErrorKind::Timeout { busy() } else { error })?;
    let Ok(body) = tokio::time::timeout(BODY_TIME_MAX, read_body(body, captures.options.capture_bytes_max)).await
    else {
        let message = format!("the capture did not arrive within {} s", BODY_TIME_MAX.as_secs());
        return Err(ApiError::new(ErrorKind::Unavailable, message));
    };
    let body = body.inspect_err(|error| {
        if error.kind == ErrorKind::TooLarge {
            captures.refused.too_large.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    })?;
    let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&captures.place).acquire_owned()).await;
    let Ok(Ok(place)) = turn else { return Err(busy()) };
    let kept = blocking(move || {
        let kept = captures.take(what, about, &body);
        drop((body, place, room));
        Ok(kept?)
    })
    .await?;
    Ok(success_json(&json!({ "id": kept.id, "bytes": kept.bytes })))
}

fn kind(params: &Params) -> Result<CaptureKind, ApiError> {
    let what = params.required("what")?;
    CaptureKind::named(what).ok_or_else(|| {
        let known = CaptureKind::ALL.map(CaptureKind::text).join(", ");
        ApiError::parameter("what", format!("{what:?} is nothing to capture; known are {known}"))
    })
}

fn described(params: &Params, now_ms: i64) -> Result<About, ApiError> {
    let text = |name: &str| told(params.first(name).unwrap_or_default());
    let process = process(params)?;
    let by = match params.first("by") {
        None | Some("request") => By::Request,
        Some("leak") => By::Leak,
        Some(other) => {
            return Err(ApiError::parameter("by", format!("{other:?} is neither request nor leak")));
        }
    };
    Ok(About {
        time_ms: params.time_ms("time")?.unwrap_or(now_ms).max(0),
        instance: process.instance,
        job: process.job,
        agent: text("agent"),
        seconds: number(params, "seconds")?.unwrap_or(0),
        reason: text("reason"),
        by,
        way: text("way"),
        version: text("version"),
        revision: text("revision"),
        go_version: text("go_version"),
        origin: text("origin"),
        order: number(params, "task")?,
        ..About::default()
    })
}

fn process(params: &Params) -> Result<ProcessName, ApiError> {
    let (job, instance) = (params.first("job").unwrap_or_default(), params.required("instance")?);
    for (name, value) in [("job", job), ("instance", instance)] {
        if value.len() > NAME_BYTES_MAX || value.contains(char::is_control) {
            let problem = format!("it must be text of {NAME_BYTES_MAX} bytes at most");
            return Err(ApiError::parameter(name, problem));
        }
    }
    Ok(ProcessName::new(job, instance))
}

fn number<T: std::str::FromStr>(params: &Params, name: &str) -> Result<Option<T>, ApiError> {
    let parse = |text: &str| text.parse().map_err(|_| ApiError::parameter(name, format!("{text:?} is no such number")));
    params.first(name).map(parse).transpose()
}

/// The captures, the newest first, all or those of an `instance`, a `job`, a kind (`what`), of one reason (`by`), taken from
/// `start` to `end`.
pub(crate) async fn list(Shared(app): Shared<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let range = params.open_range()?;
    let limit = match params.limit("limit")? {
        usize::MAX => LIMIT_DEFAULT,
        limit => limit,
    };
    let wanted = |own: &Kept| {
        let About { instance, job, what, by, time_ms, .. } = &own.about;
        let is = |name: &str, value: &str| params.first(name).is_none_or(|wanted| wanted == value);
        let in_range = (range.start.0..=range.end.0).contains(time_ms);
        is("instance", instance) && is("job", job) && is("what", what) && is("by", by.text()) && in_range
    };
    let (captures, now_ms) = (Arc::clone(&app.captures), app.clock.now().0);
    // What is too old is removed from the disk first.
    let mut all = blocking(move || Ok(captures.store()?.list(now_ms))).await?;
    all.retain(wanted);
    let cut = all.len() > limit;
    all.truncate(limit);
    let text = Value::Array(all.iter().map(record).collect()).to_string().into_bytes();
    Ok(success(text, &Annotations::default().truncated(cut)))
}

/// A capture as its file, or with `about=true` what is known of it.
pub(crate) async fn get(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let kept = app.captures.store()?.get(&id).ok_or_else(|| unknown(&id))?;
    if params.flag("about")? {
        return Ok(success_json(&record(&kept)));
    }
    let captures = Arc::clone(&app.captures);
    let (name, is_text) = (file_name(&kept.about), kept.about.is_text);
    let bytes = blocking(move || {
        let failed = |error: std::io::Error| {
            let gone = error.kind() == std::io::ErrorKind::NotFound;
            if gone { unknown(&kept.id) } else { ApiError::new(ErrorKind::Internal, format!("capture: {error}")) }
        };
        let file = captures.store()?.read(&kept).map_err(failed)?;
        if !is_text {
            return Ok(file);
        }
        let mut text = Vec::new();
        GzDecoder::new(file.as_slice()).take(PLAIN_BYTES_MAX as u64).read_to_end(&mut text).map_err(failed)?;
        Ok(text)
    })
    .await?;
    let content_type = if is_text { "text/plain; charset=utf-8" } else { PROFILE_TYPE };
    let disposition = format!("attachment; filename=\"{name}\"");
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// Removes a capture.
pub(crate) async fn delete(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let captures = Arc::clone(&app.captures);
    let asked = id.clone();
    let was_there = blocking(move || Ok(captures.store()?.delete(&asked))).await?;
    if was_there { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(unknown(&id)) }
}

/// Orders a capture of its agent.
pub(crate) async fn order(Shared(app): Shared<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let (process, what) = (process(&params)?, kind(&params)?);
    let seconds = number(&params, "seconds")?.unwrap_or(what.seconds_default());
    let reason = params.first("reason").unwrap_or("asked for");
    let TaskId(id) = app.captures.order(&process, what, seconds, (By::Request, reason))?;
    let order = app.captures.orders.get(id);
    Ok(success_json(&order.map_or(Value::Null, |order| order_record(&app.captures, &order))))
}

/// How far an order is: at once where it is over, else after `wait` at the latest.
pub(crate) async fn order_state(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let number: u64 = id.parse().map_err(|_| ApiError::parameter("id", format!("{id:?} is not a number")))?;
    let wait_ms = Params::of_url(request.uri())?.duration_ms("wait")?.unwrap_or(0);
    if !(0..=WAIT_MS_MAX).contains(&wait_ms) {
        return Err(ApiError::parameter("wait", format!("{wait_ms} ms; allowed are 0 to {WAIT_MS_MAX} ms")));
    }
    let as_page = html::wanted(request.headers());
    let told = |record| if as_page { page::order(&record) } else { html::varies(success_json(&record)) };
    let until = Instant::now() + Duration::from_millis(wait_ms.unsigned_abs());
    loop {
        let Some(order) = app.captures.orders.get(number) else {
            // Notifications link to orders, and are read longer than orders are remembered.
            let kept = app.captures.store().ok().and_then(|store| store.of_order(number));
            if let Some(kept) = kept {
                return Ok(told(fulfilled_record(number, &kept)));
            }
            let message = format!("no order {number} is known: it came to nothing long ago, or its capture is gone");
            return if as_page {
                Ok(page::no_order(&message))
            } else {
                Err(ApiError::new(ErrorKind::NotFound, message))
            };
        };
        if app.captures.state_of(&order).is_over() || Instant::now() >= until {
            return Ok(told(order_record(&app.captures, &order)));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn order_record(captures: &Captures, order: &Order) -> Value {
    let state = captures.state_of(order);
    let mut record = json!({
        "id": order.id,
        "state": state.text(),
        "agent": order.process.agent(),
        "instance": order.process.instance,
        "job": order.process.job,
        "what": order.what.text(),
        "seconds": order.seconds,
        "reason": order.reason,
        "by": order.by.text(),
        "askedMs": order.asked_ms,
        "capture": order.capture,
    });
    if let State::Failed(error) = state {
        record["error"] = error.into();
    }
    record
}

/// What [`order_record`] says, as far as the capture that came of the order tells it.
fn fulfilled_record(order: u64, kept: &Kept) -> Value {
    let about = &kept.about;
    json!({
        "id": order,
        "state": State::Done.text(),
        "agent": about.agent,
        "instance": about.instance,
        "job": about.job,
        "what": about.what,
        "seconds": about.seconds,
        "reason": about.reason,
        "by": about.by.text(),
        "capture": kept.id,
    })
}

fn record(kept: &Kept) -> Value {
    let mut record = serde_json::to_value(&kept.about).unwrap_or_default();
    record["id"] = kept.id.as_str().into();
    record["bytes"] = kept.bytes.into();
    record["file"] = file_name(&kept.about).into();
    if let Some(record) = record.as_object_mut() {
        record.remove("origin");
    }
    record
}

/// Name of the file that a capture is saved as.
fn file_name(about: &About) -> String {
    let mut name = String::new();
    for part in [&about.job, &about.instance, &about.what] {
        let plain = part.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' });
        name.extend(plain.take(80));
        name.push('-');
    }
    let time = jiff::Timestamp::from_millisecond(about.time_ms).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let _ = write!(name, "{time}.{}", if about.is_text { "txt" } else { "pb.gz" });
    name.trim_start_matches('-').to_owned()
}

fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(40).collect();
    ApiError::new(ErrorKind::NotFound, format!("there is no capture {id:?}, or no longer"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        tracing::error!(%failure, "a request for captures panicked");
        Err(ApiError::new(ErrorKind::Internal, "it failed unexpectedly; the server's log has the details"))
    })
}

impl From<CaptureError> for ApiError {
    fn from(error: CaptureError) -> Self {
        let kind = match &error {
            CaptureError::Agent(_) | CaptureError::Disk(_) => ErrorKind::Internal,
            CaptureError::Invalid(_) => ErrorKind::BadData,
            CaptureError::TooMany { .. } => ErrorKind::TooMany,
            CaptureError::Off(_) => ErrorKind::Unavailable,
        };
        match error {
            CaptureError::Agent(error) => error.into(),
            error => Self::new(kind, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_people() {
        let about = About {
            job: "api".to_owned(),
            instance: "web1/0\"".to_owned(),
            what: "heap".to_owned(),
            time_ms: 1_767_225_600_000,
            ..About::default()
        };
        assert_eq!(file_name(&about), "api-web1-0--heap-20260101T000000Z.pb.gz");
        let text = About { job: String::new(), is_text: true, ..about };
        assert_eq!(file_name(&text), "web1-0--heap-20260101T000000Z.txt");
    }
}
