//! What reading one series takes, by where its samples lie.
//!
//! `cargo bench -p storage --bench read -- [series] [samples]`: `series` series (10,000) of `samples` samples (240), each read
//! whole; time is CPU time of one thread, the best of five passes.

#![expect(clippy::print_stdout, clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "a bench")]

use std::sync::Arc;
use std::time::Duration;

use model::{Labels, SampleSink, Samples, SeriesSource, SystemClock, TimeRange, WriteBatch};
use storage::{Durability, Engine, EngineOptions};

const START_MS: i64 = 1_700_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (series, samples) = (number(0, 10_000usize), number(1, 240));
    let options = EngineOptions {
        durability: Durability::Off,
        retention_ms: None,
        background: false,
        flush_log_bytes: 1 << 40,
        head_bytes_max: 1 << 40,
        ..EngineOptions::default()
    };
    let parts = |of: usize| (0..of).map(move |part| samples * part / of..samples * (part + 1) / of);
    for (case, times, flushed) in [
        ("head", parts(1).collect(), 0),
        ("one block", parts(1).collect(), 1),
        ("block, then head", parts(2).collect(), 1),
        ("four blocks in a row", parts(4).collect(), 4),
        ("two blocks of the same times", vec![0..samples, 0..samples], 2),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Engine::open(folder.path(), options.clone(), Arc::new(SystemClock)).expect("opens");
        for (at, times) in times.iter().enumerate() {
            append(&engine, series, times.clone());
            if at < flushed {
                engine.flush().expect("flushed");
            }
        }
        let set = engine.select(&[], TimeRange::ALL, usize::MAX).expect("selected");
        let (mut into, mut best) = (Samples::default(), Duration::MAX);
        for _ in 0..5 {
            let begun = cpu_time();
            for at in 0..set.len() {
                set.read(at, &mut into).expect("read");
                assert_eq!(into.len(), samples, "all are read");
            }
            best = best.min(cpu_time().saturating_sub(begun));
        }
        println!("{case}: {:.2} us a series", best.as_secs_f64() * 1e6 / series as f64);
    }
}

fn append(engine: &Engine, series: usize, times: std::ops::Range<usize>) {
    let random = &mut fastrand::Rng::with_seed(1);
    let sets: Vec<Labels> = (0..series).map(labels).collect();
    let mut counters = vec![0.0f64; series];
    let mut batch = WriteBatch::new();
    for time in times {
        batch.clear();
        for (at, counter) in counters.iter_mut().enumerate() {
            // Half stay as they are, a third count, the rest are gauges with a fraction.
            match at % 6 {
                0..3 => {}
                3..5 => *counter += f64::from(random.u8(0..20)),
                _ => *counter = f64::from(random.u32(0..100_000)) / 100.0,
            }
            batch.push_series(sets[at].as_ref());
            batch.push_sample(START_MS + time as i64 * 15_000, *counter);
        }
        engine.append(&batch).expect("appended");
    }
}

fn labels(at: usize) -> Labels {
    let pairs = [("__name__", format!("metric_{}", at % 200)), ("instance", (at / 200).to_string())];
    Labels::from_pairs(pairs).expect("valid labels")
}

/// User and system time of this thread, the process's first.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let nanos = stat.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}
