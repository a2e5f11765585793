//! What blocks of recorded and of made-up metrics take: bytes by coding, and the CPU time of writing and merging them.
//!
//! `METRICKIT_RECORDING=FOLDER cargo bench -p storage --bench recording`: the folder has one folder for each target, and in it
//! pages of the text exposition format named `TIMESTAMP_MS.txt.gz`. Without it only the made-up metrics are measured. As
//! the engine does it, four blocks one behind the other are written fast and then merged into one small block.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, clippy::unwrap_used, reason = "a bench")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::exposition::{Entry, TextFormat, TextParser};
use model::{Labels, Samples, TimeRange};
use storage::block::{BlockReader, BlockSummary, BlockWriter, Census, ColumnCache, KeepAll, merge};
use storage::codec::Effort;
use storage::files::RealFiles;

/// Blocks that are merged into one.
const PARTS: i64 = 4;

fn main() {
    if let Ok(folder) = std::env::var("METRICKIT_RECORDING") {
        measure("recorded", &recorded(Path::new(&folder)));
    }
    for samples in [96, 720, 8640] {
        measure("made up", &made_up(4_000_000 / samples / 20 * 20, samples));
    }
}

/// Every series of the recording, target by target, in order of first appearance.
fn recorded(folder: &Path) -> Vec<Samples> {
    let mut all: Vec<Samples> = Vec::new();
    for target in sorted(folder) {
        let mut known: BTreeMap<Labels, usize> = BTreeMap::new();
        for page in sorted(&target) {
            let name = page.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(page_ms) = name.strip_suffix(".txt.gz").and_then(|text| text.parse().ok()) else { continue };
            let mut text = String::new();
            // A page that is being written is cut off; the series it lacks have a gap then, as real ones do.
            let _ = flate2::read::GzDecoder::new(fs::File::open(&page).unwrap()).read_to_string(&mut text);
            let mut parser = TextParser::new(&text, TextFormat::Prometheus);
            while let Some(entry) = parser.next_entry() {
                let Ok(Entry::Sample { labels, value, timestamp_ms }) = entry else { continue };
                let Ok(set) = labels.build() else { continue };
                let at = *known.entry(set).or_insert_with(|| {
                    all.push(Samples::default());
                    all.len() - 1
                });
                let at_ms = timestamp_ms.unwrap_or(page_ms);
                if all[at].timestamps_ms.last().is_none_or(|&last_ms| last_ms < at_ms) {
                    all[at].push(at_ms, value);
                }
            }
        }
    }
    all
}

