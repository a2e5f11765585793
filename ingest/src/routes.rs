//! The write routes: receives requests under limits and has them worked on by threads that may block.
//!
//! A sender that goes away while it sends gives back its ticket, its bytes and its buffers with the dropped
//! handler. Once the work has begun it is finished, whoever listens: what was acknowledged to nobody is kept.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use model::exposition::TextFormat;
use model::{Appended, Clock, NoCursor, SampleSink, SeriesCursor, SinkError};

use crate::admission::{Admission, Reservation, Turn};
use crate::buffers::{Buffers, Loan, Pool};
use crate::compress::Encoding;
use crate::error::IngestError;
use crate::limits::IngestLimits;
use crate::lines_import::decode_lines;
use crate::metrics::{IngestMetrics, Outcome, Route};
use crate::remote_write::{Version, version_of};
use crate::reply::{Done, Written, answer, tell_written};
use crate::text_import::{ImportOptions, decode_page};

/// Buffers that wait for the next request may hold this part of what requests under way may.
const IDLE_PART: usize = 8;

/// What the write routes share. Cloning shares it too.
#[derive(Debug, Clone)]
pub struct IngestState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sink: Arc<dyn SampleSink>,
    clock: Arc<dyn Clock>,
    limits: IngestLimits,
    admission: Admission,
    pool: Arc<Pool>,
    metrics: Arc<IngestMetrics>,
}

/// What is in a body.
#[derive(Debug)]
enum Content {
    RemoteWrite(Version),
    Page { format: TextFormat, options: ImportOptions },
    Lines(ImportOptions),
}

/// A request that was received and may be worked on.
#[derive(Debug)]
struct Received {
    route: Route,
    content: Content,
    encoding: Encoding,
    buffers: Loan,
    reservation: Reservation,
    /// Held until the work is done.
    _turn: Turn,
}

/// Counts one request in, and out again however it ends.
struct Visit<'a> {
    metrics: &'a IngestMetrics,
    route: Route,
    outcome: Outcome,
}

impl IngestState {
    /// State that writes to `sink`, under `limits` made [consistent](IngestLimits::consistent). `clock` gives the
    /// time of samples that come without one.
    pub fn new(sink: Arc<dyn SampleSink>, clock: Arc<dyn Clock>, limits: IngestLimits) -> Self {
        let limits = limits.consistent();
        Self(Arc::new(Shared {
            sink,
            clock,
            limits,
            admission: Admission::new(&limits),
            pool: Pool::new(limits.requests_in_flight_max, limits.bytes_in_flight_max / IDLE_PART),
            metrics: Arc::default(),
        }))
    }

    /// The counters of the routes.
    pub fn metrics(&self) -> Arc<IngestMetrics> {
        Arc::clone(&self.0.metrics)
    }

    /// Bytes that requests under way hold, as far as they are accounted for, and buffers that wait for the next.
    pub fn bytes_in_flight(&self) -> usize {
        self.0.admission.bytes() + self.0.pool.idle_bytes()
    }

    /// The limits in force.
    pub fn limits(&self) -> &IngestLimits {
        &self.0.limits
    }
}

/// The write routes: `POST /api/v1/write`, `POST /api/v1/import/prometheus` and `POST /api/v1/import`.
pub fn router(state: IngestState) -> Router {
    Router::new()
        .route(Route::RemoteWrite.path(), post(remote_write))
        .route(Route::TextImport.path(), post(text_import))
        .route(Route::LinesImport.path(), post(lines_import))
        .with_state(state)
}

async fn remote_write(State(IngestState(shared)): State<IngestState>, request: Request) -> Response<Body> {
    let content = text_header(request.headers(), &CONTENT_TYPE).and_then(version_of).map(Content::RemoteWrite);
    serve(shared, Route::RemoteWrite, content, Encoding::Snappy, request).await
}

async fn text_import(State(IngestState(shared)): State<IngestState>, request: Request) -> Response<Body> {
    let content = page_content(&request);
    serve(shared, Route::TextImport, content, Encoding::Identity, request).await
}

async fn lines_import(State(IngestState(shared)): State<IngestState>, request: Request) -> Response<Body> {
    let content = import_options(&request).map(Content::Lines);
    serve(shared, Route::LinesImport, content, Encoding::Identity, request).await
}

fn import_options(request: &Request) -> Result<ImportOptions, IngestError> {
    let params = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map_err(|error| IngestError::Request { what: "query parameters", detail: error.to_string() })?;
    ImportOptions::from_params(&params)
}

fn page_content(request: &Request) -> Result<Content, IngestError> {
    let options = import_options(request)?;
    let content_type = text_header(request.headers(), &CONTENT_TYPE)?;
    Ok(Content::Page { format: TextFormat::from_content_type(content_type.unwrap_or("")), options })
}

/// Answers one request.
async fn serve(
    shared: Arc<Shared>,
    route: Route,
    content: Result<Content, IngestError>,
    default_encoding: Encoding,
    request: Request,
) -> Response<Body> {
    let mut visit = Visit::new(&shared.metrics, route);
    let tells_written = matches!(content, Ok(Content::RemoteWrite(Version::V2)));
    let received = match content {
        Ok(content) => receive(&shared, route, content, default_encoding, request).await,
        Err(error) => Err(error),
    };
    let result = match received {
        Ok(received) => {
            let shared = Arc::clone(&shared);
            let worked = tokio::task::spawn_blocking(move || shared.work(received)).await;
            worked.unwrap_or_else(|error| Err(IngestError::Internal { detail: error.to_string() }))
        }
        Err(error) => Err(error),
    };
    let (outcome, mut response) = answer(route, &result);
    if tells_written {
        tell_written(&mut response, &result);
    }
    if let (Outcome::Failed, Err(error)) = (outcome, &result) {
        tracing::error!(route = route.path(), %error, "a write request failed");
    }
    visit.outcome = outcome;
    response
}

