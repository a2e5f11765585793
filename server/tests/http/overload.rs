//! Too much at once, too long, or for nobody: places, waiting, deadlines, and queries that are ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{Labels, Matcher, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, TimeRange};
use server::ServerOptions;

use crate::support::{Answer, Server};

/// Samples in each series of [`Endless`]: so many that a query looks at its deadline after each series.
const SAMPLES: i64 = 20_000;
/// More series than a query could read while a test waits.
const SERIES: usize = 10_000_000;
/// A query that reads all of them.
const HEAVY: &str = "/api/v1/query?query=sum(count_over_time(x%5B20s%5D))&time=20";

/// A source whose every selector finds ten million series. Counts what is read of them.
#[derive(Debug, Default)]
pub(crate) struct Endless {
    reads: Arc<AtomicU64>,
}

#[derive(Debug)]
struct EndlessSet {
    labels: Labels,
    reads: Arc<AtomicU64>,
}

impl SeriesSource for Endless {
    fn select(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Box<dyn SeriesSet>, SourceError> {
        let labels = Labels::from_pairs([("__name__", "x")]).unwrap();
        Ok(Box::new(EndlessSet { labels, reads: Arc::clone(&self.reads) }))
    }

    fn series(&self, _: &[Matcher], _: TimeRange, _: usize) -> Result<Vec<Labels>, SourceError> {
        Err(SourceError::Damaged { detail: "a test's damage".into() })
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        panic!("a test's panic")
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }
}

impl SeriesSet for EndlessSet {
    fn len(&self) -> usize {
        SERIES
    }

    fn labels(&self, _: usize) -> &Labels {
        &self.labels
    }

    fn read(&self, _: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        into.clear();
        into.timestamps_ms.extend(1..=SAMPLES);
        into.values.resize(into.timestamps_ms.len(), 1.0);
        Ok(ReadCost { chunks: 1, bytes: 1, samples: into.timestamps_ms.len() as u64, ..ReadCost::default() })
    }
}

pub(crate) fn options(change: impl FnOnce(&mut ServerOptions)) -> ServerOptions {
    let mut options = ServerOptions::default();
    options.query.samples_max = u64::MAX;
    options.query.bytes_max = usize::MAX;
    options.query.resources = Arc::new(query::Resources::new(usize::MAX, 0));
    options.query.series_max = usize::MAX;
    change(&mut options);
    options
}

fn endless(change: impl FnOnce(&mut ServerOptions)) -> Arc<Server> {
    Arc::new(Server::with(options(change), Some(Arc::new(Endless::default()))))
}

fn ask(server: &Arc<Server>) -> tokio::task::JoinHandle<Answer> {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.get(HEAVY).await })
}

/// Waits until a series of `/metrics` has a value. A value that never comes fails the test instead of hanging it.
pub(crate) async fn until(server: &Server, series: &str, want: f64) {
    let reached = async {
        while server.metric(series).await.to_bits() != want.to_bits() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let came = tokio::time::timeout(Duration::from_mins(1), reached).await;
    assert!(came.is_ok(), "{series} is {}, not {want}", server.metric(series).await);
}

const CANCELED: &str = "metrickit_queries_total{outcome=\"canceled\"}";

#[tokio::test]
async fn a_query_ends_when_its_client_leaves() {
    let source = Arc::new(Endless::default());
    let reads = Arc::clone(&source.reads);
    let server = Arc::new(Server::with(options(|_| {}), Some(source)));
    let query = ask(&server);
    while reads.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    query.abort();
    until(&server, CANCELED, 1.0).await;
    until(&server, "metrickit_queries_running", 0.0).await;
    let read = reads.load(Ordering::Relaxed);
    assert!(read < SERIES as u64, "the query stopped early, not after {read} series");
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_is_counted() {
    let server = endless(|options| options.queries_running_max = 1);
    let running = ask(&server);
    until(&server, "metrickit_queries_running", 1.0).await;
    let waiting = ask(&server);
    until(&server, "metrickit_queries_waiting", 1.0).await;
    waiting.abort();
    until(&server, CANCELED, 1.0).await;
    let reading = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.get("/federate?match[]=x").await }
    });
    until(&server, "metrickit_queries_waiting", 1.0).await;
    reading.abort();
    until(&server, CANCELED, 2.0).await;
    running.abort();
    until(&server, CANCELED, 3.0).await;
}

