//! The listener: accepts connections up to a bound, keeps slow clients from holding them, stops gracefully.
//!
//! Owns connections and their times. What requests mean is the router's.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::linger::{Linger, Unread};
use crate::reply::{ApiError, ErrorKind};
use crate::running::Client;
use crate::slow_client::{Socket, TimedBody};

/// Pause after the system refused a connection, for example for lack of descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on connections.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Most connections at once; more wait in the system's queue.
    pub connections_max: usize,
    /// Longest wait for the head of a request, idle time since the last one included.
    pub head_ms: u64,
    /// Longest wait for the body of a request.
    pub body_ms: u64,
    /// Longest time a client may take nothing of its answer.
    pub write_stall_ms: u64,
    /// Longest time an answered client may go on sending its body before its connection is cut.
    pub linger_ms: u64,
    /// Most bytes it may go on sending; they are thrown away.
    pub linger_bytes_max: u64,
    /// Longest wait, when stopping, for requests under way; then they are cut off.
    pub drain_ms: u64,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            head_ms: 120_000,
            body_ms: 60_000,
            write_stall_ms: 30_000,
            linger_ms: 5_000,
            linger_bytes_max: 64 << 20,
            drain_ms: 10_000,
        }
    }
}

/// Serves `router` on `listener` with default bounds until `shutdown` is ready; see [`serve_with`].
///
/// # Errors
///
/// None today; the result leaves room for a listener that breaks for good.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_with(listener, router, ServeOptions::default(), shutdown).await
}

/// Serves `router` on `listener` until `shutdown` is ready. Then no connection is accepted any more, idle ones are
/// closed, requests under way get [`ServeOptions::drain_ms`] to end, and what is left is cut off.
///
/// # Errors
///
/// None today; the result leaves room for a listener that breaks for good.
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, client, place) = accept(&listener, &places) => {
                connections.spawn(connection(stream, client, place, router.clone(), options.clone(), stopping.clone()));
            }
            Some(ended) = connections.join_next() => log_panic(ended),
        }
    }
    drop(listener);
    tracing::info!(connections = connections.len(), "stopping: no new connections");
    stop.send_replace(true);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(Duration::from_millis(options.drain_ms), drained).await.is_err() {
        tracing::warn!(connections = connections.len(), drain_ms = options.drain_ms, "cutting off what has not ended");
        connections.shutdown().await;
    }
    Ok(())
}

/// Waits for a place, then for a connection. A failed accept concerns one client or passes, so it is tried again.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Client, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, Client(peer), place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it closes, or the request under way ends once `stopping` turns true.
async fn connection(
    stream: TcpStream,
    client: Client,
    place: OwnedSemaphorePermit,
    router: Router,
    options: ServeOptions,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers may be delayed");
    }
    let body_time = Duration::from_millis(options.body_ms);
    let unread = Unread::default();
    let bodies_unread = unread.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let unread = bodies_unread.clone();
        let mut request = request.map(|body| Body::new(TimedBody::new(body, body_time, unread.clone())));
        request.extensions_mut().insert(client);
        answer(router.clone(), request, unread)
    });
    let linger = Linger::new(options.linger_bytes_max, Duration::from_millis(options.linger_ms));
    let socket = Socket::new(stream, Duration::from_millis(options.write_stall_ms), unread, linger);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(options.head_ms))
            .serve_connection(TokioIo::new(socket), service)
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { drop(stopping.wait_for(|&stop| stop).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}

/// Answers one request. A panic on the way ends this request only. An answer that leaves some of the body unread is
/// the connection's last.
async fn answer(router: Router, request: Request<Body>, unread: Unread) -> Result<Response<Body>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut answering = pin!(router.oneshot(request));
    let answered = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answered)) => Poll::Ready(Some(answered)),
        Err(_) => Poll::Ready(None),
    });
    let mut response = if let Some(answered) = answered.await {
        answered?
    } else {
        tracing::error!(%method, path, "a request's handler panicked");
        ApiError::new(ErrorKind::Internal, "the server failed on this request; its log has the details").into_response()
    };
    if unread.is_set() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended {
        tracing::error!(%failure, "a connection's task failed");
    }
}
