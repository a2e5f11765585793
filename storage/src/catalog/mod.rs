//! The catalog: what must change in one step, kept in sled.
//!
//! Which blocks exist, which series have which id, what is known of metrics, how far the log is covered. Series are
//! kept in [pages](label_page) of neighbouring ids, the other values are [`stored`] in bincode with their version. A
//! block file exists only once [`Catalog::commit`] has returned. The trees are drawn in `docs/format-log-catalog.md`.

mod churn;
mod convert;
mod deletes;
pub mod label_page;
mod long_values;
pub mod mark;
pub(crate) mod raw;
pub(crate) mod rooms;
mod sled_folder;
pub mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, LabelsRef, MetricMetadata};

use crate::files::Files;
use crate::ids::{BlockId, SeriesId};
pub use churn::{ChurnPoint, ChurnRecord};
pub use deletes::{DeleteRecord, DeleteStage};
use long_values::LongValues;
pub use mark::{Mark, Marked};
use parking_lot::MutexGuard;
use rooms::{Lasting, ROOMS_TREE, Rooms};
pub use rooms::{ROOM_KEY_BYTES_MAX, ROOM_NAME_BYTES_MAX, ROOM_VALUE_BYTES_MAX, RoomChange, RoomEntry};
use sled_folder::open_sled;
pub use stored::{BlockRecord, State};
use stored::{StoredBlock, StoredMetadata, StoredState, StoredVersion, decode, encode};

/// The version of the whole folder: segments, trees, blocks and how they refer to each other.
pub const FOLDER_VERSION: u32 = 2;
/// Most label pages that one sled batch sets or removes: sled holds in memory what a batch touches until it ends.
const PAGES_BATCH_MAX: usize = 16;
/// Ids of one label page.
const PAGE_SERIES: u32 = 1 << u8::BITS;
/// The tree of label pages.
const PAGES_TREE: &str = "label_pages";
/// Key of the folder's version in the tree `format`.
const VERSION_KEY: &[u8] = b"version";
/// Key of the state in the tree `manifest`; block keys start with another byte.
const STATE_KEY: &[u8] = &[0];
/// Key of the number of the last commit in the tree `manifest`: 8 bytes, big-endian.
const COMMIT_KEY: &[u8] = &[2];
/// Key of the number of the folder in the tree `manifest`: 8 bytes, big-endian.
const LINEAGE_KEY: &[u8] = &[3];
/// First byte of block keys.
const BLOCK_KEY_PREFIX: u8 = 1;

/// Why the catalog fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CatalogError {
    /// The disk failed, or sled found its own files damaged: restore the folder from a backup.
    #[error("catalog {}: {source}; restore the data folder from a backup, unless the disk or its permissions are to blame", folder.display())]
    Sled { folder: PathBuf, source: sled::Error },
    /// A value that no version of this program wrote.
    #[error("catalog tree {tree}: value of key {key} cannot be read: {detail}; restore the data folder from a backup")]
    Value { tree: &'static str, key: String, detail: String },
    /// The folder's files cannot be moved or removed: look at its permissions.
    #[error("catalog {}: {source}", folder.display())]
    Files { folder: PathBuf, source: std::io::Error },
    /// Written by a newer program, which must be used to open it.
    #[error("data folder has version {found}, this program reads up to {FOLDER_VERSION}")]
    Version { found: u32 },
}

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    folder: PathBuf,
    db: sled::Db,
    pages: sled::Tree,
    metadata: sled::Tree,
    manifest: sled::Tree,
    deletes: sled::Tree,
    rooms: Arc<Rooms>,
    long_values: Arc<LongValues>,
    lasting: Lasting,
    /// Number of the last commit.
    commits: AtomicU64,
    /// Where commits are marked, if they are, and the highest that was marked when this was opened.
    mark: Option<(Arc<dyn Files>, PathBuf, Mark)>,
}

