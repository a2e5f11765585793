//! Names for completion, fetched from the server in the background and kept for a while.
//!
//! Typing never waits: a list that is not here yet is asked for and comes later; one that is old is used until its
//! successor is here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::client::Client;

/// How long fetched names are used without asking again.
const FRESH_FOR: Duration = Duration::from_secs(15);
/// How long after a failure the server is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Most names fetched at a time.
const FETCHED_MAX: usize = 20_000;
/// Most lists of names kept; all are dropped when there are more.
const LISTS_MAX: usize = 64;
/// Most lists asked for and not yet here. More are asked for at the next key.
const ASKED_MAX: usize = 4;

/// A list of names to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum List {
    /// Metric names with type, unit and help.
    Metrics,
    /// Label names, of one metric if given.
    Labels(Option<String>),
    /// Values of a label, of one metric if given.
    Values(Option<String>, String),
    /// Ids of the queries under way, with their text.
    Queries,
}

/// Names and a description each.
pub(crate) type Named = Vec<(String, Option<String>)>;

/// Where names come from.
pub(crate) trait Names: Send {
    /// The names of `list`; `None` if they cannot be had now.
    fn fetch(&mut self, list: &List) -> Option<Named>;
}

impl Names for Client {
    fn fetch(&mut self, list: &List) -> Option<Named> {
        let selector = |metric: &Option<String>| {
            metric.as_ref().map(|metric| format!("{{__name__={}}}", model::labels::Quoted(metric)))
        };
        let names = match list {
            List::Metrics => {
                let names = self.label_values("__name__", None, FETCHED_MAX).ok()?;
                let known = self.get("/api/v1/metadata", &[]).unwrap_or_default();
                return Some(names.into_iter().map(|name| (name.clone(), described(&known, &name))).collect());
            }
            List::Queries => {
                let queries = self.queries().ok()?;
                return Some(queries.into_iter().map(|query| (query.id.to_string(), Some(query.query))).collect());
            }
            List::Labels(metric) => self.label_names(selector(metric).as_deref(), FETCHED_MAX),
            List::Values(metric, label) => self.label_values(label, selector(metric).as_deref(), FETCHED_MAX),
        };
        Some(names.ok()?.into_iter().map(|name| (name, None)).collect())
    }
}

/// Endings of series that belong to one metric, whose metadata stands under its own name.
const PARTS: [&str; 5] = ["_total", "_bucket", "_count", "_sum", "_created"];

/// `counter, bytes: Bytes read from disk.` as far as the metadata tells.
pub(crate) fn described(metadata: &Json, name: &str) -> Option<String> {
    let stems = PARTS.iter().filter_map(|part| name.strip_suffix(part));
    let entry = std::iter::once(name).chain(stems).map(|name| &metadata[name][0]).find(|entry| entry.is_object())?;
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty() && *text != "unknown");
    let kind: Vec<&str> = [text("type"), text("unit")].into_iter().flatten().collect();
    let parts = [Some(kind.join(", ")).filter(|kind| !kind.is_empty()), text("help").map(str::to_owned)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

/// A list as it is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Here, and new enough or the best there is.
    Here(Arc<Named>),
    /// Asked for.
    Coming,
}

struct Kept {
    names: Arc<Named>,
    /// From when on the server is asked again.
    stale_from: Instant,
}

/// The lists fetched so far, and a thread that fetches more.
pub(crate) struct NameCache {
    kept: HashMap<List, Kept>,
    asked: Vec<List>,
    to_worker: SyncSender<List>,
    from_worker: Receiver<(List, Option<Named>)>,
}

impl NameCache {
    /// A cache that asks `names` on a thread of its own, which ends with the cache.
    pub(crate) fn new(mut names: impl Names + 'static) -> Self {
        let (to_worker, lists) = mpsc::sync_channel::<List>(ASKED_MAX);
        let (answers, from_worker) = mpsc::sync_channel(ASKED_MAX);
        std::thread::spawn(move || {
            for list in lists {
                let found = names.fetch(&list);
                if answers.send((list, found)).is_err() {
                    return;
                }
            }
        });
        Self { kept: HashMap::new(), asked: Vec::new(), to_worker, from_worker }
    }

