//! What the server says about a place in the query, drawn under the query: the line, a caret, the words.
//!
//! Errors name the place first, as Prometheus writes them: `1:6: parse error: …`, line and byte column. Warnings and
//! infos name it last: `… (1:6)`.

use std::ops::Range;

use super::append;
use super::text::{paint, visible, width, wrapped};

/// Columns before the text of the query.
const INDENT: usize = 2;
/// Columns kept in view before a caret when a line is too long for the terminal.
const BEFORE_CARET: usize = 20;

/// Where and how to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Columns of the terminal.
    pub(crate) columns: usize,
    /// Whether messages are broken into lines of that many columns; a reader that is a program wants them whole.
    pub(crate) wraps: bool,
    /// Whether escape sequences for colour may be used.
    pub(crate) color: bool,
}

impl Style {
    /// A message behind its kind, such as `error:` in the style `code`.
    fn told(self, head: &str, code: &str, message: &str) -> String {
        let text = format!("{head} {}", visible(message));
        let text = if self.wraps { wrapped(&text, 0, self.columns) } else { text };
        format!("{}{}\n", paint(head, code, self.color), text.strip_prefix(head).unwrap_or_default())
    }
}

/// A position in a query: line and column from 1, and the message without them.
#[derive(Debug, PartialEq, Eq)]
struct Located<'a> {
    line: usize,
    column: usize,
    message: &'a str,
}

/// Draws an error under `query`; just the message if it names no position inside the query.
pub(crate) fn error(query: &str, message: &str, style: Style) -> String {
    let message = message.strip_prefix("invalid parameter \"query\": ").unwrap_or(message);
    let found = locate_first(message).and_then(|located| Some((span_at(query, &located)?, located)));
    let Some((start, located)) = found else { return style.told("error:", "1;31", message) };
    let (span, message, hint) = widened(query, start, &located);
    let mut text = lines(query, &span, style);
    text.push_str(&style.told("error:", "1;31", message));
    if let Some(hint) = hint {
        text.push_str(&style.told("help:", "1;36", &hint));
    }
    text
}

/// Draws warnings and infos under `query`; the line is drawn once for those in a row that are about it.
pub(crate) fn notes(query: &str, warnings: &[String], infos: &[String], style: Style) -> String {
    let mut text = String::new();
    let mut shown: Option<(usize, Vec<String>)> = None;
    let warnings = warnings.iter().map(|message| (("warning:", "1;33"), message));
    let infos = infos.iter().map(|message| (("info:", "1;34"), message));
    for ((head, code), message) in warnings.chain(infos) {
        let message = ["PromQL warning: ", "PromQL info: "]
            .iter()
            .find_map(|start| message.strip_prefix(start))
            .unwrap_or(message);
        let found = locate_last(message).and_then(|located| Some((span_at(query, &located)?, located)));
        let Some((start, located)) = found else {
            text.push_str(&style.told(head, code, message));
            shown = None;
            continue;
        };
        let mut drawn: Vec<String> = lines(query, &(start..start + 1), style).lines().map(str::to_owned).collect();
        let caret = drawn.pop().unwrap_or_default();
        let is_shown = shown.as_ref().is_some_and(|(line, text)| *line == located.line && *text == drawn);
        if !is_shown {
            text.extend(drawn.iter().map(|line| format!("{line}\n")));
            shown = Some((located.line, drawn));
        }
        append(&mut text, format_args!("{caret}\n{}", style.told(head, code, located.message)));
    }
    text
}

/// The first line of `query` that `span` touches, with the span underlined.
pub(crate) fn underlined(query: &str, span: Range<usize>, columns: usize) -> String {
    lines(query, &span, Style { columns, wraps: false, color: false })
}

/// Splits `LINE:COLUMN: message`.
fn locate_first(message: &str) -> Option<Located<'_>> {
    let (line, rest) = message.split_once(':')?;
    let (column, rest) = rest.split_once(':')?;
    located(line, column, rest.trim_start())
}

