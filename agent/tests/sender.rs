//! The sender against a receiver that refuses, delays and comes back.

mod support;

use std::sync::Arc;
use std::time::Duration;

use agent::config::Config;
use agent::queue::{Queue, SharedQueue};
use agent::readings::{Metric, Readings};
use agent::send::Outbox;
use agent::send::encode::External;
use agent::send::metadata::SharedMetadata;
use agent::send::sender::Sender;
use agent::stats::Stats;
use model::{ManualClock, TimestampMs};
use parking_lot::Mutex;
use support::Receiver;

struct Rig {
    queue: SharedQueue,
    outbox: Outbox,
    sender: Sender,
    stats: Arc<Stats>,
}

fn rig(url: &str, folder: &std::path::Path) -> Rig {
    let mut config = Config::default();
    url.clone_into(&mut config.push.url);
    config.push.backoff_min_ms = 10;
    config.push.backoff_max_ms = 20;
    config.push.samples_max = 4;
    "hush".clone_into(&mut config.push.token);
    folder.clone_into(&mut config.queue.folder);
    let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&config.queue).expect("opens")));
    let (metadata, stats) = (SharedMetadata::default(), Arc::new(Stats::default()));
    let outbox = Outbox::new(Arc::clone(&queue), Arc::clone(&metadata), External::default(), 1, Arc::clone(&stats));
    let sender = Sender::new(
        Arc::clone(&queue),
        metadata,
        &config.push,
        Arc::new(ManualClock::new(TimestampMs(10))),
        Arc::clone(&stats),
    );
    Rig { queue, outbox, sender, stats }
}

const METRIC: Metric = Metric::counter("n", "Numbers.");

/// Queues one sample for each number, as one record.
fn submit(rig: &Rig, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let mut readings = Readings::new(number);
        readings.push(&METRIC, &[], f64::from(i32::try_from(number).expect("small")));
        rig.outbox.submit(&readings);
    }
}

