//! Captures over HTTP: an agent that checks in, takes an order, sends a capture up; people who list, fetch and delete.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request};
use hyper::body::Frame;
use model::{BUDGET_BYTES_MIN, Budget};
use serde_json::{Value, json};
use server::{AdminAccess, CaptureOptions, ServerOptions};

use crate::overload::until;
use crate::support::{Answer, NOW_MS, Server};

const STACKS: &str = "goroutine 1 [running]:\nmain.main()\n\ngoroutine 7 [chan send, 5 minutes]:\nmain.leak()\n";

fn options(folder: &tempfile::TempDir, per_hour_max: usize) -> ServerOptions {
    let captures = CaptureOptions {
        folder: Some(folder.path().join("captures")),
        capture_bytes_max: 4096,
        per_hour_max,
        ..CaptureOptions::default()
    };
    ServerOptions { admin: AdminAccess::On, captures, ..ServerOptions::default() }
}

fn server(folder: &tempfile::TempDir, per_hour_max: usize) -> Server {
    Server::with(options(folder, per_hour_max), None)
}

async fn upload(server: &Server, query: &str, body: &[u8]) -> Answer {
    let request = Request::post(format!("/api/v1/captures?{query}")).body(Body::from(body.to_vec()));
    server.call(request.unwrap()).await
}

/// Agent `web1` checks in with `more`; what it is to do.
async fn check_in(server: &Server, more: Value) -> Value {
    let mut said = json!({ "agent": "web1", "run": 1 });
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = Request::post("/api/v1/agents/checkin?wait=0s").body(Body::from(said.to_string()));
    server.call(request.unwrap()).await.json()["data"]["tasks"].take()
}

