//! `/api/v1/read`: Prometheus remote read. Others read samples as they are stored, stale markers included.
//!
//! Here a body becomes checked questions, gets a place and a kind of answer. `SAMPLES` is one compressed message and is
//! held whole, within the bytes a query may hold. `STREAMED_XOR_CHUNKS` is written series by series while the client
//! reads, so that its memory is that of one series; floats are coded as XOR chunks, native histograms as float
//! histogram chunks.

mod answer;
mod request;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use model::SeriesSet;
use model::remote_write::read::ResponseType;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::app::App;
use crate::gate::{run_blocking, run_on};
use crate::reading::{Entered, Reading, enter};
use crate::reply::ApiError;
use crate::running::Client;
use crate::stream::{self, Patience, Piece, Pieces};
use answer::{Frames, ReadBytes};
use request::Questions;

/// The type of a `SAMPLES` answer.
const SAMPLES_TYPE: &str = "application/x-protobuf";
/// The type of a `STREAMED_XOR_CHUNKS` answer.
pub(crate) const STREAM_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Reads what a request asks for.
pub(crate) async fn read(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let client = Client::of(request.extensions());
    let questions = Questions::read(request, app.options.form_body_bytes_max).await?;
    let Entered { place, ticket, left, mut reading } = enter(&app, &questions.to_string(), client).await?;
    match questions.response_type {
        ResponseType::Samples => {
            let body = run_blocking(place, left, move || {
                let result = samples(&mut reading, &questions);
                reading.end(&result);
                result
            })
            .await?;
            drop(ticket);
            Ok(([(CONTENT_TYPE, SAMPLES_TYPE), (CONTENT_ENCODING, "snappy")], body).into_response())
        }
        ResponseType::StreamedXorChunks => {
            // The threads that read may have no clock of their own to wait by.
            let runtime = Handle::current();
            let pieces = run_on(place, left, move |begin| {
                let result = frames(&mut reading, &questions, runtime, begin);
                reading.end(&result);
            })
            .await?;
            Ok(([(CONTENT_TYPE, STREAM_TYPE)], stream::body(pieces, ticket)).into_response())
        }
    }
}

/// The series of every question.
fn select(reading: &mut Reading, questions: &Questions) -> Result<Vec<Box<dyn SeriesSet>>, ApiError> {
    questions.questions.iter().map(|question| reading.select(&question.matchers, question.range)).collect()
}

/// The whole answer of the kind `SAMPLES`.
fn samples(reading: &mut Reading, questions: &Questions) -> Result<Vec<u8>, ApiError> {
    let mut answer = ReadBytes::default();
    for set in select(reading, questions)? {
        reading.each_series(set.as_ref(), |labels, samples| answer.push_series(labels, samples, reading))?;
        answer.end_query();
    }
    answer.finish()
}

/// Sends the frames of the kind `STREAMED_XOR_CHUNKS`. What goes wrong before the first is an error for the client;
/// what does later breaks the stream off.
fn frames(
    reading: &mut Reading,
    questions: &Questions,
    runtime: Handle,
    begin: impl FnOnce(Result<mpsc::Receiver<Piece>, ApiError>),
) -> Result<(), ApiError> {
    let sets = match select(reading, questions) {
        Ok(sets) => sets,
        Err(error) => {
            begin(Err(error.clone()));
            return Err(error);
        }
    };
    let (mut pieces, receiver) = Pieces::channel(runtime, Patience::Until(reading.deadline()));
    begin(Ok(receiver));
    for (query_index, set) in sets.iter().enumerate() {
        let mut frames = Frames::new(query_index);
        reading.each_series(set.as_ref(), |labels, samples| frames.push_series(labels, samples, &mut pieces))?;
    }
    pieces.end().map(drop)
}
