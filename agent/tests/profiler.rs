//! Rounds of reading profiles against a server that counts what it is asked: pace, hand-over to better ways, failures.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::StopFlag;
use agent::config::{Config, TargetSpec};
use agent::go::census::Way;
use agent::go::discover::Scan;
use agent::go::identity::Life;
use agent::go::profile::encode;
use agent::go::profile::model::{Builder, Line, ValueType};
use agent::go::profile::poll::Profiler;
use agent::go::ways::{Names, Part, Reason, Told, Ways};
use agent::go::{GoProcess, SharedProcesses};
use agent::readings::Readings;
use model::{ManualClock, TimestampMs};

/// A server of profiles: what it answers by path, and how often each was asked for.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pages: HashMap<String, (u16, Vec<u8>)>,
    asked: BTreeMap<String, u32>,
}

impl Server {
    fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = Self::default();
        let own = server.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let path = first.split(' ').nth(1).unwrap_or("").trim_start_matches("/debug/pprof/").to_owned();
                let mut state = own.0.lock().expect("not poisoned");
                let (status, body) = state.pages.get(&path).cloned().unwrap_or((404, Vec::new()));
                *state.asked.entry(path).or_default() += 1;
                drop(state);
                let head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        (server, port)
    }

    fn set(&self, path: &str, status: u16, body: Vec<u8>) {
        self.0.lock().expect("not poisoned").pages.insert(path.to_owned(), (status, body));
    }

    /// What was asked since the last call, `path×times`.
    fn asked(&self) -> String {
        let asked = std::mem::take(&mut self.0.lock().expect("not poisoned").asked);
        let all: Vec<String> = asked.iter().map(|(path, times)| format!("{path}×{times}")).collect();
        all.join(" ")
    }
}

/// A profile of one stack, `main.f` at its root, with `values` of `types`.
fn profile(types: &[(&str, &str)], leaf: &[&str], values: &[i64]) -> Vec<u8> {
    let mut builder = Builder::new(types.iter().map(|(kind, unit)| ValueType::new(kind, unit)).collect());
    let stack = leaf.iter().chain(&["main.f"]).map(|name| {
        let function = builder.function(name, "/src/main.go", 3);
        builder.location(0, vec![Line { function, line: 4 }])
    });
    let stack = stack.collect();
    if !values.is_empty() {
        builder.sample(stack, values.to_vec(), Vec::new());
    }
    encode(&builder.finish())
}

