//! A chunk of floats (`tsdb/chunkenc/xor.go`): a count, the first sample whole, then times as differences of
//! differences and values as differences in bits.

use super::SAMPLES_MAX;
use super::bits::{BitWriter, XorFloats, fits};

/// A chunk under construction.
#[derive(Debug)]
pub(super) struct XorChunk {
    out: BitWriter,
    count: u16,
    timestamp_ms: i64,
    /// Time between the last two samples, modulo 2^64.
    delta_ms: u64,
    values: XorFloats,
}

impl XorChunk {
    /// A chunk with its first sample.
    pub(super) fn new(timestamp_ms: i64, value: f64) -> Self {
        let mut out = BitWriter::after(vec![0, 0]);
        out.varint(timestamp_ms);
        out.bits(value.to_bits(), u64::BITS);
        Self { out, count: 1, timestamp_ms, delta_ms: 0, values: XorFloats::after(value) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= SAMPLES_MAX
    }

    /// Adds a sample, which is later than those before.
    pub(super) fn push(&mut self, timestamp_ms: i64, value: f64) {
        let delta_ms = timestamp_ms.cast_unsigned().wrapping_sub(self.timestamp_ms.cast_unsigned());
        if self.count == 1 {
            self.out.uvarint(delta_ms);
        } else {
            self.write_change(delta_ms.wrapping_sub(self.delta_ms).cast_signed());
        }
        self.values.write(value, &mut self.out);
        self.count += 1;
        self.timestamp_ms = timestamp_ms;
        self.delta_ms = delta_ms;
    }

    /// Writes by how much the time between samples changed.
    fn write_change(&mut self, change_ms: i64) {
        const SIZES: [(u64, u32, u32); 3] = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];
        if change_ms == 0 {
            return self.out.bits(0, 1);
        }
        let smallest = SIZES.into_iter().find(|&(_, _, size)| fits(change_ms, size));
        let (prefix, prefix_bits, size) = smallest.unwrap_or((0b1111, 4, u64::BITS));
        self.out.bits(prefix, prefix_bits);
        self.out.bits(change_ms.cast_unsigned(), size);
    }

    /// The chunk's bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.finish();
        bytes.splice(..2, self.count.to_be_bytes());
        bytes
    }
}
