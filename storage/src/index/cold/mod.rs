//! Series that nobody writes any more: found in files, so that they take no memory.
//!
//! The files lie in the folder `index`. Each is immutable and finds some series: by their labels, by label pairs, and from
//! id to labels. They are derived: the catalog has all that they have, and a file that is missing or damaged costs the
//! memory of its series until it is made again. Which series exist is the catalog's word too: what a file has of series
//! that were removed counts for nothing.
//!
//! Owns the files ([`IndexFile`], drawn byte by byte in `docs/format-index.md`), the set of those that are open
//! ([`ColdSet`]), and when some become one ([`join`]). When a series becomes cold, and the other half of the index, are the
//! neighbours': [`engine`](crate::engine) and [`SeriesIndex`](super::SeriesIndex).

mod cache;
mod file;
mod join;
mod layout;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, LabelsRef, Matcher};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::pairs::{self, BoxedPairs, Fault};
use super::table::PAGE_SERIES;
use crate::damage::Damage;
use crate::files::{FileError, Files};
use crate::ids::SeriesId;
use cache::PageCache;
use file::page_of;
pub use file::{IndexFile, IndexFileError, PageLabels};
pub use join::JOINING_BYTES;
pub use layout::{Stamp, seal};
use writer::WriteError;

/// Name of the folder in the data folder.
pub const FOLDER_NAME: &str = "index";
/// Most series that one file is made of at once; they are in memory then.
pub const FILE_SERIES_MAX: usize = 1 << 17;

/// An open file with its number.
#[derive(Debug)]
struct Part {
    number: u64,
    file: IndexFile,
}

/// The files at one moment.
#[derive(Debug, Default)]
pub(super) struct ColdSet {
    /// Ascending by number.
    parts: Vec<Arc<Part>>,
    /// Their series that exist.
    all: RoaringBitmap,
    /// Their series that were removed.
    gone: RoaringBitmap,
}

/// All files of a folder.
#[derive(Debug)]
pub struct Cold {
    folder: PathBuf,
    current: RwLock<Arc<ColdSet>>,
    cache: PageCache,
    /// The number of the next file.
    next: AtomicU64,
    /// Files that turned out damaged, to be made again.
    damaged: Mutex<BTreeSet<u64>>,
    /// How many files were refused, when they were opened or later.
    refused: AtomicU64,
}

impl Default for Cold {
    fn default() -> Self {
        Self::new(PathBuf::new(), 0)
    }
}

/// Files that turned out damaged, as they were found out so far.
#[derive(Debug, Default)]
pub struct DamagedFiles {
    numbers: BTreeSet<u64>,
    series: RoaringBitmap,
}

impl DamagedFiles {
    /// What they have, whether it exists or not.
    pub fn series(&self) -> &RoaringBitmap {
        &self.series
    }
}

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Damaged(Damage),
}

/// The number in a file's name.
pub fn file_number(name: &str) -> Option<u64> {
    name.strip_suffix(".idx").filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?.parse().ok()
}

impl ColdSet {
    /// Of `parts`, whose series exist if they are not `gone`.
    fn new(mut parts: Vec<Arc<Part>>, mut gone: RoaringBitmap) -> Self {
        parts.sort_by_key(|part| part.number);
        let mut all = parts.iter().fold(RoaringBitmap::new(), |all, part| all | part.file.ids());
        gone &= &all;
        all -= &gone;
        Self { parts, all, gone }
    }

    /// The series that exist and some file has.
    pub(super) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The file that knows the labels of a series.
    fn part_of(&self, id: SeriesId) -> Option<&Arc<Part>> {
        self.parts.iter().rev().find(|part| part.file.ids().contains(id.0))
    }

    /// Their label pairs, for [`pairs::merged`], which is to leave out [`gone`](Self::gone).
    pub(super) fn pairs(&self) -> impl Iterator<Item = &dyn BoxedPairs> {
        self.parts.iter().map(|part| &part.file as &dyn BoxedPairs)
    }

    /// Series that some file has and that were removed.
    pub(super) fn gone(&self) -> &RoaringBitmap {
        &self.gone
    }
}

