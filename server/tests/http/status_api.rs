//! What the server tells of itself: status calls, metrics, pages, and errors about paths.

use crate::support::{NOW_MS, Server, block_on};
use axum::http::{Method, Request};
use model::remote_write::{Label, TimeSeries, WireExemplar, WireSample, WriteRequest, to_wire};
use model::sample::STALE_NAN_BITS;
use model::{Bucket, Histogram, Samples, SeriesSource as _, TimeRange};
use prost::Message as _;
use server::ServerOptions;

#[test]
fn build_and_runtime() {
    let server = Server::new();
    let build = block_on(server.get("/api/v1/status/buildinfo")).json();
    assert_eq!(build["data"]["application"], "MetricKit");
    assert!(build["data"]["version"].as_str().unwrap().starts_with("3."), "clients decide by it: {build}");
    let runtime = block_on(server.get("/api/v1/status/runtimeinfo")).json();
    assert_eq!(runtime["data"]["startTime"], "2015-07-01T20:10:51.781Z");
}

#[test]
fn flags_tell_the_limits_in_force() {
    let settings = vec![("storage.tsdb.retention.time".to_owned(), "30d".to_owned())];
    let mut options = ServerOptions { queries_running_max: 3, settings, ..ServerOptions::default() };
    options.query.timeout_ms = 90_000;
    let server = Server::with(options, None);
    let flags = block_on(server.get("/api/v1/status/flags")).json();
    assert_eq!(flags["data"]["query.max-concurrency"], "3");
    assert_eq!(flags["data"]["query.timeout"], "1m30s");
    assert_eq!(flags["data"]["query.lookback-delta"], "5m");
    assert_eq!(flags["data"]["query.slow-log"], "10s");
    assert_eq!(flags["data"]["query.max-points"], "11000");
    assert_eq!(flags["data"]["storage.tsdb.retention.time"], "30d");
    let runtime = block_on(server.get("/api/v1/status/runtimeinfo")).json();
    assert_eq!(runtime["data"]["storageRetention"], "30d");
}

