//! All series of a folder: labels to ids and back, and matchers to sets of ids.
//!
//! Owns what must agree. Series that are written are *live*: table, label pairs and guesses are in memory. The others are
//! *cold*: files find them. A series becomes cold by being put into a file first and leaving memory then; readers look
//! into memory first and into the files then, so that they meet it at least once. Written again it is live as well, with
//! the id that it had; files are not changed by that. Labels of an id never change, so that to be in both is no harm.
//!
//! Whoever changes what is live holds the engine's writer lock, whoever changes the files its merging lock, and who
//! removes series both; readers need none.

use model::{Labels, LabelsRef, Matcher};
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use std::sync::Arc;

use super::cold::{Cold, ColdSet, DamagedFiles, LastPage, MakeError, Stamp};
use super::pairs::{self, BoxedPairs, Fault};
use super::{Followers, Postings, Predictor, SeriesTable};
use crate::damage::Damage;
use crate::files::{FileError, Files};
use crate::ids::SeriesId;

/// The series that exist.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    table: SeriesTable,
    /// In what order senders send series.
    followers: Followers,
    postings: RwLock<Postings>,
    cold: Cold,
}

/// Which series exist, at one moment.
#[derive(Debug)]
pub struct Known<'a> {
    live: &'a RoaringBitmap,
    cold: Arc<ColdSet>,
}

/// The label pairs of series that one thread puts into memory.
#[derive(Debug, Default)]
pub struct IndexPart(Postings);

/// A series that was looked for by its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is in memory.
    Live(SeriesId),
    /// A file has it; these are its labels.
    Cold(SeriesId, Labels),
}

/// What an index takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexUse {
    /// Series in memory.
    pub live: u64,
    /// Series that files alone find.
    pub cold: u64,
    /// Files.
    pub files: u64,
    /// Their length.
    pub file_bytes: u64,
    /// Memory of decoded labels of cold series.
    pub cache_bytes: u64,
    /// Files that were refused since the start, because they were damaged or of another catalog.
    pub refused: u64,
}

impl Found {
    /// Its id.
    pub fn id(&self) -> SeriesId {
        match self {
            Self::Live(id) | Self::Cold(id, _) => *id,
        }
    }
}

impl Known<'_> {
    /// Whether series `id` exists.
    pub fn has(&self, id: SeriesId) -> bool {
        self.live.contains(id.0) || self.cold.all().contains(id.0)
    }

    /// Whether all of `ids` exist.
    pub fn has_all(&self, mut ids: std::ops::RangeInclusive<u32>) -> bool {
        self.live.contains_range(ids.clone()) || ids.all(|id| self.has(SeriesId(id)))
    }
}

impl SeriesIndex {
    /// An index of the series of `cold`, and none in memory yet.
    pub fn new(cold: Cold) -> Self {
        Self { cold, ..Self::default() }
    }

    /// Keeps only those of the files' series that `exist`.
    pub fn keep_filed(&mut self, exist: &RoaringBitmap) {
        self.cold.keep(exist);
    }

