//! Hundreds of Go processes at once: the agent reads all of them in their memory, stays small, and keeps to its budget.
//! A debug build reads some dozens in its time; a release build, named by `METRICKIT_AGENT_PROGRAM`, 500 and more
//! (`METRICKIT_GO_PROCESSES`): see `make test-go-many`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Agent;
use crate::subject::toolchain::Toolchain;
use crate::support::{Received, Receiver};
use procfs::process::Process;

/// A program that only waits, and takes little memory to do so.
const PROGRAM: &str = "package main\n\nimport \"time\"\n\nfunc main() { time.Sleep(time.Hour) }\n";
/// What the agent may take, however many there are.
const RESIDENT_MIB_MAX: u64 = 160;
/// How long figures are taken.
const MEASURED: Duration = Duration::from_secs(8);

pub(crate) struct Processes(pub(crate) Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

pub(crate) fn build(toolchain: &Toolchain, folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("main.go"), folder.join("waiting"));
    std::fs::write(&source, PROGRAM).expect("written");
    let mut command = toolchain.command();
    let built = command.args(["build", "-o"]).arg(&program).arg(&source).env("CGO_ENABLED", "0").current_dir(folder);
    let built = built.output().expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Waits until every instance of the program was told of under each of `names`. Each sample is looked at once: there are many.
fn wait_for(receiver: &Receiver, count: usize, names: &[&str]) {
    let seen = RefCell::new((0, vec![BTreeSet::new(); names.len()]));
    receiver.wait("all processes", |taken| {
        let (looked_at, instances) = &mut *seen.borrow_mut();
        for sample in taken.get(*looked_at..).unwrap_or_default() {
            let Some((_, labels)) = sample.series.split_once('{').filter(|(_, labels)| labels.contains("job=waiting"))
            else {
                continue;
            };
            let at = names.iter().position(|name| sample.series.starts_with(name));
            let instance = labels.split(',').find(|label| label.starts_with("instance="));
            if let Some((at, instance)) = at.zip(instance) {
                instances[at].insert(instance.to_owned());
            }
        }
        *looked_at = taken.len();
        instances.iter().all(|instances| instances.len() == count)
    });
}

fn last(taken: &[Received], name: &str) -> f64 {
    taken.iter().rev().find(|sample| sample.series.starts_with(name)).map_or(f64::NAN, |sample| sample.value)
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "a test that measures, and tells its figures")]
fn hundreds_of_processes_are_read_within_the_budget() {
    let Some(toolchain) = Toolchain::usual() else { return };
    let count: usize = std::env::var("METRICKIT_GO_PROCESSES").map_or(60, |count| count.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let program = build(&toolchain, folder.path());
    let run = |_| {
        let mut command = Command::new(&program);
        command.envs([("GOMAXPROCS", "1"), ("GOGC", "20"), ("GOMEMLIMIT", "2MiB")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
    };
    let _processes = Processes((0..count).map(run).collect());
    let receiver = Receiver::start(&[]);
    let queue = folder.path().join("queue");
    let began = Instant::now();
    let mut agent =
        Agent::start(folder.path(), &queue, &receiver.url, &["--go-processes-max=2000", "--poll-interval=10s"]);
    wait_for(&receiver, count, &["go_gc_heap_live_bytes{", "process_resident_memory_bytes{", "go_goroutines{"]);
    let first = began.elapsed();
    wait_for(&receiver, count, &["go_goroutines_by_site{"]);
    let all = began.elapsed();
    let used = |process: &Process| {
        let stat = process.stat().expect("runs");
        (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
    };
    let process = Process::new(i32::try_from(agent.child.id()).expect("an id")).expect("runs");
    let (before, measuring) = (used(&process), Instant::now());
    std::thread::sleep(MEASURED);
    let percent = (used(&process) - before) / measuring.elapsed().as_secs_f64() * 100.0;
    let resident_mib = process.status().expect("runs").vmhwm.expect("told") / 1024;
    let taken = receiver.taken();
    let round = last(&taken, "metrickit_agent_collector_seconds{collector=go_memory");
    println!(
        "{count} Go processes: numbers of all after {:.1} s, goroutines after {:.1} s; then {percent:.1} % of a core, \
         {:.0} ms a round of memory, intervals stretched {} times; {resident_mib} MiB resident at most",
        first.as_secs_f64(),
        all.as_secs_f64(),
        round * 1000.0,
        last(&taken, "metrickit_agent_interval_stretch{"),
    );
    assert!(agent.is_running());
    assert!(resident_mib <= RESIDENT_MIB_MAX, "{resident_mib} MiB");
    assert!(last(&taken, "metrickit_agent_collector_errors_total{collector=go_memory") < 1.0, "no round failed");
}
