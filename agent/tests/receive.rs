//! The socket that programs push to, against programs that are right, wrong, slow and many.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::StopFlag;
use agent::config::Config;
use agent::go::census::Way;
use agent::go::identity::Life;
use agent::go::ways::{Part, ProcessKey};
use agent::go::{GoProcess, discover::Scan};
use agent::queue::{Batch, Queue, SharedQueue};
use agent::receive::{CONNECTIONS_MAX, Known, Receiver};
use agent::send::Outbox;
use agent::send::encode::{External, compress, decompress};
use agent::send::metadata::SharedMetadata;
use agent::send::request::RecordDecoder;
use agent::stats::Stats;
use model::remote_write::{Label, TimeSeries, WireHistogram, WireSample, WriteRequest, v2};
use model::{ManualClock, TimestampMs};
use parking_lot::Mutex;
use prost::Message;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

struct Rig {
    folder: tempfile::TempDir,
    queue: SharedQueue,
    known: Known,
    stats: Arc<Stats>,
    receiver: Receiver,
}

fn rig(bytes_max: u64) -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Config::default().queue;
    options.folder = folder.path().join("queue");
    options.bytes_max = bytes_max;
    options.segment_bytes = bytes_max / 4;
    let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&options).expect("opens")));
    let stats = Arc::new(Stats::default());
    let external = External::new(vec![("env".to_owned(), "prod".to_owned())]);
    let outbox = Outbox::new(Arc::clone(&queue), SharedMetadata::default(), external, 1_000, Arc::clone(&stats));
    let known = Known::default();
    let clock = Arc::new(ManualClock::new(TimestampMs(20_000)));
    let socket = folder.path().join("agent.sock");
    let name = socket.to_str().expect("a UTF-8 path");
    let stop = StopFlag::new();
    let receiver = Receiver::start(name, outbox, known.clone(), clock, Arc::clone(&stats), &stop).expect("listens");
    Rig { folder, queue, known, stats, receiver }
}

impl Rig {
    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Every series that is queued: labels, and how many samples of both kinds.
    fn queued(&self) -> Vec<String> {
        queued(&mut self.queue.lock())
    }
}

fn queued(queue: &mut Queue) -> Vec<String> {
    let mut shown = Vec::new();
    for record in queue.peek(u64::MAX, u64::MAX, 20_000).iter().flat_map(Batch::records) {
        let bytes = decompress(&record.payload, 16 << 20).expect("snappy");
        let (batch, _) = RecordDecoder::default().decode(&bytes).expect("a request");
        let series = (0..batch.series_len()).map(|at| {
            let labels = batch.series(at).labels().expect("labels");
            format!("{labels} {}+{}", batch.samples(at).len(), batch.full_samples(at).len())
        });
        shown.extend(series);
    }
    shown
}

/// A request of version 2.0 with one series a name, one sample each at `at_ms`, and labels after the name.
fn pushed(names: &[&str], labels: &[(&str, &str)], at_ms: i64) -> v2::Request {
    let mut request = v2::Request { symbols: vec![String::new()], timeseries: Vec::new() };
    for name in names {
        let mut labels_refs = Vec::new();
        for text in ["__name__", name].into_iter().chain(labels.iter().flat_map(|(name, value)| [*name, *value])) {
            labels_refs.push(u32::try_from(request.symbols.len()).expect("few"));
            request.symbols.push(text.to_owned());
        }
        let samples = vec![WireSample { value: 1.0, timestamp: at_ms, start_timestamp: 0 }];
        request.timeseries.push(v2::TimeSeries { labels_refs, samples, ..v2::TimeSeries::default() });
    }
    request
}

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: agent\r\nContent-Type: {content_type}\r\nContent-Encoding: snappy\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
    stream
}

/// The head and body of one answer.
fn answer(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a whole body");
    head + &String::from_utf8(body).expect("text")
}

/// Sends `request` on a connection of its own.
fn ask(rig: &Rig, request: &[u8]) -> String {
    let mut stream = connect(&rig.socket());
    // What is refused early need not be sent to its end.
    let _ = stream.write_all(request);
    answer(&mut stream)
}

