//! `/api/v1/export`: every sample of the selected series, as lines of JSON or as OpenMetrics text.
//!
//! Here a request becomes a checked question and gets one of few places. `walk` goes through the store metric by metric,
//! series by series, in windows of time, so that memory does not grow with what is exported; `lines` and `text` write
//! it. The answer ends with a mark (`end`, `# EOF`), and one that breaks off is without.

mod families;
mod lines;
mod text;
mod walk;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::exposition::TextFormat;
use model::json_lines::Counts;
use model::{Matcher, TimeRange};
use tokio::runtime::Handle;

use crate::app::App;
use crate::gate::run_on;
use crate::params::Params;
use crate::reply::{ApiError, ErrorKind};
use crate::running::Client;
use crate::stream::{self, Patience, Pieces};
use walk::Walk;

/// Most exports at once: each keeps a processor and the disk busy for long.
pub(crate) const EXPORTS_MAX: usize = 2;
/// How long an export waits for its place: one that has sent its last byte gives its own back a moment later, and who exports one
/// thing after the other must not meet that.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);
/// The type of lines of JSON.
const LINES_TYPE: &str = "application/x-ndjson";
/// How many metrics are gone through, for who shows progress.
const METRICS_HEADER: HeaderName = HeaderName::from_static("x-metrickit-export-metrics");

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    OpenMetrics,
}

/// What a request asks for.
#[derive(Debug)]
struct Question {
    /// With their texts.
    selectors: Vec<(String, Vec<Matcher>)>,
    range: TimeRange,
    format: Format,
    /// Whether a line of JSON behind `# EOF` tells what the text holds and lacks.
    report: bool,
}

impl Question {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let selectors = params.named_selectors()?;
        if selectors.is_empty() {
            return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
        }
        let format = match params.first("format") {
            None | Some("jsonl") => Format::Lines,
            Some("openmetrics") => Format::OpenMetrics,
            Some(other) => {
                return Err(ApiError::parameter("format", format!("{other:?} is neither jsonl nor openmetrics")));
            }
        };
        Ok(Self { selectors, range: params.open_range()?, format, report: params.flag("report")? })
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Lines => LINES_TYPE,
            Format::OpenMetrics => TextFormat::OpenMetrics.content_type(),
        }
    }
}

/// As the list of queries under way shows it.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("export")?;
        self.selectors.iter().try_for_each(|(text, _)| write!(f, " {text}"))
    }
}

/// Streams what a request asks for.
pub(crate) async fn export(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let question = Question::read(&Params::read(request, app.options.form_body_bytes_max).await?)?;
    if let Some(progress) = app.engine.replaying() {
        let message = format!("an export would not be whole: {progress}; try again when /-/ready answers 200");
        return Err(ApiError::new(ErrorKind::Timeout, message));
    }
    let free = Arc::clone(&app.export_places).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(PLACE_PATIENCE, free).await else {
        let message = format!("{EXPORTS_MAX} exports are under way, which is the limit; try again when one is done");
        return Err(ApiError::new(ErrorKind::Timeout, message));
    };
    let ticket = app.running.enter(&question.to_string(), client);
    let patience = Duration::from_millis(app.options.query.timeout_ms);
    let content_type = question.content_type();
    let selectors = question.selectors.iter().map(|(_, matchers)| matchers.clone()).collect();
    let mut walk = Walk::new(app, ticket.query(), selectors, question.range);
    // The threads that read may have no clock of their own to wait by.
    let (mut pieces, receiver) = Pieces::channel(Handle::current(), Patience::Each(patience));
    let metrics = run_on(place, patience, move |begin| {
        let names = match walk.names() {
            Ok(names) => names,
            Err(error) => return begin(Err(error)),
        };
        begin(Ok(names.len()));
        let written = match question.format {
            Format::Lines => lines::write(&mut walk, &names, &mut pieces),
            Format::OpenMetrics => text::write(&mut walk, &names, question.report, &mut pieces),
        };
        let Counts { series, samples, chunks_lost, .. } = walk.counts();
        match written.and_then(|()| pieces.end()) {
            Ok(bytes) => tracing::info!(what = %question, series, samples, chunks_lost, bytes, "export ended"),
            Err(error) => {
                tracing::warn!(what = %question, series, samples, error = error.message, "export broke off");
            }
        }
    })
    .await?;
    let headers = [(CONTENT_TYPE, content_type.to_owned()), (METRICS_HEADER, metrics.to_string())];
    Ok((headers, stream::body(receiver, ticket)).into_response())
}
