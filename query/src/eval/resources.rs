//! What all queries of a process share: memory for values, and threads beside those that ask.
//!
//! A query takes what is free and gives it back when it ends; nobody waits here. Some queries, those of rules, may have a
//! [reserve](Resources::reserve) within the same memory, which the others leave to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of values and labels that all queries hold at a time, unless told otherwise.
pub const QUERIES_BYTES_MAX_DEFAULT: usize = 2 << 30;

/// See the module.
#[derive(Debug)]
pub struct Resources {
    bytes_max: usize,
    /// Bytes held, but for those within a reserve.
    bytes: AtomicUsize,
    /// Bytes of reserves.
    reserved: AtomicUsize,
    /// Bytes held within reserves.
    reserved_held: AtomicUsize,
    reserve: Option<Reserve>,
    helpers_max: usize,
    helpers_free: AtomicUsize,
}

/// A part of the memory of others that is left to these queries.
#[derive(Debug)]
struct Reserve {
    of: Arc<Resources>,
    bytes: usize,
    /// Bytes held; what is beyond the reserve is held of the others' memory, too.
    held: Mutex<usize>,
}

impl Reserve {
    fn held(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that `now` bytes are held instead of `before`.
    fn note(&self, before: usize, now: usize) {
        let (before, now) = (before.min(self.bytes), now.min(self.bytes));
        if now >= before {
            self.of.reserved_held.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.of.reserved_held.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    fn take(&self, bytes: usize, bytes_max: usize) -> Result<(), usize> {
        let mut held = self.held();
        let now = held.checked_add(bytes).filter(|&now| now <= bytes_max).ok_or(bytes_max)?;
        let beyond = now.saturating_sub(self.bytes) - held.saturating_sub(self.bytes);
        self.of.take_bytes(beyond)?;
        self.note(*held, now);
        *held = now;
        Ok(())
    }

    fn give(&self, bytes: usize) {
        let mut held = self.held();
        let now = held.saturating_sub(bytes);
        self.of.give_bytes(held.saturating_sub(self.bytes) - now.saturating_sub(self.bytes));
        self.note(*held, now);
        *held = now;
    }
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
        let [bytes, reserved, reserved_held] = [const { AtomicUsize::new(0) }; 3];
        let helpers_free = AtomicUsize::new(helpers);
        Self { bytes_max, bytes, reserved, reserved_held, reserve: None, helpers_max: helpers, helpers_free }
    }

    /// Resources within these for queries that the others must not hold up, and which must not hold up them: `bytes` are theirs
    /// alone from now on, and beyond that they take what is free, up to `bytes_max` altogether. They have no threads beside those that ask.
    pub fn reserve(self: &Arc<Self>, bytes: usize, bytes_max: usize) -> Self {
        let bytes = bytes.min(self.bytes_max());
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let reserve = Reserve { of: Arc::clone(self), bytes, held: Mutex::new(0) };
        Self { reserve: Some(reserve), ..Self::new(bytes_max.clamp(bytes, self.bytes_max), 0) }
    }

    /// Bytes held by these queries now; those of a reserve are counted where they are beyond it.
    pub fn bytes(&self) -> usize {
        self.reserve.as_ref().map_or_else(|| self.bytes.load(Ordering::Relaxed), |reserve| *reserve.held())
    }

    /// Bytes held now, all those of reserves included.
    pub fn all_bytes(&self) -> usize {
        self.bytes().saturating_add(self.reserved_held.load(Ordering::Relaxed))
    }

    /// Most bytes that these queries hold at a time; reserves are not theirs.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max.saturating_sub(self.reserved.load(Ordering::Relaxed))
    }

    /// Most bytes held at a time, those of reserves included.
    pub fn all_bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that may still be taken.
    pub fn free_bytes(&self) -> usize {
        let own = |held: usize| self.bytes_max().saturating_sub(held);
        match &self.reserve {
            None => own(self.bytes()),
            Some(reserve) => {
                let held = *reserve.held();
                own(held).min(reserve.bytes.saturating_sub(held).saturating_add(reserve.of.free_bytes()))
            }
        }
    }

    /// Takes `bytes`, which whoever takes them [gives back](Self::give_bytes).
    ///
    /// # Errors
    ///
    /// The limit that stands against it.
    pub fn take_bytes(&self, bytes: usize) -> Result<(), usize> {
        let bytes_max = self.bytes_max();
        if let Some(reserve) = &self.reserve {
            return reserve.take(bytes, bytes_max);
        }
        let take = |held: usize| held.checked_add(bytes).filter(|&total| total <= bytes_max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_or(Err(bytes_max), |_| Ok(()))
    }

    /// Gives back what was [taken](Self::take_bytes).
    pub fn give_bytes(&self, bytes: usize) {
        match &self.reserve {
            Some(reserve) => reserve.give(bytes),
            None => drop(self.bytes.fetch_sub(bytes, Ordering::Relaxed)),
        }
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

    /// What is taken and given back by turns; the sum of both is within the whole at every moment.
    #[test]
    fn a_reserve_is_kept_from_the_others_and_is_within_the_whole() {
        let people = Arc::new(Resources::new(1000, 3));
        let rules = people.reserve(200, 500);
        assert_eq!((people.bytes_max(), rules.bytes_max()), (800, 500));

        people.take_bytes(800).expect("all but the reserve");
        assert_eq!(people.take_bytes(1), Err(800));
        rules.take_bytes(200).expect("the reserve is theirs");
        assert_eq!((people.all_bytes(), rules.bytes(), rules.free_bytes()), (1000, 200, 0));
        assert_eq!(rules.take_bytes(1), Err(800), "there is no more than the whole");
        people.give_bytes(300);
        assert_eq!(rules.free_bytes(), 300);
        rules.take_bytes(300).expect("what is free is theirs, too");
        assert_eq!((people.bytes(), people.all_bytes(), people.free_bytes()), (800, 1000, 0));

        people.give_bytes(500);
        assert_eq!(rules.take_bytes(1), Err(500), "most of the whole stays the others'");
        people.take_bytes(500).expect("it is");
        rules.give_bytes(400);
        assert_eq!((people.bytes(), people.all_bytes(), rules.bytes()), (500, 600, 100));
        rules.give_bytes(100);
        people.give_bytes(500);
        assert_eq!((people.all_bytes(), rules.bytes(), rules.free_bytes()), (0, 0, 500));
        assert_eq!(rules.helpers(1).count, 0);
    }

    #[test]
    fn who_has_a_reserve_and_who_has_not_never_hold_more_than_the_whole() {
        let people = Arc::new(Resources::new(1000, 0));
        let rules = people.reserve(200, 500);
        std::thread::scope(|scope| {
            for resources in [&*people, &*people, &rules, &rules] {
                scope.spawn(|| {
                    for round in 0..5_000 {
                        let bytes = round * 37 % 400;
                        if resources.take_bytes(bytes).is_ok() {
                            assert!(people.bytes() <= 800 && rules.bytes() <= 500);
                            resources.give_bytes(bytes);
                        }
                    }
                });
            }
        });
        assert_eq!((people.all_bytes(), rules.bytes()), (0, 0));
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
