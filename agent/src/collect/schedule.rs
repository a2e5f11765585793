//! When each collector runs: at every poll, but not before its own interval has passed. Measures what each costs and
//! keeps the stale markers of each apart.

use std::time::Instant;

use super::Collector;
use crate::budget::CpuMeter;
use crate::config::Config;
use crate::readings::{Metric, Readings};
use crate::stale::Tracker;

const SECONDS: Metric = Metric::gauge("metrickit_agent_collector_seconds", "Time the collector's last run took.");
const CPU: Metric =
    Metric::counter("metrickit_agent_collector_cpu_seconds_total", "Processor seconds that the collector used.");
const RUNS: Metric = Metric::counter("metrickit_agent_collector_runs_total", "Runs of the collector.");
const ERRORS: Metric = Metric::counter("metrickit_agent_collector_errors_total", "Runs of the collector that failed.");

/// Collectors with their due times.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<Entry>,
    reported: Tracker,
}

#[derive(Debug)]
struct Entry {
    collector: Box<dyn Collector>,
    interval_ms: i64,
    ran_ms: Option<i64>,
    pause_ms: u64,
    tracker: Tracker,
    runs: u64,
    errors: u64,
    last_seconds: f64,
    cpu_us: u64,
    failing: bool,
}

impl Schedule {
    /// A schedule without collectors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `collector`, which runs at most once in `interval_ms` milliseconds.
    pub fn add(&mut self, collector: Box<dyn Collector>, interval_ms: i64) {
        self.entries.push(Entry {
            collector,
            interval_ms,
            ran_ms: None,
            pause_ms: 0,
            tracker: Tracker::new(),
            runs: 0,
            errors: 0,
            last_seconds: 0.0,
            cpu_us: 0,
            failing: false,
        });
    }

    /// Makes it so that `wanted` run at their least intervals, in this order. Those of the same name that run already go on with all they
    /// know, the others begin; what runs and is not wanted ends, its stale markers go to `out`.
    pub fn arrange(&mut self, wanted: Vec<(Box<dyn Collector>, i64)>, out: &mut Readings) {
        let mut before = std::mem::take(&mut self.entries);
        for (collector, interval_ms) in wanted {
            match before.iter().position(|entry| entry.collector.name() == collector.name()) {
                Some(at) => {
                    let mut entry = before.remove(at);
                    entry.pace(interval_ms);
                    self.entries.push(entry);
                }
                None => self.add(collector, interval_ms),
            }
        }
        for mut entry in before {
            entry.tracker.end(out);
            entry.collector.end(out);
        }
    }

    /// Hands a changed configuration to every collector.
    pub fn configure(&mut self, config: &Config) {
        for entry in &mut self.entries {
            entry.collector.configure(config);
        }
    }

    /// Runs what is due at the time of `out`; intervals are multiplied by `stretch`, which is 1 within the budget.
    pub fn run(&mut self, out: &mut Readings, stretch: u32) {
        let now_ms = out.timestamp_ms();
        for entry in &mut self.entries {
            // A clock set back counts as time passed: collecting must not wait until it has caught up.
            if entry.ran_ms.is_none_or(|ran_ms| now_ms.abs_diff(ran_ms) >= entry.pause_ms) {
                // A little early counts as due: poll ticks jitter, and 30 s must not become 40 s for a millisecond.
                let interval_ms = entry.interval_ms.unsigned_abs().saturating_mul(u64::from(stretch));
                entry.pause_ms = interval_ms - interval_ms / 20;
                entry.ran_ms = Some(now_ms);
                entry.run(out);
            }
        }
    }

    /// Adds what each collector costs to `out`.
    pub fn report(&mut self, out: &mut Readings) {
        let from = out.len();
        for entry in &self.entries {
            let labels = [("collector", entry.collector.name())];
            out.push(&SECONDS, &labels, entry.last_seconds);
            out.push(&CPU, &labels, super::float(entry.cpu_us) / 1e6);
            out.push(&RUNS, &labels, super::float(entry.runs));
            out.push(&ERRORS, &labels, super::float(entry.errors));
        }
        self.reported.observe(out, from);
    }

    /// Adds stale markers for every series of every collector: the agent stops.
    pub fn end(&mut self, out: &mut Readings) {
        for entry in &mut self.entries {
            entry.tracker.end(out);
            entry.collector.end(out);
        }
        self.reported.end(out);
    }
}

impl Entry {
    /// From now on runs at most once in `interval_ms`; sooner than it would have, if that is less.
    fn pace(&mut self, interval_ms: i64) {
        self.interval_ms = interval_ms;
        self.pause_ms = self.pause_ms.min(interval_ms.unsigned_abs());
    }

