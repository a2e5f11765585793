//! Profiles in protobuf: whatever is written is read back the same, whatever is read does no harm.

use std::io::Write;

use agent::go::profile::encode::encode_plain;
use agent::go::profile::model::{Builder, Function, LabelValue, Line, Location, Profile, Sample, Text, ValueType};
use agent::go::profile::{DecodeError, Limits, decode, encode};
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![Just(""), Just("main.main"), Just("é\u{0}\n"), Just("/src/main.go")].prop_map(Text::from)
}

fn label() -> impl Strategy<Value = (Text, LabelValue)> {
    let value = prop_oneof![
        // An empty text cannot be told from no text.
        "[a-z]{1,4}".prop_map(|text| LabelValue::Text(text.into())),
        (any::<i64>(), text()).prop_map(|(number, unit)| LabelValue::Number(number, unit)),
    ];
    (text(), value)
}

prop_compose! {
    /// Any profile whose numbers point to what is there.
    fn profile()(
        functions in vec((text(), text(), any::<i64>()), 1..6),
        kinds in vec((text(), text()), 1..4),
    )(
        locations in vec((any::<u64>(), vec((0..functions.len(), any::<i64>()), 0..4)), 1..8),
        samples in vec((vec(0..8usize, 0..10), vec(any::<i64>(), kinds.len()), vec(label(), 0..3)), 0..20),
        numbers in any::<(i64, i64, i64)>(),
        texts in (text(), proptest::option::of((text(), text())), vec(text(), 0..3)),
        functions in Just(functions),
        kinds in Just(kinds),
    ) -> Profile {
        let value_type = |(kind, unit)| ValueType { kind, unit };
        let line = |(function, line)| Line { function: u32::try_from(function).expect("few"), line };
        let locations: Vec<Location> = locations
            .into_iter()
            .map(|(address, lines)| Location { address, lines: lines.into_iter().map(line).collect() })
            .collect();
        let stack = |stack: Vec<usize>| {
            stack.into_iter().map(|at| u32::try_from(at % locations.len()).expect("few")).collect()
        };
        Profile {
            sample_types: kinds.into_iter().map(value_type).collect(),
            samples: samples
                .into_iter()
                .map(|(at, values, labels)| Sample { stack: stack(at), values, labels })
                .collect(),
            functions: functions
                .into_iter()
                .map(|(name, file, start_line)| Function { name, file, start_line })
                .collect(),
            period: numbers.0,
            time_ns: numbers.1,
            duration_ns: numbers.2,
            default_type: texts.0,
            period_type: texts.1.map(value_type),
            comments: texts.2,
            locations,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(profile in profile()) {
        prop_assert_eq!(decode(&encode(&profile), &Limits::default()), Ok(profile.clone()));
        prop_assert_eq!(decode(&encode_plain(&profile), &Limits::default()), Ok(profile));
    }

    #[test]
    fn changed_bytes_do_no_harm(profile in profile(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = encode_plain(&profile);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(read) = decode(&bytes, &Limits::default()) {
            // What passes can be walked and written.
            read.samples.iter().for_each(|sample| assert!(read.frames(sample).count() < 1000));
            prop_assert!(decode(&encode_plain(&read), &Limits::default()).is_ok());
        }
    }

    #[test]
    fn garbage_does_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, &Limits::default());
    }
}

/// A profile with one sample of `depth` frames.
fn deep(depth: usize) -> Profile {
    let mut builder = Builder::new(vec![ValueType::new("goroutine", "count")]);
    let stack = (0..depth)
        .map(|at| {
            let function = builder.function(&format!("f{at}"), "/src", 0);
            builder.location(at as u64, vec![Line { function, line: 1 }])
        })
        .collect();
    builder.sample(stack, vec![1], Vec::new());
    builder.finish()
}

#[test]
fn every_limit_is_one() {
    let limits = Limits::default();
    for (depth, limits, what) in [
        (5, Limits { samples_max: 0, ..limits }, "samples"),
        (5, Limits { locations_max: 4, ..limits }, "locations"),
        (5, Limits { functions_max: 4, ..limits }, "functions"),
        (5, Limits { texts_max: 5, ..limits }, "texts"),
        (5, Limits { stack_entries_max: 4, ..limits }, "stack entries"),
        (5, Limits { sample_types_max: 0, ..limits }, "kinds of values"),
        (5, Limits { inflated_bytes_max: 50, ..limits }, "bytes"),
    ] {
        let got = decode(&encode(&deep(depth)), &limits);
        assert!(matches!(got, Err(DecodeError::TooMuch { what: found, .. }) if found == what), "{what}: {got:?}");
        assert!(decode(&encode(&deep(depth)), &Limits::default()).is_ok());
    }
}

#[test]
fn a_bomb_is_not_inflated() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| bomb.write_all(&zeros).expect("compressed"));
    let bomb = bomb.finish().expect("compressed");
    assert!(bomb.len() < 100_000);
    let limits = Limits { inflated_bytes_max: 1 << 20, ..Limits::default() };
    assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooMuch { what: "bytes", limit: 1 << 20 }));
    let whole = encode(&deep(5));
    let cut = decode(&whole[..whole.len() - 4], &Limits::default());
    assert!(matches!(cut, Err(DecodeError::Compression { .. })), "the end is missing: {cut:?}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let malformed = |bytes: &[u8], what| {
        assert_eq!(decode(bytes, &Limits::default()), Err(DecodeError::Malformed { what }), "{bytes:?}");
    };
    malformed(&[0x12, 2, 0x08, 1], "a location that is not there");
    malformed(&[0x12, 2, 0x10, 1], "a sample with too many or too few values");
    malformed(&[0x22, 0], "an id of zero");
    malformed(&[0x22, 2, 0x08, 1, 0x22, 2, 0x08, 1], "two locations have one id");
    malformed(&[0x2a, 2, 0x08, 9, 0x2a, 2, 0x08, 9], "two functions have one id");
    malformed(&[0x2a, 4, 0x08, 1, 0x10, 9], "a text that is not there");
    malformed(&[0x22, 6, 0x08, 1, 0x22, 2, 0x08, 7], "a function that is not there");
    malformed(b"<html>", "it is no protobuf");
    assert_eq!(decode(&[], &Limits::default()), Ok(Profile::default()), "nothing is an empty profile");
}

#[test]
fn frames_from_the_leaf_on_with_inlined_ones() {
    let mut builder = Builder::new(vec![ValueType::new("samples", "count")]);
    let [inner, outer] = ["main.inner", "main.outer"].map(|name| builder.function(name, "/src/main.go", 3));
    let both = builder.location(9, vec![Line { function: inner, line: 4 }, Line { function: outer, line: 8 }]);
    let nameless = builder.location(10, Vec::new());
    builder.sample(vec![both, nameless], vec![1], Vec::new());
    let profile = decode(&encode(&builder.finish()), &Limits::default()).expect("just written");
    let frames: Vec<_> = profile.frames(&profile.samples[0]).collect();
    let shown: Vec<_> = frames.iter().map(|frame| (frame.function, frame.line, frame.inlined, frame.address)).collect();
    assert_eq!(shown, [("main.inner", 4, true, 9), ("main.outer", 8, false, 9), ("", 0, false, 10)]);
}
