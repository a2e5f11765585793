//! Series, samples and metadata of version 1.0: what is taken, what is rejected alone, what is refused whole.

use ingest::{IngestLimits, Reason, Version};
use model::MetricKind;
use model::remote_write::{Metadata, TimeSeries, WireSample, WriteRequest, kind_number};
use prost::Message;

use crate::walk::{request, series, walk, walk_within};

#[track_caller]
fn check_rejected(bad: TimeSeries, reason: Reason, count: u64, want: &str) {
    let good = series(&[("__name__", "good")], &[(1, 1.0)]);
    let body = request(vec![good.clone(), bad, good]).encode_to_vec();
    let (said, rejected) = walk_within(Version::V1, &body, &IngestLimits::default()).expect("well formed");
    assert_eq!(said.series.len(), 2);
    assert_eq!(rejected.count(reason), count, "{rejected:?}");
    assert_eq!(rejected.reasons(), [want]);
}

#[test]
fn a_bad_series_is_rejected_alone() {
    let two = [(1, 1.0), (2, 2.0)];
    check_rejected(series(&[("a", "b")], &two), Reason::NoMetricName, 2, "{a=\"b\"}: no metric name");
    check_rejected(series(&[("__name__", "")], &two), Reason::NoMetricName, 2, "{}: no metric name");
    check_rejected(
        series(&[("__name__", "m"), ("b", "1"), ("a", "2"), ("b", "3")], &two),
        Reason::BadLabels,
        2,
        "m: label name \"b\" occurs twice",
    );
    check_rejected(series(&[("__name__", "m"), ("", "x")], &two), Reason::BadLabels, 2, "m: label name is empty");
    check_rejected(
        series(&[("__name__", "m"), ("long", &"x".repeat(4097))], &two),
        Reason::LabelLimit,
        2,
        "m: value of label \"long\" has 4097 bytes, the limit is 4096",
    );
}

#[test]
fn a_series_that_is_not_utf8_is_rejected_alone() {
    let check = |bad: &str, place: &str| {
        // Texts have as many bytes as this one, so that the lengths around it stay.
        let labels = [("__name__", "m"), ("path", "x\u{7f}y")];
        let series = |labels: &[(&str, &str)]| series(labels, &[(1, 1.0)]);
        let mut body = request(vec![series(&labels), series(&[("__name__", "good")])]).encode_to_vec();
        let at = body.windows(bad.len()).position(|text| text == bad.as_bytes()).expect("it is there");
        body[at + 1] = 0xff;
        let (said, rejected) = walk_within(Version::V1, &body, &IngestLimits::default()).expect("well formed");
        assert_eq!(said.series.len(), 1);
        assert_eq!((rejected.count(Reason::BadLabels), rejected.reasons()), (1, &[place.to_owned()][..]));
    };
    check("x\u{7f}y", "m: label \"path\" is not UTF-8");
    check("path", "m: label \"p\u{fffd}th\" is not UTF-8");
}

#[test]
fn labels_without_end_are_not_kept() {
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|at| format!("l{at}")).collect();
        let labels: Vec<_> = names.iter().map(|name| (name.as_str(), "")).chain([("__name__", "m")]).collect();
        series(&labels, &[(1, 1.0)])
    };
    let body = request(vec![many(1023)]).encode_to_vec();
    assert_eq!(walk(Version::V1, &body).expect("well formed").series.len(), 1, "empty labels are left out");
    check_rejected(many(1024), Reason::LabelLimit, 1, "m: 1025 labels in one set, the limit is 1024");
}

#[test]
fn metadata_is_taken_within_its_limits() {
    let metadata = |name: &str, help: &str| Metadata {
        kind: kind_number(MetricKind::Gauge),
        metric_family_name: name.into(),
        help: help.into(),
        unit: "u".into(),
    };
    let limits = IngestLimits { metadata_bytes_max: 8, metadata_per_request_max: 2, ..IngestLimits::default() };
    let all = vec![
        metadata("name", "hel"),
        metadata("name", "help"),
        metadata("", "x"),
        metadata("b", ""),
        metadata("c", ""),
    ];
    let body = WriteRequest { timeseries: vec![], metadata: all }.encode_to_vec();
    let (said, rejected) = walk_within(Version::V1, &body, &limits).expect("well formed");
    let names: Vec<_> = said.metadata.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["name", "b"]);
    assert_eq!(
        rejected.reasons(),
        [
            "metadata of name has 9 bytes, the limit metadata_bytes_max is 8",
            "metadata without a metric name",
            "c: metadata beyond metadata_per_request_max of 2",
        ]
    );
}

