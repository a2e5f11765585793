//! Limits just under and just over, each named in its error; a full disk; stopping under load.

#![expect(clippy::cast_precision_loss, reason = "values are small numbers")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{
    Answer, PATIENCE, REMOTE_WRITE_HEADERS, Running, Server, binary, body, escape, http, now_ms, request, run, series,
    try_post,
};

#[test]
fn label_limits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &["--retention", "off"]);
    let write = |name: &str, value: &str| {
        let good = series(&[("__name__", "good")], &[(1, 1.0)]);
        server.write(&request(vec![series(&[("__name__", "x"), (name, value)], &[(1, 1.0)]), good]))
    };
    let limits = model::LabelLimits::default();
    let (name, value) = ("n".repeat(limits.name_bytes_max), "v".repeat(limits.value_bytes_max));
    assert_eq!(write(&name, "v").status, 204);
    assert_eq!(write("n", &value).status, 204);
    let over = write(&format!("{name}n"), "v");
    assert_eq!(over.status, 400);
    assert!(over.body.contains(&limits.name_bytes_max.to_string()), "{}", over.body);
    let over = write("n", &format!("{value}v"));
    assert_eq!(over.status, 400);
    assert!(over.body.contains(&limits.value_bytes_max.to_string()), "{}", over.body);
    assert_eq!(server.query("good", "1")[0]["value"][1], json!("1"), "the rest of such a request is kept");
    for (labels, word) in [
        (vec![("__name__", "x"), ("", "v")], "empty"),
        (vec![("__name__", "x"), ("a", "1"), ("a", "2")], "twice"),
        (vec![("a", "1")], "no metric name"),
    ] {
        let answer = server.write(&request(vec![series(&labels, &[(1, 1.0)])]));
        assert_eq!(answer.status, 400, "{labels:?}: {}", answer.body);
        assert!(answer.body.contains(word), "{labels:?}: {}", answer.body);
    }
}

#[test]
fn retention_and_the_future() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &["--retention", "30d"]);
    let write = |ms: i64| server.write(&request(vec![series(&[("__name__", "x")], &[(ms, 1.0)])]));
    let day_ms = 86_400_000;
    assert_eq!(write(now_ms() - 29 * day_ms).status, 204);
    assert_eq!(write(now_ms() + 1_000).status, 204);
    for ms in [now_ms() - 31 * day_ms, 0, -1, now_ms() + 400 * day_ms, i64::MAX, i64::MIN] {
        let answer = write(ms);
        assert_eq!(answer.status, 400, "{ms}: {}", answer.body);
        assert!(answer.body.contains(&ms.to_string()), "the error names the time {ms}: {}", answer.body);
    }
}

#[test]
fn bodies_over_the_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &["--retention", "off"]);
    let answer =
        server.post("/api/v1/import/prometheus", &[("Content-Type", "text/plain")], &vec![b'x'; (16 << 20) + 1]);
    assert_eq!(answer.status, 413, "{}", answer.body);
    // A bomb: a gigabyte of zeros in a megabyte of gzip.
    let bomb = Command::new("sh")
        .args(["-c", "head -c 1000000000 /dev/zero | gzip -1 -c"])
        .output()
        .expect("gzip runs")
        .stdout;
    let headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")];
    let answer = server.post("/api/v1/import/prometheus", &headers, &bomb);
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(answer.body.chars().any(|c| c.is_ascii_digit()), "the error names the limit: {}", answer.body);
    assert_eq!(server.get("/-/healthy").status, 200);
}

#[test]
fn query_limits_end_the_query_not_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &["--retention", "off", "--query-samples-max", "1000"]);
    let samples: Vec<(i64, f64)> = (0..1000).map(|at| (at * 1000, 1.0)).collect();
    assert_eq!(server.write(&request(vec![series(&[("__name__", "x")], &samples)])).status, 204);
    let count = || server.get("/api/v1/query?query=count_over_time(x%5B1h%5D)&time=1001");
    assert_eq!(count().status, 200, "{}", count().body);
    assert_eq!(server.write(&request(vec![series(&[("__name__", "x")], &[(1_000_000, 1.0)])])).status, 204);
    let over = count();
    assert_eq!(over.status, 422, "{}", over.body);
    assert!(over.body.contains("1000"), "the error names the limit: {}", over.body);
    assert_eq!(server.query("x", "1001")[0]["value"][1], json!("1"), "the server goes on");
}

