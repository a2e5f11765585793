//! Rounds of collectors. Those of the host and of the agent itself run in one thread, those of Go processes in another: a file system or a
//! process that does not answer holds up one of them and not the other, nor the stop.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use model::Clock;

use crate::allocator;
use crate::budget::memory::{Group, Memory};
use crate::budget::{Budget, CpuMeter};
use crate::captures::Captures;
use crate::collect::{Collector, Schedule, host_collectors};
use crate::config::Config;
use crate::control::Follower;
use crate::go::GoProcesses;
use crate::go::leaks::{Leaks, SharedLeaks};
use crate::go::outside::{Outside, SharedCensuses};
use crate::go::signals::{Signals, SignalsCollector};
use crate::go::ways::ReadingInfo;
use crate::queue::SharedQueue;
use crate::readings::Readings;
use crate::receive::Known;
use crate::run::{HOST_JOB, OWN_JOB, leak_options};
use crate::send::Outbox;
use crate::stats::{Own, Stats};
use crate::stop::StopFlag;
use crate::threads;

/// What is read in rounds.
pub trait Rounds: Send {
    /// Reads everything that is due at `now_ms`, milliseconds since the Unix epoch.
    fn round(&mut self, now_ms: i64) -> Readings;

    /// Takes up a changed configuration; what ends is marked stale in `out`.
    fn configure(&mut self, config: &Config, out: &mut Readings);

    /// Marks every series as ended in `out`: the agent stops.
    fn end(&mut self, out: &mut Readings);

    /// Is called after each round.
    fn judge(&mut self) {}
}

/// Collects the host and the agent itself, and keeps the agent's budget.
#[derive(Debug)]
pub struct HostRounds {
    host: String,
    schedule: Schedule,
    own: Schedule,
    budget: Budget,
    group: Group,
    judged: Instant,
    stats: Arc<Stats>,
    queue: Option<SharedQueue>,
}

impl HostRounds {
    /// Rounds as `config` says; `queue` gives memory back where that is short.
    pub fn new(config: &Config, stats: &Arc<Stats>, queue: Option<SharedQueue>) -> Self {
        let (mut schedule, mut own) = (Schedule::new(), Schedule::new());
        schedule.arrange(host_collectors(&config.collect), &mut Readings::default());
        own.add(Box::new(Own::new(Arc::clone(stats), queue.clone())), 0);
        Self {
            host: config.host.clone(),
            schedule,
            own,
            budget: Budget::new(config.budget),
            group: Group::own(),
            judged: Instant::now(),
            stats: Arc::clone(stats),
            queue,
        }
    }
}

impl Rounds for HostRounds {
    fn round(&mut self, now_ms: i64) -> Readings {
        let mut out = collected(&mut self.schedule, &self.host, now_ms);
        self.own.run(&mut out, 1);
        out
    }

    fn configure(&mut self, config: &Config, out: &mut Readings) {
        self.schedule.arrange(host_collectors(&config.collect), out);
        self.schedule.configure(config);
        self.budget.configure(config.budget);
    }

    fn end(&mut self, out: &mut Readings) {
        self.schedule.end(out);
        self.own.end(out);
    }

    fn judge(&mut self) {
        let group = &self.group;
        self.budget.step(&self.stats, self.judged.elapsed(), || Memory::look(group));
        self.judged = Instant::now();
        if self.stats.short_of_memory.get() > 0 {
            if let Some(queue) = &self.queue {
                queue.lock().free_memory();
            }
            allocator::release();
        }
    }
}

/// Collects Go processes.
#[derive(Debug)]
pub struct GoRounds {
    host: String,
    schedule: Schedule,
    known: Known,
    leaks: SharedLeaks,
    censuses: SharedCensuses,
    signals: Option<Signals>,
    captures: Option<Arc<Captures>>,
    stats: Arc<Stats>,
}

impl GoRounds {
    /// Rounds over the processes that `known` holds, as `config` says.
    pub fn new(
        config: &Config,
        known: &Known,
        (leaks, signals, captures): (&SharedLeaks, Option<Signals>, Option<Arc<Captures>>),
        stats: &Arc<Stats>,
    ) -> Self {
        let mut rounds = Self {
            host: config.host.clone(),
            schedule: Schedule::new(),
            known: known.clone(),
            leaks: Arc::clone(leaks),
            censuses: SharedCensuses::default(),
            signals,
            captures,
            stats: Arc::clone(stats),
        };
        rounds.schedule.arrange(rounds.wanted(config), &mut Readings::default());
        rounds
    }

