//! The listener over real sockets: graceful stop, clients that leave, dawdle or are too many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use server::{ServeOptions, serve_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::overload::{Endless, options, until};
use crate::support::Server;

struct Listening {
    server: Arc<Server>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Listening {
    async fn start(server: Server, options: ServeOptions) -> Self {
        let router = server.router.clone();
        Self::start_router(server, router, options).await
    }

    async fn start_router(server: Server, router: axum::Router, options: ServeOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_with(listener, router, options, async move { drop(stopped.await) }));
        Self { server: Arc::new(server), address, stop: Some(stop), serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.unwrap().unwrap();
        assert!(TcpStream::connect(self.address).await.is_err(), "nobody listens any more");
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Sends a request whose answer has a known length, and reads the answer. `None` when the connection is closed first.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<String> {
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            assert!(answer.is_empty(), "an answer is whole or not begun");
            return None;
        }
    }
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let listening = Listening::start(Server::new(), ServeOptions::default()).await;
    let mut stream = listening.connect().await;
    for _ in 0..3 {
        let answer = exchange(&mut stream, &get("/api/v1/query?query=1&time=0")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(r#""result":[0,"1"]}}"#), "{answer}");
    }
    listening.stop().await;
}

/// Clients ask without a pause while the server stops: every answer that begins is whole, and all connections end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_under_load_breaks_no_answer() {
    let listening = Listening::start(Server::new(), ServeOptions::default()).await;
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut stream = listening.connect().await;
        let answered = Arc::clone(&answered);
        clients.push(tokio::spawn(async move {
            while let Some(answer) = exchange(&mut stream, &get("/api/v1/query?query=vector(1)&time=0")).await {
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    while answered.load(Ordering::Relaxed) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    listening.stop().await;
    for client in clients {
        client.await.unwrap();
    }
}

fn endless() -> Server {
    Server::with(options(|_| {}), Some(Arc::new(Endless::default())))
}

const HEAVY: &str = "/api/v1/query?query=sum(count_over_time(x%5B20s%5D))&time=20";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_ends_its_query() {
    let listening = Listening::start(endless(), ServeOptions::default()).await;
    let mut stream = listening.connect().await;
    stream.write_all(&get(HEAVY)).await.unwrap();
    until(&listening.server, "metrickit_queries_running", 1.0).await;
    drop(stream);
    until(&listening.server, "metrickit_queries_total{outcome=\"canceled\"}", 1.0).await;
    listening.stop().await;
}

#[tokio::test]
async fn slow_queries_name_their_client() {
    let options = options(|options| {
        options.query.timeout_ms = 50;
        options.slow_log_ms = 1;
    });
    let server = Server::with(options, Some(Arc::new(Endless::default())));
    let listening = Listening::start(server, ServeOptions::default()).await;
    let mut stream = listening.connect().await;
    let client = stream.local_addr().unwrap().to_string();
    let answer = exchange(&mut stream, &get("/api/v1/query?query=count(x)&time=20")).await.unwrap();
    assert!(answer.contains(r#""errorType":"timeout""#), "{answer}");
    let slow = exchange(&mut stream, &get("/api/v1/queries/slow")).await.unwrap();
    assert!(slow.contains(&format!(r#""client":"{client}""#)), "{slow}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_cut_off() {
    let listening = Listening::start(endless(), ServeOptions { drain_ms: 20, ..ServeOptions::default() }).await;
    let mut stream = listening.connect().await;
    stream.write_all(&get(HEAVY)).await.unwrap();
    let server = Arc::clone(&listening.server);
    until(&server, "metrickit_queries_running", 1.0).await;
    listening.stop().await;
    until(&server, "metrickit_queries_total{outcome=\"canceled\"}", 1.0).await;
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "there was no answer");
}

/// Reads until the server closes; what it sent.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut sent = Vec::new();
    drop(stream.read_to_end(&mut sent).await);
    String::from_utf8_lossy(&sent).into_owned()
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up() {
    let options = ServeOptions { head_ms: 30, body_ms: 30, linger_ms: 30, ..ServeOptions::default() };
    let listening = Listening::start(Server::new(), options).await;
    let mut silent = listening.connect().await;
    assert_eq!(read_to_close(&mut silent).await, "");
    let mut half = listening.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    assert_eq!(read_to_close(&mut half).await, "");
    let mut no_body = listening.connect().await;
    let head = b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\ncontent-length: 10\r\n\r\nquery";
    no_body.write_all(head).await.unwrap();
    let answer = read_to_close(&mut no_body).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("the body did not arrive for 30 ms"), "{answer}");
    listening.stop().await;
}

/// A client that sends its whole body before it reads, as most do, reads why it was refused; also over a connection
/// that had served before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_body_does_not_tear_the_answer_away() {
    let listening = Listening::start(Server::new(), ServeOptions::default()).await;
    let over_bytes = ingest::IngestLimits::default().body_bytes_max + 1;
    let declared = format!("content-length: {over_bytes}\r\n\r\n").into_bytes();
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{over_bytes:x}\r\n").into_bytes();
    for (head, tail) in [(declared, &b""[..]), (chunked, b"\r\n0\r\n\r\n")] {
        let mut stream = listening.connect().await;
        let before = exchange(&mut stream, &get("/-/healthy")).await.unwrap();
        assert!(before.starts_with("HTTP/1.1 200 OK\r\n"), "{before}");
        stream.write_all(b"POST /api/v1/import/prometheus HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
        stream.write_all(&head).await.unwrap();
        stream.write_all(&vec![b'x'; over_bytes]).await.expect("the server takes it all");
        stream.write_all(tail).await.expect("and the end");
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("connection: close\r\n") && answer.contains("body_bytes_max"), "{answer}");
    }
    listening.stop().await;
}

/// A client that declares far more than a server would throw away gets its answer before it sends any.
#[tokio::test]
async fn a_huge_body_is_refused_unseen_and_cut_off() {
    let options = ServeOptions { linger_bytes_max: 1 << 20, ..ServeOptions::default() };
    let listening = Listening::start(Server::new(), options).await;
    let mut stream = listening.connect().await;
    let head = b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\ncontent-length: 1000000000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // What the system's buffers hold is sent beside what the server takes, so a client stops well before a gigabyte.
    let piece = vec![b'x'; 1 << 20];
    let mut sent_mib = 0;
    while stream.write_all(&piece).await.is_ok() {
        sent_mib += 1;
        assert!(sent_mib < 1024, "a client may not send on without end");
    }
    listening.stop().await;
}

#[tokio::test]
async fn a_panic_ends_its_request_only() {
    let server = Server::new();
    let broken = axum::routing::get(async || -> &'static str { panic!("a defect") });
    let router = server.router.clone().route("/broken", broken);
    let listening = Listening::start_router(server, router, ServeOptions::default()).await;
    let mut stream = listening.connect().await;
    let answer = exchange(&mut stream, &get("/broken")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains(r#""errorType":"internal""#), "{answer}");
    let answer = exchange(&mut stream, &get("/-/healthy")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    listening.stop().await;
}

/// A client that asks for a long answer and takes nothing of it loses its connection, and so its hold on the answer.
#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let server = Server::new();
    let samples: Vec<(i64, f64)> = (0..11_000).map(|at| (at * 1_000, f64::from_bits(u64::MAX / 3) + 0.1)).collect();
    for job in 0..40 {
        server.write(&[("__name__", "x"), ("job", &job.to_string())], &samples);
    }
    let options = ServeOptions { write_stall_ms: 50, connections_max: 1, ..ServeOptions::default() };
    let listening = Listening::start(server, options).await;
    let mut greedy = listening.connect().await;
    greedy.write_all(&get("/api/v1/query_range?query=x&start=0&end=10999&step=1")).await.unwrap();
    // The only place becomes free when the first client is given up.
    let mut next = listening.connect().await;
    let answer = exchange(&mut next, &get("/-/healthy")).await.unwrap();
    assert!(answer.ends_with("MetricKit is healthy.\n"), "{answer}");
    drop(next);
    listening.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let listening =
        Listening::start(Server::new(), ServeOptions { connections_max: 1, ..ServeOptions::default() }).await;
    let mut first = listening.connect().await;
    exchange(&mut first, &get("/-/healthy")).await.unwrap();
    let second_answered = Arc::new(AtomicBool::new(false));
    let mut second = listening.connect().await;
    let waiting = tokio::spawn({
        let second_answered = Arc::clone(&second_answered);
        async move {
            let answer = exchange(&mut second, &get("/-/healthy")).await;
            second_answered.store(true, Ordering::SeqCst);
            answer
        }
    });
    for _ in 0..20 {
        exchange(&mut first, &get("/-/healthy")).await.unwrap();
    }
    assert!(!second_answered.load(Ordering::SeqCst), "one connection is the bound");
    drop(first);
    assert!(waiting.await.unwrap().is_some());
    listening.stop().await;
}