#[tokio::test]
async fn a_query_can_be_listed_and_ended() {
    let server = endless(|_| {});
    let query = ask(&server);
    until(&server, "metrickit_queries_running", 1.0).await;
    let list = server.get("/api/v1/queries").await.json();
    assert_eq!(list["data"][0]["query"], "sum(count_over_time(x[20s]))");
    let mut samples = 0;
    while samples == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        samples = server.get("/api/v1/queries").await.json()["data"][0]["samples"].as_u64().unwrap();
    }
    let id = list["data"][0]["id"].as_u64().unwrap();
    let ended = server.method(axum::http::Method::DELETE, &format!("/api/v1/queries/{id}")).await;
    assert_eq!((ended.status, ended.body), (200, format!(r#"{{"status":"success","data":{{"canceled":{id}}}}}"#)));
    let answer = query.await.unwrap();
    assert_eq!((answer.status, &answer.json()["errorType"]), (499, &"canceled".into()));
    assert_eq!(server.get("/api/v1/queries").await.body, r#"{"status":"success","data":[]}"#);
    let gone = server.method(axum::http::Method::DELETE, &format!("/api/v1/queries/{id}")).await;
    assert_eq!((gone.status, &gone.json()["errorType"]), (404, &"not_found".into()));
    let wrong = server.method(axum::http::Method::DELETE, "/api/v1/queries/first").await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn deadlines_hold() {
    let server = endless(|options| options.query.timeout_ms = 50);
    // A request may shorten the server's deadline, not lengthen it.
    for more in ["", "&timeout=1h", "&timeout=1ms"] {
        let answer = server.get(&format!("{HEAVY}{more}")).await;
        assert_eq!((answer.status, &answer.json()["errorType"]), (503, &"timeout".into()), "{}", answer.body);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(server.metric("metrickit_queries_total{outcome=\"timeout\"}").await.to_bits(), 3.0_f64.to_bits());
}

#[tokio::test]
async fn waiting_is_bounded_in_number_and_time() {
    let server = endless(|options| {
        options.queries_running_max = 1;
        options.queries_waiting_max = 1;
    });
    let running = ask(&server);
    until(&server, "metrickit_queries_running", 1.0).await;
    let late = server.get("/api/v1/query?query=1&timeout=10ms").await;
    assert_eq!((late.status, &late.json()["errorType"]), (503, &"timeout".into()), "{}", late.body);
    assert!(late.body.contains("query timed out in query queue"), "{}", late.body);
    let waiting = ask(&server);
    until(&server, "metrickit_queries_waiting", 1.0).await;
    let refused = server.get("/api/v1/query?query=1").await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("the limit is 1"), "{}", refused.body);
    // Listings share the places; what needs none is still answered.
    assert_eq!(server.get("/api/v1/labels").await.status, 503);
    assert_eq!(server.get("/-/healthy").await.status, 200);
    running.abort();
    waiting.abort();
    until(&server, "metrickit_queries_running", 0.0).await;
    assert_eq!(server.get("/api/v1/query?query=1").await.status, 200, "places are given back");
}

#[tokio::test]
async fn storage_failures_are_internal() {
    let server = endless(|_| {});
    let damaged = server.get("/api/v1/series?match[]=x").await;
    assert_eq!((damaged.status, &damaged.json()["errorType"]), (500, &"internal".into()));
    assert!(damaged.body.contains("a test's damage"), "{}", damaged.body);
    let panicked = server.get("/api/v1/labels").await;
    assert_eq!((panicked.status, &panicked.json()["errorType"]), (500, &"internal".into()));
    assert_eq!(server.get("/api/v1/label/x/values").await.status, 200);
}

/// Failed and successful queries that took long are kept with what they used; short ones are not.
#[tokio::test]
async fn slow_queries_are_kept() {
    let server = endless(|options| {
        options.query.timeout_ms = 1500;
        options.slow_log_ms = 1000;
    });
    assert_eq!(server.get("/api/v1/query?query=1").await.status, 200);
    assert_eq!(server.get("/api/v1/queries/slow").await.body, r#"{"status":"success","data":[]}"#);
    assert_eq!(server.get(HEAVY).await.status, 503);
    until(&server, "metrickit_queries_running", 0.0).await;
    let slow = server.get("/api/v1/queries/slow").await.json();
    let [first] = slow["data"].as_array().unwrap().as_slice() else { panic!("{slow}") };
    assert_eq!((&first["query"], &first["outcome"]), (&"sum(count_over_time(x[20s]))".into(), &"timeout".into()));
    assert_eq!(first["time"].as_f64(), Some(1_435_781_451.781));
    assert!(first["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.05), "{slow}");
    assert!(first["samples"].as_u64().is_some_and(|samples| samples > 0), "{slow}");
    assert!(first["series"].as_u64().is_some_and(|series| series > 0), "{slow}");

    let off = endless(|options| {
        options.query.timeout_ms = 50;
        options.slow_log_ms = 0;
    });
    assert_eq!(off.get(HEAVY).await.status, 503);
    assert_eq!(off.get("/api/v1/queries/slow").await.body, r#"{"status":"success","data":[]}"#);
}
