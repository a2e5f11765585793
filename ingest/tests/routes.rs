//! Every outcome of the write routes, through the router.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use ingest::{IngestLimits, IngestState, Outcome, Reason, Route};
use model::remote_write::{WireCount, WireHistogram, WireSample, WriteRequest, v2};
use model::{
    Appended, BatchSeries, KnownSeries, LabelsRef, ManualClock, MetricKind, Rejection, SampleSink, SeriesCursor,
    SinkError, TimestampMs, WriteBatch,
};
use prost::Message;

use common::{Answer, NOW_MS, Server, post, request_of, send, snappy};

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, retry_after: None, written: None, body: body.to_owned() }
}

fn taken() -> Answer {
    answer(204, "")
}

#[track_caller]
fn check_counted(server: &Server, route: Route, want: &[(Outcome, u64)]) {
    let snapshot = server.metrics.snapshot();
    let counts = snapshot.routes[route as usize].requests;
    for outcome in Outcome::ALL {
        let want = want.iter().find(|(of, _)| *of == outcome).map_or(0, |(_, count)| *count);
        assert_eq!(counts[outcome as usize], want, "{outcome:?} of {counts:?}");
    }
    assert_eq!(snapshot.requests_in_flight, 0);
}

#[tokio::test]
async fn remote_write_is_taken() {
    let server = Server::new(IngestLimits::default());
    assert_eq!(server.write(&request_of(&["a", "b"])).await, taken());
    assert_eq!(server.sink.taken(), [format!("a 1.5 @{NOW_MS}"), format!("b 1.5 @{NOW_MS}")]);
    assert_eq!(server.write(&WriteRequest::default()).await, taken());
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Taken, 2)]);
    let snapshot = server.metrics.snapshot();
    assert_eq!((snapshot.routes[0].samples, snapshot.series_created), (2, 2));
    assert_eq!(snapshot.routes[0].decompressed_bytes, request_of(&["a", "b"]).encode_to_vec().len() as u64);
}

/// A sink that knows every series, until samples of one come.
#[derive(Debug, Default)]
struct Forgetful(std::sync::Mutex<Vec<Result<u32, String>>>);

impl SampleSink for Forgetful {
    fn append(&self, batch: &WriteBatch) -> Result<Appended, SinkError> {
        let told = |series: BatchSeries<'_>| match series {
            BatchSeries::Known(number) => Ok(number),
            BatchSeries::Labels(labels) => Err(labels.to_string()),
        };
        let seen = batch.iter().map(|(series, _)| told(series));
        self.0.lock().expect("not poisoned").extend(seen);
        match batch.known_as_of() {
            Some(_) => Err(SinkError::SeriesRemoved),
            None => Ok(Appended { samples_accepted: batch.samples_len() as u64, ..Appended::default() }),
        }
    }

    fn cursor(&self) -> Box<dyn SeriesCursor + '_> {
        Box::new(Everything)
    }
}

/// Finds every series.
#[derive(Debug)]
struct Everything;

impl SeriesCursor for Everything {
    fn guess(&mut self, _: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        None
    }

    fn find(&mut self, _: LabelsRef<'_>) -> Option<KnownSeries> {
        Some(KnownSeries { number: 3, as_of: 0 })
    }
}

#[tokio::test]
async fn a_request_whose_series_was_removed_meanwhile_is_decoded_again() {
    let sink = Arc::new(Forgetful::default());
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let state = IngestState::new(Arc::clone(&sink) as Arc<dyn SampleSink>, clock, IngestLimits::default());
    let metrics = state.metrics();
    let mut request = request_of(&["a", "b"]);
    request.timeseries[1].labels.clear();
    let answered = send(ingest::router(state), post("/api/v1/write", &[], snappy(&request.encode_to_vec()))).await;
    assert_eq!(answered.status, 400, "one series has no name: {answered:?}");
    assert_eq!(*sink.0.lock().unwrap(), [Ok(3), Err("a".to_owned())]);
    let snapshot = metrics.snapshot();
    assert_eq!((snapshot.routes[0].samples, snapshot.rejected[Reason::NoMetricName as usize]), (1, 1));
}

