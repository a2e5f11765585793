//! Captures: profiles and stacks of Go processes, taken when the server asks or when goroutines leak, kept on disk until
//! the server has them.
//!
//! A program is asked itself where it offers profiles, at `/debug/pprof` or at the client library's socket; else its memory
//! tells what it can (`go::outside::capture`). `trigger` decides which leaks are worth a capture, `send` carries captures to
//! the server, `thread` does both beside the server's tasks.

pub mod send;
mod thread;
pub mod trigger;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::control::{ProcessName, Task, TaskKind};
use model::{CaptureKind, Clock};
use parking_lot::Mutex;

pub use self::thread::{open, start};
use self::trigger::{Trigger, Wanted};
use crate::budget::CpuMeter;
use crate::config::GoConfig;
use crate::control::Orderly;
use crate::go::leaks::Verdict;
use crate::go::leaks::series::VerdictSink;
use crate::go::outside::SharedTicks;
use crate::go::outside::capture::{self, NoCapture};
use crate::go::outside::profile::ProfileKind;
use crate::go::profile::capture::{CaptureError, Capturer};
use crate::go::profile::encode;
use crate::go::profile::request::{Form, Kind, Request};
use crate::go::profile::sources::SourceKey;
use crate::go::profile::store::{About, Capture};
use crate::go::{GoProcess, SharedProcesses};
use crate::stats::Stats;

/// Most captures of leaks that wait for their turn.
const WANTED_MAX: usize = 16;

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// There is no such process.
    #[error("no Go process {0} runs here")]
    NoProcess(ProcessName),
    /// There are several; say which.
    #[error("several Go processes are called {0}; name the job or the process id too")]
    Several(ProcessName),
    /// It cannot be asked for like this.
    #[error("{0}")]
    Impossible(String),
    /// The program did not give it.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Its memory did not tell it.
    #[error(transparent)]
    Memory(#[from] NoCapture),
    /// Neither.
    #[error("{asked}; and from outside: {memory}")]
    Both {
        /// What the program said.
        asked: CaptureError,
        /// What its memory did.
        memory: NoCapture,
    },
}

/// Takes captures. Clones of the `Arc` it lives in share it.
pub struct Captures {
    processes: SharedProcesses,
    capturer: Capturer,
    ticks: SharedTicks,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    sender: Option<send::Sender>,
    /// Whether leaks are captured.
    leaks: AtomicBool,
    /// Whether the memory of programs is read.
    memory: AtomicBool,
    /// Leaks that a capture is wanted of.
    wanted: Mutex<(Trigger, VecDeque<(GoProcess, Wanted)>)>,
}

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captures").finish_non_exhaustive()
    }
}

impl Captures {
    /// Takes captures of `processes` by `capturer`, which keeps them; `sender` brings them to a server, where there is one.
    pub fn new(
        processes: SharedProcesses,
        capturer: Capturer,
        ticks: SharedTicks,
        (clock, stats): (Arc<dyn Clock>, Arc<Stats>),
        sender: Option<send::Sender>,
    ) -> Self {
        let (leaks, memory) = (AtomicBool::new(true), AtomicBool::new(true));
        Self { processes, capturer, ticks, clock, stats, sender, leaks, memory, wanted: Mutex::default() }
    }

    /// Takes a capture of `kind` over `seconds` of the process called `name`, and keeps it with what `about` says besides.
    ///
    /// # Errors
    ///
    /// See [`TakeError`].
    pub fn take(
        &self,
        name: &ProcessName,
        kind: CaptureKind,
        seconds: u32,
        about: About,
    ) -> Result<Capture, TakeError> {
        let process = self.find(name)?;
        self.take_of(&process, kind, seconds, about)
    }

    fn find(&self, name: &ProcessName) -> Result<GoProcess, TakeError> {
        let scan = Arc::clone(&self.processes.lock());
        match scan.named(name).as_slice() {
            [process] => Ok((*process).clone()),
            [] => Err(TakeError::NoProcess(name.clone())),
            _ => Err(TakeError::Several(name.clone())),
        }
    }

