//! Chunks byte for byte, and read back by a decoder written apart from the encoder.

use std::sync::Arc;

use model::ResetHint::{self, Gauge, NotReset, Reset, Unknown};
use model::remote_write::read::{Chunk, ChunkEncoding};
use model::{Bucket, FullSample, Histogram, SampleValue, Samples};
use proptest::prelude::*;

use super::decoder::{Decoded, decode};
use super::{SAMPLES_MAX, chunks};

fn floats(pairs: &[(i64, f64)]) -> Samples {
    Samples::from_floats(pairs.iter().map(|pair| pair.0).collect(), pairs.iter().map(|pair| pair.1).collect())
}

fn with_histograms(of: &[(i64, Histogram)]) -> Samples {
    let mut samples = Samples::default();
    for (timestamp_ms, histogram) in of {
        let value = SampleValue::Histogram(Arc::new(histogram.clone()));
        samples.push_full(FullSample { timestamp_ms: *timestamp_ms, start_ms: 0, value });
    }
    samples
}

fn buckets(of: &[(i32, f64)]) -> Vec<Bucket> {
    of.iter().map(|&(index, count)| Bucket { index, count }).collect()
}

/// One: the time 0 and the value whole; two: ten ms later (LEB128), no bit differs; three: as late again, and the
/// eleven bits behind the first differ.
#[test]
fn bytes_of_a_float_chunk() {
    let chunk = chunks(&floats(&[(0, 1.0), (10, 1.0), (20, 2.0)])).next().unwrap();
    let want = Chunk {
        min_time_ms: 0,
        max_time_ms: 20,
        r#type: ChunkEncoding::Xor.into(),
        data: vec![0, 3, 0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 10, 0b0011_0000, 0b1001_0111, 0xff, 0b1100_0000],
    };
    assert_eq!(chunk, want);
}