#[tokio::test]
async fn remote_write_in_other_encodings() {
    let server = Server::new(IngestLimits::default());
    let plain = request_of(&["a"]).encode_to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for (encoding, body) in [
        ("snappy", snappy(&plain)),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(plain.as_slice(), 1).unwrap()),
        ("identity", plain),
    ] {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", encoding)];
        assert_eq!(server.send(post("/api/v1/write", &headers, body)).await, taken(), "{encoding}");
    }
    assert_eq!(server.sink.taken().len(), 4);
    let unknown = server.send(post("/api/v1/write", &[("content-encoding", "br")], "x")).await;
    assert_eq!(
        unknown,
        answer(415, "content encoding \"br\" is not spoken here; send one of identity, gzip, zstd, snappy\n")
    );
}

#[tokio::test]
async fn other_content_is_told_what_is_spoken() {
    let server = Server::new(IngestLimits::default());
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
    let got = server.send(post("/api/v1/write", &[("content-type", content_type)], snappy(b""))).await;
    let want = format!(
        "content of type {content_type:?} is not spoken here; send \
         application/x-protobuf;proto=io.prometheus.write.v2.Request (remote write 2.0) or \
         application/x-protobuf;proto=prometheus.WriteRequest (remote write 1.0)\n"
    );
    assert_eq!(got, answer(415, &want));
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Refused, 1)]);
}

/// A body of remote write 2.0: a float, two histograms, an exemplar that is taken and one that is not, and in a series
/// of their own a float with a start and a histogram that is none.
fn request_of_version_2() -> Vec<u8> {
    let symbols = ["", "__name__", "m", "other", "trace_id", "abc"].map(str::to_owned).to_vec();
    let histogram = |timestamp, schema| WireHistogram {
        count: Some(WireCount::Int(3)),
        schema,
        timestamp,
        ..WireHistogram::default()
    };
    let exemplar = |timestamp| v2::Exemplar { labels_refs: vec![4, 5], value: 0.5, timestamp };
    let sample = WireSample { value: 1.5, timestamp: NOW_MS, start_timestamp: 0 };
    let one = v2::TimeSeries {
        labels_refs: vec![1, 2],
        samples: vec![sample],
        histograms: vec![histogram(NOW_MS + 1, 0), histogram(NOW_MS + 2, 0)],
        exemplars: vec![exemplar(NOW_MS), exemplar(0)],
        ..v2::TimeSeries::default()
    };
    let other = v2::TimeSeries {
        labels_refs: vec![1, 3],
        samples: vec![WireSample { start_timestamp: 7, ..sample }],
        histograms: vec![histogram(NOW_MS, 99)],
        ..v2::TimeSeries::default()
    };
    snappy(&v2::Request { symbols, timeseries: vec![one, other] }.encode_to_vec())
}

const VERSION_2: [(&str, &str); 1] = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];

#[tokio::test]
async fn answers_to_remote_write_2_tell_what_was_written() {
    let server = Server::new(IngestLimits::default());
    let got = server.send(post("/api/v1/write", &VERSION_2, request_of_version_2())).await;
    let want = format!(
        "1 samples or metadata were not taken and will not be when sent again; 4 samples were taken:\n\
         other: at {NOW_MS} ms: histogram schema 99 is not known; known are -4 to 8 and -53\n"
    );
    assert_eq!(got, Answer { written: Some([2, 2, 1]), ..answer(400, &want) });
    let want = [
        format!("m 1.5 @{NOW_MS}"),
        format!("m histogram of 3 @{} since 0", NOW_MS + 1),
        format!("m histogram of 3 @{} since 0", NOW_MS + 2),
        format!("m exemplar {{trace_id=\"abc\"}} 0.5 @{NOW_MS}"),
        format!("other 1.5 @{NOW_MS} since 7"),
    ];
    assert_eq!(server.sink.taken(), want);
    let snapshot = server.metrics.snapshot();
    let route = snapshot.routes[Route::RemoteWrite as usize];
    assert_eq!((route.samples, route.histograms, route.exemplars), (4, 2, 1));
    let rejected = |reason: Reason| snapshot.rejected[reason as usize];
    assert_eq!((rejected(Reason::Histogram), rejected(Reason::Exemplar)), (1, 1));
    let got = server.send(post("/api/v1/write", &VERSION_2, snappy(b""))).await;
    assert_eq!(got, Answer { written: Some([0, 0, 0]), ..taken() });
    let got = server.send(post("/api/v1/write", &VERSION_2, "garbage")).await;
    assert_eq!((got.status, got.written), (400, Some([0, 0, 0])));
    let got = server.write(&request_of(&["a"])).await;
    assert_eq!(got, taken(), "version 1.0 knows no such headers");
}

