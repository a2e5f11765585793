//! Bursts: one Go process is read up to ten times a second for a while, because somebody asked for it. The numbers of its runtime, its own
//! processor time and memory and the host's processors go out under the names they always have, with the times they were read at.
//! Of a program that pushes, the same numbers come from two sources meanwhile: what is read in its memory lies between what it pushes.
//!
//! A burst takes no more than the agent's processor budget: readings that cost more come less often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::control::{ProcessName, Task, TaskKind};
use model::{Clock, METRIC_NAME};
use parking_lot::Mutex;

use super::errands::Orderly;
use super::live::Live;
use crate::budget::CpuMeter;
use crate::collect::{Collector, host_collectors};
use crate::config::Config;
use crate::go::census::Way;
use crate::go::identity::Life;
use crate::go::outside::Outside;
use crate::go::ways::{Part, Ways};
use crate::go::{GoProcess, GoProcesses, SharedProcesses};
use crate::readings::Readings;
use crate::receive::Known;
use crate::run::HOST_JOB;
use crate::send::Outbox;
use crate::stats::Stats;
use crate::stop::StopFlag;

/// Share of a core that a burst takes where there is no budget, in percent.
const PERCENT_DEFAULT: u64 = 100;

/// Carries out bursts.
#[derive(Debug)]
pub struct Bursts {
    live: Live,
    known: Known,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    stop: StopFlag,
    /// Processes that are read now.
    running: Mutex<BTreeSet<Life>>,
}

impl Bursts {
    /// Reads processes of `known` and sends to `outbox`.
    pub fn new(
        (live, stop): (&Live, &StopFlag),
        known: Known,
        outbox: Outbox,
        clock: &Arc<dyn Clock>,
        stats: &Arc<Stats>,
    ) -> Self {
        Self {
            live: live.clone(),
            known,
            outbox,
            clock: Arc::clone(clock),
            stats: Arc::clone(stats),
            stop: stop.clone(),
            running: Mutex::default(),
        }
    }

    /// The process that is meant.
    fn find(&self, name: &ProcessName) -> Result<GoProcess, String> {
        let scan = Arc::clone(&self.known.processes.lock());
        match scan.named(name).as_slice() {
            [process] => Ok((*process).clone()),
            [] => Err(format!("there is no Go process {name}")),
            [one, other, ..] => {
                let (one, other) = (&one.job, &other.job);
                Err(format!("{} is of several jobs, such as {one} and {other}; say which", name.instance))
            }
        }
    }

    fn read(&self, process: &GoProcess, interval: Duration, length: Duration) -> Result<(), String> {
        let config = self.live.config();
        let mut at = Sampler::new(&config, process);
        let started = Instant::now();
        let mut due = started;
        let mut result = Ok(());
        while !self.stop.wait(due.saturating_duration_since(Instant::now())) && started.elapsed() < length {
            let meter = CpuMeter::start();
            // At once: others tell of the same series, and receivers may want samples in order.
            result = at.read(self.clock.now().0).map(|readings| self.outbox.submit(&readings));
            let used_us = meter.elapsed_us();
            self.stats.cpu_us.add(used_us);
            if result.is_err() {
                break;
            }
            self.stats.burst_readings.add(1);
            due = next_due(due, Instant::now(), interval, used_us, config.budget.cpu_percent);
        }
        self.outbox.submit(&at.end(&self.known, self.clock.now().0));
        if self.stop.is_stopped() {
            return Err("the agent ended".to_owned());
        }
        result
    }
}

/// When the next reading is due: on the grid of `interval`, and late enough that one which cost `used_us` stays within `percent_max` of a core.
fn next_due(due: Instant, now: Instant, interval: Duration, used_us: u64, percent_max: u64) -> Instant {
    let percent = if percent_max == 0 { PERCENT_DEFAULT } else { percent_max };
    let least = Duration::from_micros(used_us.saturating_mul(100) / percent);
    let behind = now.saturating_duration_since(due).max(least);
    let steps = behind.as_nanos().div_ceil(interval.as_nanos().max(1)).max(1);
    due + interval * u32::try_from(steps).unwrap_or(u32::MAX)
}

impl Orderly for Bursts {
    fn carry_out(&self, task: &Task) -> Result<(), String> {
        task.kind.check()?;
        let TaskKind::Burst { process, interval_ms, seconds } = &task.kind else {
            return Err("this is no burst".to_owned());
        };
        let process = self.find(process)?;
        if !self.running.lock().insert(process.life.clone()) {
            return Err("a burst of this process is under way".to_owned());
        }
        self.stats.bursts.add(1);
        self.stats.bursts_running.add(1);
        tracing::info!(instance = process.instance, pid = process.life.pid, interval_ms, seconds, "burst begins");
        let _running = Running { bursts: self, life: &process.life };
        self.read(&process, Duration::from_millis(*interval_ms), Duration::from_secs(*seconds))
    }
}

