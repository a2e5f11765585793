//! What the agent itself costs, and the factor on its intervals that keeps the cost within the budget.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest factor on intervals.
const STRETCH_MAX: u32 = 16;
/// Time between two judgements, so that one expensive round does not stretch anything.
const WINDOW: Duration = Duration::from_secs(30);

/// Measures the processor time of the thread that started it.
#[derive(Debug)]
pub struct CpuMeter(Duration);

impl CpuMeter {
    /// Begins now.
    pub fn start() -> Self {
        Self(thread_cpu())
    }

    /// Microseconds of processor time since.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(thread_cpu().saturating_sub(self.0).as_micros()).unwrap_or(u64::MAX)
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, ns) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Duration::new(seconds, ns)
}

/// Decides the stretch: doubled when a window cost more than the budget, halved when half of that would do.
#[derive(Debug)]
pub struct Budget {
    percent_max: u64,
    stretch: u32,
    window: Duration,
    used_us: u64,
}

impl Budget {
    /// A budget of `percent_max` percent of one core; 0 for none.
    pub fn new(percent_max: u64) -> Self {
        Self { percent_max, stretch: 1, window: Duration::ZERO, used_us: 0 }
    }

    /// Takes note that `used_us` microseconds of processor time were used in the last `elapsed`; returns the stretch.
    pub fn step(&mut self, used_us: u64, elapsed: Duration) -> u32 {
        self.used_us = self.used_us.saturating_add(used_us);
        self.window += elapsed;
        if self.percent_max == 0 || self.window < WINDOW {
            return self.stretch;
        }
        let allowed_us = u128::from(self.percent_max) * self.window.as_micros() / 100;
        let used_us = u128::from(std::mem::take(&mut self.used_us));
        self.window = Duration::ZERO;
        if used_us > allowed_us {
            self.stretch = (self.stretch * 2).min(STRETCH_MAX);
        } else if used_us * 2 < allowed_us {
            self.stretch = (self.stretch / 2).max(1);
        }
        self.stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_budget_intervals_stretch_and_come_back() {
        let mut budget = Budget::new(10);
        let mut after = |percent: u64| budget.step(percent * 300_000, WINDOW);
        assert_eq!([after(5), after(11), after(20), after(9), after(6)], [1, 2, 4, 4, 4]);
        assert_eq!([after(4), after(4), after(0)], [2, 1, 1]);
        for _ in 0..20 {
            after(100);
        }
        assert_eq!(after(100), STRETCH_MAX);
        assert_eq!(Budget::new(0).step(u64::MAX, WINDOW), 1, "no budget, no stretch");
        let mut early = Budget::new(10);
        assert_eq!(early.step(u64::MAX, Duration::from_secs(1)), 1, "one round does not judge");
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let meter = CpuMeter::start();
        let mut sum = 0u64;
        while meter.elapsed_us() == 0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(meter.elapsed_us() > 0);
    }
}