    /// Every collector that `config` asks for, in the order they run, with its least interval.
    fn wanted(&self, config: &Config) -> Vec<(Box<dyn Collector>, i64)> {
        let mut wanted: Vec<(Box<dyn Collector>, i64)> = Vec::new();
        let mut add = |collector: Box<dyn Collector>| wanted.push((collector, 0));
        if config.go.discover {
            let (processes, ways) = (|| Arc::clone(&self.known.processes), || self.known.ways.clone());
            let outside = Outside::new(config.go.memory, processes(), ways());
            let outside = outside.keeping(Arc::clone(&self.censuses)).teaching(Arc::clone(&self.known.ticks));
            let outside = outside.within(Arc::clone(&self.stats));
            add(Box::new(outside));
            // Behind those who take censuses, so that a verdict is told in the round that it is found in.
            if config.go.leaks.is_some() {
                let leaks = Leaks::new(processes(), Arc::clone(&self.leaks));
                let leaks = leaks.beside(Arc::clone(&self.censuses));
                add(Box::new(match &self.captures {
                    Some(captures) => leaks.telling(captures.leak_sink()),
                    None => leaks,
                }));
            }
        }
        // Behind those who read: it reports how each process was read, and forgets those that ended, also where nobody looks for processes and
        // all that is known of them is what they push.
        add(Box::new(ReadingInfo::new(Arc::clone(&self.known.processes), self.known.ways.clone())));
        if config.go.discover {
            let processes = Arc::clone(&self.known.processes);
            add(Box::new(GoProcesses::new(processes).beside(self.known.sdk.clone())));
        }
        if let Some(signals) = &self.signals {
            add(Box::new(SignalsCollector::new(signals.clone(), Arc::clone(&self.known.processes))));
        }
        wanted
    }
}

impl Rounds for GoRounds {
    fn round(&mut self, now_ms: i64) -> Readings {
        collected(&mut self.schedule, &self.host, now_ms)
    }

    fn configure(&mut self, config: &Config, out: &mut Readings) {
        self.schedule.arrange(self.wanted(config), out);
        self.schedule.configure(config);
        if let Some(captures) = &self.captures {
            captures.configure(&config.go);
        }
        self.leaks.lock().judge_by(leak_options(config));
    }

    fn end(&mut self, out: &mut Readings) {
        self.schedule.end(out);
    }
}

/// What is due of `schedule`, and what its collectors cost.
fn collected(schedule: &mut Schedule, host: &str, now_ms: i64) -> Readings {
    let mut out = Readings::new(now_ms);
    out.set_target([("job", HOST_JOB), ("instance", host)]);
    schedule.run(&mut out, 1);
    out.set_target([("job", OWN_JOB), ("instance", host)]);
    schedule.report(&mut out);
    out
}

/// Starts the thread `name`, which goes on in rounds as the configuration that `follower` knows says; the receiver hears when everything has been
/// marked stale after a stop.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    name: &'static str,
    mut rounds: impl Rounds + 'static,
    mut follower: Follower,
    outbox: Outbox,
    stop: &StopFlag,
    (stats, clock): (&Arc<Stats>, &Arc<dyn Clock>),
) -> std::io::Result<mpsc::Receiver<()>> {
    let (stop, stats, clock) = (stop.clone(), Arc::clone(stats), Arc::clone(clock));
    let (tell, ended) = mpsc::sync_channel(1);
    threads::start(name, &stop.clone(), move || {
        let mut ticks = Ticks::new(follower.config().poll_interval);
        let mut pause = Duration::ZERO;
        while !follower.wait(&stop, pause) {
            let meter = CpuMeter::start();
            if let Some((before, now)) = follower.news() {
                let mut last = Readings::new(clock.now().0);
                if now.is_shaped_otherwise_than(&before) {
                    rounds.end(&mut last);
                }
                rounds.configure(&now, &mut last);
                outbox.submit(&last);
                outbox.reshape(&now);
                ticks.pace(now.poll_interval);
                pause = ticks.pause_left();
                stats.cpu_us.add(meter.elapsed_us());
                continue;
            }
            let readings = rounds.round(clock.now().0);
            if !readings.is_empty() {
                outbox.submit(&readings);
            }
            stats.cpu_us.add(meter.elapsed_us());
            rounds.judge();
            pause = ticks.next_pause(stretch_of(&stats), &stats);
        }
        let mut last = Readings::new(clock.now().0);
        rounds.end(&mut last);
        outbox.submit(&last);
        let _ = tell.send(());
    })?;
    Ok(ended)
}