#[test]
fn limits_on_requests_are_exact_and_named() {
    let limits = IngestLimits { series_per_request_max: 2, samples_per_request_max: 4, ..IngestLimits::default() };
    let one = |samples: &[(i64, f64)]| series(&[("__name__", "m")], samples);
    let two = [(1, 1.0), (2, 2.0)];
    let try_with = |all: Vec<TimeSeries>| match walk_within(Version::V1, &request(all).encode_to_vec(), &limits) {
        Ok(_) => "taken".to_owned(),
        Err(error) => format!("{} {error}", error.status()),
    };
    assert_eq!(try_with(vec![one(&two), one(&two)]), "taken");
    assert_eq!(
        try_with(vec![one(&two[..1]), one(&two[..1]), one(&two[..1])]),
        "413 3 or more series is more than the limit series_per_request_max of 2"
    );
    assert_eq!(
        try_with(vec![one(&two), one(&[(1, 1.0), (2, 1.0), (3, 1.0)])]),
        "413 5 or more samples is more than the limit samples_per_request_max of 4"
    );
    assert_eq!(
        try_with(vec![series(&[], &[(1, 1.0); 100])]),
        "413 5 or more samples is more than the limit samples_per_request_max of 4",
        "one series is not read beyond the limit either"
    );
}

#[track_caller]
fn check_wire_error(body: &[u8], want: &str) {
    let error = walk(Version::V1, body).expect_err("damaged");
    assert_eq!(error.status(), 400);
    assert_eq!(error.to_string(), format!("the body is no valid write request: {want}"));
}

#[test]
fn damage_is_told_with_place_and_field() {
    check_wire_error(b"\x0a\x05", "byte 2, WriteRequest.timeseries: 5 bytes needed, 0 left in the message");
    check_wire_error(b"\x0a\x04\x0a\x06\x0a\x01", "byte 4, TimeSeries.labels: 6 bytes needed, 2 left in the message");
    check_wire_error(b"\x1a\x04\x12\x02a\xff", "byte 5, MetricMetadata.metric_family_name: the text is not UTF-8");
    check_wire_error(b"\x0a\x04\x12\x02\x09\x00", "byte 5, Sample.value: 8 bytes needed, 1 left in the message");
    check_wire_error(b"\x08\x01", "byte 0, WriteRequest.timeseries: field 1 is coded as Varint, expected Bytes");
    check_wire_error(
        b"\x0a\x04\x12\x02\x15\x00",
        "byte 4, Sample.timestamp: field 2 is coded as Fixed32, expected Varint",
    );
    check_wire_error(b"\x0b\x0c", "byte 0, WriteRequest: groups are not spoken here");
    check_wire_error(
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        "byte 1, WriteRequest.timeseries: a varint has more than 64 bits",
    );
}

#[test]
fn starts_are_kept_unless_they_lie_ahead() {
    let sample = |timestamp, start_timestamp| WireSample { value: 1.0, timestamp, start_timestamp };
    let samples = vec![sample(10, 0), sample(20, 5), sample(30, 30), sample(40, 41), sample(50, -7)];
    let body = request(vec![TimeSeries { samples, ..series(&[("__name__", "m")], &[]) }]).encode_to_vec();
    let said = walk(Version::V1, &body).expect("well formed");
    let one = 1f64.to_bits();
    assert_eq!(said.series[0].plain, [(10, one), (40, one)]);
    assert_eq!(said.series[0].started, [(20, 5, one), (30, 30, one), (50, -7, one)]);
}

#[test]
fn fields_that_nobody_knows_are_passed_over() {
    let mut body = request(vec![series(&[("__name__", "m")], &[(1, 1.0)])]).encode_to_vec();
    body.extend([15 << 3, 1, 15 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 15 << 3 | 2, 1, 0, 15 << 3 | 5, 0, 0, 0, 0]);
    assert_eq!(walk(Version::V1, &body).expect("well formed").series.len(), 1);
}
