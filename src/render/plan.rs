//! What a query cost, part by part: the tree of its expressions with columns, and the costliest part underlined.

use std::borrow::Cow;

use super::bars::bar;
use super::number::{count, short};
use super::text::{paint, shortened, visible, width};
use super::unit::{BYTES, PLAIN, SECONDS};
use super::{append, caret};
use crate::client::explain::{Downsampled, Plan, Stats};
use crate::when::show_instant;

/// Heads of the columns behind the tree.
const HEADS: [&str; 6] = ["series", "chunks", "samples", "bytes", "time", "share"];
/// Columns of the bar behind a share.
const BAR_COLUMNS: usize = 10;
/// Fewest columns of the tree.
const TREE_COLUMNS_MIN: usize = 16;
/// Deeper nodes are not indented further.
const DEPTH_SHOWN_MAX: usize = 12;
/// A part is named the costliest when it takes this share of the time at least.
const COSTLY_FROM: f64 = 0.3;

/// Told instead of a plan that did not come.
pub(crate) const MISSING: &str = "error: this server does not explain queries";

/// One line of the tree.
struct Row<'a> {
    /// Lines of the tree before the text.
    branch: String,
    text: Cow<'a, str>,
    /// Whether it has figures: a note has none.
    plan: Option<&'a Plan>,
}

/// Draws `plan` of `query` in at most `columns` columns; the text ends its last line.
pub(crate) fn draw(query: &str, plan: &Plan, columns: usize, color: bool) -> String {
    let mut rows = Vec::new();
    collect(plan, "", "", 0, &mut rows);
    let figures: Vec<Option<[String; 6]>> = rows.iter().map(|row| row.plan.map(|node| figures(node, plan))).collect();
    let widths: [usize; 6] = std::array::from_fn(|at| {
        let cells = figures.iter().flatten().map(|cells| width(&cells[at]));
        cells.chain([HEADS[at].len()]).max().unwrap_or(0)
    });
    let widest = rows.iter().filter(|row| row.plan.is_some()).map(|row| width(&row.branch) + width(&row.text));
    let behind: usize = widths.iter().map(|column| column + 2).sum();
    let with_bar = columns >= behind + BAR_COLUMNS + 1 + TREE_COLUMNS_MIN * 2;
    let room = columns.saturating_sub(behind + if with_bar { BAR_COLUMNS + 1 } else { 0 });
    let tree_columns = widest.chain(["node".len()]).max().unwrap_or(0).min(room).max(TREE_COLUMNS_MIN);

    let mut text = format!("{:tree_columns$}", "node");
    for (head, column) in HEADS.iter().zip(widths) {
        append(&mut text, format_args!("  {head:>column$}"));
    }
    text.push('\n');
    for (row, cells) in rows.iter().zip(&figures) {
        let Some((cells, node)) = cells.as_ref().zip(row.plan) else {
            let room = columns.saturating_sub(width(&row.branch));
            let note = paint(&shortened(&visible(&row.text), room), "2", color);
            append(&mut text, format_args!("{}{note}\n", row.branch));
            continue;
        };
        let name = shortened(&visible(&row.text), tree_columns.saturating_sub(width(&row.branch)));
        let pad = " ".repeat(tree_columns.saturating_sub(width(&row.branch) + width(&name)));
        append(&mut text, format_args!("{}{name}{pad}", row.branch));
        for (cell, column) in cells.iter().zip(widths) {
            append(&mut text, format_args!("  {}{cell}", " ".repeat(column - width(cell))));
        }
        if with_bar {
            append(&mut text, format_args!(" {}", paint(&bar(share(node.time_us, plan), BAR_COLUMNS), "36", color)));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push_str(&costliest(query, plan, columns));
    text
}

/// The rows of `plan` and what is below it: `first` stands before its text, `rest` before what follows.
fn collect<'a>(plan: &'a Plan, first: &str, rest: &str, depth: usize, rows: &mut Vec<Row<'a>>) {
    rows.push(Row { branch: first.to_owned(), text: plan.node.as_str().into(), plan: Some(plan) });
    let note = plan.note.as_deref().filter(|note| !note.is_empty()).map(Cow::from);
    for text in note.into_iter().chain(plan.downsampled.as_ref().map(|of| told(of).into())) {
        let below = if plan.children.is_empty() { "  " } else { "│ " };
        rows.push(Row { branch: format!("{rest}{below}"), text, plan: None });
    }
    // The reader of the plan bounds how deep it is.
    for (at, child) in plan.children.iter().enumerate() {
        let is_last = at + 1 == plan.children.len();
        if depth >= DEPTH_SHOWN_MAX {
            collect(child, &format!("{rest}… "), rest, depth, rows);
        } else {
            let (branch, below) = if is_last { ("└ ", "  ") } else { ("├ ", "│ ") };
            collect(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), depth + 1, rows);
        }
    }
}

/// What was read where samples are kept no more: `max of 288 summaries of 5min, all samples from 2026-01-01 00:00 on`.
fn told(of: &Downsampled) -> String {
    let length = |ms: i64| short(count(u64::try_from(ms).unwrap_or(0)) / 1000.0, SECONDS);
    let (shortest, longest) = (length(of.window_ms_min), length(of.window_ms_max));
    let lengths = if shortest == longest { shortest } else { format!("{shortest} to {longest}") };
    let summaries = short(count(of.summaries), PLAIN);
    let from = show_instant(of.samples_from_ms, "%Y-%m-%d %H:%M");
    format!("{} of {summaries} summaries of {lengths}, all samples from {from} on", of.columns)
}

