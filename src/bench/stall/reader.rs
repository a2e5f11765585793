//! The process beside the program: reads everything of it in its memory, as the agent does, once a second for as many seconds as each
//! line on standard input says.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::budget::CpuMeter;
use agent::collect::Collector as _;
use agent::config::Config;
use agent::go::discover::Scan;
use agent::go::outside::Outside;
use agent::go::ways::Ways;
use agent::go::{Discovery, SharedProcesses};
use agent::readings::Readings;
use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::output::Output;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(1);
/// Time that passes for the collector between two readings: so much that everything is due, whatever it cost.
const STEP_MS: i64 = 86_400_000;

/// Arguments of the hidden `bench stall-reader`.
#[derive(Debug, Args)]
pub(crate) struct StallReaderArgs {
    /// The program to read
    #[arg(long, value_name = "PID")]
    pid: i32,
}

/// What reading cost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) readings: u64,
    pub(super) goroutines_least: u64,
    pub(super) goroutines_most: u64,
    pub(super) cpu_us: u64,
}

impl Cost {
    pub(super) fn add(&mut self, other: &Self) {
        self.goroutines_least =
            if self.readings == 0 { other.goroutines_least } else { self.goroutines_least.min(other.goroutines_least) };
        self.goroutines_most = self.goroutines_most.max(other.goroutines_most);
        self.readings += other.readings;
        self.cpu_us += other.cpu_us;
    }

    pub(super) fn cpu_ms_each(&self) -> f64 {
        self.cpu_us as f64 / 1000.0 / self.readings.max(1) as f64
    }
}

/// Reads until standard input ends.
pub(crate) fn run(args: &StallReaderArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut scan = Discovery::new("bench", Vec::new(), usize::MAX).scan().context("looking for the program")?;
    scan.processes.retain(|process| process.life.pid == args.pid);
    let life = scan.processes.first().context("no such Go process")?.life.clone();
    let processes = SharedProcesses::default();
    *processes.lock() = Arc::new(Scan { processes: scan.processes, ..Scan::default() });
    let mut outside = Outside::new(Config::default().go.memory, processes, Ways::default());
    let censuses = outside.censuses();
    let mut now_ms = 0;
    for line in std::io::stdin().lock().lines() {
        let seconds: u64 = line?.trim().parse().context("a number of seconds")?;
        let mut cost = Cost::default();
        let started = Instant::now();
        for reading in 0..seconds {
            // Half a second off the ends of the window.
            let due = started + EVERY / 2 + EVERY * u32::try_from(reading).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            now_ms += STEP_MS;
            let meter = CpuMeter::start();
            let mut out = Readings::new(now_ms);
            outside.collect(&mut out)?;
            let cpu_us = meter.elapsed_us();
            let looked_at = censuses.lock().get(&life).map_or(0, |census| census.looked_at);
            cost.add(&Cost { readings: 1, goroutines_least: looked_at, goroutines_most: looked_at, cpu_us });
        }
        output.line(&serde_json::to_string(&cost)?)?;
        std::io::stdout().flush()?;
    }
    Ok(())
}
