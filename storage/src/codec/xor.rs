//! XOR coding of floating-point values, after "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (Pelkonen
//! et al., VLDB 2015, section 4.1.2): the difference to the previous value, by the bits that are not zero.
//!
//! The first value takes 64 bits. Then, by the XOR with the previous value:
//!
//! ```text
//! 0                                            the same bits
//! 10 <meaningful bits>                         inside the window of zeros of the last 11
//! 11 <5: leading zeros> <6: width> <width bits>  a new window; width 64 is written as 0
//! ```

use super::bits::{BitReader, BitSink, BitWriter, low_byte};
use super::{CodecError, check_count};

/// The name in errors.
const CODING: &str = "XOR";

/// Most leading zeros that five bits tell.
const LEADING_MAX: u32 = 31;

/// What the next value is coded against; the same in the writer and the reader.
#[derive(Debug, Clone, Copy, Default)]
pub struct XorState {
    pub(super) previous: u64,
    pub(super) leading: u8,
    /// Width of the window; 0 before there is one.
    pub(super) width: u8,
}

impl XorState {
    /// Before the first value.
    pub const EMPTY: Self = Self { previous: 0, leading: 0, width: 0 };

    /// The bits of the value coded last.
    pub fn previous(self) -> u64 {
        self.previous
    }

    /// Codes the first value.
    pub fn push_first(&mut self, writer: &mut impl BitSink, value: u64) {
        *self = Self { previous: value, leading: 0, width: 0 };
        writer.push(value, 64);
    }

    /// Codes a further value.
    #[inline]
    pub fn push(&mut self, writer: &mut impl BitSink, value: u64) {
        let xor = value ^ self.previous;
        self.previous = value;
        if xor == 0 {
            writer.push(0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(LEADING_MAX);
        let trailing = xor.trailing_zeros();
        let (window_leading, window_width) = (u32::from(self.leading), u32::from(self.width));
        if window_width > 0 && leading >= window_leading && trailing >= 64 - window_leading - window_width {
            writer.push(0b10, 2);
            writer.push(xor >> (64 - window_leading - window_width), window_width);
        } else {
            let width = 64 - leading - trailing;
            writer.push((0b11 << 11) | (u64::from(leading) << 6) | u64::from(width & 63), 13);
            writer.push(xor >> trailing, width);
            self.leading = low_byte(u64::from(leading));
            self.width = low_byte(u64::from(width));
        }
    }

    /// Reads the first value.
    pub fn read_first(&mut self, reader: &mut BitReader<'_>) -> Option<u64> {
        *self = Self { previous: reader.read(64)?, leading: 0, width: 0 };
        Some(self.previous)
    }

    /// Reads a further value; `None` when bits are missing or contradict each other.
    #[inline]
    pub fn read(&mut self, reader: &mut BitReader<'_>) -> Option<u64> {
        match reader.read_ones(2)? {
            0 => return Some(self.previous),
            1 => {}
            _ => {
                let window = reader.read(11)?;
                self.leading = low_byte(window >> 6);
                self.width = match low_byte(window & 63) {
                    0 => 64,
                    width => width,
                };
            }
        }
        let used = u32::from(self.leading) + u32::from(self.width);
        if self.width == 0 || used > 64 {
            return None;
        }
        self.previous ^= reader.read(u32::from(self.width))? << (64 - used);
        Some(self.previous)
    }
}

/// Appends `values` to `out`.
pub fn encode(values: &[f64], out: &mut Vec<u8>) {
    let Some((first, rest)) = values.split_first() else { return };
    let mut writer = BitWriter::new();
    let mut state = XorState::default();
    state.push_first(&mut writer, first.to_bits());
    for value in rest {
        state.push(&mut writer, value.to_bits());
    }
    writer.copy_into(out);
}

/// Appends `count` values to `out`.
///
/// # Errors
///
/// When `count` is above the limit or the bytes end before.
pub fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    check_count(count)?;
    if count == 0 {
        return Ok(());
    }
    let truncated = |at| CodecError::Truncated { coding: CODING, at, count };
    let mut reader = BitReader::new(bytes);
    let mut state = XorState::default();
    out.reserve(count);
    out.push(f64::from_bits(state.read_first(&mut reader).ok_or_else(|| truncated(0))?));
    let mut at = 1;
    while at < count {
        let same = reader.take_zeros(count - at);
        out.extend(std::iter::repeat_n(f64::from_bits(state.previous()), same));
        at += same;
        if at < count {
            out.push(f64::from_bits(state.read(&mut reader).ok_or_else(|| truncated(at))?));
            at += 1;
        }
    }
    Ok(())
}