impl Cold {
    fn new(folder: PathBuf, cache_bytes: usize) -> Self {
        Self {
            folder,
            current: RwLock::default(),
            cache: PageCache::new(cache_bytes),
            next: AtomicU64::new(1),
            damaged: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Opens the files in `folder` that are sound and of the catalog `lineage`, which is at `commit`. `agrees` says whether
    /// the catalog has the same labels for the series of a page. The others are removed: the catalog has what they have.
    ///
    /// # Errors
    ///
    /// When the folder cannot be listed, or the catalog cannot be read.
    pub fn open<E: From<FileError>>(
        files: &dyn Files,
        folder: PathBuf,
        as_of: Stamp,
        cache_bytes: usize,
        mut agrees: impl FnMut(u32, &[(u8, Labels)]) -> Result<Option<bool>, E>,
    ) -> Result<Self, E> {
        let mut cold = Self::new(folder, cache_bytes);
        let entries = match files.list(&cold.folder) {
            Err(error) if error.is_not_found() => return Ok(cold),
            listed => listed?,
        };
        let mut parts = Vec::new();
        for entry in entries {
            let path = cold.folder.join(&entry.name);
            let Some(number) = file_number(&entry.name) else {
                if entry.name.strip_suffix(".tmp").is_some() {
                    remove(files, &path);
                }
                continue;
            };
            *cold.next.get_mut() = (*cold.next.get_mut()).max(number + 1);
            match IndexFile::open(files, &path) {
                Ok(file) if is_of(&file, as_of, &mut agrees)? => parts.push(Arc::new(Part { number, file })),
                Ok(_) => {
                    tracing::warn!(file = %path.display(), "an index file is of another catalog; it is made again");
                    cold.refuse(files, &path);
                }
                Err(IndexFileError::Damaged(damage)) => {
                    tracing::warn!(%damage, "an index file is refused");
                    cold.refuse(files, &path);
                }
                Err(IndexFileError::File(error)) => {
                    tracing::warn!(%error, "an index file is left out");
                    cold.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        *cold.current.get_mut() = Arc::new(ColdSet::new(parts, RoaringBitmap::new()));
        Ok(cold)
    }

    fn refuse(&self, files: &dyn Files, path: &Path) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        remove(files, path);
    }

    /// Keeps only those of the files' series that `exist`.
    pub fn keep(&mut self, exist: &RoaringBitmap) {
        let current = self.current.get_mut();
        let gone = &current.all - exist;
        *current = Arc::new(ColdSet::new(current.parts.clone(), gone));
    }

    /// The files as they are now.
    pub(super) fn now(&self) -> Arc<ColdSet> {
        self.current.read().clone()
    }

    /// The series that exist and some file has.
    pub fn all(&self) -> RoaringBitmap {
        self.now().all.clone()
    }

    /// Number of files, and their length.
    pub(super) fn files(&self) -> (u64, u64) {
        let now = self.now();
        (now.parts.len() as u64, now.parts.iter().map(|part| part.file.len_bytes()).sum())
    }

    /// Memory of decoded labels.
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.bytes() as u64
    }

    /// Forgets decoded labels.
    pub(super) fn forget_decoded(&self) {
        self.cache.shrink(0);
    }

    /// How many files were refused since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Remembers that a file is damaged.
    fn note(&self, part: &Part, fault: Fault) -> Damage {
        if self.damaged.lock().insert(part.number) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        part.file.damage(fault)
    }

    /// For reading the labels of `ids`, which ascend.
    pub(super) fn reading<'a>(&self, ids: &'a [u32]) -> LastPage<'a> {
        let pages = ids.chunk_by(|a, b| page_of(SeriesId(*a)) == page_of(SeriesId(*b))).count();
        LastPage { only: (pages > self.cache.pages_max()).then_some(ids), page: None }
    }

    /// A page of labels, or of the series `only` in it.
    fn page(&self, part: &Part, number: u32, only: Option<&[u32]>) -> Result<Arc<PageLabels>, Damage> {
        if let Some(labels) = self.cache.get(part.number, number) {
            return Ok(labels);
        }
        if let Some(ids) = only {
            let end = ids.partition_point(|&id| page_of(SeriesId(id)) <= number);
            let start = ids.partition_point(|&id| page_of(SeriesId(id)) < number);
            let mut wanted = [false; PAGE_SERIES];
            for id in ids.get(start..end).unwrap_or_default() {
                wanted[usize::from(id.to_le_bytes()[0])] = true;
            }
            let labels = part.file.some_labels(number, |slot| wanted[usize::from(slot)]);
            return labels.map(Arc::new).map_err(|fault| self.note(part, fault));
        }
        let labels = part.file.page_labels(number).map_err(|fault| self.note(part, fault))?;
        let labels = Arc::new(labels);
        self.cache.insert(part.number, number, labels.clone());
        Ok(labels)
    }

    /// The labels of a series of a file, which `now` is to say.
    pub(super) fn labels(
        &self,
        now: &ColdSet,
        id: SeriesId,
        last: &mut LastPage<'_>,
    ) -> Result<Option<Labels>, Damage> {
        let Some(part) = now.part_of(id).filter(|_| now.all.contains(id.0)) else { return Ok(None) };
        let wanted = (part.number, page_of(id));
        let page = match &last.page {
            Some((known, page)) if *known == wanted => page,
            _ => &last.page.insert((wanted, self.page(part, wanted.1, last.only)?)).1,
        };
        let slot = id.0.to_le_bytes()[0];
        let at = page.binary_search_by_key(&slot, |(slot, _)| *slot).ok();
        Ok(at.and_then(|at| page.get(at)).map(|(_, labels)| labels.clone()))
    }

    /// The series of `labels`, if a file has it.
    pub(super) fn find(&self, labels: LabelsRef<'_>) -> Result<Option<(SeriesId, Labels)>, Damage> {
        let now = self.now();
        let mut last = LastPage::default();
        for part in now.parts.iter().rev() {
            for id in part.file.candidates(labels).filter(|id| now.all.contains(id.0)) {
                let known = self.labels(&now, id, &mut last)?;
                if let Some(known) = known.filter(|known| known.as_ref() == labels) {
                    return Ok(Some((id, known)));
                }
            }
        }
        Ok(None)
    }

    /// The series of the files that fulfil all `matchers`.
    pub(super) fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, Damage> {
        let now = self.now();
        let mut ids = RoaringBitmap::new();
        for part in &now.parts {
            ids |= pairs::select(&part.file, matchers).map_err(|fault| self.note(part, fault))?;
        }
        ids &= &now.all;
        Ok(ids)
    }

    /// Adds to `into` what `of` finds in each file that has any of `ids`.
    pub(super) fn among(
        &self,
        ids: &RoaringBitmap,
        into: &mut Vec<String>,
        of: impl Fn(&IndexFile, &RoaringBitmap) -> Result<Vec<String>, Fault>,
    ) -> Result<(), Damage> {
        let now = self.now();
        for part in now.parts.iter().filter(|part| !part.file.ids().is_disjoint(ids)) {
            into.extend(of(&part.file, ids).map_err(|fault| self.note(part, fault))?);
        }
        Ok(())
    }

    /// The damage that [`pairs::merged`] over all files met, whichever has it.
    pub(super) fn some_damage(&self, Fault(detail): Fault) -> Damage {
        Damage { file: self.folder.clone(), offset: 0, bytes: 0, detail: format!("index files: {detail}") }
    }

    /// Forgets series. One caller at a time, with those below.
    pub(super) fn remove(&self, ids: impl IntoIterator<Item = SeriesId>) {
        let now = self.now();
        let removed: RoaringBitmap = ids.into_iter().map(|id| id.0).filter(|&id| now.all.contains(id)).collect();
        if !removed.is_empty() {
            *self.current.write() = Arc::new(ColdSet::new(now.parts.clone(), &now.gone | removed));
        }
    }

    /// Makes a file of `series`, which ascend and are in the catalog, and shows it to readers.
    pub(super) fn add(&self, files: &dyn Files, stamp: Stamp, series: &[(SeriesId, Labels)]) -> Result<(), MakeError> {
        let part = self.make(files, |path| writer::write_rows(files, path, stamp, series))?;
        self.replace(&[], Some(part));
        Ok(())
    }

    /// Makes the next file by `write`.
    fn make(
        &self,
        files: &dyn Files,
        write: impl FnOnce(&Path) -> Result<(), WriteError>,
    ) -> Result<Arc<Part>, MakeError> {
        files.create_dir_all(&self.folder)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number:08}.idx"));
        let written = write(&path).map_err(|error| match error {
            WriteError::File(error) => MakeError::File(error),
            WriteError::Fault(fault) => MakeError::Damaged(self.some_damage(fault)),
        });
        let opened = written.and_then(|()| {
            IndexFile::open(files, &path).map_err(|error| match error {
                IndexFileError::File(error) => MakeError::File(error),
                IndexFileError::Damaged(damage) => MakeError::Damaged(damage),
            })
        });
        match opened {
            Ok(file) => Ok(Arc::new(Part { number, file })),
            Err(error) => {
                for path in [&path, &crate::files::beside(&path)] {
                    remove(files, path);
                }
                Err(error)
            }
        }
    }

