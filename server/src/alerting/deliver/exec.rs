//! Programs as receivers: started without a shell, with the JSON on their standard input, ended when their time is over.
//!
//! Status 0 is taken, 75 (`EX_TEMPFAIL` of `sysexits.h`) is tried again, and so is a program that takes too long; every other status is refused.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rules::receivers::{Command, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

/// "Come again later."
const TRY_AGAIN: i32 = 75;
/// Longest output that is kept.
const OUTPUT_BYTES_MAX: usize = 2048;
/// Between two looks at a program.
const LOOK: Duration = Duration::from_millis(10);
/// How long output is waited for once the program has ended: what it leaves running may hold it open.
const OUTPUT_WAIT: Duration = Duration::from_millis(200);
/// What a program has of this one's environment: settings of this one may be secrets.
const KEPT_ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "USER", "TMPDIR"];

/// Runs `command` within `timeout` and its own.
pub(super) fn run(command: &Command, timeout: Duration) -> Verdict {
    let Some((program, arguments)) = command.command.split_first() else {
        return Verdict::Refused("the command is empty".to_owned());
    };
    let mut process = Process::new(program);
    process.args(arguments).env_clear();
    process.envs(KEPT_ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    process.envs(&command.env).process_group(0);
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(folder) = &command.working_dir {
        process.current_dir(folder);
    }
    let mut child = match process.spawn() {
        Ok(child) => child,
        Err(error) => {
            let why = format!("{program}: {error}");
            // Out of processes or memory now, maybe not later; a program that is not there stays away.
            let gone = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied);
            return if gone { Verdict::Refused(why) } else { Verdict::Again { after_ms: None, why } };
        }
    };
    let own = Duration::from_millis(u64::try_from(command.timeout_ms).unwrap_or(0));
    let limit = own.min(timeout);
    let mut pipes = match Pipes::of(&mut child, &command.stdin) {
        Ok(pipes) => pipes,
        Err(error) => {
            let _ = end(&mut child);
            return Verdict::Again { after_ms: None, why: format!("{program}: {error}") };
        }
    };
    let ended = pipes.serve(&mut child, Instant::now() + limit);
    let output = pipes.output;
    let output = String::from_utf8_lossy(&output).trim().replace(char::is_control, " ");
    let told = |status: String| if output.is_empty() { status } else { format!("{status}: {output}") };
    match ended {
        Ok(Some(status)) if status.success() => Verdict::Taken(told("status 0".to_owned())),
        Ok(Some(status)) if status.code() == Some(TRY_AGAIN) => {
            Verdict::Again { after_ms: None, why: told(format!("status {TRY_AGAIN}")) }
        }
        Ok(Some(status)) => Verdict::Refused(told(status.to_string())),
        Ok(None) => Verdict::Again { after_ms: None, why: told(format!("ended after {} ms", limit.as_millis())) },
        Err(error) => Verdict::Again { after_ms: None, why: error.to_string() },
    }
}