/// Header, a zero byte for the threshold, schema 1 in five bits, one span of length 1 at offset 2, no negative ones;
/// then the time 0 in one bit, and four floats.
#[test]
fn bytes_of_a_histogram_chunk() {
    let histogram =
        Histogram { schema: 1, count: 1.0, sum: 2.0, positive: buckets(&[(2, 1.0)]), ..Histogram::default() };
    let chunk = chunks(&with_histograms(&[(0, histogram)])).next().unwrap();
    assert_eq!(chunk.r#type, i32::from(ChunkEncoding::FloatHistogram));
    let bits = chunk.data[3..].iter().fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
    let numbers = [1.0_f64, 0.0, 2.0, 1.0].map(f64::to_bits);
    let floats = numbers.iter().fold(String::new(), |bits, number| bits + &format!("{number:064b}"));
    let want = ["00000000", "10001", "10001", "10001", "10010", "0", "0", &floats].concat();
    assert_eq!(&chunk.data[..3], [0, 1, 0]);
    assert!(bits.starts_with(&want), "{bits}\n{want}");
    assert_eq!(bits.len(), want.len().next_multiple_of(8));
}

/// Every size that a change between times is written in, at its ends.
#[test]
fn times_at_the_ends_of_their_sizes() {
    for bits in [14, 17, 20] {
        let half = 1_i64 << (bits - 1);
        for change in [half - 1, half, half + 1, 1 - half, -half, -half - 1] {
            let step = 1 << 21;
            let times = [-5, step - 5, 2 * step + change - 5];
            let samples = Samples::from_floats(times.to_vec(), vec![0.0; 3]);
            let got = decode(&chunks(&samples).next().unwrap());
            assert_eq!(got, Decoded::Floats(times.map(|time| (time, 0)).to_vec()), "{change}");
        }
    }
    let ends = [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX];
    let got = decode(&chunks(&Samples::from_floats(ends.to_vec(), vec![1.0; 5])).next().unwrap());
    assert_eq!(got, Decoded::Floats(ends.map(|time| (time, 1.0_f64.to_bits())).to_vec()));
}

#[test]
fn long_runs_are_cut() {
    let pairs: Vec<(i64, f64)> = (0..300).map(|at| (i64::from(at) * 15_000, f64::from(at))).collect();
    let lengths: Vec<usize> = chunks(&floats(&pairs))
        .map(|chunk| match decode(&chunk) {
            Decoded::Floats(samples) => samples.len(),
            Decoded::Histograms(_) => 0,
        })
        .collect();
    assert_eq!(lengths, [usize::from(SAMPLES_MAX), usize::from(SAMPLES_MAX), 60]);
}

/// Hints decide what shares a chunk, and every kind of histogram reads back as it was; a stale marker has nothing but
/// its sum, and what follows in a chunk of a counter is known not to be a reset.
#[test]
fn histograms_read_back() {
    let exponential = |hint: ResetHint, count: f64| Histogram {
        schema: -4,
        reset_hint: hint,
        count,
        sum: -0.25 * count,
        zero_threshold: (-128.0_f64).exp2(),
        zero_count: 1.5,
        positive: buckets(&[(-2, count), (-1, 2.0), (7, 0.5)]),
        negative: buckets(&[(3, count / 3.0)]),
        custom_bounds: Vec::new(),
    };
    let custom = Histogram {
        schema: model::histogram::CUSTOM_SCHEMA,
        count: 3.0,
        sum: 1.0,
        positive: buckets(&[(0, 1.0), (4, 2.0)]),
        custom_bounds: vec![-1.0, 0.0, 0.005, 33_554.43, 1e9],
        ..Histogram::default()
    };
    let given = [
        (0, exponential(Unknown, 3.0)),
        (15_000, exponential(NotReset, 4.0)),
        (30_001, exponential(NotReset, 4.0)),
        (45_000, exponential(Reset, 1.0)),
        (60_000, Histogram { positive: buckets(&[(1, 1.0)]), ..exponential(NotReset, 5.0) }),
        (75_000, exponential(Gauge, 5.0)),
        (90_000, exponential(Gauge, 6.0)),
        (105_000, Histogram::stale_marker()),
        (120_000, custom),
        (135_000, Histogram { zero_threshold: 0.001, ..exponential(Unknown, 1.0) }),
    ];
    let mut lengths = Vec::new();
    let mut got = Vec::new();
    for chunk in chunks(&with_histograms(&given)) {
        let Decoded::Histograms(samples) = decode(&chunk) else { panic!("not floats") };
        lengths.push(samples.len());
        got.extend(samples);
    }
    assert_eq!(lengths, [3, 1, 1, 2, 1, 1, 1]);
    assert_eq!(got, given);
}

/// Senders mostly tell nothing about resets; then counts that do not fall share a chunk.
#[test]
fn counts_decide_where_hints_do_not() {
    let of = |count: f64, sum: f64, zero_count: f64, bucket: f64| Histogram {
        count,
        sum,
        zero_count,
        positive: buckets(&[(1, bucket)]),
        ..Histogram::default()
    };
    let check = |second: Histogram, is_one: bool| {
        let given = [(0, of(5.0, 1.0, 2.0, 3.0)), (15_000, second)];
        let chunks: Vec<Chunk> = chunks(&with_histograms(&given)).collect();
        assert_eq!(chunks.len(), if is_one { 1 } else { 2 }, "{:?}", given[1]);
        let Decoded::Histograms(got) = decode(chunks.last().unwrap()) else { panic!("not floats") };
        let reset_hint = if is_one { NotReset } else { Unknown };
        assert_eq!(got.last(), Some(&(15_000, Histogram { reset_hint, ..given[1].1.clone() })));
    };
    check(of(5.0, 1.0, 2.0, 3.0), true);
    check(of(6.0, -9.0, 2.0, 4.0), true);
    check(of(4.0, 1.0, 2.0, 3.0), false);
    check(of(6.0, 1.0, 1.0, 5.0), false);
    check(of(6.0, 1.0, 4.0, 2.0), false);
    check(of(f64::NAN, 1.0, 2.0, 3.0), false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any floats at any ascending times read back bit for bit.
    #[test]
    fn floats_read_back(
        first in any::<i64>(),
        steps in prop::collection::vec((prop_oneof![Just(15_000_u64), 1..100_000_u64, any::<u64>()], value()), 0..300),
    ) {
        let mut time = first;
        let mut pairs = vec![(first, 0.5)];
        for (step, value) in steps {
            let Some(next) = time.checked_add_unsigned(step.max(1)) else { continue };
            time = next;
            pairs.push((time, value));
        }
        let mut got = Vec::new();
        for chunk in chunks(&floats(&pairs)) {
            let Decoded::Floats(samples) = decode(&chunk) else { panic!("not histograms") };
            got.extend(samples);
        }
        let want: Vec<(i64, u64)> = pairs.iter().map(|&(time, value)| (time, value.to_bits())).collect();
        prop_assert_eq!(got, want);
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (0..1000_i32).prop_map(f64::from),
        Just(1.0),
        Just(model::sample::stale_marker()),
    ]
}