    /// Shows readers `added` in the place of the files `removed`.
    fn replace(&self, removed: &[u64], added: Option<Arc<Part>>) {
        let now = self.now();
        let kept = now.parts.iter().filter(|part| !removed.contains(&part.number)).cloned();
        *self.current.write() = Arc::new(ColdSet::new(kept.chain(added).collect(), now.gone.clone()));
        for &number in removed {
            self.cache.forget(number);
        }
    }

    /// The files that are damaged.
    pub(super) fn damaged(&self) -> DamagedFiles {
        let numbers = self.damaged.lock().clone();
        let now = self.now();
        let parts = now.parts.iter().filter(|part| numbers.contains(&part.number));
        DamagedFiles { series: parts.fold(RoaringBitmap::new(), |all, part| all | part.file.ids()), numbers }
    }

    /// Removes files that were found damaged, whose series are in memory. Those that were found out since stay, as their
    /// series are nowhere else yet.
    pub(super) fn remove_damaged(&self, files: &dyn Files, damaged: &DamagedFiles) {
        self.remove_parts(files, &damaged.numbers.iter().copied().collect::<Vec<_>>(), None);
        self.damaged.lock().retain(|number| !damaged.numbers.contains(number));
    }

    fn remove_parts(&self, files: &dyn Files, numbers: &[u64], added: Option<Arc<Part>>) {
        let now = self.now();
        self.replace(numbers, added);
        for part in now.parts.iter().filter(|part| numbers.contains(&part.number)) {
            remove(files, part.file.path());
        }
    }
}

