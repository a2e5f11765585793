//! Every protocol in, PromQL out, over the real binary.

#![expect(clippy::cast_precision_loss, reason = "values are small numbers")]

mod support;

use model::remote_write::{Metadata, kind_number};
use serde_json::{Value, json};
use support::{REMOTE_WRITE_HEADERS, Server, body, escape, now_ms, request, series};

fn server(folder: &tempfile::TempDir) -> Server {
    Server::start(folder.path(), &["--retention", "off"])
}

#[test]
fn remote_write_in_promql_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let samples: Vec<(i64, f64)> = (0..61).map(|at| (at * 10_000, at as f64 * 20.0)).collect();
    let mut written = request(vec![
        series(&[("__name__", "requests_total"), ("job", "a")], &samples),
        series(&[("__name__", "requests_total"), ("job", "b")], &samples[..31]),
    ]);
    written.metadata.push(Metadata {
        kind: kind_number(model::MetricKind::Counter),
        metric_family_name: "requests_total".into(),
        help: "Requests served.".into(),
        unit: String::new(),
    });
    assert_eq!(server.write(&written).status, 204);

    // Visible at once, and after a restart the same.
    let check = |server: &Server| {
        let vector = server.query("sum by (job) (rate(requests_total[1m]))", "300");
        assert_eq!(vector.as_array().map(Vec::len), Some(2), "{vector}");
        assert_eq!(
            server.query("rate(requests_total{job=\"a\"}[1m])", "600"),
            json!([{"metric": {"job": "a"}, "value": [600, "2"]}])
        );
        let answer =
            server.get("/api/v1/query_range?query=requests_total%7Bjob%3D%22b%22%7D&start=290&end=310&step=10");
        assert_eq!(
            answer.json(),
            json!({"status": "success", "data": {"resultType": "matrix", "result": [
                {"metric": {"__name__": "requests_total", "job": "b"}, "values": [[290, "580"], [300, "600"], [310, "600"]]}
            ]}})
        );
        let labels = server.get("/api/v1/label/job/values").json();
        assert_eq!(labels["data"], json!(["a", "b"]));
        let metadata = server.get("/api/v1/metadata?metric=requests_total").json();
        assert_eq!(
            metadata["data"],
            json!({"requests_total": [{"type": "counter", "unit": "", "help": "Requests served."}]})
        );
    };
    check(&server);
    let (status, _) = server.stop();
    assert!(status.success());
    check(&Server::start(folder.path(), &["--retention", "off"]));
}

#[test]
fn text_in_every_compression() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let page = "# HELP t_total Things.\n# TYPE t_total counter\nt_total{way=\"WAY\"} 7 5000\n";
    let import = |way: &str, encoding: Option<&str>, compress: &dyn Fn(&[u8]) -> Vec<u8>| {
        let text = page.replace("WAY", way);
        let mut headers = vec![("Content-Type", "text/plain; version=0.0.4")];
        headers.extend(encoding.map(|encoding| ("Content-Encoding", encoding)));
        let answer = server.post("/api/v1/import/prometheus", &headers, &compress(text.as_bytes()));
        assert_eq!(answer.status, 204, "{way}: {}", answer.body);
    };
    import("plain", None, &<[u8]>::to_vec);
    import("gzip", Some("gzip"), &gzip);
    let open_metrics = "# TYPE t counter\nt_total{way=\"open\"} 7 5.0\n# EOF\n";
    let headers = [("Content-Type", "application/openmetrics-text; version=1.0.0")];
    let answer = server.post("/api/v1/import/prometheus?extra_label=from%3Dhere", &headers, open_metrics.as_bytes());
    assert_eq!(answer.status, 204, "{}", answer.body);
    let got = server.query("count by (way, from) (t_total == 7)", "5");
    let mut ways: Vec<String> = got.as_array().expect("a vector").iter().map(|e| e["metric"].to_string()).collect();
    ways.sort();
    assert_eq!(ways, [r#"{"from":"here","way":"open"}"#, r#"{"way":"gzip"}"#, r#"{"way":"plain"}"#]);
}

/// gzip by the system's own program, so that the decoder meets bytes that our library did not write.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip runs");
    child.stdin.take().expect("stdin is piped").write_all(bytes).expect("gzip reads");
    child.wait_with_output().expect("gzip ends").stdout
}

#[test]
fn any_time_in_any_order_when_retention_is_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let now_s = now_ms() / 1000;
    for (at, ms) in
        [now_ms(), 0, -5_000, 86_400_000 * 400, now_s * 1000 - 3_600_000, 1, -86_400_000 * 365].into_iter().enumerate()
    {
        let one = request(vec![series(&[("__name__", "any")], &[(ms, at as f64)])]);
        let answer = server.write(&one);
        assert_eq!(answer.status, 204, "{ms}: {}", answer.body);
        let seconds = format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
        let time = if ms < 0 { format!("{}", ms / 1000) } else { seconds };
        let got = server.query("any", &time);
        assert_eq!(got[0]["value"][1], json!(at.to_string()), "at {ms} ms");
    }
    let all = server.query("count_over_time(any[100y])", &now_s.saturating_add(10).to_string());
    assert_eq!(all[0]["value"][1], json!("7"));
}

