//! Lines of exports: everything that is written reads back bit by bit, what others write is read, and what is wrong is
//! told with its place.

use std::sync::Arc;

use model::histogram::CUSTOM_SCHEMA;
use model::json_lines::{
    Counts, LINE_LABELS_MAX, Line, LineReader, Mark, NULL_NAN_BITS, write_begin, write_end, write_series,
};
use model::sample::stale_marker;
use model::{
    Bucket, FullSample, Histogram, Labels, LabelsBuilder, MetricKind, MetricMetadata, ResetHint, SampleValue, Samples,
};
use proptest::prelude::*;

/// A line's labels, its samples, and the rest.
fn read(line: &str) -> Result<(Labels, Vec<FullSample>, Line), String> {
    let (mut labels, mut samples) = (LabelsBuilder::new(), Samples::default());
    labels.push("left", "over");
    samples.push(1, 1.0);
    let told = LineReader::default().read(line, &mut labels, &mut samples).map_err(|error| error.to_string())?;
    let labels = labels.build().map_err(|error| error.to_string())?;
    Ok((labels, samples.iter_full().collect(), told))
}

fn written(labels: &Labels, samples: &Samples, described: &[(String, MetricMetadata)]) -> String {
    let mut out = Vec::new();
    write_series(&mut out, labels.as_ref(), samples, described);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("valid labels")
}

#[test]
fn lines_look_as_documented() {
    let up = labels(&[("job", "a\"\n"), ("__name__", "up"), ("A", "1")]);
    let mut samples = Samples::default();
    let values = [1.0, stale_marker(), -0.0, f64::from_bits(NULL_NAN_BITS), 0.5, f64::INFINITY, f64::from_bits(!0)];
    for (at, value) in (1..).zip(values) {
        samples.push(at * 1000, value);
    }
    let want = concat!(
        r#"{"metric":{"__name__":"up","A":"1","job":"a\"\n"},"values":[1,-0,0.5],"timestamps":[1000,3000,5000],"#,
        r#""nans":[[2000,"stale"],[4000,null],[7000,"nan:ffffffffffffffff"]],"#,
        r#""metadata":[{"metric":"up","type":"gauge","help":"Up?"}]}"#,
        "\n",
        r#"{"metric":{"__name__":"up","A":"1","job":"a\"\n"},"values":["Infinity"],"timestamps":[6000]}"#,
        "\n",
    );
    let known = MetricMetadata { kind: MetricKind::Gauge, unit: String::new(), help: "Up?".into() };
    assert_eq!(written(&up, &samples, &[("up".to_owned(), known)]), want);

    let histogram = Histogram {
        schema: 3,
        reset_hint: ResetHint::NotReset,
        count: 3.0,
        sum: stale_marker(),
        zero_count: 1.0,
        positive: vec![Bucket { index: -1, count: 2.0 }],
        ..Histogram::default()
    };
    let value = SampleValue::Histogram(Arc::new(histogram));
    let mut samples = Samples::default();
    samples.push_full(FullSample { timestamp_ms: 5, start_ms: 2, value });
    let want = concat!(
        r#"{"metric":{},"values":[],"timestamps":[],"histograms":[{"timestamp":5,"start":2,"schema":3,"#,
        r#""reset":"not_reset","count":3,"sum":"stale","zero_count":1,"positive":[[-1,2]]}]}"#,
        "\n"
    );
    assert_eq!(written(&Labels::empty(), &samples, &[]), want);
}

