//! Where links in alerts lead, as Prometheus has them: to what their query answers now.
//!
//! Browsers get a table; everybody else is sent on to the API's answer.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use serde_json::Value;

use crate::alerting::listed::Listed;
use crate::app::App;
use crate::html::{self, escaped};
use crate::params::Params;
use crate::query_api;
use crate::reply::{ApiError, ErrorKind};

/// Most series in the table.
const SERIES_SHOWN_MAX: usize = 500;
/// Longest answer that is made a table of; one of so many series is longer only if labels are.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What a byte of an answer takes while it is read, about.
const READ_BYTES: usize = 16;

pub(crate) async fn graph(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::of_url(request.uri())?;
    let Some(expr) = params.first("g0.expr") else { return Ok(Redirect::temporary("./").into_response()) };
    let query: String = form_urlencoded::byte_serialize(expr.as_bytes()).collect();
    // Relative, so that a prefix before this server stays.
    let answer_at = format!("api/v1/query?query={query}");
    if !html::wanted(request.headers()) {
        return Ok(html::varies(Redirect::temporary(&answer_at).into_response()));
    }
    let (expr, now_ms) = (expr.to_owned(), app.clock.now().0);
    let mut held = Listed::new(&app);
    let (status, answer) = answered(app, request, &format!("/{answer_at}&limit={SERIES_SHOWN_MAX}")).await?;
    // Reading a long answer holds up nobody, and counts as queries do.
    held.hold(READ_BYTES * answer.len())?;
    let shown = tokio::task::spawn_blocking(move || {
        let page = page(&expr, now_ms, &answer_at, &answer);
        drop(held);
        page
    });
    let mut page = shown.await.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    *page.status_mut() = status;
    Ok(html::varies(page))
}

/// What the API answers to `target`, for the client of `request`.
async fn answered(app: Arc<App>, request: Request, target: &str) -> Result<(StatusCode, Bytes), ApiError> {
    let (mut parts, _) = request.into_parts();
    parts.uri = target.parse::<Uri>().map_err(|_| ApiError::parameter("g0.expr", "it is too long for a link"))?;
    let response = match query_api::instant(State(app), Request::from_parts(parts, Body::empty())).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    let status = response.status();
    Ok((status, to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default()))
}

/// The page about `answer`, which is empty where it is too long.
fn page(expr: &str, now_ms: i64, answer_at: &str, answer: &[u8]) -> Response {
    let too_long = || serde_json::json!({"error": format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")});
    let answer = serde_json::from_slice(answer).unwrap_or_else(|_| too_long());
    let at = html::moment(now_ms);
    let body = format!(
        "<h1>What this query answers</h1>\n<pre><code>{}</code></pre>\n<p>At {at}.</p>\n{}\n\
         <p><a href=\"{answer_at}\">As JSON</a> · <a href=\"runbooks\">Runbooks</a> · in a terminal, also over time: <code>metrickit query</code></p>",
        escaped(expr),
        table(&answer),
    );
    html::page(expr, &body)
}

/// The series of an answer with their values, or why there are none.
fn table(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(error) = answer["error"].as_str() {
        return format!("<p><b>It cannot be answered:</b> {}</p>", escaped(error));
    }
    for note in ["warnings", "infos"].iter().filter_map(|kind| answer[kind].as_array()).flatten() {
        let _ = writeln!(out, "<p>{}</p>", escaped(note.as_str().unwrap_or_default()));
    }
    let result = &answer["data"]["result"];
    let rows = match answer["data"]["resultType"].as_str() {
        Some("scalar" | "string") => vec![(String::new(), value(result))],
        _ => result
            .as_array()
            .into_iter()
            .flatten()
            .map(|series| (series_text(&series["metric"]), newest(series)))
            .collect(),
    };
    if rows.is_empty() {
        out.push_str("<p>Nothing: no series is like this now. What it was when an alert began says <code>metrickit alerts log</code>.</p>");
        return out;
    }
    out.push_str("<table>\n<tr><th>value</th><th>series</th></tr>\n");
    for (series, value) in rows {
        let _ = writeln!(out, "<tr><td>{}</td><td><code>{}</code></td></tr>", escaped(&value), escaped(&series));
    }
    out.push_str("</table>");
    out
}

/// The value of an instant, or the last of a range.
fn newest(series: &Value) -> String {
    if series.get("histogram").is_some() || series.get("histograms").is_some() {
        return "a histogram".to_owned();
    }
    let last = series["values"].as_array().and_then(|values| values.last());
    value(last.unwrap_or(&series["value"]))
}

fn value(pair: &Value) -> String {
    pair[1].as_str().unwrap_or_default().to_owned()
}

/// `name{a="b"}`.
fn series_text(metric: &Value) -> String {
    let labels = metric.as_object().into_iter().flatten().filter(|(name, _)| *name != "__name__");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}{{{}}}", metric["__name__"].as_str().unwrap_or_default(), labels.join(", "))
}
