//! `metrickit go ps`: the Go processes of all hosts, one a line, from what the server has of them now.

use std::collections::BTreeMap;

use model::labels::Quoted;

use super::table_columns;
use crate::cli::PsArgs;
use crate::client::answer::{LabelMap, Series};
use crate::client::{Client, Moment, Value};
use crate::commands::Target;
use crate::output::Output;
use crate::render::number::short;
use crate::render::table;
use crate::render::text::{shortened, visible};
use crate::render::unit::{BYTES, PLAIN, Unit};

/// Columns for a name.
const NAME_COLUMNS: usize = 32;
/// Characters of a revision that tell it apart.
const REVISION_CHARS: usize = 10;

/// The processes, whose labels are told.
const PROCESSES: &str = "metrickit_go_process_info{}";

/// A column: its header, the query for it with `{}` where matchers go, and the unit.
const NUMBERS: [(&str, &str, Unit); 5] = [
    ("goroutines", "go_goroutines{} or go_sched_goroutines_goroutines{}", PLAIN),
    ("heap live", "go_gc_heap_live_bytes{}", BYTES),
    ("resident", "process_resident_memory_bytes{}", BYTES),
    (
        "GC CPU %",
        "round(100 * rate(go_cpu_classes_gc_total_cpu_seconds_total{}[5m]) / (rate(go_cpu_classes_total_cpu_seconds_total{}[5m]) > 0), 0.01)",
        PLAIN,
    ),
    ("leak grade", "go_leak_grade{}", PLAIN),
];

/// Columns that a narrow terminal does without, the first named first.
const SPARE: [&str; 6] = ["revision", "GC CPU %", "Go", "pid", "version", "resident"];

/// The labels that tell processes apart.
type Key = (String, String);

/// Asks and tells; whether there are any.
pub(crate) fn run(args: &PsArgs, output: &mut Output) -> anyhow::Result<bool> {
    let matchers = args.job.as_ref().map_or_else(String::new, |job| format!("{{job={}}}", Quoted(job)));
    let target = Target::open(&args.target)?;
    let asked = ask_all(&target.client, &matchers);
    target.close()?;
    let (processes, numbers) = asked?;
    let text = match &args.job {
        Some(job) if processes.is_empty() => {
            format!(
                "no Go process of job {job:?} is known; agents tell of a new one at their next round, ten seconds at most by default\n"
            )
        }
        _ => told(&processes, &numbers, table_columns(output)),
    };
    output.text(&text)?;
    Ok(!processes.is_empty())
}

type Numbers = Vec<BTreeMap<Key, f64>>;

fn ask_all(client: &Client, matchers: &str) -> anyhow::Result<(Vec<Series>, Numbers)> {
    let processes = ask(client, &PROCESSES.replace("{}", matchers))?;
    let mut numbers = Vec::new();
    for (_, query, _) in NUMBERS {
        let series = ask(client, &query.replace("{}", matchers))?;
        let values = series.iter().filter_map(|series| Some((key(&series.labels), series.points.last()?.number())));
        numbers.push(values.collect());
    }
    Ok((processes, numbers))
}

fn ask(client: &Client, query: &str) -> anyhow::Result<Vec<Series>> {
    match client.query(query, Moment::Instant { time_ms: None })?.value {
        Value::Vector(series) => Ok(series),
        _ => Ok(Vec::new()),
    }
}

fn key(labels: &LabelMap) -> Key {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("job"), label("instance"))
}

fn told(processes: &[Series], numbers: &Numbers, columns: Option<usize>) -> String {
    if processes.is_empty() {
        return "no Go process is known; start an agent where they run, or `metrickit up`\n".to_owned();
    }
    let mut rows: Vec<Vec<String>> = processes.iter().map(|process| row(&process.labels, numbers)).collect();
    rows.sort();
    let mut header = vec!["instance", "job", "pid", "version", "revision", "Go"];
    header.extend(NUMBERS.iter().map(|(name, ..)| *name));
    table::fitted(&header, &rows, NUMBERS.len(), columns, &SPARE)
}

fn row(labels: &LabelMap, numbers: &Numbers) -> Vec<String> {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    let name = |text: &str| shortened(&visible(text), NAME_COLUMNS);
    let revision: String = label("revision").chars().take(REVISION_CHARS).collect();
    let dirty = if label("modified") == "true" { "+" } else { "" };
    let mut row = vec![
        name(label("instance")),
        name(label("job")),
        name(label("pid")),
        name(label("version")),
        format!("{}{dirty}", visible(&revision)),
        name(label("go_version").trim_start_matches("go")),
    ];
    let key = key(labels);
    for (values, (_, _, unit)) in numbers.iter().zip(NUMBERS) {
        row.push(match values.get(&key) {
            // The grade of what was judged and is under no suspicion.
            Some(value) if *value < 0.0 => "none".to_owned(),
            Some(value) => short(*value, unit),
            None => String::new(),
        });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answer::series;

    #[test]
    fn processes_are_a_table() {
        let info = |instance: &str, revision: &str| {
            let labels = [
                ("job", "api"),
                ("instance", instance),
                ("pid", "4711"),
                ("version", "v1.4.2"),
                ("revision", revision),
                ("modified", "true"),
                ("go_version", "go1.26.1"),
            ];
            series(&labels, &[(1, "1")])
        };
        let key = |instance: &str| ("api".to_owned(), instance.to_owned());
        let mut numbers: Numbers = vec![BTreeMap::new(); NUMBERS.len()];
        numbers[0].insert(key("web1/0"), 1500.0);
        numbers[2].insert(key("web1/0"), 64.0 * 1_048_576.0);
        numbers[4].insert(key("web2/0"), -1.0);
        let text = told(&[info("web2/0", ""), info("web1/0", "8c5f0123456789")], &numbers, None);
        let narrow = told(&[info("web2/0", ""), info("web1/0", "8c5f0123456789")], &numbers, Some(80));
        assert!(narrow.contains("│ web1/0   ┆ api ┆ 4711 ┆ v1.4.2  ┆       1.5k ┆    64MiB ┆"), "{narrow}");
        assert!(narrow.ends_with("  a wider terminal has: revision, Go\n"), "{narrow}");
        for wanted in ["web1/0   ┆ api ┆ 4711 ┆ v1.4.2  ┆ 8c5f012345+ ┆ 1.26.1 ┆       1.5k ┆", "64MiB", "none │"]
        {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        let (first, second) = (text.find("web1/0"), text.find("web2/0"));
        assert!(first < second, "sorted\n{text}");
        let long = "n".repeat(NAME_COLUMNS);
        let wide = ["instance", "job", "pid", "version", "go_version"].map(|name| (name, long.as_str()));
        let wide = told(&[series(&wide, &[(1, "1")])], &numbers, None);
        assert!(wide.contains(" Go ") && !wide.contains("a wider terminal"), "whole where there is no width\n{wide}");
        assert!(told(&[], &numbers, None).contains("metrickit up"));
    }
}
