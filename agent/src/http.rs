//! HTTP as the agent needs it: bounded GETs of pages and POSTs of batches, no redirects, every wait with an end. Connections
//! are kept where the other side keeps them.

mod connections;

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use ureq::RequestBuilder;
use ureq::http::Uri;

use self::connections::{Names, Opener};

/// Longest error text of a server that is kept.
const MESSAGE_BYTES_MAX: u64 = 1024;
/// Bytes that are read at once.
const COPY_BYTES: usize = 16 << 10;
/// Longest response header. It is the size of a connection's buffers too, which stay with one that is kept.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Most connections that are kept, and those of them to one host and port.
const KEPT_MAX: usize = 64;
const KEPT_TO_ONE_MAX: usize = 2;
/// Longest time that a connection is kept without a request: rounds of a minute find theirs again.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// Why there was no answer, or none that is taken. Trying again later may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name every field")]
pub enum HttpError {
    /// Nothing was received: connection refused, name unknown, timeout, broken protocol.
    #[error("{0}")]
    Transport(String),
    /// The body is longer than the limit.
    #[error("body is longer than the limit of {limit_bytes} bytes")]
    TooLong { limit_bytes: u64 },
    /// The body could not be decompressed.
    #[error("body is no valid {encoding}")]
    Encoding { encoding: String },
    /// The body could not be kept where it was to go.
    #[error("answer could not be kept: {source}")]
    Kept { source: io::Error },
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Status of the response.
    pub status: u16,
    /// Its content type; empty when not said.
    pub content_type: String,
    /// Its body, uncompressed.
    pub body: Vec<u8>,
}

/// What a receiver of remote write 2.0 says it wrote of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Floats.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Written {
    /// The headers that tell it, in the order of the fields.
    pub const HEADERS: [&str; 3] = [
        "X-Prometheus-Remote-Write-Samples-Written",
        "X-Prometheus-Remote-Write-Histograms-Written",
        "X-Prometheus-Remote-Write-Exemplars-Written",
    ];

    /// What headers tell; nothing when there is none of them.
    fn from_headers<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<Self> {
        let counts = Self::HEADERS.map(|name| header(name)?.trim().parse::<u64>().ok());
        let [samples, histograms, exemplars] = counts.map(Option::unwrap_or_default);
        counts.iter().any(Option::is_some).then_some(Self { samples, histograms, exemplars })
    }
}

/// What comes before a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status of the response.
    pub status: u16,
    /// Its content type; empty when not said.
    pub content_type: String,
}

/// What a receiver said to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status of the response.
    pub status: u16,
    /// Seconds of the `Retry-After` header.
    pub retry_after_s: Option<u64>,
    /// What it says it wrote, if it says so.
    pub written: Option<Written>,
    /// Beginning of the body, for people.
    pub message: String,
}

/// A request whose answer is read whole.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Where to.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a [(String, String)],
    /// Posted; without one it is a GET.
    pub body: Option<&'a [u8]>,
    /// Longest time for all of it.
    pub timeout: Duration,
    /// Longest answer.
    pub answer_bytes_max: u64,
}

/// The answer to an [`Exchange`].
#[derive(Debug)]
pub struct Answer {
    /// Status of the response.
    pub status: u16,
    /// Its `ETag`; empty when not said.
    pub etag: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// A client with its connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    names: Names,
}

impl Client {
    /// A client that connects directly, for pages on this host and network.
    pub fn direct() -> Self {
        Self::with(Self::builder().proxy(None).max_idle_age(KEPT_FOR).build())
    }

    /// A client that takes the proxy of the environment, for receivers that are not on this host.
    pub fn proxied() -> Self {
        Self::with(Self::builder().build())
    }

    fn with(config: ureq::config::Config) -> Self {
        let names = Names::new(config.proxy().is_some());
        Self { agent: ureq::Agent::with_parts(config, Opener::default(), names.clone()), names }
    }

