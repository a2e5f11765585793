//! A source that counts what is read of it, and does what a test asks when a series is read.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use model::{Labels, Matcher, ReadCost, Samples, SeriesSet, SeriesSource, SourceError, TimeRange};
use query::{Answer, CancelToken, QueryError, QueryOptions, QueryTime, Request, evaluate};

/// How long anything may take that is to end at all.
const PATIENCE: Duration = Duration::from_mins(2);

/// What happens before the series with this place in its selection is read.
type OnRead = Box<dyn Fn(usize) -> Result<(), SourceError> + Send + Sync>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    source: S,
    watch: Arc<Watch>,
}

struct Watch {
    /// Reads by metric.
    reads: Mutex<BTreeMap<String, usize>>,
    /// The threads that read, and how many are to do so before any read ends.
    threads: Mutex<HashSet<ThreadId>>,
    threads_wanted: usize,
    came: Condvar,
    on_read: OnRead,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl<S: SeriesSource> Watched<S> {
    /// Calls `on_read` before every read, and lets no read end before `threads_wanted` threads have begun one.
    pub(crate) fn new(
        source: S,
        threads_wanted: usize,
        on_read: impl Fn(usize) -> Result<(), SourceError> + Send + Sync + 'static,
    ) -> Self {
        let watch = Watch {
            reads: Mutex::default(),
            threads: Mutex::default(),
            threads_wanted,
            came: Condvar::new(),
            on_read: Box::new(on_read),
        };
        Self { source, watch: Arc::new(watch) }
    }

    /// Reads by metric since this was asked last.
    pub(crate) fn take_reads(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.watch.reads.lock().expect("no panic"))
    }

    /// How many threads have read.
    pub(crate) fn threads(&self) -> usize {
        self.watch.threads.lock().expect("no panic").len()
    }
}

impl Watch {
    fn read(&self, at: usize, metric: &str) -> Result<(), SourceError> {
        *self.reads.lock().expect("no panic").entry(metric.to_owned()).or_default() += 1;
        let mut threads = self.threads.lock().expect("no panic");
        threads.insert(thread::current().id());
        self.came.notify_all();
        let (threads, waited) = self
            .came
            .wait_timeout_while(threads, PATIENCE, |threads| threads.len() < self.threads_wanted)
            .expect("no panic");
        assert!(!waited.timed_out(), "only {} threads read", threads.len());
        drop(threads);
        (self.on_read)(at)
    }
}

#[derive(Debug)]
struct WatchedSet {
    set: Box<dyn SeriesSet>,
    watch: Arc<Watch>,
}

impl SeriesSet for WatchedSet {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn labels(&self, at: usize) -> &Labels {
        self.set.labels(at)
    }

    fn read(&self, at: usize, into: &mut Samples) -> Result<ReadCost, SourceError> {
        self.watch.read(at, self.set.labels(at).metric_name())?;
        self.set.read(at, into)
    }
}

impl<S: SeriesSource> SeriesSource for Watched<S> {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let set = self.source.select(matchers, range, series_max)?;
        Ok(Box::new(WatchedSet { set, watch: self.watch.clone() }))
    }
}

/// Evaluates a query, explained.
pub(crate) fn ask(
    source: &dyn SeriesSource,
    query: &str,
    time: QueryTime,
    options: &QueryOptions,
    cancel: &CancelToken,
) -> Result<Answer, QueryError> {
    let request = Request { query, time, options, lookback_ms: None, timeout_ms: None, cancel, explain: true };
    evaluate(source, &request)
}

/// What `work` yields, on a thread of its own; a panic if it does not end.
pub(crate) fn ending<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::Result<T> {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        // Dropped on the way out, whichever that is.
        let _done: std::sync::mpsc::Sender<()> = done;
        work()
    });
    let waited = ended.recv_timeout(PATIENCE);
    assert_eq!(waited, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it does not end");
    thread.join()
}
