//! Histograms to the wire and from it: bytes, both forms of counts, finer schemas, and what is refused.

use model::histogram::{BUCKETS_MAX, Bucket, CUSTOM_SCHEMA, Histogram, ResetHint};
use model::remote_write::read::{
    Chunk, ChunkEncoding, ChunkedReadResponse, ChunkedSeries, LabelMatcher, MatcherType, Query, QueryResult, ReadHints,
    ReadRequest, ReadResponse, ResponseType,
};
use model::remote_write::{
    BucketSpan, Label, TimeSeries, WireCount, WireHistogram, WireSample, WireZeroCount, from_wire,
    reset_hint_from_number, reset_hint_number, to_wire, v2,
};
use proptest::prelude::*;
use prost::Message;

fn buckets(of: &[(i32, f64)]) -> Vec<Bucket> {
    of.iter().map(|&(index, count)| Bucket { index, count }).collect()
}

fn spans(of: &[(i32, u32)]) -> Vec<BucketSpan> {
    of.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect()
}

/// Whole counts in positive buckets, `count` in all.
fn ints(count: u64, of_spans: &[(i32, u32)], deltas: &[i64]) -> WireHistogram {
    WireHistogram {
        count: Some(WireCount::Int(count)),
        positive_spans: spans(of_spans),
        positive_deltas: deltas.to_vec(),
        ..WireHistogram::default()
    }
}

#[test]
fn the_fields_are_numbered_as_in_the_protocol() {
    let wire = WireHistogram {
        count: Some(WireCount::Int(0)),
        sum: 1.0,
        schema: -1,
        zero_threshold: 2.0,
        zero_count: Some(WireZeroCount::Float(0.0)),
        negative_spans: spans(&[(-1, 1)]),
        negative_deltas: vec![-1],
        positive_deltas: vec![1, 2],
        negative_counts: vec![1.0],
        positive_spans: spans(&[(1, 2)]),
        positive_counts: vec![2.0],
        reset_hint: 3,
        timestamp: 5,
        custom_values: vec![2.0],
        start_timestamp: 4,
    };
    let (one, two) = (b"\0\0\0\0\0\0\xf0\x3f", b"\0\0\0\0\0\0\0\x40");
    let want: Vec<u8> = [
        &b"\x08\x00"[..],
        b"\x19",
        one,
        b"\x20\x01\x29",
        two,
        b"\x39\0\0\0\0\0\0\0\0",
        b"\x42\x04\x08\x01\x10\x01",
        b"\x4a\x01\x01",
        b"\x52\x08",
        one,
        b"\x5a\x04\x08\x02\x10\x02",
        b"\x62\x02\x02\x04",
        b"\x6a\x08",
        two,
        b"\x70\x03\x78\x05",
        b"\x82\x01\x08",
        two,
        b"\x88\x01\x04",
    ]
    .concat();
    assert_eq!(wire.encode_to_vec(), want);
    let other = WireHistogram {
        count: Some(WireCount::Float(0.0)),
        zero_count: Some(WireZeroCount::Int(0)),
        ..WireHistogram::default()
    };
    assert_eq!(other.encode_to_vec(), b"\x11\0\0\0\0\0\0\0\0\x30\0");
}

#[test]
fn messages_of_remote_write_2_are_numbered_as_in_the_protocol() {
    let request = v2::Request {
        symbols: vec![String::new(), "a".into()],
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![1, 2],
            samples: vec![WireSample { value: 0.0, timestamp: 1, start_timestamp: 2 }],
            histograms: vec![WireHistogram::default()],
            exemplars: vec![v2::Exemplar { labels_refs: vec![3], value: 0.0, timestamp: 4 }],
            metadata: Some(v2::Metadata { kind: 1, help_ref: 2, unit_ref: 3 }),
            created_timestamp: 6,
        }],
    };
    let want = b"\x22\x00\x22\x01a\x2a\x1d\x0a\x02\x01\x02\x12\x04\x10\x01\x18\x02\x1a\x00\
                 \x22\x05\x0a\x01\x03\x18\x04\x2a\x06\x08\x01\x18\x02\x20\x03\x30\x06";
    assert_eq!(request.encode_to_vec(), want);
}