    /// A place before the first series of a request, whose series are recognised by it.
    pub fn predictor(&self) -> Predictor<'_> {
        Predictor::new(&self.table, &self.followers)
    }

    /// What it takes up.
    pub fn usage(&self) -> IndexUse {
        let (files, file_bytes) = self.cold.files();
        let (live, refused) = (self.table.len() as u64, self.cold.refused());
        let cold = self.len().saturating_sub(live);
        IndexUse { live, cold, files, file_bytes, cache_bytes: self.cold.cache_bytes(), refused }
    }

    /// Forgets decoded labels of cold series.
    pub fn forget_decoded(&self) {
        self.cold.forget_decoded();
    }

    /// How many series there are.
    pub fn len(&self) -> u64 {
        let postings = self.postings.read();
        postings.all().union_len(self.cold.now().all())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many series are in memory.
    pub fn live_len(&self) -> usize {
        self.table.len()
    }

    /// The series in memory.
    pub fn live(&self) -> RoaringBitmap {
        self.postings.read().all().clone()
    }

    /// The series that files have, in memory or not.
    pub fn filed(&self) -> RoaringBitmap {
        self.cold.all()
    }

    /// All series.
    pub fn all(&self) -> RoaringBitmap {
        let live = self.live();
        live | self.cold.now().all()
    }

    /// Whether series `id` exists.
    pub fn has(&self, id: SeriesId) -> bool {
        self.with_known(|known| known.has(id))
    }

    /// Calls `work` with what says which series exist, for many questions at once.
    pub fn with_known<T>(&self, work: impl FnOnce(Known<'_>) -> T) -> T {
        let postings = self.postings.read();
        work(Known { live: postings.all(), cold: self.cold.now() })
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
        match self.table.labels(id) {
            Some(labels) => Ok(Some(labels)),
            None => self.cold.labels(&self.cold.now(), id, &mut LastPage::default()),
        }
    }

    /// The series of `labels`, if it exists.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn find(&self, labels: LabelsRef<'_>) -> Result<Option<Found>, Damage> {
        match self.table.find(labels) {
            Some(id) => Ok(Some(Found::Live(id))),
            None => Ok(self.cold.find(labels)?.map(|(id, labels)| Found::Cold(id, labels))),
        }
    }

    /// Calls `visit` with each of `ids`, which ascend, that exists, and its labels.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each(
        &self,
        ids: impl IntoIterator<Item = u32>,
        mut visit: impl FnMut(SeriesId, &Labels),
    ) -> Result<(), Damage> {
        let ids: Vec<u32> = ids.into_iter().collect();
        let (mut cold, mut last) = (None::<Arc<ColdSet>>, None::<LastPage<'_>>);
        self.table.each_or(ids.iter().copied(), |id, labels| {
            if let Some(labels) = labels {
                visit(id, &labels);
                return Ok(());
            }
            // Only after it was not found in memory: what has left it meanwhile is in the newest files.
            let now = cold.take().filter(|known| known.all().contains(id.0)).unwrap_or_else(|| self.cold.now());
            let last = last.get_or_insert_with(|| self.cold.reading(&ids));
            let labels = self.cold.labels(&now, id, last)?;
            cold = Some(now);
            if let Some(labels) = labels {
                visit(id, &labels);
            }
            Ok(())
        })
    }

    /// The series that fulfil all `matchers`.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Damage> {
        let live = self.postings.read().select(matchers);
        Ok(live | self.cold.select(matchers)?)
    }

    /// The label names among `ids`, sorted.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn names_among(&self, ids: &RoaringBitmap) -> Result<Vec<String>, Damage> {
        let mut names = pairs::names_among(&*self.postings.read(), ids).unwrap_or_default();
        self.cold.among(ids, &mut names, pairs::names_among)?;
        Ok(tidied(names))
    }

    /// The values of `name` among `ids`, sorted.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn values_among(&self, name: &str, ids: &RoaringBitmap) -> Result<Vec<String>, Damage> {
        let mut values = pairs::values_among(&*self.postings.read(), name, ids).unwrap_or_default();
        self.cold.among(ids, &mut values, |file, ids| pairs::values_among(file, name, ids))?;
        Ok(tidied(values))
    }

    /// Calls `visit` with each label pair, by name and value, and the number of series that carry it.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each_pair(&self, mut visit: impl FnMut(&str, &str, u64)) -> Result<(), Damage> {
        let postings = self.postings.read();
        let cold = self.cold.now();
        let parts: Vec<&dyn BoxedPairs> = std::iter::once(&*postings as &dyn BoxedPairs).chain(cold.pairs()).collect();
        // Removed series are in memory no more.
        let each = pairs::merged(&parts, cold.gone(), &mut |name, value, ids| {
            visit(name, value, ids.len()?);
            Ok::<(), Fault>(())
        });
        each.map_err(|fault| self.cold.some_damage(fault))
    }

    /// Calls `visit` with each value of `name`, ascending, and the number of series in each of `sets`, which exist, that carry it.
    ///
    /// # Errors
    ///
    /// When an index file is damaged.
    pub fn each_value<const N: usize>(
        &self,
        name: &str,
        sets: [&RoaringBitmap; N],
        mut visit: impl FnMut(&str, [u64; N]),
    ) -> Result<(), Damage> {
        let postings = self.postings.read();
        let cold = self.cold.now();
        let parts: Vec<&dyn BoxedPairs> = std::iter::once(&*postings as &dyn BoxedPairs).chain(cold.pairs()).collect();
        // What is gone is in no set.
        let each = pairs::merged_values(&parts, &RoaringBitmap::new(), name, &mut |value, ids| {
            visit(value, ids.lens_in(sets)?);
            Ok::<(), Fault>(())
        });
        each.map_err(|fault| self.cold.some_damage(fault))
    }

    /// Calls `visit` with each value of `name` of series in memory, ascending, and the number of those in each of `sets` that
    /// carry it.
    pub fn each_live_value<const N: usize>(
        &self,
        name: &str,
        sets: [&RoaringBitmap; N],
        visit: impl FnMut(&str, [u64; N]),
    ) {
        // What is in memory can be read.
        pairs::each_value(&*self.postings.read(), name, sets, visit).unwrap_or_default();
    }

    /// The label names of series in memory, ascending, each with its number of values.
    pub fn live_name_sizes(&self) -> Vec<(String, u64)> {
        pairs::name_sizes(&*self.postings.read()).unwrap_or_default()
    }

    /// Puts series into memory that are not there: new ones, or cold ones that are written again. With the writer's lock.
    pub fn insert<'a>(&self, series: impl IntoIterator<Item = (SeriesId, &'a Labels)>) {
        let mut postings = self.postings.write();
        self.table.insert_all(series.into_iter().inspect(|(id, labels)| postings.insert(*id, labels.as_ref())));
    }

    /// Makes room for so many series more in memory.
    pub fn reserve(&self, series: usize) {
        self.table.reserve(series);
    }

    /// Puts series into memory that are not there, save for their label pairs, which `part` takes. Several threads may do
    /// so at a time, each with series and a part of its own.
    pub fn insert_part(&self, part: &mut IndexPart, series: &[(SeriesId, Labels)]) {
        self.table.insert_all(series.iter().map(|(id, labels)| (*id, labels)));
        for (id, labels) in series {
            part.0.insert(*id, labels.as_ref());
        }
    }

    /// Adds the label pairs of a part.
    pub fn join_part(&self, part: IndexPart) {
        self.postings.write().join(part.0);
    }

    /// Removes series for good, telling `visit` the labels of those in memory. With the writer's lock, and that of who changes
    /// files.
    pub fn remove(&self, ids: &[SeriesId], visit: impl FnMut(&Labels)) {
        self.forget(ids, visit);
        self.cold.remove(ids.iter().copied());
    }

    /// Takes series out of memory, telling `visit` the labels of those that were there; who still needs them finds them in
    /// files. With the writer's lock.
    pub fn forget(&self, ids: &[SeriesId], mut visit: impl FnMut(&Labels)) {
        let mut postings = self.postings.write();
        for &id in ids {
            if let Some(labels) = self.table.remove(id) {
                postings.remove(id, labels.as_ref());
                self.followers.forget(id);
                visit(&labels);
            }
        }
    }

    /// Makes a file of series in memory that are in the catalog at the commit of `stamp`; they stay in memory.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; then nothing has changed.
    pub fn file(&self, files: &dyn Files, stamp: Stamp, ids: &RoaringBitmap) -> Result<(), CoolError> {
        let mut series: Vec<(SeriesId, Labels)> = Vec::new();
        self.table.each(ids, |id, labels| series.push((id, labels.clone())));
        Ok(self.cold.add(files, stamp, &series)?)
    }

    /// Joins some files if that is due, in about `bytes_max` of memory; says whether it was.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written; then nothing has changed.
    pub fn join_files(&self, files: &dyn Files, bytes_max: u64) -> Result<bool, CoolError> {
        Ok(self.cold.join(files, bytes_max)?)
    }

    /// The files that turned out damaged.
    pub fn damaged(&self) -> DamagedFiles {
        self.cold.damaged()
    }

    /// Removes files that are damaged, whose series are in memory. With the writer's lock.
    pub fn remove_damaged(&self, files: &dyn Files, damaged: &DamagedFiles) {
        self.cold.remove_damaged(files, damaged);
    }
}

/// Why no file is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoolError {
    /// The disk says no; try again later.
    #[error(transparent)]
    File(#[from] FileError),
    /// What it is made of is damaged, and is made again first.
    #[error("{0}")]
    Damaged(Damage),
}

impl From<MakeError> for CoolError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::File(error) => Self::File(error),
            MakeError::Damaged(damage) => Self::Damaged(damage),
        }
    }
}

fn tidied(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}
