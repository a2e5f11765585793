//! Where a process offers its profiles, and one GET there: below a URL, or at the abstract unix socket that the client
//! library listens on in programs that embed it, which the kernel guards and which shows in nobody's log.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use crate::http::{Client, Head, HttpError, Page, copy_bounded};
use crate::peer;

/// Path of the profiles on every server.
pub const PATH: &str = "/debug/pprof/";

/// What is asked for: profiles are binary or text.
const ACCEPT: &str = "*/*";
/// Longest header of an answer at a socket.
const HEADER_BYTES_MAX: u64 = 16 << 10;

/// Where profiles are offered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Below a URL, which ends in a slash.
    Url(String),
    /// At the abstract socket with this name, which anybody may have taken: answers count of one process alone.
    Socket {
        /// The name, without the zero byte that it begins with.
        name: String,
        /// The process that is to listen there.
        pid: i32,
    },
}

impl Endpoint {
    /// Below `url`, to which a slash is added where it has none.
    pub fn url(url: &str) -> Self {
        Self::Url(if url.ends_with('/') { url.to_owned() } else { format!("{url}/") })
    }

    /// The socket of the client library in process `pid`.
    pub fn socket_of(pid: i32) -> Self {
        Self::Socket { name: format!("metrickit/go/{pid}"), pid }
    }

    /// The endpoint for people; it may hold a password.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => crate::config::value::masked(url),
            Self::Socket { name, .. } => format!("unix:@{name}"),
        }
    }

    /// Whether the process listens at its socket; nothing is asked. Of URLs that is not known.
    pub fn is_listening(&self) -> bool {
        match self {
            Self::Url(_) => true,
            Self::Socket { name, pid } => connect(name, *pid).is_ok(),
        }
    }

    /// Gets `path` below `/debug/pprof/`, with a body of at most `body_bytes_max`.
    ///
    /// # Errors
    ///
    /// When there is no whole answer within the bounds. Any status is an answer.
    pub fn get(&self, client: &Client, path: &str, timeout: Duration, body_bytes_max: u64) -> Result<Page, HttpError> {
        let mut body = Vec::new();
        let head = self.fetch(client, path, timeout, body_bytes_max, &mut body)?;
        Ok(Page { status: head.status, content_type: head.content_type, body })
    }

    /// As [`get`](Self::get), with the body written to `sink` as it comes.
    ///
    /// # Errors
    ///
    /// As for `get`, and when `sink` refuses.
    pub fn fetch(
        &self,
        client: &Client,
        path: &str,
        timeout: Duration,
        body_bytes_max: u64,
        sink: &mut dyn Write,
    ) -> Result<Head, HttpError> {
        match self {
            Self::Url(base) => client.fetch(&format!("{base}{path}"), ACCEPT, timeout, body_bytes_max, sink),
            Self::Socket { name, pid } => {
                let stream = connect(name, *pid).map_err(|error| HttpError::Transport(error.to_string()))?;
                get_once(stream, path, Instant::now() + timeout, body_bytes_max, sink)
            }
        }
    }
}

/// Connects to the socket `name`, where the process `pid` listens and nobody else.
fn connect(name: &str, pid: i32) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    // Of who connected, the kernel tells the process that called `listen`.
    let listens = peer::pid_of(&stream)?;
    if listens == Some(pid) {
        return Ok(stream);
    }
    let listens =
        listens.map_or_else(|| "a process without an id here".to_owned(), |listens| format!("process {listens}"));
    let problem = format!("{listens} listens at @{name}, not process {pid}");
    Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, problem))
}

/// A stream that is read and written until a deadline.
struct Timed {
    stream: UnixStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(std::io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

/// One request of HTTP/1.0, whose answer ends with the connection: no chunks, nothing to keep alive.
fn get_once(
    mut stream: UnixStream,
    path: &str,
    deadline: Instant,
    body_bytes_max: u64,
    sink: &mut dyn Write,
) -> Result<Head, HttpError> {
    let transport = |error: std::io::Error| HttpError::Transport(error.to_string());
    let broken = |what: &str| HttpError::Transport(what.to_owned());
    let left = deadline.saturating_duration_since(Instant::now());
    stream.set_write_timeout(Some(left.max(Duration::from_millis(1)))).map_err(transport)?;
    let request = format!("GET {PATH}{path} HTTP/1.0\r\nHost: program\r\nAccept: {ACCEPT}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(transport)?;
    let mut reader = BufReader::new(Timed { stream, deadline });
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        let room = HEADER_BYTES_MAX.saturating_sub(header.len() as u64);
        let read = reader.by_ref().take(room).read_until(b'\n', &mut header).map_err(transport)?;
        if read == 0 {
            return Err(broken("the header of the answer has no end"));
        }
    }
    let header = String::from_utf8_lossy(&header);
    let mut lines = header.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok());
    let status: u16 = status.ok_or_else(|| broken("the answer is no HTTP"))?;
    let (mut content_type, mut length) = (String::new(), None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-type" => value.trim().clone_into(&mut content_type),
            "content-length" => length = value.trim().parse::<u64>().ok(),
            "transfer-encoding" => return Err(broken("the answer comes in chunks, which were not asked for")),
            _ => {}
        }
    }
    let mut counted = Counted { sink, bytes: 0 };
    copy_bounded(reader.take(length.unwrap_or(u64::MAX)), body_bytes_max, &mut counted)?;
    if length.is_some_and(|length| length != counted.bytes) {
        return Err(broken("the end of the answer is missing"));
    }
    Ok(Head { status, content_type })
}

