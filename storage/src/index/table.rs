//! Label sets to series ids and back.
//!
//! Ids lead to labels through pages of 256 series that are locked one by one; how a page keeps them is `names`'s. Label sets lead to ids through a sharded
//! hash table that holds ids alone: the bytes of the labels are compared on every hit, so that two sets with one hash
//! stay two series. Most sets are recognised without that, by the guesses of [`predict`](super::predict).

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use model::{Labels, LabelsRef};
use parking_lot::RwLock;

use super::names::Names;
use crate::ids::SeriesId;

/// Series of one page.
pub const PAGE_SERIES: usize = 256;
/// Parts of the hash table, each with its lock.
const SHARDS: usize = 32;

/// The labels of a page's series.
pub(super) type Page = RwLock<Names>;

/// The series that exist.
#[derive(Debug)]
pub struct SeriesTable<S = ahash::RandomState> {
    hasher: S,
    shards: Box<[RwLock<HashTable<u32>>]>,
    pages: RwLock<Vec<Option<Arc<Page>>>>,
}

/// Where the id `id` lies: its page, and its place there.
pub fn place(id: SeriesId) -> (usize, usize) {
    (id.0 as usize / PAGE_SERIES, id.0 as usize % PAGE_SERIES)
}

impl<S: BuildHasher + Default> Default for SeriesTable<S> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { hasher: S::default(), shards, pages: RwLock::default() }
    }
}

