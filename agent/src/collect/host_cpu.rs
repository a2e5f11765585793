//! Processor time by core and mode, and the counters beside it, from `/proc/stat` (`proc_stat(5)`).

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

/// Reads `/proc/stat`.
#[derive(Debug)]
pub(super) struct Cpu;

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let text = read_proc("/proc/stat")?;
        write(&text, float(procfs::ticks_per_second()), out);
        Ok(())
    }
}

fn write(text: &str, ticks_per_second: f64, out: &mut Readings) {
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
                let core = key.strip_prefix("cpu").filter(|core| core.parse::<u32>().is_ok());
                let Some(core) = core else { continue };
                for (mode, ticks) in MODES.iter().zip(&mut numbers) {
                    out.push(&CPU, &[("cpu", core), ("mode", mode)], float(ticks) / ticks_per_second);
                }
                for (mode, ticks) in GUEST_MODES.iter().zip(&mut numbers) {
                    out.push(&GUEST, &[("cpu", core), ("mode", mode)], float(ticks) / ticks_per_second);
                }
            }
        }
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
        write(text, 100.0, &mut out);
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
}
