//! `POST /api/v1/import`: lines of JSON through the router.

#![expect(dead_code, reason = "the other write routes use the rest of what is common")]

mod common;

use ingest::{IngestLimits, Route};
use model::{MetricKind, MetricMetadata};

use common::{Answer, Server, post};

const PATH: &str = "/api/v1/import";

async fn send(server: &Server, path: &str, body: &str) -> Answer {
    server.send(post(path, &[], body.to_owned())).await
}

#[tokio::test]
async fn lines_are_taken() {
    let server = Server::new(IngestLimits::default());
    let lines = concat!(
        r#"{"metric":{"__name__":"metrickit_export"},"values":[],"timestamps":[],"begin":{"version":1}}"#,
        "\n\n",
        r#"{"metric":{"__name__":"a","job":"x"},"values":[1.5,2],"timestamps":[10,30],"starts":[40,5],"nans":[[20,null]],"#,
        r#""metadata":[{"metric":"a","type":"counter"}]}"#,
        "\r\n",
        r#"{"metric":{"__name__":"h"},"values":[],"timestamps":[],"histograms":[{"timestamp":7,"count":1,"zero_count":1}]}"#,
    );
    let answer = send(&server, &format!("{PATH}?extra_label=job=y&extra_label=env=z"), lines).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let taken = server.sink.taken();
    assert_eq!(taken.len(), 4, "{taken:?}");
    for want in ["a{env=\"z\", job=\"y\"} 1.5 @10", "a{env=\"z\", job=\"y\"} NaN @20"] {
        assert!(taken.iter().any(|sample| sample == want), "{want} in {taken:?}");
    }
    let counter = MetricMetadata { kind: MetricKind::Counter, ..MetricMetadata::default() };
    assert_eq!(server.sink.metadata(), [("a".to_owned(), counter)]);
    let counts = server.metrics.snapshot().routes[Route::LinesImport as usize];
    assert_eq!((counts.samples, counts.histograms), (4, 1));
}

#[tokio::test]
async fn bad_lines_are_told_and_the_others_taken() {
    let server = Server::new(IngestLimits::default());
    let lines = "{\"metric\":{\"a\":1}}\n{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[10]}\n\
                 {\"metric\":{\"b\":\"c\"},\"values\":[1,2],\"timestamps\":[1,2]}\n";
    let answer = send(&server, PATH, lines).await;
    let want = concat!(
        r#"{"status":"partial","samples_accepted":1,"samples_rejected":3,"errors":["#,
        r#""line 1, column 16: expected a text in double quotes, found \"1}}\"","line 3: no metric name"]}"#
    );
    assert_eq!((answer.status, answer.body.as_str()), (200, want));
    assert_eq!(send(&server, PATH, "x").await.status, 400);
    assert_eq!(send(&server, &format!("{PATH}?match=x"), "").await.status, 400);
    let answer = server.send(post(PATH, &[], b"a\n\xff".to_vec())).await;
    assert_eq!(answer.body, "line 2 of the body is not UTF-8, at byte 2 of the body\n");
}

#[tokio::test]
async fn limits_hold() {
    let limits =
        IngestLimits { samples_per_request_max: 2, histogram_bytes_per_request_max: 500, ..IngestLimits::default() };
    let server = Server::new(limits);
    let line = |values: &str, times: &str| {
        format!("{{\"metric\":{{\"__name__\":\"a\"}},\"values\":[{values}],\"timestamps\":[{times}]}}\n")
    };
    let answer = send(&server, PATH, &line("1,2,3", "1,2,3")).await;
    assert!(answer.status == 400 && answer.body.contains("more than 2 samples"), "{answer:?}");
    let answer = send(&server, PATH, &line("1,2", "1,2").repeat(2)).await;
    assert!(answer.status == 413 && answer.body.contains("samples_per_request_max"), "{answer:?}");
    let buckets: Vec<String> = (0..100).map(|at| format!("[{at},1]")).collect();
    let histogram = format!("{{\"timestamp\":1,\"count\":100,\"positive\":[{}]}}", buckets.join(","));
    let line = format!("{{\"metric\":{{\"__name__\":\"a\"}},\"histograms\":[{histogram}]}}");
    let answer = send(&server, PATH, &line).await;
    assert!(answer.status == 413 && answer.body.contains("histogram_bytes_per_request_max"), "{answer:?}");
}
