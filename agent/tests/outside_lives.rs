//! Processes that end, become another program or may not be read while they are read: told as such, never as numbers.

mod subject;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use agent::go::discover::Scan;
use agent::go::outside::memory::{Allowance, Fault, Memory, Reader};
use agent::go::outside::process_memory::ProcessMemory;
use agent::go::ways::{Part, Reason, Told};
use agent::go::{Discovery, GoProcess};
use agent::readings::Readings;
use agent::receive::SdkProcesses;
use model::LabelsRef;
use subject::{Reading, Subject, build, describe, value};

/// Whether every value of the process that is no stale marker can be true.
#[track_caller]
fn sound(readings: &Readings) {
    for name in ["go_goroutines", "go_threads", "go_sched_gomaxprocs_threads"] {
        if let Some(found) = value(readings, name, "").filter(|found| !found.is_nan()) {
            assert!((1.0..5000.0).contains(&found), "{name} is {found}");
        }
    }
    if let Some(bytes) = value(readings, "go_memory_classes_total_bytes", "").filter(|bytes| !bytes.is_nan()) {
        assert!((1e6..1e9).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_process_that_ends_is_marked_stale() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[]);
    let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
    let readings = reading.round();
    let live = readings.iter().filter(|(_, values)| !values.is_stale_marker()).count();
    assert!(live > 80, "{live} series");
    subject.kill();
    let readings = reading.round();
    let (stale, other): (Vec<_>, Vec<_>) = readings.iter().partition(|(_, values)| values.is_stale_marker());
    assert_eq!((stale.len(), other.len()), (live, 0));
    assert!(reading.censuses.lock().is_empty());
    assert_eq!(reading.round().len(), 0, "once");
}

#[test]
fn a_process_that_is_called_otherwise_goes_on_under_its_new_name() {
    let Some(path) = build("plain") else { return };
    let subjects = [Subject::start(&path, &[]), Subject::start(&path, &[])];
    let sdk = SdkProcesses::default();
    let mut discovery = Discovery::new("web1", Vec::new(), 10_000).adopting(sdk.clone());
    let mut look = || {
        let found = discovery.scan().expect("/proc can be listed").processes;
        let life = |of: &Subject| (of.process.life.pid, of.process.life.start_ticks);
        let find = |of: &Subject| {
            let mut one = found.iter().filter(|process| (process.life.pid, process.life.start_ticks) == life(of));
            one.next().expect("found").clone()
        };
        let both = subjects.each_ref().map(find);
        (both.clone(), Arc::new(Scan { processes: both.to_vec(), ..Scan::default() }))
    };
    let push = |process: &GoProcess, (job, instance): (&str, &str)| {
        let (pid, start_ticks, now) = (process.life.pid, process.life.start_ticks, Instant::now());
        sdk.note(pid, start_ticks, 0, ["orders_total"], now).expect("room");
        sdk.call(pid, start_ticks, (job, instance), false, now);
    };
    let (before, scan) = look();
    let mut reading = Reading::of(Vec::new(), |_| {});
    *reading.processes.lock() = scan;
    reading.round();
    // The first pushes under a name of its own, the second under the one that the first had until now.
    push(&before[0], ("shop", "box/3"));
    push(&before[1], (&before[0].job, &before[0].instance));
    let (after, scan) = look();
    assert_eq!((after[0].job.as_str(), after[0].instance.as_str()), ("shop", "box/3"));
    assert_eq!((&after[1].job, &after[1].instance), (&before[0].job, &before[0].instance));
    *reading.processes.lock() = scan;
    let round = reading.round();
    let mut names = HashSet::new();
    assert!(round.iter().all(|(labels, _)| names.insert(labels.to_string())), "one source a series");
    let of = |process: &GoProcess, stale: bool| {
        let is_of = |labels: LabelsRef<'_>| {
            labels.get("job") == Some(&process.job) && labels.get("instance") == Some(&process.instance)
        };
        round.iter().filter(|(labels, values)| is_of(*labels) && values.is_stale_marker() == stale).count()
    };
    let live = [&after[0], &after[1]].map(|process| of(process, false));
    assert!(live.iter().all(|count| *count > 80), "{live:?}");
    assert_eq!((of(&before[1], false), of(&after[0], true)), (0, 0));
    assert!(of(&before[1], true) > 80, "what nobody is called any more has ended");
    assert!(reading.round().iter().all(|(_, values)| !values.is_stale_marker()), "once");
}

