//! `metrickit go inspect` against real programs: what it reads from outside is what the program says of itself.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use support::{Running, foreign, run};

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if usual.is_file() { Some(usual) } else { foreign("go") }
}

/// A name that no other run of these tests has.
fn name() -> String {
    format!("looked-at-{}", std::process::id())
}

/// Builds the programs of `tests/go` into `folder`, called `name`.
fn build(go: &Path, folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    let built = command
        .args(["build", "-tags=looked", "-ldflags=-s -w", "-o"])
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

/// A program that makes a step when it is told to.
struct Program {
    child: Running,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Program {
    fn start(program: &Path, name: &str) -> Self {
        let mut child: Child = Command::new(program)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (orders, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child: Running(child), orders, answers: BufReader::new(answers) }
    }

    /// Makes `count` steps and waits until they are made.
    fn step(&mut self, count: usize) {
        self.orders.write_all(&b"step\n".repeat(count - 1)).expect("it listens");
        self.orders.write_all(b"look\n").expect("it listens");
        let mut head = String::new();
        self.answers.read_line(&mut head).expect("it answers");
        let bytes: usize = head.split_whitespace().nth(1).expect("a length").parse().expect("a number");
        let mut profile = vec![0; bytes];
        self.answers.read_exact(&mut profile).expect("a profile");
    }

    fn pid(&self) -> String {
        self.child.0.id().to_string()
    }
}

fn inspect(pid: &str) -> Option<Value> {
    let (code, told, error) = run(&["go", "inspect", pid, "--for", "200ms", "--sites", "100", "--json"]);
    if error.starts_with("no right to read") || error.starts_with("error: no right to read") {
        assert_eq!(code, 1);
        return None;
    }
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    Some(serde_json::from_str(&told).expect("JSON"))
}

#[test]
fn a_program_is_told_of_as_it_is() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = build(&go, folder.path(), &name());
    let mut program = Program::start(&file, "send-without-receiver");
    program.step(40);
    let pid = program.pid();
    let Some(facts) = inspect(&pid) else {
        println!("skipped: the right to read the memory of processes is missing");
        return;
    };

    // Goroutines: all of them, and at the site where they are stuck as many as there were steps, or more.
    let sites = facts["goroutines"]["sites"].as_array().expect("sites");
    let sum: f64 = sites.iter().filter_map(|site| site["count"].as_f64()).sum();
    assert_eq!(Some(sum), facts["goroutines"]["total"].as_f64(), "{facts}");
    let leak = sites.iter().find(|site| site["site"] == "main.sendResult").expect("the site that leaks");
    assert!(leak["count"].as_u64() >= Some(20), "{leak}");
    assert_eq!(leak["wait"], "chan send", "{leak}");
    assert_eq!(leak["change"], 0, "{leak}");
    assert!(leak["file"].as_str().is_some_and(|file| file.ends_with("leaks.go")), "{leak}");
    assert!(leak["blockedLine"].as_u64() > Some(0), "{leak}");

    // The rest is there, with units, and says how it was read.
    assert_eq!(facts["process"]["pid"].as_u64(), pid.parse().ok());
    assert_eq!(facts["process"]["name"], name().as_str());
    assert_eq!(facts["build"]["module"], "corpus");
    let settings = facts["build"]["settings"].as_array().expect("settings");
    assert!(settings.iter().any(|pair| pair[0] == "-tags" && pair[1] == "looked"), "{settings:?}");
    for (of, field) in [
        ("process", "residentBytes"),
        ("process", "threads"),
        ("gc", "cycles"),
        ("gc", "gogcPercent"),
        ("memory", "heapGoalBytes"),
        ("memory", "runtimeBytes"),
        ("scheduler", "gomaxprocs"),
    ] {
        assert!(facts[of][field].as_f64() > Some(0.0), "{of}.{field} in {facts}");
    }
    assert_eq!(facts["parts"][0]["part"], "runtime");
    assert_eq!(facts["parts"][0]["way"], "memory");
    assert_eq!(facts["parts"][3]["reason"], "not_kept", "no fraction of mutexes is set: {facts}");

    // Growth between the readings of a program that goes on.
    let before = leak["count"].as_u64();
    program.step(10);
    let again = inspect(&pid).expect("as before");
    let sites = again["goroutines"]["sites"].as_array().expect("sites");
    let leak = sites.iter().find(|site| site["site"] == "main.sendResult").expect("the site that leaks");
    assert!(leak["count"].as_u64() > before, "{leak}");

    // The screen for people has the same.
    let (code, screen, error) = run(&["go", "inspect", &name()[1..], "--for", "100ms"]);
    assert_eq!((code, error.as_str()), (0, ""));
    for wanted in
        ["pid ", "-tags=looked", "main.sendResult", "chan send", "leaks.go:", "GOGC 100", "runtime from memory"]
    {
        assert!(screen.contains(wanted), "{wanted} in\n{screen}");
    }
    assert!(!screen.contains('\u{1b}'), "no colour in a pipe");

    // Two of a name are told apart by their ids.
    let second = Program::start(&file, "idle");
    let (code, _, error) = run(&["go", "inspect", &name()]);
    assert_eq!(code, 1);
    assert!(error.contains("2 Go processes fit") && error.contains(&pid) && error.contains(&second.pid()), "{error}");
}

/// A copy of the program that says to be of a release of Go that nobody knows; nothing where its own is no such.
fn of_unknown_release(file: &Path, release: &str) -> Option<(PathBuf, String)> {
    let minor = release.strip_prefix("go1.")?.get(..2).filter(|minor| minor.parse::<u8>().is_ok())?;
    let unknown = release.replacen(minor, "97", 1);
    let mut bytes = std::fs::read(file).expect("the program");
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(release.len()).position(|text| text == release.as_bytes()) {
        from += at + release.len();
        bytes[from - release.len()..from].copy_from_slice(unknown.as_bytes());
    }
    let copy = file.with_file_name("unknown-release");
    std::fs::copy(file, &copy).expect("a copy, which may be run");
    std::fs::write(&copy, bytes).expect("the copy");
    Some((copy, unknown))
}

#[test]
fn a_release_that_is_not_known_is_said_so_and_the_rest_told() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = build(&go, folder.path(), "known-release");
    let known = Program::start(&file, "idle");
    let Some(facts) = inspect(&known.pid()) else {
        println!("skipped: the right to read the memory of processes is missing");
        return;
    };
    let release = facts["build"]["goVersion"].as_str().expect("a release");
    let Some((copy, unknown)) = of_unknown_release(&file, release) else { return };
    let program = Program::start(&copy, "idle");
    let (code, told, error) = run(&["go", "inspect", &program.pid(), "--for", "100ms"]);
    assert_eq!(code, 1, "{told}");
    assert!(error.contains(&format!("no layout of {unknown} is known")), "{error}");
    for wanted in [unknown.as_str(), "-tags=looked", "resident ", "runtime: no layout of this release of Go is known"] {
        assert!(told.contains(wanted), "{wanted} in\n{told}");
    }
    assert!(!told.contains("GOMAXPROCS"), "{told}");
}

#[test]
fn what_cannot_be_told_is_said_why() {
    let own = std::process::id().to_string();
    for (args, code, wanted) in [
        (vec!["go", "inspect", "999999999"], 1, "there is no process 999999999"),
        (vec!["go", "inspect", own.as_str()], 1, "is no Go process"),
        (vec!["go", "inspect", "no such program"], 1, "no Go process of this host is called \"no such program\""),
        (vec!["go", "inspect", "1", "--for", "soon"], 2, "write it like 2s"),
        (vec!["go", "inspect", "1", "--for", "2h"], 2, "at most 1h"),
        (vec!["top", "--local"], 2, "`metrickit go ps`"),
        (vec!["top", "--interval", "1ms"], 2, "100ms to 1h"),
    ] {
        let (got, told, error) = run(&args);
        assert_eq!((got, told.as_str()), (code, ""), "{args:?}: {error}");
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
}
