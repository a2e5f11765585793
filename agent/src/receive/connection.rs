//! HTTP/1.1 on one connection, as much as pushing takes: requests with a length, answers with one. Every size and every
//! wait has an end.

#![warn(clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::http::Written;

/// Longest head of a request.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 48;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 16 << 10;
/// Longest wait for the next request of a connection.
const IDLE: Duration = Duration::from_mins(2);
/// Longest time for one request, from its first byte to its last; and for one answer.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a refused request that are read and dropped, so that its sender reads the answer.
const DROPPED_BYTES_MAX: usize = 16 << 20;
/// Longest time for that.
const DROPPING_TIME: Duration = Duration::from_secs(2);

/// A connection, with what was read beyond the last request.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// When the request that is read has to be over.
    deadline: Instant,
}

/// What is known of a request before its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) content_type: Option<String>,
    pub(super) encoding: Option<String>,
    /// Length of the body; nothing when it is not told.
    pub(super) length: Option<usize>,
    /// Whether the sender waits for a word before the body.
    pub(super) expects_continue: bool,
    pub(super) keeps_alive: bool,
}

/// Why there is no further request.
#[derive(Debug)]
pub(super) enum Ended {
    /// The sender closed, or was silent for too long between requests.
    Closed,
    /// The request is refused with this answer.
    Refused(Answer),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) written: Option<Written>,
    pub(super) retry_after_s: Option<u64>,
    /// For people; ends the line.
    pub(super) message: String,
}

impl Answer {
    /// An answer with a sentence.
    pub(super) fn of(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), ..Self::default() }
    }

    /// An answer that asks to come back.
    pub(super) fn later(retry_after_s: u64, message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::of(503, message) }
    }
}

impl Connection {
    /// A connection that has said nothing yet.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), deadline: Instant::now() }
    }

    /// Reads the next request up to its body.
    pub(super) fn next_head(&mut self) -> Result<Head, Ended> {
        let mut waits_since = Instant::now();
        let mut seen = !self.buffer.is_empty();
        self.deadline = waits_since + if seen { REQUEST_TIME } else { IDLE };
        loop {
            match parse(&self.buffer) {
                Ok(Some((head, length))) => {
                    self.buffer.drain(..length.min(self.buffer.len()));
                    return Ok(head);
                }
                Ok(None) if self.buffer.len() >= HEAD_BYTES_MAX => {
                    let message = format!("the head of the request is longer than {HEAD_BYTES_MAX} bytes");
                    return Err(Ended::Refused(Answer::of(431, message)));
                }
                Ok(None) => {}
                Err(answer) => return Err(Ended::Refused(answer)),
            }
            match self.fill() {
                Ok(0) => return Err(Ended::Closed),
                Ok(_) if !seen => {
                    seen = true;
                    waits_since = Instant::now();
                    self.deadline = waits_since + REQUEST_TIME;
                }
                Ok(_) => {}
                Err(error) if seen && is_late(&error) => return Err(Ended::Refused(too_slow())),
                Err(_) => return Err(Ended::Closed),
            }
        }
    }

    /// Reads a body of `length` bytes, which the caller has bounded.
    pub(super) fn body(&mut self, length: usize) -> Result<Vec<u8>, Ended> {
        while self.buffer.len() < length {
            match self.fill() {
                Ok(0) => return Err(Ended::Closed),
                Ok(_) => {}
                Err(error) if is_late(&error) => return Err(Ended::Refused(too_slow())),
                Err(_) => return Err(Ended::Closed),
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Tells a sender that waits for it to send the body.
    pub(super) fn tell_continue(&mut self) -> io::Result<()> {
        self.stream.set_write_timeout(Some(REQUEST_TIME))?;
        self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Answers; `closes` says that nothing more is read.
    pub(super) fn answer(&mut self, answer: &Answer, closes: bool) -> io::Result<()> {
        self.stream.set_write_timeout(Some(REQUEST_TIME))?;
        self.stream.write_all(shown(answer, closes).as_bytes())
    }

    /// Ends the connection so that the sender can read the answer: what it still sends is read and dropped, within bounds.
    pub(super) fn end(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.deadline = Instant::now() + DROPPING_TIME;
        let mut dropped = 0;
        while dropped < DROPPED_BYTES_MAX {
            self.buffer.clear();
            match self.fill() {
                Ok(0) | Err(_) => return,
                Ok(count) => dropped += count,
            }
        }
    }

    /// Reads some more into the buffer, until the deadline.
    fn fill(&mut self) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE_BYTES, 0);
        let read = loop {
            match self.stream.read(self.buffer.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + read.as_ref().map_or(0, |count| *count));
        read
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn too_slow() -> Answer {
    Answer::later(1, format!("the request did not arrive within {} s", REQUEST_TIME.as_secs()))
}

/// The head at the start of `bytes` and its length; nothing while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let start = bytes.get(..bytes.len().min(HEAD_BYTES_MAX)).unwrap_or_default();
    let length = match request.parse(start) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Answer::of(431, format!("the request has more than {HEADERS_MAX} headers")));
        }
        Err(error) => return Err(Answer::of(400, format!("the request is not HTTP/1.1: {error}"))),
    };
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        keeps_alive: request.version == Some(1),
        ..Head::default()
    };
    for header in request.headers.iter() {
        let text = std::str::from_utf8(header.value).unwrap_or_default().trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
            if length.is_none() || head.length.is_some_and(|before| Some(before) != length) {
                return Err(Answer::of(400, "the length of the body is no number"));
            }
            head.length = length;
        } else if is("transfer-encoding") {
            return Err(Answer::of(411, "send a body with Content-Length"));
        } else if is("content-type") {
            head.content_type = Some(text.to_owned());
        } else if is("content-encoding") {
            head.encoding = Some(text.to_owned());
        } else if is("expect") {
            head.expects_continue = text.eq_ignore_ascii_case("100-continue");
        } else if is("connection") {
            let asks = |word: &str| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
            head.keeps_alive = (head.keeps_alive && !asks("close")) || asks("keep-alive");
        }
    }
    Ok(Some((head, length)))
}