    fn builder() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(concat!("metrickit-agent/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("")
            .input_buffer_size(HEADER_BYTES_MAX)
            .output_buffer_size(HEADER_BYTES_MAX)
            .max_idle_connections(KEPT_MAX)
            .max_idle_connections_per_host(KEPT_TO_ONE_MAX)
    }

    /// Gets `url` within `timeout`; the body may have `body_bytes_max` bytes, compressed and not.
    ///
    /// # Errors
    ///
    /// When there is no whole answer within the bounds. Any status is an answer.
    pub fn get(&self, url: &str, accept: &str, timeout: Duration, body_bytes_max: u64) -> Result<Page, HttpError> {
        let mut body = Vec::new();
        let head = self.fetch(url, accept, timeout, body_bytes_max, &mut body)?;
        Ok(Page { status: head.status, content_type: head.content_type, body })
    }

    /// As [`get`](Self::get), with the body written to `sink` as it comes. After an error a part of it is there. A kept
    /// connection that the other side closes just then is no error: it is asked again, once.
    ///
    /// # Errors
    ///
    /// As for `get`, and when `sink` refuses.
    pub fn fetch(
        &self,
        url: &str,
        accept: &str,
        timeout: Duration,
        body_bytes_max: u64,
        sink: &mut dyn Write,
    ) -> Result<Head, HttpError> {
        let (asked, opened) = (Instant::now(), connections::opened());
        let ask = |timeout| {
            let request = bounded(self.agent.get(url), timeout);
            request.header("Accept", accept).header("Accept-Encoding", "gzip").call()
        };
        let answer = match ask(timeout) {
            Err(error) if connections::opened() == opened && connections::is_closed(&error) => {
                ask(timeout.saturating_sub(asked.elapsed()))
            }
            answer => answer,
        };
        let mut response = answer.map_err(|error| self.failed(url, &error))?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").trim().to_owned()
        };
        let (content_type, encoding) = (header("content-type"), header("content-encoding"));
        let status = response.status().as_u16();
        let raw = response.body_mut().as_reader();
        match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => copy_bounded(raw, body_bytes_max, sink),
            "gzip" | "x-gzip" => {
                let mut decoder = GzDecoder::new(raw.take(body_bytes_max.saturating_add(1)));
                let copied = copy_bounded(&mut decoder, body_bytes_max, sink);
                // A connection is kept when the end of the body was seen, which the end of what is compressed is not.
                let _ = decoder.into_inner().read(&mut [0; 1]);
                copied
            }
            _ => Err(HttpError::Encoding { encoding }),
        }?;
        Ok(Head { status, content_type })
    }

    /// Asks and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When there is no whole answer within the bounds. Any status is an answer.
    pub fn exchange(&self, exchange: &Exchange<'_>) -> Result<Answer, HttpError> {
        let sent = if let Some(body) = exchange.body {
            let request = bounded(self.agent.post(exchange.url), exchange.timeout);
            exchange.headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send(body)
        } else {
            let request = bounded(self.agent.get(exchange.url), exchange.timeout);
            exchange.headers.iter().fold(request, |request, (name, value)| request.header(name, value)).call()
        };
        let mut response = sent.map_err(|error| self.failed(exchange.url, &error))?;
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        copy_bounded(response.body_mut().as_reader(), exchange.answer_bytes_max, &mut body)?;
        Ok(Answer { status, etag, body })
    }

    /// Posts `body` to `url` within `timeout`.
    ///
    /// # Errors
    ///
    /// When there is no answer. Any status is an answer.
    pub fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Reply, HttpError> {
        let mut request = bounded(self.agent.post(url), timeout);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.send(body).map_err(|error| self.failed(url, &error))?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after_s = header("retry-after").and_then(|text| text.trim().parse().ok());
        let written = Written::from_headers(header);
        let status = response.status().as_u16();
        let mut message = Vec::new();
        // The status has said it all already; a message that cannot be read is no failure.
        let _ = response.body_mut().as_reader().take(MESSAGE_BYTES_MAX).read_to_end(&mut message);
        let message = String::from_utf8_lossy(&message).trim().replace(char::is_control, " ");
        Ok(Reply { status, retry_after_s, written, message })
    }

    fn failed(&self, url: &str, error: &ureq::Error) -> HttpError {
        self.names.forget(url);
        HttpError::Transport(error.to_string())
    }
}

/// `request`, which ends within `timeout`, and takes no proxy to this host: one elsewhere would look for the receiver at itself, and learn
/// the token.
fn bounded<B>(request: RequestBuilder<B>, timeout: Duration) -> RequestBuilder<B> {
    let is_here = request.uri_ref().and_then(Uri::host).is_some_and(is_loopback);
    let config = request.config().timeout_global(Some(timeout));
    if is_here { config.proxy(None) } else { config }.build()
}

