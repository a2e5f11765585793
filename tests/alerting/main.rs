//! The same rules and routes through Prometheus with Alertmanager and through MetricKit: who is told what, in which order.
//!
//! A scenario is a script of seconds: values change, silences come and go, files are read anew. The pair of programs runs it in real time
//! (`make test-alerting-live`), and what it told is kept in `recorded/`; MetricKit runs it by a clock that a test turns, and must tell
//! the same (`rules/tests/scenarios`). Where the two differ by decision, the scenario says so.

mod pair;
mod scenario;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;
mod web;

use std::path::PathBuf;

use scenario::{Decided, Scenario, Told, differences};

fn recorded(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/alerting/recorded").join(format!("{name}.json"))
}

fn read_recorded(name: &str) -> Vec<Told> {
    let path = recorded(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs every scenario through the installed programs, all at once, and holds what they tell against what is recorded;
/// `METRICKIT_ALERTING_RECORD=1` records it anew.
#[test]
#[ignore = "takes a minute and a half of real time: make test-alerting-live"]
fn live() {
    let (Some(prometheus), Some(alertmanager)) =
        (support::foreign("prometheus"), support::foreign("prometheus-alertmanager"))
    else {
        return;
    };
    let is_recording = std::env::var_os("METRICKIT_ALERTING_RECORD").is_some();
    let wanted = std::env::var("METRICKIT_ALERTING_ONLY").unwrap_or_default();
    let all: Vec<Scenario> = scenarios::all().into_iter().filter(|one| one.name.contains(&wanted)).collect();
    let results: Vec<(&Scenario, Vec<Told>)> = std::thread::scope(|scope| {
        let programs = (prometheus.as_path(), alertmanager.as_path());
        let runs: Vec<_> = all.iter().map(|one| (one, scope.spawn(move || pair::run(one, programs)))).collect();
        runs.into_iter().map(|(one, run)| (one, run.join().expect("a live run ends"))).collect()
    });
    let mut wrong = Vec::new();
    for (one, told) in results {
        println!("{}: {} notifications", one.name, told.len());
        if let Some(Decided { why, group, at_s }) = one.decided {
            println!("  MetricKit tells {group:?} at {at_s:?}: {why}");
        }
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
