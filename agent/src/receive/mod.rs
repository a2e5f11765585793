//! The socket of the agent: Go programs with the client push remote write to it, and what they push goes into the queue
//! with everything else. What a process pushes is claimed in `go::ways`, so that it is not read in worse ways as well.
//!
//! `socket` is its place, `connection` the HTTP on it, `intake` what becomes of a request; `processes` remembers which
//! processes push which metrics. One thread waits for connections, each connection has one; their number, their bytes and
//! their times are bounded. A request is answered when all of it is in a file of the queue.

mod connection;
mod intake;
pub mod processes;
mod socket;

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use model::Clock;
use parking_lot::Mutex;
use procfs::process::Process;

use self::connection::{Answer, Connection, Ended, Head};
use self::intake::{BODY_BYTES_MAX, Intake, Peer};
pub use self::processes::SdkProcesses;
pub use self::socket::SocketError;
use crate::budget::CpuMeter;
use crate::go::SharedProcesses;
use crate::go::outside::SharedTicks;
use crate::go::ways::Ways;
use crate::peer;
use crate::send::Outbox;
use crate::stats::Stats;
use crate::stop::StopFlag;
use crate::threads;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections above which each is closed behind its answer, so that all programs get their turn.
const CONNECTIONS_KEPT_MAX: usize = CONNECTIONS_MAX / 2;
/// Most bytes of all bodies that are read or worked on.
const BODIES_BYTES_MAX: usize = 16 << 20;
/// The pause that programs are asked for when too many push at once.
const BUSY_RETRY_S: u64 = 1;
/// Stack of a connection's thread; nothing in it recurses.
const STACK_BYTES: usize = 256 << 10;
/// Longest wait for connections at a stop.
const END_MAX: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection, for want of descriptors for instance.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// The one path that is served.
const WRITE_PATH: &str = "/api/v1/write";

/// What is known of processes, shared with who reads them.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last scan.
    pub processes: SharedProcesses,
    /// Ticks a second of the host's processors.
    pub ticks: SharedTicks,
    /// Which push what.
    pub sdk: SdkProcesses,
    /// Which way reads what.
    pub ways: Ways,
}

/// The socket at work.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    bound: Arc<socket::Bound>,
    /// Closed when the thread that waits for connections has ended.
    accepting: Option<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    intake: Intake,
    stats: Arc<Stats>,
    /// Streams of the connections there are, to end them; nothing new once `None`.
    connections: Mutex<Option<HashMap<u64, UnixStream>>>,
    body_bytes: AtomicUsize,
}

impl Receiver {
    /// Listens at `name`, a path or an abstract `@name`, and queues in `outbox` what comes. Where the thread that waits for connections
    /// panics, `stop` is set.
    ///
    /// # Errors
    ///
    /// When somebody else listens there, or the system refuses.
    pub fn start(
        name: &str,
        outbox: Outbox,
        known: Known,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
        stop: &StopFlag,
    ) -> Result<Self, SocketError> {
        let shared = Arc::new(Shared {
            intake: Intake::new(outbox, known, clock, Arc::clone(&stats)),
            stats,
            connections: Mutex::new(Some(HashMap::new())),
            body_bytes: AtomicUsize::new(0),
        });
        Self::accepting(name, shared, stop, accept)
    }

    /// Listens at `name`, where `accept` takes the connections in a thread of its own.
    fn accepting(
        name: &str,
        shared: Arc<Shared>,
        stop: &StopFlag,
        accept: fn(&Arc<Shared>, &socket::Bound),
    ) -> Result<Self, SocketError> {
        let bound = Arc::new(socket::bind(name)?);
        let (own, listening) = (Arc::clone(&shared), Arc::clone(&bound));
        let (ends, accepting) = mpsc::channel();
        threads::start("agent-receive", stop, move || {
            let _ends = ends;
            accept(&own, &listening);
        })
        .map_err(|source| SocketError::Io { name: name.to_owned(), source })?;
        tracing::info!(socket = name, "listening for programs that push");
        Ok(Self { shared, bound, accepting: Some(accepting) })
    }

