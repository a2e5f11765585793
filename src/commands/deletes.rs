//! `metrickit delete`, `deletes` and `undelete`: samples go after a look and a question, and come back.

use std::io::{BufRead as _, IsTerminal as _};

use model::time::{Clock, SystemClock};
use serde::Deserialize;
use serde_json::Value as Json;

use super::admin::{counted, figure, server};
use crate::UsageError;
use crate::cli::{DeleteArgs, ServerArgs, UndeleteArgs};
use crate::output::Output;
use crate::render::unit::{BYTES, PLAIN};
use crate::render::{append, table};
use crate::when::{api_seconds, parse_instant_ms, show_instant};

/// How instants are shown.
const TIME_PATTERN: &str = "%Y-%m-%d %H:%M:%S";
const DELETE_PATH: &str = "/api/v1/admin/tsdb/delete_series";

/// What a delete would hide.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reach {
    series: u64,
    samples: u64,
    bytes: u64,
    metric_count: u64,
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    name: String,
    series: u64,
}

/// A delete that was made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delete {
    id: u64,
    selectors: Vec<String>,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    created_ms: i64,
    by: String,
    series: u64,
    samples: u64,
    state: String,
    ended_ms: Option<i64>,
    undo_until_ms: Option<i64>,
}

/// Shows what would go, asks, and deletes. Returns whether what was asked for was done.
pub(crate) fn delete(args: &DeleteArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = server(args.server.url.as_deref())?;
    let now_ms = SystemClock.now().0;
    let mut form: Vec<(&str, String)> = args.selectors.iter().map(|text| ("match[]", text.clone())).collect();
    for (name, text) in [("start", &args.start), ("end", &args.end)] {
        if let Some(text) = text {
            let at_ms = parse_instant_ms(text, now_ms).map_err(|error| UsageError(format!("--{name}: {error}")))?;
            form.push((name, api_seconds(at_ms)));
        }
    }
    let post = |more: &[(&'static str, String)]| {
        let all = form.iter().chain(more).map(|(name, value)| (*name, value.as_str()));
        client.post(DELETE_PATH, &all.collect::<Vec<_>>())
    };
    if !args.yes {
        let answer = post(&[("dry_run", "true".to_owned())])?;
        if args.dry_run && args.server.json {
            output.line(&answer.to_string())?;
            return Ok(true);
        }
        let reach: Reach = serde_json::from_value(answer)?;
        output.text(&told_reach(&reach, output.is_terminal.then(|| output.width())))?;
        if args.dry_run || reach.series == 0 {
            return Ok(true);
        }
        if !confirmed(output)? {
            output.note("nothing was deleted")?;
            return Ok(false);
        }
    }
    let made = post(&[("verbose", "true".to_owned()), ("by", who())])?;
    if args.server.json {
        output.line(&made.to_string())?;
        return Ok(true);
    }
    let text = match serde_json::from_value::<Option<Delete>>(made)? {
        None => "nothing to delete: no series has samples there".to_owned(),
        Some(made) => {
            let until = made.undo_until_ms.map_or_else(String::new, |until_ms| {
                format!("\nuntil {} UTC: metrickit undelete {}", show_instant(until_ms, TIME_PATTERN), made.id)
            });
            format!("deleted {} of {}{until}", counted(made.samples, "sample"), of_series(made.series))
        }
    };
    output.line(&text)?;
    Ok(true)
}

/// Lists the deletes.
pub(crate) fn list(args: &ServerArgs, output: &mut Output) -> anyhow::Result<()> {
    let answer = server(args.url.as_deref())?.get("/api/v1/admin/deletes", &[])?;
    if args.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let all: Vec<Delete> = serde_json::from_value(answer)?;
    output.text(&told_list(&all, output.is_terminal.then(|| output.width())))?;
    Ok(())
}

/// Brings back what a delete hides.
pub(crate) fn undelete(args: &UndeleteArgs, output: &mut Output) -> anyhow::Result<()> {
    let path = format!("/api/v1/admin/deletes/{}/undo", args.id);
    let answer: Json = server(args.server.url.as_deref())?.post(&path, &[])?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(());
    }
    let undone: Delete = serde_json::from_value(answer)?;
    output.line(&format!("{} of {} are back", counted(undone.samples, "sample"), of_series(undone.series)))?;
    Ok(())
}

