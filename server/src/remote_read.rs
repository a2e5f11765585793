//! `/api/v1/read`: Prometheus remote read. Others read samples as they are stored, stale markers included.
//!
//! Here a body becomes checked questions, gets a place and a kind of answer. `SAMPLES` is one compressed message and is
//! held whole, within the bytes a query may hold. `STREAMED_XOR_CHUNKS` is written series by series while the client
//! reads, so that its memory is that of one series; floats are coded as XOR chunks, native histograms as float
//! histogram chunks.

mod answer;
mod request;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use model::SeriesSet;
use model::remote_write::read::ResponseType;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::app::App;
use crate::gate::{run_blocking, run_on};
use crate::reading::{Entered, Reading, enter};
use crate::reply::ApiError;
use crate::running::{Client, Ticket};
use answer::{Frames, Pieces, ReadBytes};
use request::Questions;

/// The type of a `SAMPLES` answer.
const SAMPLES_TYPE: &str = "application/x-protobuf";
/// The type of a `STREAMED_XOR_CHUNKS` answer.
pub(crate) const STREAM_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
/// Pieces of a streamed answer that wait for the client, each of some 64 KiB.
const PIECES_WAITING_MAX: usize = 2;

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
                let result = stream(&mut reading, &questions, runtime, begin);
                reading.end(&result);
            })
            .await?;
            let body = Body::new(StreamedBody { pieces, _ticket: ticket });
            Ok(([(CONTENT_TYPE, STREAM_TYPE)], body).into_response())
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
        answer.end_query()?;
    }
    answer.finish()
}

/// Sends the frames of the kind `STREAMED_XOR_CHUNKS`. What goes wrong before the first is an error for the client;
/// what does later breaks the stream off.
fn stream(
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
    let (sender, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    begin(Ok(receiver));
    let mut pieces = Pieces::new(sender, runtime, reading.deadline());
    for (query_index, set) in sets.iter().enumerate() {
        let mut frames = Frames::new(query_index);
        reading.each_series(set.as_ref(), |labels, samples| frames.push_series(labels, samples, &mut pieces))?;
    }
    pieces.end()
}

/// A part of a streamed answer.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// There is no more. An answer that ends without this broke off.
    End,
}

/// A streamed answer. When the client leaves, the ticket is dropped with it, which ends the reading.
struct StreamedBody {
    pieces: mpsc::Receiver<Piece>,
    _ticket: Ticket,
}

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(std::io::Error::other("reading broke off"))),
        })
    }
}
