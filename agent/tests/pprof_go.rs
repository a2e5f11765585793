//! Profiles of real Go programs, one that serves them itself and one that embeds the client: what is read is what the
//! program knows of itself and what `go tool pprof` reads. Skipped, with a notice, where there is no Go toolchain.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::config::{Config, ProfilesConfig, TargetSpec};
use agent::go::census::Census;
use agent::go::identity::Life;
use agent::go::profile::capture::{CaptureError, Capturer};
use agent::go::profile::census::{DumpCensus, from_profile};
use agent::go::profile::dump::Dump;
use agent::go::profile::endpoint::Endpoint;
use agent::go::profile::index::Index;
use agent::go::profile::poll::Profiler;
use agent::go::profile::request::{Form, Kind, Request};
use agent::go::profile::sources::SourceKey;
use agent::go::profile::store::{About, Store};
use agent::go::profile::table::{Quantity, by_function};
use agent::go::profile::{Limits, Profile, decode, encode, text};
use agent::go::ways::{Part, Ways};
use agent::go::{GoProcess, SharedProcesses, discover::Scan};
use agent::http::Client;
use agent::readings::Readings;
use model::{Clock, SystemClock};

const MAIN: &str = include_str!("go/profiled.go.txt");

/// Goroutines of the program by the function they were started with and what they wait for.
const WANT: [(&str, &str, u64); 8] = [
    ("main.receive", "chan receive", 7),
    ("main.send", "chan send", 5),
    ("main.choose", "select", 3),
    ("main.lock", "sync.Mutex.Lock", 4),
    ("main.(*pool).wait", "sync.Cond.Wait", 2),
    ("main.main.func1", "sleep", 6),
    ("main.forever", "select (no cases)", 1),
    ("main.accept", "IO wait", 1),
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds and starts the program in `folder`, with the client when `embedded`; nothing when there is no toolchain.
fn start(folder: &Path, embedded: bool) -> Option<(Running, String)> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/go");
    let (imports, serve, module) = if embedded {
        let import = "metrickit \"github.com/metrickit/metrickit/sdk/go\"";
        let module = format!(
            "module example.com/profiled\n\ngo 1.21\n\nrequire github.com/metrickit/metrickit/sdk/go v0.0.0\n\n\
             replace github.com/metrickit/metrickit/sdk/go => {}\n",
            sdk.display()
        );
        (import, "embed()", module)
    } else {
        ("_ \"net/http/pprof\"", "go serve()", "module example.com/profiled\n\ngo 1.21\n".to_owned())
    };
    let embed = "\nfunc embed() {\n\toptions := metrickit.Options{URL: \"http://127.0.0.1:9\", Socket: \"off\"}\n\
                 \tif _, err := metrickit.Start(options); err != nil {\n\t\tpanic(err)\n\t}\n\tfmt.Println(\"socket\")\n}\n";
    let plain = "\nfunc serve() {\n\tlistener, err := net.Listen(\"tcp\", \"127.0.0.1:0\")\n\tif err != nil {\n\
                 \t\tpanic(err)\n\t}\n\tfmt.Println(listener.Addr())\n\tpanic(http.Serve(listener, nil))\n}\n";
    let http = if embedded { "" } else { "\"net/http\"" };
    let program = MAIN.replace("/*IMPORTS*/", &format!("{imports}\n\t{http}")).replace("/*SERVE*/", serve);
    fs::write(folder.join("main.go"), program + if embedded { embed } else { plain }).expect("written");
    fs::write(folder.join("go.mod"), module).expect("written");
    let built = go(folder, &["build", "-o", "profiled", "."])?;
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    let mut child = Command::new(folder.join("profiled")).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let (first, second) = (line(), line());
    // Either may be first: the server is a goroutine of its own.
    Some((Running(child), if first == "ready" { second } else { first }))
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn go(folder: &Path, arguments: &[&str]) -> Option<std::process::Output> {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(folder).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    match command.env("CGO_ENABLED", "0").output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no Go toolchain: {error}");
            println!("SKIPPED: no Go toolchain on this machine");
            None
        }
    }
}

fn get(endpoint: &Endpoint, path: &str) -> Vec<u8> {
    let page = endpoint.get(&Client::direct(), path, Duration::from_mins(1), 64 << 20).expect("an answer");
    assert_eq!(page.status, 200, "{path}: {}", String::from_utf8_lossy(&page.body));
    page.body
}

