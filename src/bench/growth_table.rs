//! The figures of `bench growth` as a table for each server and what grows: a column a step.

use super::compare_table::{hundredths, plain};
use super::growth::{By, Figures, Growth, StepFigures, unit};
use crate::render::append;
use crate::render::number::short;
use crate::render::table::aligned;
use crate::render::unit::BYTES;

/// Series that times of queries are told for.
const SERIES_UNIT: f64 = 1000.0;

/// The whole text.
pub(super) fn show(figures: &Figures, width: Option<usize>) -> String {
    let mut text = format!("{}, seed {}\n", figures.machine.line(), figures.seed);
    for growth in &figures.growths {
        let (server, version, interval) = (&growth.server, &growth.version, growth.interval_ms / 1000);
        append(&mut text, format_args!("\n{server} {version} with a sample every {interval} s\n"));
        text.push_str(&table(growth, width));
    }
    text.push_str("CPU: user and system time from start to clean stop. Queries: medians after a restart, reading the answer included.\n");
    text
}

fn table(growth: &Growth, width: Option<usize>) -> String {
    let steps = &growth.steps;
    let called = |step: &StepFigures| match growth.by {
        By::Series => format!("{} series", plain(step.size.into())),
        By::Days if step.size == 1 => "1 day".to_owned(),
        By::Days => format!("{} {}", step.size, unit(growth.by)),
    };
    let names: Vec<String> = steps.iter().map(called).collect();
    let header: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    let row = |name: String, shown: &dyn Fn(&StepFigures) -> String| -> Vec<String> {
        std::iter::once(name).chain(steps.iter().map(shown)).collect()
    };
    let bytes = |bytes: f64| short(bytes, BYTES);
    let units = |step: &StepFigures| match growth.by {
        By::Series => f64::from(step.size) / SERIES_UNIT,
        By::Days => f64::from(step.size),
    };
    let per = match growth.by {
        By::Series => "  for 1000 series",
        By::Days => "  for a day",
    };
    let mut rows = vec![
        row("samples".to_owned(), &|step| plain(step.samples as f64)),
        row("bytes per sample".to_owned(), &|step| hundredths(step.disk_bytes_per_sample)),
        row("CPU ns per sample".to_owned(), &|step| format!("{:.0}", step.cpu_ns_per_sample)),
        row("memory while writing".to_owned(), &|step| bytes(step.resident_bytes as f64)),
        row("  for a series".to_owned(), &|step| bytes(step.resident_bytes_per_series)),
        row("memory after restart and queries".to_owned(), &|step| bytes(step.resident_after_restart_bytes as f64)),
        row("restart ms".to_owned(), &|step| format!("{:.0}", step.restart_ms)),
    ];
    let queries = steps.iter().map(|step| step.queries.len()).min().unwrap_or(0);
    for at in 0..queries {
        rows.push(row(format!("{}: ms", steps[0].queries[at].name), &|step| hundredths(step.queries[at].p50_ms)));
        rows.push(row(per.to_owned(), &|step| format!("{:.3}", step.queries[at].p50_ms / units(step))));
    }
    aligned(&header, &rows, header.len() - 1, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::growth::QueryFigures;
    use crate::bench::machine::Machine;

    fn step(size: u32, series: u32, p50_ms: f64) -> StepFigures {
        let query = QueryFigures { name: "count of all series", text: "x".to_owned(), p50_ms, cpu_ms: 1.0 };
        StepFigures {
            size,
            series,
            samples: u64::from(size) * 1000,
            disk_bytes_per_sample: 1.5,
            resident_bytes: 64 << 20,
            resident_bytes_per_series: 4096.0,
            cpu_ns_per_sample: 1234.4,
            restart_ms: 40.0,
            resident_after_restart_bytes: 32 << 20,
            queries: vec![query],
        }
    }

    #[test]
    fn a_column_is_a_step() {
        let growth = |by, steps| Growth {
            server: "MetricKit".to_owned(),
            version: "1".to_owned(),
            by,
            interval_ms: 15_000,
            steps,
        };
        let machine = Machine { cores: 2, processor: "CPU".to_owned(), memory_bytes: None, kernel: "6".to_owned() };
        let series = growth(By::Series, vec![step(10_000, 10_000, 5.0), step(100_000, 100_000, 50.0)]);
        let days = growth(By::Days, vec![step(1, 1000, 3.0), step(30, 1000, 60.0)]);
        let got = show(&Figures { machine, seed: 1, growths: vec![series, days] }, Some(100));
        let want = "\
MetricKit 1 with a sample every 15 s
┌──────────────────────────────────┬────────────┬─────────────┐
│                                  ┆ 10k series ┆ 100k series │
╞══════════════════════════════════╪════════════╪═════════════╡
│ samples                          ┆        10M ┆        100M │
│ bytes per sample                 ┆       1.50 ┆        1.50 │
│ CPU ns per sample                ┆       1234 ┆        1234 │
│ memory while writing             ┆      64MiB ┆       64MiB │
│   for a series                   ┆       4KiB ┆        4KiB │
│ memory after restart and queries ┆      32MiB ┆       32MiB │
│ restart ms                       ┆         40 ┆          40 │
│ count of all series: ms          ┆       5.00 ┆       50.00 │
│   for 1000 series                ┆      0.500 ┆       0.500 │
└──────────────────────────────────┴────────────┴─────────────┘
";
        assert!(got.contains(want), "\n{got}");
        assert!(
            got.contains("1 day ┆ 30 days │") && got.contains("│   for a day                      ┆ 3.000 ┆   2.000 │"),
            "\n{got}"
        );
    }
}
