//! Receivers that others wrote take what the agent sends: a Prometheus that knows version 1.0 and has native histograms
//! switched off, and VictoriaMetrics. Skipped, with a notice, where they are not installed, except in CI.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::config::Config;
use agent::http::Client;
use agent::queue::{Queue, SharedQueue};
use agent::readings::{Metric, Readings};
use agent::send::Outbox;
use agent::send::encode::External;
use agent::send::metadata::SharedMetadata;
use agent::send::protocol::Histograms;
use agent::send::sender::Sender;
use agent::stats::Stats;
use model::histogram::CUSTOM_SCHEMA;
use model::{Bucket, Clock, Histogram, SystemClock};
use parking_lot::Mutex;

/// Longest wait for a program to start or answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn foreign(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{program} must be installed in CI");
    if found.is_none() {
        println!("SKIPPED: {program} is not installed");
    }
    found
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

fn start(program: &Path, args: &[&str], folder: &Path) -> Running {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("the program starts"))
}

/// The values that `expr` gives at `now_ms`, as text, once there are `count` of them.
fn ask(address: &str, expr: &str, now_ms: i64, count: usize) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let client = Client::direct();
    loop {
        let url = format!("http://{address}/api/v1/query?query={expr}&time={}", now_ms / 1000 + 1);
        let page = client.get(&url, "*/*", PATIENCE, 1 << 20);
        let body = page.map(|page| String::from_utf8_lossy(&page.body).into_owned()).unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let empty = Vec::new();
        let result = answer["data"]["result"].as_array().unwrap_or(&empty);
        let mut values: Vec<String> =
            result.iter().filter_map(|series| Some(series["value"][1].as_str()?.to_owned())).collect();
        values.sort();
        if values.len() == count {
            return values;
        }
        assert!(Instant::now() < until, "{expr}: {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a counter, a gauge and a histogram of each kind to `url`, then the end of one of them.
fn send(url: &str, folder: &Path, histograms: Histograms) -> (Arc<Stats>, i64) {
    let mut config = Config::default();
    url.clone_into(&mut config.push.url);
    config.push.histograms = histograms;
    config.push.backoff_min_ms = 20;
    config.queue.folder = folder.join("queue");
    let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&config.queue).expect("opens")));
    let (metadata, stats) = (SharedMetadata::default(), Arc::new(Stats::default()));
    let outbox = Outbox::new(Arc::clone(&queue), Arc::clone(&metadata), External::default(), 100, Arc::clone(&stats));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut sender = Sender::new(queue, metadata, &config.push, Arc::clone(&clock), Arc::clone(&stats));
    let now_ms = clock.now().0;
    let mut readings = Readings::new(now_ms);
    readings.set_target([("job", "api")]);
    readings.set_start(now_ms - 5_000);
    readings.push(&Metric::counter("n_total", "N."), &[], 7.0);
    readings.push(&Metric::gauge("g", "G."), &[], 2.5);
    let bucket = |index, count| Bucket { index, count };
    let custom = Histogram {
        schema: CUSTOM_SCHEMA,
        count: 4.0,
        sum: 1.5,
        positive: vec![bucket(0, 1.0), bucket(1, 2.0), bucket(2, 1.0)],
        custom_bounds: vec![0.25, 0.5],
        ..Histogram::default()
    };
    readings.push_histogram(&Metric::histogram("waits_seconds", "Waits."), &[], custom);
    let exponential =
        Histogram { count: 3.0, sum: 4.0, positive: vec![bucket(1, 2.0), bucket(2, 1.0)], ..Histogram::default() };
    readings.push_histogram(&Metric::histogram("sizes_bytes", "Sizes."), &[], exponential);
    outbox.submit(&readings);
    assert!(sender.flush(PATIENCE), "all went out: {stats:?}");
    (stats, now_ms)
}

#[test]
fn prometheus_of_version_1_gets_everything_it_knows() {
    let Some(prometheus) = foreign("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), "").expect("written");
    let address = free_address();
    let listen = format!("--web.listen-address={address}");
    let args =
        ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-remote-write-receiver", &listen];
    let _running = start(&prometheus, &args, folder.path());
    ask(&address, "vector(1)", 0, 1);
    let (stats, now_ms) = send(&format!("http://{address}/api/v1/write"), folder.path(), Histograms::Native);
    assert_eq!([stats.samples_sent.get(), stats.samples_rejected.get(), stats.retries.get()], [4, 0, 0]);
    let ask = |expr, count| ask(&address, expr, now_ms, count);
    assert_eq!(ask("n_total", 1), ["7"]);
    assert_eq!(ask("g", 1), ["2.5"]);
    assert_eq!(ask("waits_seconds_bucket", 3), ["1", "3", "4"]);
    assert_eq!(ask("waits_seconds_sum", 1), ["1.5"]);
    // Newer ones take native histograms; this one may say that it has them switched off.
    let version = Command::new(&prometheus).arg("--version").output().expect("it runs");
    let version = [version.stdout, version.stderr].concat();
    if String::from_utf8_lossy(&version).starts_with("prometheus, version 2.") {
        assert_eq!(ask("sizes_bytes_count", 1), ["3"]);
        assert_eq!(ask("sizes_bytes_bucket", 4), ["0", "2", "3", "3"]);
    } else {
        assert_eq!(ask("histogram_count(sizes_bytes)", 1), ["3"]);
    }
}

#[test]
fn victoria_metrics_gets_classic_histograms() {
    let Some(victoria) = foreign("victoria-metrics") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let listen = format!("-httpListenAddr={address}");
    let args = ["-storageDataPath=data", &listen, "-search.latencyOffset=0s"];
    let _running = start(&victoria, &args, folder.path());
    ask(&address, "vector(1)", 0, 1);
    let (stats, now_ms) = send(&format!("http://{address}/api/v1/write"), folder.path(), Histograms::Classic);
    assert_eq!([stats.samples_sent.get(), stats.samples_rejected.get()], [4, 0]);
    let ask = |expr, count| ask(&address, expr, now_ms, count);
    assert_eq!(ask("n_total", 1), ["7"]);
    assert_eq!(ask("waits_seconds_bucket", 3), ["1", "3", "4"]);
    assert_eq!(ask("sizes_bytes_bucket", 4), ["0", "2", "3", "3"]);
}
