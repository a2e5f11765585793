//! The way out: readings, and what programs push, become pieces of requests (`encode`), wait in the queue, and are sent in
//! order with retries and back-off (`sender`, `backoff`), in the version of remote write that the receiver knows
//! (`protocol`, `request`, `classic`). What kinds metrics have goes with their series or beside them (`metadata`).

pub mod backoff;
pub mod classic;
pub mod credentials;
pub mod encode;
pub mod metadata;
pub mod protocol;
pub mod request;
pub mod sender;

use std::sync::Arc;

use model::WriteBatch;
use parking_lot::Mutex;

use self::encode::{External, encode};
use self::metadata::SharedMetadata;
use crate::config::Config;
use crate::filter::MetricFilter;
use crate::go::leaks::Loads;
use crate::go::signals::Signals;
use crate::queue::{QueueError, SharedQueue, Unsynced};
use crate::readings::{Readings, rows};
use crate::stats::Stats;

/// Which series go out, and with which labels.
#[derive(Debug, Default)]
struct Shape {
    external: External,
    filter: MetricFilter,
}

/// Takes readings from collectors and scrapes and queues them. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: SharedQueue,
    metadata: SharedMetadata,
    shape: Arc<Mutex<Arc<Shape>>>,
    samples_max: usize,
    stats: Arc<Stats>,
    signals: Option<Signals>,
    loads: Option<Loads>,
}

impl Outbox {
    /// An outbox in front of `queue`; each record has at most `samples_max` samples.
    pub fn new(
        queue: SharedQueue,
        metadata: SharedMetadata,
        external: External,
        samples_max: usize,
        stats: Arc<Stats>,
    ) -> Self {
        let shape = Arc::new(Mutex::new(Arc::new(Shape { external, filter: MetricFilter::default() })));
        Self { queue, metadata, shape, samples_max, stats, signals: None, loads: None }
    }

    /// The same, which lets `signals` see whatever goes out.
    #[must_use]
    pub fn telling(self, signals: Option<Signals>) -> Self {
        Self { signals, ..self }
    }

    /// The same, which shares the queue but not what goes out, so that [`reshape`](Self::reshape) changes one of the two.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { shape: Arc::new(Mutex::new(self.shape())), ..self.clone() }
    }

    /// From now on adds the labels of `config`, and leaves out what it says.
    pub fn reshape(&self, config: &Config) {
        let external = External::new(config.external_labels());
        *self.shape.lock() = Arc::new(Shape { external, filter: config.metrics.clone() });
    }

    fn shape(&self) -> Arc<Shape> {
        Arc::clone(&self.shape.lock())
    }

    /// The same, which lets `loads` see whatever goes out.
    #[must_use]
    pub fn counting(self, loads: Loads) -> Self {
        Self { loads: Some(loads), ..self }
    }

    /// Queues `readings`. When the disk refuses, they stay in memory, which is counted and logged.
    pub fn submit(&self, readings: &Readings) {
        self.stats.samples_collected.add(readings.len() as u64);
        self.stats.samples_refused.add(readings.refused());
        self.metadata.lock().take(readings.metadata(), readings.timestamp_ms());
        if let Some(signals) = &self.signals {
            signals.observe(readings.iter());
        }
        if let Some(loads) = &self.loads {
            loads.observe(readings.iter());
        }
        let shape = self.shape();
        let mut sieve = shape.filter.sieve();
        let rows = readings.iter().filter(|(labels, values)| sieve.passes(*labels, values.is_stale_marker()));
        let pieces = encode(rows, &shape.external, self.samples_max);
        self.stats.series_beyond.add(sieve.beyond());
        for piece in pieces {
            let pushed = self.queue.lock().push(piece.payload, piece.samples, readings.timestamp_ms());
            match pushed {
                Ok(()) => self.stats.queue_wrote(),
                // One line when trouble begins; the count goes on.
                Err(error) if self.stats.queue_failed() => {
                    tracing::error!(%error, "queue on disk refused; samples are kept in memory meanwhile");
                }
                Err(_) => {}
            }
        }
        // Others go on with the queue meanwhile.
        let unsynced = self.queue.lock().take_unsynced();
        if let Some(unsynced) = unsynced {
            unsynced.sync_or_warn();
        }
    }

    /// Queues what a program pushed, and `more` labels where they are absent: when this returns, all of it is in a file.
    /// Returns what is to be forced to the device before the program is told, for the caller to do where nobody waits for it.
    ///
    /// # Errors
    ///
    /// When the queue is full or the disk refuses; the same may be handed over again.
    pub fn accept(
        &self,
        pushed: &WriteBatch,
        more: &[(String, String)],
        now_ms: i64,
    ) -> Result<Option<Unsynced>, QueueError> {
        let shape = self.shape();
        let external = shape.external.and(more);
        let mut sieve = shape.filter.sieve();
        let kept = rows(pushed).filter(|(labels, values)| sieve.passes(*labels, values.is_stale_marker()));
        let pieces = encode(kept, &external, self.samples_max);
        self.stats.series_beyond.add(sieve.beyond());
        for piece in pieces {
            self.queue.lock().offer(piece.payload, piece.samples, now_ms)?;
            self.stats.queue_wrote();
        }
        if let Some(signals) = &self.signals {
            signals.observe(rows(pushed));
        }
        if let Some(loads) = &self.loads {
            loads.observe(rows(pushed));
        }
        self.metadata.lock().take(pushed.metadata().iter().map(|(name, metadata)| (name, metadata)), now_ms);
        Ok(self.queue.lock().take_unsynced())
    }
}
