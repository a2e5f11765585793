//! Processes that end, become another program or may not be read while they are read: told as such, never as numbers.

mod subject;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::go::outside::memory::{Allowance, Fault, Memory, Reader};
use agent::go::outside::process_memory::ProcessMemory;
use agent::go::ways::{Part, Reason, Told};
use agent::readings::Readings;
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