    fn take_of(
        &self,
        process: &GoProcess,
        kind: CaptureKind,
        seconds: u32,
        about: About,
    ) -> Result<Capture, TakeError> {
        let meter = CpuMeter::start();
        let taken = self.try_take(process, kind, seconds, about);
        self.stats.cpu_us.add(meter.elapsed_us());
        match &taken {
            Ok(capture) => {
                self.stats.captures.add(1);
                let (pid, instance, way) = (process.life.pid, &process.instance, &capture.about.way);
                tracing::info!(pid, instance, what = kind.text(), way, bytes = capture.bytes, "captured");
            }
            Err(_) => self.stats.captures_failed.add(1),
        }
        taken
    }

    fn try_take(
        &self,
        process: &GoProcess,
        kind: CaptureKind,
        seconds: u32,
        about: About,
    ) -> Result<Capture, TakeError> {
        if let Some(problem) = kind.problem_with(seconds) {
            return Err(TakeError::Impossible(format!("{kind} {problem}")));
        }
        let build = &process.build;
        let about = About {
            what: kind.text().to_owned(),
            version: build.version.clone(),
            revision: build.revision.clone(),
            go_version: build.go_version.clone(),
            ..about
        };
        let key = SourceKey::Process((&process.life).into());
        let told_by_memory = from_outside(kind).filter(|_| seconds == 0);
        let may_read = self.memory.load(Ordering::Relaxed);
        let from_outside = told_by_memory.filter(|_| may_read);
        if self.capturer.is_offered(&key) {
            let asked = match self.capturer.capture(&key, request_for(kind, seconds), about.clone()) {
                Ok(capture) => return Ok(capture),
                Err(error) => error,
            };
            let Some(wanted) = from_outside else { return Err(asked.into()) };
            return self.read_outside(process, wanted, about).map_err(|error| match error {
                TakeError::Memory(memory) => TakeError::Both { asked, memory },
                other => other,
            });
        }
        match from_outside {
            Some(wanted) => self.read_outside(process, wanted, about),
            None if told_by_memory.is_some() => Err(TakeError::Impossible(format!(
                "this program offers no profiles, and its memory, which could tell {kind}, is not read: go.memory is off on this agent",
            ))),
            None => Err(TakeError::Impossible(format!(
                "{kind}{} is told by the program alone, and this one offers no profiles, neither at /debug/pprof on a loopback \
                 port nor by the client library",
                if seconds > 0 { " over some seconds" } else { "" },
            ))),
        }
    }

    /// Makes the capture of what the memory of `process` says.
    fn read_outside(&self, process: &GoProcess, wanted: capture::Wanted, about: About) -> Result<Capture, TakeError> {
        let at_ms = self.clock.now().0;
        let profile = capture::capture(process, wanted, &self.ticks, at_ms)?;
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let about = About {
            at_ms,
            kind: about.what.clone(),
            extension: "pb.gz".to_owned(),
            labels: vec![label("job", &process.job), label("instance", &process.instance)],
            way: "memory".to_owned(),
            ..about
        };
        Ok(self.capturer.keep(about, &encode(&profile))?)
    }

    /// Goes by `config` from now on: whether leaks are captured, and whether the memory of programs is read.
    pub fn configure(&self, config: &GoConfig) {
        self.leaks.store(config.capture_on_leak, Ordering::Relaxed);
        self.memory.store(config.memory.on, Ordering::Relaxed);
    }

    /// What takes note of verdicts on the goroutines of processes.
    pub fn leak_sink(self: &Arc<Self>) -> VerdictSink {
        let captures = Arc::clone(self);
        Box::new(move |process, verdict, now_ms| captures.note(process, verdict, now_ms))
    }

    /// Takes note of a verdict on the goroutines of `process`: a leak that is worth it is captured soon.
    pub fn note(&self, process: &GoProcess, verdict: &Verdict, now_ms: i64) {
        if !self.leaks.load(Ordering::Relaxed) {
            return;
        }
        let mut wanted = self.wanted.lock();
        let (trigger, waiting) = &mut *wanted;
        if waiting.len() >= WANTED_MAX {
            return;
        }
        if let Some(new) = trigger.look(&process.life, verdict, now_ms) {
            waiting.push_back((process.clone(), new));
        }
    }

