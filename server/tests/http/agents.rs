//! Agents over HTTP: check-ins, tasks, profiles, who may order what.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use server::{AdminAccess, ProfileOptions, ServerOptions};

use crate::support::{Answer, Server};

async fn check_in(server: &Server, body: Value) -> Answer {
    let request = Request::post("/api/v1/agents/checkin").body(Body::from(body.to_string())).unwrap();
    server.call(request).await
}

fn open() -> Server {
    Server::with(ServerOptions { admin: AdminAccess::On, ..ServerOptions::default() }, None)
}

#[tokio::test]
async fn agents_check_in_are_listed_and_take_tasks() {
    let server = open();
    let hello = json!({ "agent": "web1", "run": 7, "version": "1", "environment": "prod", "goProcesses": 2 });
    let answer = check_in(&server, hello).await;
    assert_eq!(answer.json()["data"], json!({ "profile": "none", "tasks": [], "pauseMs": 0 }), "{}", answer.body);
    let listed = server.get("/api/v1/agents?environment=prod").await.json()["data"]["agents"][0].take();
    assert_eq!((listed["agent"].as_str(), listed["state"].as_str()), (Some("web1"), Some("here")));
    assert_eq!((listed["goProcesses"].as_u64(), listed["queue"]["samples"].as_u64()), (Some(2), Some(0)));
    assert_eq!(server.get("/api/v1/agents?environment=dev").await.json()["data"]["agents"], json!([]));
    assert!((server.metric("metrickit_agents{state=\"here\"}").await - 1.0).abs() < f64::EPSILON);

    let ordered = server.post("/api/v1/go/burst", "instance=web1%2F0&job=api&for=10s&every=200ms").await.json();
    let id = ordered["data"]["task"].as_u64().unwrap();
    let task = format!("/api/v1/agents/tasks/{id}");
    assert_eq!(server.get(&task).await.json()["data"], json!({ "state": "waiting" }));
    let answer = check_in(&server, json!({ "agent": "web1", "run": 7 })).await.json();
    let want = json!({
        "do": "burst", "process": { "job": "api", "instance": "web1/0", "pid": 0 }, "intervalMs": 200, "seconds": 10,
    });
    assert_eq!((&answer["data"]["tasks"][0]["id"], &answer["data"]["tasks"][0]["kind"]), (&json!(id), &want));
    assert_eq!(server.get(&task).await.json()["data"], json!({ "state": "given" }));
    let over = json!({ "agent": "web1", "run": 7, "outcomes": [{ "id": id, "error": "no right" }] });
    check_in(&server, over).await;
    assert_eq!(server.get(&task).await.json()["data"], json!({ "state": "failed", "error": "no right" }));
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let server = open();
    for (body, want) in [("{", "no check-in"), ("{}", "agent is missing"), (r#"{"agent":1}"#, "no check-in")] {
        let request = Request::post("/api/v1/agents/checkin").body(Body::from(body)).unwrap();
        let answer = server.call(request).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains(want), "{}", answer.body);
    }
    let long = Request::post("/api/v1/agents/checkin").body(Body::from(vec![b' '; (256 << 10) + 1])).unwrap();
    assert_eq!(server.call(long).await.status, 413);
    assert_eq!(server.get("/api/v1/agents/tasks/1").await.status, 404);
    assert_eq!(server.get("/api/v1/agents/tasks/x").await.status, 400);
    assert_eq!(server.get("/api/v1/agents/tasks/1?wait=2m").await.status, 400);
    let burst = |form: &'static str| server.post("/api/v1/go/burst", form);
    assert_eq!(burst("instance=web1%2F0").await.status, 404, "no such agent");
    assert_eq!(burst("").await.status, 400);
    assert_eq!(burst("instance=web1%2F0&every=50ms").await.status, 400);
    assert_eq!(burst("instance=web1%2F0&for=6m").await.status, 400);
    let closed = Server::new();
    assert_eq!(closed.post("/api/v1/go/burst", "instance=web1%2F0").await.status, 403, "as the admin routes");
}

#[tokio::test]
async fn profiles_are_fetched_by_etag() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("default.toml"), "a = 1\n").unwrap();
    std::fs::write(dir.path().join("bad.toml"), "bad\n").unwrap();
    let check = |text: &str| if text.starts_with("bad") { Err("line 1: bad".to_owned()) } else { Ok(()) };
    let profiles = ProfileOptions { dir: Some(dir.path().to_owned()), check };
    let server = Server::with(ServerOptions { profiles, ..ServerOptions::default() }, None);
    let answer = server.get("/api/v1/agents/profile?environment=prod").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "a = 1\n"));
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    let again = Request::get("/api/v1/agents/profile?environment=prod").header("if-none-match", &etag);
    assert_eq!(server.call(again.body(Body::empty()).unwrap()).await.status, 304);
    assert_eq!(server.get("/api/v1/agents/profile?environment=bad").await.status, 404, "none was ever valid");

    let orders = check_in(&server, json!({ "agent": "web1", "environment": "prod" })).await.json();
    assert_eq!(orders["data"]["profile"], json!({ "etag": etag }));
    let orders = check_in(&server, json!({ "agent": "web2", "environment": "bad" })).await.json();
    assert_eq!(orders["data"]["profile"], "keep");
    let listed = server.get("/api/v1/agents/profiles").await.json()["data"]["profiles"].take();
    assert_eq!((listed[0]["environment"].as_str(), listed[0]["error"].as_str()), (Some("bad"), Some("line 1: bad")));
    assert_eq!((listed[1]["etag"].as_str(), listed[1]["agents"].as_u64()), (Some(etag.as_str()), Some(1)));
    let one = server.get("/api/v1/agents/profiles?environment=prod").await.json()["data"]["profiles"].take();
    assert_eq!((one.as_array().map(Vec::len), one[0]["text"].as_str()), (Some(1), Some("a = 1\n")));
}
