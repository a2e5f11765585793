//! A sink in memory that tests can stop, and requests to a router without a network.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::sync::{Arc, Condvar, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use ingest::{IngestLimits, IngestMetrics, IngestState};
use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use model::{
    Appended, Exemplar, FullSample, ManualClock, MetricMetadata, SampleSink, SampleValue, SinkError, TimestampMs,
    WriteBatch,
};
use prost::Message;
use tower::ServiceExt;

/// The time of the server's clock.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// Keeps what it is given as text, answers as it is told, and waits while its gate is closed.
#[derive(Debug, Default)]
pub(crate) struct TestSink {
    taken: Mutex<Vec<String>>,
    metadata: Mutex<Vec<(String, MetricMetadata)>>,
    answer: Mutex<Option<Result<Appended, SinkError>>>,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl TestSink {
    /// Every sample taken, as `series value @time`, and every exemplar.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn metadata(&self) -> Vec<(String, MetricMetadata)> {
        self.metadata.lock().unwrap().clone()
    }

    /// Answers this from now on.
    pub(crate) fn answer(&self, answer: Result<Appended, SinkError>) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    /// Lets appends wait, or go on.
    pub(crate) fn close_gate(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }
}

impl SampleSink for TestSink {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        drop(self.opened.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
        let answer = self.answer.lock().unwrap().clone();
        let answer = answer.unwrap_or_else(|| {
            let samples_accepted = batch.samples_len() as u64;
            Ok(Appended { samples_accepted, series_created: batch.series_len() as u64, ..Appended::default() })
        })?;
        for (at, (series, samples)) in batch.iter().enumerate() {
            let labels = series.labels().expect("a sink without a cursor");
            let shown = samples.iter().map(|sample| format!("{labels} {} @{}", sample.value, sample.timestamp.0));
            self.taken.lock().unwrap().extend(shown);
            for FullSample { timestamp_ms, start_ms, value } in batch.full_samples(at) {
                let value = match value {
                    SampleValue::Float(value) => value.to_string(),
                    SampleValue::Histogram(histogram) => format!("histogram of {}", histogram.count),
                };
                self.taken.lock().unwrap().push(format!("{labels} {value} @{timestamp_ms} since {start_ms}"));
            }
            for Exemplar { labels: of, value, timestamp_ms } in batch.exemplars(at) {
                let of = of.as_ref();
                self.taken.lock().unwrap().push(format!("{labels} exemplar {of} {value} @{timestamp_ms}"));
            }
        }
        self.metadata.lock().unwrap().extend_from_slice(batch.metadata());
        Ok(answer)
    }
}

/// The routes over a [`TestSink`].
pub(crate) struct Server {
    pub sink: Arc<TestSink>,
    pub router: Router,
    pub metrics: Arc<IngestMetrics>,
}

/// The parts of an answer that senders look at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    /// The headers of remote write 2.0: samples, histograms and exemplars written.
    pub written: Option<[u64; 3]>,
    pub body: String,
}

impl Server {
    pub(crate) fn new(limits: IngestLimits) -> Self {
        let sink = Arc::new(TestSink::default());
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let state = IngestState::new(Arc::clone(&sink) as Arc<dyn SampleSink>, clock, limits);
        Self { sink, metrics: state.metrics(), router: ingest::router(state) }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    pub(crate) async fn import(&self, query: &str, page: &str) -> Answer {
        self.send(post(&format!("/api/v1/import/prometheus{query}"), &[], page.to_owned())).await
    }

    pub(crate) async fn write(&self, request: &WriteRequest) -> Answer {
        self.send(post("/api/v1/write", &[], snappy(&request.encode_to_vec()))).await
    }
}

/// A test that fails while the gate is closed must not leave a thread waiting at it.
impl Drop for Server {
    fn drop(&mut self) {
        self.sink.close_gate(false);
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.expect("a router does not fail");
    let (head, body) = response.into_parts();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let written = ["Samples", "Histograms", "Exemplars"]
        .map(|kind| header(&format!("X-Prometheus-Remote-Write-{kind}-Written")).map(|count| count.parse().unwrap()));
    let written = written.iter().copied().collect::<Option<Vec<u64>>>().map(|counts| counts.try_into().unwrap());
    let (status, retry_after) = (head.status.as_u16(), header("retry-after"));
    let body = body.collect().await.expect("answers are whole").to_bytes();
    Answer { status, retry_after, written, body: String::from_utf8(body.to_vec()).unwrap() }
}

pub(crate) fn post(uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

pub(crate) fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

/// A request with one series a name, each with one sample at [`NOW_MS`].
pub(crate) fn request_of(names: &[&str]) -> WriteRequest {
    let series = |name: &&str| TimeSeries {
        labels: vec![Label { name: "__name__".into(), value: (*name).into() }],
        samples: vec![WireSample { value: 1.5, timestamp: NOW_MS, ..WireSample::default() }],
        ..TimeSeries::default()
    };
    WriteRequest { timeseries: names.iter().map(series).collect(), metadata: vec![] }
}
