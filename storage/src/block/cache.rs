//! Decoded timestamp columns, shared by the series of a scrape and by all open blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;

/// What an entry takes beside its timestamps.
const ENTRY_BYTES: usize = 64;

/// A bounded cache that forgets what was not used for longest. One for a whole engine.
#[derive(Debug)]
pub struct ColumnCache {
    bytes_max: usize,
    next_block: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    columns: AHashMap<(u64, u64), Entry>,
    bytes: usize,
    /// Counts uses, to tell old from new.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    timestamps_ms: Arc<[i64]>,
    used: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of_val(&*self.timestamps_ms) + ENTRY_BYTES
    }
}

impl ColumnCache {
    /// A cache that holds at most about `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        let [next_block, hits, misses] = [const { AtomicU64::new(0) }; 3];
        Self { bytes_max, next_block, hits, misses, state: Mutex::default() }
    }

    /// How often a column was there, and how often it was not.
    pub fn uses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Forgets what was not used for longest, until at most `bytes` are held.
    pub fn shrink(&self, bytes: usize) {
        self.state.lock().shrink(bytes);
    }

    /// Memory held now.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// A number for a block that no other block of this cache has.
    pub(super) fn block_key(&self) -> u64 {
        self.next_block.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, block: u64, column: u64) -> Option<Arc<[i64]>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let Some(entry) = state.columns.get_mut(&(block, column)) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        entry.used = now;
        Some(entry.timestamps_ms.clone())
    }

    pub(super) fn insert(&self, block: u64, column: u64, timestamps_ms: Arc<[i64]>) {
        let mut state = self.state.lock();
        state.clock += 1;
        let entry = Entry { timestamps_ms, used: state.clock };
        if entry.bytes() > self.bytes_max {
            return;
        }
        state.bytes += entry.bytes();
        if let Some(replaced) = state.columns.insert((block, column), entry) {
            state.bytes -= replaced.bytes();
        }
        if state.bytes > self.bytes_max {
            state.shrink(self.bytes_max / 4 * 3);
        }
    }

    /// Forgets the columns of a block that is closed.
    pub(super) fn forget(&self, block: u64) {
        let mut state = self.state.lock();
        let mut freed = 0;
        state.columns.retain(|key, entry| {
            let keep = key.0 != block;
            freed += if keep { 0 } else { entry.bytes() };
            keep
        });
        state.bytes -= freed;
    }
}

impl State {
    /// Forgets the oldest until at most `bytes` are left. Sorting once for a quarter of the cache keeps this cheap.
    fn shrink(&mut self, bytes: usize) {
        let mut by_age: Vec<(u64, (u64, u64))> = self.columns.iter().map(|(key, entry)| (entry.used, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if self.bytes <= bytes {
                break;
            }
            if let Some(entry) = self.columns.remove(&key) {
                self.bytes -= entry.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_columns_make_room() {
        let entry_bytes = 8 * 10 + ENTRY_BYTES;
        let cache = ColumnCache::new(entry_bytes * 8);
        let column = |first: i64| -> Arc<[i64]> { (first..first + 10).collect() };
        let block = cache.block_key();
        for number in 0..8 {
            cache.insert(block, number, column(0));
        }
        assert_eq!(cache.get(block, 0), Some(column(0)));
        cache.insert(block, 8, column(8));
        let kept: Vec<u64> = (0..9).filter(|&number| cache.get(block, number).is_some()).collect();
        assert_eq!(kept, [0, 4, 5, 6, 7, 8]);
        assert_eq!(cache.bytes(), entry_bytes * 6);
        cache.insert(block, 8, column(9));
        assert_eq!((cache.get(block, 8), cache.bytes()), (Some(column(9)), entry_bytes * 6));
        assert_eq!(cache.get(cache.block_key(), 0), None);
        assert_eq!(cache.uses(), (8, 4));
        cache.shrink(entry_bytes * 2);
        assert_eq!((cache.get(block, 8), cache.bytes()), (Some(column(9)), entry_bytes * 2));
        cache.forget(block);
        assert_eq!(cache.bytes(), 0);
        cache.insert(block, 1, (0..1000).collect());
        assert_eq!(cache.bytes(), 0);
    }
}
