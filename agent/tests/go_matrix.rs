//! Go executables of every kind of build: what is found in a stripped one is what the symbols of its unstripped twin
//! say, and functions and lines are those that Go's own tools give.
//!
//! With the toolchain of this machine; `make test-go-matrix` gives others.

mod toolchain;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::go::buildinfo;
use agent::go::outside::binary::{Arch, GoBinary, Variable};
use toolchain::Toolchain;

/// Links the parts of the runtime that are read; the same program makes the table of layouts.
const SAMPLE: &str = include_str!("../layouts/sample/main.go");
/// Links as little as a program can.
const EMPTY: &str = "package main\n\nfunc main() {}\n";

/// Without these nothing can be read, so that every program must have them found.
const NEEDED: [Variable; 8] = [
    Variable::Allgs,
    Variable::Allp,
    Variable::Allm,
    Variable::Sched,
    Variable::Memstats,
    Variable::GcController,
    Variable::Work,
    Variable::Gomaxprocs,
];
/// Left to the symbols: nothing depends on them alone.
const OF_SYMBOLS: [Variable; 4] =
    [Variable::Ncpu, Variable::DisableMemoryProfiling, Variable::BuildVersion, Variable::Ticks];

struct Build {
    name: &'static str,
    arch: &'static str,
    flags: &'static [&'static str],
    linker: &'static str,
    cgo: bool,
}

const PLAIN: Build = Build { name: "plain", arch: "amd64", flags: &[], linker: "", cgo: false };
const PIE: &[&str] = &["-buildmode=pie"];
/// Linked by the C compiler, which moves Go's sections about.
const EXTERNAL: &str = "-linkmode=external";

const BUILDS: [Build; 7] = [
    PLAIN,
    Build { name: "cgo-pie", flags: PIE, linker: EXTERNAL, cgo: true, ..PLAIN },
    Build { name: "arm64", arch: "arm64", ..PLAIN },
    Build { name: "trimpath", flags: &["-trimpath"], ..PLAIN },
    Build { name: "pie", flags: PIE, ..PLAIN },
    Build { name: "cgo", linker: EXTERNAL, cgo: true, ..PLAIN },
    Build { name: "arm64-pie", arch: "arm64", flags: PIE, ..PLAIN },
];
/// How many of them every run of the tests builds; the matrix builds all.
const BUILDS_USUAL: usize = 3;

fn build_with(toolchain: &Toolchain, folder: &Path, program: &str, build: &Build, stripped: bool) -> PathBuf {
    let source = folder.join(if program == SAMPLE { "sample.go" } else { "empty.go" });
    std::fs::write(&source, program).expect("written");
    let output = folder.join(format!("{}{}", build.name, if stripped { "-stripped" } else { "" }));
    let mut command = toolchain.command();
    // The flags become part of the executable: equally long ones leave all addresses as they are.
    let strip = if stripped { "-s=1 -w=1" } else { "-s=0 -w=0" };
    command.arg("build").args(build.flags).arg(format!("-ldflags={} {strip}", build.linker));
    let cgo = if build.cgo { "1" } else { "0" };
    command.arg("-o").arg(&output).arg(&source).env("GOARCH", build.arch).env("CGO_ENABLED", cgo);
    let run = command.current_dir(folder).output().expect("go runs");
    assert!(run.status.success(), "{}: {}", build.name, String::from_utf8_lossy(&run.stderr));
    output
}

fn open(path: &Path) -> GoBinary {
    let file = || File::open(path).expect("built");
    let info = buildinfo::read(file()).expect("read").expect("a Go executable");
    GoBinary::open(file(), &info).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where the data of an executable begins: the first writable segment.
fn data_start(path: &Path) -> u64 {
    let file = std::fs::read(path).expect("built");
    let number =
        |at: usize, bytes: usize| file[at..at + bytes].iter().rev().fold(0, |all, byte| (all << 8) | u64::from(*byte));
    let table = usize::try_from(number(32, 8)).expect("small");
    let segments = (0..usize::try_from(number(56, 2)).expect("small")).map(|segment| table + segment * 56);
    let mut writable = segments.filter(|at| number(*at, 4) == 1 && number(at + 4, 4) & 2 != 0);
    number(writable.next().expect("data") + 16, 8)
}

/// What is found in `stripped` is what the symbols of `plain` say; returns what is not found.
#[track_caller]
fn compare(plain: &Path, stripped: &Path, name: &str) -> Vec<Variable> {
    // Without symbols what stands before the data may take a page less.
    let moved = data_start(stripped).wrapping_sub(data_start(plain));
    let (plain, stripped) = (open(plain), open(stripped));
    assert_eq!(plain.position_independent(), stripped.position_independent(), "{name}");
    let mut missing = Vec::new();
    for (variable, want) in plain.addresses().iter() {
        match stripped.addresses().of(variable) {
            Some(got) => {
                assert_eq!(got, want.wrapping_add(moved), "{name}: {variable:?} {got:#x}, by the symbols {want:#x}");
            }
            None => missing.push(variable),
        }
    }
    for needed in NEEDED {
        assert!(stripped.addresses().of(needed).is_some(), "{name}: {needed:?} not found");
    }
    missing
}

/// Functions as the symbols have them: start, by name.
fn symbols(toolchain: &Toolchain, path: &Path) -> BTreeMap<u64, String> {
    let output = toolchain.command().args(["tool", "nm"]).arg(path).output().expect("go tool nm");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut functions = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(address), Some("T" | "t"), Some(name)) = (fields.next(), fields.next(), fields.next()) {
            functions.insert(u64::from_str_radix(address, 16).expect("an address"), name.to_owned());
        }
    }
    functions
}