fn shown(answer: &Answer, closes: bool) -> String {
    let mut text = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    if let Some(written) = answer.written {
        for (name, count) in Written::HEADERS.iter().zip([written.samples, written.histograms, written.exemplars]) {
            let _ = write!(text, "{name}: {count}\r\n");
        }
    }
    if let Some(seconds) = answer.retry_after_s {
        let _ = write!(text, "Retry-After: {seconds}\r\n");
    }
    if closes {
        text.push_str("Connection: close\r\n");
    }
    // An answer without content has no length either.
    if answer.status == 204 {
        text.push_str("\r\n");
    } else {
        let length = answer.message.len() + 1;
        let _ = write!(
            text,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{}\n",
            answer.message
        );
    }
    text
}

fn reason(status: u16) -> &'static str {
    match status {
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let text = b"POST /api/v1/write HTTP/1.1\r\nHost: agent\r\nContent-Type: a;b=c\r\ncontent-encoding: snappy\r\n\
                     Content-Length: 12\r\nExpect: 100-continue\r\n\r\nbody";
        let (head, length) = parse(text).expect("HTTP").expect("whole");
        let want = Head {
            method: "POST".to_owned(),
            target: "/api/v1/write".to_owned(),
            content_type: Some("a;b=c".to_owned()),
            encoding: Some("snappy".to_owned()),
            length: Some(12),
            expects_continue: true,
            keeps_alive: true,
        };
        assert_eq!((head, text.get(length..)), (want, Some(b"body".as_slice())));
        for cut in 0..length {
            assert_eq!(parse(text.get(..cut).expect("in range")), Ok(None), "cut at {cut}");
        }
        for (head, status) in [
            ("Content-Length: x\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 99999999999999999999999\r\n", 400),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
            ("Transfer-Encoding: chunked\r\n", 411),
            ("a b: c\r\n", 400),
            (&"a: b\r\n".repeat(HEADERS_MAX + 1), 431),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{head}\r\n");
            assert_eq!(parse(text.as_bytes()).expect_err(head).status, status, "{head}");
        }
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01").expect_err("TLS").status, 400);
        let kept = |text: &str| parse(text.as_bytes()).expect("HTTP").expect("whole").0.keeps_alive;
        assert!(!kept("GET / HTTP/1.0\r\n\r\n") && kept("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"));
    }

    #[test]
    fn answers() {
        let written = Some(Written { samples: 1, histograms: 2, exemplars: 3 });
        let taken = Answer { status: 204, written, ..Answer::default() };
        let want = "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 1\r\n\
                    X-Prometheus-Remote-Write-Histograms-Written: 2\r\n\
                    X-Prometheus-Remote-Write-Exemplars-Written: 3\r\n\r\n";
        assert_eq!(shown(&taken, false), want);
        let want = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nConnection: close\r\n\
                    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n\r\nlater\n";
        assert_eq!(shown(&Answer::later(7, "later"), true), want);
    }
}