/// Splits `message (LINE:COLUMN)`.
fn locate_last(message: &str) -> Option<Located<'_>> {
    let (message, position) = message.strip_suffix(')')?.rsplit_once(" (")?;
    let (line, column) = position.split_once(':')?;
    located(line, column, message)
}

fn located<'a>(line: &str, column: &str, message: &'a str) -> Option<Located<'a>> {
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0);
    Some(Located { line: number(line)?, column: number(column)?, message })
}

/// The byte of the query at a position, which may be the end of its line.
fn span_at(query: &str, located: &Located<'_>) -> Option<usize> {
    let line = query.split('\n').nth(located.line - 1)?;
    let line_start: usize = query.split('\n').take(located.line - 1).map(|line| line.len() + 1).sum();
    let at = (located.column - 1).min(line.len());
    (located.column - 1 <= line.len()).then_some(line_start + line.floor_char_boundary(at))
}

/// An error tells where it begins. Our own parser, asked about the same query, knows where the fault ends and keeps the
/// advice apart.
fn widened<'a>(query: &str, start: usize, located: &Located<'a>) -> (Range<usize>, &'a str, Option<String>) {
    let own = query::parse(query).err().filter(|own| (own.line, own.column) == (located.line, located.column));
    let Some(own) = own else { return (start..start + 1, located.message, None) };
    let end = own.span.end.clamp(start + 1, query.len().max(start + 1));
    let hint = own.hint.filter(|hint| located.message.ends_with(&format!(" ({hint})")));
    let kept = located.message.len() - hint.as_ref().map_or(0, |hint| hint.len() + " ()".len());
    (start..end, &located.message[..kept], hint)
}

/// The line where `span` begins, and carets below the span as far as it stays on that line.
fn lines(query: &str, span: &Range<usize>, style: Style) -> String {
    let start = query.floor_char_boundary(span.start.min(query.len()));
    let line_start = query[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = query[start..].find('\n').map_or(query.len(), |at| start + at);
    let line = &query[line_start..line_end];
    let end = query.floor_char_boundary(span.end.min(line_end)).max(start);
    // Which line it is matters where there are several.
    let head = if query.contains('\n') {
        format!("{:>INDENT$} │ ", query[..start].matches('\n').count() + 1)
    } else {
        " ".repeat(INDENT)
    };
    let room = style.columns.saturating_sub(width(&head) + 2).max(BEFORE_CARET * 2);
    let before = flat(&query[line_start..start]);
    let marked = width(&flat(&query[start..end])).max(1);
    let (mut line, mut at) = (flat(line), width(&before));
    if width(&line) > room {
        let skipped = if at < room { 0 } else { at - BEFORE_CARET };
        let cut = cut_columns(&line, skipped, room);
        at = at - skipped + usize::from(skipped > 0);
        line = cut;
    }
    let carets = "^".repeat(marked.min(room.saturating_sub(at)).max(1));
    let margin = if head.contains('│') { format!("{} │ ", " ".repeat(width(&head) - 3)) } else { head.clone() };
    let carets = paint(&carets, "1;31", style.color);
    format!("{head}{line}\n{margin}{}{carets}\n", " ".repeat(at))
}

/// Tabs as single spaces, so that a column is a column, and other control characters as one sign.
fn flat(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '·'
            } else {
                c
            }
        })
        .collect()
}

