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

/// The names of metrics that a client sees.
async fn names(server: &Server) -> Vec<String> {
    let answer = server.get("/api/v1/label/__name__/values").await.json();
    answer["data"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn deletes_are_looked_at_made_listed_undone_and_applied() {
    let server = open();
    for (name, count) in [("old", 3), ("new", 2)] {
        let samples: Vec<(i64, f64)> = (0..count).map(|at| (NOW_MS + at * 1000, 1.0)).collect();
        server.write(&[("__name__", name)], &samples);
    }
    let path = "/api/v1/admin/tsdb/delete_series";
    let looked = server.post(path, "match[]=old&match[]={__name__=\"none\"}&dry_run=true").await.json();
    let want =
        serde_json::json!({ "series": 1, "samples": 3, "metricCount": 1, "metrics": [{ "name": "old", "series": 1 }] });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&looked["data"][key], value, "{looked}");
    }
    assert_eq!(names(&server).await, ["new", "old"]);

    let answer = server.post(path, "match[]=old&by=ann").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(names(&server).await, ["new"]);
    assert!(server.metric("metrickit_deletes_pending").await > 0.0);
    let listed = server.get("/api/v1/admin/deletes").await.json();
    let first = &listed["data"][0];
    assert_eq!(
        (&first["id"], &first["by"], &first["state"]),
        (&1.into(), &"ann".into(), &"pending".into()),
        "{listed}"
    );
    assert_eq!(
        (&first["startMs"], first["undoUntilMs"].as_i64()),
        (&serde_json::Value::Null, Some(NOW_MS + 86_400_000))
    );
    let undone = server.post("/api/v1/admin/deletes/1/undo", "").await.json();
    assert_eq!(undone["data"]["state"], "undone");
    assert_eq!(names(&server).await, ["new", "old"]);

    let start = (NOW_MS + 1000) / 1000;
    let put = server.method(Method::PUT, &format!("{path}?match[]=old&start={start}.781&verbose=true")).await.json();
    assert_eq!((&put["data"]["samples"], &put["data"]["id"]), (&2.into(), &2.into()), "{put}");
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", "").await.status, 204);
    assert_eq!(server.engine.stats().block_samples, 3);
    assert_eq!(server.get("/api/v1/admin/deletes").await.json()["data"][0]["state"], "applied");
    let nothing = server.post(path, "match[]=none&verbose=true").await.json();
    assert_eq!(nothing["data"], serde_json::Value::Null);
}

#[tokio::test]
async fn wrong_deletes_are_told() {
    let server = open();
    let path = "/api/v1/admin/tsdb/delete_series";
    for (form, status, wanted) in [
        ("", 400, "no match[] parameter provided"),
        ("match[]=up[5m]", 400, "not a series selector"),
        ("match[]=up&dry_run=maybe", 400, "neither true nor false"),
        ("match[]=up&start=2&end=1", 400, "end timestamp must not be before start time"),
    ] {
        let answer = server.post(path, form).await;
        assert!(answer.status == status && answer.body.contains(wanted), "{form}: {}", answer.body);
    }
    for (id, status) in [("7", 404), ("x", 400)] {
        assert_eq!(server.post(&format!("/api/v1/admin/deletes/{id}/undo"), "").await.status, status);
    }
    server.write(&[("__name__", "up")], &[(NOW_MS, 1.0)]);
    assert_eq!(server.post(path, "match[]=up").await.status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", "").await.status, 204);
    let late = server.post("/api/v1/admin/deletes/1/undo", "").await;
    assert!(late.status == 422 && late.body.contains("its samples are removed"), "{}", late.body);
    assert_eq!(Server::new().post(path, "match[]=up").await.status, 403);
    assert_eq!(Server::new().get("/api/v1/admin/deletes").await.status, 403);
}

/// The last line of an answer in lines; those before tell how far it is.
fn last_line(answer: &crate::support::Answer) -> serde_json::Value {
    let lines: Vec<serde_json::Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, others) = lines.split_last().expect("a line");
    assert!(others.iter().all(|line| line["status"] == "running"), "{}", answer.body);
    last.clone()
}

#[tokio::test]
async fn backups_are_taken_below_their_folder_and_told_in_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = "/api/v1/admin/backup";
    let forbidden = open().post(path, &format!("dir={}", folder.path().display())).await;
    assert_eq!(forbidden.status, 403, "a request that is not known to be of this machine: {}", forbidden.body);
    let backup_dir = Some(folder.path().to_owned());
    let server = Server::with(ServerOptions { admin: AdminAccess::On, backup_dir, ..ServerOptions::default() }, None);
    for (form, status, told) in [("", 400, "dir"), ("dir=/etc/x", 400, "below"), ("dir=a/../../b", 400, "..")] {
        let answer = server.post(path, form).await;
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
        assert!(answer.json()["error"].as_str().unwrap().contains(told), "{form}: {}", answer.body);
    }
    for round in 1..4 {
        server.write(&[("__name__", "up")], &[(NOW_MS - round, 1.0)]);
        let answer = server.post(path, if round == 2 { "dir=monday&copy=true" } else { "dir=monday" }).await;
        assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/x-ndjson".parse().unwrap()));
        let last = last_line(&answer);
        let data = &last["data"];
        assert_eq!(
            (&last["status"], &data["number"], &data["takenMs"]),
            (&"success".into(), &round.into(), &NOW_MS.into())
        );
        assert_eq!((data["samples"].as_i64(), data["fromMs"].as_i64()), (Some(round), Some(NOW_MS - round)), "{data}");
        assert_eq!(data["copied"]["files"], if round == 2 { 2 } else { 0 }, "{data}");
    }
    assert!((server.metric("metrickit_backups_total").await - 3.0).abs() < f64::EPSILON);
    std::fs::create_dir(folder.path().join("other")).unwrap();
    std::fs::write(folder.path().join("other").join("notes"), "mine").unwrap();
    let foreign = server.post(path, "dir=other").await;
    assert_eq!((foreign.status, foreign.json()["errorType"].as_str()), (400, Some("bad_data")), "{}", foreign.body);
    assert!((server.metric("metrickit_backup_failures_total").await - 1.0).abs() < f64::EPSILON);
}