/// Queries that need too much memory, several at a time, while a writer goes on.
#[test]
fn a_query_over_its_memory_ends_and_writes_go_on() {
    const SERIES: usize = 100;
    const SAMPLES: i64 = 500;
    const QUERIES: usize = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let limits = ["--query-bytes-max", "1MiB", "--query-all-bytes-max", "1536KiB", "--query-threads", "4"];
    let server = Server::start(folder.path(), &[["--retention", "off"].as_slice(), &limits].concat());
    let all = (0..SERIES).map(|at| {
        let samples: Vec<_> = (0..SAMPLES).map(|n| (n * 1000, n as f64)).collect();
        series(&[("__name__", "wide"), ("at", &at.to_string())], &samples)
    });
    assert_eq!(server.write(&request(all.collect())).status, 204);
    // A hundred series of a thousand steps are 1.6 MB, which one query may not hold; a number a step is next to nothing.
    let range = |expr: &str| format!("/api/v1/query_range?query={}&start=0&end=499&step=0.5", escape(expr));
    let (too_much, little) = (range("wide * 2"), range("sum(wide)"));
    let (stop, newest) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        let _stop_on_panic = SetOnDrop(&stop);
        let writer = scope.spawn(|| {
            let (http, url) = (http(), format!("{}/api/v1/write", server.url));
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let one = request(vec![series(&[("__name__", "live")], &[(number, number as f64)])]);
                let answer = support::read(try_post(&http, &url, &REMOTE_WRITE_HEADERS, &body(&one)));
                assert_eq!(answer.status, 204, "{}", answer.body);
                newest.store(number, Ordering::SeqCst);
            }
            number
        });
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..QUERIES {
                        let over = server.get(&too_much);
                        assert_eq!(over.status, 422, "{}", over.body);
                        let error = over.json()["error"].to_string();
                        // An eighth of 1536 KiB is kept for rules.
                        let (own, together) = ("1048576 bytes of memory", "1376256 bytes of memory for all queries");
                        assert!(error.contains(own) || error.contains(together), "{error}");
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.join().expect("every query was refused");
        }
        // What was refused gave back all it had.
        let one = server.get(&too_much).json()["error"].to_string();
        assert!(one.contains("more than 1048576 bytes of memory, which is the limit"), "{one}");
        let before = newest.load(Ordering::SeqCst);
        for _ in 0..QUERIES {
            let answer = server.get(&little);
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let until = Instant::now() + PATIENCE;
        while newest.load(Ordering::SeqCst) < before + 10 {
            assert!(Instant::now() < until && !writer.is_finished(), "writes go on");
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::SeqCst);
        let written = writer.join().expect("every write was acknowledged");
        let kept = server.query("count_over_time(live[1h])", "3600");
        assert_eq!(kept[0]["value"][1], json!(written.to_string()));
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn stopping_under_load_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &["--retention", "off"]);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
    let url = format!("{}/api/v1/write", server.url);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let http = http();
            for number in 1.. {
                let one = request(vec![series(&[("__name__", "x")], &[(number, number as f64)])]);
                match try_post(&http, &url, &REMOTE_WRITE_HEADERS, &body(&one)) {
                    Ok(answer) if answer.status() == 204 => acknowledged.store(number, Ordering::SeqCst),
                    Ok(answer) => assert_eq!(answer.status(), 503, "a stopping server says so"),
                    Err(_) => return,
                }
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        let (status, _) = server.stop();
        assert!(status.success(), "a clean stop exits with 0, not {status}");
        assert!(began.elapsed() < PATIENCE);
        stop.store(true, Ordering::SeqCst);
        writer.join().expect("the writer ends");
    });
    let kept = acknowledged.load(Ordering::SeqCst);
    assert!(kept > 0, "something was written before the stop");
    let again = Server::start(folder.path(), &["--retention", "off"]);
    let count = again.query("count_over_time(x[1h])", "60");
    let count: i64 = count[0]["value"][1].as_str().and_then(|c| c.parse().ok()).expect("a number");
    assert!(count == kept || count == kept + 1, "{count} kept of {kept} acknowledged");
}

