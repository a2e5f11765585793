//! A receiver of remote write for tests: a small HTTP server on a free loopback port that answers as scripted and keeps
//! what it took.
#![expect(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use model::remote_write::{Label, TimeSeries, WriteRequest, v2};
use prost::Message;

/// One sample as received: its labels shown as `name{a=b,…}`, time, value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) series: String,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<(u16, &'static str)>,
    taken: Vec<Received>,
    metadata: Vec<String>,
    requests: Vec<(u16, usize, String)>,
    /// Whether it knows version 2.0.
    knows_v2: bool,
    /// Whether it takes nothing at this time.
    away: bool,
}

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Receiver {
    /// A server of version 1.0 that gives `answers` (status, extra header lines) first and 204 from then on.
    pub(crate) fn start(answers: &[(u16, &'static str)]) -> Self {
        Self::start_version(answers, false)
    }

    /// The same that knows version 2.0 too, if so it is told.
    pub(crate) fn start_version(answers: &[(u16, &'static str)], knows_v2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/api/v1/write", listener.local_addr().expect("bound"));
        let state = Arc::new((
            Mutex::new(State { answers: answers.iter().copied().collect(), knows_v2, ..State::default() }),
            Condvar::new(),
        ));
        let receiver = Self { url, state };
        let server = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        receiver
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
        let mut stream = stream;
        while let Some((head, body)) = read_request(&mut reader) {
            if !head.starts_with("post /api/v1/write ") {
                // As a receiver of another kind says to check-ins.
                if stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n").is_err() {
                    return;
                }
                continue;
            }
            let (state, changed) = &*self.state;
            let mut state = state.lock().expect("not poisoned");
            let bytes = snap::raw::Decoder::new().decompress_vec(&body).expect("snappy");
            let in_v2 = state.knows_v2 && head.contains("proto=io.prometheus.write.v2.request");
            // Who knows 1.0 alone reads a request of 2.0 as one without series.
            let (request, described) = if in_v2 { from_v2(&bytes) } else { from_v1(&bytes) };
            state.metadata.extend(described);
            let metadata_alone = request.timeseries.is_empty();
            let scripted = if metadata_alone { None } else { state.answers.pop_front() };
            let (status, extra) = if state.away { (503, "") } else { scripted.unwrap_or((204, "")) };
            let samples = flatten(&request);
            let written = match (in_v2, status < 300) {
                (true, true) => format!("X-Prometheus-Remote-Write-Samples-Written: {}\r\n", samples.len()),
                _ => String::new(),
            };
            if !metadata_alone {
                state.requests.push((status, samples.len(), head));
            }
            if status < 300 {
                state.taken.extend(samples);
            }
            changed.notify_all();
            drop(state);
            let message = if status < 300 { "" } else { "scripted" };
            let answer =
                format!("HTTP/1.1 {status} X\r\n{extra}{written}Content-Length: {}\r\n\r\n{message}", message.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Waits until `enough` of what was taken, then returns it; panics after a minute.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let (state, changed) = &*self.state;
        let guard = state.lock().expect("not poisoned");
        let (guard, waited) = changed
            .wait_timeout_while(guard, Duration::from_mins(1), |state| !enough(&state.taken))
            .expect("not poisoned");
        assert!(!waited.timed_out(), "waited in vain for {what}; {} samples came", guard.taken.len());
        guard.taken.clone()
    }

    /// From now on it takes nothing, or everything again.
    pub(crate) fn away(&self, away: bool) {
        self.state.0.lock().expect("not poisoned").away = away;
    }

    pub(crate) fn taken(&self) -> Vec<Received> {
        self.state.0.lock().expect("not poisoned").taken.clone()
    }

    /// Status given, samples, and head of each request with samples.
    pub(crate) fn requests(&self) -> Vec<(u16, usize, String)> {
        self.state.0.lock().expect("not poisoned").requests.clone()
    }

    pub(crate) fn metadata(&self) -> Vec<String> {
        self.state.0.lock().expect("not poisoned").metadata.clone()
    }
}

fn from_v1(bytes: &[u8]) -> (WriteRequest, Vec<String>) {
    let request = WriteRequest::decode(bytes).expect("protobuf");
    let described = request.metadata.iter().map(|metadata| metadata.metric_family_name.clone()).collect();
    (request, described)
}

/// A request of version 2.0 as one of 1.0, and the names of series that tell of their metrics.
fn from_v2(bytes: &[u8]) -> (WriteRequest, Vec<String>) {
    let request = v2::Request::decode(bytes).expect("protobuf");
    let text = |at: u32| request.symbols[at as usize].clone();
    let mut described = Vec::new();
    let series = request.timeseries.iter().map(|series| {
        let pairs = series.labels_refs.chunks_exact(2);
        let labels: Vec<_> = pairs.map(|pair| Label { name: text(pair[0]), value: text(pair[1]) }).collect();
        if series.metadata.is_some() {
            described.push(labels[0].value.clone());
        }
        TimeSeries {
            labels,
            samples: series.samples.clone(),
            histograms: series.histograms.clone(),
            ..TimeSeries::default()
        }
    });
    let timeseries = series.collect();
    (WriteRequest { timeseries, metadata: Vec::new() }, described)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let before = head.len();
        reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head.to_ascii_lowercase(), body))
}

fn flatten(request: &WriteRequest) -> Vec<Received> {
    let mut all = Vec::new();
    for series in &request.timeseries {
        assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "labels are sorted: {:?}", series.labels);
        let name = series.labels.iter().find(|label| label.name == "__name__").map_or("", |label| label.value.as_str());
        let rest = series.labels.iter().filter(|label| label.name != "__name__");
        let rest: Vec<String> = rest.map(|label| format!("{}={}", label.name, label.value)).collect();
        let shown = format!("{name}{{{}}}", rest.join(","));
        for sample in &series.samples {
            all.push(Received { series: shown.clone(), timestamp_ms: sample.timestamp, value: sample.value });
        }
        // Of histograms what they counted.
        for histogram in &series.histograms {
            let value = model::remote_write::from_wire(histogram).expect("a histogram").count;
            all.push(Received { series: shown.clone(), timestamp_ms: histogram.timestamp, value });
        }
    }
    all
}
