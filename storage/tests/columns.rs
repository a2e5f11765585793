//! Columns of blocks against the plain column: exact to the bit, whatever the column, and no panic on damaged bytes.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "columns are made from integers")]

use proptest::prelude::*;
use storage::codec::times::{self, TimeCoding};
use storage::codec::values::{self, ValueCoding, ValueEncoder};
use storage::codec::{CHUNK_SAMPLES_MAX, CodecError, Effort};

const STALE: u64 = model::sample::STALE_NAN_BITS;

/// Values that belong together in one column, and some that belong nowhere.
fn column() -> impl Strategy<Value = Vec<f64>> {
    let special = prop::sample::select(vec![
        STALE,
        f64::NAN.to_bits(),
        0xfff8_0000_0000_0001,
        1 << 63,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        1,
        0,
        f64::MAX.to_bits(),
        0x4340_0000_0000_0001,
        u64::MAX,
    ]);
    let ordinary = prop_oneof![
        prop::collection::vec((-300i64..3000).prop_map(|whole| whole as f64), 0..400),
        prop::collection::vec((0i64..90_000, 0i32..7).prop_map(|(n, scale)| n as f64 / 10f64.powi(scale)), 0..400),
        prop::collection::vec((any::<i64>(), 0u32..64).prop_map(|(n, shift)| (n >> shift) as f64), 0..400),
        prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..100),
        (any::<u64>(), 0usize..400).prop_map(|(bits, count)| vec![f64::from_bits(bits); count]),
        (any::<i32>(), any::<i32>(), 0usize..400).prop_map(|(first, step, count)| (0..count)
            .map(|at| f64::from(first) + f64::from(step) * at as f64)
            .collect()),
        prop::collection::vec(0.0f64..1.0, 0..300),
    ];
    (ordinary, prop::collection::vec((any::<prop::sample::Index>(), special), 0..12)).prop_map(
        |(mut column, specials)| {
            for (at, bits) in specials {
                if !column.is_empty() {
                    let at = at.index(column.len());
                    column[at] = f64::from_bits(bits);
                }
            }
            column
        },
    )
}

fn timestamps() -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        (any::<i64>(), any::<i64>(), 0usize..500).prop_map(|(first, step, count)| (0..count as i64)
            .map(|at| first.wrapping_add(step.wrapping_mul(at)))
            .collect()),
        prop::collection::vec(-20i64..20, 0..500).prop_map(|jitter| {
            jitter.iter().zip(0i64..).map(|(jitter, at)| 1_700_000_000_000 + at * 2000 + jitter).collect()
        }),
        prop::collection::vec(any::<i64>(), 0..200),
    ]
}

#[track_caller]
fn check_values(column: &[f64], effort: Effort) -> (ValueCoding, Vec<u8>) {
    let mut bytes = Vec::new();
    let coding = ValueEncoder::new().encode(column, effort, &mut bytes);
    assert_eq!(ValueCoding::from_tag(coding.tag()), Ok(coding));
    let mut got = vec![0.5];
    assert_eq!(values::decode(coding, &bytes, column.len(), &mut got), Ok(()));
    let bits = |column: &[f64]| column.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got[1..]), bits(column), "{}", coding.name());
    (coding, bytes)
}

proptest! {
    #[test]
    fn values_come_back(column in column()) {
        check_values(&column, Effort::Small);
        check_values(&column, Effort::Fast);
    }

    #[test]
    fn timestamps_come_back(column in timestamps()) {
        for effort in [Effort::Fast, Effort::Small] {
            let mut bytes = Vec::new();
            let coding = times::encode(&column, effort, &mut bytes);
            let mut got = Vec::new();
            prop_assert_eq!(times::decode(TimeCoding::from_tag(coding.tag()).unwrap(), &bytes, column.len(), &mut got), Ok(()));
            prop_assert_eq!(got, column.clone());
        }
    }

    #[test]
    fn garbage_is_an_error_or_that_many_samples(
        bytes in prop::collection::vec(any::<u8>(), 0..200), tag in any::<u8>(), count in 0usize..=CHUNK_SAMPLES_MAX,
    ) {
        let mut got = Vec::new();
        if let Ok(coding) = ValueCoding::from_tag(tag)
            && values::decode(coding, &bytes, count, &mut got).is_ok()
        {
            prop_assert_eq!(got.len(), count);
        }
        let mut got = Vec::new();
        if let Ok(coding) = TimeCoding::from_tag(tag)
            && times::decode(coding, &bytes, count, &mut got).is_ok()
        {
            prop_assert_eq!(got.len(), count);
        }
    }

    #[test]
    fn damaged_chunks_are_no_panic(
        column in column(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let (coding, mut bytes) = check_values(&column, Effort::Small);
        if !bytes.is_empty() {
            for (at, xor) in damage {
                let at = at.index(bytes.len());
                bytes[at] ^= xor;
            }
            let _ = values::decode(coding, &bytes, column.len(), &mut Vec::new());
            bytes.truncate(cut.index(bytes.len()));
            let _ = values::decode(coding, &bytes, column.len(), &mut Vec::new());
        }
    }
}

/// The coding and the most bytes that a column may take.
#[track_caller]
fn check_coding(column: &[f64], name: &str, bytes_max: usize) {
    let (coding, bytes) = check_values(column, Effort::Small);
    assert_eq!(coding.name(), name, "{} bytes", bytes.len());
    assert!(bytes.len() <= bytes_max, "{name}: {} bytes, at most {bytes_max}", bytes.len());
}

#[test]
fn the_coding_follows_the_column() {
    let column = |value: &dyn Fn(u32) -> f64| (0..720).map(value).collect::<Vec<f64>>();
    let noise = |at: u32| u64::from(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let stale = f64::from_bits(STALE);
    check_coding(&[], "constant", 0);
    check_coding(&[0.0], "constant", 0);
    check_coding(&column(&|_| -3.0), "constant", 2);
    check_coding(&column(&|_| f64::NAN), "constant", 2);
    check_coding(&column(&|at| f64::from(at) * 15.0 + 7.0), "constant step", 3);
    check_coding(&column(&|at| f64::from(at) / 100.0), "constant step", 3);
    check_coding(&column(&|at| if at == 700 { stale } else { 8.0 }), "constant", 6);
    check_coding(&column(&|at| (noise(at) % 200) as f64), "pco integers", 760);
    check_coding(&column(&|at| (noise(at) % 200) as f64 / 100.0), "pco integers", 760);
    check_coding(&column(&|at| if at % 50 == 9 { stale } else { (noise(at) % 200) as f64 }), "pco integers", 800);
    check_coding(&column(&|at| (noise(at) as f64).sqrt()), "pco floats", 5400);
    check_coding(&column(&|at| f64::from(at / 50)), "packed integers", 40);
    check_coding(&[1.0, 2.0, 4.0], "packed integers", 8);
    check_coding(&[0.1, 1e300, f64::MIN_POSITIVE], "XOR", 32);
}

#[test]
fn a_count_above_the_limit_is_refused_before_anything_is_reserved() {
    let count = CHUNK_SAMPLES_MAX + 1;
    let want = Err(CodecError::TooManySamples { count, limit: CHUNK_SAMPLES_MAX });
    for tag in 0..=0x1f {
        if let Ok(coding) = ValueCoding::from_tag(tag) {
            assert_eq!(values::decode(coding, &[0; 64], count, &mut Vec::new()), want);
        }
        if let Ok(coding) = TimeCoding::from_tag(tag) {
            assert_eq!(times::decode(coding, &[0; 64], count, &mut Vec::new()), want);
        }
    }
}