/// By how much intervals are longer to keep the budget.
pub(crate) fn stretch_of(stats: &Stats) -> u32 {
    u32::try_from(stats.stretch.get()).unwrap_or(1).max(1)
}

/// Even ticks: a round that takes long does not shift the ones after it, and those it covers are left out.
#[derive(Debug)]
pub(crate) struct Ticks {
    interval: Duration,
    next: Instant,
}

impl Ticks {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, next: Instant::now() }
    }

    pub(crate) fn next_pause(&mut self, stretch: u32, stats: &Stats) -> Duration {
        let now = Instant::now();
        let interval = self.interval * stretch.max(1);
        self.next += interval;
        while self.next < now {
            self.next += interval;
            stats.rounds_late.add(1);
        }
        self.next - now
    }

    /// From now on ticks every `interval`; the next comes no later than that from now, and no earlier than it would have.
    pub(crate) fn pace(&mut self, interval: Duration) {
        if interval < self.interval {
            self.next = self.next.min(Instant::now() + interval);
        }
        self.interval = interval;
    }

    /// Time until the next tick.
    pub(crate) fn pause_left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use model::{ManualClock, TimestampMs};
    use parking_lot::Mutex;

    use super::*;
    use crate::control::Live;
    use crate::queue::Queue;
    use crate::readings::Metric;
    use crate::send::encode::External;
    use crate::send::metadata::SharedMetadata;

    const ROUNDS: Metric = Metric::gauge("rounds", "Rounds of a test.");

    /// Tells of each round; the receiver of `allowed` says when a round may go on, where there is one.
    struct Told {
        told: mpsc::Sender<()>,
        allowed: Option<mpsc::Receiver<()>>,
    }

    impl Rounds for Told {
        fn round(&mut self, now_ms: i64) -> Readings {
            let _ = self.told.send(());
            if let Some(allowed) = &self.allowed {
                let _ = allowed.recv();
            }
            let mut out = Readings::new(now_ms);
            out.push(&ROUNDS, &[], 1.0);
            out
        }

        fn configure(&mut self, _config: &Config, _out: &mut Readings) {}

        fn end(&mut self, _out: &mut Readings) {}
    }

    #[test]
    fn rounds_that_hang_hold_up_neither_the_others_nor_the_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config { poll_interval: Duration::from_millis(5), ..Config::default() };
        config.queue.folder = folder.path().to_owned();
        let queue = Arc::new(Mutex::new(Queue::open(&config.queue).expect("a queue")));
        let (stats, clock) = (Arc::new(Stats::default()), Arc::new(ManualClock::new(TimestampMs(1))) as Arc<dyn Clock>);
        let outbox = Outbox::new(queue, SharedMetadata::default(), External::default(), 100, Arc::clone(&stats));
        let (live, stop) = (Live::new(config), StopFlag::new());
        let (tell, told) = mpsc::channel();
        let (hang_tell, hung) = mpsc::channel();
        let (_hold, allowed) = mpsc::channel();
        let run = |name, rounds| {
            start(name, rounds, live.follower(), outbox.apart(), &stop, (&stats, &clock)).expect("a thread")
        };
        let hanging = run("agent-test-hangs", Told { told: hang_tell, allowed: Some(allowed) });
        hung.recv().expect("a round that hangs");
        let going = run("agent-test-goes", Told { told: tell, allowed: None });
        for _ in 0..3 {
            told.recv_timeout(Duration::from_mins(1)).expect("rounds go on beside one that hangs");
        }
        stop.stop();
        going.recv_timeout(Duration::from_mins(1)).expect("the end of what goes on");
        threads::wait_for(&[("agent-test-hangs", &hanging)], Duration::from_millis(20));
        assert!(hung.try_recv().is_err(), "it still hangs in its first round");
    }
}