/// The labels of the series of one page, coded.
#[derive(Debug)]
pub struct LabelPage {
    number: u32,
    value: sled::IVec,
}

impl LabelPage {
    /// The ids that can be in it.
    pub fn range(&self) -> std::ops::RangeInclusive<u32> {
        let first = self.number * PAGE_SERIES;
        first..=first + (PAGE_SERIES - 1)
    }

    /// The series in it.
    ///
    /// # Errors
    ///
    /// When the page cannot be read.
    pub fn ids(&self) -> Result<Vec<SeriesId>, CatalogError> {
        let slots = label_page::slots(&self.value).map_err(|error| self.unreadable(&error))?;
        Ok(slots.into_iter().map(|slot| self.id(slot)).collect())
    }

    /// The series in it with their labels, by id.
    ///
    /// # Errors
    ///
    /// When the page cannot be read.
    pub fn series(&self) -> Result<Vec<(SeriesId, Labels)>, CatalogError> {
        let rows = label_page::decode(&self.value).map_err(|error| self.unreadable(&error))?;
        Ok(rows.into_iter().map(|(slot, labels)| (self.id(slot), labels)).collect())
    }

    fn id(&self, slot: u8) -> SeriesId {
        SeriesId(self.number * PAGE_SERIES + u32::from(slot))
    }

    fn unreadable(&self, error: &label_page::LabelPageError) -> CatalogError {
        stored::value_error(PAGES_TREE, &self.number.to_be_bytes(), &error.to_string())
    }
}

/// Changes that become true together.
#[derive(Debug, Default)]
pub struct Change {
    /// Blocks that exist from now on.
    pub added: Vec<(BlockId, BlockRecord)>,
    /// Blocks that exist no more.
    pub removed: Vec<BlockId>,
    /// The new state.
    pub state: State,
}

impl Catalog {
    /// Opens or creates the catalog in `folder`; one of an older version is converted first.
    ///
    /// # Errors
    ///
    /// When sled cannot open it, or it was written by a newer program.
    pub fn open(folder: &Path) -> Result<Self, CatalogError> {
        convert::finish(folder)?;
        let catalog = Self::open_trees(folder)?;
        match catalog.version()? {
            None => {
                catalog.set_version()?;
                Ok(catalog)
            }
            Some(FOLDER_VERSION) => Ok(catalog),
            Some(found) if found > FOLDER_VERSION => Err(CatalogError::Version { found }),
            Some(_) => {
                convert::from_version_1(catalog)?;
                Self::open_trees(folder)
            }
        }
    }

    /// Opens what is there, of whatever version.
    fn open_trees(folder: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Sled { folder: folder.to_owned(), source };
        let db = open_sled(folder).map_err(failed)?;
        let tree = |name| db.open_tree(name).map_err(failed);
        let (pages, metadata) = (tree(PAGES_TREE)?, tree("metadata")?);
        let (manifest, deletes) = (tree("manifest")?, tree("deletes")?);
        let commits = manifest.get(COMMIT_KEY).map_err(failed)?;
        let commits = commits.map_or(Ok(0), |bytes| match <[u8; 8]>::try_from(&*bytes) {
            Ok(number) => Ok(u64::from_be_bytes(number)),
            Err(_) => Err(stored::value_error("manifest", COMMIT_KEY, "number is not 8 bytes")),
        })?;
        let (folder, commits) = (folder.to_owned(), AtomicU64::new(commits));
        let (long_values, lasting) = (Arc::new(LongValues::of(&folder)), Lasting::default());
        let rooms =
            Rooms::new(folder.clone(), db.clone(), tree(ROOMS_TREE)?, Arc::clone(&long_values), Arc::clone(&lasting));
        let rooms = Arc::new(rooms);
        Ok(Self { folder, db, pages, metadata, manifest, deletes, rooms, long_values, lasting, commits, mark: None })
    }

