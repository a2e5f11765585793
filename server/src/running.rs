//! The queries under way: listed for people, ended by people, and ended when their client goes away.
//!
//! A [`Ticket`] lives in the future that answers the client. When the client leaves, the future is dropped, the
//! ticket with it, and the query is told to stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use query::CancelToken;
use serde::Serialize;

/// Longest query text shown in the list, in bytes.
const TEXT_SHOWN_BYTES: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Running {
    next_id: AtomicU64,
    queries: Mutex<BTreeMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    started: Instant,
    cancel: Arc<CancelToken>,
}

/// One line of the list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    id: u64,
    query: String,
    /// Since it came, in seconds; waiting for a place included.
    seconds: f64,
    canceled: bool,
}

impl Running {
    /// Adds a query to the list for as long as the ticket lives.
    pub(crate) fn enter(self: &Arc<Self>, text: &str) -> Ticket {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let cancel = Arc::new(CancelToken::new());
        let entry = Entry { text: shortened(text), started: Instant::now(), cancel: Arc::clone(&cancel) };
        self.lock().insert(id, entry);
        Ticket { running: Arc::clone(self), id, cancel }
    }

    /// The queries under way, oldest first.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let list = |(&id, entry): (&u64, &Entry)| Listed {
            id,
            query: entry.text.clone(),
            seconds: entry.started.elapsed().as_secs_f64(),
            canceled: entry.cancel.is_canceled(),
        };
        self.lock().iter().map(list).collect()
    }

    /// Tells query `id` to stop. Returns whether it was under way.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        self.lock().get(&id).map(|entry| entry.cancel.cancel()).is_some()
    }

    /// A list whose holder panicked is still a list.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query's place in the list; dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Ticket {
    running: Arc<Running>,
    id: u64,
    cancel: Arc<CancelToken>,
}

impl Ticket {
    /// What tells the evaluation to stop.
    pub(crate) fn cancel_token(&self) -> Arc<CancelToken> {
        Arc::clone(&self.cancel)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel.cancel();
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
        let first = running.enter("up");
        let second = running.enter(&"é".repeat(TEXT_SHOWN_BYTES));
        let listed = running.list();
        assert_eq!(listed.iter().map(|line| (line.id, line.canceled)).collect::<Vec<_>>(), [(1, false), (2, false)]);
        assert_eq!(listed[0].query, "up");
        assert_eq!(listed[1].query.chars().count(), TEXT_SHOWN_BYTES / 2 + 1);

        assert!(running.cancel(1));
        assert!(!running.cancel(3));
        assert!(first.cancel_token().is_canceled());

        let token = second.cancel_token();
        assert!(!token.is_canceled());
        drop(second);
        assert!(token.is_canceled(), "a client that leaves ends its query");
        assert_eq!(running.list().len(), 1);
    }
}