fn profile(endpoint: &Endpoint, path: &str) -> Profile {
    decode(&get(endpoint, path), &Limits::default()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn check_census(census: &Census, with_waits: bool) {
    for (function, wait, want) in WANT {
        let own = census.sites.iter().filter(|(site, _)| site.function == function);
        let count: u64 = own.clone().map(|(_, counted)| counted.count).sum();
        assert_eq!(count, want, "{function} of {:?}", census.sites.keys());
        if with_waits {
            assert!(own.clone().all(|(site, _)| site.wait == wait), "{function}: {:?}", own.collect::<Vec<_>>());
        }
    }
    assert_eq!(census.total, census.sites.values().map(|counted| counted.count).sum::<u64>());
}

fn dump_census(page: &[u8]) -> Census {
    let (mut dump, mut census) = (Dump::new(page), DumpCensus::new(0, 60_000));
    while let Some(goroutine) = dump.next_goroutine().expect("memory does not fail") {
        census.add(&goroutine);
    }
    census.finish()
}

/// Every form of every profile at `endpoint`.
fn check_forms(endpoint: &Endpoint, folder: &Path) {
    let census = from_profile(&profile(endpoint, "goroutine"), 5, 128);
    check_census(&census, true);
    let receive = census.sites.iter().find(|(site, _)| site.function == "main.receive").expect("there").1;
    let (at, line) = receive.blocked_at.as_ref().expect("blocked in main");
    assert!(at == "main.receive" && line.file.ends_with("main.go") && line.line > 1, "{at} {line:?}");
    assert!(receive.line.as_ref().is_some_and(|start| start.line < line.line), "{receive:?}");

    let told = text::parse(&get(endpoint, "goroutine?debug=1"), &Limits::default()).expect("well formed");
    check_census(&from_profile(&told.profile, 5, 128), false);
    let labelled = told.profile.samples.iter().filter(|sample| sample.label("tenant") == Some("a \"b\""));
    assert_eq!(labelled.map(|sample| sample.values[0]).sum::<i64>(), 3, "labels of main.choose");

    let dumped = dump_census(&get(endpoint, "goroutine?debug=2"));
    check_census(&dumped, true);
    for (site, _) in dumped.sites.iter().filter(|(site, _)| site.function == "main.receive") {
        assert_eq!(site.created_by, "main.main");
    }

    let heap = profile(endpoint, "heap");
    check_with_pprof(&heap, &get(endpoint, "heap"), folder);
    let sums = by_function(&heap, Quantity::HeapInuseBytes).expect("a heap profile");
    let grown = sums["main.grow"];
    assert!((32e6..200e6).contains(&grown), "64 MiB live: {grown}");
    let told = text::parse(&get(endpoint, "heap?debug=1"), &Limits::default()).expect("well formed");
    let text_sums = by_function(&told.profile, Quantity::HeapInuseBytes).expect("a heap profile");
    assert!((text_sums["main.grow"] - grown).abs() <= 0.01 * grown, "{} in text, {grown}", text_sums["main.grow"]);
    assert!(told.memory["HeapAlloc"].as_u64() > Some(60 << 20), "{:?}", told.memory.get("HeapAlloc"));
    assert!(told.memory["PauseNs"].as_array().is_some_and(|all| all.len() == 256));

    for (path, quantity) in [("mutex", Quantity::MutexWaitNs), ("block", Quantity::BlockWaitNs)] {
        let sums = by_function(&profile(endpoint, path), quantity).expect("a profile of delays");
        assert!(sums.get("main.contend").is_some_and(|ns| *ns > 1e6), "{path}: {sums:?}");
        let told = text::parse(&get(endpoint, &format!("{path}?debug=1")), &Limits::default()).expect("well formed");
        let text_sums = by_function(&told.profile, quantity).expect("a profile of delays");
        assert!(text_sums.contains_key("main.contend"), "{path}: {text_sums:?}");
        assert_eq!(told.sampling_period, (path == "mutex").then_some(1));
    }
    assert!(profile(endpoint, "threadcreate").total(0) > 0);
}

/// What `go tool pprof` reads in what we write is what it reads in what Go wrote.
fn check_with_pprof(read: &Profile, original: &[u8], folder: &Path) {
    fs::write(folder.join("original.pb.gz"), original).expect("written");
    fs::write(folder.join("copy.pb.gz"), encode(read)).expect("written");
    let original = decode(original, &Limits::default()).expect("read before");
    fs::write(folder.join("again.pb.gz"), encode(&original)).expect("written");
    let shown = |file: &str, arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["tool", "pprof"];
        all.extend(arguments);
        all.push(file);
        let output = go(folder, &all).expect("built before");
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // What the mappings tell.
        let kept = text.lines().filter(|line| !line.starts_with("File:") && !line.starts_with("Build ID:"));
        kept.map(str::to_owned).collect()
    };
    for index in ["inuse_space", "alloc_space", "alloc_objects"] {
        let index = format!("-sample_index={index}");
        let top = ["-top", "-unit=B", "-nodecount=10000", "-nodefraction=0", "-edgefraction=0", index.as_str()];
        assert_eq!(shown("again.pb.gz", &top), shown("original.pb.gz", &top));
    }
    let raw = shown("original.pb.gz", &["-raw"]);
    let stacks = raw.iter().skip_while(|line| *line != "Samples:").skip(2).take_while(|line| *line != "Locations");
    // A stack's line has its values before a colon; labels have a line of their own.
    let stacks = stacks.filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(stacks, original.samples.len());
    let flat: BTreeMap<String, f64> = shown(
        "original.pb.gz",
        &["-top", "-unit=B", "-nodecount=10000", "-nodefraction=0", "-sample_index=alloc_space"],
    )
    .iter()
    .filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let bytes = columns.first()?.strip_suffix('B')?.parse().ok()?;
        Some((columns.get(5..)?.join(" ").trim_end_matches(" (inline)").to_owned(), bytes))
    })
    .collect();
    let own = by_function(&original, Quantity::HeapAllocsBytes).expect("a heap profile");
    for name in ["main.grow", "main.churn"] {
        assert!((own[name] - flat[name]).abs() < 1.0, "{name}: {} and {}", own[name], flat[name]);
    }
}

