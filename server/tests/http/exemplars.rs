//! `/api/v1/query_exemplars`, byte for byte.

use server::ServerOptions;

use crate::fixed::Fixed;
use crate::support::{Server, block_on, escape};

fn filled() -> Server {
    let a: &[(&str, &str)] = &[("__name__", "hits"), ("job", "a")];
    let b: &[(&str, &str)] = &[("__name__", "hits"), ("job", "b")];
    let source = Fixed::default()
        .with_exemplar(a, "x1", 6.0, 1_600_096_945_479)
        .with_exemplar(a, "x2", f64::NAN, 1_600_096_946_000)
        .with_exemplar(b, "y\"", 0.1, 1_600_096_955_479)
        .with_exemplar(&[("__name__", "misses")], "z", 1.0, 1_600_096_955_000);
    Server::with(ServerOptions::default(), Some(source.source()))
}

const A: &str = concat!(
    r#"{"seriesLabels":{"__name__":"hits","job":"a"},"exemplars":["#,
    r#"{"labels":{"trace_id":"x1"},"value":"6","timestamp":1600096945.479},"#,
    r#"{"labels":{"trace_id":"x2"},"value":"NaN","timestamp":1600096946}]}"#
);
const B: &str = concat!(
    r#"{"seriesLabels":{"__name__":"hits","job":"b"},"exemplars":["#,
    r#"{"labels":{"trace_id":"y\""},"value":"0.1","timestamp":1600096955.479}]}"#
);
const MISSES: &str = concat!(
    r#"{"seriesLabels":{"__name__":"misses"},"exemplars":["#,
    r#"{"labels":{"trace_id":"z"},"value":"1","timestamp":1600096955}]}"#
);

fn data(series: &[&str]) -> String {
    format!(r#"{{"status":"success","data":[{}]}}"#, series.join(","))
}

#[test]
fn the_exemplars_of_every_selector() {
    let server = filled();
    let check = |query: &str, more: &str, want: &[&str]| {
        server.check(&format!("/api/v1/query_exemplars?query={}{more}", escape(query)), &data(want));
    };
    check("hits", "", &[A, B]);
    check("sum(rate(hits{job=\"b\"}[5m])) + 1", "", &[B]);
    check("hits{job=\"a\"} / on () misses", "", &[A, MISSES]);
    check("hits or hits{job=\"a\"}", "", &[A, B]);
    check("max_over_time((misses + 1)[5m:])", "", &[MISSES]);
    check("topk(scalar(misses), -(hits{job=\"b\"}))", "", &[B, MISSES]);
    check("info(misses, {})", "", &[MISSES]);
    check("time()", "", &[]);
    check("hits", "&start=1600096950&end=1600096960", &[B]);
    check("hits", "&start=1600096960", &[]);
    let post = block_on(server.post("/api/v1/query_exemplars", "query=misses"));
    assert_eq!(post.body, data(&[MISSES]));
}

#[test]
fn wrong_parameters_and_limits() {
    let server = filled();
    let bad = |more: &str, message: &str| {
        server.check_error(&format!("/api/v1/query_exemplars?{more}"), 400, "bad_data", message);
    };
    bad("", r#"invalid parameter "query": it is missing"#);
    bad("query=x&start=2&end=1", r#"invalid parameter "end": end timestamp must not be before start time"#);
    let answer = block_on(server.get("/api/v1/query_exemplars?query=%7B"));
    assert_eq!((answer.status, &answer.json()["errorType"]), (400, &"bad_data".into()));
    let answer = block_on(server.get("/api/v1/query_exemplars?query=hits&limit=1")).json();
    assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"][0], "results truncated due to limit");
}
