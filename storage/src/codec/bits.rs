//! Bits in a byte buffer, most significant first.
//!
//! The writer keeps up to 63 pending bits in a word, so that most pushes touch no memory; the reader keeps a word of
//! look-ahead. Both know nothing of what the bits mean.

/// Where bits go.
pub trait BitSink {
    /// Appends the low `width` bits of `bits`; `width` is 1 to 64.
    fn push(&mut self, bits: u64, width: u32);
}

/// Appends the low `width` bits of `bits` to a word that has room for them or, with fewer than 64 bits in its low end, for some of
/// them; the word if it is full now. The rest of the bits are in `pending` then.
#[inline]
pub(super) fn fill(pending: &mut u64, pending_bits: &mut u8, bits: u64, width: u32) -> Option<u64> {
    debug_assert!((1..=64).contains(&width), "a width is 1 to 64 bits");
    let bits = if width == 64 { bits } else { bits & ((1 << width) - 1) };
    let free = 64 - u32::from(*pending_bits);
    if width < free {
        *pending = (*pending << width) | bits;
        *pending_bits += low_byte(u64::from(width));
        return None;
    }
    let left = width - free;
    let high = if free == 64 { 0 } else { *pending << free };
    *pending = if left == 0 { 0 } else { bits & ((1 << left) - 1) };
    *pending_bits = low_byte(u64::from(left));
    Some(high | (bits >> left))
}

/// Bits in the low end of a word, moved to its high end, and how many bytes they take; there are fewer than 64.
pub(super) fn raised(pending: u64, pending_bits: u8) -> (u64, usize) {
    if pending_bits == 0 {
        return (0, 0);
    }
    (pending << (64 - u32::from(pending_bits)), usize::from(pending_bits).div_ceil(8))
}

/// A growing sequence of bits.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    /// Whole words, big-endian.
    bytes: Vec<u8>,
    /// The bits that fill no word yet, in the low end.
    pending: u64,
    pending_bits: u8,
}

impl BitWriter {
    /// No bits yet, and no memory.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), pending: 0, pending_bits: 0 }
    }

    /// Appends all bits so far to `out`, padded with zeros to a whole byte. Writing may go on.
    pub fn copy_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let (word, bytes) = raised(self.pending, self.pending_bits);
        out.extend(word.to_be_bytes().iter().take(bytes));
    }

    /// Length of what [`copy_into`](Self::copy_into) appends.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + usize::from(self.pending_bits).div_ceil(8)
    }

    /// Forgets all bits, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.pending_bits = 0;
    }
}

impl BitSink for BitWriter {
    #[inline]
    fn push(&mut self, bits: u64, width: u32) {
        if let Some(word) = fill(&mut self.pending, &mut self.pending_bits, bits, width) {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// The low byte of a number that is known to fit one.
#[expect(clippy::cast_possible_truncation, reason = "callers pass numbers up to 64")]
pub(crate) fn low_byte(small: u64) -> u8 {
    small as u8
}

/// Bits read from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    rest: &'a [u8],
    /// Look-ahead, its next bit on top; the bits below `ahead_bits` are zero.
    ahead: u64,
    ahead_bits: u32,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, ahead: 0, ahead_bits: 0 }
    }

    /// Fills the look-ahead to at least 57 bits, or to the end of the bytes.
    #[inline]
    fn refill(&mut self) {
        if let Some((word, _)) = self.rest.split_first_chunk::<8>() {
            self.ahead |= u64::from_be_bytes(*word) >> self.ahead_bits;
            let taken = (63 - self.ahead_bits) / 8;
            self.rest = self.rest.get(taken as usize..).unwrap_or_default();
            self.ahead_bits += taken * 8;
            // Drop the bits of a byte that was not taken whole.
            self.ahead &= !(u64::MAX.checked_shr(self.ahead_bits).unwrap_or(0));
        } else {
            while self.ahead_bits <= 56 {
                let Some((&byte, rest)) = self.rest.split_first() else { return };
                self.ahead |= u64::from(byte) << (56 - self.ahead_bits);
                self.ahead_bits += 8;
                self.rest = rest;
            }
        }
    }

    /// The next `width` bits, 1 to 64, or `None` if fewer are left.
    #[inline]
    pub fn read(&mut self, width: u32) -> Option<u64> {
        debug_assert!((1..=64).contains(&width), "a width is 1 to 64 bits");
        if width > 56 {
            let high = self.read_short(32)?;
            let low_width = width - 32;
            return Some((high << low_width) | self.read_short(low_width)?);
        }
        self.read_short(width)
    }

