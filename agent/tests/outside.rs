//! Running Go programs read in their memory, beside what they say of themselves.

mod subject;

use agent::go::census::{Site, Way};
use agent::go::ways::{Part, Reason, Told};
use model::METRIC_NAME;
use serde_json::Value;
use subject::{FORMS, Reading, Subject, build, number, value};

/// The series of a metric of `runtime/metrics`.
fn series_of(metric: &str) -> String {
    let (path, unit) = metric.split_once(':').expect("a unit");
    format!("go{path}_{unit}").replace(['/', '-'], "_")
}

/// Metrics that grow: what is read lies between what the program says before and after.
const GROWING: [&str; 21] = [
    "/gc/cycles/total:gc-cycles",
    "/gc/cycles/automatic:gc-cycles",
    "/gc/cycles/forced:gc-cycles",
    "/gc/heap/allocs:bytes",
    "/gc/heap/allocs:objects",
    "/gc/heap/frees:bytes",
    "/gc/heap/frees:objects",
    "/gc/heap/tiny/allocs:objects",
    "/cpu/classes/gc/mark/assist:cpu-seconds",
    "/cpu/classes/gc/mark/dedicated:cpu-seconds",
    "/cpu/classes/gc/mark/idle:cpu-seconds",
    "/cpu/classes/gc/pause:cpu-seconds",
    "/cpu/classes/gc/total:cpu-seconds",
    "/cpu/classes/idle:cpu-seconds",
    "/cpu/classes/user:cpu-seconds",
    "/cpu/classes/total:cpu-seconds",
    "/cpu/classes/scavenge/assist:cpu-seconds",
    "/cpu/classes/scavenge/background:cpu-seconds",
    "/cpu/classes/scavenge/total:cpu-seconds",
    "/sync/mutex/wait/total:seconds",
    "/cgo/go-to-c-calls:calls",
];

/// Metrics that stay as they are in a program that only answers, and by how much they may differ.
const STILL: [(&str, f64); 25] = [
    ("/sched/threads/total:threads", 0.0),
    ("/sched/gomaxprocs:threads", 0.0),
    ("/sched/goroutines:goroutines", 0.0),
    ("/gc/gogc:percent", 0.0),
    ("/gc/gomemlimit:bytes", 0.0),
    ("/gc/heap/goal:bytes", 0.0),
    ("/gc/heap/live:bytes", 0.0),
    ("/gc/scan/heap:bytes", 200_000.0),
    ("/gc/scan/stack:bytes", 0.0),
    ("/gc/scan/globals:bytes", 0.0),
    ("/gc/scan/total:bytes", 200_000.0),
    ("/gc/stack/starting-size:bytes", 0.0),
    ("/gc/limiter/last-enabled:gc-cycle", 0.0),
    ("/gc/heap/objects:objects", 4_000.0),
    ("/memory/classes/heap/free:bytes", 400_000.0),
    ("/memory/classes/heap/objects:bytes", 400_000.0),
    ("/memory/classes/heap/released:bytes", 400_000.0),
    ("/memory/classes/heap/stacks:bytes", 200_000.0),
    ("/memory/classes/heap/unused:bytes", 400_000.0),
    ("/memory/classes/metadata/mcache/inuse:bytes", 0.0),
    ("/memory/classes/metadata/mspan/inuse:bytes", 20_000.0),
    ("/memory/classes/metadata/other:bytes", 200_000.0),
    ("/memory/classes/os-stacks:bytes", 0.0),
    ("/memory/classes/profiling/buckets:bytes", 100_000.0),
    ("/memory/classes/total:bytes", 400_000.0),
];

#[track_caller]
fn compare(form: &str, before: &Value, after: &Value, readings: &agent::readings::Readings) {
    let read = |name: &str| value(readings, name, "").unwrap_or_else(|| panic!("{form}: no {name}"));
    for metric in GROWING {
        let (low, high) = (number(before, metric), number(after, metric));
        let found = read(&format!("{}_total", series_of(metric)));
        assert!((low..=high).contains(&found), "{form}: {metric} is {found}, not {low} to {high}");
    }
    for (metric, tolerance) in STILL {
        let (low, high) = (number(before, metric), number(after, metric));
        let found = read(&series_of(metric));
        let range = low.min(high) - tolerance..=low.max(high) + tolerance;
        assert!(range.contains(&found), "{form}: {metric} is {found}, not {range:?}");
    }
    for (key, name) in [("goroutines", "go_goroutines"), ("threads", "go_threads")] {
        let (low, high) = (number(before, key), number(after, key));
        assert!((low..=high).contains(&read(name)), "{form}: {name} is {}, not {low} to {high}", read(name));
    }
    for metric in [
        "/sched/latencies:seconds",
        "/sched/pauses/total/gc:seconds",
        "/sched/pauses/total/other:seconds",
        "/sched/pauses/stopping/gc:seconds",
        "/sched/pauses/stopping/other:seconds",
        "/gc/heap/allocs-by-size:bytes",
        "/gc/heap/frees-by-size:bytes",
    ] {
        compare_histogram(metric, &before[metric], &after[metric], readings);
    }
}

