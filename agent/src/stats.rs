//! What the agent counts of itself, shared by its threads, and the collector that reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use procfs::process::Process;

use crate::budget::plan::{PARTS, Plan};
use crate::budget::{Part, Why};
use crate::collect::{CollectError, Collector, float};
use crate::queue::SharedQueue;
use crate::readings::{Metric, Readings};

/// A number that threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `count` off.
    pub fn take(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What the agent counts of itself.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each field is reported under its help text below")]
pub struct Stats {
    pub samples_collected: Counter,
    pub samples_refused: Counter,
    pub samples_sent: Counter,
    pub samples_rejected: Counter,
    pub requests: Counter,
    pub request_bytes: Counter,
    pub retries: Counter,
    pub scrapes: Counter,
    pub scrapes_failed: Counter,
    pub queue_errors: Counter,
    pub rounds_late: Counter,
    pub stretch: Counter,
    pub cpu_us: Counter,
    pub push_version: Counter,
    pub receive_requests: Counter,
    pub receive_refused: Counter,
    pub receive_samples: Counter,
    pub series_beyond: Counter,
    pub reloads: Counter,
    pub reloads_failed: Counter,
    pub bursts: Counter,
    pub burst_readings: Counter,
    pub bursts_running: Counter,
    pub captures: Counter,
    pub captures_failed: Counter,
    pub captures_sent: Counter,
    pub short_of_memory: Counter,
    /// Whether the queue's disk refused what was written last.
    queue_refuses: AtomicBool,
    parts: [PartStats; PARTS],
}

/// A part of the work that the budget may stretch or leave out: what it used, and what is to be done about it.
#[derive(Debug, Default)]
pub struct PartStats {
    /// Processor time, in microseconds.
    pub cpu_us: Counter,
    /// Factor on its intervals; 0 counts as 1.
    stretch: Counter,
    /// 0: it is done; else why it is not.
    shed: Counter,
}

impl Stats {
    /// Counts that the queue's disk refused; whether that begins now, and is worth a line in the log.
    pub fn queue_failed(&self) -> bool {
        self.queue_errors.add(1);
        !self.queue_refuses.swap(true, Ordering::Relaxed)
    }

    /// Takes note that the queue's disk takes what is written.
    pub fn queue_wrote(&self) {
        self.queue_refuses.store(false, Ordering::Relaxed);
    }

    /// What is counted of `part`.
    pub fn part(&self, part: Part) -> &PartStats {
        let [pprof, profiles, pages, goroutines] = &self.parts;
        match part {
            Part::Pprof => pprof,
            Part::Profiles => profiles,
            Part::Pages => pages,
            Part::Goroutines => goroutines,
        }
    }

    /// Takes note that `part` used so much. Whoever measures the whole thread counts it there, too.
    pub fn spent(&self, part: Part, cpu_us: u64) {
        self.cpu_us.add(cpu_us);
        self.part(part).cpu_us.add(cpu_us);
    }

    /// Factor on the intervals of `part`, beside that on all, and why it is left out.
    pub fn level(&self, part: Part) -> (u32, Option<Why>) {
        let stretch = u32::try_from(self.part(part).stretch.get()).unwrap_or(1).max(1);
        (stretch, self.is_shed(part))
    }

    /// Why `part` is left out; nothing: it is not.
    pub fn is_shed(&self, part: Part) -> Option<Why> {
        match self.part(part).shed.get() {
            0 => None,
            1 => Some(Why::Cpu),
            _ => Some(Why::Memory),
        }
    }

    /// Names of the parts that are left out.
    pub fn shed_parts(&self) -> impl Iterator<Item = (Part, Why)> + '_ {
        Part::ALL.into_iter().filter_map(|part| Some((part, self.is_shed(part)?)))
    }

    /// Tells everybody what `plan` says.
    pub fn apply(&self, plan: &Plan) {
        self.stretch.set(plan.base().into());
        for part in Part::ALL {
            let (own, level) = (self.part(part), plan.level(part));
            own.stretch.set(level.stretch.into());
            own.shed.set(level.shed.map_or(0, |why| if why == Why::Cpu { 1 } else { 2 }));
        }
    }
}

