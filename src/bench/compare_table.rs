//! The figures of `bench compare` as one table, and the lines around it that say what was measured.

use super::compare::{Figures, Run, ServerFigures};
use super::kill_load::Loss;
use crate::render::append;
use crate::render::number::short;
use crate::render::table::aligned;
use crate::render::unit::{BYTES, PLAIN};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

/// One line of a run.
struct Row {
    name: &'static str,
    better: Better,
    value: fn(&ServerFigures) -> f64,
    shown: fn(f64) -> String,
}

const ROWS: [Row; 9] = [
    Row { name: "samples per CPU second", better: Better::More, value: |f| f.samples_per_cpu_second, shown: plain },
    Row { name: "samples per second", better: Better::More, value: |f| f.samples_per_second, shown: plain },
    Row { name: "request p50", better: Better::Less, value: |f| f.request_p50_ms, shown: ms },
    Row { name: "request p99", better: Better::Less, value: |f| f.request_p99_ms, shown: ms },
    Row { name: "memory while writing", better: Better::Less, value: |f| f.resident_bytes as f64, shown: bytes },
    Row { name: "memory at its peak", better: Better::Less, value: |f| f.resident_peak_bytes as f64, shown: bytes },
    Row { name: "bytes per sample", better: Better::Less, value: |f| f.disk_bytes_per_sample, shown: hundredths },
    Row { name: "restart", better: Better::Less, value: |f| f.restart_ms, shown: ms },
    Row { name: "restart after kill -9", better: Better::Less, value: |f| f.restart_after_kill_ms, shown: ms },
];

const LEGEND: &str = "\
The same bodies for all, each server as it comes: MetricKit syncs its log before each acknowledgement, the others do not.
CPU: user and system time of the server from its start to its end after a clean stop. Bytes: all of its files then.
Restart: from the start of the process until it says it is ready and answers right. Lost: acknowledged, and gone after kill -9 under load.
";

/// The whole text.
pub(super) fn show(figures: &Figures, width: Option<usize>) -> String {
    let versions: Vec<String> = figures.servers.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
    let mut text = format!("{}\n{}\n", figures.machine.line(), versions.join(", "));
    append(
        &mut text,
        format_args!(
            "{} samples a request, {} connections, {} bytes of labels a series, seed {}\n",
            figures.samples_per_request, figures.connections, figures.label_bytes_average, figures.seed
        ),
    );
    let ratio = figures.servers.len() > 1;
    let header: Vec<&str> = std::iter::once("")
        .chain(figures.servers.iter().map(|one| one.name.as_str()))
        .chain(ratio.then_some("ratio"))
        .collect();
    let rows: Vec<Vec<String>> = figures.runs.iter().flat_map(|run| rows(run, ratio)).collect();
    text.push_str(&aligned(&header, &rows, header.len() - 1, width));
    if ratio {
        let first = &figures.servers[0].name;
        append(&mut text, format_args!("Ratio: {first} to the best of the others; above 1 it is better.\n"));
    }
    text.push_str(LEGEND);
    for run in &figures.runs {
        for (one, server) in run.servers.iter().zip(&figures.servers).filter(|(one, _)| one.cut_short) {
            let (name, samples, series) = (&server.name, plain(one.samples as f64), run.series);
            append(
                &mut text,
                format_args!("{name} was too slow for all at {series} series; it got {samples} samples.\n"),
            );
        }
    }
    text
}

fn rows(run: &Run, ratio: bool) -> Vec<Vec<String>> {
    let padded = |mut cells: Vec<String>| {
        cells.resize(1 + run.servers.len() + usize::from(ratio), String::new());
        cells
    };
    let head = format!("{} series × {}", plain(run.series.into()), plain(run.rounds as f64));
    let mut rows = vec![padded(vec![head])];
    for row in &ROWS {
        let values: Vec<f64> = run.servers.iter().map(row.value).collect();
        let mut cells = vec![format!("  {}", row.name)];
        cells.extend(values.iter().map(|&value| (row.shown)(value)));
        cells.extend(ratio.then(|| to_best_other(&values, row.better)).flatten().map(|ratio| format!("{ratio:.1}")));
        rows.push(padded(cells));
    }
    let lost = run.servers.iter().map(|figures| told(figures.killed));
    rows.push(padded(std::iter::once("  lost".to_owned()).chain(lost).collect()));
    rows
}

/// The first value to the best of the others that have one; above 1 when it is better.
pub(super) fn to_best_other(values: &[f64], better: Better) -> Option<f64> {
    let (first, others) = values.split_first()?;
    let best = others
        .iter()
        .copied()
        .filter(|&value| value > 0.0)
        .reduce(|a, b| if better == Better::More { a.max(b) } else { a.min(b) })?;
    let ratio = if better == Better::More { first / best } else { best / first };
    ratio.is_finite().then_some(ratio)
}

