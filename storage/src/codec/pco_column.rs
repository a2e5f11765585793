//! Columns by pco, in its wrapped form: one chunk without header, of one page, or of several that can be read alone.
//!
//! pco (Loncaric et al., "Pcodec: Better Compression for Numerical Sequences", 2025) splits numbers into bins of like
//! magnitude, after deltas and common factors are taken out, and entropy-codes the bins. What this file guards: the
//! count is ours, and so is the memory of dictionaries and look-back windows, which damaged bytes could declare at will.

use std::ops::Range;

use pco::data_types::Number;
use pco::metadata::DeltaEncoding;
use pco::wrapped::{ChunkDecompressor, FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, FULL_BATCH_N, ModeSpec, PagingSpec};

use super::varint::{push_u64, take_usize};
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

/// Numbers in each page but the last, of columns in pages.
const PAGE_SAMPLES: usize = 512;

/// Fewest numbers a page but the last may have, which bounds how many pages there are.
const PAGE_SAMPLES_MIN: usize = 64;

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
    let config = config(effort, order).with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config)?;
    chunk.write_meta(&mut *out)?;
    chunk.write_page(0, &mut *out)?;
    Ok(())
}

fn config(effort: Effort, order: Option<u8>) -> ChunkConfig {
    match (effort, order) {
        (Effort::Small, None) => ChunkConfig::default(),
        (Effort::Small, Some(order)) => ChunkConfig::default().with_delta_spec(DeltaSpec::TryConsecutive(order.into())),
        (Effort::Fast, order) => ChunkConfig::default()
            .with_compression_level(4)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::TryConsecutive(order.unwrap_or(1).into())),
    }
}

/// As [`encode_planned`], in pages, for [`decode_pages`].
pub fn encode_pages<T: Number>(numbers: &[T], effort: Effort, order: Option<u8>, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let done = try_encode_pages(numbers, effort, order, out).is_ok();
    if !done {
        out.truncate(before);
    }
    done
}

fn try_encode_pages<T: Number>(
    numbers: &[T],
    effort: Effort,
    order: Option<u8>,
    out: &mut Vec<u8>,
) -> pco::errors::PcoResult<()> {
    let sizes: Vec<usize> = numbers.chunks(PAGE_SAMPLES).map(<[T]>::len).collect();
    let pages = sizes.len();
    let config = config(effort, order).with_paging_spec(PagingSpec::Exact(sizes));
    let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config)?;
    let (mut body, mut ends) = (Vec::new(), Vec::with_capacity(pages));
    for page in 0..pages {
        chunk.write_page(page, &mut body)?;
        ends.push(body.len());
    }
    push_u64(out, PAGE_SAMPLES as u64);
    let mut before = 0;
    for end in ends.iter().take(pages.saturating_sub(1)) {
        push_u64(out, (end - before) as u64);
        before = *end;
    }
    chunk.write_meta(&mut *out)?;
    out.extend_from_slice(&body);
    Ok(())
}

/// Appends `count` numbers to `out`.
///
/// # Errors
///
/// When the bytes are no pco chunk of that length, or need more memory than any chunk of ours.
pub fn decode<T: Number + Default>(bytes: &[u8], count: usize, out: &mut Vec<T>) -> Result<(), CodecError> {
    super::check_count(count)?;
    let (mut chunk, rest) = open_chunk::<T>(bytes)?;
    read_page(&mut chunk, rest, count, out)
}

/// Appends those numbers of `wanted` out of `count` that [`encode_pages`] wrote, reading no other pages.
///
/// # Errors
///
/// As [`decode`], and when the pages do not add up.
pub fn decode_pages<T: Number + Default>(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    out: &mut Vec<T>,
) -> Result<(), CodecError> {
    super::check_count(count)?;
    let mut rest = bytes;
    let cut_off = || CodecError::Malformed { coding: CODING, detail: "its list of pages is cut off".to_owned() };
    let each = take_usize(&mut rest, CHUNK_SAMPLES_MAX).filter(|&each| each >= PAGE_SAMPLES_MIN).ok_or_else(cut_off)?;
    let pages = count.div_ceil(each);
    let mut lengths = Vec::with_capacity(pages);
    for _ in 1..pages {
        lengths.push(take_usize(&mut rest, bytes.len()).ok_or_else(cut_off)?);
    }
    let (mut chunk, mut body) = open_chunk::<T>(rest)?;
    for page in 0..pages {
        let length = lengths.get(page).copied().unwrap_or(body.len());
        let (encoded, after) = body.split_at_checked(length).ok_or_else(cut_off)?;
        body = after;
        let numbers = page * each..count.min((page + 1) * each);
        let (from, to) = (wanted.start.max(numbers.start), wanted.end.min(numbers.end));
        if from < to {
            let start = out.len();
            read_page(&mut chunk, encoded, numbers.len(), out)?;
            out.truncate(start + to - numbers.start);
            out.drain(start..start + from - numbers.start);
        }
    }
    Ok(())
}

/// Reads the metadata of a chunk, and refuses what could declare memory. Returns also the bytes behind it.
fn open_chunk<T: Number>(bytes: &[u8]) -> Result<(ChunkDecompressor<T>, &[u8]), CodecError> {
    if bytes.first().is_some_and(|first| first & MODE_BITS == MODE_DICTIONARY) {
        return Err(refused("a dictionary"));
    }
    let (file, _) = FileDecompressor::new(VERSION_BYTES.as_slice()).map_err(malformed)?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(malformed)?;
    if let DeltaEncoding::Lookback { config, .. } = &chunk.meta().delta_encoding
        && (config.window_n_log > WINDOW_LOG_MAX || config.state_n_log > WINDOW_LOG_MAX)
    {
        return Err(refused("a look-back window larger than a chunk"));
    }
    Ok((chunk, rest))
}

/// Appends the `count` numbers of a page.
fn read_page<T: Number + Default>(
    chunk: &mut ChunkDecompressor<T>,
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
) -> Result<(), CodecError> {
    let start = out.len();
    // pco fills whole batches; a partial one goes over the end and is cut off again.
    out.resize(start + count.next_multiple_of(FULL_BATCH_N), T::default());
    let room = out.get_mut(start..).unwrap_or_default();
    let progress = chunk.page_decompressor(bytes, count).and_then(|mut page| page.read(room));
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
        fn pages_are_read_alone(
            numbers in prop::collection::vec(-100i64..10_000, 1..2000), part in (0usize..2000, 0usize..2000),
        ) {
            let mut bytes = Vec::new();
            prop_assert!(encode_pages(&numbers, Effort::Fast, Some(1), &mut bytes));
            let (start, end) = (part.0.min(part.1).min(numbers.len()), part.0.max(part.1).min(numbers.len()));
            let mut got = vec![7];
            prop_assert_eq!(decode_pages(&bytes, numbers.len(), start..end, &mut got), Ok(()));
            prop_assert_eq!(&got[1..], &numbers[start..end]);
            bytes.truncate(bytes.len() / 2);
            prop_assert!(decode_pages::<i64>(&bytes, numbers.len(), 0..numbers.len(), &mut Vec::new()).is_err());
        }

        #[test]
        fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..5000) {
            let _ = decode::<i64>(&bytes, count, &mut Vec::new());
            let _ = decode::<f64>(&bytes, count, &mut Vec::new());
            let _ = decode_pages::<i64>(&bytes, count, 0..count, &mut Vec::new());
            let paged = [&[0x80, 0x04], bytes.as_slice()].concat();
            let _ = decode_pages::<i64>(&paged, count, count / 2..count, &mut Vec::new());
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
