//! Bytes and speed of the column codings and of whole blocks, on columns like those of real Go processes.
//!
//! `cargo bench -p storage --bench codec`. Prints; asserts nothing.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, clippy::unwrap_used, reason = "a bench")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::{Samples, TimeRange};
use storage::block::{BlockReader, BlockWriter, ColumnCache};
use storage::codec::values::{ValueEncoder, decode};
use storage::codec::{Effort, gorilla};
use storage::files::RealFiles;

/// A column of one kind; the shares are those of 2.5 million samples of five Go servers.
fn column(kind: usize, count: usize, random: &mut fastrand::Rng) -> Vec<f64> {
    let mut level = random.u64(0..1_000_000) as f64;
    let rate = random.u64(1..50);
    let busy = random.f64();
    let next = |_| {
        match kind % 100 {
            0..56 => {}
            // Counters, most of them quiet most of the time.
            56..78 => level += if random.f64() < busy * busy { random.u64(0..rate) as f64 } else { 0.0 },
            78..84 => level += random.u64(0..1 << 20) as f64 * 8.0,
            // Gauges around a level.
            84..94 => level = (level + (random.i64(-3..4) as f64)).max(0.0),
            94..98 => level = (random.u64(0..100_000) as f64 / 100.0).max(0.0),
            _ => level += random.f64() / 1e3,
        }
        level
    };
    (0..count).map(next).collect()
}

/// Seconds that `work` takes, the best of three.
fn seconds(mut work: impl FnMut()) -> f64 {
    let run = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..3).map(|_| run(&mut work)).fold(f64::INFINITY, f64::min)
}

fn bench_columns(count: usize, effort: Effort) {
    let mut random = fastrand::Rng::with_seed(1);
    let columns: Vec<Vec<f64>> = (0..500).map(|kind| column(kind, count, &mut random)).collect();
    let mut encoder = ValueEncoder::new();
    let mut chunks = Vec::new();
    let encode_s = seconds(|| {
        chunks.clear();
        for column in &columns {
            let mut bytes = Vec::new();
            let coding = encoder.encode(column, effort, &mut bytes);
            chunks.push((coding, bytes));
        }
    });
    let mut out = Vec::new();
    let decode_s = seconds(|| {
        for (coding, bytes) in &chunks {
            out.clear();
            decode(*coding, bytes, count, &mut out).unwrap();
            black_box(&out);
        }
    });
    let samples = (columns.len() * count) as f64;
    let bytes: usize = chunks.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "values {effort:?} chunks of {count}: {:.3} bytes/sample, encode {:.1} M/s, decode {:.1} M/s",
        bytes as f64 / samples,
        samples / encode_s / 1e6,
        samples / decode_s / 1e6,
    );
    let mut by_coding: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (coding, bytes) in &chunks {
        let entry = by_coding.entry(coding.name()).or_default();
        *entry = (entry.0 + 1, entry.1 + bytes.len());
    }
    for (name, (chunks, bytes)) in by_coding {
        println!("    {name:>14}: {chunks} chunks, {:.3} bytes/sample", bytes as f64 / (chunks * count) as f64);
    }
}

fn bench_gorilla(count: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let columns: Vec<Vec<f64>> = (0..500).map(|kind| column(kind, count, &mut random)).collect();
    let mut chunks = Vec::new();
    let encode_s = seconds(|| {
        chunks.clear();
        for column in &columns {
            let mut chunk = gorilla::GorillaAppender::new();
            column.iter().zip(0i64..).for_each(|(&value, at)| chunk.push(at * 2000, value));
            chunks.push(chunk);
        }
    });
    let mut out = Samples::default();
    let mut bytes = Vec::new();
    let decode_s = seconds(|| {
        for chunk in &chunks {
            bytes.clear();
            out.clear();
            let count = chunk.snapshot_into(&mut bytes);
            gorilla::decode(&bytes, count, &mut out).unwrap();
            black_box(&out);
        }
    });
    let samples = (columns.len() * count) as f64;
    let used: usize = chunks.iter().map(gorilla::GorillaAppender::len_bytes).sum();
    println!(
        "head chunks of {count}: {:.3} bytes/sample, append {:.1} M/s, decode {:.1} M/s",
        used as f64 / samples,
        samples / encode_s / 1e6,
        samples / decode_s / 1e6,
    );
}

fn bench_block(count: usize, effort: Effort, jitter_ms: i64) {
    let mut random = fastrand::Rng::with_seed(1);
    let series = 5000;
    let mut times = Vec::new();
    let columns: Vec<Samples> = (0..series)
        .map(|kind| {
            if kind % 500 == 0 {
                times = (0i64..).take(count).map(|at| at * 2000 + random.i64(0..=jitter_ms)).collect();
            }
            Samples::from_floats(times.clone(), column(kind, count, &mut random))
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block");
    let mut summary = None;
    let write_s = seconds(|| {
        let mut writer = BlockWriter::create(Arc::new(RealFiles), &path, 0, effort).unwrap();
        for (id, samples) in (0..).zip(&columns) {
            writer.add_series(id, samples).unwrap();
        }
        summary = Some(writer.finish().unwrap());
    });
    let reader = BlockReader::open(&RealFiles, &path, Arc::new(ColumnCache::new(1 << 20))).unwrap();
    let mut out = Samples::default();
    let read_s = seconds(|| {
        for id in 0..series as u64 {
            out.clear();
            reader.read(id, TimeRange::ALL, &mut out).unwrap();
        }
    });
    let summary = summary.unwrap();
    let samples = summary.samples as f64;
    println!(
        "block {effort:?}, {series} series of {count}, jitter {jitter_ms} ms: {:.3} bytes/sample all in, write {:.1} M/s, read {:.1} M/s",
        summary.bytes as f64 / samples,
        samples / write_s / 1e6,
        samples / read_s / 1e6,
    );
}

fn main() {
    for count in [120, 720] {
        bench_gorilla(count);
    }
    for effort in [Effort::Fast, Effort::Small] {
        for count in [60, 120, 240, 720, 1440, 4096] {
            bench_columns(count, effort);
        }
        for (count, jitter_ms) in [(720, 0), (720, 5), (4096, 5), (10_000, 5)] {
            bench_block(count, effort, jitter_ms);
        }
    }
}
