//! Writes a profile in the protobuf form that `go tool pprof` and every other viewer opens: what was read in another
//! form or another way, or cut down.
#![warn(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::model::{LabelValue, Location, Profile, Sample, ValueType};
use model::protobuf::{put_bytes, put_number, put_numbers};

/// The gzipped protobuf of `profile`. What its stacks name and is not there is left out.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    // Memory takes everything.
    let written = zipped.write_all(&encode_plain(profile));
    written.and_then(|()| zipped.finish()).unwrap_or_default()
}

/// The same without compression.
pub fn encode_plain(profile: &Profile) -> Vec<u8> {
    let mut texts = Texts::default();
    // Text 0 is the empty one.
    texts.number("");
    let mut out = Vec::new();
    for sample_type in &profile.sample_types {
        put_bytes(&mut out, 1, &value_type(sample_type, &mut texts));
    }
    for sample in &profile.samples {
        put_bytes(&mut out, 2, &message_of_sample(sample, profile, &mut texts));
    }
    for (id, location) in (1..).zip(&profile.locations) {
        put_bytes(&mut out, 4, &message_of_location(id, location, profile));
    }
    for (id, function) in (1..).zip(&profile.functions) {
        let mut message = Vec::new();
        put_number(&mut message, 1, id);
        put_number(&mut message, 2, texts.number(&function.name));
        // The name as the linker has it is the same in Go.
        put_number(&mut message, 3, texts.number(&function.name));
        put_number(&mut message, 4, texts.number(&function.file));
        put_number(&mut message, 5, function.start_line.cast_unsigned());
        put_bytes(&mut out, 5, &message);
    }
    put_number(&mut out, 9, profile.time_ns.cast_unsigned());
    put_number(&mut out, 10, profile.duration_ns.cast_unsigned());
    if let Some(period_type) = &profile.period_type {
        put_bytes(&mut out, 11, &value_type(period_type, &mut texts));
    }
    put_number(&mut out, 12, profile.period.cast_unsigned());
    let comments: Vec<u64> = profile.comments.iter().map(|text| texts.number(text)).collect();
    put_numbers(&mut out, 13, comments.into_iter());
    put_number(&mut out, 14, texts.number(&profile.default_type));
    for text in texts.all {
        put_bytes(&mut out, 6, text.as_bytes());
    }
    out
}

/// The table of texts.
#[derive(Default)]
struct Texts<'a> {
    all: Vec<&'a str>,
    known: HashMap<&'a str, u64>,
}

impl<'a> Texts<'a> {
    fn number(&mut self, text: &'a str) -> u64 {
        *self.known.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() as u64 - 1
        })
    }
}

fn value_type<'a>(value_type: &'a ValueType, texts: &mut Texts<'a>) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, 1, texts.number(&value_type.kind));
    put_number(&mut message, 2, texts.number(&value_type.unit));
    message
}

fn message_of_sample<'a>(sample: &'a Sample, profile: &Profile, texts: &mut Texts<'a>) -> Vec<u8> {
    let mut message = Vec::new();
    let there = sample.stack.iter().filter(|at| (**at as usize) < profile.locations.len());
    put_numbers(&mut message, 1, there.map(|at| u64::from(*at) + 1));
    put_numbers(&mut message, 2, sample.values.iter().map(|value| value.cast_unsigned()));
    for (key, value) in &sample.labels {
        let mut label = Vec::new();
        put_number(&mut label, 1, texts.number(key));
        match value {
            LabelValue::Text(text) => put_number(&mut label, 2, texts.number(text)),
            LabelValue::Number(number, unit) => {
                put_number(&mut label, 3, number.cast_unsigned());
                put_number(&mut label, 4, texts.number(unit));
            }
        }
        put_bytes(&mut message, 3, &label);
    }
    message
}

fn message_of_location(id: u64, location: &Location, profile: &Profile) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, 1, id);
    put_number(&mut message, 3, location.address);
    for line in location.lines.iter().filter(|line| (line.function as usize) < profile.functions.len()) {
        let mut inner = Vec::new();
        put_number(&mut inner, 1, u64::from(line.function) + 1);
        put_number(&mut inner, 2, line.line.cast_unsigned());
        put_bytes(&mut message, 4, &inner);
    }
    message
}
