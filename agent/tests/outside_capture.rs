//! Profiles made from outside are what `go tool pprof` opens, and say what the program itself would: of a program in every form
//! of executable, and of stripped servers as a distribution ships them.

mod subject;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent::go::outside::SharedTicks;
use agent::go::outside::capture::{NoCapture, Wanted, capture};
use agent::go::outside::profile::ProfileKind;
use agent::go::profile::census::from_profile;
use agent::go::profile::{Limits, Profile, decode, encode};
use subject::{FORMS, Subject, build, describe};

const HEAP: Wanted = Wanted::Kept(ProfileKind::Heap);

/// Captured, written and read again.
fn captured(subject: &Subject, wanted: Wanted) -> Profile {
    let profile = capture(&subject.process, wanted, &SharedTicks::default(), 1_767_225_600_000);
    let profile = profile.unwrap_or_else(|error| panic!("{wanted:?}: {error}"));
    let read = decode(&encode(&profile), &Limits::default()).expect("what was written is a profile");
    assert_eq!(read.samples.len(), profile.samples.len());
    assert_eq!(read.time_ns, 1_767_225_600_000_000_000);
    read
}

/// Sum of the values called `kind` of stacks in which `function` is.
fn of(profile: &Profile, kind: &str, function: &str) -> i64 {
    let index = profile.value_index(kind).unwrap_or_else(|| panic!("no {kind}"));
    let within = |sample: &&agent::go::profile::model::Sample| {
        profile.frames(sample).any(|frame| frame.function == function && frame.address != 0)
    };
    profile.samples.iter().filter(within).map(|sample| sample.values[index]).sum()
}

