//! Label pages of cold series that were decoded, as far as memory for them goes.

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

use super::file::PageLabels;

/// What a label set takes beside its text.
const LABELS_BYTES: usize = 48;
/// What an entry takes beside its labels.
const ENTRY_BYTES: usize = 96;
/// What a page takes, about: 256 label sets.
const PAGE_BYTES: usize = 64 << 10;
/// A reader of more pages than would fill so large a part of the cache would drive out what others use, and find nothing of
/// its own in it the next time.
const READER_PART: usize = 2;

/// A bounded cache that forgets what was not used for longest.
#[derive(Debug)]
pub(super) struct PageCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By number of the file and of the page.
    pages: AHashMap<(u64, u32), Entry>,
    bytes: usize,
    /// Counts uses, to tell old from new.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    labels: Arc<PageLabels>,
    bytes: usize,
    used: u64,
}

impl PageCache {
    /// A cache that holds at most about `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Pages of one reader that are kept.
    pub(super) fn pages_max(&self) -> usize {
        self.bytes_max / PAGE_BYTES / READER_PART
    }

    /// Memory held now.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    pub(super) fn get(&self, file: u64, page: u32) -> Option<Arc<PageLabels>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.pages.get_mut(&(file, page))?;
        entry.used = now;
        Some(entry.labels.clone())
    }

    pub(super) fn insert(&self, file: u64, page: u32, labels: Arc<PageLabels>) {
        let text_bytes = |(_, labels): &(u8, model::Labels)| labels.packed().len() + LABELS_BYTES;
        let bytes = labels.iter().map(text_bytes).sum::<usize>() + ENTRY_BYTES;
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.state.lock();
        state.clock += 1;
        let entry = Entry { labels, bytes, used: state.clock };
        state.bytes += bytes;
        if let Some(replaced) = state.pages.insert((file, page), entry) {
            state.bytes -= replaced.bytes;
        }
        if state.bytes > self.bytes_max {
            state.shrink(self.bytes_max / 4 * 3);
        }
    }

    /// Forgets what was not used for longest, until at most `bytes` are held.
    pub(super) fn shrink(&self, bytes: usize) {
        self.state.lock().shrink(bytes);
    }

    /// Forgets the pages of a file that is no more.
    pub(super) fn forget(&self, file: u64) {
        let state = &mut *self.state.lock();
        let bytes = &mut state.bytes;
        state.pages.retain(|key, entry| {
            let keeps = key.0 != file;
            *bytes -= if keeps { 0 } else { entry.bytes };
            keeps
        });
    }
}

impl State {
    fn shrink(&mut self, bytes: usize) {
        let mut uses: Vec<(u64, (u64, u32))> = self.pages.iter().map(|(key, entry)| (entry.used, *key)).collect();
        uses.sort_unstable();
        for (_, key) in uses {
            if self.bytes <= bytes {
                return;
            }
            if let Some(entry) = self.pages.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let page = || {
            let labels = Labels::from_pairs([("a", "b".repeat(400))]).expect("valid");
            Arc::new(vec![(0, labels)])
        };
        let cache = PageCache::new(3000);
        for number in 0..4 {
            cache.insert(1, number, page());
            assert!(cache.get(1, 0).is_some(), "the first is used again and again");
        }
        cache.insert(1, 9, page());
        cache.insert(1, 10, page());
        assert!(cache.bytes() <= 3000 && cache.get(1, 1).is_none() && cache.get(1, 10).is_some());
        cache.shrink(1000);
        assert!(cache.bytes() <= 1000 && cache.get(1, 10).is_some(), "the newest stays longest");
        cache.forget(1);
        assert_eq!(cache.bytes(), 0);
        PageCache::new(10).insert(1, 1, page());
    }
}