    fn run(&mut self, out: &mut Readings) {
        let from = out.len();
        let (started, meter) = (Instant::now(), CpuMeter::start());
        let result = self.collector.collect(out);
        self.last_seconds = started.elapsed().as_secs_f64();
        self.cpu_us = self.cpu_us.saturating_add(meter.elapsed_us());
        if !self.collector.marks_stale() {
            self.tracker.observe(out, from);
        }
        self.runs += 1;
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.errors += 1;
                if !self.failing {
                    tracing::warn!(collector = self.collector.name(), %error, "collector failed; it is tried again each round");
                }
                self.failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CollectError;
    use super::*;

    #[derive(Debug)]
    struct Fake(Vec<Result<&'static str, ()>>);

    impl Collector for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
            match self.0.remove(0) {
                Ok(name) => out.push_named(name, &[], 1.0),
                Err(()) => return Err(CollectError::new("fake", "broken")),
            }
            Ok(())
        }
    }

    #[test]
    fn a_clock_set_back_stops_nothing() {
        let mut schedule = Schedule::new();
        schedule.add(Box::new(Fake(vec![Ok("a"), Ok("a")])), 0);
        schedule.add(Box::new(Fake(vec![Ok("b"), Ok("b")])), 1000);
        let mut count = |now_ms| {
            let mut out = Readings::new(now_ms);
            schedule.run(&mut out, 1);
            out.len()
        };
        assert_eq!([count(3_600_000), count(0)], [2, 2]);
    }

    /// Counts its runs, so that it is seen whether it is the same one.
    #[derive(Debug)]
    struct Counts(&'static str, f64);

    impl Collector for Counts {
        fn name(&self) -> &'static str {
            self.0
        }

        fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
            self.1 += 1.0;
            out.push_named(self.0, &[], self.1);
            Ok(())
        }
    }

    #[test]
    fn what_stays_knows_what_it_knew_and_what_goes_is_marked() {
        let wanted = |names: &[(&'static str, i64)]| -> Vec<(Box<dyn Collector>, i64)> {
            let counts = |(name, interval_ms): &(&'static str, i64)| {
                (Box::new(Counts(name, 0.0)) as Box<dyn Collector>, *interval_ms)
            };
            names.iter().map(counts).collect()
        };
        let mut schedule = Schedule::new();
        schedule.arrange(wanted(&[("a", 0), ("b", 3_600_000)]), &mut Readings::new(0));
        schedule.run(&mut Readings::new(0), 1);
        let mut out = Readings::new(1000);
        schedule.arrange(wanted(&[("c", 0), ("b", 1000)]), &mut out);
        assert_eq!(out.iter().filter(|(_, values)| values.is_stale_marker()).count(), 1);
        assert!(out.value_of("a").is_some(), "the marker is of what went");
        let mut out = Readings::new(1000);
        schedule.run(&mut out, 1);
        assert_eq!((out.value_of("c"), out.value_of("b")), (Some(1.0), Some(2.0)), "b is due by its new interval");
    }

    #[test]
    fn intervals_stale_markers_and_errors() {
        let mut schedule = Schedule::new();
        schedule.add(Box::new(Fake(vec![Ok("a"), Ok("b"), Err(()), Ok("b")])), 1000);
        let mut at = |now_ms, stretch| {
            let mut out = Readings::new(now_ms);
            schedule.run(&mut out, stretch);
            let shown: Vec<_> = out
                .iter()
                .map(|(labels, values)| format!("{labels} {}", if values.is_stale_marker() { "stale" } else { "1" }))
                .collect();
            shown.join(", ")
        };
        assert_eq!(at(0, 1), "a 1");
        assert_eq!(at(500, 1), "", "not due");
        assert_eq!(at(990, 2), "b 1, a stale", "a little early is due");
        assert_eq!(at(1990, 1), "", "stretched to twice the interval");
        assert_eq!(at(2990, 1), "b stale", "a failed run marks what it does not report");
        assert_eq!(at(3990, 1), "b 1");
        let mut out = Readings::new(4000);
        schedule.report(&mut out);
        assert_eq!(out.value_of(r#"metrickit_agent_collector_runs_total{collector="fake"}"#), Some(4.0));
        assert_eq!(out.value_of(r#"metrickit_agent_collector_errors_total{collector="fake"}"#), Some(1.0));
        let mut out = Readings::new(5000);
        schedule.end(&mut out);
        assert_eq!(out.len(), 1 + 4, "what was collected and what was reported");
    }
}
