//! Prometheus's chunks: runs of samples in the coding of its storage (`tsdb/docs/format/chunks.md`), which streamed
//! remote read sends as they are.
//!
//! Owns how samples are cut into chunks and coded; written only, as nothing here reads them. Our own storage has
//! codings of its own.

mod bits;
#[cfg(test)]
#[path = "../../tests/http/chunk_decoder.rs"]
mod decoder;
mod histogram;
#[cfg(test)]
mod tests;
mod xor;

use std::iter::Peekable;

use model::remote_write::read::{Chunk, ChunkEncoding};
use model::{FullSample, SampleValue, Samples};

use histogram::HistogramChunk;
use xor::XorChunk;

/// Most samples in one chunk, as in Prometheus.
pub(crate) const SAMPLES_MAX: u16 = 120;

/// The chunks of `samples`, in order of time.
pub(crate) fn chunks(samples: &Samples) -> impl Iterator<Item = Chunk> + '_ {
    let mut rest = samples.iter_full().peekable();
    std::iter::from_fn(move || next_chunk(&mut rest))
}

/// Takes the samples of one chunk off the front.
fn next_chunk(rest: &mut Peekable<impl Iterator<Item = FullSample>>) -> Option<Chunk> {
    let first = rest.next()?;
    let min_time_ms = first.timestamp_ms;
    let mut max_time_ms = min_time_ms;
    let (encoding, data) = match &first.value {
        SampleValue::Float(value) => {
            let mut chunk = XorChunk::new(min_time_ms, *value);
            while let Some(next) = rest.next_if(|next| matches!(next.value, SampleValue::Float(_)) && !chunk.is_full())
            {
                if let SampleValue::Float(value) = next.value {
                    chunk.push(next.timestamp_ms, value);
                    max_time_ms = next.timestamp_ms;
                }
            }
            (ChunkEncoding::Xor, chunk.finish())
        }
        SampleValue::Histogram(histogram) => {
            let mut chunk = HistogramChunk::new(min_time_ms, histogram);
            while let Some(next) = rest.next_if(|next| chunk.push(next)) {
                max_time_ms = next.timestamp_ms;
            }
            (ChunkEncoding::FloatHistogram, chunk.finish())
        }
    };
    Some(Chunk { min_time_ms, max_time_ms, r#type: encoding.into(), data })
}
