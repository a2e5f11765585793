//! Integer columns by tsz-compress: delta coding on nibbles, for one i64 column.
//!
//! The crate's coding of deltas holds 64 bits, and its decoder panics on tags it does not know. So this file guards
//! both sides: a column whose deltas do not fit is refused, and bytes are walked once before the crate sees them.

use tsz_compress::prelude::*;

use super::CodecError;

/// The name in errors.
const CODING: &str = "tsz column";

/// Tags and field widths in nibbles, as the crate writes them.
const ROW_TAG: u8 = 0b0110;
const END_TAG: u8 = 0b1001;
const FIRST_NIBBLES: usize = 16;
const SECOND_NIBBLES: usize = 32;

#[expect(unreachable_pub, reason = "the derived code wants it public")]
mod column {
    use tsz_compress::prelude::*;

    /// A table of one column.
    #[derive(Copy, Clone, CompressV2, DecompressV2)]
    pub struct Row {
        pub number: i64,
    }

    pub use compress::RowCompressorImpl;
    pub use decompress::RowDecompressorImpl;
}

/// Appends `numbers` to `out`. Returns false, and appends nothing, if tsz cannot hold them.
pub fn encode(numbers: &[i64], out: &mut Vec<u8>) -> bool {
    let fits = |pair: &[i64]| matches!(pair, [a, b] if b.checked_sub(*a).is_some());
    if numbers.is_empty() || !numbers.windows(2).all(fits) {
        return false;
    }
    let mut compressor = column::RowCompressorImpl::new(numbers.len());
    for &number in numbers {
        compressor.compress(column::Row { number });
    }
    // Not `finish_into(out)`: it writes over the end of a buffer that has some room but not enough.
    out.extend_from_slice(&compressor.finish());
    true
}

/// Appends `count` numbers to `out`.
///
/// # Errors
///
/// When the bytes are no tsz column of that length.
pub fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    super::check_count(count)?;
    let (declared, body) = bytes.split_first_chunk::<4>().ok_or_else(|| malformed("no row count"))?;
    let rows = count_rows(body).ok_or_else(|| malformed("tags do not add up"))?;
    if rows != count || u32::from_be_bytes(*declared) as usize != count {
        return Err(malformed(&format!("{rows} numbers where {count} are declared")));
    }
    let mut decompressor = column::RowDecompressorImpl::new();
    decompressor.decompress(bytes).map_err(|error| malformed(&format!("{error:?}")))?;
    let numbers = decompressor.col_number();
    if numbers.len() != count {
        return Err(malformed("decoder and tags disagree"));
    }
    out.extend_from_slice(numbers);
    Ok(())
}

fn malformed(detail: &str) -> CodecError {
    CodecError::Malformed { coding: CODING, detail: detail.to_owned() }
}

/// Walks the tags behind the row count and counts the numbers behind them. `None` if a tag is unknown, a field is cut off, or the second
/// number's 128-bit delta does not fit 64 bits.
fn count_rows(bytes: &[u8]) -> Option<usize> {
    let nibbles = bytes.len() * 2;
    let nibble = |at: usize| {
        let byte = *bytes.get(at / 2)?;
        Some(if at.is_multiple_of(2) { byte >> 4 } else { byte & 0xf })
    };
    let tag = |at: usize, wanted: u8| nibble(at).is_some_and(|tag| tag == wanted);
    // The column's own tag, then the first row's.
    if !tag(0, END_TAG) || !tag(1, ROW_TAG) {
        return None;
    }
    let mut at = 2 + FIRST_NIBBLES;
    if at > nibbles {
        return None;
    }
    let mut rows = 1;
    if tag(at, ROW_TAG) {
        let sign = nibble(at + 1)?;
        let extension = (at + 1..at + 1 + SECOND_NIBBLES / 2).map(nibble);
        let fits = (sign == 0 || sign == 0xf) && extension.into_iter().all(|nibble| nibble == Some(sign));
        at += 1 + SECOND_NIBBLES;
        if !fits || at > nibbles {
            return None;
        }
        rows += 1;
        while at < nibbles && !tag(at, END_TAG) {
            let (numbers, width) = match nibble(at)? {
                0b1111 => (10, 8),
                0b1110 => (5, 8),
                0b1100 => (4, 8),
                0b1010 => (3, 8),
                0b1000 => (2, 8),
                0b1011 => (1, 8),
                0b1101 => (1, 16),
                _ => return None,
            };
            rows += numbers;
            at += 1 + width;
        }
    }
    // At most the tag that fills the last byte is left.
    (at == nibbles || (at + 1 == nibbles && tag(at, END_TAG))).then_some(rows)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "bounds are the test's own")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_come_back_or_are_refused(
            numbers in prop::collection::vec(any::<i64>(), 1..60), shift in 0u32..64, start in any::<i64>(),
        ) {
            for base in [0, start] {
                let numbers: Vec<i64> = numbers.iter().map(|number| base.wrapping_add(number >> shift)).collect();
                let mut bytes = vec![7];
                if encode(&numbers, &mut bytes) {
                    let mut got = Vec::new();
                    prop_assert_eq!(decode(&bytes[1..], numbers.len(), &mut got), Ok(()));
                    prop_assert_eq!(got, numbers);
                } else {
                    prop_assert_eq!(bytes, [7]);
                }
            }
        }

        #[test]
        fn garbage_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0usize..100) {
            let _ = decode(&bytes, count, &mut Vec::new());
            if let Some(first) = bytes.first_mut() {
                *first = 0x96;
            }
            let declared = u32::try_from(count).unwrap().to_be_bytes();
            let bytes = [&declared, bytes.as_slice()].concat();
            let _ = decode(&bytes, count, &mut Vec::new());
        }

        #[test]
        fn flipped_bits_are_no_panic(numbers in prop::collection::vec(-5000i64..5000, 1..60), at in any::<prop::sample::Index>(), bit in 0u32..8) {
            let mut bytes = Vec::new();
            prop_assert!(encode(&numbers, &mut bytes));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut got = Vec::new();
            if decode(&bytes, numbers.len(), &mut got).is_ok() {
                prop_assert_eq!(got.len(), numbers.len());
            }
        }
    }
}
