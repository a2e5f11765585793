//! Programs as receivers: started without a shell, with the JSON on their standard input, ended when their time is over.
//!
//! Status 0 is taken, 75 (`EX_TEMPFAIL` of `sysexits.h`) is tried again, and so is a program that takes too long; every other status is refused.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rules::receivers::{Command, Verdict};
use rustix::process::{Pid, Signal, kill_process_group};

/// "Come again later."
const TRY_AGAIN: i32 = 75;
/// Longest output that is kept.
const OUTPUT_BYTES_MAX: usize = 2048;
/// Between two looks at a program.
const LOOK: Duration = Duration::from_millis(10);
/// How long output is waited for once the program has ended: its children may hold it open.
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
    let output = Arc::new(Mutex::new(Vec::new()));
    let mut pipes = vec![];
    pipes.extend(child.stdout.take().map(|pipe| gather(pipe, &output)));
    pipes.extend(child.stderr.take().map(|pipe| gather(pipe, &output)));
    feed(&mut child, command.stdin.clone());
    let ended = wait(&mut child, Instant::now() + limit);
    let until = Instant::now() + OUTPUT_WAIT;
    while pipes.iter().flatten().any(|pipe| !pipe.is_finished()) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let output = output.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Writes `stdin` beside: a program that does not read is not waited for.
fn feed(child: &mut Child, stdin: Vec<u8>) {
    if let Some(mut pipe) = child.stdin.take() {
        let fed = std::thread::Builder::new().name("deliver-exec".to_owned()).spawn(move || {
            // A program may end without reading all of it.
            let _ = pipe.write_all(&stdin);
        });
        drop(fed);
    }
}

/// Reads `pipe` to its end beside, and keeps its beginning.
fn gather(mut pipe: impl Read + Send + 'static, output: &Arc<Mutex<Vec<u8>>>) -> Option<std::thread::JoinHandle<()>> {
    let output = Arc::clone(output);
    let read = move || {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = pipe.read(&mut part) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT_BYTES_MAX.saturating_sub(output.len()).min(count);
            output.extend_from_slice(part.get(..room).unwrap_or_default());
        }
    };
    std::thread::Builder::new().name("deliver-exec".to_owned()).spawn(read).ok()
}

/// Waits until `until`, then ends the program and what it started.
fn wait(child: &mut Child, until: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if group.is_none_or(|group| kill_process_group(group, Signal::KILL).is_err()) {
                child.kill()?;
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shell(script: &str, timeout_ms: i64) -> Verdict {
        let command = Command {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("SEVERITY".to_owned(), "page".to_owned())]),
            working_dir: None,
            stdin: vec![b'x'; 300_000],
            timeout_ms,
            hide: rules::receivers::Hide::default(),
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
    fn programs_that_are_not_there() {
        let command = Command {
            command: vec!["/nowhere/at/all".to_owned()],
            env: BTreeMap::new(),
            working_dir: None,
            stdin: Vec::new(),
            timeout_ms: 1000,
            hide: rules::receivers::Hide::default(),
        };
        assert!(matches!(run(&command, Duration::from_secs(1)), Verdict::Refused(_)));
    }
}
