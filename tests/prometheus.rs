//! A real Prometheus writes into MetricKit, promtool asks it, and both give the same answers for the same instants;
//! another one without samples of its own reads them from MetricKit.
//!
//! `METRICKIT_SOAK_SECONDS` sets how long Prometheus writes (short by default, `make soak` takes ten minutes).

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "times are far below 2^52 ms; equal values are meant to be equal"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::remote_write::TimeSeries;
use serde_json::Value;
use support::{
    PATIENCE, Running, Server, escape, foreign, free_address, http, now_ms, read, request, series, terminate, wait,
};

/// Queries whose answers must be equal. `rate` only of counters far above zero: where a scrape is missing at the start
/// of the range, Prometheus 3 (and we) extrapolate a young counter less far than Prometheus 2 does.
const QUERIES: [&str; 12] = [
    "{__name__=~\".+\"}",
    "up",
    "rate(node_cpu_seconds_total{mode=~\"idle|system|user\"}[10s])",
    "sum by (job) (go_goroutines)",
    "topk(3, go_memstats_heap_alloc_bytes)",
    "histogram_quantile(0.9, sum by (le) (prometheus_http_request_duration_seconds_bucket))",
    "avg_over_time(go_goroutines[8s])",
    "max_over_time(go_memstats_heap_alloc_bytes[8s]) - min_over_time(go_memstats_heap_alloc_bytes[8s])",
    "count by (__name__) ({job=\"prometheus\"})",
    "go_memstats_heap_inuse_bytes / on (instance, job) go_memstats_heap_sys_bytes",
    "quantile_over_time(0.5, process_resident_memory_bytes[10s])",
    "rate(go_gc_duration_seconds_count[10s]) > bool 0",
];

fn start(program: &Path, args: &[&str], folder: &Path) -> Running {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("the program starts"))
}

/// The result of a query, by labels: the sample strings.
fn ask(url: &str, path: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
    let answer = read(http().get(format!("{url}{path}")).call());
    assert_eq!(answer.status, 200, "{url}{path}: {}", answer.body);
    let result = answer.json()["data"]["result"].take();
    let point = |pair: &Value| {
        let ms = (pair[0].as_f64().expect("a time") * 1000.0).round() as i64;
        (ms, pair[1].as_str().expect("a value").parse().expect("a number"))
    };
    let points = |element: &Value| match element.get("values") {
        Some(values) => values.as_array().expect("points").iter().map(point).collect(),
        None => vec![point(&element["value"])],
    };
    result
        .as_array()
        .expect("elements")
        .iter()
        .map(|element| (element["metric"].to_string(), points(element)))
        .collect()
}

#[track_caller]
fn assert_same(ours: &BTreeMap<String, Vec<(i64, f64)>>, theirs: &BTreeMap<String, Vec<(i64, f64)>>, what: &str) {
    let keys = |answer: &BTreeMap<String, Vec<(i64, f64)>>| answer.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(ours), keys(theirs), "{what}");
    for (labels, points) in theirs {
        let same = |&((at, a), (bt, b)): &((i64, f64), (i64, f64))| {
            at == bt && (a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()))
        };
        let pairs: Vec<_> = ours[labels].iter().copied().zip(points.iter().copied()).collect();
        assert_eq!(ours[labels].len(), points.len(), "{what} {labels}");
        assert!(pairs.iter().all(same), "{what} {labels}: {pairs:?}");
    }
}

/// The latest end up to `end_ms` of which no window begins exactly on a scrape, which are a second apart: before version
/// 3 Prometheus counted a sample there. `scrapes` are times in seconds, by target.
fn off_the_scrapes(end_ms: i64, scrapes: &BTreeMap<String, Vec<(i64, f64)>>) -> i64 {
    let of = |&(_, at_s): &(i64, f64)| (at_s * 1000.0).round() as i64 % 1000;
    let offsets: Vec<i64> = scrapes.values().flatten().map(of).collect();
    let is_free = |end_ms: &i64| {
        let steps = (0..=5).map(|step| end_ms - 10_000 + step * 1_700);
        steps.chain([*end_ms]).all(|at_ms| !offsets.contains(&(at_ms % 1000)))
    };
    (end_ms - 999..=end_ms).rev().find(is_free).expect("few targets")
}

