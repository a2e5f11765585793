//! The benchmarks run: each subcommand for a moment, beside other servers where they are installed.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Server, binary, drain, foreign, installed, run, terminate, wait};

/// Runs `metrickit bench` with `args`, which must work; its standard output.
#[track_caller]
fn bench(args: &[&str]) -> String {
    let (code, out, err) = run(&[&["bench"], args].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    out
}

/// As [`bench`], with `--json`.
#[track_caller]
fn figures(args: &[&str]) -> Value {
    let out = bench(&[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
}

#[track_caller]
fn positive(figures: &Value, keys: &[&str]) {
    for key in keys {
        assert!(figures[*key].as_f64().is_some_and(|value| value > 0.0), "{key} in {figures}");
    }
}

#[test]
fn servers_are_compared() {
    let tiny = ["compare", "--series", "40", "--seconds", "1", "--kill-after-seconds", "1"];
    let figures = figures(&[&tiny[..], &["--servers", "metrickit"]].concat());
    positive(&figures["machine"], &["cores", "memory_bytes"]);
    let ours = &figures["runs"][0]["servers"][0];
    positive(ours, &["samples", "samples_per_cpu_second", "resident_bytes", "disk_bytes_per_sample", "restart_ms"]);
    positive(&ours["killed"], &["acknowledged"]);
    assert_eq!(ours["killed"]["lost"], 0, "{figures}");

    let others = usize::from(installed("victoria-metrics").is_some()) + usize::from(foreign("prometheus").is_some());
    if others > 0 {
        let table = bench(&tiny);
        assert!(table.contains("samples per CPU second") && table.contains("ratio"), "{table}");
        assert_eq!(table.lines().nth(1).map(|line| line.split(", ").count()), Some(1 + others), "{table}");
    }
}

#[test]
fn restarts_are_measured() {
    let figures = figures(&["restart", "--series", "5000", "--log-mib", "1", "--repeat", "2"]);
    let run = &figures["runs"][0];
    positive(run, &["log_samples", "blocks_ms", "ready_ms", "cpu_ms", "resident_peak_bytes", "memory_max_bytes"]);
    let log_bytes = run["log_bytes"].as_f64().expect("a number");
    assert!((0.8..1.0).contains(&(log_bytes / f64::from(1 << 20))), "just below a MiB, not {log_bytes}");
}

#[test]
fn a_recording_is_replayed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let recording = folder.path().join("recording");
    let recording = recording.to_str().expect("a UTF-8 path");
    let target = format!("ours={}/metrics", server.url);
    let record = ["record", "--target", &target, "--every", "100ms", "--for", "1s", "--out", recording];
    let said = bench(&record);
    assert!(said.contains("pages of 1 targets"), "{said}");

    let figures = figures(&["disk", "--recording", recording, "--servers", "metrickit"]);
    positive(&figures["disk"][0], &["samples", "series", "samples_bytes", "cpu_seconds"]);
    if foreign("prometheus").is_some() {
        let table = bench(&["disk", "--recording", recording, "--servers", "metrickit,prometheus"]);
        assert!(table.contains("everything") && !table.contains("otherwise"), "answers are equal: {table}");
    }
}

#[test]
fn growth_has_a_step_for_each_size() {
    let sizes = ["--series", "40,80", "--samples-per-series", "4", "--days", "1,2", "--days-series", "40"];
    let bounds = ["--days-samples-max", "8000", "--repeat", "1"];
    let figures = figures(&[&["growth"], &sizes[..], &bounds].concat());
    let growths = figures["growths"].as_array().expect("a list");
    let steps: Vec<&Value> = growths.iter().flat_map(|growth| growth["steps"].as_array().expect("a list")).collect();
    let samples: Vec<Option<u64>> = steps.iter().map(|step| step["samples"].as_u64()).collect();
    // A sample every half hour: every ten minutes it would be more than 8000 in 2 days.
    assert_eq!(samples, [Some(160), Some(320), Some(40 * 48), Some(40 * 96)], "{figures}");
    for step in steps {
        positive(step, &["cpu_ns_per_sample", "resident_bytes_per_series", "disk_bytes_per_sample", "restart_ms"]);
        positive(&step["queries"][4], &["p50_ms"]);
    }
}

#[test]
fn a_signal_ends_servers_and_removes_folders() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let data = place.path().to_str().expect("a UTF-8 path");
    let mut command = binary();
    command.args(["bench", "compare", "--servers", "metrickit", "--series", "40", "--data", data]);
    let mut child = support::Running(command.stderr(std::process::Stdio::piped()).spawn().expect("the binary starts"));
    let until = Instant::now() + PATIENCE;
    let is_used = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join("data/log")).any(|log| log.exists())
    };
    while !is_used(place.path()) {
        assert!(Instant::now() < until, "the benchmark starts its server");
        std::thread::sleep(Duration::from_millis(10));
    }
    terminate(child.0.id());
    let status = wait(&mut child.0);
    assert_eq!(status.code(), Some(128 + 15), "{}", drain(child.0.stderr.take()));
    assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 0, "the folder is removed");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let (code, _, err) = run(&["bench", "disk", "--recording", "/nowhere"]);
    assert_eq!(code, 1);
    assert!(err.contains("/nowhere"), "{err}");
    let mut command = binary();
    command
        .args(["bench", "compare", "--servers", "prometheus"])
        .env("METRICKIT_BENCH_PROMETHEUS", "/nowhere/prometheus");
    let output = command.output().expect("the binary runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(err.contains("Prometheus is left out") && err.contains("/nowhere/prometheus"), "{err}");
}
