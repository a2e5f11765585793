//! `/api/v1/query` and `/api/v1/query_range`: from parameters to an answer; and the list of queries under way.
//!
//! Evaluation is `query`'s. Here a request becomes a question with limits, gets a place, runs on a blocking thread
//! and ends early when its client leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use query::{Answer, QueryError, QueryTime};

use crate::answer::{AnswerWriter, truncate};
use crate::app::App;
use crate::explain_json::ExplainJson;
use crate::gate::run_blocking;
use crate::params::{Params, ordered};
use crate::reply::{Annotations, ApiError, ErrorKind, success, success_json};
use crate::running::{Client, Watched};
use crate::slow::CountIfDropped;

/// A checked question.
#[derive(Debug)]
struct Question {
    text: String,
    time: QueryTime,
    lookback_ms: Option<i64>,
    /// For waiting and evaluating together.
    timeout: Duration,
    /// Most elements of the answer.
    limit: usize,
    /// Whether to tell what it took.
    stats: bool,
    /// Whether to tell what each part of it took.
    explain: bool,
}

pub(crate) async fn instant(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let time_ms = params.time_ms("time")?.unwrap_or_else(|| app.clock.now().0);
    let question = Question::read(&app, &params, QueryTime::Instant { time_ms })?;
    answer(app, question, client).await
}

pub(crate) async fn range(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let start_ms = params.required_time_ms("start")?;
    let end_ms = params.required_time_ms("end")?;
    ordered(start_ms, end_ms)?;
    params.required("step")?;
    let step_ms = params.duration_ms("step")?.unwrap_or_default();
    check_step(start_ms, end_ms, step_ms, app.options.query.points_max)?;
    let question = Question::read(&app, &params, QueryTime::Range { start_ms, end_ms, step_ms })?;
    answer(app, question, client).await
}

/// The queries under way.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    success_json(&app.running.list())
}

/// The queries that took long, newest first.
pub(crate) async fn slow(State(app): State<Arc<App>>) -> Response {
    success_json(&app.slow_log.list())
}

/// Ends one of them.
pub(crate) async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let number = id.parse().map_err(|_| ApiError::parameter("id", format!("{id:?} is not a number")))?;
    if app.running.cancel(number) {
        Ok(success_json(&serde_json::json!({ "canceled": number })))
    } else {
        Err(ApiError::new(ErrorKind::NotFound, format!("no query {number} is under way")))
    }
}

/// Checks that a range query's step goes forward, and that its steps are not too many.
fn check_step(start_ms: i64, end_ms: i64, step_ms: i64, points_max: usize) -> Result<(), ApiError> {
    let Some(step_ms) = u64::try_from(step_ms).ok().filter(|&step_ms| step_ms > 0) else {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", reason));
    };
    let steps_max = points_max.saturating_sub(1) as u64;
    if end_ms.abs_diff(start_ms) / step_ms > steps_max {
        let message = format!(
            "exceeded maximum resolution of {} points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
            with_commas(steps_max)
        );
        return Err(ApiError::new(ErrorKind::BadData, message));
    }
    Ok(())
}

fn with_commas(number: u64) -> String {
    if number < 1_000 {
        return number.to_string();
    }
    format!("{},{:03}", with_commas(number / 1_000), number % 1_000)
}

impl Question {
    fn read(app: &App, params: &Params, time: QueryTime) -> Result<Self, ApiError> {
        let longest_ms = app.options.query.timeout_ms;
        let timeout_ms = match params.positive_duration_ms("timeout")? {
            Some(ms) => u64::try_from(ms).unwrap_or(longest_ms).min(longest_ms),
            None => longest_ms,
        };
        Ok(Self {
            text: params.required("query")?.to_owned(),
            time,
            lookback_ms: params.positive_duration_ms("lookback_delta")?,
            timeout: Duration::from_millis(timeout_ms),
            limit: params.limit("limit")?,
            stats: params.first("stats").is_some(),
            explain: params.first("explain").is_some_and(|value| !matches!(value, "0" | "false")),
        })
    }
}

/// Waits for a place, evaluates, and answers. The ticket is dropped with this future, which ends the query.
async fn answer(app: Arc<App>, question: Question, client: Option<Client>) -> Result<Response, ApiError> {
    let ticket = app.running.enter(&question.text, client);
    let query = ticket.query();
    let mut unanswered = CountIfDropped::new(&app, &query);
    let entered = app.gate.enter(question.timeout).await;
    unanswered.disarm();
    let place = match entered {
        Ok(place) => place,
        Err(error) => {
            app.query_ended(&query, Some(&error));
            return Err(error);
        }
    };
    let queued = query.age();
    let left = question.timeout.saturating_sub(queued);
    let work = {
        let (app, query) = (Arc::clone(&app), Arc::clone(&query));
        move || {
            let notes = app.replay_note();
            let result = evaluate(&app, &question, left, &query);
            app.query_ended(&query, result.as_ref().err());
            result.map(|answer| render(answer, &question, queued, notes))
        }
    };
    let result = run_blocking(place, left, work).await;
    drop(ticket);
    result
}