#[test]
fn prometheus_writes_and_promtool_reads() {
    let (Some(prometheus), Some(exporter), Some(promtool)) =
        (foreign("prometheus"), foreign("prometheus-node-exporter"), foreign("promtool"))
    else {
        return;
    };
    let seconds: u64 = std::env::var("METRICKIT_SOAK_SECONDS").map_or(20, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("ours"), &[]);
    let (prometheus_address, exporter_address) = (free_address(), free_address());
    let _exporter = start(&exporter, &["--web.listen-address", &exporter_address], folder.path());
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: prometheus\n  static_configs:\n  - targets: ['{prometheus_address}']\n\
         - job_name: node\n  static_configs:\n  - targets: ['{exporter_address}']\n\
         remote_write:\n- url: {}/api/v1/write\n  queue_config:\n    batch_send_deadline: 1s\n",
        server.url
    );
    let config_file = folder.path().join("prometheus.yml");
    std::fs::write(&config_file, config).expect("a file can be written");
    let mut theirs = start(
        &prometheus,
        &[
            "--config.file",
            config_file.to_str().expect("a UTF-8 path"),
            "--storage.tsdb.path",
            folder.path().join("theirs").to_str().expect("a UTF-8 path"),
            "--web.listen-address",
            &prometheus_address,
        ],
        folder.path(),
    );
    let theirs_url = format!("http://{prometheus_address}");
    std::thread::sleep(Duration::from_secs(seconds));

    // Behind both servers' newest samples, so that no scrape or push under way can differ.
    let until = Instant::now() + PATIENCE;
    let end_ms = now_ms();
    while ask(&server.url, &format!("/api/v1/query?query=up&time={}", now_ms() / 1000)).is_empty() {
        assert!(Instant::now() < until, "nothing of Prometheus arrives");
    }
    std::thread::sleep(Duration::from_secs(4));
    let end_ms = off_the_scrapes(end_ms - 500, &ask(&theirs_url, "/api/v1/query?query=timestamp(up)"));
    let end = format!("{:.3}", end_ms as f64 / 1000.0);
    let start_s = format!("{:.3}", end_ms as f64 / 1000.0 - 10.0);
    let mut compared = 0;
    for query in QUERIES {
        let instant = format!("/api/v1/query?query={}&time={end}", escape(query));
        let expected = ask(&theirs_url, &instant);
        compared += expected.len();
        assert_same(&ask(&server.url, &instant), &expected, query);
        let range = format!("/api/v1/query_range?query={}&start={start_s}&end={end}&step=1.7", escape(query));
        assert_same(&ask(&server.url, &range), &ask(&theirs_url, &range), query);
    }
    println!("{seconds} s of writing; {compared} elements of {} queries equal Prometheus's own", QUERIES.len());
    assert!(compared > 500, "the comparison is not about nothing: {compared}");

    let failed = "sum(prometheus_remote_storage_samples_failed_total) + sum(prometheus_remote_storage_samples_dropped_total) \
                  + sum(prometheus_remote_storage_samples_retried_total)";
    let failed = ask(&theirs_url, &format!("/api/v1/query?query={}", escape(failed)));
    let failed: f64 = failed.values().map(|points| points[0].1).sum();
    assert_eq!(failed, 0.0, "samples failed, dropped or retried");
    let sent = ask(&theirs_url, "/api/v1/query?query=sum(prometheus_remote_storage_samples_total)");
    println!("{} samples sent, none failed, dropped or retried", sent.values().map(|points| points[0].1).sum::<f64>());

    for args in [
        &["query", "instant", &server.url, "sum(up)"][..],
        &["query", "range", "--start", &start_s, "--end", &end, "--step", "2s", &server.url, "go_goroutines"],
        &["query", "series", "--match", "up", &server.url],
        &["query", "labels", &server.url, "job"],
    ] {
        let output = Command::new(&promtool).args(args).output().expect("promtool runs");
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args:?}: {out} {}", String::from_utf8_lossy(&output.stderr));
        assert!(!out.trim().is_empty(), "{args:?} answers");
    }
    terminate(theirs.0.id());
    wait(&mut theirs.0);
    assert!(server.stop().0.success());
}