#[test]
fn a_process_that_ends_while_it_is_read() {
    let Some(path) = build("plain") else { return };
    for round in 0..12u64 {
        let mut subject = Subject::start(&path, &[]);
        subject.ask("park 2000");
        let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
        let stop = Arc::new(AtomicBool::new(false));
        let killer = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(round * 3));
                subject.kill();
                stop.store(true, Ordering::SeqCst);
            })
        };
        while !stop.load(Ordering::SeqCst) {
            sound(&reading.round());
        }
        killer.join().expect("no panic");
        sound(&reading.round());
        let told = reading.ways.told((&reading.processes.lock().processes[0].life).into(), Part::Runtime, 0);
        assert!(!matches!(told, Some(Told::Not(Reason::Implausible))), "an end is no contradiction");
    }
}

#[test]
fn a_program_that_executes_itself_anew_is_read_anew() {
    for form in ["plain", "pie-stripped"] {
        let Some(path) = build(form) else { return };
        let mut subject = Subject::start(&path, &[]);
        subject.ask("park 300");
        let memory = ProcessMemory::open(&subject.process.life).expect("may be read");
        let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
        let before = value(&reading.round(), "go_goroutines", "").expect("read");
        assert!(before > 300.0, "{form}: {before}");
        subject.ask("exec");
        subject.ask("ready");
        let mut bytes = [0; 8];
        assert_eq!(memory.read(memory.code_start(), &mut bytes), Err(Fault::Gone), "{form}: the memory of before");
        let after = value(&reading.round(), "go_goroutines", "").expect("read");
        assert!(after < 50.0, "{form}: {after}");
    }
}

#[test]
fn a_process_that_becomes_another_program_is_gone() {
    let Some(path) = build("plain") else { return };
    let mut child = std::process::Command::new("sh")
        .args(["-c", "read line; exec sleep 60"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let pid = i32::try_from(child.id()).expect("an id");
    // Taken for the Go program, as by a scan of long ago.
    let mut reading = Reading::of(vec![describe(pid, &path)], |_| {});
    let readings = reading.round();
    assert_eq!(readings.iter().filter(|(_, values)| !values.is_stale_marker()).count(), 0);
    child.kill().expect("killed");
    child.wait().expect("ended");
}

struct Denied;

impl Memory for Denied {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault::NoRight)
    }
}

#[test]
fn without_the_right_nothing_is_read_and_that_is_told() {
    let Some(path) = build("plain") else { return };
    let subject = Subject::start(&path, &[]);
    // As nobody this test's own executable could not be run from everywhere; `head` can, and needs the same right.
    let memory = format!("/proc/{}/mem", subject.process.life.pid);
    let tried = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "head", "-c", "1", &memory])
        .output();
    if let Ok(tried) = tried {
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        assert!(
            !tried.status.success() && said.contains("ermission denied") || said.contains("not permitted"),
            "{said}"
        );
    }
    let allowance = Allowance { bytes: 1 << 20, time: std::time::Duration::from_secs(10) };
    assert_eq!(Reader::new(&Denied, allowance).scattered(&mut [8, 16], 8, &mut |_, _| ()), Err(Fault::NoRight));
}

#[test]
fn switched_off_it_says_so() {
    let Some(path) = build("plain") else { return };
    let subject = Subject::start(&path, &[]);
    let mut reading = Reading::of(vec![subject.process.clone()], |config| config.on = false);
    assert!(reading.round().is_empty());
    for part in Part::ALL {
        let told = reading.ways.told((&subject.process.life).into(), part, 1);
        assert_eq!(told, Some(Told::Not(Reason::Off)), "{part:?}");
    }
}