/// A small file system of its own, in memory, if there is the right to mount one; says so if not.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn small_disk(mib: u32) -> Option<(tempfile::TempDir, Unmount)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let size = format!("size={mib}m");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no right to mount a small file system");
        return None;
    }
    let unmount = Unmount(folder.path().to_owned());
    Some((folder, unmount))
}

/// Writes batches of 10,000 samples that do not become small.
struct Filler(fastrand::Rng);

impl Filler {
    fn write(&mut self, server: &Server, number: i64) -> Answer {
        let all = (0..200).map(|at| {
            let samples: Vec<_> = (0..50).map(|k| (number * 50 + k, self.0.f64())).collect();
            series(&[("__name__", "fill"), ("at", &at.to_string())], &samples)
        });
        server.write(&request(all.collect()))
    }

    /// Tries until the batch is taken.
    fn write_once_there_is_room(&mut self, server: &Server, number: i64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.write(server, number);
            if answer.status == 204 {
                return;
            }
            assert!(Instant::now() < until, "writes resume without a restart: {}", answer.body);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// So many batches are there, as one of their series tells.
    #[track_caller]
    fn check(server: &Server, batches: i64) {
        let kept = server.query("count_over_time(fill{at=\"7\"}[1h])", "3000");
        assert_eq!(kept[0]["value"][1], json!((batches * 50).to_string()));
    }
}

/// The reserve is kept, and the reason told.
#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let Some((folder, unmount)) = small_disk(24) else { return };
    let server = Server::start(&folder.path().join("data"), &["--retention", "off", "--disk-reserve-bytes", "4MiB"]);
    let mut filler = Filler(fastrand::Rng::with_seed(11));
    let mut acknowledged = 0;
    let refused = loop {
        let answer = filler.write(&server, acknowledged);
        if answer.status != 204 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 5_000, "24 MiB are never full");
    };
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.retry_after.is_some(), "a full disk asks to try again");
    assert!(refused.body.contains("full"), "{}", refused.body);
    Filler::check(&server, acknowledged);
    // Space returns.
    let remounted =
        Command::new("mount").args(["-o", "remount,size=64m"]).arg(folder.path()).status().expect("mount runs");
    assert!(remounted.success());
    filler.write_once_there_is_room(&server, acknowledged);
    acknowledged += 1;
    server.kill();
    let again = Server::start(&folder.path().join("data"), &["--retention", "off"]);
    Filler::check(&again, acknowledged);
    drop(again);
    drop(unmount);
}

