//! What an agent says of itself, put together from what its threads count.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Clock;
use model::control::{AgentQueue, AgentShed, CheckIn, HOSTS_MAX, NAME_BYTES_MAX, ProcessName};
use parking_lot::Mutex;
use procfs::process::Process;

use crate::go::{GoProcess, Scan, SharedProcesses};
use crate::queue::SharedQueue;
use crate::stats::Stats;

/// Time over which processor time of late is told, at least.
const CPU_WINDOW: Duration = Duration::from_secs(10);

/// Knows what there is to say. Clones share it.
#[derive(Debug, Clone)]
pub struct Teller {
    name: String,
    environment: String,
    run: u64,
    started_ms: i64,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    queue: SharedQueue,
    processes: SharedProcesses,
    cpu: Arc<Mutex<CpuOfLate>>,
}

#[derive(Debug)]
struct CpuOfLate {
    since: Instant,
    used_us: u64,
    percent: f64,
}

impl Teller {
    /// Tells of the agent `name` of `environment`, which starts now.
    pub fn new(
        (name, environment): (&str, &str),
        clock: &Arc<dyn Clock>,
        stats: &Arc<Stats>,
        queue: &SharedQueue,
        processes: &SharedProcesses,
    ) -> Self {
        Self {
            name: name.to_owned(),
            environment: environment.to_owned(),
            // As JSON's numbers are exact.
            run: fastrand::u64(1..1 << 53),
            started_ms: clock.now().0,
            clock: Arc::clone(clock),
            stats: Arc::clone(stats),
            queue: Arc::clone(queue),
            processes: Arc::clone(processes),
            cpu: Arc::new(Mutex::new(CpuOfLate { since: Instant::now(), used_us: stats.cpu_us.get(), percent: 0.0 })),
        }
    }

    /// What there is to say now, tasks and profile aside.
    pub fn tell(&self) -> CheckIn {
        let now_ms = self.clock.now().0;
        let held = self.queue.lock().state();
        let stats = &self.stats;
        // Everybody else waits for the lock: it is not held while anything is made of it.
        let scan = Arc::clone(&self.processes.lock());
        CheckIn {
            agent: self.name.clone(),
            run: self.run,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: self.environment.clone(),
            started_ms: self.started_ms,
            now_ms,
            queue: AgentQueue {
                samples: held.samples_waiting,
                bytes: held.disk_bytes,
                lag_ms: match held.oldest_ms {
                    Some(oldest_ms) if held.samples_waiting > 0 => {
                        now_ms.saturating_sub(oldest_ms).max(0).unsigned_abs()
                    }
                    _ => 0,
                },
            },
            shed: AgentShed {
                parts: stats.shed_parts().map(|(part, why)| format!("{}: {}", part.text(), why.text())).collect(),
                stretch: stats.stretch.get().max(1),
                rounds_late: stats.rounds_late.get(),
                samples_dropped: held.dropped_bytes_cap
                    + held.dropped_age_cap
                    + held.lost
                    + stats.samples_rejected.get(),
            },
            cpu_seconds: Duration::from_micros(stats.cpu_us.get()).as_secs_f64(),
            cpu_percent: self.cpu_percent(),
            resident_bytes: resident_bytes(),
            hosts: hosts_but(&self.name, &scan),
            go_processes: scan.processes.len() as u64,
            ..CheckIn::default()
        }
    }

    fn cpu_percent(&self) -> f64 {
        let mut cpu = self.cpu.lock();
        let (elapsed, used_us) = (cpu.since.elapsed(), self.stats.cpu_us.get());
        let percent =
            |used_us: u64| 100.0 * Duration::from_micros(used_us).as_secs_f64() / elapsed.as_secs_f64().max(1e-3);
        let percent = percent(used_us.saturating_sub(cpu.used_us));
        if elapsed < CPU_WINDOW {
            // The first window is told before it is over, later ones are not.
            return if cpu.percent > 0.0 { cpu.percent } else { percent };
        }
        *cpu = CpuOfLate { since: Instant::now(), used_us, percent };
        percent
    }
}

/// Hosts other than `name` that processes call themselves by.
fn hosts_but(name: &str, scan: &Scan) -> Vec<String> {
    let host = |process: &GoProcess| ProcessName::new("", &process.instance).agent().to_owned();
    let hosts: BTreeSet<String> = scan.processes.iter().map(host).collect();
    let other = |host: &String| host != name && host.len() <= NAME_BYTES_MAX;
    hosts.into_iter().filter(other).take(HOSTS_MAX).collect()
}

fn resident_bytes() -> u64 {
    let pages = Process::myself().and_then(|own| own.stat()).map_or(0, |stat| stat.rss);
    pages.saturating_mul(procfs::page_size())
}

#[cfg(test)]
mod tests {
    use model::SystemClock;

    use super::*;
    use crate::config::Config;
    use crate::go::identity::Life;
    use crate::queue::Queue;

    #[test]
    fn what_is_told_is_of_one_look_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.queue.folder = folder.path().to_owned();
        let queue: SharedQueue = Arc::new(Mutex::new(Queue::open(&config.queue).expect("a queue")));
        let (clock, stats) = (Arc::new(SystemClock) as Arc<dyn Clock>, Arc::new(Stats::default()));
        let (processes, (tell, told)) = (SharedProcesses::default(), std::sync::mpsc::channel());
        let teller = Teller::new(("web1", "dev"), &clock, &stats, &queue, &processes);
        std::thread::spawn(move || drop(tell.send(Box::new(teller.tell()))));
        let said = told.recv_timeout(Duration::from_mins(1)).expect("it waits for nobody, itself included");
        assert_eq!((said.agent.as_str(), said.go_processes), ("web1", 0));
        assert!(processes.try_lock().is_some());
    }

    #[test]
    fn hosts_that_programs_call_themselves_by() {
        let process = |instance: &str| GoProcess {
            life: Life { start_ticks: 1, pid: 7, name: "api".to_owned() },
            job: "api".to_owned(),
            instance: instance.to_owned(),
            build: Arc::default(),
            same_network: true,
        };
        let long = format!("{}/0", "x".repeat(NAME_BYTES_MAX + 1));
        let all = ["web1/0", "box/0", "box/1", "alone", &long];
        let scan = Scan { processes: all.into_iter().map(process).collect(), ..Scan::default() };
        assert_eq!(hosts_but("web1", &scan), ["alone", "box"]);
    }
}
