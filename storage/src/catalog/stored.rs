//! The values in the catalog's trees, in bincode 2 (standard configuration: little-endian, variable-length integers).
//!
//! Each is an enumeration of its versions, so that the first byte says how to read the rest.

use bincode::config::Configuration;
use bincode::{Decode, Encode};
use model::{MetricKind, MetricMetadata};

use super::CatalogError;

/// Most bytes that one value may make the decoder reserve.
const VALUE_BYTES_MAX: usize = 64 << 20;
const CODING: Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<VALUE_BYTES_MAX>,
> = bincode::config::standard().with_limit();

/// Value of `version` in the tree `format`.
#[derive(Debug, Encode, Decode)]
pub(super) enum StoredVersion {
    V1 { folder_version: u32 },
}

/// Value in the tree `series` of a folder of version 1.
#[derive(Debug, Encode, Decode)]
pub(super) enum StoredSeries {
    V1 { packed: String },
}

/// Value in the tree `metadata`.
#[derive(Debug, Encode, Decode)]
pub(super) enum StoredMetadata {
    V1 { kind: u8, unit: String, help: String },
}

/// Value of the state in the tree `manifest`.
#[derive(Debug, Encode, Decode)]
pub(super) enum StoredState {
    V1(State),
}

/// Value of a block in the tree `manifest`.
#[derive(Debug, Encode, Decode)]
pub(super) enum StoredBlock {
    /// Samples.
    V1(StoredRecord),
    /// Summaries.
    V2 { record: StoredRecord, window_ms: i64 },
}

/// What both have.
#[derive(Debug, Encode, Decode)]
pub(super) struct StoredRecord {
    file: String,
    first_day: i64,
    last_day: i64,
    level: u8,
    min_ms: i64,
    max_ms: i64,
    series: u64,
    samples: u64,
    bytes: u64,
    first_sequence: u64,
    last_sequence: u64,
}

/// How far the folder is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// The sequence up to which the log is covered by blocks and catalog.
    pub flushed: u64,
    /// The id the next block gets.
    pub next_block: u64,
    /// A series id above all that were ever given out up to `flushed`.
    pub next_series: u32,
}

/// A block that exists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BlockRecord {
    /// Its file's name in the folder `blocks`.
    pub file: String,
    /// First day of its partition, in days since the Unix epoch.
    pub first_day: i64,
    /// Last day of its partition.
    pub last_day: i64,
    /// How often its samples were merged.
    pub level: u8,
    /// Time of its earliest sample.
    pub min_ms: i64,
    /// Time of its latest sample.
    pub max_ms: i64,
    /// Number of series.
    pub series: u64,
    /// Number of samples.
    pub samples: u64,
    /// Length of the file.
    pub bytes: u64,
    /// First log record whose samples it may hold.
    pub first_sequence: u64,
    /// Last log record whose samples it may hold.
    pub last_sequence: u64,
    /// Length of the windows it has summaries of, in milliseconds; 0 if it holds samples.
    pub window_ms: i64,
}

impl From<BlockRecord> for StoredBlock {
    fn from(of: BlockRecord) -> Self {
        let BlockRecord { file, first_day, last_day, level, min_ms, max_ms, series, samples, bytes, .. } = of;
        let (first_sequence, last_sequence) = (of.first_sequence, of.last_sequence);
        let record = StoredRecord {
            file,
            first_day,
            last_day,
            level,
            min_ms,
            max_ms,
            series,
            samples,
            bytes,
            first_sequence,
            last_sequence,
        };
        match of.window_ms {
            0 => Self::V1(record),
            window_ms => Self::V2 { record, window_ms },
        }
    }
}

impl From<StoredBlock> for BlockRecord {
    fn from(stored: StoredBlock) -> Self {
        let (of, window_ms) = match stored {
            StoredBlock::V1(record) => (record, 0),
            StoredBlock::V2 { record, window_ms } => (record, window_ms),
        };
        let StoredRecord { file, first_day, last_day, level, min_ms, max_ms, series, samples, bytes, .. } = of;
        Self {
            file,
            first_day,
            last_day,
            level,
            min_ms,
            max_ms,
            series,
            samples,
            bytes,
            first_sequence: of.first_sequence,
            last_sequence: of.last_sequence,
            window_ms,
        }
    }
}

impl From<&MetricMetadata> for StoredMetadata {
    fn from(metadata: &MetricMetadata) -> Self {
        let kind = MetricKind::ALL.iter().position(|&kind| kind == metadata.kind);
        let kind = kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(u8::MAX);
        Self::V1 { kind, unit: metadata.unit.clone(), help: metadata.help.clone() }
    }
}

impl From<StoredMetadata> for MetricMetadata {
    fn from(StoredMetadata::V1 { kind, unit, help }: StoredMetadata) -> Self {
        Self { kind: MetricKind::ALL.get(usize::from(kind)).copied().unwrap_or_default(), unit, help }
    }
}

pub(super) fn encode(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, CODING).expect("plain values below the limit always encode")
}

pub(super) fn decode<T: Decode<()>>(tree: &'static str, key: &[u8], bytes: &[u8]) -> Result<T, CatalogError> {
    match bincode::decode_from_slice(bytes, CODING) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok(_) => Err(value_error(tree, key, "bytes are left over")),
        Err(error) => Err(value_error(tree, key, &error.to_string())),
    }
}

pub(super) fn value_error(tree: &'static str, key: &[u8], detail: &str) -> CatalogError {
    CatalogError::Value { tree, key: key.escape_ascii().to_string(), detail: detail.to_owned() }
}