/// Whether each bucket of a histogram lies between what the program said before and after.
#[track_caller]
fn compare_histogram(metric: &str, before: &Value, after: &Value, readings: &agent::readings::Readings) {
    let name = series_of(metric);
    let found = readings.iter().find(|(labels, _)| labels.get(METRIC_NAME) == Some(&name));
    let histogram = found.and_then(|(_, values)| values.histogram().cloned()).unwrap_or_else(|| panic!("no {name}"));
    let floats = |told: &Value, key: &str| -> Vec<f64> {
        told[key].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
    };
    assert_eq!(histogram.custom_bounds, floats(after, "bounds"), "{metric}");
    let mut counts = vec![0.0; histogram.custom_bounds.len() + 1];
    for bucket in &histogram.positive {
        counts[usize::try_from(bucket.index).expect("an index")] = bucket.count;
    }
    let (low, high) = (floats(before, "counts"), floats(after, "counts"));
    assert_eq!((counts.len(), low.len()), (low.len(), high.len()), "{metric}");
    for (at, count) in counts.iter().enumerate() {
        assert!(
            (low[at]..=high[at]).contains(count),
            "{metric}: bucket {at} is {count}, not {} to {}",
            low[at],
            high[at]
        );
    }
}

#[test]
fn numbers_are_those_the_program_says_of_itself() {
    for (form, _) in FORMS {
        let Some(path) = build(form) else { return };
        let mut subject = Subject::start(&path, &[]);
        subject.ask("park 500");
        subject.ask("keep 20");
        subject.ask("churn 20000");
        subject.ask("gc");
        subject.ask("churn 100");
        let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
        // Names and pages come into the agent's caches, the program's into its own.
        reading.round();
        subject.ask("metrics");
        let before = subject.ask("metrics");
        let readings = reading.round();
        let after = subject.ask("metrics");
        compare(form, &before, &after, &readings);
        let told = reading.ways.told((&subject.process.life).into(), Part::Runtime, 2_000_000);
        assert_eq!(told, Some(Told::Read(Way::Memory)), "{form}");
        let stats = &subject.ask("memstats")["memstats"];
        let read = |name: &str| value(&readings, name, "").unwrap_or_else(|| panic!("{form}: no {name}"));
        for (key, name) in [
            ("LastGC", "go_memstats_last_gc_time_seconds"),
            ("NumGC", "go_gc_duration_seconds_count"),
            ("PauseTotal", "go_gc_duration_seconds_sum"),
            ("GCCPUFraction", "go_memstats_gc_cpu_fraction"),
            ("NextGC", "go_memstats_next_gc_bytes"),
        ] {
            assert!((read(name) - number(stats, key)).abs() < 1e-6 * number(stats, key).max(1.0), "{form}: {name}");
        }
        for (at, quantile) in ["0", "0.25", "0.5", "0.75", "1"].into_iter().enumerate() {
            let found = value(&readings, "go_gc_duration_seconds", &format!(r#"quantile="{quantile}""#)).expect("read");
            let want = stats["quantiles"][at].as_f64().expect("a number");
            assert!((found - want).abs() < 1e-9, "{form}: quantile {quantile} is {found}, not {want}");
        }
    }
}

#[test]
fn goroutines_are_counted_by_site() {
    for (form, _) in FORMS {
        let Some(path) = build(form) else { return };
        let mut subject = Subject::start(&path, &[]);
        subject.ask("park 700");
        subject.ask("hold 50");
        // Since when something waits is the end of the collection before the one that saw it wait.
        subject.ask("gc");
        subject.ask("gc");
        let mut reading = Reading::of(vec![subject.process.clone()], |config| config.leak_blocked_ms = 0);
        let readings = reading.round();
        let told = subject.ask("goroutines");
        let census = reading.censuses.lock().get(&subject.process.life).cloned().expect("a census");
        assert_eq!(told["count"].as_u64(), Some(census.total), "{form}: {told} {census:?}");
        let mut by_function = std::collections::BTreeMap::<&str, u64>::new();
        for (site, count) in &census.sites {
            *by_function.entry(&site.function).or_default() += count.count;
        }
        for (function, count) in told["sites"].as_object().expect("sites") {
            let function = if function == "main.main" { "runtime.main" } else { function };
            assert_eq!(by_function.get(function).copied(), count.as_u64(), "{form}: {function}");
        }
        let site = |function: &str, created_by: &str, wait: &str| Site {
            function: function.to_owned(),
            created_by: created_by.to_owned(),
            wait: wait.to_owned(),
        };
        let parked = &census.sites[&site("main.parked", "main.park", "chan receive")];
        assert_eq!((parked.count, parked.blocked_long, parked.leaked), (700, 700, 0), "{form}");
        assert!(parked.longest_blocked_ms.is_some(), "{form}");
        let line = parked.line.as_ref().expect("a line");
        assert!(line.file.ends_with("main.go") && line.line > 100, "{form}: {line:?}");
        let (function, line) = parked.blocked_at.as_ref().expect("a place");
        assert!(function == "main.receive" && line.file.ends_with("main.go"), "{form}: {function} {line:?}");
        let held = &census.sites[&site("main.locked", "main.hold", "sync.Mutex.Lock")];
        assert_eq!(
            (held.count, held.blocked_at.as_ref().map(|(name, _)| name.as_str())),
            (50, Some("main.locked")),
            "{form}"
        );
        let labels = r#"site="main.parked", wait="chan receive""#;
        let found = readings.iter().any(|(own, values)| {
            let own = own.to_string();
            own.starts_with("go_goroutines_by_site{") && own.contains(labels) && values.value() == Some(700.0)
        });
        assert!(found, "{form}: no series");
        let waiting = value(&readings, "go_sched_goroutines_waiting_goroutines", "").expect("read");
        assert!(waiting >= 751.0, "{form}: {waiting}");
    }
}

#[test]
fn a_sample_of_goroutines_is_scaled_up() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[]);
    subject.ask("park 9000");
    subject.ask("hold 1000");
    let mut reading = Reading::of(vec![subject.process.clone()], |config| config.goroutines_max = 1000);
    reading.round();
    let census = reading.censuses.lock().get(&subject.process.life).cloned().expect("a census");
    assert!((10_000..10_020).contains(&census.total), "{}", census.total);
    assert!(census.looked_at <= 1001, "{}", census.looked_at);
    let of = |function: &str| {
        let counts = census.sites.iter().filter(|(site, _)| site.function == function).map(|(_, count)| count.count);
        counts.sum::<u64>()
    };
    assert!((8_500..=9_500).contains(&of("main.parked")), "{census:?}");
    assert!((700..=1_300).contains(&of("main.locked")), "{census:?}");
}

