//! Codings of timestamps and values: pure functions between columns and bytes.
//!
//! Two families. [`gorilla`] codes one series sample by sample, for the head: append, snapshot, stream back.
//! [`times`] and [`values`] code whole columns, for blocks: they look at a column and take the smallest coding.
//! [`full`] codes one sample that is more than a float, [`histogram_column`] and [`started_column`] whole columns of such.
//! Every coding is exact to the bit for every i64 and every f64, NaN payloads and signed zeros included. Decoders
//! take any bytes: they return an error or some samples, never panic, and hold no more than the declared count, which
//! is capped at [`CHUNK_SAMPLES_MAX`]. Checksums are the business of the file that holds the bytes.
//!
//! ```
//! use storage::codec::gorilla::{GorillaAppender, GorillaIter};
//!
//! let mut head = GorillaAppender::new();
//! head.push(1_000, 0.5);
//! head.push(16_000, 0.75);
//! let mut bytes = Vec::new();
//! let count = head.snapshot_into(&mut bytes); // cheap: a copy of the bytes; appending may go on
//! let samples: Result<Vec<(i64, f64)>, _> = GorillaIter::new(&bytes, count).collect();
//! assert_eq!(samples.unwrap(), [(1_000, 0.5), (16_000, 0.75)]);
//! ```
//!
//! A column for a block:
//!
//! ```
//! use storage::codec::{Effort, values::{ValueEncoder, decode}};
//!
//! let (mut bytes, mut back) = (Vec::new(), Vec::new());
//! let coding = ValueEncoder::new().encode(&[1.5, 2.5, 3.5], Effort::Small, &mut bytes);
//! decode(coding, &bytes, 3, &mut back).unwrap();
//! assert_eq!((back.as_slice(), bytes.len()), ([1.5, 2.5, 3.5].as_slice(), 3));
//! ```
#![warn(clippy::indexing_slicing)]

pub mod bits;
pub mod full;
pub mod gorilla;
pub mod histogram_column;
mod numbers;
mod packed;
pub mod pco_column;
mod scaled;
pub mod started_column;
pub mod times;
pub mod tsz;
pub mod values;
pub mod varint;
pub mod xor;

pub use pco_column::Effort;

/// Most samples in one chunk and one timestamp column.
pub const CHUNK_SAMPLES_MAX: usize = 4096;

/// Why bytes cannot be decoded. The samples of the chunk are lost; the rest of the file is still readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum CodecError {
    /// Bytes are missing.
    #[error("{coding} ends at sample {at} of {count}")]
    Truncated { coding: &'static str, at: usize, count: usize },
    /// More samples declared than any writer puts into one chunk.
    #[error("{count} samples declared, {limit} is the limit")]
    TooManySamples { count: usize, limit: usize },
    /// Written by a newer version, or damaged.
    #[error("unknown coding {tag:#04x}")]
    UnknownCoding { tag: u8 },
    /// The bytes break the rules of their coding.
    #[error("{coding} is malformed: {detail}")]
    Malformed { coding: &'static str, detail: String },
}

/// Refuses a declared count above the limit, so that it can be reserved.
pub(crate) fn check_count(count: usize) -> Result<(), CodecError> {
    if count > CHUNK_SAMPLES_MAX {
        return Err(CodecError::TooManySamples { count, limit: CHUNK_SAMPLES_MAX });
    }
    Ok(())
}
