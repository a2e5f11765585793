//! `/api/v1/read`: both kinds of answer, read back by decoders of their own.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::http::response::Parts;
use http_body_util::BodyExt as _;
use model::remote_write::read::{
    Chunk, ChunkedReadResponse, LabelMatcher, Query, ReadRequest, ReadResponse, ResponseType,
};
use model::remote_write::{TimeSeries, from_wire};
use model::sample::stale_marker;
use model::{Bucket, Histogram, ResetHint};
use prost::Message as _;
use server::ServerOptions;
use tower::ServiceExt as _;

use crate::chunk_decoder::{Decoded, decode};
use crate::fixed::Fixed;
use crate::overload::{Endless, options, until};
use crate::support::{NOW_MS, Server, block_on};

/// Asks for series of the name `x` and more, from 0 to 100 s.
fn query(more: &[(i32, &str, &str)]) -> Query {
    let matchers = [(0, "__name__", "x")]
        .iter()
        .chain(more)
        .map(|of| LabelMatcher { r#type: of.0, name: of.1.into(), value: of.2.into() })
        .collect();
    Query { start_timestamp_ms: 0, end_timestamp_ms: 100_000, matchers, hints: None }
}

fn post(queries: Vec<Query>, accepted: &[ResponseType]) -> Request<Body> {
    let accepted_response_types = accepted.iter().map(|&kind| kind.into()).collect();
    let message = ReadRequest { queries, accepted_response_types }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let request = Request::post("/api/v1/read").header("content-encoding", "snappy");
    request.header("accept-encoding", "gzip").body(Body::from(body)).unwrap()
}

fn samples(server: &Server, queries: Vec<Query>) -> ReadResponse {
    let (head, body) = block_on(server.call_raw(post(queries, &[])));
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    assert_eq!(head.headers["content-encoding"], "snappy");
    let message = snap::raw::Decoder::new().decompress_vec(&body.unwrap()).unwrap();
    ReadResponse::decode(message.as_slice()).unwrap()
}

fn stream(server: &Server, queries: Vec<Query>) -> (Parts, Result<Vec<u8>, axum::Error>) {
    block_on(server.call_raw(post(queries, &[ResponseType::StreamedXorChunks, ResponseType::Samples])))
}

/// The messages in the frames of a stream.
fn frames(body: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut rest = body;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (sum, after) = rest.split_at(4);
        let (message, after) = after.split_at(length);
        assert_eq!(sum, castagnoli(message).to_be_bytes());
        messages.push(ChunkedReadResponse::decode(message).unwrap());
        rest = after;
    }
    messages
}

/// The query, the job and the bits of the samples of a series.
type ReadSeries = (i64, String, Vec<(i64, u64)>);

/// CRC-32C, bit by bit.
fn castagnoli(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn labels(series: &TimeSeries) -> Vec<(&str, &str)> {
    series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect()
}

fn filled() -> Server {
    let server = Server::new();
    server.write(&[("__name__", "x"), ("job", "a")], &[(-1, 9.0), (0, 1.5), (50_000, stale_marker()), (100_000, -1.0)]);
    server.write(&[("__name__", "x"), ("job", "b")], &[(10_000, -0.0), (100_001, 9.0)]);
    server.write(&[("__name__", "x"), ("job", "late")], &[(100_001, 9.0)]);
    server
}

#[test]
fn samples_are_as_they_are_stored() {
    let server = filled();
    let queries = vec![query(&[]), query(&[(1, "job", "a")]), query(&[(2, "job", "a|c"), (3, "job", "b.*")])];
    let answer = samples(&server, queries);
    let found: Vec<Vec<_>> =
        answer.results.iter().map(|result| result.timeseries.iter().map(labels).collect()).collect();
    let (a, b) = (vec![("__name__", "x"), ("job", "a")], vec![("__name__", "x"), ("job", "b")]);
    assert_eq!(found, [vec![a.clone(), b.clone()], vec![b], vec![a]]);
    let first: Vec<(i64, u64)> =
        answer.results[0].timeseries[0].samples.iter().map(|one| (one.timestamp, one.value.to_bits())).collect();
    let want = [(0, 1.5), (50_000, stale_marker()), (100_000, -1.0)].map(|(time, value)| (time, f64::to_bits(value)));
    assert_eq!(first, want);
    let zero = answer.results[1].timeseries[0].samples[0];
    assert_eq!((zero.timestamp, zero.value.to_bits()), (10_000, f64::to_bits(-0.0)), "zeros keep their sign");
    assert_eq!(samples(&server, Vec::new()).results.len(), 0);
    let backwards = Query { start_timestamp_ms: 5, end_timestamp_ms: 0, ..query(&[]) };
    assert_eq!(samples(&server, vec![backwards]).results[0].timeseries.len(), 0);
}

#[test]
fn streams_hold_the_same_samples_as_chunks() {
    let server = filled();
    let long: Vec<(i64, f64)> = (0..1_000).map(|at| (at * 100, f64::from(i32::try_from(at).unwrap()).sqrt())).collect();
    server.write(&[("__name__", "x"), ("job", "long")], &long);
    let (head, body) = stream(&server, vec![query(&[(0, "job", "a")]), query(&[])]);
    assert_eq!(head.status, 200);
    let content_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(head.headers["content-type"], content_type);
    assert!(!head.headers.contains_key("content-encoding"), "chunks are not compressed again");
    let messages = frames(&body.unwrap());
    let read: Vec<ReadSeries> = messages
        .iter()
        .map(|message| {
            let [series] = message.chunked_series.as_slice() else { panic!("a series a frame") };
            let floats = series.chunks.iter().flat_map(|chunk| match decode(chunk) {
                Decoded::Floats(floats) => floats,
                Decoded::Histograms(_) => panic!("there are only floats"),
            });
            (message.query_index, series.labels[1].value.clone(), floats.collect())
        })
        .collect();
    let of = |pairs: &[(i64, f64)]| pairs.iter().map(|&(time, value)| (time, value.to_bits())).collect::<Vec<_>>();
    let a = of(&[(0, 1.5), (50_000, stale_marker()), (100_000, -1.0)]);
    let want = [
        (0, "a".to_owned(), a.clone()),
        (1, "a".to_owned(), a),
        (1, "b".to_owned(), of(&[(10_000, -0.0)])),
        (1, "long".to_owned(), of(&long)),
    ];
    assert_eq!(read, want);
    let chunks: Vec<&Chunk> = messages[3].chunked_series[0].chunks.iter().collect();
    assert_eq!(chunks.len(), 1_000_usize.div_ceil(120));
}

#[test]
fn histograms_come_in_both_kinds() {
    let histogram = |count: f64| Histogram {
        schema: 3,
        reset_hint: ResetHint::Gauge,
        count,
        sum: 12.5,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive: vec![Bucket { index: -3, count: 1.0 }, Bucket { index: 5, count: count - 2.0 }],
        ..Histogram::default()
    };
    let given = [(20_000, histogram(4.0)), (30_000, histogram(5.0)), (40_000, Histogram::stale_marker())];
    let source = Fixed::default().with(&[("__name__", "x")], &[(10_000, 1.0), (35_000, 2.0)], &given);
    let server = Server::with(ServerOptions::default(), Some(source.source()));

    let answer = samples(&server, vec![query(&[])]);
    let series = &answer.results[0].timeseries[0];
    let got: Vec<(i64, Histogram)> =
        series.histograms.iter().map(|wire| (wire.timestamp, from_wire(wire).unwrap())).collect();
    assert_eq!((series.samples.len(), got.as_slice()), (2, &given[..]));

    let body = stream(&server, vec![query(&[])]).1.unwrap();
    let decoded: Vec<Decoded> = frames(&body)[0].chunked_series[0].chunks.iter().map(decode).collect();
    let float = |time, value: f64| Decoded::Floats(vec![(time, value.to_bits())]);
    let [first, second, stale] = given;
    let want = [
        float(10_000, 1.0),
        Decoded::Histograms(vec![first, second]),
        float(35_000, 2.0),
        Decoded::Histograms(vec![stale]),
    ];
    assert_eq!(decoded, want);
}

/// A stream longer than what waits in memory is made while its client reads.
#[test]
fn long_streams_come_whole() {
    let server = Server::new();
    let values: Vec<(i64, f64)> =
        (0..2_000).map(|at| (at * 10, f64::from(i32::try_from(at * at % 7_919).unwrap()) / 7.0)).collect();
    for at in 0..100 {
        server.write(&[("__name__", "x"), ("at", &format!("{at:03}"))], &values);
    }
    let body = stream(&server, vec![query(&[])]).1.unwrap();
    assert!(body.len() > 1_000_000, "{}", body.len());
    let messages = frames(&body);
    let names: Vec<&str> = messages.iter().map(|message| message.chunked_series[0].labels[0].value.as_str()).collect();
    assert_eq!((names.len(), names.first(), names.last()), (100, Some(&"x"), Some(&"x")));
    block_on(async {
        assert_eq!(server.get("/api/v1/queries").await.body, r#"{"status":"success","data":[]}"#);
    });
}

/// Reading ends when the client leaves in the middle of a stream.
#[tokio::test]
async fn a_stream_ends_when_its_client_leaves() {
    let server = Server::with(options(|_| {}), Some(Arc::new(Endless::default())));
    let request = post(vec![query(&[])], &[ResponseType::StreamedXorChunks]);
    let response = server.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body();
    assert!(!body.frame().await.unwrap().unwrap().into_data().unwrap().is_empty());
    let listed = server.get("/api/v1/queries").await.json();
    assert_eq!(listed["data"][0]["query"], r#"remote read {__name__="x"}"#);
    assert!(listed["data"][0]["samples"].as_u64().is_some_and(|samples| samples > 0), "{listed}");
    drop(body);
    until(&server, "metrickit_queries_total{outcome=\"canceled\"}", 1.0).await;
    until(&server, "metrickit_queries_running", 0.0).await;
    assert_eq!(server.get("/api/v1/queries").await.body, r#"{"status":"success","data":[]}"#);
}

/// A client that takes nothing of its stream holds a place no longer than a query may.
#[tokio::test]
async fn a_stream_that_nobody_takes_ends_in_time() {
    // On a busy machine the time may be over before the stream begins, which is another answer: then with more of it.
    for timeout_ms in [50, 500, 5_000] {
        let options = options(|options| options.query.timeout_ms = timeout_ms);
        let server = Server::with(options, Some(Arc::new(Endless::default())));
        let request = post(vec![query(&[])], &[ResponseType::StreamedXorChunks]);
        let response = server.router.clone().oneshot(request).await.unwrap();
        if response.status() != 200 {
            continue;
        }
        until(&server, "metrickit_queries_total{outcome=\"timeout\"}", 1.0).await;
        assert!(response.into_body().collect().await.is_err(), "what is left is not the whole");
        return;
    }
    panic!("no stream has begun");
}

/// A stream that cannot go on breaks off, so that nobody takes it for the whole.
#[test]
fn streams_that_fail_break_off() {
    let filled = Fixed::default().with(&[("__name__", "x"), ("a", "1")], &[(1, 1.0)], &[]).with(
        &[("__name__", "x"), ("a", "2")],
        &[(1, 1.0)],
        &[],
    );
    let server = Server::with(ServerOptions::default(), Some(filled.clone().breaking().source()));
    let (head, body) = stream(&server, vec![query(&[])]);
    assert_eq!(head.status, 200);
    assert!(body.unwrap_err().to_string().contains("broke off"));

    let mut options = ServerOptions::default();
    options.query.samples_max = 1;
    let server = Server::with(options, Some(filled.clone().source()));
    assert!(stream(&server, vec![query(&[])]).1.is_err());

    let mut options = ServerOptions::default();
    options.query.series_max = 1;
    let server = Server::with(options, Some(filled.source()));
    let (head, body) = stream(&server, vec![query(&[])]);
    assert_eq!(head.status, 422, "before the first frame an error can be told");
    assert!(String::from_utf8(body.unwrap()).unwrap().contains("more than 1 series"));
}

/// What answers hold counts as what queries hold, and is given back.
#[test]
fn memory_is_shared_with_queries() {
    let bytes_max = 70 + query::SELECTED_BYTES;
    let resources = Arc::new(query::Resources::new(bytes_max, 0));
    let mut options = ServerOptions::default();
    // Without rules nothing is kept for them.
    options.alerting.threads = 0;
    options.query.resources = Arc::clone(&resources);
    let one = Fixed::default().with(&[("__name__", "x")], &[(1, 1.0), (NOW_MS, 1.0)], &[]);
    let server = Server::with(options, Some(one.source()));
    let few = || post(vec![query(&[])], &[]);
    assert_eq!(block_on(server.call_raw(few())).0.status, 200);
    assert_eq!(resources.bytes(), 0, "given back");
    resources.take_bytes(bytes_max - 10).unwrap();
    let message = &*format!("the answer takes more than {bytes_max} bytes, the limit of all queries together");
    let refused = block_on(server.call(few()));
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains(message), "{}", refused.body);
    server.check_error("/federate?match[]=x", 422, "execution", message);
    assert_eq!(resources.bytes(), bytes_max - 10);
}

#[test]
fn wrong_requests_and_limits() {
    let mut options = ServerOptions { form_body_bytes_max: 1_000, ..ServerOptions::default() };
    options.query.bytes_max = 40 + query::SELECTED_BYTES;
    let over = &*format!("more than {} bytes", options.query.bytes_max);
    let server = Server::with(options, None);
    server.write(&[("__name__", "x")], &[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]);
    server.write(&[("__name__", "x"), ("n", "1")], &[(0, 1.0)]);
    let check = |request: Request<Body>, status: u16, message: &str| {
        let (head, body) = block_on(server.call_raw(request));
        let body = String::from_utf8_lossy(&body.unwrap()).into_owned();
        assert_eq!(head.status, status, "{body}");
        assert!(body.contains(message), "{body}");
    };
    let raw = |body: Vec<u8>| Request::post("/api/v1/read").body(Body::from(body)).unwrap();
    check(raw(b"hello".to_vec()), 400, "no snappy block");
    check(raw(snap::raw::Encoder::new().compress_vec(&[0xff; 9]).unwrap()), 400, "bad_data");
    check(raw(snap::raw::Encoder::new().compress_vec(&[0; 2_000]).unwrap()), 413, "declares 2000 bytes");
    check(raw(vec![0; 1_001]), 413, "longer than 1000 bytes");
    let gzip = Request::post("/api/v1/read").header("content-encoding", "gzip").body(Body::empty()).unwrap();
    check(gzip, 400, "not \\\"gzip\\\"");
    check(post(vec![query(&[(9, "a", "b")])], &[]), 400, "matcher type 9");
    check(post(vec![query(&[(0, "n", "")])], &[]), 422, over);
    let ones = || query(&[(0, "n", "1")]);
    check(post(vec![ones()], &[]), 200, "");
    check(post(vec![ones(), ones(), ones()], &[]), 422, over);
    check(post(vec![query(&[(0, "job", "none")])], &[]), 200, "");
    assert_eq!(block_on(server.get("/api/v1/read")).status, 405);

    let mut options = ServerOptions::default();
    options.query.samples_max = 5;
    let server = Server::with(options, Some(Fixed::default().with(&[("__name__", "x")], &[(0, 1.0); 3], &[]).source()));
    let twice = block_on(server.call(post(vec![query(&[]), query(&[])], &[])));
    assert_eq!(twice.status, 422, "{}", twice.body);
    assert!(twice.body.contains("more than 5 samples"), "{}", twice.body);
}
