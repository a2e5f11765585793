//! Captures from end to end over the real binaries: a person orders, the agent takes, the server keeps, and `go tool pprof` opens the file; of a
//! program that serves profiles, and of stripped servers that do not know of any of this.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{PATIENCE, Running, Server, binary, foreign, installed, now_ms, run};

const PROGRAM: &str = r#"package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
)

var kept [][]byte

//go:noinline
func keep() {
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 1<<20))
	}
}

//go:noinline
func stuck(c chan int) {
	<-c
}

func main() {
	keep()
	for i := 0; i < 25; i++ {
		go stuck(make(chan int))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, nil))
}
"#;

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if usual.is_file() { Some(usual) } else { foreign("go") }
}

fn start_program(go: &Path, folder: &Path) -> Running {
    std::fs::write(folder.join("main.go"), PROGRAM).expect("written");
    std::fs::write(folder.join("go.mod"), "module example.com/captured\n\ngo 1.21\n").expect("written");
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    command
        .args(["build", "-o", "captured", "."])
        .current_dir(folder)
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off");
    let built = command.output().expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    let mut child = Command::new(folder.join("captured")).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
    Running(child)
}

fn start_agent(server: &Server, folder: &Path) -> Running {
    let push = format!("{}/api/v1/write", server.url);
    let agent = binary()
        .args(["agent", "--push-url", &push, "--push-interval", "200ms", "--poll-interval", "500ms", "--host", "web1"])
        .args(["--go-discover-interval", "500ms", "--receive-socket", ""])
        .arg("--queue-folder")
        .arg(folder.join("queue"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(agent.expect("the agent starts"))
}

/// The instance of the process of `job`, once the server knows it.
fn instance_of(server: &Server, job: &str) -> Option<(String, bool)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = (now_ms() / 1000 + 1).to_string();
        let found = server.query(&format!(r#"metrickit_go_reading_info{{job="{job}",part="goroutines"}}"#), &now);
        if let Some(instance) = found[0]["metric"]["instance"].as_str() {
            return Some((instance.to_owned(), found[0]["metric"]["way"] == "memory"));
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Orders a profile of `instance` with the command that people use, and what `go tool pprof -top` says of the file.
fn top(server: &Server, go: &Path, folder: &Path, (instance, job, kind): (&str, &str, &str), more: &[&str]) -> String {
    let file = folder.join(format!("{job}-{kind}.pb.gz"));
    let mut words = vec!["go", "profile", instance, "--job", job, "--kind", kind, "--url", &server.url, "-o"];
    words.push(file.to_str().expect("text"));
    words.extend(more);
    let (code, told, error) = run(&words);
    assert_eq!(code, 0, "{words:?}: {told}{error}");
    assert!(told.contains(&format!("go tool pprof {}", file.display())), "{told}");
    let output = Command::new(go)
        .args(["tool", "pprof", "-top", "-cum", "-nodecount=1000"])
        .arg(&file)
        .env("GOTOOLCHAIN", "local")
        .output()
        .expect("go runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_program_that_serves_profiles_is_captured_by_them() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &["--captures-per-hour-max", "1000"]);
    let program = start_program(&go, folder.path());
    let _agent = start_agent(&server, folder.path());
    let (instance, _) = instance_of(&server, "captured").expect("the agent finds it");
    wait_for_profiles(&server, folder.path(), &instance);
    let top = |kind: &str, more: &[&str]| top(&server, &go, folder.path(), (&instance, "captured", kind), more);
    let goroutines = top("goroutine", &[]);
    assert!(goroutines.contains("Type: goroutine") && goroutines.contains("main.stuck"), "{goroutines}");
    let heap = top("heap", &["--reason", "it grows"]);
    assert!(heap.contains("Type: inuse_space") && heap.contains("main.keep"), "{heap}");
    let cpu = top("cpu", &["--seconds", "1"]);
    assert!(cpu.contains("Type: cpu"), "{cpu}");
    let by_id = format!("web1/pid-{}", program.0.id());
    let by_id = self::top(&server, &go, folder.path(), (&by_id, "captured", "allocs"), &["--reason", "by its id"]);
    assert!(by_id.contains("main.keep"), "{by_id}");

    let (code, table, error) = run(&["captures", "list", "--url", &server.url]);
    assert_eq!((code, error.as_str()), (0, ""));
    for wanted in ["it grows", "cpu 1s", "pprof", "asked for", "by its id"] {
        assert!(table.contains(wanted), "{wanted} in\n{table}");
    }
    let stacks = folder.path().join("stacks.txt");
    let stacks = stacks.to_str().expect("text");
    let words = ["go", "profile", &instance, "--job", "captured", "--kind", "stacks", "--url", &server.url];
    let words = [&words[..], &["--json", "-o", stacks]].concat();
    let (code, told, error) = run(&words);
    assert_eq!(code, 0, "{error}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let text = std::fs::read_to_string(stacks).expect("written");
    assert!(text.contains("main.stuck(") && told["total"].as_i64() >= Some(25), "{told}");
    let id = told["id"].as_str().expect("an id");
    assert_eq!(run(&["captures", "delete", id, "--url", &server.url]).0, 0);
    let (code, _, error) = run(&["captures", "get", id, "--url", &server.url]);
    assert!(code == 1 && error.contains("there is no capture"), "{error}");
    let (code, _, error) = run(&["go", "profile", "elsewhere/0", "--url", &server.url]);
    assert!(code == 1 && error.contains("no agent \"elsewhere\""), "{error}");
}

/// Waits until the agent knows where the program offers profiles: until it can be asked for what it alone tells.
fn wait_for_profiles(server: &Server, folder: &Path, instance: &str) {
    let until = Instant::now() + PATIENCE;
    let file = folder.join("first.pb.gz");
    let file = file.to_str().expect("text");
    let words = ["go", "profile", instance, "--job", "captured", "--kind", "cpu", "--seconds", "1"];
    let words = [&words[..], &["--url", server.url.as_str(), "-o", file]].concat();
    loop {
        let (code, told, error) = run(&words);
        if code == 0 {
            return;
        }
        assert!(error.contains("offers no profiles"), "{told}{error}");
        assert!(Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn check_stripped(command: &str, arguments: &[&str], goroutine: &str, allocates: &str) {
    let (Some(go), Some(path)) = (go(), installed(command)) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let mut started = Command::new(path);
    started.args(arguments).current_dir(folder.path()).env("HOME", folder.path()).env("GOGC", "5");
    let started = started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _other = Running(started.expect("starts"));
    let _agent = start_agent(&server, folder.path());
    let (instance, in_memory) = instance_of(&server, command).expect("the agent finds it");
    if !in_memory {
        println!("skipped: {command} cannot be read in its memory here");
        return;
    }
    let top = |kind: &str| top(&server, &go, folder.path(), (&instance, command, kind), &[]);
    let goroutines = top("goroutine");
    assert!(goroutines.contains(goroutine), "{goroutines}");
    let heap = top("heap");
    assert!(heap.contains("Type: inuse_space") && heap.contains(allocates), "{heap}");
}

#[test]
fn a_stripped_exporter_gives_goroutines_and_heap() {
    let arguments = ["--web.listen-address=127.0.0.1:0", "--web.disable-exporter-metrics"];
    check_stripped("prometheus-node-exporter", &arguments, "net/http.(*Server).Serve", "runtime.");
}

#[test]
fn a_stripped_store_gives_goroutines_and_heap() {
    let arguments = [
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
    ];
    let goroutine = "etcdserver.(*EtcdServer).run";
    check_stripped("etcd", &arguments, goroutine, "go.etcd.io/");
}
