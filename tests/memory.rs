//! The memory budget of a server: kept under load, told, refused when it is too small.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::remote_write::WriteRequest;
use serde_json::Value;
use support::{PATIENCE, Server, escape, request, run, series};

const MIB: u64 = 1 << 20;
const SERIES: usize = 8_000;
const SERIES_PER_REQUEST: usize = 1_000;
const SAMPLES: i64 = 24;
const ROUNDS: i64 = 6;
const HEAD_BYTES: &str = "metrickit_memory_used_bytes{part=\"head\"}";

/// Memory of a process that no file backs, in bytes.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Samples of some series, with values that no coding makes small.
fn load(first: usize, round: i64) -> WriteRequest {
    let mut random = fastrand::Rng::with_seed(first as u64 * 100 + round.unsigned_abs());
    let all = (first..first + SERIES_PER_REQUEST).map(|at| {
        let samples: Vec<_> = (0..SAMPLES).map(|n| ((round * SAMPLES + n) * 10_000, random.f64())).collect();
        series(
            &[("__name__", "load"), ("at", &at.to_string()), ("pod", &format!("checkout-7d9f8b6c54-{at:06}"))],
            &samples,
        )
    });
    request(all.collect())
}

/// Writes until it is taken; refusals must ask to come back.
fn write(server: &Server, request: &WriteRequest) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = server.write(request);
        if answer.status == 204 {
            return;
        }
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.retry_after.is_some(), "{}", answer.body);
        assert!(Instant::now() < until, "the server takes writes again: {}", answer.body);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A number of `/metrics`.
fn metric(server: &Server, series: &str) -> f64 {
    let page = server.get("/metrics").body;
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{series} is told in {page}"))
}

fn memory(server: &Server) -> Value {
    let answer = server.get("/api/v1/status/memory");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"].take()
}

#[test]
fn a_small_server_keeps_its_budget_under_load_and_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args = ["--retention", "off", "--memory-max", "64MiB", "--durability", "off", "--shipped-rules", "on"];
    let server = Server::start(folder.path(), &args);
    let (stop, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes(server.pid()), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|lane| {
                let server = &server;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        for first in (0..SERIES).step_by(SERIES_PER_REQUEST).skip(lane).step_by(2) {
                            write(server, &load(first, round));
                        }
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let answer = server.get(&format!("/api/v1/query?query={}&time=1400", escape("sum(load{at=\"7\"})")));
            assert!(matches!(answer.status, 200 | 503), "{}", answer.body);
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "all was written");
    });
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak > MIB && peak <= 64 * MIB, "{} MiB of 64 at most", peak / MIB);

    // A window does not hold its left end, which is the first sample at 3600.
    let counted = server.query("count_over_time(load{at=\"4321\"}[1h])", "3599");
    assert_eq!(counted[0]["value"][1], (SAMPLES * ROUNDS).to_string());
    let status = memory(&server);
    assert_eq!(status["maxBytes"], 64 * MIB);
    let parts = status["parts"].as_array().expect("a list");
    let shares: u64 = parts.iter().filter_map(|part| part["shareBytes"].as_u64()).sum();
    assert_eq!(shares, 64 * MIB);
    let of_series = parts.iter().find(|part| part["part"] == "series").expect("told")["usedBytes"].as_u64();
    assert!(of_series > Some(SERIES as u64 * 64), "{of_series:?} bytes of {SERIES} series");
    let until = Instant::now() + PATIENCE;
    while metric(&server, "metrickit_flushes_total") < 1.0 {
        assert!(Instant::now() < until, "a head of {} bytes is written early", metric(&server, HEAD_BYTES));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What all queries may hold follows from the budget, is told when it is not enough, and comes back.
#[test]
fn queries_beyond_their_share_are_refused_and_others_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server =
        Server::start(folder.path(), &["--retention", "off", "--memory-max", "96MiB", "--shipped-rules", "on"]);
    for first in (0..SERIES).step_by(SERIES_PER_REQUEST) {
        write(&server, &load(first, 0));
    }
    let range = |expr: &str| format!("/api/v1/query_range?query={}&start=0&end=230&step=1", escape(expr));
    let (wide, narrow) = (range("load * 2"), range("sum(load{at=~\"1..\"})"));
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let refused = server.get(&wide);
                        assert_eq!(refused.status, 422, "{}", refused.body);
                        assert!(refused.body.contains("bytes of memory"), "{}", refused.body);
                    }
                })
            })
            .collect();
        assert!(askers.into_iter().all(|asker| asker.join().is_ok()), "each was refused with its limit");
    });
    let answer = server.get(&narrow);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let status = memory(&server);
    let queries = status["parts"].as_array().expect("a list").iter().find(|part| part["part"] == "queries");
    assert_eq!(queries.expect("told")["usedBytes"], 0, "all was given back");
}

#[test]
fn a_budget_that_is_too_small_is_refused_with_the_least() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().to_str().expect("UTF-8");
    let (code, _, error) = run(&["server", "--data", data, "--memory-max", "20MiB"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(&model::BUDGET_BYTES_MIN.to_string()), "{error}");
    let settings = ["server", "--data", data, "--memory-max", "100MiB", "--query-all-bytes-max", "90MiB"];
    let (code, _, error) = run(&settings);
    assert!(code == 2 && error.contains("94371840"), "{error}");
}