#[tokio::test]
async fn what_storage_rejects_is_not_told_as_written() {
    let server = Server::new(IngestLimits::default());
    let rejection = Rejection::Histogram { series: "m".into(), timestamp_ms: 1, detail: "bad".into() };
    server.sink.answer(Ok(Appended {
        samples_accepted: 2,
        samples_rejected: 2,
        histograms_rejected: 1,
        exemplars_rejected: 1,
        rejections: vec![rejection.clone(), rejection],
        ..Appended::default()
    }));
    let got = server.send(post("/api/v1/write", &VERSION_2, request_of_version_2())).await;
    assert_eq!((got.status, got.written), (400, Some([1, 1, 0])), "{}", got.body);
    let rejected = server.metrics.snapshot().rejected;
    assert_eq!((rejected[Reason::Histogram as usize], rejected[Reason::Exemplar as usize]), (3, 2));
}

#[tokio::test]
async fn garbage_is_refused() {
    let server = Server::new(IngestLimits::default());
    let got = server.send(post("/api/v1/write", &[], "garbage")).await;
    assert!(got.status == 400 && got.body.starts_with("the body is no valid snappy block: "), "{got:?}");
    let got = server.send(post("/api/v1/write", &[], snappy(b"\x0a\x7f"))).await;
    let want = "the body is no valid write request: byte 2, WriteRequest.timeseries: 127 bytes needed, 0 left in the message\n";
    assert_eq!(got, answer(400, want));
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let got = server.send(post("/api/v1/write", &[], huge.to_vec())).await;
    let want = "4294967295 or more decompressed bytes is more than the limit decompressed_bytes_max of 33554432\n";
    assert_eq!(got, answer(413, want));
    let got = server.send(post("/api/v1/import/prometheus", &[], b"a 1\nb\xff 1\n".to_vec())).await;
    assert_eq!(got, answer(400, "line 2 of the body is not UTF-8, at byte 5 of the body\n"));
    assert!(server.sink.taken().is_empty());
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Refused, 3)]);
    check_counted(&server, Route::TextImport, &[(Outcome::Refused, 1)]);
}

#[tokio::test]
async fn the_good_series_of_a_remote_write_are_taken() {
    let server = Server::new(IngestLimits::default());
    let got = server.write(&request_of(&["a", "", "b"])).await;
    let want = "1 samples or metadata were not taken and will not be when sent again; 2 samples were taken:\n\
                {}: no metric name\n";
    assert_eq!(got, answer(400, want));
    assert_eq!(server.sink.taken().len(), 2);
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Partial, 1)]);
    assert_eq!(server.metrics.snapshot().rejected[Reason::NoMetricName as usize], 1);
}

#[tokio::test]
async fn what_storage_rejects_is_told() {
    let server = Server::new(IngestLimits::default());
    let too_old = Rejection::TooOld { series: "a".into(), timestamp_ms: 1, oldest_ms: 2 };
    let rejections = vec![too_old.clone(); 10];
    let appended = Appended { samples_accepted: 3, samples_rejected: 12, rejections, ..Appended::default() };
    server.sink.answer(Ok(appended));
    let got = server.write(&request_of(&["a"])).await;
    assert_eq!(got.status, 400);
    assert_eq!(got.body.lines().count(), 12, "{}", got.body);
    assert!(got.body.starts_with("12 samples or metadata were not taken"), "{}", got.body);
    assert!(got.body.contains(&format!("{too_old}\n")) && got.body.ends_with("and more\n"), "{}", got.body);
    let got = server.import("", "a 1").await;
    assert!(got.status == 200 && got.body.contains("\"samples_accepted\":3,\"samples_rejected\":12"), "{got:?}");
    let rejected = server.metrics.snapshot().rejected;
    assert_eq!((rejected[Reason::TooOld as usize], rejected[Reason::Untold as usize]), (20, 4));
}

#[tokio::test]
async fn storage_errors_ask_for_a_pause_or_for_people() {
    let cases = [
        (SinkError::Busy { detail: "full".into(), retry_after_ms: 1500 }, 503, Some("2"), Outcome::Busy),
        (SinkError::DiskFull { available_bytes: 1, needed_bytes: 2 }, 503, Some("30"), Outcome::Busy),
        (SinkError::Closed, 503, Some("5"), Outcome::Busy),
        (SinkError::Poisoned { detail: "sync failed".into() }, 500, None, Outcome::Failed),
    ];
    for (error, status, retry_after, outcome) in cases {
        let server = Server::new(IngestLimits::default());
        server.sink.answer(Err(error.clone()));
        let want = Answer { retry_after: retry_after.map(str::to_owned), ..answer(status, &format!("{error}\n")) };
        assert_eq!(server.write(&request_of(&["a"])).await, want);
        assert_eq!(server.import("", "a 1").await, want);
        check_counted(&server, Route::RemoteWrite, &[(outcome, 1)]);
        check_counted(&server, Route::TextImport, &[(outcome, 1)]);
    }
}