/// The page of labels that a reader looked at last.
#[derive(Debug, Default)]
pub(super) struct LastPage<'a> {
    /// All that is read, ascending, where it lies in more pages than the cache is for: then nothing else is decoded.
    only: Option<&'a [u32]>,
    page: Option<((u64, u32), Arc<PageLabels>)>,
}

/// Whether a file is of the catalog's folder, of no later commit, and its last series have the same labels there. Ids
/// are given in ascending order, so that series that another history of the folder gave ids to are among the last.
fn is_of<E>(
    file: &IndexFile,
    as_of: Stamp,
    agrees: &mut impl FnMut(u32, &[(u8, Labels)]) -> Result<Option<bool>, E>,
) -> Result<bool, E> {
    if file.stamp().lineage != as_of.lineage || file.stamp().commit > as_of.commit {
        return Ok(false);
    }
    for number in file.pages().rev() {
        let Ok(rows) = file.labels_of_page(number) else { return Ok(false) };
        if let Some(agrees) = agrees(number, &rows)? {
            return Ok(agrees);
        }
    }
    Ok(true)
}

/// Removes a file that nobody needs. One that stays is looked at again at the next start.
fn remove(files: &dyn Files, path: &Path) {
    if let Err(error) = files.remove(path)
        && !error.is_not_found()
    {
        tracing::warn!(%error, "an index file that is not needed stays until the next start");
    }
}
