//! Bits in a row, the highest first, and the number codings that Prometheus's chunks are made of
//! (`tsdb/chunkenc`: bstream, varbit, and the XOR of neighbours after Gorilla, VLDB 2015).

/// Most zeros before the significant bits of a difference that the five bits for them can tell.
const LEADING_ZEROS_MAX: u32 = 31;

/// Bytes that grow bit by bit.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free_bits: u32,
}

impl BitWriter {
    /// Continues after `bytes`.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free_bits: 0 }
    }

    /// The bytes; what is left of the last one is zeros.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes the lowest `count` bits of `value`, the highest of them first.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free_bits == 0 {
                self.bytes.push(0);
                self.free_bits = u8::BITS;
            }
            let taken = left.min(self.free_bits);
            left -= taken;
            self.free_bits -= taken;
            // At most eight bits, so that the lowest byte holds all of them.
            let part = (value >> left) & ((1 << taken) - 1);
            let [byte, ..] = (part << self.free_bits).to_le_bytes();
            if let Some(last) = self.bytes.last_mut() {
                *last |= byte;
            }
        }
    }

    /// Writes an unsigned LEB128 number. Byte by byte, wherever in a byte that begins.
    pub(super) fn uvarint(&mut self, value: u64) {
        let mut rest = value;
        while rest >= 0x80 {
            self.bits(rest | 0x80, u8::BITS);
            rest >>= 7;
        }
        self.bits(rest, u8::BITS);
    }

    /// Writes a signed number as [`uvarint`](Self::uvarint), zigzag.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    /// Writes a signed number in as few of Prometheus's sizes as hold it.
    pub(super) fn varbit_int(&mut self, value: i64) {
        self.varbit(value.cast_unsigned(), |bits| fits(value, bits));
    }

    /// Writes an unsigned number in as few of Prometheus's sizes as hold it.
    pub(super) fn varbit_uint(&mut self, value: u64) {
        self.varbit(value, |bits| value.leading_zeros() >= u64::BITS - bits);
    }

    /// As many ones as there are smaller sizes and a zero, then the number in the size; zero is a size without bits.
    fn varbit(&mut self, value: u64, fits: impl Fn(u32) -> bool) {
        const SIZES: [(u64, u32, u32); 7] = [
            (0b10, 2, 3),
            (0b110, 3, 6),
            (0b1110, 4, 9),
            (0b1_1110, 5, 12),
            (0b11_1110, 6, 18),
            (0b111_1110, 7, 25),
            (0b1111_1110, 8, 56),
        ];
        if value == 0 {
            return self.bits(0, 1);
        }
        let smallest = SIZES.into_iter().find(|&(_, _, size)| fits(size));
        let (prefix, prefix_bits, size) = smallest.unwrap_or((0xff, 8, u64::BITS));
        self.bits(prefix, prefix_bits);
        self.bits(value, size);
    }
}

/// Whether a signed number can be told from others in `bits` bits. One more above zero fits than below, unlike in
/// two's complement.
pub(super) fn fits(value: i64, bits: u32) -> bool {
    let half = 1_i64 << (bits - 1);
    (1 - half..=half).contains(&value)
}

/// A run of floats, each written as what differs from the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorFloats {
    before: u64,
    /// Zeros before and after the significant bits of the last difference that told them.
    window: Option<(u32, u32)>,
}

impl XorFloats {
    /// A run whose first float was written by other means.
    pub(super) fn after(first: f64) -> Self {
        Self { before: first.to_bits(), window: None }
    }

    /// The float written last.
    pub(super) fn last(&self) -> f64 {
        f64::from_bits(self.before)
    }

    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let difference = value.to_bits() ^ self.before;
        self.before = value.to_bits();
        if difference == 0 {
            return out.bits(0, 1);
        }
        let leading = difference.leading_zeros().min(LEADING_ZEROS_MAX);
        let trailing = difference.trailing_zeros();
        let (leading, trailing) = match self.window {
            Some((before, after)) if before <= leading && after <= trailing => {
                out.bits(0b10, 2);
                (before, after)
            }
            _ => {
                self.window = Some((leading, trailing));
                out.bits(0b11, 2);
                out.bits(leading.into(), 5);
                // 64 significant bits are told as 0.
                out.bits((u64::BITS - leading - trailing).into(), 6);
                (leading, trailing)
            }
        };
        out.bits(difference >> trailing, u64::BITS - leading - trailing);
    }
}