/// The part of `line` from column `skipped` on, `room` columns of it, with an ellipsis at each cut.
fn cut_columns(line: &str, skipped: usize, room: usize) -> String {
    let mut seen = 0;
    let from = line.char_indices().find(|(_, c)| {
        seen += width(c.encode_utf8(&mut [0; 4]));
        seen > skipped
    });
    let rest = from.map_or("", |(at, _)| &line[at..]);
    let head = if skipped > 0 { "…" } else { "" };
    format!("{head}{}", super::text::shortened(rest, room.saturating_sub(width(head))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { columns: 80, wraps: false, color: false };

    #[track_caller]
    fn check(query: &str, message: &str, want: &str) {
        let got = error(query, message, STYLE);
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn carets_stand_below_their_character() {
        check(
            "sum(up))",
            "invalid parameter \"query\": 1:8: parse error: unexpected \")\"",
            "  sum(up))\n         ^\nerror: parse error: unexpected \")\"\n",
        );
        check("a +\n\t*b", "2:2: parse error: x", " 2 │  *b\n   │  ^\nerror: parse error: x\n");
        check("up +", "1:5: parse error: end", "  up +\n      ^\nerror: parse error: end\n");
        check("é+ß$", "1:6: parse error: x", "  é+ß$\n     ^\nerror: parse error: x\n");
        check("漢+$", "1:5: parse error: x", "  漢+$\n     ^\nerror: parse error: x\n");
    }

    #[test]
    fn the_whole_fault_is_underlined_and_the_advice_stands_apart() {
        let query = "sum(\n  rat(x[5m])\n)";
        let own = query::parse(query).expect_err("no such function");
        let got = error(query, &own.to_string(), STYLE);
        assert!(got.starts_with(" 2 │   rat(x[5m])\n   │   ^^^\nerror: parse error: "), "{got}");
        assert!(got.contains("\nhelp: ") && got.contains("rate"), "{got}");
    }

    #[test]
    fn messages_without_a_position_are_shown_alone() {
        check("up", "query timed out", "error: query timed out\n");
        check("up", "7:1: parse error: x", "error: 7:1: parse error: x\n");
        check("up", "1:9: parse error: x", "error: 1:9: parse error: x\n");
        check("up", "0:0: x", "error: 0:0: x\n");
        check("up", "\u{1b}[2J", "error: \\u{1b}[2J\n");
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let query = format!("{} $ {}", "a + ".repeat(30), "+ b".repeat(30));
        let at = query.find('$').expect("there") + 1;
        let got = error(&query, &format!("1:{at}: parse error: x"), Style { columns: 60, wraps: true, color: false });
        let lines: Vec<&str> = got.lines().collect();
        assert!(lines.iter().all(|line| width(line) <= 60), "{got}");
        assert!(lines[0].contains('…'), "{got}");
        let caret = lines[1].chars().position(|c| c == '^').expect("a caret");
        assert_eq!(lines[0].chars().nth(caret), Some('$'), "{got}");
    }

    #[test]
    fn notes_stand_below_their_part() {
        let warnings = ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)".to_owned()];
        let infos = ["PromQL info: metric might not be a counter: \"x\" (1:18)".to_owned(), "plain".to_owned()];
        let want = "  quantile(2, rate(x[5m]))
           ^
warning: quantile value should be between 0 and 1, got 2
                   ^
info: metric might not be a counter: \"x\"
info: plain
";
        let got = notes("quantile(2, rate(x[5m]))", &warnings, &infos, STYLE);
        assert_eq!(got, want, "\n{got}");
        let got = notes("a +\nb", &[], &["here (2:1)".to_owned(), "there (1:1)".to_owned()], STYLE);
        assert_eq!(got, " 2 │ b\n   │ ^\ninfo: here\n 1 │ a +\n   │ ^\ninfo: there\n", "\n{got}");
    }

    #[test]
    fn messages_break_between_words_where_people_read() {
        let style = Style { columns: 20, wraps: true, color: true };
        let got = error("up", "query timed out after two minutes", style);
        assert_eq!(got, "\u{1b}[1;31merror:\u{1b}[0m query timed\nout after two\nminutes\n");
    }

    #[test]
    fn colours_are_asked_for() {
        let got = error("up +", "1:5: parse error: end", Style { columns: 80, wraps: true, color: true });
        assert!(got.contains("\u{1b}[1;31m^\u{1b}[0m"), "{got:?}");
    }
}
