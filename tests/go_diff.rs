//! `metrickit go diff` over a server that was fed with two releases of a program.

mod support;

use serde_json::Value;
use support::{Server, now_ms, request, run, series};

const STEP_MS: i64 = 15_000;

/// Seconds between two samples.
const STEP_S: f64 = 15.0;

/// Samples of one process from `start_ms` on; `value` by the number of the sample.
fn samples(start_ms: i64, end_ms: i64, value: impl Fn(i32) -> f64) -> Vec<(i64, f64)> {
    let last = i32::try_from((end_ms - start_ms) / STEP_MS).expect("a few days at most");
    (0..=last).map(|at| (start_ms + i64::from(at) * STEP_MS, value(at))).collect()
}

#[derive(Clone, Copy)]
struct Life<'a> {
    instance: &'a str,
    env: &'a str,
    pid: &'a str,
    version: &'a str,
    revision: &'a str,
    span_ms: (i64, i64),
    goroutines: f64,
    alloc_per_s: f64,
    sites: &'a [(&'a str, f64)],
}

fn feed(server: &Server, life: Life<'_>) {
    let (start_ms, end_ms) = life.span_ms;
    let base = [("job", "api"), ("instance", life.instance), ("env", life.env)];
    let of = |name: &'static str, more: &[(&'static str, &str)], value: &dyn Fn(i32) -> f64| {
        let labels: Vec<(&str, &str)> =
            [("__name__", name)].into_iter().chain(base).chain(more.iter().copied()).collect();
        series(&labels, &samples(start_ms, end_ms, value))
    };
    // A little noise, the same each time.
    let noise = |at: i32| 1.0 + f64::from((at % 1000 * 7919) % 11) / 1000.0;
    let info = [
        ("name", "api"),
        ("pid", life.pid),
        ("go_version", "go1.26.1"),
        ("version", life.version),
        ("revision", life.revision),
    ];
    let mut all = vec![
        of("metrickit_go_process_info", &info, &|_| 1.0),
        of("go_goroutines", &[], &|at| (life.goroutines * noise(at)).round()),
        of("process_resident_memory_bytes", &[], &|at| 1e8 * noise(at)),
        of("process_cpu_seconds_total", &[], &|at| 0.5 * f64::from(at) * STEP_S),
        of("go_gc_heap_allocs_bytes_total", &[], &|at| life.alloc_per_s * f64::from(at) * STEP_S),
        of("go_leak_grade", &[], &|_| -1.0),
        of("http_requests_total", &[], &|at| 100.0 * f64::from(at) * STEP_S),
    ];
    for (site, count) in life.sites {
        all.push(of(
            "go_goroutines_by_site",
            &[("site", site), ("created_by", "main.main"), ("wait", "select")],
            &|_| *count,
        ));
    }
    let answer = server.write(&request(all));
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn diff(server: &Server, args: &[&str]) -> Value {
    let mut all = vec!["go", "diff"];
    all.extend(args);
    all.extend(["--url", &server.url, "--json"]);
    let (code, told, error) = run(&all);
    assert_eq!((code, error.as_str()), (0, ""), "{told}");
    serde_json::from_str(&told).expect("JSON")
}

fn metric<'v>(report: &'v Value, name: &str) -> &'v Value {
    let metrics = report["metrics"].as_array().expect("metrics");
    metrics.iter().find(|metric| metric["name"] == name).expect("a metric")
}

