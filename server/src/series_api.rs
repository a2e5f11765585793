//! What there is: `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/{name}/values`, `/api/v1/metadata`.
//!
//! Several `match[]` are a union: what any of them selects, each once, sorted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use model::{Labels, Matcher, MetricMetadata, SourceError};

use crate::app::App;
use crate::gate::run_blocking;
use crate::json::{write_labels, write_string};
use crate::params::{Params, unescape_label_name};
use crate::reply::{Annotations, ApiError, ErrorKind, List, success};

pub(crate) async fn series(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let (range, limit) = (params.open_range()?, listed(&app, &params)?);
    reading(app, move |app, notes| {
        // One more than wanted tells whether anything was cut.
        let found = union(selectors, |matchers| app.source.series(&matchers, range, limit.saturating_add(1)))?;
        Ok(list(found, limit, notes, |out, labels: &Labels| write_labels(out, labels.as_ref())))
    })
    .await
}

pub(crate) async fn label_names(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let (selectors, range, limit) = (any_series(params.selectors()?), params.open_range()?, listed(&app, &params)?);
    reading(app, move |app, notes| {
        let found = union(selectors, |matchers| app.source.label_names(&matchers, range))?;
        Ok(list(found, limit, notes, write_text))
    })
    .await
}

pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|error| ApiError::parameter("name", error.body_text()))?;
    let name = unescape_label_name(&name);
    if name.is_empty() {
        return Err(ApiError::parameter("name", "a label name has at least one character"));
    }
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let (selectors, range, limit) = (any_series(params.selectors()?), params.open_range()?, listed(&app, &params)?);
    reading(app, move |app, notes| {
        let found = union(selectors, |matchers| app.source.label_values(&name, &matchers, range))?;
        Ok(list(found, limit, notes, write_text))
    })
    .await
}

pub(crate) async fn metadata(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let metric = params.first("metric").map(str::to_owned);
    let limit = listed(&app, &params)?;
    // One entry is kept for a metric, so that any bound on entries holds.
    params.limit("limit_per_metric")?;
    reading(app, move |app, notes| {
        let mut found = app.source.metadata(metric.as_deref())?;
        found.truncate(limit);
        Ok(success(metadata_document(&found), &notes))
    })
    .await
}

/// The request's `limit` within the server's.
pub(crate) fn listed(app: &App, params: &Params) -> Result<usize, ApiError> {
    Ok(params.limit("limit")?.min(app.options.listed_max))
}

/// Without a selector every series counts.
fn any_series(selectors: Vec<Vec<Matcher>>) -> Vec<Vec<Matcher>> {
    if selectors.is_empty() { vec![Vec::new()] } else { selectors }
}

fn union<T: Ord>(
    selectors: Vec<Vec<Matcher>>,
    read: impl Fn(Vec<Matcher>) -> Result<Vec<T>, SourceError>,
) -> Result<Vec<T>, ApiError> {
    let mut lists = selectors.into_iter().map(read);
    let first = lists.next().unwrap_or_else(|| Ok(Vec::new()))?;
    let mut rest = lists.peekable();
    // The usual single selector's list is sorted and unique as it comes.
    if rest.peek().is_none() {
        return Ok(first);
    }
    let mut all: BTreeSet<T> = first.into_iter().collect();
    for list in rest {
        all.extend(list?);
    }
    Ok(all.into_iter().collect())
}

pub(crate) fn list<T: Send + 'static>(
    mut found: Vec<T>,
    limit: usize,
    notes: Annotations,
    write: fn(&mut Vec<u8>, &T),
) -> Response {
    let cut = found.len() > limit;
    found.truncate(limit);
    success(List::new(found, write), &notes.truncated(cut))
}

#[expect(clippy::ptr_arg, reason = "a list's writer takes a reference to its element")]
fn write_text(out: &mut Vec<u8>, text: &String) {
    write_string(out, text);
}

fn metadata_document(found: &[(String, MetricMetadata)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (at, (metric, metadata)) in found.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&mut out, metric);
        out.extend_from_slice(br#":[{"type":"#);
        write_string(&mut out, metadata.kind.as_str());
        out.extend_from_slice(br#","help":"#);
        write_string(&mut out, &metadata.help);
        out.extend_from_slice(br#","unit":"#);
        write_string(&mut out, &metadata.unit);
        out.extend_from_slice(b"}]");
    }
    out.push(b'}');
    out
}

/// Reads on a blocking thread, within the same places and times as queries. `read` is given what must be said beside.
pub(crate) async fn reading(
    app: Arc<App>,
    read: impl FnOnce(&App, Annotations) -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let place = app.gate.enter(patience).await?;
    run_blocking(place, patience, move || read(&app, app.replay_note())).await
}