/// Functions, and their lines, of some hundred addresses.
#[expect(clippy::print_stdout, reason = "what is not compared is said")]
fn check_functions(toolchain: &Toolchain, plain: &Path, stripped: &Path, name: &str) {
    let functions = symbols(toolchain, plain);
    let binary = open(stripped);
    let table = binary.functions().expect("a table of functions");
    let mut asked = Vec::new();
    let starts: Vec<_> =
        functions.iter().filter(|(_, name)| name.starts_with("runtime.") || name.starts_with("fmt.")).collect();
    assert!(starts.len() > 500, "{name}: {} functions", starts.len());
    for (start, want) in starts.iter().step_by(starts.len() / 200) {
        // Wrappers of assembly have a suffix in the symbols only; marks of the linker are no functions.
        let want = want.trim_end_matches(".abi0");
        if ["runtime.text", "runtime.etext"].contains(&want) {
            continue;
        }
        let Some(function) = table.function(**start) else { panic!("{name}: nothing at {start:#x}, {want}") };
        assert_eq!((&*function.name, function.entry), (want, **start), "{name}");
        assert_eq!(table.function(**start + 1).expect("inside").name, function.name, "{name}");
        asked.push(**start);
    }
    assert!(table.function(0).is_none() && table.function(u64::MAX).is_none());
    let mut tool = toolchain.command();
    let tool = tool.args(["tool", "addr2line"]).arg(plain).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = tool.spawn().expect("go tool addr2line");
    let mut text = String::new();
    for address in &asked {
        writeln!(text, "{address:#x}").expect("a string takes all");
    }
    running.stdin.take().expect("piped").write_all(text.as_bytes()).expect("taken");
    let output = running.wait_with_output().expect("ends");
    let answer = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = answer.lines().skip(1).step_by(2).collect();
    assert_eq!(lines.len(), asked.len(), "{name}");
    if lines.iter().all(|line| *line == "?:0") {
        // Old tools do not find the table that another linker merged into a larger section.
        println!("{name}: lines not compared, go tool addr2line knows none");
        assert!(asked.iter().all(|address| table.position(*address).is_some_and(|position| position.line.is_some())));
        return;
    }
    for (address, want) in asked.iter().zip(lines) {
        let line = table.position(*address).expect("found").line;
        let got = line.map_or_else(|| "?:0".to_owned(), |line| format!("{}:{}", line.file, line.line));
        assert_eq!(got, want, "{name}: {address:#x}");
    }
}

#[test]
fn stripped_executables_tell_what_their_twins_do() {
    for toolchain in Toolchain::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = if toolchain.chosen { BUILDS.len() } else { BUILDS_USUAL };
        for build in &BUILDS[..all] {
            let plain = build_with(&toolchain, folder.path(), SAMPLE, build, false);
            let stripped = build_with(&toolchain, folder.path(), SAMPLE, build, true);
            let release = open(&plain).version().to_string();
            let name = format!("{release} {}", build.name);
            let missing = compare(&plain, &stripped, &name);
            println!("{name}: not found {missing:?}");
            let unexpected: Vec<_> = missing.iter().filter(|variable| !OF_SYMBOLS.contains(variable)).collect();
            assert!(unexpected.len() <= 4, "{name}: {unexpected:?}");
            check_functions(&toolchain, &plain, &stripped, &name);
            let arch = if build.arch == "amd64" { Arch::Amd64 } else { Arch::Arm64 };
            assert_eq!(open(&stripped).arch(), arch);
        }
    }
}

#[test]
fn a_program_that_links_little_has_what_is_needed() {
    for toolchain in Toolchain::all() {
        let folder = tempfile::tempdir().expect("a folder");
        for build in &BUILDS[..1] {
            let plain = build_with(&toolchain, folder.path(), EMPTY, build, false);
            let stripped = build_with(&toolchain, folder.path(), EMPTY, build, true);
            let missing = compare(&plain, &stripped, "empty");
            println!("empty: not found {missing:?}");
        }
    }
}

/// Servers that a distribution builds and strips, where they are installed.
#[test]
fn installed_servers_have_what_is_needed() {
    for server in ["prometheus", "prometheus-node-exporter", "victoria-metrics", "influxd", "etcd", "caddy"] {
        let path = Path::new("/usr/bin").join(server);
        if !path.exists() {
            continue;
        }
        let binary = open(&path);
        let addresses = binary.addresses();
        let missing: Vec<_> = Variable::ALL.into_iter().filter(|variable| addresses.of(*variable).is_none()).collect();
        println!("{server}, {}: not found {missing:?}", binary.version());
        for needed in NEEDED {
            assert!(!missing.contains(&needed), "{server}: {needed:?} not found");
        }
        let table = binary.functions().expect("a table of functions");
        let code = Variable::ALL.into_iter().filter_map(|variable| table.function(addresses.of(variable)?)).count();
        assert_eq!(code, 0, "{server}: variables are no code");
    }
}