#[test]
fn the_last_value_acknowledged_wins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = server(&folder);
    for value in [1.0, 2.0, f64::NAN, 3.0] {
        assert_eq!(first.write(&request(vec![series(&[("__name__", "x")], &[(1000, value)])])).status, 204);
    }
    assert_eq!(first.query("x[1m]", "10"), json!([{"metric": {"__name__": "x"}, "values": [[1, "3"]]}]));
    first.kill();
    let again = server(&folder);
    assert_eq!(again.query("x[1m]", "10"), json!([{"metric": {"__name__": "x"}, "values": [[1, "3"]]}]));
}

#[test]
fn staleness_survives_storage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = server(&folder);
    let marker = f64::from_bits(0x7ff0_0000_0000_0002);
    let written = request(vec![
        series(&[("__name__", "gone")], &[(1000, 1.0), (2000, marker)]),
        series(&[("__name__", "no_number")], &[(1000, 1.0), (2000, f64::NAN)]),
    ]);
    assert_eq!(first.write(&written).status, 204);
    assert!(first.stop().0.success());
    let again = server(&folder);
    assert_eq!(again.query("gone", "3"), json!([]));
    assert_eq!(again.query("no_number", "3")[0]["value"][1], json!("NaN"));
}

#[test]
fn errors_name_the_parameter_the_value_and_the_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let check = |path: &str, status: u16, kind: &str, words: &[&str]| {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let error: Value = answer.json();
        assert_eq!((&error["status"], &error["errorType"]), (&json!("error"), &json!(kind)), "{path}");
        for word in words {
            assert!(error["error"].as_str().is_some_and(|text| text.contains(word)), "{path}: {word:?} in {error}");
        }
    };
    let query = |expr: &str| format!("/api/v1/query?query={}", escape(expr));
    check(&query("1 +"), 400, "bad_data", &["invalid parameter \"query\"", "parse error"]);
    check(&query("Rate(x[1m])"), 400, "bad_data", &["Rate"]);
    check(&query("sum(x[5m])"), 400, "bad_data", &["instant vector"]);
    check("/api/v1/query", 400, "bad_data", &["query"]);
    check("/api/v1/query?query=x&time=soon", 400, "bad_data", &["time", "soon"]);
    check("/api/v1/query_range?query=x&start=0&end=1e6&step=1", 400, "bad_data", &["11,000"]);
    check("/api/v1/query_range?query=x&start=0&end=10&step=0", 400, "bad_data", &["step"]);
    check("/api/v1/query_range?query=x&start=10&end=0&step=1", 400, "bad_data", &["end"]);
    check("/api/v1/series", 400, "bad_data", &["match[]"]);
    check("/api/v1/series?match[]=%7B%7D", 400, "bad_data", &["match[]"]);
    check("/nowhere", 404, "not_found", &["/nowhere"]);
    let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    check(&query(&deep), 400, "bad_data", &["deep"]);
    let deep = "(".repeat(200_000);
    let form = format!("query={}", escape(&deep));
    let answer =
        server.post("/api/v1/query", &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(server.get("/-/healthy").status, 200);
}

#[test]
fn own_metrics_are_readable_by_ourselves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    assert_eq!(server.write(&request(vec![series(&[("__name__", "x")], &[(1000, 1.0)])])).status, 204);
    let page = server.get("/metrics");
    assert_eq!(page.status, 200);
    let answer = server.post("/api/v1/import/prometheus", &[("Content-Type", "text/plain")], page.body.as_bytes());
    assert_eq!(answer.status, 204, "our own page must be readable: {}", answer.body);
    let names = server.get("/api/v1/label/__name__/values").json();
    let own = names["data"]
        .as_array()
        .expect("names")
        .iter()
        .filter(|n| n.as_str().is_some_and(|n| n.starts_with("metrickit_")))
        .count();
    assert!(own >= 10, "only {own} metrics of our own");
}

#[test]
fn garbage_of_every_kind_is_refused_and_nothing_else_happens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(5_000).collect();
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).expect("compresses");
    // A snappy preamble that declares 4 GiB - 1.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    // A protobuf field that declares 2^60 bytes.
    let long_field = snappy(&[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let whole = body(&request(vec![series(&[("__name__", "x")], &[(1, 1.0)])]));
    let cases: [(&str, &[u8]); 6] = [
        ("noise", &noise),
        ("noise in snappy", &snappy(&noise)),
        ("huge length", &huge),
        ("long field", &long_field),
        ("cut", &whole[..whole.len() - 3]),
        ("no snappy", b"hello"),
    ];
    for (what, bytes) in cases {
        let answer = server.post("/api/v1/write", &REMOTE_WRITE_HEADERS, bytes);
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.body);
        assert!(answer.body.len() > 10, "{what}: an error says what is wrong, not {:?}", answer.body);
    }
    let answer = server.post("/api/v1/import/prometheus", &[("Content-Type", "text/plain")], &noise);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(server.get("/api/v1/label/__name__/values").json()["data"], json!([]));
    assert_eq!(server.write(&request(vec![series(&[("__name__", "x")], &[(1, 1.0)])])).status, 204);
}