/// Lets a request in, reads its body and waits for its turn.
async fn receive(
    shared: &Shared,
    route: Route,
    content: Content,
    default_encoding: Encoding,
    request: Request,
) -> Result<Received, IngestError> {
    let encoding = Encoding::from_header(text_header(request.headers(), &CONTENT_ENCODING)?, default_encoding)?;
    let limits = &shared.limits;
    let declared_bytes = text_header(request.headers(), &CONTENT_LENGTH)?.and_then(|text| text.parse().ok());
    check_body_size(declared_bytes.unwrap_or(0), limits)?;
    let ticket = shared.admission.admit()?;
    let mut reservation = shared.admission.reservation();
    let mut buffers = shared.pool.take();
    let reading = read_body(request.into_body(), limits, &mut reservation, &mut buffers.body);
    let limit_ms = limits.body_read_ms_max;
    match tokio::time::timeout(Duration::from_millis(limit_ms), reading).await {
        Ok(read) => read?,
        Err(_) => return Err(IngestError::Slow { limit_ms, retry_after_s: limits.retry_after_s }),
    }
    let turn = shared.admission.turn(ticket).await?;
    Ok(Received { route, content, encoding, buffers, reservation, _turn: turn })
}

async fn read_body(
    mut body: Body,
    limits: &IngestLimits,
    reservation: &mut Reservation,
    bytes: &mut Vec<u8>,
) -> Result<(), IngestError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| IngestError::BodyBroke { detail: error.to_string() })?;
        // Frames other than data are trailers, which say nothing here.
        if let Ok(data) = frame.into_data() {
            check_body_size(bytes.len().saturating_add(data.len()), limits)?;
            reservation.grow(data.len())?;
            bytes.extend_from_slice(&data);
        }
    }
    Ok(())
}

fn check_body_size(found: usize, limits: &IngestLimits) -> Result<(), IngestError> {
    let limit = limits.body_bytes_max;
    if found <= limit {
        return Ok(());
    }
    let found = format!("{found} or more");
    Err(IngestError::Limit { what: "bytes of body", found, limit_name: "body_bytes_max", limit })
}

fn text_header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, IngestError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let not_text = |_| IngestError::Request { what: "headers", detail: format!("{name} is not printable ASCII") };
    value.to_str().map(Some).map_err(not_text)
}

impl Shared {
    /// Decompresses, decodes and appends. Blocks.
    fn work(&self, received: Received) -> Result<Done, IngestError> {
        let Received { route, content, encoding, buffers: mut loan, mut reservation, _turn } = received;
        let buffers: &mut Buffers = &mut loan;
        encoding.decompress(&buffers.body, &self.limits, &mut reservation, &mut buffers.plain)?;
        self.metrics.add_bytes(route, buffers.body.len(), buffers.plain.as_slice().len());
        let taken = self.take(&content, buffers, &mut reservation, &mut *self.sink.cursor());
        let (appended, histograms) = match taken {
            // It was recognised a moment ago: this time the labels go with the samples.
            Err(IngestError::Sink(SinkError::SeriesRemoved)) => {
                buffers.batch.clear();
                buffers.rejected.clear();
                self.take(&content, buffers, &mut reservation, &mut NoCursor)?
            }
            taken => taken?,
        };
        let Buffers { batch, rejected, .. } = buffers;
        rejected.add_appended(&appended);
        let written = Written::of(&appended, histograms, batch.exemplars_len() as u64);
        self.metrics.add_taken(route, written, appended.series_created, rejected);
        Ok(Done { written, metadata_accepted: batch.metadata().len(), rejected: std::mem::take(rejected) })
    }

    /// Decodes the plain body and appends it; says how many histograms it has.
    fn take(
        &self,
        content: &Content,
        buffers: &mut Buffers,
        reservation: &mut Reservation,
        cursor: &mut dyn SeriesCursor,
    ) -> Result<(Appended, u64), IngestError> {
        let Buffers { plain, decoder, batch, rejected, .. } = buffers;
        let plain = plain.as_slice();
        let histograms = match content {
            Content::RemoteWrite(version) => {
                decoder.decode(*version, plain, &self.limits, cursor, batch, rejected)?;
                decoder.histograms()
            }
            Content::Page { format, options } => {
                let now_ms = self.clock.now().0;
                decode_page(plain, *format, options, now_ms, &self.limits, batch, rejected)?;
                0
            }
            Content::Lines(options) => decode_lines(plain, options, &self.limits, batch, rejected)?,
        };
        reservation.take(batch.memory_bytes());
        let appended = if batch.is_empty() { Appended::default() } else { self.sink.append(batch)? };
        Ok((appended, histograms))
    }
}

impl<'a> Visit<'a> {
    fn new(metrics: &'a IngestMetrics, route: Route) -> Self {
        metrics.came_in();
        Self { metrics, route, outcome: Outcome::Abandoned }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.metrics.went_out(self.route, self.outcome);
    }
}