#[test]
fn a_program_with_its_own_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((program, address)) = start(folder.path(), false) else { return };
    let base = format!("http://{address}/debug/pprof");
    let endpoint = Endpoint::url(&base);
    let index = Index::parse(&String::from_utf8_lossy(&get(&endpoint, ""))).expect("the list of profiles");
    assert!(index.count("goroutine") > Some(29) && index.offers("mutex"));
    check_forms(&endpoint, folder.path());
    check_captures(&base, folder.path());
    check_rounds(&program, Some(&base));
}

#[test]
fn a_program_with_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((program, said)) = start(folder.path(), true) else { return };
    assert_eq!(said, "socket");
    let endpoint = Endpoint::socket_of(i32::try_from(program.0.id()).expect("an id"));
    check_forms(&endpoint, folder.path());
    check_rounds(&program, None);
}

/// Captures of every kind, kept as the program sent them.
fn check_captures(base: &str, folder: &Path) {
    let target = TargetSpec { url: base.to_owned(), pprof: base.to_owned(), ..TargetSpec::default() };
    let mut config = Config { targets: vec![target], ..Config::default() };
    config.go.pprof = false;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut profiler = Profiler::new(&config, SharedProcesses::default(), Arc::clone(&clock), Ways::new());
    profiler.round(Instant::now(), 1, &mut |_| ());
    let store = ProfilesConfig { folder: folder.join("captures"), bytes_max: 64 << 20, age_max_ms: 60_000 };
    let store = Arc::new(Store::open(&store, clock.now().0).expect("opened"));
    let capturer = Capturer::new(profiler.sources(), store, clock);
    let key = SourceKey::Target(base.to_owned());
    for (kind, form, seconds) in [
        (Kind::Goroutine, Form::Stacks, 0),
        (Kind::Heap, Form::Protobuf, 0),
        (Kind::Allocs, Form::Protobuf, 1),
        (Kind::Cpu, Form::Protobuf, 1),
        (Kind::Trace, Form::Protobuf, 1),
        (Kind::Mutex, Form::Text, 0),
    ] {
        let kept =
            capturer.capture(&key, Request { kind, form, seconds }, About::because("asked for")).expect("captured");
        let (capture, mut file) = capturer.store().read(&kept.id).expect("kept");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        assert_eq!((capture.bytes, capture.about.kind.as_str()), (bytes.len() as u64, kind.path()));
        match (kind, form) {
            (Kind::Trace, _) => assert!(bytes.starts_with(b"go 1.")),
            (_, Form::Protobuf) => {
                let profile = decode(&bytes, &Limits::default()).expect("a profile");
                assert_eq!(seconds > 0, profile.duration_ns > 0, "{kind:?}");
            }
            (_, Form::Text) => assert!(text::parse(&bytes, &Limits::default()).is_ok()),
            (_, Form::Stacks) => check_census(&dump_census(&bytes), true),
        }
    }
    assert_eq!(capturer.store().list().len(), 6);
    let refused = |request| capturer.capture(&key, request, About::default()).expect_err("refused");
    let leaks = Request { seconds: 5, ..Request::now(Kind::GoroutineLeak) };
    assert!(matches!(refused(leaks), CaptureError::Impossible { .. }));
    let unknown = SourceKey::Target("http://elsewhere".to_owned());
    assert!(matches!(
        capturer.capture(&unknown, Request::now(Kind::Heap), About::default()),
        Err(CaptureError::NoSource)
    ));
    assert_eq!(capturer.store().list().len(), 6, "what fails leaves nothing");
}

