//! Grade 4 with a real program: Go's own profile of leaked goroutines, asked for at the program's page, proves a leak at its site, and says
//! nothing of goroutines that are only parked. Skipped, with a notice, where Go cannot build it (before 1.26).

mod subject;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::collect::Collector as _;
use agent::config::Config;
use agent::go::discover::Scan;
use agent::go::leaks::{Grade, Judge, LeakOptions, Leaks, SharedLeaks, census_sink};
use agent::go::profile::poll::Profiler;
use agent::go::ways::Ways;
use agent::go::{Discovery, GoProcess, SharedProcesses};
use agent::readings::Readings;
use model::{Clock, ManualClock, TimestampMs};
use parking_lot::Mutex;
use subject::toolchain::Toolchain;

const PROGRAM: &str = r#"package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"time"
)

var kept = make(chan int)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, nil)
	// Reachable from a variable of the program: no leak, as it might still be sent to.
	for i := 0; i < 30; i++ {
		go wait(kept)
	}
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		var n int
		fmt.Sscan(in.Text(), &n)
		for i := 0; i < n; i++ {
			ask()
		}
		time.Sleep(50 * time.Millisecond)
		fmt.Println("done")
	}
}

//go:noinline
func wait(c chan int) { <-c }

// ask forgets the channel that its goroutine answers on.
//
//go:noinline
func ask() {
	answers := make(chan int)
	go answer(answers)
}

//go:noinline
func answer(answers chan int) { answers <- 42 }
"#;

/// More than the shortest pause between two profiles of leaks.
const APART: Duration = Duration::from_mins(11);

struct Running {
    child: Child,
    orders: ChildStdin,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let orders = child.stdin.take().expect("piped");
        let mut answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(answers.next().expect("a line").expect("text"), "ready");
        Self { child, orders, answers }
    }

    fn leak(&mut self, count: u32) {
        writeln!(self.orders, "{count}").expect("it listens");
        assert_eq!(self.answers.next().expect("a line").expect("text"), "done");
    }
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn build(folder: &Path) -> Option<std::path::PathBuf> {
    let toolchain = Toolchain::usual()?;
    let (source, program) = (folder.join("main.go"), folder.join("leaking"));
    std::fs::write(&source, PROGRAM).expect("written");
    let mut command = toolchain.command();
    let built = command
        .args(["build", "-o"])
        .arg(&program)
        .arg(&source)
        .envs([("CGO_ENABLED", "0"), ("GOEXPERIMENT", "goroutineleakprofile")])
        .current_dir(folder)
        .output()
        .expect("go runs");
    let said = String::from_utf8_lossy(&built.stderr);
    if said.contains("unknown GOEXPERIMENT") {
        println!("SKIPPED: this release of Go has no profile of leaked goroutines");
        return None;
    }
    assert!(built.status.success(), "go build: {said}");
    Some(program)
}

fn process(pid: u32) -> GoProcess {
    let found = Discovery::new("web1", Vec::new(), 10_000).scan().expect("/proc can be listed").processes;
    let pid = i32::try_from(pid).expect("an id");
    found.into_iter().find(|process| process.life.pid == pid).expect("it is a Go process")
}

#[test]
fn what_go_proves_is_told_as_proved() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = build(folder.path()) else { return };
    let mut running = Running::start(&program);
    let process = process(running.child.id());
    let processes = SharedProcesses::default();
    *processes.lock() = Arc::new(Scan { processes: vec![process.clone()], ..Scan::default() });
    let mut config = Config::default();
    config.go.pprof_leaks = true;
    let clock = Arc::new(ManualClock::new(TimestampMs(1_767_225_600_000)));
    let shared: Arc<dyn Clock> = clock.clone();
    let judge: SharedLeaks = Arc::new(Mutex::new(Judge::new(LeakOptions::default())));
    let profiler = Profiler::new(&config, Arc::clone(&processes), shared, Ways::new());
    let mut profiler = profiler.at_once().telling(census_sink(&judge));
    let mut now = Instant::now();
    let mut grades = Vec::new();
    for leaks in [2, 0, 40] {
        running.leak(leaks);
        now += APART;
        clock.advance_ms(i64::try_from(APART.as_millis()).expect("short"));
        profiler.round(now, 1, &mut |_| ());
        let verdict = judge.lock().verdict(&process.life).expect("judged").0;
        grades.push(verdict.grade);
    }
    assert_eq!(grades, [Grade::Nothing, Grade::Nothing, Grade::Proved], "what it begins with is no leak");
    let verdict = judge.lock().verdict(&process.life).expect("judged").0;
    let [site] = &*verdict.sites else { panic!("{verdict:?}") };
    assert_eq!((site.site.function.as_str(), site.site.wait.as_str()), ("main.answer", "chan send"));
    assert_eq!((site.grade, site.leaked, site.count), (Grade::Proved, 42, 42));
    // And as series.
    let mut out = Readings::new(clock.now().0);
    Leaks::new(processes, judge).collect(&mut out).expect("collects");
    let told = |name: &str| {
        let of = out.iter().find(|(labels, _)| labels.get(model::METRIC_NAME) == Some(name));
        of.and_then(|(_, values)| values.value())
    };
    assert_eq!((told("go_leak_grade"), told("go_leak_site_leaked_goroutines")), (Some(4.0), Some(42.0)));
}
