//! The server under load: a process of our own on a temporary folder, or one that runs already.
//!
//! Reads a process's time and memory from `/proc`, as the kernel counts them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::CommonArgs;
use crate::client::Client;

/// How long the server may take to start or stop.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at a process.
const POLL: Duration = Duration::from_millis(5);
/// Deepest nesting of a data folder that is measured.
const DEPTH_MAX: usize = 16;

/// What a process used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) resident_peak_bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) client: Client,
    pid: Option<u32>,
    folder: Option<PathBuf>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    child: Child,
    durability: String,
    /// Removed with its content when dropped.
    temporary: tempfile::TempDir,
}

impl Subject {
    /// Starts a server, or takes the one named.
    pub(super) fn new(common: &CommonArgs) -> anyhow::Result<Self> {
        if let Some(url) = &common.url {
            let client = Client::new(url)?;
            return Ok(Self { client, pid: common.pid, folder: common.data.clone(), own: None });
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix("metrickit-bench-");
        let temporary = match &common.data {
            Some(parent) => {
                fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
                builder.tempdir_in(parent)
            }
            None => builder.tempdir(),
        };
        let temporary = temporary.context("cannot make a temporary folder")?;
        let (child, client) = spawn(temporary.path(), &common.durability)?;
        let folder = Some(temporary.path().to_owned());
        let own = Own { child, durability: common.durability.clone(), temporary };
        Ok(Self { client, pid: Some(own.child.id()), folder, own: Some(own) })
    }

    /// A server that runs already.
    pub(super) fn running(url: &str, pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(url)?, pid, folder: None, own: None })
    }

    /// What the server used so far, if its process is known.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.pid.and_then(|pid| usage(&PathBuf::from(format!("/proc/{pid}"))))
    }

    /// Bytes of its folder on disk, if known.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        self.folder.as_deref().map(|folder| disk_bytes(folder, DEPTH_MAX))
    }

    /// Asks our own server to stop, which writes everything to blocks. Returns its last usage.
    /// A server that is not ours goes on.
    pub(super) fn stop(&mut self) -> anyhow::Result<Option<Usage>> {
        let Some(own) = &mut self.own else { return Ok(self.usage()) };
        let folder = PathBuf::from(format!("/proc/{}", own.child.id()));
        let pid = i32::try_from(own.child.id()).ok().and_then(Pid::from_raw).context("the server has no process id")?;
        kill_process(pid, Signal::TERM).context("cannot signal the server")?;
        let until = Instant::now() + PATIENCE;
        let mut last = usage(&folder);
        // A process that ended keeps its times until it is waited for.
        while !fs::read_to_string(folder.join("stat")).is_ok_and(|stat| stat.contains(") Z ")) {
            ensure!(Instant::now() < until, "the server does not stop within {PATIENCE:?}");
            last = usage(&folder).map_or(last, |now| Some(Usage { resident_bytes: now.resident_bytes.max(1), ..now }));
            std::thread::sleep(POLL);
        }
        let cpu_seconds = cpu_seconds(&folder);
        let status = own.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(last.map(|usage| Usage { cpu_seconds: cpu_seconds.unwrap_or(usage.cpu_seconds), ..usage }))
    }

    /// Starts our own server again on the same folder. Returns how long it took to be ready.
    pub(super) fn start_again(&mut self) -> anyhow::Result<Option<Duration>> {
        let Some(own) = &mut self.own else { return Ok(None) };
        let start = Instant::now();
        let (child, client) = spawn(own.temporary.path(), &own.durability)?;
        self.pid = Some(child.id());
        own.child = child;
        self.client = client;
        Ok(Some(start.elapsed()))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Ended already on the good path.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts this program as a server on `folder` and waits until it is ready.
fn spawn(folder: &Path, durability: &str) -> anyhow::Result<(Child, Client)> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let mut command = Command::new(program);
    command
        .args(["server", "--listen", "127.0.0.1:0", "--retention", "off", "--log-level", "warn", "--durability"])
        .arg(durability)
        .arg("--data")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // Settings of the user's environment would change what is measured.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METRICKIT_")) {
        command.env_remove(name);
    }
    let mut child = command.spawn().context("cannot start the server")?;
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let Some(url) = line.trim().strip_prefix("listening on ") else {
        drop(child.kill());
        bail!("the server did not start; it ended with {}", child.wait()?);
    };
    let client = Client::new(url)?;
    let until = Instant::now() + PATIENCE;
    while client.status("/-/ready").ok() != Some(200) {
        ensure!(child.try_wait()?.is_none(), "the server ended while starting");
        ensure!(Instant::now() < until, "the server is not ready within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
    Ok((child, client))
}

fn usage(process: &Path) -> Option<Usage> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Usage {
        cpu_seconds: cpu_seconds(process)?,
        resident_bytes: bytes("VmRSS")?,
        resident_peak_bytes: bytes("VmHWM")?,
    })
}

/// User and system time: fields 14 and 15 of `stat`, in clock ticks (proc(5)).
fn cpu_seconds(process: &Path) -> Option<f64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "ticks of one process")]
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes that `folder` takes on disk, in blocks as the file system counts them.
fn disk_bytes(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => disk_bytes(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => metadata.blocks() * 512,
        // Files come and go while a server runs.
        _ => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let usage = usage(Path::new("/proc/self")).expect("Linux");
        assert!(usage.cpu_seconds >= 0.0);
        assert!(usage.resident_bytes > 100_000 && usage.resident_peak_bytes >= usage.resident_bytes);
    }

    #[test]
    fn folders_are_measured_with_what_is_inside() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("a")).expect("made");
        fs::write(folder.path().join("a/b"), vec![1; 100_000]).expect("written");
        assert!(disk_bytes(folder.path(), DEPTH_MAX) >= 100_000);
        assert_eq!(disk_bytes(folder.path(), 0), 0);
        assert_eq!(disk_bytes(&folder.path().join("none"), 1), 0);
    }
}
