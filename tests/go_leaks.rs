//! A real program that leaks goroutines, from its memory to the table that people read: the agent finds the program and judges it, the server tells where it leaks
//! until it ends, and `metrickit go` shows it.

mod support;

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Running, Server, binary, foreign, now_ms, run};

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if usual.is_file() { Some(usual) } else { foreign("go") }
}

/// Builds the programs of `tests/go` into `folder`.
fn build(go: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("corpus");
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    let built = command
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .stdin(Stdio::null())
        .output()
        .expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Starts a program that leaks a goroutine at every step.
fn start_leaking(program: &Path) -> (Running, ChildStdin) {
    let mut child = Command::new(program)
        .arg("send-without-receiver")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (orders, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    std::thread::spawn(move || std::io::copy(&mut BufReader::new(answers).by_ref(), &mut std::io::sink()));
    (Running(child), orders)
}

/// Has it make steps until `stop`, or until it is gone.
fn keep_leaking(mut orders: ChildStdin, stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) && orders.write_all(b"step\n").is_ok() {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
}

/// An agent with windows of two seconds.
fn start_agent(server: &Server, folder: &Path) -> Child {
    let push = format!("{}/api/v1/write", server.url);
    binary()
        .args(["agent", "--push-url", &push, "--push-interval", "200ms", "--poll-interval", "500ms"])
        .args(["--go-goroutines-interval", "1s", "--go-leaks-window", "2s", "--go-discover-interval", "500ms"])
        .arg("--queue-folder")
        .arg(folder.join("queue"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent starts")
}

/// Asks until `holds`; what was answered then.
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
fn a_leak_is_told_from_the_memory_of_a_program_to_the_table() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = build(&go, folder.path());
    let server = Server::start(&folder.path().join("data"), &[]);
    let (leaking, orders) = start_leaking(&program);
    let stop = Arc::new(AtomicBool::new(false));
    keep_leaking(orders, Arc::clone(&stop));
    let _agent = Running(start_agent(&server, folder.path()));

    let reading = r#"metrickit_go_reading_info{job="corpus",part="goroutines"}"#;
    let ask = || server.query(reading, &(now_ms() / 1000 + 1).to_string());
    let told = eventually("how it is read", ask, |answer| answer[0].is_object());
    if told[0]["metric"]["reason"] == "no_right" {
        println!("skipped: the right to read the memory of processes is missing");
        return;
    }
    assert_eq!(told[0]["metric"]["way"], "memory", "{told}");

    let ask = || server.get("/api/v1/go/leaks?job=corpus").json()["data"].take();
    let told = eventually("leaks", ask, |data| data["leaks"][0].is_object());
    let leak = &told["leaks"][0];
    assert_eq!(leak["labels"]["site"], "main.sendResult", "{told}");
    assert_eq!(leak["labels"]["wait"], "chan send", "{told}");
    assert_eq!(leak["way"], "memory", "{told}");
    assert!(leak["file"].as_str().is_some_and(|file| file.ends_with("leaks.go")), "{told}");
    assert!(leak["growthPerHour"].as_f64().is_some_and(|growth| growth > 0.0), "{told}");
    assert_eq!(told["processes"][0]["labels"]["job"], "corpus", "{told}");

    let (code, table, error) = run(&["go", "leaks", "--url", &server.url]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(table.contains("main.sendResult") && table.contains("leaks.go:"), "{table}");
    assert!(table.contains("2 probable:") || table.contains("3 strong:"), "{table}");
    let (code, table, error) = run(&["go", "ps", "--url", &server.url, "--job", "corpus"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(table.contains("│ corpus ┆") || table.contains("┆ corpus ┆"), "{table}");

    stop.store(true, Ordering::Relaxed);
    drop(leaking);
    eventually("after its end", ask, |data| data["leaks"] == Value::Array(Vec::new()));
    let (code, table, _) = run(&["go", "leaks", "--url", &server.url, "--job", "corpus"]);
    assert_eq!((code, table.as_str()), (0, "no goroutine leak of grade 2 or above is known\n"));
}
