//! The server put together: engine, write routes, query API, listener; opened, served and closed on a thread of its own.
//!
//! The port answers from the first moment: while the engine opens, `/-/ready` is 503 and so is everything else but
//! `/-/healthy`. While it then replays its log, queries are answered and writes are told to come back. Stopping drains requests, then writes what is in memory to blocks.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use model::{Clock, SampleSink, SystemClock};
use storage::Engine;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::UsageError;
use crate::settings::typed::ServerSettings;

/// Longest time to write what is in memory to blocks when stopping. The log has it too, so nothing is lost after it.
const CLOSE_TIMEOUT: Duration = Duration::from_mins(1);
/// Seconds after which a client may ask again while the data is being opened.
const RETRY_AFTER_S: &str = "1";

/// A server that runs on its own thread.
#[derive(Debug)]
pub(crate) struct Serving {
    address: SocketAddr,
    stopper: Stopper,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// Asks a server to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stopper {
    stop: watch::Sender<bool>,
    phase: Arc<PhaseCell>,
    app: Arc<OnceLock<Arc<server::App>>>,
}

impl Stopper {
    /// Has what is kept in files read anew, if the server is there yet: the rules, and who is told of alerts.
    pub(crate) fn reload(&self) {
        // What is wrong is in the log.
        let _ = self.app.get().map(|app| app.reload());
    }

    /// Asks; returns at once, and asking again changes nothing.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the server is still opening its data or replaying its log.
    pub(crate) fn is_opening(&self) -> bool {
        self.phase.get() == Phase::Opening
    }
}

/// How far the server is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Opening,
    Ready,
    Ended,
}

#[derive(Debug, Default)]
struct PhaseCell {
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl PhaseCell {
    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }

    fn get(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is no longer opening.
    fn after_opening(&self) -> Phase {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = self.changed.wait_while(phase, |phase| *phase == Phase::Opening);
        *phase.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the end also when the thread panics.
struct EndGuard(Arc<PhaseCell>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.set(Phase::Ended);
    }
}

impl Serving {
    /// Starts serving on `listener`; opening the data goes on behind it.
    pub(crate) fn start(listener: TcpListener, mut settings: ServerSettings) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the listener has no address")?;
        settings.server.notify.load().map_err(|error| UsageError(format!("alerting_config: {error}")))?;
        settings.server.alerting.targets().map_err(|error| UsageError(format!("alertmanagers_file: {error}")))?;
        settings.server.alerting.load().map_err(|error| UsageError(format!("rule_files: {error}")))?;
        if settings.server.alerting.external_url.is_empty() {
            settings.server.alerting.external_url = url_of(address);
        }
        listener.set_nonblocking(true).context("the listener cannot be used")?;
        settings.server.self_metrics.instance = server::SelfMetricsOptions::instance_of(address);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("http")
            .enable_all()
            .build()
            .context("threads cannot be started")?;
        let (stop, stopping) = watch::channel(false);
        let phase = Arc::new(PhaseCell::default());
        let app = Arc::default();
        let (inside, shared) = (Arc::clone(&phase), Arc::clone(&app));
        let thread = std::thread::Builder::new().name("serving".to_owned()).spawn(move || {
            let _end = EndGuard(Arc::clone(&inside));
            let result = runtime.block_on(serve(listener, settings, stopping, (&inside, &shared)));
            // Work that hangs must not keep the process.
            runtime.shutdown_background();
            result
        })?;
        Ok(Self { address, stopper: Stopper { stop, phase, app }, thread })
    }

    /// The address as clients on this machine reach it.
    pub(crate) fn url(&self) -> String {
        url_of(self.address)
    }

    /// Something to stop it with from elsewhere.
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the data is open and the log replayed. Returns whether it is; if not, [`wait`](Self::wait) tells why.
    pub(crate) fn wait_ready(&self) -> bool {
        self.stopper.phase.after_opening() == Phase::Ready
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> anyhow::Result<()> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the server's thread panicked; the log has the details"))?
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stopper.stop();
        self.wait()
    }
}

fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    mut stopping: watch::Receiver<bool>,
    (phase, shared): (&PhaseCell, &OnceLock<Arc<server::App>>),
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let slot = Arc::new(OnceLock::new());
    let agents: Arc<OnceLock<Arc<server::AgentBook>>> = Arc::default();
    let waiting = Arc::clone(&agents);
    let stopped = async move {
        // The sender lives as long as whoever may ask; without it nobody ever will, which is a stop too.
        let _ = stopping.wait_for(|&stop| stop).await;
        if let Some(agents) = waiting.get() {
            agents.close();
        }
    };
    let serving = server::serve_with(listener, doorway(Arc::clone(&slot)), settings.serve.clone(), stopped);
    let mut serving = std::pin::pin!(serving);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opening = {
        let (data, options, clock) = (settings.data.clone(), settings.engine.clone(), Arc::clone(&clock));
        tokio::task::spawn_blocking(move || Engine::open_replaying(&data, options, clock))
    };
    let mut opening = std::pin::pin!(opening);
    let engine = tokio::select! {
        opened = &mut opening => opened??,
        served = &mut serving => {
            served?;
            tracing::info!("stopped while opening the data");
            let engine = tokio::time::timeout(CLOSE_TIMEOUT, opening).await.context("opening the data takes too long")???;
            return close(engine).await;
        }
    };
    let sink = Arc::clone(&engine) as Arc<dyn SampleSink>;
    let writes = ingest::IngestState::new(sink, Arc::clone(&clock), settings.ingest);
    let app = server::App::new(Arc::clone(&engine), writes, clock, settings.server);
    let alerted = Arc::clone(&app);
    app.notifier().start().context("threads cannot be started")?;
    app.alerting().start();
    // Set once, here.
    let _ = shared.set(Arc::clone(&app));
    let _ = agents.set(Arc::clone(app.agents()));
    let _ = slot.set(server::router(Arc::clone(&app)));
    let _profiles = AbortOnDrop(tokio::spawn(server::watch_profiles(Arc::clone(&app))));
    let _self_metrics = AbortOnDrop(tokio::spawn(server::keep_self_metrics(Arc::clone(&app))));
    let alerting = Arc::clone(app.alerting());
    let _alerting = StopOnDrop(Arc::clone(&alerting));
    let _watch = AbortOnDrop(tokio::spawn(server::watch_memory(app, crate::allocator::release)));
    let replaying = Arc::clone(&engine);
    let mut replaying = std::pin::pin!(tokio::task::spawn_blocking(move || replaying.wait_replayed()));
    let served = tokio::select! {
        replayed = &mut replaying => {
            // Without its log the engine takes nothing; whoever watches the process must see that.
            replayed?.context("the log cannot be replayed")?;
            phase.set(Phase::Ready);
            serving.await
        }
        served = &mut serving => {
            tracing::info!("stopped before the log was replayed");
            served
        }
    };
    // Both write into the engine.
    let stopping = move || {
        alerted.stop_alerting();
        alerted.end_self_metrics();
    };
    tokio::task::spawn_blocking(stopping).await.context("alerting did not end well")?;
    close(engine).await?;
    served.context("serving failed")
}

