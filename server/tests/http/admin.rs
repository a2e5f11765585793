//! The admin routes: who may use them, and what they do.

use axum::http::Method;
use server::{AdminAccess, ServerOptions};

use crate::support::{NOW_MS, Server};

/// A server whose admin routes are open to requests without a socket.
pub(crate) fn open() -> Server {
    Server::with(ServerOptions { admin: AdminAccess::On, ..ServerOptions::default() }, None)
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::new();
    let answer = server.post("/api/v1/admin/flush", "").await;
    assert_eq!((answer.status, answer.json()["errorType"].as_str()), (403, Some("forbidden")));
    assert!(answer.json()["error"].as_str().unwrap().contains("--admin-api on"), "{}", answer.body);
    let off = Server::with(ServerOptions { admin: AdminAccess::Off, ..ServerOptions::default() }, None);
    assert_eq!(off.post("/api/v1/admin/merge", "").await.status, 403);
    assert_eq!(open().method(Method::GET, "/api/v1/admin/flush").await.status, 405);
}

#[tokio::test]
async fn flush_and_merge_answer_when_done() {
    let server = open();
    let day_ms = 86_400_000;
    for round in 0..3 {
        for day in [0, 1] {
            server.write(&[("__name__", "up")], &[(NOW_MS - day * day_ms + round, 1.0)]);
        }
        let answer = server.post("/api/v1/admin/flush", "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = &answer.json()["data"];
        assert_eq!((data["flushes"].as_u64(), data["after"]["headBytes"].as_u64()), (Some(1), Some(0)));
        assert_eq!(data["after"]["samples"], (round + 1) * 2);
        assert!(data["before"]["headBytes"].as_u64().unwrap() > 0);
    }
    let again = server.post("/api/v1/admin/flush", "").await.json();
    assert_eq!(again["data"]["flushes"], 0);
    server.write(&[("__name__", "up")], &[(NOW_MS + 9, 1.0)]);
    let answer = server.post("/api/v1/admin/merge", "").await;
    let data = &answer.json()["data"];
    assert_eq!((data["flushes"].as_u64(), data["after"]["blocks"].as_u64()), (Some(1), Some(2)), "{data}");
    assert_eq!((data["merges"].as_u64(), data["after"]["samples"].as_u64()), (Some(2), Some(7)));
    assert_eq!(server.engine.stats().blocks, 2);
    let idle = server.post("/api/v1/admin/merge", "").await.json();
    assert_eq!(idle["data"]["merges"], 0, "{idle}");
}
