//! Who offers profiles now, shared by the rounds of reading and by captures, with one request at a time for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::endpoint::Endpoint;
use crate::go::ways::ProcessKey;

/// What offers profiles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKey {
    /// A process that was found on this host.
    Process(ProcessKey),
    /// The configured URL.
    Target(String),
}

/// One program that offers profiles.
#[derive(Debug)]
pub struct Source {
    /// Where.
    pub endpoint: Endpoint,
    /// Labels `job` and `instance`, and those configured.
    pub labels: Vec<(String, String)>,
    busy: Mutex<()>,
    goroutines: AtomicU64,
}

/// No count of goroutines is known.
const UNKNOWN: u64 = u64::MAX;

impl Source {
    /// A source at `endpoint` with the labels of its target.
    pub fn new(endpoint: Endpoint, labels: Vec<(String, String)>) -> Self {
        Self { endpoint, labels, busy: Mutex::new(()), goroutines: AtomicU64::new(UNKNOWN) }
    }

    /// Waits up to `patience` for its turn to ask; nothing when another request is under way for longer.
    pub fn turn(&self, patience: Duration) -> Option<MutexGuard<'_, ()>> {
        self.busy.try_lock_for(patience)
    }

    /// How many goroutines it had when that was last seen.
    pub fn goroutines(&self) -> Option<u64> {
        Some(self.goroutines.load(Ordering::Relaxed)).filter(|count| *count != UNKNOWN)
    }

    /// Takes note of how many goroutines it has.
    pub fn saw_goroutines(&self, count: u64) {
        self.goroutines.store(count.min(UNKNOWN - 1), Ordering::Relaxed);
    }
}

/// All sources. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<Mutex<HashMap<SourceKey, Arc<Source>>>>);

impl Sources {
    /// No sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source `key`.
    pub fn get(&self, key: &SourceKey) -> Option<Arc<Source>> {
        self.0.lock().get(key).map(Arc::clone)
    }

    /// The sources with their keys, in the order of keys.
    pub fn list(&self) -> Vec<(SourceKey, Arc<Source>)> {
        let mut all: Vec<_> = self.0.lock().iter().map(|(key, source)| (key.clone(), Arc::clone(source))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Puts `found` in place of what was known. A source that is the same as before is kept, with its request under way.
    pub fn replace(&self, found: Vec<(SourceKey, Source)>) {
        let mut all = self.0.lock();
        let mut before = std::mem::take(&mut *all);
        for (key, source) in found {
            let kept = before.remove(&key);
            let same = |kept: &Arc<Source>| kept.endpoint == source.endpoint && kept.labels == source.labels;
            all.insert(key, kept.filter(same).unwrap_or_else(|| Arc::new(source)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_and_sources_that_stay() {
        let sources = Sources::new();
        let key = SourceKey::Target("http://h/debug/pprof/".to_owned());
        let found = || vec![(key.clone(), Source::new(Endpoint::url("http://h/debug/pprof"), Vec::new()))];
        sources.replace(found());
        let source = sources.get(&key).expect("there");
        assert_eq!(source.goroutines(), None);
        source.saw_goroutines(7);
        let turn = source.turn(Duration::ZERO).expect("nobody asks");
        sources.replace(found());
        let same = sources.get(&key).expect("there");
        assert!(same.turn(Duration::ZERO).is_none(), "one at a time");
        drop(turn);
        assert!(same.turn(Duration::ZERO).is_some());
        assert_eq!((same.goroutines(), sources.list().len()), (Some(7), 1));
        sources.replace(vec![(key.clone(), Source::new(Endpoint::url("http://other/debug/pprof"), Vec::new()))]);
        assert_eq!(sources.get(&key).expect("there").goroutines(), None, "another place, another program");
        sources.replace(Vec::new());
        assert!(sources.get(&key).is_none());
    }
}
