//! Alertmanager's API: what is taken of whom, and how much of it.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    server.call(request.body(Body::from(body.to_string())).expect("a request")).await
}

async fn names(server: &Server) -> Vec<String> {
    let all = server.get("/api/v2/alerts").await.json();
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().expect("a name").to_owned();
    all.as_array().expect("a list").iter().map(name).collect()
}

#[tokio::test]
async fn alerts_are_taken_of_programs_alone() {
    let server = Server::new();
    let of = |name: &str| json!([{ "labels": { "alertname": name } }]);
    let path = "/api/v2/alerts";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json"] {
        let answer = post(&server, path, &[("content-type", kind)], &of("Form")).await;
        assert_eq!(answer.status, 415, "{kind}: {}", answer.body);
    }
    assert_eq!(post(&server, path, &[], &of("Blob")).await.status, 415);
    for (origin, host) in [("http://evil.example", "127.0.0.1:9595"), ("null", "127.0.0.1:9595"), ("http://e:1", "e:1")]
    {
        let answer = post(&server, path, &[JSON, ("origin", origin), ("host", host)], &of("Page")).await;
        assert_eq!(answer.status, 403, "{origin}: {}", answer.body);
    }
    assert_eq!(names(&server).await, [""; 0]);
    let own = [JSON, ("origin", "http://127.0.0.1:9595"), ("host", "127.0.0.1:9595")];
    assert_eq!(post(&server, path, &own, &of("Own")).await.status, 200);
    let program = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(post(&server, path, &program, &of("Program")).await.status, 200);
    assert_eq!(names(&server).await, ["Own", "Program"]);
}

#[tokio::test]
async fn what_is_posted_is_bounded() {
    let server = Server::new();
    let path = "/api/v2/alerts";
    let announced = post(&server, path, &[JSON, ("content-length", "16777217")], &json!([])).await;
    assert_eq!(announced.status, 413, "{}", announced.body);
    let many = Value::from(vec![json!({ "labels": {} }); 20_001]);
    let answer = post(&server, path, &[JSON], &many).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("20000 alerts are allowed"), "{}", answer.body);
    // A body that is longer than it was said to be has no place.
    let longer = post(&server, path, &[JSON, ("content-length", "2")], &json!([{ "labels": { "a": "b" } }])).await;
    assert_eq!(longer.status, 400, "{}", longer.body);
}
