//! The walk over remote write requests, compared with prost's decoder on printed and damaged requests.

use ingest::{IngestError, IngestLimits, Reason, Rejected, RemoteWriteDecoder, WireProblem};
use model::remote_write::{Label, Metadata, TimeSeries, WireSample, WriteRequest, kind_from_number, kind_number};
use model::{Labels, MetricKind, MetricMetadata, WriteBatch};
use proptest::prelude::*;
use prost::Message;

/// What a request says: series with the bits of their samples, metadata, and the samples that can't be taken.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    series: Vec<(Labels, Vec<(i64, u64)>)>,
    metadata: Vec<(String, MetricMetadata)>,
    samples_rejected: u64,
}

fn walk_within(body: &[u8], limits: &IngestLimits) -> Result<(Said, Rejected), IngestError> {
    let mut batch = WriteBatch::new();
    let mut rejected = Rejected::default();
    RemoteWriteDecoder::default().decode(body, limits, &mut batch, &mut rejected)?;
    let bits = |sample: &model::Sample| (sample.timestamp.0, sample.value.to_bits());
    let said = Said {
        series: batch.iter().map(|(labels, samples)| (labels.to_owned(), samples.iter().map(bits).collect())).collect(),
        metadata: batch.metadata().to_vec(),
        samples_rejected: rejected.told_count() - rejected.count(Reason::BadMetadata),
    };
    Ok((said, rejected))
}

fn walk(body: &[u8]) -> Result<Said, IngestError> {
    walk_within(body, &IngestLimits::default()).map(|(said, _)| said)
}

/// What prost reads in `request`, by the rules of the walk.
fn expected(request: &WriteRequest) -> Said {
    let mut said = Said { series: Vec::new(), metadata: Vec::new(), samples_rejected: 0 };
    for series in request.timeseries.iter().filter(|series| !series.samples.is_empty()) {
        match Labels::from_pairs(series.labels.iter().map(|label| (&label.name, &label.value))) {
            Ok(labels) if labels.get("__name__").is_some() => {
                let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
                said.series.push((labels, samples));
            }
            _ => said.samples_rejected += series.samples.len() as u64,
        }
    }
    for metadata in request.metadata.iter().filter(|metadata| !metadata.metric_family_name.is_empty()) {
        let kind = kind_from_number(metadata.kind);
        let (unit, help) = (metadata.unit.clone(), metadata.help.clone());
        said.metadata.push((metadata.metric_family_name.clone(), MetricMetadata { kind, unit, help }));
    }
    said
}

fn any_label() -> impl Strategy<Value = Label> {
    let name = prop_oneof![3 => "[a-d_]{1,3}", 3 => Just("__name__".to_owned()), 1 => "\\PC{0,20}"];
    (name, "\\PC{0,70}").prop_map(|(name, value)| Label { name, value })
}

fn any_series() -> impl Strategy<Value = TimeSeries> {
    let sample = (any::<u64>(), any::<i64>()).prop_map(|(bits, timestamp)| WireSample {
        value: f64::from_bits(bits),
        timestamp,
        start_timestamp: 0,
    });
    let named = prop::option::weighted(0.8, Just(Label { name: "__name__".into(), value: "m".into() }));
    let labels = (named, prop::collection::vec(any_label(), 0..6), any::<bool>());
    (labels, prop::collection::vec(sample, 0..4)).prop_map(|((named, labels, sorted), samples)| {
        let mut labels: Vec<_> = named.into_iter().chain(labels).collect();
        if sorted {
            labels.sort_by(|a, b| a.name.cmp(&b.name));
        }
        TimeSeries { labels, samples, ..TimeSeries::default() }
    })
}

fn any_request() -> impl Strategy<Value = WriteRequest> {
    let metadata = (any::<i32>(), "\\PC{0,9}", "\\PC{0,30}", "[a-z]{0,5}")
        .prop_map(|(kind, metric_family_name, help, unit)| Metadata { kind: kind % 9, metric_family_name, help, unit });
    (prop::collection::vec(any_series(), 0..5), prop::collection::vec(metadata, 0..3))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

proptest! {
    #[test]
    fn a_request_says_the_same_to_both(request in any_request()) {
        prop_assert_eq!(walk(&request.encode_to_vec()).expect("well formed"), expected(&request));
    }

    /// Damaged bytes are refused by both, or by neither, and then say the same; but the walk refuses labels that are
    /// not UTF-8 with their series alone.
    #[test]
    fn damage_is_seen_by_both(
        request in any_request(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..5),
    ) {
        let mut body = request.encode_to_vec();
        for (at, byte, what) in damage {
            let at = at.index(body.len() + 1);
            match what {
                0 => body.insert(at, byte),
                1 if at < body.len() => drop(body.remove(at)),
                2 => body.truncate(at),
                _ => if let Some(old) = body.get_mut(at) { *old = byte },
            }
        }
        match (walk(&body), WriteRequest::decode(body.as_slice())) {
            (Ok(said), Ok(request)) => prop_assert_eq!(said, expected(&request)),
            (Err(IngestError::Wire(error)), decoded) => {
                prop_assert!(error.at_byte <= body.len(), "{error}");
                prop_assert!(decoded.is_err() || error.problem == WireProblem::Group, "only the walk: {error}");
            }
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("UTF-8"), "only prost: {error}"),
            (walked, decoded) => prop_assert!(false, "{walked:?} but {decoded:?}"),
        }
    }

    #[test]
    fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(walk(&body));
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let label = |&(name, value): &(&str, &str)| Label { name: name.into(), value: value.into() };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| WireSample { value, timestamp, ..WireSample::default() })
            .collect(),
        ..TimeSeries::default()
    }
}

fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: vec![] }
}

#[track_caller]
fn check_rejected(bad: TimeSeries, reason: Reason, count: u64, want: &str) {
    let good = series(&[("__name__", "good")], &[(1, 1.0)]);
    let body = request(vec![good.clone(), bad, good]).encode_to_vec();
    let (said, rejected) = walk_within(&body, &IngestLimits::default()).expect("well formed");
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
        let (said, rejected) = walk_within(&body, &IngestLimits::default()).expect("well formed");
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
    assert_eq!(walk(&body).expect("well formed").series.len(), 1, "empty labels are left out");
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
    let (said, rejected) = walk_within(&body, &limits).expect("well formed");
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
    let try_with = |all: Vec<TimeSeries>| match walk_within(&request(all).encode_to_vec(), &limits) {
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
    let error = walk(body).expect_err("damaged");
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
