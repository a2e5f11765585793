//! A Go program to read from outside, which says of itself what should be found. Built once for all tests, in every form
//! that executables have; tests skip, with a notice, where there is no Go toolchain.
#![expect(dead_code, reason = "each test file uses its part")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use agent::collect::Collector;
use agent::config::{Config, GoMemoryConfig};
use agent::go::discover::Scan;
use agent::go::identity::Life;
use agent::go::outside::{Outside, SharedCensuses};
use agent::go::ways::Ways;
use agent::go::{GoProcess, SharedProcesses, buildinfo};
use agent::readings::Readings;
use procfs::process::Process;
use serde_json::Value;
use toolchain::Toolchain;

pub(crate) mod agree;
#[path = "../toolchain/mod.rs"]
pub(crate) mod toolchain;

const PROGRAM: &str = include_str!("main.go");

/// Forms of executables, and the flags that make them.
pub(crate) const FORMS: [(&str, &[&str]); 5] = [
    ("plain", &[]),
    ("stripped", &["-ldflags", "-s -w"]),
    ("trimmed", &["-trimpath"]),
    ("pie", &["-buildmode=pie"]),
    ("pie-stripped", &["-buildmode=pie", "-ldflags", "-s -w"]),
];

/// The program in the form called `form`; nothing when there is no toolchain.
pub(crate) fn build(form: &str) -> Option<PathBuf> {
    Toolchain::usual().map(|toolchain| build_with(&toolchain, form))
}

/// The program in the form called `form`, as `toolchain` builds it.
pub(crate) fn build_with(toolchain: &Toolchain, form: &str) -> PathBuf {
    let flags = FORMS.iter().find(|(own, _)| *own == form).expect("a form").1;
    go_build(toolchain, form, flags, "").unwrap_or_else(|said| panic!("go build: {said}"))
}

/// The program with `experiments` of the toolchain; nothing when `toolchain` does not know them.
pub(crate) fn build_experimental(toolchain: &Toolchain, experiments: &str) -> Option<PathBuf> {
    match go_build(toolchain, experiments, &[], experiments) {
        Ok(path) => Some(path),
        Err(said) if said.contains("unknown GOEXPERIMENT") => None,
        Err(said) => panic!("go build: {said}"),
    }
}

/// The program in a file called `name`, built with `flags` and `experiments`; what the toolchain says where it refuses.
fn go_build(toolchain: &Toolchain, name: &str, flags: &[&str], experiments: &str) -> Result<PathBuf, String> {
    let version = toolchain.command().arg("version").output().expect("go runs").stdout;
    let version = String::from_utf8(version).expect("text");
    let mut hasher = DefaultHasher::new();
    (PROGRAM, &version, experiments).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("subject-{:016x}", hasher.finish()));
    let path = folder.join(name);
    if !path.exists() {
        let sources = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(sources.path().join("main.go"), PROGRAM).expect("written");
        // Of its own release, so that each behaves as it does by default.
        let release = version.split_whitespace().find_map(|word| word.strip_prefix("go1.")).expect("a release");
        let minor = release.split(|c: char| !c.is_ascii_digit()).next().expect("a number");
        let module = format!("module example.com/subject\n\ngo 1.{minor}\n");
        std::fs::write(sources.path().join("go.mod"), module).expect("written");
        let output = sources.path().join("built");
        let built = toolchain
            .command()
            .args(["build", "-o"])
            .arg(&output)
            .args(flags)
            .arg(".")
            .current_dir(sources.path())
            .envs([("CGO_ENABLED", "0"), ("GOEXPERIMENT", experiments)])
            .output()
            .expect("go runs");
        if !built.status.success() {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        // Another test may have made it meanwhile: renamed into place it is whole at any time.
        let whole = tempfile::NamedTempFile::new_in(&folder).expect("a file").into_temp_path();
        std::fs::copy(&output, &whole).expect("copied");
        whole.persist(&path).expect("renamed");
    }
    Ok(path)
}

/// The program, running.
pub(crate) struct Subject {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) process: GoProcess,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subject {
    /// Starts the executable at `path` with more of the environment.
    pub(crate) fn start(path: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .envs(environment.iter().copied())
            .spawn()
            .expect("starts");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let process = describe(i32::try_from(child.id()).expect("an id"), path);
        let mut subject = Self { child, stdin, stdout: BufReader::new(stdout), process };
        subject.ask("ready");
        subject
    }

    /// Sends a command; returns what the program says.
    pub(crate) fn ask(&mut self, command: &str) -> Value {
        writeln!(self.stdin, "{command}").expect("it listens");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {error}: {line:?}"))
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

/// The process `pid` of the executable at `path`, as it would be discovered.
pub(crate) fn describe(pid: i32, path: &Path) -> GoProcess {
    let file = std::fs::File::open(path).expect("opens");
    let build = buildinfo::read(file).expect("read").expect("a Go executable");
    let start_ticks = Process::new(pid).and_then(|process| process.stat()).expect("runs").starttime;
    GoProcess {
        life: Life { start_ticks, pid, name: "subject".to_owned() },
        job: "subject".to_owned(),
        instance: "web1/0".to_owned(),
        build: Arc::new(build),
        same_network: true,
    }
}

/// A collector of one process or some.
pub(crate) struct Reading {
    pub(crate) outside: Outside,
    pub(crate) ways: Ways,
    pub(crate) censuses: SharedCensuses,
    pub(crate) processes: SharedProcesses,
    now_ms: i64,
}

impl Reading {
    /// Reads `processes`, everything at each round, as `change` changes the configuration.
    pub(crate) fn of(processes: Vec<GoProcess>, change: impl FnOnce(&mut GoMemoryConfig)) -> Self {
        let mut config = Config::default().go.memory;
        (config.goroutines_interval_ms, config.profiles_interval_ms) = (1, 1);
        change(&mut config);
        let shared = SharedProcesses::default();
        *shared.lock() = Arc::new(Scan { processes, ..Scan::default() });
        let ways = Ways::default();
        let outside = Outside::new(config, Arc::clone(&shared), ways.clone());
        Self { censuses: outside.censuses(), outside, ways, processes: shared, now_ms: 1_000_000 }
    }

    /// Reads once.
    pub(crate) fn round(&mut self) -> Readings {
        // Far apart, so that everything is due whatever it costs.
        self.now_ms += 1_000_000;
        let mut out = Readings::new(self.now_ms);
        self.outside.collect(&mut out).expect("no process makes it fail");
        out
    }
}

/// The value of the metric called `name` of the one process, with more `labels` in order.
pub(crate) fn value(readings: &Readings, name: &str, labels: &str) -> Option<f64> {
    let rest = if labels.is_empty() { String::new() } else { format!(", {labels}") };
    readings
        .iter()
        .find(|(own, _)| {
            let own = own.to_string();
            own == format!(r#"{name}{{instance="web1/0", job="subject"{rest}}}"#)
        })
        .and_then(|(_, values)| values.value())
}

/// The number at `key` of what the program said.
#[track_caller]
pub(crate) fn number(told: &Value, key: &str) -> f64 {
    told.get(key).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {key} in {told}"))
}