/// A burst that is under way until it is dropped.
struct Running<'a> {
    bursts: &'a Bursts,
    life: &'a Life,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.bursts.running.lock().remove(self.life);
        self.bursts.stats.bursts_running.take(1);
    }
}

/// What is read of one process each time.
struct Sampler {
    process: GoProcess,
    host: String,
    memory: Outside,
    usage: GoProcesses,
    host_cpu: Option<Box<dyn Collector>>,
}

impl Sampler {
    /// Reads whatever there is of `process`: who pushes does so seldom, and another who reads it is not kept from that.
    fn new(config: &Config, process: &GoProcess) -> Self {
        let alone = SharedProcesses::default();
        *alone.lock() = Arc::new(crate::go::Scan { processes: vec![process.clone()], ..crate::go::Scan::default() });
        let host_cpu = host_collectors(&config.collect).into_iter().map(|(collector, _)| collector);
        Self {
            process: process.clone(),
            host: config.host.clone(),
            memory: Outside::new(config.go.memory, Arc::clone(&alone), Ways::new()).numbers_alone(),
            usage: GoProcesses::new(alone),
            host_cpu: host_cpu.into_iter().find(|collector| collector.name() == "cpu"),
        }
    }

    /// Reads once. What fails this time may work the next; the end of the process ends the burst.
    fn read(&mut self, now_ms: i64) -> Result<Readings, String> {
        let mut out = Readings::new(now_ms);
        match self.usage.usage(&self.process, &mut out) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err("the process ended".to_owned()),
        }
        out.set_target([("job", HOST_JOB), ("instance", self.host.as_str())]);
        if let Some(collector) = &mut self.host_cpu {
            let _ = collector.collect(&mut out);
        }
        let _ = self.memory.collect(&mut out);
        Ok(out)
    }

    /// Stale markers for what nobody tells of any more: of a program that pushes, what is in its memory alone.
    fn end(&mut self, known: &Known, now_ms: i64) -> Readings {
        let (mut ended, mut out) = (Readings::new(now_ms), Readings::new(now_ms));
        let life = &self.process.life;
        if known.ways.leads(life.into(), Part::Runtime, Way::Memory, now_ms) {
            return out;
        }
        self.memory.end(&mut ended);
        let is_pushed = |name: &str| known.sdk.gives(life.pid, life.start_ticks, name);
        for (labels, values) in ended.iter().filter(|(labels, _)| !labels.get(METRIC_NAME).is_some_and(is_pushed)) {
            out.push_stale(labels, values.histogram().is_some());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_pushes_is_read_all_the_same() {
        let stat = procfs::process::Process::myself().and_then(|own| own.stat()).expect("/proc");
        let process = GoProcess {
            life: Life { start_ticks: stat.starttime, pid: stat.pid, name: "api".to_owned() },
            job: "shop".to_owned(),
            instance: "box/3".to_owned(),
            build: Arc::default(),
            same_network: true,
        };
        let mut at = Sampler::new(&Config::default(), &process);
        let out = at.read(1_000).expect("it runs");
        let series = r#"process_cpu_seconds_total{instance="box/3", job="shop"}"#;
        assert!(out.value_of(series).is_some());
        let known = Known::default();
        assert!(at.end(&known, 2_000).is_empty(), "the poller goes on to read it");
        let key = (&process.life).into();
        known.ways.works(key, Part::Runtime, Way::Sdk, &["go_info"].into_iter().collect(), 2_000, 30_000);
        assert!(at.end(&known, 2_000).is_empty(), "nothing of its memory was told");
    }

    #[test]
    fn readings_keep_their_grid_and_the_budget() {
        let start = Instant::now();
        let interval = Duration::from_millis(100);
        let at = |now_ms: u64, used_us: u64, percent_max: u64| {
            let now = start + Duration::from_millis(now_ms);
            (next_due(start, now, interval, used_us, percent_max) - start).as_millis()
        };
        assert_eq!([at(0, 0, 5), at(1, 900, 5), at(100, 900, 5)], [100, 100, 100]);
        assert_eq!([at(101, 900, 5), at(350, 0, 5)], [200, 400], "what was missed is left out");
        assert_eq!(
            [at(6, 6_000, 5), at(6, 6_000, 1), at(6, 6_000, 0)],
            [200, 600, 100],
            "dear readings come less often"
        );
    }
}