/// Others take the last byte, reserve and all: blocks cannot be written, nothing of the catalog changed. Nothing is lost, and when
/// there is room again all goes on.
#[test]
fn a_disk_that_others_fill_to_the_last_byte_costs_nothing() {
    let Some((folder, unmount)) = small_disk(32) else { return };
    let data = folder.path().join("data");
    // A flush is due all the time, and cannot be done.
    let server =
        Server::start(&data, &["--retention", "off", "--disk-reserve-bytes", "1MiB", "--flush-log-bytes", "1MiB"]);
    let mut filler = Filler(fastrand::Rng::with_seed(12));
    let (before, ballast) = (30, folder.path().join("ballast"));
    (0..before).for_each(|number| filler.write_once_there_is_room(&server, number));
    let mut file = std::fs::File::create(&ballast).expect("a file");
    let piece = vec![1; 4096];
    let full = (0..10_000).find_map(|_| std::io::Write::write_all(&mut file, &piece).err()).expect("no room at last");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let refused = filler.write(&server, before);
    assert!(
        refused.status == 503 && refused.retry_after.is_some() && refused.body.contains("full"),
        "{}",
        refused.body
    );
    for path in ["flush", "merge", "tsdb/delete_series?match[]=fill&start=0&end=1"] {
        let answer = server.post(&format!("/api/v1/admin/{path}"), &[], &[]);
        assert!(answer.status >= 500 && answer.body.contains("full"), "{path}: {} {}", answer.status, answer.body);
    }
    let is_poisoned = |server: &Server| server.get("/metrics").body.lines().any(|line| line == "metrickit_poisoned 1");
    assert!(!is_poisoned(&server));
    Filler::check(&server, before);
    std::fs::remove_file(&ballast).expect("removed");
    drop(file);
    filler.write_once_there_is_room(&server, before);
    let flushed = server.post("/api/v1/admin/flush", &[], &[]);
    assert_eq!(flushed.status, 200, "{}", flushed.body);
    Filler::check(&server, before + 1);
    assert!(!is_poisoned(&server));
    server.kill();
    let (code, out, err) = run(&["check", data.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
    Filler::check(&Server::start(&data, &["--retention", "off"]), before + 1);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

/// New series beyond the limits of their metric and agent are refused with the name of the label to blame, the rest is taken.
#[test]
fn series_of_a_metric_and_of_an_agent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args = ["--retention", "off", "--series-per-metric-max", "50", "--series-per-agent-max", "55"];
    let server = Server::start(folder.path(), &args);
    let paths = |server: &Server, numbers: std::ops::Range<usize>, host: &str| {
        let requests = numbers.map(|at| {
            let path = format!("/users/{at}");
            series(&[("__name__", "http_requests_total"), ("instance", host), ("path", &path)], &[(1, 1.0)])
        });
        let good = series(&[("__name__", "good"), ("instance", host)], &[(1, 1.0)]);
        server.write(&request(requests.chain([good]).collect()))
    };
    let full = "metric \"http_requests_total\" has 50 series (series_per_metric_max = 50); label \"path\" has 50 values; not taken: ";
    let answer = paths(&server, 0..60, "web1/0");
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.starts_with("10 samples or metadata were not taken")
            && answer.body.contains("51 samples were taken")
    );
    assert!(answer.body.contains(full) && answer.body.contains("path=\"/users/59\""), "{}", answer.body);
    assert_eq!(paths(&server, 0..50, "web1/0").status, 204, "what is known is taken");
    let count = |server: &Server, expr: &str| server.query(&format!("count({expr})"), "1")[0]["value"][1].clone();
    assert_eq!((count(&server, "http_requests_total"), count(&server, "good")), (json!("50"), json!("1")));
    let metrics = server.get("/metrics").body;
    for line in [
        "metrickit_series_limit_rejected_samples_total{limit=\"series_per_metric_max\"} 10",
        "metrickit_ingest_rejected_total{reason=\"metric_series_limit\"} 10",
        "metrickit_series_limit_used{limit=\"series_per_metric_max\"} 50",
        "metrickit_series_limit_full{limit=\"series_per_metric_max\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // A killed server counts the same when it is back, and a delete makes room.
    server.kill();
    let server = Server::start(folder.path(), &args);
    assert!(paths(&server, 50..51, "web2").body.contains(full));
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=http_requests_total";
    assert_eq!(server.post(delete, &[], b"").status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", &[], b"").status, 204);
    assert_eq!(paths(&server, 60..100, "web2").status, 204);
    assert_eq!(count(&server, "http_requests_total"), json!("40"));

    // An agent tells in its log what of it was not taken.
    let mut agent = binary()
        .args(["agent", "--receive-socket", "", "--host", "web3", "--go-discover=false", "--poll-interval", "100ms"])
        .args(["--push-url", &format!("{}/api/v1/write", server.url), "--queue-folder"])
        .arg(folder.path().join("queue"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("the agent starts");
    let lines = BufReader::new(agent.0.stderr.take().expect("stderr is piped")).lines();
    let refused = lines.map_while(Result::ok).find(|line| line.contains("refused"));
    let refused = refused.expect("the agent tells of it");
    assert!(refused.contains("web3") && refused.contains("has 55 series (series_per_agent_max = 55)"), "{refused}");
    let now = server.query("count({instance=\"web3\"})", &(now_ms() / 1000).to_string());
    assert_eq!(now[0]["value"][1], json!("55"));
}
