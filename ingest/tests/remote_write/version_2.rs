//! Remote write 2.0: symbols, metadata of series, starts, and the exact reasons for what is not taken.

use ingest::{IngestLimits, Reason, Rejected, Version};
use model::remote_write::{WireSample, kind_number, v2};
use model::{MetricKind, NoCursor, WriteBatch};
use prost::Message;

use crate::walk::{Said, walk, walk_within};

/// The symbols of every request here.
const SYMBOLS: [&str; 12] =
    ["", "__name__", "m", "job", "x", "help me", "seconds", "m_sum", "m_count", "_sum", "b", "other"];

fn request(timeseries: Vec<v2::TimeSeries>) -> v2::Request {
    v2::Request { symbols: SYMBOLS.map(str::to_owned).to_vec(), timeseries }
}

/// A series with one sample.
fn series(labels_refs: &[u32]) -> v2::TimeSeries {
    let samples = vec![WireSample { value: 1.0, timestamp: 10, start_timestamp: 0 }];
    v2::TimeSeries { labels_refs: labels_refs.to_vec(), samples, ..v2::TimeSeries::default() }
}

#[track_caller]
fn read(timeseries: Vec<v2::TimeSeries>) -> (Said, Rejected) {
    walk_within(Version::V2, &request(timeseries).encode_to_vec(), &IngestLimits::default()).expect("well formed")
}

#[track_caller]
fn check_rejected(bad: &[u32], reason: Reason, want: &str) {
    let (said, rejected) = read(vec![series(&[1, 2]), series(bad), series(&[1, 2, 3, 4])]);
    assert_eq!(said.series.len(), 2);
    assert_eq!((rejected.count(reason), rejected.reasons()), (1, &[want.to_owned()][..]));
}

#[test]
fn labels_are_symbols() {
    let (said, rejected) = read(vec![series(&[1, 2, 3, 4]), series(&[3, 4, 1, 2]), series(&[1, 2, 3, 0])]);
    let labels: Vec<_> = said.series.iter().map(|series| series.labels.as_ref().to_string()).collect();
    assert_eq!(labels, ["m{job=\"x\"}", "m{job=\"x\"}", "m"]);
    assert!(rejected.is_empty());
    check_rejected(&[3, 4], Reason::NoMetricName, "{job=\"x\"}: no metric name");
    check_rejected(&[1, 2, 3], Reason::BadLabels, "m: the last label name has no value");
    check_rejected(&[1, 2, 3, 12], Reason::BadLabels, "m: reference 12 is beyond the 12 symbols");
    check_rejected(
        &[1, 12],
        Reason::BadLabels,
        "a series without a metric name: reference 12 is beyond the 12 symbols",
    );
    check_rejected(&[1, 2, 3, 4, 3, 4], Reason::BadLabels, "m: label name \"job\" occurs twice");
    let many: Vec<u32> = [1, 2].into_iter().chain([10, 0].repeat(1024)).collect();
    check_rejected(&many, Reason::LabelLimit, "m: 1025 labels in one set, the limit is 1024");
}

#[test]
fn symbols_may_come_last_and_need_not_be_text() {
    let request = request(vec![series(&[1, 2]), series(&[1, 2, 3, 4])]);
    let only_series = v2::Request { symbols: vec![], ..request.clone() }.encode_to_vec();
    let only_symbols = v2::Request { timeseries: vec![], ..request }.encode_to_vec();
    let mut body = [only_series, only_symbols].concat();
    assert_eq!(walk(Version::V2, &body).expect("well formed").series.len(), 2);
    let at = body.windows(3).position(|bytes| bytes == b"\x22\x01x").expect("it is there");
    body[at + 2] = 0xff;
    let (said, rejected) = walk_within(Version::V2, &body, &IngestLimits::default()).expect("well formed");
    assert_eq!(said.series.len(), 1);
    assert_eq!(rejected.reasons(), ["m: label \"job\" is not UTF-8"]);
}