    fn version(&self) -> Result<Option<u32>, CatalogError> {
        let bytes = self.tree("format")?.get(VERSION_KEY).map_err(|source| self.failed(source))?;
        let version = bytes.map(|bytes| decode("format", VERSION_KEY, &bytes)).transpose()?;
        Ok(version.map(|StoredVersion::V1 { folder_version }| folder_version))
    }

    fn set_version(&self) -> Result<(), CatalogError> {
        let version = encode(&StoredVersion::V1 { folder_version: FOLDER_VERSION });
        self.tree("format")?.insert(VERSION_KEY, version).map_err(|source| self.failed(source))?;
        self.flush()
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, CatalogError> {
        self.db.open_tree(name).map_err(|source| self.failed(source))
    }

    /// Whether `folder` has a catalog, or the beginning of one.
    pub fn exists(folder: &Path) -> bool {
        folder.join("db").exists() || convert::is_unfinished(folder)
    }

    /// Adds series. Saying again what is known is harmless. Lasting after the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// When sled fails, or a page of series that is already there cannot be read.
    pub fn add_series<'a>(&self, series: impl IntoIterator<Item = (SeriesId, &'a Labels)>) -> Result<(), CatalogError> {
        let mut series: Vec<(SeriesId, LabelsRef<'_>)> =
            series.into_iter().map(|(id, labels)| (id, labels.as_ref())).collect();
        series.sort_unstable_by_key(|(id, _)| *id);
        let pages: Vec<&[(SeriesId, LabelsRef<'_>)]> = series.chunk_by(|a, b| page_of(a.0) == page_of(b.0)).collect();
        self.change_pages(&pages, |known, new| {
            let new = new.iter().map(|(id, labels)| (slot_of(*id), *labels));
            let all: BTreeMap<u8, LabelsRef<'_>> =
                known.iter().map(|(slot, of)| (*slot, of.as_ref())).chain(new).collect();
            (!all.is_empty()).then(|| label_page::encode(all))
        })
    }

    /// Removes series, for good when this returns.
    ///
    /// # Errors
    ///
    /// When sled fails, or a page of the series cannot be read.
    pub fn remove_series(&self, ids: &[SeriesId]) -> Result<(), CatalogError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let pages: Vec<&[SeriesId]> = ids.chunk_by(|a, b| page_of(*a) == page_of(*b)).collect();
        self.change_pages(&pages, |known, gone| {
            let gone: Vec<u8> = gone.iter().map(|id| slot_of(*id)).collect();
            let kept = known.iter().filter(|(slot, _)| gone.binary_search(slot).is_err());
            let mut kept = kept.map(|(slot, labels)| (*slot, labels.as_ref())).peekable();
            kept.peek().is_some().then(|| label_page::encode(kept))
        })?;
        self.flush()
    }

    /// Sets each page that `parts` have series of to what `change` makes of its rows and the part; `None` removes it.
    fn change_pages<T: PageItem>(
        &self,
        parts: &[&[T]],
        change: impl Fn(&[(u8, Labels)], &[T]) -> Option<Vec<u8>>,
    ) -> Result<(), CatalogError> {
        for parts in parts.chunks(PAGES_BATCH_MAX) {
            let mut batch = sled::Batch::default();
            for part in parts {
                let Some(first) = part.first() else { continue };
                let key = page_of(first.id()).to_be_bytes();
                let known = self.pages.get(key).map_err(|source| self.failed(source))?;
                let known = known.map_or(Ok(Vec::new()), |bytes| read_page(&key, &bytes))?;
                match change(&known, part) {
                    Some(page) => batch.insert(&key, page),
                    None => batch.remove(&key),
                }
            }
            self.pages.apply_batch(batch).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Sets metadata by metric name. Lasting after the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn set_metadata<'a>(
        &self,
        metadata: impl IntoIterator<Item = (&'a str, &'a MetricMetadata)>,
    ) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for (metric, metadata) in metadata {
            batch.insert(metric.as_bytes(), encode(&StoredMetadata::from(metadata)));
        }
        self.metadata.apply_batch(batch).map_err(|source| self.failed(source))
    }

    /// Removes metadata by metric name. Lasting after the next [`commit`](Self::commit) or removal of series.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn remove_metadata(&self, metrics: &[String]) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for metric in metrics {
            batch.remove(metric.as_bytes());
        }
        self.metadata.apply_batch(batch).map_err(|source| self.failed(source))
    }

    /// Makes `change`, and every series and metadata set before, true and lasting in one step.
    ///
    /// # Errors
    ///
    /// When sled fails; whether the change is on disk is then unknown.
    pub fn commit(&self, change: &Change) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for (id, record) in &change.added {
            batch.insert(&block_key(*id), encode(&StoredBlock::from(record.clone())));
        }
        for id in &change.removed {
            batch.remove(&block_key(*id));
        }
        batch.insert(STATE_KEY, encode(&StoredState::V1(change.state)));
        let held = self.lasting.lock();
        self.manifest.apply_batch(batch).map_err(|source| self.failed(source))?;
        // sled's log is one line: what was put into it before this batch is on disk before it.
        self.flush_held(&held)
    }

    /// Every registered series, by id.
    ///
    /// # Errors
    ///
    /// When sled fails or a value cannot be read.
    pub fn series(&self) -> impl Iterator<Item = Result<(SeriesId, Labels), CatalogError>> + '_ {
        self.label_pages().flat_map(|page| match page.and_then(|page| page.series()) {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Every label page, by number, not decoded yet.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn label_pages(&self) -> impl Iterator<Item = Result<LabelPage, CatalogError>> + '_ {
        self.pages.iter().map(|entry| {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let number = <[u8; 4]>::try_from(&*key).ok().map(u32::from_be_bytes);
            let number = number.filter(|number| number.checked_mul(PAGE_SERIES).is_some());
            let number = number.ok_or_else(|| stored::value_error(PAGES_TREE, &key, "key is no page"))?;
            Ok(LabelPage { number, value })
        })
    }

    /// Label page `number`, if there is one.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn label_page(&self, number: u32) -> Result<Option<LabelPage>, CatalogError> {
        let value = self.pages.get(number.to_be_bytes()).map_err(|source| self.failed(source))?;
        Ok(value.map(|value| LabelPage { number, value }))
    }

    /// The number of this folder, given by chance when it is first asked for: what is derived from the catalog has it too,
    /// so that nothing derived from another one is taken for its own. Lasting after the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// When sled fails or the value cannot be read.
    pub fn lineage(&self) -> Result<u64, CatalogError> {
        let known = self.manifest.get(LINEAGE_KEY).map_err(|source| self.failed(source))?;
        if let Some(bytes) = known {
            let bytes = <[u8; 8]>::try_from(&*bytes);
            let bytes = bytes.map_err(|_| stored::value_error("manifest", LINEAGE_KEY, "number is not 8 bytes"))?;
            return Ok(u64::from_be_bytes(bytes));
        }
        let number = ahash::RandomState::new().hash_one(LINEAGE_KEY);
        self.manifest.insert(LINEAGE_KEY, &number.to_be_bytes()).map_err(|source| self.failed(source))?;
        Ok(number)
    }

    /// All metadata, by metric name.
    ///
    /// # Errors
    ///
    /// When sled fails or a value cannot be read.
    pub fn metadata(&self) -> impl Iterator<Item = Result<(String, MetricMetadata), CatalogError>> + '_ {
        self.metadata.iter().map(|entry| {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let metric = std::str::from_utf8(&key);
            let metric = metric.map_err(|_| stored::value_error("metadata", &key, "key is not UTF-8"))?;
            Ok((metric.to_owned(), decode::<StoredMetadata>("metadata", &key, &value)?.into()))
        })
    }

    /// Every registered block, by id.
    ///
    /// # Errors
    ///
    /// When sled fails or a value cannot be read.
    pub fn blocks(&self) -> impl Iterator<Item = Result<(BlockId, BlockRecord), CatalogError>> + '_ {
        self.manifest.scan_prefix([BLOCK_KEY_PREFIX]).map(|entry| {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let id = key.get(1..).and_then(|id| <[u8; 8]>::try_from(id).ok());
            let id = id.ok_or_else(|| stored::value_error("manifest", &key, "key is not 9 bytes"))?;
            let record = decode::<StoredBlock>("manifest", &key, &value)?.into();
            Ok((BlockId(u64::from_be_bytes(id)), record))
        })
    }

    /// The state written by the last commit.
    ///
    /// # Errors
    ///
    /// When sled fails or the value cannot be read.
    pub fn state(&self) -> Result<State, CatalogError> {
        match self.manifest.get(STATE_KEY).map_err(|source| self.failed(source))? {
            None => Ok(State::default()),
            Some(bytes) => decode("manifest", STATE_KEY, &bytes).map(|StoredState::V1(state)| state),
        }
    }

    /// The last commit, as it is marked.
    ///
    /// # Errors
    ///
    /// When sled fails or the state cannot be read.
    pub fn last_commit(&self) -> Result<Mark, CatalogError> {
        Ok(Mark { number: self.commits.load(Ordering::Relaxed), state: self.state()? })
    }

    /// Marks the commits from now on in the file at `path`. They get numbers above that of `before`, the mark there was, and a
    /// mark never falls behind the state of that one.
    pub fn mark_commits(&mut self, files: Arc<dyn Files>, path: PathBuf, before: Mark) {
        self.commits.fetch_max(before.number, Ordering::Relaxed);
        self.mark = Some((files, path, before));
    }

    /// Marks the last commit. Where that fails the mark before stays, which is behind but not wrong.
    ///
    /// # Errors
    ///
    /// When sled fails or the state cannot be read.
    pub fn mark(&self) -> Result<(), CatalogError> {
        if let Some((files, path, before)) = &self.mark
            && let Err(error) = self.last_commit()?.max(before).write(&**files, path)
        {
            tracing::warn!(%error, "the last commit of the catalog is not marked");
        }
        Ok(())
    }

    /// What others keep here.
    pub(crate) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Bytes of sled's files.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    fn flush(&self) -> Result<(), CatalogError> {
        self.flush_held(&self.lasting.lock())
    }

    /// Makes lasting what was changed, with [`Lasting`] held since before changes that must not be on disk without the long values
    /// that they speak of.
    fn flush_held(&self, _held: &MutexGuard<'_, ()>) -> Result<(), CatalogError> {
        let number = self.commits.load(Ordering::Relaxed) + 1;
        // After what it counts: where sled goes back, it goes first.
        self.manifest.insert(COMMIT_KEY, &number.to_be_bytes()).map_err(|source| self.failed(source))?;
        // Before what points to them.
        self.long_values.sync().map_err(|source| CatalogError::Files { folder: self.folder.clone(), source })?;
        self.db.flush().map_err(|source| self.failed(source))?;
        self.commits.store(number, Ordering::Relaxed);
        self.mark()
    }

    fn failed(&self, source: sled::Error) -> CatalogError {
        CatalogError::Sled { folder: self.folder.clone(), source }
    }
}

