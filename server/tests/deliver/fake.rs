//! A server of HTTP that answers as it is told, and remembers what it was sent.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest body that is read.
const BODY_BYTES_MAX: usize = 8 << 20;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// `POST /path HTTP/1.1`.
    pub(crate) line: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

/// What is done with a request, by its number from 0.
pub(crate) enum Play {
    /// These bytes, then the connection is closed.
    Say(String),
    /// The head of an answer, then a byte of its body now and then.
    Drip(String),
    /// Nothing, until the server ends.
    Hang,
}

/// An answer with a status, headers and a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Play {
    Play::Say(format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

pub(crate) struct Fake {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(play: impl Fn(usize) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (got, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, stop, play) = (Arc::clone(&got), Arc::clone(&ends), Arc::new(play));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (all, stop, play) = (Arc::clone(&all), Arc::clone(&stop), Arc::clone(&play));
                std::thread::spawn(move || serve(stream, &all, &stop, play.as_ref()));
            }
        });
        Self { url, got, ends, thread: Some(thread) }
    }

    /// What came so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic").clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Got>>, ends: &AtomicBool, play: &dyn Fn(usize) -> Play) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let Some(got) = read(&mut reader) else { return };
    let number = {
        let mut all = all.lock().expect("no panic");
        all.push(got);
        all.len() - 1
    };
    let mut stream = stream;
    let wait = || {
        while !ends.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    match play(number) {
        Play::Say(text) => drop(stream.write_all(text.as_bytes())),
        Play::Drip(head) => {
            let mut said = stream.write_all(head.as_bytes());
            while said.is_ok() && !ends.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(50));
                said = stream.write_all(b"x");
            }
        }
        Play::Hang => wait(),
    }
}

/// Reads one request.
pub(crate) fn read(reader: &mut impl BufRead) -> Option<Got> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let got = Got { line: line.trim().to_owned(), headers, body: Vec::new() };
    let body = if got.header("transfer-encoding").is_some() {
        chunked(reader)?
    } else {
        let length: usize = got.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length.min(BODY_BYTES_MAX)];
        reader.read_exact(&mut body).ok()?;
        body
    };
    Some(Got { body, ..got })
}

fn chunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| body.len() + size < BODY_BYTES_MAX)?;
        let mut part = vec![0; size + 2];
        reader.read_exact(&mut part).ok()?;
        body.extend_from_slice(part.get(..size)?);
        if size == 0 {
            return Some(body);
        }
    }
}
