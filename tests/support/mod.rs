//! What the end-to-end tests share: the real binary on port 0, HTTP, remote-write bodies.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::allow_attributes,
    reason = "shared by tests; each uses a part"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use model::remote_write::{
    BucketSpan, Label, TimeSeries, WireCount, WireHistogram, WireSample, WireZeroCount, WriteRequest,
};
use prost::Message;
use serde_json::Value;

/// How long the server may take to listen, answer and stop before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The binary under test.
pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_metrickit"))
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub url: String,
    http: ureq::Agent,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// The first line a process prints, which names its address.
fn listening_url(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the server prints its address");
    let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("first line is {line:?}"));
    url.to_owned()
}

impl Server {
    /// Starts `metrickit server` on port 0 with `data` and more arguments, and waits until it is ready. What a test compares would change
    /// with the machine it runs on if shipped rules looked at it.
    pub fn start(data: &Path, args: &[&str]) -> Self {
        let unruled: &[&str] = if args.contains(&"--shipped-rules") { &[] } else { &["--shipped-rules", "off"] };
        Self::start_command("server", data, &[unruled, args].concat())
    }

    /// As [`start`](Self::start), for `server` or `up` as they are without arguments.
    pub fn start_command(subcommand: &str, data: &Path, args: &[&str]) -> Self {
        Self::start_at(subcommand, "127.0.0.1:0", data, args)
    }

    /// As [`start_command`](Self::start_command), listening on `address`.
    pub fn start_at(subcommand: &str, address: &str, data: &Path, args: &[&str]) -> Self {
        let mut child = binary()
            .arg(subcommand)
            .args(["--listen", address, "--data"])
            .arg(data)
            .args(args)
            // Programs of the machine that runs the tests push elsewhere.
            .env("METRICKIT_AGENT_RECEIVE_SOCKET", "")
            // Tests count what they wrote.
            .env("METRICKIT_SELF_METRICS_INTERVAL", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("METRICKIT_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let url = listening_url(&mut stdout);
        let http = http();
        let server = Self { child, stdout: Some(stdout), url, http };
        server.wait_ready();
        server
    }

    fn wait_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while self.get("/-/ready").status != 200 {
            assert!(Instant::now() < until, "the server is not ready in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits for the process to be gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server is gone");
    }

    /// Asks it to stop with SIGTERM; what it exits with, and what it had printed since the address.
    pub fn stop(mut self) -> (ExitStatus, String) {
        terminate(self.pid());
        let status = wait(&mut self.child);
        let mut printed = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut printed).expect("the output is UTF-8");
        }
        (status, printed)
    }

    pub fn get(&self, path: &str) -> Answer {
        read(self.http.get(format!("{}{path}", self.url)).call())
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        read(try_post(&self.http, &format!("{}{path}", self.url), headers, body))
    }

    /// Remote-writes `request`.
    pub fn write(&self, request: &WriteRequest) -> Answer {
        self.post("/api/v1/write", &REMOTE_WRITE_HEADERS, &body(request))
    }

    /// The `data.result` of an instant query at `time` (Unix seconds), which must succeed.
    pub fn query(&self, expr: &str, time: &str) -> Value {
        let answer = self.get(&format!("/api/v1/query?query={}&time={time}", escape(expr)));
        assert_eq!(answer.status, 200, "{expr}: {}", answer.body);
        answer.json()["data"]["result"].take()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client that waits at most [`PATIENCE`] and gives error answers as answers.
pub fn http() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

pub const REMOTE_WRITE_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// Posts; an error is one of the connection, not of the server.
pub fn try_post(
    http: &ureq::Agent,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let mut request = http.post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send(body)
}

pub fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = result.expect("the server answers");
    let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.body_mut().with_config().limit(1 << 30).read_to_string().expect("an answer is UTF-8");
    Answer { status: response.status().as_u16(), retry_after: header, body }
}

/// As [`read`]; nothing if the connection died on it.
pub fn try_read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = result.ok()?;
    let body = response.body_mut().with_config().limit(1 << 30).read_to_string().ok()?;
    Some(Answer { status: response.status().as_u16(), retry_after: None, body })
}

/// A remote-write body: protobuf in snappy.
pub fn body(request: &WriteRequest) -> Vec<u8> {
    snappy(&request.encode_to_vec())
}

/// One snappy block.
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("snappy takes any body")
}

/// A native histogram of a counter with whole counts: `count` observations of 1, which is the upper bound of bucket 0;
/// `start_ms` 0 for none.
pub fn counter_histogram(timestamp_ms: i64, start_ms: i64, count: u64) -> WireHistogram {
    WireHistogram {
        count: Some(WireCount::Int(count)),
        sum: count as f64,
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        zero_count: Some(WireZeroCount::Int(0)),
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        positive_deltas: vec![count.cast_signed()],
        timestamp: timestamp_ms,
        start_timestamp: start_ms,
        ..WireHistogram::default()
    }
}

/// One series of a request: labels as pairs, samples as (milliseconds, value).
pub fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|&(name, value)| Label { name: name.into(), value: value.into() }).collect(),
        samples: samples
            .iter()
            .map(|&(timestamp, value)| WireSample { value, timestamp, ..WireSample::default() })
            .collect(),
        ..TimeSeries::default()
    }
}

pub fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: vec![] }
}

/// Percent-encodes everything but letters and digits.
pub fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes all");
        }
        escaped
    })
}

/// The current time in Unix milliseconds.
pub fn now_ms() -> i64 {
    use model::Clock;
    model::SystemClock.now().0
}

/// Sends SIGTERM to a process that the test started.
pub fn terminate(pid: u32) {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "the process can be asked to stop");
}

/// Waits for a child for at most [`PATIENCE`].
pub fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        assert!(Instant::now() < until, "the process does not stop in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub fn run(args: &[&str]) -> (i32, String, String) {
    let output = binary().args(args).stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Reads all of a child's standard error.
pub fn drain(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut text).expect("output is UTF-8");
    }
    text
}

/// A process that is killed when dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A loopback address that nobody listened on a moment ago.
pub fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// A loopback address that no client gets by chance, so that every life of the server can have it.
pub fn lasting_address(random: &mut fastrand::Rng) -> String {
    let mut tries = (0..1000).map(|_| format!("127.0.0.1:{}", random.u16(18_000..30_000)));
    tries.find(|address| std::net::TcpListener::bind(address).is_ok()).expect("a free port")
}

/// A folder that stays where a test fails, for people to look at.
#[derive(Debug)]
pub struct KeptOnFailure(pub tempfile::TempDir);

impl Drop for KeptOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            println!("kept: {}", self.0.path().display());
        }
    }
}

/// A program on the PATH that nobody of this project wrote, or a notice that the test is skipped.
/// In CI nothing is skipped.
pub fn foreign(program: &str) -> Option<PathBuf> {
    let found = installed(program);
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{program} must be installed in CI");
    found
}

/// A program on the PATH, or a notice that what needs it is skipped, in CI too.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: {program} is not installed");
    }
    found
}
