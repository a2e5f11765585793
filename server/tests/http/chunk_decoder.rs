//! Reads Prometheus's chunks back, for tests: written from the description of the format (`tsdb/docs/format/chunks.md`)
//! and apart from the encoder.

use model::remote_write::read::{Chunk, ChunkEncoding};
use model::{Bucket, Histogram, ResetHint};

/// The decoded samples of one chunk.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    Floats(Vec<(i64, u64)>),
    Histograms(Vec<(i64, Histogram)>),
}

/// Decodes a chunk and checks its times.
pub(crate) fn decode(chunk: &Chunk) -> Decoded {
    let (decoded, times): (Decoded, Vec<i64>) = match ChunkEncoding::try_from(chunk.r#type).unwrap() {
        ChunkEncoding::Xor => {
            let floats = decode_floats(&chunk.data);
            let times = floats.iter().map(|&(time, _)| time).collect();
            (Decoded::Floats(floats), times)
        }
        ChunkEncoding::FloatHistogram => {
            let histograms = decode_histograms(&chunk.data);
            let times = histograms.iter().map(|&(time, _)| time).collect();
            (Decoded::Histograms(histograms), times)
        }
        other => panic!("a chunk in {other:?}"),
    };
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((times.first(), times.last()), (Some(&chunk.min_time_ms), Some(&chunk.max_time_ms)));
    decoded
}

struct Bits<'a> {
    bytes: &'a [u8],
    at_bit: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> bool {
        let byte = self.bytes[self.at_bit / 8];
        let bit = byte >> (7 - self.at_bit % 8) & 1;
        self.at_bit += 1;
        bit == 1
    }

    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| value << 1 | u64::from(self.bit()))
    }

    /// A signed number of `count` bits whose largest value is `2^(count-1)`.
    fn signed(&mut self, count: u32) -> i64 {
        let value = i64::try_from(self.bits(count)).unwrap();
        if value > 1 << (count - 1) { value - (1 << count) } else { value }
    }

    fn uvarint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.bits(8);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn varint(&mut self) -> i64 {
        let zigzag = self.uvarint();
        (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()
    }

    /// How many ones come before a zero, at most `max`.
    fn ones(&mut self, max: usize) -> usize {
        (0..max).take_while(|_| self.bit()).count()
    }

    fn varbit_int(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            8 => self.bits(64).cast_signed(),
            ones => self.signed([3, 6, 9, 12, 18, 25, 56][ones - 1]),
        }
    }

    fn varbit_uint(&mut self) -> u64 {
        match self.ones(8) {
            0 => 0,
            ones => self.bits([3, 6, 9, 12, 18, 25, 56, 64][ones - 1]),
        }
    }

    /// Nothing but padding may be left.
    fn end(mut self) {
        assert_eq!(self.at_bit.div_ceil(8), self.bytes.len(), "bytes after the last sample");
        let padding = (self.bytes.len() * 8 - self.at_bit).try_into().unwrap();
        assert_eq!(self.bits(padding), 0);
    }
}

#[derive(Clone, Copy)]
struct XorState {
    value: u64,
    leading: u32,
    trailing: u32,
}

impl XorState {
    fn next(&mut self, bits: &mut Bits<'_>) -> u64 {
        if bits.bit() {
            if bits.bit() {
                self.leading = u32::try_from(bits.bits(5)).unwrap();
                let significant = u32::try_from(bits.bits(6)).unwrap();
                self.trailing = 64 - self.leading - if significant == 0 { 64 } else { significant };
            }
            self.value ^= bits.bits(64 - self.leading - self.trailing) << self.trailing;
        }
        self.value
    }
}

fn decode_floats(data: &[u8]) -> Vec<(i64, u64)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let mut bits = Bits { bytes: &data[2..], at_bit: 0 };
    let (mut time, mut delta) = (bits.varint(), 0_i64);
    let mut value = XorState { value: bits.bits(64), leading: 0, trailing: 0 };
    let mut samples = vec![(time, value.value)];
    for at in 1..count {
        delta = match at {
            1 => bits.uvarint().cast_signed(),
            _ => delta.wrapping_add(match bits.ones(4) {
                0 => 0,
                1 => bits.signed(14),
                2 => bits.signed(17),
                3 => bits.signed(20),
                _ => bits.bits(64).cast_signed(),
            }),
        };
        time = time.wrapping_add(delta);
        samples.push((time, value.next(&mut bits)));
    }
    bits.end();
    samples
}

fn decode_histograms(data: &[u8]) -> Vec<(i64, Histogram)> {
    let count = u16::from_be_bytes([data[0], data[1]]);
    let (first_hint, later_hint) = match data[2] {
        0b0000_0000 => (ResetHint::Unknown, ResetHint::NotReset),
        0b1000_0000 => (ResetHint::Reset, ResetHint::NotReset),
        0b0100_0000 => (ResetHint::NotReset, ResetHint::NotReset),
        0b1100_0000 => (ResetHint::Gauge, ResetHint::Gauge),
        other => panic!("flags {other:#b}"),
    };
    let mut bits = Bits { bytes: &data[3..], at_bit: 0 };
    let zero_threshold = match bits.bits(8) {
        0 => 0.0,
        0xff => f64::from_bits(bits.bits(64)),
        told => (f64::from(u8::try_from(told).unwrap()) - 244.0).exp2(),
    };
    let schema = i8::try_from(bits.varbit_int()).unwrap();
    let [positive, negative] = [indexes(&mut bits), indexes(&mut bits)];
    let custom_bounds = if schema == -53 { custom_bounds(&mut bits) } else { Vec::new() };
    let (mut time, mut delta) = (bits.varbit_int(), 0);
    let columns = 3 + positive.len() + negative.len();
    let mut states: Vec<XorState> =
        (0..columns).map(|_| XorState { value: bits.bits(64), leading: 0, trailing: 0 }).collect();
    let mut samples = Vec::new();
    for at in 0..count {
        if at > 0 {
            delta += bits.varbit_int();
            time += delta;
            for state in &mut states {
                state.next(&mut bits);
            }
        }
        let numbers: Vec<f64> = states.iter().map(|state| f64::from_bits(state.value)).collect();
        let (counts, buckets) = numbers.split_at(3);
        let side = |indexes: &[i32], counts: &[f64]| {
            indexes.iter().zip(counts).map(|(&index, &count)| Bucket { index, count }).collect()
        };
        let histogram = Histogram {
            schema,
            reset_hint: if at == 0 { first_hint } else { later_hint },
            count: counts[0],
            zero_count: counts[1],
            sum: counts[2],
            zero_threshold,
            positive: side(&positive, buckets),
            negative: side(&negative, &buckets[positive.len()..]),
            custom_bounds: custom_bounds.clone(),
        };
        samples.push((time, histogram));
    }
    bits.end();
    samples
}

fn indexes(bits: &mut Bits<'_>) -> Vec<i32> {
    let mut indexes = Vec::new();
    let mut next = 0;
    for _ in 0..bits.varbit_uint() {
        let length = i32::try_from(bits.varbit_uint()).unwrap();
        next += i32::try_from(bits.varbit_int()).unwrap();
        indexes.extend(next..next + length);
        next += length;
    }
    indexes
}

fn custom_bounds(bits: &mut Bits<'_>) -> Vec<f64> {
    (0..bits.varbit_uint())
        .map(|_| match bits.varbit_uint() {
            0 => f64::from_bits(bits.bits(64)),
            told => f64::from(u32::try_from(told - 1).unwrap()) / 1000.0,
        })
        .collect()
}
