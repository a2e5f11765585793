//! The text forms of profiles, rule by rule of their grammar, as releases of Go write them.

use agent::go::census::{Site, States};
use agent::go::profile::census::DumpCensus;
use agent::go::profile::dump::{Dump, Goroutine, Header, parse_header};
use agent::go::profile::model::{LabelValue, Profile};
use agent::go::profile::text::{TextProfile, parse, unsampled};
use agent::go::profile::{DecodeError, Limits};

fn read(page: &str) -> TextProfile {
    parse(page.as_bytes(), &Limits::default()).unwrap_or_else(|error| panic!("{error}: {page}"))
}

/// Values, functions with lines from the leaf on, and labels of each sample.
fn shown(profile: &Profile) -> Vec<String> {
    let frame = |frame: agent::go::profile::model::Frame<'_>| match frame.function {
        "" => format!("{:#x}", frame.address),
        function => format!("{function}@{}:{}", frame.file, frame.line),
    };
    let label = |(name, value): &(_, LabelValue)| match value {
        LabelValue::Text(text) => format!("{name}={text}"),
        LabelValue::Number(number, _) => format!("{name}={number}"),
    };
    let line = |sample| {
        let frames: Vec<String> = profile.frames(sample).map(frame).collect();
        let labels: Vec<String> = sample.labels.iter().map(label).collect();
        format!("{:?} {} {}", sample.values, frames.join(" "), labels.join(",")).trim_end().to_owned()
    };
    profile.samples.iter().map(line).collect()
}

#[test]
fn goroutines_with_labels_and_padded_cells() {
    let page = "goroutine profile: total 9\n\
                7 @ 0x48c68a 0x418d5c\n\
                # labels: {\"job\":\"x\", \"tenant\":\"a, b\"}\n\
                #\t0x6e24dd\tmain.leak.func1+0x1d\t\t/src/a b/main.go:5\n\
                #\t0x6e24de\tmain.Run[go.shape.int]+0x2d\t/src/main.go:9\n\
                \n\
                2 @ 0x1 0x2\n\
                #\t0x1\n\
                #\t0x2\n\
                \n\
                1 @\n";
    let told = read(page);
    assert_eq!(told.name, "goroutine");
    assert_eq!(&*told.profile.sample_types[0].kind, "goroutine");
    let want = [
        "[7] main.leak.func1@/src/a b/main.go:5 main.Run[go.shape.int]@/src/main.go:9 job=x,tenant=a, b",
        "[2] 0x1 0x2",
        "[1]",
    ];
    assert_eq!(shown(&told.profile), want);
    assert_eq!(told.profile.samples[0].label("tenant"), Some("a, b"));
    assert_eq!(read("goroutineleak profile: total 0\n").name, "goroutineleak");
    assert_eq!(shown(&read("threadcreate profile: total 1\n1 @\n#\t0x0\n\n").profile), ["[1] 0x0"]);
}

