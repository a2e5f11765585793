//! An agent with far too little memory, over the real binaries: what it leaves out is told by metrics, by how processes are read, and by the
//! list of agents; the numbers of runtimes keep coming.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Running, Server, binary, foreign, now_ms};

/// Waits for its input.
const PROGRAM: &str = "package main\n\nimport \"os\"\n\nfunc main() {\n\tos.Stdin.Read(make([]byte, 1))\n}\n";

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if usual.is_file() { Some(usual) } else { foreign("go") }
}

fn start_program(go: &Path, folder: &Path) -> Running {
    std::fs::write(folder.join("main.go"), PROGRAM).expect("written");
    std::fs::write(folder.join("go.mod"), "module example.com/idle\n\ngo 1.21\n").expect("written");
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    command.args(["build", "-o", "idle", "."]).current_dir(folder).env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
    let built = command.output().expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Running(Command::new(folder.join("idle")).stdin(Stdio::piped()).spawn().expect("starts"))
}

fn eventually(what: &str, ask: impl Fn() -> Value, holds: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if holds(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: {answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_is_left_out_is_told_everywhere() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let _program = start_program(&go, folder.path());
    let push = format!("{}/api/v1/write", server.url);
    let agent = binary()
        .args(["agent", "--push-url", &push, "--push-interval", "200ms", "--poll-interval", "500ms", "--host", "web1"])
        .args(["--go-discover-interval", "500ms", "--receive-socket", "", "--budget-memory", "1MiB"])
        .args(["--budget-window", "1s", "--budget-cpu-percent", "0", "--queue-folder"])
        .arg(folder.path().join("queue"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _agent = Running(agent.expect("the agent starts"));
    let query = |expr: &str| server.query(expr, &(now_ms() / 1000 + 1).to_string());
    let shed = || query(r#"metrickit_agent_shed{reason="memory"}"#);
    let shed = eventually("everything is left out", shed, |answer| answer.as_array().is_some_and(|all| all.len() == 4));
    let names: Vec<_> = shed.as_array().into_iter().flatten().map(|of| of["metric"]["collector"].clone()).collect();
    for name in ["pprof", "profiles", "pages", "goroutines"] {
        assert!(names.iter().any(|own| own == name), "{name} in {names:?}");
    }
    let reading = || query(r#"metrickit_go_reading_info{job="idle",part="goroutines",way="none"}"#);
    let reading = eventually("how it is read", reading, |answer| answer[0].is_object());
    let reason = &reading[0]["metric"]["reason"];
    if reason == "no_right" {
        println!("skipped: the right to read the memory of processes is missing");
        return;
    }
    assert_eq!(reason, "budget", "{reading}");
    let goroutines = || query(r#"timestamp(go_goroutines{job="idle"})"#);
    let first = eventually("its numbers", goroutines, |answer| answer[0].is_object());
    eventually("its numbers go on", goroutines, |answer| answer[0].is_object() && answer != &first);
    let agents = || server.get("/api/v1/agents").json()["data"]["agents"][0]["shed"]["parts"].take();
    eventually("the list of agents", agents, |parts| parts.as_array().is_some_and(|parts| parts.len() == 4));
}
