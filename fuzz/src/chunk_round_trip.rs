//! Samples through every coding and back: equal to the bit.

use model::Samples;
use storage::codec::gorilla::{self, GorillaAppender};
use storage::codec::values::ValueEncoder;
use storage::codec::{CHUNK_SAMPLES_MAX, Effort, times, values};

use crate::input::Input;

/// Makes a column out of the bytes and codes it.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let effort = if input.byte().is_multiple_of(2) { Effort::Small } else { Effort::Fast };
    let mut samples = Samples::default();
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while !input.is_empty() && samples.len() < CHUNK_SAMPLES_MAX {
        timestamp_ms = input.timestamp_ms(timestamp_ms);
        value = input.value(value);
        samples.push(timestamp_ms, value);
    }

    let mut appender = GorillaAppender::new();
    samples.iter().for_each(|sample| appender.push(sample.timestamp.0, sample.value));
    let (mut bytes, mut back) = (Vec::new(), Samples::default());
    let count = appender.snapshot_into(&mut bytes);
    gorilla::decode(&bytes, count, &mut back).expect("what was coded is decoded");
    assert_same(&samples, &back);

    let mut back = Samples::default();
    bytes.clear();
    let coding = times::encode(&samples.timestamps_ms, effort, &mut bytes);
    times::decode(coding, &bytes, samples.len(), &mut back.timestamps_ms).expect("what was coded is decoded");
    bytes.clear();
    let coding = ValueEncoder::new().encode(&samples.values, effort, &mut bytes);
    values::decode(coding, &bytes, samples.len(), &mut back.values).expect("what was coded is decoded");
    assert_same(&samples, &back);
}

fn assert_same(want: &Samples, got: &Samples) {
    assert_eq!(want.timestamps_ms, got.timestamps_ms);
    assert!(want.values.iter().map(|v| v.to_bits()).eq(got.values.iter().map(|v| v.to_bits())), "{want:?} is {got:?}");
}