#[test]
fn the_start_of_a_series_stands_for_missing_ones() {
    let sample = |timestamp, start_timestamp| WireSample { value: 0.0, timestamp, start_timestamp };
    let samples = vec![sample(10, 0), sample(20, 15), sample(4, 0)];
    let created = v2::TimeSeries { samples, created_timestamp: 5, ..series(&[1, 2]) };
    let said = read(vec![created]).0;
    assert_eq!(said.series[0].started, [(10, 5, 0), (20, 15, 0)]);
    assert_eq!(said.series[0].plain, [(4, 0)], "a start that lies ahead is not believed");
}

#[test]
fn what_series_tell_of_their_metric_is_taken_once() {
    let of = |labels: &[u32], kind, help_ref, unit_ref| {
        let metadata = Some(v2::Metadata { kind: kind_number(kind), help_ref, unit_ref });
        v2::TimeSeries { metadata, ..series(labels) }
    };
    let (said, rejected) = read(vec![
        of(&[1, 7], MetricKind::Summary, 5, 6),
        of(&[1, 8], MetricKind::Summary, 5, 6),
        of(&[1, 2, 3, 4], MetricKind::Summary, 5, 6),
        of(&[1, 9], MetricKind::Histogram, 0, 0),
        of(&[1, 4], MetricKind::Unknown, 0, 0),
        of(&[1, 10], MetricKind::Unknown, 5, 0),
        of(&[1, 11], MetricKind::Gauge, 77, 0),
    ]);
    let told: Vec<_> = said
        .metadata
        .iter()
        .map(|(metric, about)| format!("{metric} {} {:?} {:?}", about.kind, about.help, about.unit))
        .collect();
    assert_eq!(told, ["m summary \"help me\" \"seconds\"", "_sum histogram \"\" \"\"", "b unknown \"help me\" \"\"",]);
    assert_eq!(said.series.len(), 7, "samples are taken whatever is told of the metric");
    assert_eq!(rejected.reasons(), ["other: help or unit of its metadata is no symbol, or is not UTF-8"]);
}

#[test]
fn exemplars_refer_to_symbols() {
    let exemplar = |labels_refs: &[u32]| v2::Exemplar { labels_refs: labels_refs.to_vec(), value: 2.0, timestamp: 3 };
    let exemplars = vec![exemplar(&[3, 4]), exemplar(&[3]), exemplar(&[3, 99]), exemplar(&[])];
    let (said, rejected) = read(vec![v2::TimeSeries { exemplars, ..series(&[1, 2]) }]);
    let labels: Vec<_> = said.series[0].exemplars.iter().map(|of| of.labels.as_ref().to_string()).collect();
    assert_eq!(labels, ["{job=\"x\"}", "{}"]);
    assert!(rejected.is_empty());
    assert_eq!(rejected.count(Reason::Exemplar), 2);
}

#[test]
fn symbols_are_bounded() {
    let limits = IngestLimits { symbols_per_request_max: 12, ..IngestLimits::default() };
    let mut request = request(vec![series(&[1, 2])]);
    assert!(walk_within(Version::V2, &request.encode_to_vec(), &limits).is_ok());
    request.symbols.push(String::new());
    let error = walk_within(Version::V2, &request.encode_to_vec(), &limits).expect_err("one too many");
    assert_eq!(error.status(), 413);
    assert_eq!(error.to_string(), "13 or more symbols is more than the limit symbols_per_request_max of 12");
}

