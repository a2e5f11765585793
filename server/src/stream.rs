//! Answers that a thread which may block writes piece by piece while the client reads them, so that they never stand in
//! memory whole.
//!
//! An answer that cannot go on breaks off without its end, which a client notices by the transfer coding.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::Frame;
use query::QueryError;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::query_api::query_error;
use crate::reply::{ApiError, ErrorKind};
use crate::running::Ticket;

/// Bytes that are sent together, about.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES_WAITING_MAX: usize = 2;

/// A part of an answer.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// There is no more. An answer that ends without this broke off.
    End,
}

/// How long a client may take to take its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// All of it by then.
    Until(Instant),
    /// As long for each piece.
    Each(Duration),
}

/// The writing end of an answer.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// What is sent next.
    pub(crate) ready: Vec<u8>,
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    patience: Patience,
    sent_bytes: u64,
}

impl Pieces {
    /// Both ends. Waits by the clock of `runtime`, on a thread that may block and has none of its own.
    pub(crate) fn channel(runtime: Handle, patience: Patience) -> (Self, mpsc::Receiver<Piece>) {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        (Self { ready: Vec::new(), sender, runtime, patience, sent_bytes: 0 }, receiver)
    }

    /// Sends what is ready if it is enough for a piece.
    pub(crate) fn go_on(&mut self) -> Result<(), ApiError> {
        if self.ready.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends the rest, and that it is the rest. Says how many bytes there were.
    pub(crate) fn end(mut self) -> Result<u64, ApiError> {
        self.flush()?;
        self.send(Piece::End)?;
        Ok(self.sent_bytes)
    }

    fn flush(&mut self) -> Result<(), ApiError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        self.sent_bytes += self.ready.len() as u64;
        let piece = Bytes::from(std::mem::take(&mut self.ready));
        self.send(Piece::Bytes(piece))
    }

    fn send(&self, piece: Piece) -> Result<(), ApiError> {
        let until = match self.patience {
            Patience::Until(until) => until,
            Patience::Each(time) => Instant::now() + time,
        };
        let sending = async { tokio::time::timeout_at(until.into(), self.sender.send(piece)).await };
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(query_error(&QueryError::Canceled)),
            Err(_) => Err(ApiError::new(ErrorKind::Timeout, "the client did not take its answer in time")),
        }
    }
}

/// The body of such an answer. When the client leaves, the ticket is dropped with it, which ends the reading.
pub(crate) fn body(pieces: mpsc::Receiver<Piece>, ticket: Ticket) -> Body {
    Body::new(StreamedBody { pieces, _ticket: ticket })
}

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
