//! Brings captures to the server, one at a time, the oldest first. What cannot be sent stays and is tried again after a pause;
//! what the server refuses for good stays too, for whoever looks into the folder, until the folder's bounds remove it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use model::Clock;
use parking_lot::Mutex;

use crate::config::PushConfig;
use crate::go::profile::store::{Capture, Store, StoreError};
use crate::http::Client;
use crate::send::credentials::credentials;

/// Where captures go, below the server's address.
pub const CAPTURES_PATH: &str = "/api/v1/captures";
/// First pause after a failure; doubles each time.
const PAUSE_MS_MIN: i64 = 15_000;
/// Longest pause: no longer than the server waits for what it ordered.
const PAUSE_MS_MAX: i64 = 60_000;
/// Longest capture that is sent, after compression.
const BODY_BYTES_MAX: u64 = 32 << 20;
/// Longest time for one.
const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);
/// Most captures that are remembered as refused.
const REFUSED_MAX: usize = 4096;

/// Sends captures.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    server: String,
    agent: String,
    push: PushConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it is tried again, after the pause of `pause_ms`.
    again_ms: Option<i64>,
    pause_ms: i64,
    refused: HashSet<String>,
    /// Those that others do not wait for: when they are tried again, after pauses of so many milliseconds.
    apart: HashMap<String, (i64, i64)>,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The server has it.
    Sent,
    /// Later, and so for all others.
    Later,
    /// Later; others may go now.
    NotThisOne,
    /// Never; the capture is at fault, or the server does not take such.
    Refused,
}

/// The pause after one of `pause_ms`.
fn longer(pause_ms: i64) -> i64 {
    (pause_ms * 2).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX)
}

fn judge(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Sent,
        400 | 413 | 415 | 422 => Verdict::Refused,
        // The server's limit for one process.
        429 => Verdict::NotThisOne,
        _ => Verdict::Later,
    }
}

impl Sender {
    /// Sends to the server at the address `server` in the name of `agent`, with the headers of `push`.
    pub fn new(server: &str, agent: &str, push: &PushConfig) -> Self {
        Self {
            client: Client::proxied(),
            server: server.to_owned(),
            agent: agent.to_owned(),
            push: push.clone(),
            state: Mutex::default(),
        }
    }

    /// Sends what is in `store`, unless a pause is on; returns how many the server took, which are removed.
    pub fn send_all(&self, store: &Store, clock: &dyn Clock) -> u64 {
        // Held while sending: one at a time.
        let mut state = self.state.lock();
        let now_ms = clock.now().0;
        // A clock that was set back ends a pause.
        let is_on = |again_ms: i64| now_ms < again_ms && again_ms - now_ms <= PAUSE_MS_MAX;
        if state.again_ms.is_some_and(is_on) {
            return 0;
        }
        let (mut sent, mut is_held_up) = (0, false);
        let captures = store.list();
        state.apart.retain(|id, _| captures.iter().any(|capture| capture.id == *id));
        for capture in captures {
            let id = capture.id.as_str();
            if state.refused.contains(id) || state.apart.get(id).is_some_and(|(again_ms, _)| is_on(*again_ms)) {
                continue;
            }
            match self.send(store, &capture) {
                Ok(()) => {
                    store.remove(id);
                    state.pause_ms = 0;
                    sent += 1;
                }
                Err((Verdict::Refused, message)) => {
                    tracing::warn!(capture = id, message, "a capture is never sent; what there is of it stays here");
                    if state.refused.len() < REFUSED_MAX {
                        state.refused.insert(capture.id);
                    }
                }
                Err((Verdict::NotThisOne, message)) => {
                    let before_ms = state.apart.get(id).map(|(_, pause_ms)| *pause_ms);
                    if before_ms.is_none() {
                        tracing::warn!(
                            capture = id,
                            message,
                            "a capture cannot be sent now; it is kept and tried again"
                        );
                    }
                    let pause_ms = longer(before_ms.unwrap_or(0));
                    state.apart.insert(capture.id, (clock.now().0.saturating_add(pause_ms), pause_ms));
                }
                Err((_, message)) => {
                    if state.pause_ms == 0 {
                        tracing::warn!(message, "captures cannot be sent now; they are kept and tried again");
                    }
                    state.pause_ms = longer(state.pause_ms);
                    state.again_ms = Some(clock.now().0.saturating_add(state.pause_ms));
                    is_held_up = true;
                    break;
                }
            }
        }
        if !is_held_up {
            state.pause_ms = 0;
        }
        sent
    }

    fn send(&self, store: &Store, capture: &Capture) -> Result<(), (Verdict, String)> {
        let later = |message: String| (Verdict::Later, message);
        let body = body(store, capture)?;
        let mut headers = credentials(&self.push).map_err(later)?;
        headers.push(("Content-Type".to_owned(), "application/octet-stream".to_owned()));
        let url = format!("{}{CAPTURES_PATH}?{}", self.server, self.query(capture));
        let reply = self.client.post(&url, &headers, &body, TIMEOUT).map_err(|error| later(error.to_string()))?;
        match judge(reply.status) {
            Verdict::Sent => Ok(()),
            verdict => Err((verdict, format!("status {}: {}", reply.status, reply.message))),
        }
    }

