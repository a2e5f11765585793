//! Nothing that was acknowledged is lost: not by `kill -9` again and again, not by a server that is away for an hour, not by a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::Agent;
use crate::support::{Received, Receiver};
use agent::config::Config;
use agent::queue::{Queue, SharedQueue};
use agent::readings::{Metric, Readings};
use agent::send::Outbox;
use agent::send::encode::External;
use agent::send::metadata::SharedMetadata;
use agent::send::sender::Sender;
use agent::stats::Stats;
use model::{Clock, ManualClock, TimestampMs};
use parking_lot::Mutex;

/// How often the agent is killed.
const KILLS: u32 = 12;
/// Samples in one request of the agents that are killed: what may be sent twice after a kill.
const REQUEST_SAMPLES: u32 = 40;

/// The numbers that were pushed and arrived, in order.
fn numbers(taken: &[Received]) -> Vec<u32> {
    let pushed = taken.iter().filter(|sample| sample.series.starts_with("pushed{"));
    pushed.map(|sample| u32::try_from(sample.timestamp_ms).expect("a number")).collect()
}

#[test]
fn killed_again_and_again_it_loses_nothing_that_it_acknowledged() {
    let (receiver, folder) = (Receiver::start(&[]), tempfile::tempdir().expect("a folder"));
    let request_samples = REQUEST_SAMPLES.to_string();
    let arguments = [
        "--go-discover=false",
        "--poll-interval=100ms",
        "--push-interval=10ms",
        "--push-backoff-min=10ms",
        "--push-backoff-max=100ms",
        "--push-samples-max",
        &request_samples,
        "--queue-segment-bytes=64KiB",
    ];
    let start = || Agent::start(folder.path(), &folder.path().join("queue"), &receiver.url, &arguments);
    let mut agent = start();
    let (mut next, mut acknowledged) = (1u32.., BTreeSet::new());
    for kill in 0..KILLS {
        // Every third time the receiver is away, so that the queue holds what came since.
        receiver.away(kill % 3 == 1);
        acknowledged.insert(agent.wait_for_push(&mut next));
        let until = Instant::now() + Duration::from_millis(u64::from(50 + kill * 37 % 200));
        while Instant::now() < until {
            let number = next.next().expect("more numbers");
            if agent.push(number) == 204 {
                acknowledged.insert(number);
            }
        }
        agent.kill();
        agent = start();
    }
    receiver.away(false);
    acknowledged.insert(agent.wait_for_push(&mut next));
    let last = *acknowledged.last().expect("some");
    let taken = receiver.wait("the last number", |taken| {
        taken.iter().rev().take(500).any(|sample| numbers(std::slice::from_ref(sample)) == [last])
    });
    let arrived = numbers(&taken);
    let distinct: BTreeSet<u32> = arrived.iter().copied().collect();
    let missing: Vec<u32> = acknowledged.difference(&distinct).copied().collect();
    assert!(missing.is_empty(), "{} of {} lost: {missing:?}", missing.len(), acknowledged.len());
    let twice = arrived.len() - distinct.len();
    println!("{KILLS} kills: {} acknowledged, none lost, {twice} sent twice", acknowledged.len());
    assert!(twice <= usize::try_from(KILLS * REQUEST_SAMPLES).expect("few"), "{twice} sent twice");
    // What the agent says itself: one value a series and time, however often it was sent.
    let mut told: BTreeMap<(&str, i64), f64> = BTreeMap::new();
    for sample in &taken {
        let known = told.insert((&sample.series, sample.timestamp_ms), sample.value);
        let same = known.is_none_or(|known| known.to_bits() == sample.value.to_bits());
        assert!(same, "{} at {}: {known:?} and {}", sample.series, sample.timestamp_ms, sample.value);
    }
}

const METRIC: Metric = Metric::gauge("n", "Numbers.");

