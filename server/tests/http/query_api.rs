//! The two query calls, byte for byte: results, parameters, errors.

use model::{Bucket, Histogram};
use server::ServerOptions;

use crate::fixed::Fixed;
use crate::support::{Server, block_on, escape};

fn filled() -> Server {
    let server = Server::new();
    server.write(&[("__name__", "up"), ("job", "a")], &[(0, 1.0), (10_000, 0.5), (20_500, f64::INFINITY)]);
    server.write(&[("__name__", "up"), ("job", "b\"\n")], &[(0, 2.0), (10_000, -0.0)]);
    server.write(&[("__name__", "old")], &[(-60_000, 1e21), (-50_000, 1e-7)]);
    server
}

fn query(expr: &str, more: &str) -> String {
    format!("/api/v1/query?query={}{more}", escape(expr))
}

fn range(expr: &str, more: &str) -> String {
    format!("/api/v1/query_range?query={}{more}", escape(expr))
}

#[test]
fn instant_results() {
    let server = filled();
    server.check(
        &query("up", "&time=10"),
        concat!(
            r#"{"status":"success","data":{"resultType":"vector","result":["#,
            r#"{"metric":{"__name__":"up","job":"a"},"value":[10,"0.5"]},"#,
            r#"{"metric":{"__name__":"up","job":"b\"\n"},"value":[10,"-0"]}]}}"#
        ),
    );
    server.check(&query("nothing", ""), r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
    server.check(
        &query("1/3", "&time=1435781451.781"),
        r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"0.3333333333333333"]}}"#,
    );
    server.check(
        &query("\"a\\\"é\"", "&time=-0.5"),
        r#"{"status":"success","data":{"resultType":"string","result":[-0.5,"a\"é"]}}"#,
    );
    server.check(
        &query("up{job=\"a\"}[1m]", "&time=20.5"),
        concat!(
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"#,
            r#""values":[[0,"1"],[10,"0.5"],[20.500,"+Inf"]]}]}}"#
        ),
    );
}

#[test]
fn times_before_1970_and_at_the_ends() {
    let server = filled();
    let old = |time: &str| query("old", &format!("&time={time}"));
    let element = |value: &str| {
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":\
             {{\"__name__\":\"old\"}},\"value\":{value}}}]}}}}"
        )
    };
    server.check(&old("-60"), &element(r#"[-60,"1e+21"]"#));
    server.check(&old("1969-12-31T23:59:10Z"), &element(r#"[-50,"1e-07"]"#));
    for time in ["9223372036854775.807", "-9223372036854775.808"] {
        let want = format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[{time},"1"]}}}}"#);
        server.check(&query("1", &format!("&time={time}")), &want);
    }
}

#[test]
fn the_clock_is_the_default_time() {
    let want = r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"1435781451.781"]}}"#;
    Server::new().check(&query("time()", ""), want);
}

