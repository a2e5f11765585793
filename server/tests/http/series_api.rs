//! The calls that list what there is: series, label names, label values, metadata.

use crate::support::{Server, block_on};
use model::MetricKind;
use server::ServerOptions;

fn filled() -> Server {
    let server = Server::new();
    server.write(&[("__name__", "up"), ("job", "a")], &[(0, 1.0)]);
    server.write(&[("__name__", "up"), ("job", "b")], &[(0, 1.0)]);
    server.write(&[("__name__", "down"), ("http.method", "GET")], &[(864_000_000, 1.0)]);
    server.describe("up", MetricKind::Gauge, "", "Whether \"it\" is up.");
    server.describe("down", MetricKind::Counter, "seconds", "");
    server
}

fn data(text: &str) -> String {
    format!(r#"{{"status":"success","data":{text}}}"#)
}

#[test]
fn series() {
    let server = filled();
    let up = r#"[{"__name__":"up","job":"a"},{"__name__":"up","job":"b"}]"#;
    server.check("/api/v1/series?match[]=up", &data(up));
    server.check("/api/v1/series?match%5B%5D=up&match[]=%7Bjob=%22a%22%7D", &data(up));
    server.check("/api/v1/series?match[]=nothing", &data("[]"));
    server.check("/api/v1/series?match[]=up&start=800000&end=900000", &data("[]"));
    server.check(
        "/api/v1/series?match[]=up&limit=1",
        r#"{"status":"success","data":[{"__name__":"up","job":"a"}],"warnings":["results truncated due to limit"]}"#,
    );
    server.check("/api/v1/series?match[]=up&limit=2", &data(up));
    let post = block_on(server.post("/api/v1/series", "match[]=up"));
    assert_eq!(post.body, data(up));
}

#[test]
fn series_errors() {
    let server = filled();
    let bad = |path: &str, message: &str| server.check_error(path, 400, "bad_data", message);
    bad("/api/v1/series", "no match[] parameter provided");
    for nothing in ["%7B%7D", "%7Bjob=~%22.*%22%7D", "%7Bjob!=%22x%22%7D"] {
        let answer = block_on(server.get(&format!("/api/v1/series?match[]={nothing}")));
        assert_eq!((answer.status, &answer.json()["errorType"]), (400, &"bad_data".into()));
        assert!(answer.body.contains(r#"invalid parameter \"match[]\": 1:1: parse error"#), "{}", answer.body);
        assert!(answer.body.contains("at least one non-empty matcher"), "{}", answer.body);
    }
    bad(
        "/api/v1/series?match[]=up&start=2&end=1",
        r#"invalid parameter "end": end timestamp must not be before start time"#,
    );
    let answer = block_on(server.get("/api/v1/series?match[]=%7B"));
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(r#"invalid parameter \"match[]\": 1:"#), "{}", answer.body);
}

#[test]
fn labels() {
    let server = filled();
    server.check("/api/v1/labels", &data(r#"["__name__","http.method","job"]"#));
    server.check("/api/v1/labels?match[]=up", &data(r#"["__name__","job"]"#));
    server.check("/api/v1/labels?match[]=nothing", &data("[]"));
    server.check("/api/v1/labels?match[]=up&match[]=down", &data(r#"["__name__","http.method","job"]"#));
    let post = block_on(server.post("/api/v1/labels", "limit=1"));
    assert_eq!(post.body, r#"{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}"#);
}

#[test]
fn label_values() {
    let server = filled();
    server.check("/api/v1/label/job/values", &data(r#"["a","b"]"#));
    server.check("/api/v1/label/__name__/values", &data(r#"["down","up"]"#));
    server.check("/api/v1/label/nothing/values", &data("[]"));
    server.check("/api/v1/label/U__http_2e_method/values", &data(r#"["GET"]"#));
    server.check("/api/v1/label/http.method/values", &data(r#"["GET"]"#));
    server.check("/api/v1/label/job/values?match[]=%7Bjob=%22b%22%7D", &data(r#"["b"]"#));
    server.check(
        "/api/v1/label/job/values?limit=1",
        r#"{"status":"success","data":["a"],"warnings":["results truncated due to limit"]}"#,
    );
    server.check_error(
        "/api/v1/label/U__/values",
        400,
        "bad_data",
        r#"invalid parameter "name": a label name has at least one character"#,
    );
    let answer = block_on(server.get("/api/v1/label/%ff/values"));
    assert_eq!((answer.status, &answer.json()["errorType"]), (400, &"bad_data".into()));
}

#[test]
fn metadata() {
    let server = filled();
    let down = r#""down":[{"type":"counter","help":"","unit":"seconds"}]"#;
    let up = r#""up":[{"type":"gauge","help":"Whether \"it\" is up.","unit":""}]"#;
    server.check("/api/v1/metadata", &data(&format!("{{{down},{up}}}")));
    server.check("/api/v1/metadata?limit=1&limit_per_metric=1", &data(&format!("{{{down}}}")));
    server.check("/api/v1/metadata?metric=up", &data(&format!("{{{up}}}")));
    server.check("/api/v1/metadata?metric=nothing", &data("{}"));
    server.check_error(
        "/api/v1/metadata?limit_per_metric=-1",
        400,
        "bad_data",
        r#"invalid parameter "limit_per_metric": cannot parse "-1" to a number that is not negative"#,
    );
}

/// The server's own bound holds where a request names none or a larger one.
#[test]
fn listings_are_bounded() {
    let server = Server::with(ServerOptions { listed_max: 1, ..ServerOptions::default() }, None);
    server.write(&[("__name__", "up"), ("job", "a")], &[(0, 1.0)]);
    server.write(&[("__name__", "up"), ("job", "b")], &[(0, 1.0)]);
    for path in ["/api/v1/label/job/values?limit=5", "/api/v1/labels", "/api/v1/series?match[]=up"] {
        let answer = block_on(server.get(path)).json();
        assert_eq!(answer["data"].as_array().unwrap().len(), 1, "{path}");
        assert_eq!(answer["warnings"][0], "results truncated due to limit", "{path}");
    }
}
