//! The server under load: a process of our own on a temporary folder, or one that runs already.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::CommonArgs;
use super::guard::{Folder, Server};
use super::process::{Usage, cpu_seconds, disk_bytes, disk_bytes_where};
use super::servers::{Kind, Options, Part};
use crate::client::Client;

/// How long the server may take to start or stop.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long it may take to bring its files to their final form.
const SETTLE_PATIENCE: Duration = Duration::from_mins(10);
/// Pause between looks at a process.
const POLL: Duration = Duration::from_millis(2);
/// Most of a server's last words that are shown when it does not start, in bytes.
const LAST_WORDS_BYTES: usize = 600;
/// Where what a server prints is kept, below its folder's parent.
const OUTPUT_FILE: &str = "output.txt";

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
    kind: Kind,
    options: Options,
    server: Server,
    /// The server's folder and its output. Removed after the server is gone, which the order of fields ensures.
    temporary: Folder,
}

impl Subject {
    /// Starts MetricKit, or takes the server named.
    pub(super) fn new(common: &CommonArgs) -> anyhow::Result<Self> {
        if let Some(url) = &common.url {
            let client = Client::new(url)?;
            return Ok(Self { client, pid: common.pid, folder: common.data.clone(), own: None });
        }
        let options = Options { durability: Some(common.durability.clone()), ..Options::default() };
        Self::start(Kind::MetricKit, options, common.data.as_deref())
    }

    /// Starts a server on a temporary folder in `parent`, and waits until it is ready.
    pub(super) fn start(kind: Kind, options: Options, parent: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = Folder::make(parent)?;
        let folder = temporary.path().join("data");
        fs::create_dir(&folder).context("cannot make the server's folder")?;
        let (server, client) = spawn(kind, &options, temporary.path())?;
        let own = Own { kind, options, server, temporary };
        let mut subject = Self { client, pid: Some(own.server.id()), folder: Some(folder), own: Some(own) };
        subject.wait_until(|client| client.status(ready_path(kind)).ok() == Some(200))?;
        Ok(subject)
    }