type Field = fn(&Stats) -> &Counter;

const COUNTERS: [(Metric, Field); 22] = [
    (Metric::counter("metrickit_agent_samples_collected_total", "Samples collected and scraped."), |s| {
        &s.samples_collected
    }),
    (
        Metric::counter(
            "metrickit_agent_samples_refused_total",
            "Samples left out because their labels passed a limit.",
        ),
        |s| &s.samples_refused,
    ),
    (Metric::counter("metrickit_agent_samples_sent_total", "Samples the receiver took."), |s| &s.samples_sent),
    (
        Metric::counter(
            "metrickit_agent_samples_rejected_total",
            "Samples dropped because the receiver refused them for good.",
        ),
        |s| &s.samples_rejected,
    ),
    (
        Metric::counter("metrickit_agent_push_requests_total", "Requests to the receiver, repeated ones included."),
        |s| &s.requests,
    ),
    (Metric::counter("metrickit_agent_push_bytes_total", "Bytes of request bodies, compressed."), |s| &s.request_bytes),
    (Metric::counter("metrickit_agent_push_retries_total", "Requests that failed and were repeated."), |s| &s.retries),
    (Metric::counter("metrickit_agent_scrapes_total", "Scrapes of targets."), |s| &s.scrapes),
    (Metric::counter("metrickit_agent_scrapes_failed_total", "Scrapes of targets that failed."), |s| &s.scrapes_failed),
    (Metric::counter("metrickit_agent_queue_errors_total", "Writes to the queue on disk that failed."), |s| {
        &s.queue_errors
    }),
    (Metric::counter("metrickit_agent_receive_requests_total", "Requests of programs that push to the agent."), |s| {
        &s.receive_requests
    }),
    (
        Metric::counter(
            "metrickit_agent_receive_refused_total",
            "Requests of programs that were not taken, or not whole.",
        ),
        |s| &s.receive_refused,
    ),
    (Metric::counter("metrickit_agent_receive_samples_total", "Samples that programs pushed."), |s| &s.receive_samples),
    (Metric::counter("metrickit_agent_captures_total", "Profiles and stacks that were captured."), |s| &s.captures),
    (Metric::counter("metrickit_agent_captures_failed_total", "Captures that were not taken."), |s| &s.captures_failed),
    (Metric::counter("metrickit_agent_captures_sent_total", "Captures that the server took."), |s| &s.captures_sent),
    (
        Metric::counter("metrickit_agent_rounds_late_total", "Rounds left out because the one before took too long."),
        |s| &s.rounds_late,
    ),
    (
        Metric::counter(
            "metrickit_agent_series_beyond_limit_total",
            "Series left out of rounds and pushes by limits.series_per_target.",
        ),
        |s| &s.series_beyond,
    ),
    (Metric::counter("metrickit_agent_reloads_total", "Changes of the configuration that were taken up."), |s| {
        &s.reloads
    }),
    (
        Metric::counter(
            "metrickit_agent_reloads_failed_total",
            "Files and profiles that were wrong; what ran before goes on.",
        ),
        |s| &s.reloads_failed,
    ),
    (Metric::counter("metrickit_agent_bursts_total", "Bursts that were begun."), |s| &s.bursts),
    (Metric::counter("metrickit_agent_burst_readings_total", "Readings of processes in bursts."), |s| {
        &s.burst_readings
    }),
];
const STRETCH: Metric = Metric::gauge(
    "metrickit_agent_interval_stretch",
    "Factor on intervals that keeps the agent in its processor budget.",
);
const PART_STRETCH: Metric = Metric::gauge(
    "metrickit_agent_part_stretch",
    "Factor on the intervals of a part of the work, beside that on all, which keeps the agent in its budget.",
);
const PART_CPU: Metric =
    Metric::counter("metrickit_agent_part_cpu_seconds_total", "Processor seconds that a part of the work used.");
const SHED: Metric =
    Metric::gauge("metrickit_agent_shed", "Parts of the work that are left out to keep the budget; 1 while they are.");
