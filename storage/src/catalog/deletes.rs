//! Deletes in the catalog: what each hides, and how far it is.
//!
//! The tree `deletes` has two values for one delete: its record, and beside it, as long as that hides samples or may
//! have to be applied, the set of its series.

use bincode::{Decode, Encode};
use roaring::RoaringBitmap;

use super::stored::{decode, encode, value_error};
use super::{Catalog, CatalogError};

/// First byte of the keys of records.
const RECORD_PREFIX: u8 = 0;
/// First byte of the keys of series.
const SERIES_PREFIX: u8 = 1;

/// Value of a record in the tree `deletes`.
#[derive(Debug, Encode, Decode)]
enum StoredDelete {
    V1(DeleteRecord),
}

/// A delete: samples of some series, in a time range, that had been written when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeleteRecord {
    /// What selected the series, as it was written.
    pub selectors: Vec<String>,
    /// First instant it deletes.
    pub start_ms: i64,
    /// Last instant it deletes.
    pub end_ms: i64,
    /// Last log record whose samples it deletes. Blocks lie on one side of it.
    pub last_sequence: u64,
    /// When it was asked for.
    pub created_ms: i64,
    /// Who asked, as far as known.
    pub by: String,
    /// Series that had samples to delete.
    pub series: u64,
    /// These samples, as blocks hold them: one that two blocks have counts twice.
    pub samples: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How far it is.
    pub stage: DeleteStage,
}

/// How far a delete is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum DeleteStage {
    /// Its samples are hidden; they can come back.
    Pending,
    /// Its samples were brought back.
    Undone {
        /// When.
        at_ms: i64,
    },
    /// Blocks with its samples are being rewritten; there is no way back.
    Applying {
        /// Blocks from this id on were written without its samples.
        next_block: u64,
    },
    /// Its samples are gone.
    Applied {
        /// When.
        at_ms: i64,
    },
}

impl DeleteStage {
    /// Whether blocks may have samples that it hides.
    pub fn hides(self) -> bool {
        matches!(self, Self::Pending | Self::Applying { .. })
    }
}

impl Catalog {
    /// Every delete by id, with its series while it [hides](DeleteStage::hides) anything.
    ///
    /// # Errors
    ///
    /// When sled fails or a value cannot be read.
    pub fn deletes(&self) -> Result<Vec<(u64, DeleteRecord, RoaringBitmap)>, CatalogError> {
        let mut found = Vec::new();
        for entry in self.deletes.scan_prefix([RECORD_PREFIX]) {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let bad = |detail: &str| value_error("deletes", &key, detail);
            let id = key.get(1..).and_then(|id| <[u8; 8]>::try_from(id).ok());
            let id = u64::from_be_bytes(id.ok_or_else(|| bad("key is not 9 bytes"))?);
            let StoredDelete::V1(record) = decode("deletes", &key, &value)?;
            let mut series = RoaringBitmap::new();
            if record.stage.hides() {
                let bytes = self.deletes.get(key_of(SERIES_PREFIX, id)).map_err(|source| self.failed(source))?;
                let bytes = bytes.ok_or_else(|| bad("its series are missing"))?;
                series = RoaringBitmap::deserialize_from(&*bytes).map_err(|error| bad(&error.to_string()))?;
            }
            found.push((id, record, series));
        }
        Ok(found)
    }

    /// Adds a delete of `series`, for good when this returns.
    ///
    /// # Errors
    ///
    /// When sled fails; whether the delete is on disk is then unknown.
    pub fn add_delete(&self, id: u64, record: &DeleteRecord, series: &RoaringBitmap) -> Result<(), CatalogError> {
        let mut bytes = Vec::with_capacity(series.serialized_size());
        series.serialize_into(&mut bytes).map_err(|error| self.failed(sled::Error::Io(error)))?;
        let mut batch = sled::Batch::default();
        batch.insert(&key_of(RECORD_PREFIX, id), encode(&StoredDelete::V1(record.clone())));
        batch.insert(&key_of(SERIES_PREFIX, id), bytes);
        let held = self.lasting.lock();
        self.deletes.apply_batch(batch).map_err(|source| self.failed(source))?;
        self.flush_held(&held)
    }

    /// Changes deletes and forgets others in one step, for good when this returns.
    ///
    /// # Errors
    ///
    /// When sled fails; whether the change is on disk is then unknown.
    pub fn change_deletes<'a>(
        &self,
        changed: impl IntoIterator<Item = (u64, &'a DeleteRecord)>,
        forgotten: &[u64],
    ) -> Result<(), CatalogError> {
        let mut batch = sled::Batch::default();
        for (id, record) in changed {
            batch.insert(&key_of(RECORD_PREFIX, id), encode(&StoredDelete::V1(record.clone())));
            if !record.stage.hides() {
                batch.remove(&key_of(SERIES_PREFIX, id));
            }
        }
        for &id in forgotten {
            batch.remove(&key_of(RECORD_PREFIX, id));
            batch.remove(&key_of(SERIES_PREFIX, id));
        }
        let held = self.lasting.lock();
        self.deletes.apply_batch(batch).map_err(|source| self.failed(source))?;
        self.flush_held(&held)
    }
}

fn key_of(prefix: u8, id: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_are_kept_with_their_series_as_long_as_they_hide() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = DeleteRecord {
            selectors: vec!["up{job=\"a\"}".into()],
            start_ms: i64::MIN,
            end_ms: 7,
            last_sequence: 3,
            created_ms: 9,
            by: "ann".into(),
            series: 2,
            samples: 5,
            bytes: 11,
            stage: DeleteStage::Pending,
        };
        let series = RoaringBitmap::from_iter([1, 70_000]);
        {
            let catalog = Catalog::open(folder.path()).expect("new catalog");
            assert_eq!(catalog.deletes().expect("readable"), []);
            catalog.add_delete(1, &record, &series).expect("added");
            catalog.add_delete(2, &record, &series).expect("added");
        }
        let catalog = Catalog::open(folder.path()).expect("opens again");
        let both = [(1, record.clone(), series.clone()), (2, record.clone(), series.clone())];
        assert_eq!(catalog.deletes().expect("readable"), both);
        let undone = DeleteRecord { stage: DeleteStage::Undone { at_ms: 10 }, ..record.clone() };
        let applying = DeleteRecord { stage: DeleteStage::Applying { next_block: 4 }, ..record };
        catalog.change_deletes([(1, &undone), (2, &applying)], &[]).expect("changed");
        let want = [(1, undone, RoaringBitmap::new()), (2, applying, series)];
        assert_eq!(catalog.deletes().expect("readable"), want);
        catalog.change_deletes([], &[1, 2]).expect("forgotten");
        assert_eq!(catalog.deletes().expect("readable"), []);
        assert!(catalog.deletes.is_empty(), "series are forgotten too");
    }
}