/// Asks on the terminal.
fn confirmed(output: &mut Output) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !output.note_is_terminal() {
        return Err(UsageError("there is no terminal to ask on; --yes deletes without asking".to_owned()).into());
    }
    output.note("delete these? [y/N]")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// The user, as far as the environment tells.
pub(super) fn who() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "the command line".to_owned())
}

fn of_series(series: u64) -> String {
    format!("{} series", figure(series, PLAIN))
}

fn told_reach(reach: &Reach, width: Option<usize>) -> String {
    if reach.series == 0 {
        return "nothing to delete: no series has samples there\n".to_owned();
    }
    let rows: Vec<Vec<String>> =
        reach.metrics.iter().map(|metric| vec![metric.name.clone(), metric.series.to_string()]).collect();
    let mut text = table::columns(&["metric", "series"], &rows, width);
    if reach.metric_count > rows.len() as u64 {
        append(&mut text, format_args!("… and {} more metrics\n", reach.metric_count - rows.len() as u64));
    }
    let (samples, bytes) = (counted(reach.samples, "sample"), figure(reach.bytes, BYTES));
    append(&mut text, format_args!("{samples} of {}, {bytes}\n", of_series(reach.series)));
    text
}

fn told_list(all: &[Delete], width: Option<usize>) -> String {
    if all.is_empty() {
        return "no deletes\n".to_owned();
    }
    let at = |at_ms: i64| show_instant(at_ms, TIME_PATTERN);
    let header = ["", "deleted (UTC)", "by", "selectors", "from", "to", "state", "series", "samples"];
    let row = |delete: &Delete| {
        let state = match (delete.undo_until_ms, delete.ended_ms) {
            (Some(until_ms), _) => format!("{}, undo until {}", delete.state, at(until_ms)),
            (None, Some(ended_ms)) => format!("{} {}", delete.state, at(ended_ms)),
            (None, None) => delete.state.clone(),
        };
        vec![
            delete.id.to_string(),
            at(delete.created_ms),
            delete.by.clone(),
            delete.selectors.join(", "),
            delete.start_ms.map_or_else(|| "the first".to_owned(), at),
            delete.end_ms.map_or_else(|| "the last".to_owned(), at),
            state,
            figure(delete.series, PLAIN),
            figure(delete.samples, PLAIN),
        ]
    };
    table::aligned(&header, &all.iter().map(row).collect::<Vec<_>>(), 2, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_go_is_a_table() {
        let metrics = vec![Metric { name: "up".into(), series: 2 }];
        let reach = Reach { series: 3, samples: 1200, bytes: 2048, metric_count: 2, metrics };
        let want = "\
┌────────┬────────┐
│ metric ┆ series │
╞════════╪════════╡
│ up     ┆      2 │
└────────┴────────┘
… and 1 more metrics
1.2k samples of 3 series, 2KiB
";
        assert_eq!(told_reach(&reach, None), want);
        assert!(told_reach(&Reach { series: 0, ..reach }, None).starts_with("nothing to delete"));
    }

    #[test]
    fn deletes_are_told_with_what_can_be_done() {
        let pending: Delete = serde_json::from_str(
            r#"{"id":3,"selectors":["up"],"startMs":null,"endMs":0,"createdMs":0,"by":"ann","series":1,"samples":2,
                "bytes":3,"state":"pending","endedMs":null,"undoUntilMs":86400000}"#,
        )
        .expect("a delete");
        let text = told_list(&[pending], None);
        for wanted in ["│ 3 ", "the first", "1970-01-01 00:00:00", "pending, undo until 1970-01-02 00:00:00", "ann"] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert_eq!(told_list(&[], None), "no deletes\n");
    }
}