#[test]
fn releases_are_compared_side_by_side_and_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let now = now_ms() / STEP_MS * STEP_MS;
    let hours = |hours: i64| now - hours * 3_600_000;
    let old = Life {
        instance: "web1/0",
        env: "prod",
        pid: "100",
        version: "v1.4.2",
        revision: "8c5f0123456789",
        span_ms: (hours(2), now),
        goroutines: 200.0,
        alloc_per_s: 1e6,
        sites: &[("main.serve", 150.0), ("main.poll", 20.0)],
    };
    let new = Life {
        instance: "web2/0",
        pid: "200",
        version: "v1.5.0",
        revision: "a93be20123456789",
        alloc_per_s: 1.38e6,
        sites: &[("main.serve", 151.0), ("main.poll", 60.0), ("main.watch", 40.0)],
        ..old
    };
    feed(&server, old);
    feed(&server, Life { instance: "web1/1", pid: "101", ..old });
    feed(&server, new);
    // One of the same name in another environment is another.
    feed(&server, Life { env: "dev", ..new });
    // A release of five days ago, after which another took its place.
    feed(
        &server,
        Life {
            instance: "web3/0",
            pid: "300",
            version: "v1.3.0",
            revision: "77aa",
            span_ms: (hours(123), hours(120)),
            goroutines: 100.0,
            ..old
        },
    );
    feed(&server, Life { instance: "web3/0", pid: "301", span_ms: (hours(120) + STEP_MS, hours(119)), ..new });

    let report = diff(&server, &["v1.4.2", "a93be"]);
    assert_eq!(
        report["sentence"],
        "v1.5.0 allocates 38 % more, allocates 38 % more a request and has goroutines at 1 new site, compared with v1.4.2.",
        "{report}"
    );
    assert_eq!((report["a"]["processes"].as_u64(), report["b"]["processes"].as_u64()), (Some(2), Some(2)), "{report}");
    let allocated = metric(&report, "allocated/s");
    assert_eq!(allocated["change"]["beyondNoise"], true, "{allocated}");
    assert!((allocated["change"]["ratio"].as_f64().expect("a change") - 0.38).abs() < 0.001, "{allocated}");
    assert!((metric(&report, "requests/s")["a"]["median"].as_f64().expect("requests") - 100.0).abs() < 0.1);
    let cpu = metric(&report, "CPU/request");
    assert!((cpu["a"]["median"].as_f64().expect("processor time") - 0.005).abs() < 1e-5, "{cpu}");
    assert_eq!(metric(&report, "goroutines")["change"]["beyondNoise"], false, "{report}");
    assert_eq!(metric(&report, "GC CPU %")["a"], Value::Null);
    let sites: Vec<(&str, Option<f64>)> = report["sites"]
        .as_array()
        .expect("sites")
        .iter()
        .map(|site| (site["site"].as_str().expect("a name"), site["a"].as_f64()))
        .collect();
    assert_eq!(sites, [("main.poll", Some(20.0)), ("main.watch", None)]);

    // Of history: a release that runs no more, against one that does.
    let report = diff(&server, &["1.3.0", "1.4.2"]);
    assert_eq!(metric(&report, "goroutines")["change"]["beyondNoise"], true, "{report}");
    assert!(report["a"]["untilMs"].as_i64().is_some_and(|until| (until - hours(120)).abs() < 600_000), "{report}");
    assert!(report["notes"].to_string().contains("at different times"), "{report}");

    let (code, table, error) = run(&["go", "diff", "v1.4.2", "v1.5.0", "--url", &server.url]);
    assert_eq!((code, error.as_str()), (0, ""));
    for wanted in
        ["A: v1.4.2 (8c5f01234567) of api, go1.26.1; 2 processes", "+38 % ┆ ● │", "main.watch", "beyond noise:"]
    {
        assert!(table.contains(wanted), "{wanted} in\n{table}");
    }
}

#[test]
fn what_is_not_known_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let fails = |args: &[&str], code: i32, wanted: &str| {
        let mut all = vec!["go", "diff"];
        all.extend(args);
        all.extend(["--url", &server.url]);
        let (got, _, error) = run(&all);
        assert_eq!(got, code, "{error}");
        assert!(error.contains(wanted), "{wanted} in {error}");
    };
    fails(&["v1", "v2"], 1, "no Go process is known there");
    let now = now_ms() / STEP_MS * STEP_MS;
    let life = Life {
        instance: "web1/0",
        env: "prod",
        pid: "100",
        version: "v1.4.2",
        revision: "8c5f",
        span_ms: (now - 3_600_000, now),
        goroutines: 200.0,
        alloc_per_s: 1e6,
        sites: &[],
    };
    feed(&server, life);
    feed(
        &server,
        Life {
            instance: "web2/0",
            pid: "200",
            version: "v1.5.0",
            revision: "8d00",
            span_ms: (now - 60_000, now),
            ..life
        },
    );
    fails(&["v1.4.2", "v9"], 1, "no release is called \"v9\"; seen were:\n  v1.5.0 (8d00)  api");
    fails(&["8", "v1.5.0"], 1, "\"8\" means 2 releases");
    fails(&["v1.4.2", "8c5f"], 1, "are both v1.4.2 (8c5f)");
    fails(&["v1.4.2", "v1.5.0"], 1, "no process of v1.5.0 (8d00) showed anything");
    fails(&["v1.4.2", "v1.5.0", "--range", "1s"], 2, "5m at least");
    fails(&["v1.4.2", "v1.5.0", "--requests", "a b"], 2, "is no name of a metric");
}
