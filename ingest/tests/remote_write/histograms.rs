//! Histograms and exemplars: what is taken of both forms, and the exact reasons for what is not.

use ingest::{IngestLimits, Reason, Rejected, Version};
use model::histogram::{BUCKETS_MAX, Bucket, Histogram, ResetHint};
use model::remote_write::{
    BucketSpan, TimeSeries, WireCount, WireExemplar, WireHistogram, WireZeroCount, from_wire, to_wire,
};
use model::{Exemplar, HistogramSample, Labels};
use prost::Message;

use crate::walk::{Said, label, request, series, walk, walk_within};

/// A body with one series `m` of these histograms, each as its bytes.
fn body_of(histograms: &[Vec<u8>]) -> Vec<u8> {
    let mut message = series(&[("__name__", "m")], &[]).encode_to_vec();
    for histogram in histograms {
        message.push(4 << 3 | 2);
        prost::encoding::encode_varint(histogram.len() as u64, &mut message);
        message.extend(histogram);
    }
    let mut body = vec![1 << 3 | 2];
    prost::encoding::encode_varint(message.len() as u64, &mut body);
    body.extend(message);
    body
}

fn spans(of: &[(i32, u32)]) -> Vec<BucketSpan> {
    of.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect()
}

fn ints(count: u64, of_spans: &[(i32, u32)], deltas: &[i64]) -> WireHistogram {
    WireHistogram {
        count: Some(WireCount::Int(count)),
        positive_spans: spans(of_spans),
        positive_deltas: deltas.to_vec(),
        timestamp: 9,
        ..WireHistogram::default()
    }
}

#[track_caller]
fn read(body: &[u8]) -> (Said, Rejected) {
    walk_within(Version::V1, body, &IngestLimits::default()).expect("well formed")
}

#[test]
fn both_forms_of_counts_are_taken() {
    let ints = WireHistogram {
        schema: -2,
        sum: 7.5,
        zero_count: Some(WireZeroCount::Int(2)),
        zero_threshold: 0.5,
        negative_spans: spans(&[(1, 1)]),
        negative_deltas: vec![3],
        reset_hint: 3,
        start_timestamp: 4,
        ..ints(10, &[(-1, 1), (1, 2)], &[1, 1, -1])
    };
    let bucket = |index, count| Bucket { index, count };
    let histogram = Histogram {
        schema: -2,
        reset_hint: ResetHint::Gauge,
        count: 10.0,
        sum: 7.5,
        zero_threshold: 0.5,
        zero_count: 2.0,
        positive: vec![bucket(-1, 1.0), bucket(1, 2.0), bucket(2, 1.0)],
        negative: vec![bucket(1, 3.0)],
        custom_bounds: vec![],
    };
    let floats = to_wire(&histogram, 19, 20);
    let said = walk(Version::V1, &body_of(&[ints.encode_to_vec(), floats.encode_to_vec()])).expect("well formed");
    let sample =
        |timestamp_ms, start_ms| HistogramSample { timestamp_ms, start_ms, histogram: histogram.clone().into() };
    assert_eq!(said.series[0].histograms, [sample(9, 4), sample(19, 0)], "a start that lies ahead is not believed");
    assert_eq!(said.histograms, 2);
}

/// Proto3 senders pack numbers; receivers take them unpacked too.
#[test]
fn numbers_are_taken_packed_and_one_by_one() {
    let packed = ints(5, &[(0, 2)], &[2, 1]);
    let unpacked = b"\x08\x05\x5a\x02\x10\x02\x60\x04\x60\x02\x78\x09";
    let said = read(&body_of(&[packed.encode_to_vec(), unpacked.to_vec()])).0;
    assert_eq!(said.series[0].histograms[0], said.series[0].histograms[1]);
    let floats = WireHistogram {
        count: Some(WireCount::Float(5.0)),
        positive_counts: vec![2.0, 3.0],
        positive_deltas: vec![],
        ..packed
    };
    let unpacked = [
        &b"\x11\0\0\0\0\0\0\x14\x40\x5a\x02\x10\x02\x69"[..],
        b"\0\0\0\0\0\0\0\x40\x69",
        b"\0\0\0\0\0\0\x08\x40\x78\x09",
    ];
    let said = read(&body_of(&[floats.encode_to_vec(), unpacked.concat()])).0;
    assert_eq!(said.series[0].histograms[0], said.series[0].histograms[1]);
}

#[test]
fn stale_markers_are_taken() {
    let stale = WireHistogram { sum: model::sample::stale_marker(), schema: 60, ..ints(0, &[(0, 7)], &[]) };
    let (said, rejected) = read(&body_of(&[stale.encode_to_vec()]));
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(*said.series[0].histograms[0].histogram, Histogram::stale_marker());
}

#[track_caller]
fn check_rejected(bad: &WireHistogram, want: &str) {
    let good = ints(1, &[(0, 1)], &[1]).encode_to_vec();
    let (said, rejected) = read(&body_of(&[good.clone(), bad.encode_to_vec(), good]));
    assert_eq!(said.series[0].histograms.len(), 2, "the good ones are taken");
    assert_eq!(rejected.count(Reason::Histogram), 1);
    assert_eq!(rejected.reasons(), [format!("m: at 9 ms: {want}")]);
}

