//! Real Go programs: build information of every kind of binary, and a running one found, read and scraped end to end.
//! Skipped, with a notice, where there is no Go toolchain.

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent::config::Config;
use agent::go::buildinfo;
use agent::{StopFlag, run};
use model::{Clock, SystemClock, sample};
use support::Receiver;

/// Enough for build information, quick to build.
const EMPTY: &str = "package main\n\nfunc main() {}\n";

/// Serves `/debug/vars` on a free loopback port and prints the address.
const SERVER: &str = r#"package main

import (
	_ "expvar"
	"fmt"
	"net"
	"net/http"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, nil))
}
"#;

/// Builds `program` into `folder` with `flags`; nothing when there is no toolchain.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn build(program: &str, folder: &Path, name: &str, flags: &[&str]) -> Option<PathBuf> {
    std::fs::write(folder.join("main.go"), program).expect("written");
    std::fs::write(folder.join("go.mod"), "module example.com/tiny\n\ngo 1.18\n").expect("written");
    let output = folder.join(name);
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&output)
        .args(flags)
        .arg(".")
        .current_dir(folder)
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .output();
    let Ok(built) = built else {
        println!("SKIPPED: no Go toolchain on this machine");
        return None;
    };
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Some(output)
}

#[test]
fn build_information_of_real_binaries() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flags) in [
        ("plain", &[][..]),
        ("stripped", &["-ldflags", "-s -w"]),
        ("pie", &["-buildmode=pie"]),
        ("pie-stripped", &["-buildmode=pie", "-ldflags", "-s -w"]),
    ] {
        let Some(path) = build(EMPTY, folder.path(), name, flags) else { return };
        let info = buildinfo::read(File::open(&path).expect("built")).expect("read").expect("a Go executable");
        assert!(info.go_version.starts_with("go1."), "{name}: {info:?}");
        assert_eq!((info.path.as_str(), info.module.as_str()), ("example.com/tiny", "example.com/tiny"), "{name}");
        without_sections(&path, &info, name);
    }
}

/// The same without a table of sections: found by the magic alone.
fn without_sections(path: &Path, want: &buildinfo::BuildInfo, name: &str) {
    let mut bytes = std::fs::read(path).expect("read");
    // e_shoff, e_shnum and e_shstrndx of a 64-bit header.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let bare = path.with_extension("bare");
    std::fs::write(&bare, bytes).expect("written");
    let got = buildinfo::read(File::open(&bare).expect("written")).expect("read");
    assert_eq!(got.as_ref(), Some(want), "{name} without sections");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `path`; returns it and the address it listens on.
fn start(path: &Path) -> (Running, String) {
    let mut child = Command::new(path).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("an address");
    (Running(child), line.trim().to_owned())
}

#[test]
fn a_running_program_from_discovery_to_the_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    // A name of its own: other Go programs may run on this machine.
    let name = format!("tiny{}", std::process::id());
    let Some(path) = build(SERVER, folder.path(), &name, &["-ldflags", "-s -w"]) else { return };
    let (program, address) = start(&path);
    let receiver = Receiver::start(&[]);
    let mut config = Config {
        host: "web1".to_owned(),
        environment: "test".to_owned(),
        poll_interval: Duration::from_millis(100),
        receive_socket: None,
        ..Config::default()
    };
    config.scrape.interval = Duration::from_millis(100);
    config.push.interval = Duration::from_millis(50);
    config.push.url.clone_from(&receiver.url);
    config.queue.folder = folder.path().join("queue");
    config.collect.filesystem.on = false;
    let (stop, clock): (_, Arc<dyn Clock>) = (StopFlag::new(), Arc::new(SystemClock));
    let agent = {
        let (config, stop, clock) = (config.clone(), stop.clone(), Arc::clone(&clock));
        std::thread::spawn(move || run(&config, &clock, &stop))
    };

    let labels = format!("env=test,instance=web1/0,job={name}");
    let series = |metric: &str| format!("{metric}{{{labels}}}");
    let has = |taken: &[support::Received], want: &str| {
        taken.iter().any(|sample| sample.series == want && !sample::is_stale_marker(sample.value))
    };
    for metric in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "up",
        "go_memstats_heap_alloc_bytes",
        "go_gc_duration_seconds_count",
    ] {
        receiver.wait(metric, |taken| has(taken, &series(metric)));
    }
    let taken = receiver.wait("the host", |taken| has(taken, "node_load1{env=test,instance=web1,job=node}"));
    let info = taken
        .iter()
        .find(|sample| sample.series.starts_with("metrickit_go_process_info") && sample.series.contains(&name));
    let info = info.expect("an info series").series.clone();
    assert!(info.contains("module=example.com/tiny") && info.contains("go_version=go1."), "{info}");
    let page = format!("metrickit_go_page_info{{{labels},url=http://{address}/debug/vars}}");
    assert!(has(&taken, &page), "no {page}");

    drop(program);
    for metric in ["process_cpu_seconds_total", "up", "go_memstats_heap_alloc_bytes"] {
        receiver.wait("a stale marker", |taken| {
            taken.iter().any(|sample| sample.series == series(metric) && sample::is_stale_marker(sample.value))
        });
    }
    stop.stop();
    let summary = agent.join().expect("no panic").expect("ran");
    assert_eq!(summary.samples_waiting, 0);
    assert_eq!(summary.samples_sent, summary.samples_collected);
    let taken = receiver.taken();
    let load: Vec<_> = taken.iter().filter(|sample| sample.series.starts_with("node_load1{")).collect();
    assert!(load.is_sorted_by(|a, b| a.timestamp_ms <= b.timestamp_ms), "in order");
    let last: HashMap<&str, f64> = taken.iter().map(|sample| (sample.series.as_str(), sample.value)).collect();
    // Pages of other programs on this machine may carry their own timestamps, which are not tracked.
    let jobs = ["job=node".to_owned(), "job=metrickit-agent".to_owned(), format!("job={name}")];
    let ours = |series: &str| jobs.iter().any(|job| series.contains(job.as_str()));
    let alive: Vec<_> =
        last.iter().filter(|(series, value)| ours(series) && !sample::is_stale_marker(**value)).collect();
    assert!(alive.is_empty(), "a clean stop marks every series: {alive:?}");
    assert!(receiver.metadata().iter().any(|metric| metric == "node_load1"), "kinds and help texts came too");
}
