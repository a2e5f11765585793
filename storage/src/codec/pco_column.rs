//! Columns by pco, in its wrapped form: one chunk, one page, no header.
//!
//! pco (Loncaric et al., "Pcodec: Better Compression for Numerical Sequences", 2025) splits numbers into bins of like
//! magnitude, after deltas and common factors are taken out, and entropy-codes the bins. What this file guards: the
//! count is ours, and so is the memory of dictionaries and look-back windows, which damaged bytes could declare at will.

use pco::data_types::Number;
use pco::metadata::DeltaEncoding;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, FULL_BATCH_N, ModeSpec, PagingSpec};

use super::{CHUNK_SAMPLES_MAX, CodecError};

/// The name in errors.
const CODING: &str = "pco column";

/// The bytes of pco's file header that our format implies: format version 4.1.
const VERSION_BYTES: [u8; 2] = [4, 1];

/// The mode, in the low four bits of the first byte, that begins with a dictionary: its length would be reserved
/// before its bytes are there. We do not write it.
const MODE_BITS: u8 = 0xf;
const MODE_DICTIONARY: u8 = 4;

/// Largest look-back window that is decoded, as a power of two: one chunk.
const WINDOW_LOG_MAX: u32 = CHUNK_SAMPLES_MAX.ilog2();

/// How hard to look for a small coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// For blocks that will soon be merged.
    Fast,
    /// For blocks that stay.
    #[default]
    Small,
}

/// Appends `numbers` to `out`. Returns false, with `out` as before, if pco refuses them.
pub fn encode<T: Number>(numbers: &[T], effort: Effort, out: &mut Vec<u8>) -> bool {
    encode_planned(numbers, effort, None, out)
}

/// As [`encode`]; who knows how often to take differences spares pco trying it out.
pub fn encode_planned<T: Number>(numbers: &[T], effort: Effort, order: Option<u8>, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let done = try_encode(numbers, effort, order, out).is_ok();
    if !done {
        out.truncate(before);
    }
    done
}

fn try_encode<T: Number>(
    numbers: &[T],
    effort: Effort,
    order: Option<u8>,
    out: &mut Vec<u8>,
) -> pco::errors::PcoResult<()> {
    let config = ChunkConfig::default().with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let config = match (effort, order) {
        (Effort::Small, None) => config,
        (Effort::Small, Some(order)) => config.with_delta_spec(DeltaSpec::TryConsecutive(order.into())),
        (Effort::Fast, order) => config
            .with_compression_level(4)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::TryConsecutive(order.unwrap_or(1).into())),
    };
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config)?;
    chunk.write_meta(&mut *out)?;
    chunk.write_page(0, &mut *out)?;
    Ok(())
}

/// Appends `count` numbers to `out`.
///
/// # Errors
///
/// When the bytes are no pco chunk of that length, or need more memory than any chunk of ours.
pub fn decode<T: Number + Default>(bytes: &[u8], count: usize, out: &mut Vec<T>) -> Result<(), CodecError> {
    super::check_count(count)?;
    if bytes.first().is_some_and(|first| first & MODE_BITS == MODE_DICTIONARY) {
        return Err(refused("a dictionary"));
    }
    let (file, _) = FileDecompressor::new(VERSION_BYTES.as_slice()).map_err(malformed)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(malformed)?;
    if let DeltaEncoding::Lookback { config, .. } = &chunk.meta().delta_encoding
        && (config.window_n_log > WINDOW_LOG_MAX || config.state_n_log > WINDOW_LOG_MAX)
    {
        return Err(refused("a look-back window larger than a chunk"));
    }
    let start = out.len();
    // pco fills whole batches; a partial one goes over the end and is cut off again.
    out.resize(start + count.next_multiple_of(FULL_BATCH_N), T::default());
    let room = out.get_mut(start..).unwrap_or_default();
    let progress = chunk.page_decompressor(rest, count).and_then(|mut page| page.read(room));
    out.truncate(start + count);
    match progress {
        Ok(progress) if progress.n_processed == count && progress.finished => Ok(()),
        Ok(progress) => Err(CodecError::Truncated { coding: CODING, at: progress.n_processed, count }),
        Err(error) => Err(malformed(error)),
    }
}

fn malformed(error: pco::errors::PcoError) -> CodecError {
    CodecError::Malformed { coding: CODING, detail: error.message }
}

fn refused(what: &str) -> CodecError {
    CodecError::Malformed { coding: CODING, detail: format!("{what}, which no writer of ours makes") }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_implied_version_is_the_one_pco_writes() {
        assert_eq!(FileCompressor::default().write_header(Vec::new()).unwrap(), VERSION_BYTES);
    }

    #[test]
    fn memory_that_bytes_declare_is_refused() {
        let numbers: Vec<i64> = (0..100_000).map(|at| (at * at) % 1009).collect();
        let wide = ChunkConfig::default().with_delta_spec(DeltaSpec::TryLookback);
        let dictionary = ChunkConfig::default().with_mode_spec(ModeSpec::TryDict);
        for (config, detail) in [(wide, "look-back window"), (dictionary, "dictionary")] {
            let mut bytes = Vec::new();
            let chunk = FileCompressor::default().chunk_compressor(&numbers, &config).unwrap();
            chunk.write_meta(&mut bytes).unwrap();
            let refused = decode::<i64>(&bytes, 4000, &mut Vec::new());
            assert!(refused.is_err_and(|error| error.to_string().contains(detail)), "{config:?}");
        }
    }

    proptest! {
        #[test]
        fn columns_come_back(numbers in prop::collection::vec(any::<i64>(), 1..700), shift in 0u32..64) {
            let integers: Vec<i64> = numbers.iter().map(|number| number >> shift).collect();
            let floats: Vec<f64> = numbers.iter().map(|number| f64::from_bits(number.cast_unsigned())).collect();
            for effort in [Effort::Fast, Effort::Small] {
                let mut bytes = Vec::new();
                prop_assert!(encode(&integers, effort, &mut bytes));
                let mut got = vec![1];
                prop_assert_eq!(decode(&bytes, integers.len(), &mut got), Ok(()));
                prop_assert_eq!(&got[1..], &integers);
                bytes.clear();
                prop_assert!(encode(&floats, effort, &mut bytes));
                let mut got = Vec::new();
                prop_assert_eq!(decode::<f64>(&bytes, floats.len(), &mut got), Ok(()));
                prop_assert!(got.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..5000) {
            let _ = decode::<i64>(&bytes, count, &mut Vec::new());
            let _ = decode::<f64>(&bytes, count, &mut Vec::new());
        }

        #[test]
        fn flipped_bits_are_no_panic(
            numbers in prop::collection::vec(-500i64..5000, 1..600),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..4),
        ) {
            let mut bytes = Vec::new();
            prop_assert!(encode(&numbers, Effort::Small, &mut bytes));
            for (at, bit) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let _ = decode::<i64>(&bytes, numbers.len(), &mut Vec::new());
            let _ = decode::<f64>(&bytes, numbers.len(), &mut Vec::new());
        }
    }
}