/// Queries over what was read from us. Of floats alone: Prometheus 2.42 leaves native histograms of an answer out.
const READ_QUERIES: [&str; 7] = [
    "level",
    "sum by (room) (level)",
    "rate(served_total[20s])",
    "max_over_time(level{room=~\"[a-c]\"}[15s]) - level",
    "count_over_time(gone[20s])",
    "gone",
    "label_replace(level, \"hall\", \"$1\", \"room\", \"(.*)\")",
];

/// A minute of gauges, of a counter and of a series that went stale, half a second off the times that are asked for:
/// Prometheus 2 counts a sample at the start of a range in, Prometheus 3 (and we) do not.
fn to_be_read(first_ms: i64) -> Vec<TimeSeries> {
    let times = || (0..60).map(move |at| (first_ms + at * 1000 + 500, at as f64));
    let level = |room: &str, factor: f64| {
        let samples: Vec<_> = times().map(|(at_ms, at)| (at_ms, (at * factor).sin())).collect();
        series(&[("__name__", "level"), ("room", room)], &samples)
    };
    let served: Vec<_> = times().map(|(at_ms, at)| (at_ms, 1e6 + at * 7.0)).collect();
    let mut gone: Vec<_> = times().take(30).collect();
    gone.push((first_ms + 30_500, f64::from_bits(0x7ff0_0000_0000_0002)));
    vec![
        level("a", 0.1),
        level("b", 0.2),
        level("d", 0.3),
        series(&[("__name__", "served_total")], &served),
        series(&[("__name__", "gone")], &gone),
    ]
}

#[test]
fn prometheus_reads_and_answers_as_we_do() {
    let Some(prometheus) = foreign("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("ours"), &[]);
    let first_ms = (now_ms() / 1000 - 120) * 1000;
    let answer = server.write(&request(to_be_read(first_ms)));
    assert_eq!(answer.status, 204, "{}", answer.body);
    let address = free_address();
    let config_file = folder.path().join("prometheus.yml");
    let config = format!("remote_read:\n- url: {}/api/v1/read\n  read_recent: true\n", server.url);
    std::fs::write(&config_file, config).expect("a file can be written");
    let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
    let (config_file, tsdb) = (text(&config_file), text(&folder.path().join("theirs")));
    let args = ["--config.file", &*config_file, "--storage.tsdb.path", &*tsdb, "--web.listen-address", &*address];
    let _theirs = start(&prometheus, &args, folder.path());
    let theirs_url = format!("http://{address}");
    let until = Instant::now() + PATIENCE;
    while !http().get(format!("{theirs_url}/-/ready")).call().is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < until, "Prometheus does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut compared = 0;
    for query in READ_QUERIES {
        let (start_s, end_s) = (first_ms / 1000 + 20, first_ms / 1000 + 60);
        for path in [
            format!("/api/v1/query?query={}&time={}", escape(query), first_ms / 1000 + 45),
            format!("/api/v1/query_range?query={}&start={start_s}&end={end_s}&step=1", escape(query)),
        ] {
            let ours = ask(&server.url, &path);
            compared += ours.values().map(Vec::len).sum::<usize>();
            assert_same(&ours, &ask(&theirs_url, &path), &path);
        }
    }
    println!("{compared} points of {} queries equal those of a Prometheus that read them", READ_QUERIES.len());
    assert!(compared > 400, "the comparison is not about nothing: {compared}");
}
