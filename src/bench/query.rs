//! `bench query`: a fixed list of queries over generated data, each asked many times.
//!
//! A server of our own is started again after the data is written, so that queries read blocks as they would next day.

use std::time::Instant;

use anyhow::{Context, bail};
use model::time::{Clock, SystemClock};
use serde::Serialize;

use super::fleet::Fleet;
use super::ingest::{INTERVAL_MS, progress, send};
use super::subject::Subject;
use super::{Latencies, QueryArgs};
use crate::client::{Moment, Value};
use crate::output::Output;
use crate::render::table::columns;

/// Samples in one request while loading.
const SAMPLES_PER_REQUEST: usize = 5_000;
/// Connections while loading.
const CONNECTIONS: usize = 2;
/// Rounds made before they are sent.
const ROUNDS_PER_PHASE: usize = 60;

/// What is asked: at the newest time, or over `hours` up to it in steps of `step_ms`.
const QUERIES: [(&str, Option<(i64, i64)>); 12] = [
    ("go_goroutines{instance=\"10.0.0.1:8080\"}", None),
    ("go_goroutines", None),
    ("sum by (job) (rate(process_cpu_seconds_total[5m]))", None),
    ("topk(5, go_memstats_heap_alloc_bytes)", None),
    ("{__name__=~\"go_memstats_.*\", job=\"checkout\"}", None),
    ("max_over_time(go_memstats_heap_alloc_bytes[1h])", None),
    ("count by (__name__) ({__name__!=\"\"})", None),
    ("go_goroutines{instance=\"10.0.0.1:8080\"}", Some((6, 60_000))),
    ("sum(rate(go_memstats_mallocs_total[5m]))", Some((1, 15_000))),
    ("sum by (job) (rate(go_memstats_mallocs_total[5m]))", Some((6, 60_000))),
    ("histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))", Some((6, 60_000))),
    ("avg by (job) (go_memstats_heap_alloc_bytes / go_memstats_sys_bytes)", Some((6, 60_000))),
];

/// The figures of one query.
#[derive(Debug, Serialize)]
struct QueryFigures {
    query: &'static str,
    range_hours: Option<i64>,
    step_ms: Option<i64>,
    series: usize,
    samples: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
struct Figures {
    seed: u64,
    series: u32,
    hours: u32,
    samples_loaded: u64,
    repeat: u32,
    /// From the start of the process on the written folder until it is ready.
    restart_ms: Option<f64>,
    resident_bytes: Option<u64>,
    queries: Vec<QueryFigures>,
}

/// Loads, measures and prints.
pub(super) fn run(args: &QueryArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut subject = Subject::new(&args.common)?;
    let (end_ms, samples_loaded) = load(args, &subject)?;
    if args.common.url.is_none() {
        subject.stop()?;
    }
    let restart_ms = subject.start_again()?.map(|took| took.as_secs_f64() * 1000.0);

    let bar = progress(QUERIES.len() as u64, "{spinner} asking {bar:40} {pos}/{len}")?;
    let mut queries = Vec::with_capacity(QUERIES.len());
    for (query, range) in QUERIES {
        queries.push(ask(&subject, query, range, end_ms, args.repeat)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let figures = Figures {
        seed: args.common.seed,
        series: args.series,
        hours: args.hours,
        samples_loaded,
        repeat: args.repeat,
        restart_ms,
        resident_bytes: subject.usage().map(|usage| usage.resident_bytes),
        queries,
    };
    subject.stop()?;
    if args.common.json {
        output.line(&serde_json::to_string(&figures).context("figures are JSON")?)?;
    } else {
        show(&figures, output)?;
    }
    Ok(())
}

/// Writes the data; returns its newest time and how many samples there are.
fn load(args: &QueryArgs, subject: &Subject) -> anyhow::Result<(i64, u64)> {
    let mut fleet = Fleet::new(args.series as usize, args.common.seed);
    let rounds = i64::from(args.hours) * 3_600_000 / INTERVAL_MS;
    let end_ms = SystemClock.now().0 / INTERVAL_MS * INTERVAL_MS;
    let bar = progress(u64::try_from(rounds).unwrap_or(0), "{spinner} loading {bar:40} {eta} left")?;
    let mut samples = 0;
    let times: Vec<i64> = (0..rounds).rev().map(|back| end_ms - back * INTERVAL_MS).collect();
    for phase in times.chunks(ROUNDS_PER_PHASE) {
        let bodies = phase.iter().map(|&time_ms| fleet.round(time_ms, SAMPLES_PER_REQUEST)).collect();
        samples += send(subject, bodies, CONNECTIONS, None)?.samples;
        bar.inc(phase.len() as u64);
    }
    bar.finish_and_clear();
    Ok((end_ms, samples))
}

fn ask(
    subject: &Subject,
    query: &'static str,
    range: Option<(i64, i64)>,
    end_ms: i64,
    repeat: u32,
) -> anyhow::Result<QueryFigures> {
    let moment = match range {
        None => Moment::Instant { time_ms: Some(end_ms) },
        Some((hours, step_ms)) => Moment::Range { start_ms: end_ms - hours * 3_600_000, end_ms, step_ms },
    };
    let mut latencies = Latencies::default();
    let (mut series, mut samples) = (0, 0);
    for _ in 0..repeat {
        let start = Instant::now();
        let answer = subject.client.query(query, moment).with_context(|| format!("query {query}"))?;
        latencies.push(start.elapsed());
        let found = match &answer.value {
            Value::Vector(found) | Value::Matrix(found) => found.as_slice(),
            Value::Scalar(_) | Value::String(_) => &[],
        };
        if found.is_empty() {
            bail!("query {query} has no result; is the server's retention shorter than the data?");
        }
        series = found.len();
        samples = found.iter().map(|series| series.points.len()).sum();
    }
    let [p50_ms, p99_ms, max_ms] = latencies.quantiles_ms();
    let (range_hours, step_ms) = range.unzip();
    Ok(QueryFigures { query, range_hours, step_ms, series, samples, p50_ms, p99_ms, max_ms })
}

fn show(figures: &Figures, output: &mut Output) -> anyhow::Result<()> {
    output.line(&format!(
        "{} series, {} hours, {} samples; each query {} times, reading the answer included; seed {}",
        figures.series, figures.hours, figures.samples_loaded, figures.repeat, figures.seed
    ))?;
    let row = |query: &QueryFigures| {
        let over = match (query.range_hours, query.step_ms) {
            (Some(hours), Some(step_ms)) => format!("{hours}h step {}s", step_ms / 1000),
            _ => "instant".to_owned(),
        };
        let ms = |value: f64| format!("{value:.2}");
        vec![
            query.query.to_owned(),
            over,
            query.series.to_string(),
            query.samples.to_string(),
            ms(query.p50_ms),
            ms(query.p99_ms),
        ]
    };
    let rows: Vec<_> = figures.queries.iter().map(row).collect();
    let width = output.is_terminal.then(|| output.width());
    output.text(&columns(&["query", "over", "series", "samples", "p50 ms", "p99 ms"], &rows, width))?;
    if let Some(restart_ms) = figures.restart_ms {
        output.line(&format!("ready {restart_ms:.0} ms after its start on this data"))?;
    }
    Ok(())
}
