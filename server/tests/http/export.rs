//! `/api/v1/export`: both formats byte for byte, whole and broken, and what it holds in memory.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use model::sample::stale_marker;
use model::{
    FullSample, Histogram, Labels, ManualClock, MetricKind, SampleSink as _, SampleValue, TimestampMs, WriteBatch,
};
use serde_json::{Value, json};
use server::ServerOptions;
use storage::{Engine, EngineOptions, LifetimeRule, LifetimeStep};

use crate::fixed::Fixed;
use crate::support::{Answer, Server, block_on, escape};

const ALL: &str = "/api/v1/export?match[]=%7B__name__!=%22%22%7D";

fn page(server: &Server, path: &str) -> Answer {
    let answer = block_on(server.get(path));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

/// The metric and the times of each line but the marks.
fn lines(answer: &Answer) -> Vec<(String, Vec<i64>)> {
    let all: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [begin, inside @ .., end] = all.as_slice() else { panic!("no marks in {}", answer.body) };
    assert_eq!(begin["begin"], json!({"version": 1}));
    assert_eq!(end["metric"]["__name__"], "metrickit_export");
    let times = |line: &Value| line["timestamps"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect();
    inside.iter().map(|line| (line["metric"].to_string(), times(line))).collect()
}

/// One of everything: two histograms, one of both kinds, a counter with a start, a summary, a stale marker.
fn filled() -> Server {
    let server = Server::new();
    let point = |at_ms: i64, scale: f64| {
        for (le, count) in [("0.5", 1.0), ("10", 2.0), ("+Inf", 3.0)] {
            for job in ["a", "b"] {
                server.write(&[("__name__", "lat_bucket"), ("le", le), ("job", job)], &[(at_ms, count * scale)]);
            }
        }
        for job in ["a", "b"] {
            server.write(&[("__name__", "lat_count"), ("job", job)], &[(at_ms, 3.0 * scale)]);
            server.write(&[("__name__", "lat_sum"), ("job", job)], &[(at_ms, 0.25 * scale)]);
        }
    };
    point(1_000, 1.0);
    point(2_500, 2.0);
    server.write(&[("__name__", "up"), ("job", "x\"\n")], &[(1_000, 1.0), (2_000, stale_marker())]);
    server.write(&[("__name__", "sum"), ("quantile", "0.9")], &[(5, 2.0)]);
    server.write(&[("__name__", "sum"), ("quantile", "0.5")], &[(5, 1.0)]);
    server.write(&[("__name__", "sum_count")], &[(5, 7.0)]);
    server.describe("lat", MetricKind::Histogram, "", "How long.");
    server.describe("hits_total", MetricKind::Counter, "", "");
    server.describe("sum", MetricKind::Summary, "", "");
    let mut batch = WriteBatch::new();
    batch.push_series(Labels::from_pairs([("__name__", "hits_total")]).unwrap().as_ref());
    batch.push_full_sample(FullSample { timestamp_ms: 9_000, start_ms: 8_000, value: SampleValue::Float(3.0) });
    batch.push_series(Labels::from_pairs([("__name__", "lat")]).unwrap().as_ref());
    let histogram = Histogram { count: 1.0, zero_count: 1.0, ..Histogram::default() };
    let value = SampleValue::Histogram(Arc::new(histogram));
    batch.push_full_sample(FullSample { timestamp_ms: 9_000, start_ms: 0, value });
    server.engine.append(&batch).unwrap();
    server
}

#[test]
fn open_metrics_has_whole_families_and_points_in_order() {
    let answer = page(&filled(), &format!("{ALL}&format=openmetrics&report=true"));
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(answer.headers["x-metrickit-export-metrics"], "8");
    let mut want = "# TYPE hits counter\nhits_total 3 9\n# TYPE lat histogram\n# HELP lat How long.\n".to_owned();
    for job in ["a", "b"] {
        for (time, scale) in [("1", 1), ("2.500", 2)] {
            for (le, count) in [("0.5", 1), ("10", 2), ("+Inf", 3)] {
                writeln!(want, "lat_bucket{{job=\"{job}\",le=\"{le}\"}} {} {time}", count * scale).unwrap();
            }
            let sum = if scale == 1 { "0.25" } else { "0.5" };
            writeln!(want, "lat_count{{job=\"{job}\"}} {} {time}", 3 * scale).unwrap();
            writeln!(want, "lat_sum{{job=\"{job}\"}} {sum} {time}").unwrap();
        }
    }
    want += "# TYPE sum summary\nsum{quantile=\"0.5\"} 1 0.005\nsum{quantile=\"0.9\"} 2 0.005\nsum_count 7 0.005\n";
    want += "# TYPE up unknown\nup{job=\"x\\\"\\n\"} 1 1\n# EOF\n";
    let (text, report) = answer.body.split_at(answer.body.find("# EOF\n").unwrap() + 6);
    assert_eq!(text, want);
    let report: Value = serde_json::from_str(report).unwrap();
    let left_out = json!({"histograms": 1, "staleMarkers": 1, "starts": 1});
    assert_eq!(report, json!({"series": 15, "samples": 25, "leftOut": left_out, "chunksLost": 0}));
    let without = page(&filled(), &format!("{ALL}&format=openmetrics"));
    assert_eq!(without.body, want);
}

#[test]
fn lines_hold_everything() {
    let answer = page(&filled(), &format!("{ALL}&format=jsonl"));
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(answer.body.contains("\"metadata\":[{\"metric\":\"lat\",\"type\":\"histogram\",\"help\":\"How long.\"}]"));
    assert_eq!(answer.body.matches("\"help\":\"How long.\"").count(), 1);
    for want in [
        "{\"metric\":{\"__name__\":\"hits_total\"},\"values\":[3],\"timestamps\":[9000],\"starts\":[8000],",
        "\"histograms\":[{\"timestamp\":9000,\"count\":1,\"zero_count\":1}]",
        "{\"metric\":{\"__name__\":\"up\",\"job\":\"x\\\"\\n\"},\"values\":[1],\"timestamps\":[1000],\"nans\":[[2000,\"stale\"]]}",
    ] {
        assert!(answer.body.contains(want), "{want} in {}", answer.body);
    }
    let end = answer.body.lines().last().unwrap();
    assert!(end.ends_with("\"end\":{\"series\":16,\"samples\":27,\"histograms\":1,\"chunks_lost\":0}}"), "{end}");
}

#[test]
fn selectors_and_times_narrow_it_and_each_series_comes_once() {
    let server = filled();
    let both = escape("{__name__=~\"lat_sum|up\"}");
    let answer = page(&server, &format!("/api/v1/export?match[]={both}&match[]={both}&match[]=lat_sum&start=1&end=1"));
    let want = [
        (json!({"__name__": "lat_sum", "job": "a"}).to_string(), vec![1_000]),
        (json!({"__name__": "lat_sum", "job": "b"}).to_string(), vec![1_000]),
        (json!({"__name__": "up", "job": "x\"\n"}).to_string(), vec![1_000]),
    ];
    assert_eq!(lines(&answer), want);
    assert_eq!(lines(&page(&server, "/api/v1/export?match[]=nothing")), []);
    let posted = block_on(server.post("/api/v1/export", "match[]=up&end=1"));
    assert_eq!(lines(&posted), [want[2].clone()]);
}

/// A series of many samples comes in lines of some thousands, and none is missing or there twice.
#[test]
fn long_series_come_in_parts() {
    let server = Server::new();
    let count = 100_000;
    for from in (0..count).step_by(5_000) {
        let samples: Vec<_> = (from..from + 5_000).map(|at| (at * 10, 1.0)).collect();
        server.write(&[("__name__", "x")], &samples);
        if from % 20_000 == 0 {
            server.engine.flush().unwrap();
        }
    }
    // Late ones, among those that are in blocks.
    let late: Vec<_> = (0..500).map(|at| (at * 2_000 + 5, 2.0)).collect();
    server.write(&[("__name__", "x")], &late);
    let got = lines(&page(&server, ALL));
    let mut want: Vec<i64> = (0..count).map(|at| at * 10).chain(late.iter().map(|(at, _)| *at)).collect();
    want.sort_unstable();
    assert!(got.len() > 5, "{} lines", got.len());
    let longest = got.iter().map(|(_, times)| times.len()).max().unwrap();
    assert!(longest < 25_000, "a line of {longest} samples");
    assert_eq!(got.into_iter().flat_map(|(_, times)| times).collect::<Vec<_>>(), want);
    let narrow = lines(&page(&server, "/api/v1/export?match[]=x&start=100&end=500.005"));
    want.retain(|at| (100_000..=500_005).contains(at));
    assert_eq!(narrow.into_iter().flat_map(|(_, times)| times).collect::<Vec<_>>(), want);
}

/// A window of summaries is told at its latest sample. One that is late, and waits to be summarised, moves it: over the end of
/// one export into the next, but not into both.
#[test]
fn exports_of_one_time_after_the_other_hold_each_window_once() {
    const HOUR_MS: i64 = 3_600_000;
    const DAY_MS: i64 = 24 * HOUR_MS;
    let start_ms = 16_000 * DAY_MS;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(TimestampMs(start_ms)));
    let rule = LifetimeRule {
        text: "all".to_owned(),
        matchers: vec![],
        raw_ms: Some(DAY_MS),
        steps: vec![LifetimeStep { window_ms: HOUR_MS, keep_ms: None }],
    };
    let options = EngineOptions { retention_ms: None, lifetimes: vec![rule], ..EngineOptions::default() };
    let engine = Engine::open(folder.path(), options, clock.clone()).unwrap();
    let server = Server::over(folder, engine);
    let upkeep = || {
        server.engine.flush().unwrap();
        server.engine.maintain().unwrap();
    };
    for hour in 0..36 {
        clock.set(TimestampMs(start_ms + hour * HOUR_MS));
        let at_ms = [5, 25, 45].map(|minute| (start_ms + hour * HOUR_MS - minute * 60_000, 1.0));
        server.write(&[("__name__", "x")], &at_ms);
        if hour % 6 == 5 {
            upkeep();
        }
    }
    let late_ms = start_ms + 13 * HOUR_MS - 60_000;
    server.write(&[("__name__", "x")], &[(late_ms, 2.0)]);
    clock.advance_ms(2 * DAY_MS);
    let times = |range: &str| -> Vec<i64> {
        lines(&page(&server, &format!("{ALL}{range}"))).into_iter().flat_map(|(_, times)| times).collect()
    };
    let whole = times("");
    // Windows of the days that were over, and the samples of the next.
    assert!(whole.contains(&late_ms) && whole.len() == 25 + 11 * 3, "{whole:?}");
    for cut_ms in [late_ms - 1, late_ms - 120_000, late_ms, late_ms - 5 * 60_000] {
        let seconds = |at_ms: i64| format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
        let before = times(&format!("&end={}", seconds(cut_ms)));
        let after = times(&format!("&start={}", seconds(cut_ms + 1)));
        assert!(before.iter().all(|&at_ms| at_ms <= cut_ms) && after.iter().all(|&at_ms| at_ms > cut_ms));
        assert_eq!([before, after].concat(), whole, "cut at {}", cut_ms - late_ms);
    }
    upkeep();
    assert_eq!(times("")[..25], whole[..25], "and so it stays");
}

#[test]
fn what_breaks_on_the_way_has_no_end() {
    let fixed = Fixed::default().with(&[("__name__", "x"), ("at", "1")], &[(1, 1.0)], &[]);
    let fixed = fixed.with(&[("__name__", "x"), ("at", "2")], &[(1, 1.0)], &[]).breaking();
    let server = Server::with(ServerOptions::default(), Some(fixed.source()));
    for format in ["jsonl", "openmetrics"] {
        let request = Request::get(format!("{ALL}&format={format}")).body(Body::empty()).unwrap();
        let (head, body) = block_on(server.call_raw(request));
        assert_eq!(head.status, 200);
        assert!(body.is_err(), "{format} broke off");
    }
}

#[test]
fn wrong_parameters() {
    let server = Server::new();
    server.check_error("/api/v1/export", 400, "bad_data", "no match[] parameter provided");
    let message = "invalid parameter \"format\": \"csv\" is neither jsonl nor openmetrics";
    server.check_error("/api/v1/export?match[]=up&format=csv", 400, "bad_data", message);
    let message = "invalid parameter \"end\": end timestamp must not be before start time";
    server.check_error("/api/v1/export?match[]=up&start=2&end=1", 400, "bad_data", message);
    assert_eq!(block_on(server.get("/api/v1/export?match[]=%7B%7D")).status, 400);
}
