//! Alertmanager's API: what is taken of whom, and how much of it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use server::{AdminAccess, ServerOptions};

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

/// Lists of alerts count among the memory of queries until they are sent, and are whole however they are cut.
#[tokio::test]
async fn lists_of_alerts_are_bounded() {
    let resources = Arc::new(query::Resources::new(1 << 20, 0));
    let mut options = ServerOptions::default();
    // Of which rules have an eighth.
    options.query.resources = Arc::clone(&resources);
    let server = Server::with(options, None);
    let alert = |number: usize| {
        let labels = json!({ "alertname": "Many", "quarter": (number % 4).to_string(), "number": number.to_string() });
        json!({ "labels": labels, "annotations": { "text": "x".repeat(1000) } })
    };
    let all = Value::from((0..1000).map(alert).collect::<Vec<_>>());
    assert_eq!(post(&server, "/api/v2/alerts", &[JSON], &all).await.status, 200);
    for path in ["/api/v2/alerts", "/api/v2/alerts/groups", "/api/v1/alerting/alerts"] {
        let answer = server.get(path).await;
        let told = "more than 917504 bytes, the limit of all together (query_all_bytes_max)";
        assert!(answer.status == 503 && answer.body.contains(told), "{path}: {} {}", answer.status, answer.body);
        assert_eq!(resources.all_bytes(), 0, "{path}");
        let some = server.get(&format!("{path}?filter=quarter=1&matcher=quarter=1")).await;
        assert_eq!(some.status, 200, "{path}: {}", some.body);
        let some = some.json();
        let list = if some.is_array() { &some } else { &some["data"] };
        let groups: Vec<&Value> = list.as_array().expect("a list").iter().collect();
        let alerts = match groups[0].get("alerts") {
            Some(alerts) => {
                assert_eq!((groups.len(), &groups[0]["receiver"]["name"]), (1, &json!("nobody")));
                alerts.as_array().expect("alerts").len()
            }
            None => groups.len(),
        };
        assert_eq!((alerts, resources.all_bytes()), (250, 0), "{path}");
    }
}

/// What fires, for a browser; programs are sent to the API.
#[tokio::test]
async fn what_fires_is_a_page() {
    let server = Server::with(ServerOptions { admin: AdminAccess::On, ..ServerOptions::default() }, None);
    let nothing = server.browse("/alerts").await;
    assert!(
        nothing.status == 200 && nothing.body.contains(". Firing: 0, of them quiet: 0. Pending: 0."),
        "{}",
        nothing.body
    );
    let all = json!([
        {
            "labels": { "alertname": "Leak", "host": "<web1>" },
            "annotations": { "summary": "it leaks & leaks", "runbook_url": "https://books/leak" },
            "generatorURL": "http://here/graph?g0.expr=leak",
        },
        { "labels": { "alertname": "Full" }, "annotations": { "runbook_url": "javascript:alert(1)" } },
    ]);
    assert_eq!(post(&server, "/api/v2/alerts", &[JSON], &all).await.status, 200);
    let ends = "2100-01-01T00:00:00Z";
    let silenced =
        server.post("/api/v1/alerting/silences", &format!("matcher=alertname%3DFull&by=me&end={ends}")).await;
    assert_eq!(silenced.status, 200, "{}", silenced.body);
    let page = server.browse("/alerts").await;
    let text = &page.body;
    assert!(page.status == 200 && text.contains(". Firing: 2, of them quiet: 1. Pending: 0."), "{text}");
    for piece in [
        "<td><a href=\"https://books/leak\">Leak</a></td><td><a href=\"http://here/graph?g0.expr=leak\">fires</a></td>",
        "<td><code>host=&#34;&lt;web1&gt;&#34;</code></td><td>it leaks &amp; leaks</td>",
        "<td>Full</td><td>silenced</td>",
    ] {
        assert!(text.contains(piece), "{piece} in {text}");
    }
    assert!(text.find(">Leak<") < text.find(">Full<"), "what is quiet comes last: {text}");
    let sent_on = server.get("/alerts").await;
    assert_eq!((sent_on.status, sent_on.headers["location"].to_str().unwrap()), (307, "api/v1/alerts"));
}

#[tokio::test]
async fn silences_are_found_by_their_matchers() {
    let options = ServerOptions { admin: AdminAccess::On, ..ServerOptions::default() };
    let server = Server::with(options, None);
    let matcher = |name: &str, value: &str, is_regex: bool, is_equal: bool| json!({ "name": name, "value": value, "isRegex": is_regex, "isEqual": is_equal });
    for (comment, matchers) in [
        ("slow", json!([matcher("alertname", "Slow", false, true), matcher("job", "a.*", true, true)])),
        ("web", json!([matcher("team", "web", false, true)])),
        ("not web", json!([matcher("team", "web", false, false), matcher("alertname", "Z", false, true)])),
    ] {
        let silence = json!({
            "matchers": matchers, "comment": comment, "createdBy": "ann",
            "startsAt": "2015-07-01T20:00:00Z", "endsAt": "2015-07-01T22:00:00Z",
        });
        let answer = post(&server, "/api/v2/silences", &[JSON], &silence).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // As Alertmanager 0.25 answers.
    for (filter, want) in [
        ("team!=web", &["not web"][..]),
        ("team=web", &["web"]),
        ("team=~w.*", &[]),
        ("job=~a.*", &["slow"]),
        ("job=a.*", &[]),
        ("x=", &[]),
        ("alertname=Slow", &["slow"]),
        ("alertname!=Nope", &[]),
    ] {
        let filter_form: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let found = server.get(&format!("/api/v2/silences?filter={filter_form}")).await.json();
        let comment = |silence: &Value| silence["comment"].as_str().expect("a comment").to_owned();
        let found: Vec<String> = found.as_array().expect("a list").iter().map(comment).collect();
        assert_eq!(found, want, "{filter}");
    }
}

#[tokio::test]
async fn names_may_have_any_letters() {
    let server = Server::new();
    let alert = json!([{
        "labels": { "alertname": "A", "service.name": "shop", "größe": "1" },
        "annotations": { "run.book": "x" },
    }]);
    let answer = post(&server, "/api/v2/alerts", &[JSON], &alert).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (filter, count) in [("%22service.name%22%3Dshop", 1), ("%22service.name%22%3Dx", 0)] {
        let found = server.get(&format!("/api/v2/alerts?filter={filter}")).await.json();
        assert_eq!(found.as_array().expect("a list").len(), count, "{filter}: {found}");
    }
    let empty = post(&server, "/api/v2/alerts", &[JSON], &json!([{ "labels": { "": "x" } }])).await;
    assert_eq!(empty.status, 400, "{}", empty.body);
}

#[tokio::test]
async fn receivers_are_matched() {
    let server = Server::new();
    let alert = json!([{ "labels": { "alertname": "A" } }]);
    assert_eq!(post(&server, "/api/v2/alerts", &[JSON], &alert).await.status, 200);
    for (matchers, count) in
        [("name%3Dnobody", 1), ("name%3D~no.*", 1), ("name%3Dops", 0), ("team%3Dx", 0), ("team%3D", 1)]
    {
        for path in ["alerts", "alerts/groups", "receivers"] {
            let found = server.get(&format!("/api/v2/{path}?receiver_matchers={matchers}")).await.json();
            assert_eq!(found.as_array().expect("a list").len(), count, "{path} {matchers}: {found}");
        }
    }
    assert_eq!(server.get("/api/v2/receivers?receiver_matchers=!").await.status, 400);
}
