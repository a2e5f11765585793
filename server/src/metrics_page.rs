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
use crate::process::ProcessUse;

pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let wanted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format =
        if wanted.contains("application/openmetrics-text") { TextFormat::OpenMetrics } else { TextFormat::Prometheus };
    let mut page = String::new();
    write_families(&families(&app), format, &mut page);
    ([(CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], page).into_response()
}

fn families(app: &App) -> Vec<Family> {
    let mut all = vec![
        gauge("metrickit_build_info", "Which release runs; always 1.")
            .with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ];
    all.extend(engine_families(app));
    all.extend(query_families(app));
    all.push(request_family(app));
    all.extend(ingest_families(app));
    all.extend(process_families(app));
    all
}

fn engine_families(app: &App) -> Vec<Family> {
    let stats = app.engine.stats();
    let seconds = |ms: Option<i64>| ms.map_or(f64::NAN, |ms| whole_signed(ms) / 1000.0);
    let poisoned = u64::from(stats.poisoned.is_some());
    let counters = [
        ("metrickit_samples_appended_total", "Samples taken.", stats.samples_appended),
        ("metrickit_samples_rejected_total", "Samples that storage refused one by one.", stats.samples_rejected),
        ("metrickit_series_created_total", "Series created.", stats.series_created),
        ("metrickit_series_removed_total", "Series removed because nothing held them any more.", stats.series_removed),
        ("metrickit_log_records_total", "Records written to the log.", stats.log_records),
        ("metrickit_log_syncs_total", "Syncs of the log that an append waited for.", stats.log_syncs),
        ("metrickit_flushes_total", "Times the head became blocks.", stats.flushes),
        ("metrickit_flush_failures_total", "Flushes that failed and are tried again.", stats.flush_failures),
        ("metrickit_merges_total", "Times blocks became one.", stats.merges),
        ("metrickit_blocks_dropped_total", "Blocks dropped by retention.", stats.blocks_dropped),
        ("metrickit_disk_full_refusals_total", "Appends refused because the disk was full.", stats.disk_full_refusals),
    ];
    let gauges = [
        ("metrickit_series", "Series that exist.", whole(stats.series)),
        ("metrickit_blocks", "Block files that are read.", whole(stats.blocks)),
        ("metrickit_block_samples", "Samples in these blocks.", whole(stats.block_samples)),
        ("metrickit_blocks_quarantined", "Block files that cannot be read.", whole(stats.blocks_quarantined)),
        ("metrickit_log_segments", "Segment files of the log.", whole(stats.log_segments)),
        ("metrickit_damaged_places", "Places in stored data found damaged.", whole(stats.damage.len() as u64)),
        ("metrickit_poisoned", "Whether storage takes no writes until a restart.", whole(poisoned)),
        ("metrickit_oldest_sample_seconds", "Time of the oldest sample, in Unix seconds.", seconds(stats.oldest_ms)),
        ("metrickit_newest_sample_seconds", "Time of the newest sample, in Unix seconds.", seconds(stats.newest_ms)),
    ];
    let bytes = gauge("metrickit_storage_bytes", "Bytes held: files of blocks, log and catalog, memory of the rest.")
        .with(&[("kind", "blocks")], whole(stats.block_bytes))
        .with(&[("kind", "log")], whole(stats.log_bytes))
        .with(&[("kind", "catalog")], whole(stats.catalog_bytes))
        .with(&[("kind", "head")], whole(stats.head_bytes))
        .with(&[("kind", "column_cache")], whole(stats.column_cache_bytes));
    let counters = counters.into_iter().map(|(name, help, value)| one_counter(name, help, value));
    counters.chain(gauges.into_iter().map(|(name, help, value)| one_gauge(name, help, value))).chain([bytes]).collect()
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
            whole(app.options.query.resources.bytes() as u64),
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

fn gauge(name: &str, help: &str) -> Family {
    Family::new(name, MetricKind::Gauge, help)
}

fn one_gauge(name: &str, help: &str, value: f64) -> Family {
    gauge(name, help).with(&[], value)
}

fn one_counter(name: &str, help: &str, value: u64) -> Family {
    Family::new(name, MetricKind::Counter, help).with(&[], whole(value))
}

/// Adds a sample that is not named as its family.
fn push(family: &mut Family, series: &str, labels: &[(&str, &str)], value: f64) {
    let pairs = labels.iter().copied().chain([(model::METRIC_NAME, series)]);
    let labels = model::Labels::from_pairs(pairs).expect("label names are unique");
    family.samples.push(FamilySample { labels, value, timestamp_ms: None });
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest value is good enough for a metric")]
fn whole(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the nearest value is good enough for a metric")]
fn whole_signed(number: i64) -> f64 {
    number as f64
}
