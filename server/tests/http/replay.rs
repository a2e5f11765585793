//! What is answered while the log is replayed.

use std::sync::Arc;

use model::{Labels, ManualClock, SampleSink, TimestampMs, WriteBatch};
use storage::files::HeldSegments;
use storage::{Engine, EngineOptions};

use crate::support::{NOW_MS, Server, block_on};

fn options() -> EngineOptions {
    EngineOptions { retention_ms: None, background: false, ..EngineOptions::default() }
}

#[test]
fn queries_are_answered_with_a_warning_and_writes_wait() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(TimestampMs(NOW_MS)));
    let up = Labels::from_pairs([("__name__", "up")]).unwrap();
    let mut batch = WriteBatch::new();
    batch.push_series(up.as_ref());
    batch.push_sample(1_000, 1.0);
    Engine::open(folder.path(), options(), clock.clone()).unwrap().append(&batch).unwrap();

    let files = HeldSegments::default();
    let engine = Engine::open_replaying_with(folder.path(), options(), clock, files.files()).unwrap();
    let server = Server::over(folder, engine);
    let bytes = server.engine.stats().log_bytes;
    let progress = format!("the log is still being replayed: 0 of {bytes} bytes");
    block_on(async {
        assert_eq!(server.get("/-/healthy").await.status, 200);
        let ready = server.get("/-/ready").await;
        assert_eq!((ready.status, ready.headers["retry-after"].to_str().unwrap()), (503, "1"));
        assert!(ready.body.contains(&progress), "{}", ready.body);
        for path in ["/api/v1/query?query=up&time=1", "/api/v1/labels", "/api/v1/series?match[]=up", "/api/v1/metadata"]
        {
            let answer = server.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            let warning = answer.json()["warnings"][0].as_str().unwrap_or_default().to_owned();
            assert_eq!(warning, format!("results may be incomplete: {progress}"), "{path}");
        }
        let write = server.post("/api/v1/import/prometheus", "up 2 2000\n").await;
        assert_eq!((write.status, write.headers.contains_key("retry-after")), (503, true), "{}", write.body);
        assert_eq!(server.metric("metrickit_replaying").await.to_bits(), 1f64.to_bits());
    });
    files.allow(u64::MAX);
    server.engine.wait_replayed().unwrap();
    block_on(async {
        assert_eq!(server.get("/-/ready").await.status, 200);
        let answer = server.get("/api/v1/query?query=up&time=1").await.json();
        assert_eq!(
            (&answer["warnings"], answer["data"]["result"].as_array().map(Vec::len)),
            (&serde_json::Value::Null, Some(1))
        );
        assert_eq!(server.metric("metrickit_replaying").await.to_bits(), 0f64.to_bits());
    });
}
