//! What the REPL lists: metrics, labels, running queries, functions, commands. All text for a terminal.

use query::functions::FUNCTIONS;
use serde_json::Value as Json;

use super::commands::COMMANDS;
use super::names::described;
use super::words::{AGGREGATIONS, explained, nearest};
use crate::client::explain::RunningQuery;
use crate::render::number::{count, short};
use crate::render::text::{shortened, visible, width, wrapped};
use crate::render::unit::{BYTES, PLAIN, SECONDS};
use crate::render::{append, table};

/// Most names listed, and most series looked at for `.labels`.
pub(crate) const NAMES_MAX: usize = 1_000;
/// Columns before a sentence of help.
const INDENT: usize = 2;
/// Keys worth knowing.
const KEYS: [(&str, &str); 3] = [
    ("Tab", "complete metrics, labels, values, functions"),
    ("Ctrl-R", "search what was typed before"),
    ("Ctrl-C", "end a running query, here and on the server"),
];
/// Widest first column; longer texts push their help to the right.
const FIRST_COLUMNS_MAX: usize = 48;

/// Rows of a name and a sentence, cut at `columns`.
fn rows<'a>(rows: impl Iterator<Item = (&'a str, String)> + Clone, columns: usize) -> String {
    let first = rows.clone().map(|(name, _)| width(name)).filter(|&name| name <= FIRST_COLUMNS_MAX).max().unwrap_or(0);
    let mut text = String::new();
    for (name, help) in rows {
        let pad = " ".repeat(first.saturating_sub(width(name)));
        let row = format!("  {}{pad}  {}", visible(name), visible(&help));
        append(&mut text, format_args!("{}\n", shortened(row.trim_end(), columns)));
    }
    text
}

/// The metrics with `part` in their names, with what `metadata` tells of them.
pub(crate) fn metrics(names: &[String], part: &str, metadata: &Json, columns: usize) -> String {
    let matching: Vec<&String> = names.iter().filter(|name| name.contains(part)).collect();
    if matching.is_empty() {
        return format!("no metric has {part:?} in its name; {} are known\n", names.len());
    }
    let known = |name: &str| described(metadata, name).unwrap_or_default();
    let mut text = rows(matching.iter().take(NAMES_MAX).map(|name| (name.as_str(), known(name))), columns);
    let left = matching.len().saturating_sub(NAMES_MAX);
    if left > 0 {
        append(&mut text, format_args!("… and {left} more; .metrics TEXT lists those with TEXT in their name\n"));
    }
    text
}

/// The queries under way, with their cost so far where the server tells it.
pub(crate) fn queries(queries: &[RunningQuery], columns: usize) -> String {
    if queries.is_empty() {
        return "no query runs\n".to_owned();
    }
    let number = |value: Option<u64>| value.map(|value| short(count(value), PLAIN)).unwrap_or_default();
    let with_cost = queries.iter().any(|query| query.samples.is_some());
    let mut header = vec!["id", "query", "time"];
    if with_cost {
        header.extend(["series", "samples", "bytes"]);
    }
    let row = |query: &RunningQuery| {
        let state = if query.canceled { " (ending)" } else { "" };
        let text = format!("{}{state}", query.query.split_whitespace().collect::<Vec<_>>().join(" "));
        let mut row = vec![query.id.to_string(), text, short(query.seconds, SECONDS)];
        if with_cost {
            let bytes = query.bytes.map(|bytes| short(count(bytes), BYTES)).unwrap_or_default();
            row.extend([number(query.series), number(query.samples), bytes]);
        }
        row
    };
    let rows: Vec<Vec<String>> = queries.iter().map(row).collect();
    format!("{}.kill ID ends one\n", table::aligned(&header, &rows, header.len() - 2, Some(columns)))
}

/// Every function and aggregation.
pub(crate) fn functions(columns: usize) -> String {
    let functions = FUNCTIONS.iter().map(|function| (function.name, function.help.to_owned()));
    let aggregations = AGGREGATIONS.iter().map(|word| (word.name, word.help.to_owned()));
    format!(
        "Functions:\n{}Aggregations:\n{}.help NAME shows how one is called\n",
        rows(functions, columns),
        rows(aggregations, columns)
    )
}

/// How to use the REPL.
pub(crate) fn help(columns: usize) -> String {
    let commands = COMMANDS.iter().map(|command| (command.usage, command.help.to_owned()));
    let keys = KEYS.iter().map(|&(key, help)| (key, help.to_owned()));
    format!(
        "Type a query and Enter. Open brackets and Alt-Enter continue on the next line.\n{}",
        rows(commands.chain(keys), columns)
    )
}

/// How `word` is used: a function, an aggregation, a keyword or a command.
pub(crate) fn help_on(word: &str, columns: usize) -> Result<String, String> {
    let command = COMMANDS.iter().find(|command| command.name == word || command.name.strip_prefix('.') == Some(word));
    match (explained(word), command) {
        (Some((usage, help)), _) => Ok(format!("{usage}\n{}", wrapped(help, INDENT, columns))),
        (None, Some(command)) => Ok(format!("{}\n{}", command.usage, wrapped(command.help, INDENT, columns))),
        (None, None) => Err(match nearest(word) {
            Some(near) => format!("there is no function or keyword {word}; did you mean {near}?"),
            None => format!("there is no function or keyword {word}; .functions lists all"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_come_with_their_metadata() {
        let names = ["go_goroutines".to_owned(), "process_start".to_owned(), "up".to_owned()];
        let metadata = json!({"go_goroutines": [{"type": "gauge", "unit": "", "help": "Goroutines that exist now."}]});
        assert_eq!(metrics(&names, "go", &metadata, 80), "  go_goroutines  gauge: Goroutines that exist now.\n");
        assert_eq!(metrics(&names, "go", &metadata, 24), "  go_goroutines  gauge:…\n");
        assert_eq!(metrics(&names, "p", &metadata, 80), "  process_start\n  up\n");
        assert_eq!(metrics(&names, "x", &metadata, 80), "no metric has \"x\" in its name; 3 are known\n");
    }

    #[test]
    fn running_queries_tell_their_cost_where_the_server_does() {
        let read = |text| -> Vec<RunningQuery> { serde_json::from_str(text).expect("queries") };
        assert_eq!(queries(&[], 80), "no query runs\n");
        let plain = queries(&read(r#"[{"id":7,"query":"sum(\n  up)","seconds":1.25,"canceled":true}]"#), 80);
        assert!(plain.contains("│ 7  ┆ sum( up) (ending) ┆ 1.25s │"), "{plain}");
        let costs = r#"[{"id":7,"query":"up","seconds":0.5,"canceled":false,"series":3,"samples":9000,"bytes":2048}]"#;
        let costs = queries(&read(costs), 80);
        assert!(costs.contains("│ 7  ┆ up    ┆ 500ms ┆      3 ┆      9k ┆  2KiB │"), "{costs}");
    }

    #[test]
    fn help_is_found_for_words_and_commands() {
        for (word, want) in
            [("rate", "rate(range-vector)"), ("sum", "sum by"), (".kill", ".kill ID"), ("format", ".format")]
        {
            assert!(help_on(word, 80).is_ok_and(|text| text.starts_with(want)), "{word}: {:?}", help_on(word, 80));
        }
        assert!(help_on("rte", 80).is_err_and(|text| text.ends_with("did you mean rate?")));
        assert!(help_on("xyzzyxyzzy", 80).is_err_and(|text| text.contains(".functions")));
        assert!(help(80).lines().chain(functions(80).lines()).all(|line| width(line) <= 100));
    }
}
