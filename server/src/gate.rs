//! The door of the query room: how many queries run at once, how many wait, and for how long.
//!
//! Reading is synchronous and busy, so it happens on threads of its own; the door bounds them, and the system gives
//! them what ingestion leaves, so that queries can never take the threads and processors that ingestion needs. A place
//! is given back when the work has really ended, not when its client left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::memory::MemoryWatch;
use crate::reply::{ApiError, ErrorKind};

/// How long after its own deadline work may still answer before its client is told that it took too long.
const OVERTIME: Duration = Duration::from_secs(2);

/// By how much the threads that read are nicer than others: they get about a tenth of a processor that ingestion wants
/// whole, and all of one that nobody else wants.
const NICE: i32 = 10;

/// The threads that read, for the whole process. They are not the runtime's own blocking threads, which ingestion uses:
/// a thread that is nice once cannot take it back.
fn readers() -> Option<&'static Runtime> {
    static READERS: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.thread_name("read").on_thread_start(|| {
            // Where that is not allowed, the threads run as others do.
            let _ = rustix::process::nice(NICE);
        });
        builder.build().inspect_err(|error| tracing::error!(%error, "no threads of their own for reading")).ok()
    };
    READERS.get_or_init(start).as_ref()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    memory: Arc<MemoryWatch>,
}

impl Gate {
    /// A door that is shut while `memory` is short.
    pub(crate) fn new(running_max: usize, waiting_max: usize, memory: Arc<MemoryWatch>) -> Self {
        let running_max = running_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(running_max));
        Self { places, running_max, waiting: AtomicUsize::new(0), waiting_max, memory }
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.running_max - self.places.available_permits()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a place, first come first served.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when too many wait already, or none got free within `patience`;
    /// [`ErrorKind::Unavailable`] when the process is short of memory.
    pub(crate) async fn enter(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        self.memory.check()?;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.ahead >= self.waiting_max {
            return Err(self.full(&format!("{} more wait, the limit is {}", waiting.ahead, self.waiting_max)));
        }
        match tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => self.memory.check().map(|()| place),
            Ok(Err(_)) => Err(ApiError::new(ErrorKind::Internal, "the query queue is closed")),
            Err(_) => Err(self.full(&format!("none ended within {} ms", patience.as_millis()))),
        }
    }

    fn full(&self, detail: &str) -> ApiError {
        let message = format!("query timed out in query queue: {} queries run and {detail}", self.running_max);
        ApiError::new(ErrorKind::Timeout, message)
    }
}

/// Counts one that waits until it is dropped, be it served, too late or gone.
struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, ahead: waiting.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `work` on a blocking thread while holding `place`. Work that knows its deadline ends itself; this only
/// answers in its stead when it hangs, for example in storage.
pub(crate) async fn run_blocking<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    allowed: Duration,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let work = move || {
        let result = work();
        drop(place);
        result
    };
    let task = match readers() {
        Some(readers) => readers.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    };
    match tokio::time::timeout(allowed + OVERTIME, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(failure)) => {
            tracing::error!(%failure, "reading panicked");
            Err(ApiError::new(ErrorKind::Internal, "reading failed unexpectedly; the log has the details"))
        }
        Err(_) => Err(ApiError::new(ErrorKind::Timeout, format!("no answer within {} ms", allowed.as_millis()))),
    }
}

/// Like [`run_blocking`], for work that goes on after its answer has begun: it calls what it is given once, with the
/// beginning.
pub(crate) async fn run_on<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    allowed: Duration,
    work: impl FnOnce(Box<dyn FnOnce(Result<T, ApiError>)>) + Send + 'static,
) -> Result<T, ApiError> {
    let (sender, beginning) = oneshot::channel();
    let mut running = tokio::spawn(run_blocking(place, allowed, move || {
        work(Box::new(|answer| drop(sender.send(answer))));
        Ok(())
    }));
    tokio::select! {
        biased;
        Ok(answer) = beginning => answer,
        // The work ended, or was given up, before it began to answer.
        ended = &mut running => match ended {
            Ok(Err(error)) => Err(error),
            _ => Err(ApiError::new(ErrorKind::Internal, "reading ended without an answer")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    fn gate(running_max: usize, waiting_max: usize) -> Gate {
        Gate::new(running_max, waiting_max, Arc::new(MemoryWatch::new(model::Budget::default())))
    }

    const SHORT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn places_and_waiting_are_bounded() {
        let gate = Arc::new(gate(1, 1));
        let place = gate.enter(LONG).await.unwrap();
        assert_eq!((gate.running(), gate.waiting()), (1, 0));

        let error = gate.enter(SHORT).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(error.message.contains("none ended within 5 ms"), "{}", error.message);
        assert_eq!(gate.waiting(), 0, "who gave up does not wait");

        let patient = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(LONG).await.map(drop) }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let error = gate.enter(LONG).await.unwrap_err();
        assert!(error.message.contains("1 more wait, the limit is 1"), "{}", error.message);
        drop(place);
        assert_eq!(patient.await.unwrap(), Ok(()));
        assert_eq!((gate.running(), gate.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn an_answer_may_begin_before_the_work_ends() {
        let gate = gate(1, 0);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let place = gate.enter(SHORT).await.unwrap();
        let begun = run_on(place, LONG, move |begin| {
            begin(Ok(7));
            wait.recv().unwrap_err();
        });
        assert_eq!(begun.await, Ok(7));
        assert_eq!(gate.running(), 1, "the work goes on");
        drop(go_on);
        while gate.running() > 0 {
            tokio::task::yield_now().await;
        }
        let place = gate.enter(SHORT).await.unwrap();
        let panicked = run_on::<()>(place, LONG, |_| panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().kind, ErrorKind::Internal);
    }

    #[tokio::test]
    async fn panics_are_errors_and_free_their_place() {
        let gate = gate(1, 0);
        let place = gate.enter(SHORT).await.unwrap();
        let result = run_blocking(place, LONG, || -> Result<(), ApiError> { panic!("on purpose") }).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Internal);
        assert!(gate.enter(SHORT).await.is_ok());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn reading_is_nicer_than_the_rest() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Field 19 of proc(5), the name in parentheses aside.
            let fields = stat.rsplit_once(')').unwrap().1;
            fields.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let place = gate(1, 0).enter(SHORT).await.unwrap();
        let reading = run_blocking(place, LONG, move || Ok(nice())).await.unwrap();
        let usual = tokio::task::spawn_blocking(nice).await.unwrap();
        assert_eq!(reading, (usual + NICE).min(19));
    }
}