/// What has no counterpart here is answered with nothing of it, in the shape that clients expect.
#[test]
fn what_clients_ask_for_and_there_is_none_of() {
    let server = Server::new();
    let none = |path: &str, data: &str| server.check(path, &format!(r#"{{"status":"success","data":{data}}}"#));
    none("/api/v1/rules?type=alert", r#"{"groups":[]}"#);
    none("/api/v1/alerts", r#"{"alerts":[]}"#);
    none("/api/v1/alertmanagers", r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#);
    none("/api/v1/scrape_pools", r#"{"scrapePools":[]}"#);
    none("/api/v1/targets?state=any", r#"{"activeTargets":[],"droppedTargetCounts":{},"droppedTargets":[]}"#);
}

#[test]
fn the_configuration_is_yaml() {
    let settings = vec![("a.b".to_owned(), "30d".to_owned()), ("c".to_owned(), "x: \"y\"\n".to_owned())];
    let server = Server::with(ServerOptions { settings, ..ServerOptions::default() }, None);
    let config = block_on(server.get("/api/v1/status/config")).json();
    assert_eq!(config["data"]["yaml"], "\"a.b\": \"30d\"\n\"c\": \"x: \\\"y\\\"\\n\"\n");
}

#[test]
fn tsdb_tells_what_takes_the_most_series() {
    let server = Server::new();
    for job in ["a", "b", "c"] {
        server.write(&[("__name__", "up"), ("job", job)], &[(1_000, 1.0)]);
    }
    server.write(&[("__name__", "down"), ("job", "a")], &[(2_000, 1.0)]);
    let status = block_on(server.get("/api/v1/status/tsdb")).json();
    let data = &status["data"];
    assert_eq!(data["headStats"]["numSeries"], 4);
    assert_eq!(data["headStats"]["minTime"], 1_000);
    assert_eq!(data["headStats"]["maxTime"], 2_000);
    assert_eq!(data["seriesCountByMetricName"][0], serde_json::json!({ "name": "up", "value": 3 }));
    assert_eq!(data["labelValueCountByLabelName"][0], serde_json::json!({ "name": "job", "value": 3 }));
    let top = block_on(server.get("/api/v1/status/tsdb?limit=1")).json();
    assert_eq!(top["data"]["seriesCountByMetricName"].as_array().unwrap().len(), 1);
    server.check_error(
        "/api/v1/status/tsdb?limit=10001",
        400,
        "bad_data",
        r#"invalid parameter "limit": it must not exceed 10000"#,
    );
}

#[test]
fn cardinality_is_told_of_all_and_of_a_selection() {
    let server = Server::new();
    for (host, path) in [("a", "/1"), ("a:80", "/2"), ("b", "/3")] {
        server.write(&[("__name__", "hits"), ("instance", host), ("path", path)], &[(1_000, 1.0)]);
    }
    server.write(&[("__name__", "up"), ("instance", "a"), ("job", "x")], &[(1_000, 1.0)]);
    let all = block_on(server.get("/api/v1/status/cardinality")).json();
    let data = &all["data"];
    let group = |name: &str, series: u64| serde_json::json!({ "name": name, "series": series, "active": series, "created": series });
    assert_eq!(data["series"], serde_json::json!({ "all": 4, "selected": 4, "active": 4, "created": 4 }));
    assert_eq!(data["metrics"], serde_json::json!([group("hits", 3), group("up", 1)]));
    assert_eq!(data["agents"], serde_json::json!([group("a", 3), group("b", 1)]));
    assert_eq!(data["churn"]["metrics"], data["metrics"]);
    assert_eq!((&data["churn"]["created"], &data["churn"]["removed"]), (&4.into(), &0.into()));
    assert_eq!(
        data["limits"][1],
        serde_json::json!({
            "limit": "series_per_metric_max", "max": 1_000_000, "series": 3, "of": "hits", "full": 0, "rejectedSamples": 0,
        })
    );
    assert_eq!((&data["nowMs"], &data["knownFromMs"]), (&NOW_MS.into(), &(NOW_MS - NOW_MS % 60_000).into()));
    let some = block_on(server.get("/api/v1/status/cardinality?match[]=hits&match[]=none&top=1&window=1h")).json();
    let data = &some["data"];
    assert_eq!((&data["series"]["all"], &data["series"]["selected"]), (&4.into(), &3.into()));
    let label = |values: u64| serde_json::json!([{ "name": "instance", "values": values, "series": 3, "valueBytes": 6, "seriesWithout": 3 }]);
    assert_eq!((&data["labels"], &data["jobs"]), (&label(3), &serde_json::json!([])));
    assert_eq!(data["pairs"], serde_json::json!([{ "name": "instance", "value": "a", "series": 1 }]));
    let wrong = |parameters: &str, want: &str| {
        server.check_error(&format!("/api/v1/status/cardinality?{parameters}"), 400, "bad_data", want);
    };
    wrong("top=1001", r#"invalid parameter "top": it must not exceed 1000"#);
    wrong("window=0s", r#"invalid parameter "window": it must be at least a millisecond"#);
}

#[test]
fn what_is_kept_is_told() {
    let server = Server::new();
    for job in ["a", "b", "c"] {
        server.write(&[("__name__", "up"), ("job", job)], &[(1_000, 1.0)]);
    }
    server.engine.flush().expect("flushed");
    let all = block_on(server.get("/api/v1/status/retention")).json();
    assert_eq!((&all["data"]["series"], &all["data"]["rules"]), (&3.into(), &0.into()), "{all}");
    let some = block_on(server.get("/api/v1/status/retention?match[]=up%7Bjob!=%22a%22%7D")).json();
    let kept = &some["data"]["kept"][0];
    assert_eq!((&kept["series"], &kept["rule"], &kept["text"]), (&2.into(), &().into(), &"retention".into()), "{some}");
    assert_eq!((&kept["samples"]["heldFromMs"], &kept["samples"]["windowMs"]), (&1_000.into(), &0.into()), "{some}");
    assert!(kept["samples"]["aboutBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{some}");
    server.check_error(
        "/api/v1/status/retention?match[]=up&match[]=down",
        400,
        "bad_data",
        "one match[] at most; ask for each by itself",
    );
}

#[test]
fn metrics_tell_what_happened() {
    let server = Server::new();
    server.write(&[("__name__", "up")], &[(0, 1.0), (1_000, 1.0)]);
    block_on(async {
        server.get("/api/v1/query?query=up&time=1").await;
        server.get("/api/v1/query?query=").await;
        server.get("/api/v1/query?query=(").await;
        for (series, want) in [
            ("metrickit_samples_appended_total", 2.0),
            ("metrickit_series", 1.0),
            ("metrickit_queries_total{outcome=\"success\"}", 1.0),
            ("metrickit_queries_total{outcome=\"bad_data\"}", 1.0),
            ("metrickit_query_seconds_count", 2.0),
            ("metrickit_query_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("metrickit_http_requests_total{route=\"/api/v1/query\",status=\"200\"}", 1.0),
            ("metrickit_http_requests_total{route=\"/api/v1/query\",status=\"400\"}", 2.0),
        ] {
            assert_eq!(server.metric(series).await.to_bits(), f64::to_bits(want), "{series}");
        }
        assert!(server.metric("process_resident_memory_bytes").await > 0.0);
    });
}

/// Both formats can be read, and every family says what it is.
#[test]
fn metrics_in_both_formats() {
    let server = Server::new();
    let plain = block_on(server.get("/metrics"));
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let request = Request::get("/metrics").header("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let open = block_on(server.call(request.body(axum::body::Body::empty()).unwrap()));
    assert!(open.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    let helps = plain.body.lines().filter(|line| line.starts_with("# HELP ")).count();
    let types = plain.body.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert!(helps == types && types > 25, "{helps} helps, {types} types");
    let mut names: Vec<&str> =
        plain.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    names.sort_unstable();
    let twice: Vec<&[&str]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "families are there once: {twice:?}");
}

#[test]
fn the_manual_tells_of_every_metric() {
    let manual = include_str!("../../../docs/operations.md");
    let page = block_on(Server::new().get("/metrics")).body;
    // The names in the first column of its tables.
    let columns = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let told: Vec<&str> = columns.flat_map(|names| names.split(", ").map(|name| name.trim_matches('`'))).collect();
    let there: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    for (some, others) in [(&there, &told), (&told, &there)] {
        let missing: Vec<&&str> = some.iter().filter(|name| !others.contains(name)).collect();
        assert!(missing.is_empty(), "only /metrics or only docs/operations.md has {missing:?}");
    }
}

#[test]
fn pages() {
    let server = Server::new();
    for path in ["/-/healthy", "/-/ready"] {
        let answer = block_on(server.get(path));
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.starts_with("MetricKit is "), "{}", answer.body);
        assert_eq!(block_on(server.method(Method::HEAD, path)).status, 200);
    }
    let start = block_on(server.get("/"));
    assert!(start.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    // What the page links to exists.
    let links: Vec<&str> = start.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() > 8, "{links:?}");
    for link in links {
        assert!(!link.starts_with('/'), "{link} leads out of a prefix before the server");
        assert_eq!(block_on(server.browse(&format!("/{link}"))).status, 200, "{link}");
    }
}

#[test]
fn unknown_paths_and_wrong_methods() {
    let server = Server::new();
    let nothing = |path: &str| format!("there is nothing at {path:?}; / lists what there is");
    server.check_error("/nowhere?x=1", 404, "not_found", &nothing("/nowhere"));
    server.check_error("/api/v1/nowhere", 404, "not_found", &nothing("/api/v1/nowhere"));
    for (method, path) in [
        (Method::DELETE, "/api/v1/query"),
        (Method::POST, "/api/v1/label/job/values"),
        (Method::PUT, "/metrics"),
        (Method::GET, "/api/v1/write"),
    ] {
        let answer = block_on(server.method(method.clone(), path));
        assert_eq!(answer.status, 405, "{method} {path}");
        let want = format!("{path:?} does not take {method}");
        assert_eq!(answer.json()["error"], want.as_str());
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
    }
}

#[test]
fn what_is_written_over_http_is_read_over_http() {
    let server = Server::new();
    let request = Request::post("/api/v1/import/prometheus").header("content-type", "text/plain");
    let page = "# TYPE hits counter\nhits{path=\"/\"} 3 1000\n";
    let answer = block_on(server.call(request.body(axum::body::Body::from(page)).unwrap()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    server.check(
        "/api/v1/query?query=hits&time=1",
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"hits","path":"/"},"value":[1,"3"]}]}}"#,
    );
}

/// Histograms and exemplars pass remote write, the engine and the query API, before and after a flush.
#[test]
fn histograms_and_exemplars_are_read_as_they_were_written() {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let histogram = Histogram {
        schema: 1,
        count: 3.0,
        sum: 2.5,
        positive: vec![Bucket { index: 2, count: 3.0 }],
        ..Histogram::default()
    };
    let exemplar = WireExemplar { labels: vec![label("trace_id", "abc")], value: 0.5, timestamp: NOW_MS - 2_000 };
    let series = TimeSeries {
        labels: vec![label("__name__", "h")],
        histograms: vec![to_wire(&histogram, NOW_MS - 1_000, 0)],
        exemplars: vec![exemplar],
        ..TimeSeries::default()
    };
    let request = WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let server = Server::new();
    let answer = block_on(server.call(Request::post("/api/v1/write").body(axum::body::Body::from(body)).unwrap()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    for _ in 0..2 {
        server.check(
            "/api/v1/query?query=h",
            concat!(
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"h"},"#,
                r#""histogram":[1435781451.781,{"count":"3","sum":"2.5","buckets":[[0,"1.414213562373095","2","3"]]}]}]}}"#
            ),
        );
        server.check(
            "/api/v1/query_exemplars?query=rate(h%5B5m%5D)",
            concat!(
                r#"{"status":"success","data":[{"seriesLabels":{"__name__":"h"},"exemplars":["#,
                r#"{"labels":{"trace_id":"abc"},"value":"0.5","timestamp":1435781449.781}]}]}"#
            ),
        );
        server.engine.flush().unwrap();
    }
}

/// The bits of a stale marker, of other NaNs and of a subnormal pass the wire, the log, the head and blocks.
#[test]
fn bits_of_values_are_kept_from_remote_write_to_disk() {
    let values = [STALE_NAN_BITS, 0x7ff8_0000_0000_0001, 0xfff0_dead_beef_0001, 1].map(f64::from_bits);
    let label = Label { name: "__name__".into(), value: "x".into() };
    let sample = |(timestamp, value)| WireSample { value, timestamp, ..WireSample::default() };
    let samples = (0..).zip(values).map(sample).collect();
    let series = TimeSeries { labels: vec![label], samples, ..TimeSeries::default() };
    let request = WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let server = Server::new();
    let answer = block_on(server.call(Request::post("/api/v1/write").body(axum::body::Body::from(body)).unwrap()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    let check = |place: &str| {
        let selected = server.engine.select(&[], TimeRange::ALL, 10).unwrap();
        let mut samples = Samples::default();
        selected.read(0, &mut samples).unwrap();
        let bits: Vec<u64> = samples.values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, values.map(f64::to_bits), "in {place}");
    };
    check("the head");
    server.engine.flush().unwrap();
    check("a block");
    server.check("/api/v1/query?query=x&time=0", r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
}