#[test]
fn range_results() {
    let server = filled();
    server.check(
        &range("up{job=\"a\"}", "&start=0&end=20&step=10"),
        concat!(
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"#,
            r#""values":[[0,"1"],[10,"0.5"],[20,"0.5"]]}]}}"#
        ),
    );
    server.check(
        &range("3", "&start=-0.5&end=0.5&step=500ms"),
        concat!(
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"#,
            r#""values":[[-0.500,"3"],[0,"3"],[0.500,"3"]]}]}}"#
        ),
    );
    let nothing = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    server.check(&range("up", "&start=5000&end=6000&step=1m"), nothing);
    let post = block_on(server.post("/api/v1/query_range", "query=vector(1)&start=0&end=0&step=1"));
    assert!(post.body.contains(r#""values":[[0,"1"]]"#), "{}", post.body);
}

#[test]
fn eleven_thousand_steps_and_no_more() {
    let server = Server::new();
    let answer = block_on(server.get(&range("1", "&start=0&end=11000&step=1")));
    assert_eq!(answer.json()["data"]["result"][0]["values"].as_array().unwrap().len(), 11_001);
    server.check_error(
        &range("1", "&start=0&end=11001&step=1"),
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. \
         Try decreasing the query resolution (?step=XX)",
    );
}

#[test]
fn options_of_a_query() {
    let server = filled();
    let answer = block_on(server.get(&query("up", "&time=10&limit=1"))).json();
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"], serde_json::json!(["results truncated due to limit"]));
    let answer = block_on(server.get(&query("up", "&time=10&limit=2"))).json();
    assert_eq!((answer["data"]["result"].as_array().unwrap().len(), answer.get("warnings")), (2, None));

    let found = |more: &str| {
        block_on(server.get(&query("up{job=\"a\"}", more))).json()["data"]["result"].as_array().unwrap().len()
    };
    assert_eq!(found("&time=60"), 1);
    assert_eq!(found("&time=60&lookback_delta=30s"), 0);
    assert_eq!(found("&time=60&lookback_delta=40"), 1);

    let answer = block_on(server.get(&query("up", "&time=10&stats=all"))).json();
    let stats = &answer["data"]["stats"];
    assert!(stats["timings"]["execTotalTime"].is_f64(), "{stats}");
    assert!(stats["samples"]["totalQueryableSamples"].as_u64().is_some_and(|samples| samples >= 2), "{stats}");
}

/// What each part of a query took stands beside its result when it is asked for.
#[test]
fn explained_queries() {
    let server = filled();
    let explained = |more: &str| block_on(server.get(&query("sum(up) * 2", &format!("&time=10{more}")))).json();
    for more in ["", "&explain=false", "&explain=0", "&explain="] {
        assert_eq!(explained(more)["data"].get("explain"), None, "{more}");
    }
    let answer = explained("&explain=true&stats=all");
    assert_eq!(answer["data"]["result"][0]["value"][1], "1");
    assert!(answer["data"]["stats"].is_object(), "{answer}");
    let root = &answer["data"]["explain"];
    assert_eq!(root["position"], serde_json::json!([0, 11]));
    let sum = &root["children"][0];
    assert_eq!((&sum["position"], &sum["series"]), (&serde_json::json!([0, 7]), &1.into()), "{root}");
    let selector = &sum["children"][0];
    assert_eq!((&selector["node"], &selector["series"]), (&"up".into(), &2.into()), "{root}");
    assert!(selector["samples"].as_u64().is_some_and(|samples| samples >= 2), "{root}");
    assert!(root["timeUs"].as_u64() >= selector["timeUs"].as_u64(), "{root}");
}

/// Native histograms beside floats, with their buckets.
#[test]
fn histogram_results() {
    let histogram = |count: f64| Histogram {
        count,
        sum: 0.5 * count,
        positive: vec![Bucket { index: 0, count }],
        ..Histogram::default()
    };
    let source =
        Fixed::default().with(&[("__name__", "h")], &[(20_000, 7.0)], &[(0, histogram(1.0)), (10_000, histogram(2.0))]);
    let server = Server::with(ServerOptions::default(), Some(source.source()));
    let told =
        |count: u8, sum: &str| format!(r#"{{"count":"{count}","sum":"{sum}","buckets":[[0,"0.5","1","{count}"]]}}"#);
    let result = |result_type: &str, rest: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"{result_type}","result":[{{"metric":{{"__name__":"h"}},{rest}}}]}}}}"#
        )
    };
    server.check(&query("h", "&time=5"), &result("vector", &format!(r#""histogram":[5,{}]"#, told(1, "0.5"))));
    let histograms = format!(r#""histograms":[[0,{}],[10,{}]]"#, told(1, "0.5"), told(2, "1"));
    server.check(&range("h", "&start=0&end=10&step=10"), &result("matrix", &histograms));
    let both = format!(r#""values":[[20,"7"]],{histograms}"#);
    server.check(&range("h", "&start=0&end=20&step=10"), &result("matrix", &both));
    server.check(&query("h[1m]", "&time=20"), &result("matrix", &both));
}

#[test]
fn annotations_come_along() {
    let server = filled();
    let answer = block_on(server.get(&query("quantile(2, up)", "&time=10"))).json();
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("PromQL warning: quantile value should be between 0 and 1, got 2"), "{warning}");
    let answer = block_on(server.get(&query("rate(up[1m])", "&time=10"))).json();
    assert!(answer["infos"][0].as_str().unwrap().starts_with("PromQL info: metric might not be a counter"), "{answer}");
}

#[test]
fn wrong_parameters() {
    let server = filled();
    let bad = |path: &str, message: &str| server.check_error(path, 400, "bad_data", message);
    bad("/api/v1/query", r#"invalid parameter "query": it is missing"#);
    bad("/api/v1/query?query=", r#"invalid parameter "query": it is missing"#);
    bad(&query("1", "&time=soon"), r#"invalid parameter "time": cannot parse "soon" to a valid timestamp"#);
    bad(&query("1", "&timeout=0"), r#"invalid parameter "timeout": it must be at least a millisecond"#);
    bad(&query("1", "&limit=x"), r#"invalid parameter "limit": cannot parse "x" to a number that is not negative"#);
    bad(&range("1", "&end=1&step=1"), r#"invalid parameter "start": it is missing"#);
    bad(&range("1", "&start=1&step=1"), r#"invalid parameter "end": it is missing"#);
    bad(&range("1", "&start=1&end=1"), r#"invalid parameter "step": it is missing"#);
    bad(
        &range("1", "&start=2&end=1&step=1"),
        r#"invalid parameter "end": end timestamp must not be before start time"#,
    );
    for step in ["0", "-1", "0s"] {
        bad(
            &range("1", &format!("&start=1&end=1&step={step}")),
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
             Try a positive integer",
        );
    }
}

#[test]
fn parse_and_evaluation_errors() {
    let server = filled();
    let answer = block_on(server.get(&query("up ++", "")));
    let error = answer.json();
    assert_eq!((answer.status, &error["errorType"]), (400, &"bad_data".into()));
    let message = error["error"].as_str().unwrap();
    assert!(message.starts_with("invalid parameter \"query\": 1:"), "{message}");
    assert!(message.contains("parse error:"), "{message}");

    let answer = block_on(server.get(&query("up + on() up", "&time=10")));
    assert_eq!((answer.status, &answer.json()["errorType"]), (422, &"execution".into()), "{}", answer.body);

    let range_of_string = block_on(server.get(&range("\"a\"", "&start=0&end=1&step=1")));
    assert_eq!(range_of_string.status, 400, "{}", range_of_string.body);
}

#[test]
fn limits_end_queries() {
    let mut options = ServerOptions::default();
    options.query.samples_max = 2;
    let server = Server::with(options, None);
    server.write(&[("__name__", "up")], &[(0, 1.0), (1, 1.0), (2, 1.0)]);
    let answer = block_on(server.get(&query("count_over_time(up[1m])", "&time=1")));
    assert_eq!((answer.status, &answer.json()["errorType"]), (422, &"execution".into()), "{}", answer.body);
    assert!(answer.body.contains("more than 2 samples"), "{}", answer.body);
}

/// An answer many pieces long reads back whole.
#[test]
fn long_answers() {
    let server = Server::new();
    let samples: Vec<(i64, f64)> =
        (0..1_000).map(|at| (at * 1_000, f64::from(i32::try_from(at).unwrap()) / 7.0)).collect();
    for job in 0..30 {
        server.write(&[("__name__", "x"), ("job", &job.to_string())], &samples);
    }
    let answer = block_on(server.get(&range("x", "&start=0&end=999&step=1")));
    assert!(answer.body.len() > 500_000);
    assert!(!answer.headers.contains_key("content-length"), "a long answer is streamed");
    let document = answer.json();
    let series = document["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 30);
    for one in series {
        let values = one["values"].as_array().unwrap();
        assert_eq!(values.len(), 1_000);
        assert_eq!(values[7], serde_json::json!([7, "1"]));
    }
}