#[test]
fn heap_with_memory() {
    let page = "heap profile: 15: 74096 [817: 5979120] @ heap/1048576\n\
                3: 3145728 [6: 6291456] @ 0x6e24de\n\
                #\t0x6e24dd\tmain.grow+0x1d\t/src/main.go:5\n\
                \n\
                0: 0 [4: 64] @ 0x6e24df\n\
                \n\
                # runtime.MemStats\n\
                # Alloc = 123\n\
                # Stack = 10 / 20\n\
                # MSpan = 30 / 40\n\
                # PauseNs = [5 6 0]\n\
                # NumGC = 2\n\
                # GCCPUFraction = 1.5e-05\n\
                # DebugGC = false\n\
                # MaxRSS = 99\n";
    let told = read(page);
    assert_eq!(told.profile.period, 524_288);
    let kinds: Vec<&str> = told.profile.sample_types.iter().map(|own| &*own.kind).collect();
    assert_eq!(kinds, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
    let (alloc, inuse) = (unsampled(6, 6_291_456, 524_288), unsampled(3, 3_145_728, 524_288));
    let small = unsampled(4, 64, 524_288);
    assert_eq!(
        (alloc, inuse, small.0),
        ((6, 7_276_179), (3, 3_638_089), 131_074),
        "means of twice the rate and of 16 bytes"
    );
    let want = [
        format!("[6, {}, 3, {}] main.grow@/src/main.go:5 bytes=1048576", alloc.1, inuse.1),
        format!("[{}, {}, 0, 0] 0x6e24df bytes=16", small.0, small.1),
    ];
    assert_eq!(shown(&told.profile), want);
    let memory = serde_json::to_string(&told.memory).expect("JSON");
    assert_eq!(
        memory,
        r#"{"Alloc":123,"GCCPUFraction":0.000015,"MSpanInuse":30,"MSpanSys":40,"NumGC":2,"PauseNs":[5,6,0],"StackInuse":10,"StackSys":20}"#
    );
    assert_eq!(unsampled(5, 50, 1), (5, 50), "every allocation was taken");
    assert_eq!([unsampled(0, 50, 9), unsampled(5, 0, 9), unsampled(-1, -1, 9)], [(0, 0); 3]);
}

#[test]
fn contention() {
    let page = "--- mutex:\ncycles/second=2000000000\nsampling period=5\n\
                3000000000 25578 @ 0x6e257f\n\
                #\t0x6e257e\tsync.(*Mutex).Unlock+0x1e\t/go/sync/mutex.go:65\n\
                #\t0x6e257f\tmain.f+0x1f\t/src/main.go:7\n\n";
    let told = read(page);
    assert_eq!((told.name.as_str(), told.sampling_period), ("mutex", Some(5)));
    assert_eq!(
        shown(&told.profile),
        ["[25578, 1500000000] sync.(*Mutex).Unlock@/go/sync/mutex.go:65 main.f@/src/main.go:7"]
    );
    let block = read("--- contention:\ncycles/second=1000000000\n7 1 @ 0x1\n");
    assert_eq!((block.name.as_str(), shown(&block.profile)), ("contention", vec!["[1, 7] 0x1".to_owned()]));
    assert_eq!(shown(&read("--- contention:\n7 1 @ 0x1\n").profile), ["[1, 0] 0x1"], "cycles of unknown length");
}

#[test]
fn what_is_no_profile_or_too_much() {
    for page in ["", "<html>", "goroutine profile: total x", "x profile: 1: 2 [3: 4] @ heap/2", "--- mutex"] {
        let got = parse(page.as_bytes(), &Limits::default());
        assert_eq!(got, Err(DecodeError::Malformed { what: "an unknown header" }), "{page}");
    }
    for line in ["x @ 0x1", "1 2 @ 0x1", "1 @ 1", "1 @ 0xg", "99999999999999999999 @ 0x1", " @ 0x1"] {
        let got = parse(format!("goroutine profile: total 1\n{line}\n").as_bytes(), &Limits::default());
        assert!(matches!(got, Err(DecodeError::Malformed { .. })), "{line}: {got:?}");
    }
    let tight = Limits { samples_max: 2, stack_entries_max: 5, inflated_bytes_max: 100, ..Limits::default() };
    for page in ["1 @ 0x1\n".repeat(3), format!("1 @{}\n", " 0x1".repeat(6)), "#\n".repeat(100)] {
        let got = parse(format!("goroutine profile: total 1\n{page}").as_bytes(), &tight);
        assert!(matches!(got, Err(DecodeError::TooMuch { .. })), "{page}: {got:?}");
    }
}

#[track_caller]
fn check_header(line: &str, want: Header) {
    assert_eq!(parse_header(line), Some(want), "{line}");
}

#[test]
fn headers_of_goroutines() {
    let header = |status: &str| Header { id: 7, status: status.to_owned(), ..Header::default() };
    check_header("goroutine 7 [running]:", header("running"));
    check_header("goroutine 7 gp=0xc000002380 m=0 mp=0x5a2d40 [running]:", header("running"));
    check_header("goroutine 7 [select (no cases)]:", header("select (no cases)"));
    check_header(
        "goroutine 7 [chan receive (nil chan), 3 minutes]:",
        Header { minutes: Some(3), ..header("chan receive (nil chan)") },
    );
    check_header("goroutine 7 [chan send (leaked)]:", Header { leaked: true, ..header("chan send") });
    check_header(
        "goroutine 7 [chan send (leaked) (scan), locked to thread]:",
        Header { leaked: true, scanned: true, locked: true, ..header("chan send") },
    );
    check_header(
        "goroutine 7 [sync.WaitGroup.Wait (durable), 90 minutes, locked to thread, synctest bubble 5]:",
        Header { durable: true, minutes: Some(90), locked: true, bubble: Some(5), ..header("sync.WaitGroup.Wait") },
    );
    let labelled = |status| Header {
        labels: vec![("job".to_owned(), "x ]: y".to_owned()), ("t".to_owned(), "a".to_owned())],
        ..header(status)
    };
    check_header(r#"goroutine 7 [select labels:{"job": "x ]: y", "t": "a"}]:"#, labelled("select"));
    check_header(r#"goroutine 7 [select] {"job": "x ]: y", "t": "a"}:"#, labelled("select"));
    check_header(
        "goroutine 7 [IO wait, 2 minutes] {job: x ]: y, t: a}:",
        Header { minutes: Some(2), ..labelled("IO wait") },
    );
    check_header("goroutine 7 [???]:", header("???"));
    for other in [
        "",
        "goroutine",
        "goroutine 7",
        "goroutine x [running]:",
        "goroutine 7 [running]",
        "goroutine 7 running:",
        "goroutine 99999999999999999999 [running]:",
        "goroutine running on other thread; stack unavailable",
        "goroutine profile: total 7",
    ] {
        assert_eq!(parse_header(other), None, "{other}");
    }
}

fn goroutines(text: &str) -> Vec<Goroutine> {
    let mut dump = Dump::new(text.as_bytes());
    std::iter::from_fn(|| dump.next_goroutine().expect("memory does not fail")).collect()
}

const DUMP: &str = "panic: oh no\n\n\
    goroutine 1 [running]:\n\
    main.main()\n\
    \t/src/main.go:5 +0x1d\n\
    \n\
    goroutine 35 [chan receive, 12 minutes]:\n\
    runtime.gopark(0x1?, 0x0?, ...)\n\
    \t/go/runtime/proc.go:400 +0xce\n\
    main.(*pool[...]).worker(0xc00009c000, {0x1, 0x2})\n\
    \t/src/pool.go:41 +0x8c fp=0xc0000 sp=0xc0001 pc=0x47\n\
    ...23 frames elided...\n\
    main.start.func1(...)\n\
    \tC:/src/pool.go:20\n\
    created by main.start in goroutine 1\n\
    \t/src/pool.go:22 +0x5a\n\
    \n\
    goroutine 36 [chan receive (leaked)]:\n\
    \tgoroutine running on other thread; stack unavailable\n\
    created by main.old\n\
    \t/src/old.go:3 +0x5a\n\
    [originating from goroutine 1]:\n\
    main.start(...)\n\
    \t/src/old.go:9 +0x1\n\
    created by main.main\n\
    \t/src/old.go:10 +0x1\n";

#[test]
fn stacks_of_a_dump() {
    let all = goroutines(DUMP);
    let ids: Vec<u64> = all.iter().map(|goroutine| goroutine.header.id).collect();
    assert_eq!(ids, [1, 35, 36]);
    let show = |place: &agent::go::profile::dump::Place| format!("{}@{}:{}", place.function, place.file, place.line);
    let frames: Vec<String> = all[1].frames.iter().map(show).collect();
    let want = [
        "runtime.gopark@/go/runtime/proc.go:400",
        "main.(*pool[...]).worker@/src/pool.go:41",
        "main.start.func1@C:/src/pool.go:20",
    ];
    assert_eq!(frames, want);
    assert_eq!(all[1].created_by.as_ref().map(show).as_deref(), Some("main.start@/src/pool.go:22"));
    assert_eq!((all[1].parent, all[1].elided), (Some(1), true));
    assert_eq!((all[0].created_by.as_ref(), all[0].frames.len()), (None, 1));
    assert_eq!(all[2].created_by.as_ref().map(show).as_deref(), Some("main.old@/src/old.go:3"));
    assert_eq!((all[2].parent, all[2].frames.len()), (None, 0), "ancestors are no frames");
}

#[test]
fn a_dump_becomes_a_census() {
    let mut census = DumpCensus::new(5, 600_000);
    for goroutine in goroutines(DUMP) {
        census.add(&goroutine);
    }
    let census = census.finish();
    assert_eq!((census.total, census.looked_at, census.at_ms), (3, 3, 5));
    assert_eq!(census.states, Some(States { running: 1, waiting: 2, ..States::default() }));
    let site =
        Site { function: "main.start.func1".into(), created_by: "main.start".into(), wait: "chan receive".into() };
    let counted = &census.sites[&site];
    assert_eq!((counted.count, counted.blocked_long, counted.longest_blocked_ms), (1, 1, Some(720_000)));
    assert_eq!(counted.line.as_ref().map(|line| line.line), Some(22));
    assert_eq!(
        counted.blocked_at.as_ref().map(|(function, line)| (function.as_str(), line.line)),
        Some(("main.(*pool[...]).worker", 41))
    );
    assert_eq!(census.sites.values().map(|counted| counted.leaked).sum::<u64>(), 1);
}

#[test]
fn dumps_that_end_anywhere_and_lines_of_any_length() {
    for end in 0..DUMP.len() {
        goroutines(&DUMP[..end]);
    }
    let long = format!("goroutine 1 [running]:\n{}(\n\t/x:1\n", "f".repeat(1 << 20));
    let all = goroutines(&long);
    assert!(all[0].frames.is_empty(), "a line that is cut has no end of its name");
    let deep = format!("goroutine 1 [running]:\n{}\n", "f()\n\t/x:1\n".repeat(10_000));
    assert!(goroutines(&deep)[0].frames.len() <= agent::go::profile::dump::FRAMES_MAX);
}
