//! All series of a folder: labels to ids and back, and matchers to sets of ids.
//!
//! Owns what must agree: the table of labels, the label pairs, and what senders are expected to send next. Whoever adds
//! and removes series holds the engine's writer lock; readers need none.

use model::{Labels, LabelsRef, Matcher};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::pairs::{self, Fault, Pairs};
use super::{Followers, Postings, Predictor, SeriesTable};
use crate::damage::Damage;
use crate::ids::SeriesId;

/// The series that exist.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    table: SeriesTable,
    /// In what order senders send series.
    followers: Followers,
    postings: RwLock<Postings>,
}

/// Which series exist, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    live: &'a RoaringBitmap,
}

impl Known<'_> {
    /// Whether series `id` exists.
    pub fn has(&self, id: SeriesId) -> bool {
        self.live.contains(id.0)
    }

    /// Whether all of `ids` exist.
    pub fn has_all(&self, ids: std::ops::RangeInclusive<u32>) -> bool {
        self.live.contains_range(ids)
    }
}

impl SeriesIndex {
    /// A place before the first series of a request, whose series are recognised by it.
    pub fn predictor(&self) -> Predictor<'_> {
        Predictor::new(&self.table, &self.followers)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All series.
    pub fn all(&self) -> RoaringBitmap {
        self.postings.read().all().clone()
    }

    /// Whether series `id` exists.
    pub fn has(&self, id: SeriesId) -> bool {
        self.postings.read().all().contains(id.0)
    }

    /// The labels of `id`, if it is in memory, as it is at least until the catalog has it.
    pub fn live_labels(&self, id: SeriesId) -> Option<Labels> {
        self.table.labels(id)
    }

    /// The labels of `id`, if it exists.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn labels(&self, id: SeriesId) -> Result<Option<Labels>, Damage> {
        Ok(self.table.labels(id))
    }

    /// The id of `labels`, if the series exists.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn find(&self, labels: LabelsRef<'_>) -> Result<Option<SeriesId>, Damage> {
        Ok(self.table.find(labels))
    }

    /// Calls `visit` with each of `ids`, which ascend, that exists, and its labels.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each(&self, ids: impl IntoIterator<Item = u32>, visit: impl FnMut(SeriesId, &Labels)) -> Result<(), Damage> {
        self.table.each(ids, visit);
        Ok(())
    }

    /// The series that fulfil all `matchers`.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Damage> {
        Ok(self.postings.read().select(matchers))
    }

    /// The label names among `ids`, sorted.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn names_among(&self, ids: &RoaringBitmap) -> Result<Vec<String>, Damage> {
        pairs::names_among(&*self.postings.read(), ids).map_err(in_memory)
    }

    /// The values of `name` among `ids`, sorted.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn values_among(&self, name: &str, ids: &RoaringBitmap) -> Result<Vec<String>, Damage> {
        pairs::values_among(&*self.postings.read(), name, ids).map_err(in_memory)
    }

    /// Calls `visit` with each label pair, by name and value, and the number of series that carry it.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each_pair(&self, mut visit: impl FnMut(&str, &str, u64)) -> Result<(), Damage> {
        let postings = self.postings.read();
        for name in postings.names().flatten() {
            for (value, ids) in postings.values(name, "").flatten() {
                visit(name, value, ids.to_bitmap().map_or(0, |ids| ids.len()));
            }
        }
        Ok(())
    }

    /// Calls `visit` with each value of `name`, ascending, and the number of series in each of `sets` that carry it.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each_value<const N: usize>(
        &self,
        name: &str,
        sets: [&RoaringBitmap; N],
        visit: impl FnMut(&str, [u64; N]),
    ) -> Result<(), Damage> {
        pairs::each_value(&*self.postings.read(), name, sets, visit).map_err(in_memory)
    }

    /// The label names, ascending, each with its number of values.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn name_sizes(&self) -> Result<Vec<(String, u64)>, Damage> {
        pairs::name_sizes(&*self.postings.read()).map_err(in_memory)
    }

    /// Adds series that do not exist. With the writer's lock.
    pub fn insert<'a>(&self, series: impl IntoIterator<Item = (SeriesId, &'a Labels)>) {
        let mut postings = self.postings.write();
        for (id, labels) in series {
            self.table.insert(id, labels);
            postings.insert(id, labels.as_ref());
        }
    }

    /// Calls `work` with what says which series exist, for many questions at once.
    pub fn with_known<T>(&self, work: impl FnOnce(Known<'_>) -> T) -> T {
        work(Known { live: self.postings.read().all() })
    }

    /// Removes series. With the writer's lock.
    pub fn remove(&self, ids: &[SeriesId]) {
        let mut postings = self.postings.write();
        for &id in ids {
            if let Some(labels) = self.table.remove(id) {
                postings.remove(id, labels.as_ref());
                self.followers.forget(id);
            }
        }
    }
}

/// The damage of what no file holds, which there is none of.
fn in_memory(Fault(detail): Fault) -> Damage {
    Damage { file: std::path::PathBuf::new(), offset: 0, bytes: 0, detail: detail.to_owned() }
}
