//! `/metrics`: what this server says of itself, in either text format.
//!
//! Names begin with `metrickit_`, save those of the process, which the field knows as `process_…`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use model::MetricKind;
use model::exposition::{Family, FamilySample, TextFormat, write_families};

use crate::app::App;
use crate::counters::SECONDS_BOUNDS;
use crate::engine_metrics;
use crate::process::ProcessUse;

pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let wanted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format =
        if wanted.contains("application/openmetrics-text") { TextFormat::OpenMetrics } else { TextFormat::Prometheus };
    let mut page = String::new();
    write_families(&families(&app), format, &mut page);
    ([(CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], page).into_response()
}

/// All that this server says of itself.
pub(crate) fn families(app: &App) -> Vec<Family> {
    let mut all = vec![
        gauge("metrickit_build_info", "Which release runs; always 1.")
            .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ];
    let stats = app.engine.stats();
    all.extend(engine_metrics::families(&stats));
    all.extend(app.memory.families(app, &stats));
    all.extend(query_families(app));
    all.push(request_family(app));
    all.push(agents_family(app));
    all.extend(ingest_families(app));
    all.extend(app.captures.families());
    all.extend(app.alerting.families());
    all.extend(app.alerting.forward_families());
    all.extend(app.notifier.families());
    all.extend(app.deliveries.families());
    all.extend(routing_families(app));
    all.extend(app.self_metrics.families());
    all.extend(process_families(app));
    all
}

fn agents_family(app: &App) -> Family {
    let agents = gauge("metrickit_agents", "Agents that have checked in, by how they are.");
    app.agents
        .counts()
        .iter()
        .fold(agents, |agents, (state, count)| agents.with(&[("state", state)], whole(*count as u64)))
}

fn query_families(app: &App) -> Vec<Family> {
    let counters = &app.counters;
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut outcomes = Family::new("metrickit_queries_total", MetricKind::Counter, "Queries that ended, by outcome.");
    for (outcome, ended) in counters.outcomes() {
        outcomes = outcomes.with(&[("outcome", outcome)], whole(ended));
    }
    vec![
        outcomes,
        seconds_family(app),
        one_gauge("metrickit_queries_running", "Queries that have a place.", whole(app.gate.running() as u64)),
        one_gauge("metrickit_queries_waiting", "Queries that wait for a place.", whole(app.gate.waiting() as u64)),
        one_gauge(
            "metrickit_query_memory_bytes",
            "Values and labels that queries hold.",
            whole(app.options.query.resources.all_bytes() as u64),
        ),
        one_counter("metrickit_query_samples_total", "Samples decoded for queries.", count(&counters.query_samples)),
        one_counter("metrickit_query_series_total", "Series read for queries.", count(&counters.query_series)),
        one_counter(
            "metrickit_query_chunk_bytes_total",
            "Bytes of chunks decoded for queries.",
            count(&counters.query_chunk_bytes),
        ),
    ]
}

/// Query times as a classic histogram.
fn seconds_family(app: &App) -> Family {
    let seconds = app.counters.seconds();
    let name = "metrickit_query_seconds";
    let mut family =
        Family::new(name, MetricKind::Histogram, "Time from a query's arrival to the end of its evaluation.");
    let bounds = SECONDS_BOUNDS.iter().map(|&(_, shown)| shown).chain(["+Inf"]);
    for (bound, count) in bounds.zip(seconds.cumulative.iter().copied().chain([seconds.count])) {
        push(&mut family, "metrickit_query_seconds_bucket", &[("le", bound)], whole(count));
    }
    push(&mut family, "metrickit_query_seconds_sum", &[], seconds.sum);
    push(&mut family, "metrickit_query_seconds_count", &[], whole(seconds.count));
    family
}

fn request_family(app: &App) -> Family {
    let mut family =
        Family::new("metrickit_http_requests_total", MetricKind::Counter, "Requests answered, by route and status.");
    for ((route, status), count) in app.counters.requests() {
        family = family.with(&[("route", &route), ("status", &status.to_string())], whole(count));
    }
    family
}

fn routing_families(app: &App) -> [Family; 2] {
    let (failures, failed) = app.counters.routing_failures();
    [
        one_counter(
            "metrickit_routing_reload_failures_total",
            "Readings of the routing file that found a fault, so that an older one is kept.",
            failures,
        ),
        one_gauge(
            "metrickit_routing_last_reload_successful",
            "Whether alerts are routed by the file as it was read last.",
            if failed { 0.0 } else { 1.0 },
        ),
    ]
}

fn ingest_families(app: &App) -> Vec<Family> {
    app.ingest.metrics().families()
}

fn process_families(app: &App) -> Vec<Family> {
    let used = ProcessUse::read();
    let mut all = vec![one_gauge(
        "process_start_time_seconds",
        "When the server started, in Unix seconds.",
        whole_signed(app.started.0) / 1000.0,
    )];
    if let Some(seconds) = used.cpu_seconds {
        let family = Family::new("process_cpu_seconds_total", MetricKind::Counter, "Processor time used.");
        all.push(family.with(&[], seconds));
    }
    let gauges = [
        ("process_resident_memory_bytes", "Memory resident in RAM.", used.resident_bytes),
        ("process_virtual_memory_bytes", "Address space in use.", used.virtual_bytes),
        ("process_threads", "Threads.", used.threads),
        ("process_open_fds", "Open file descriptors.", used.open_fds),
        ("process_max_fds", "Most file descriptors allowed.", used.max_fds),
    ];
    all.extend(gauges.into_iter().filter_map(|(name, help, value)| Some(one_gauge(name, help, whole(value?)))));
    all
}

pub(crate) fn gauge(name: &str, help: &str) -> Family {
    Family::new(name, MetricKind::Gauge, help)
}

pub(crate) fn one_gauge(name: &str, help: &str, value: f64) -> Family {
    gauge(name, help).with(&[], value)
}

pub(crate) fn one_counter(name: &str, help: &str, value: u64) -> Family {
    Family::new(name, MetricKind::Counter, help).with(&[], whole(value))
}

/// Adds a sample that is not named as its family.
pub(crate) fn push(family: &mut Family, series: &str, labels: &[(&str, &str)], value: f64) {
    let pairs = labels.iter().copied().chain([(model::METRIC_NAME, series)]);
    let labels = model::Labels::from_pairs(pairs).expect("label names are unique");
    family.samples.push(FamilySample { labels, value, timestamp_ms: None });
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest value is good enough for a metric")]
pub(crate) fn whole(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest value is good enough for a metric")]
pub(crate) fn whole_signed(number: i64) -> f64 {
    number as f64
}
