//! `/api/v1/status/…`: build, runtime, limits, and what takes the most series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use model::TimestampMs;
use model::time::ShowDuration;
use serde_json::json;
use storage::Count;

use crate::app::App;
use crate::gate::run_blocking;
use crate::json::write_string;
use crate::params::Params;
use crate::process::ProcessUse;
use crate::reply::{ApiError, success_json};

/// The Prometheus release whose API and language are spoken here. Clients such as Grafana read `version` to decide
/// what they may ask for; what release of MetricKit answers stands beside it.
const API_VERSION: &str = "3.14.0";
/// The setting that tells the retention.
const RETENTION: &str = "storage.tsdb.retention.time";
/// Lines in each list of `/api/v1/status/tsdb`, unless asked for.
const TOP_DEFAULT: usize = 10;
/// Most lines in each list.
const TOP_MAX: usize = 10_000;

pub(crate) async fn build_info() -> Response {
    success_json(&json!({
        "version": API_VERSION,
        "revision": option_env!("METRICKIT_REVISION").unwrap_or_default(),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "MetricKit",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    }))
}

pub(crate) async fn runtime_info(State(app): State<Arc<App>>) -> Response {
    let used = ProcessUse::read();
    let stats = app.engine.stats();
    success_json(&json!({
        "startTime": rfc3339(app.started),
        "serverTime": rfc3339(app.clock.now()),
        "reloadConfigSuccess": true,
        "lastConfigTime": rfc3339(app.started),
        "corruptionCount": stats.blocks_quarantined,
        "threadCount": used.threads,
        "cpuCount": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "residentBytes": used.resident_bytes,
        "storageRetention": retention(&app),
    }))
}

pub(crate) async fn flags(State(app): State<Arc<App>>) -> Response {
    let options = &app.options;
    let query = &options.query;
    let duration = |ms: i64| ShowDuration(ms).to_string();
    let own = [
        ("query.lookback-delta", duration(query.lookback_ms)),
        ("query.timeout", duration(i64::try_from(query.timeout_ms).unwrap_or(i64::MAX))),
        ("query.max-samples", query.samples_max.to_string()),
        ("query.max-concurrency", options.queries_running_max.to_string()),
        ("query.max-waiting", options.queries_waiting_max.to_string()),
        ("query.max-series", query.series_max.to_string()),
        ("query.max-bytes", query.bytes_max.to_string()),
        ("query.max-total-bytes", query.resources.all_bytes_max().to_string()),
        ("query.max-threads", query.threads_max.to_string()),
        ("query.slow-log", duration(i64::try_from(options.slow_log_ms).unwrap_or(i64::MAX))),
        ("query.max-points", query.points_max.saturating_sub(1).to_string()),
        ("query.default-subquery-step", duration(query.subquery_step_ms)),
        ("web.max-listed", options.listed_max.to_string()),
        ("web.max-form-bytes", options.form_body_bytes_max.to_string()),
    ];
    let all: BTreeMap<&str, &str> = own
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .collect();
    success_json(&all)
}

/// The targets, of which there are none: agents push.
pub(crate) async fn targets() -> Response {
    success_json(&json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }))
}

/// The groups that targets are scraped in.
pub(crate) async fn scrape_pools() -> Response {
    success_json(&json!({ "scrapePools": [] }))
}

/// Whom alerts are sent to.
pub(crate) async fn alertmanagers(State(app): State<Arc<App>>) -> Response {
    let active: Vec<_> = app.alerting.alertmanagers().into_iter().map(|url| json!({ "url": url })).collect();
    success_json(&json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] }))
}

/// The settings that the program runs with, as YAML.
pub(crate) async fn config(State(app): State<Arc<App>>) -> Response {
    let mut yaml = Vec::new();
    for (name, value) in &app.options.settings {
        // A text in JSON is one in YAML, too.
        write_string(&mut yaml, name);
        yaml.extend_from_slice(b": ");
        write_string(&mut yaml, value);
        yaml.push(b'\n');
    }
    success_json(&json!({ "yaml": String::from_utf8_lossy(&yaml) }))
}

pub(crate) async fn tsdb(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let top = match params.limit("limit")? {
        usize::MAX => TOP_DEFAULT,
        top if top <= TOP_MAX => top,
        _ => return Err(ApiError::parameter("limit", format!("it must not exceed {TOP_MAX}"))),
    };
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let place = app.gate.enter(patience).await?;
    run_blocking(place, patience, move || {
        let stats = app.engine.stats();
        let found = app.engine.cardinality(top);
        Ok(success_json(&json!({
            "headStats": {
                "numSeries": stats.series,
                "numLabelPairs": found.label_pairs,
                "minTime": stats.oldest_ms.unwrap_or(i64::MAX),
                "maxTime": stats.newest_ms.unwrap_or(i64::MIN),
            },
            "seriesCountByMetricName": counts(&found.series_by_metric),
            "labelValueCountByLabelName": counts(&found.values_by_label),
            "memoryInBytesByLabelName": counts(&found.value_bytes_by_label),
            "seriesCountByLabelValuePair": counts(&found.series_by_pair),
        })))
    })
    .await
}

fn counts(lines: &[Count]) -> serde_json::Value {
    lines.iter().map(|line| json!({ "name": line.name, "value": line.count })).collect()
}

/// The retention as the program's settings tell it.
fn retention(app: &App) -> &str {
    let setting = app.options.settings.iter().find(|(name, _)| name == RETENTION);
    setting.map_or("", |(_, value)| value)
}

/// An instant in RFC 3339; one beyond the calendar in Unix seconds.
fn rfc3339(instant: TimestampMs) -> String {
    Timestamp::from_millisecond(instant.0).map_or_else(|_| format!("{}e-3", instant.0), |shown| shown.to_string())
}