fn figures(node: &Plan, root: &Plan) -> [String; 6] {
    let number = |value: u64| short(count(value), PLAIN);
    [
        number(node.series),
        number(node.chunks),
        number(node.samples),
        short(count(node.bytes), BYTES),
        time(node.time_us),
        format!("{:.0}%", share(node.time_us, root) * 100.0),
    ]
}

fn time(us: u64) -> String {
    short(count(us) / 1e6, SECONDS)
}

/// A time as a share of the whole, 0 to 1.
fn share(us: u64, root: &Plan) -> f64 {
    if root.time_us == 0 { 0.0 } else { (count(us) / count(root.time_us)).min(1.0) }
}

/// The part that took the most time by itself, underlined in the query, if it took much of it.
fn costliest(query: &str, plan: &Plan, columns: usize) -> String {
    let nodes = plan.nodes();
    let Some(most) = nodes.iter().max_by_key(|node| node.own_us()).filter(|_| nodes.len() > 1) else {
        return String::new();
    };
    let own = share(most.own_us(), plan);
    match most.span(query) {
        Some(span) if own >= COSTLY_FROM => {
            let drawn = caret::underlined(query, span, columns);
            format!("\n{drawn}{:.0}% of the time, {}, is spent here\n", own * 100.0, time(most.own_us()))
        }
        _ => String::new(),
    }
}

/// The totals of a query on one line.
pub(crate) fn totals(stats: &Stats) -> String {
    let number = |value: u64| short(count(value), PLAIN);
    let seconds = |value: f64| short(value, SECONDS);
    let mut parts = Vec::new();
    if let Some(storage) = &stats.storage {
        parts.push(format!("{} series", number(storage.series)));
        parts.push(format!("{} chunks ({})", number(storage.chunks), short(count(storage.chunk_bytes), BYTES)));
    }
    parts.push(format!("{} samples", number(stats.samples.total_queryable_samples)));
    parts.push(format!("{} to evaluate", seconds(stats.timings.eval_total_time)));
    if stats.timings.exec_queue_time >= 0.000_1 {
        parts.push(format!("{} queued", seconds(stats.timings.exec_queue_time)));
    }
    if let Some(memory) = &stats.memory {
        parts.push(format!("peak {}", short(count(memory.peak_bytes), BYTES)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "sum by (job) (rate(http_requests_total[5m])) / scalar(up)";
    const PLAN: &str = r#"{"node":"/","position":[0,57],"series":13,"chunks":40,"samples":28800,"bytes":43008,
        "timeUs":2100,"children":[
            {"node":"sum by (job)","position":[0,44],"series":12,"chunks":36,"samples":28000,"bytes":41000,
             "timeUs":1900,"children":[
                {"node":"rate(http_requests_total[5m])","position":[14,43],"series":12,"chunks":36,"samples":28000,
                 "bytes":41000,"timeUs":1700,"note":"one pass over each series"}]},
            {"node":"scalar()","position":[47,57],"series":1,"chunks":4,"samples":800,"bytes":2008,"timeUs":90,
             "children":[{"node":"up","position":[54,56],"series":1,"chunks":4,"samples":800,"bytes":2008,
                          "timeUs":80,"note":""}]}]}"#;

    fn plan() -> Plan {
        serde_json::from_str(PLAN).expect("a plan")
    }

    #[test]
    fn trees_have_columns_and_the_costliest_part_is_underlined() {
        let got = draw(QUERY, &plan(), 100, false);
        assert_eq!(got, include_str!("plan_wide.txt"), "\n{got}");
        let got = draw(QUERY, &plan(), 70, false);
        assert_eq!(got, include_str!("plan_narrow.txt"), "\n{got}");
        assert!(got.lines().all(|line| width(line) <= 70), "\n{got}");
    }

    #[test]
    fn deep_plans_stay_inside_the_terminal() {
        let mut deep = plan();
        for _ in 0..40 {
            deep = Plan { children: vec![deep], ..plan() };
        }
        let got = draw("x", &deep, 80, false);
        assert!(got.lines().all(|line| width(line) <= 80), "{got}");
        assert!(!got.contains('^'), "no part of this query");
    }

    #[test]
    fn a_plan_without_figures_is_a_tree() {
        let bare: Plan = serde_json::from_str(r#"{"node":"\u001b[31mup"}"#).expect("a plan");
        let got = draw("up", &bare, 80, true);
        assert!(got.contains("\\u{1b}[31mup") && got.contains("0%"), "{got}");
    }

    #[test]
    fn selectors_tell_of_summaries() {
        let text = r#"{"node":"x[1h]","note":"first","downsampled":{"columns":"sum, count","summaries":1440,
            "windowMsMin":300000,"windowMsMax":3600000,"samplesFromMs":0}}"#;
        let plan: Plan = serde_json::from_str(text).expect("a plan");
        let got = draw("x[1h]", &plan, 100, false);
        let notes: Vec<&str> = got.lines().skip(2).map(str::trim).collect();
        assert_eq!(notes.len(), 2, "{got}");
        assert_eq!(notes[0], "first");
        assert!(notes[1].starts_with("sum, count of 1.44k summaries of 5min to 60min, all samples from 19"), "{got}");
    }

    #[test]
    fn totals_are_one_line() {
        let ours = r#"{"timings":{"evalTotalTime":0.0012,"execQueueTime":0.01},"samples":{"totalQueryableSamples":28800},
            "storage":{"series":12,"chunks":36,"chunkBytes":43008},"memory":{"peakBytes":1048576}}"#;
        let stats: Stats = serde_json::from_str(ours).expect("stats");
        assert_eq!(
            totals(&stats),
            "12 series, 36 chunks (42KiB), 28.8k samples, 1.2ms to evaluate, 10ms queued, peak 1MiB"
        );
        assert_eq!(totals(&Stats::default()), "0 samples, 0 to evaluate");
    }
}
