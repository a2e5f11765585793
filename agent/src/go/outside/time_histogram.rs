#![warn(clippy::indexing_slicing)]
//! Histograms of times as the runtime keeps them, as native histograms with the runtime's own bounds, none moved and none
//! merged.
//!
//! The runtime counts nanoseconds in powers of two of some linear parts each (`runtime/histogram.go`): since Go 1.20 in 40 of
//! four parts, before in 45 of sixteen. The client in Go programs sends the same bounds and estimates the sum in the same
//! way.

use model::histogram::{Bucket, CUSTOM_SCHEMA, Histogram};

use super::binary::{Field, TimeHistogramLayout};
use crate::collect::float;

/// Counters of the form since Go 1.20, and of the one before.
const SLOTS: u32 = 160;
const SLOTS_BEFORE: u32 = 720;

/// The upper bounds of buckets, in seconds, made once for each form of histogram that is met.
#[derive(Debug, Default)]
pub struct Bounds(Vec<f64>);

impl Bounds {
    /// The bounds of histograms as `layout` has them; nothing when their form is not known.
    pub fn of(layout: TimeHistogramLayout) -> Option<Self> {
        let starts_ns: Vec<u64> = match (layout.buckets(), layout.overflow.is_some()) {
            (SLOTS, true) => starts(2, 6, SLOTS).chain([1 << 47]).collect(),
            // The last bucket takes all that is longer.
            (SLOTS_BEFORE, false) => starts(4, 0, SLOTS_BEFORE).collect(),
            _ => return None,
        };
        Some(Self(starts_ns.into_iter().map(|ns| float(ns) / 1e9).collect()))
    }

    /// Reads the histogram at `field` of `object`, of which `layout` tells the form; nothing when it does not end within.
    pub fn read(&self, layout: TimeHistogramLayout, field: Field, object: &[u8]) -> Option<Histogram> {
        let bytes = field.of(object)?;
        let counts = layout.counts.of(bytes)?;
        // On the wire a bucket is named by its upper bound: bucket 0 ends where the first slot begins.
        let below = [layout.underflow.unsigned(bytes)?];
        let beyond = match layout.overflow {
            Some(field) => Some(field.unsigned(bytes)?),
            None => None,
        };
        let slots = counts.as_chunks::<8>().0.iter().map(|slot| u64::from_le_bytes(*slot));
        let mut histogram = Histogram { schema: CUSTOM_SCHEMA, custom_bounds: self.0.clone(), ..Histogram::default() };
        let all = (0i32..).zip(below.into_iter().chain(slots).chain(beyond));
        for (index, count) in all.filter(|(_, count)| *count > 0) {
            let count = float(count);
            histogram.positive.push(Bucket { index, count });
            histogram.count += count;
            histogram.sum += count * self.middle(index);
        }
        Some(histogram)
    }

    /// What stands for the values of bucket `index`: its middle, or its one end where it has but one.
    fn middle(&self, index: i32) -> f64 {
        let bound = |index: i32| usize::try_from(index).ok().and_then(|at| self.0.get(at)).copied();
        match (bound(index - 1), bound(index)) {
            (Some(low), Some(high)) => low + (high - low) / 2.0,
            (None, Some(end)) | (Some(end), None) => end,
            (None, None) => 0.0,
        }
    }
}

/// Where `slots` buckets begin, in nanoseconds: the first power of two has parts of 2^`unit_bits`, `2^part_bits` of them, and
/// so has the one above; from there on parts double.
fn starts(part_bits: u32, unit_bits: u32, slots: u32) -> impl Iterator<Item = u64> {
    let parts = 1u64 << part_bits;
    (0..slots).map(move |slot| {
        let (power, part) = (slot >> part_bits, u64::from(slot) % parts);
        let ns = if power == 0 { part } else { (parts | part) << (power - 1) };
        ns << unit_bits
    })
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "the test makes the bytes")]
mod tests {
    use super::*;

    const LAYOUT: TimeHistogramLayout = TimeHistogramLayout {
        size: 1296,
        counts: Field { at: 0, bytes: 1280 },
        underflow: Field { at: 1280, bytes: 8 },
        overflow: Some(Field { at: 1288, bytes: 8 }),
    };
    const BEFORE: TimeHistogramLayout = TimeHistogramLayout {
        size: 5768,
        counts: Field { at: 0, bytes: 5760 },
        underflow: Field { at: 5760, bytes: 8 },
        overflow: None,
    };

    #[test]
    fn bounds_are_the_runtimes() {
        let bounds = Bounds::of(LAYOUT).expect("known").0;
        let ns: Vec<f64> = bounds.iter().take(13).map(|bound| (bound * 1e9).round()).collect();
        assert_eq!(ns, [0.0, 64.0, 128.0, 192.0, 256.0, 320.0, 384.0, 448.0, 512.0, 640.0, 768.0, 896.0, 1024.0]);
        assert_eq!((bounds.len(), bounds.last().copied()), (161, Some(140_737.488_355_328)));
        assert!(bounds.is_sorted_by(|a, b| a < b));
        let before = Bounds::of(BEFORE).expect("known").0;
        let ns: Vec<f64> = before.iter().skip(14).take(6).map(|bound| (bound * 1e9).round()).collect();
        assert_eq!((ns, before.len()), (vec![14.0, 15.0, 16.0, 17.0, 18.0, 19.0], 720));
        assert!(before.is_sorted_by(|a, b| a < b));
        let ns: Vec<f64> = before.iter().skip(47).take(3).map(|bound| (bound * 1e9).round()).collect();
        assert_eq!(ns, [62.0, 64.0, 68.0]);
        assert!(Bounds::of(TimeHistogramLayout { counts: Field { at: 0, bytes: 8 }, ..LAYOUT }).is_none());
    }

    #[test]
    fn slots_become_buckets() {
        let mut bytes = vec![0; 8 + 1296];
        let mut put = |slot: usize, count: u64| bytes[8 + slot * 8..][..8].copy_from_slice(&count.to_le_bytes());
        put(0, 2); // below 64 ns
        put(4, 3); // 256 ns to 320 ns
        put(160, 5); // below zero
        put(161, 7); // beyond
        let (bounds, field) = (Bounds::of(LAYOUT).expect("known"), Field { at: 8, bytes: 1296 });
        let histogram = bounds.read(LAYOUT, field, &bytes).expect("whole");
        let buckets: Vec<_> = histogram.positive.iter().map(|bucket| (bucket.index, bucket.count.to_bits())).collect();
        assert_eq!(buckets, [(0, 5.0f64), (1, 2.0), (5, 3.0), (161, 7.0)].map(|(at, count)| (at, count.to_bits())));
        assert_eq!(histogram.count.to_bits(), 17.0f64.to_bits());
        let sum = 2.0 * 32e-9 + 3.0 * 288e-9 + 7.0 * 140_737.488_355_328;
        assert!((histogram.sum - sum).abs() < 1e-6, "{}", histogram.sum);
        histogram.check().expect("a histogram as others accept it");
        assert_eq!(bounds.read(LAYOUT, field, &bytes[..bytes.len() - 1]), None, "cut");
    }
}