const HEAP: [(&str, &str); 4] =
    [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
const DELAYS: [(&str, &str); 2] = [("contentions", "count"), ("delay", "nanoseconds")];
const INDEX: &str = "<tr><td>7</td><td><a href='goroutine?debug=1'>goroutine</a></td></tr>\
                     <tr><td>5</td><td><a href='heap?debug=1'>heap</a></td></tr>";

fn serve_all(server: &Server) {
    let parked = ["runtime.gopark", "runtime.chanrecv", "runtime.chanrecv1"];
    server.set("goroutine", 200, profile(&[("goroutine", "count")], &parked, &[7]));
    server.set("goroutineleak", 200, profile(&[("goroutineleak", "count")], &parked, &[2]));
    server.set("heap", 200, profile(&HEAP, &["runtime.mallocgc"], &[4, 400, 1, 100]));
    let text = "heap profile: 1: 100 [4: 400] @ heap/2\n1: 100 [4: 400] @ 0x1\n#\t0x1\tmain.f+0x1\t/src/main.go:4\n\n\
                # runtime.MemStats\n# Alloc = 123\n# NumGC = 3\n# PauseNs = [1 2 3]\n";
    server.set("heap?debug=1", 200, text.as_bytes().to_vec());
    server.set("mutex", 200, profile(&DELAYS, &["sync.(*Mutex).Unlock"], &[3, 1_500_000_000]));
    server.set("block", 200, profile(&DELAYS, &[], &[]));
    server.set("", 200, INDEX.as_bytes().to_vec());
}

/// Rounds at times that the test chooses.
struct Rounds {
    profiler: Profiler,
    clock: Arc<ManualClock>,
    start: Instant,
}

impl Rounds {
    fn new(config: &Config, processes: &SharedProcesses, ways: &Ways, stop: &StopFlag) -> Self {
        let clock = Arc::new(ManualClock::new(TimestampMs(1_000_000)));
        let shared: Arc<dyn model::Clock> = Arc::clone(&clock) as Arc<dyn model::Clock>;
        let profiler = Profiler::new(config, Arc::clone(processes), shared, ways.clone());
        Self { profiler: profiler.at_once().stopped_by(stop.clone()), clock, start: Instant::now() }
    }

    /// The round at `second`.
    fn at(&mut self, second: u64) -> Readings {
        let at_ms = 1_000_000 + i64::try_from(second).expect("small") * 1000;
        self.clock.set(TimestampMs(at_ms));
        let mut all = Readings::new(at_ms);
        let now = self.start + Duration::from_secs(second);
        self.profiler.round(now, 1, &mut |readings| all.append(&readings));
        all
    }
}

fn target(port: u16) -> Config {
    let pprof = format!("http://127.0.0.1:{port}/debug/pprof");
    let spec =
        TargetSpec { url: "http://h:1/metrics".to_owned(), job: "api".to_owned(), pprof, ..TargetSpec::default() };
    let mut config = Config { targets: vec![spec], ..Config::default() };
    config.go.pprof = false;
    config
}

fn value(all: &Readings, series: &str) -> Option<f64> {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}');
    let mut sorted: Vec<&str> = [r#"instance="h:1""#, r#"job="api""#]
        .into_iter()
        .chain(labels.split(", ").filter(|own| !own.is_empty()))
        .collect();
    sorted.sort_unstable();
    all.value_of(&format!("{name}{{{}}}", sorted.join(", ")))
}

fn stale(all: &Readings) -> usize {
    all.iter().filter(|(_, values)| values.is_stale_marker()).count()
}

#[test]
fn a_configured_target_is_read_in_its_time() {
    let (server, port) = Server::start();
    serve_all(&server);
    let mut rounds = Rounds::new(&target(port), &SharedProcesses::default(), &Ways::new(), &StopFlag::new());
    let first = rounds.at(0);
    assert_eq!(server.asked(), "block×1 goroutine×1 heap?debug=1×1 mutex×1", "nobody else tells of memory");
    for (series, want) in [
        ("go_goroutines", 7.0),
        (r#"go_goroutines_by_site{site="main.f", wait="chan receive"}"#, 7.0),
        (r#"go_goroutines_by_site{site="other"}"#, 0.0),
        (r#"go_heap_inuse_bytes_by_site{site="main.f"}"#, 100.0),
        (r#"go_heap_allocs_bytes_by_site_total{site="main.f"}"#, 400.0),
        (r#"go_mutex_wait_seconds_by_site_total{site="main.f"}"#, 1.5),
        ("go_memstats_alloc_bytes", 123.0),
        (r#"metrickit_go_reading_info{part="heap_profile", way="pprof"}"#, 1.0),
        (r#"metrickit_go_profile_age_seconds{profile="goroutine"}"#, 0.0),
    ] {
        assert_eq!(value(&first, series), Some(want), "{series}");
    }
    assert_eq!(value(&first, r#"go_block_wait_seconds_by_site_total{site="other"}"#), None, "it keeps none");
    assert!(rounds.at(2).is_empty() && rounds.at(58).is_empty());
    let second = rounds.at(60);
    assert_eq!(server.asked(), "goroutine×1 heap?debug=1×1 mutex×1", "what is empty is asked for a tenth as often");
    assert_eq!((value(&second, "go_goroutines"), stale(&second)), (Some(7.0), 0));
    (120..=600).step_by(60).for_each(|second| drop(rounds.at(second)));
    assert_eq!(server.asked(), "block×1 goroutine×9 heap?debug=1×9 mutex×9");
}

#[test]
fn what_fails_is_told_for_a_while_and_then_stale() {
    let (server, port) = Server::start();
    serve_all(&server);
    let mut rounds = Rounds::new(&target(port), &SharedProcesses::default(), &Ways::new(), &StopFlag::new());
    rounds.at(0);
    server.set("goroutine", 500, b"oh no".to_vec());
    server.asked();
    let (mut asked, mut last_told) = (0, 0);
    for second in (60..=3600).step_by(60) {
        let all = rounds.at(second);
        asked += u32::from(server.asked().contains("goroutine×1"));
        if value(&all, "go_goroutines") == Some(7.0) {
            last_told = second;
            let age = value(&all, r#"metrickit_go_profile_age_seconds{profile="goroutine"}"#).expect("told");
            assert_eq!(age.to_string(), second.to_string(), "it says how old it is");
        } else if stale(&all) > 0 {
            assert!(second - last_told == 60 && stale(&all) >= 3, "once, at once");
        }
    }
    assert!((3..10).contains(&asked), "pauses double: {asked}");
    assert_eq!(last_told, 360, "until the third failure, at 60, 180 and 420");
    serve_all(&server);
    let returned = (3660..=11_000).step_by(60).any(|second| value(&rounds.at(second), "go_goroutines") == Some(7.0));
    assert!(returned, "it is asked again all the same");
}

#[test]
fn leaks_are_asked_for_where_that_is_switched_on() {
    let (server, port) = Server::start();
    serve_all(&server);
    let mut config = target(port);
    config.go.pprof_leaks = true;
    let mut rounds = Rounds::new(&config, &SharedProcesses::default(), &Ways::new(), &StopFlag::new());
    let mut asked = 0;
    for second in (0..=3600).step_by(60) {
        rounds.at(second);
        asked += u32::from(server.asked().contains("goroutineleak×1"));
    }
    assert_eq!(asked, 7, "every ten minutes");
}

/// This test's own process, which listens at the server's port.
fn own_process() -> GoProcess {
    let pid = i32::try_from(std::process::id()).expect("an id");
    GoProcess {
        life: Life { start_ticks: 1, pid, name: "api".to_owned() },
        job: "api".to_owned(),
        instance: "h:1".to_owned(),
        build: Arc::default(),
        same_network: true,
    }
}

#[test]
fn what_a_page_gives_by_now_is_not_told_again() {
    let (server, port) = Server::start();
    serve_all(&server);
    let (processes, ways, stop) = (SharedProcesses::default(), Ways::new(), StopFlag::new());
    let process = own_process();
    *processes.lock() = Arc::new(Scan { processes: vec![process.clone()], ..Scan::default() });
    let mut config = Config::default();
    config.go.scrape_ignore_ports = (1..=u16::MAX).filter(|other| *other != port).collect();
    let mut rounds = Rounds::new(&config, &processes, &ways, &stop);
    let first = rounds.at(0);
    assert_eq!(value(&first, "go_memstats_alloc_bytes"), Some(123.0), "nobody else tells of memory");
    // What was last told goes on to be told for a while.
    server.set("heap", 500, Vec::new());
    let names = ["go_memstats_alloc_bytes"].into_iter().collect();
    ways.works((&process.life).into(), Part::Runtime, Way::Page, &names, 1_060_000, 10_000);
    let second = rounds.at(60);
    assert_eq!(value(&second, r#"go_heap_inuse_bytes_by_site{site="main.f"}"#), Some(100.0), "told again");
    let told = value(&second, "go_memstats_alloc_bytes").filter(|value| !value.is_nan());
    assert_eq!(told, None, "the page gives it");
}

#[test]
fn a_discovered_process_is_left_to_better_ways_part_by_part() {
    let (server, port) = Server::start();
    serve_all(&server);
    let (processes, ways, stop) = (SharedProcesses::default(), Ways::new(), StopFlag::new());
    let process = own_process();
    let key = (&process.life).into();
    *processes.lock() = Arc::new(Scan { processes: vec![process.clone()], ..Scan::default() });
    let mut config = Config::default();
    // Other tests of this process serve profiles too.
    let mut rounds = {
        config.go.scrape_ignore_ports = (1..=u16::MAX).filter(|other| *other != port).collect();
        Rounds::new(&config, &processes, &ways, &stop)
    };
    let now_ms = |second: i64| 1_000_000 + second * 1000;
    ways.works(key, Part::Runtime, Way::Page, &["go_goroutines"].into_iter().collect(), now_ms(0), 10_000_000);
    ways.cannot(key, Part::Goroutines, Way::Memory, Reason::NoRight);

    let first = rounds.at(0);
    assert_eq!(server.asked(), "×1 block×1 goroutine×1 heap×1 mutex×1", "a page tells of memory");
    assert_eq!(value(&first, "go_goroutines"), None, "the page gives it");
    assert!(value(&first, r#"go_goroutines_by_site{site="main.f", wait="chan receive"}"#).is_some());
    let info = format!(r#"metrickit_go_profiles_info{{url="http://127.0.0.1:{port}/debug/pprof/"}}"#);
    assert_eq!(value(&first, &info), Some(1.0));
    let told = |part| ways.told(key, part, now_ms(0));
    assert_eq!(told(Part::Goroutines), Some(Told::Read(Way::Pprof)));
    assert_eq!(told(Part::BlockProfile), Some(Told::Not(Reason::NotKept)));
    assert_eq!(told(Part::Runtime), Some(Told::Read(Way::Page)));

    for part in [Part::Goroutines, Part::HeapProfile] {
        ways.works(key, part, Way::Memory, &Names::default(), now_ms(60), 100_000);
    }
    let second = rounds.at(60);
    assert_eq!(server.asked(), "mutex×1", "memory reads the others now");
    assert!(stale(&second) >= 5, "{}", stale(&second));
    assert_eq!(value(&second, r#"go_mutex_wait_seconds_by_site_total{site="main.f"}"#), Some(1.5));
    let third = rounds.at(180);
    assert!(server.asked().contains("goroutine×1 heap×1"), "memory has not spoken for too long");
    assert!(value(&third, r#"go_heap_inuse_bytes_by_site{site="main.f"}"#).is_some());

    stop.stop();
    assert!(rounds.at(240).is_empty() && server.asked().is_empty(), "a round ends at a stop");
    let mut end = Readings::new(now_ms(241));
    rounds.profiler.end(&mut end);
    assert!(!end.is_empty() && stale(&end) == end.len());
}