#[test]
fn a_bad_histogram_is_rejected_alone() {
    check_rejected(&ints(3, &[(0, 2)], &[1]), "histogram bucket spans cover 2 buckets, 1 have counts");
    check_rejected(
        &ints(3, &[(0, 1), (-2, 1)], &[1, 1]),
        "histogram bucket span 1 begins -2 buckets after the one before",
    );
    check_rejected(
        &ints(3, &[(i32::MAX, 2)], &[1, 1]),
        "histogram bucket index 2147483648 is outside of what a double spans",
    );
    check_rejected(
        &ints(3, &[(0, 2)], &[i64::MAX, i64::MAX]),
        "histogram bucket 1 changes a count of 9223372036854775807 by 9223372036854775807, \
         which is below zero or too large",
    );
    check_rejected(&ints(1, &[(0, 1)], &[2]), "histogram count is 1, its buckets hold 2 observations");
    check_rejected(
        &WireHistogram { schema: 53, ..ints(0, &[], &[]) },
        "histogram schema 53 is not known; known are -4 to 8 and -53",
    );
    check_rejected(
        &ints(0, &[(0, u32::MAX)], &vec![0; BUCKETS_MAX + 5]),
        "histogram has 4101 buckets, the limit is 4096",
    );
    check_rejected(
        &WireHistogram { custom_values: (0..5000).map(f64::from).collect(), schema: -53, ..ints(0, &[], &[]) },
        "histogram has 5000 buckets, the limit is 4096",
    );
}

#[test]
fn a_series_that_is_rejected_takes_its_histograms_along() {
    let histogram = ints(1, &[(0, 1)], &[1]);
    let exemplar = WireExemplar { labels: vec![], value: 1.0, timestamp: 1 };
    let bad = TimeSeries { histograms: vec![histogram; 2], exemplars: vec![exemplar], ..series(&[], &[(1, 1.0)]) };
    let (said, rejected) = read(&request(vec![bad]).encode_to_vec());
    assert_eq!((said.series.len(), said.histograms), (0, 0));
    assert_eq!((rejected.count(Reason::NoMetricName), rejected.count(Reason::Exemplar)), (3, 1));
    assert_eq!(rejected.reasons(), ["{}: no metric name"]);
}

#[test]
fn memory_of_histograms_is_bounded() {
    let wire = ints(100, &[(0, 100)], &{
        let mut deltas = vec![0; 100];
        deltas[0] = 1;
        deltas
    });
    let one_bytes = from_wire(&wire).expect("valid").memory_bytes();
    let limits = IngestLimits { histogram_bytes_per_request_max: 2 * one_bytes, ..IngestLimits::default() };
    let body = |count| body_of(&vec![wire.encode_to_vec(); count]);
    assert!(walk_within(Version::V1, &body(2), &limits).is_ok());
    let error = walk_within(Version::V1, &body(3), &limits).expect_err("one too many");
    let want = format!(
        "{} or more bytes of histograms is more than the limit histogram_bytes_per_request_max of {}",
        3 * one_bytes,
        2 * one_bytes
    );
    assert_eq!((error.status(), error.to_string()), (413, want));
    let limits = IngestLimits { samples_per_request_max: 2, ..IngestLimits::default() };
    assert!(walk_within(Version::V1, &body(2), &limits).is_ok());
    assert_eq!(walk_within(Version::V1, &body(3), &limits).expect_err("one too many").status(), 413);
}

fn exemplar(labels: &[(&str, &str)], timestamp: i64) -> WireExemplar {
    WireExemplar { labels: labels.iter().map(|(name, value)| label(name, value)).collect(), value: 0.5, timestamp }
}

fn read_exemplars(exemplars: Vec<WireExemplar>, limits: &IngestLimits) -> (Vec<Exemplar>, Rejected) {
    let series = TimeSeries { exemplars, ..series(&[("__name__", "m")], &[(1, 1.0)]) };
    let body = request(vec![series]).encode_to_vec();
    let (mut said, rejected) = walk_within(Version::V1, &body, limits).expect("well formed");
    assert!(rejected.is_empty(), "samples that come along are taken, and senders see no error");
    (said.series.remove(0).exemplars, rejected)
}

#[test]
fn exemplars_are_taken_or_left_out_in_silence() {
    let short = "é".repeat(126);
    let long = "é".repeat(127);
    let all = vec![
        exemplar(&[("trace_id", "abc")], 7),
        exemplar(&[], 8),
        exemplar(&[("ab", &short)], 9),
        exemplar(&[("ab", &long)], 10),
        exemplar(&[("trace_id", "none")], 0),
        exemplar(&[("a", "1"), ("a", "2")], 11),
        exemplar(&[("long", &"x".repeat(10_000))], 12),
    ];
    let (taken, rejected) = read_exemplars(all, &IngestLimits::default());
    let want = |labels: &[(&str, &str)], timestamp_ms| Exemplar {
        labels: Labels::from_pairs(labels.iter().copied()).expect("valid"),
        value: 0.5,
        timestamp_ms,
    };
    assert_eq!(taken, [want(&[("trace_id", "abc")], 7), want(&[], 8), want(&[("ab", &short)], 9)]);
    assert_eq!(rejected.count(Reason::Exemplar), 4);
    let limits = IngestLimits { exemplars_per_request_max: 2, ..IngestLimits::default() };
    let (taken, rejected) = read_exemplars(vec![exemplar(&[], 1); 5], &limits);
    assert_eq!((taken.len(), rejected.count(Reason::Exemplar)), (2, 3));
}