fn sorted(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Bursty counters, noisy gauges, and what stands still, in the shares of a fleet of services, scraped every ten seconds.
fn made_up(series: usize, samples: usize) -> Vec<Samples> {
    let mut random = fastrand::Rng::with_seed(1);
    let one = |at: usize| {
        let pace = f64::from(random.u32(1..200));
        let mut value = f64::from(random.u32(0..1_000_000));
        let next = |_| {
            match at % 20 {
                0..7 => {}
                7..14 => value += f64::from(random.u32(0..20)) * pace,
                14..18 => value = (value + f64::from(random.i32(-10..=10)) * pace).max(0.0),
                18 => value = (value * 100.0 + f64::from(random.u32(0..300))).round() / 100.0,
                _ => value += random.f64(),
            }
            value
        };
        let values = (0..samples).map(next).collect();
        Samples::from_floats((0i64..).take(samples).map(|at| at * 10_000).collect(), values)
    };
    (0..series).map(one).collect()
}

fn measure(what: &str, series: &[Samples]) {
    let folder = tempfile::tempdir().unwrap();
    let first_ms = series.iter().filter_map(|samples| samples.timestamps_ms.first()).min().copied().unwrap_or(0);
    let last_ms = series.iter().filter_map(|samples| samples.timestamps_ms.last()).max().copied().unwrap_or(0);
    let days = (storage::block::day_of(first_ms), storage::block::day_of(last_ms));
    let path = |name: &str| folder.path().join(name);
    let writer = |name: &str, effort| {
        BlockWriter::create_spanning(Arc::new(RealFiles), &path(name), days.0, days.1, effort).unwrap()
    };
    let open = |name: &str| BlockReader::open(&RealFiles, &path(name), Arc::new(ColumnCache::new(32 << 20))).unwrap();
    let mut parts = Vec::new();
    let (mut written, mut written_cpu) = (0, Duration::ZERO);
    for part in 0..PARTS {
        let at_ms = |part: i64| first_ms + (last_ms + 1 - first_ms) * part / PARTS;
        let range = at_ms(part)..at_ms(part + 1);
        let name = format!("part-{part}");
        let cut: Vec<Samples> = series.iter().map(|samples| cut(samples, range.clone())).collect();
        let started = cpu_time();
        let mut writer = writer(&name, Effort::Fast);
        for (id, samples) in (0..).zip(&cut) {
            writer.add_series(id, samples).unwrap();
        }
        written += writer.finish().unwrap().bytes;
        written_cpu += spent_since(started);
        parts.push(open(&name));
    }
    let started = cpu_time();
    let summary = merge(&parts.iter().collect::<Vec<_>>(), &mut KeepAll, writer("merged", Effort::Small)).unwrap();
    let merge_cpu = spent_since(started);
    let summary = summary.unwrap();
    let samples = summary.samples as f64;
    let each = |spent: Duration| spent.as_nanos() as f64 / samples;
    println!(
        "{what}: {} series, {} samples, {:.0} a series",
        summary.series,
        summary.samples,
        samples / summary.series as f64
    );
    println!("  {PARTS} blocks: {:.4} bytes and {:.0} ns a sample", written as f64 / samples, each(written_cpu));
    println!("  merged:   {:.4} bytes and {:.0} ns a sample", summary.bytes as f64 / samples, each(merge_cpu));
    let reader = open("merged");
    tell(&reader, &summary);
    let started = cpu_time();
    let mut out = Samples::default();
    for (id, samples) in (0..).zip(series) {
        out.clear();
        reader.read(id, TimeRange::ALL, &mut out).unwrap();
        let same = out.values.iter().map(|v| v.to_bits()).eq(samples.values.iter().map(|v| v.to_bits()));
        assert!(same && out.timestamps_ms == samples.timestamps_ms, "series {id} came back otherwise");
    }
    println!("  read whole: {:.1} ns a sample", each(spent_since(started)));
    for (place, end_ms) in [("middle", first_ms + (last_ms - first_ms) / 2), ("last", last_ms)] {
        let started = cpu_time();
        for id in 0..series.len() as u64 {
            out.clear();
            reader.read(id, TimeRange::new(end_ms - 60_000, end_ms), &mut out).unwrap();
        }
        let each_ns = spent_since(started).as_nanos() as f64 / series.len() as f64;
        println!("  read the {place} minute: {each_ns:.0} ns a series");
    }
}

fn cut(samples: &Samples, range: std::ops::Range<i64>) -> Samples {
    let start = samples.timestamps_ms.partition_point(|&at_ms| at_ms < range.start);
    let end = samples.timestamps_ms.partition_point(|&at_ms| at_ms < range.end);
    Samples::from_floats(samples.timestamps_ms[start..end].to_vec(), samples.values[start..end].to_vec())
}

/// The table of codings.
fn tell(reader: &BlockReader, summary: &BlockSummary) {
    let census = Census::of(reader).unwrap();
    let all = summary.samples as f64;
    println!(
        "  {:>18} {:>8} {:>8} {:>8} {:>12} {:>12}",
        "coding", "chunks %", "samples %", "bytes %", "its B/sample", "of all"
    );
    for (name, share) in &census.codings {
        let percent = |part: u64, of: u64| part as f64 * 100.0 / of as f64;
        println!(
            "  {name:>18} {:>8.2} {:>8.2} {:>8.2} {:>12.4} {:>12.4}",
            percent(share.chunks, summary.chunks),
            percent(share.samples, summary.samples),
            percent(share.bytes, summary.bytes),
            share.bytes as f64 / share.samples as f64,
            share.bytes as f64 / all,
        );
    }
    let rest =
        [("columns", census.column_bytes), ("directories", census.directory_bytes), ("frame", census.frame_bytes)];
    for (name, bytes) in rest {
        println!("  {name:>18} {:>51.4}", bytes as f64 / all);
    }
}

fn spent_since(started: Duration) -> Duration {
    cpu_time().saturating_sub(started)
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
