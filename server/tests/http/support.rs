//! What the tests of the HTTP surface share: a server over a real engine in a temporary folder, asked without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::response::Parts;
use axum::http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use ingest::{IngestLimits, IngestState};
use model::{
    Clock, Labels, ManualClock, MetricKind, MetricMetadata, SampleSink, SeriesSource, TimestampMs, WriteBatch,
};
use server::{App, ServerOptions};
use tower::ServiceExt as _;

/// The time of every test's clock: 2015-07-01T20:10:51.781Z.
pub(crate) const NOW_MS: i64 = 1_435_781_451_781;

/// A server and the folder it keeps its data in.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) engine: Arc<storage::Engine>,
    _folder: tempfile::TempDir,
}

/// An answer read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(ServerOptions::default(), None)
    }

    /// A server over what `engine` holds of `folder`.
    pub(crate) fn over(folder: tempfile::TempDir, engine: Arc<storage::Engine>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let sink = Arc::clone(&engine) as Arc<dyn SampleSink>;
        let ingest = IngestState::new(sink, Arc::clone(&clock), IngestLimits::default());
        let app = App::new(Arc::clone(&engine), ingest, clock, ServerOptions::default());
        Self { router: server::router(Arc::clone(&app)), app, engine, _folder: folder }
    }

    /// A server with options, whose queries read from `source` if there is one.
    pub(crate) fn with(options: ServerOptions, source: Option<Arc<dyn SeriesSource>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
        let engine_options =
            storage::EngineOptions { retention_ms: None, future_lead_ms: None, ..storage::EngineOptions::default() };
        let engine = storage::Engine::open(folder.path(), engine_options, Arc::clone(&clock)).unwrap();
        let sink = Arc::clone(&engine) as Arc<dyn SampleSink>;
        let ingest = IngestState::new(sink, Arc::clone(&clock), IngestLimits::default());
        let app = match source {
            Some(source) => App::over(source, Arc::clone(&engine), ingest, clock, options),
            None => App::new(Arc::clone(&engine), ingest, clock, options),
        };
        Self { router: server::router(Arc::clone(&app)), app, engine, _folder: folder }
    }

    /// Adds samples: labels as `name{a="b"}` pairs.
    pub(crate) fn write(&self, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        let mut batch = WriteBatch::new();
        batch.push_series(labels.as_ref());
        for &(timestamp_ms, value) in samples {
            batch.push_sample(timestamp_ms, value);
        }
        let appended = self.engine.append(&batch).unwrap();
        assert_eq!(appended.samples_rejected, 0);
    }

    /// Adds what is known of a metric.
    pub(crate) fn describe(&self, metric: &str, kind: MetricKind, unit: &str, help: &str) {
        let mut batch = WriteBatch::new();
        batch.push_metadata(metric, MetricMetadata { kind, unit: unit.into(), help: help.into() });
        self.engine.append(&batch).unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// As a browser asks.
    pub(crate) async fn browse(&self, path: &str) -> Answer {
        let request = Request::get(path).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        self.call(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.call(request.body(Body::from(form.to_owned())).unwrap()).await
    }

    pub(crate) async fn method(&self, method: Method, path: &str) -> Answer {
        self.call(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.call_raw(request).await;
        let body = String::from_utf8(body.unwrap()).unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The answer's head, and its body unless that breaks off.
    pub(crate) async fn call_raw(&self, request: Request<Body>) -> (Parts, Result<Vec<u8>, axum::Error>) {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        (head, body.collect().await.map(|body| body.to_bytes().to_vec()))
    }

    /// Expects data, exactly.
    #[track_caller]
    pub(crate) fn check(&self, path: &str, want: &str) {
        let answer = block_on(self.get(path));
        assert_eq!((answer.status, answer.body.as_str()), (200, want), "for {path}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }

    /// Expects an error, exactly.
    #[track_caller]
    pub(crate) fn check_error(&self, path: &str, status: u16, error_type: &str, message: &str) {
        let answer = block_on(self.get(path));
        let want = serde_json::json!({ "status": "error", "errorType": error_type, "error": message });
        assert_eq!((answer.status, answer.json()), (status, want), "for {path}");
    }

    /// The value of one series on `/metrics`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").await.body;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// `text` as it stands in a URL.
pub(crate) fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
