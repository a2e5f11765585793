//! Help laid out for the width of the terminal.
//!
//! clap wraps what stands behind the options word by word. An example that is wrapped like that can neither be read nor copied: here its remark
//! keeps to its column or goes to a line of its own, and a command that is too long goes on behind a `\`.

use clap::{Command, CommandFactory};

use super::Cli;

/// Below this many columns for it, a remark gets a line of its own.
const REMARK_COLUMNS_MIN: usize = 26;
/// How far remarks on lines of their own, and what follows a `\`, are moved in.
const INDENT: usize = 6;
/// Columns of help where there is no terminal, and at most.
const COLUMNS_MAX: usize = 120;

/// The command line, its help laid out for `columns`.
pub(crate) fn command(columns: usize) -> Command {
    let columns = columns.min(COLUMNS_MAX);
    laid_out(Cli::command().term_width(columns), columns)
}

fn laid_out(command: Command, columns: usize) -> Command {
    let examples = command.get_after_help().map(|text| examples(&text.to_string(), columns));
    let command = command.mut_subcommands(|sub| laid_out(sub, columns));
    match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    }
}

/// `text`, the lines that are moved in laid out as examples; of the others those that go on from line to line are joined.
fn examples(text: &str, columns: usize) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let is_example = line.starts_with("  ");
        match out.last_mut() {
            Some(last) if goes_on && !line.is_empty() && !is_example => {
                last.push(' ');
                last.push_str(line);
            }
            _ if is_example && width(line) > columns => example(line.trim_start(), columns, &mut out),
            _ => out.push(line.to_owned()),
        }
        goes_on = !is_example && !line.is_empty() && !line.ends_with(['.', ':', '!', '?']);
    }
    out.join("\n")
}

fn example(line: &str, columns: usize, out: &mut Vec<String>) {
    let (command, remark) = match line.split_once("  ") {
        Some((command, remark)) => (command, remark.trim_start()),
        None => (line, ""),
    };
    let mut parts = wrapped(command, columns.saturating_sub(4), columns.saturating_sub(INDENT + 2)).into_iter();
    let first = parts.next().unwrap_or_default();
    let rest: Vec<String> = parts.collect();
    let column = 2 + width(line) - width(remark);
    if rest.is_empty() && !remark.is_empty() && column + REMARK_COLUMNS_MIN <= columns {
        let room = columns - column;
        for (at, piece) in wrapped(remark, room, room).into_iter().enumerate() {
            let before = if at == 0 { format!("  {command}") } else { String::new() };
            out.push(format!("{before:column$}{piece}"));
        }
        return;
    }
    let mut lines = vec![format!("  {first}")];
    lines.extend(rest.into_iter().map(|part| format!("{:INDENT$}{part}", "")));
    let last = lines.len() - 1;
    for line in lines.iter_mut().take(last) {
        line.push_str(" \\");
    }
    out.append(&mut lines);
    if !remark.is_empty() {
        let room = columns.saturating_sub(INDENT);
        out.extend(wrapped(remark, room, room).into_iter().map(|piece| format!("{:INDENT$}{piece}", "")));
    }
}

/// `text` in pieces of so many columns, the first and each other one, cut at spaces outside of quotes. A word that is longer stays whole.
fn wrapped(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in words(text) {
        let room = if pieces.len() == 1 { first } else { others };
        match pieces.last_mut() {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) if width(last) + 1 + width(word) <= room => {
                last.push(' ');
                last.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
}

/// The words of `text`; what stands between `'` at the begin of a word and the next `'` is one.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quoted, mut before) = (0, false, ' ');
    for (at, c) in text.char_indices() {
        match c {
            '\'' if quoted => quoted = false,
            '\'' if !before.is_alphanumeric() => quoted = true,
            ' ' if !quoted => {
                words.extend(text.get(start..at).filter(|word| !word.is_empty()));
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    words.extend(text.get(start..).filter(|word| !word.is_empty()));
    words
}

fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, columns: usize, want: &[&str]) {
        assert_eq!(examples(text, columns).lines().collect::<Vec<_>>(), want);
    }

    #[test]
    fn remarks_keep_to_their_column_and_commands_stay_whole() {
        let text = "Examples:\n  metrickit a   short and what is much longer than the line is\n  metrickit b";
        check(
            text,
            62,
            &["Examples:", "  metrickit a   short and what is much longer than the line is", "  metrickit b"],
        );
        check(
            text,
            44,
            &[
                "Examples:",
                "  metrickit a   short and what is much",
                "                longer than the line is",
                "  metrickit b",
            ],
        );
        check(
            text,
            40,
            &[
                "Examples:",
                "  metrickit a",
                "      short and what is much longer than",
                "      the line is",
                "  metrickit b",
            ],
        );
        check(
            "  metrickit add a=b --comment 'known, being fixed' --for 2h   why",
            40,
            &["  metrickit add a=b --comment \\", "      'known, being fixed' --for 2h", "      why"],
        );
        check("It is\nlong.\nNext, it's\nshort.", 40, &["It is long.", "Next, it's short."]);
    }

    /// Every command's help fits the terminals that people have.
    #[test]
    fn no_help_is_wider_than_the_terminal() {
        fn look(command: &mut Command, columns: usize) {
            let name = command.get_name().to_owned();
            let text = command.render_long_help().to_string();
            for line in text.lines().filter(|line| width(line) > columns) {
                // A word that is longer than the line stays whole.
                let words = words(line.trim_start());
                assert!(words.iter().any(|word| width(word) + 20 > columns), "{name} at {columns}: {line}");
            }
            assert!(
                !text.contains("[default: ]") && !text.contains("default: <") && !text.contains("env: `"),
                "{name}: {text}"
            );
            for sub in command.get_subcommands_mut() {
                look(sub, columns);
            }
        }
        for columns in [80, 100, 120] {
            let mut all = command(columns);
            all.build();
            look(&mut all, columns);
        }
    }
}