/// Ends a task that would go on for ever.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends the evaluation of rules wherever serving ends.
struct StopOnDrop(Arc<server::Alerting>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Writes what is in memory to blocks and lets go of the folder.
async fn close(engine: Arc<Engine>) -> anyhow::Result<()> {
    let closing = tokio::task::spawn_blocking(move || engine.close());
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    let closed = closed.with_context(|| {
        format!("writing blocks took longer than {CLOSE_TIMEOUT:?}; nothing is lost, the next start reads the log")
    })?;
    closed?.context("the data was not closed cleanly; nothing is lost, the next start reads the log")?;
    tracing::info!("stopped; everything is on disk");
    Ok(())
}

/// Passes requests to the router in `slot`; until there is one, says that the server is starting.
fn doorway(slot: Arc<OnceLock<Router>>) -> Router {
    Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
        let router = slot.get().cloned();
        async move {
            match router {
                Some(router) => router.oneshot(request).await,
                None => Ok::<_, Infallible>(starting(request.uri().path())),
            }
        }
    }))
}

fn starting(path: &str) -> Response<Body> {
    if path == "/-/healthy" {
        return Response::new(Body::from("MetricKit is starting.\n"));
    }
    let (kind, text) = if path.starts_with("/api/") {
        let error =
            r#"{"status":"error","errorType":"unavailable","error":"the server is opening its data; try again soon"}"#;
        ("application/json", error)
    } else {
        ("text/plain; charset=utf-8", "MetricKit is opening its data; try again soon.\n")
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_S));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(data: &std::path::Path) -> Serving {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Serving::start(listener, ServerSettings::for_reading(data)).expect("starts")
    }

    #[test]
    fn starts_answers_and_stops() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let serving = start(folder.path());
        assert!(serving.wait_ready());
        let client = crate::client::Client::new(&serving.url()).expect("an address");
        assert_eq!(client.status("/-/ready").ok(), Some(200));
        assert_eq!(client.status("/nothing").ok(), Some(404));
        serving.stop().expect("stops");
        assert!(client.status("/-/ready").is_err());
    }

    #[test]
    fn a_folder_in_use_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = start(folder.path());
        assert!(first.wait_ready());
        let second = start(folder.path());
        assert!(!second.wait_ready());
        let error = second.wait().expect_err("the folder is in use").to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        first.stop().expect("stops");
    }

    #[tokio::test]
    async fn the_doorway_says_that_the_server_is_starting() {
        let slot = Arc::new(OnceLock::new());
        let door = doorway(Arc::clone(&slot));
        let status = |path: &'static str| {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            let door = door.clone();
            async move { door.oneshot(request).await.expect("infallible").status().as_u16() }
        };
        assert_eq!(status("/-/healthy").await, 200);
        assert_eq!(status("/-/ready").await, 503);
        assert_eq!(status("/api/v1/query").await, 503);
        let ready = Router::new().fallback(|| async { "ready" });
        slot.set(ready).expect("empty");
        assert_eq!(status("/-/ready").await, 200);
    }
}