    /// What is known of `list` at once; asks for it if that is nothing or old.
    pub(crate) fn get(&mut self, list: &List) -> Known {
        self.take_arrived();
        let now = Instant::now();
        let kept = self.kept.get(list);
        let is_fresh = kept.is_some_and(|kept| now < kept.stale_from);
        let known = kept.map_or(Known::Coming, |kept| Known::Here(Arc::clone(&kept.names)));
        let is_asked = self.asked.contains(list);
        if !is_fresh && !is_asked && self.asked.len() < ASKED_MAX && self.to_worker.try_send(list.clone()).is_ok() {
            self.asked.push(list.clone());
        }
        known
    }

    /// Takes what the thread has fetched. Returns whether that was anything.
    pub(crate) fn take_arrived(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.from_worker.try_recv() {
                Ok((list, found)) => {
                    self.keep(list, found);
                    any = true;
                }
                Err(TryRecvError::Empty) => return any,
                Err(TryRecvError::Disconnected) => {
                    // The thread is gone; nothing more will come.
                    self.asked.clear();
                    return any;
                }
            }
        }
    }

    /// Whether anything asked for is not here yet.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    fn keep(&mut self, list: List, found: Option<Named>) {
        self.asked.retain(|asked| *asked != list);
        let now = Instant::now();
        let (names, stale_from) = match (found, self.kept.get(&list)) {
            (Some(names), _) => (Arc::new(names), now + FRESH_FOR),
            // Better old names than none.
            (None, Some(kept)) => (Arc::clone(&kept.names), now + RETRY_AFTER),
            (None, None) => (Arc::default(), now + RETRY_AFTER),
        };
        if self.kept.len() >= LISTS_MAX {
            self.kept.clear();
        }
        self.kept.insert(list, Kept { names, stale_from });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Answers with what it is told to, one answer a list.
    struct Told(Receiver<Option<Named>>);

    impl Names for Told {
        fn fetch(&mut self, _: &List) -> Option<Named> {
            self.0.recv().ok().flatten()
        }
    }

    fn wait(cache: &mut NameCache) {
        while !cache.take_arrived() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn lists_come_later_and_are_asked_for_once() {
        let (tell, told) = mpsc::channel();
        let mut cache = NameCache::new(Told(told));
        for _ in 0..3 {
            assert_eq!(cache.get(&List::Metrics), Known::Coming);
        }
        assert!(cache.is_waiting());
        tell.send(Some(vec![("up".to_owned(), None)])).expect("the thread waits");
        wait(&mut cache);
        assert!(!cache.is_waiting());
        assert_eq!(cache.get(&List::Metrics), Known::Here(Arc::new(vec![("up".to_owned(), None)])));
        assert!(!cache.is_waiting(), "fresh names are not asked for again");
    }

    #[test]
    fn a_server_that_fails_gives_no_names_but_an_end() {
        let (tell, told) = mpsc::channel();
        let mut cache = NameCache::new(Told(told));
        cache.get(&List::Queries);
        tell.send(None).expect("the thread waits");
        wait(&mut cache);
        assert_eq!(cache.get(&List::Queries), Known::Here(Arc::default()));
    }

    #[test]
    fn what_is_asked_for_and_kept_is_bounded() {
        let (tell, told) = mpsc::channel();
        let mut cache = NameCache::new(Told(told));
        let list = |at: usize| List::Labels(Some(at.to_string()));
        for at in 0..100 {
            cache.get(&list(at));
        }
        assert_eq!(cache.asked.len(), ASKED_MAX);
        for at in 0..=LISTS_MAX {
            cache.keep(list(at), Some(Vec::new()));
        }
        assert_eq!(cache.kept.len(), 1);
        drop(tell);
    }

    #[test]
    fn metrics_are_described_by_their_metadata() {
        let metadata = json!({
            "x_total": [{"type": "counter", "unit": "", "help": "All of it."}],
            "y_seconds": [{"type": "histogram", "unit": "seconds", "help": ""}],
            "z": [{"type": "unknown", "unit": "", "help": ""}],
        });
        for (name, want) in [
            ("x_total", Some("counter: All of it.")),
            ("y_seconds", Some("histogram, seconds")),
            ("y_seconds_bucket", Some("histogram, seconds")),
            ("z", None),
            ("missing", None),
        ] {
            assert_eq!(described(&metadata, name).as_deref(), want, "{name}");
        }
    }
}
