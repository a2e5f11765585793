//! Deletes over HTTP: `/api/v1/admin/tsdb/delete_series` and `…/clean_tombstones` as Prometheus has them, and what is
//! ours: looking first, the list, undoing.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use model::TimeRange;
use serde_json::{Value, json};
use storage::{Delete, DeleteError, DeleteRequest, DeleteStage, Engine, Reach};

use crate::admin_api::run;
use crate::app::App;
use crate::params::Params;
use crate::reply::{ApiError, ErrorKind, success_json};
use crate::running::Client;

/// Longest text that tells who asked, in characters.
const BY_MAX: usize = 200;

/// Deletes what any `match[]` selects from `start` to `end`. Answers 204; with `verbose=true` the delete, or null where
/// there was nothing; with `dry_run=true` what a delete would hide, and deletes nothing.
pub(crate) async fn delete_series(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let selectors = params.named_selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let range = params.open_range()?;
    if params.flag("dry_run")? {
        return run(&app, move |engine| {
            engine.preview_delete(selectors.iter().map(|(_, matchers)| matchers.as_slice()), range)
        })
        .await
        .map(|reach| success_json(&told_reach(&reach)));
    }
    let by: String = match (params.first("by"), client) {
        (Some(by), _) => by.chars().take(BY_MAX).collect(),
        (None, Some(Client(address))) => address.ip().to_canonical().to_string(),
        (None, None) => String::new(),
    };
    let verbose = params.flag("verbose")?;
    let made = run(&app, move |engine| engine.delete(DeleteRequest { selectors, range, by })).await?;
    if verbose {
        return Ok(success_json(&made.as_ref().map_or(Value::Null, told)));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The deletes, the newest first.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let all: Vec<Value> = app.engine.deletes().iter().rev().map(told).collect();
    success_json(&all)
}

/// Brings back what a delete hides.
pub(crate) async fn undo(
    State(app): State<Arc<App>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|error| ApiError::parameter("id", error.body_text()))?;
    let undone = run(&app, move |engine| engine.undo_delete(id)).await?;
    Ok(success_json(&told(&undone)))
}

/// Removes what deletes hide, now and for good.
pub(crate) async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    run(&app, Engine::apply_deletes).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn told_reach(reach: &Reach) -> Value {
    let metrics: Vec<Value> = reach.metrics.iter().map(|of| json!({ "name": of.name, "series": of.count })).collect();
    json!({
        "series": reach.series,
        "samples": reach.samples,
        "bytes": reach.bytes,
        "metricCount": reach.metrics_len,
        "metrics": metrics,
    })
}

fn told(delete: &Delete) -> Value {
    let record = &delete.record;
    let (state, at_ms) = match record.stage {
        DeleteStage::Pending => ("pending", None),
        DeleteStage::Undone { at_ms } => ("undone", Some(at_ms)),
        DeleteStage::Applying { .. } => ("applying", None),
        DeleteStage::Applied { at_ms } => ("applied", Some(at_ms)),
    };
    // An end of the range that was left open is none.
    let bound = |at_ms: i64, open: i64| (at_ms != open).then_some(at_ms);
    json!({
        "id": delete.id,
        "selectors": record.selectors,
        "startMs": bound(record.start_ms, TimeRange::ALL.start.0),
        "endMs": bound(record.end_ms, TimeRange::ALL.end.0),
        "createdMs": record.created_ms,
        "by": record.by,
        "series": record.series,
        "samples": record.samples,
        "bytes": record.bytes,
        "state": state,
        "endedMs": at_ms,
        "undoUntilMs": (state == "pending").then_some(delete.undo_until_ms),
    })
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        let kind = match error {
            DeleteError::Unknown { .. } => ErrorKind::NotFound,
            DeleteError::TooMany { .. } | DeleteError::Settled { .. } => ErrorKind::Execution,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
