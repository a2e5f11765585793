//! What series cost that are replaced by others every hour, and how long a start takes.
//!
//! `cargo run --release -p storage --example churn -- hours SERIES HOURS replaced|kept FOLDER` writes SERIES series every five
//! minutes, for HOURS hours of a clock of its own; every hour all of them are others, or the same. Then it prints what the
//! process takes. `… -- start FOLDER` opens what that has left, and prints how long it took.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "of figures for people")]

mod fleet;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{ManualClock, MatchOp, Matcher, SampleSink, Samples, SeriesSource, TimeRange, TimestampMs, WriteBatch};
use storage::{Durability, Engine, EngineOptions};

use fleet::labels;

const START_MS: i64 = 1_700_006_400_000;
const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 300_000;
const BATCH_SERIES: u32 = 5000;

fn options() -> EngineOptions {
    EngineOptions { durability: Durability::Off, background: false, future_lead_ms: None, ..EngineOptions::default() }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0u32);
    let text = |at: usize| arguments.get(at).map_or("", String::as_str);
    match text(0) {
        "hours" => hours(number(1), number(2), text(3) == "replaced", Path::new(text(4))),
        "start" => start(Path::new(text(1))),
        _ => println!("hours SERIES HOURS replaced|kept FOLDER, or start FOLDER"),
    }
}

fn hours(series: u32, hours: u32, replaced: bool, folder: &Path) {
    let clock = Arc::new(ManualClock::new(TimestampMs(START_MS)));
    let engine = Engine::open(folder, options(), clock.clone()).expect("opens");
    let mut batch = WriteBatch::new();
    let mut spent = Duration::ZERO;
    for step in 0..i64::from(hours) * HOUR_MS / STEP_MS {
        let at_ms = START_MS + step * STEP_MS;
        clock.set(TimestampMs(at_ms));
        let hour = u32::try_from(step * STEP_MS / HOUR_MS).expect("few");
        let first = if replaced { hour * series } else { 0 };
        for start in (first..first + series).step_by(BATCH_SERIES as usize) {
            batch.clear();
            for at in start..(first + series).min(start + BATCH_SERIES) {
                batch.push_series(labels(at).as_ref());
                batch.push_sample(at_ms, f64::from(at % 100) + f64::from(hour));
            }
            let cpu = cpu_time();
            engine.append(&batch).expect("appended");
            spent += cpu_time().saturating_sub(cpu);
        }
        // As the threads of an engine do by the clock.
        if step % (2 * HOUR_MS / STEP_MS) == 0 {
            engine.flush().expect("flushed");
        }
        engine.maintain().expect("maintained");
    }
    let stats = engine.stats();
    println!("{:?}", stats.index);
    println!(
        "{} series; resident: {} MiB, of which {} MiB anonymous; appends took {:.2} s of CPU",
        stats.series,
        memory("VmRSS") >> 10,
        memory("RssAnon") >> 10,
        spent.as_secs_f64()
    );
    let each = stats.index.file_bytes as f64 / (stats.index.cold.max(1)) as f64;
    println!("index: {each:.1} bytes a cold series; catalog: {} KiB", stats.catalog_bytes >> 10);
    select(&engine);
    engine.close().expect("closed");
}

fn start(folder: &Path) {
    let clock = Arc::new(ManualClock::new(TimestampMs(START_MS + 48 * HOUR_MS)));
    let (cpu, started) = (process_time(), Instant::now());
    let engine = Engine::open(folder, options(), clock).expect("opens");
    let (took, cpu) = (started.elapsed(), process_time() - cpu);
    println!("open: {took:?}, {cpu:.2} s of CPU; {:?}", engine.stats().index);
    println!("resident: {} MiB, of which {} MiB anonymous", memory("VmRSS") >> 10, memory("RssAnon") >> 10);
    select(&engine);
}

/// What queries over cold series take: each is asked twice, as the second finds warm what the first has read.
fn select(engine: &Engine) {
    let scattered = Matcher::new("pod", MatchOp::Regex, "checkout-7d9f8b6c54-000.*").expect("valid");
    let rare = Matcher::equal("pod", "payments-7d9f8b6c54-000002");
    for (what, matchers) in [("rare label", vec![rare]), ("40 of each 160", vec![scattered])] {
        for _ in 0..2 {
            let (cpu, started) = (cpu_time(), Instant::now());
            let set = engine.select(&matchers, TimeRange::ALL, usize::MAX).expect("selected");
            let cpu = cpu_time().saturating_sub(cpu);
            println!("{what}: {} series in {:?}, {cpu:?} of CPU", set.len(), started.elapsed());
        }
    }
    for _ in 0..2 {
        let (cpu, started) = (cpu_time(), Instant::now());
        let values = engine.label_values("pod", &[], TimeRange::ALL).expect("read");
        let cpu = cpu_time().saturating_sub(cpu);
        println!("label values: {} in {:?}, {cpu:?} of CPU", values.len(), started.elapsed());
    }
    // As `count({__name__!=""})` reads them.
    for _ in 0..2 {
        let (cpu, started) = (cpu_time(), Instant::now());
        let set = engine.select_newest(&[], TimeRange::ALL, usize::MAX).expect("selected");
        let selected = cpu_time().saturating_sub(cpu);
        let (mut samples, mut count) = (Samples::default(), 0);
        for at in 0..set.len() {
            set.read(at, &mut samples).expect("read");
            count += usize::from(!samples.is_empty());
        }
        let cpu = cpu_time().saturating_sub(cpu);
        println!(
            "count: {count} series in {:?}, {cpu:?} of CPU, {selected:?} until they were selected",
            started.elapsed()
        );
    }
    println!("then resident: {} MiB, of which {} MiB anonymous", memory("VmRSS") >> 10, memory("RssAnon") >> 10);
}

/// User and system time of this thread.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(stat.split(' ').next().and_then(|text| text.parse().ok()).expect("a number"))
}

/// Seconds of user and system time of all threads, those that have ended too.
fn process_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A row of the process's status, in KiB.
fn memory(row: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
