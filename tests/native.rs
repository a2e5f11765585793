//! Native histograms, exemplars and starts of counters over the real binary: in by both versions of remote write, out
//! by every way of reading, the same after `kill -9` and after a clean restart.

mod support;

use model::Histogram;
use model::remote_write::read::{
    ChunkEncoding, ChunkedReadResponse, LabelMatcher, MatcherType, Query, ReadRequest, ReadResponse, ResponseType,
};
use model::remote_write::{Label, TimeSeries, WireExemplar, WireHistogram, WireSample, from_wire, kind_number, v2};
use prost::Message;
use serde_json::{Value, json};
use support::{Server, counter_histogram, escape, http, now_ms, request, series, snappy};

/// Samples of a series, a second apart.
const COUNT: i64 = 60;
const STEP_MS: i64 = 1_000;
/// How far before its first sample a counter began.
const YOUNG_MS: i64 = 500;

/// When the first samples were taken: close enough to now for federation.
fn first_ms() -> i64 {
    (now_ms() / 1000 - 90) * 1000
}

fn steps(first_ms: i64) -> impl Iterator<Item = (i64, u64)> {
    (0..COUNT).map(move |at| (first_ms + at * STEP_MS, at.unsigned_abs() + 1))
}

/// Version 1.0: a histogram with an exemplar, a series of both kinds, plain floats.
fn write_1(server: &Server, first_ms: i64) {
    let histograms: Vec<WireHistogram> =
        steps(first_ms).map(|(at_ms, number)| counter_histogram(at_ms, 0, number * 10)).collect();
    let (even, odd): (Vec<_>, Vec<_>) = histograms.iter().cloned().partition(|of| (of.timestamp / STEP_MS) % 2 == 0);
    let exemplar = WireExemplar {
        labels: vec![Label { name: "trace_id".into(), value: "first".into() }],
        value: 0.9,
        timestamp: first_ms,
    };
    let floats: Vec<(i64, f64)> = odd.iter().map(|of| (of.timestamp, -1.5)).collect();
    let answer = server.write(&request(vec![
        TimeSeries { histograms, exemplars: vec![exemplar], ..series(&[("__name__", "latency")], &[]) },
        TimeSeries { histograms: even, ..series(&[("__name__", "mixed")], &floats) },
        series(&[("__name__", "level"), ("room", "a")], &[(first_ms, 1.0), (first_ms + COUNT * STEP_MS, 21.5)]),
    ]));
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// Version 2.0: floats with a start, a histogram with a start, an exemplar, and what the metrics are.
fn write_2(server: &Server, first_ms: i64) {
    let symbols = ["", "__name__", "served_total", "young", "trace_id", "second", "Requests served."];
    let start_ms = first_ms - YOUNG_MS;
    let sample = |(timestamp, number): (i64, u64)| WireSample {
        value: f64::from(u32::try_from(number).expect("small")),
        timestamp,
        start_timestamp: start_ms,
    };
    let metadata = v2::Metadata { kind: kind_number(model::MetricKind::Counter), help_ref: 6, unit_ref: 0 };
    let exemplar = |timestamp| v2::Exemplar { labels_refs: vec![4, 5], value: 1.0, timestamp };
    let request = v2::Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![
            v2::TimeSeries {
                labels_refs: vec![1, 2],
                samples: steps(first_ms).map(sample).collect(),
                // The second is older than the first, so that it is not kept.
                exemplars: vec![exemplar(first_ms + 7), exemplar(first_ms + 6)],
                metadata: Some(metadata),
                ..v2::TimeSeries::default()
            },
            v2::TimeSeries {
                labels_refs: vec![1, 3],
                histograms: steps(first_ms).map(|(at_ms, n)| counter_histogram(at_ms, start_ms, n)).collect(),
                ..v2::TimeSeries::default()
            },
        ],
    };
    let mut response = http()
        .post(format!("{}/api/v1/write", server.url))
        .header("Content-Type", format!("application/x-protobuf;proto={}", v2::PROTO))
        .header("Content-Encoding", "snappy")
        .send(snappy(&request.encode_to_vec()).as_slice())
        .expect("the server answers");
    assert_eq!(response.status(), 204, "{:?}", response.body_mut().read_to_string());
    let written = ["Samples", "Histograms", "Exemplars"].map(|kind| {
        let name = format!("X-Prometheus-Remote-Write-{kind}-Written");
        response.headers()[name].to_str().expect("text").to_owned()
    });
    assert_eq!(written, ["60", "60", "1"]);
}

/// The value of the only element of an instant query.
#[track_caller]
fn check_value(server: &Server, expr: &str, time_s: &str, want: &str) {
    let result = server.query(expr, time_s);
    assert_eq!(result.as_array().map(Vec::len), Some(1), "{expr}: {result}");
    assert_eq!(result[0]["value"][1], want, "{expr}");
}

fn check_queries(server: &Server, first_ms: i64) {
    let end_ms = first_ms + (COUNT - 1) * STEP_MS;
    let (seconds_then, time) = (first_ms / 1000, (end_ms / 1000).to_string());
    let begun = format!("{}", f64::from(u32::try_from(seconds_then).expect("this century")) - 0.5);
    // All observations are in the bucket from 2^(-1/8) to 1.
    check_value(server, "round(histogram_quantile(1, latency), 0.001)", &time, "1");
    check_value(server, "histogram_count(latency)", &time, "600");
    check_value(server, "histogram_count(rate(latency[30s]))", &time, "10");
    check_value(server, "histogram_avg(sum(increase(latency[30s])))", &time, "1");
    check_value(server, "count_over_time(mixed[60s])", &time, "60");
    check_value(server, "start_timestamp(served_total)", &time, &begun);
    check_value(server, "start_timestamp(young)", &time, &begun);
    check_value(server, "served_total", &time, "60");
    let mixed = server.query("mixed[60s]", &time);
    let lengths = ["values", "histograms"].map(|kind| mixed[0][kind].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(30), Some(30)], "{mixed}");
    let shown = server.query("latency", &seconds_then.to_string());
    let (seconds, histogram) = (&shown[0]["histogram"][0], &shown[0]["histogram"][1]);
    assert_eq!((seconds, &histogram["count"], &histogram["sum"]), (&json!(seconds_then), &json!("10"), &json!("10")));
    let metadata = server.get("/api/v1/metadata?metric=served_total").json();
    assert_eq!(metadata["data"]["served_total"][0]["help"], "Requests served.");
}