#[test]
fn messages_of_remote_read_are_numbered_as_in_the_protocol() {
    let matcher = LabelMatcher { r#type: MatcherType::NotRegex.into(), name: "a".into(), value: "b".into() };
    let hints = ReadHints {
        step_ms: 1,
        func: "f".into(),
        start_ms: 2,
        end_ms: 3,
        grouping: vec!["g".into()],
        by: true,
        range_ms: 4,
    };
    let query = Query { start_timestamp_ms: 1, end_timestamp_ms: 2, matchers: vec![matcher], hints: Some(hints) };
    let request =
        ReadRequest { queries: vec![query], accepted_response_types: vec![ResponseType::StreamedXorChunks.into()] };
    let want = b"\x0a\x20\x08\x01\x10\x02\x1a\x08\x08\x03\x12\x01a\x1a\x01b\
                 \x22\x10\x08\x01\x12\x01f\x18\x02\x20\x03\x2a\x01g\x30\x01\x38\x04\x12\x01\x01";
    assert_eq!(request.encode_to_vec(), want);
    let response = ReadResponse { results: vec![QueryResult { timeseries: vec![TimeSeries::default()] }] };
    assert_eq!(response.encode_to_vec(), b"\x0a\x02\x0a\x00");
    let chunk = Chunk { min_time_ms: 1, max_time_ms: 2, r#type: ChunkEncoding::FloatHistogram.into(), data: vec![9] };
    let labels = vec![Label { name: "a".into(), value: String::new() }];
    let frame =
        ChunkedReadResponse { chunked_series: vec![ChunkedSeries { labels, chunks: vec![chunk] }], query_index: 7 };
    assert_eq!(frame.encode_to_vec(), b"\x0a\x10\x0a\x03\x0a\x01a\x12\x09\x08\x01\x10\x02\x18\x03\x22\x01\x09\x10\x07");
}

#[test]
fn matchers_are_numbered_as_their_operators() {
    let ops = [0, 1, 2, 3].map(|number| MatcherType::try_from(number).expect("known").op().to_string());
    assert_eq!(ops, ["=", "!=", "=~", "!~"]);
}

#[test]
fn hints_read_back() {
    for hint in [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge] {
        assert_eq!(reset_hint_from_number(reset_hint_number(hint)), hint);
    }
    assert_eq!((reset_hint_from_number(4), reset_hint_from_number(-1)), (ResetHint::Unknown, ResetHint::Unknown));
}

#[test]
fn neighbouring_buckets_are_one_span() {
    let histogram = Histogram {
        count: 9.0,
        positive: buckets(&[(-3, 1.0), (-2, 2.0), (0, 1.0), (5, 1.0), (6, 1.0)]),
        negative: buckets(&[(2, 3.0)]),
        ..Histogram::default()
    };
    let wire = to_wire(&histogram, 7, 6);
    assert_eq!(wire.positive_spans, spans(&[(-3, 2), (1, 1), (4, 2)]));
    assert_eq!(wire.positive_counts, [1.0, 2.0, 1.0, 1.0, 1.0]);
    assert_eq!((wire.negative_spans, wire.negative_counts), (spans(&[(2, 1)]), vec![3.0]));
    assert_eq!((wire.timestamp, wire.start_timestamp), (7, 6));
    assert!(wire.positive_deltas.is_empty() && wire.negative_deltas.is_empty());
}

#[test]
fn whole_counts_are_differences() {
    let wire = WireHistogram {
        sum: 1.5,
        schema: 3,
        zero_threshold: 0.25,
        zero_count: Some(WireZeroCount::Int(4)),
        negative_spans: spans(&[(0, 0), (2, 1)]),
        negative_deltas: vec![2],
        reset_hint: 2,
        ..ints(14, &[(-2, 2), (3, 0), (1, 2)], &[3, -2, -1, 4])
    };
    let want = Histogram {
        schema: 3,
        reset_hint: ResetHint::NotReset,
        count: 14.0,
        sum: 1.5,
        zero_threshold: 0.25,
        zero_count: 4.0,
        positive: buckets(&[(-2, 3.0), (-1, 1.0), (5, 4.0)]),
        negative: buckets(&[(2, 2.0)]),
        custom_bounds: vec![],
    };
    assert_eq!(from_wire(&wire), Ok(want), "the bucket with the count zero is gone");
    assert_eq!(from_wire(&WireHistogram::default()), Ok(Histogram::default()));
}

#[test]
fn custom_bounds_are_taken() {
    let wire = WireHistogram { schema: -53, custom_values: vec![1.0, 2.5], ..ints(6, &[(0, 3)], &[1, 1, 1]) };
    let histogram = from_wire(&wire).expect("valid");
    assert_eq!((histogram.schema, histogram.custom_bounds), (CUSTOM_SCHEMA, vec![1.0, 2.5]));
    assert_eq!(histogram.positive, buckets(&[(0, 1.0), (1, 2.0), (2, 3.0)]));
}

#[test]
fn finer_schemas_are_reduced() {
    let wire = WireHistogram { schema: 10, ..ints(11, &[(-8, 1), (2, 1), (0, 1), (0, 1), (4, 1)], &[1, 0, 1, 0, 3]) };
    // Indexes -8, -5, -4, -3 and 2: divided by 4, rounded up.
    let histogram = from_wire(&wire).expect("valid");
    assert_eq!((histogram.schema, histogram.positive), (8, buckets(&[(-2, 1.0), (-1, 3.0), (0, 2.0), (1, 5.0)])));
    let wire = WireHistogram { schema: 52, ..ints(2, &[(i32::MIN, 1), (i32::MAX, 1)], &[1, 0]) };
    assert_eq!(from_wire(&wire).expect("valid").positive, buckets(&[(0, 2.0)]));
}

#[test]
fn a_stale_marker_is_taken_whatever_else_it_says() {
    let stale = WireHistogram { sum: model::sample::stale_marker(), schema: 77, ..ints(1, &[(0, 9)], &[-1]) };
    assert_eq!(from_wire(&stale), Ok(Histogram::stale_marker()));
    let wire = to_wire(&Histogram::stale_marker(), 1, 0);
    assert_eq!(from_wire(&wire), Ok(Histogram::stale_marker()));
}

#[track_caller]
fn check_refused(wire: &WireHistogram, want: &str) {
    assert_eq!(from_wire(wire).expect_err(want).to_string(), want);
}

#[test]
fn what_is_none_is_told() {
    check_refused(
        &WireHistogram { schema: 53, ..WireHistogram::default() },
        "histogram schema 53 is not known; known are -4 to 8 and -53",
    );
    for schema in [-5, -52, -54, i32::MIN, i32::MAX] {
        let want = format!("histogram schema {schema} is not known; known are -4 to 8 and -53");
        check_refused(&WireHistogram { schema, ..WireHistogram::default() }, &want);
    }
    check_refused(&ints(3, &[(0, 2)], &[1]), "histogram bucket spans cover 2 buckets, 1 have counts");
    check_refused(&ints(3, &[], &[1]), "histogram bucket spans cover 0 buckets, 1 have counts");
    check_refused(
        &ints(3, &[(0, u32::MAX), (0, u32::MAX)], &[1]),
        "histogram bucket spans cover 8589934590 buckets, 1 have counts",
    );
    check_refused(
        &ints(2, &[(0, 1), (-1, 1)], &[1, 0]),
        "histogram bucket span 1 begins -1 buckets after the one before",
    );
    check_refused(
        &ints(2, &[(i32::MAX, 1), (i32::MAX, 1)], &[1, 0]),
        "histogram bucket index 4294967295 is outside of what a double spans",
    );
    check_refused(
        &ints(2, &[(i32::MAX, 1)], &[1]),
        "histogram bucket index 2147483647 is outside of what a double spans",
    );
    check_refused(
        &ints(3, &[(0, 2)], &[1, -2]),
        "histogram bucket 1 changes a count of 1 by -2, which is below zero or too large",
    );
    check_refused(
        &ints(3, &[(0, 2)], &[i64::MAX, 1]),
        "histogram bucket 1 changes a count of 9223372036854775807 by 1, which is below zero or too large",
    );
    check_refused(
        &ints(3, &[(0, 1)], &[i64::MIN]),
        "histogram bucket 0 changes a count of 0 by -9223372036854775808, which is below zero or too large",
    );
    check_refused(&ints(1, &[(0, 1)], &[2]), "histogram count is 1, its buckets hold 2 observations");
    let many = vec![0; BUCKETS_MAX + 1];
    check_refused(&ints(0, &[(0, 4097)], &many), "histogram has 4097 buckets, the limit is 4096");
    check_refused(&ints(0, &vec![(0, 0); 4097], &[]), "histogram has 4097 bucket spans, the limit is 4096");
    let floats = WireHistogram {
        count: Some(WireCount::Float(1.0)),
        positive_spans: spans(&[(3, 1)]),
        positive_counts: vec![-1.0],
        ..WireHistogram::default()
    };
    check_refused(&floats, "histogram bucket 3 has the count -1, which is below zero");
    let mixed = WireHistogram { count: Some(WireCount::Int(1)), ..floats };
    check_refused(&mixed, "histogram bucket spans cover 1 buckets, 0 have counts");
    let custom = WireHistogram { schema: -53, custom_values: vec![2.0, 1.0], ..WireHistogram::default() };
    check_refused(&custom, "histogram custom bounds are not ascending and finite at 1");
}

fn any_side() -> impl Strategy<Value = Vec<Bucket>> {
    let index = prop_oneof![-20..20i32, -(1 << 19)..=(1 << 19i32)];
    prop::collection::btree_map(index, 0.001..1e6f64, 0..12)
        .prop_map(|side| side.into_iter().map(|(index, count)| Bucket { index, count }).collect())
}

prop_compose! {
    fn any_histogram()(
        schema in -4..=8i8,
        hint in 0..4,
        sum in any::<u64>().prop_map(f64::from_bits),
        zero_threshold in 0.0..1.0f64,
        zero_count in 0.0..9.0f64,
        positive in any_side(),
        negative in any_side(),
        unseen in 0.0..3.0f64,
    ) -> Histogram {
        let count = zero_count + positive.iter().chain(&negative).map(|bucket| bucket.count).sum::<f64>() + unseen;
        let reset_hint = reset_hint_from_number(hint);
        Histogram {
            schema, reset_hint, count, sum, zero_threshold, zero_count, positive, negative, custom_bounds: vec![],
        }
    }
}

proptest! {
    #[test]
    fn histograms_come_back_bit_for_bit(histogram in any_histogram(), times in any::<(i64, i64)>()) {
        let bytes = to_wire(&histogram, times.0, times.1).encode_to_vec();
        let wire = WireHistogram::decode(bytes.as_slice()).expect("just encoded");
        prop_assert_eq!((wire.timestamp, wire.start_timestamp), times);
        let want = if histogram.is_stale_marker() { Histogram::stale_marker() } else { histogram };
        prop_assert_eq!(from_wire(&wire), Ok(want));
    }

    /// Reduced buckets hold what the buckets they cover held: each observation at `base^index` stays in its bucket.
    #[test]
    fn reduction_puts_each_bucket_into_the_one_that_covers_it(
        side in prop::collection::btree_map(-5000..5000i32, 1..9u32, 0..40),
        schema in 9..=52i32,
    ) {
        let histogram = Histogram {
            count: side.values().map(|&count| f64::from(count)).sum(),
            positive: side.iter().map(|(&index, &count)| Bucket { index, count: count.into() }).collect(),
            ..Histogram::default()
        };
        let wire = WireHistogram { schema, ..to_wire(&histogram, 0, 0) };
        let mut want = std::collections::BTreeMap::new();
        let merged = 1i64 << (schema - 8);
        for (&index, &count) in &side {
            // Divided, rounded up.
            let coarser = -(-i64::from(index)).div_euclid(merged);
            *want.entry(i32::try_from(coarser).expect("coarser is smaller")).or_insert(0.0) += f64::from(count);
        }
        let want: Vec<_> = want.into_iter().map(|(index, count)| Bucket { index, count }).collect();
        prop_assert_eq!(from_wire(&wire).expect("valid").positive, want);
    }
}