    /// Captures what leaks made wanted.
    fn take_wanted(&self) {
        loop {
            let next = self.wanted.lock().1.pop_front();
            let Some((process, Wanted { reason })) = next else { return };
            let about = About { by: "leak".to_owned(), ..About::because(&reason) };
            if let Err(error) = self.take_of(&process, CaptureKind::Goroutine, 0, about) {
                tracing::warn!(instance = process.instance, reason, %error, "leaking goroutines were not captured");
            }
        }
    }

    /// Sends what is kept, as far as the server takes it.
    fn send(&self) {
        if let Some(sender) = &self.sender {
            let sent = sender.send_all(self.capturer.store(), &*self.clock);
            self.stats.captures_sent.add(sent);
        }
    }
}

impl Orderly for Captures {
    fn carry_out(&self, task: &Task) -> Result<(), String> {
        let TaskKind::Capture { process, what, seconds } = &task.kind else {
            return Err("this is no capture".to_owned());
        };
        let kind = CaptureKind::named(what).ok_or_else(|| format!("this agent knows no capture called {what:?}"))?;
        let seconds = u32::try_from(*seconds).unwrap_or(u32::MAX);
        let about = About { by: "request".to_owned(), task: Some(task.id), ..About::because("asked for") };
        self.take(process, kind, seconds, about).map_err(|error| error.to_string())?;
        // What does not go now goes later.
        self.send();
        Ok(())
    }
}

/// How a program is asked for `kind`.
fn request_for(kind: CaptureKind, seconds: u32) -> Request {
    let (kind, form) = match kind {
        CaptureKind::Goroutine => (Kind::Goroutine, Form::Protobuf),
        CaptureKind::Heap => (Kind::Heap, Form::Protobuf),
        CaptureKind::Allocs => (Kind::Allocs, Form::Protobuf),
        CaptureKind::Mutex => (Kind::Mutex, Form::Protobuf),
        CaptureKind::Block => (Kind::Block, Form::Protobuf),
        CaptureKind::Cpu => (Kind::Cpu, Form::Protobuf),
        CaptureKind::GoroutineLeak => (Kind::GoroutineLeak, Form::Protobuf),
        CaptureKind::Stacks => (Kind::Goroutine, Form::Stacks),
    };
    Request { kind, form, seconds }
}

/// What of `kind` memory tells.
fn from_outside(kind: CaptureKind) -> Option<capture::Wanted> {
    match kind {
        CaptureKind::Goroutine => Some(capture::Wanted::Goroutines),
        CaptureKind::Heap => Some(capture::Wanted::Kept(ProfileKind::Heap)),
        CaptureKind::Allocs => Some(capture::Wanted::Allocations),
        CaptureKind::Mutex => Some(capture::Wanted::Kept(ProfileKind::Mutex)),
        CaptureKind::Block => Some(capture::Wanted::Kept(ProfileKind::Block)),
        CaptureKind::Cpu | CaptureKind::GoroutineLeak | CaptureKind::Stacks => None,
    }
}

#[cfg(test)]
mod tests {
    use model::{ManualClock, TimestampMs};

    use super::*;
    use crate::Config;
    use crate::go::discover::Scan;
    use crate::go::identity::Life;
    use crate::go::profile::sources::Sources;

    #[test]
    fn memory_is_not_read_where_that_is_off() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::default();
        config.profiles.folder = folder.path().to_owned();
        let process = GoProcess {
            life: Life { start_ticks: 1, pid: i32::MAX, name: "api".to_owned() },
            job: "api".to_owned(),
            instance: "box/0".to_owned(),
            build: Arc::default(),
            same_network: true,
        };
        let processes =
            SharedProcesses::new(Mutex::new(Arc::new(Scan { processes: vec![process], ..Scan::default() })));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(1)));
        let stats = Arc::default();
        let captures =
            open(&config, (&processes, &SharedTicks::default()), Sources::new(), &clock, &stats).expect("a folder");
        let take = || {
            let name = ProcessName::new("api", "box/0");
            captures
                .take(&name, CaptureKind::Goroutine, 0, About::because("asked for"))
                .expect_err("nothing runs there")
        };
        assert!(matches!(take(), TakeError::Memory(_)));
        config.go.memory.on = false;
        captures.configure(&config.go);
        let refused = take();
        assert!(matches!(refused, TakeError::Impossible(_)));
        assert!(refused.to_string().ends_with("is not read: go.memory is off on this agent"), "{refused}");
    }
}
