//! A clock that is set forward by an hour and back by two while the agent runs, with a Go program to read: reading goes on, times
//! ascend again after each change, no counter falls, no rate is negative, and nothing looks like a leak.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::subject::{Subject, build};
use crate::support::{Received, Receiver};
use agent::StopFlag;
use agent::config::Config;
use model::{Clock, TimestampMs};

const HOUR_MS: i64 = 3_600_000;

/// The time since it was made, moved as somebody sets it.
#[derive(Debug)]
struct Set {
    began: Instant,
    offset_ms: AtomicI64,
}

impl Clock for Set {
    fn now(&self) -> TimestampMs {
        let passed = i64::try_from(self.began.elapsed().as_millis()).expect("short");
        TimestampMs(passed + self.offset_ms.load(Ordering::SeqCst))
    }
}

/// Samples of series whose names begin with `name`, but stale markers.
fn of<'a>(taken: &'a [Received], name: &'a str) -> impl Iterator<Item = &'a Received> {
    taken.iter().filter(move |sample| sample.series.starts_with(name) && !sample.value.is_nan())
}

#[test]
fn a_clock_that_jumps_stops_nothing_and_tricks_nobody() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[]);
    subject.ask("park 300");
    let receiver = Receiver::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    receiver.url.clone_into(&mut config.push.url);
    config.push.interval = Duration::from_millis(20);
    config.poll_interval = Duration::from_millis(100);
    config.go.memory.goroutines_interval_ms = 300;
    config.go.memory.profiles_interval_ms = 300;
    (config.go.discover_interval, config.receive_socket) = (Duration::from_mins(1), None);
    config.queue.folder = folder.path().join("queue");
    config.budget.cpu_percent = 0;
    let began_ms = 1_767_225_600_000;
    let clock = Arc::new(Set { began: Instant::now(), offset_ms: AtomicI64::new(began_ms) });
    let stop = StopFlag::new();
    let running = {
        let (stop, clock): (_, Arc<dyn Clock>) = (stop.clone(), clock.clone());
        std::thread::spawn(move || agent::run(&config, &clock, &stop).expect("runs"))
    };
    // The program's goroutines are read in each stretch of time, at times of that stretch.
    let site = "go_goroutines_by_site{created_by=main.park";
    let mut moved_ms = 0;
    for by_ms in [0, HOUR_MS, -2 * HOUR_MS, HOUR_MS, 24 * HOUR_MS, -24 * HOUR_MS] {
        moved_ms += by_ms;
        clock.offset_ms.fetch_add(by_ms, Ordering::SeqCst);
        let from_ms = clock.now().0;
        let before = receiver.taken().len();
        receiver.wait("readings after a change of the clock", |taken| {
            let new = taken.get(before..).unwrap_or_default();
            let within = |sample: &&Received| (from_ms..from_ms + HOUR_MS / 2).contains(&sample.timestamp_ms);
            of(new, site).filter(within).count() >= 3 && of(new, "go_goroutines{").filter(within).count() >= 3
        });
    }
    assert_eq!(moved_ms, 0);
    stop.stop();
    running.join().expect("no panic");
    let taken = receiver.taken();
    // Each series: its times ascend but where the clock was set back, twice, and where a page that was asked for before is
    // told after; a counter never falls.
    let mut series: BTreeMap<&str, Vec<&Received>> = BTreeMap::new();
    for sample in &taken {
        series.entry(&sample.series).or_default().push(sample);
    }
    for (name, samples) in series {
        let back = samples.windows(2).filter(|pair| pair[1].timestamp_ms <= pair[0].timestamp_ms).count();
        assert!(back <= 4, "{name}: {back} times back");
        if name.split('{').next().is_some_and(|name| name.ends_with("_total")) {
            let values: Vec<f64> = samples.iter().map(|sample| sample.value).filter(|value| !value.is_nan()).collect();
            assert!(values.is_sorted(), "{name} falls: {values:?}");
        }
    }
    let negative: Vec<_> = of(&taken, "go_signal_").filter(|sample| sample.value < 0.0).collect();
    let negative: Vec<_> = negative.iter().filter(|sample| !sample.series.contains("headroom")).collect();
    assert!(negative.is_empty(), "{negative:?}");
    let grade = of(&taken, "go_leak_grade{").map(|sample| sample.value).fold(-1.0, f64::max);
    assert!(grade <= 0.0, "grade {grade}");
    assert_eq!(of(&taken, "go_leak_site_grade{").count(), 0);
}