/// Whether `host` of a URL is this host.
fn is_loopback(host: &str) -> bool {
    let name = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Copies all of `reader` to `sink`, at most `limit_bytes`.
pub(crate) fn copy_bounded(mut reader: impl Read, limit_bytes: u64, sink: &mut dyn Write) -> Result<(), HttpError> {
    let mut left = limit_bytes;
    let mut part = [0; COPY_BYTES];
    loop {
        let read = match reader.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(HttpError::Transport(error.to_string())),
        };
        left = left.checked_sub(read as u64).ok_or(HttpError::TooLong { limit_bytes })?;
        sink.write_all(&part[..read]).map_err(|source| HttpError::Kept { source })?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::JoinHandle;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// What a server does with a connection after an answer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Then {
        /// Waits for the next request.
        Keeps,
        /// Closes it, without having said so.
        Closes,
        /// Reads the next request and closes it without an answer.
        Closes1Later,
    }

    /// A server of pages that counts its connections and requests.
    struct Server {
        url: String,
        connections: Arc<AtomicUsize>,
        requests: Arc<AtomicUsize>,
    }

    fn serve(then: Then, answer: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opened, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                opened.fetch_add(1, Ordering::SeqCst);
                let (asked, answer) = (Arc::clone(&asked), answer.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().expect("cloned"));
                    for at in 0.. {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if lines.read_line(&mut head).unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        asked.fetch_add(1, Ordering::SeqCst);
                        if then == Then::Closes1Later && at > 0 {
                            return;
                        }
                        stream.write_all(&answer).expect("the client listens");
                        if then == Then::Closes {
                            return;
                        }
                    }
                });
            }
        });
        Server { url, connections, requests }
    }

    fn plain() -> Vec<u8> {
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nup 1\n".to_vec()
    }

    /// Compressed and in chunks, as Go's client library answers: the end of what is compressed is not that of the body.
    fn in_chunks() -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"up 1\n").expect("in memory");
        let body = encoder.finish().expect("in memory");
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        answer.extend(format!("{:x}\r\n", body.len()).into_bytes());
        answer.extend(body);
        answer.extend(b"\r\n0\r\n\r\n");
        answer
    }

    /// Gets a page four times; returns how many connections and requests that took.
    #[track_caller]
    fn get_four(then: Then, answer: Vec<u8>) -> (usize, usize) {
        let (server, client) = (serve(then, answer), Client::direct());
        for _ in 0..4 {
            let page = client.get(&server.url, "*/*", Duration::from_mins(1), 100).expect("a page");
            assert_eq!((page.status, page.body.as_slice()), (200, &b"up 1\n"[..]), "{then:?}");
        }
        (server.connections.load(Ordering::SeqCst), server.requests.load(Ordering::SeqCst))
    }

    #[test]
    fn connections_are_kept_where_the_other_side_keeps_them() {
        assert_eq!(get_four(Then::Keeps, plain()), (1, 4));
        assert_eq!(get_four(Then::Keeps, in_chunks()), (1, 4));
    }

    #[test]
    fn a_kept_connection_that_was_closed_is_no_failure() {
        assert_eq!(get_four(Then::Closes, plain()), (4, 4));
        let closing =
            String::from_utf8_lossy(&plain()).replace("Content-Length", "Connection: close\r\nContent-Length");
        assert_eq!(get_four(Then::Closes, closing.into_bytes()), (4, 4));
        // Each but the first is asked twice: in vain over the kept connection, and over a new one.
        assert_eq!(get_four(Then::Closes1Later, plain()), (4, 7));
    }

    #[test]
    fn a_new_connection_that_is_closed_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let _ = stream.read(&mut [0; 1024]);
            drop(stream);
            listener.set_nonblocking(true).expect("set");
            listener
        });
        let error = Client::direct().get(&url, "*/*", Duration::from_mins(1), 100).expect_err("no answer");
        assert!(matches!(error, HttpError::Transport(_)), "{error:?}");
        let listener = server.join().expect("no panic");
        assert!(listener.accept().is_err(), "it is not asked again");
    }

    #[test]
    fn this_host_by_its_names() {
        for (host, want) in [
            ("localhost", true),
            ("LocalHost", true),
            ("a.localhost", true),
            ("127.0.0.1", true),
            ("127.3.2.1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("10.0.0.1", false),
            ("localhost.example", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(is_loopback(host), want, "{host}");
        }
    }

    /// Takes one connection and closes it; where it listens, and the first words that it is told.
    fn listening() -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let told = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("asked");
            let mut line = String::new();
            // The line may come in pieces.
            BufReader::new(stream).read_line(&mut line).expect("told");
            line.trim_end().to_owned()
        });
        (address, told)
    }

    #[test]
    fn what_is_for_this_host_takes_no_proxy() {
        let ((receiver, to_receiver), (proxy, to_proxy)) = (listening(), listening());
        let proxy = ureq::Proxy::new(&format!("http://{proxy}")).expect("a proxy");
        let client = Client::with(Client::builder().proxy(Some(proxy)).build());
        for url in [format!("http://{receiver}/write"), "http://receiver.invalid/write".to_owned()] {
            let answer = client.post(&url, &[], b"x", Duration::from_secs(30));
            assert!(answer.is_err(), "neither answers");
        }
        assert_eq!(to_receiver.join().expect("ends"), "POST /write HTTP/1.1");
        let asked = to_proxy.join().expect("ends");
        assert!(asked.contains("receiver.invalid"), "{asked}");
    }
}
