//! What must not outlive a benchmark: servers that it started, and temporary folders that it made.
//!
//! Both are known in one place, so that a benchmark that is stopped by a signal ends its servers by their ids and
//! removes its folders, as one does that ends by itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long killed servers may take to be gone before their folders are removed all the same.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Pause between looks at a process.
const POLL: Duration = Duration::from_millis(2);

/// Servers and folders that exist now.
static KEPT: Mutex<Kept> = Mutex::new(Kept { servers: Vec::new(), folders: Vec::new() });

#[derive(Debug)]
struct Kept {
    servers: Vec<u32>,
    folders: Vec<PathBuf>,
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on SIGINT, SIGTERM and SIGHUP end what is kept, and then this process with 128 plus their number.
pub(super) fn clean_up_on_signals() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be watched")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Held to the end, so that nothing new is started.
            let kept = kept();
            clean_up(&kept);
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}

fn clean_up(kept: &Kept) {
    for &id in &kept.servers {
        let _ = signal(id, Signal::KILL);
    }
    let until = Instant::now() + GONE_WITHIN;
    while kept.servers.iter().any(|&id| !is_over(id)) && Instant::now() < until {
        std::thread::sleep(POLL);
    }
    for folder in &kept.folders {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Whether process `id` has ended; one that nobody waited for yet has.
pub(super) fn is_over(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn signal(id: u32, signal: Signal) -> io::Result<()> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(id, signal)?)
}

/// A process that is killed when dropped, and when this one is stopped by a signal.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    waited: bool,
}

impl Server {
    /// Starts `command`.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut kept = kept();
        let child = command.spawn()?;
        kept.servers.push(child.id());
        Ok(Self { child, waited: false })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, for its pipes.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended. Its times can still be read.
    pub(super) fn is_over(&self) -> bool {
        is_over(self.id())
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) -> io::Result<()> {
        signal(self.id(), Signal::TERM)
    }

    /// Ends it at once, as `kill -9` does, and waits for it to be gone.
    pub(super) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.wait()
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        // Its id may belong to another process as soon as it is waited for.
        let until_over = |server: &Self| {
            while !server.is_over() {
                std::thread::sleep(POLL);
            }
        };
        until_over(self);
        let mut kept = kept();
        kept.servers.retain(|&id| id != self.child.id());
        self.waited = true;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.waited {
            let _ = self.kill();
        }
    }
}

/// A temporary folder that is removed with its content when dropped, and when this process is stopped by a signal.
#[derive(Debug)]
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// Makes one in `parent`, or where the system has temporary files.
    pub(super) fn make(parent: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("metrickit-bench-");
        let mut kept = kept();
        let folder = match parent {
            Some(parent) => {
                std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
                builder.tempdir_in(parent)
            }
            None => builder.tempdir(),
        };
        let folder = folder.context("cannot make a temporary folder")?;
        kept.folders.push(folder.path().to_owned());
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut kept = kept();
        let _ = std::fs::remove_dir_all(self.path());
        kept.folders.retain(|folder| folder != self.0.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_ended_and_removed() {
        let mut server = Server::spawn(Command::new("sleep").arg("60")).expect("sleep starts");
        let folder = Folder::make(None).expect("a folder");
        std::fs::write(folder.path().join("data"), "1").expect("written");
        assert!(!server.is_over());
        clean_up(&Kept { servers: vec![server.id()], folders: vec![folder.path().to_owned()] });
        assert!(server.is_over() && !folder.path().exists());
        let status = server.wait().expect("waited for");
        assert!(!status.success());
        assert!(!kept().servers.contains(&server.id()));
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let server = Server::spawn(Command::new("sleep").arg("60")).expect("sleep starts");
        let id = server.id();
        drop(server);
        assert!(is_over(id));
    }
}
