//! `bench query`: a fixed list of queries over generated data, each asked many times, of one server or of several.
//!
//! A server of our own is started again after the data is written, so that queries read blocks as they would next day.
//! Servers named by `--beside` get the same bodies and the same questions in the same run, in turn, and their answers
//! are compared with ours. Times of evaluation lie between samples, so that it does not matter whether a server
//! counts a sample exactly at the left end of a range.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use model::time::{Clock, SystemClock};
use serde::Serialize;

use super::agree::Points;
use super::compare::available;
use super::fleet::Fleet;
use super::ingest::{progress, send};
use super::machine::Machine;
use super::own::print;
use super::queries::{BenchQuery, Over, QUERIES};
use super::query_table::show;
use super::servers::{Kind, Options};
use super::subject::Subject;
use super::{Latencies, QueryArgs};
use crate::output::Output;
use crate::render::number::short;
use crate::render::unit::SECONDS;
use crate::when::api_seconds;

/// The name of our own server.
pub(super) const OURS: &str = "MetricKit";
/// Samples in one request while loading.
const SAMPLES_PER_REQUEST: usize = 5_000;
/// Samples a second that are made and written, and that are read for an answer, about: for the forecast.
const FORECAST_SAMPLES_WRITTEN_PER_SECOND: f64 = 250_000.0;
const FORECAST_SAMPLES_READ_PER_SECOND: f64 = 50_000_000.0;
/// Connections while loading.
const CONNECTIONS: usize = 2;
/// Rounds made before they are sent.
const ROUNDS_PER_PHASE: usize = 60;
/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(3);
/// Pause after loading, in which servers that write later make the samples visible.
const SETTLE: Duration = Duration::from_secs(3);

/// The figures of one query at one server.
#[derive(Debug, Serialize)]
pub(super) struct QueryFigures {
    pub(super) server: String,
    pub(super) query: &'static str,
    pub(super) text: &'static str,
    pub(super) step_ms: Option<i64>,
    pub(super) series: usize,
    pub(super) points: usize,
    pub(super) bytes: usize,
    pub(super) min_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Processor time of the server an answer, if its process is known.
    pub(super) cpu_ms: Option<f64>,
    /// How the answer compares with ours.
    pub(super) agrees: String,
    /// Why there is no answer.
    pub(super) refused: Option<String>,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    pub(super) seed: u64,
    pub(super) series: u32,
    pub(super) hours: u32,
    pub(super) interval_seconds: u32,
    pub(super) samples_loaded: u64,
    pub(super) repeat: u32,
    /// From the start of the process on the written folder until it is ready.
    pub(super) restart_ms: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) queries: Vec<QueryFigures>,
}

/// A server with the name it is shown by.
#[derive(Debug)]
struct Contender {
    name: String,
    subject: Subject,
}

