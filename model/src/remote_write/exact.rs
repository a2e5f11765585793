//! Parts of remote write and remote read messages, field by field, with the sign of every zero.
//!
//! Generated code leaves out every field that equals zero, and with it the sign of a negative one. A message is its fields
//! one after the other, so that series are written without messages made of them first. Field numbers are those of the
//! messages beside this; the number under which a message itself stands is the caller's.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::to_wire;
use crate::histogram::Histogram;
use crate::labels::LabelsRef;

/// Appends the pairs of `labels`, each as a [`Label`](super::Label) under `field`.
pub fn push_labels(out: &mut Vec<u8>, field: u32, labels: LabelsRef<'_>) {
    let mut label = Vec::new();
    for (name, value) in labels.iter() {
        label.clear();
        push_bytes(&mut label, 1, name.as_bytes());
        push_bytes(&mut label, 2, value.as_bytes());
        push_bytes(out, field, &label);
    }
}

/// Appends a [`WireSample`](super::WireSample) under `field`; `start_ms` is 0 where the start is not known.
pub fn push_sample(out: &mut Vec<u8>, field: u32, timestamp_ms: i64, value: f64, start_ms: i64) {
    let int_bytes = |value: i64| if value == 0 { 0 } else { 1 + encoded_len_varint(value.cast_unsigned()) };
    let double_bytes = if value.to_bits() == 0 { 0 } else { 1 + size_of::<f64>() };
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint((double_bytes + int_bytes(timestamp_ms) + int_bytes(start_ms)) as u64, out);
    push_double(out, 1, value);
    push_int(out, 2, timestamp_ms);
    push_int(out, 3, start_ms);
}

/// Appends a [`WireHistogram`](super::WireHistogram) under `field`; `start_ms` is 0 where the start is not known.
pub fn push_histogram(out: &mut Vec<u8>, field: u32, histogram: &Histogram, timestamp_ms: i64, start_ms: i64) {
    let mut bytes = to_wire(histogram, timestamp_ms, start_ms).encode_to_vec();
    for (field, value) in [(3, histogram.sum), (5, histogram.zero_threshold)] {
        if value == 0.0 {
            push_double(&mut bytes, field, value);
        }
    }
    push_bytes(out, field, &bytes);
}

/// Appends bytes, a text or a whole message under `field`.
pub fn push_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn push_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        encode_key(field, WireType::SixtyFourBit, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn push_int(out: &mut Vec<u8>, field: u32, value: i64) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value.cast_unsigned(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TimeSeries, WireSample, from_wire};
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn messages_are_those_of_the_protocol_with_the_signs_of_zeros() {
        let labels = Labels::from_pairs([("__name__", "x"), ("job", "a")]).expect("valid");
        let mut bytes = Vec::new();
        push_labels(&mut bytes, 1, labels.as_ref());
        let samples = [(0, 0.0, 0), (-5, -0.0, 7), (i64::MAX, f64::INFINITY, i64::MIN), (1, 2.5, 0)];
        for &(at_ms, value, start_ms) in &samples {
            push_sample(&mut bytes, 2, at_ms, value, start_ms);
        }
        let histogram = Histogram { count: 1.0, zero_count: 1.0, sum: -0.0, ..Histogram::default() };
        push_histogram(&mut bytes, 4, &histogram, 9, 3);
        let read = TimeSeries::decode(bytes.as_slice()).expect("a series");
        let found: Vec<(&str, &str)> = read.labels.iter().map(|of| (of.name.as_str(), of.value.as_str())).collect();
        assert_eq!(found, [("__name__", "x"), ("job", "a")]);
        let bits = |of: &WireSample| (of.timestamp, of.value.to_bits(), of.start_timestamp);
        let want = samples.map(|(at_ms, value, start_ms)| (at_ms, f64::to_bits(value), start_ms));
        assert_eq!(read.samples.iter().map(bits).collect::<Vec<_>>(), want);
        let [wire] = read.histograms.as_slice() else { panic!("one histogram") };
        assert_eq!((wire.timestamp, wire.sum.to_bits()), (9, (-0.0_f64).to_bits()));
        assert_eq!(from_wire(wire).expect("sound"), histogram);
    }
}