    #[inline]
    fn read_short(&mut self, width: u32) -> Option<u64> {
        if self.ahead_bits < width {
            self.refill();
            if self.ahead_bits < width {
                return None;
            }
        }
        let bits = self.ahead >> (64 - width);
        self.ahead <<= width;
        self.ahead_bits -= width;
        Some(bits)
    }

    /// Takes pairs of zero bits, at most `max` and no more than are in the look-ahead; how many there were. Zero says
    /// nothing but that the next bits are not both known to be zero.
    #[inline]
    pub fn take_zero_pairs(&mut self, max: usize) -> usize {
        if self.ahead_bits < 32 {
            self.refill();
        }
        let known = self.ahead.leading_zeros().min(self.ahead_bits) as usize / 2;
        let pairs = known.min(max);
        self.skip(2 * pairs);
        pairs
    }

    /// Takes zero bits, at most `max` and no more than are in the look-ahead; how many there were.
    #[inline]
    pub fn take_zeros(&mut self, max: usize) -> usize {
        if self.ahead_bits < 32 {
            self.refill();
        }
        let zeros = (self.ahead.leading_zeros().min(self.ahead_bits) as usize).min(max);
        self.skip(zeros);
        zeros
    }

    /// Leaves out `bits` of the look-ahead, which has as many.
    #[inline]
    fn skip(&mut self, bits: usize) {
        let bits = u32::from(low_byte(bits as u64));
        self.ahead = self.ahead.checked_shl(bits).unwrap_or(0);
        self.ahead_bits -= bits;
    }

    /// Counts one bits up to the first zero bit, which is taken too, or up to `max` of them.
    #[inline]
    pub fn read_ones(&mut self, max: u32) -> Option<u32> {
        if self.ahead_bits <= max {
            self.refill();
        }
        let ones = self.ahead.leading_ones().min(max);
        let taken = if ones == max { ones } else { ones + 1 };
        if taken > self.ahead_bits {
            return None;
        }
        self.ahead <<= taken;
        self.ahead_bits -= taken;
        Some(ones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_missing_bit_is_none() {
        let mut reader = BitReader::new(&[0b1010_0000]);
        assert_eq!(reader.read(3), Some(0b101));
        assert_eq!(reader.read(6), None);
        assert_eq!(reader.read(5), Some(0));
        assert_eq!(reader.read(1), None);
        assert_eq!(BitReader::new(&[0xff]).read_ones(4), Some(4));
        assert_eq!(BitReader::new(&[0xff]).read_ones(9), None);
        assert_eq!(BitReader::new(&[]).read_ones(1), None);
    }

    proptest! {
        #[test]
        fn bits_come_back(pieces in prop::collection::vec((any::<u64>(), 1u32..=64), 0..200)) {
            let mut writer = BitWriter::new();
            for &(bits, width) in &pieces {
                writer.push(bits, width);
                let mut bytes = Vec::new();
                writer.copy_into(&mut bytes);
                prop_assert_eq!(bytes.len(), writer.len_bytes());
            }
            let mut bytes = Vec::new();
            writer.copy_into(&mut bytes);
            let mut reader = BitReader::new(&bytes);
            for (bits, width) in pieces {
                prop_assert_eq!(reader.read(width), Some(bits & (u64::MAX >> (64 - width))));
            }
        }

        /// However zeros are taken, one by one, in runs or in pairs, the bits after them are where they are.
        #[test]
        fn runs_of_zeros_come_back(runs in prop::collection::vec(0usize..200, 0..20), in_pairs in any::<bool>()) {
            let mut writer = BitWriter::new();
            for &zeros in &runs {
                (0..zeros * 2).for_each(|_| writer.push(0, 1));
                writer.push(0b11, 2);
            }
            let mut bytes = Vec::new();
            writer.copy_into(&mut bytes);
            let mut reader = BitReader::new(&bytes);
            for zeros in runs {
                let mut left = if in_pairs { zeros } else { zeros * 2 };
                while left > 0 {
                    let taken = if in_pairs { reader.take_zero_pairs(left) } else { reader.take_zeros(left) };
                    prop_assert!(taken > 0 && taken <= left);
                    left -= taken;
                }
                prop_assert_eq!(reader.read(2), Some(0b11));
            }
        }

        #[test]
        fn unary_prefixes_come_back(runs in prop::collection::vec(0u32..=4, 0..100)) {
            let mut writer = BitWriter::new();
            for &ones in &runs {
                match ones {
                    4 => writer.push(0b1111, 4),
                    _ => writer.push((2 << ones) - 2, ones + 1),
                }
            }
            let mut bytes = Vec::new();
            writer.copy_into(&mut bytes);
            let mut reader = BitReader::new(&bytes);
            for ones in runs {
                prop_assert_eq!(reader.read_ones(4), Some(ones));
            }
        }
    }
}