struct Counted<'a> {
    sink: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The socket `name`, at which this process is to listen.
    fn own(name: String) -> Endpoint {
        Endpoint::Socket { name, pid: i32::try_from(std::process::id()).expect("an id") }
    }

    /// A socket that answers once with `answer`, and what it was asked.
    fn answering(answer: &'static [u8]) -> (Endpoint, std::thread::JoinHandle<String>) {
        let name = format!("metrickit-test/{}/{}", std::process::id(), fastrand::u64(..));
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let listener = UnixListener::bind_addr(&address).expect("a free name");
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().expect("cloned"));
            while !request.ends_with("\r\n\r\n") && lines.read_line(&mut request).expect("readable") > 0 {}
            // The other side may have heard enough.
            let _ = stream.write_all(answer);
            request
        });
        (own(name), asked)
    }

    fn get(answer: &'static [u8]) -> (Result<Page, HttpError>, String) {
        let (endpoint, asked) = answering(answer);
        let page = endpoint.get(&Client::direct(), "heap?debug=1", Duration::from_mins(1), 10);
        (page, asked.join().expect("no panic"))
    }

    #[test]
    fn an_answer_at_a_socket() {
        let (page, asked) = get(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello");
        let page = page.expect("an answer");
        assert_eq!((page.status, page.content_type.as_str(), page.body.as_slice()), (200, "text/plain", &b"hello"[..]));
        assert!(asked.starts_with("GET /debug/pprof/heap?debug=1 HTTP/1.0\r\nHost: "), "{asked}");
        let (page, _) = get(b"HTTP/1.1 503 Busy\r\nCONTENT-LENGTH: 2\r\n\r\nno, really");
        let page = page.expect("an answer");
        assert_eq!((page.status, page.body.as_slice()), (503, &b"no"[..]));
    }

    #[test]
    fn answers_that_are_none() {
        for answer in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"hello\r\n\r\n",
            b"HTTP/1.0 x\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nfar longer than is allowed",
        ] {
            assert!(get(answer).0.is_err(), "{}", String::from_utf8_lossy(answer));
        }
        let nobody = own("metrickit-test/nobody".to_owned());
        assert!(!nobody.is_listening() && nobody.get(&Client::direct(), "", Duration::from_secs(1), 10).is_err());
    }

    #[test]
    fn one_that_never_answers_is_left() {
        let name = format!("metrickit-test/{}/{}", std::process::id(), fastrand::u64(..));
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let _listener = UnixListener::bind_addr(&address).expect("a free name");
        let endpoint = own(name);
        assert!(endpoint.is_listening());
        assert!(endpoint.get(&Client::direct(), "", Duration::from_millis(20), 10).is_err());
    }

    #[test]
    fn a_name_that_another_process_took_is_not_asked() {
        let name = format!("metrickit-test/{}/{}", std::process::id(), fastrand::u64(..));
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let _listener = UnixListener::bind_addr(&address).expect("a free name");
        let other = Endpoint::Socket { name: name.clone(), pid: 1 };
        assert!(!other.is_listening());
        let error = other.get(&Client::direct(), "heap", Duration::from_secs(1), 10).expect_err("not of process 1");
        let want = format!("process {} listens at @{name}, not process 1", std::process::id());
        assert!(error.to_string().contains(&want), "{error}");
    }

    #[test]
    fn urls_end_in_a_slash_and_hide_passwords() {
        assert_eq!(Endpoint::url("http://u:p@h:1/debug/pprof").shown(), "http://(hidden)@h:1/debug/pprof/");
        assert_eq!(Endpoint::url("http://h:1/debug/pprof/"), Endpoint::Url("http://h:1/debug/pprof/".to_owned()));
        assert_eq!(Endpoint::socket_of(7).shown(), "unix:@metrickit/go/7");
    }
}