/// What `go tool pprof -top` says of `profile`; nothing where there is no Go.
fn top(profile: &Profile, arguments: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("profile.pb.gz");
    std::fs::write(&file, encode(profile)).expect("written");
    let mut command = Command::new("go");
    command.args(["tool", "pprof", "-top", "-nodecount=500"]).args(arguments).arg(&file);
    let Ok(output) = command.env("GOTOOLCHAIN", "local").output() else {
        assert!(std::env::var_os("CI").is_none(), "CI has a Go toolchain");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn goroutines_and_heap_of_every_form_of_executable() {
    for (form, _) in FORMS {
        let Some(path) = build(form) else { return };
        let mut subject = Subject::start(&path, &[]);
        subject.ask("park 37");
        subject.ask("keep 64");
        subject.ask("gc");
        subject.ask("gc");
        let goroutines = captured(&subject, Wanted::Goroutines);
        assert_eq!(of(&goroutines, "goroutine", "main.parked"), 37, "{form}");
        // The whole stack is there, from what it waits in to what it was started with.
        assert_eq!(of(&goroutines, "goroutine", "main.receive"), 37, "{form}");
        assert_eq!(of(&goroutines, "goroutine", "runtime.gopark"), of(&goroutines, "goroutine", "runtime.chanrecv1"));
        assert_eq!(of(&goroutines, "goroutine", "runtime.goexit"), 0, "{form}");
        assert!(of(&goroutines, "goroutine", "main.main") >= 1, "{form}");
        let told = subject.ask("goroutines");
        let census = from_profile(&goroutines, 0, 128);
        assert!(census.total >= 38 && census.total <= 60, "{form}: {} of {told}", census.total);
        let heap = captured(&subject, HEAP);
        assert!(of(&heap, "inuse_space", "main.keep") > 0, "{form}: {:?}", heap.functions);
        assert!(of(&heap, "alloc_space", "main.keep") >= of(&heap, "inuse_space", "main.keep"));
        assert_eq!((heap.period, &*heap.default_type), (524_288, "inuse_space"));
        let is_runtime = |frame: &agent::go::profile::model::Frame<'_>| frame.function.starts_with("runtime.");
        for sample in heap.samples.iter().filter(|sample| !heap.frames(sample).all(|frame| is_runtime(&frame))) {
            assert!(
                heap.frames(sample).next().is_some_and(|frame| !is_runtime(&frame)),
                "{form}: the allocator is no leaf"
            );
        }
        let allocations = captured(&subject, Wanted::Allocations);
        assert_eq!(&*allocations.default_type, "alloc_space");
        if form == "stripped" {
            let Some(text) = top(&goroutines, &[]) else { return };
            assert!(text.contains("Type: goroutine") && text.contains("runtime.gopark"), "{text}");
            let Some(text) = top(&heap, &[]) else { return };
            assert!(text.contains("Type: inuse_space") && text.contains("main.keep"), "{text}");
        }
    }
}

#[test]
fn waiting_for_mutexes_is_told_in_nanoseconds() {
    let Some(path) = build("stripped") else { return };
    let mut subject = Subject::start(&path, &[]);
    let none = capture(&subject.process, Wanted::Kept(ProfileKind::Block), &SharedTicks::default(), 0);
    assert!(matches!(none, Err(NoCapture::NotThere(_))), "{none:?}");
    subject.ask("contend 5");
    let profile = match capture(&subject.process, Wanted::Kept(ProfileKind::Mutex), &SharedTicks::default(), 0) {
        // The program has not asked for the rate, and nobody else here has told it.
        Err(NoCapture::NotThere(_)) => return,
        profile => profile.expect("kept"),
    };
    let delay_ns = profile.total(profile.value_index("delay").expect("there"));
    assert!((1_000_000..60_000_000_000).contains(&delay_ns), "{delay_ns}");
    if let Some(text) = top(&profile, &[]) {
        assert!(text.contains("Type: delay") && text.contains("main.release"), "{text}");
    }
}

#[test]
fn a_process_that_ended_gives_nothing() {
    let Some(path) = build("stripped") else { return };
    let mut subject = Subject::start(&path, &[]);
    subject.kill();
    let ended = capture(&subject.process, Wanted::Goroutines, &SharedTicks::default(), 0);
    assert!(matches!(ended, Err(NoCapture::Fault(_))), "{ended:?}");
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn check_server(command: &str, arguments: &[&str], goroutine: &str, allocates: &str) {
    let path = Path::new("/usr/bin").join(command);
    if !path.exists() {
        println!("SKIPPED: {command} is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut started = Command::new(&path);
    started.args(arguments).current_dir(folder.path()).env("HOME", folder.path());
    // So that collections publish what was allocated.
    started.env("GOGC", "1");
    let started = started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(started.expect("starts"));
    std::thread::sleep(Duration::from_millis(1500));
    let process = describe(i32::try_from(server.0.id()).expect("an id"), &path);
    let take = |wanted| match capture(&process, wanted, &SharedTicks::default(), 0) {
        Err(NoCapture::Executable(error)) => {
            println!("SKIPPED: {command}: {error}");
            None
        }
        profile => Some(profile.unwrap_or_else(|error| panic!("{command}: {error}"))),
    };
    let Some(goroutines) = take(Wanted::Goroutines) else { return };
    let there = goroutines.functions.iter().any(|own| own.name.ends_with(goroutine));
    assert!(there, "{command}: {:?}", goroutines.functions);
    let Some(heap) = take(HEAP) else { return };
    let found: Vec<_> = heap.functions.iter().filter(|own| own.name.starts_with(allocates)).collect();
    assert!(!found.is_empty(), "{command}: {:?}", heap.functions);
    for (profile, wanted) in [(&goroutines, goroutine), (&heap, allocates)] {
        let Some(text) = top(profile, &["-cum"]) else { return };
        assert!(text.contains(wanted), "{command}: {text}");
    }
}

#[test]
fn stripped_servers() {
    check_server(
        "prometheus-node-exporter",
        &["--web.listen-address=127.0.0.1:0"],
        "net/http.(*Server).Serve",
        "runtime.",
    );
    check_server(
        "etcd",
        &[
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
            "--listen-peer-urls=http://127.0.0.1:0",
        ],
        "etcdserver.(*EtcdServer).run",
        "go.etcd.io/",
    );
}