fn told(loss: Loss) -> String {
    let (gone, acknowledged) = (loss.lost as f64, loss.acknowledged as f64);
    if loss.lost == 0 {
        return format!("none of {}", plain(acknowledged));
    }
    format!("{} ({:.1} %)", plain(gone), gone / acknowledged.max(1.0) * 100.0)
}

pub(super) fn plain(value: f64) -> String {
    short(value, PLAIN)
}

fn bytes(value: f64) -> String {
    short(value, BYTES)
}

fn ms(value: f64) -> String {
    if value < 100.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

pub(super) fn hundredths(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::Measured;
    use crate::bench::machine::Machine;

    fn server(factor: f64, lost: u64) -> ServerFigures {
        ServerFigures {
            samples: 10_000_000,
            cut_short: lost > 0,
            samples_per_second: 1e6 / factor,
            cpu_seconds: 10.0 * factor,
            samples_per_cpu_second: 1e6 / factor,
            request_p50_ms: 9.25 * factor,
            request_p99_ms: 80.0 * factor,
            busy_answers: 0,
            resident_bytes: 64 << 20,
            resident_peak_bytes: 96 << 20,
            disk_bytes: 10_000_000,
            disk_bytes_per_sample: factor,
            restart_ms: 40.0 * factor,
            restart_after_kill_ms: 300.0,
            killed: Loss { acknowledged: 2_000_000, lost },
        }
    }

    fn figures(servers: &[(&str, ServerFigures)]) -> Figures {
        let machine = Machine {
            cores: 2,
            processor: "AMD EPYC".to_owned(),
            memory_bytes: Some(24 << 30),
            kernel: "6.18".to_owned(),
        };
        Figures {
            machine,
            servers: servers
                .iter()
                .map(|(name, _)| Measured { name: (*name).to_owned(), version: "1.2.3".to_owned() })
                .collect(),
            seed: 1,
            connections: 2,
            samples_per_request: 5000,
            label_bytes_average: 210,
            runs: vec![Run {
                series: 10_000,
                rounds: 1_000,
                servers: servers.iter().map(|(_, figures)| figures.clone()).collect(),
            }],
        }
    }

    #[test]
    fn one_table_shows_all_servers() {
        let all =
            [("MetricKit", server(1.0, 0)), ("VictoriaMetrics", server(2.0, 250_000)), ("Prometheus", server(4.0, 0))];
        let got = show(&figures(&all), Some(100));
        let want = "\
2 cores (AMD EPYC), 24GiB memory, Linux 6.18
MetricKit 1.2.3, VictoriaMetrics 1.2.3, Prometheus 1.2.3
5000 samples a request, 2 connections, 210 bytes of labels a series, seed 1
┌──────────────────────────┬────────────┬─────────────────┬────────────┬───────┐
│                          ┆  MetricKit ┆ VictoriaMetrics ┆ Prometheus ┆ ratio │
╞══════════════════════════╪════════════╪═════════════════╪════════════╪═══════╡
│ 10k series × 1k          ┆            ┆                 ┆            ┆       │
│   samples per CPU second ┆         1M ┆            500k ┆       250k ┆   2.0 │
│   samples per second     ┆         1M ┆            500k ┆       250k ┆   2.0 │
│   request p50            ┆     9.2 ms ┆         18.5 ms ┆    37.0 ms ┆   2.0 │
│   request p99            ┆    80.0 ms ┆          160 ms ┆     320 ms ┆   2.0 │
│   memory while writing   ┆      64MiB ┆           64MiB ┆      64MiB ┆   1.0 │
│   memory at its peak     ┆      96MiB ┆           96MiB ┆      96MiB ┆   1.0 │
│   bytes per sample       ┆       1.00 ┆            2.00 ┆       4.00 ┆   2.0 │
│   restart                ┆    40.0 ms ┆         80.0 ms ┆     160 ms ┆   2.0 │
│   restart after kill -9  ┆     300 ms ┆          300 ms ┆     300 ms ┆   1.0 │
│   lost                   ┆ none of 2M ┆   250k (12.5 %) ┆ none of 2M ┆       │
└──────────────────────────┴────────────┴─────────────────┴────────────┴───────┘
";
        assert!(got.starts_with(want), "\n{got}");
        assert!(got.ends_with("VictoriaMetrics was too slow for all at 10000 series; it got 10M samples.\n"), "{got}");
    }

    #[test]
    fn a_server_alone_has_no_ratio() {
        let got = show(&figures(&[("MetricKit", server(1.0, 0))]), None);
        assert!(!got.contains("atio"), "{got}");
    }

    #[test]
    fn ratios_are_to_the_best_of_the_others() {
        assert_eq!(to_best_other(&[4.0, 1.0, 2.0], Better::More), Some(2.0));
        assert_eq!(to_best_other(&[4.0, 1.0, 2.0], Better::Less), Some(0.25));
        assert_eq!(to_best_other(&[4.0, 0.0, 2.0], Better::Less), Some(0.5));
        assert_eq!(to_best_other(&[4.0], Better::Less), None);
        assert_eq!(to_best_other(&[0.0, 1.0], Better::Less), None);
    }
}
