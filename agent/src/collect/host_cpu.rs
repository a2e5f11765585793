//! Processor time by core and mode, and the counters beside it, from `/proc/stat` (`proc_stat(5)`).

use std::collections::HashMap;

use super::{CollectError, Collector, float, read_proc};
use crate::readings::{Metric, Readings};

const CPU: Metric = Metric::counter("node_cpu_seconds_total", "Seconds each core spent in each mode.");
const GUEST: Metric = Metric::counter(
    "node_cpu_guest_seconds_total",
    "Seconds each core spent for guests, which are part of modes user and nice too.",
);
const SWITCHES: Metric = Metric::counter("node_context_switches_total", "Context switches.");
const FORKS: Metric = Metric::counter("node_forks_total", "Processes and threads created.");
const INTERRUPTS: Metric = Metric::counter("node_intr_total", "Interrupts serviced.");
const RUNNING: Metric = Metric::gauge("node_procs_running", "Threads that run or are ready to run.");
const BLOCKED: Metric = Metric::gauge("node_procs_blocked", "Threads that wait for input or output.");

/// Columns of a `cpuN` line.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];

/// A core whose idle time falls by more than this was taken away and came back, so that its counters began anew.
const CORE_RESET_SECONDS: u64 = 3;

/// Reads `/proc/stat`.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    cores: HashMap<u32, [u64; COLUMNS]>,
}

/// Columns of a `cpuN` line that are read.
const COLUMNS: usize = MODES.len() + GUEST_MODES.len();
/// Column of idle time.
const IDLE: usize = 3;

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let text = read_proc("/proc/stat")?;
        self.write(&text, procfs::ticks_per_second(), out);
        Ok(())
    }
}

impl Cpu {
    fn write(&mut self, text: &str, ticks_per_second: u64, out: &mut Readings) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(key) = words.next() else { continue };
            let mut numbers = words.map_while(|word| word.parse::<u64>().ok());
            match key {
                "ctxt" => push(out, &SWITCHES, numbers.next()),
                "processes" => push(out, &FORKS, numbers.next()),
                "intr" => push(out, &INTERRUPTS, numbers.next()),
                "procs_running" => push(out, &RUNNING, numbers.next()),
                "procs_blocked" => push(out, &BLOCKED, numbers.next()),
                _ => {
                    let Some(core) = key.strip_prefix("cpu").and_then(|core| core.parse::<u32>().ok()) else {
                        continue;
                    };
                    let read: Vec<u64> = numbers.take(COLUMNS).collect();
                    let ticks = self.only_growing(core, &read, ticks_per_second);
                    let seconds = ticks.iter().map(|ticks| float(*ticks) / float(ticks_per_second));
                    let modes = MODES.iter().map(|mode| (&CPU, *mode));
                    let guests = GUEST_MODES.iter().map(|mode| (&GUEST, *mode));
                    for ((metric, mode), seconds) in modes.chain(guests).zip(seconds).take(read.len()) {
                        out.push(metric, &[("cpu", &core.to_string()), ("mode", mode)], seconds);
                    }
                }
            }
        }
    }

    /// What `read` says of `core`, or said before where it has fallen: the kernel's idle and iowait times can go back a
    /// little, which `rate` would take for a restart of the counter.
    fn only_growing(&mut self, core: u32, read: &[u64], ticks_per_second: u64) -> [u64; COLUMNS] {
        let mut now = [0; COLUMNS];
        for (column, ticks) in now.iter_mut().zip(read) {
            *column = *ticks;
        }
        let before = self.cores.entry(core).or_insert(now);
        if now[IDLE].saturating_add(CORE_RESET_SECONDS * ticks_per_second) < before[IDLE] {
            *before = now;
        }
        for (kept, ticks) in before.iter_mut().zip(now) {
            *kept = ticks.max(*kept);
        }
        *before
    }
}

fn push(out: &mut Readings, metric: &Metric, number: Option<u64>) {
    if let Some(number) = number {
        out.push(metric, &[], float(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stat() {
        let text = "cpu  10 0 0 0\ncpu0 100 2 30 4000 5 6 7 8 9 10\ncpu3 1 2 3 4\nintr 77 1 2 3\nctxt 5\nbtime 1\n\
                    processes 6\nprocs_running 2\nprocs_blocked 0\nsoftirq 1 2\n";
        let mut out = Readings::new(1);
        Cpu::default().write(text, 100, &mut out);
        assert_eq!(out.len(), 8 + 2 + 4 + 5);
        let check = |series, want| assert_eq!(out.value_of(series), Some(want), "{series}");
        check(r#"node_cpu_seconds_total{cpu="0", mode="user"}"#, 1.0);
        check(r#"node_cpu_seconds_total{cpu="0", mode="steal"}"#, 0.08);
        check(r#"node_cpu_guest_seconds_total{cpu="0", mode="nice"}"#, 0.1);
        check(r#"node_cpu_seconds_total{cpu="3", mode="idle"}"#, 0.04);
        check("node_intr_total", 77.0);
        check("node_context_switches_total", 5.0);
        check("node_procs_running", 2.0);
    }

    #[test]
    fn times_that_go_back_a_little_stand_still() {
        let mut cpu = Cpu::default();
        let mut idle_and_iowait = |idle, iowait| {
            let mut out = Readings::new(1);
            cpu.write(&format!("cpu0 0 0 0 {idle} {iowait}\n"), 100, &mut out);
            let value = |mode| out.value_of(&format!("node_cpu_seconds_total{{cpu=\"0\", mode=\"{mode}\"}}"));
            (value("idle").expect("told"), value("iowait").expect("told"))
        };
        assert_eq!(idle_and_iowait(1000, 500), (10.0, 5.0));
        assert_eq!(idle_and_iowait(990, 300), (10.0, 5.0));
        assert_eq!(idle_and_iowait(1100, 501), (11.0, 5.01));
        assert_eq!(idle_and_iowait(100, 2), (1.0, 0.02), "a core that was away begins anew");
    }
}