const PROTOCOL: Metric = Metric::gauge(
    "metrickit_agent_push_protocol_info",
    "Version of remote write that the receiver is spoken to in; always 1.",
);
const BURSTS: Metric = Metric::gauge("metrickit_agent_bursts_running", "Bursts under way.");
const QUEUE_BYTES: Metric = Metric::gauge("metrickit_agent_queue_bytes", "Bytes of the queue on disk.");
const QUEUE_SAMPLES: Metric = Metric::gauge("metrickit_agent_queue_samples", "Samples that wait to be sent.");
const QUEUE_AGE: Metric = Metric::gauge("metrickit_agent_queue_age_seconds", "Age of the oldest sample that waits.");
const DROPPED: Metric = Metric::counter(
    "metrickit_agent_queue_dropped_samples_total",
    "Samples dropped by the queue's caps or lost to damage.",
);
const CPU: Metric = Metric::counter("metrickit_agent_cpu_seconds_total", "Processor seconds of the agent's threads.");
const RESIDENT: Metric = Metric::gauge("metrickit_agent_resident_bytes", "Memory of the agent's process.");
const BUILD: Metric = Metric::gauge("metrickit_agent_build_info", "Version of the agent; always 1.");

/// Reports [`Stats`], the queue and the process itself.
#[derive(Debug)]
pub struct Own {
    stats: Arc<Stats>,
    queue: Option<SharedQueue>,
}

impl Own {
    /// Reports `stats`, and `queue` when there is one.
    pub fn new(stats: Arc<Stats>, queue: Option<SharedQueue>) -> Self {
        Self { stats, queue }
    }
}

impl Collector for Own {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        for (metric, counter) in &COUNTERS {
            out.push(metric, &[], float(counter(&self.stats).get()));
        }
        out.push(&STRETCH, &[], float(self.stats.stretch.get().max(1)));
        out.push(&BURSTS, &[], float(self.stats.bursts_running.get()));
        for part in Part::ALL {
            let (stretch, _) = self.stats.level(part);
            let labels = [("collector", part.text())];
            out.push(&PART_STRETCH, &labels, f64::from(stretch));
            out.push(&PART_CPU, &labels, float(self.stats.part(part).cpu_us.get()) / 1e6);
        }
        for (part, why) in self.stats.shed_parts() {
            out.push(&SHED, &[("collector", part.text()), ("reason", why.text())], 1.0);
        }
        let versions = [(1, "1.0"), (2, "2.0")];
        if let Some((_, version)) = versions.iter().find(|(number, _)| *number == self.stats.push_version.get()) {
            out.push(&PROTOCOL, &[("version", version)], 1.0);
        }
        if let Some(queue) = &self.queue {
            let state = queue.lock().state();
            out.push(&QUEUE_BYTES, &[], float(state.disk_bytes));
            out.push(&QUEUE_SAMPLES, &[], float(state.samples_waiting));
            let age_ms = state.oldest_ms.map_or(0, |oldest_ms| out.timestamp_ms().saturating_sub(oldest_ms).max(0));
            out.push(&QUEUE_AGE, &[], float(age_ms.unsigned_abs()) / 1000.0);
            for (reason, count) in
                [("bytes", state.dropped_bytes_cap), ("age", state.dropped_age_cap), ("damage", state.lost)]
            {
                out.push(&DROPPED, &[("reason", reason)], float(count));
            }
        }
        out.push(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let stat =
            Process::myself().and_then(|own| own.stat()).map_err(|error| CollectError::new("/proc/self", error))?;
        out.push(&CPU, &[], float(self.stats.cpu_us.get()) / 1e6);
        out.push(&RESIDENT, &[], float(stat.rss) * float(procfs::page_size()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_with_the_disk_is_told_each_time_that_it_begins() {
        let stats = Stats::default();
        assert_eq!([stats.queue_failed(), stats.queue_failed()], [true, false]);
        stats.queue_wrote();
        assert_eq!([stats.queue_failed(), stats.queue_failed()], [true, false]);
        assert_eq!(stats.queue_errors.get(), 4);
    }
}