    /// Stops listening and ends all connections. What was answered is queued.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        if let Some(connections) = self.shared.connections.lock().take() {
            for stream in connections.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the thread that waits for connections.
        let _ = rustix::net::shutdown(&self.bound.listener, rustix::net::Shutdown::Both);
        let _ = accepting.recv();
        let until = Instant::now() + END_MAX;
        // Each thread holds a share; one is this.
        while Arc::strong_count(&self.shared) > 1 {
            if Instant::now() >= until {
                tracing::warn!("a connection of a program that pushes did not end in time");
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes connections until the listener is shut down.
fn accept(shared: &Arc<Shared>, bound: &socket::Bound) {
    for number in 0u64.. {
        let accepted = bound.listener.accept();
        if shared.connections.lock().is_none() {
            return;
        }
        match accepted {
            Ok((stream, _)) => begin(shared, number, stream),
            Err(error) => {
                tracing::debug!(%error, "no connection");
                thread::sleep(REFUSED_PAUSE);
            }
        }
    }
}

/// Starts the thread of one connection, or closes it when there are too many.
fn begin(shared: &Arc<Shared>, number: u64, stream: UnixStream) {
    let Ok(copy) = stream.try_clone() else { return };
    {
        let mut connections = shared.connections.lock();
        let Some(connections) = connections.as_mut() else { return };
        if connections.len() >= CONNECTIONS_MAX {
            // The listener's queue is bounded too: who waits there is told nothing until its own timeout.
            shared.stats.receive_requests.add(1);
            shared.stats.receive_refused.add(1);
            let busy = Answer::later(BUSY_RETRY_S, format!("there are {CONNECTIONS_MAX} connections already"));
            let _ = Connection::new(stream).answer(&busy, true);
            return;
        }
        connections.insert(number, copy);
    }
    let visit = Visit { shared: Arc::clone(shared), number };
    let started = thread::Builder::new()
        .name("agent-pushed".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || serve(&visit, stream));
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for a program that pushes");
    }
}

/// A connection that is counted; it is not when this is dropped.
#[derive(Debug)]
struct Visit {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock();
        if let Some(connections) = connections.as_mut() {
            connections.remove(&self.number);
        }
    }
}

/// Bytes of a body, given back when dropped.
#[derive(Debug)]
struct Reserved<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Reserved<'a> {
    fn take(all: &'a AtomicUsize, bytes: usize) -> Option<Self> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= BODIES_BYTES_MAX);
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(|_| Self { all, bytes })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Answers the requests of one connection.
fn serve(visit: &Visit, stream: UnixStream) {
    let shared = &*visit.shared;
    let peer = peer_of(&stream);
    let mut connection = Connection::new(stream);
    loop {
        let (answer, goes_on) = match connection.next_head() {
            Ok(head) => {
                let keeps_alive = head.keeps_alive;
                match request(shared, &mut connection, &head, peer) {
                    Ok(answer) => (answer, keeps_alive && shared.has_room()),
                    Err(Ended::Refused(answer)) => (answer, false),
                    Err(Ended::Closed) => return,
                }
            }
            Err(Ended::Refused(answer)) => (answer, false),
            Err(Ended::Closed) => return,
        };
        shared.stats.receive_requests.add(1);
        shared.stats.receive_refused.add(u64::from(answer.status >= 300));
        if connection.answer(&answer, !goes_on).is_err() {
            return;
        }
        if !goes_on {
            return connection.end();
        }
    }
}

impl Shared {
    /// Whether connections are kept between requests.
    fn has_room(&self) -> bool {
        self.connections.lock().as_ref().is_some_and(|connections| connections.len() <= CONNECTIONS_KEPT_MAX)
    }
}

/// Reads the body behind `head` and takes it. A refusal leaves the body unread.
fn request(shared: &Shared, connection: &mut Connection, head: &Head, peer: Option<Peer>) -> Result<Answer, Ended> {
    let refused = |answer| Err(Ended::Refused(answer));
    if head.target.split('?').next() != Some(WRITE_PATH) {
        return refused(Answer::of(404, format!("only {WRITE_PATH} is here")));
    }
    if head.method != "POST" {
        return refused(Answer::of(405, "send POST"));
    }
    let Some(length) = head.length else { return refused(Answer::of(411, "send a body with Content-Length")) };
    if length > BODY_BYTES_MAX {
        return refused(Answer::of(413, format!("the body has {length} bytes, the limit is {BODY_BYTES_MAX}")));
    }
    let version = match Intake::version(head.content_type.as_deref(), head.encoding.as_deref()) {
        Ok(version) => version,
        Err(answer) => return refused(answer),
    };
    let Some(_reserved) = Reserved::take(&shared.body_bytes, length) else {
        return refused(Answer::later(BUSY_RETRY_S, "too many programs push at once"));
    };
    if head.expects_continue && connection.tell_continue().is_err() {
        return Err(Ended::Closed);
    }
    let body = connection.body(length)?;
    let meter = CpuMeter::start();
    let answer = shared.intake.take(version, &body, peer);
    shared.stats.cpu_us.add(meter.elapsed_us());
    Ok(answer)
}

/// The process at the other end, as the kernel told when it connected; nothing when it has ended, or has no id here
/// because it lives in a namespace of its own.
fn peer_of(stream: &UnixStream) -> Option<Peer> {
    let pid = peer::pid_of(stream).ok()??;
    let start_ticks = Process::new(pid).and_then(|process| process.stat()).ok()?.starttime;
    Some(Peer { pid, start_ticks })
}

#[cfg(test)]
mod tests {
    use model::SystemClock;

    use super::*;
    use crate::config::Config;
    use crate::queue::Queue;
    use crate::send::encode::External;
    use crate::send::metadata::SharedMetadata;

    #[test]
    fn a_panic_of_the_thread_that_waits_for_connections_stops_the_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Config::default().queue;
        options.folder = folder.path().join("queue");
        let queue = Arc::new(Mutex::new(Queue::open(&options).expect("opens")));
        let stats = Arc::new(Stats::default());
        let outbox = Outbox::new(queue, SharedMetadata::default(), External::default(), 1_000, Arc::clone(&stats));
        let shared = Arc::new(Shared {
            intake: Intake::new(outbox, Known::default(), Arc::new(SystemClock), Arc::clone(&stats)),
            stats,
            connections: Mutex::new(Some(HashMap::new())),
            body_bytes: AtomicUsize::new(0),
        });
        let (stop, socket) = (StopFlag::new(), folder.path().join("agent.sock"));
        let name = socket.to_str().expect("a UTF-8 path");
        let receiver = Receiver::accepting(name, shared, &stop, |_, _| panic!("a fault of a test")).expect("listens");
        assert!(stop.wait(Duration::from_mins(1)));
        assert_eq!(stop.failed(), Some("agent-receive"));
        receiver.end();
    }
}