#[tokio::test]
async fn an_order_becomes_a_capture() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 30);
    let form = "instance=web1/0&job=api&what=stacks&reason=look+here";
    assert_eq!(server.post("/api/v1/captures/order", form).await.status, 404, "no such agent has checked in");
    check_in(&server, json!({})).await;
    let order = server.post("/api/v1/captures/order", form).await.json()["data"].take();
    assert_eq!((order["state"].as_str(), order["agent"].as_str()), (Some("waiting"), Some("web1")), "{order}");
    let again = server.post("/api/v1/captures/order", form).await.json()["data"].take();
    assert_eq!(order["id"], again["id"], "one under way is as good as another");
    let path = format!("/api/v1/captures/orders/{}", order["id"]);
    let tasks = check_in(&server, json!({})).await;
    assert_eq!((&tasks[0]["id"], tasks[0]["kind"]["what"].as_str()), (&order["id"], Some("stacks")), "{tasks}");
    assert_eq!(server.get(&path).await.json()["data"]["state"], "taking");
    check_in(&server, json!({ "outcomes": [{ "id": order["id"] }] })).await;
    assert_eq!(server.get(&path).await.json()["data"]["state"], "sending");
    let page = server.browse(&path).await.body;
    assert!(
        page.contains("<h1>Capture: stacks of api on web1/0</h1>") && page.contains("not there yet (sending)"),
        "{page}"
    );

    let query = format!(
        "instance=web1/0&job=api&what=stacks&task={}&time=1435781000&way=pprof&agent=web1&origin=web1+c1&by=leak&reason=x",
        order["id"]
    );
    let sent = upload(&server, &query, STACKS.as_bytes()).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    let id = sent.json()["data"]["id"].as_str().unwrap().to_owned();
    let page = server.browse(&path).await.body;
    assert!(page.contains(&format!("href=\"../{id}\"")) && page.contains("was taken: look here."), "{page}");
    let twice = upload(&server, &query, STACKS.as_bytes()).await.json();
    assert_eq!(twice["data"]["id"], id.as_str(), "sent twice, kept once");
    let done = server.get(&path).await.json()["data"].take();
    assert_eq!((done["state"].as_str(), done["capture"].as_str()), (Some("done"), Some(id.as_str())));

    let list = server.get("/api/v1/captures?instance=web1/0").await.json()["data"].take();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let record = &list[0];
    assert_eq!((record["reason"].as_str(), record["by"].as_str()), (Some("look here"), Some("request")), "{record}");
    assert_eq!((record["timeMs"].as_i64(), record["total"].as_i64()), (Some(1_435_781_000_000), Some(2)));
    assert_eq!(server.get("/api/v1/captures?what=heap").await.json()["data"], json!([]));
    let file = server.get(&format!("/api/v1/captures/{id}")).await;
    assert_eq!((file.status, file.body.as_str()), (200, STACKS));
    assert_eq!(file.headers["content-type"], "text/plain; charset=utf-8");
    let name = file.headers["content-disposition"].to_str().unwrap();
    assert_eq!(name, "attachment; filename=\"api-web1-0-stacks-20150701T200320Z.txt\"");
    let about = server.get(&format!("/api/v1/captures/{id}?about=true")).await.json()["data"].take();
    assert_eq!(&about, record);
    let after_a_restart = self::server(&folder, 30);
    let found = after_a_restart.get(&path).await.json()["data"].take();
    assert_eq!((found["state"].as_str(), found["capture"].as_str()), (Some("done"), Some(id.as_str())), "{found}");
    for key in ["id", "agent", "instance", "job", "what", "seconds", "reason", "by"] {
        assert_eq!(found[key], done[key], "{key}");
    }
    let unknown = after_a_restart.get("/api/v1/captures/orders/1").await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    let why = "no order 1 is known: it came to nothing long ago, or its capture is gone";
    assert_eq!(unknown.json()["error"], why);
    let unknown = after_a_restart.browse("/api/v1/captures/orders/1").await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert!(unknown.body.contains(&format!("<p>{why}.</p>")), "{}", unknown.body);
    assert!(server.metric("metrickit_captures_bytes").await > 100.0);
    assert!((server.metric(r#"metrickit_capture_orders_total{by="request"}"#).await - 1.0).abs() < 0.1);

    assert_eq!(server.method(Method::DELETE, &format!("/api/v1/captures/{id}")).await.status, 204);
    assert_eq!(server.method(Method::DELETE, &format!("/api/v1/captures/{id}")).await.status, 404);
    assert_eq!(server.get(&format!("/api/v1/captures/{id}")).await.status, 404);
}

#[tokio::test]
async fn what_is_no_capture_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 30);
    let long = vec![b'x'; 5000];
    for (query, body, status, wanted) in [
        ("instance=web1/0&what=stacks", &b"hello"[..], 400, "no text with stacks"),
        ("instance=web1/0&what=heap", b"hello", 400, "no capture of heap"),
        ("instance=web1/0&what=colour", b"", 400, "known are goroutine"),
        ("what=heap", b"", 400, "instance"),
        ("instance=web1/0&what=heap&by=alert", b"", 400, "neither request nor leak"),
        ("instance=web1/0&what=heap", &long, 413, "4096"),
    ] {
        let answer = upload(&server, query, body).await;
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == status && error.contains(wanted), "{query}: {} {error}", answer.status);
    }
    assert!((server.metric(r#"metrickit_captures_refused_total{reason="malformed"}"#).await - 2.0).abs() < 0.1);
    assert!((server.metric("metrickit_captures").await).abs() < 0.1);
    let closed = Server::new();
    assert_eq!(closed.get("/api/v1/captures").await.status, 503, "no folder, no captures");
    assert_eq!(closed.post("/api/v1/captures/order", "instance=a&what=heap").await.status, 403);
}

/// One that has more bytes than all may have is refused for good, and not as a disk's fault, which agents wait for to end.
#[tokio::test]
async fn a_capture_larger_than_the_room_of_all_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder, 30);
    options.captures.bytes_max = 64;
    let server = Server::with(options, None);
    let answer = upload(&server, "instance=web1/0&what=stacks", STACKS.as_bytes()).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("captures_bytes_max is 64"), "{}", answer.body);
    assert!((server.metric(r#"metrickit_captures_refused_total{reason="too_large"}"#).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn captures_of_a_process_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 2);
    check_in(&server, json!({})).await;
    for (what, status) in [("heap", 200), ("goroutine", 200), ("mutex", 429)] {
        let answer = server.post("/api/v1/captures/order", &format!("instance=web1/0&what={what}")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == 429 {
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("\"web1/0\"") && error.contains("captures_per_hour_max"), "{error}");
        }
    }
    let other = server.post("/api/v1/captures/order", "instance=web1/1&what=heap").await;
    assert_eq!(other.status, 200, "another process");
    for status in [200, 200, 429] {
        let query = format!("instance=web1/0&what=stacks&by=leak&time={}", NOW_MS / 1000);
        assert_eq!(upload(&server, &query, STACKS.as_bytes()).await.status, status);
    }
    let leaks = server.get("/api/v1/captures?by=leak&limit=1").await.json();
    assert_eq!((leaks["data"].as_array().unwrap().len(), leaks["warnings"].is_array()), (1, true));
}

/// A body that counts itself when it is first asked for, and comes when it is let go.
struct Held {
    asked: Arc<AtomicUsize>,
    let_go: tokio::sync::oneshot::Receiver<()>,
    is_asked: bool,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !std::mem::replace(&mut self.is_asked, true) {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        Pin::new(&mut self.let_go).poll(cx).map(|_| None)
    }
}

#[tokio::test]
async fn captures_that_arrive_at_once_wait_for_each_other_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, 30);
    let asked = Arc::new(AtomicUsize::new(0));
    let mut uploads = Vec::new();
    for _ in 0..9 {
        let (release, let_go) = tokio::sync::oneshot::channel();
        let body = Body::new(Held { asked: Arc::clone(&asked), let_go, is_asked: false });
        let request = Request::post("/api/v1/captures?instance=web1/0&what=stacks").body(body).unwrap();
        let mut answer = Box::pin(server.call(request));
        assert!(poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await);
        uploads.push((release, answer));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4, "the others hold no memory");
    for (release, answer) in uploads {
        release.send(()).unwrap();
        assert_eq!(answer.await.status, 400, "an empty body has no stacks");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 9);
}

#[tokio::test]
async fn no_capture_is_taken_in_while_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Budget::share_out(BUDGET_BYTES_MIN, &[]).unwrap();
    let server = Server::with(ServerOptions { memory, ..options(&folder, 30) }, None);
    let _held = vec![1_u8; usize::try_from(BUDGET_BYTES_MIN).unwrap()];
    let watch = tokio::spawn(server::watch_memory(Arc::clone(&server.app), || {}));
    until(&server, "metrickit_memory_short", 1.0).await;
    let answer = upload(&server, "instance=web1/0&what=stacks", STACKS.as_bytes()).await;
    assert!(answer.status == 503 && answer.body.contains("memory_max is"), "{} {}", answer.status, answer.body);
    watch.abort();
}
