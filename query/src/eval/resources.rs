//! What all queries of a process share: memory for values, and threads beside those that ask.
//!
//! A query takes what is free and gives it back when it ends; nobody waits here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of values and labels that all queries hold at a time, unless told otherwise.
pub const QUERIES_BYTES_MAX_DEFAULT: usize = 2 << 30;

/// See the module.
#[derive(Debug)]
pub struct Resources {
    bytes_max: usize,
    bytes: AtomicUsize,
    helpers_max: usize,
    helpers_free: AtomicUsize,
}

/// Equal are those with equal limits, whatever is in use.
impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes_max, self.helpers_max) == (other.bytes_max, other.helpers_max)
    }
}

impl Eq for Resources {}

impl Default for Resources {
    /// [`QUERIES_BYTES_MAX_DEFAULT`], and a thread for each core but one: what stays is the callers' and ingestion's.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(QUERIES_BYTES_MAX_DEFAULT, cores - 1)
    }
}

impl Resources {
    /// `bytes_max` of memory for all queries together; `helpers` threads beside those that ask.
    pub const fn new(bytes_max: usize, helpers: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0), helpers_max: helpers, helpers_free: AtomicUsize::new(helpers) }
    }

    /// Bytes held by all queries now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Most bytes held by all queries at a time.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Takes `bytes`, which whoever takes them [gives back](Self::give_bytes).
    ///
    /// # Errors
    ///
    /// The limit that stands against it.
    pub fn take_bytes(&self, bytes: usize) -> Result<(), usize> {
        let take = |held: usize| held.checked_add(bytes).filter(|&total| total <= self.bytes_max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_or(Err(self.bytes_max), |_| Ok(()))
    }

    /// Gives back what was [taken](Self::take_bytes).
    pub fn give_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes up to `wanted` of the threads that are free.
    pub(crate) fn helpers(&self, wanted: usize) -> Helpers<'_> {
        let mut count = 0;
        let take = |free: usize| {
            count = free.min(wanted);
            Some(free - count)
        };
        // Never refused: taking none is an answer too.
        let _ = self.helpers_free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Helpers { resources: self, count }
    }
}

/// Memory of an answer, which is accounted for among that of all queries until this is dropped. Keep it as long as any
/// part of the answer is needed.
#[derive(Debug)]
pub struct AnswerMemory {
    resources: Arc<Resources>,
    bytes: usize,
}

impl AnswerMemory {
    /// Takes over `bytes` that were taken from `resources` before.
    pub(crate) fn new(resources: Arc<Resources>, bytes: usize) -> Self {
        Self { resources, bytes }
    }

    /// Bytes accounted for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for AnswerMemory {
    fn drop(&mut self) {
        self.resources.give_bytes(self.bytes);
    }
}

/// Threads that may be started, until this is dropped.
#[derive(Debug)]
pub(crate) struct Helpers<'r> {
    resources: &'r Resources,
    pub(crate) count: usize,
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.resources.helpers_free.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_harms_nobody() {
        let resources = Resources::new(1000, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000).for_each(|_| assert_eq!(resources.take_bytes(usize::MAX), Err(1000))));
            for _ in 0..20_000 {
                resources.take_bytes(1000).expect("all of it is free");
                resources.give_bytes(1000);
            }
        });
        assert_eq!(resources.bytes(), 0);
    }

    #[test]
    fn helpers_are_bounded_over_all_queries() {
        let resources = Resources::new(0, 3);
        let (first, second, third) = (resources.helpers(2), resources.helpers(2), resources.helpers(2));
        assert_eq!((first.count, second.count, third.count), (2, 1, 0));
        drop(first);
        assert_eq!(resources.helpers(9).count, 2);
    }
}