    /// A server that runs already.
    pub(super) fn running(url: &str, pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(url)?, pid, folder: None, own: None })
    }

    /// Whether this program started it.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What the server used so far, if its process is known.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.pid.and_then(Usage::of)
    }

    /// Bytes of its folder on disk, if known.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        self.folder.as_deref().map(disk_bytes)
    }

    /// Bytes on disk of one part of its files, if they are known.
    pub(super) fn part_bytes(&self, part: Part) -> Option<u64> {
        let kind = self.own.as_ref()?.kind;
        self.folder.as_deref().map(|folder| disk_bytes_where(folder, &|path| kind.part(path) == part))
    }

    /// Asks our own server to stop, which writes everything to its files. Returns its last usage.
    /// A server that is not ours goes on.
    pub(super) fn stop(&mut self) -> anyhow::Result<Option<Usage>> {
        let Some(own) = &mut self.own else { return Ok(self.usage()) };
        let id = own.server.id();
        own.server.terminate().context("cannot signal the server")?;
        let until = Instant::now() + PATIENCE;
        let mut last = Usage::of(id);
        // A process that ended keeps its times until it is waited for.
        while !own.server.is_over() {
            ensure!(Instant::now() < until, "{} does not stop within {PATIENCE:?}", own.kind);
            last = Usage::of(id).or(last);
            std::thread::sleep(POLL);
        }
        let cpu_seconds = cpu_seconds(id);
        let status = own.server.wait()?;
        ensure!(status.success(), "{} ended with {status}", own.kind);
        Ok(last.map(|usage| Usage { cpu_seconds: cpu_seconds.unwrap_or(usage.cpu_seconds), ..usage }))
    }

    /// Ends our own server at once, as `kill -9` does.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("a server that is not ours is not killed")?;
        own.server.kill().context("cannot kill the server")?;
        Ok(())
    }

    /// Starts our own server again on the same folder, once it has ended. Returns how long it took to be ready.
    pub(super) fn start_again(&mut self) -> anyhow::Result<Option<Duration>> {
        if self.own.is_none() {
            return Ok(None);
        }
        self.start_again_until(|_| true).map(Some)
    }

    /// As [`start_again`](Self::start_again). Returns how long it took until it was ready and `is_there` said so: what a
    /// server answers while it still reads its log is not all it has.
    pub(super) fn start_again_until(&mut self, mut is_there: impl FnMut(&Client) -> bool) -> anyhow::Result<Duration> {
        let (start, ready) = self.spawn_again()?;
        self.wait_until(|client| client.status(ready).ok() == Some(200) && is_there(client))?;
        Ok(start.elapsed())
    }

    /// Starts our own server again. Returns how long it took until `is_there` said so, and until it was ready besides.
    pub(super) fn start_again_noting(
        &mut self,
        is_there: impl FnMut(&Client) -> bool,
    ) -> anyhow::Result<(Duration, Duration)> {
        let (start, ready) = self.spawn_again()?;
        self.wait_until(is_there)?;
        let there = start.elapsed();
        self.wait_until(|client| client.status(ready).ok() == Some(200))?;
        Ok((there, start.elapsed()))
    }

    /// Starts the process again: when that was, and where it says that it is ready.
    fn spawn_again(&mut self) -> anyhow::Result<(Instant, &'static str)> {
        let own = self.own.as_mut().context("a server that is not ours is not started")?;
        let start = Instant::now();
        let (server, client) = spawn(own.kind, &own.options, own.temporary.path())?;
        self.pid = Some(server.id());
        own.server = server;
        self.client = client;
        Ok((start, ready_path(own.kind)))
    }

    /// What is set when our own server is started again.
    pub(super) fn set_options(&mut self, options: Options) {
        if let Some(own) = &mut self.own {
            own.options = options;
        }
    }

    fn wait_until(&mut self, mut is_there: impl FnMut(&Client) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !is_there(&self.client) {
            let own = self.own.as_ref().context("only our own servers are waited for")?;
            let words = || last_words(own.temporary.path());
            ensure!(!own.server.is_over(), "{} ended while starting; its last words: {}", own.kind, words());
            ensure!(Instant::now() < until, "{} gives no answer within {PATIENCE:?}: {}", own.kind, words());
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Brings its files to their final form, as far as it can be asked to. Whether it could.
    pub(super) fn settle(&self) -> anyhow::Result<bool> {
        let Some(own) = &self.own else { return Ok(false) };
        let http: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(SETTLE_PATIENCE))
            .build()
            .into();
        let asked = own.kind.settling();
        let mut all = !asked.is_empty();
        for (method, path) in asked {
            let url = format!("{}{path}", self.client.url());
            let response = if *method == "POST" { http.post(url).send_empty() } else { http.get(url).call() };
            let status = response.with_context(|| format!("{} of {}", path, own.kind))?.status();
            all &= status.is_success();
        }
        self.wait_until_quiet();
        Ok(all)
    }

    /// Waits until the server has nothing to do any more: a while without processor time, bounded.
    fn wait_until_quiet(&self) {
        const LOOK: Duration = Duration::from_millis(500);
        const QUIET_LOOKS: u32 = 4;
        const LOOKS_MAX: u32 = 240;
        let mut quiet = 0;
        let mut before = f64::NEG_INFINITY;
        for _ in 0..LOOKS_MAX {
            let Some(usage) = self.usage() else { return };
            quiet = if usage.cpu_seconds - before < LOOK.as_secs_f64() * 0.2 { quiet + 1 } else { 0 };
            if quiet >= QUIET_LOOKS {
                return;
            }
            before = usage.cpu_seconds;
            std::thread::sleep(LOOK);
        }
    }
}

fn ready_path(kind: Kind) -> &'static str {
    match kind {
        Kind::MetricKit | Kind::Prometheus => "/-/ready",
        Kind::VictoriaMetrics => "/health",
    }
}

/// Starts a server on the folder `data` in `place`. MetricKit listens when this returns; others may not yet.
fn spawn(kind: Kind, options: &Options, place: &Path) -> anyhow::Result<(Server, Client)> {
    let address = free_address().context("no free port")?;
    let mut command = kind.command(&place.join("data"), &address, options)?;
    let output = File::options().create(true).append(true).open(place.join(OUTPUT_FILE));
    let output = output.context("cannot make a file for the server's output")?;
    if kind != Kind::MetricKit {
        command.stdout(output.try_clone()?).stderr(output);
        let server = Server::spawn(&mut command).with_context(|| format!("cannot start {kind}"))?;
        return Ok((server, Client::new(&format!("http://{address}"))?));
    }
    command.stdout(Stdio::piped()).stderr(output);
    let mut server = Server::spawn(&mut command).context("cannot start the server")?;
    let stdout = server.child().stdout.take().context("the server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let Some(url) = line.trim().strip_prefix("listening on ") else {
        bail!("the server did not start; its last words: {}", last_words(place));
    };
    Ok((server, Client::new(url)?))
}

/// A loopback address that nobody listened on a moment ago.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The end of what the server in `place` printed.
fn last_words(place: &Path) -> String {
    let printed = fs::read(place.join(OUTPUT_FILE)).unwrap_or_default();
    let end = &printed[printed.len().saturating_sub(LAST_WORDS_BYTES)..];
    String::from_utf8_lossy(end).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_end_of_what_was_printed() {
        let place = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(last_words(place.path()), "");
        fs::write(place.path().join(OUTPUT_FILE), format!("{}end\n", "x".repeat(10_000))).expect("written");
        let words = last_words(place.path());
        assert!(words.ends_with("xend") && words.len() <= LAST_WORDS_BYTES, "{words}");
    }
}