fn exemplars(server: &Server) -> Value {
    let query = escape("rate(latency[1m]) or served_total");
    server.get(&format!("/api/v1/query_exemplars?query={query}")).json()["data"].take()
}

fn check_exemplars(server: &Server, first_ms: i64) {
    let of = |metric: &str, trace: &str, value: &str, at_ms: i64| {
        json!({"seriesLabels": {"__name__": metric}, "exemplars": [
            {"labels": {"trace_id": trace}, "value": value, "timestamp": seconds(at_ms)}
        ]})
    };
    let want = [of("latency", "first", "0.9", first_ms), of("served_total", "second", "1", first_ms + 7)];
    assert_eq!(exemplars(server), json!(want));
}

/// A time as JSON has it: whole seconds as a whole number.
fn seconds(ms: i64) -> Value {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    serde_json::from_str(text).expect("a number")
}

/// The body of a remote read of everything from `first_ms` on.
fn read(server: &Server, first_ms: i64, metric: &str, kind: ResponseType) -> Vec<u8> {
    let matcher = LabelMatcher { r#type: MatcherType::Equal.into(), name: "__name__".into(), value: metric.to_owned() };
    let query = Query {
        start_timestamp_ms: first_ms,
        end_timestamp_ms: first_ms + COUNT * STEP_MS,
        matchers: vec![matcher],
        hints: None,
    };
    let request = ReadRequest { queries: vec![query], accepted_response_types: vec![kind.into()] };
    let response = http()
        .post(format!("{}/api/v1/read", server.url))
        .header("Content-Encoding", "snappy")
        .send(snappy(&request.encode_to_vec()).as_slice())
        .expect("the server answers");
    assert_eq!(response.status(), 200);
    response.into_body().read_to_vec().expect("a whole answer")
}

fn check_remote_read(server: &Server, first_ms: i64) {
    let body = read(server, first_ms, "latency", ResponseType::Samples);
    let plain = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
    let answer = ReadResponse::decode(plain.as_slice()).expect("a message");
    let got: Vec<(i64, Histogram)> = answer.results[0].timeseries[0]
        .histograms
        .iter()
        .map(|wire| (wire.timestamp, from_wire(wire).expect("a histogram")))
        .collect();
    let want: Vec<(i64, Histogram)> = steps(first_ms)
        .map(|(at_ms, number)| (at_ms, from_wire(&counter_histogram(at_ms, 0, number * 10)).expect("a histogram")))
        .collect();
    assert_eq!(got, want);

    let body = read(server, first_ms, "mixed", ResponseType::StreamedXorChunks);
    let mut rest = body.as_slice();
    let (mut floats, mut histograms) = (0, 0);
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).expect("a length");
        let (_checksum, after) = rest.split_first_chunk::<4>().expect("a checksum");
        let (message, after) = after.split_at(length);
        for chunk in &ChunkedReadResponse::decode(message).expect("a message").chunked_series[0].chunks {
            let samples = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
            match ChunkEncoding::try_from(chunk.r#type) {
                Ok(ChunkEncoding::Xor) => floats += samples,
                Ok(ChunkEncoding::FloatHistogram) => histograms += samples,
                other => panic!("a chunk of {other:?}"),
            }
        }
        rest = after;
    }
    assert_eq!((floats, histograms), (30, 30));
}

fn check_federation(server: &Server, first_ms: i64) {
    let page = server.get(&format!("/federate?match[]={}", escape("{__name__=~\"level|latency|served_total\"}")));
    let end_ms = first_ms + (COUNT - 1) * STEP_MS;
    let want = format!(
        "# TYPE level untyped\nlevel{{room=\"a\",instance=\"\"}} 21.5 {}\n\
         # TYPE served_total untyped\nserved_total{{instance=\"\"}} 60 {end_ms}\n",
        end_ms + STEP_MS
    );
    assert_eq!(page.body, want);
}

#[test]
fn every_kind_by_every_way_whatever_happens_to_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first_ms = first_ms();
    let check = |server: &Server| {
        check_queries(server, first_ms);
        check_remote_read(server, first_ms);
        check_federation(server, first_ms);
    };
    let mut server = Server::start(folder.path(), &[]);
    write_1(&server, first_ms);
    write_2(&server, first_ms);
    for _ in 0..2 {
        check(&server);
        check_exemplars(&server, first_ms);
        server.kill();
        server = Server::start(folder.path(), &[]);
    }
    // A second time changes nothing, as a sender that got no answer does it.
    write_1(&server, first_ms);
    check(&server);
    check_exemplars(&server, first_ms);
    assert!(server.stop().0.success());
    check(&Server::start(folder.path(), &[]));
}

#[test]
fn exemplars_can_be_switched_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first_ms = first_ms();
    let server = Server::start(folder.path(), &["--exemplars-max", "0"]);
    write_1(&server, first_ms);
    assert_eq!(exemplars(&server), json!([]));
}