/// Runs ten samples against `answers`; returns the times that arrived, and what was counted: sent, rejected, retries.
fn run(answers: &[(u16, &'static str)]) -> (Vec<i64>, [u64; 3], Receiver) {
    let (receiver, folder) = (Receiver::start(answers), tempfile::tempdir().expect("a folder"));
    let mut rig = rig(&receiver.url, folder.path());
    submit(&rig, 0..10);
    assert!(rig.sender.flush(Duration::from_secs(50)), "all went out");
    let times = receiver.taken().iter().map(|sample| sample.timestamp_ms).collect();
    let stats = &rig.stats;
    (times, [stats.samples_sent.get(), stats.samples_rejected.get(), stats.retries.get()], receiver)
}

#[test]
fn a_good_receiver_gets_everything_in_order() {
    let (times, counts, receiver) = run(&[]);
    assert_eq!(times, (0..10).collect::<Vec<_>>());
    assert_eq!(counts, [10, 0, 0]);
    let sizes: Vec<_> = receiver.requests().iter().map(|(_, samples, _)| *samples).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let head = receiver.requests()[0].2.clone();
    for line in ["content-encoding: snappy", "x-prometheus-remote-write-version: 0.1.0", "authorization: bearer hush"] {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn what_passes_is_repeated() {
    for answers in [[(500, ""), (503, "Retry-After: 0\r\n")], [(429, ""), (502, "")], [(401, ""), (404, "")]] {
        let (times, counts, _) = run(&answers);
        assert_eq!(times, (0..10).collect::<Vec<_>>(), "{answers:?}");
        assert_eq!(counts, [10, 0, 2], "{answers:?}");
    }
}

#[test]
fn what_is_refused_for_good_is_dropped_and_counted() {
    for status in [400, 409, 422] {
        let (times, counts, _) = run(&[(204, ""), (status, "")]);
        assert_eq!(times, [0, 1, 2, 3, 8, 9], "{status}");
        assert_eq!(counts, [6, 4, 0], "{status}");
    }
}

#[test]
fn what_is_too_large_is_halved() {
    let (times, counts, receiver) = run(&[(413, ""), (413, "")]);
    assert_eq!(times, (0..10).collect::<Vec<_>>());
    assert_eq!(counts, [10, 0, 0]);
    let sizes: Vec<_> = receiver.requests().iter().map(|(_, samples, _)| *samples).take(3).collect();
    assert_eq!(sizes, [4, 2, 1]);
}

#[test]
fn a_receiver_that_is_away_and_an_agent_that_restarts() {
    let (receiver, folder) = (Receiver::start(&[(204, ""), (500, "")]), tempfile::tempdir().expect("a folder"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", nobody.local_addr().expect("bound"));
    drop(nobody);
    let mut first = rig(&url, folder.path());
    submit(&first, 0..6);
    assert!(!first.sender.flush(Duration::from_millis(50)), "nobody is there");
    assert!(first.stats.retries.get() > 0);
    drop(first);
    let mut second = rig(&receiver.url, folder.path());
    submit(&second, 6..10);
    assert!(second.sender.flush(Duration::from_secs(50)));
    drop(second);
    let third = rig(&receiver.url, folder.path());
    assert_eq!(third.queue.lock().state().samples_waiting, 0);
    let times: Vec<_> = receiver.taken().iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(times, (0..10).collect::<Vec<_>>(), "in order, each once");
}

#[test]
fn a_receiver_of_2_0_gets_it_at_once_and_metadata_with_the_series() {
    let receiver = Receiver::start_version(&[], true);
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = rig(&receiver.url, folder.path());
    submit(&rig, 0..10);
    assert!(rig.sender.flush(Duration::from_secs(50)), "all went out");
    let times: Vec<_> = receiver.taken().iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(times, (0..10).collect::<Vec<_>>());
    let head = receiver.requests()[0].2.clone();
    for line in ["proto=io.prometheus.write.v2.request", "x-prometheus-remote-write-version: 2.0.0", "bearer hush"] {
        assert!(head.contains(line), "{head}");
    }
    assert_eq!(rig.stats.samples_sent.get(), 10);
    assert_eq!(receiver.metadata(), ["n"; 4], "on the series of the first request, and not again so soon");
}

#[test]
fn what_a_receiver_of_2_0_says_it_wrote_is_counted() {
    const SOME: &str = "X-Prometheus-Remote-Write-Samples-Written: 3\r\n";
    let receiver = Receiver::start_version(&[(400, SOME), (503, "")], true);
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = rig(&receiver.url, folder.path());
    submit(&rig, 0..10);
    assert!(rig.sender.flush(Duration::from_secs(50)), "all went out");
    let stats = &rig.stats;
    assert_eq!([stats.samples_sent.get(), stats.samples_rejected.get(), stats.retries.get()], [9, 1, 1]);
}

#[test]
fn a_receiver_of_1_0_is_asked_once_and_then_spoken_to_as_it_knows() {
    let (_, counts, receiver) = run(&[]);
    assert_eq!(counts, [10, 0, 0], "the request that it took for an empty one was repeated");
    assert!(receiver.requests().iter().all(|(_, _, head)| head.contains("version: 0.1.0")));
    let (times, counts, receiver) = run(&[(415, "")]);
    assert_eq!((times.len(), counts[..2].to_vec()), (10, vec![10, 0]), "{:?}", receiver.requests());
}

#[test]
fn histograms_go_whole_to_2_0_and_classic_to_1_0() {
    let histogram = model::Histogram {
        schema: model::histogram::CUSTOM_SCHEMA,
        count: 3.0,
        sum: 1.5,
        positive: vec![model::Bucket { index: 0, count: 1.0 }, model::Bucket { index: 1, count: 2.0 }],
        custom_bounds: vec![0.5],
        ..model::Histogram::default()
    };
    for (knows_v2, want) in
        [(true, &["h{} 3"][..]), (false, &["h_bucket{le=0.5} 1", "h_bucket{le=+Inf} 3", "h_sum{} 1.5", "h_count{} 3"])]
    {
        let receiver = Receiver::start_version(&[], knows_v2);
        let folder = tempfile::tempdir().expect("a folder");
        let mut rig = rig(&receiver.url, folder.path());
        let mut readings = Readings::new(1);
        readings.push_histogram(&Metric::histogram("h", "H."), &[], histogram.clone());
        rig.outbox.submit(&readings);
        assert!(rig.sender.flush(Duration::from_secs(50)), "all went out");
        let got: Vec<_> = receiver.taken().iter().map(|r| format!("{} {}", r.series, r.value)).collect();
        assert_eq!(got, want);
        assert_eq!(rig.stats.samples_sent.get(), 1);
    }
}

#[test]
fn a_folder_written_before_is_sent() {
    // The payload of a record as agents wrote it before histograms: plain samples, no starts.
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start_version(&[], true);
    let mut rig = rig(&receiver.url, folder.path());
    let request = b"\x0a\x1e\x0a\x0d\x0a\x08__name__\x12\x01n\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\x80\xe8\x07";
    let payload = agent::send::encode::compress(request);
    rig.queue.lock().push(payload, 1, 0).expect("written");
    assert!(rig.sender.flush(Duration::from_secs(50)));
    let got: Vec<_> = receiver.taken().iter().map(|r| (r.series.clone(), r.timestamp_ms, r.value)).collect();
    assert_eq!(got, [("n{}".to_owned(), 128_000, 1.0)]);
}