fn evaluate(app: &App, question: &Question, left: Duration, query: &Watched) -> Result<Answer, ApiError> {
    let cancel = query.cancel_token();
    if cancel.is_canceled() {
        return Err(query_error(&QueryError::Canceled));
    }
    let request = query::Request {
        query: &question.text,
        time: question.time,
        options: &app.options.query,
        lookback_ms: question.lookback_ms,
        timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        cancel,
        explain: question.explain,
    };
    let answer = query::evaluate(app.source.as_ref(), &request).map_err(|error| query_error(&error))?;
    let counters = &app.counters;
    counters.query_samples.fetch_add(answer.cost.read.samples, Ordering::Relaxed);
    counters.query_series.fetch_add(answer.cost.series, Ordering::Relaxed);
    counters.query_chunk_bytes.fetch_add(answer.cost.read.bytes, Ordering::Relaxed);
    Ok(answer)
}

fn render(mut answer: Answer, question: &Question, queued: Duration, mut annotations: Annotations) -> Response {
    annotations.warnings.append(&mut answer.warnings);
    annotations.infos.append(&mut answer.infos);
    let annotations = annotations.truncated(truncate(&mut answer.value, question.limit));
    let mut beside = Vec::new();
    if question.stats {
        beside.push(("stats", stats(&answer.cost, queued)));
    }
    if let Some(explain) = &answer.explain {
        match serde_json::to_vec(&ExplainJson::from(explain)) {
            Ok(explain) => beside.push(("explain", explain)),
            Err(error) => return ApiError::new(ErrorKind::Internal, error.to_string()).into_response(),
        }
    }
    success(AnswerWriter::new(answer.value, answer.memory, beside), &annotations)
}

fn stats(cost: &query::Cost, queued: Duration) -> Vec<u8> {
    let evaluation = Duration::from_micros(cost.elapsed_us);
    let document = serde_json::json!({
        "timings": {
            "evalTotalTime": evaluation.as_secs_f64(),
            "execQueueTime": queued.as_secs_f64(),
            "execTotalTime": (evaluation + queued).as_secs_f64(),
        },
        "samples": { "totalQueryableSamples": cost.read.samples },
        "storage": { "series": cost.series, "chunks": cost.read.chunks, "chunkBytes": cost.read.bytes },
        "memory": { "peakBytes": cost.bytes_peak },
    });
    document.to_string().into_bytes()
}

/// Says a query's failure in the API's terms.
pub(crate) fn query_error(error: &QueryError) -> ApiError {
    let kind = match error {
        QueryError::Parse(_) => return ApiError::parameter("query", error),
        QueryError::Request { .. } => ErrorKind::BadData,
        QueryError::Timeout { .. } => ErrorKind::Timeout,
        QueryError::Canceled => ErrorKind::Canceled,
        QueryError::Execution { .. } | QueryError::Limit { .. } => ErrorKind::Execution,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(start_ms: i64, end_ms: i64, step_ms: i64, want: Result<(), &str>) {
        let result = check_step(start_ms, end_ms, step_ms, 11_001).map_err(|error| error.message);
        match (&result, want) {
            (Ok(()), Ok(())) => {}
            (Err(message), Err(want)) => assert!(message.contains(want), "{message}"),
            _ => panic!("{result:?}, not {want:?}"),
        }
    }

    #[test]
    fn steps() {
        check(0, 0, 1, Ok(()));
        check(0, 11_000, 1, Ok(()));
        check(-5_500, 5_500, 1, Ok(()));
        check(0, 11_001, 1, Err("exceeded maximum resolution of 11,000 points per timeseries."));
        check(0, 10, 0, Err("zero or negative"));
        check(0, 10, -5, Err("zero or negative"));
        check(i64::MIN, i64::MAX, i64::MAX, Ok(()));
        check(i64::MIN, i64::MAX, 1, Err("exceeded"));
    }

    #[test]
    fn commas() {
        for (number, want) in [(0, "0"), (999, "999"), (11_000, "11,000"), (1_000_005, "1,000,005")] {
            assert_eq!(with_commas(number), want);
        }
    }
}