    /// What the capture is, as parameters.
    fn query(&self, capture: &Capture) -> String {
        let about = &capture.about;
        let what = if about.what.is_empty() { &about.kind } else { &about.what };
        let mut query = format!("time={}.{:03}", about.at_ms.div_euclid(1000), about.at_ms.rem_euclid(1000));
        let origin = format!("{} {}", self.agent, capture.id);
        let task = about.task.map(|id| id.to_string()).unwrap_or_default();
        for (name, value) in [
            ("agent", self.agent.as_str()),
            ("instance", about.label("instance")),
            ("job", about.label("job")),
            ("what", what),
            ("seconds", &about.seconds.to_string()),
            ("reason", &about.reason),
            ("by", &about.by),
            ("way", &about.way),
            ("version", &about.version),
            ("revision", &about.revision),
            ("go_version", &about.go_version),
            ("origin", &origin),
            ("task", &task),
        ] {
            if !value.is_empty() {
                let _ = write!(query, "&{name}={}", escaped(value));
            }
        }
        query
    }
}

/// The bytes that are sent: text is compressed.
fn body(store: &Store, capture: &Capture) -> Result<Vec<u8>, (Verdict, String)> {
    let failed = |error: &dyn std::fmt::Display| (Verdict::NotThisOne, format!("the capture cannot be read: {error}"));
    let (_, mut file) = store.read(&capture.id).map_err(|error| match error {
        // Somebody removed the file, or its room was needed.
        StoreError::Unknown { .. } => (Verdict::Refused, error.to_string()),
        error => failed(&error),
    })?;
    let mut bytes = Vec::new();
    if capture.about.extension == "txt" {
        let mut gzip = GzEncoder::new(&mut bytes, Compression::default());
        std::io::copy(&mut file, &mut gzip).and_then(|_| gzip.flush()).map_err(|error| failed(&error))?;
        gzip.finish().map_err(|error| failed(&error))?;
    } else {
        file.take(BODY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    }
    if bytes.len() as u64 > BODY_BYTES_MAX {
        return Err((Verdict::Refused, format!("it has more than {BODY_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// `text` as the value of a parameter.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use model::{ManualClock, TimestampMs};

    use super::*;
    use crate::config::ProfilesConfig;
    use crate::go::profile::store::About;

    #[test]
    fn answers_and_parameters() {
        for (status, want) in [
            (200, Verdict::Sent),
            (204, Verdict::Sent),
            (400, Verdict::Refused),
            (413, Verdict::Refused),
            (429, Verdict::NotThisOne),
        ] {
            assert_eq!(judge(status), want);
        }
        for status in [301, 401, 404, 500, 503] {
            assert_eq!(judge(status), Verdict::Later, "{status}");
        }
        assert_eq!(escaped("web1/0 a&b=ü"), "web1/0%20a%26b%3D%C3%BC");
    }
    /// A server that answers one request after the other so, and what it was sent then.
    fn serve(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let served = std::thread::spawn(move || {
            let serve_one = |answer: &&str| {
                let (mut stream, _) = listener.accept().expect("asked");
                let mut lines = BufReader::new(stream.try_clone().expect("cloned"));
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let begin = head.len();
                    assert!(lines.read_line(&mut head).expect("a head") > 0);
                    if let Some(told) = head[begin..].to_ascii_lowercase().strip_prefix("content-length:") {
                        length = told.trim().parse().expect("a length");
                    }
                }
                let mut body = vec![0; length];
                lines.read_exact(&mut body).expect("a body");
                write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .expect("answered");
                String::from_utf8(body).expect("text")
            };
            answers.iter().map(serve_one).collect()
        });
        (url, served)
    }

    #[test]
    fn one_that_cannot_go_now_holds_up_no_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = ProfilesConfig { folder: folder.path().to_owned(), bytes_max: 1 << 20, age_max_ms: i64::MAX };
        let store = Store::open(&config, 0).expect("opened");
        let keep = |at_ms: i64, bytes: &str| {
            let about = About { at_ms, extension: "pb.gz".to_owned(), ..About::default() };
            let mut draft = store.begin(about).expect("begun");
            draft.write_all(bytes.as_bytes()).expect("written");
            draft.commit(at_ms).expect("kept")
        };
        let gone = keep(1, "gone");
        std::fs::remove_file(folder.path().join(format!("{gone}.pb.gz"))).expect("removed");
        keep(2, "limited");
        keep(3, "third");
        keep(4, "fourth");
        let (url, served) = serve(&["429 Too Many Requests", "204 No Content", "503 Service Unavailable"]);
        let sender = Sender::new(&url, "box", &crate::Config::default().push);
        let clock = ManualClock::new(TimestampMs(1_000_000));
        assert_eq!(sender.send_all(&store, &clock), 1);
        assert_eq!(served.join().expect("served"), ["limited", "third", "fourth"]);
        assert_eq!(sender.send_all(&store, &clock), 0, "a pause is on");

        clock.advance_ms(PAUSE_MS_MIN);
        let (url, served) = serve(&["429 Too Many Requests", "204 No Content"]);
        let sender = Sender { server: url, ..sender };
        assert_eq!(sender.send_all(&store, &clock), 1);
        assert_eq!(served.join().expect("served"), ["limited", "fourth"]);

        // Its pause is its own: what comes goes at once, and it when its time has come.
        keep(5, "fifth");
        let (url, served) = serve(&["204 No Content"]);
        let sender = Sender { server: url, ..sender };
        assert_eq!(sender.send_all(&store, &clock), 1);
        assert_eq!(served.join().expect("served"), ["fifth"]);
        clock.advance_ms(2 * PAUSE_MS_MIN);
        let (url, served) = serve(&["204 No Content"]);
        let sender = Sender { server: url, ..sender };
        assert_eq!(sender.send_all(&store, &clock), 1);
        assert_eq!(served.join().expect("served"), ["limited"]);
    }
}
