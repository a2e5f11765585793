//! What the agent itself costs, and keeping it within its budget of processor time and memory.
//!
//! Threads measure what they use, by part of the work where parts can be stretched or left out; [`Budget`] looks at it window by
//! window and asks [`plan`] what to do. The outcome stands in [`Stats`], where those who work look before they do.

pub mod memory;
pub mod plan;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use self::plan::{Limits, PARTS, Plan, Used};
pub use self::plan::{Part, Why};
use crate::stats::Stats;

/// Time between two judgements, so that one expensive round does not change anything.
pub const WINDOW: Duration = Duration::from_secs(30);

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

/// What may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Percent of one core; 0: no limit.
    pub cpu_percent: u64,
    /// Bytes of memory; 0: no limit.
    pub memory_bytes: u64,
    /// Time between two judgements.
    pub window: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { cpu_percent: 5, memory_bytes: 128 << 20, window: WINDOW }
    }
}

/// What one part uses, also where it works more seldom than once in a window.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    seen_us: u64,
    /// Time since it last worked, the time between its last two times, and what it used then.
    idle: Duration,
    every: Duration,
    each_us: u64,
}

impl Rate {
    /// Microseconds in a window of `elapsed`, in which the sum of all became `sum_us`.
    fn step(&mut self, sum_us: u64, elapsed: Duration) -> u64 {
        let used_us = sum_us.saturating_sub(self.seen_us);
        self.seen_us = sum_us;
        self.idle += elapsed;
        if used_us > 0 {
            (self.every, self.each_us, self.idle) = (self.idle, used_us, Duration::ZERO);
        }
        let every = self.every.max(self.idle).as_micros().max(1);
        u64::try_from(u128::from(self.each_us) * elapsed.as_micros() / every).unwrap_or(u64::MAX)
    }
}

/// Keeps the agent within its budget.
#[derive(Debug)]
pub struct Budget {
    config: BudgetConfig,
    plan: Plan,
    window: Duration,
    seen_us: u64,
    rates: [Rate; PARTS],
}

impl Budget {
    /// A budget of `config`.
    pub fn new(config: BudgetConfig) -> Self {
        Self { config, plan: Plan::default(), window: Duration::ZERO, seen_us: 0, rates: Default::default() }
    }

    /// Goes on with another budget.
    pub fn configure(&mut self, config: BudgetConfig) {
        self.config = config;
    }

    /// Takes note that `elapsed` has passed, with what `stats` have counted meanwhile, and tells them what to do from now on.
    /// `resident_bytes` is asked at the end of a window.
    pub fn step(&mut self, stats: &Stats, elapsed: Duration, resident_bytes: impl FnOnce() -> memory::Memory) {
        self.window += elapsed;
        if self.window < self.config.window {
            return;
        }
        let window = std::mem::take(&mut self.window);
        let all_us = stats.cpu_us.get();
        let used_us = all_us.saturating_sub(self.seen_us);
        self.seen_us = all_us;
        let (mut parts_us, mut actual_us) = ([0; PARTS], 0);
        for (part, (rate, cost)) in Part::ALL.into_iter().zip(self.rates.iter_mut().zip(&mut parts_us)) {
            let sum_us = stats.part(part).cpu_us.get();
            actual_us += sum_us.saturating_sub(rate.seen_us);
            *cost = rate.step(sum_us, window);
        }
        let memory = resident_bytes();
        let cpu_us = used_us.saturating_sub(actual_us).saturating_add(parts_us.iter().sum());
        let used = Used { cpu_us, parts_us, resident_bytes: memory.resident_bytes };
        let cpu_limit_us = u128::from(self.config.cpu_percent) * window.as_micros() / 100;
        let limits = Limits {
            cpu_us: u64::try_from(cpu_limit_us).unwrap_or(u64::MAX),
            resident_bytes: memory.limit(self.config.memory_bytes),
        };
        // Before anything is left out, what is only kept for speed is given up.
        let near = limits.resident_bytes - limits.resident_bytes / 10;
        stats.short_of_memory.set(u64::from(limits.resident_bytes > 0 && used.resident_bytes > near));
        let next = self.plan.next(&used, &limits);
        if next != self.plan {
            tell(&self.plan, &next, &used, &limits);
            self.plan = next;
        }
        stats.apply(&self.plan);
    }
}