/// A symbol is sent once and may be referred to by every label: what it stands for is bounded, not what is sent.
#[test]
fn long_symbols_are_measured_before_they_are_looked_at() {
    let within = |symbols: &[&[u8]], timeseries, limits: &IngestLimits| {
        let mut body = v2::Request { symbols: vec![], timeseries }.encode_to_vec();
        for symbol in symbols {
            body.push(0x22);
            prost::encode_length_delimiter(symbol.len(), &mut body).expect("a Vec takes all");
            body.extend_from_slice(symbol);
        }
        walk_within(Version::V2, &body, limits)
    };
    let (huge, no_text, long) = (vec![b'x'; 1 << 20], vec![0xff; 5000], vec![b'x'; 4000]);
    let symbols: [&[u8]; 8] = [b"", b"__name__", b"m", b"job", &huge, &no_text, &long, b"a"];
    let check = |labels: &[u32], want: &str| {
        let (said, rejected) = within(&symbols, vec![series(labels)], &IngestLimits::default()).expect("well formed");
        assert!(said.series.is_empty());
        assert_eq!((rejected.count(Reason::LabelLimit), rejected.reasons()), (1, &[want.to_owned()][..]));
    };
    check(&[1, 2, 3, 4], "m: value of label \"job\" has 1048576 bytes, the limit is 4096");
    check(&[1, 2, 3, 5], "m: value of label \"job\" has 5000 bytes, the limit is 4096");
    check(&[1, 2, 6, 7], &format!("m: label name starting {:?} has 4000 bytes, the limit is 512", "x".repeat(32)));
    let many: Vec<u32> = [1, 2].into_iter().chain([3, 6].repeat(500)).collect();
    check(&many, "m: label set has 20024 bytes, the limit is 16384");

    let metadata = Some(v2::Metadata { kind: 0, help_ref: 5, unit_ref: 0 });
    let described = v2::TimeSeries { metadata, ..series(&[1, 2]) };
    let (_, rejected) = within(&symbols, vec![described], &IngestLimits::default()).expect("well formed");
    assert_eq!(rejected.reasons(), ["metadata of m has 5001 bytes, the limit metadata_bytes_max is 4096"]);

    let limits = IngestLimits { label_bytes_per_request_max: 9_000, ..IngestLimits::default() };
    let long = || series(&[1, 2, 7, 6]);
    assert_eq!(within(&symbols, vec![long(), long()], &limits).expect("fits").0.series.len(), 2);
    let error = within(&symbols, vec![long(), long(), long()], &limits).expect_err("too much");
    let want = "or more bytes of labels is more than the limit label_bytes_per_request_max of 9000";
    assert!(error.to_string().ends_with(want), "{error}");
    assert_eq!(error.status(), 413);
}

#[test]
fn series_that_are_not_taken_count_too() {
    let limits = IngestLimits { series_per_request_max: 2, ..IngestLimits::default() };
    for (count, is_ok) in [(2, true), (3, false)] {
        let bad = request(vec![series(&[3, 4]); count]).encode_to_vec();
        assert_eq!(walk_within(Version::V2, &bad, &limits).is_ok(), is_ok, "{count} series");
    }
}

#[test]
fn a_decoder_forgets_the_request_before() {
    let mut decoder = ingest::RemoteWriteDecoder::default();
    let (mut batch, mut rejected) = (WriteBatch::new(), Rejected::default());
    let limits = IngestLimits::default();
    let mut read = |request: &v2::Request, batch: &mut WriteBatch| {
        batch.clear();
        decoder.decode(Version::V2, &request.encode_to_vec(), &limits, &mut NoCursor, batch, &mut rejected)
    };
    read(&request(vec![series(&[1, 2])]), &mut batch).expect("well formed");
    let without = v2::Request { symbols: vec![String::new()], timeseries: vec![series(&[1, 2])] };
    read(&without, &mut batch).expect("well formed");
    assert_eq!(batch.series_len(), 0, "symbols are those of this request");
    let broken = v2::Request { symbols: vec!["x".into()], timeseries: vec![] }.encode_to_vec();
    assert!(decoder.decode(Version::V2, &broken[..2], &limits, &mut NoCursor, &mut batch, &mut rejected).is_err());
    let whole = request(vec![series(&[1, 2])]).encode_to_vec();
    decoder.decode(Version::V2, &whole, &limits, &mut NoCursor, &mut batch, &mut rejected).expect("ok");
    assert_eq!(batch.series_len(), 1);
}

#[test]
fn damage_is_told_with_place_and_field() {
    let check = |body: &[u8], want: &str| {
        let error = walk(Version::V2, body).expect_err("damaged");
        assert_eq!((error.status(), error.to_string()), (400, format!("the body is no valid write request: {want}")));
    };
    check(b"\x22\x05a", "byte 2, Request.symbols: 5 bytes needed, 1 left in the message");
    check(b"\x2a\x02\x0a\x05", "byte 4, TimeSeries.labels_refs: 5 bytes needed, 0 left in the message");
    check(b"\x2a\x03\x1a\x01\x08", "byte 5, Histogram.count_int: 1 bytes needed, 0 left in the message");
    check(b"\x2a\x03\x32\x01\x08", "byte 2, TimeSeries.created_timestamp: field 6 is coded as Bytes, expected Varint");
}