/// What is between this program and the other: closed with this, whoever else holds the other ends.
struct Pipes<'a> {
    input: Option<OwnedFd>,
    /// What the program has not taken yet.
    rest: &'a [u8],
    outputs: Vec<OwnedFd>,
    /// The beginning of what it said.
    output: Vec<u8>,
}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, stdin: &'a [u8]) -> io::Result<Self> {
        let input = child.stdin.take().map(OwnedFd::from);
        let outputs = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        let outputs: Vec<OwnedFd> = outputs.into_iter().flatten().collect();
        for pipe in input.iter().chain(&outputs) {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { input, rest: stdin, outputs, output: Vec::new() })
    }

    /// Feeds the program and reads what it says until it ends, or until `until`, and is ended then with what it started.
    fn serve(&mut self, child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() >= until {
                end(child)?;
                self.read();
                return Ok(None);
            }
            self.wait()?;
        };
        self.input = None;
        let until = Instant::now() + OUTPUT_WAIT;
        self.read();
        while !self.outputs.is_empty() && Instant::now() < until {
            self.wait()?;
        }
        Ok(Some(status))
    }

    /// Waits for something to write or read, not for long, and does it.
    fn wait(&mut self) -> io::Result<()> {
        let time = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        let input = self.input.iter().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT));
        let outputs = self.outputs.iter().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        match poll(&mut input.chain(outputs).collect::<Vec<_>>(), Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.write();
        self.read();
        Ok(())
    }

    fn write(&mut self) {
        let Some(pipe) = &self.input else { return };
        match rustix::io::write(pipe, self.rest) {
            Ok(count) => self.rest = self.rest.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // A program may end, or close its input, without reading all of it.
            Err(_) => self.rest = &[],
        }
        if self.rest.is_empty() {
            self.input = None;
        }
    }

    /// Reads what is there; what has come to its end is closed.
    fn read(&mut self) {
        let output = &mut self.output;
        self.outputs.retain(|pipe| {
            let mut part = [0; 16 << 10];
            match rustix::io::read(pipe, &mut part) {
                Ok(0) => false,
                Ok(count) => {
                    let room = OUTPUT_BYTES_MAX.saturating_sub(output.len()).min(count);
                    output.extend_from_slice(part.get(..room).unwrap_or_default());
                    true
                }
                Err(error) => matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
            }
        });
    }
}

/// Ends the program and what is in its process group.
fn end(child: &mut Child) -> io::Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if group.is_none_or(|group| kill_process_group(group, Signal::KILL).is_err()) {
        child.kill()?;
    }
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rules::receivers::Hide;

    use super::*;

    fn shell(script: &str, timeout_ms: i64) -> Verdict {
        let command = Command {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("SEVERITY".to_owned(), "page".to_owned())]),
            working_dir: None,
            stdin: vec![b'x'; 300_000],
            timeout_ms,
            hide: Hide::default(),
        };
        run(&command, Duration::from_secs(30))
    }

    #[test]
    fn what_programs_answer() {
        assert_eq!(shell("wc -c; echo $SEVERITY", 20_000), Verdict::Taken("status 0: 300000 page".to_owned()));
        assert_eq!(shell("exit 0", 20_000), Verdict::Taken("status 0".to_owned()));
        assert_eq!(shell("echo no >&2; exit 3", 20_000), Verdict::Refused("exit status: 3: no".to_owned()));
        assert!(matches!(shell("exit 75", 20_000), Verdict::Again { .. }));
        let Verdict::Again { why, .. } = shell("echo begun; sleep 60 & sleep 60", 100) else { panic!("too long") };
        assert!(why.contains("ended after 100 ms"), "{why}");
        let Verdict::Taken(told) = shell("yes | head -c 1000000", 20_000) else { panic!("much output") };
        assert!(told.len() < 3000);
    }

    #[test]
    fn what_programs_leave_running_is_not_listened_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let done = folder.path().join("done");
        let script = "(trap '' PIPE; i=0; while [ $i -lt 300 ]; do sleep 0.2; echo x || break; i=$((i+1)); done 2>/dev/null; \
                      echo $i > part; mv part done) & exit 0";
        let told = shell(&format!("cd {}; {script}", folder.path().display()), 20_000);
        assert!(matches!(told, Verdict::Taken(_)), "{told:?}");
        let until = Instant::now() + Duration::from_mins(1);
        while !done.exists() {
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(LOOK);
        }
        let said: u32 = std::fs::read_to_string(done).expect("a number").trim().parse().expect("a number");
        assert!(said < 300, "somebody listened to the end");
    }

    #[test]
    fn programs_that_are_not_there() {
        let command = Command {
            command: vec!["/nowhere/at/all".to_owned()],
            env: BTreeMap::new(),
            working_dir: None,
            stdin: Vec::new(),
            timeout_ms: 1000,
            hide: Hide::default(),
        };
        assert!(matches!(run(&command, Duration::from_secs(1)), Verdict::Refused(_)));
    }
}
