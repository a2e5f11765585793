//! HTTP as the agent needs it: bounded GETs of pages and POSTs of batches, no redirects, every wait with an end.

use std::io::{self, Read, Write};
use std::time::Duration;

use flate2::read::GzDecoder;

/// Longest error text of a server that is kept.
const MESSAGE_BYTES_MAX: u64 = 1024;
/// Bytes that are read at once.
const COPY_BYTES: usize = 16 << 10;
/// Longest response header.
const HEADER_BYTES_MAX: usize = 64 << 10;

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
}

impl Client {
    /// A client that connects directly, for pages on this host and network.
    pub fn direct() -> Self {
        Self { agent: Self::builder().proxy(None).build().new_agent() }
    }

    /// A client that takes the proxy of the environment, for receivers.
    pub fn proxied() -> Self {
        Self { agent: Self::builder().build().new_agent() }
    }

    fn builder() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(concat!("metrickit-agent/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("")
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

    /// As [`get`](Self::get), with the body written to `sink` as it comes. After an error a part of it is there.
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
        let mut response = self
            .agent
            .get(url)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .header("Accept", accept)
            .header("Accept-Encoding", "gzip")
            .call()
            .map_err(transport)?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").trim().to_owned()
        };
        let (content_type, encoding) = (header("content-type"), header("content-encoding"));
        let status = response.status().as_u16();
        let raw = response.body_mut().as_reader();
        match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => copy_bounded(raw, body_bytes_max, sink),
            "gzip" | "x-gzip" => {
                copy_bounded(GzDecoder::new(raw.take(body_bytes_max.saturating_add(1))), body_bytes_max, sink)
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
        let timeout = Some(exchange.timeout);
        let sent = if let Some(body) = exchange.body {
            let request = self.agent.post(exchange.url).config().timeout_global(timeout).build();
            exchange.headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send(body)
        } else {
            let request = self.agent.get(exchange.url).config().timeout_global(timeout).build();
            exchange.headers.iter().fold(request, |request, (name, value)| request.header(name, value)).call()
        };
        let mut response = sent.map_err(transport)?;
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
        let mut request = self.agent.post(url).config().timeout_global(Some(timeout)).build();
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = request.send(body).map_err(transport)?;
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
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn transport(error: ureq::Error) -> HttpError {
    HttpError::Transport(error.to_string())
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
