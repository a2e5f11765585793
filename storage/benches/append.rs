//! How fast one thread appends, what a series and a sample take, and how fast the log is replayed.
//!
//! `cargo bench -p storage --bench append -- [series] [rounds] [sync|off] [flush]`: batches of 5,000 samples over `series`
//! series (10,000), each with one sample a round (360), labels as a Kubernetes target has them.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a bench")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Labels, SampleSink, Samples, SeriesSource, SystemClock, TimeRange, WriteBatch};
use storage::{Durability, Engine, EngineOptions};

const BATCH_SAMPLES: usize = 5000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (series, rounds) = (number(0, 10_000usize), number(1, 360usize));
    let durability =
        if arguments.get(2).is_some_and(|text| text == "off") { Durability::Off } else { Durability::Sync };
    let options = EngineOptions {
        durability,
        retention_ms: None,
        background: false,
        flush_log_bytes: 1 << 30,
        ..EngineOptions::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let sets: Vec<Labels> = (0..series).map(labels).collect();
    let before_bytes = resident_bytes();
    let engine = Engine::open(folder.path(), options.clone(), Arc::new(SystemClock)).expect("opens");
    let mut random = fastrand::Rng::with_seed(1);
    let mut counters = vec![0.0f64; series];
    let mut batch = WriteBatch::new();
    let (mut spent, mut wall) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        for start in (0..series).step_by(BATCH_SAMPLES) {
            batch.clear();
            for at in start..series.min(start + BATCH_SAMPLES) {
                // Half stay as they are, a third count, the rest are gauges with a fraction.
                counters[at] = match at % 6 {
                    0..3 => counters[at],
                    3..5 => counters[at] + f64::from(random.u8(0..20)),
                    _ => f64::from(random.u32(0..100_000)) / 100.0,
                };
                batch.push_series(sets[at].as_ref());
                batch.push_sample(1_700_000_000_000 + i64::try_from(round).expect("few") * 15_000, counters[at]);
            }
            let (cpu, clock) = (cpu_time(), Instant::now());
            engine.append(&batch).expect("appended");
            spent += cpu_time().saturating_sub(cpu);
            wall += clock.elapsed();
        }
        if round == 0 {
            let each = (resident_bytes() - before_bytes) / series as u64;
            println!(
                "after one round: {each} resident bytes a series, {} us of CPU a new series",
                micros(spent, series)
            );
            (spent, wall) = (Duration::ZERO, Duration::ZERO);
        }
    }
    let samples = series * (rounds - 1);
    println!(
        "append: {:.2} million samples per CPU second, {:.2} per second",
        rate(samples, spent),
        rate(samples, wall)
    );
    let stats = engine.stats();
    let all = (series * rounds) as f64;
    println!(
        "log: {:.2} bytes a sample; head: {:.2} bytes a sample",
        stats.log_bytes as f64 / all,
        stats.head_bytes as f64 / all
    );
    println!(
        "resident: {} bytes a series with {rounds} samples each",
        (resident_bytes() - before_bytes) / series as u64
    );
    if arguments.get(3).is_some_and(|text| text == "flush") {
        engine.flush().expect("flushed");
        let each = resident_bytes().saturating_sub(before_bytes) / series as u64;
        println!("resident: {each} bytes a series after a flush without replay");
        return;
    }
    drop(engine);
    replay_flush_read(folder.path(), options, stats.log_bytes, series * rounds, series);
}

/// Opens the folder again, reads it from the head, flushes, and reads it from the block.
fn replay_flush_read(folder: &Path, options: EngineOptions, log_bytes: u64, samples: usize, series: usize) {
    let (cpu, started) = (cpu_time(), Instant::now());
    let engine = Engine::open(folder, options, Arc::new(SystemClock)).expect("opens");
    let spent = cpu_time().saturating_sub(cpu);
    println!("replay: {} MiB of log in {:?}, {spent:?} of CPU", log_bytes >> 20, started.elapsed());
    println!("head: {:.2} million samples per second", rate(samples, read_all(&engine)));
    let (cpu, started) = (cpu_time(), Instant::now());
    engine.flush().expect("flushed");
    println!("flush: {:?}, {:?} of CPU", started.elapsed(), cpu_time().saturating_sub(cpu));
    let stats = engine.stats();
    println!("blocks: {:.3} bytes a sample in {} files", stats.block_bytes as f64 / samples as f64, stats.blocks);
    println!("catalog: {} bytes a series", stats.catalog_bytes / series as u64);
    println!("blocks: {:.2} million samples per second", rate(samples, read_all(&engine)));
}

/// Selects and reads everything; returns how long the reading took.
fn read_all(engine: &Engine) -> Duration {
    let started = Instant::now();
    let set = engine.select(&[], TimeRange::ALL, usize::MAX).expect("selected");
    println!("select: {} series in {:?}", set.len(), started.elapsed());
    let mut samples = Samples::default();
    let started = Instant::now();
    for at in 0..set.len() {
        set.read(at, &mut samples).expect("read");
    }
    started.elapsed()
}

fn labels(at: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("go_metric_number_{}_seconds_total", at % 300)),
        ("cluster", "production-eu-west-1".to_owned()),
        ("container", "application".to_owned()),
        ("instance", format!("10.0.{}.{}:8080", at / 300 / 250, at / 300 % 250)),
        ("job", "kubernetes-pods".to_owned()),
        ("namespace", format!("team-{}", at / 300 % 7)),
        ("pod", format!("application-7c9f8d6b5-{:05}", at / 300)),
    ])
    .expect("valid labels")
}

fn rate(samples: usize, spent: Duration) -> f64 {
    samples as f64 / spent.as_secs_f64() / 1e6
}

fn micros(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let nanos = stat.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}