impl<S: BuildHasher> SeriesTable<S> {
    /// The labels of `id`, if it exists.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        let (page, slot) = place(id);
        let page = self.page(page)?;
        page.read().share(slot)
    }

    /// What `work` makes of the labels of `id`, if it exists.
    fn with_labels<T>(&self, id: u32, work: impl FnOnce(LabelsRef<'_>) -> T) -> Option<T> {
        let (page, slot) = place(SeriesId(id));
        let page = self.page(page)?;
        page.read().get(slot).map(work)
    }

    fn hash_of(&self, id: u32) -> u64 {
        self.with_labels(id, |labels| self.hash(labels)).unwrap_or(0)
    }

    /// The id of `labels`, if the series exists.
    pub fn find(&self, labels: LabelsRef<'_>) -> Option<SeriesId> {
        let hash = self.hash(labels);
        let shard = self.shard(hash).read();
        let is = |&id: &u32| self.with_labels(id, |known| known == labels) == Some(true);
        shard.find(hash, is).map(|&id| SeriesId(id))
    }

    /// Makes room for so many series more.
    pub fn reserve(&self, series: usize) {
        // They do not spread quite evenly.
        let each = series / SHARDS + series / SHARDS / 32;
        self.shards.iter().for_each(|shard| shard.write().reserve(each, |&id| self.hash_of(id)));
    }

    /// Adds a series that does not exist. One caller at a time for a series.
    pub fn insert(&self, id: SeriesId, labels: &Labels) {
        self.insert_all([(id, labels)]);
    }

    /// Adds series that do not exist; those that follow each other in a page are kept together. One caller at a time for a series.
    pub fn insert_all<'a>(&self, series: impl IntoIterator<Item = (SeriesId, &'a Labels)>) {
        let mut series = series.into_iter().peekable();
        let (mut ids, mut together) = (Vec::new(), Vec::new());
        while let Some(&(first, _)) = series.peek() {
            let number = place(first).0;
            while let Some((id, labels)) = series.next_if(|(id, _)| place(*id).0 == number) {
                debug_assert!(self.find(labels.as_ref()).is_none(), "{labels} is known already");
                ids.push(id.0);
                together.push((place(id).1, labels.as_ref()));
            }
            self.page_or_new(number).write().insert(&together);
            for (id, (_, labels)) in ids.drain(..).zip(together.drain(..)) {
                let hash = self.hash(labels);
                self.shard(hash).write().insert_unique(hash, id, |&id| self.hash_of(id));
            }
        }
    }

    /// Removes a series and returns its labels.
    pub fn remove(&self, id: SeriesId) -> Option<Labels> {
        let labels = self.labels(id)?;
        let hash = self.hash(labels.as_ref());
        if let Ok(entry) = self.shard(hash).write().find_entry(hash, |&known| known == id.0) {
            entry.remove();
        }
        let (number, slot) = place(id);
        let page = self.page(number)?;
        let mut names = page.write();
        names.remove(slot);
        if names.is_empty() {
            self.pages.write()[number] = None;
        }
        Some(labels)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with each of `ids` that exists, and its labels.
    pub fn each(&self, ids: impl IntoIterator<Item = u32>, mut visit: impl FnMut(SeriesId, &Labels)) {
        let each = self.each_or(ids, |id, labels| {
            if let Some(labels) = labels {
                visit(id, &labels);
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = each;
    }

    /// Calls `visit` with each of `ids`, and its labels if it exists.
    pub(super) fn each_or<E>(
        &self,
        ids: impl IntoIterator<Item = u32>,
        mut visit: impl FnMut(SeriesId, Option<Labels>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ids = ids.into_iter().peekable();
        while let Some(&first) = ids.peek() {
            let number = place(SeriesId(first)).0;
            let page = self.page(number);
            let names = page.as_ref().map(|page| page.read());
            while let Some(id) = ids.next_if(|&id| place(SeriesId(id)).0 == number) {
                visit(SeriesId(id), names.as_ref().and_then(|names| names.share(place(SeriesId(id)).1)))?;
            }
        }
        Ok(())
    }

    pub(super) fn page(&self, page: usize) -> Option<Arc<Page>> {
        self.pages.read().get(page)?.clone()
    }

    fn page_or_new(&self, page: usize) -> Arc<Page> {
        if let Some(page) = self.page(page) {
            return page;
        }
        let mut pages = self.pages.write();
        if pages.len() <= page {
            pages.resize(page + 1, None);
        }
        pages[page].get_or_insert_default().clone()
    }

    fn hash(&self, labels: LabelsRef<'_>) -> u64 {
        self.hasher.hash_one(labels.packed().as_bytes())
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<u32>> {
        // The table itself uses the lowest and the seven highest bits.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasherDefault, Hasher};

    /// Everything collides.
    #[derive(Debug, Default)]
    struct Same;

    impl Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }

        fn write(&mut self, _: &[u8]) {}
    }

    fn labels(at: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("at", at.to_string())]).expect("valid labels")
    }

    fn check<S: BuildHasher + Default>(series: u32) {
        let table = SeriesTable::<S>::default();
        let sets: Vec<Labels> = (0..series).map(labels).collect();
        for (id, set) in sets.iter().enumerate() {
            assert_eq!(table.find(set.as_ref()), None);
            table.insert(SeriesId(u32::try_from(id).expect("few")), set);
        }
        // In order, backwards, and with strangers between.
        let stranger = labels(series);
        let orders: [Vec<u32>; 3] =
            [(0..series).collect(), (0..series).rev().collect(), (0..series).flat_map(|at| [at, series, at]).collect()];
        for order in orders {
            for at in order {
                let asked = sets.get(at as usize).unwrap_or(&stranger).as_ref();
                assert_eq!(table.find(asked), (at < series).then_some(SeriesId(at)));
            }
        }
        for id in 0..series {
            assert_eq!(table.remove(SeriesId(id)), Some(labels(id)));
            assert_eq!(table.find(labels(id).as_ref()), None);
            assert_eq!(table.len(), (series - id - 1) as usize);
        }
        assert!(table.pages.read().iter().all(Option::is_none), "empty pages are freed");
    }

    #[test]
    fn finds_what_was_inserted() {
        check::<ahash::RandomState>(1000);
    }

    #[test]
    fn equal_hashes_never_merge_series() {
        check::<BuildHasherDefault<Same>>(300);
    }
}
