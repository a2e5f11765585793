//! Protection from clients that send or take so slowly that they only hold things: answers, buffers, places.
//!
//! Owns two wrappers: a socket whose writes must make progress, and a request body that must arrive in time. The
//! time for a request's head is hyper's own; closing while a client still sends is `linger`'s.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::linger::{Linger, Unread};

/// A timer that runs only while something is waited for.
#[derive(Debug)]
struct Patience {
    allowed: Duration,
    /// Made at the first wait: most sockets and bodies never need one.
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Patience {
    fn new(allowed: Duration) -> Self {
        Self { allowed, timer: None, running: false }
    }

    /// Ready with an error when the wait, which begins with the first call, lasts longer than allowed.
    fn poll_over(&mut self, cx: &mut Context<'_>, what: &str) -> Poll<io::Error> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.allowed)));
        if !self.running {
            self.running = true;
            timer.as_mut().reset(Instant::now() + self.allowed);
        }
        ready!(timer.as_mut().poll(cx));
        let message = format!("{what} for {} ms", self.allowed.as_millis());
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, message))
    }

    /// The wait ended well.
    fn relax(&mut self) {
        self.running = false;
    }
}

/// A socket that fails when its peer takes nothing for too long, and whose end leaves the peer the answer.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    patience: Patience,
    unread: Unread,
    linger: Linger,
    /// Whether our sending side is closed.
    sent_all: bool,
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// `unread` is what the connection's bodies share with it.
    pub(crate) fn new(stream: S, write_stall: Duration, unread: Unread, linger: Linger) -> Self {
        Self { stream, patience: Patience::new(write_stall), unread, linger, sent_all: false }
    }

    fn poll_progress<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let result = poll(Pin::new(&mut self.stream), cx);
        if result.is_pending() {
            return self.patience.poll_over(cx, "the client took nothing").map(Err);
        }
        self.patience.relax();
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_progress(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_progress(cx, |stream, cx| stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_progress(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sent_all {
            ready!(self.as_mut().poll_progress(cx, AsyncWrite::poll_shutdown))?;
            self.sent_all = true;
        }
        let Self { stream, unread, linger, .. } = &mut *self;
        if unread.is_set() { linger.poll_end(stream, cx).map(Ok) } else { Poll::Ready(Ok(())) }
    }
}

/// A body that fails when it has not arrived whole within its time, counted from the first wait for it.
#[derive(Debug)]
pub(crate) struct TimedBody<B: HttpBody> {
    body: B,
    patience: Patience,
    /// Told when the body is dropped before its end.
    unread: Unread,
    ended: bool,
}

impl<B: HttpBody> TimedBody<B> {
    pub(crate) fn new(body: B, allowed: Duration, unread: Unread) -> Self {
        Self { body, patience: Patience::new(allowed), unread, ended: false }
    }
}

impl<B: HttpBody> Drop for TimedBody<B> {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.unread.set();
        }
    }
}

impl<B> HttpBody for TimedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.ended |= frame.is_none();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            // The timer is never relaxed: it bounds the whole body, so that a trickle does not prolong it.
            Poll::Pending => self.patience.poll_over(cx, "the body did not arrive").map(|over| Some(Err(over.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const STALL: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut socket = Socket::new(ours, STALL, Unread::default(), Linger::new(0, STALL));
        socket.write_all(b"12345678").await.unwrap();
        let error = socket.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "the client took nothing for 20 ms");
        let mut taken = [0; 8];
        theirs.read_exact(&mut taken).await.unwrap();
        socket.write_all(b"9").await.unwrap();
    }

    /// A body that sends one byte a poll-pair and never ends.
    struct Trickle(bool);

    impl HttpBody for Trickle {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0 = !self.0;
            if self.0 {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_trickling_body_is_given_up() {
        let unread = Unread::default();
        let error = TimedBody::new(Trickle(false), STALL, unread.clone()).collect().await.unwrap_err();
        assert_eq!(error.to_string(), "the body did not arrive for 20 ms");
        assert!(unread.is_set());
        let unread = Unread::default();
        let whole = TimedBody::new(axum::body::Body::from("abc"), STALL, unread.clone()).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "abc");
        assert!(!unread.is_set());
    }
}
