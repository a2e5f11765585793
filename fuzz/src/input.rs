//! Numbers out of fuzz bytes. When the bytes end, zeros follow.

/// Reads values from the front of the bytes.
#[derive(Debug, Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether all bytes are used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u16) -> u16 {
        u16::from_le_bytes(self.bytes()) % bound
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A value as monitoring has them: mostly near its predecessor, at times anything.
    pub fn value(&mut self, previous: f64) -> f64 {
        match self.byte() % 8 {
            0 => previous,
            1 => previous + 1.0,
            2 => previous + f64::from(self.byte()),
            3 => previous + f64::from(self.byte()) / 100.0,
            4 => -previous,
            5 => f64::from_bits(model::sample::STALE_NAN_BITS),
            6 => f64::from(self.byte()),
            _ => f64::from_bits(self.bits()),
        }
    }

    /// A timestamp: mostly a regular step after its predecessor, at times anything.
    pub fn timestamp_ms(&mut self, previous_ms: i64) -> i64 {
        match self.byte() % 8 {
            0..=3 => previous_ms.wrapping_add(1000),
            4 => previous_ms.wrapping_add(i64::from(self.byte())),
            5 => previous_ms.wrapping_sub(i64::from(self.byte())),
            6 => previous_ms.wrapping_add(i64::from(self.below(u16::MAX)) * 1000),
            _ => self.bits().cast_signed(),
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.0.len().min(N);
        let (front, rest) = self.0.split_at(taken);
        bytes[..taken].copy_from_slice(front);
        self.0 = rest;
        bytes
    }
}