#[test]
fn marks_read_back() {
    let counts = Counts { series: 1, samples: u64::MAX, histograms: 3, chunks_lost: 4 };
    let mut out = Vec::new();
    write_begin(&mut out);
    write_end(&mut out, &counts);
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    let marks: Vec<_> = text.lines().map(|line| read(line).expect("a mark").2.mark).collect();
    assert_eq!(marks, [Some(Mark::Begin), Some(Mark::End(counts))]);
    let error = read(r#"{"metric":{},"begin":{"version":2}}"#).expect_err("a later version");
    assert!(error.contains("version 2, known is 1"), "{error}");
}

#[track_caller]
fn check_values(list: &str, want: &[f64]) {
    let times = (0..want.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    let line = format!(r#"{{"timestamps":[{times}],"values":[{list}],"metric":{{"__name__":"x"}}}}"#);
    let (_, samples, _) = read(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let bits = |sample: &FullSample| match sample.value {
        SampleValue::Float(value) => value.to_bits(),
        SampleValue::Histogram(_) => panic!("a float"),
    };
    assert_eq!(samples.iter().map(bits).collect::<Vec<_>>(), want.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
}

#[test]
fn numbers_of_others_are_read() {
    let nan = f64::from_bits(NULL_NAN_BITS);
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    check_values("1, -0,1e+21,1E-07 ,5e-324", &[1.0, -0.0, 1e21, 1e-7, 5e-324]);
    check_values(r#"null,NaN,nan,"NaN","null""#, &[nan; 5]);
    check_values(r#"+Inf,-Inf,inf,"Infinity","-Infinity","+inf""#, &[high, low, high, high, low, high]);
}

#[track_caller]
fn check_error(line: &str, want: &str) {
    assert_eq!(read(line).map(drop), Err(want.to_owned()), "{line:?}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check_error("", "column 1: expected an object, found the end of the line");
    check_error("{}", "column 3: the key \"metric\" is missing");
    check_error(r#"{"metric":{}} x"#, "column 15: expected the end of the line, found \"x\"");
    check_error(r#"{"metric":{"a":1}}"#, "column 16: expected a text in double quotes, found \"1}}\"");
    check_error(r#"{"metric":{"a":"b"#, "column 18: expected a closing quote, found the end of the line");
    check_error(r#"{"metric":{"a":"\x"}}"#, "column 17: this is no escape of a character");
    check_error(r#"{"metric":{"a":"\ud800"}}"#, "column 17: this is no escape of a character");
    check_error(r#"{"metric":{},"metric":{}}"#, "column 23: the key \"metric\" occurs twice");
    check_error(r#"{"metric":{"a":"1","a":"2"}}"#, "label name \"a\" occurs twice");
    check_error(r#"{"metric":{},"values":[1],"timestamps":[]}"#, "column 43: there are 1 values, but 0 timestamps");
    check_error(
        r#"{"metric":{},"values":[1],"timestamps":[1],"starts":[1,2]}"#,
        "column 59: there are 1 values, but 2 starts",
    );
    check_error(r#"{"values":[1e400]}"#, "column 12: expected a number a 64-bit float can hold, found \"1e400]}\"");
    check_error(r#"{"values":[true]}"#, "column 12: expected a number, found \"true]}\"");
    check_error(r#"{"timestamps":[1.5]}"#, "column 16: expected a whole number in range, found \"1.5]}\"");
    check_error(
        r#"{"timestamps":[9223372036854775808]}"#,
        "column 16: expected a whole number in range, found \"9223372036854775808]}\"",
    );
    check_error(r#"{"nans":[[1,2]]}"#, "column 13: expected \"stale\", null or \"nan:BITS\", found \"2]]}\"");
    check_error(
        r#"{"nans":[[1,"nan:7ff0000000000000"]]}"#,
        "column 13: expected a number, null or an infinity, found \"\\\"nan:7ff0000000000000\\\"]]}\"",
    );
    check_error(r#"{"histograms":[{}]}"#, "column 16: expected a histogram with a timestamp, found \"{}]}\"");
    let histogram = |rest: &str| format!(r#"{{"histograms":[{{"timestamp":1,{rest}}}]}}"#);
    check_error(&histogram(r#""schema":9"#), "column 16: histogram schema 9 is not known; known are -4 to 8 and -53");
    check_error(
        &histogram(r#""count":1,"positive":[[1,2]]"#),
        "column 16: histogram count is 1, its buckets hold 2 observations",
    );
    let deep = format!(r#"{{"x":{}1{},"metric":{{}}}}"#, "[".repeat(33), "]".repeat(33));
    check_error(&deep, "column 38: values lie too deep in one another");
    let many: Vec<_> = (0..=LINE_LABELS_MAX).map(|at| format!(r#""a{at}":"""#)).collect();
    let error = read(&format!(r#"{{"metric":{{{}}}}}"#, many.join(","))).expect_err("too many");
    assert!(error.ends_with("more than 128 labels on one line"), "{error}");
}

#[test]
fn unknown_keys_are_read_over() {
    let line = concat!(
        r#"{"a":null,"b":[{"c":[]},{},[true,false,-1.5e3,"x\"]}"]],"metric":{"é":"\u00e9\ud83d\ude00\/\b"},"#,
        "\"d\" : { \"e\" : { } , \"f\" : 1 } , \"values\":[1],\"timestamps\":[-9223372036854775808]}\r"
    );
    let (got, samples, told) = read(line).expect("a line");
    assert_eq!(got, labels(&[("é", "é😀/\u{8}")]));
    assert_eq!(samples, [FullSample { timestamp_ms: i64::MIN, start_ms: 0, value: SampleValue::Float(1.0) }]);
    assert_eq!(told, Line::default());
    for wrong in [r#"{"a":[1}"#, r#"{"a":{1}}"#, r#"{"a":{"b"}}"#, r#"{"a":[1 2]}"#, r#"{"a":tru}"#, r#"{"a":}"#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

fn any_float() -> impl Strategy<Value = f64> {
    let special =
        [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, stale_marker(), f64::from_bits(NULL_NAN_BITS), f64::NAN];
    prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        (-50i32..50).prop_map(|at| f64::from(at) / 4.0),
        prop::sample::select(special.to_vec()),
    ]
}

fn any_buckets(first: i32) -> impl Strategy<Value = Vec<Bucket>> {
    prop::collection::btree_map(first..40, 1u32..9, 0..5).prop_map(|buckets| {
        buckets.into_iter().map(|(index, count)| Bucket { index, count: f64::from(count) / 2.0 }).collect()
    })
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let hints = prop::sample::select(vec![ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]);
    let of = (-4i8..=8, hints, any_float(), 0u8..3, any_buckets(-40), any_buckets(-40), any::<bool>());
    of.prop_map(|(schema, reset_hint, sum, zero, positive, negative, custom)| {
        let zero_count = f64::from(zero);
        let sides: f64 = positive.iter().chain(&negative).map(|bucket| bucket.count).sum();
        let mut histogram = Histogram {
            schema,
            reset_hint,
            count: zero_count + sides,
            sum,
            zero_threshold: zero_count / 3.0,
            zero_count,
            positive,
            negative,
            custom_bounds: Vec::new(),
        };
        if custom {
            histogram.schema = CUSTOM_SCHEMA;
            histogram.negative.clear();
            (histogram.zero_count, histogram.zero_threshold) = (0.0, 0.0);
            histogram.positive.retain(|bucket| bucket.index >= 0);
            histogram.custom_bounds = (0..40).map(|at| f64::from(at) * 1.1 - 7.0).collect();
        }
        if histogram.is_stale_marker() { Histogram::stale_marker() } else { histogram }
    })
}

fn any_sample() -> impl Strategy<Value = (i64, SampleValue)> {
    let value = prop_oneof![
        4 => any_float().prop_map(SampleValue::Float),
        1 => any_histogram().prop_map(|of| SampleValue::Histogram(Arc::new(of))),
    ];
    (prop_oneof![3 => Just(0i64), 1 => any::<i64>()], value)
}

fn any_series() -> impl Strategy<Value = (Labels, Samples)> {
    let times = prop_oneof![any::<i64>(), 0i64..1000, Just(i64::MIN), Just(i64::MAX)];
    let name = prop_oneof![Just("__name__".to_owned()), "[a-z_]{1,6}", "[\\PC\n\"\\\\]{1,6}"];
    let labels = prop::collection::btree_map(name, "[\\PC\n\r\t\u{0}-\u{1f}\"\\\\]{1,12}", 0..5);
    (labels, prop::collection::btree_map(times, any_sample(), 0..20)).prop_map(|(labels, of)| {
        let mut samples = Samples::default();
        for (timestamp_ms, (start_ms, value)) in of {
            samples.push_full(FullSample { timestamp_ms, start_ms, value });
        }
        (Labels::from_pairs(labels).expect("map keys are unique"), samples)
    })
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back_bit_by_bit((labels, samples) in any_series(), kind in prop::sample::select(&MetricKind::ALL[..]), text in "\\PC{0,9}") {
        let described = [(text.clone(), MetricMetadata { kind, unit: text.clone(), help: text })];
        let lines = written(&labels, &samples, &described);
        let (mut got, mut metadata) = (Vec::new(), Vec::new());
        for line in lines.lines() {
            let (found, samples, told) = read(line).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&found, &labels);
            got.extend(samples);
            metadata.extend(told.metadata);
        }
        got.sort_by_key(|sample| sample.timestamp_ms);
        prop_assert_eq!(got, samples.iter_full().collect::<Vec<_>>(), "{}", lines);
        prop_assert_eq!(metadata, described);
    }

    #[test]
    fn changed_lines_never_panic(
        (labels, samples) in any_series(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[{}\\[\\]\", :e0n\\PC]{0,3}"), 1..6),
    ) {
        let mut characters: Vec<char> = written(&labels, &samples, &[]).chars().collect();
        for (at, put) in cuts {
            let at = at.index(characters.len().max(1));
            characters.splice(at..characters.len().min(at + 1), put.chars());
        }
        let text: String = characters.into_iter().collect();
        text.lines().for_each(|line| drop(read(line)));
    }
}
