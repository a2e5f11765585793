//! The figures of `bench query` as a table: of one server in detail, of several side by side.

use super::compare_table::{Better, to_best_other};
use super::query::{Figures, OURS, QueryFigures};
use crate::render::append;
use crate::render::table::aligned;

/// The whole text.
pub(super) fn show(figures: &Figures, width: Option<usize>) -> String {
    let f = figures;
    let mut text = format!(
        "{}\n{} series, {} hours, a sample every {} s, {} samples; each query {} times, reading the answer included; seed {}\n",
        f.machine.line(),
        f.series,
        f.hours,
        f.interval_seconds,
        f.samples_loaded,
        f.repeat,
        f.seed
    );
    let servers = f.queries.iter().skip(1).position(|one| one.server == OURS).map_or(f.queries.len(), |at| at + 1);
    text.push_str(&if servers > 1 { side_by_side(&f.queries, servers, width) } else { alone(&f.queries, width) });
    if let Some(restart_ms) = f.restart_ms {
        append(&mut text, format_args!("{OURS} was ready {restart_ms:.0} ms after its start on this data\n"));
    }
    text
}

fn alone(queries: &[QueryFigures], width: Option<usize>) -> String {
    let row = |one: &QueryFigures| {
        let times = [one.min_ms, one.p50_ms, one.p99_ms].map(ms);
        let cpu = one.cpu_ms.map_or_else(|| "-".to_owned(), ms);
        [one.query.to_owned(), points(one)].into_iter().chain(times).chain([cpu]).collect()
    };
    let rows: Vec<Vec<String>> = queries.iter().map(row).collect();
    aligned(&["query", "points", "min ms", "p50 ms", "p99 ms", "CPU ms"], &rows, 5, width)
}

/// Medians, and how often the best of the others takes as long as ours; answers that differ are told below.
fn side_by_side(queries: &[QueryFigures], servers: usize, width: Option<usize>) -> String {
    let mut rows = Vec::new();
    let mut notes = String::new();
    for of_all in queries.chunks(servers) {
        let answered = || of_all.iter().filter(|one| one.refused.is_none());
        let medians: Vec<f64> = answered().map(|one| one.p50_ms).collect();
        let cpu: Option<Vec<f64>> = answered().map(|one| one.cpu_ms).collect();
        let ratio = |values: &[f64]| {
            to_best_other(values, Better::Less).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"))
        };
        let mut cells = vec![of_all[0].query.to_owned(), points(&of_all[0])];
        cells.extend(of_all.iter().map(|one| if one.refused.is_some() { "-".to_owned() } else { ms(one.p50_ms) }));
        cells.extend([ratio(&medians), ratio(&cpu.unwrap_or_default())]);
        rows.push(cells);
        for one in &of_all[1..] {
            match &one.refused {
                Some(reason) => append(&mut notes, format_args!("{} refuses {}: {reason}\n", one.server, one.query)),
                None if one.agrees == "equal" => {}
                None => append(&mut notes, format_args!("{} answers {}: {}\n", one.server, one.query, one.agrees)),
            }
        }
    }
    let names: Vec<String> = queries[..servers].iter().map(|one| format!("{} ms", one.server)).collect();
    let header: Vec<&str> =
        ["query", "points"].into_iter().chain(names.iter().map(String::as_str)).chain(["ratio", "CPU ratio"]).collect();
    let legend =
        "Medians. Ratios: of wall and of processor time, ours to the best of the others; above 1 it is better.\n";
    format!("{}{legend}{notes}", aligned(&header, &rows, header.len() - 1, width))
}

fn points(one: &QueryFigures) -> String {
    one.points.max(one.series).to_string()
}

fn ms(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;

    fn one(server: &str, query: &'static str, p50_ms: f64, agrees: &str) -> QueryFigures {
        QueryFigures {
            server: server.to_owned(),
            query,
            text: "up",
            step_ms: None,
            series: 3,
            points: 30,
            bytes: 100,
            min_ms: p50_ms / 2.0,
            p50_ms,
            p99_ms: p50_ms * 2.0,
            cpu_ms: Some(p50_ms),
            agrees: agrees.to_owned(),
            refused: (agrees == "refused").then(|| "422: no".to_owned()),
        }
    }

    fn figures(queries: Vec<QueryFigures>) -> Figures {
        let machine = Machine { cores: 2, processor: "CPU".to_owned(), memory_bytes: None, kernel: "6".to_owned() };
        Figures {
            machine,
            seed: 1,
            series: 10,
            hours: 2,
            interval_seconds: 10,
            samples_loaded: 7200,
            repeat: 5,
            restart_ms: Some(41.0),
            resident_bytes: None,
            queries,
        }
    }

    #[test]
    fn several_servers_stand_side_by_side() {
        let queries = vec![
            one(OURS, "a", 2.0, "equal"),
            one("VictoriaMetrics", "a", 6.0, "equal"),
            one("Prometheus", "a", 4.0, "up to 1.00 % apart"),
            one(OURS, "b", 10.0, "equal"),
            one("VictoriaMetrics", "b", 5.0, "equal"),
            one("Prometheus", "b", 0.0, "refused"),
        ];
        let got = show(&figures(queries), Some(100));
        let want = "\
┌───────┬────────┬──────────────┬────────────────────┬───────────────┬───────┬───────────┐
│ query ┆ points ┆ MetricKit ms ┆ VictoriaMetrics ms ┆ Prometheus ms ┆ ratio ┆ CPU ratio │
╞═══════╪════════╪══════════════╪════════════════════╪═══════════════╪═══════╪═══════════╡
│ a     ┆     30 ┆         2.00 ┆               6.00 ┆          4.00 ┆   2.0 ┆       2.0 │
│ b     ┆     30 ┆        10.00 ┆               5.00 ┆             - ┆   0.5 ┆       0.5 │
└───────┴────────┴──────────────┴────────────────────┴───────────────┴───────┴───────────┘
Medians. Ratios: of wall and of processor time, ours to the best of the others; above 1 it is better.
Prometheus answers a: up to 1.00 % apart
Prometheus refuses b: 422: no
MetricKit was ready 41 ms after its start on this data
";
        assert!(got.ends_with(want), "\n{got}");
    }

    #[test]
    fn a_server_alone_is_shown_in_detail() {
        let got = show(&figures(vec![one(OURS, "a", 2.0, "equal"), one(OURS, "b", 3.0, "equal")]), None);
        assert!(got.contains("│ a     ┆     30 ┆   1.00 ┆   2.00 ┆   4.00 ┆   2.00 │"), "{got}");
        assert!(!got.contains("ratio"), "{got}");
    }
}
