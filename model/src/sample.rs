//! Samples: one value of one series at one time, and columns of them.
//!
//! Owns the stale marker. Codings of columns live in `storage`.

use crate::time::TimestampMs;

/// The bits of the NaN that marks a series as stale: its target or rule stopped reporting it
/// (Prometheus, `model/value`). Any other NaN is an ordinary value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker as a value.
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the stale marker, by its bits.
pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub timestamp: TimestampMs,
    /// What; any bit pattern of an f64.
    pub value: f64,
}

/// Equality is bitwise, so that NaN payloads and signed zeros count.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}

/// Samples of one series as two columns of equal length, ascending and unique in time when read from a source.
#[derive(Debug, Default, Clone)]
pub struct Samples {
    /// Milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// The values, one for each timestamp.
    pub values: Vec<f64>,
}

impl Samples {
    /// Empties both columns, keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps_ms.clear();
        self.values.clear();
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps_ms.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps_ms.is_empty()
    }

    /// Appends one sample.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// The samples in order.
    pub fn iter(&self) -> impl Iterator<Item = Sample> + '_ {
        self.timestamps_ms
            .iter()
            .zip(&self.values)
            .map(|(&timestamp_ms, &value)| Sample { timestamp: TimestampMs(timestamp_ms), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_marker_is_one_nan_of_many() {
        assert!(stale_marker().is_nan());
        assert!(is_stale_marker(stale_marker()));
        assert!(!is_stale_marker(f64::NAN));
        let at = |value| Sample { timestamp: TimestampMs(1), value };
        assert_ne!(at(stale_marker()), at(f64::NAN));
        assert_eq!(at(f64::NAN), at(f64::NAN));
        assert_ne!(at(0.0), at(-0.0));
    }
}
