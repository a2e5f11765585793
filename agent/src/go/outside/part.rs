//! One part of the reading of one process: when it is due, what it costs, and its series.

use crate::budget::CpuMeter;
use crate::readings::Readings;
use crate::stale::Tracker;

/// A part takes at most one in this many of a core's seconds: 0.2 %.
const SHARE: u64 = 500;
/// Longest time between two readings: what queries look back for a last value, less a round.
const PAUSE_MS_MAX: u64 = 280_000;

/// A part that is read at its own times.
#[derive(Debug, Default)]
pub(super) struct Part {
    read_ms: Option<i64>,
    pause_ms: u64,
    tracker: Tracker,
    /// Cost of the last reading, in microseconds.
    cost_us: u64,
}

impl Part {
    /// Whether it is time to read at `now_ms`.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        // A clock set back counts as time passed.
        self.read_ms.is_none_or(|read_ms| now_ms.abs_diff(read_ms) >= self.pause_ms)
    }

    /// Makes it due now, whatever the last reading cost.
    pub(super) fn hurry(&mut self) {
        self.pause_ms = 0;
    }

    /// Time until the next reading.
    pub(super) fn pause_ms(&self) -> u64 {
        self.pause_ms
    }

    /// The next reading comes `interval_ms` after the last at the latest.
    pub(super) fn hasten(&mut self, interval_ms: u64) {
        self.pause_ms = self.pause_ms.min(interval_ms);
    }

    /// Runs `read`, which adds to `out`, marks as stale what it did not add again, and sets the time of the next reading:
    /// after `interval_ms`, or later when this one was dear.
    pub(super) fn read(&mut self, out: &mut Readings, interval_ms: u64, read: impl FnOnce(&mut Readings)) {
        let (from, meter) = (out.len(), CpuMeter::start());
        read(out);
        self.cost_us = meter.elapsed_us();
        self.tracker.observe(out, from);
        self.read_ms = Some(out.timestamp_ms());
        let pause_ms = interval_ms.max((self.cost_us * SHARE / 1000).min(PAUSE_MS_MAX));
        // A little early counts as due: rounds jitter.
        self.pause_ms = pause_ms - pause_ms / 20;
    }

    /// By what the next reading should be smaller so that it keeps its share though it cannot wait longer.
    pub(super) fn shrink(&self) -> u64 {
        (self.cost_us * SHARE / 1000).div_ceil(PAUSE_MS_MAX).max(1)
    }

    /// Marks every series as stale.
    pub(super) fn end(&mut self, out: &mut Readings) {
        self.tracker.end(out);
        self.read_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_due_at_its_times_and_marks_what_is_gone() {
        let mut part = Part::default();
        let mut at = |now_ms: i64, names: &[&str]| {
            let mut out = Readings::new(now_ms);
            out.push_named("other", &[], 1.0);
            if !part.is_due(now_ms) {
                return None;
            }
            part.read(&mut out, 1000, |out| names.iter().for_each(|name| out.push_named(name, &[], 1.0)));
            Some(out.iter().skip(1).filter(|(_, values)| values.is_stale_marker()).count())
        };
        assert_eq!(at(0, &["a", "b"]), Some(0));
        assert_eq!(at(900, &["a"]), None);
        assert_eq!(at(960, &["a"]), Some(1), "b is stale");
        assert_eq!(at(-50_000, &["a"]), Some(0), "a clock set back delays nothing");
    }

    #[test]
    fn dear_readings_come_seldom_and_then_smaller() {
        let mut part = Part { cost_us: 1_000_000, ..Part::default() };
        assert_eq!(part.shrink(), 2, "half as many for a second at most each 280 s");
        part.cost_us = 10_000;
        assert_eq!(part.shrink(), 1);
    }
}