#[tokio::test]
async fn pages_are_taken() {
    let server = Server::new(IngestLimits::default());
    let page = "# TYPE a counter\n# HELP a Things.\na{x=\"y\"} 1 5\na 2\n";
    assert_eq!(server.import("", page).await, taken());
    assert_eq!(server.sink.taken(), ["a{x=\"y\"} 1 @5".to_owned(), format!("a 2 @{NOW_MS}")]);
    let metadata = server.sink.metadata();
    assert_eq!((metadata[0].0.as_str(), metadata[0].1.kind), ("a", MetricKind::Counter));
    assert_eq!(server.import("", "").await, taken());
}

#[tokio::test]
async fn pages_in_open_metrics() {
    let server = Server::new(IngestLimits::default());
    let headers = [("content-type", "application/openmetrics-text; version=1.0.0")];
    let import = |page: &'static str| server.send(post("/api/v1/import/prometheus", &headers, page));
    assert_eq!(import("# TYPE a counter\na_total 1 1.5 # {} 1\n# EOF\n").await, taken());
    assert_eq!(server.sink.taken(), ["a_total 1 @1500", "a_total exemplar {} 1 @1500"]);
    assert_eq!(server.sink.metadata()[0].0, "a_total");
    let cut = import("a_total 1\n").await;
    assert!(cut.status == 200 && cut.body.contains("does not end with # EOF"), "{cut:?}");
}

#[tokio::test]
async fn parameters_of_pages() {
    let server = Server::new(IngestLimits::default());
    let query = "?extra_label=env=a%3Db&extra_label=x=new&timestamp=-7";
    assert_eq!(server.import(query, "a{x=\"old\"} 1\na 2 5").await, taken());
    assert_eq!(server.sink.taken(), ["a{env=\"a=b\", x=\"new\"} 1 @-7", "a{env=\"a=b\", x=\"new\"} 2 @5"]);
    for (query, want) in [
        ("?extra_label=env", "extra_label is \"env\", expected name=value"),
        ("?extra_label==x", "extra_label is \"=x\", expected name=value"),
        ("?extra_label=a=1&extra_label=a=2", "extra_label \"a\" occurs twice"),
        ("?timestamp=now", "timestamp is \"now\", expected whole milliseconds"),
        ("?extra_lable=a=b", "\"extra_lable\" is not known here, expected extra_label or timestamp"),
    ] {
        assert_eq!(server.import(query, "a 1").await, answer(400, &format!("query parameters: {want}\n")));
    }
    let many: Vec<_> = (0..33).map(|at| format!("extra_label=l{at}=x")).collect();
    assert_eq!(server.import(&format!("?{}", many[..32].join("&")), "a 1").await, taken());
    let got = server.import(&format!("?{}", many.join("&")), "a 1").await;
    assert_eq!(got, answer(400, "query parameters: 33 extra_label, the limit is 32\n"));
}

#[tokio::test]
async fn the_good_lines_of_a_page_are_taken() {
    let server = Server::new(IngestLimits::default());
    let got = server.import("", "a 1\nb x\nc{__name__=\"d\"} 1\nd 2\n").await;
    let want = r#"{"status":"partial","samples_accepted":2,"samples_rejected":2,"errors":["line 2, column 3: expected a number, found \"x\"","line 3, column 3: label name \"__name__\" occurs twice"]}"#;
    assert_eq!(got, answer(200, want));
    assert_eq!(server.sink.taken().len(), 2);
    let long = format!("a{{b=\"{}\"}} 1", "x".repeat(4097));
    let got = server.import("", &long).await;
    let want = r#"{"status":"error","samples_accepted":0,"samples_rejected":1,"errors":["line 1: value of label \"b\" has 4097 bytes, the limit is 4096"]}"#;
    assert_eq!(got, answer(400, want));
    let got = server.import("", &"bad\n".repeat(20)).await;
    assert!(got.body.contains("\"samples_rejected\":20"), "{got:?}");
    assert_eq!(got.body.matches("line ").count(), ingest::REASONS_TOLD_MAX);
    check_counted(&server, Route::TextImport, &[(Outcome::Partial, 3)]);
}

