//! `/api/v1/status/retention`: what is kept of which series, and under which rules they fall.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use storage::{KeptSeries, KeptStep, RetentionReport};

use crate::app::App;
use crate::gate::run_blocking;
use crate::params::Params;
use crate::reply::{ApiError, ErrorKind, success_json};

/// What is kept of the series of `match[]`, or of all.
pub(crate) async fn retention(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let mut selectors = params.selectors()?;
    if selectors.len() > 1 {
        return Err(ApiError::new(ErrorKind::BadData, "one match[] at most; ask for each by itself"));
    }
    let matchers = selectors.pop().unwrap_or_default();
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let place = app.gate.enter(patience).await?;
    run_blocking(place, patience, move || Ok(success_json(&told(&app.engine.retention(&matchers))))).await
}

fn told(report: &RetentionReport) -> Value {
    let kept: Vec<Value> = report.kept.iter().map(series).collect();
    json!({ "nowMs": report.now_ms, "rules": report.rules, "series": report.series, "kept": kept })
}

fn series(of: &KeptSeries) -> Value {
    json!({
        // People count from 1.
        "rule": of.rule.map(|place| place + 1),
        "text": of.text,
        "series": of.series,
        "samples": column(&of.raw),
        "summaries": of.steps.iter().map(column).collect::<Vec<_>>(),
    })
}

fn column(of: &KeptStep) -> Value {
    json!({
        "windowMs": of.window_ms,
        "keepMs": of.keep_ms,
        "fromMs": of.from_ms,
        "heldFromMs": of.held_from_ms,
        "aboutBytes": of.about_bytes,
    })
}