/// Rounds of reading: the process is found by itself, at its port or its socket.
fn check_rounds(program: &Running, base: Option<&str>) {
    let pid = i32::try_from(program.0.id()).expect("an id");
    let start_ticks = procfs::process::Process::new(pid).and_then(|own| own.stat()).expect("alive").starttime;
    let process = GoProcess {
        life: Life { start_ticks, pid, name: "profiled".to_owned() },
        job: "profiled".to_owned(),
        instance: "web1/0".to_owned(),
        build: Arc::default(),
        same_network: true,
    };
    let (processes, ways, seen) = (SharedProcesses::default(), Ways::new(), Arc::new(std::sync::Mutex::new(0)));
    *processes.lock() = Arc::new(Scan { processes: vec![process.clone()], ..Scan::default() });
    let total = Arc::clone(&seen);
    let mut config = Config::default();
    // All sites, those that are small too.
    config.go.sites_max = 1_000;
    let mut profiler = Profiler::new(&config, processes.clone(), Arc::new(SystemClock), ways.clone())
        .at_once()
        .telling(Box::new(move |_, census| *total.lock().expect("not poisoned") = census.total));
    let mut all = Readings::new(0);
    let start = Instant::now();
    profiler.round(start, 1, &mut |readings| all.append(&readings));
    let value = |all: &Readings, name: &str, labels: &str| {
        all.value_of(&format!(r#"{name}{{instance="web1/0", job="profiled"{labels}}}"#))
    };
    for (function, wait, want) in WANT {
        let labels = format!(r#", site="{function}", wait="{wait}""#);
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let want = want as f64;
        assert_eq!(value(&all, "go_goroutines_by_site", &labels), Some(want), "{function}");
    }
    assert!(value(&all, "go_goroutines", "") > Some(29.0));
    assert_eq!(
        value(&all, "go_goroutines", "").map(|count| count.to_string()),
        Some(seen.lock().expect("not poisoned").to_string())
    );
    for metric in ["go_heap_inuse_bytes_by_site", "go_heap_allocs_bytes_by_site_total"] {
        assert!(value(&all, metric, r#", site="main.grow""#) > Some(32e6), "{metric}");
        assert!(value(&all, metric, r#", site="other""#).is_some(), "{metric}");
    }
    for metric in ["go_mutex_wait_seconds_by_site_total", "go_block_wait_seconds_by_site_total"] {
        let seconds = value(&all, metric, r#", site="main.contend""#).expect("contended");
        assert!((1e-3..600.0).contains(&seconds), "{metric}: {seconds}");
    }
    assert!(value(&all, "go_memstats_heap_alloc_bytes", "") > Some(6e7), "nobody else tells of memory");
    let at = base.map_or("socket".to_owned(), |base| format!("{base}/"));
    assert_eq!(value(&all, "metrickit_go_profiles_info", &format!(r#", url="{at}""#)), Some(1.0));
    let key = (&process.life).into();
    for part in Part::ALL {
        assert!(ways.told(key, part, SystemClock.now().0).is_some(), "{part:?}");
    }

    let mut again = Readings::new(0);
    profiler.round(start + Duration::from_secs(30), 1, &mut |readings| again.append(&readings));
    assert!(again.is_empty(), "each in its time");
    profiler.round(start + Duration::from_secs(61), 1, &mut |readings| again.append(&readings));
    assert_eq!(value(&again, "metrickit_go_profile_age_seconds", r#", profile="goroutine""#), Some(0.0));
    *processes.lock() = Arc::default();
    let mut gone = Readings::new(0);
    profiler.round(start + Duration::from_secs(62), 1, &mut |readings| gone.append(&readings));
    assert!(!gone.is_empty() && gone.iter().all(|(_, values)| values.is_stale_marker()));
}