/// Loads, measures and prints.
pub(super) fn run(args: &QueryArgs, output: &mut Output) -> anyhow::Result<()> {
    let kinds = if args.servers.is_empty() { Vec::new() } else { available(&args.servers, output)? };
    output.note(&format!(
        "takes about {}",
        short(forecast_seconds(args, 1 + kinds.len() + args.beside.len()), SECONDS)
    ))?;
    let mut contenders = vec![Contender { name: OURS.to_owned(), subject: Subject::new(&args.common)? }];
    for kind in kinds.into_iter().filter(|&kind| kind != Kind::MetricKit) {
        let subject = Subject::start(kind, Options::default(), args.common.data.as_deref())?;
        contenders.push(Contender { name: kind.to_string(), subject });
    }
    for other in &args.beside {
        let subject = Subject::running(&other.url, other.pid)?;
        contenders.push(Contender { name: other.name.clone(), subject });
    }
    let interval_ms = i64::from(args.interval_seconds) * 1000;
    let end_ms = args.end_ms.unwrap_or_else(|| SystemClock.now().0) / interval_ms * interval_ms;
    let samples_loaded = if args.loaded { 0 } else { load(args, &contenders, end_ms)? };
    let mut restart_ms = None;
    for contender in contenders.iter_mut().rev() {
        if contender.subject.is_own() {
            contender.subject.stop()?;
            restart_ms = contender.subject.start_again()?.map(|took| took.as_secs_f64() * 1000.0);
        }
    }
    let restart_ms = restart_ms.filter(|_| contenders[0].subject.is_own());
    std::thread::sleep(SETTLE);

    let wanted = |query: &&BenchQuery| args.only.as_deref().is_none_or(|only| query.name.contains(only));
    let asked: Vec<&BenchQuery> = QUERIES.iter().filter(wanted).collect();
    let bar = progress(asked.len() as u64, "{spinner} asking {bar:40} {pos}/{len}")?;
    let mut queries = Vec::with_capacity(asked.len() * contenders.len());
    let last_ms = end_ms - interval_ms / 2;
    let first_ms = last_ms - i64::from(args.hours) * 3_600_000 + interval_ms;
    for query in asked {
        queries.extend(ask_all(&contenders, query, (first_ms, last_ms), args.repeat)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let figures = Figures {
        machine: Machine::this(),
        seed: args.common.seed,
        series: args.series,
        hours: args.hours,
        interval_seconds: args.interval_seconds,
        samples_loaded,
        repeat: args.repeat,
        restart_ms,
        resident_bytes: contenders[0].subject.usage().map(|usage| usage.resident_bytes),
        queries,
    };
    contenders[0].subject.stop()?;
    print(output, args.common.json, &figures, show)
}

/// Loading and asking; a server that is much slower than ours takes longer.
fn forecast_seconds(args: &QueryArgs, servers: usize) -> f64 {
    let rounds = f64::from(args.hours) * 3600.0 / f64::from(args.interval_seconds);
    let samples = if args.loaded { 0.0 } else { rounds * f64::from(args.series) };
    let asking = samples / FORECAST_SAMPLES_READ_PER_SECOND * f64::from(args.repeat + 1) * QUERIES.len() as f64;
    (samples / FORECAST_SAMPLES_WRITTEN_PER_SECOND + asking) * servers as f64
}

/// Writes the same data to all; returns how many samples each got.
fn load(args: &QueryArgs, contenders: &[Contender], end_ms: i64) -> anyhow::Result<u64> {
    let mut fleet = Fleet::new(args.series as usize, args.common.seed);
    let interval_ms = i64::from(args.interval_seconds) * 1000;
    let rounds = i64::from(args.hours) * 3_600_000 / interval_ms;
    let bar = progress(u64::try_from(rounds).unwrap_or(0), "{spinner} loading {bar:40} {eta} left")?;
    let mut samples = 0;
    let times: Vec<i64> = (0..rounds).rev().map(|back| end_ms - back * interval_ms).collect();
    for phase in times.chunks(ROUNDS_PER_PHASE) {
        let bodies: Vec<_> = phase.iter().map(|&time_ms| fleet.round(time_ms, SAMPLES_PER_REQUEST)).collect();
        for other in &contenders[1..] {
            send(&other.subject, bodies.clone(), CONNECTIONS, None)
                .with_context(|| format!("loading {}", other.name))?;
        }
        samples += send(&contenders[0].subject, bodies, CONNECTIONS, None)?.samples;
        bar.inc(phase.len() as u64);
    }
    bar.finish_and_clear();
    Ok(samples)
}

/// Asks every server in turn, `repeat` times.
fn ask_all(
    contenders: &[Contender],
    query: &'static BenchQuery,
    (first_ms, last_ms): (i64, i64),
    repeat: u32,
) -> anyhow::Result<Vec<QueryFigures>> {
    let http = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_TIMEOUT)).build();
    let http = http.new_agent();
    let mut measured: Vec<Measured> = contenders.iter().map(|_| Measured::default()).collect();
    // The first answer of each warms its caches and is not counted.
    for round in 0..=repeat {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            if measured.refused.is_some() {
                continue;
            }
            let before = contender.subject.usage();
            let start = Instant::now();
            let (status, body) = fetch(&http, contender.subject.client.url(), query, (first_ms, last_ms))
                .with_context(|| format!("{} of {}", query.name, contender.name))?;
            let took = start.elapsed();
            if status != 200 {
                measured.refused = Some(format!("{status}: {}", body.chars().take(200).collect::<String>()));
                continue;
            }
            if round > 0 {
                measured.latencies.push(took);
                let after = contender.subject.usage();
                measured.cpu_seconds +=
                    after.zip(before).map_or(0.0, |(after, before)| after.cpu_seconds - before.cpu_seconds);
            }
            measured.body = body;
        }
    }
    if let Some(reason) = &measured[0].refused {
        bail!("query {} was refused: {reason}", query.text);
    }
    let ours = Points::read(&measured[0].body).with_context(|| query.name.to_owned())?;
    ensure!(ours.series() > 0, "query {} has no result; is the server's retention shorter than the data?", query.text);
    let figures = contenders.iter().zip(measured).map(|(contender, mut measured)| {
        let theirs = if measured.refused.is_some() { Points::default() } else { Points::read(&measured.body)? };
        let min_ms = measured.latencies.smallest_ms();
        let [p50_ms, p99_ms, _] = measured.latencies.quantiles_ms();
        Ok(QueryFigures {
            server: contender.name.clone(),
            query: query.name,
            text: query.text,
            step_ms: if let Over::Range(step_ms) = query.over { Some(step_ms) } else { None },
            series: theirs.series(),
            points: theirs.points(),
            bytes: measured.body.len(),
            min_ms,
            p50_ms,
            p99_ms,
            cpu_ms: contender.subject.usage().map(|_| measured.cpu_seconds * 1000.0 / f64::from(repeat.max(1))),
            agrees: if measured.refused.is_some() { "refused".to_owned() } else { ours.compare(&theirs) },
            refused: measured.refused,
        })
    });
    figures.collect()
}

/// What was measured of one query at one server.
#[derive(Debug, Default)]
struct Measured {
    latencies: Latencies,
    cpu_seconds: f64,
    body: String,
    refused: Option<String>,
}

/// Asks once; status and body. `nocache` keeps VictoriaMetrics from answering out of the answer before.
fn fetch(
    http: &ureq::Agent,
    url: &str,
    query: &BenchQuery,
    (first_ms, last_ms): (i64, i64),
) -> anyhow::Result<(u16, String)> {
    let (path, pairs) = match query.over {
        Over::Instant => {
            ("/api/v1/query".to_owned(), vec![("query", query.text.to_owned()), ("time", api_seconds(last_ms))])
        }
        Over::Range(step_ms) => {
            let times = [("start", first_ms), ("end", last_ms), ("step", step_ms)];
            let times = times.into_iter().map(|(name, ms)| (name, api_seconds(ms)));
            ("/api/v1/query_range".to_owned(), std::iter::once(("query", query.text.to_owned())).chain(times).collect())
        }
        Over::LabelValues(label) => {
            let times = [("start", first_ms), ("end", last_ms)].map(|(name, ms)| (name, api_seconds(ms)));
            (format!("/api/v1/label/{label}/values"), times.to_vec())
        }
    };
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str())).chain([("nocache", "1")]);
    let mut response =
        http.get(format!("{url}{path}")).header("Accept-Encoding", "identity").query_pairs(pairs).call()?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?))
}
