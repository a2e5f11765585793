//! Closing without tearing the answer away from a client that still sends.
//!
//! A request may be answered before its body was read: too long, too many at once, the wrong kind. Were the socket
//! closed then, the system would reset the connection as more of the body arrives, and the client would see the
//! reset instead of the answer. So the sending side is closed first, and what still arrives is thrown away, within
//! bounds, until the client has closed its side too. RFC 9112, section 9.6, describes this.

use std::future::Future as _;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes thrown away at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Whether a request of a connection was answered before its body was read. Its bodies say so; its socket asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is still thrown away of one connection.
#[derive(Debug)]
pub(crate) struct Linger {
    bytes_left: u64,
    allowed: Duration,
    /// Made when the lingering begins.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(crate) fn new(bytes_max: u64, allowed: Duration) -> Self {
        Self { bytes_left: bytes_max, allowed, timer: None }
    }

    /// Reads `stream` dry. Ready when the client closed or broke, or a bound is reached.
    pub(crate) fn poll_end(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.allowed)));
        let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
        while self.bytes_left > 0 && timer.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *stream).poll_read(cx, &mut piece) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.bytes_left = self.bytes_left.saturating_sub(piece.filled().len() as u64);
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LONG: Duration = Duration::from_mins(1);

    /// How much of 100 bytes is left in the pipe.
    async fn left_of_100(mut linger: Linger, client_closes: bool) -> usize {
        let (mut ours, mut theirs) = tokio::io::duplex(100);
        theirs.write_all(&[7; 100]).await.unwrap();
        let theirs = (!client_closes).then_some(theirs);
        poll_fn(|cx| linger.poll_end(&mut ours, cx)).await;
        drop(theirs);
        let mut left = Vec::new();
        ours.read_to_end(&mut left).await.unwrap()
    }

    #[tokio::test]
    async fn ends_with_the_client_or_the_time_or_the_bytes() {
        assert_eq!(left_of_100(Linger::new(1_000, LONG), true).await, 0);
        assert_eq!(left_of_100(Linger::new(1_000, Duration::from_millis(1)), false).await, 0);
        assert_eq!(left_of_100(Linger::new(100, LONG), false).await, 0);
        assert_eq!(left_of_100(Linger::new(0, LONG), false).await, 100);
    }
}
