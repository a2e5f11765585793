//! Errors drawn under the query: the line, a caret at the position, what is wrong.
//!
//! The position comes from the message, as Prometheus writes it: `1:6: parse error: …`, line and byte column.

use super::append;

/// A position in a query: line and column from 1, and the message without them.
#[derive(Debug, PartialEq, Eq)]
struct Located<'a> {
    line: usize,
    column: usize,
    message: &'a str,
}

/// Draws `message` under `query`; just the message if it names no position inside the query.
pub(crate) fn draw(query: &str, message: &str) -> String {
    let message = message.strip_prefix("invalid parameter \"query\": ").unwrap_or(message);
    let Some(located) = locate(message) else { return format!("error: {message}\n") };
    let Some(line) = query.split('\n').nth(located.line - 1) else { return format!("error: {message}\n") };
    let mut text = String::new();
    let before: String = line
        .char_indices()
        .take_while(|&(at, _)| at + 1 < located.column)
        // A tab stays a tab, so that the caret stands below its character.
        .map(|(_, c)| if c == '\t' { '\t' } else { ' ' })
        .collect();
    append(&mut text, format_args!("  {line}\n  {before}^\n"));
    append(&mut text, format_args!("error: {}\n", located.message));
    text
}

/// Splits `LINE:COLUMN: message`.
fn locate(message: &str) -> Option<Located<'_>> {
    let (line, rest) = message.split_once(':')?;
    let (column, rest) = rest.split_once(':')?;
    let line = line.parse().ok().filter(|&line| line > 0)?;
    let column = column.parse().ok().filter(|&column| column > 0)?;
    Some(Located { line, column, message: rest.trim_start() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, message: &str, want: &str) {
        let got = draw(query, message);
        assert_eq!(got, want, "\n{got}");
    }

    #[test]
    fn carets_stand_below_their_character() {
        check(
            "sum(up))",
            "invalid parameter \"query\": 1:8: parse error: unexpected \")\"",
            "  sum(up))\n         ^\nerror: parse error: unexpected \")\"\n",
        );
        check("a +\n\t*b", "2:2: parse error: x", "  \t*b\n  \t^\nerror: parse error: x\n");
        check("up +", "1:5: parse error: end", "  up +\n      ^\nerror: parse error: end\n");
        check("é+ß$", "1:6: parse error: x", "  é+ß$\n     ^\nerror: parse error: x\n");
    }

    #[test]
    fn messages_without_a_position_are_shown_alone() {
        check("up", "query timed out", "error: query timed out\n");
        check("up", "7:1: parse error: x", "error: 7:1: parse error: x\n");
        check("up", "0:0: x", "error: 0:0: x\n");
    }
}
