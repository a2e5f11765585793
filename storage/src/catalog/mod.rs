//! The catalog: what must change in one step, kept in sled.
//!
//! Which blocks exist, which series have which id, what is known of metrics, how far the log is covered. Values are
//! [`stored`] in bincode with their version. A block file exists only once [`Catalog::commit`] has returned. The
//! trees are drawn in `docs/format-log-catalog.md`.

pub mod stored;

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Labels, MetricMetadata};

use crate::ids::{BlockId, SeriesId};
pub use stored::{BlockRecord, State};
use stored::{StoredBlock, StoredMetadata, StoredSeries, StoredState, StoredVersion, decode, encode};

/// The version of the whole folder: segments, trees, blocks and how they refer to each other.
pub const FOLDER_VERSION: u32 = 1;
/// Memory that sled may use for its pages. It keeps to it only roughly, so it is small; series are written and read
/// in the order of their ids, so that more would help little.
const CACHE_BYTES: u64 = 4 << 20;
/// Most series that one sled batch registers or removes. sled holds what a batch touches in memory until it ends, and
/// rewrites it more often the larger the batch: 100,000 series take 26 MiB in batches of 128, 284 MiB in 8,192.
const SERIES_BATCH_MAX: usize = 128;
/// How often sled's lock is tried again.
const LOCK_RETRIES_MAX: usize = 200;
/// Pause between two tries.
const LOCK_RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Key of the folder's version in the tree `format`.
const VERSION_KEY: &[u8] = b"version";
/// Key of the state in the tree `manifest`; block keys start with another byte.
const STATE_KEY: &[u8] = &[0];
/// First byte of block keys.
const BLOCK_KEY_PREFIX: u8 = 1;

/// Why the catalog fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CatalogError {
    /// The disk failed, or sled found its own files damaged: restore the folder from a backup.
    #[error("catalog {}: {source}", folder.display())]
    Sled { folder: PathBuf, source: sled::Error },
    /// A value that no version of this program wrote.
    #[error("catalog tree {tree}: value of key {key} cannot be read: {detail}")]
    Value { tree: &'static str, key: String, detail: String },
    /// Written by a newer program, which must be used to open it.
    #[error("data folder has version {found}, this program reads up to {FOLDER_VERSION}")]
    Version { found: u32 },
}

/// An open catalog.
#[derive(Debug)]
pub struct Catalog {
    folder: PathBuf,
    db: sled::Db,
    series: sled::Tree,
    metadata: sled::Tree,
    manifest: sled::Tree,
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
    /// Opens or creates the catalog in `folder`.
    ///
    /// # Errors
    ///
    /// When sled cannot open it, or it was written by a newer program.
    pub fn open(folder: &Path) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Sled { folder: folder.to_owned(), source };
        let db = open_sled(folder).map_err(failed)?;
        let tree = |name| db.open_tree(name).map_err(failed);
        let (format, series, metadata, manifest) =
            (tree("format")?, tree("series")?, tree("metadata")?, tree("manifest")?);
        match format.get(VERSION_KEY).map_err(failed)? {
            None => {
                let version = encode(&StoredVersion::V1 { folder_version: FOLDER_VERSION });
                format.insert(VERSION_KEY, version).map_err(failed)?;
                db.flush().map_err(failed)?;
            }
            Some(bytes) => match decode("format", VERSION_KEY, &bytes)? {
                StoredVersion::V1 { folder_version } if folder_version > FOLDER_VERSION => {
                    return Err(CatalogError::Version { found: folder_version });
                }
                StoredVersion::V1 { .. } => {}
            },
        }
        Ok(Self { folder: folder.to_owned(), db, series, metadata, manifest })
    }

    /// Whether `folder` has a catalog, or the beginning of one.
    pub fn exists(folder: &Path) -> bool {
        folder.join("db").exists()
    }

    /// Adds series. Saying again what is known is harmless. Lasting after the next [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn add_series<'a>(&self, series: impl IntoIterator<Item = (SeriesId, &'a Labels)>) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        let mut size = 0;
        for (id, labels) in series {
            batch.insert(&id.0.to_be_bytes(), encode(&StoredSeries::V1 { packed: labels.packed().to_owned() }));
            size += 1;
            if size == SERIES_BATCH_MAX {
                self.series.apply_batch(std::mem::take(&mut batch)).map_err(|source| self.failed(source))?;
                size = 0;
            }
        }
        self.series.apply_batch(batch).map_err(|source| self.failed(source))
    }

    /// Removes series, for good when this returns.
    ///
    /// # Errors
    ///
    /// When sled fails.
    pub fn remove_series(&self, ids: &[SeriesId]) -> Result<(), CatalogError> {
        for part in ids.chunks(SERIES_BATCH_MAX) {
            let mut batch = sled::Batch::default();
            for id in part {
                batch.remove(&id.0.to_be_bytes());
            }
            self.series.apply_batch(batch).map_err(|source| self.failed(source))?;
        }
        self.flush()
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

    /// Makes `change`, and every series and metadata set before, true and lasting in one step.
    ///
    /// # Errors
    ///
    /// When sled fails; whether the change is on disk is then unknown.
    pub fn commit(&self, change: &Change) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for (id, record) in &change.added {
            batch.insert(&block_key(*id), encode(&StoredBlock::V1(record.clone())));
        }
        for id in &change.removed {
            batch.remove(&block_key(*id));
        }
        batch.insert(STATE_KEY, encode(&StoredState::V1(change.state)));
        self.manifest.apply_batch(batch).map_err(|source| self.failed(source))?;
        // sled's log is one line: what was put into it before this batch is on disk before it.
        self.flush()
    }

    /// Every registered series, by id.
    ///
    /// # Errors
    ///
    /// When sled fails or a value cannot be read.
    pub fn series(&self) -> impl Iterator<Item = Result<(SeriesId, Labels), CatalogError>> + '_ {
        self.series.iter().map(|entry| {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let bad = |detail: &str| stored::value_error("series", &key, detail);
            let id = <[u8; 4]>::try_from(&*key).map_err(|_| bad("key is not 4 bytes"))?;
            let StoredSeries::V1 { packed } = decode("series", &key, &value)?;
            let labels = Labels::from_packed(&packed).map_err(|error| bad(&error.to_string()))?;
            Ok((SeriesId(u32::from_be_bytes(id)), labels))
        })
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
            let StoredBlock::V1(record) = decode("manifest", &key, &value)?;
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

    /// Bytes of sled's files.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    fn flush(&self) -> Result<(), CatalogError> {
        self.db.flush().map(drop).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: sled::Error) -> CatalogError {
        CatalogError::Sled { folder: self.folder.clone(), source }
    }
}

/// Opens sled. Threads of an engine that was just dropped in this process may hold its lock a moment longer; that no
/// other process has the folder is the engine's own lock's business.
fn open_sled(folder: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    for _ in 0..LOCK_RETRIES_MAX {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(LOCK_RETRY_PAUSE);
            }
            opened => return opened,
        }
    }
    config.open()
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

    #[test]
    fn refuses_a_newer_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Catalog::open(folder.path()).expect("new catalog"));
        let db = open_sled(folder.path()).expect("sled opens");
        let newer = encode(&StoredVersion::V1 { folder_version: FOLDER_VERSION + 1 });
        db.open_tree("format").expect("a tree").insert(VERSION_KEY, newer).expect("written");
        db.flush().expect("flushed");
        drop(db);
        assert!(matches!(Catalog::open(folder.path()), Err(CatalogError::Version { found: 2 })));
    }
}
