//! Reads Go processes from outside: processor time, memory, threads, file descriptors, and one info series with what
//! the executable says of itself.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use procfs::process::{LimitValue, Process, Stat};

use super::discover::{Discovery, GoProcess, Scan};
use crate::collect::{CollectError, Collector, float};
use crate::readings::{Metric, Readings};
use crate::receive::SdkProcesses;

const INFO: Metric = Metric::gauge("metrickit_go_process_info", "What is known of a Go process; always 1.");
const FOUND: Metric = Metric::gauge("metrickit_agent_go_processes", "Go processes that are read.");
const HIDDEN: Metric =
    Metric::gauge("metrickit_agent_hidden_processes", "Processes whose executable the agent has no right to see.");
const BEYOND: Metric =
    Metric::gauge("metrickit_agent_go_processes_beyond_limit", "Go processes left out by go.processes_max.");
const CPU: Metric = Metric::counter("process_cpu_seconds_total", "Processor seconds, user and system.");
const RESIDENT: Metric = Metric::gauge("process_resident_memory_bytes", "Memory in RAM.");
const VIRTUAL: Metric = Metric::gauge("process_virtual_memory_bytes", "Address space.");
const THREADS: Metric = Metric::gauge("process_threads", "Threads of the operating system.");
const OPEN_FDS: Metric = Metric::gauge("process_open_fds", "Open file descriptors.");
const MAX_FDS: Metric = Metric::gauge("process_max_fds", "Most open file descriptors.");
const START: Metric = Metric::gauge("process_start_time_seconds", "When it started, in seconds since the Unix epoch.");

/// Names that the agent reads from outside. A page of the same process has them too; there they are left out, so that a
/// series does not come from two sources.
pub const OUTSIDE_NAMES: [&str; 7] =
    [CPU.name, RESIDENT.name, VIRTUAL.name, THREADS.name, OPEN_FDS.name, MAX_FDS.name, START.name];

/// The last scan, for those who read the processes from outside and those who scrape them.
pub type SharedProcesses = Arc<Mutex<Arc<Scan>>>;

/// Scans and publishes what was found to `shared`; what it finds again stays the same there.
///
/// # Errors
///
/// When `/proc` cannot be listed; the last scan stays.
pub fn look(discovery: &mut Discovery, shared: &SharedProcesses) -> std::io::Result<()> {
    let scan = discovery.follow(Instant::now())?;
    let mut known = shared.lock();
    if !known.is_like(&scan) {
        *known = Arc::new(scan);
    }
    Ok(())
}

/// The collector of Go processes.
#[derive(Debug)]
pub struct GoProcesses {
    shared: SharedProcesses,
    sdk: SdkProcesses,
    boot_seconds: Option<u64>,
}

impl GoProcesses {
    /// Reads the processes of the last scan in `shared`.
    pub fn new(shared: SharedProcesses) -> Self {
        Self {
            shared,
            sdk: SdkProcesses::default(),
            // Read once: the kernel computes it anew each time and may differ by a second, the start must not move.
            boot_seconds: procfs::boot_time_secs().ok(),
        }
    }

    /// The same, without what processes in `sdk` push themselves.
    #[must_use]
    pub fn beside(self, sdk: SdkProcesses) -> Self {
        Self { sdk, ..self }
    }

    /// Adds what changes from moment to moment: processor time, memory, threads. Whether the process still lives.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn usage(&self, process: &GoProcess, out: &mut Readings) -> Result<bool, procfs::ProcError> {
        let stat = Process::new(process.life.pid)?.stat()?;
        Ok(self.write_usage(process, &stat, out))
    }

    fn write_usage(&self, process: &GoProcess, stat: &Stat, out: &mut Readings) -> bool {
        if stat.starttime != process.life.start_ticks {
            return false;
        }
        let ticks_per_second = float(procfs::ticks_per_second());
        let mut push = |metric: &Metric, value: f64| self.push(process, metric, value, out);
        push(&CPU, float(stat.utime + stat.stime) / ticks_per_second);
        push(&RESIDENT, float(stat.rss) * float(procfs::page_size()));
        push(&VIRTUAL, float(stat.vsize));
        push(&THREADS, float(stat.num_threads.unsigned_abs()));
        true
    }

    /// Adds a sample unless the process pushes the metric itself.
    fn push(&self, process: &GoProcess, metric: &Metric, value: f64, out: &mut Readings) {
        if !self.sdk.gives(process.life.pid, process.life.start_ticks, metric.name) {
            out.push(metric, &[("job", process.job.as_str()), ("instance", process.instance.as_str())], value);
        }
    }

    fn write(&self, process: &GoProcess, out: &mut Readings) -> Result<(), procfs::ProcError> {
        let handle = Process::new(process.life.pid)?;
        let stat = handle.stat()?;
        if !self.write_usage(process, &stat, out) {
            return Ok(());
        }
        let ticks_per_second = float(procfs::ticks_per_second());
        let mut push = |metric: &Metric, value: f64| self.push(process, metric, value, out);
        if let Some(boot_seconds) = self.boot_seconds {
            push(&START, float(boot_seconds) + float(stat.starttime) / ticks_per_second);
        }
        // These two need the right to trace the process; without it the rest is still worth having.
        if let Ok(count) = handle.fd_count() {
            push(&OPEN_FDS, float(count as u64));
        }
        if let Ok(limits) = handle.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            push(&MAX_FDS, float(most));
        }
        if !self.sdk.gives(process.life.pid, process.life.start_ticks, INFO.name) {
            write_info(process, out);
        }
        Ok(())
    }
}

fn write_info(process: &GoProcess, out: &mut Readings) {
    let build = &process.build;
    out.push(
        &INFO,
        &[
            ("job", process.job.as_str()),
            ("instance", process.instance.as_str()),
            ("name", &process.life.name),
            ("pid", &process.life.pid.to_string()),
            ("go_version", &build.go_version),
            ("path", &build.path),
            ("module", &build.module),
            ("version", &build.version),
            ("revision", &build.revision),
            (
                "modified",
                if build.revision.is_empty() {
                    ""
                } else if build.modified {
                    "true"
                } else {
                    "false"
                },
            ),
        ],
        1.0,
    );
}

impl Collector for GoProcesses {
    fn name(&self) -> &'static str {
        "go"
    }

    fn collect(&mut self, out: &mut Readings) -> Result<(), CollectError> {
        let scan = Arc::clone(&self.shared.lock());
        for process in &scan.processes {
            if let Err(error) = self.write(process, out) {
                tracing::debug!(pid = process.life.pid, name = process.life.name, %error, "process not read");
            }
        }
        out.push(&FOUND, &[], float(scan.processes.len() as u64));
        out.push(&HIDDEN, &[], float(scan.hidden));
        out.push(&BEYOND, &[], float(scan.beyond_limit));
        Ok(())
    }
}