/// What lies in a label page, or is to leave it.
trait PageItem {
    fn id(&self) -> SeriesId;
}

impl PageItem for SeriesId {
    fn id(&self) -> SeriesId {
        *self
    }
}

impl PageItem for (SeriesId, LabelsRef<'_>) {
    fn id(&self) -> SeriesId {
        self.0
    }
}

/// The number of the page that the series is in.
fn page_of(id: SeriesId) -> u32 {
    id.0 / PAGE_SERIES
}

/// The place of the series in its page.
fn slot_of(id: SeriesId) -> u8 {
    id.0.to_le_bytes()[0]
}

fn read_page(key: &[u8], value: &[u8]) -> Result<Vec<(u8, Labels)>, CatalogError> {
    label_page::decode(value).map_err(|error| stored::value_error(PAGES_TREE, key, &error.to_string()))
}

fn block_key(id: BlockId) -> [u8; 9] {
    let mut key = [BLOCK_KEY_PREFIX; 9];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MetricKind;

    #[test]
    fn keeps_what_was_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let up = Labels::from_pairs([("__name__", "up")]).expect("valid labels");
        let about = MetricMetadata { kind: MetricKind::Info, unit: String::new(), help: "h".into() };
        let record = BlockRecord { file: "7.blk".into(), samples: 3, min_ms: i64::MIN, ..BlockRecord::default() };
        let state = State { flushed: 9, next_block: 8, next_series: 1 };
        {
            let catalog = Catalog::open(folder.path()).expect("new catalog");
            assert_eq!(catalog.state().expect("readable"), State::default());
            catalog.add_series([(SeriesId(5), &up)]).expect("added");
            catalog.set_metadata([("up", &about)]).expect("set");
            let change = Change { added: vec![(BlockId(7), record.clone())], removed: vec![BlockId(3)], state };
            catalog.commit(&change).expect("committed");
        }
        let catalog = Catalog::open(folder.path()).expect("catalog opens again");
        assert_eq!(catalog.state().expect("readable"), state);
        assert_eq!(catalog.series().map(Result::unwrap).collect::<Vec<_>>(), [(SeriesId(5), up)]);
        assert_eq!(catalog.metadata().map(Result::unwrap).collect::<Vec<_>>(), [("up".to_owned(), about)]);
        assert_eq!(catalog.blocks().map(Result::unwrap).collect::<Vec<_>>(), [(BlockId(7), record)]);
        catalog.remove_series(&[SeriesId(5)]).expect("removed");
        assert_eq!(catalog.series().count(), 0);
    }

    /// Pages that are written again and again, in part, hold what was added and not removed.
    #[test]
    fn pages_hold_what_was_added_and_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let labels = |id: u32| Labels::from_pairs([("__name__", "m"), ("at", &id.to_string())]).expect("valid");
        let mut want = BTreeMap::new();
        let random = &mut fastrand::Rng::with_seed(11);
        for round in 0..30 {
            let catalog = Catalog::open(folder.path()).expect("opens");
            let new: Vec<(SeriesId, Labels)> =
                (0..random.usize(0..200)).map(|_| random.u32(0..2000)).map(|id| (SeriesId(id), labels(id))).collect();
            catalog.add_series(new.iter().map(|(id, labels)| (*id, labels))).expect("added");
            want.extend(new);
            let gone: Vec<SeriesId> = want.keys().copied().filter(|_| random.u8(0..10) < round / 4).collect();
            catalog.remove_series(&gone).expect("removed");
            want.retain(|id, _| !gone.contains(id));
            assert_eq!(catalog.series().map(Result::unwrap).collect::<BTreeMap<_, _>>(), want, "round {round}");
        }
        let catalog = Catalog::open(folder.path()).expect("opens");
        catalog.remove_series(&want.keys().copied().collect::<Vec<_>>()).expect("removed");
        assert!(catalog.pages.is_empty(), "pages without series are removed");
    }

    #[test]
    fn refuses_a_newer_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Catalog::open(folder.path()).expect("new catalog"));
        let db = open_sled(folder.path()).expect("sled opens");
        let newer = encode(&StoredVersion::V1 { folder_version: FOLDER_VERSION + 1 });
        db.open_tree("format").expect("a tree").insert(VERSION_KEY, newer).expect("written");
        db.flush().expect("flushed");
        drop(db);
        assert!(matches!(Catalog::open(folder.path()), Err(CatalogError::Version { found: 3 })));
    }
}