/// Logs what changes.
fn tell(before: &Plan, next: &Plan, used: &Used, limits: &Limits) {
    let (cpu_us, limit_us) = (used.cpu_us, limits.cpu_us);
    let (bytes, limit_bytes) = (used.resident_bytes, limits.resident_bytes);
    for part in Part::ALL {
        let (old, new, name) = (before.level(part), next.level(part), part.text());
        match (old.shed, new.shed) {
            (None, Some(Why::Cpu)) => {
                tracing::warn!(part = name, cpu_us, limit_us, "left out to keep the processor budget");
            }
            (None, Some(Why::Memory)) => {
                tracing::warn!(part = name, bytes, limit_bytes, "left out to keep the memory budget");
            }
            (Some(_), None) => tracing::info!(part = name, "taken up again, the budget has room"),
            _ if old.stretch < new.stretch => {
                tracing::info!(
                    part = name,
                    stretch = new.stretch,
                    cpu_us,
                    limit_us,
                    "done less often to keep the budget"
                );
            }
            _ => {}
        }
    }
    if before.base() != next.base() {
        let stretch = next.base();
        tracing::warn!(stretch, cpu_us, limit_us, "all intervals changed to keep the processor budget");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: memory::Memory = memory::Memory { resident_bytes: 1 << 20, cgroup_bytes: None };

    #[test]
    fn what_uses_too_much_is_stretched_then_left_out_and_comes_back() {
        let stats = Stats::default();
        let config = BudgetConfig { cpu_percent: 10, memory_bytes: 0, ..BudgetConfig::default() };
        let mut budget = Budget::new(config);
        let mut window = |goroutines_us: u64, rest_us: u64| {
            stats.cpu_us.add(rest_us);
            stats.spent(Part::Goroutines, goroutines_us);
            budget.step(&stats, WINDOW, || SMALL);
            (stats.level(Part::Goroutines).0, stats.is_shed(Part::Goroutines))
        };
        assert_eq!(window(1_000_000, 1_000_000), (1, None));
        for want in [2, 4, 8, 16] {
            assert_eq!(window(2_500_000, 1_000_000), (want, None));
        }
        assert_eq!(window(2_500_000, 1_000_000), (16, Some(Why::Cpu)), "what nobody would miss more goes with it");
        assert_eq!(stats.is_shed(Part::Pprof), Some(Why::Cpu));
        for _ in 0..400 {
            window(0, 100_000);
        }
        assert_eq!(window(0, 100_000), (1, None));
        assert_eq!(stats.stretch.get(), 1);
    }

    #[test]
    fn memory_is_kept_too_and_no_limit_is_none() {
        let full = || memory::Memory { resident_bytes: 100 << 20, cgroup_bytes: None };
        let stats = Stats::default();
        let mut budget =
            Budget::new(BudgetConfig { cpu_percent: 0, memory_bytes: 64 << 20, ..BudgetConfig::default() });
        budget.step(&stats, Duration::from_secs(1), full);
        assert_eq!(stats.short_of_memory.get(), 0, "a window is not over");
        for _ in 0..4 {
            budget.step(&stats, WINDOW, full);
        }
        assert_eq!((stats.is_shed(Part::Pprof), stats.is_shed(Part::Profiles)), (Some(Why::Memory), Some(Why::Memory)));
        assert_eq!(stats.short_of_memory.get(), 1);
        let free = Stats::default();
        let mut budget = Budget::new(BudgetConfig { cpu_percent: 0, memory_bytes: 0, ..BudgetConfig::default() });
        free.cpu_us.add(u64::MAX / 2);
        budget.step(&free, WINDOW, full);
        assert!(Part::ALL.into_iter().all(|part| free.level(part) == (1, None)));
    }

    #[test]
    fn a_part_that_works_seldom_has_its_cost() {
        let mut rate = Rate::default();
        assert_eq!(rate.step(600, WINDOW), 600);
        assert_eq!(rate.step(600, WINDOW), 600, "not yet known how seldom");
        assert_eq!([rate.step(600, WINDOW), rate.step(600, WINDOW)], [300, 200]);
        assert_eq!(rate.step(1_200, WINDOW), 150, "every four windows");
        assert_eq!(rate.step(1_200, WINDOW), 150);
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