#[tokio::test]
async fn limits_on_bodies_are_exact() {
    let limits = IngestLimits { body_bytes_max: 10, decompressed_bytes_max: 12, ..IngestLimits::default() };
    let server = Server::new(limits);
    assert_eq!(server.import("", "a 34567890").await, taken());
    let too_long = answer(413, "11 or more bytes of body is more than the limit body_bytes_max of 10\n");
    assert_eq!(server.import("", "a 345678901").await, too_long);
    // Declared too long: refused without reading.
    let declared = post("/api/v1/import/prometheus", &[("content-length", "11")], "a 1");
    assert_eq!(server.send(declared).await, too_long);
    // Sent in pieces, without a length.
    let (mut sender, body) = open_body();
    let pieces = async {
        for piece in ["a 345678", "901"] {
            sender.send_data(Bytes::from(piece)).await.unwrap();
        }
    };
    let sent = server.send(post("/api/v1/import/prometheus", &[], body));
    assert_eq!(tokio::join!(sent, pieces).0, too_long);

    let server = Server::new(IngestLimits { decompressed_bytes_max: 12, ..IngestLimits::default() });
    let zstd = |plain: &str| {
        let body = zstd::encode_all(plain.as_bytes(), 1).unwrap();
        server.send(post("/api/v1/import/prometheus", &[("content-encoding", "zstd")], body))
    };
    assert_eq!(zstd("a 3456789012").await, taken());
    let want = "13 or more decompressed bytes is more than the limit decompressed_bytes_max of 12\n";
    assert_eq!(zstd("a 34567890123").await, answer(413, want));
}

#[tokio::test]
async fn limits_on_pages_are_exact() {
    let limits = IngestLimits { samples_per_request_max: 2, ..IngestLimits::default() };
    let server = Server::new(limits);
    assert_eq!(server.import("", "a 1\nb 2\n").await, taken());
    let want = "3 or more samples is more than the limit samples_per_request_max of 2\n";
    assert_eq!(server.import("", "a 1\nb 2\nc 3\n").await, answer(413, want));
    assert_eq!(server.sink.taken().len(), 2, "nothing of a refused page is taken");
}

#[tokio::test]
async fn other_methods_are_not_spoken() {
    let server = Server::new(IngestLimits::default());
    for path in Route::ALL.map(Route::path) {
        let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(server.send(request).await.status, 405, "{path}");
    }
}

/// A body that stays open, and its sender.
fn open_body() -> (Sender<Bytes>, Body) {
    let (sender, body) = Channel::<Bytes>::new(1);
    (sender, Body::new(body))
}

/// Gives other tasks their turn until `holds`.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came true: {what}");
}

#[tokio::test]
async fn a_slow_sender_is_let_go() {
    let server = Server::new(IngestLimits { body_read_ms_max: 20, ..IngestLimits::default() });
    let (_sender, body) = open_body();
    let got = server.send(post("/api/v1/write", &[], body)).await;
    let told = "the body did not arrive within body_read_ms_max of 20 ms; try again in 5 s\n";
    assert_eq!(got, Answer { retry_after: Some("5".into()), ..answer(503, told) });
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Busy, 1)]);
}

#[tokio::test]
async fn a_full_house_asks_to_come_again() {
    let limits = IngestLimits {
        requests_in_flight_max: 2,
        requests_waiting_max: 1,
        retry_after_s: 7,
        ..IngestLimits::default()
    };
    let server = Server::new(limits);
    server.sink.close_gate(true);
    let waiting: Vec<_> = ["a 1", "b 1", "c 1"]
        .map(|page| tokio::spawn(send(server.router.clone(), post("/api/v1/import/prometheus", &[], page))))
        .into();
    until("three are let in", || server.metrics.snapshot().requests_in_flight == 3).await;
    let got = server.write(&request_of(&["d"])).await;
    assert_eq!((got.status, got.retry_after.as_deref()), (503, Some("7")));
    assert_eq!(
        got.body,
        "too much is under way: requests waiting are at the limit requests_waiting_max of 1; try again in 7 s\n"
    );
    server.sink.close_gate(false);
    for task in waiting {
        assert_eq!(task.await.unwrap(), taken());
    }
    assert_eq!(server.write(&request_of(&["d"])).await, taken());
    assert_eq!(server.sink.taken().len(), 4);
    check_counted(&server, Route::RemoteWrite, &[(Outcome::Busy, 1), (Outcome::Taken, 1)]);
    check_counted(&server, Route::TextImport, &[(Outcome::Taken, 3)]);
}