#[test]
fn a_server_that_is_away_for_an_hour_gets_all_of_it_in_order() {
    const ROUNDS: i64 = 360;
    const SERIES: usize = 100;
    let (receiver, folder) = (Receiver::start(&[]), tempfile::tempdir().expect("a folder"));
    let mut config = Config::default();
    receiver.url.clone_into(&mut config.push.url);
    (config.push.backoff_min_ms, config.push.backoff_max_ms) = (1, 2);
    folder.path().clone_into(&mut config.queue.folder);
    let began_ms = 1_767_225_600_000;
    let clock = Arc::new(ManualClock::new(TimestampMs(began_ms)));
    let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&config.queue).expect("opens")));
    let (metadata, stats) = (SharedMetadata::default(), Arc::new(Stats::default()));
    let outbox = Outbox::new(Arc::clone(&queue), Arc::clone(&metadata), External::default(), 500, Arc::clone(&stats));
    let shared: Arc<dyn Clock> = clock.clone();
    let mut sender = Sender::new(Arc::clone(&queue), metadata, &config.push, shared, Arc::clone(&stats));
    receiver.away(true);
    let names: Vec<String> = (0..SERIES).map(|number| number.to_string()).collect();
    for round in 0..ROUNDS {
        clock.advance_ms(10_000);
        let mut readings = Readings::new(clock.now().0);
        for name in &names {
            readings.push(&METRIC, &[("number", name)], 1.5);
        }
        outbox.submit(&readings);
        if round % 6 == 0 {
            assert!(!sender.flush(Duration::from_millis(3)), "it takes nothing");
        }
    }
    let held = queue.lock().state();
    assert_eq!(held.samples_waiting, u64::try_from(ROUNDS).expect("positive") * SERIES as u64);
    assert_eq!(held.oldest_ms, Some(began_ms + 10_000));
    assert!(held.disk_bytes < 2 << 20, "{} bytes", held.disk_bytes);
    receiver.away(false);
    assert!(sender.flush(Duration::from_secs(50)), "all went out");
    let taken = receiver.taken();
    assert_eq!(taken.len(), usize::try_from(ROUNDS).expect("positive") * SERIES, "each once");
    assert!(taken.is_sorted_by_key(|sample| sample.timestamp_ms), "in order");
    let last = queue.lock().state();
    assert_eq!((last.samples_waiting, last.lost, last.dropped_age_cap, last.dropped_bytes_cap), (0, 0, 0, 0));
    assert_eq!(stats.samples_rejected.get(), 0);
}

/// A small disk of its own; gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Nothing where this process may not mount.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn mount(bytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("SKIPPED: mounting a small disk takes a right that this process does not have");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_pushes_loses_nothing_and_is_used_again() {
    let Some(disk) = Disk::mount(512 << 10) else { return };
    let (receiver, folder) = (Receiver::start(&[]), tempfile::tempdir().expect("a folder"));
    receiver.away(true);
    let arguments = [
        "--go-discover=false",
        "--poll-interval=100ms",
        "--push-interval=10ms",
        "--push-backoff-min=10ms",
        "--push-backoff-max=100ms",
        "--queue-segment-bytes=64KiB",
    ];
    let mut agent = Agent::start(folder.path(), &disk.path().join("queue"), &receiver.url, &arguments);
    let (mut next, mut acknowledged) = (1u32.., BTreeSet::new());
    acknowledged.insert(agent.wait_for_push(&mut next));
    let until = Instant::now() + Duration::from_mins(1);
    let mut refused = 0;
    while refused < 20 {
        let number = next.next().expect("more numbers");
        match agent.push_padded(number, 4000) {
            204 => drop(acknowledged.insert(number)),
            503 => refused += 1,
            other => panic!("answered {other}"),
        }
        assert!(Instant::now() < until, "the disk does not become full: {} taken", acknowledged.len());
    }
    // The agent's own readings go on in memory, for rounds that the disk does not take.
    std::thread::sleep(Duration::from_millis(500));
    assert!(agent.is_running());
    receiver.away(false);
    acknowledged.insert(agent.wait_for_push(&mut next));
    let all = |taken: &[Received]| {
        let arrived: BTreeSet<u32> = numbers(taken).into_iter().collect();
        acknowledged.is_subset(&arrived)
    };
    let taken = receiver.wait("all that was acknowledged", all);
    assert!(agent.is_running());
    let arrived = numbers(&taken);
    assert_eq!(arrived.iter().collect::<BTreeSet<_>>().len(), arrived.len(), "each once");
    let own: Vec<i64> = taken
        .iter()
        .filter(|sample| sample.series.starts_with("metrickit_agent_queue_bytes{"))
        .map(|sample| sample.timestamp_ms)
        .collect();
    assert!(own.len() > 5 && own.is_sorted_by(|a, b| a < b), "rounds that the disk refused were sent too: {own:?}");
}
