//! The head's chunk against a plain list of samples: exact to the bit, whatever the timestamps and values.

use proptest::prelude::*;
use storage::codec::gorilla::{GorillaAppender, GorillaIter, decode};

/// Bit patterns that codings get wrong first.
fn value_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (-1000i32..1000).prop_map(|whole| f64::from(whole).to_bits()),
        2 => Just(model::sample::STALE_NAN_BITS),
        2 => any::<u64>(),
        1 => prop::sample::select(vec![
            0, 1 << 63, f64::NAN.to_bits(), f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits(), 1, u64::MAX,
            f64::MAX.to_bits(), f64::MIN_POSITIVE.to_bits(),
        ]),
    ]
}

fn timestamp_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0i64..200).prop_map(|at| 1_700_000_000_000 + at * 15_000),
        4 => 1_700_000_000_000i64..1_700_000_600_000,
        1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 0, -1]),
    ]
}

proptest! {
    #[test]
    fn samples_come_back(samples in prop::collection::vec((timestamp_ms(), value_bits()), 0..300)) {
        let mut chunk = GorillaAppender::new();
        for (at, &(timestamp_ms, bits)) in samples.iter().enumerate() {
            chunk.push(timestamp_ms, f64::from_bits(bits));
            prop_assert_eq!(chunk.last().map(|(ts, value)| (ts, value.to_bits())), Some((timestamp_ms, bits)));
            if at % 37 == 0 {
                // A snapshot taken while appending goes on.
                let mut bytes = Vec::new();
                let count = chunk.snapshot_into(&mut bytes);
                let got: Vec<_> = GorillaIter::new(&bytes, count).map(|s| s.map(|(ts, v)| (ts, v.to_bits()))).collect();
                let want: Vec<_> = samples[..=at].iter().copied().map(Ok).collect();
                prop_assert_eq!(got, want);
            }
        }
        let mut bytes = Vec::new();
        let count = chunk.snapshot_into(&mut bytes);
        prop_assert_eq!(bytes.len(), chunk.len_bytes());
        let mut got = model::Samples::default();
        prop_assert!(decode(&bytes, count, &mut got).is_ok());
        let got: Vec<_> = got.iter().map(|sample| (sample.timestamp.0, sample.value.to_bits())).collect();
        prop_assert_eq!(got, samples);
    }

    #[test]
    fn garbage_ends_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in any::<u32>()) {
        let mut got = model::Samples::default();
        let decoded = decode(&bytes, count, &mut got);
        prop_assert!(got.len() <= bytes.len() * 4);
        prop_assert_eq!(decoded.is_ok(), got.len() == count as usize);
    }
}

#[test]
fn a_regular_constant_series_takes_two_bits_a_sample() {
    let mut chunk = GorillaAppender::new();
    for at in 0..1000 {
        chunk.push(at * 15_000, 42.0);
    }
    // 16 bytes for the first sample, 4 for the first delta and its change to the second.
    assert_eq!(chunk.len_bytes(), 16 + (2 * 999 + 23_usize).div_ceil(8));
    chunk.clear();
    assert!(chunk.is_empty() && chunk.last().is_none() && chunk.len_bytes() == 0);
    chunk.push(7, 1.0);
    let mut bytes = Vec::new();
    assert_eq!(chunk.snapshot_into(&mut bytes), 1);
    assert_eq!(GorillaIter::new(&bytes, 1).collect::<Vec<_>>(), [Ok((7, 1.0))]);
}