#[track_caller]
fn check(answer: &str, status: u16, parts: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[test]
fn what_is_pushed_is_queued_with_the_labels_of_the_agent() {
    let rig = rig(1 << 20);
    let mut request = pushed(&["a", "go_goroutines"], &[("instance", "own/0"), ("job", "shop")], 19_000);
    request.timeseries[0].samples[0].start_timestamp = 5_000;
    let histogram = WireHistogram { schema: 2, timestamp: 19_000, ..WireHistogram::default() };
    request.timeseries[1].samples.clear();
    request.timeseries[1].histograms.push(histogram);
    let body = compress(&request.encode_to_vec());
    let mut stream = connect(&rig.socket());
    for round in 1..=3 {
        stream.write_all(&post(V2, &body)).expect("taken");
        let written = ["Samples-Written: 1\r\n", "Histograms-Written: 1\r\n", "Exemplars-Written: 0\r\n"];
        check(&answer(&mut stream), 204, &written);
        let want = [
            r#"a{env="prod", instance="own/0", job="shop"} 0+1"#,
            r#"go_goroutines{env="prod", instance="own/0", job="shop"} 0+1"#,
        ];
        assert_eq!(rig.queued(), want.repeat(round), "queued before it is answered, on one connection");
    }
    // Version 1.0 has no such headers.
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = TimeSeries {
        labels: vec![label("__name__", "old"), label("env", "own")],
        samples: vec![WireSample { value: 1.0, timestamp: 1, start_timestamp: 0 }],
        ..TimeSeries::default()
    };
    let old = WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let said = ask(&rig, &post("application/x-protobuf", &compress(&old.encode_to_vec())));
    check(&said, 204, &[]);
    assert!(!said.contains("Written"), "{said}");
    assert_eq!(rig.queued().last().map(String::as_str), Some(r#"old{env="own"} 1+0"#), "labels are never replaced");
    assert_eq!(
        [rig.stats.receive_requests.get(), rig.stats.receive_samples.get(), rig.stats.receive_refused.get()],
        [4, 7, 0]
    );
}

#[test]
fn the_kernel_tells_who_pushes() {
    let rig = rig(1 << 20);
    let own = procfs::process::Process::myself().and_then(|own| own.stat()).expect("/proc");
    let (pid, start_ticks) = (own.pid, own.starttime);
    let life = Life { start_ticks, pid, name: "shop".to_owned() };
    let (job, instance) = ("shop".to_owned(), "web1/0".to_owned());
    let process = GoProcess { life, job, instance, build: Arc::default(), same_network: true };
    *rig.known.processes.lock() = Arc::new(Scan { processes: vec![process], ..Scan::default() });
    let key = ProcessKey { pid, start_ticks };
    let body = compress(&pushed(&["go_threads", "orders_total"], &[], 19_000).encode_to_vec());
    check(&ask(&rig, &post(V2, &body)), 204, &[]);
    assert!(rig.known.ways.leads(key, Part::Runtime, Way::Memory, 20_000), "a name or two are not the runtime");
    assert!(rig.known.ways.taken(key, Way::Memory, 20_000).contains("go_threads"));
    let body = compress(&pushed(&["go_info"], &[], 19_000).encode_to_vec());
    check(&ask(&rig, &post(V2, &body)), 204, &[]);
    let want = [
        r#"go_threads{env="prod", instance="web1/0", job="shop"} 1+0"#,
        r#"orders_total{env="prod", instance="web1/0", job="shop"} 1+0"#,
        r#"go_info{env="prod", instance="web1/0", job="shop"} 1+0"#,
    ];
    assert_eq!(rig.queued(), want, "who does not say whose its series are gets the names the agent knows it by");
    assert!(rig.known.sdk.gives(pid, start_ticks, "go_threads"));
    assert!(!rig.known.sdk.gives(pid, start_ticks, "go_goroutines") && !rig.known.sdk.pushes(pid, start_ticks + 1));
    assert!(!rig.known.ways.leads(key, Part::Runtime, Way::Memory, 20_000), "other ways leave the runtime to it");
    assert!(rig.known.ways.taken(key, Way::Page, 20_000).contains("orders_total"));
    assert!(rig.known.ways.leads(key, Part::Runtime, Way::Memory, 51_000), "until it has been silent");
}

#[test]
fn a_process_is_called_as_it_calls_itself() {
    let rig = rig(1 << 20);
    let own = procfs::process::Process::myself().and_then(|own| own.stat()).expect("/proc");
    let key = ProcessKey { pid: own.pid, start_ticks: own.starttime };
    let push = |all: &[(&str, &str)]| {
        let mut request = v2::Request { symbols: vec![String::new()], timeseries: Vec::new() };
        for (job, instance) in all {
            let labels: Vec<_> =
                [("job", *job), ("instance", *instance)].into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let mut one = pushed(&["orders_total"], &labels, 19_000);
            let first = u32::try_from(request.symbols.len()).expect("few");
            one.timeseries[0].labels_refs.iter_mut().for_each(|at| *at += first);
            request.symbols.extend(one.symbols);
            request.timeseries.extend(one.timeseries);
        }
        check(&ask(&rig, &post(V2, &compress(&request.encode_to_vec()))), 204, &[]);
        rig.known
            .sdk
            .identities()
            .into_iter()
            .map(|(of, called)| (of == key, called.job, called.instance))
            .collect::<Vec<_>>()
    };
    let shop = vec![(true, "shop".to_owned(), "box/3".to_owned())];
    assert_eq!(push(&[("shop", ""), ("", "box/3")]), [], "half a name is none");
    assert_eq!(push(&[("shop", "box/3"), ("shop", "box/4")]), [], "who tells of several is none of them");
    assert_eq!(push(&[("shop", "box/3"), ("", "")]), shop);
    assert_eq!(push(&[("other", "box/3")]), shop, "one name at a time");
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let rig = rig(1 << 20);
    let good = compress(&pushed(&["a"], &[], 1).encode_to_vec());
    let head = |first: &str, more: &str| format!("{first}\r\nHost: agent\r\n{more}\r\n").into_bytes();
    let long = format!("X: {}\r\n", "x".repeat(9_000));
    for (request, status, part) in [
        (head("GET /api/v1/write HTTP/1.1", ""), 405, "send POST"),
        (head("POST /other HTTP/1.1", "Content-Length: 0\r\n"), 404, "only /api/v1/write"),
        (head("POST /api/v1/write HTTP/1.1", ""), 411, "Content-Length"),
        (head("POST /api/v1/write HTTP/1.1", "Transfer-Encoding: chunked\r\n"), 411, "Content-Length"),
        (head("POST /api/v1/write HTTP/1.1", "Content-Length: 99999999\r\n"), 413, "the limit is 4194304"),
        (head("POST /api/v1/write HTTP/1.1", &long), 431, "longer than 8192"),
        (b"\x16\x03\x01\x02\x00nonsense\r\n\r\n".to_vec(), 400, "not HTTP"),
        (post("text/plain", &good), 415, "prometheus.WriteRequest"),
        (post(V2, b"no snappy"), 400, "no block of snappy"),
        (post(V2, &[0xff, 0xff, 0xff, 0xff, 0x0f]), 400, "no block of snappy"),
        (post(V2, &compress(b"\x0a\xff")), 400, "no valid write request"),
        (post(V2, &good[..good.len() - 1]).repeat(2), 400, "no block of snappy"),
    ] {
        check(&ask(&rig, &request), status, &[part]);
    }
    assert_eq!(rig.queued(), [""; 0], "nothing of it is kept");
    // A request that is right but for one series: the rest is taken, and told.
    let mut part = pushed(&["a", "b"], &[], 1);
    part.timeseries[1].labels_refs = vec![99, 98];
    let said = ask(&rig, &post(V2, &compress(&part.encode_to_vec())));
    check(&said, 400, &["Samples-Written: 1\r\n", "beyond the"]);
    assert_eq!(rig.queued(), [r#"a{env="prod"} 1+0"#]);
}

#[test]
fn a_full_queue_asks_to_come_back_and_keeps_what_it_took() {
    let rig = rig(4_000);
    let mut taken = 0;
    let said = loop {
        let name = format!("metric_{taken}");
        let said = ask(&rig, &post(V2, &compress(&pushed(&[&name], &[], 1).encode_to_vec())));
        if !said.starts_with("HTTP/1.1 204") {
            break said;
        }
        taken += 1;
    };
    check(&said, 503, &["Retry-After: 10\r\n", "queue.bytes_max", "Samples-Written: 0\r\n"]);
    assert!(taken > 10 && rig.queued().len() == taken, "{taken}");
    assert_eq!(rig.queue.lock().state().dropped_bytes_cap, 0, "nothing was dropped for it");
    let batch = rig.queue.lock().peek(u64::MAX, u64::MAX, 20_000).expect("some");
    rig.queue.lock().acknowledge(&batch).expect("stored");
    check(&ask(&rig, &post(V2, &compress(&pushed(&["again"], &[], 1).encode_to_vec()))), 204, &[]);
}

#[test]
fn what_was_answered_is_in_a_file() {
    let rig = rig(1 << 20);
    check(&ask(&rig, &post(V2, &compress(&pushed(&["a"], &[], 1).encode_to_vec()))), 204, &[]);
    // As after `kill -9`: what is in the files is all there is.
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(rig.folder.path().join("queue")).expect("listed").flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let mut options = Config::default().queue;
    copy.path().clone_into(&mut options.folder);
    assert_eq!(queued(&mut Queue::open(&options).expect("opens")), [r#"a{env="prod"} 1+0"#]);
}

#[test]
fn a_request_may_come_in_any_pieces_and_several_at_once() {
    let rig = rig(1 << 20);
    let request = post(V2, &compress(&pushed(&["a"], &[], 1).encode_to_vec()));
    let mut stream = connect(&rig.socket());
    for byte in &request {
        stream.write_all(&[*byte]).expect("taken");
    }
    check(&answer(&mut stream), 204, &[]);
    stream.write_all(&request.repeat(3)).expect("taken");
    for _ in 0..3 {
        check(&answer(&mut stream), 204, &[]);
    }
    let waits = "POST /api/v1/write HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(waits.as_bytes()).expect("taken");
    check(&answer(&mut stream), 100, &[]);
    stream.write_all(b"x").expect("taken");
    check(&answer(&mut stream), 400, &["Connection: close\r\n"]);
    assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
    assert_eq!(rig.queued().len(), 4);
}

#[test]
fn too_many_connections_are_told_so_and_others_go_on() {
    let rig = rig(1 << 20);
    let request = post(V2, &compress(&pushed(&["a"], &[], 1).encode_to_vec()));
    let mut first = connect(&rig.socket());
    first.write_all(&request).expect("taken");
    check(&answer(&mut first), 204, &[]);
    // Each takes part of a request, so that it is known to be counted when the next comes.
    let mut idle: Vec<UnixStream> = (1..CONNECTIONS_MAX).map(|_| connect(&rig.socket())).collect();
    let mut beyond = connect(&rig.socket());
    check(&answer(&mut beyond), 503, &["Retry-After: 1\r\n", "256 connections"]);
    first.write_all(&request).expect("taken");
    let said = answer(&mut first);
    check(&said, 204, &["Connection: close\r\n"]);
    let mut last = idle.pop().expect("one of them");
    last.write_all(&request).expect("taken");
    check(&answer(&mut last), 204, &[]);
    assert_eq!(rig.queued().len(), 3);
    drop((idle, beyond));
    rig.receiver.end();
    assert_eq!(Arc::strong_count(&rig.queue), 1, "no thread of a connection is left");
}

#[test]
fn a_silent_program_does_not_hold_up_the_end() {
    let rig = rig(1 << 20);
    let mut slow = connect(&rig.socket());
    slow.write_all(b"POST /api/v1/write HTTP/1.1\r\nContent-Length: 100\r\n\r\nsome").expect("taken");
    check(&ask(&rig, &post(V2, &compress(&pushed(&["a"], &[], 1).encode_to_vec()))), 204, &[]);
    let socket = rig.socket();
    rig.receiver.end();
    assert!(!socket.exists());
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0, "cut off");
    assert_eq!(Arc::strong_count(&rig.queue), 1);
}