#[tokio::test]
async fn bytes_under_way_are_bounded() {
    let limits = IngestLimits {
        body_bytes_max: 8 << 10,
        decompressed_bytes_max: 8 << 10,
        bytes_in_flight_max: 16 << 10,
        ..IngestLimits::default()
    };
    let server = Server::new(limits);
    let (mut sender, body) = open_body();
    let held = tokio::spawn(send(server.router.clone(), post("/api/v1/import/prometheus", &[], body)));
    sender.send_data(Bytes::from(vec![b'\n'; 6 << 10])).await.unwrap();
    until("the piece was read", || sender.capacity() > 0).await;
    let page = "\n".repeat(6 << 10);
    let got = server.import("", &page).await;
    assert_eq!(got.status, 503, "{got:?}");
    assert!(got.body.contains("bytes_in_flight_max of 16384"), "{got:?}");
    drop(sender);
    assert_eq!(held.await.unwrap(), taken());
    assert_eq!(server.import("", &page).await, taken());
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing() {
    let limits = IngestLimits { requests_in_flight_max: 1, requests_waiting_max: 0, ..IngestLimits::default() };
    let server = Server::new(limits);
    for round in 1..=3 {
        let (mut sender, body) = open_body();
        let task = tokio::spawn(send(server.router.clone(), post("/api/v1/import/prometheus", &[], body)));
        sender.send_data(Bytes::from("a 1")).await.unwrap();
        until("it is let in", || server.metrics.snapshot().requests_in_flight == 1).await;
        assert_eq!(server.import("", "b 1").await.status, 503);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(server.import("", "c 1").await, taken());
        check_counted(
            &server,
            Route::TextImport,
            &[(Outcome::Abandoned, round), (Outcome::Busy, round), (Outcome::Taken, round)],
        );
    }
    assert_eq!(server.sink.taken().len(), 3);
}

#[tokio::test]
async fn work_that_has_begun_is_finished_without_its_sender() {
    let limits = IngestLimits { requests_in_flight_max: 1, requests_waiting_max: 0, ..IngestLimits::default() };
    let server = Server::new(limits);
    server.sink.close_gate(true);
    let task = tokio::spawn(send(server.router.clone(), post("/api/v1/import/prometheus", &[], "a 1")));
    until("its body was read", || server.metrics.snapshot().routes[Route::TextImport as usize].body_bytes == 3).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(server.import("", "b 1").await.status, 503, "the turn is held until the work is done");
    server.sink.close_gate(false);
    until("the sample is kept", || server.metrics.snapshot().routes[Route::TextImport as usize].samples == 1).await;
    assert_eq!(server.sink.taken(), [format!("a 1 @{NOW_MS}")]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken() {
    let server = Server::new(IngestLimits::default());
    let (sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    sender.abort(std::io::Error::other("reset"));
    let got = server.send(post("/api/v1/import/prometheus", &[], Body::new(body))).await;
    assert_eq!(got, answer(400, "the body ended early: reset\n"));
    check_counted(&server, Route::TextImport, &[(Outcome::Abandoned, 1)]);
}

#[tokio::test]
async fn exemplars_of_openmetrics_pages_are_taken() {
    let server = Server::new(IngestLimits::default());
    let page = "a_total 1 2 # {trace_id=\"abc\"} 0.5 1.25\na_total 2 3 # {x=\"y\"} 7\n\
                a_total 3 4 # {x=\"y\"\na_total 4 5 # {b=\"LONG\"} 1\na_total 5 6 # {} 8\n# EOF\n";
    let page = page.replace("LONG", &"x".repeat(128));
    let openmetrics = [("content-type", "application/openmetrics-text")];
    let got = server.send(post("/api/v1/import/prometheus", &openmetrics, page)).await;
    assert_eq!(got, taken());
    let want = [
        "a_total 1 @2000",
        "a_total exemplar {trace_id=\"abc\"} 0.5 @1250",
        "a_total 2 @3000",
        "a_total exemplar {x=\"y\"} 7 @3000",
        "a_total 3 @4000",
        "a_total 4 @5000",
        "a_total 5 @6000",
        "a_total exemplar {} 8 @6000",
    ];
    assert_eq!(server.sink.taken(), want);
    let snapshot = server.metrics.snapshot();
    assert_eq!(snapshot.routes[Route::TextImport as usize].exemplars, 3);
    assert_eq!(snapshot.rejected[Reason::Exemplar as usize], 2);
}
