//! The same rules and routes through Prometheus with Alertmanager and through MetricKit: who is told what, in which order.
//!
//! A scenario is a script of seconds: values change, silences come and go, files are read anew. The pair of programs runs it in real time
//! (`make test-alerting-live`), and what it told is kept in `recorded/`; MetricKit runs it by a clock that a test turns, and must tell
//! the same (`rules/tests/scenarios`). So must its server in real time. Where the two differ by decision, the scenario says so.

mod pair;
mod scenario;
mod scenarios;
mod server;
mod silenced;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod web;

use std::path::PathBuf;
use std::sync::Mutex;

use scenario::{Scenario, Told, differences};

/// How many scenarios run at a time: programs that wait for a processor are late.
const AT_A_TIME: usize = 5;

fn recorded(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/alerting/recorded").join(format!("{name}.json"))
}

fn read_recorded(name: &str) -> Vec<Told> {
    let path = recorded(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The scenarios whose names `METRICKIT_ALERTING_ONLY` is part of; all without it.
fn wanted() -> Vec<Scenario> {
    let wanted = std::env::var("METRICKIT_ALERTING_ONLY").unwrap_or_default();
    scenarios::all().into_iter().filter(|one| one.name.contains(&wanted)).collect()
}

/// Runs `all`, several at a time and the long ones first; who told what.
fn together(all: &[Scenario], run: impl Fn(&Scenario) -> Vec<Told> + Sync) -> Vec<(&Scenario, Vec<Told>)> {
    let mut waiting: Vec<&Scenario> = all.iter().collect();
    waiting.sort_by_key(|one| one.seconds);
    let (waiting, done) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(one) = next() {
                    let told = run(one);
                    done.lock().expect("nobody panics with it").push((one, told));
                }
            });
        }
    });
    done.into_inner().expect("nobody panicked with it")
}

/// Runs every scenario through the installed programs, and holds what they tell against what is recorded;
/// `METRICKIT_ALERTING_RECORD=1` records it anew.
#[test]
#[ignore = "takes three minutes of real time: make test-alerting-live"]
fn live_pair() {
    let (Some(prometheus), Some(alertmanager)) =
        (support::foreign("prometheus"), support::foreign("prometheus-alertmanager"))
    else {
        return;
    };
    let is_recording = std::env::var_os("METRICKIT_ALERTING_RECORD").is_some();
    let all = wanted();
    let mut wrong = Vec::new();
    for (one, told) in together(&all, |one| pair::run(one, (&prometheus, &alertmanager))) {
        println!("{}: {} notifications", one.name, told.len());
        if is_recording {
            let text = serde_json::to_string_pretty(&told).expect("plain data");
            std::fs::write(recorded(one.name), text + "\n").expect("recorded");
            continue;
        }
        let found = differences(&read_recorded(one.name), &told);
        wrong.extend(found.into_iter().map(|found| format!("{}: {found}", one.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `run` tells in `all`, held against what is recorded, apart from what is decided otherwise.
#[expect(clippy::print_stdout, reason = "whoever runs it by hand wants to see")]
fn hold(all: &[Scenario], run: impl Fn(&Scenario) -> Vec<Told> + Sync) {
    let mut wrong = Vec::new();
    for (one, told) in together(all, run) {
        println!("{}: {} notifications", one.name, told.len());
        for scenario::Decided { why, group: (path, group), at_s } in one.decided {
            println!("  {path} {group} at {at_s:?}: {why}");
        }
        let found = differences(&one.as_decided(read_recorded(one.name)), &told);
        wrong.extend(found.into_iter().map(|found| format!("{}: {found}", one.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs every scenario through MetricKit's own server.
#[test]
#[ignore = "takes three minutes of real time: make test-alerting-live"]
fn live_server() {
    hold(&wanted(), server::run);
}

/// The same for one that is short: the whole way from a sample to a webhook, with real HTTP and real time.
#[test]
fn the_server_tells_what_the_pair_tells() {
    let all: Vec<Scenario> = scenarios::all().into_iter().filter(|one| one.name == "quick").collect();
    hold(&all, server::run);
}

#[test]
fn every_scenario_is_recorded_and_every_record_has_one() {
    let mut names: Vec<String> = scenarios::all().iter().map(|one| format!("{}.json", one.name)).collect();
    names.sort();
    let folder = recorded("x");
    let entries = std::fs::read_dir(folder.parent().expect("a folder")).expect("recorded");
    let mut files: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    assert_eq!(names, files);
}
