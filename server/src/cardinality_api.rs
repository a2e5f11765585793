//! `/api/v1/status/cardinality`: what makes the series so many, how near the limits are, what is new.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use storage::{CardinalityReport, CardinalityRequest, LabelUse, LimitUse, PairUse, SeriesGroup};

use crate::app::App;
use crate::gate::run_blocking;
use crate::params::Params;
use crate::reply::{ApiError, success};

/// Rows in each list, unless asked for.
const TOP_DEFAULT: usize = 10;
/// Most rows in each list.
const TOP_MAX: usize = 1_000;
/// How far back series count as new, unless asked for.
const WINDOW_DEFAULT_MS: i64 = 86_400_000;

/// What makes the series of `match[]`, or all, so many.
pub(crate) async fn cardinality(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let top = match params.limit("top")? {
        usize::MAX => TOP_DEFAULT,
        top if top <= TOP_MAX => top,
        _ => return Err(ApiError::parameter("top", format!("it must not exceed {TOP_MAX}"))),
    };
    let window_ms = params.positive_duration_ms("window")?.unwrap_or(WINDOW_DEFAULT_MS);
    let request = CardinalityRequest { selectors: params.selectors()?, window_ms, top };
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let place = app.gate.enter(patience).await?;
    run_blocking(place, patience, move || {
        let notes = app.replay_note();
        let report = app.engine.cardinality_report(&request)?;
        Ok(success(told(&report).to_string().into_bytes(), &notes))
    })
    .await
}

fn told(of: &CardinalityReport) -> Value {
    json!({
        "nowMs": of.now_ms,
        "sinceMs": of.since_ms,
        "knownFromMs": of.known_from_ms,
        "series": {
            "all": of.all_series,
            "selected": of.selected.series,
            "active": of.selected.active,
            "created": of.selected.created,
        },
        "limits": of.limits.iter().map(limit).collect::<Vec<_>>(),
        "churn": {
            "created": of.all_created,
            "removed": of.all_removed,
            "metrics": groups(&of.new_metrics),
            "agents": groups(&of.new_agents),
        },
        "metrics": groups(&of.metrics),
        "labels": of.labels.iter().map(label).collect::<Vec<_>>(),
        "pairs": of.pairs.iter().map(pair).collect::<Vec<_>>(),
        "agents": groups(&of.agents),
        "jobs": groups(&of.jobs),
        "instances": groups(&of.instances),
    })
}

fn limit(of: &LimitUse) -> Value {
    json!({
        "limit": of.limit.setting(),
        "max": of.max,
        "series": of.series,
        "of": of.of,
        "full": of.full,
        "rejectedSamples": of.samples_refused,
    })
}

fn groups(of: &[SeriesGroup]) -> Value {
    let group =
        |of: &SeriesGroup| json!({ "name": of.name, "series": of.series, "active": of.active, "created": of.created });
    of.iter().map(group).collect()
}

fn label(of: &LabelUse) -> Value {
    json!({
        "name": of.name,
        "values": of.values,
        "series": of.series,
        "valueBytes": of.value_bytes,
        "seriesWithout": of.without,
    })
}

fn pair(of: &PairUse) -> Value {
    json!({ "name": of.name, "value": of.value, "series": of.series })
}
