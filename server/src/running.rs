//! The queries under way: listed for people with what they cost so far, ended by people, and ended when their client
//! goes away.
//!
//! A [`Ticket`] lives in the future that answers the client. When the client leaves, the future is dropped, the
//! ticket with it, and the query is told to stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use model::ReadCost;
use query::{CancelToken, Cost};
use serde::Serialize;

/// Longest query text that is kept to be shown, in bytes.
const TEXT_SHOWN_BYTES: usize = 1_000;

/// The other end of the connection that a request came by; the listener puts it among a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) SocketAddr);

impl Client {
    /// Who sent a request, if a listener told.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Running {
    next_id: AtomicU64,
    queries: Mutex<BTreeMap<u64, Arc<Watched>>>,
}

/// A query from its arrival to its end, for those who list, end and log it.
#[derive(Debug)]
pub(crate) struct Watched {
    text: String,
    client: Option<Client>,
    asked: Instant,
    cancel: CancelToken,
    reads: Reads,
}

/// What was read outside of evaluation.
#[derive(Debug, Default)]
struct Reads {
    series: AtomicU64,
    chunks: AtomicU64,
    bytes: AtomicU64,
    samples: AtomicU64,
    chunks_lost: AtomicU64,
}

impl Watched {
    /// The query, cut to what is shown.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.client.map(|client| client.0)
    }

    /// How long ago it came; waiting for a place included.
    pub(crate) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// What tells the evaluation to stop.
    pub(crate) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Counts a series that was read outside of evaluation. Returns how many samples that makes.
    pub(crate) fn count_read(&self, cost: ReadCost) -> u64 {
        let reads = &self.reads;
        reads.series.fetch_add(1, Ordering::Relaxed);
        reads.chunks.fetch_add(cost.chunks, Ordering::Relaxed);
        reads.bytes.fetch_add(cost.bytes, Ordering::Relaxed);
        reads.chunks_lost.fetch_add(cost.chunks_lost, Ordering::Relaxed);
        reads.samples.fetch_add(cost.samples, Ordering::Relaxed).saturating_add(cost.samples)
    }

    /// What it used so far; the time is [`age`](Self::age).
    pub(crate) fn cost(&self) -> Cost {
        let mut cost = self.cancel.cost();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let reads = &self.reads;
        cost.series += count(&reads.series);
        cost.read += ReadCost {
            chunks: count(&reads.chunks),
            bytes: count(&reads.bytes),
            samples: count(&reads.samples),
            chunks_lost: count(&reads.chunks_lost),
        };
        cost
    }
}

/// One line of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    id: u64,
    query: String,
    /// Since it came, in seconds; waiting for a place included.
    seconds: f64,
    canceled: bool,
    #[serde(flatten)]
    used: Used,
    client: Option<SocketAddr>,
}

/// What a query used, as lists tell it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Used {
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) chunk_bytes: u64,
    /// Most memory held at a time.
    pub(crate) bytes: u64,
}

impl From<Cost> for Used {
    fn from(cost: Cost) -> Self {
        let Cost { read, series, bytes_peak, .. } = cost;
        Self { series, samples: read.samples, chunk_bytes: read.bytes, bytes: bytes_peak }
    }
}

impl Running {
    /// Adds a query to the list for as long as the ticket lives.
    pub(crate) fn enter(self: &Arc<Self>, text: &str, client: Option<Client>) -> Ticket {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let query = Arc::new(Watched {
            text: shortened(text),
            client,
            asked: Instant::now(),
            cancel: CancelToken::new(),
            reads: Reads::default(),
        });
        self.lock().insert(id, Arc::clone(&query));
        Ticket { running: Arc::clone(self), id, query }
    }

    /// The queries under way, oldest first.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let list = |(&id, query): (&u64, &Arc<Watched>)| Listed {
            id,
            query: query.text.clone(),
            seconds: query.age().as_secs_f64(),
            canceled: query.cancel.is_canceled(),
            used: query.cost().into(),
            client: query.client(),
        };
        self.lock().iter().map(list).collect()
    }

    /// Tells query `id` to stop. Returns whether it was under way.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        self.lock().get(&id).map(|query| query.cancel.cancel()).is_some()
    }

    /// A list whose holder panicked is still a list.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Watched>>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query's place in the list; dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Ticket {
    running: Arc<Running>,
    id: u64,
    query: Arc<Watched>,
}

impl Ticket {
    /// The query, for who works on it.
    pub(crate) fn query(&self) -> Arc<Watched> {
        Arc::clone(&self.query)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.query.cancel.cancel();
        self.running.lock().remove(&self.id);
    }
}

fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_SHOWN_BYTES);
    if end == text.len() { text.to_owned() } else { format!("{}…", &text[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_list_and_end_queries() {
        let running = Arc::new(Running::default());
        let first = running.enter("up", Some(Client(([127, 0, 0, 1], 7).into())));
        let second = running.enter(&"é".repeat(TEXT_SHOWN_BYTES), None);
        let read = ReadCost { chunks: 1, bytes: 20, samples: 300, ..ReadCost::default() };
        assert_eq!((first.query().count_read(read), first.query().count_read(read)), (300, 600));
        let listed = running.list();
        assert_eq!(listed.iter().map(|line| (line.id, line.canceled)).collect::<Vec<_>>(), [(1, false), (2, false)]);
        assert_eq!(listed[1].query.chars().count(), TEXT_SHOWN_BYTES / 2 + 1);
        let mut line = serde_json::to_value(&listed[0]).unwrap();
        assert!(line["seconds"].take().is_f64());
        let want = serde_json::json!({
            "id": 1, "query": "up", "seconds": null, "canceled": false, "series": 2, "samples": 600, "chunkBytes": 40,
            "bytes": 0, "client": "127.0.0.1:7",
        });
        assert_eq!(line, want);

        assert!(running.cancel(1));
        assert!(!running.cancel(3));
        assert!(first.query().cancel_token().is_canceled());

        let query = second.query();
        assert!(!query.cancel_token().is_canceled());
        drop(second);
        assert!(query.cancel_token().is_canceled(), "a client that leaves ends its query");
        assert_eq!(running.list().len(), 1);
    }
}