#[test]
fn profiles_are_those_of_the_program() {
    for form in ["plain", "pie-stripped"] {
        let Some(path) = build(form) else { return };
        // What a tick is the programs say when they are asked; two that started a second apart tell it without.
        let mut older = Subject::start(&path, &[]);
        older.process.instance = "web1/1".to_owned();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let mut subject = Subject::start(&path, &[]);
        subject.ask("keep 400");
        subject.ask("contend 5");
        subject.ask("gc");
        subject.ask("gc");
        let mut reading = Reading::of(vec![older.process.clone(), subject.process.clone()], |_| {});
        let readings = reading.round();
        let told = number(&subject.ask("heap"), "inuse");
        let found = value(&readings, "go_heap_inuse_bytes_by_site", r#"site="main.keep""#).expect("read");
        assert!((found - told).abs() <= told * 0.001, "{form}: {found} is not {told}");
        assert!((1.0..8e7).contains(&found), "{form}: 25 MiB, by samples: {found}");
        // Where these lists are not every stripped executable tells.
        let told = reading.ways.told((&subject.process.life).into(), Part::MutexProfile, 2_000_000);
        if form != "plain" && told == Some(Told::Not(Reason::NoAddresses)) {
            continue;
        }
        let waited = value(&readings, "go_mutex_wait_seconds_by_site_total", r#"site="main.release""#).expect("read");
        assert!((0.02..60.0).contains(&waited), "{form}: {waited}");
        let blocked = value(&readings, "go_block_wait_seconds_by_site_total", r#"site="main.waiter""#).expect("read");
        assert!((0.02..60.0).contains(&blocked), "{form}: {blocked}");
    }
}

#[test]
fn a_memory_limit_lowers_the_goal() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[("GOGC", "off")]);
    subject.ask("keep 100");
    subject.ask("limit 67108864");
    subject.ask("gc");
    let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
    let before = subject.ask("metrics");
    let readings = reading.round();
    let after = subject.ask("metrics");
    let found = value(&readings, "go_gc_heap_goal_bytes", "").expect("read");
    let (low, high) = (number(&before, "/gc/heap/goal:bytes"), number(&after, "/gc/heap/goal:bytes"));
    let range = low.min(high) - 400_000.0..=low.max(high) + 400_000.0;
    assert!(range.contains(&found) && found < 67_108_864.0, "{found} is not {range:?}");
    assert_eq!(
        value(&readings, "go_gc_gogc_percent", "").map(f64::to_bits),
        Some(18_446_744_073_709_551_615.0f64.to_bits())
    );
}
