//! The real agent as a process of its own, and a program that pushes to its socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use prost::Message;

/// How long an agent may take until it listens, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    pub(crate) child: Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts an agent with its socket in `folder` and its queue in `queue`, that sends to `url` and has more `arguments`.
    /// `METRICKIT_AGENT_PROGRAM` names another build of it.
    pub(crate) fn start(folder: &Path, queue: &Path, url: &str, arguments: &[&str]) -> Self {
        let program = std::env::var_os("METRICKIT_AGENT_PROGRAM")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_metrickit-agent")), PathBuf::from);
        let socket = folder.join("agent.sock");
        let child = Command::new(program)
            .args(["--push-url", url, "--host", "web1", "--config", "/dev/null", "--queue-folder"])
            .arg(queue)
            .arg("--receive-socket")
            .arg(&socket)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if std::env::var_os("METRICKIT_AGENT_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .expect("the agent starts");
        Self { child, socket }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("asked").is_none()
    }

    /// Pushes one sample of series `pushed` with its number as value and time; the status of the answer, or 0 where none came.
    pub(crate) fn push(&self, number: u32) -> u16 {
        self.push_padded(number, 0)
    }

    /// The same with a label of so many bytes that do not compress.
    pub(crate) fn push_padded(&self, number: u32, padding: usize) -> u16 {
        let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        let mut labels = vec![label("__name__", "pushed"), label("instance", "i"), label("job", "j")];
        if padding > 0 {
            let mut random = fastrand::Rng::with_seed(number.into());
            let noise: String = std::iter::repeat_with(|| random.alphanumeric()).take(padding).collect();
            labels.push(label("noise", &noise));
        }
        let samples = vec![WireSample { value: number.into(), timestamp: number.into(), start_timestamp: 0 }];
        let series = TimeSeries { labels, samples, ..TimeSeries::default() };
        let body = WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&body).expect("compressed");
        let mut request = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: agent\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        self.ask(&request).unwrap_or(0)
    }

    fn ask(&self, request: &[u8]) -> Option<u16> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(request).ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        std::str::from_utf8(&head).ok()?.rsplit_once(' ')?.1.parse().ok()
    }

    /// Waits until it takes pushes again, each with the next of `numbers`; those it took.
    #[track_caller]
    pub(crate) fn wait_for_push(&self, numbers: &mut impl Iterator<Item = u32>) -> u32 {
        let until = Instant::now() + PATIENCE;
        loop {
            let number = numbers.next().expect("more numbers");
            if self.push(number) == 204 {
                return number;
            }
            assert!(Instant::now() < until, "the agent takes no pushes");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
